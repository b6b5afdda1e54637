//! A piece of a log: items that are written once and read without a lock.

use std::sync::{Arc, OnceLock};

use llm_core::sync::{AtomicU32, Ordering};

/// Some items in a row. Who holds one may read what is there, whoever else has let go of it.
pub(super) struct Segment<T, S: ?Sized = [OnceLock<T>]> {
    /// The number of its first item.
    start: u64,
    /// How many items are there, and [`CLOSED`].
    word: AtomicU32,
    _items: std::marker::PhantomData<T>,
    slots: S,
}

/// No more items will come here: they come in the next segment.
const CLOSED: u32 = 1 << 31;

/// What there is to read in a segment.
#[derive(Clone, Copy)]
pub(super) struct There {
    pub(super) items: u32,
    pub(super) closed: bool,
}

fn slots<const N: usize, T>() -> [OnceLock<T>; N] {
    std::array::from_fn(|_| OnceLock::new())
}

impl<T> Segment<T> {
    /// An empty segment from item `start` on: the first ones of a log are small.
    pub(super) fn new(start: u64) -> Arc<Self> {
        let word = AtomicU32::new(0);
        let _items = std::marker::PhantomData;
        match start {
            0 => Arc::new(Segment { start, word, _items, slots: slots::<4, T>() }),
            1..20 => Arc::new(Segment { start, word, _items, slots: slots::<16, T>() }),
            _ => Arc::new(Segment { start, word, _items, slots: slots::<32, T>() }),
        }
    }

    pub(super) const fn start(&self) -> u64 {
        self.start
    }

    /// The bytes that it takes without what its items refer to.
    pub(super) fn size(&self) -> usize {
        size_of_val(self)
    }

    pub(super) fn there(&self) -> There {
        // Acquire: with the number come the items.
        let word = self.word.load(Ordering::Acquire);
        There { items: word & !CLOSED, closed: word & CLOSED != 0 }
    }

    /// Adds an item, by the only one who may, and closes the segment behind it if it is full or `enough`. Whether it
    /// is closed.
    pub(super) fn push(&self, item: T, enough: bool) -> bool {
        // Relaxed: nobody else writes.
        let items = self.word.load(Ordering::Relaxed);
        if self.slots[items as usize].set(item).is_err() {
            unreachable!("a slot is written once");
        }
        let closed = enough || items as usize + 1 == self.slots.len();
        let word = (items + 1) | if closed { CLOSED } else { 0 };
        // Release: whoever sees the number sees the item.
        self.word.store(word, Ordering::Release);
        closed
    }

    /// The item in slot `at`, which is there.
    #[inline]
    pub(super) fn item(&self, at: u32) -> &T {
        self.slots[at as usize].get().expect("only what is there is read")
    }

    /// The items that are there.
    pub(super) fn items(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().map_while(OnceLock::get)
    }
}
