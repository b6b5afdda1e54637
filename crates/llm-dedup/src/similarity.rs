//! Questions that are nearly the same.

mod evidence;
mod simhash;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashTable;
use llm_core::sync::Mutex;
use llm_core::{Clock, HashKey, SystemClock, TenantId, Tick, hash128};

use self::evidence::agree;
use self::simhash::simhash;

/// What counts as nearly the same, and how much is remembered.
#[derive(Clone, Debug)]
pub struct SimilarityConfig {
    /// The bits of 64 in which two fingerprints may differ, 0 to 6: 0 finds the same words alone, 3 small edits, 6 is
    /// loose. Default 3.
    pub threshold: u32,
    /// How long a question is remembered. Default 300 s.
    pub ttl: Duration,
    /// Most questions; the oldest make room. Default 10,000.
    pub max_entries: usize,
    /// Who measures how close two texts are, beside the words themselves. Default nobody.
    pub embedder: Option<Arc<dyn Embedder>>,
    /// The cosine that its vectors must reach, −1 to 1. Default 0.95.
    pub min_cosine: f32,
}

impl Default for SimilarityConfig {
    fn default() -> Self {
        let ttl = Duration::from_secs(300);
        Self { threshold: 3, ttl, max_entries: 10_000, embedder: None, min_cosine: 0.95 }
    }
}

/// A model that turns texts into vectors; plugged in, it has a say in what is nearly the same.
pub trait Embedder: fmt::Debug + Send + Sync {
    /// The vector of `text`. Vectors of different lengths are as far apart as can be.
    fn embed(&self, text: &str) -> Vec<f32>;
}

/// Within what questions may be nearly the same: everything else that changes the answer must be equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    tenant: TenantId,
    rest: Bytes,
}

impl Scope {
    /// The questions of `tenant` in which `rest`, all that is asked but the text itself, is the same.
    #[must_use]
    pub fn new(tenant: TenantId, rest: impl Into<Bytes>) -> Self {
        Self { tenant, rest: rest.into() }
    }

    fn hash(&self) -> u64 {
        hash128(HashKey::process(), &[self.tenant.as_str().as_bytes(), &self.rest]) as u64
    }
}

/// Counts of a [`SimilarityIndex`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SimilarityStats {
    /// Questions that were nearly the same as one that is remembered.
    pub hits: u64,
    /// Questions that were not.
    pub misses: u64,
    /// The bits in which the fingerprints of the last 256 hits differed, on average; 0 before the first.
    pub mean_distance: f64,
    /// Questions remembered at the moment; some may be too old.
    pub entries: usize,
}

/// Remembers questions and finds those that are nearly the same. Clones share it.
///
/// Candidates are found by their SimHash (64 bits over words and pairs of words, without case and punctuation): it is
/// cut into `threshold + 1` bands, of which two fingerprints that differ in at most `threshold` bits have one in
/// common. A candidate counts only if a second measure agrees: the same numbers, negations and names, no opposites, the
/// common words in the same order, and the vectors of an [`Embedder`], where there is one. Questions of other tenants,
/// or with anything else about them different, are never met.
///
/// # Example
/// ```
/// use std::time::Duration;
///
/// use llm_dedup::SimilarityIndex;
///
/// let index = SimilarityIndex::new(3, Duration::from_secs(300));
/// assert!(index.check_and_register("What is the capital of France?"));
/// assert!(!index.check_and_register("What is the capital of France"));
/// assert!(index.check_and_register("What is the capital of Germany?"));
/// ```
pub struct SimilarityIndex<V = ()>(Arc<Shared<V>>);

struct Shared<V> {
    config: SimilarityConfig,
    clock: Arc<dyn Clock>,
    state: Mutex<State<V>>,
}

struct State<V> {
    /// In the order of arrival, in which they are forgotten, too.
    entries: VecDeque<Entry<V>>,
    /// The number of the first of them: so many came before it.
    first: u64,
    /// The numbers of the entries in each band, found by the band's bits and its scope.
    bands: HashTable<(u64, u64)>,
    hits: u64,
    misses: u64,
    /// Distances of the last hits.
    distances: VecDeque<u32>,
}

