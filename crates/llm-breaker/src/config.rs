//! When a circuit opens and how it closes again.

use std::time::Duration;

/// When a circuit opens and how it closes again.
///
/// Three policies open it, each on its own and each can be off. With all of them off nothing opens it, and it
/// still can be held.
#[derive(Clone, Debug, PartialEq)]
pub struct CircuitBreakerConfig {
    /// Failures in a row that open the circuit; 0 is off. Default 5.
    pub failures: u32,
    /// The share of failures that opens the circuit; `None` is off. Default half of 20 calls or more in 30 s.
    pub failure_rate: Option<FailureRate>,
    /// The slowness that opens the circuit; `None` is off. Default as in [`Anomaly`].
    pub anomaly: Option<Anomaly>,
    /// The wait before the first probe; doubles with each failed round of probes, 64 times at most, and is
    /// lengthened by up to a tenth at random. Default 60 s.
    pub open_for: Duration,
    /// Probes that must succeed to close the circuit, at least 1. Default 5.
    pub success_threshold: u32,
    /// The share of a round's probes that must succeed, above 0 and at most 1. Default 0.8.
    pub success_share: f64,
    /// Probes out at one time, at least 1: a round begins with one, and each success doubles them up to this
    /// many. Default 10.
    pub half_open_requests: u32,
    /// Judges and reports, and never refuses. Default false.
    pub shadow: bool,
}

impl Default for CircuitBreakerConfig {
    fn default() -> Self {
        Self {
            failures: 5,
            failure_rate: Some(FailureRate::default()),
            anomaly: Some(Anomaly::default()),
            open_for: Duration::from_secs(60),
            success_threshold: 5,
            success_share: 0.8,
            half_open_requests: 10,
            shadow: false,
        }
    }
}

/// Opens a circuit when so large a share of recent calls failed.
///
/// The plain share with a least volume, not the lower bound of its confidence interval: at 20 calls that bound
/// asks for 15 failures where half is meant, and the least volume already keeps chance out. Of 20 calls that fail
/// one time in twenty, ten fail once in 10^8.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FailureRate {
    /// How far back calls count, at least 1 ms. It slides in sixths: what counts is between five sixths of it and
    /// all. Default 30 s.
    pub window: Duration,
    /// Failures over calls, above 0 and at most 1. Default 0.5.
    pub share: f64,
    /// Calls below which nothing is judged, at least 1. Default 20.
    pub min_calls: u32,
}

impl Default for FailureRate {
    fn default() -> Self {
        Self { window: Duration::from_secs(30), share: 0.5, min_calls: 20 }
    }
}

/// Opens a circuit when its calls are slower than they used to be: by their latency, the time to the first token
/// or the gap between tokens, each against what the circuit has learnt of it.
///
/// A lasting slowness always opens it, the sooner the larger it is; what a few calls make of it is set here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Anomaly {
    /// Deviations above its baseline that make a call an outlier, above 0. Default 2.5.
    pub z: f64,
    /// Outliers in a row that open the circuit, at least 1; `None` leaves it to a lasting slowness. Default none.
    pub outliers: Option<u8>,
}

impl Default for Anomaly {
    fn default() -> Self {
        Self { z: 2.5, outliers: None }
    }
}

/// Why a circuit cannot be.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A count is zero.
    #[error("{0}: at least 1 is needed")]
    Zero(&'static str),
    /// There is no wait before a probe.
    #[error("open_for: a wait above zero is needed")]
    NoWait,
    /// The share is none.
    #[error("success_share: {0} is not above 0 and at most 1")]
    Share(f64),
    /// The share is none.
    #[error("failure_rate.share: {0} is not above 0 and at most 1")]
    FailureShare(f64),
    /// There is no window to count in.
    #[error("failure_rate.window: at least 1 ms is needed")]
    NoWindow,
    /// The threshold is none.
    #[error("anomaly.z: {0} is not a number above 0")]
    Score(f64),
}

impl CircuitBreakerConfig {
    /// A single call 1.5 deviations slower than usual opens it, by any of its times: of healthy streams with heavy
    /// tails about one in seven. For callers with somewhere else to go. Probes again after 10 s.
    #[must_use]
    pub fn aggressive() -> Self {
        let anomaly = Anomaly { z: 1.5, outliers: Some(1) };
        Self { anomaly: Some(anomaly), open_for: Duration::from_secs(10), ..Self::default() }
    }

    /// The defaults.
    #[must_use]
    pub fn production() -> Self {
        Self::default()
    }

    /// An outlier lies 3 deviations out. Probes again after two minutes.
    #[must_use]
    pub fn conservative() -> Self {
        let anomaly = Anomaly { z: 3.0, ..Anomaly::default() };
        Self { anomaly: Some(anomaly), open_for: Duration::from_secs(120), ..Self::default() }
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let counts = [
            ("success_threshold", self.success_threshold),
            ("half_open_requests", self.half_open_requests),
            ("failure_rate.min_calls", self.failure_rate.map_or(1, |rate| rate.min_calls)),
            ("anomaly.outliers", self.anomaly.and_then(|anomaly| anomaly.outliers).map_or(1, u32::from)),
        ];
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(ConfigError::Zero(name));
        }
        if self.open_for.is_zero() {
            return Err(ConfigError::NoWait);
        }
        let is_share = |share: f64| share > 0.0 && share <= 1.0;
        if !is_share(self.success_share) {
            return Err(ConfigError::Share(self.success_share));
        }
        if let Some(rate) = self.failure_rate {
            if !is_share(rate.share) {
                return Err(ConfigError::FailureShare(rate.share));
            }
            if rate.window < Duration::from_millis(1) {
                return Err(ConfigError::NoWindow);
            }
        }
        match self.anomaly {
            Some(Anomaly { z, .. }) if !(z > 0.0 && z.is_finite()) => Err(ConfigError::Score(z)),
            _ => Ok(()),
        }
    }

    /// Failures that a round may have and still close: `S · (1 − r) / r`, rounded down.
    pub(crate) fn tolerated(&self) -> u32 {
        let share = self.success_share;
        // A hair above, so that 5 · 0.5 / 0.5 is 5 and not 4.999….
        (f64::from(self.success_threshold) * (1.0 - share) / share + 1e-9) as u32
    }

    /// Probes that may be out at one time after `successes` of a round.
    pub(crate) fn probes(&self, successes: u32) -> u32 {
        1u32.checked_shl(successes).map_or(self.half_open_requests, |step| step.min(self.half_open_requests))
    }

    /// The wait before a probe after `trips` failed rounds: `open_for · 2^trips`, trips ≤ 6, and a tenth of
    /// `draw` (0..1) on top.
    pub(crate) fn wait(&self, trips: u32, draw: f64) -> Duration {
        let wait = self.open_for.saturating_mul(1 << trips.min(6));
        wait.saturating_add(wait.mul_f64(0.1 * draw))
    }
}
