//! Why a candidate stands where it does.

use std::fmt;

use serde::Serialize;

/// Why a candidate stands where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// Its weight gave it this turn.
    Weight,
    /// It is listed here.
    Order,
    /// Its expected cost.
    Cost,
    /// Its expected time.
    Latency,
    /// Its share of failures.
    Reliability,
    /// Its cost, its 95th percentile being within the limit.
    MeetsSla,
    /// Its expected time; its 95th percentile is over the limit.
    MissesSla,
    /// Its expected time, which is more than is left.
    MissesDeadline,
    /// Its peak latency and its calls in flight, beside another's.
    Load,
    /// It owns the prompt's prefix.
    Prefix,
    /// The owner of the prompt's prefix has its share of calls.
    Overflow,
    /// Too little is known of it, and this decision finds out.
    Explored,
    /// Too little is known of it for more calls.
    Unknown,
    /// Those before it failed or are not usable.
    Fallback,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Weight => "its turn by weight",
            Self::Order => "first in the order listed",
            Self::Cost => "least expected cost",
            Self::Latency => "least expected time",
            Self::Reliability => "least share of failures",
            Self::MeetsSla => "cheapest within the latency limit",
            Self::MissesSla => "over the latency limit, by expected time",
            Self::MissesDeadline => "expected to take longer than is left",
            Self::Load => "less loaded of two drawn",
            Self::Prefix => "owns the prompt's prefix",
            Self::Overflow => "next in line, the prefix's owner has its share",
            Self::Explored => "tried to learn about it",
            Self::Unknown => "too little is known of it for more calls",
            Self::Fallback => "those before it failed or are not usable",
        })
    }
}
