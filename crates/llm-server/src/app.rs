//! What one configuration amounts to: the path, the keys, the bounds. A reload makes another.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use llm_breaker::{CircuitBreakerConfig, FailureRate};
use llm_core::{Clock, Envelope, Observer, Provider, ProviderId, Strictness, SystemClock, TenantId};
use llm_pipeline::{
    Caller, DefaultRoute, ModelConfig, Pipeline, ProviderConfig, ProviderKey, RetryPolicy, SharingConfig, TargetConfig,
};
use llm_providers::wire::{Capabilities, MaxTokensField, codec};
use llm_providers::{
    Api, ConfigError, EchoProvider, HttpConfig, HttpProvider, KnownServer, SimConfig, SimProvider, Timeouts,
};
use llm_ratelimit::{LimitConfig, MeterConfig};
use secrecy::{ExposeSecret, SecretString};

use crate::config::{self, ApiKey, Config, Kind, Loaded, Preset, Resilience, Scope, Strategy, Translation};
use crate::http::auth::{self, Credential, Keys, digest};
use crate::http::cors::Cors;
use crate::terms::KnownTerms;
use crate::unbuilt::Unbuilt;

/// Everything of a configuration that requests meet.
pub(crate) struct App {
    pub(crate) pipeline: Pipeline,
    pub(crate) keys: Keys,
    pub(crate) limits: Limits,
    pub(crate) cors: Cors,
    /// Whether all callers may reach what providers keep for their accounts.
    pub(crate) shared_account: bool,
}

/// The bounds of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) max_body_bytes: usize,
    pub(crate) body_idle_timeout: Duration,
}

/// What kept a checked configuration from being used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct AppError(String);

impl AppError {
    fn of(place: impl std::fmt::Display, error: impl std::fmt::Display) -> Self {
        Self(format!("{place}: {error}"))
    }
}

impl App {
    /// Puts the parts together; circuits and buckets of `old` go on.
    pub(crate) fn new(loaded: &Loaded, observer: Arc<dyn Observer>, old: Option<&Self>) -> Result<Self, AppError> {
        let config = &loaded.config;
        let keys = keys(loaded)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let mut path = Pipeline::builder()
            .clock(clock)
            .observer(observer)
            .retry(retry(config))
            .limits(tables(loaded)?)
            .prefix(prefix);
        for provider in &config.providers {
            let breaker = breaker(&config.resilience.with(&provider.breaker));
            path = path.provider(ProviderConfig { keys: built(loaded, provider)?, breaker });
        }
        let known = KnownTerms::of(loaded);
        for model in &config.models {
            path = path.model(self::model(model, &known)?);
        }
        path = path.terms(move |provider, model| known.terms(provider.as_str(), model.as_str()));
        if let Some(provider) = &loaded.default_provider {
            path = path.default_route(DefaultRoute::Provider(ProviderId::from(provider.as_str())));
        }
        let dedup = &config.deduplication;
        path = path.sharing(
            dedup.enabled.then_some(SharingConfig {
                max_entries: dedup.max_entries,
                sampled: dedup.share_sampled,
                window: Duration::from_secs(dedup.window_s),
                max_bytes: dedup.max_bytes,
                idempotency_ttl: dedup.idempotency_ttl.0,
                resume_grace: dedup.resume_grace.0,
                similar: config
                    .semantic_dedup
                    .as_ref()
                    .map(|similar| (similar.similarity_threshold, Duration::from_secs(similar.window_secs))),
            }),
        );
        path = path.forward_to(keeper(config));
        let pipeline = path.build(old.map(|old| &old.pipeline)).map_err(|error| AppError(error.to_string()))?;
        let limits = Limits {
            max_body_bytes: config.server.max_body_bytes,
            body_idle_timeout: config.server.body_idle_timeout.0,
        };
        let cors = Cors::of(&config.server.cors_origins)
            .map_err(|(number, error)| AppError::of(format_args!("server.cors_origins[{number}]"), error))?;
        let shared_account = config.server.shared_account || keys.is_one_tenants();
        Ok(Self { pipeline, keys, limits, cors, shared_account })
    }
}

/// Who is asked what names no model, such as for files: OpenAI's own kinds go before others that speak its format.
fn keeper(config: &Config) -> Option<ProviderId> {
    let mut kinds =
        [&[Kind::OpenAi, Kind::AzureOpenAi][..], &[Kind::OpenAiCompatible, Kind::LlamaCpp, Kind::Vllm, Kind::Ollama]]
            .into_iter();
    let provider = kinds.find_map(|kinds| config.providers.iter().find(|provider| kinds.contains(&provider.kind)));
    provider.map(|provider| ProviderId::from(provider.name.as_str()))
}

