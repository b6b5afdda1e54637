//! Answers by fingerprint, bounded in number and in weight.

use std::cell::RefCell;
use std::sync::Arc;

use llm_core::Tick;
use llm_core::sync::AtomicU64;
#[cfg(llm_loom)]
use llm_core::sync::Ordering::AcqRel;
use llm_core::sync::Ordering::{Relaxed, Release};
use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};

use super::CacheStats;
use crate::key::{ByFingerprint, Fingerprint, RequestKey};

pub(super) struct Store<V> {
    /// An entry is found by its fingerprint, and compared in full when the table's lock has been let go.
    entries: Cache<Fingerprint, Arc<Kept<V>>, ByWeight, ByFingerprint, Room<V>>,
    counts: Arc<Counts>,
    /// What an entry counts for at least.
    least: u64,
    /// None are kept.
    empty: bool,
}

/// An answer and whose it is.
pub(super) struct Kept<V> {
    pub(super) key: RequestKey,
    pub(super) value: V,
    /// From then on it is too old.
    pub(super) expires_at: Tick,
    bytes: u64,
    least: u64,
    counts: Arc<Counts>,
}

impl<V> Drop for Kept<V> {
    fn drop(&mut self) {
        // Relaxed, as all counts: they publish nothing.
        self.counts.bytes.fetch_sub(self.bytes, Relaxed);
    }
}

#[derive(Default)]
struct Counts {
    asked: [Asked; STRIPES],
    insertions: AtomicU64,
    evictions: AtomicU64,
    expired: AtomicU64,
    bytes: AtomicU64,
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

impl<V> Store<V> {
    pub(super) fn new(max_entries: usize, max_bytes: usize) -> Self {
        let shards = 1 << (max_entries / SHARD).clamp(1, SHARDS).ilog2();
        let a_shard = (max_entries / shards).max(1);
        let least = (max_bytes / (a_shard * shards)).max(1);
        let weight = (a_shard * shards * least).min(max_bytes.max(1));
        let options = OptionsBuilder::new()
            .shards(shards)
            .estimated_items_capacity(a_shard * shards)
            .weight_capacity(weight as u64)
            // So that one entry may fill a cache of one.
            .hot_allocation(if a_shard == 1 { 1.0 } else { 0.97 })
            .build()
            .expect("both capacities are given");
        let counts = Arc::<Counts>::default();
        let entries = Cache::with_options(options, ByWeight, ByFingerprint::default(), Room(std::marker::PhantomData));
        Self { entries, counts, least: least as u64, empty: max_entries == 0 || max_bytes == 0 }
    }

    /// The entry of `fingerprint` that `is` the one meant, unless it is too old.
    pub(super) fn find(
        &self,
        fingerprint: Fingerprint,
        now: Tick,
        is: impl FnOnce(&RequestKey) -> bool,
    ) -> Option<Arc<Kept<V>>> {
        // A model does not see into the table, whose locks publish what was put: it sees the count of its bytes.
        #[cfg(llm_loom)]
        self.counts.bytes.fetch_or(0, AcqRel);
        let kept = self.entries.get(&fingerprint)?;
        if now >= kept.expires_at {
            let removed = self.entries.remove_if(&fingerprint, |known| Arc::ptr_eq(known, &kept));
            self.count_expired(usize::from(removed.is_some()));
            return None;
        }
        is(&kept.key).then_some(kept)
    }

    pub(super) fn put(&self, key: RequestKey, value: V, bytes: usize, expires_at: Tick) -> bool {
        let bytes = (bytes + size_of::<Kept<V>>() + OVERHEAD) as u64;
        if self.empty {
            return false;
        }
        let fingerprint = key.fingerprint();
        // Release for models alone: see `find`.
        self.counts.bytes.fetch_add(bytes, Release);
        let kept = Arc::new(Kept { key, value, expires_at, bytes, least: self.least, counts: self.counts.clone() });
        let mut out = Out { coming: Some(kept.clone()), ..Out::default() };
        self.entries.insert_with_lifecycle(fingerprint, kept, &mut out);
        self.counts.insertions.fetch_add(u64::from(!out.refused), Relaxed);
        self.counts.evictions.fetch_add(out.evicted, Relaxed);
        !out.refused
    }

    /// Forgets those that `which` says; how many there were.
    pub(super) fn forget(&self, which: impl Fn(&Kept<V>) -> bool) -> usize {
        // They end when the locks have been let go.
        let forgotten = RefCell::new(Vec::new());
        self.entries.retain(|_, kept| {
            let stays = !which(kept);
            if !stays {
                forgotten.borrow_mut().push(kept.clone());
            }
            stays
        });
        forgotten.into_inner().len()
    }

    pub(super) fn clear(&self) -> usize {
        self.entries.drain().count()
    }

    pub(super) fn count(&self, fingerprint: Fingerprint, hit: bool) {
        let asked = &self.counts.asked[fingerprint.high() as usize % STRIPES];
        let count = if hit { &asked.hits } else { &asked.misses };
        count.fetch_add(1, Relaxed);
    }

    pub(super) fn count_expired(&self, expired: usize) {
        self.counts.expired.fetch_add(expired as u64, Relaxed);
    }

    pub(super) fn stats(&self) -> CacheStats {
        let sum = |of: fn(&Asked) -> &AtomicU64| self.counts.asked.iter().map(|asked| of(asked).load(Relaxed)).sum();
        let (hits, misses): (u64, u64) = (sum(|asked| &asked.hits), sum(|asked| &asked.misses));
        CacheStats {
            hit_rate: hits as f64 / (hits + misses).max(1) as f64,
            entries: self.entries.len(),
            evictions: self.counts.evictions.load(Relaxed),
            expired: self.counts.expired.load(Relaxed),
            hits,
            misses,
            insertions: self.counts.insertions.load(Relaxed),
            bytes: self.counts.bytes.load(Relaxed),
        }
    }
}

/// The table's own share of an entry, and of a trace of one that is gone.
const OVERHEAD: usize = 96;

#[derive(Clone)]
struct ByWeight;

impl<V> Weighter<Fingerprint, Arc<Kept<V>>> for ByWeight {
    fn weight(&self, _: &Fingerprint, kept: &Arc<Kept<V>>) -> u64 {
        kept.bytes.max(kept.least)
    }
}

/// Takes what has to make room.
struct Room<V>(std::marker::PhantomData<fn() -> V>);

impl<V> Clone for Room<V> {
    fn clone(&self) -> Self {
        Self(std::marker::PhantomData)
    }
}

/// What makes room for what is coming: it ends when the lock has been let go.
struct Out<V> {
    coming: Option<Arc<Kept<V>>>,
    /// What is coming is too large itself.
    refused: bool,
    evicted: u64,
    gone: Vec<Arc<Kept<V>>>,
}

impl<V> Default for Out<V> {
    fn default() -> Self {
        Self { coming: None, refused: false, evicted: 0, gone: Vec::new() }
    }
}

impl<V> Lifecycle<Fingerprint, Arc<Kept<V>>> for Room<V> {
    type RequestState = Out<V>;

    fn on_evict(&self, out: &mut Out<V>, fingerprint: Fingerprint, kept: Arc<Kept<V>>) {
        let coming = out.coming.as_ref();
        if coming.is_some_and(|coming| Arc::ptr_eq(coming, &kept)) {
            out.refused = true;
        } else if coming.is_none_or(|coming| coming.key.fingerprint() != fingerprint) {
            out.evicted += 1;
        }
        out.gone.push(kept);
    }
}
