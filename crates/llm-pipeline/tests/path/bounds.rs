//! What a path keeps by names that callers choose has bounds.

use std::sync::atomic::Ordering::SeqCst;

use futures_util::FutureExt;
use llm_core::{CallBody, RequestId};
use llm_pipeline::{Request, Served};
use llm_router::Strategy;

use crate::bench::{Bench, Scripted, Step, body, broken, frame};

/// As the path keeps circuits, stories and those who are away.
const CIRCUITS: usize = 1000;
const STORIES: usize = 1024;
const AWAY: usize = 1024;

const BEYOND: usize = 50;

async fn served(bench: &Bench, id: usize, body: CallBody) -> Served {
    let request = Request { id: RequestId::from(id.to_string().as_str()), ..bench.request("a", body) };
    *bench.path.handle(request).await.expect("an answer").served
}

#[tokio::test(start_paused = true)]
async fn models_that_callers_make_up_share_a_circuit_beyond_a_bound() {
    let provider = Scripted::new("p", vec![Step::Answer("{}")]);
    let bench = Bench::new(&[&provider], Strategy::Fallback, |b| b);
    for number in 0..CIRCUITS + BEYOND {
        served(&bench, number, body(&format!("p/made-up-{number}"), "x", false)).await;
    }
    let circuits = bench.path.circuits();
    assert_eq!(circuits.len(), CIRCUITS + 1);
    assert!(circuits.iter().any(|circuit| circuit.model.as_str() == "*"));
}

#[tokio::test(start_paused = true)]
async fn the_latest_requests_alone_can_be_explained() {
    let provider = Scripted::new("p", vec![Step::Answer("{}")]);
    let bench = Bench::new(&[&provider], Strategy::Fallback, |b| b);
    for number in 0..STORIES + BEYOND {
        served(&bench, number, body("fast", &number.to_string(), false)).await;
    }
    let explained = |number: usize| bench.path.explain(&number.to_string()).is_some();
    let known = (0..STORIES + BEYOND).filter(|number| explained(*number)).count();
    assert_eq!((known, explained(BEYOND - 1), explained(BEYOND)), (STORIES, false, true));
}

#[tokio::test(start_paused = true)]
async fn no_more_calls_go_on_for_those_who_are_away_than_there_is_room_for() {
    let provider = Scripted::new("p", vec![Step::Hang]);
    let bench = Bench::new(&[&provider], Strategy::Fallback, |b| b);
    for number in 0..AWAY + BEYOND {
        let name = number.to_string();
        let body = body("fast", &name, false);
        let request = Request { idempotency_key: Some(name.into()), ..bench.request("a", body) };
        let asked = bench.path.handle(request).now_or_never();
        assert!(asked.is_none(), "the caller leaves before there is an answer");
    }
    assert_eq!(provider.calls() as usize, AWAY + BEYOND);
    assert_eq!(provider.cancelled.load(SeqCst) as usize, BEYOND);
}

/// As the path holds back items without content.
const HELD: usize = 16;

#[tokio::test(start_paused = true)]
async fn a_stream_that_says_nothing_is_held_back_up_to_a_bound_and_is_its_callers_then() {
    for (silent, expected) in [(HELD - 1, "good"), (HELD, "bad")] {
        let mut frames: Vec<_> = (0..silent).map(|_| frame(": wait\n\n", false)).collect();
        frames.push(Err(broken(500)));
        let bad = Scripted::new("bad", vec![Step::Frames(frames)]);
        let good = Scripted::new("good", vec![Step::Frames(vec![frame("data: x\n\n", true)])]);
        let bench = Bench::new(&[&bad, &good], Strategy::Fallback, |b| b);
        let served = served(&bench, silent, body("fast", "x", true)).await;
        assert_eq!(served.provider.as_str(), expected, "after {silent} frames");
    }
}