struct Entry<V> {
    scope: Scope,
    fingerprint: u64,
    text: Box<str>,
    vector: Option<Box<[f32]>>,
    expires_at: Tick,
    value: V,
}

/// The last hits whose distances are averaged.
const RECENT: usize = 256;

/// Beyond this the bands are so narrow that everything is a candidate.
const LOOSEST: u32 = 6;

impl<V> Clone for SimilarityIndex<V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<V> fmt::Debug for SimilarityIndex<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimilarityIndex").field("config", &self.0.config).finish_non_exhaustive()
    }
}

impl SimilarityIndex {
    /// Remembers texts for `ttl`, and finds those within `threshold` bits of 64; more than 6 count as 6.
    #[must_use]
    pub fn new(threshold: u32, ttl: Duration) -> Self {
        Self::with_config(SimilarityConfig { threshold, ttl, ..SimilarityConfig::default() })
    }

    /// Whether `text` is new: nothing that is nearly the same is remembered. Then it is remembered.
    #[must_use]
    pub fn check_and_register(&self, text: &str) -> bool {
        let (scope, now) = (Scope::new(TenantId::from(""), Bytes::new()), self.0.clock.now());
        let asked = self.asked(text);
        let mut state = self.0.state.lock();
        if state.find(&self.0.config, &scope, text, &asked, now).is_some() {
            return false;
        }
        state.insert(&self.0.config, scope, text, asked, (), now);
        true
    }
}

/// What is computed of a text, outside of the lock.
struct Asked {
    fingerprint: u64,
    vector: Option<Box<[f32]>>,
}

impl<V: Clone> SimilarityIndex<V> {
    /// An index that remembers nothing yet, on the machine's clock.
    #[must_use]
    pub fn with_config(config: SimilarityConfig) -> Self {
        Self::with_clock(config, Arc::new(SystemClock::new()))
    }

    /// As [`with_config`](Self::with_config), on `clock`.
    #[must_use]
    pub fn with_clock(config: SimilarityConfig, clock: Arc<dyn Clock>) -> Self {
        let config = SimilarityConfig { threshold: config.threshold.min(LOOSEST), ..config };
        let state = State {
            entries: VecDeque::new(),
            first: 0,
            bands: HashTable::new(),
            hits: 0,
            misses: 0,
            distances: VecDeque::with_capacity(RECENT),
        };
        Self(Arc::new(Shared { config, clock, state: Mutex::new(state) }))
    }

    /// What is remembered with a question of `scope` that is nearly `text`, at `now`: of several the nearest.
    #[must_use]
    pub fn find(&self, scope: &Scope, text: &str, now: Tick) -> Option<V> {
        let asked = self.asked(text);
        self.0.state.lock().find(&self.0.config, scope, text, &asked, now)
    }

    /// Remembers `value` with the question `text` of `scope`.
    pub fn insert(&self, scope: Scope, text: &str, value: V, now: Tick) {
        let asked = self.asked(text);
        self.0.state.lock().insert(&self.0.config, scope, text, asked, value, now);
    }

    /// The counts of the moment.
    #[must_use]
    pub fn stats(&self) -> SimilarityStats {
        let state = self.0.state.lock();
        let sum = state.distances.iter().map(|bits| f64::from(*bits)).sum::<f64>();
        let mean_distance = sum / state.distances.len().max(1) as f64;
        SimilarityStats { hits: state.hits, misses: state.misses, mean_distance, entries: state.entries.len() }
    }

    /// What it was made with.
    #[must_use]
    pub fn config(&self) -> &SimilarityConfig {
        &self.0.config
    }

    fn asked(&self, text: &str) -> Asked {
        let vector = self.0.config.embedder.as_ref().map(|embedder| embedder.embed(text).into());
        Asked { fingerprint: simhash(text), vector }
    }
}

