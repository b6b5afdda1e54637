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
        let counts = [turn(&mut ours), turn(&mut peer)];
        let mut times: [Vec<f64>; 3] = Default::default();
        for round in 0..ROUNDS {
            let mut measured = [0.0; 2];
            for side in [round % 2, (round + 1) % 2] {
                let count = counts[side];
                let took = if side == 0 { time(&mut ours, count) } else { time(&mut peer, count) };
                measured[side] = took.as_secs_f64() * 1e9 / count as f64;
            }
            times[0].push(measured[0]);
            times[1].push(measured[1]);
            times[2].push(measured[0] / measured[1]);
        }
        let [ours, peer, ratio] = times.map(median);
        let bar = bar.map_or_else(String::new, |bar| format!("≤ {bar:.2}×"));
        println!("| {what} | {ours:.1} | {peer:.1} | {ratio:.2}× | {bar} |");
    }
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

/// How many times `work` can be done in a turn.
fn turn(work: &mut impl FnMut(u64)) -> u64 {
    let mut count = 64;
    loop {
        let took = time(work, count);
        if took >= TURN / 4 {
            return (count as f64 * TURN.as_secs_f64() / took.as_secs_f64()) as u64;
        }
        count *= 4;
    }
}

#[expect(clippy::disallowed_methods, reason = "the stop-watch itself")]
fn time(work: &mut impl FnMut(u64), count: u64) -> Duration {
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