/// The tables of limits, the narrowest level first.
fn tables(loaded: &Loaded) -> Result<Vec<LimitConfig>, AppError> {
    let config = &loaded.config;
    let mut tables = Vec::new();
    if let Some(limits) = config.rate_limits.as_ref().filter(|limits| limits.enabled) {
        let (rate, per) = (limits.requests_per_second, Duration::from_secs(1));
        let requests = MeterConfig::Rate { rate, per, burst: Some(limits.burst_capacity) };
        let tenants = LimitConfig { level: "tenant".into(), name: "*".into(), ..LimitConfig::default() };
        tables.push(LimitConfig { requests: Some(requests), ..tenants });
    }
    let mut limits = config.limits.clone();
    for provider in &config.providers {
        for key in keyed(loaded, provider)? {
            limits.extend(key.settings.limit(format!("{}/{}", provider.name, key.name)));
        }
    }
    limits.sort_by_key(|limit| limit.level);
    for limit in limits {
        tables.push(limit.table().map_err(|error| AppError::of("limits", error))?);
    }
    Ok(tables)
}

fn retry(config: &Config) -> RetryPolicy {
    let resilience = &config.resilience;
    RetryPolicy {
        attempts: resilience.retry_attempts,
        base: Duration::from_millis(resilience.retry_base_ms),
        max: Duration::from_millis(resilience.retry_max_ms),
    }
}

fn breaker(resilience: &Resilience) -> CircuitBreakerConfig {
    let preset = match resilience.breaker_preset {
        Preset::Aggressive => CircuitBreakerConfig::aggressive(),
        Preset::Production => CircuitBreakerConfig::production(),
        Preset::Conservative => CircuitBreakerConfig::conservative(),
    };
    let threshold = resilience.circuit_breaker_threshold;
    // A raised threshold quiets the failure rate, too.
    let rate = FailureRate { min_calls: threshold.saturating_mul(4), ..FailureRate::default() };
    CircuitBreakerConfig {
        failures: threshold,
        failure_rate: Some(rate),
        open_for: resilience.circuit_breaker_timeout_s.map_or(preset.open_for, Duration::from_secs),
        success_share: resilience.circuit_breaker_success_rate,
        shadow: resilience.breaker_shadow,
        ..preset
    }
}

fn keys(loaded: &Loaded) -> Result<Keys, AppError> {
    let configured = &loaded.config.server.api_keys;
    if configured.is_empty() {
        return Ok(Keys::open());
    }
    let mut credentials = HashMap::with_capacity(configured.len());
    for key in configured {
        let (secret, table) = match key {
            ApiKey::Plain(secret) => (secret, None),
            ApiKey::Table(table) => (&table.key, Some(table)),
        };
        let secret = secret.resolve(&loaded.environment).map_err(|error| AppError::of("server.api_keys", error))?;
        let hash = digest(secret.expose_secret());
        let key = auth::name(&hash);
        let name = |name: &Option<String>| name.as_deref().map(Box::from);
        let caller = Caller {
            tenant: TenantId::new(table.and_then(|table| table.tenant.as_deref()).unwrap_or(&key)),
            team: table.and_then(|table| name(&table.team)),
            org: table.and_then(|table| name(&table.org)),
            key: key.into(),
        };
        let may = |scope| table.map_or(scope == Scope::Inference, |table| table.scopes.contains(&scope));
        credentials.insert(hash, Credential::new(caller, may(Scope::Inference), may(Scope::Admin)));
    }
    Ok(Keys::Known(credentials))
}

/// A key of a provider.
struct Keyed {
    secret: SecretString,
    /// What it is called.
    name: String,
    settings: config::ProviderKey,
}

/// The keys of `provider`, in order.
fn keyed(loaded: &Loaded, provider: &config::Provider) -> Result<Vec<Keyed>, AppError> {
    let key = |settings: config::ProviderKey| {
        let secret = settings.key.resolve(&loaded.environment);
        let secret = secret.map_err(|error| AppError::of(format!("providers.{}", provider.name), error))?;
        Ok(Keyed { name: auth::name(&digest(secret.expose_secret())), secret, settings })
    };
    provider.keys().map(key).collect()
}

