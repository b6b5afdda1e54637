//! The one shim between std's atomics and loom's models; outside semver.

#[cfg(not(llm_loom))]
pub use std::sync::Arc;
#[cfg(not(llm_loom))]
pub use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

#[cfg(llm_loom)]
pub use loom::sync::Arc;
#[cfg(llm_loom)]
pub use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

#[cfg(llm_loom)]
pub use loom::hint::spin_loop;
#[cfg(not(llm_loom))]
pub use std::hint::spin_loop;

#[cfg(not(llm_loom))]
pub use parking_lot::{Mutex, MutexGuard};

#[cfg(llm_loom)]
pub use self::modelled::{Mutex, MutexGuard};

#[cfg(llm_loom)]
mod modelled {
    //! parking_lot's interface over loom's mutex.

    pub use loom::sync::MutexGuard;

    /// A mutex that loom can see, without poisoning.
    #[derive(Debug, Default)]
    pub struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        /// Wraps `value`.
        pub fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        /// Waits for the lock.
        pub fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("a model that panics ends the run")
        }

        /// Takes the lock if it is free.
        pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }
    }
}