impl<V: Clone> State<V> {
    fn find(&mut self, config: &SimilarityConfig, scope: &Scope, text: &str, asked: &Asked, now: Tick) -> Option<V> {
        let hash = scope.hash();
        let near = |number: u64| {
            let entry = self.entry(number)?;
            let distance = (entry.fingerprint ^ asked.fingerprint).count_ones();
            let fits = distance <= config.threshold && now < entry.expires_at && entry.scope == *scope;
            (fits && entry.agrees(text, asked, config)).then_some((distance, number))
        };
        let keys = bands(asked.fingerprint, config.threshold).map(|band| key(hash, band));
        let candidates = keys.flat_map(|key| self.bands.iter_hash(key).filter(move |known| known.0 == key));
        let Some((distance, number)) = candidates.filter_map(|(_, number)| near(*number)).min() else {
            self.misses += 1;
            return None;
        };
        self.hits += 1;
        if self.distances.len() == RECENT {
            self.distances.pop_front();
        }
        self.distances.push_back(distance);
        self.entry(number).map(|entry| entry.value.clone())
    }

    fn insert(&mut self, config: &SimilarityConfig, scope: Scope, text: &str, asked: Asked, value: V, now: Tick) {
        // Those that came first are the first to be too old.
        while let Some(oldest) = self.entries.front()
            && (self.entries.len() >= config.max_entries.max(1) || oldest.expires_at <= now)
        {
            self.forget_oldest(config);
        }
        let (number, hash) = (self.first + self.entries.len() as u64, scope.hash());
        for band in bands(asked.fingerprint, config.threshold) {
            let key = key(hash, band);
            self.bands.insert_unique(key, (key, number), |(key, _)| *key);
        }
        let expires_at = now.after(config.ttl);
        let Asked { fingerprint, vector } = asked;
        self.entries.push_back(Entry { scope, fingerprint, text: text.into(), vector, expires_at, value });
    }

    fn entry(&self, number: u64) -> Option<&Entry<V>> {
        self.entries.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    fn forget_oldest(&mut self, config: &SimilarityConfig) {
        let Some(entry) = self.entries.pop_front() else { return };
        let (number, hash) = (self.first, entry.scope.hash());
        self.first += 1;
        for band in bands(entry.fingerprint, config.threshold) {
            let key = key(hash, band);
            if let Ok(found) = self.bands.find_entry(key, |known| *known == (key, number)) {
                found.remove();
            }
        }
    }
}

impl<V> Entry<V> {
    fn agrees(&self, text: &str, asked: &Asked, config: &SimilarityConfig) -> bool {
        let close = match (&self.vector, &asked.vector) {
            (Some(one), Some(other)) => cosine(one, other) >= config.min_cosine,
            _ => true,
        };
        close && agree(&self.text, text)
    }
}

/// The bands of a fingerprint, each with its number: `threshold + 1` of nearly the same width.
fn bands(fingerprint: u64, threshold: u32) -> impl Iterator<Item = (u32, u64)> {
    let count = threshold + 1;
    (0..count).map(move |band| {
        let (from, to) = (64 * band / count, 64 * (band + 1) / count);
        let width = to - from;
        (band, fingerprint >> from & (u64::MAX >> (64 - width)))
    })
}

/// Where a band of a scope is found.
const fn key(scope: u64, (band, bits): (u32, u64)) -> u64 {
    let mixed = (scope ^ bits.wrapping_add((band as u64 + 1) << 58)) as u128 * 0x9e37_79b9_7f4a_7c15;
    (mixed >> 64) as u64 ^ mixed as u64
}

fn cosine(one: &[f32], other: &[f32]) -> f32 {
    if one.len() != other.len() {
        return -1.0;
    }
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let lengths = (dot(one, one) * dot(other, other)).sqrt();
    if lengths > 0.0 { dot(one, other) / lengths } else { -1.0 }
}

#[cfg(test)]
mod tests {
    use llm_core::ManualClock;
    use proptest::prelude::*;

    use super::*;

    fn index(config: SimilarityConfig) -> (SimilarityIndex<u32>, ManualClock) {
        let clock = ManualClock::new();
        (SimilarityIndex::with_clock(config, Arc::new(clock.clone())), clock)
    }

