//! The words of the machine: its states, what it is told, what it answers, and why it changes.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::timing::Metric;

/// Where a circuit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum CircuitState {
    /// All calls pass.
    Closed,
    /// No call passes.
    Open,
    /// A few calls pass, to see.
    HalfOpen,
}

impl CircuitState {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// How a call ended, as far as its circuit is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The other side did its work.
    Success,
    /// The other side failed, or the way to it did.
    Failure,
    /// Nothing was learnt of the other side: a caller's mistake, or a caller that left.
    Ignored,
}

/// The circuit is open, or held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the circuit is open for another {retry_after:?}")]
pub struct Refused {
    /// After how long a probe may pass, or the hold ends.
    pub retry_after: Duration,
}

/// A change of state and its cause.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Change {
    pub(crate) from: CircuitState,
    pub(crate) to: CircuitState,
    pub(crate) cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cause {
    Failures(u32),
    Rate { bad: u32, total: u32, window: Duration },
    Anomaly { metric: Metric, z: f64, outliers: u8 },
    Waited(Duration),
    ProbesFailed { failures: u32, wait: Duration },
    ProbesSucceeded(u32),
    Reset,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failures(count) => write!(f, "{count} failures in a row"),
            Self::Rate { bad, total, window } => write!(f, "failure rate {bad} of {total} in {window:?}"),
            Self::Anomaly { metric, z, outliers } => {
                write!(f, "anomaly: {metric} {z:.1} deviations above its baseline")?;
                if *outliers > 1 { write!(f, ", {outliers} outliers in a row") } else { Ok(()) }
            }
            Self::Waited(span) => write!(f, "probes after {span:.1?}"),
            Self::ProbesFailed { failures, wait } => write!(f, "{failures} probes failed, next after {wait:.1?}"),
            Self::ProbesSucceeded(count) => write!(f, "{count} probes succeeded"),
            Self::Reset => f.write_str("reset"),
        }
    }
}
