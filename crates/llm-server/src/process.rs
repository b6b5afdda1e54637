//! What lives as long as the process: the clock, the metrics, and the configuration of the moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use arc_swap::ArcSwap;
use llm_core::{Clock, SystemClock, Tick};
use secrecy::SecretString;

use crate::app::App;
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
    draining: AtomicBool,
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
            draining: AtomicBool::new(false),
        }
    }

    /// Whether new requests are welcome.
    pub(crate) fn is_ready(&self) -> bool {
        // Relaxed: the flag publishes nothing else.
        !self.draining.load(Relaxed)
    }

    /// From here on the process only finishes what it has.
    pub(crate) fn drain(&self) {
        // Relaxed: the flag publishes nothing else.
        self.draining.store(true, Relaxed);
    }
}
