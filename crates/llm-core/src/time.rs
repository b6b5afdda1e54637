//! Points in time as one word, and the clocks that read them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time: nanoseconds since its clock's origin. One `u64`, so it fits an atomic.
///
/// Arithmetic saturates: no schedule reaches 584 years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tick(u64);

impl Tick {
    /// The origin of every clock.
    pub const ZERO: Self = Self(0);
    /// Later than anything a clock says.
    pub const MAX: Self = Self(u64::MAX);

    /// The tick `nanos` nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The tick `span` later.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }

    /// The tick `span` earlier, the origin at the earliest.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(span)))
    }

    /// The time from `earlier` to `self`; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Debug for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Duration::from_nanos(self.0))
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Reads the time. `now` never goes backwards on one clock.
pub trait Clock: Send + Sync + 'static {
    /// The time since the clock's origin.
    fn now(&self) -> Tick;

    /// Wall-clock time, to label things for people and to read dates from outside. It may jump.
    fn unix_time(&self) -> Duration;
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Tick {
        (**self).now()
    }

    fn unix_time(&self) -> Duration {
        (**self).unix_time()
    }
}

/// The machine's clock. Its origin is an hour before the first one was made in the process, so that a
/// subtraction near start-up does not meet the origin.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// What the clock already shows when the process starts.
const HEAD_START: Duration = Duration::from_secs(3600);

impl SystemClock {
    /// The machine's clock.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl Clock for SystemClock {
    #[cfg(feature = "tsc")]
    fn now(&self) -> Tick {
        use std::sync::OnceLock;
        static ORIGIN: OnceLock<(quanta::Clock, u64)> = OnceLock::new();
        let (clock, origin) = ORIGIN.get_or_init(|| {
            let clock = quanta::Clock::new();
            let origin = clock.raw();
            (clock, origin)
        });
        // Whole nanoseconds all the way: a detour by `Duration` costs as much as the clock itself.
        Tick(HEAD_START.as_nanos() as u64 + clock.delta_as_nanos(*origin, clock.raw()))
    }

    #[cfg(not(feature = "tsc"))]
    #[expect(clippy::disallowed_methods, reason = "this is the clock that others are to take")]
    fn now(&self) -> Tick {
        use std::sync::OnceLock;
        use std::time::Instant;
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        let origin = *ORIGIN.get_or_init(Instant::now);
        Tick::ZERO.after(HEAD_START + Instant::now().saturating_duration_since(origin))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock that others are to take")]
    fn unix_time(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

/// A clock that moves when told to. Clones share one hand.
#[derive(Clone, Debug)]
pub struct ManualClock {
    hand: Arc<AtomicU64>,
}

impl ManualClock {
    /// A clock that shows one hour, as a process that has just started does.
    #[must_use]
    pub fn new() -> Self {
        Self::at(Tick::ZERO.after(HEAD_START))
    }

    /// A clock that shows `now`.
    #[must_use]
    pub fn at(now: Tick) -> Self {
        Self { hand: Arc::new(AtomicU64::new(now.as_nanos())) }
    }

    /// Moves the hand forward.
    pub fn advance(&self, span: Duration) {
        // Relaxed: the hand publishes nothing but itself.
        self.hand.fetch_add(nanos(span), Relaxed);
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Tick {
        // Relaxed: the hand publishes nothing but itself.
        Tick(self.hand.load(Relaxed))
    }

    /// 2001-09-09 plus what the hand shows.
    fn unix_time(&self) -> Duration {
        Duration::from_secs(1_000_000_000) + Duration::from_nanos(self.now().as_nanos())
    }
}

/// The runtime's clock: what shells that sleep use, so that paused test time moves everything at once.
#[cfg(feature = "tokio")]
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    origin: tokio::time::Instant,
}

#[cfg(feature = "tokio")]
impl TokioClock {
    /// A clock that shows one hour.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: tokio::time::Instant::now() }
    }
}

#[cfg(feature = "tokio")]
impl Default for TokioClock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(feature = "tokio")]
impl Clock for TokioClock {
    fn now(&self) -> Tick {
        Tick::ZERO.after(HEAD_START + self.origin.elapsed())
    }

    fn unix_time(&self) -> Duration {
        SystemClock.unix_time()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_tick_is_never_before_an_earlier_one() {
        let clock = SystemClock::new();
        let first = clock.now();
        assert!(clock.now() >= first);
    }

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Tick::MAX.after(Duration::from_secs(1)), Tick::MAX);
        assert_eq!(Tick::ZERO.before(Duration::from_secs(1)), Tick::ZERO);
        assert_eq!(Tick::ZERO.since(Tick::MAX), Duration::ZERO);
        assert_eq!(Tick::ZERO.after(Duration::MAX), Tick::MAX);
    }

    #[test]
    fn clones_of_a_manual_clock_share_one_hand() {
        let clock = ManualClock::new();
        let other = clock.clone();
        let start = other.now();
        clock.advance(Duration::from_millis(5));
        assert_eq!(other.now().since(start), Duration::from_millis(5));
    }
}
