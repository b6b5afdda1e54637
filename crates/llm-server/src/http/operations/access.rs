//! Who may use these routes, and how the others are refused.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Query};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use llm_core::{Error, ErrorKind, RequestId};
use llm_pipeline::Caller;
use serde::de::DeserializeOwned;

use super::refusal;
use crate::app::App;
use crate::config::Scope;
use crate::process::Process;

/// A caller with the scope `admin`.
pub(crate) struct Admin {
    /// The configuration that it was let in by.
    pub(crate) app: Arc<App>,
    id: RequestId,
}

/// A caller with the scope `inference`.
pub(crate) struct Inference {
    /// The configuration that it was let in by.
    pub(crate) app: Arc<App>,
    pub(crate) caller: Arc<Caller>,
    id: RequestId,
}

impl Admin {
    /// Refuses the request.
    pub(crate) fn refuse(&self, error: Error) -> Refusal {
        Refusal { error: Box::new(error), id: self.id.clone() }
    }
}

impl Inference {
    /// Refuses the request.
    pub(crate) fn refuse(&self, error: Error) -> Refusal {
        Refusal { error: Box::new(error), id: self.id.clone() }
    }
}

impl FromRequestParts<Arc<Process>> for Admin {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, process: &Arc<Process>) -> Result<Self, Refusal> {
        let Inference { app, id, .. } = allowed(parts, process, Scope::Admin)?;
        Ok(Self { app, id })
    }
}

impl FromRequestParts<Arc<Process>> for Inference {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, process: &Arc<Process>) -> Result<Self, Refusal> {
        allowed(parts, process, Scope::Inference)
    }
}

fn allowed(parts: &Parts, process: &Process, scope: Scope) -> Result<Inference, Refusal> {
    let app = process.app.load_full();
    let id = request_id(parts);
    match app.keys.authenticate(&parts.headers, scope).map(|credential| credential.caller.clone()) {
        Ok(caller) => Ok(Inference { app, caller, id }),
        Err(error) => Err(Refusal { error: Box::new(error), id }),
    }
}

fn request_id(parts: &Parts) -> RequestId {
    parts.extensions.get().cloned().unwrap_or_else(|| RequestId::from("unnamed"))
}

/// A query of one parameter, which may be left out.
pub(crate) struct Only<T>(pub(crate) T);

/// The one parameter, whose name says what it is the name of.
pub(crate) trait Parameter: DeserializeOwned {
    const NAME: &str;
}

impl<T: Parameter> FromRequestParts<Arc<Process>> for Only<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, process: &Arc<Process>) -> Result<Self, Refusal> {
        match Query::from_request_parts(parts, process).await {
            Ok(Query(parameter)) => Ok(Self(parameter)),
            Err(_) => {
                let message = format!("the only parameter is `{0}`, the name of a {0}", T::NAME);
                let error = Error::new(ErrorKind::InvalidRequest, message).with_param(T::NAME);
                Err(Refusal { error: Box::new(error), id: request_id(parts) })
            }
        }
    }
}

/// A request that is not answered, and why.
#[derive(Debug)]
pub(crate) struct Refusal {
    error: Box<Error>,
    id: RequestId,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        refusal(&self.error, &self.id)
    }
}
