//! Which requests are traced.

use llm_core::Tick;
use llm_ratelimit::{RateLimiter, TokenBucketConfig};

/// Which requests are traced whose caller does not say. A caller's decision, in its `traceparent`, is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// The share of them, 0 to 1.
    pub ratio: f64,
    /// So many a second at most, 0 or more; none for any number.
    pub per_second: Option<f64>,
}

impl Sampling {
    /// All.
    pub const ALWAYS: Self = Self { ratio: 1.0, per_second: None };
    /// Those whose caller says so, and no others.
    pub const NEVER: Self = Self { ratio: 0.0, per_second: None };

    /// Whether it is one.
    ///
    /// # Errors
    /// [`SamplingError`] says what is wrong with it.
    pub fn check(self) -> Result<(), SamplingError> {
        Sampler::try_new(self).map(drop)
    }
}

/// All, up to 10 a second: a quiet system shows everything, and a busy one pays next to nothing.
impl Default for Sampling {
    fn default() -> Self {
        Self { ratio: 1.0, per_second: Some(10.0) }
    }
}

/// Why a setting of [`Sampling`] is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SamplingError {
    /// The share is none.
    #[error("the share of traces must be 0 to 1")]
    Ratio,
    /// The rate is none.
    #[error("traces a second must be 0 or more")]
    PerSecond,
}

/// Decides for new traces.
#[derive(Debug)]
pub(crate) struct Sampler {
    ratio: f64,
    limiter: Option<RateLimiter>,
}

impl Sampler {
    pub(crate) fn try_new(sampling: Sampling) -> Result<Self, SamplingError> {
        let Sampling { ratio, per_second } = sampling;
        if !(0.0..=1.0).contains(&ratio) {
            return Err(SamplingError::Ratio);
        }
        match per_second {
            Some(0.0) => Ok(Self { ratio: 0.0, limiter: None }),
            Some(rate) => {
                // A cast saturates, and what is no number becomes 0, which is no burst.
                let bucket = TokenBucketConfig::new(rate, rate.ceil() as u32);
                let limiter = RateLimiter::try_new(bucket).map_err(|_| SamplingError::PerSecond)?;
                Ok(Self { ratio, limiter: Some(limiter) })
            }
            None => Ok(Self { ratio, limiter: None }),
        }
    }

    /// Whether a request is traced that arrives at `now`.
    pub(crate) fn takes(&self, now: Tick) -> bool {
        // At the ends nothing is drawn.
        let drawn = self.ratio >= 1.0 || (self.ratio > 0.0 && fastrand::f64() < self.ratio);
        drawn && self.limiter.as_ref().is_none_or(|limiter| limiter.take(1, now).map(|taken| taken.keep()).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use llm_core::{Clock, ManualClock};

    use super::*;

    fn taken(sampling: Sampling, every: Duration, requests: usize) -> usize {
        let (sampler, clock) = (Sampler::try_new(sampling).unwrap(), ManualClock::new());
        let takes = (0..requests).filter(|_| {
            clock.advance(every);
            sampler.takes(clock.now())
        });
        takes.count()
    }

    #[test]
    fn a_quiet_system_shows_everything_and_a_busy_one_ten_a_second() {
        assert_eq!(taken(Sampling::default(), Duration::from_millis(100), 50), 50);
        let busy = taken(Sampling::default(), Duration::from_micros(100), 100_000);
        assert!((100..=111).contains(&busy), "{busy} in 10 s");
    }

    #[test]
    fn a_share_is_about_that_share() {
        let every = Duration::from_micros(1);
        let some = taken(Sampling { ratio: 0.01, per_second: None }, every, 100_000);
        assert!((800..1200).contains(&some), "{some} of 100,000");
        assert_eq!(taken(Sampling::NEVER, every, 1000), 0);
        assert_eq!(taken(Sampling { per_second: Some(0.0), ..Sampling::ALWAYS }, every, 1000), 0);
        assert_eq!(taken(Sampling::ALWAYS, every, 1000), 1000);
    }

    #[test]
    fn what_is_no_share_and_no_rate_is_refused() {
        for ratio in [-0.1, 1.1, f64::NAN] {
            let sampling = Sampling { ratio, ..Sampling::ALWAYS };
            assert_eq!(Sampler::try_new(sampling).err(), Some(SamplingError::Ratio));
        }
        for rate in [-1.0, f64::NAN] {
            let sampling = Sampling { per_second: Some(rate), ..Sampling::ALWAYS };
            assert_eq!(Sampler::try_new(sampling).err(), Some(SamplingError::PerSecond));
        }
        assert!(Sampler::try_new(Sampling { per_second: Some(0.5), ..Sampling::ALWAYS }).is_ok());
    }
}
