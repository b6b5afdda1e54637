//! The routes of OpenAI's that are passed on as they are: who may ask, and what goes on.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use hyper::body::Body as _;
use llm_core::{Clock, Dialect, Error, ErrorKind, Forward, Forwarded, RequestId, StoredResponse, Tick};
use llm_pipeline::{CacheUse, Reply};

use super::body::{BoxResponse, Payload};
use super::inbound::Exchange;
use super::incoming::BoxRequest;
use super::quota::Quota;
use super::service::{X_ACCEL_BUFFERING, deadline, failed, failure, overhead, refuse, respond, tell};
use super::upload::{self, Bounds, Read};
use crate::app::App;
use crate::config::Scope;
use crate::http::auth::Credential;
use crate::process::Process;
use crate::telemetry::Watch;

/// A route that is passed on.
#[derive(Debug)]
pub(super) struct Passage {
    /// The path, with `{id}` for any name of an object.
    pub(super) path: &'static str,
    methods: &'static [Method],
    /// What it is about, in one word.
    family: &'static str,
    about: About,
    /// Whether asking may cost something.
    charged: bool,
}

/// What a route is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    /// A model, which its body names.
    Model,
    /// What the provider keeps for the account.
    Account,
    /// A response that the provider keeps, which who made it may have.
    Response,
}

const POST: &[Method] = &[Method::POST];
const GET: &[Method] = &[Method::GET];
const GET_POST: &[Method] = &[Method::GET, Method::POST];
const GET_DELETE: &[Method] = &[Method::GET, Method::DELETE];

static PASSAGES: [Passage; 20] = [
    Passage::of_models("/v1/moderations", "moderations", false),
    Passage::of_models("/v1/images/generations", "images", true),
    Passage::of_models("/v1/images/edits", "images", true),
    Passage::of_models("/v1/images/variations", "images", true),
    Passage::of_models("/v1/audio/speech", "audio", true),
    Passage::of_models("/v1/audio/transcriptions", "audio", true),
    Passage::of_models("/v1/audio/translations", "audio", true),
    Passage::of_accounts("/v1/files", GET_POST, "files"),
    Passage::of_accounts("/v1/files/{id}", GET_DELETE, "files"),
    Passage::of_accounts("/v1/files/{id}/content", GET, "files"),
    Passage::of_accounts("/v1/uploads", POST, "uploads"),
    Passage::of_accounts("/v1/uploads/{id}/parts", POST, "uploads"),
    Passage::of_accounts("/v1/uploads/{id}/complete", POST, "uploads"),
    Passage::of_accounts("/v1/uploads/{id}/cancel", POST, "uploads"),
    Passage { charged: true, ..Passage::of_accounts("/v1/batches", GET_POST, "batches") },
    Passage::of_accounts("/v1/batches/{id}", GET, "batches"),
    Passage::of_accounts("/v1/batches/{id}/cancel", POST, "batches"),
    Passage { about: About::Response, ..Passage::of_accounts("/v1/responses/{id}", GET_DELETE, "responses") },
    Passage { about: About::Response, ..Passage::of_accounts("/v1/responses/{id}/cancel", POST, "responses") },
    Passage { about: About::Response, ..Passage::of_accounts("/v1/responses/{id}/input_items", GET, "responses") },
];

impl Passage {
    const fn of_models(path: &'static str, family: &'static str, charged: bool) -> Self {
        Self { path, methods: POST, family, about: About::Model, charged }
    }

    const fn of_accounts(path: &'static str, methods: &'static [Method], family: &'static str) -> Self {
        Self { path, methods, family, about: About::Account, charged: false }
    }

    /// The route that `path` is; none where it is another.
    pub(super) fn at(path: &str) -> Option<&'static Self> {
        PASSAGES.iter().find(|passage| is(passage.path, path))
    }

    /// Whether it answers `method`.
    pub(super) fn takes(&self, method: &Method) -> bool {
        self.methods.contains(method)
    }

    /// Who asks, if they may. What the provider keeps for its account all of its callers would share.
    fn admits<'a>(&self, app: &'a App, headers: &HeaderMap) -> Result<&'a Credential, Error> {
        let inference = || app.keys.authenticate(headers, Scope::Inference);
        if self.about != About::Account {
            return inference();
        }
        match app.keys.authenticate(headers, Scope::Admin) {
            Err(error) if error.kind() == ErrorKind::Forbidden && app.shared_account => inference(),
            Err(error) if error.kind() == ErrorKind::Forbidden => Err(Error::new(
                ErrorKind::Forbidden,
                "what the provider keeps belongs to an account that all tenants here share: this takes a key with the \
                 scope `admin`, or `server.shared_account`",
            )
            .with_code("missing_scope")),
            admitted => admitted,
        }
    }

    /// What is asked, its body as far as it must be known. `own` says whether it is only of what its caller has made.
    fn forward(&self, method: &Method, uri: &http::Uri, read: Read, own: bool) -> Forward {
        let id = uri.path().split('/').nth(3).filter(|_| self.about == About::Response);
        let response = id.map(|id| StoredResponse { id: id.into(), own });
        let whole = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let below = whole.strip_prefix("/v1/").map(|below| format!("/{below}"));
        Forward {
            method: method.clone(),
            target: below.as_deref().unwrap_or(whole).parse().expect("a path without its first part is a path"),
            family: self.family,
            model: read.model,
            body: read.body,
            response,
            stored: self.about != About::Model,
            repeatable: self.about == About::Model || *method == Method::GET,
            charged: self.charged && *method == Method::POST,
        }
    }
}

