//! Counters in several copies, so that threads that count at once do not pass one cache line to and fro.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Most copies of a counter: more would cost memory and bring little.
const MOST: usize = 16;

/// One copy of `T` for each thread that can run at once, up to [`MOST`]. What is counted is the sum of the copies.
#[derive(Debug)]
pub(crate) struct Sharded<T>(Box<[Padded<T>]>);

/// Alone on its cache lines; two, since processors fetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Padded<T>(T);

impl<T> Sharded<T> {
    pub(crate) fn new(make: impl Fn() -> T) -> Self {
        Self((0..shards()).map(|_| Padded(make())).collect())
    }

    /// The copy of the calling thread.
    pub(crate) fn mine(&self) -> &T {
        // The length is a power of two.
        &self.0[OWN.with(|own| *own) & (self.0.len() - 1)].0
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|padded| &padded.0)
    }
}

fn shards() -> usize {
    static SHARDS: OnceLock<usize> = OnceLock::new();
    *SHARDS.get_or_init(|| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        threads.next_power_of_two().min(MOST)
    })
}

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The thread's number. Relaxed: it need only differ from its neighbours'.
    static OWN: usize = THREADS.fetch_add(1, Relaxed);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn what_all_threads_count_is_the_sum_of_the_copies() {
        let counter = Sharded::new(AtomicU64::default);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        counter.mine().fetch_add(1, Relaxed);
                    }
                });
            }
        });
        assert_eq!(counter.iter().map(|copy| copy.load(Relaxed)).sum::<u64>(), 8000);
    }
}
