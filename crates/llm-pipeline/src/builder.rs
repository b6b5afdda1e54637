//! How a path is put together, and how a reload keeps what the old one has learnt.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use llm_breaker::{CircuitBreaker, CircuitBreakerConfig};
use llm_core::{Clock, Envelope, ModelId, NoObserver, Observer, Provider, ProviderId, Strictness, SystemClock};
use llm_ratelimit::{Hierarchy, LimitConfig, RateLimiter};
use llm_router::{RouterConfig, SmartRouter, Strategy};

use crate::circuits::Circuits;
use crate::demand::Terms;
use crate::handle::{Inner, Pipeline};
use crate::journal::Journal;
use crate::limits::Limits;
use crate::retry::RetryPolicy;
use crate::routes::{AUTO, Default, DefaultRoute, Route, Routes, Tally};
use crate::share::{Sharer, SharingConfig};
use crate::upstream::{Key, Target, Upstream};

/// Why a path cannot be put together.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Two providers have one name.
    #[error("two providers are called `{0}`")]
    DuplicateProvider(ProviderId),
    /// Two models have one name.
    #[error("two models are called `{0}`")]
    DuplicateModel(ModelId),
    /// A target names a provider that is not there.
    #[error("model `{model}` names the provider `{provider}`, which is not configured")]
    UnknownProvider {
        /// The model.
        model: ModelId,
        /// The missing provider.
        provider: ProviderId,
    },
    /// The keys of a provider do not make one.
    #[error("provider `{provider}`: keys: {source}")]
    Keys {
        /// The provider; empty where there is no key to tell.
        provider: ProviderId,
        /// What is wrong with them.
        source: llm_router::ConfigError,
    },
    /// The targets of a model do not make a route.
    #[error("model `{model}`: {source}")]
    Route {
        /// The model.
        model: ModelId,
        /// What is wrong with them.
        source: llm_router::ConfigError,
    },
    /// A table of limits is none.
    #[error(transparent)]
    Limit(#[from] llm_ratelimit::ConfigError),
    /// The breaker's settings contradict each other.
    #[error(transparent)]
    Breaker(#[from] llm_breaker::ConfigError),
}

/// A provider of the path.
#[derive(Debug)]
pub struct ProviderConfig {
    /// The provider by each of its keys, 1 to 64, all of the same id.
    pub keys: Vec<ProviderKey>,
    /// When the circuits of its models open.
    pub breaker: CircuitBreakerConfig,
}

impl ProviderConfig {
    /// A provider with one key, or without.
    #[must_use]
    pub fn new(provider: Arc<dyn Provider>, breaker: CircuitBreakerConfig) -> Self {
        Self { keys: vec![ProviderKey { provider, name: "key".into(), weight: 1 }], breaker }
    }
}

/// A provider by one of its keys.
pub struct ProviderKey {
    /// Who answers.
    pub provider: Arc<dyn Provider>,
    /// What the key is called: not the key.
    pub name: Box<str>,
    /// Its share of the provider's calls; 0 makes it a spare.
    pub weight: u32,
}

impl fmt::Debug for ProviderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { provider, name, weight } = self;
        f.debug_struct("ProviderKey")
            .field("provider", provider.id())
            .field("name", name)
            .field("weight", weight)
            .finish()
    }
}

/// A model of the path.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// What callers ask for.
    pub name: ModelId,
    /// Who may answer.
    pub targets: Vec<TargetConfig>,
    /// Who is asked first.
    pub strategy: Strategy,
    /// The 95th percentile of latency that [`Strategy::Arbitrage`] asks of a target.
    pub sla: Option<Duration>,
    /// What becomes of a request's fields that a target's dialect has no equal for.
    pub translation: Strictness,
    /// Whether thoughts are told to callers whose dialect has no place for them (OpenAI's chat: `reasoning_content`).
    pub show_thoughts: bool,
}

impl ModelConfig {
    /// A model without a bound on its latency, whose requests lose nothing.
    pub fn new(name: impl Into<ModelId>, strategy: Strategy, targets: Vec<TargetConfig>) -> Self {
        Self { name: name.into(), targets, strategy, sla: None, translation: Strictness::Strict, show_thoughts: false }
    }
}

/// A model of a provider that may answer for a model of the path.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetConfig {
    /// The provider.
    pub provider: ProviderId,
    /// The model, as the provider spells it.
    pub model: ModelId,
    /// Its share of the traffic.
    pub weight: u32,
    /// What it costs, and how much it can say.
    pub terms: Terms,
}

