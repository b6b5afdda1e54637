//! Timing of pairs: ours and a peer's, in turns, so that what disturbs the machine disturbs both.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long one turn takes.
const TURN: Duration = Duration::from_millis(8);
/// Turns of each side.
const ROUNDS: usize = 75;

/// What a row is not to pass.
#[derive(Clone, Copy, Debug)]
pub enum Bar {
    /// So many times what the peer takes.
    Times(f64),
    /// So many nanoseconds.
    Nanos(f64),
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Times(ratio) => write!(f, "≤ {ratio:.2}×"),
            Self::Nanos(nanos) => write!(f, "≤ {nanos} ns"),
        }
    }
}

/// Rows of ours beside a peer's, printed as they are measured.
#[derive(Debug)]
pub struct Table {
    only: Option<String>,
}

impl Table {
    /// Begins a table of all rows, or of those whose name has the program's argument in it.
    #[must_use]
    pub fn new() -> Self {
        println!("\n| what | ours, ns | peer's, ns | ratio | bar | kept |\n|---|---:|---:|---:|---:|---|");
        Self { only: std::env::args().skip(1).find(|argument| !argument.starts_with("--")) }
    }

    /// Measures a row. Both closures do their work as many times as they are told.
    pub fn row(&self, what: &str, bar: Option<Bar>, mut ours: impl FnMut(u64), mut peer: impl FnMut(u64)) {
        let sides: [Side<'_>; 2] = [&mut |count| timed(&mut ours, count), &mut |count| timed(&mut peer, count)];
        self.show(what, bar, sides, |[ours, peer]| [ours, peer]);
    }

    /// As [`row`](Self::row), each side's work on two threads at once: so many times on each of them.
    pub fn row_on_two_threads(&self, what: &str, bar: Option<Bar>, ours: impl Fn() + Sync, peer: impl Fn() + Sync) {
        let sides: [Side<'_>; 2] = [&mut |count| at_once(count, &ours), &mut |count| at_once(count, &peer)];
        self.show(what, bar, sides, |[ours, peer]| [ours, peer]);
    }

    /// As [`row`](Self::row), of what `with` takes more than `without`.
    pub fn added(
        &self,
        what: &str,
        bar: Option<Bar>,
        mut with: impl FnMut(u64),
        mut without: impl FnMut(u64),
        mut peer: impl FnMut(u64),
    ) {
        let sides: [Side<'_>; 3] =
            [&mut |count| timed(&mut with, count), &mut |count| timed(&mut without, count), &mut |count| {
                timed(&mut peer, count)
            }];
        self.show(what, bar, sides, |[with, without, peer]| [with - without, peer]);
    }

    fn show<const SIDES: usize>(
        &self,
        what: &str,
        bar: Option<Bar>,
        sides: [Side<'_>; SIDES],
        of: impl Fn([f64; SIDES]) -> [f64; 2],
    ) {
        if self.only.as_ref().is_some_and(|only| !what.contains(only)) {
            return;
        }
        let [ours, peer, ratio] = measured(sides, of);
        // Judged is what is shown.
        let kept = match bar {
            None => "",
            Some(Bar::Times(most)) if (ratio * 100.0).round() <= most * 100.0 + 1e-9 => "yes",
            Some(Bar::Nanos(most)) if ours <= most => "yes",
            Some(_) => "no",
        };
        let bar = bar.map(|bar| bar.to_string()).unwrap_or_default();
        println!("| {what} | {ours:.1} | {peer:.1} | {ratio:.2}× | {bar} | {kept} |");
    }
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

/// Does something so many times and says how long it took.
type Side<'a> = &'a mut dyn FnMut(u64) -> Duration;

/// Nanoseconds of ours and the peer's, and their ratio: medians over rounds in which the sides took turns. `of` makes
/// the pair of what each side took.
fn measured<const SIDES: usize>(mut sides: [Side<'_>; SIDES], of: impl Fn([f64; SIDES]) -> [f64; 2]) -> [f64; 3] {
    let counts: Vec<u64> = sides.iter_mut().map(|side| turn(side)).collect();
    let mut times: [Vec<f64>; 3] = Default::default();
    for round in 0..ROUNDS {
        let mut each = [0.0; SIDES];
        for place in 0..SIDES {
            let side = (round + place) % SIDES;
            let took = sides[side](counts[side]);
            each[side] = took.as_secs_f64() * 1e9 / counts[side] as f64;
        }
        let [ours, peer] = of(each);
        for (times, time) in times.iter_mut().zip([ours, peer, ours / peer]) {
            times.push(time);
        }
    }
    times.map(median)
}

/// How many times `side` can do its work in a turn.
fn turn(side: Side<'_>) -> u64 {
    let mut count = 64;
    loop {
        // The shortest of three: one that was interrupted says nothing.
        let took = (0..3).map(|_| side(count)).min().unwrap_or_default();
        if took >= TURN / 4 {
            return (count as f64 * TURN.as_secs_f64() / took.as_secs_f64()) as u64;
        }
        count *= 4;
    }
}

/// How long `work` took, so many times, while it had a core.
fn timed(work: &mut impl FnMut(u64), count: u64) -> Duration {
    let waited = waited_for_a_core();
    let took = elapsed(|| work(count));
    took.saturating_sub(waited_for_a_core().saturating_sub(waited))
}

#[expect(clippy::disallowed_methods, reason = "the stop-watch itself")]
fn elapsed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Does `work` so many times on each of two threads at once. A turn in which one of them waited for a core was none:
/// they were not there at once. It is taken again, a few times at most, and the least disturbed counts. Turns are
/// short, so that some are not disturbed on a machine with others at work.
fn at_once(count: u64, work: &(impl Fn() + Sync)) -> Duration {
    const TRIES: usize = 50;
    const PART: u32 = 8;
    let mut best = (f64::INFINITY, Duration::MAX);
    for _ in 0..TRIES {
        let ready = AtomicU32::new(2);
        let run = || {
            let waited = waited_for_a_core();
            // Relaxed, and turning round: whoever sleeps until the other is there begins late.
            ready.fetch_sub(1, Relaxed);
            while ready.load(Relaxed) > 0 {
                std::hint::spin_loop();
            }
            let took = elapsed(|| (0..count / u64::from(PART)).for_each(|_| work()));
            (took, waited_for_a_core().saturating_sub(waited))
        };
        let [(one, idle), (other, bored)] = std::thread::scope(|threads| {
            let other = threads.spawn(run);
            [run(), other.join().expect("the work does not panic")]
        });
        let took = one.max(other);
        let disturbed = idle.max(bored).as_secs_f64() / took.as_secs_f64();
        if disturbed < best.0 {
            best = (disturbed, took);
        }
        if best.0 < 0.02 {
            break;
        }
    }
    best.1 * PART
}

/// How long this thread could have run and did not. Linux alone tells; elsewhere it is nothing.
fn waited_for_a_core() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(told.split_whitespace().nth(1).and_then(|nanos| nanos.parse().ok()).unwrap_or_default())
}
