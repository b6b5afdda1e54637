//! The answer to one request, sent as its script has it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use llm_core::{Dialect, Envelope, Error, ErrorKind, Operation};
use tokio::net::tcp::WriteHalf;

use super::asked::{Asked, VERTEX};
use super::grant;
use super::head::{Framing, Method};
use super::inspect;
use super::log::Entry;
use super::other::Other;
use super::request::{LastTarget, Request};
use super::shared::Shared;
use super::wait::{pass, pass_exactly};
use super::writer::Writer;
use crate::exchange::{self, Chat, FrameWriter, Wire};
use crate::prompt::input_tokens;
use crate::reply::Reply;
use crate::sim::ledger::InFlight;
use crate::sim::refusal::{IN_BAND, Refusal};
use crate::sim::script::SimScript;
use crate::sim::show::{Marker, Show, Step, is_token};
use crate::sim::simulator::{CREATED, Target};
use crate::sim::value::Value as _;
use crate::vector;
use crate::wire::codec;
use crate::wire::openai::{
    ErrorBody, decode_embedding_request, encode_embedding_response, encode_model, encode_models, error_frame,
};
use crate::wire::responses::is_stored;

/// From this size on the end of a whole answer is sent by itself, so that an answer does not count as given before
/// its client has taken most of it.
const LARGE: usize = 16 << 10;

/// What happens to the connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Next,
    Close,
    HalfClose,
}

/// Why an answer was not given to its end.
#[derive(Debug)]
pub(super) enum Broken {
    /// The client is gone.
    Gone(io::Error),
    /// An error is to be sent instead.
    Refused(Box<Refusal>),
    /// The script has it so.
    Cut,
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

impl From<Refusal> for Broken {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Refusal::of(&error).into()
    }
}

impl Broken {
    /// An error in the words of `dialect`.
    fn told_in(self, dialect: Dialect) -> Self {
        match self {
            Self::Refused(refusal) => Self::Refused(Box::new(refusal.told_in(dialect))),
            other => other,
        }
    }
}

/// Answers one request.
#[derive(Debug)]
pub(super) struct Answerer<'a, 'b> {
    pub(super) shared: &'a Shared,
    pub(super) writer: Writer<'a, 'b>,
}

impl<'a, 'b> Answerer<'a, 'b> {
    pub(super) fn new(shared: &'a Shared, socket: &'a mut WriteHalf<'b>) -> Self {
        Self { shared, writer: Writer::new(socket) }
    }

    /// Answers what is no request.
    pub(super) async fn malformed(mut self, status: u16) -> io::Result<()> {
        self.writer.refuse(&plain(status, None, "the request cannot be read"), false).await
    }

    /// Answers `request`.
    pub(super) async fn answer(mut self, request: &Request, last: &mut Option<LastTarget>) -> io::Result<Then> {
        let keep = request.head.keep;
        match self.route(request, last).await {
            Ok(Then::Next) if !keep => Ok(Then::Close),
            Ok(then) => Ok(then),
            Err(Broken::Gone(error)) => Err(error),
            Err(Broken::Refused(refusal)) => {
                self.writer.refuse(&refusal, keep).await?;
                Ok(if keep { Then::Next } else { Then::Close })
            }
            Err(Broken::Cut) => Ok(Then::Close),
        }
    }

    async fn route(&mut self, request: &Request, last: &mut Option<LastTarget>) -> Result<Then, Broken> {
        let (path, query) = request.path();
        let method = request.head.method;
        if let Some(path) = path.strip_prefix("/sim/") {
            let shown = inspect::answer(self.shared, method, path, query).await?;
            self.writer.json(&shown, request.head.keep).await?;
            return Ok(Then::Next);
        }
        if (method, path) == (Method::Post, "/token") {
            return self.token(request, query).await;
        }
        if let Some(asked) = Asked::at(path)
            && method == Method::Post
        {
            let answered = self.post(request, &asked, last).await;
            return answered.map_err(|broken| broken.told_in(asked.dialect()));
        }
        let route = path.strip_prefix("/v1").unwrap_or(path);
        match (method, route, route.strip_prefix("/models/")) {
            (Method::Get, "/models", _) => return self.models(request, None).await,
            (Method::Get, _, Some(id)) => return self.models(request, Some(id)).await,
            _ => {}
        }
        if let Some(other) = Other::at(route) {
            return self.other(request, other, route, last).await;
        }
        self.note(request);
        self.shared.simulator.begin_other().fail();
        Err(match Asked::at(path) {
            None if route != "/models" => plain(404, Some("unknown_url"), "there is nothing at this path").into(),
            _ => plain(405, Some("method_not_supported"), "this path is for another method").into(),
        })
    }