/// Puts a [`Pipeline`] together. Without settings: no providers, no limits, retries and sharing on.
pub struct PipelineBuilder {
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
    providers: Vec<ProviderConfig>,
    circuit: Option<CircuitBreaker>,
    models: Vec<ModelConfig>,
    default: DefaultRoute,
    forward_to: Option<ProviderId>,
    retry: RetryPolicy,
    limits: Vec<LimitConfig>,
    limiter: Option<RateLimiter>,
    sharing: Option<SharingConfig>,
    prefix: Option<PrefixOf>,
    terms: TermsOf,
}

/// The terms of a provider's model that no target names.
pub(crate) type TermsOf = Arc<dyn Fn(&ProviderId, &ModelId) -> Terms + Send + Sync>;

/// Hashes what conversations begin with, of a body in its caller's dialect.
pub(crate) type PrefixOf = fn(&Envelope) -> u64;

impl fmt::Debug for PipelineBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipelineBuilder")
            .field("providers", &self.providers)
            .field("models", &self.models)
            .finish_non_exhaustive()
    }
}

impl std::default::Default for PipelineBuilder {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock::new()),
            observer: Arc::new(NoObserver),
            providers: Vec::new(),
            circuit: None,
            models: Vec::new(),
            default: DefaultRoute::None,
            forward_to: None,
            retry: RetryPolicy::default(),
            limits: Vec::new(),
            limiter: None,
            sharing: Some(SharingConfig::default()),
            prefix: None,
            terms: Arc::new(|_, _| Terms::default()),
        }
    }
}

impl Pipeline {
    /// Begins to put a path together.
    #[must_use]
    pub fn builder() -> PipelineBuilder {
        PipelineBuilder::default()
    }
}

