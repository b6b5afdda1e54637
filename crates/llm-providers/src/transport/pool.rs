//! Idle HTTP/1.1 connections: the last one back is the first one taken.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use llm_core::{Clock, Tick};
use parking_lot::Mutex;

/// Idle connections that are kept.
const MOST: usize = 256;
/// How long one is kept: servers and the middle boxes before them give up on idle ones after a minute or more.
const LONGEST: Duration = Duration::from_secs(55);

/// Connections that wait for their next request. The longest idle are at the front.
pub(super) struct Pool<C> {
    idle: Mutex<VecDeque<(Tick, C)>>,
    clock: Arc<dyn Clock>,
}

impl<C> Pool<C> {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { idle: Mutex::default(), clock }
    }

    /// The connection that came back last and is still of use, as `usable` finds.
    pub(super) fn take(&self, mut usable: impl FnMut(&mut C) -> bool) -> Option<C> {
        let now = self.clock.now();
        loop {
            let (since, mut connection) = self.idle.lock().pop_back()?;
            if now.since(since) > LONGEST {
                // All the others have waited for longer. They close outside the lock.
                let expired = std::mem::take(&mut *self.idle.lock());
                drop(expired);
                return None;
            }
            if usable(&mut connection) {
                return Some(connection);
            }
        }
    }

    /// Keeps `connection` for the next request.
    pub(super) fn put(&self, connection: C) {
        let now = self.clock.now();
        let mut idle = self.idle.lock();
        idle.push_back((now, connection));
        let excess = idle.len().saturating_sub(MOST);
        let expired = idle.iter().take_while(|(since, _)| now.since(*since) > LONGEST).count();
        // They close outside the lock.
        let closing: Vec<_> = idle.drain(..excess.max(expired)).collect();
        drop(idle);
        drop(closing);
    }
}

impl<C> fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("idle", &self.idle.lock().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use llm_core::ManualClock;
    use proptest::prelude::*;

    use super::*;

    fn pool() -> (Pool<u32>, ManualClock) {
        let clock = ManualClock::new();
        (Pool::new(Arc::new(clock.clone())), clock)
    }

    #[test]
    fn the_last_one_back_is_taken_first() {
        let (pool, _) = pool();
        (1..=3).for_each(|connection| pool.put(connection));
        assert_eq!(pool.take(|_| true), Some(3));
        assert_eq!(pool.take(|connection| *connection != 2), Some(1));
        assert_eq!(pool.take(|_| true), None);
    }

    #[test]
    fn what_was_idle_for_too_long_is_closed() {
        let (pool, clock) = pool();
        pool.put(1);
        clock.advance(LONGEST);
        pool.put(2);
        assert_eq!(pool.take(|_| true), Some(2));
        clock.advance(Duration::from_nanos(1));
        assert_eq!(pool.take(|_| true), None);
        assert_eq!(pool.idle.lock().len(), 0);
    }

    #[test]
    fn the_longest_idle_make_room() {
        let (pool, _) = pool();
        (0..MOST as u32 + 2).for_each(|connection| pool.put(connection));
        assert_eq!(pool.idle.lock().len(), MOST);
        assert_eq!(pool.idle.lock().front().map(|(_, connection)| *connection), Some(2));
    }

    #[derive(Clone, Debug)]
    enum Op {
        Put,
        Take { broken: bool },
        Wait(u64),
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let op = prop_oneof![
            3 => Just(Op::Put),
            2 => any::<bool>().prop_map(|broken| Op::Take { broken }),
            1 => (0..30_u64).prop_map(Op::Wait),
        ];
        proptest::collection::vec(op, 0..200)
    }

    proptest! {
        #[test]
        fn a_pool_is_a_list_from_which_the_old_are_struck(ops in ops()) {
            let (pool, clock) = pool();
            let mut model: Vec<(Tick, u32)> = Vec::new();
            for (name, op) in (0..).zip(ops) {
                let now = clock.now();
                match op {
                    Op::Put => {
                        pool.put(name);
                        model.push((now, name));
                    }
                    Op::Take { broken } => {
                        model.retain(|(since, _)| now.since(*since) <= LONGEST);
                        // A broken one is passed over for the one below it.
                        let last = model.last().map(|(_, name)| *name);
                        let usable = |connection: &mut u32| !(broken && Some(*connection) == last);
                        if broken {
                            model.pop();
                        }
                        prop_assert_eq!(pool.take(usable), model.pop().map(|(_, name)| name));
                    }
                    Op::Wait(seconds) => clock.advance(Duration::from_secs(seconds)),
                }
            }
        }
    }
}