    fn scope(tenant: &str, rest: &'static str) -> Scope {
        Scope::new(TenantId::from(tenant), rest)
    }

    const ASKED: &str = "Please explain how a suspension bridge carries its load";

    #[test]
    fn only_the_same_tenant_and_the_same_rest_meet() {
        let (index, clock) = index(SimilarityConfig::default());
        index.insert(scope("a", "m"), ASKED, 1, clock.now());
        let find =
            |scope: Scope| index.find(&scope, "please explain how a suspension bridge carries its load.", clock.now());
        assert_eq!([find(scope("a", "m")), find(scope("b", "m")), find(scope("a", "n"))], [Some(1), None, None]);
        assert_eq!((index.stats().hits, index.stats().misses, index.stats().mean_distance), (1, 2, 0.0));
    }

    #[test]
    fn what_is_too_old_or_too_much_is_forgotten() {
        let (index, clock) = index(SimilarityConfig { max_entries: 2, ..SimilarityConfig::default() });
        let scope = scope("a", "");
        for (number, text) in
            ["first question here", "second question there", "third question nowhere"].iter().enumerate()
        {
            index.insert(scope.clone(), text, number as u32, clock.now());
        }
        let find = |text: &str| index.find(&scope, text, clock.now());
        assert_eq!([find("First question here!"), find("second question there")], [None, Some(1)]);
        assert_eq!(index.stats().entries, 2);
        clock.advance(Duration::from_secs(300));
        assert_eq!(find("third question nowhere"), None);
        index.insert(scope.clone(), ASKED, 9, clock.now());
        assert_eq!(index.stats().entries, 1);
        assert_eq!(index.0.state.lock().bands.len(), 4);
    }

    #[test]
    fn a_plugged_in_model_has_a_veto() {
        #[derive(Debug)]
        struct Length;
        impl Embedder for Length {
            fn embed(&self, text: &str) -> Vec<f32> {
                vec![1.0, text.len() as f32 - 55.0]
            }
        }
        let config = SimilarityConfig { embedder: Some(Arc::new(Length)), ..SimilarityConfig::default() };
        let (index, clock) = index(config);
        index.insert(scope("a", ""), ASKED, 1, clock.now());
        assert_eq!(index.find(&scope("a", ""), ASKED, clock.now()), Some(1));
        // The same words, in a text that is much longer.
        let spaced = ASKED.replace(' ', "                    ");
        assert_eq!(index.find(&scope("a", ""), &spaced, clock.now()), None);
    }

    proptest! {
        /// Whatever the fingerprints, those within the threshold share a band.
        #[test]
        fn no_near_fingerprint_is_missed(
            fingerprint: u64, flips in proptest::collection::btree_set(0u32..64, 0..=6), more in 0u32..=6
        ) {
            let other = flips.iter().fold(fingerprint, |bits, flip| bits ^ 1 << flip);
            let threshold = (flips.len() as u32 + more).min(LOOSEST);
            let theirs: Vec<_> = bands(other, threshold).collect();
            prop_assert!(bands(fingerprint, threshold).any(|band| theirs.contains(&band)));
            let widths: u32 = bands(u64::MAX, threshold).map(|(_, bits)| bits.count_ones()).sum();
            prop_assert_eq!(widths, 64);
        }

        /// The index finds what a list finds that is looked through from end to end.
        #[test]
        fn the_index_finds_what_a_list_finds(
            texts in proptest::collection::vec("(alpha|beta|gamma|delta)( (red|green|blue|one|two)){1,6}", 1..30),
            threshold in 0u32..=6,
        ) {
            let (index, clock) = index(SimilarityConfig { threshold, ..SimilarityConfig::default() });
            let mut list: Vec<(&str, u64)> = Vec::new();
            for text in &texts {
                let hash = simhash(text);
                let near = list.iter().any(|(known, other)| {
                    (hash ^ other).count_ones() <= threshold && agree(known, text)
                });
                prop_assert_eq!(index.find(&scope("a", ""), text, clock.now()).is_some(), near);
                index.insert(scope("a", ""), text, 0, clock.now());
                list.push((text, hash));
            }
        }
    }
}
