//! Things by name, at most so many: what is at rest is forgotten when room is needed.

use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use llm_core::Tick;
use llm_core::sync::{Arc, Mutex};

/// What may be forgotten at times.
pub(crate) trait Resting {
    /// Whether a new one would be the same at `now`.
    fn is_at_rest(&self, now: Tick) -> bool;
}

/// Things by name.
///
/// A thing is handed out under the lock of its shard, and forgotten under it only while nobody holds it: what
/// was taken from it cannot be lost.
pub(crate) struct Shelf<V> {
    shards: Box<[Mutex<Shard<V>>]>,
    hasher: RandomState,
    most_a_shard: usize,
}

struct Shard<V> {
    things: HashTable<(Box<str>, Arc<V>)>,
    /// At this many things those at rest are looked for.
    sweep_at: usize,
}

/// From so many things on they are spread over shards, so that callers of different ones do not meet.
const MANY: usize = 1024;
const SHARDS: usize = 64;

/// Below this a shard is not swept.
const FEW: usize = 32;

impl<V: Resting> Shelf<V> {
    /// Room for at least `most` things.
    pub(crate) fn new(most: usize) -> Self {
        let shards = if most < MANY { 1 } else { SHARDS };
        let hasher = RandomState::default();
        let shard = || Mutex::new(Shard { things: HashTable::new(), sweep_at: FEW });
        let made = (0..shards).map(|_| shard()).collect();
        // Names do not spread evenly: a shard has room for half as much again.
        let most_a_shard = if shards == 1 { most } else { most.div_ceil(shards).saturating_mul(3) / 2 };
        Self { shards: made, hasher, most_a_shard: most_a_shard.max(1) }
    }

    fn hash(&self, name: &str) -> u64 {
        self.hasher.hash_one(name)
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard<V>> {
        // A power of two of them; the table below uses the low and the highest bits.
        &self.shards[(hash >> 40) as usize & (self.shards.len() - 1)]
    }

    /// The thing called `name`, made now if need be. None when there is no room for it.
    pub(crate) fn get(&self, name: &str, now: Tick, make: impl FnOnce() -> V) -> Option<Arc<V>> {
        self.with(name, now, make, |thing| thing.cloned())
    }

    /// Shows the thing called `name`, made now if need be; none when there is no room for it. Others of its shard
    /// wait meanwhile.
    pub(crate) fn with<T>(
        &self,
        name: &str,
        now: Tick,
        make: impl FnOnce() -> V,
        show: impl FnOnce(Option<&Arc<V>>) -> T,
    ) -> T {
        let hash = self.hash(name);
        let mut shard = self.shard(hash).lock();
        if let Some((_, thing)) = shard.things.find(hash, |(known, _)| **known == *name) {
            return show(Some(thing));
        }
        if shard.things.len() >= shard.sweep_at.min(self.most_a_shard) {
            shard.things.retain(|(_, thing)| Arc::strong_count(thing) > 1 || !thing.is_at_rest(now));
            shard.sweep_at = (shard.things.len() * 2).max(FEW);
            if shard.things.len() >= self.most_a_shard {
                drop(shard);
                return show(None);
            }
        }
        let thing = (name.into(), Arc::new(make()));
        let entry = shard.things.insert_unique(hash, thing, |(known, _)| self.hasher.hash_one(&**known));
        show(Some(&entry.get().1))
    }

    /// The thing called `name`, if it is there.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<V>> {
        let hash = self.hash(name);
        let shard = self.shard(hash).lock();
        shard.things.find(hash, |(known, _)| **known == *name).map(|(_, thing)| thing.clone())
    }

    /// Puts another thing in the place of the one called `name`. None when there is no room for it.
    pub(crate) fn replace(&self, name: &str, now: Tick, make: impl FnOnce(Option<&V>) -> V) -> Option<Arc<V>> {
        let hash = self.hash(name);
        let mut shard = self.shard(hash).lock();
        match shard.things.find_mut(hash, |(known, _)| **known == *name) {
            Some((_, thing)) => {
                *thing = Arc::new(make(Some(&**thing)));
                Some(thing.clone())
            }
            None => {
                drop(shard);
                self.get(name, now, || make(None))
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().things.len()).sum()
    }

    /// Shows everything, shard by shard; nothing can be added to a shard meanwhile.
    pub(crate) fn each(&self, mut show: impl FnMut(&str, &Arc<V>)) {
        for shard in &self.shards {
            shard.lock().things.iter().for_each(|(name, thing)| show(name, thing));
        }
    }
}

#[cfg(test)]
#[cfg(not(llm_loom))]
mod tests {
    use super::*;

    struct Until(Tick);

    impl Resting for Until {
        fn is_at_rest(&self, now: Tick) -> bool {
            now >= self.0
        }
    }

    const EARLY: Tick = Tick::from_nanos(1);
    const LATE: Tick = Tick::from_nanos(10);

    #[test]
    fn there_are_never_more_than_there_is_room_for() {
        let shelf = Shelf::new(100);
        for number in 0..10_000 {
            let thing = shelf.get(&number.to_string(), EARLY, || Until(LATE));
            assert_eq!(thing.is_some(), number < 100);
        }
        assert_eq!(shelf.len(), 100);
        assert!(shelf.get("late", LATE, || Until(LATE)).is_some(), "those at rest make room");
        assert_eq!(shelf.len(), 1);
    }

    #[test]
    fn what_is_held_or_not_at_rest_stays() {
        let shelf = Shelf::new(3);
        let held = shelf.get("held", EARLY, || Until(EARLY)).unwrap();
        shelf.get("busy", EARLY, || Until(LATE)).unwrap();
        shelf.get("idle", EARLY, || Until(EARLY)).unwrap();
        shelf.get("new", EARLY, || Until(EARLY)).unwrap();
        assert!(Arc::ptr_eq(&held, &shelf.find("held").unwrap()));
        assert!(shelf.find("busy").is_some() && shelf.find("idle").is_none());
    }
}

#[cfg(test)]
#[cfg(llm_loom)]
mod loom_tests {
    use super::*;
    use crate::bucket::Bucket;
    use crate::config::TokenBucketConfig;
    use crate::quota::Quota;

    impl Resting for (Bucket, Quota) {
        fn is_at_rest(&self, now: Tick) -> bool {
            self.0.full_in(self.1, now).is_zero()
        }
    }

    #[test]
    fn forgetting_grants_nothing() {
        const NOW: Tick = Tick::from_nanos(1_000_000_000);
        loom::model(|| {
            let shelf = Arc::new(Shelf::new(1));
            let quota = Quota::try_new(TokenBucketConfig::new(1, 1)).unwrap();
            let take = move |shelf: &Shelf<(Bucket, Quota)>| {
                let thing = shelf.get("a", NOW, || (Bucket::full(), quota));
                thing.is_some_and(|thing| thing.0.take(quota, 1, NOW).is_ok())
            };
            // Another name wants the only place, again and again.
            let rival = {
                let shelf = shelf.clone();
                loom::thread::spawn(move || drop(shelf.get("b", NOW, || (Bucket::full(), quota))))
            };
            let admitted = [take(&shelf), take(&shelf)];
            rival.join().unwrap();
            assert!(admitted.iter().filter(|admitted| **admitted).count() <= 1, "one unit, one admission");
        });
    }
}
