//! What is in the file. Every key has a default, or the section says that it is needed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use llm_telemetry::Sampling;
use llm_telemetry::log::LogFormat;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits::{Budget, Level, Limit, Meter};
use super::secret::Secret;
use super::span::Span;

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The process: where it listens, who may call, how much it takes.
    pub server: Server,
    /// Who answers.
    pub providers: Vec<Provider>,
    /// What callers ask for.
    pub models: Vec<Model>,
    /// Retries and circuits.
    pub resilience: Resilience,
    /// One bucket of requests a tenant. Without the section there is no limit.
    pub rate_limits: Option<RateLimits>,
    /// Limits in levels: of callers, models and providers.
    pub limits: Vec<Limit>,
    /// Sharing of identical calls.
    pub deduplication: Deduplication,
    /// Answers to questions that are nearly the same. Without the section there are none.
    pub semantic_dedup: Option<SemanticDedup>,
    /// Logs and metrics.
    pub observability: Observability,
    /// What models cost and how much they take.
    pub prices: Prices,
}

/// `[server]`
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address and port. Another address than loopback needs `api_keys`.
    pub listen: SocketAddr,
    /// Keys that callers present. Each different key is a tenant of its own. Without keys everybody is the tenant
    /// `default`.
    pub api_keys: Vec<ApiKey>,
    /// The server's certificate and those that it was issued under, a PEM file. With `tls_key` connections are
    /// encrypted, and HTTP/2 is offered. Read again whenever it changes.
    pub tls_cert: Option<PathBuf>,
    /// The key of the certificate, a PEM file. Read again whenever it changes.
    pub tls_key: Option<PathBuf>,
    /// Whose pages may call from a browser: origins such as `https://app.example.com`, or `["*"]` for all.
    pub cors_origins: Vec<String>,
    /// Whether callers of every tenant may reach what a provider keeps for its account: files, uploads and batches,
    /// whoever made them. Otherwise that takes the scope `admin` as soon as there is more than one tenant.
    pub shared_account: bool,
    /// The largest request body, in bytes, at least 1; larger ones are a 413.
    pub max_body_bytes: usize,
    /// How long a request's head may take once it has begun.
    pub header_timeout: Span,
    /// How long a request's body may pause.
    pub body_idle_timeout: Span,
    /// How long requests under way may take to finish when the process is asked to end.
    pub drain_timeout: Span,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            api_keys: Vec::new(),
            tls_cert: None,
            tls_key: None,
            cors_origins: Vec::new(),
            shared_account: false,
            max_body_bytes: 32 << 20,
            header_timeout: Span::secs(10),
            body_idle_timeout: Span::secs(30),
            drain_timeout: Span::secs(30),
        }
    }
}

/// A key that callers present.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ApiKey {
    /// With the scope `inference` and a tenant named for its hash.
    Plain(Secret),
    /// With a tenant and scopes.
    Table(ApiKeyTable),
}

/// A key with a tenant and scopes.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyTable {
    /// The key.
    pub key: Secret,
    /// Its tenant; keys with one tenant share limits and calls. Default: `key-` and 8 digits of the key's SHA-256.
    pub tenant: Option<String>,
    /// The organisation whose limits apply to it, too.
    pub org: Option<String>,
    /// The team whose limits apply to it, too.
    pub team: Option<String>,
    /// What it may be used for.
    #[serde(default = "inference")]
    pub scopes: Vec<Scope>,
}

fn inference() -> Vec<Scope> {
    vec![Scope::Inference]
}

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The data plane.
    Inference,
    /// Operations.
    Admin,
}

