//! A provider that does as it is told, and a path over it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::HeaderMap;
use llm_breaker::CircuitBreakerConfig;
use llm_core::{
    Answer, BoxFuture, Call, CallBody, Clock, Dialect, Digest, Envelope, Error, ErrorKind, Frame, HashKey, Money,
    Operation, Price, Provider, ProviderId, RequestId, Span, TokioClock, Usage, WireAnswer, WireBody, hash128,
};
use llm_pipeline::{
    Caller, ModelConfig, Pipeline, PipelineBuilder, ProviderConfig, Reply, Request, Response, TargetConfig, Terms,
};
use llm_router::Strategy;
use parking_lot::Mutex;

/// A token costs 1, in or out; an answer has 100 tokens at most.
const TERMS: Terms =
    Terms { price: Some(Price::per_token(Money::from_units(1), Money::from_units(1))), max_output: Some(100) };

/// What the provider does with a call.
#[derive(Clone)]
pub(crate) enum Step {
    Answer(&'static str),
    /// As an answer, after so long.
    After(Duration),
    Used(Usage),
    Fail(Error),
    Frames(Vec<Result<Frame, Error>>),
    Hang,
}

/// Does as it is told, call by call; the last step repeats.
pub(crate) struct Scripted {
    pub(crate) id: ProviderId,
    steps: Mutex<VecDeque<Step>>,
    calls: AtomicU32,
    pub(crate) cancelled: Arc<AtomicU32>,
    /// What calls gave as `traceparent`.
    traced: Mutex<Vec<String>>,
}

impl Scripted {
    pub(crate) fn new(id: &str, steps: Vec<Step>) -> Arc<Self> {
        Arc::new(Self {
            id: id.into(),
            steps: Mutex::new(steps.into()),
            calls: AtomicU32::new(0),
            cancelled: Arc::default(),
            traced: Mutex::default(),
        })
    }

    pub(crate) fn traced(&self) -> Vec<String> {
        self.traced.lock().clone()
    }

    pub(crate) fn calls(&self) -> u32 {
        self.calls.load(SeqCst)
    }
}

struct Left(Arc<AtomicU32>);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl Provider for Scripted {
    fn id(&self) -> &ProviderId {
        &self.id
    }

    fn speaks(&self, _: Dialect) -> bool {
        true
    }

    fn send(&self, call: Call) -> BoxFuture<'_, Result<Answer, Error>> {
        self.calls.fetch_add(1, SeqCst);
        if let Some(parent) = call.headers.get("traceparent").and_then(|parent| parent.to_str().ok()) {
            self.traced.lock().push(parent.to_owned());
        }
        let step = {
            let mut steps = self.steps.lock();
            if steps.len() > 1 { steps.pop_front() } else { steps.front().cloned() }
        };
        let left = Left(self.cancelled.clone());
        Box::pin(async move {
            let body = match step.expect("a step") {
                Step::Answer(text) => WireBody::Whole { bytes: Bytes::from_static(text.as_bytes()), usage: None },
                Step::After(wait) => {
                    tokio::time::sleep(wait).await;
                    WireBody::Whole { bytes: Bytes::from_static(b"{}"), usage: None }
                }
                Step::Used(usage) => WireBody::Whole { bytes: Bytes::from_static(b"{}"), usage: Some(usage) },
                Step::Frames(frames) => WireBody::Frames(Box::pin(stream::iter(frames))),
                Step::Fail(error) => {
                    std::mem::forget(left);
                    return Err(error);
                }
                Step::Hang => std::future::pending().await,
            };
            tokio::time::sleep(Duration::from_millis(1)).await;
            std::mem::forget(left);
            Ok(Answer::from(WireAnswer { headers: HeaderMap::new(), body }))
        })
    }
}

pub(crate) fn frame(text: &'static str, content: bool) -> Result<Frame, Error> {
    Ok(Frame { bytes: Bytes::from_static(text.as_bytes()), content, ..Frame::default() })
}

pub(crate) fn broken(status: u16) -> Error {
    Error::new(ErrorKind::Upstream, "broken").with_upstream(status, None)
}

pub(crate) fn body(model: &str, text: &str, stream: bool) -> CallBody {
    let body = format!("{{\"model\":\"{model}\",\"x\":\"{text}\"}}");
    CallBody::from(Envelope {
        dialect: Dialect::OpenAi,
        operation: Operation::Chat,
        digest: Digest::new(hash128(HashKey::process(), &[body.as_bytes()])),
        same: |one, other| one == other,
        body: body.into(),
        model: Span { start: 9, end: 11 + model.len() as u32 },
        escaped_model: None,
        stream,
        sampled: true,
        stateful: false,
        wants_usage: false,
        user: None,
        max_output: None,
        choices: 1,
        ask_usage: None,
    })
}

pub(crate) struct Bench {
    pub(crate) path: Pipeline,
    pub(crate) clock: Arc<TokioClock>,
}

impl Bench {
    pub(crate) fn new(
        providers: &[&Arc<Scripted>],
        strategy: Strategy,
        adjust: impl FnOnce(PipelineBuilder) -> PipelineBuilder,
    ) -> Self {
        let clock = Arc::new(TokioClock::new());
        let target =
            |p: &&Arc<Scripted>| TargetConfig { provider: p.id.clone(), model: "m".into(), weight: 1, terms: TERMS };
        let targets = providers.iter().map(target).collect();
        let mut builder = Pipeline::builder().clock(clock.clone());
        for provider in providers {
            let breaker = CircuitBreakerConfig::default();
            builder = builder.provider(ProviderConfig::new((*provider).clone(), breaker));
        }
        builder = builder.model(ModelConfig::new("fast", strategy, targets));
        Self { path: adjust(builder).build(None).expect("a path"), clock }
    }

    pub(crate) fn request(&self, tenant: &str, body: CallBody) -> Request {
        Request {
            caller: Arc::new(Caller::new(tenant)),
            id: RequestId::from("r"),
            body,
            headers: HeaderMap::new(),
            cache: llm_pipeline::CacheUse::default(),
            idempotency_key: None,
            last_frame: None,
            received: self.clock.now(),
            deadline: None,
            follower: None,
        }
    }

    pub(crate) async fn ask(&self, text: &str) -> Result<Response, Error> {
        self.path.handle(self.request("a", body("fast", text, false))).await
    }
}

pub(crate) fn text(response: &Response) -> &[u8] {
    match &response.reply {
        Reply::Whole(whole) => &whole.bytes,
        other => panic!("{other:?}"),
    }
}
