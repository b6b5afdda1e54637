//! What a run saw.

use std::time::{Duration, Instant};

use crate::ask::Answered;

/// Counts and latencies of answered requests.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) requests: u64,
    pub(crate) events: u64,
    latencies: Vec<u32>,
}

impl Measured {
    /// Notes one answer.
    pub(crate) fn note(&mut self, answered: Answered) {
        self.requests += 1;
        self.events += answered.events;
        self.latencies.push(u32::try_from(answered.latency.as_micros()).unwrap_or(u32::MAX));
    }

    /// Adds what another connection saw.
    pub(crate) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.events += other.events;
        self.latencies.extend(other.latencies);
    }

    /// One line of JSON.
    pub(crate) fn line(mut self, took: Duration) -> String {
        self.latencies.sort_unstable();
        let (p50, p99) = (quantile(&self.latencies, 50), quantile(&self.latencies, 99));
        let (requests, events, seconds) = (self.requests, self.events, took.as_secs_f64());
        format!(
            "{{\"requests\":{requests},\"events\":{events},\"seconds\":{seconds:.6},\"p50_us\":{p50},\"p99_us\":{p99}}}"
        )
    }
}

/// The moment; the one place that reads the clock.
#[expect(clippy::disallowed_methods, reason = "a load generator measures real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The smallest value that `percent` of the sorted values do not exceed; 0 of none.
fn quantile(sorted: &[u32], percent: usize) -> u32 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let sorted: Vec<u32> = (1..=100).collect();
        assert_eq!((quantile(&sorted, 50), quantile(&sorted, 99)), (50, 99));
        assert_eq!((quantile(&[7], 50), quantile(&[7], 99), quantile(&[], 99)), (7, 7, 0));
    }

    #[test]
    fn runs_of_several_connections_add_up() {
        let mut all = Measured::default();
        for micros in [10, 30] {
            let mut one = Measured::default();
            one.note(Answered { events: 50, latency: Duration::from_micros(micros) });
            all.add(one);
        }
        let line = all.line(Duration::from_millis(500));
        assert_eq!(line, r#"{"requests":2,"events":100,"seconds":0.500000,"p50_us":10,"p99_us":30}"#);
    }
}
