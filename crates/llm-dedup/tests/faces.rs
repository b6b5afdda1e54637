//! The multiplexer and the aggregator, faces of the log of frames.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{FutureExt, StreamExt, stream};
use llm_core::{
    Answer, BoxFuture, Call, CompletionRequest, Dialect, Error, ErrorKind, Message, Provider, ProviderId, StreamEvent,
};
use llm_dedup::{CutOff, StreamAggregator, StreamChunk, StreamingMultiplexer};

fn text(text: &str) -> StreamEvent {
    StreamEvent::Text { choice: 0, text: text.to_owned() }
}

fn request(asked: &str) -> CompletionRequest {
    CompletionRequest::new("fast", vec![Message::user(asked)])
}

/// Answers each call with two words, and counts the calls.
struct Counted(ProviderId, AtomicUsize);

impl Provider for Counted {
    fn id(&self) -> &ProviderId {
        &self.0
    }

    fn speaks(&self, _: Dialect) -> bool {
        false
    }

    fn send(&self, call: Call) -> BoxFuture<'_, Result<Answer, Error>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        let fails = call.model == *"broken";
        Box::pin(async move {
            if fails {
                return Err(Error::new(ErrorKind::Upstream, "broken"));
            }
            Ok(Answer::Events(Box::pin(stream::iter([Ok(text("one ")), Ok(text("two"))]))))
        })
    }
}

fn heard(subscription: impl futures_util::Stream<Item = Result<StreamEvent, Error>>) -> Vec<Result<String, String>> {
    let said = subscription.map(|event| match event {
        Ok(StreamEvent::Text { text, .. }) => Ok(text),
        Ok(_) => Ok(String::new()),
        Err(error) => Err(error.to_string()),
    });
    said.collect().now_or_never().expect("all is there")
}