/// The provider by each of its keys; one without is the provider by none.
fn built(loaded: &Loaded, provider: &config::Provider) -> Result<Vec<ProviderKey>, AppError> {
    let place = format!("providers.{}", provider.name);
    let name = provider.name.as_str();
    let one = |provider: Arc<dyn Provider>| vec![ProviderKey { provider, name: "key".into(), weight: 1 }];
    Ok(match provider.kind {
        Kind::Echo => one(Arc::new(EchoProvider::new(name))),
        Kind::Sim => {
            let script = |(model, text): (&String, &String)| {
                let script = text.parse().map_err(|error| AppError::of(format!("{place}.scripts.{model}"), error));
                Ok((model.clone(), script?))
            };
            let models = provider.scripts.iter().map(script).collect::<Result<_, AppError>>()?;
            one(Arc::new(SimProvider::new(name, SimConfig { seed: provider.seed, models, ..SimConfig::default() })))
        }
        kind if !kind.is_built() => one(Arc::new(Unbuilt::new(name, kind))),
        Kind::OpenAi
        | Kind::OpenAiCompatible
        | Kind::AzureOpenAi
        | Kind::Anthropic
        | Kind::Gemini
        | Kind::LlamaCpp
        | Kind::Vllm
        | Kind::Ollama
        | Kind::Bedrock
        | Kind::VertexAi => {
            let over_http = over_http(provider).map_err(|error| AppError::of(&place, error))?;
            let keyless = HttpProvider::try_new(name, over_http).map_err(|error| AppError::of(&place, error))?;
            let built = keyed(loaded, provider)?.into_iter().map(|key| {
                let provider = keyless.with_api_key(&key.secret).map_err(|error| AppError::of(&place, error))?;
                let (name, weight) = (key.name.into(), key.settings.weight);
                Ok(ProviderKey { provider: Arc::new(provider), name, weight })
            });
            let signed = signed(loaded, provider, &keyless).transpose();
            let built: Vec<_> = signed.into_iter().chain(built).collect::<Result<_, AppError>>()?;
            if built.is_empty() {
                return Ok(one(Arc::new(keyless)));
            }
            built
        }
    })
}

/// The provider by signed requests, if it has what they are signed with.
#[cfg(feature = "bedrock")]
fn signed(
    loaded: &Loaded,
    provider: &config::Provider,
    unsigned: &HttpProvider,
) -> Result<Option<ProviderKey>, AppError> {
    let place = format!("providers.{}", provider.name);
    let (Some(id), Some(secret)) = (&provider.access_key_id, &provider.secret_access_key) else { return Ok(None) };
    let resolved =
        |secret: &config::Secret| secret.resolve(&loaded.environment).map_err(|error| AppError::of(&place, error));
    let id = resolved(id)?;
    let credentials = llm_providers::AwsCredentials {
        region: provider.region.clone().unwrap_or_default(),
        access_key_id: id.expose_secret().to_owned(),
        secret_access_key: resolved(secret)?,
        session_token: provider.session_token.as_ref().map(resolved).transpose()?,
    };
    let signed = unsigned.with_aws_credentials(credentials).map_err(|error| AppError::of(&place, error))?;
    let name = auth::name(&digest(id.expose_secret())).into();
    Ok(Some(ProviderKey { provider: Arc::new(signed), name, weight: 1 }))
}

#[cfg(not(feature = "bedrock"))]
fn signed(_: &Loaded, _: &config::Provider, _: &HttpProvider) -> Result<Option<ProviderKey>, AppError> {
    Ok(None)
}

