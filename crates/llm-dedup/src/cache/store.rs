//! Answers in a table, bounded in number and in weight.

use std::cell::RefCell;
use std::hash::Hash;
use std::marker::PhantomData;

use llm_core::Tick;
use llm_core::sync::AtomicU64;
#[cfg(llm_loom)]
use llm_core::sync::Ordering::AcqRel;
use llm_core::sync::Ordering::{Relaxed, Release};
use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Lifecycle, OptionsBuilder, Weighter};

use super::CacheStats;
use crate::key::{ByFingerprint, Fingerprint, KeptKey};

pub(super) struct Store<V> {
    entries: Cache<KeptKey, Kept<V>, ByWeight, ByFingerprint, Room<V>>,
    asked: [Asked; STRIPES],
    insertions: AtomicU64,
    evictions: AtomicU64,
    expired: AtomicU64,
    bytes: AtomicU64,
    /// What an entry may weigh.
    heaviest: u64,
}

/// An answer. It lies in the table beside its key: a hit looks elsewhere only for the key's bytes.
#[derive(Clone)]
pub(super) struct Kept<V> {
    pub(super) value: V,
    /// From then on it is too old.
    pub(super) expires_at: Tick,
    bytes: u64,
}

/// On a cache line of their own, so that hits of different answers do not meet.
#[derive(Default)]
#[repr(align(64))]
struct Asked {
    hits: AtomicU64,
    misses: AtomicU64,
}

const STRIPES: usize = 16;

/// A shard has room for at least so many: fingerprints spread so evenly over them that a few hundredths are lost.
const SHARD: usize = 1024;
const SHARDS: usize = 64;

impl<V: Clone> Store<V> {
    /// The table's own share of an entry, that of a trace of one that is gone included.
    const OVERHEAD: usize = (size_of::<KeptKey>() + size_of::<Kept<V>>() + 24) * 3 / 2;

