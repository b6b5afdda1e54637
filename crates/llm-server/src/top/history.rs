//! What the gateway has told of late: rates and percentiles are made of the difference between two answers.

use std::collections::VecDeque;

use crate::http::overview::{Distribution, Overview};

/// Answers that are kept: at one a second, what a wide terminal shows.
const MOST: usize = 300;

/// Rates and percentiles are over so many milliseconds.
const WINDOW_MS: u64 = 10_000;

/// The latest answer, and what it came to with those before it.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Of the last [`WINDOW_MS`], the oldest first; the last is the latest.
    answers: VecDeque<Overview>,
    points: VecDeque<Point>,
}

/// What an answer came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Point {
    /// Requests a second.
    pub(super) rate: Option<f64>,
    /// The share of requests that failed.
    pub(super) failed: Option<f64>,
    /// Half of the requests took at most this.
    pub(super) p50: Option<Quantile>,
    /// 95 of a hundred.
    pub(super) p95: Option<Quantile>,
    /// 99 of a hundred.
    pub(super) p99: Option<Quantile>,
    /// The share of requests that needed no call of their own.
    pub(super) shared: Option<f64>,
    /// Dollars an hour.
    pub(super) spending: Option<f64>,
}

/// A time in seconds below which a share of the observations lies, estimated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Quantile {
    /// About this.
    About(f64),
    /// In the first bucket: less than this, and how much is not known.
    Under(f64),
    /// Above the last bound.
    Over(f64),
}

impl Quantile {
    pub(super) const fn seconds(self) -> f64 {
        match self {
            Self::About(value) | Self::Under(value) | Self::Over(value) => value,
        }
    }
}

impl History {
    /// Takes in an answer.
    pub(super) fn add(&mut self, answer: Overview) {
        // One that was started anew counts anew.
        if self.answers.back().is_some_and(|last| answer.uptime_s < last.uptime_s) {
            *self = Self::default();
        }
        while self.answers.get(1).is_some_and(|second| second.at_ms + WINDOW_MS <= answer.at_ms) {
            self.answers.pop_front();
        }
        if self.points.len() == MOST {
            self.points.pop_front();
        }
        self.points.push_back(point(self.answers.front(), &answer));
        self.answers.push_back(answer);
    }

    pub(super) fn latest(&self) -> Option<&Overview> {
        self.answers.back()
    }

    /// The answer that the latest is compared with.
    pub(super) fn earlier(&self) -> Option<&Overview> {
        self.answers.front().filter(|_| self.answers.len() > 1)
    }

    pub(super) fn point(&self) -> Point {
        self.points.back().copied().unwrap_or_default()
    }

    /// The last `most` points, the oldest first.
    pub(super) fn points(&self, most: usize) -> impl Iterator<Item = &Point> {
        self.points.iter().skip(self.points.len().saturating_sub(most))
    }
}

fn point(old: Option<&Overview>, new: &Overview) -> Point {
    let Some(old) = old else { return Point::default() };
    let all = |it: &Overview| it.requests.outcomes.values().sum::<u64>();
    let ok = |it: &Overview| it.requests.outcomes.get("ok").copied().unwrap_or_default();
    let ended = all(new).saturating_sub(all(old));
    let failed = ended.saturating_sub(ok(new).saturating_sub(ok(old)));
    let (asked, free) = (
        new.sharing.asked.saturating_sub(old.sharing.asked),
        (new.sharing.hits + new.sharing.joined).saturating_sub(old.sharing.hits + old.sharing.joined),
    );
    let took = between(Some(&old.requests.duration), &new.requests.duration);
    let share = |part: u64, of: u64| (of > 0).then(|| part as f64 / of as f64);
    Point {
        rate: per_second(ended as f64, old, new),
        failed: share(failed, ended),
        p50: quantile(&took, 0.5),
        p95: quantile(&took, 0.95),
        p99: quantile(&took, 0.99),
        shared: share(free, asked),
        spending: per_second(new.usage.cost_usd - old.usage.cost_usd, old, new).map(|rate| rate * 3600.0),
    }
}