impl PipelineBuilder {
    /// Reads time from `clock`.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Tells `observer` what happens.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = observer;
        self
    }

    /// Adds a provider. Its models are reached as `provider/model`.
    #[must_use]
    pub fn provider(mut self, provider: ProviderConfig) -> Self {
        self.providers.push(provider);
        self
    }

    /// Guards everything by this one circuit instead of one for each model of each provider.
    #[must_use]
    pub fn one_circuit(mut self, breaker: CircuitBreaker) -> Self {
        self.circuit = Some(breaker);
        self
    }

    /// Adds a model.
    #[must_use]
    pub fn model(mut self, model: ModelConfig) -> Self {
        self.models.push(model);
        self
    }

    /// Says where unknown names go. Default: nowhere.
    #[must_use]
    pub fn default_route(mut self, route: DefaultRoute) -> Self {
        self.default = route;
        self
    }

    /// Says who is asked what names no model, where that is passed on as it is. Default: nobody.
    #[must_use]
    pub fn forward_to(mut self, provider: Option<ProviderId>) -> Self {
        self.forward_to = provider;
        self
    }

    /// Sets how often a request is tried.
    #[must_use]
    pub const fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// Limits by `tables`, the narrowest level first. Levels that a path knows: `user`, `key`, `tenant`, `team` and
    /// `org` once a request, `model`, `provider` and `provider_key` (a
    /// provider's key, named `provider/key`) once an attempt.
    #[must_use]
    pub fn limits(mut self, tables: Vec<LimitConfig>) -> Self {
        self.limits = tables;
        self
    }

    /// Limits everything by a limiter that is shared with its owner.
    #[must_use]
    pub fn limiter(mut self, limiter: RateLimiter) -> Self {
        self.limiter = Some(limiter);
        self
    }

    /// What identical requests share; `None`: nothing. Default: as [`SharingConfig`] says.
    #[must_use]
    pub const fn sharing(mut self, config: Option<SharingConfig>) -> Self {
        self.sharing = config;
        self
    }

    /// How [`Strategy::Prefix`] finds what a body begins with. Without it all bodies begin alike.
    #[must_use]
    pub const fn prefix(mut self, prefix: fn(&Envelope) -> u64) -> Self {
        self.prefix = Some(prefix);
        self
    }

    /// Asks `terms` about a provider's models that are addressed directly and that no target names. Without it, nothing
    /// is known of them.
    #[must_use]
    pub fn terms(mut self, terms: impl Fn(&ProviderId, &ModelId) -> Terms + Send + Sync + 'static) -> Self {
        self.terms = Arc::new(terms);
        self
    }

    /// Puts the path together. From `old`, limits, circuits and what routers
    /// have learnt go on where the configuration names them alike.
    ///
    /// # Errors
    /// [`ConfigError`] names what does not fit.
    pub fn build(self, old: Option<&Pipeline>) -> Result<Pipeline, ConfigError> {
        let upstreams = self.upstreams(old)?;
        let routes = self.routes(upstreams, old)?;
        let limits = self.built_limits(old)?;
        let shared = old.and_then(|old| old.inner().sharer.as_ref());
        let sharer = self.sharing.map(|config| Sharer::new(config, self.clock.clone(), shared));
        Ok(Pipeline::new(Inner {
            clock: self.clock,
            observer: self.observer,
            routes,
            limits,
            retry: self.retry,
            sharer,
            prefix: self.prefix,
            pins: old.map(|old| old.inner().pins.clone()).unwrap_or_default(),
            journal: old.map_or_else(|| Arc::new(Journal::new()), |old| old.inner().journal.clone()),
        }))
    }

    fn upstreams(&self, old: Option<&Pipeline>) -> Result<Vec<Arc<Upstream>>, ConfigError> {
        let mut seen = HashSet::new();
        let mut upstreams = Vec::with_capacity(self.providers.len());
        for ProviderConfig { keys, breaker } in &self.providers {
            let id = keys.first().map_or_else(|| ProviderId::from(""), |key| key.provider.id().clone());
            if !seen.insert(id.clone()) {
                return Err(ConfigError::DuplicateProvider(id));
            }
            let spread = self.spread(&id, keys)?;
            let old = old.and_then(|old| upstream_in(old, &id));
            let built = keys.iter().map(|key| self.key(&id, key, keys.len() > 1, breaker, old));
            let keys = built.collect::<Result<_, ConfigError>>()?;
            let only = match old {
                Some(old) => old.only.clone(),
                None => Arc::new(
                    SmartRouter::try_new(Strategy::Fallback, &[llm_router::Target { weight: 1 }])
                        .map_err(|source| ConfigError::Route { model: ModelId::from(AUTO), source })?,
                ),
            };
            let direct = self.observer.target(&id, &ModelId::from("other"));
            let terms = self.terms_of(&id);
            upstreams.push(Arc::new(Upstream { id, keys, spread, only, direct, terms }));
        }
        Ok(upstreams)
    }

    /// Who spreads calls over `keys`; nobody where there is one.
    fn spread(&self, id: &ProviderId, keys: &[ProviderKey]) -> Result<Option<SmartRouter>, ConfigError> {
        if keys.len() == 1 {
            return Ok(None);
        }
        let weights: Vec<_> = keys.iter().map(|key| llm_router::Target { weight: key.weight }).collect();
        let spread = SmartRouter::try_new(Strategy::Weighted, &weights);
        spread.map(Some).map_err(|source| ConfigError::Keys { provider: id.clone(), source })
    }

    /// A key of `id` with its circuits. Where the provider has one, the key need not be told.
    fn key(
        &self,
        id: &ProviderId,
        key: &ProviderKey,
        told: bool,
        breaker: &CircuitBreakerConfig,
        old: Option<&Upstream>,
    ) -> Result<Key, ConfigError> {
        let name: Box<str> = format!("{id}/{}", key.name).into();
        let old = old.and_then(|old| old.keys.iter().find(|known| known.name == name));
        let (config, given, told) = (breaker.clone(), self.circuit.clone(), told.then_some(&*key.name));
        let old = old.map(|old| &old.circuits);
        let circuits = Circuits::try_new(id, told, config, &self.clock, &self.observer, given, old)?;
        Ok(Key::new(key.provider.clone(), name, circuits))
    }

    /// What targets say of the models of `provider`.
    fn terms_of(&self, provider: &ProviderId) -> HashMap<ModelId, Terms> {
        let targets = self.models.iter().flat_map(|model| &model.targets);
        let theirs = targets.filter(|target| target.provider == *provider && target.terms != Terms::default());
        theirs.map(|target| (target.model.clone(), target.terms)).collect()
    }

    fn routes(&self, upstreams: Vec<Arc<Upstream>>, old: Option<&Pipeline>) -> Result<Routes, ConfigError> {
        let mut models = HashMap::new();
        let mut listed = Vec::new();
        for model in &self.models {
            let route = Arc::new(self.route(model, &upstreams, old)?);
            if models.insert(model.name.clone(), route).is_some() {
                return Err(ConfigError::DuplicateModel(model.name.clone()));
            }
            listed.push(model.name.clone());
        }
        let auto = self.auto(&upstreams, old)?.map(Arc::new);
        Ok(Routes {
            models,
            listed,
            auto,
            default: self.default_of(&upstreams)?,
            forward_to: upstreams.iter().find(|upstream| Some(&upstream.id) == self.forward_to.as_ref()).cloned(),
            upstreams,
            created: self.clock.unix_time().as_secs(),
            terms: self.terms.clone(),
        })
    }

    fn route(
        &self,
        model: &ModelConfig,
        upstreams: &[Arc<Upstream>],
        old: Option<&Pipeline>,
    ) -> Result<Route, ConfigError> {
        let target = |target: &TargetConfig| {
            let upstream = upstreams.iter().find(|upstream| upstream.id == target.provider);
            let upstream = upstream.ok_or_else(|| ConfigError::UnknownProvider {
                model: model.name.clone(),
                provider: target.provider.clone(),
            })?;
            let observer = self.observer.target(&target.provider, &model.name);
            Ok(Target::new(upstream.clone(), target.model.clone(), target.terms, observer))
        };
        let targets = model.targets.iter().map(target).collect::<Result<Vec<_>, ConfigError>>()?;
        let router = match old.and_then(|old| old.inner().routes.router_of(model)) {
            Some(learnt) => learnt,
            None => Arc::new(router(model)?),
        };
        let made_of = Some(model.clone());
        Ok(Route { name: Some(model.name.clone()), targets, router, made_of, tally: Tally::default(), pinned: None })
    }

    /// Where unknown names go.
    fn default_of(&self, upstreams: &[Arc<Upstream>]) -> Result<Default, ConfigError> {
        let find = |id: &ProviderId| {
            let upstream = upstreams.iter().find(|upstream| upstream.id == *id).cloned();
            let unknown = || ConfigError::UnknownProvider { model: ModelId::from("*"), provider: id.clone() };
            upstream.ok_or_else(unknown)
        };
        Ok(match &self.default {
            DefaultRoute::None => Default::None,
            DefaultRoute::Provider(id) => Default::Provider(find(id)?),
            DefaultRoute::Any(router) => {
                let found = router.names().iter().map(find).collect::<Result<_, _>>()?;
                Default::Any(Arc::new(router.clone()), found)
            }
        })
    }

    /// All targets of all models, each once; the cheapest first where every price is known.
    fn auto(&self, upstreams: &[Arc<Upstream>], old: Option<&Pipeline>) -> Result<Option<Route>, ConfigError> {
        let mut targets: Vec<TargetConfig> = Vec::new();
        for target in self.models.iter().flat_map(|model| &model.targets) {
            let known = |seen: &TargetConfig| seen.provider == target.provider && seen.model == target.model;
            if target.weight > 0 && !targets.iter().any(known) {
                targets.push(target.clone());
            }
        }
        targets.truncate(SmartRouter::MAX_TARGETS);
        if targets.is_empty() {
            return Ok(None);
        }
        let priced = targets.iter().all(|target| target.terms.price.is_some());
        let strategy = if priced { Strategy::Cost } else { Strategy::Weighted };
        self.route(&ModelConfig::new(AUTO, strategy, targets), upstreams, old).map(Some)
    }

    fn built_limits(&self, old: Option<&Pipeline>) -> Result<Limits, ConfigError> {
        let hierarchy = match old {
            Some(old) => old.inner().limits.hierarchy.adopt(self.limits.clone(), self.clock.now())?,
            None => Hierarchy::try_new(self.limits.clone())?.with_clock(self.clock.clone())?,
        };
        Ok(Limits::new(hierarchy, self.limiter.clone(), self.observer.clone()))
    }
}

/// The router of a model. Its targets are named for provider and model, so that each keeps its prompts' prefixes
/// whatever its place in the list.
fn router(model: &ModelConfig) -> Result<SmartRouter, ConfigError> {
    let mut seen = HashSet::new();
    let named = model.targets.iter().enumerate().map(|(place, target)| {
        let mut name = format!("{}/{}", target.provider, target.model);
        if !seen.insert(name.clone()) {
            name = format!("{name}#{place}");
        }
        (ProviderId::from(name), llm_router::Target { weight: target.weight })
    });
    let config = RouterConfig { sla: model.sla, ..model.strategy.into() };
    let router = SmartRouter::try_named(config, named)
        .map_err(|source| ConfigError::Route { model: model.name.clone(), source })?;
    for (index, target) in model.targets.iter().enumerate() {
        router.set_price(index, target.terms.price);
    }
    Ok(router)
}

/// The provider `id` of `path`.
fn upstream_in<'a>(path: &'a Pipeline, id: &ProviderId) -> Option<&'a Upstream> {
    path.inner().routes.upstreams.iter().find(|upstream| upstream.id == *id).map(|upstream| &**upstream)
}
