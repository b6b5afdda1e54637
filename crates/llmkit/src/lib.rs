//! One client for every model, with the limits, breakers, routing and retries that LLM traffic needs.
//!
//! A [`Client`] walks the same path as the gateway: admission, circuit, attempt, record. Each mechanism is a
//! crate of its own and can be taken alone; here they stand behind features.
//!
//! # Limitations
//! A client keeps no finished answers; the gateway does.
//!
//! # Example
//! ```
//! # #[cfg(feature = "sim")]
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//!
//! use llmkit::{ClientBuilder, CompletionRequest, EchoProvider, Message};
//!
//! let client = ClientBuilder::new().with_provider(Arc::new(EchoProvider::new("echo"))).build()?;
//! let request = CompletionRequest::new("any", vec![Message::user("What is 2+2?")]);
//! let response = client.complete(&request).await?;
//! assert_eq!(response.text_content(), "What is 2+2?");
//! # Ok(())
//! # }
//! ```
mod builder;
mod client;
#[cfg(all(feature = "circuit-breaker", feature = "rate-limiter", feature = "smart-router"))]
mod load_balancer;
mod worker;

pub use builder::{BuildError, ClientBuilder};
pub use client::{Client, Events};
pub use llm_core::{
    Choice, CompletionRequest, CompletionResponse, ConversationId as SessionId, EmbeddingRequest, EmbeddingResponse,
    Error, ErrorKind, FaultClass, Json, Message, Model, ModelId, Part, Provider, ProviderId, ResponseFormat, Role,
    StopReason, StreamEvent, Tool, ToolCall, ToolChoice, Usage, shard_session,
};
pub use llm_pipeline::RetryPolicy;
pub use worker::LoadBalancedWorker;

#[cfg(feature = "circuit-breaker")]
pub use llm_breaker::{
    Anomaly, CircuitBreaker, CircuitBreakerConfig, CircuitBreakerStats, CircuitState, FailureRate, HealthMetrics,
};
#[cfg(feature = "streaming-multiplexer")]
pub use llm_dedup::{
    AggStats, CacheConfig, CacheStats, DedupStats, Embedder, MultiplexerStats, ResponseCache as PromptCache,
    SimilarityConfig, SimilarityIndex as SemanticDeduplicator, StreamAggregator, StreamChunk, StreamingMultiplexer,
};
#[cfg(feature = "bedrock")]
pub use llm_providers::AwsCredentials;
#[cfg(feature = "http")]
pub use llm_providers::{Api, HttpConfig, HttpProvider};
#[cfg(feature = "sim")]
pub use llm_providers::{EchoProvider, SimConfig, SimProvider};
#[cfg(feature = "rate-limiter")]
pub use llm_ratelimit::{
    BucketConfig, Budget as TokenBudgetGuard, CapConfig, KeyedLimiter, LimitConfig, MeterConfig, RateLimiter,
    TokenBucketConfig, TokenBudgetConfig,
};
#[cfg(feature = "observability")]
pub use llm_telemetry::{
    Exporter, MetricsListener, ObservabilityConfig, ObservabilityError, OtlpConfig, Sampling, Span, SpanId, SpanKind,
    SpanSink, Telemetry, TelemetryBuilder, TraceId, TracingContext, Value,
};
#[cfg(all(feature = "circuit-breaker", feature = "rate-limiter", feature = "smart-router"))]
pub use load_balancer::{BalancerConfig, EndpointStats, LoadBalancer, LoadBalancerStats, ModelEndpoint};
#[cfg(feature = "smart-router")]
pub use {
    llm_core::{Money, Price},
    llm_pipeline::{TargetConfig, Terms},
    llm_router::{
        ArbitrageEngine, Decision, Demand, Observed, Optimization, PromptClass, ProviderProfile, RouteError,
        RouterConfig, SmartRouter, SmartRouterBuilder, Strategy, TargetHealth,
    },
};

/// The README's example compiles and runs.
#[cfg(all(doctest, feature = "sim"))]
#[doc = include_str!("../../../README.md")]
struct Readme;
