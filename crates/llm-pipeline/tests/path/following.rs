//! What is told of a request that somebody follows.

use std::sync::Arc;

use futures_util::{FutureExt, StreamExt};
use http::{HeaderMap, HeaderValue};
use llm_core::{
    AttemptBegun, AttemptObserver, AttemptRecord, Error, ErrorKind, Piece, ProviderId, RequestId, RequestObserver,
    RequestRecord,
};
use llm_pipeline::{Reply, Request};
use llm_router::Strategy;
use parking_lot::Mutex;

use crate::bench::{Bench, Scripted, Step, body, broken, frame};

/// Writes down what it is told.
#[derive(Debug, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    fn told(&self) -> Vec<String> {
        self.0.lock().clone()
    }
}

struct OfAttempt {
    diary: Arc<Mutex<Vec<String>>>,
    number: u32,
}

fn outcome(error: Option<ErrorKind>) -> &'static str {
    error.map_or("ok", ErrorKind::as_str)
}

impl RequestObserver for Diary {
    fn attempt_started(self: Arc<Self>, attempt: &AttemptBegun<'_>) -> Box<dyn AttemptObserver> {
        let AttemptBegun { provider, number, call, .. } = attempt;
        self.0.lock().push(format!("{number} asks {provider} for {}", call.model));
        Box::new(OfAttempt { diary: self.0.clone(), number: *number })
    }

    fn answered(&self, provider: &ProviderId, leader: &RequestId) {
        self.0.lock().push(format!("answered by {provider} for {leader}"));
    }

    fn request_ended(&self, record: &RequestRecord<'_>) {
        let RequestRecord { sharing, attempts, error, stream, duration, .. } = record;
        let millis = duration.as_millis();
        let kind = if *stream { "stream" } else { "whole" };
        let text = format!("{kind} {} after {attempts}: {} in {millis} ms", sharing.as_str(), outcome(*error));
        self.0.lock().push(text);
    }
}

impl AttemptObserver for OfAttempt {
    fn sends(&self, headers: &mut HeaderMap) {
        headers.insert("traceparent", HeaderValue::from(self.number));
    }

    fn hears(&mut self, piece: Piece<'_>) {
        let Piece::Bytes(bytes) = piece else { panic!("bytes") };
        self.diary.lock().push(format!("{} hears {}", self.number, String::from_utf8_lossy(bytes)));
    }

    fn attempt_ended(&mut self, record: &AttemptRecord) {
        let status = record.upstream_status.map_or(String::new(), |status| format!(" {status}"));
        self.diary.lock().push(format!("{} ended: {}{status}", self.number, outcome(record.error)));
    }
}

fn followed(bench: &Bench, stream: bool) -> (Request, Arc<Diary>) {
    let diary = Arc::new(Diary::default());
    let follower: Arc<dyn RequestObserver> = diary.clone();
    (Request { follower: Some(follower), ..bench.request("a", body("fast", "x", stream)) }, diary)
}

#[tokio::test(start_paused = true)]
async fn each_attempt_is_told_from_its_begin_to_its_end_and_the_request_last() {
    let bad = Scripted::new("bad", vec![Step::Fail(broken(500))]);
    let good = Scripted::new("good", vec![Step::Answer("{}")]);
    let bench = Bench::new(&[&bad, &good], Strategy::Fallback, |b| b);
    let (request, diary) = followed(&bench, false);
    bench.path.handle(request).await.unwrap();
    let expected = [
        "1 asks bad for m",
        "1 ended: server_error 500",
        "2 asks good for m",
        "2 hears {}",
        "2 ended: ok",
        "answered by good for r",
        "whole miss after 2: ok in 1 ms",
    ];
    assert_eq!(diary.told(), expected);
    assert_eq!((bad.traced(), good.traced()), (vec!["1".to_owned()], vec!["2".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_told_to_its_end() {
    let cut = || Err(Error::new(ErrorKind::StreamInterrupted, "cut"));
    let steps = vec![Step::Frames(vec![frame("role", false), frame("hi", true), cut()])];
    let provider = Scripted::new("p", steps);
    let bench = Bench::new(&[&provider], Strategy::Fallback, |b| b);
    let (request, diary) = followed(&bench, true);
    let response = bench.path.handle(request).await.unwrap();
    assert_eq!(diary.told().last().unwrap(), "answered by p for r");
    let Reply::Frames { frames, .. } = response.reply else { panic!("frames") };
    drop(frames.collect::<Vec<_>>().await);
    let told = diary.told();
    assert_eq!(told[1..3], ["1 hears role", "1 hears hi"]);
    assert_eq!(told[4..], ["1 ended: stream_interrupted", "stream miss after 1: stream_interrupted in 1 ms"]);
}

/// The one who follows is told of itself alone: the call is its leader's.
#[tokio::test(start_paused = true)]
async fn who_joins_a_call_makes_no_attempt() {
    let provider = Scripted::new("p", vec![Step::Answer("{}")]);
    let bench = Bench::new(&[&provider], Strategy::Fallback, |b| b);
    let leader = Request { id: RequestId::from("leader"), ..bench.request("a", body("fast", "x", false)) };
    let (request, diary) = followed(&bench, false);
    let (one, other) = tokio::join!(bench.path.handle(leader), bench.path.handle(request));
    assert!(one.is_ok() && other.is_ok());
    assert_eq!(diary.told(), ["answered by p for leader", "whole joined after 1: ok in 1 ms"]);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_is_told_of_as_cancelled() {
    let provider = Scripted::new("p", vec![Step::Hang]);
    let bench = Bench::new(&[&provider], Strategy::Fallback, |b| b);
    let (request, diary) = followed(&bench, false);
    let mut call = Box::pin(bench.path.handle(request));
    assert!(call.as_mut().now_or_never().is_none());
    drop(call);
    let mut told = diary.told();
    told.sort();
    assert_eq!(told, ["1 asks p for m", "1 ended: cancelled", "whole bypass after 0: cancelled in 0 ms"]);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_names_no_model_is_told_of_once() {
    let provider = Scripted::new("p", vec![Step::Answer("{}")]);
    let bench = Bench::new(&[&provider], Strategy::Fallback, |b| b);
    let (request, diary) = followed(&bench, false);
    let unknown = Request { body: body("nothing", "x", false), ..request };
    bench.path.handle(unknown).await.unwrap_err();
    assert_eq!(diary.told(), ["whole bypass after 0: not_found in 0 ms"]);
}
