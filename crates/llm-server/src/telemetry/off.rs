//! Nothing is measured.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use llm_core::{NoObserver, Observer, RequestId, RequestObserver, TenantId, Tick};
use llm_pipeline::Pipeline;
use llm_telemetry::{CircuitChange, Totals};

use crate::config::{Loaded, Provider};

#[derive(Clone)]
pub(crate) struct Telemetry;

/// Follows nobody.
pub(crate) enum Watch {}

impl Watch {
    pub(crate) fn follower(&self) -> Arc<dyn RequestObserver> {
        match *self {}
    }

    pub(crate) fn caller(&self, _: &TenantId) {
        match *self {}
    }

    pub(crate) fn answered(&mut self, _: StatusCode) {
        match *self {}
    }

    pub(crate) fn trace_id(&self) -> Option<&'static str> {
        match *self {}
    }
}

impl Telemetry {
    pub(crate) fn start(loaded: &Loaded) -> Result<Self, Box<dyn std::error::Error>> {
        let settings = &loaded.config.observability;
        if settings.tracing_endpoint.is_some() || settings.log_requests || settings.metrics_port.is_some() {
            tracing::warn!("this build measures nothing: it was made without the feature `telemetry`");
        }
        Ok(Self)
    }

    pub(crate) fn observer(&self) -> Arc<dyn Observer> {
        Arc::new(NoObserver)
    }

    pub(crate) fn describe(&self, _: &[Provider]) {}

    pub(crate) fn watch<B>(&self, _: &Request<B>, _: &'static str, _: &RequestId, _: Tick) -> Option<Watch> {
        None
    }

    pub(crate) fn overhead(&self, _: Duration) {}

    pub(crate) fn show(&self, _: &Pipeline, _: Option<&str>) -> Option<(&'static str, String)> {
        None
    }

    pub(crate) const fn measures(&self) -> bool {
        false
    }

    pub(crate) fn totals(&self) -> Option<(Totals, Vec<CircuitChange>)> {
        None
    }

    pub(crate) async fn close(self, _: Duration) {}
}
