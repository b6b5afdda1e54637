//! Timing of pairs: ours and a peer's, in turns, so that what disturbs the machine disturbs both.

use std::time::{Duration, Instant};

/// How long one turn takes.
const TURN: Duration = Duration::from_millis(8);
/// Turns of each side.
const ROUNDS: usize = 25;

/// Rows of ours beside a peer's, printed as they are measured.
#[derive(Debug)]
pub struct Table;

impl Table {
    /// Begins a table.
    #[must_use]
    pub fn new() -> Self {
        println!("\n| what | ours, ns | peer's, ns | ratio | bar |\n|---|---:|---:|---:|---:|");
        Self
    }

    /// Measures a row. Both closures do their work as many times as they are told. `bar` is the ratio that is not to
    /// be passed.
    pub fn row(&self, what: &str, bar: Option<f64>, mut ours: impl FnMut(u64), mut peer: impl FnMut(u64)) {
        show(what, bar, measured([&mut ours, &mut peer], |[ours, peer]| [ours, peer]));
    }

    /// As [`row`](Self::row), of what `with` takes more than `without`.
    pub fn added(
        &self,
        what: &str,
        bar: Option<f64>,
        mut with: impl FnMut(u64),
        mut without: impl FnMut(u64),
        mut peer: impl FnMut(u64),
    ) {
        let sides: [&mut dyn FnMut(u64); 3] = [&mut with, &mut without, &mut peer];
        show(what, bar, measured(sides, |[with, without, peer]| [with - without, peer]));
    }
}

/// Nanoseconds of ours and the peer's, and their ratio: medians over rounds in which the sides took turns. `of` makes
/// the pair of what each side took.
fn measured<const SIDES: usize>(
    mut sides: [&mut dyn FnMut(u64); SIDES],
    of: impl Fn([f64; SIDES]) -> [f64; 2],
) -> [f64; 3] {
    let counts: Vec<u64> = sides.iter_mut().map(|side| turn(side)).collect();
    let mut times: [Vec<f64>; 3] = Default::default();
    for round in 0..ROUNDS {
        let mut each = [0.0; SIDES];
        for place in 0..SIDES {
            let side = (round + place) % SIDES;
            let took = time(&mut sides[side], counts[side]);
            each[side] = took.as_secs_f64() * 1e9 / counts[side] as f64;
        }
        let [ours, peer] = of(each);
        for (times, time) in times.iter_mut().zip([ours, peer, ours / peer]) {
            times.push(time);
        }
    }
    times.map(median)
}

fn show(what: &str, bar: Option<f64>, [ours, peer, ratio]: [f64; 3]) {
    let bar = bar.map_or_else(String::new, |bar| format!("≤ {bar:.2}×"));
    println!("| {what} | {ours:.1} | {peer:.1} | {ratio:.2}× | {bar} |");
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

/// How many times `work` can be done in a turn.
fn turn(work: &mut dyn FnMut(u64)) -> u64 {
    let mut count = 64;
    loop {
        // The shortest of three: one that was interrupted says nothing.
        let took = (0..3).map(|_| time(work, count)).min().unwrap_or_default();
        if took >= TURN / 4 {
            return (count as f64 * TURN.as_secs_f64() / took.as_secs_f64()) as u64;
        }
        count *= 4;
    }
}

#[expect(clippy::disallowed_methods, reason = "the stop-watch itself")]
fn time(work: &mut dyn FnMut(u64), count: u64) -> Duration {
    let begun = Instant::now();
    work(count);
    begun.elapsed()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Does `work` so many times on each of two threads at once.
pub fn on_two_threads(count: u64, work: impl Fn() + Sync) {
    let ready = std::sync::Barrier::new(2);
    let run = || {
        ready.wait();
        (0..count).for_each(|_| work());
    };
    std::thread::scope(|threads| {
        threads.spawn(run);
        run();
    });
}