    async fn post(&mut self, request: &Request, asked: &Asked, last: &mut Option<LastTarget>) -> Result<Then, Broken> {
        let body = match asked {
            Asked::Response => self.shared.objects.lock().gone_on(request.body.clone()),
            _ => Ok(request.body.clone()),
        };
        let asked = body.and_then(|body| asked.read(body)).and_then(|envelope| {
            let target = self.target(envelope.model_name(), request.script(), last)?;
            Ok((envelope, target))
        });
        let (envelope, target) = asked.inspect_err(|_| {
            self.note(request);
            self.shared.simulator.begin_other().fail();
        })?;
        let (mut in_flight, ordinal) = self.shared.simulator.begin(&target);
        let chat = (envelope.dialect, envelope.operation) == (Dialect::OpenAi, Operation::Chat);
        let answered = if target.fixed && chat && request.head.chunks {
            self.fixed(&target, &envelope, &mut in_flight).await
        } else {
            self.scripted(request, &envelope, &target, ordinal, &mut in_flight).await
        };
        if matches!(answered, Err(Broken::Refused(_) | Broken::Cut)) {
            in_flight.fail();
        }
        answered
    }

    /// Keeps the request for who asks about it, and gives its number.
    pub(super) fn note(&self, request: &Request) -> u64 {
        let entry = Entry { head: request.raw.clone(), body: request.body.clone() };
        self.shared.log.lock().push(entry)
    }

    pub(super) fn target(
        &self,
        model: &str,
        script: Option<&[u8]>,
        last: &mut Option<LastTarget>,
    ) -> Result<Arc<Target>, Error> {
        if let Some(last) = last.as_ref().filter(|last| last.model == model && last.script.as_deref() == script) {
            return Ok(last.target.clone());
        }
        let target = self.shared.simulator.target(model, script)?;
        let script = script.map(<[u8]>::to_vec);
        *last = Some(LastTarget { model: model.into(), script, target: target.clone() });
        Ok(target)
    }

    /// Sends the answer that is always the same.
    async fn fixed(&mut self, target: &Target, envelope: &Envelope, in_flight: &mut InFlight) -> Result<Then, Broken> {
        let script = &target.script;
        let encoded = self.shared.simulator.encoded(target);
        let served = self.shared.simulator.served(target);
        in_flight.tokens(encoded.usage.map_or(0, |usage| usage.input), 0);
        pass_exactly(script.ttft).await;
        if !envelope.stream {
            pass(whole_gap(script, encoded.tokens)).await;
            in_flight.tokens(0, encoded.tokens);
            in_flight.complete();
            self.writer.send_encoded(&served.whole).await?;
            return Ok(Then::Next);
        }
        let mut gap = None;
        let (end, pieces) = served.pieces(envelope.wants_usage).split_last().expect("a stream has its marker");
        for piece in pieces {
            if piece.token {
                pass(gap).await;
                gap = script.gap;
            }
            self.writer.send_encoded(&piece.bytes).await?;
        }
        in_flight.tokens(0, encoded.tokens);
        in_flight.complete();
        self.writer.send_encoded(&end.bytes).await?;
        Ok(Then::Next)
    }

    async fn scripted(
        &mut self,
        request: &Request,
        envelope: &Envelope,
        target: &Target,
        ordinal: u64,
        in_flight: &mut InFlight,
    ) -> Result<Then, Broken> {
        let number = self.note(request);
        let script = &target.script;
        self.admit(request, script)?;
        if envelope.operation == Operation::Embeddings {
            let mut asked = decode_embedding_request(&request.body)?;
            asked.request.model = target.model.as_str().into();
            let response = vector::embed(&asked.request)?;
            self.open(target, ordinal).await?;
            in_flight.tokens(response.usage.map_or(0, |usage| usage.input), 0);
            let body = encode_embedding_response(&response, asked.format);
            return self.whole(request, number, script, &body, 0, in_flight).await;
        }
        if envelope.operation == Operation::CountTokens {
            let codec = codec(envelope.dialect).expect("its path names the dialect");
            let prompt = codec.decode_count_request(&request.body)?;
            self.open(target, ordinal).await?;
            let body = codec.encode_count(input_tokens(&prompt.messages))?;
            return self.whole(request, number, script, &body, 0, in_flight).await;
        }
        let mut chat = Chat::read(envelope)?;
        if matches!(envelope.dialect, Dialect::Gemini | Dialect::Bedrock) {
            // It stands in the path.
            chat.request.model = target.model.as_str().into();
        }
        self.open(target, ordinal).await?;
        let reply = self.shared.simulator.reply(target, &chat.request, ordinal);
        in_flight.tokens(input_tokens(&chat.request.messages), 0);
        let wire = chat.wire.expect("it was asked in bytes");
        if envelope.dialect == Dialect::OpenAiResponses && is_stored(&envelope.body) {
            let answer = wire.whole(&reply.clone().whole());
            self.shared.objects.lock().keep_response(&answer);
        }
        if chat.stream {
            return self.stream(request, number, script, reply, wire, in_flight).await;
        }
        let tokens = reply.tokens();
        let body = wire.whole(&reply.whole());
        self.whole(request, number, script, &body, tokens, in_flight).await
    }

