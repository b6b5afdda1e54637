//! What an application sets up in one go.

use crate::sampling::Sampling;
use crate::telemetry::Telemetry;

/// What an application's client measures. By default nothing.
///
/// ```
/// use llm_telemetry::{Exporter, ObservabilityConfig};
///
/// let config = ObservabilityConfig { enable_traces: false, enable_metrics: true, exporter: Exporter::Prometheus };
/// let telemetry = config.try_build()?;
/// assert!(telemetry.render(None).1.contains("llmkit_build_info"));
/// # Ok::<(), llm_telemetry::ObservabilityError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObservabilityConfig {
    /// Whether requests are traced: all, up to 10 new traces a second, and those with a
    /// [`TracingContext`](crate::TracingContext). Spans go to the collector that `OTEL_EXPORTER_OTLP_ENDPOINT` or
    /// `JAEGER_ENDPOINT` names; without one, and without the feature `otlp`, the log says so and there are none.
    pub enable_traces: bool,
    /// Whether attempts and requests are counted.
    pub enable_metrics: bool,
    /// How the counts are read.
    pub exporter: Exporter,
}

/// How an application's metrics are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exporter {
    /// As Prometheus' text: [`Telemetry::render`] gives it, [`MetricsListener`](crate::MetricsListener) serves it.
    Prometheus,
    /// Not at all, so that nothing is counted.
    #[default]
    None,
}

/// Why an application's telemetry cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ObservabilityError {
    /// The collector that the environment names cannot be sent to.
    #[error(transparent)]
    Collector(#[from] crate::OtlpError),
}

impl ObservabilityConfig {
    /// Sets it up.
    ///
    /// # Errors
    /// [`ObservabilityError`] when the environment names a collector that cannot be sent to.
    pub fn try_build(self) -> Result<Telemetry, ObservabilityError> {
        let Self { enable_traces, enable_metrics, exporter } = self;
        let metrics = enable_metrics && exporter != Exporter::None;
        let builder = Telemetry::builder().metrics(metrics).sampling(Sampling::default());
        #[cfg(feature = "otlp")]
        let builder = match crate::OtlpConfig::from_env() {
            Some(collector) if enable_traces => builder.otlp(&collector)?,
            None if enable_traces => {
                tracing::warn!("there are no traces: neither OTEL_EXPORTER_OTLP_ENDPOINT nor JAEGER_ENDPOINT is set");
                builder
            }
            _ => builder,
        };
        #[cfg(not(feature = "otlp"))]
        if enable_traces {
            tracing::warn!("there are no traces: this build is without the feature `otlp`");
        }
        Ok(builder.try_build().expect("the default sampling is one"))
    }
}

#[cfg(test)]
mod tests {
    use llm_core::Observer;

    use super::*;

    fn shows_calls(config: ObservabilityConfig) -> bool {
        let telemetry = config.try_build().expect("no collector is named");
        telemetry.target(&"p".into(), &"m".into()).attempt_started();
        telemetry.render(None).1.contains("llmkit_request_active{provider=\"p\"} 1")
    }

    #[test]
    fn nothing_is_counted_unless_it_is_wanted_and_can_be_read() {
        let wanted = ObservabilityConfig { enable_traces: false, enable_metrics: true, exporter: Exporter::Prometheus };
        assert!(shows_calls(wanted));
        assert!(!shows_calls(ObservabilityConfig { enable_metrics: false, ..wanted }));
        assert!(!shows_calls(ObservabilityConfig { exporter: Exporter::None, ..wanted }));
        assert!(!shows_calls(ObservabilityConfig::default()));
    }
}
