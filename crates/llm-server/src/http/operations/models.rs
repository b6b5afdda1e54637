//! The models that callers may name.

use axum::body::Body;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::header;
use llm_providers::wire::openai;

use super::access::{Inference, Refusal};

pub(crate) async fn list(caller: Inference) -> Response {
    json(openai::encode_models(&caller.app.pipeline.models()))
}

pub(crate) async fn one(caller: Inference, Path(name): Path<String>) -> Result<Response, Refusal> {
    let model = caller.app.pipeline.model(&name).map_err(|error| caller.refuse(error))?;
    Ok(json(openai::encode_model(&model)))
}

fn json(body: bytes::Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], Body::from(body)).into_response()
}
