//! A cap over a period: a counter that begins with the first charge and is forgotten with the period.

use std::time::Duration;

use llm_core::Tick;

/// What was spent in the period that runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Period {
    /// The period's begin; none before the first charge.
    began: Option<Tick>,
    spent: u64,
}

/// The period that a reservation belongs to; none when nothing was reserved.
pub(crate) type Window = Option<Tick>;

impl Period {
    /// The period at `now`: another one when the old is over.
    fn current(self, per: Duration, now: Tick) -> Self {
        match self.began {
            Some(began) if now < began.after(per) => self,
            _ => Self::default(),
        }
    }

    /// Reserves `amount` of `cap`; else what is left, and how long until the next period.
    pub(crate) fn reserve(&mut self, cap: u64, per: Duration, amount: u64, now: Tick) -> Result<Window, Short> {
        let current = self.current(per, now);
        let left = cap.saturating_sub(current.spent);
        if amount > left {
            let ends = current.began.map(|began| began.after(per).since(now));
            return Err(Short { left, wait: ends.filter(|_| amount <= cap) });
        }
        if amount == 0 {
            return Ok(None);
        }
        let began = current.began.or(Some(now));
        *self = Self { began, spent: current.spent + amount };
        Ok(began)
    }

    /// Replaces what was `reserved` in `window` by what was `used`. A window that is over is left alone; who had
    /// reserved nothing is charged at `now`. Gives the window in which it now stands.
    pub(crate) fn settle(&mut self, window: Window, reserved: u64, used: u64, per: Duration, now: Tick) -> Window {
        let current = self.current(per, now);
        let spent = match window {
            Some(_) if current.began == window => current.spent.saturating_sub(reserved).saturating_add(used),
            Some(_) => return window,
            None => current.spent.saturating_add(used),
        };
        // A period in which nothing was spent has not begun: what is undone leaves no trace.
        let began = current.began.or(Some(now)).filter(|_| spent > 0);
        *self = Self { began, spent };
        began.filter(|_| used > 0)
    }

    /// What is left of `cap` at `now`, and how long the period still runs.
    pub(crate) fn left(self, cap: u64, per: Duration, now: Tick) -> (u64, Duration) {
        let current = self.current(per, now);
        let runs = current.began.map_or(Duration::ZERO, |began| began.after(per).since(now));
        (cap.saturating_sub(current.spent), runs)
    }

    pub(crate) fn is_at_rest(self, per: Duration, now: Tick) -> bool {
        self.current(per, now) == Self::default()
    }
}

/// Too little is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Short {
    pub(crate) left: u64,
    /// The wait that suffices; none when the cap itself is too small.
    pub(crate) wait: Option<Duration>,
}

#[cfg(test)]
#[cfg(not(llm_loom))]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn minute(minute: u64) -> Tick {
        Tick::from_nanos(minute * 60_000_000_000)
    }

    #[test]
    fn a_period_begins_with_its_first_charge_and_ends_with_its_length() {
        let mut period = Period::default();
        period.reserve(10, HOUR, 4, minute(30)).unwrap();
        let short = period.reserve(10, HOUR, 7, minute(60)).unwrap_err();
        assert_eq!(short, Short { left: 6, wait: Some(Duration::from_secs(1800)) });
        assert!(period.reserve(10, HOUR, 7, minute(90)).is_ok());
        assert_eq!(period.left(10, HOUR, minute(91)), (3, Duration::from_secs(59 * 60)));
    }

    #[test]
    fn what_is_undone_leaves_no_trace() {
        let mut period = Period::default();
        let window = period.reserve(10, HOUR, 4, minute(0)).unwrap();
        period.settle(window, 4, 0, HOUR, minute(1));
        assert_eq!(period, Period::default());
        let nothing = period.reserve(10, HOUR, 0, minute(2)).unwrap();
        assert_eq!((nothing, period), (None, Period::default()));
        period.settle(nothing, 0, 3, HOUR, minute(3));
        assert_eq!(period.left(10, HOUR, minute(4)), (7, Duration::from_secs(59 * 60)));
    }

    #[test]
    fn what_exceeds_the_cap_is_refused_for_ever() {
        let short = Period::default().reserve(10, HOUR, 11, minute(1)).unwrap_err();
        assert_eq!(short, Short { left: 10, wait: None });
    }

    #[test]
    fn a_late_settlement_leaves_the_next_period_alone() {
        let mut period = Period::default();
        let early = period.reserve(10, HOUR, 4, minute(0)).unwrap();
        period.reserve(10, HOUR, 8, minute(61)).unwrap();
        period.settle(early, 4, 0, HOUR, minute(61));
        assert_eq!(period.left(10, HOUR, minute(61)).0, 2);
        let mut period = Period::default();
        let window = period.reserve(10, HOUR, 4, minute(0)).unwrap();
        period.settle(window, 4, 12, HOUR, minute(1));
        assert_eq!(period.left(10, HOUR, minute(1)).0, 0);
    }
}
