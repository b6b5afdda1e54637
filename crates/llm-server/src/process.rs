//! What lives as long as the process: the clock, the metrics, and the configuration of the moment.

use std::sync::Arc;

use arc_swap::ArcSwap;
use llm_core::{Clock, SystemClock, Tick};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::http::sessions::Sessions;
use crate::http::tls::Tls;
use crate::telemetry::Telemetry;

/// The process, shared by all connections.
pub(crate) struct Process {
    pub(crate) clock: SystemClock,
    pub(crate) started: Tick,
    pub(crate) telemetry: Telemetry,
    pub(crate) app: ArcSwap<App>,
    pub(crate) tls: Arc<Tls>,
    pub(crate) metrics_key: Option<SecretString>,
    pub(crate) sessions: Sessions,
    draining: CancellationToken,
}

impl Process {
    pub(crate) fn new(app: App, tls: Tls, telemetry: Telemetry, metrics_key: Option<SecretString>) -> Self {
        Self {
            clock: SystemClock::new(),
            started: SystemClock::new().now(),
            telemetry,
            app: ArcSwap::from_pointee(app),
            tls: Arc::new(tls),
            metrics_key,
            sessions: Sessions::default(),
            draining: CancellationToken::new(),
        }
    }

    /// Whether new requests are welcome.
    pub(crate) fn is_ready(&self) -> bool {
        !self.draining.is_cancelled()
    }

    /// From here on the process only finishes what it has.
    pub(crate) fn drain(&self) {
        self.draining.cancel();
    }

    /// Waits until the process only finishes what it has.
    pub(crate) async fn draining(&self) {
        self.draining.cancelled().await;
    }
}