#[tokio::test]
async fn a_hundred_who_ask_the_same_are_one_call_and_another_temperature_is_another() {
    let provider = Arc::new(Counted("p".into(), AtomicUsize::new(0)));
    let multiplexer = StreamingMultiplexer::with_provider(provider.clone());
    let mut subscriptions = Vec::new();
    for number in 0..100 {
        let request = CompletionRequest { user: Some(number.to_string()), ..request("same") };
        subscriptions.push(multiplexer.subscribe(&request).await.unwrap());
    }
    let warmer = multiplexer.subscribe(&request("same").with_temperature(0.9)).await.unwrap();
    let stats = multiplexer.stats().await;
    assert_eq!((stats.active_requests, stats.total_subscribers), (2, 101));
    // Whoever came first may leave.
    drop(subscriptions.remove(0));
    for subscription in subscriptions {
        assert_eq!(heard(subscription), [Ok("one ".to_owned()), Ok("two".to_owned())]);
    }
    drop(warmer);
    assert_eq!(provider.1.load(Ordering::Relaxed), 1, "who left before a word was said has asked nobody");
    assert_eq!(multiplexer.stats().await, Default::default());
    assert_eq!(heard(multiplexer.subscribe(&request("same")).await.unwrap()).len(), 2);
    assert_eq!(provider.1.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn an_upstream_that_fails_fails_for_all() {
    let provider = Arc::new(Counted("p".into(), AtomicUsize::new(0)));
    let multiplexer = StreamingMultiplexer::with_provider(provider.clone());
    let broken = CompletionRequest::new("broken", vec![Message::user("x")]);
    let (one, two) = (multiplexer.subscribe(&broken).await.unwrap(), multiplexer.subscribe(&broken).await.unwrap());
    for subscription in [one, two] {
        assert!(heard(subscription)[0].as_ref().unwrap_err().contains("broken"));
    }
    assert_eq!(provider.1.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_stream_fed_by_hand_is_heard_from_its_start_and_completed_once() {
    let multiplexer = StreamingMultiplexer::new();
    let asked = request("x");
    assert!(!multiplexer.publish(&asked, text("nobody hears")));
    let early = multiplexer.subscribe(&asked).await.unwrap();
    assert!(multiplexer.publish(&asked, text("a")));
    let late = multiplexer.subscribe(&asked).await.unwrap();
    assert!(multiplexer.publish(&asked, text("b")));
    multiplexer.complete_request(&asked).await;
    assert!(!multiplexer.finish(&asked));
    let anew = multiplexer.subscribe(&asked).await.unwrap();
    assert!(multiplexer.publish(&asked, text("c")) && multiplexer.finish(&asked));
    for (subscription, said) in [(early, "ab"), (late, "ab"), (anew, "c")] {
        let heard: String = heard(subscription).into_iter().map(Result::unwrap).collect();
        assert_eq!(heard, said);
    }
    assert_eq!(multiplexer.stats().await, Default::default());
}

#[test]
fn sessions_are_apart_and_late_subscribers_hear_the_start() {
    let aggregator = StreamAggregator::new();
    let before = aggregator.subscribe("a");
    for (session, piece) in [("a", "1"), ("b", "x"), ("a", "2")] {
        assert!(aggregator.clone().feed(StreamChunk::new(session, piece)));
    }
    let late = aggregator.subscribe("a");
    assert_eq!(aggregator.stats().active_streams, 2);
    assert_eq!((aggregator.complete("a").as_str(), aggregator.complete("nobody").as_str()), ("12", ""));
    let texts = |heard: Vec<StreamChunk>| heard.iter().map(|chunk| chunk.text.to_string()).collect::<String>();
    assert_eq!(texts(before.collect().now_or_never().unwrap()), "12");
    assert_eq!(texts(late.collect().now_or_never().unwrap()), "12");
    let stats = aggregator.stats();
    assert_eq!((stats.active_streams, stats.completed_streams, stats.total_tokens), (1, 1, 3));
    // An answer has a bound.
    let long = "y".repeat(700_000);
    assert!(aggregator.feed(StreamChunk::new("c", long.as_str())));
    assert!(!aggregator.feed(StreamChunk::new("c", long.as_str())));
    assert_eq!(aggregator.complete("c").len(), 700_000);
}

#[test]
fn one_asker_at_a_time_feeds_a_session_and_who_listens_hears_how_it_ends() {
    let aggregator = StreamAggregator::new();
    let hear = |listener: llm_dedup::SessionListener| -> Vec<Result<String, CutOff>> {
        listener.map(|item| item.map(|chunk| chunk.text.to_string())).collect().now_or_never().expect("it has ended")
    };
    // Who waits for nothing and leaves leaves nothing behind.
    drop(aggregator.listen("s"));
    let early = aggregator.listen("s");
    let first = aggregator.begin("s").unwrap();
    assert!(aggregator.begin("s").is_none());
    assert!(first.feed("a") && first.feed("b"));
    let late = aggregator.listen("s");
    first.finish();
    for listener in [early, late] {
        assert_eq!(hear(listener), [Ok("a".to_owned()), Ok("b".to_owned())]);
    }
    let cut = aggregator.listen("s");
    let second = aggregator.begin("s").unwrap();
    assert!(second.feed("c"));
    drop(second);
    assert_eq!(hear(cut), [Ok("c".to_owned()), Err(CutOff)]);
    // Of an answer that is too long nothing is left out in the middle.
    let long = aggregator.listen("s");
    let third = aggregator.begin("s").unwrap();
    assert!(third.feed("d") && !third.feed(&"y".repeat(2 << 20)) && !third.feed("e"));
    assert_eq!(hear(long), [Ok("d".to_owned()), Err(CutOff)]);
    // The feed of an answer that is over feeds no other.
    aggregator.complete("s");
    let fourth = aggregator.begin("s").unwrap();
    assert!(!third.feed("x"));
    drop(third);
    assert!(fourth.feed("f"));
    assert_eq!(aggregator.complete("s"), "f");
    assert_eq!(aggregator.stats().active_streams, 0);
}

#[test]
fn answers_that_nobody_ends_make_room_for_others_and_cut_off_who_hears_them() {
    let aggregator = StreamAggregator::new();
    let piece = "y".repeat(1 << 20);
    let heard = aggregator.listen("0");
    let feeds: Vec<_> = (0..20).map(|number| aggregator.begin(&number.to_string()).unwrap()).collect();
    assert!(feeds.iter().all(|feed| feed.feed(&piece)));
    // 2 MiB each, of which 32 MiB are kept.
    assert_eq!(aggregator.stats().active_streams, 15);
    let heard: Vec<_> = heard.map(|item| item.is_ok()).collect().now_or_never().unwrap();
    assert_eq!(heard, [true, false]);
    let waiting: Vec<_> = (0..10_000).map(|number| aggregator.listen(&format!("w{number}"))).collect();
    assert!(aggregator.stats().active_streams < 15);
    drop(waiting);
    assert!(aggregator.begin("w1").is_some());
}

#[tokio::test]
async fn streams_that_are_too_many_to_share_are_heard_all_the_same() {
    const MOST: usize = 10_000;
    let multiplexer = StreamingMultiplexer::new();
    let begin =
        |number: usize| multiplexer.subscribe_with(&request(&number.to_string()), || Box::pin(async { opened() }));
    let subscriptions: Vec<_> = (0..MOST + 10).map(begin).collect();
    assert_eq!(multiplexer.stats().await.active_requests, MOST);
    for subscription in subscriptions.into_iter().rev().take(20) {
        assert_eq!(heard(subscription), [Ok("one".to_owned())]);
    }
}

fn opened() -> Result<llm_core::BoxStream<Result<StreamEvent, Error>>, Error> {
    Ok(Box::pin(stream::iter([Ok(text("one"))])))
}