/// `[[providers]]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// The name, without `/`; unique.
    pub name: String,
    /// What it speaks.
    pub kind: Kind,
    /// Of `openai_compatible`: whose server it is (`groq`, `mistral`, …), which says where it is and what its models take.
    pub preset: Option<String>,
    /// As the provider's own SDK takes it: with `/v1` for the kinds that speak OpenAI's format, without a version for
    /// `anthropic` and `gemini`. Default: the vendor's; needed for `azure_openai`, and for `openai_compatible` without a
    /// `preset`.
    pub base_url: Option<String>,
    /// The key sent to it.
    pub api_key: Option<Secret>,
    /// Several keys, which share its calls; with `api_key` that is the first, of weight 1. 64 keys at most.
    #[serde(default)]
    pub api_keys: Vec<ProviderKey>,
    /// Of `vertex_ai`: the project, by its name or number.
    pub project: Option<String>,
    /// Of `vertex_ai`: the location, such as `europe-west4`, or `global`.
    pub location: Option<String>,
    /// Of `vertex_ai`: whose models, which decides their format. Default: Google's.
    pub publisher: Option<Publisher>,
    /// Of `vertex_ai`, in the place of `api_key`: a service account's key file, mostly `"file:PATH"`.
    pub credentials: Option<Secret>,
    /// Of `bedrock`: the region, such as `us-east-1`. Default: what `AWS_REGION` says, else `AWS_DEFAULT_REGION`.
    pub region: Option<String>,
    /// Of `bedrock`, with `secret_access_key`: what requests are signed with. Default, where there is no key at all:
    /// what the variables of these names say, with `AWS_` before them.
    pub access_key_id: Option<Secret>,
    /// The secret that `access_key_id` names.
    pub secret_access_key: Option<Secret>,
    /// What goes with a secret that is good for a while only.
    pub session_token: Option<Secret>,
    /// To connect, TLS included.
    #[serde(default = "connect_timeout")]
    pub connect_timeout: Span,
    /// From sending to a stream's first content.
    #[serde(default = "first_token_timeout")]
    pub first_token_timeout: Span,
    /// From one content of a stream to the next.
    #[serde(default = "token_gap_timeout")]
    pub token_gap_timeout: Span,
    /// Whether comments in a stream count as content for the clocks.
    #[serde(default)]
    pub comments_reset_timeouts: bool,
    /// From sending to the answer's end.
    #[serde(default = "total_timeout")]
    pub total_timeout: Span,
    /// Settings of its circuits that differ from those of `[resilience]`.
    #[serde(default)]
    pub breaker: Breaker,
    /// For `sim`: where its randomness begins.
    #[serde(default)]
    pub seed: u64,
    /// For `sim`: what each model does, such as `"ttft=50ms,tokens=20"`.
    #[serde(default)]
    pub scripts: BTreeMap<String, String>,
}

impl Provider {
    /// Its keys, the first first.
    pub fn keys(&self) -> impl Iterator<Item = ProviderKey> {
        self.api_key
            .clone()
            .or_else(|| self.credentials.clone())
            .map(ProviderKey::new)
            .into_iter()
            .chain(self.api_keys.iter().cloned())
    }

    /// The preset that says where it is and what its models take.
    #[must_use]
    pub fn preset(&self) -> Option<&str> {
        match self.kind {
            Kind::LlamaCpp | Kind::Vllm | Kind::Ollama => Some(self.kind.as_str()),
            _ => self.preset.as_deref(),
        }
    }

    /// A provider with defaults.
    #[must_use]
    pub fn new(name: &str, kind: Kind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            preset: None,
            base_url: None,
            api_key: None,
            api_keys: Vec::new(),
            project: None,
            location: None,
            publisher: None,
            credentials: None,
            region: None,
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            connect_timeout: connect_timeout(),
            first_token_timeout: first_token_timeout(),
            token_gap_timeout: token_gap_timeout(),
            comments_reset_timeouts: false,
            total_timeout: total_timeout(),
            breaker: Breaker::default(),
            seed: 0,
            scripts: BTreeMap::new(),
        }
    }
}

/// Whose models one has at Vertex AI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Publisher {
    /// Google's own, in Gemini's format.
    Google,
    /// Anthropic's, in its format.
    Anthropic,
}