/// How a provider is reached, and what its models take; without a key.
fn over_http(provider: &config::Provider) -> Result<HttpConfig, ConfigError> {
    let api = match provider.kind {
        Kind::Anthropic => Api::Anthropic,
        Kind::Gemini => Api::Gemini,
        Kind::AzureOpenAi => Api::AzureOpenAi,
        _ => Api::OpenAi,
    };
    let preset = provider.preset().and_then(KnownServer::named);
    let capabilities = match (preset, provider.kind) {
        (Some(preset), _) => Some(preset.capabilities.clone()),
        // The older name is the one that every such server knows.
        (None, Kind::OpenAiCompatible) => {
            Some(Capabilities { max_tokens_field: MaxTokensField::MaxTokens, ..Capabilities::default() })
        }
        (None, Kind::OpenAi | Kind::AzureOpenAi) => {
            Some(Capabilities { responses: true, completions: true, ..Capabilities::default() })
        }
        (None, _) => None,
    };
    let configured = provider.base_url.as_deref().map(|url| match provider.kind {
        // Their own documents give the address alone.
        Kind::LlamaCpp | Kind::Vllm | Kind::Ollama => {
            format!("{}/v1", url.trim_end_matches('/').trim_end_matches("/v1"))
        }
        _ => url.to_owned(),
    });
    let config = match provider.kind {
        #[cfg(feature = "vertex")]
        Kind::VertexAi => {
            let (project, location) = (provider.project.as_deref(), provider.location.as_deref());
            let (project, location) = (project.unwrap_or_default(), location.unwrap_or_default());
            let own = HttpConfig::vertex_ai(configured.as_deref(), project, location)?;
            match provider.publisher {
                Some(config::Publisher::Anthropic) => HttpConfig { api: Api::VertexAnthropic, ..own },
                Some(config::Publisher::Google) | None => own,
            }
        }
        #[cfg(feature = "bedrock")]
        Kind::Bedrock => {
            let own = HttpConfig::bedrock(provider.region.as_deref().unwrap_or_default())?;
            HttpConfig { base_url: configured.or(own.base_url), ..HttpConfig::new(own.api) }
        }
        _ => HttpConfig { base_url: configured.or_else(|| Some(preset?.base_url.clone())), ..HttpConfig::new(api) },
    };
    Ok(HttpConfig {
        capabilities: capabilities.unwrap_or(config.capabilities),
        timeouts: Timeouts {
            connect_timeout: provider.connect_timeout.0,
            first_token_timeout: provider.first_token_timeout.0,
            token_gap_timeout: provider.token_gap_timeout.0,
            comments_reset_timeouts: provider.comments_reset_timeouts,
            total_timeout: provider.total_timeout.0,
        },
        ..config
    })
}

fn model(model: &config::Model, known: &KnownTerms) -> Result<ModelConfig, AppError> {
    let place = format!("models.{}", model.name);
    let target = |target: &config::Target| {
        Ok(TargetConfig {
            provider: ProviderId::from(target.provider.as_str()),
            model: target.model.as_str().into(),
            weight: target.weight,
            terms: known.of_target(target).map_err(|error| AppError::of(&place, error))?,
        })
    };
    let targets = model.targets.iter().map(target).collect::<Result<Vec<_>, AppError>>()?;
    let strategy = match model.strategy {
        Strategy::Weighted => llm_router::Strategy::Weighted,
        Strategy::Fallback => llm_router::Strategy::Fallback,
        Strategy::Cost => llm_router::Strategy::Cost,
        Strategy::Latency => llm_router::Strategy::Latency,
        Strategy::Reliability => llm_router::Strategy::Reliability,
        Strategy::Arbitrage => llm_router::Strategy::Arbitrage,
        Strategy::PeakEwma => llm_router::Strategy::PeakEwma,
        Strategy::Bandit => llm_router::Strategy::Bandit,
        Strategy::Prefix => llm_router::Strategy::Prefix,
    };
    let translation = match model.translation {
        Translation::Strict => Strictness::Strict,
        Translation::Lenient => Strictness::Lenient,
    };
    let sla = model.sla.map(|sla| sla.0);
    let show_thoughts = model.reasoning_content;
    Ok(ModelConfig { sla, translation, show_thoughts, ..ModelConfig::new(model.name.as_str(), strategy, targets) })
}

/// The hash of what a conversation begins with. A body that is no conversation begins like all such.
fn prefix(envelope: &Envelope) -> u64 {
    let asked = codec(envelope.dialect).and_then(|codec| codec.decode_request(&envelope.body).ok());
    asked.map_or(0, |asked| llm_router::Demand::of(&asked.request).prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circuits_are_as_the_keys_say_and_else_as_the_preset_does() {
        let keys = Resilience {
            circuit_breaker_threshold: 20,
            circuit_breaker_timeout_s: Some(7),
            circuit_breaker_success_rate: 0.95,
            breaker_shadow: true,
            ..Resilience::default()
        };
        let circuit = breaker(&keys);
        assert_eq!((circuit.failures, circuit.open_for), (20, Duration::from_secs(7)));
        assert_eq!((circuit.success_share, circuit.shadow), (0.95, true));
        // A raised threshold quiets the failure rate, too.
        assert_eq!(circuit.failure_rate.map(|rate| rate.min_calls), Some(80));
        assert_eq!(circuit.anomaly, CircuitBreakerConfig::production().anomaly);
        assert_eq!(breaker(&Resilience::default()), CircuitBreakerConfig::production());
        let aggressive = breaker(&Resilience { breaker_preset: Preset::Aggressive, ..Resilience::default() });
        assert_eq!(aggressive, CircuitBreakerConfig::aggressive());
    }
}
