//! Rows by their labels, so many at most.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::RwLock;

/// Different labels that a family has at most. What comes beyond is counted together, as `other`.
pub const MOST_LABELS: usize = 500;

/// What stands in the place of labels that are too many.
pub(crate) const OTHER: &str = "other";

/// Rows by their labels.
#[derive(Debug)]
pub(crate) struct Table<K, V>(RwLock<HashMap<K, Arc<V>>>);

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<K: Clone + Eq + Hash, V> Table<K, V> {
    /// The row of `labels`, or where there are too many, that of `other`. `other` comes from a closed set.
    pub(crate) fn row(&self, labels: &K, other: impl FnOnce() -> K, make: impl FnOnce(&K) -> V) -> Arc<V> {
        if let Some(row) = self.0.read().get(labels) {
            return row.clone();
        }
        let mut rows = self.0.write();
        let labels = if rows.len() < MOST_LABELS || rows.contains_key(labels) { labels.clone() } else { other() };
        rows.entry(labels).or_insert_with_key(|labels| Arc::new(make(labels))).clone()
    }

    pub(crate) fn each(&self, mut see: impl FnMut(&K, &V)) {
        self.0.read().iter().for_each(|(labels, row)| see(labels, row));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_beyond_the_bound_share_one_row() {
        let table = Table::default();
        for number in 0..2 * MOST_LABELS {
            table.row(&number.to_string(), || OTHER.to_owned(), |labels| labels.clone());
        }
        let mut rows = 0;
        table.each(|_, _| rows += 1);
        assert_eq!(rows, MOST_LABELS + 1);
        let row = |labels: &str| table.row(&labels.to_owned(), || OTHER.to_owned(), |labels| labels.clone());
        assert_eq!((row("0").as_str(), row("999").as_str(), row("1000").as_str()), ("0", "other", "other"));
    }
}