/// `[[providers.api_keys]]`: a key of a provider, with a circuit and limits of its own.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProviderKey {
    /// The key.
    pub key: Secret,
    /// Its share of the provider's calls; 0 makes it a spare.
    #[serde(default = "one")]
    pub weight: u32,
    /// As `limits.requests`.
    pub requests: Option<Meter>,
    /// As `limits.tokens`.
    pub tokens: Option<Meter>,
    /// As `limits.money`.
    pub money: Option<Budget>,
    /// As `limits.concurrency`.
    pub concurrency: Option<u32>,
}

impl ProviderKey {
    /// A key without limits.
    #[must_use]
    pub const fn new(key: Secret) -> Self {
        Self { key, weight: 1, requests: None, tokens: None, money: None, concurrency: None }
    }

    /// Its limits, as those of `name`; none without any.
    #[must_use]
    pub fn limit(&self, name: String) -> Option<Limit> {
        let Self { requests, tokens, money, concurrency, .. } = self;
        let limited = requests.is_some() || tokens.is_some() || money.is_some() || concurrency.is_some();
        limited.then(|| Limit {
            level: Level::ProviderKey,
            name,
            requests: *requests,
            tokens: *tokens,
            money: money.clone(),
            concurrency: *concurrency,
        })
    }
}

/// `[providers.breaker]`: as the keys of `[resilience]`, each of which holds where it is absent.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Breaker {
    /// As `circuit_breaker_threshold`.
    pub threshold: Option<u32>,
    /// As `circuit_breaker_timeout_s`.
    pub timeout_s: Option<u64>,
    /// As `circuit_breaker_success_rate`.
    pub success_rate: Option<f64>,
    /// As `breaker_preset`.
    pub preset: Option<Preset>,
    /// As `breaker_shadow`.
    pub shadow: Option<bool>,
}

const fn connect_timeout() -> Span {
    Span::secs(10)
}

const fn first_token_timeout() -> Span {
    Span::secs(120)
}

const fn token_gap_timeout() -> Span {
    Span::secs(60)
}

const fn total_timeout() -> Span {
    Span::secs(600)
}

/// What a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// OpenAI.
    #[serde(rename = "openai", alias = "open_ai")]
    OpenAi,
    /// Any server that speaks OpenAI's format.
    #[serde(rename = "openai_compatible")]
    OpenAiCompatible,
    /// Answers with the last user text.
    Echo,
    /// Simulated, with scripted latency and faults.
    Sim,
    /// Anthropic.
    Anthropic,
    /// Google's Gemini.
    Gemini,
    /// OpenAI's models at Azure.
    #[serde(rename = "azure_openai")]
    AzureOpenAi,
    /// llama.cpp's server.
    LlamaCpp,
    /// vLLM.
    Vllm,
    /// Ollama.
    Ollama,
    /// Amazon Bedrock.
    Bedrock,
    /// Google's Vertex AI.
    VertexAi,
}

impl Kind {
    /// Whether calls to it are answered.
    #[must_use]
    pub const fn is_built(self) -> bool {
        (cfg!(feature = "vertex") || !matches!(self, Self::VertexAi))
            && (cfg!(feature = "bedrock") || !matches!(self, Self::Bedrock))
    }

    /// The kind's name in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::OpenAiCompatible => "openai_compatible",
            Self::Echo => "echo",
            Self::Sim => "sim",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::AzureOpenAi => "azure_openai",
            Self::LlamaCpp => "llama_cpp",
            Self::Vllm => "vllm",
            Self::Ollama => "ollama",
            Self::Bedrock => "bedrock",
            Self::VertexAi => "vertex_ai",
        }
    }
}

/// `[[models]]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// What callers ask for; unique.
    pub name: String,
    /// Who may answer, 1 to 64.
    pub targets: Vec<Target>,
    /// Who is asked first; the others are the fallbacks.
    #[serde(default)]
    pub strategy: Strategy,
    /// The 95th percentile of latency that `arbitrage` asks of a target.
    pub sla: Option<Span>,
    /// What becomes of a request's fields for which a target of another format has no equal.
    #[serde(default)]
    pub translation: Translation,
    /// Whether callers of OpenAI's chats are told what a target of another format thought.
    #[serde(default)]
    pub reasoning_content: bool,
}