    /// Gives a token for an assertion.
    async fn token(&mut self, request: &Request, query: &str) -> Result<Then, Broken> {
        self.note(request);
        let (mut life, mut script) = (None, String::from("token?"));
        for pair in query.split('&') {
            match pair.strip_prefix("expires_in=") {
                Some(seconds) => life = seconds.parse().ok(),
                None => script.extend([pair, "&"]),
            }
        }
        let target = self.shared.simulator.target(&script, request.script())?;
        let (mut in_flight, ordinal) = self.shared.simulator.begin(&target);
        let opened = self.open(&target, ordinal).await;
        let refused = |broken| match broken {
            Broken::Refused(refusal) => grant::refused(refusal.status, "simulated").into(),
            other => other,
        };
        let answer = opened.map_err(refused).and_then(|()| {
            self.shared.grants.lock().answer(&request.body, life).map_err(|what| grant::refused(400, what).into())
        });
        match answer {
            Ok(body) => {
                in_flight.complete();
                self.writer.json(&body, request.head.keep).await?;
                Ok(Then::Next)
            }
            Err(broken) => {
                in_flight.fail();
                Err(broken)
            }
        }
    }

    /// Checks the key, when the script has one; for Vertex AI a token that was given.
    pub(super) fn admit(&self, request: &Request, script: &SimScript) -> Result<(), Broken> {
        if request.path().0.contains(VERTEX) && !request.key().is_some_and(|key| self.shared.grants.lock().knows(key)) {
            return Err(plain(401, Some("invalid_api_key"), "the token is unknown").into());
        }
        #[cfg(feature = "bedrock")]
        if matches!(Asked::at(request.path().0), Some(Asked::Converse { .. }))
            && let Some((key_id, secret)) = script.auth.as_ref().and_then(|key| key.split_once(':'))
        {
            return match request.is_signed_by(key_id, secret) {
                true => Ok(()),
                false => Err(plain(403, Some("invalid_api_key"), "the signature does not match").into()),
            };
        }
        match &script.auth {
            Some(key) if request.key() != Some(key.as_bytes()) => {
                Err(plain(401, Some("invalid_api_key"), "incorrect API key provided").into())
            }
            _ => Ok(()),
        }
    }

    /// Lets the time before the answer's first byte pass, and breaks off what is to be an error.
    pub(super) async fn open(&self, target: &Target, ordinal: u64) -> Result<(), Broken> {
        let script = &target.script;
        if script.stall == Some(true) {
            std::future::pending::<()>().await;
        }
        pass_exactly(script.ttft).await;
        if script.hangup == Some(true) {
            return Err(Broken::Cut);
        }
        self.shared.simulator.refusal(target, ordinal).map_or(Ok(()), |refusal| Err(refusal.into()))
    }

    async fn whole(
        &mut self,
        request: &Request,
        number: u64,
        script: &SimScript,
        body: &Bytes,
        tokens: u64,
        in_flight: &mut InFlight,
    ) -> Result<Then, Broken> {
        self.whole_of("application/json", request, number, script, body, tokens, in_flight).await
    }

    /// The same, of another type of content.
    #[expect(clippy::too_many_arguments, reason = "all that an answer is made of")]
    pub(super) async fn whole_of(
        &mut self,
        content_type: &'static str,
        request: &Request,
        number: u64,
        script: &SimScript,
        body: &Bytes,
        tokens: u64,
        in_flight: &mut InFlight,
    ) -> Result<Then, Broken> {
        pass(whole_gap(script, tokens)).await;
        let half_close = script.half_close == Some(true);
        let framing = if half_close { Framing::ToTheEnd } else { Framing::Length(body.len()) };
        self.writer.head(200, &headers(content_type, number), framing, request.head.keep);
        if script.stall_after.is_some() {
            self.writer.half(framing, body).send().await?;
            return std::future::pending().await;
        }
        if script.cut_after.is_some() || script.truncate == Some(true) {
            self.writer.half(framing, body).send().await?;
            return Err(Broken::Cut);
        }
        let mut rest = &body[..];
        if body.len() > LARGE {
            let (most, end) = body.split_at(body.len() - LARGE / 2);
            self.writer.bytes(most).send().await?;
            rest = end;
        }
        in_flight.tokens(0, tokens);
        in_flight.complete();
        self.writer.bytes(rest).send().await?;
        Ok(after(script))
    }

