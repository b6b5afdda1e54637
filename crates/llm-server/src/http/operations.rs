//! The routes beside the data plane.

mod access;
mod circuits;
mod health;
mod metrics;
mod models;
mod stats;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::OriginalUri;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Router};
use http::Method;
use llm_core::{Dialect, Error, ErrorKind, RequestId};

use super::error::{render, wrong_method};
use super::{dashboard, openapi, sessions};
use crate::process::Process;

pub(super) use access::{Admin, Inference, Refusal};

/// All routes that are not the data plane's.
pub(crate) fn routes(process: Arc<Process>) -> Router {
    Router::new()
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::one))
        .route("/v1beta/models", get(models::list))
        .route("/v1beta/models/{*id}", get(models::one))
        .route("/v1/stream/sse", get(sessions::listen))
        .route("/v1/health", get(health::show))
        .route("/v1/circuit-breaker/reset", post(circuits::reset))
        .route("/api/v1/circuit-breaker/stats", get(circuits::show))
        .route("/api/v1/rate-limiter/stats", get(stats::limits))
        .route("/api/v1/load-balancer/stats", get(stats::balance))
        .route("/api/v1/cache/stats", get(stats::cache))
        .route("/api/v1/cache", delete(stats::forget))
        .route("/api/v1/explain/{id}", get(stats::explain))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(health::ready))
        .merge(metrics_routes())
        .merge(dashboard::routes())
        .merge(openapi::routes())
        .method_not_allowed_fallback(async |id: Extension<RequestId>, method: Method| {
            refusal(&wrong_method(&method), &id)
        })
        .fallback(unknown)
        .with_state(process)
}

/// What the listener of `metrics_port` serves.
pub(crate) fn metrics_only(process: Arc<Process>) -> Router {
    metrics_routes().fallback(unknown).with_state(process)
}

fn metrics_routes() -> Router<Arc<Process>> {
    Router::new().route("/metrics", get(metrics::show))
}

/// An error in its caller's format; these routes speak OpenAI's.
pub(super) fn refusal(error: &Error, id: &RequestId) -> Response {
    let rendered = render(Dialect::OpenAi, error, id);
    (rendered.status, rendered.headers, Body::from(rendered.body)).into_response()
}

async fn unknown(Extension(id): Extension<RequestId>, method: Method, OriginalUri(uri): OriginalUri) -> Response {
    let error = Error::new(ErrorKind::NotFound, format!("unknown request URL: {method} {}", uri.path()));
    refusal(&error.with_code("unknown_url"), &id)
}