/// What becomes of a field that has no equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Translation {
    /// The request is refused, naming the field.
    #[default]
    Strict,
    /// It is left out and listed in `x-llmkit-dropped`, unless that would change the meaning.
    Lenient,
}

/// One of a model's targets.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The provider's name.
    pub provider: String,
    /// The model, as the provider spells it.
    pub model: String,
    /// Its share of the traffic; 0 makes it a fallback only.
    #[serde(default = "one")]
    pub weight: u32,
    /// What it costs. Default: what the table of prices says; where it does not know the model the cost is unknown, not
    /// 0.
    pub price: Option<PriceText>,
    /// Output tokens that it gives at most, reasoning included. Bounds what a request without a bound of its own may
    /// cost under a hard budget. Default: what the table of prices says.
    pub max_output_tokens: Option<u64>,
}

const fn one() -> u32 {
    1
}

/// A price in dollars per million tokens, as decimal text.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceText {
    /// Input, such as `"0.15"`.
    pub input: String,
    /// Output, reasoning included.
    pub output: String,
}

/// Who is asked first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// By weight, evenly spread.
    #[default]
    Weighted,
    /// In the order listed.
    Fallback,
    /// The cheapest.
    Cost,
    /// The fastest.
    Latency,
    /// The one that fails least.
    Reliability,
    /// The cheapest that is fast enough for `sla`, else the fastest.
    Arbitrage,
    /// The better of two drawn at random, by latency and calls in flight.
    PeakEwma,
    /// The fastest, and now and then any, to learn.
    Bandit,
    /// The one that has seen the prompt's beginning, unless it is overloaded.
    Prefix,
}

/// `[resilience]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Resilience {
    /// Further attempts after the first, over all candidates; 0 to 100.
    pub retry_attempts: u32,
    /// The longest pause before the second attempt, in milliseconds; doubles with each further one.
    pub retry_base_ms: u64,
    /// The longest pause, and the longest `Retry-After` that is waited for, in milliseconds.
    pub retry_max_ms: u64,
    /// Failures in a row that open a provider's circuit, at least 1.
    pub circuit_breaker_threshold: u32,
    /// How long a circuit stays open before it is probed, in seconds, at least 1; doubles with each failed round of
    /// probes, up to 64 times. Default: the preset's.
    pub circuit_breaker_timeout_s: Option<u64>,
    /// The share of the probes that must succeed to close a circuit, above 0 and at most 1.
    pub circuit_breaker_success_rate: f64,
    /// What the circuits' other settings are: `aggressive` waits 10 s, `production` 60 s, `conservative` 120 s.
    pub breaker_preset: Preset,
    /// Circuits judge and report, and never refuse.
    pub breaker_shadow: bool,
}

impl Default for Resilience {
    fn default() -> Self {
        Self {
            retry_attempts: 3,
            retry_base_ms: 100,
            retry_max_ms: 5000,
            circuit_breaker_threshold: 5,
            circuit_breaker_timeout_s: None,
            circuit_breaker_success_rate: 0.8,
            breaker_preset: Preset::Production,
            breaker_shadow: false,
        }
    }
}

impl Resilience {
    /// These settings with those of a provider over them.
    #[must_use]
    pub fn with(&self, own: &Breaker) -> Self {
        Self {
            circuit_breaker_threshold: own.threshold.unwrap_or(self.circuit_breaker_threshold),
            // A preset of its own brings its own wait.
            circuit_breaker_timeout_s: own.timeout_s.or(match own.preset {
                Some(_) => None,
                None => self.circuit_breaker_timeout_s,
            }),
            circuit_breaker_success_rate: own.success_rate.unwrap_or(self.circuit_breaker_success_rate),
            breaker_preset: own.preset.unwrap_or(self.breaker_preset),
            breaker_shadow: own.shadow.unwrap_or(self.breaker_shadow),
            ..self.clone()
        }
    }
}

