//! What all requests that are followed share.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use llm_core::{ProviderId, Tick};
use parking_lot::RwLock;

use crate::facts::BodyReader;
use crate::sampling::Sampler;
use crate::series::Series;
use crate::span::{Span, SpanSink};

/// What spans and series say of a provider beside its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderFacts {
    /// Its name in OpenTelemetry's words (`openai`, `anthropic`, `gcp.gemini`, `mistral_ai`, …); any other name of a
    /// provider stands for itself.
    pub system: Box<str>,
    /// The host that is asked; in spans alone, since metrics may be open to all.
    pub address: Option<Box<str>>,
    /// Its port.
    pub port: Option<u16>,
}

/// Providers that facts are kept of.
const MOST_PROVIDERS: usize = 1000;

#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) series: Arc<Series>,
    pub(crate) traces: Option<Traces>,
    pub(crate) log_requests: bool,
    pub(crate) reader: Option<Box<dyn BodyReader>>,
    pub(crate) providers: RwLock<HashMap<ProviderId, Arc<ProviderFacts>>>,
}

/// Where traces go and which there are.
#[derive(Debug)]
pub(crate) struct Traces {
    pub(crate) sink: Box<dyn SpanSink>,
    pub(crate) sampler: Sampler,
    /// Whether providers are sent the trace's context.
    pub(crate) propagates: bool,
}

impl Hub {
    pub(crate) const fn traces(&self) -> bool {
        self.traces.is_some()
    }

    /// Whether a new trace begins with a request that arrives at `now`.
    pub(crate) fn takes(&self, now: Tick) -> bool {
        self.traces.as_ref().is_some_and(|traces| traces.sampler.takes(now))
    }

    pub(crate) fn propagates(&self) -> bool {
        self.traces.as_ref().is_some_and(|traces| traces.propagates)
    }

    pub(crate) const fn logs_requests(&self) -> bool {
        self.log_requests
    }

    pub(crate) fn reader(&self) -> Option<&dyn BodyReader> {
        self.reader.as_deref()
    }

    pub(crate) fn end(&self, span: Span) {
        if let Some(traces) = &self.traces {
            // Relaxed: the count publishes nothing else.
            self.series.spans.made.fetch_add(1, Relaxed);
            traces.sink.take(span);
        }
    }

    pub(crate) fn describe(&self, provider: &ProviderId, facts: ProviderFacts) {
        let mut providers = self.providers.write();
        if providers.len() < MOST_PROVIDERS || providers.contains_key(provider) {
            providers.insert(provider.clone(), Arc::new(facts));
        }
    }

    pub(crate) fn provider(&self, provider: &ProviderId) -> Arc<ProviderFacts> {
        let known = self.providers.read().get(provider).cloned();
        known
            .unwrap_or_else(|| Arc::new(ProviderFacts { system: provider.as_str().into(), ..ProviderFacts::default() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_kept_of_no_more_providers_than_there_is_room_for() {
        let hub = Hub {
            series: Arc::default(),
            traces: None,
            log_requests: false,
            reader: None,
            providers: RwLock::default(),
        };
        let facts = |system: &str| ProviderFacts { system: system.into(), ..ProviderFacts::default() };
        (0..MOST_PROVIDERS + 10).for_each(|number| hub.describe(&format!("p{number}").into(), facts("one")));
        assert_eq!(hub.providers.read().len(), MOST_PROVIDERS);
        hub.describe(&"p0".into(), facts("two"));
        assert_eq!((&*hub.provider(&"p0".into()).system, &*hub.provider(&"new".into()).system), ("two", "new"));
    }
}
