//! How a client is put together.

use std::sync::Arc;

use llm_core::{ModelId, Provider, ProviderId};
use llm_pipeline::{DefaultRoute, Pipeline, PipelineBuilder, ProviderConfig, RetryPolicy, Terms};

use crate::Client;

/// Why a client cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A variable that holds a provider's key is not set.
    #[error("the environment variable {0} is not set")]
    MissingVariable(&'static str),
    /// There is nobody to ask.
    #[error("a client needs at least one provider")]
    NoProvider,
    /// The parts do not fit together.
    #[error(transparent)]
    Config(#[from] llm_pipeline::ConfigError),
    /// A provider's settings are wrong.
    #[cfg(feature = "http")]
    #[error(transparent)]
    Provider(#[from] llm_providers::ConfigError),
    /// What is to be measured or traced cannot be.
    #[cfg(feature = "observability")]
    #[error(transparent)]
    Observability(#[from] llm_telemetry::ObservabilityError),
}

/// Collects the parts of a [`Client`].
#[derive(Debug)]
#[must_use]
pub struct ClientBuilder {
    path: PipelineBuilder,
    providers: Vec<ProviderId>,
    default: Option<DefaultRoute>,
    #[cfg(feature = "streaming-multiplexer")]
    multiplexer: Option<llm_dedup::StreamingMultiplexer>,
    #[cfg(feature = "observability")]
    telemetry: Option<Telemetry>,
}

/// What a client measures with.
#[cfg(feature = "observability")]
#[derive(Debug)]
enum Telemetry {
    Of(llm_telemetry::ObservabilityConfig),
    Made(Arc<llm_telemetry::Telemetry>),
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl ClientBuilder {
    /// A client without providers, limits or circuits of its own; failed calls are tried again.
    pub fn new() -> Self {
        Self {
            path: Pipeline::builder().sharing(None).terms(known_terms),
            providers: Vec::new(),
            default: None,
            #[cfg(feature = "streaming-multiplexer")]
            multiplexer: None,
            #[cfg(feature = "observability")]
            telemetry: None,
        }
    }

    /// Adds a provider. With one provider, requests name its models; with several, `provider/model`.
    pub fn with_provider(mut self, provider: Arc<dyn Provider>) -> Self {
        self.providers.push(provider.id().clone());
        self.path = self.path.provider(ProviderConfig::new(provider, Default::default()));
        self
    }

    /// Adds OpenAI, as `openai`, with the key in `OPENAI_API_KEY`; `OPENAI_BASE_URL` moves it.
    ///
    /// # Errors
    /// [`BuildError::MissingVariable`] when there is no key, [`BuildError::Provider`] for a bad address.
    #[cfg(feature = "openai")]
    pub fn with_openai_from_env(self) -> Result<Self, BuildError> {
        self.with_vendor("openai", llm_providers::Api::OpenAi, "OPENAI_API_KEY", "OPENAI_BASE_URL")
    }

    /// Adds Anthropic, as `anthropic`, with the key in `ANTHROPIC_API_KEY`; `ANTHROPIC_BASE_URL` moves it.
    ///
    /// # Errors
    /// [`BuildError::MissingVariable`] when there is no key, [`BuildError::Provider`] for a bad address.
    #[cfg(feature = "anthropic")]
    pub fn with_anthropic_from_env(self) -> Result<Self, BuildError> {
        self.with_vendor("anthropic", llm_providers::Api::Anthropic, "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL")
    }

    /// Adds Google's Gemini, as `gemini`, with the key in `GEMINI_API_KEY`; `GEMINI_BASE_URL` moves it.
    ///
    /// # Errors
    /// [`BuildError::MissingVariable`] when there is no key, [`BuildError::Provider`] for a bad address.
    #[cfg(feature = "gemini")]
    pub fn with_gemini_from_env(self) -> Result<Self, BuildError> {
        self.with_vendor("gemini", llm_providers::Api::Gemini, "GEMINI_API_KEY", "GEMINI_BASE_URL")
    }

    /// Adds the provider of `api` whose settings the environment has.
    #[cfg(any(feature = "openai", feature = "anthropic", feature = "gemini"))]
    fn with_vendor(
        self,
        name: &str,
        api: llm_providers::Api,
        key: &'static str,
        base_url: &str,
    ) -> Result<Self, BuildError> {
        let api_key = std::env::var(key).map_err(|_| BuildError::MissingVariable(key))?;
        let config = llm_providers::HttpConfig {
            api_key: Some(api_key.into()),
            base_url: std::env::var(base_url).ok(),
            ..llm_providers::HttpConfig::new(api)
        };
        Ok(self.with_provider(Arc::new(llm_providers::HttpProvider::try_new(name, config)?)))
    }

    /// Offers a model that any of `targets` may answer for.
    #[cfg(feature = "smart-router")]
    pub fn with_model(
        mut self,
        name: impl Into<llm_core::ModelId>,
        strategy: llm_router::Strategy,
        targets: Vec<llm_pipeline::TargetConfig>,
    ) -> Self {
        self.path = self.path.model(llm_pipeline::ModelConfig::new(name, strategy, targets));
        self
    }

    /// Shares one call among those who ask the same at one time: what is asked is streamed, and each caller gets the form
    /// that it asked for.
    #[cfg(feature = "streaming-multiplexer")]
    pub fn with_streaming_multiplexer(mut self, multiplexer: llm_dedup::StreamingMultiplexer) -> Self {
        self.multiplexer = Some(multiplexer);
        self
    }

    /// Lets `router` choose the provider of a request that names a model alone; it learns from each call. Its names are
    /// those of the client's providers, and the model is asked for as it is named, `auto` too.
    ///
    /// # Errors
    /// None here: [`build`](Self::build) names a provider that the router has and the client has not.
    #[cfg(feature = "smart-router")]
    pub fn with_smart_router(mut self, router: llm_router::SmartRouter) -> Self {
        self.default = Some(DefaultRoute::Any(router));
        self
    }

    /// Limits the client's requests by `limiter`; a request that is refused fails with the wait that suffices.
    #[cfg(feature = "rate-limiter")]
    pub fn with_rate_limiter(mut self, limiter: llm_ratelimit::RateLimiter) -> Self {
        self.path = self.path.limiter(limiter);
        self
    }

    /// Limits the client's requests in levels: by user, by model, by provider; in requests, tokens, money and requests
    /// under way. A table names its level and a name of it, `*` for each its own.
    ///
    /// # Errors
    /// None here: [`build`](Self::build) names a table that is none.
    #[cfg(feature = "rate-limiter")]
    pub fn with_limits(mut self, tables: Vec<llm_ratelimit::LimitConfig>) -> Self {
        self.path = self.path.limits(tables);
        self
    }

    /// Guards all providers by one circuit. Without it each provider has a circuit of its own.
    #[cfg(feature = "circuit-breaker")]
    pub fn with_circuit_breaker(mut self, breaker: llm_breaker::CircuitBreaker) -> Self {
        self.path = self.path.one_circuit(breaker);
        self
    }

    /// Measures and traces what the client asks; [`Client::metrics`] shows it. A later call takes an earlier one's place.
    ///
    /// # Errors
    /// None here: [`build`](Self::build) names a collector that cannot be sent to.
    #[cfg(feature = "observability")]
    pub fn with_observability(mut self, config: llm_telemetry::ObservabilityConfig) -> Self {
        self.telemetry = Some(Telemetry::Of(config));
        self
    }

    /// As [`with_observability`](Self::with_observability), with what was put together by hand: its own sampling, its own
    /// place for spans, shared with other clients or with a [`MetricsListener`](crate::MetricsListener).
    #[cfg(feature = "observability")]
    pub fn with_telemetry(mut self, telemetry: Arc<llm_telemetry::Telemetry>) -> Self {
        self.telemetry = Some(Telemetry::Made(telemetry));
        self
    }

    /// Sets how often a failed call is tried again.
    pub fn with_retry(mut self, retry: RetryPolicy) -> Self {
        self.path = self.path.retry(retry);
        self
    }

    /// Puts the client together.
    ///
    /// # Errors
    /// [`BuildError`] names what is missing or does not fit.
    pub fn build(self) -> Result<Client, BuildError> {
        let default = match (self.default, self.providers.as_slice()) {
            (_, []) => return Err(BuildError::NoProvider),
            (Some(default), _) => default,
            (None, [only]) => DefaultRoute::Provider(only.clone()),
            (None, _) => DefaultRoute::None,
        };
        let path = self.path.default_route(default);
        #[cfg(feature = "observability")]
        let (path, telemetry) = {
            let telemetry = match self.telemetry {
                Some(Telemetry::Of(config)) => Some(Arc::new(config.try_build()?)),
                Some(Telemetry::Made(telemetry)) => Some(telemetry),
                None => None,
            };
            let path = match &telemetry {
                Some(telemetry) => path.observer(telemetry.clone()),
                None => path,
            };
            (path, telemetry)
        };
        let client = Client::new(path.build(None)?);
        #[cfg(feature = "observability")]
        let client = client.told_to(telemetry);
        #[cfg(feature = "streaming-multiplexer")]
        let client = client.sharing(self.multiplexer);
        Ok(client)
    }
}

/// What the table of models says of one that no target names: its provider's name is its vendor's.
fn known_terms(provider: &ProviderId, model: &ModelId) -> Terms {
    let known = llm_providers::Catalogue::built_in().find(provider.as_str(), model.as_str());
    Terms { price: known.and_then(|known| known.price), max_output: known.and_then(|known| known.max_output) }
}