/// A set of circuit settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Probes again after 10 s.
    Aggressive,
    /// Probes again after 60 s.
    #[default]
    Production,
    /// Probes again after 120 s.
    Conservative,
}

/// `[rate_limits]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimits {
    /// Whether the limit applies.
    pub enabled: bool,
    /// Requests a second that each tenant is refilled with, above 0; fractions are allowed.
    pub requests_per_second: f64,
    /// Requests that a tenant may make at once, at least 1.
    pub burst_capacity: u32,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self { enabled: true, requests_per_second: 100.0, burst_capacity: 20 }
    }
}

/// `[deduplication]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Deduplication {
    /// Whether identical calls in flight are one call.
    pub enabled: bool,
    /// Whether that goes for calls whose answer is a draw, too; else only for those at temperature 0.
    pub share_sampled: bool,
    /// How long a finished answer is kept, in seconds; 0 keeps none.
    pub window_s: u64,
    /// Different calls in flight that can be joined at once, at least 1; further ones go alone. And finished answers
    /// that are kept.
    pub max_entries: usize,
    /// Bytes of finished answers that are kept at most, at least 1.
    pub max_bytes: usize,
    /// How long an `Idempotency-Key` stands for its request, and the answer is kept for it.
    pub idempotency_ttl: Span,
    /// How long a request with an `Idempotency-Key` goes on whose caller has left.
    pub resume_grace: Span,
}

/// `[semantic_dedup]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SemanticDedup {
    /// The bits of 64 in which the fingerprints of two questions may differ, 0 to 6.
    pub similarity_threshold: u32,
    /// How long a question is remembered, in seconds, at least 1.
    pub window_secs: u64,
}

impl Default for SemanticDedup {
    fn default() -> Self {
        Self { similarity_threshold: 3, window_secs: 300 }
    }
}

impl Default for Deduplication {
    fn default() -> Self {
        Self {
            enabled: true,
            share_sampled: true,
            window_s: 300,
            max_entries: 10_000,
            max_bytes: 64 << 20,
            idempotency_ttl: Span::secs(3600),
            resume_grace: Span::secs(30),
        }
    }
}

/// `[observability]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Observability {
    /// How log lines look: `pretty` or `json`.
    #[schemars(with = "String")]
    pub log_format: LogFormat,
    /// Whether each request leaves a line in the log.
    pub log_requests: bool,
    /// A port of its own for `/metrics`, on the address of `server.listen`. `/metrics` is on the main port too.
    pub metrics_port: Option<u16>,
    /// The key that `/metrics` needs as a bearer key. `METRICS_API_KEY` in the environment goes before it. Without one the
    /// metrics are open.
    pub metrics_api_key: Option<Secret>,
    /// The collector that takes spans, by OTLP over HTTP, such as `http://localhost:4318`. Without one there are no
    /// traces.
    pub tracing_endpoint: Option<String>,
    /// The share of requests that are traced whose caller does not say, 0 to 1.
    pub trace_ratio: Option<f64>,
    /// How many of them a second at most, 0 or more. Default: 10 where `trace_ratio` is not set, else any number.
    pub traces_per_second: Option<f64>,
    /// Whether providers are sent the context of traces.
    pub trace_propagation: bool,
}

impl Default for Observability {
    fn default() -> Self {
        Self {
            log_format: LogFormat::Pretty,
            log_requests: false,
            metrics_port: None,
            metrics_api_key: None,
            tracing_endpoint: None,
            trace_ratio: None,
            traces_per_second: None,
            trace_propagation: true,
        }
    }
}

impl Observability {
    /// Which requests are traced.
    #[must_use]
    pub fn sampling(&self) -> Sampling {
        match (self.trace_ratio, self.traces_per_second) {
            (None, None) => Sampling::default(),
            (ratio, per_second) => Sampling { ratio: ratio.unwrap_or(1.0), per_second },
        }
    }
}

/// `[prices]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Prices {
    /// A JSON file of models, whose entries go before those of the table that llmkit comes with.
    pub file: Option<PathBuf>,
}
