//! Calls through the router: walks the plan over the providers handed to it.

use std::sync::Arc;

use llm_core::{CompletionRequest, CompletionResponse, Error, ErrorKind, FaultClass, Provider};

use crate::bound::Providers;
use crate::demand::Demand;
use crate::smart_router::SmartRouter;
use crate::statistics::Observed;

impl SmartRouter {
    /// A router that shares this one's statistics and can call its targets: each is bound to the provider of its
    /// name. Providers of other names are left out.
    #[must_use]
    pub fn with_providers(mut self, providers: impl IntoIterator<Item = Arc<dyn Provider>>) -> Self {
        let given: Vec<_> = providers.into_iter().collect();
        let of = |name| given.iter().find(|provider| provider.id() == name).cloned();
        self.providers = Providers::new(self.names().iter().map(of));
        self
    }

    /// Completes `request` at the first candidate, and at the next while the failure is the provider's or the
    /// network's. The request goes out as it is, its model's name included.
    ///
    /// # Errors
    /// The last candidate's error; [`ErrorKind::NotFound`] when the router has no provider, or its plan names one
    /// that was not handed to it.
    pub async fn complete(&self, request: &CompletionRequest) -> Result<CompletionResponse, Error> {
        let mut now = self.now();
        let mut plan = self.plan_for(&Demand::of(request), now);
        let mut last = None;
        let mut attempts = 0;
        while let Some(index) = plan.next(|_| true) {
            let name = &self.names()[index];
            let Some(provider) = self.providers.of(index) else {
                return Err(Error::new(ErrorKind::NotFound, format!("no provider `{name}` was handed to the router")));
            };
            attempts += 1;
            let ticket = self.begin(index, now);
            let result = provider.complete(request.clone()).await;
            now = self.now();
            let latency = ticket.elapsed(now);
            match result {
                Ok(response) => {
                    let output_tokens = response.usage.as_ref().map(|usage| usage.output_total());
                    ticket.record(Observed { latency, output_tokens, ..Observed::default() }, now);
                    return Ok(response);
                }
                Err(error) if matches!(error.fault(), FaultClass::Provider | FaultClass::Network) => {
                    ticket.record(Observed { latency, failed: true, ..Observed::default() }, now);
                    last = Some(error.with_provider(name.clone()).with_attempts(attempts));
                }
                Err(error) => return Err(error.with_provider(name.clone()).with_attempts(attempts)),
            }
        }
        Err(last.unwrap_or_else(|| Error::new(ErrorKind::NotFound, "the router has no provider")))
    }
}
