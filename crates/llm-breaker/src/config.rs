//! When a circuit opens and how it closes again.

use std::time::Duration;

/// When a circuit opens and how it closes again.
#[derive(Clone, Debug, PartialEq)]
pub struct CircuitBreakerConfig {
    /// Failures in a row that open the circuit, at least 1. Default 5.
    pub failures: u32,
    /// The wait before the first probe; doubles with each failed round of probes, 64 times at most, and is
    /// lengthened by up to a tenth at random. Default 60 s.
    pub open_for: Duration,
    /// Probes that must succeed to close the circuit, at least 1. Default 5.
    pub success_threshold: u32,
    /// The share of a round's probes that must succeed, above 0 and at most 1. Default 0.8.
    pub success_share: f64,
    /// Calls that a round of probes admits, at least `success_threshold`. Default 10.
    pub half_open_requests: u32,
    /// Judges and reports, and never refuses. Default false.
    pub shadow: bool,
}

impl Default for CircuitBreakerConfig {
    fn default() -> Self {
        Self {
            failures: 5,
            open_for: Duration::from_secs(60),
            success_threshold: 5,
            success_share: 0.8,
            half_open_requests: 10,
            shadow: false,
        }
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
    /// A round could never succeed.
    #[error("half_open_requests: {probes} probes cannot bring {needed} successes")]
    TooFewProbes {
        /// Calls that a round admits.
        probes: u32,
        /// Successes that it needs.
        needed: u32,
    },
}

impl CircuitBreakerConfig {
    /// Probes again after 10 s.
    #[must_use]
    pub fn aggressive() -> Self {
        Self { open_for: Duration::from_secs(10), ..Self::default() }
    }

    /// The defaults.
    #[must_use]
    pub fn production() -> Self {
        Self::default()
    }

    /// Probes again after two minutes.
    #[must_use]
    pub fn conservative() -> Self {
        Self { open_for: Duration::from_secs(120), ..Self::default() }
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let counts = [
            ("failures", self.failures),
            ("success_threshold", self.success_threshold),
            ("half_open_requests", self.half_open_requests),
        ];
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(ConfigError::Zero(name));
        }
        if self.open_for.is_zero() {
            return Err(ConfigError::NoWait);
        }
        if !(self.success_share > 0.0 && self.success_share <= 1.0) {
            return Err(ConfigError::Share(self.success_share));
        }
        if self.half_open_requests < self.success_threshold {
            return Err(ConfigError::TooFewProbes { probes: self.half_open_requests, needed: self.success_threshold });
        }
        Ok(())
    }

    /// Failures that a round may have and still close: `S · (1 − r) / r`, rounded down.
    pub(crate) fn tolerated(&self) -> u32 {
        let share = self.success_share;
        // A hair above, so that 5 · 0.5 / 0.5 is 5 and not 4.999….
        (f64::from(self.success_threshold) * (1.0 - share) / share + 1e-9) as u32
    }

    /// The wait before a probe after `trips` failed rounds: `open_for · 2^trips`, trips ≤ 6, and a tenth of
    /// `draw` (0..1) on top.
    pub(crate) fn wait(&self, trips: u32, draw: f64) -> Duration {
        let wait = self.open_for.saturating_mul(1 << trips.min(6));
        wait.saturating_add(wait.mul_f64(0.1 * draw))
    }
}
