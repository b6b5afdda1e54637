//! A caller who lost its connection and comes back: the same upstream call, and every frame once.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, stream};
use llm_core::{BoxFuture, ManualClock, TenantId};
use llm_dedup::{Broadcast, Claim, Flights, Listener, RequestKey, ResumeToken, Resumes, Subscriber};

const FRAMES: u64 = 100;

type Log = Broadcast<u64, &'static str>;

/// What keeps a stream alive: the log, and a place in its flight.
type Alive = Arc<(Log, Subscriber<Log>)>;

/// Counts the calls made upstream, and those that were cancelled before their end.
#[derive(Default)]
struct Upstream {
    calls: AtomicUsize,
    cancelled: AtomicUsize,
}

/// A call that was made; whether all of it was read.
struct Running(Arc<Upstream>, bool);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.cancelled.fetch_add(usize::from(!self.1), SeqCst);
    }
}

impl Upstream {
    fn call(self: &Arc<Self>) -> BoxFuture<'static, Log> {
        self.calls.fetch_add(1, SeqCst);
        let running = Running(self.clone(), false);
        let frames = stream::unfold((running, 0), |(mut running, at)| async move {
            running.1 = at == FRAMES;
            (at < FRAMES).then_some((Ok(at), (running, at + 1)))
        });
        Box::pin(async move { Broadcast::new(frames.boxed(), 100_000, |_| 10) })
    }
}

struct Gateway {
    flights: Flights<Log>,
    upstream: Arc<Upstream>,
    resumes: Resumes<Alive>,
    clock: ManualClock,
}

impl Gateway {
    fn new() -> Self {
        let clock = ManualClock::new();
        let resumes = Resumes::new(10, Duration::from_secs(30), Arc::new(clock.clone()));
        let flights = Flights::builder(10).ongoing(|log: &Log| Some(log)).build();
        Self { flights, upstream: Arc::default(), resumes, clock }
    }

    fn ask(&self) -> Alive {
        let key = RequestKey::new(TenantId::from("t"), "chat", "{}");
        let mut subscriber = match self.flights.claim(key, None, || self.upstream.call()) {
            Claim::Lead(subscriber) | Claim::Follow(subscriber) => subscriber,
            other => panic!("{other:?}"),
        };
        let log = (&mut subscriber).now_or_never().unwrap().unwrap();
        Arc::new((log, subscriber))
    }
}

fn read(listener: &mut Listener<u64, &'static str>, most: usize) -> Vec<u64> {
    let mut frames = Vec::new();
    while frames.len() < most
        && let Poll::Ready(Some(Ok(frame))) = listener.poll_item(&mut Context::from_waker(Waker::noop()))
    {
        frames.push(frame);
    }
    frames
}

#[test]
fn who_comes_back_in_time_goes_on_where_it_was_and_one_call_is_made() {
    for cut in 0..FRAMES {
        let gateway = Gateway::new();
        let tenant = TenantId::from("t");
        let alive = gateway.ask();
        let mut listener = alive.0.listen().unwrap();
        let place = gateway.resumes.open(tenant.clone(), ResumeToken::from_random(7), alive).unwrap();
        let mut frames = read(&mut listener, cut as usize);
        drop((listener, place));

        gateway.clock.advance(Duration::from_secs(29));
        let (place, alive) = gateway.resumes.resume(&tenant, ResumeToken::from_random(7)).unwrap();
        // `Last-Event-ID` is the number of the last frame that has arrived.
        let next = frames.last().map_or(0, |last| last + 1);
        let mut listener = alive.0.listen_from(next).unwrap();
        frames.extend(read(&mut listener, usize::MAX));
        assert!(frames.into_iter().eq(0..FRAMES));
        drop((listener, alive));
        place.leave();
        let upstream = &gateway.upstream;
        assert_eq!((upstream.calls.load(SeqCst), upstream.cancelled.load(SeqCst)), (1, 0));
        assert_eq!(gateway.flights.stats().active_requests, 0);
    }
}

#[test]
fn who_does_not_come_back_is_not_waited_for_for_ever() {
    let gateway = Gateway::new();
    let alive = gateway.ask();
    let mut listener = alive.0.listen().unwrap();
    let place = gateway.resumes.open(TenantId::from("t"), ResumeToken::from_random(7), alive).unwrap();
    assert_eq!(read(&mut listener, 10).len(), 10);
    drop((listener, place));
    assert_eq!(gateway.upstream.cancelled.load(SeqCst), 0);
    // Another caller of the same may join meanwhile, and then keeps it alive.
    let other = gateway.ask();
    gateway.clock.advance(Duration::from_secs(30));
    assert_eq!(gateway.resumes.expire(), 1);
    assert_eq!((gateway.upstream.calls.load(SeqCst), gateway.upstream.cancelled.load(SeqCst)), (1, 0));
    drop(other);
    assert_eq!((gateway.upstream.cancelled.load(SeqCst), gateway.flights.stats().active_requests), (1, 0));
}
