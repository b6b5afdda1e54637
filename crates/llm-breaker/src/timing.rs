//! What a call's time says of the other side.

use std::fmt;
use std::time::Duration;

/// How long a call took. What was not measured is `None`, and a time of zero counts as not measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// From the request to the end of the response.
    pub latency: Duration,
    /// From the request to the first token.
    pub first_token: Option<Duration>,
    /// The mean gap between two tokens of the response.
    pub token_gap: Option<Duration>,
}

impl From<Duration> for Timing {
    fn from(latency: Duration) -> Self {
        Self { latency, ..Self::default() }
    }
}

/// What is judged of a [`Timing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    Latency,
    FirstToken,
    TokenGap,
}

impl Metric {
    pub(crate) const ALL: [Self; 3] = [Self::Latency, Self::FirstToken, Self::TokenGap];

    /// What `timing` says of it.
    pub(crate) fn of(self, timing: &Timing) -> Option<Duration> {
        let measured = match self {
            Self::Latency => Some(timing.latency),
            Self::FirstToken => timing.first_token,
            Self::TokenGap => timing.token_gap,
        };
        measured.filter(|span| !span.is_zero())
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Latency => "latency",
            Self::FirstToken => "time to first token",
            Self::TokenGap => "token gap",
        })
    }
}

/// A latency in the form that the caller has it in.
pub trait IntoLatency {
    /// The latency, or `None` when it is not known.
    fn into_latency(self) -> Option<Duration>;
}

impl IntoLatency for Duration {
    fn into_latency(self) -> Option<Duration> {
        Some(self)
    }
}

/// Milliseconds. What is negative, not a number or beyond a `Duration` is not known.
impl IntoLatency for f64 {
    fn into_latency(self) -> Option<Duration> {
        Duration::try_from_secs_f64(self / 1e3).ok()
    }
}

/// Not known.
impl IntoLatency for () {
    fn into_latency(self) -> Option<Duration> {
        None
    }
}

impl<T: IntoLatency> IntoLatency for Option<T> {
    fn into_latency(self) -> Option<Duration> {
        self.and_then(T::into_latency)
    }
}

/// What the client measured.
impl IntoLatency for &llm_core::CompletionResponse {
    fn into_latency(self) -> Option<Duration> {
        self.latency
    }
}

/// What the client measured.
impl IntoLatency for llm_core::CompletionResponse {
    fn into_latency(self) -> Option<Duration> {
        self.latency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_a_duration_milliseconds_or_unknown() {
        assert_eq!(Duration::from_millis(3).into_latency(), Some(Duration::from_millis(3)));
        assert_eq!(1.5.into_latency(), Some(Duration::from_micros(1500)));
        assert_eq!(Some(2.0).into_latency(), Some(Duration::from_millis(2)));
        for unknown in [f64::NAN, -1.0, f64::INFINITY] {
            assert_eq!(unknown.into_latency(), None);
        }
        assert_eq!(().into_latency(), None);
        assert_eq!(None::<f64>.into_latency(), None);
    }
}