    pub(super) fn new(max_entries: usize, max_bytes: usize) -> Self {
        let shards = 1 << (max_entries / SHARD).clamp(1, SHARDS).ilog2();
        let a_shard = (max_entries / shards).max(1);
        let least = (max_bytes / (a_shard * shards)).max(1);
        let weight = (a_shard * shards * least).min(max_bytes.max(1));
        // So that one entry may fill a cache of one.
        let hot = if a_shard == 1 { 1.0 } else { 0.97 };
        let options = OptionsBuilder::new()
            .shards(shards)
            .estimated_items_capacity(a_shard * shards)
            .weight_capacity(weight as u64)
            .hot_allocation(hot)
            .build()
            .expect("both capacities are given");
        let by_weight = ByWeight { least: least as u64 };
        let entries = Cache::with_options(options, by_weight, ByFingerprint::default(), Room(PhantomData));
        let is_empty = max_entries == 0 || max_bytes == 0;
        Self {
            heaviest: if is_empty { 0 } else { (entries.shard_capacity() as f64 * hot) as u64 },
            entries,
            asked: Default::default(),
            insertions: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// The answer to the call of `key`, unless it is too old.
    #[inline]
    pub(super) fn find<K: Hash + Equivalent<KeptKey>>(&self, key: &K, now: Tick) -> Option<V> {
        // A model does not see into the table, whose locks publish what was put: it sees the count of its bytes.
        #[cfg(llm_loom)]
        self.bytes.fetch_or(0, AcqRel);
        let kept = self.entries.get(key)?;
        if now < kept.expires_at {
            return Some(kept.value);
        }
        let expired = self.entries.remove_if(key, |known| known.expires_at == kept.expires_at);
        self.count_expired(self.gone(expired.map(|(_, kept)| kept)));
        None
    }

    /// Whether it is kept.
    pub(super) fn put(&self, key: KeptKey, value: V, bytes: usize, expires_at: Tick) -> bool {
        let bytes = (bytes + Self::OVERHEAD) as u64;
        if bytes > self.heaviest {
            // What it would have replaced is not the last answer any more.
            self.gone(self.entries.remove(&key).map(|(_, kept)| kept));
            return false;
        }
        // Release for models alone: see `find`.
        self.bytes.fetch_add(bytes, Release);
        self.insertions.fetch_add(1, Relaxed);
        let mut out = Out { coming: Some(key.fingerprint()), ..Out::default() };
        self.entries.insert_with_lifecycle(key, Kept { value, expires_at, bytes }, &mut out);
        self.evictions.fetch_add(out.evicted, Relaxed);
        self.gone(out.gone);
        true
    }

    /// Forgets those that `which` says; how many there were.
    pub(super) fn forget(&self, which: impl Fn(&KeptKey, &Kept<V>) -> bool) -> usize {
        // They end when the locks have been let go.
        let forgotten = RefCell::new(Vec::new());
        self.entries.retain(|key, kept| {
            let stays = !which(key, kept);
            if !stays {
                forgotten.borrow_mut().push(kept.clone());
            }
            stays
        });
        self.gone(forgotten.into_inner())
    }

    pub(super) fn clear(&self) -> usize {
        self.gone(self.entries.drain().map(|(_, kept)| kept))
    }

    /// Takes those who are gone off the count of bytes; how many there are.
    fn gone(&self, gone: impl IntoIterator<Item = Kept<V>>) -> usize {
        // Relaxed, as all counts: they publish nothing.
        let (count, bytes) = gone.into_iter().fold((0, 0), |(count, bytes), kept| (count + 1, bytes + kept.bytes));
        self.bytes.fetch_sub(bytes, Relaxed);
        count
    }

    #[inline]
    pub(super) fn count(&self, fingerprint: Fingerprint, hit: bool) {
        let asked = &self.asked[fingerprint.high() as usize % STRIPES];
        let count = if hit { &asked.hits } else { &asked.misses };
        count.fetch_add(1, Relaxed);
    }

    pub(super) fn count_expired(&self, expired: usize) {
        self.expired.fetch_add(expired as u64, Relaxed);
    }

    pub(super) fn stats(&self) -> CacheStats {
        let sum = |of: fn(&Asked) -> &AtomicU64| self.asked.iter().map(|asked| of(asked).load(Relaxed)).sum();
        let (hits, misses): (u64, u64) = (sum(|asked| &asked.hits), sum(|asked| &asked.misses));
        CacheStats {
            hit_rate: hits as f64 / (hits + misses).max(1) as f64,
            entries: self.entries.len(),
            evictions: self.evictions.load(Relaxed),
            expired: self.expired.load(Relaxed),
            hits,
            misses,
            insertions: self.insertions.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
        }
    }
}

#[derive(Clone)]
struct ByWeight {
    /// What an entry counts for at least.
    least: u64,
}

impl<V> Weighter<KeptKey, Kept<V>> for ByWeight {
    fn weight(&self, _: &KeptKey, kept: &Kept<V>) -> u64 {
        kept.bytes.max(self.least)
    }
}

/// Takes what has to make room.
struct Room<V>(PhantomData<fn() -> V>);

impl<V> Clone for Room<V> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}

/// What makes room for what is coming: it ends when the lock has been let go.
struct Out<V> {
    coming: Option<Fingerprint>,
    evicted: u64,
    gone: Vec<Kept<V>>,
}

impl<V> Default for Out<V> {
    fn default() -> Self {
        Self { coming: None, evicted: 0, gone: Vec::new() }
    }
}

impl<V> Lifecycle<KeptKey, Kept<V>> for Room<V> {
    type RequestState = Out<V>;

    fn on_evict(&self, out: &mut Out<V>, key: KeptKey, kept: Kept<V>) {
        // What is replaced was not evicted.
        out.evicted += u64::from(out.coming != Some(key.fingerprint()));
        out.gone.push(kept);
    }
}
