//! What lives as long as the process: the clock, the metrics, and the configuration of the moment.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use arc_swap::ArcSwap;
use axum::Router;
use llm_core::SystemClock;
use llm_telemetry::Telemetry;
use secrecy::SecretString;

use crate::app::App;
use crate::http::operations;

/// The process, shared by all connections.
pub(crate) struct Process {
    pub(crate) clock: SystemClock,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) app: ArcSwap<App>,
    pub(crate) metrics_key: Option<SecretString>,
    routes: OnceLock<Router>,
    draining: AtomicBool,
}

impl Process {
    pub(crate) fn new(app: App, telemetry: Arc<Telemetry>, metrics_key: Option<SecretString>) -> Arc<Self> {
        let process = Arc::new(Self {
            clock: SystemClock::new(),
            telemetry,
            app: ArcSwap::from_pointee(app),
            metrics_key,
            routes: OnceLock::new(),
            draining: AtomicBool::new(false),
        });
        process.routes.get_or_init(|| operations::routes(process.clone()));
        process
    }

    /// The routes beside the data plane.
    pub(crate) fn routes(&self) -> Router {
        self.routes.get().expect("set when the process was made").clone()
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
