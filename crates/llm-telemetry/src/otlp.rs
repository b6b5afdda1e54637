//! Sends spans to a collector: OTLP in protobuf over HTTP, in batches, on a thread of its own.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{Array, InstrumentationScope, Key, KeyValue, StringValue};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanExporter, SpanProcessor};
use rustls::RootCertStore;
use rustls::client::ClientConfig;
use rustls::crypto::ring;
use rustls_platform_verifier::Verifier;

use crate::collector::{OtlpConfig, OtlpError};
use crate::series::Series;
use crate::span::{self, Span, SpanSink, Value};

/// The way to the collector. What does not fit its queue, of 2,048 spans unless `OTEL_BSP_MAX_QUEUE_SIZE` says otherwise,
/// is dropped: a slow or dead collector slows nobody.
#[derive(Debug)]
pub(crate) struct Otlp {
    batches: BatchSpanProcessor,
    scope: InstrumentationScope,
}

impl Otlp {
    pub(crate) fn try_new(config: &OtlpConfig, series: Arc<Series>) -> Result<Self, OtlpError> {
        let (url, timeout) = (config.url()?, config.timeout);
        // The blocking client may not be made on a runtime's thread.
        let made = std::thread::spawn(move || exporter(url, timeout)).join();
        let exporter = made.map_err(|_| OtlpError::Client("the client's thread has failed".to_owned()))??;
        let mut batches = BatchSpanProcessor::builder(Counted { exporter, series }).build();
        let named = std::env::var_os("OTEL_SERVICE_NAME").is_some_and(|name| !name.is_empty());
        let mut resource = Resource::builder().with_attribute(KeyValue::new("service.version", VERSION));
        if !named {
            resource = resource.with_service_name(config.service_name.clone());
        }
        batches.set_resource(&resource.build());
        Ok(Self { batches, scope: InstrumentationScope::builder("llmkit").with_version(VERSION).build() })
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn exporter(url: String, timeout: Duration) -> Result<opentelemetry_otlp::SpanExporter, OtlpError> {
    let failed = |error: &dyn std::error::Error| OtlpError::Client(error.to_string());
    let provider = Arc::new(ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let tls = tls.map_err(|error| failed(&error))?;
    let tls = if url.starts_with("https:") {
        let verifier = Verifier::new(provider).map_err(|error| failed(&error))?;
        tls.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
    } else {
        // The machine's roots take memory, and nobody is asked for a certificate.
        tls.with_root_certificates(RootCertStore::empty())
    };
    let client = reqwest::blocking::Client::builder()
        .tls_backend_preconfigured(tls.with_no_client_auth())
        .timeout(timeout)
        .build()
        .map_err(|error| failed(&error))?;
    opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(url)
        .with_timeout(timeout)
        .build()
        .map_err(|error| failed(&error))
}

impl SpanSink for Otlp {
    fn take(&self, span: Span) {
        self.batches.on_end(data(span, self.scope.clone()));
    }

    fn close(&self, patience: Duration) {
        if let Err(error) = self.batches.shutdown_with_timeout(patience) {
            tracing::warn!(%error, "spans are lost: the collector did not take them in time");
        }
    }
}

/// Counts what became of spans.
#[derive(Debug)]
struct Counted<E> {
    exporter: E,
    series: Arc<Series>,
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len() as u64;
        let result = self.exporter.export(batch).await;
        let spans = &self.series.spans;
        // Relaxed: the counts publish nothing else.
        let failed_before = match &result {
            Ok(()) => {
                spans.sent.fetch_add(count, Relaxed);
                return result;
            }
            Err(_) => spans.failed.fetch_add(count, Relaxed),
        };
        if failed_before == 0
            && let Err(error) = &result
        {
            tracing::warn!(%error, "spans could not be sent; further failures are only counted");
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// The span in the SDK's words.
fn data(span: Span, scope: InstrumentationScope) -> SpanData {
    let state = span.state.as_ref().and_then(|state| state.to_str().ok()?.parse::<TraceState>().ok());
    SpanData {
        span_context: SpanContext::new(
            TraceId::from(span.trace_id.bits()),
            SpanId::from(span.span_id.bits()),
            TraceFlags::SAMPLED,
            false,
            state.unwrap_or_default(),
        ),
        parent_span_id: span.parent.map_or(SpanId::INVALID, |parent| SpanId::from(parent.bits())),
        parent_span_is_remote: span.parent_is_remote,
        span_kind: match span.kind {
            span::SpanKind::Server => SpanKind::Server,
            span::SpanKind::Client => SpanKind::Client,
            span::SpanKind::Internal => SpanKind::Internal,
        },
        name: span.name,
        start_time: time(span.start),
        end_time: time(span.end),
        attributes: span
            .attributes
            .into_iter()
            .map(|(name, value)| KeyValue::new(key(name), self::value(value)))
            .collect(),
        dropped_attributes_count: 0,
        events: Default::default(),
        links: Default::default(),
        status: if span.failed { Status::error("") } else { Status::Unset },
        instrumentation_scope: scope,
    }
}

fn key(name: Cow<'static, str>) -> Key {
    match name {
        Cow::Borrowed(name) => Key::from_static_str(name),
        Cow::Owned(name) => Key::new(name),
    }
}

fn value(value: Value) -> opentelemetry::Value {
    match value {
        Value::Text(text) => StringValue::from(text).into(),
        Value::Texts(texts) => {
            let texts = texts.into_iter().map(StringValue::from).collect();
            opentelemetry::Value::Array(Array::String(texts))
        }
        Value::Int(number) => number.into(),
        Value::Float(number) => number.into(),
        Value::Bool(yes) => yes.into(),
    }
}

fn time(since_epoch: Duration) -> SystemTime {
    UNIX_EPOCH + since_epoch
}