/// How much `more` is a second of the time between two answers.
pub(super) fn per_second(more: f64, old: &Overview, new: &Overview) -> Option<f64> {
    let millis = new.at_ms.saturating_sub(old.at_ms);
    (millis > 0).then(|| more.max(0.0) * 1000.0 / millis as f64)
}

/// What was observed between two answers.
pub(super) fn between(old: Option<&Distribution>, new: &Distribution) -> Distribution {
    let mut seen = new.clone();
    let known = old.into_iter().flat_map(|old| &old.counts);
    seen.counts.iter_mut().zip(known).for_each(|(count, known)| *count = count.saturating_sub(*known));
    seen
}

/// The time that a share `q` of the observations took at most, estimated as Prometheus does: evenly spread within a
/// bucket.
pub(super) fn quantile(seen: &Distribution, q: f64) -> Option<Quantile> {
    let wanted = seen.counts.iter().sum::<u64>() as f64 * q;
    let mut below = 0.0;
    for (at, count) in seen.counts.iter().enumerate() {
        let count = *count as f64;
        if count > 0.0 && below + count >= wanted {
            let Some(upper) = seen.bounds_s.get(at) else { return seen.bounds_s.last().copied().map(Quantile::Over) };
            let Some(lower) = at.checked_sub(1).and_then(|at| seen.bounds_s.get(at)) else {
                return Some(Quantile::Under(*upper));
            };
            return Some(Quantile::About(lower + (upper - lower) * (wanted - below) / count));
        }
        below += count;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(counts: [u64; 4]) -> Distribution {
        Distribution { bounds_s: vec![0.01, 0.02, 0.04], counts: counts.to_vec(), sum_s: 0.0 }
    }

    fn answer(at_ms: u64, ok: u64, failed: u64) -> Overview {
        let mut answer = Overview { at_ms, uptime_s: at_ms as f64 / 1000.0, ..Overview::default() };
        answer.requests.outcomes = [("ok".to_owned(), ok), ("timeout".to_owned(), failed)].into();
        answer.requests.duration = spread([0, ok + failed, 0, 0]);
        answer
    }

    #[test]
    fn a_quantile_lies_in_its_bucket_and_says_where_only_a_bound_is_known() {
        assert_eq!(quantile(&spread([0, 0, 0, 0]), 0.5), None);
        assert_eq!(quantile(&spread([3, 0, 0, 0]), 0.99), Some(Quantile::Under(0.01)));
        assert_eq!(quantile(&spread([0, 4, 0, 0]), 0.5), Some(Quantile::About(0.015)));
        assert_eq!(quantile(&spread([1, 1, 2, 0]), 0.75), Some(Quantile::About(0.03)));
        assert_eq!(quantile(&spread([1, 0, 0, 1]), 0.95), Some(Quantile::Over(0.04)));
        assert_eq!(quantile(&Distribution::default(), 0.5), None);
    }

    #[test]
    fn rates_are_over_ten_seconds_at_most() {
        let mut history = History::default();
        history.add(answer(1_000, 100, 0));
        assert_eq!(history.point(), Point::default(), "one answer has no rate");
        for second in 2..=21 {
            history.add(answer(second * 1_000, 100 + 2 * (second - 1), second - 1));
        }
        let point = history.point();
        assert_eq!((point.rate, point.failed), (Some(3.0), Some(1.0 / 3.0)));
        assert_eq!(point.p50, Some(Quantile::About(0.015)));
        assert_eq!(history.earlier().map(|earlier| earlier.at_ms), Some(11_000));
        assert_eq!(history.points(5).count(), 5);
    }

    #[test]
    fn a_gateway_that_was_started_anew_counts_anew() {
        let mut history = History::default();
        history.add(answer(50_000, 1_000, 0));
        let restarted = Overview { uptime_s: 0.5, ..answer(51_000, 1, 0) };
        history.add(restarted);
        assert_eq!(history.point(), Point::default());
        assert!(history.earlier().is_none());
    }

    #[test]
    fn no_more_is_kept_than_is_shown() {
        let mut history = History::default();
        (1..1_000).for_each(|second| history.add(answer(second * 1_000, second, 0)));
        assert_eq!(history.points.len(), MOST);
        assert!(history.answers.len() <= 12, "{}", history.answers.len());
    }
}
