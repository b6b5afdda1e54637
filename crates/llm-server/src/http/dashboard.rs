//! The dashboard: a page without parts from elsewhere. It is open to all; what it shows it asks of
//! [`overview`](super::overview), with the viewer's key.

use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};

use super::overview::overview;
use crate::process::Process;

/// The page, its parts, and its data.
pub(crate) fn routes() -> Router<Arc<Process>> {
    const HTML: &str = "text/html; charset=utf-8";
    const CSS: &str = "text/css; charset=utf-8";
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    Router::new()
        .route("/", get(async || part(HTML, include_str!("dashboard/index.html"))))
        .route("/dashboard/style.css", get(async || part(CSS, include_str!("dashboard/style.css"))))
        .route("/dashboard/app.js", get(async || part(SCRIPT, include_str!("dashboard/app.js"))))
        .route("/dashboard/figures.js", get(async || part(SCRIPT, include_str!("dashboard/figures.js"))))
        .route("/dashboard/plot.js", get(async || part(SCRIPT, include_str!("dashboard/plot.js"))))
        .route("/dashboard/icon.svg", get(async || part("image/svg+xml", include_str!("dashboard/icon.svg"))))
        .route("/api/v1/overview", get(overview))
}

/// What the page may do: load its own parts and ask its own gateway. Nothing inline, nothing from elsewhere, no frame
/// around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

fn part(content_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, content_type),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        // Another version's parts do not fit.
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}
