//! The providers bound to the targets of a router.

use std::sync::Arc;

use llm_core::Provider;

/// The providers bound to the targets, by index.
#[derive(Clone)]
pub(crate) struct Providers(Arc<[Option<Arc<dyn Provider>>]>);

impl Providers {
    pub(crate) fn new(providers: impl Iterator<Item = Option<Arc<dyn Provider>>>) -> Self {
        Self(providers.collect())
    }

    pub(crate) fn none(targets: usize) -> Self {
        Self::new(std::iter::repeat_n(None, targets))
    }

    pub(crate) fn of(&self, target: usize) -> Option<&Arc<dyn Provider>> {
        self.0[target].as_ref()
    }
}
