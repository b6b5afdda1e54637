//! The list of models, in the format of whoever asks.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{OriginalUri, Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Uri, header};
use llm_core::{Dialect, Error, RequestId};
use llm_providers::wire::{Codec, codec};

use crate::config::Scope;
use crate::http::error::render;
use crate::http::ingress::dialect_of_models;
use crate::process::Process;

/// `GET /v1/models`
pub(crate) async fn list(
    State(process): State<Arc<Process>>,
    Extension(id): Extension<RequestId>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Response {
    let (dialect, app) = (dialect_of_models(uri.path(), &headers), process.app.load());
    let allowed = app.keys.authenticate_by(&headers, key(&uri), Scope::Inference);
    answer(dialect, &id, allowed.map(|_| spoken(dialect).encode_models(&app.pipeline.models())))
}

/// `GET /v1/models/NAME`
pub(crate) async fn one(
    State(process): State<Arc<Process>>,
    Extension(id): Extension<RequestId>,
    Path(name): Path<String>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Response {
    let (dialect, app) = (dialect_of_models(uri.path(), &headers), process.app.load());
    let allowed = app.keys.authenticate_by(&headers, key(&uri), Scope::Inference);
    let found = allowed.and_then(|_| app.pipeline.model(&name));
    answer(dialect, &id, found.map(|model| spoken(dialect).encode_model(&model)))
}

/// The key in the query, where Gemini's clients may put it.
fn key(uri: &Uri) -> Option<&str> {
    let pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(name, _)| *name == "key").map(|(_, key)| key).next()
}

fn spoken(dialect: Dialect) -> &'static dyn Codec {
    codec(dialect).expect("whoever asks for models speaks a dialect that has a codec")
}

fn answer(dialect: Dialect, id: &RequestId, body: Result<bytes::Bytes, Error>) -> Response {
    match body {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], Body::from(body)).into_response(),
        Err(error) => {
            let rendered = render(dialect, &error, id);
            (rendered.status, rendered.headers, Body::from(rendered.body)).into_response()
        }
    }
}
