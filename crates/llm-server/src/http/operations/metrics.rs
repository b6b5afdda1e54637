//! What is measured, for whoever scrapes it.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use llm_core::{Error, ErrorKind, RequestId};
use secrecy::ExposeSecret;
use subtle::ConstantTimeEq;

use super::refusal;
use crate::http::auth::presented;
use crate::process::Process;

pub(crate) async fn show(
    State(process): State<Arc<Process>>,
    id: Option<Extension<RequestId>>,
    headers: HeaderMap,
) -> Response {
    if let Some(expected) = &process.metrics_key {
        let given = presented(&headers).unwrap_or_default();
        if !bool::from(given.as_bytes().ct_eq(expected.expose_secret().as_bytes())) {
            let error = Error::new(
                ErrorKind::Unauthenticated,
                "metrics need the key of observability.metrics_api_key, or of METRICS_API_KEY",
            );
            let id = id.map_or_else(|| RequestId::from("metrics"), |id| id.0);
            return refusal(&error.with_code("invalid_api_key"), &id);
        }
    }
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    match process.telemetry.show(&process.app.load().pipeline, accept) {
        Some((content_type, text)) => ([(header::CONTENT_TYPE, content_type)], text).into_response(),
        None => (StatusCode::NOT_IMPLEMENTED, "this build measures nothing\n").into_response(),
    }
}