/// Whether `path` has the form of `pattern`.
fn is(pattern: &str, path: &str) -> bool {
    let mut parts = path.split('/');
    let fits = pattern
        .split('/')
        .all(|wanted| parts.next().is_some_and(|part| if wanted == "{id}" { is_id(part) } else { part == wanted }));
    fits && parts.next().is_none()
}

/// Whether `part` can name an object, and nothing else: what leads elsewhere in a path does not.
fn is_id(part: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    part.bytes().all(plain) && part.bytes().any(|byte| byte.is_ascii_alphanumeric())
}

/// Passes a request on, and its answer back.
pub(super) async fn pass(
    process: &Process,
    exchange: &Arc<Exchange>,
    passage: &Passage,
    request: BoxRequest,
    id: &RequestId,
    received: Tick,
    watch: Option<&Watch>,
) -> BoxResponse {
    let app = process.app.load_full();
    let (parts, body) = (*request).into_parts();
    let (caller, everybodys) = match passage.admits(&app, &parts.headers) {
        Ok(credential) => (credential.caller.clone(), app.shared_account || credential.may(Scope::Admin)),
        Err(error) => return refuse(exchange, Dialect::OpenAi, &error, id),
    };
    if let Some(watch) = watch {
        watch.caller(&caller.tenant);
    }
    let bounds = Bounds { most: app.limits.max_body_bytes, idle: app.limits.body_idle_timeout };
    let read = if (body.is_end_stream() && passage.about != About::Model) || parts.method != Method::POST {
        Ok(Read::default())
    } else if passage.about == About::Model {
        upload::naming_a_model(body, &parts.headers, bounds).await
    } else {
        upload::unread(body, bounds).await
    };
    let read = match read {
        Ok(read) => read,
        Err(error) => return refuse(exchange, Dialect::OpenAi, &error, id),
    };
    let forward = passage.forward(&parts.method, &parts.uri, read, !everybodys);
    let rest = forward.body.rest().cloned();
    let request = deadline(&parts.headers, received).map(|deadline| llm_pipeline::Request {
        caller: caller.clone(),
        id: id.clone(),
        body: llm_core::CallBody::Forward(Arc::new(forward)),
        headers: forwarded(&parts.headers),
        cache: CacheUse::Bypass,
        idempotency_key: None,
        last_frame: None,
        received,
        deadline,
        follower: watch.map(Watch::follower),
    });
    let answered = match request {
        Ok(request) => app.pipeline.handle(request).await,
        Err(error) => Err(error),
    };
    let mut response = match answered {
        Ok(response) => {
            let overhead = overhead(&response.served, process.clock.now().since(received));
            process.telemetry.overhead(overhead);
            let Reply::Forwarded(answer) = response.reply else {
                unreachable!("what is passed on is answered with what is passed back")
            };
            let mut passed = passed_back(*answer, exchange);
            tell(passed.body_mut().fields(), &response.served, overhead);
            passed
        }
        Err(error) => {
            failed(&error, id, watch);
            match rest {
                Some(rest) if !rest.is_ended() => refuse(exchange, Dialect::OpenAi, &error, id),
                _ => failure(exchange, Dialect::OpenAi, &error, id),
            }
        }
    };
    let now = process.clock.unix_time();
    Quota::new(Dialect::OpenAi, now, app.pipeline.headroom(&caller, None)).show(&mut response);
    response
}

/// The provider's answer, its bytes untouched.
fn passed_back(answer: Forwarded, exchange: &Arc<Exchange>) -> BoxResponse {
    let Forwarded { status, mut headers, length, body } = answer;
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let events = kind.get(..17).is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"));
    if events {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(&X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    }
    respond(status, headers, Payload::Passed { body, left: length, events }, exchange)
}

/// The caller's headers that the provider is to see.
fn forwarded(headers: &HeaderMap) -> HeaderMap {
    FORWARDED.into_iter().filter_map(|name| Some((name.clone(), headers.get(name)?.clone()))).collect()
}

const FORWARDED: [HeaderName; 4] =
    [header::ACCEPT, header::CONTENT_ENCODING, header::CONTENT_TYPE, HeaderName::from_static("openai-beta")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_found_by_their_whole_path_and_lead_nowhere_else() {
        let at = |path: &str| Passage::at(path).map(|passage| passage.path);
        for passage in &PASSAGES {
            assert_eq!(at(&passage.path.replace("{id}", "file-a_B.9")), Some(passage.path));
        }
        for path in [
            "/v1/files/",
            "/v1/files/..",
            "/v1/files/../content",
            "/v1/files/%2e%2e/content",
            "/v1/files/a/b",
            "/v1/filesystem",
            "/v1/images",
            "/v1/batches/a/cancel/b",
        ] {
            assert_eq!(at(path), None, "{path}");
        }
    }
}