    async fn stream(
        &mut self,
        request: &Request,
        number: u64,
        script: &SimScript,
        reply: Reply,
        wire: Wire,
        in_flight: &mut InFlight,
    ) -> Result<Then, Broken> {
        let framing = if request.head.chunks { Framing::Chunked } else { Framing::ToTheEnd };
        let half_close = script.half_close == Some(true);
        let kind = match wire.dialect {
            Dialect::Bedrock => "application/vnd.amazon.eventstream",
            _ => "text/event-stream",
        };
        let mut headers = headers(kind, number);
        headers.insert("cache-control", HeaderValue::from_static("no-cache"));
        self.writer.head(200, &headers, framing, request.head.keep).send().await?;

        let mut frames = FrameWriter::new(wire, CREATED);
        for step in Show::new(reply.events(), script) {
            match step {
                Step::Wait(gap) => pass(Some(gap)).await,
                Step::Say(event, _) => {
                    let bytes = frames.frame(&event).bytes;
                    // An empty chunk would end the answer.
                    if !bytes.is_empty() {
                        self.writer.part(framing, &bytes).send().await?;
                    }
                    in_flight.tokens(0, u64::from(is_token(&event)));
                }
                Step::Stall => return std::future::pending().await,
                Step::Fail => {
                    in_flight.fail();
                    let error = Error::new(ErrorKind::Upstream, IN_BAND.message);
                    self.writer.part(
                        framing,
                        &match wire.dialect {
                            Dialect::OpenAi => error_frame(&IN_BAND),
                            _ => frames.failed(&error),
                        },
                    );
                    break;
                }
                Step::Cut(None) => return Err(Broken::Cut),
                Step::Cut(Some(event)) => {
                    self.writer.half(framing, &frames.frame(&event).bytes).send().await?;
                    return Err(Broken::Cut);
                }
                Step::End(Marker::CutInTwo) => {
                    self.writer.half(framing, &frames.done().bytes).send().await?;
                    return Err(Broken::Cut);
                }
                Step::End(marker) => {
                    in_flight.complete();
                    if marker == Marker::Whole {
                        self.writer.part(framing, &frames.done().bytes);
                    }
                }
            }
        }
        if framing == Framing::Chunked && !half_close {
            self.writer.part(framing, &[]);
        }
        self.writer.send().await?;
        Ok(if framing == Framing::ToTheEnd && !half_close { Then::Close } else { after(script) })
    }

    async fn models(&mut self, request: &Request, id: Option<&str>) -> Result<Then, Broken> {
        self.note(request);
        let mut in_flight = self.shared.simulator.begin_other();
        match self.find_models(request, id).await {
            Ok(found) => {
                in_flight.complete();
                self.writer.json(&found, request.head.keep).await?;
                Ok(Then::Next)
            }
            Err(broken) => {
                in_flight.fail();
                Err(broken)
            }
        }
    }

    async fn find_models(&self, request: &Request, id: Option<&str>) -> Result<Bytes, Broken> {
        let target = self.shared.simulator.target("", request.script())?;
        self.admit(request, &target.script)?;
        self.open(&target, 0).await?;
        let models = self.shared.simulator.models();
        let Some(id) = id else { return Ok(encode_models(&models)) };
        let id = String::read(Some(id)).unwrap_or_default();
        let name = id.split_once('?').map_or(id.as_str(), |(name, _)| name);
        let model = models.iter().find(|model| model.id == name).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("the model `{id}` does not exist"))
                .with_param("model")
                .with_code("model_not_found")
        })?;
        Ok(encode_model(model))
    }
}

/// The headers of an answer to the request with this number, which names it.
pub(super) fn headers(content_type: &'static str, number: u64) -> HeaderMap {
    let mut headers = exchange::headers(content_type);
    headers.insert("x-request-id", HeaderValue::from_str(&format!("sim-{number}")).expect("it is plain text"));
    headers
}

/// What happens after an answer that was given to its end.
pub(super) fn after(script: &SimScript) -> Then {
    match (script.half_close, script.close) {
        (Some(true), _) => Then::HalfClose,
        (_, Some(true)) => Then::Close,
        _ => Then::Next,
    }
}

/// The time that a whole answer takes after its first token.
fn whole_gap(script: &SimScript, tokens: u64) -> Option<Duration> {
    let gaps = u32::try_from(tokens.saturating_sub(1)).unwrap_or(u32::MAX);
    script.gap.map(|gap| gap.saturating_mul(gaps))
}

/// An error that blames the request.
fn plain(status: u16, code: Option<&str>, message: &str) -> Refusal {
    Refusal::json(status, &ErrorBody { message, kind: "invalid_request_error", param: None, code })
}
