//! Whose turn it is to poll what many wait for.

#[cfg(llm_loom)]
use llm_core::sync::AtomicU32;
use llm_core::sync::{AtomicBool, Mutex, MutexGuard, Ordering};

/// A future or a stream that whoever is polled polls in turn, if it is due and nobody else is at it.
///
/// Who finds it not due or busy registers for the next wake-up, and then looks once more. Who was at it, and waits from
/// now on, asks [`is_due`](Self::is_due) last, and tells the others if so: so nobody is forgotten, whoever leaves or
/// does not come back.
pub(crate) struct Turn<F> {
    /// Whether it is to be polled: it was woken since it was polled last, or has given something.
    due: AtomicBool,
    /// None once it has ended, and where there is nothing to poll.
    held: Mutex<Option<F>>,
    /// A model does not see by itself that a lock is let go.
    #[cfg(llm_loom)]
    seen: AtomicU32,
}

/// What becomes of an attempt to take a turn.
pub(crate) enum Begin<'a, F> {
    Mine(Held<'a, F>),
    /// It need not be polled.
    Idle,
    /// Somebody else is at it.
    Busy,
}

/// A turn.
pub(crate) struct Held<'a, F> {
    due: &'a AtomicBool,
    held: MutexGuard<'a, Option<F>>,
    #[cfg(llm_loom)]
    seen: &'a AtomicU32,
}

impl<F> Turn<F> {
    pub(crate) fn new(polled: Option<F>) -> Self {
        Self {
            due: AtomicBool::new(polled.is_some()),
            held: Mutex::new(polled),
            #[cfg(llm_loom)]
            seen: AtomicU32::new(0),
        }
    }

    #[inline]
    pub(crate) fn begin(&self) -> Begin<'_, F> {
        // Acquire: what was done before the wake-up.
        if !self.due.load(Ordering::Acquire) {
            return Begin::Idle;
        }
        #[cfg(llm_loom)]
        self.seen.fetch_add(1, Ordering::AcqRel);
        let Some(held) = self.held.try_lock() else { return Begin::Busy };
        let held = Held {
            due: &self.due,
            held,
            #[cfg(llm_loom)]
            seen: &self.seen,
        };
        if held.held.is_some() { Begin::Mine(held) } else { Begin::Idle }
    }

    /// Somebody is to poll it.
    pub(crate) fn call(&self) {
        // Release: what was done before. Not a store, so that it follows the swap of who polls in the word's own order.
        self.due.swap(true, Ordering::AcqRel);
    }

    /// Whether somebody is to poll it, asked by one whose turn is over.
    pub(crate) fn is_due(&self) -> bool {
        // Not a load: either it is seen to be due, or who makes it due comes later, and whoever looks after it then
        // finds it free.
        self.due.fetch_or(false, Ordering::AcqRel)
    }

    /// Takes it away, when nobody polls it any more.
    pub(crate) fn end(&self) -> Option<F> {
        self.held.lock().take()
    }
}

impl<F> Held<'_, F> {
    /// What is to be polled. A wake-up from here on is for the next turn. None where another was faster.
    pub(crate) fn polled(&mut self) -> Option<&mut F> {
        // AcqRel: what was done before the wake-up; and it follows in the word's own order.
        if !self.due.swap(false, Ordering::AcqRel) {
            return None;
        }
        self.held.as_mut()
    }

    /// It has ended.
    pub(crate) fn take(&mut self) -> Option<F> {
        self.held.take()
    }
}

#[cfg(llm_loom)]
impl<F> Drop for Held<'_, F> {
    fn drop(&mut self) {
        self.seen.fetch_add(1, Ordering::AcqRel);
    }
}
