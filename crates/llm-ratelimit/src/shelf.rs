//! Things by name, at most so many: what is at rest is forgotten when room is needed.

use std::hash::{BuildHasher as _, Hasher as _};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use llm_core::Tick;
use llm_core::sync::{Arc, Mutex};

use crate::text::same;

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
    /// Things for which there was no room since those at rest were last looked for.
    refused: usize,
}

/// From so many things on they are spread over shards, so that callers of different ones do not meet.
const MANY: usize = 1024;
const SHARDS: usize = 64;

/// Below this a shard is not swept.
const FEW: usize = 32;

/// A full shard is swept once for each so many things that it holds and had no room for: else names made up by the
/// dozen would have all of it looked through for each of them.
const SHARE: usize = 64;

impl<V: Resting> Shard<V> {
    /// Whether there is room for another thing; if need be it is made.
    #[cold]
    fn has_room(&mut self, most: usize, now: Tick) -> bool {
        let held = self.things.len();
        if held < self.sweep_at.min(most) {
            return true;
        }
        if held >= most && self.refused < (held / SHARE).saturating_sub(1) {
            self.refused += 1;
            return false;
        }
        self.things.retain(|(_, thing)| Arc::strong_count(thing) > 1 || !thing.is_at_rest(now));
        let left = self.things.len();
        (self.sweep_at, self.refused) = ((left * 2).max(FEW), 0);
        left < most
    }
}

impl<V: Resting> Shelf<V> {
    /// Room for about `most` things: in shards, whose shares are uneven, for up to half as many again.
    pub(crate) fn new(most: usize) -> Self {
        let shards = if most < MANY { 1 } else { SHARDS };
        let hasher = RandomState::default();
        let shard = || Mutex::new(Shard { things: HashTable::new(), sweep_at: FEW, refused: usize::MAX });
        let made = (0..shards).map(|_| shard()).collect();
        // Names do not spread evenly: a shard has room for half as much again.
        let most_a_shard = if shards == 1 { most } else { most.div_ceil(shards).saturating_mul(3) / 2 };
        Self { shards: made, hasher, most_a_shard: most_a_shard.max(1) }
    }

    #[inline]
    fn hash(&self, name: &str) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        // The bytes alone: with them goes their number, and nothing follows them that they could run into.
        hasher.write(name.as_bytes());
        hasher.finish()
    }

    #[inline]
    fn shard(&self, hash: u64) -> &Mutex<Shard<V>> {
        // A power of two of them; the table below uses the low and the highest bits.
        &self.shards[(hash >> 40) as usize & (self.shards.len() - 1)]
    }

    /// Shows the thing called `name`, if it is there. Others of its shard wait meanwhile.
    #[inline]
    pub(crate) fn known<T>(&self, name: &str, show: impl FnOnce(&Arc<V>) -> T) -> Option<T> {
        let hash = self.hash(name);
        let shard = self.shard(hash).lock();
        shard.things.find(hash, |(known, _)| same(known, name)).map(|(_, thing)| show(thing))
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
        if let Some((_, thing)) = shard.things.find(hash, |(known, _)| same(known, name)) {
            return show(Some(thing));
        }
        if !shard.has_room(self.most_a_shard, now) {
            drop(shard);
            return show(None);
        }
        let thing = (name.into(), Arc::new(make()));
        let entry = shard.things.insert_unique(hash, thing, |(known, _)| self.hash(known));
        show(Some(&entry.get().1))
    }

    /// The thing called `name`, if it is there.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<V>> {
        self.known(name, Arc::clone)
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().things.len()).sum()
    }

    /// Shows everything, shard by shard; nothing can be added to a shard meanwhile.
    pub(crate) fn each(&self, show: impl FnMut(&str, &Arc<V>)) {
        self.each_of(usize::MAX, show);
    }

    /// As [`each`](Self::each), but `most` things at most; how many there are.
    pub(crate) fn each_of(&self, most: usize, mut show: impl FnMut(&str, &Arc<V>)) -> usize {
        let mut held = 0;
        for shard in &self.shards {
            let shard = shard.lock();
            let left = most.saturating_sub(held);
            shard.things.iter().take(left).for_each(|(name, thing)| show(name, thing));
            held += shard.things.len();
        }
        held
    }
}

#[cfg(test)]
#[cfg(not(llm_loom))]
mod tests {
    use std::sync::Arc as SharedArc;

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
    fn in_many_shards_there_are_never_more_than_half_as_many_again() {
        let shelf = Shelf::new(64 * 20);
        let got = (0..20_000).filter(|number: &u32| shelf.get(&number.to_string(), EARLY, || Until(LATE)).is_some());
        assert_eq!(got.count(), 64 * 30);
        assert_eq!(shelf.len(), 64 * 30);
    }

    #[test]
    fn a_full_shelf_is_not_looked_through_for_every_new_name() {
        use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

        struct Asked(SharedArc<AtomicUsize>);
        impl Resting for Asked {
            fn is_at_rest(&self, _: Tick) -> bool {
                self.0.fetch_add(1, Relaxed);
                false
            }
        }
        const MOST: usize = 1000;
        let (shelf, asked) = (Shelf::new(MOST), SharedArc::new(AtomicUsize::new(0)));
        let get = |name: usize| shelf.get(&name.to_string(), EARLY, || Asked(asked.clone())).is_some();
        assert!((0..MOST).all(get));
        asked.store(0, Relaxed);
        assert!(!(MOST..2 * MOST).any(get));
        let each = asked.load(Relaxed) / MOST;
        assert!(each <= 2 * SHARE, "{each} are asked for each name");
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
