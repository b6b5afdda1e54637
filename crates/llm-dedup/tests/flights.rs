//! Callers that join, are polled and leave in any order: one call each flight, and the same answer for all who stay.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

use llm_core::TenantId;
use llm_dedup::{Claim, DedupStats, Flights, Lost, RequestKey, Subscriber};
use proptest::prelude::*;

fn key(body: &'static str) -> RequestKey {
    RequestKey::new(TenantId::from("t"), b"route".as_slice(), body.as_bytes())
}

/// The world outside: a call that ends when it is let, and what was seen of it.
#[derive(Default)]
struct World {
    open: AtomicBool,
    waker: std::sync::Mutex<Option<Waker>>,
    started: AtomicUsize,
    dropped: AtomicUsize,
    polled_after_end: AtomicBool,
}

impl World {
    fn call(self: &Arc<Self>) -> Call {
        self.started.fetch_add(1, SeqCst);
        Call { world: self.clone(), ended: false }
    }

    fn let_go(&self) {
        self.open.store(true, SeqCst);
        let waker = self.waker.lock().expect("no panic").take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

struct Call {
    world: Arc<World>,
    ended: bool,
}

impl Future for Call {
    type Output = u32;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u32> {
        if self.ended {
            self.world.polled_after_end.store(true, SeqCst);
        }
        if self.world.open.load(SeqCst) {
            self.ended = true;
            return Poll::Ready(42);
        }
        *self.world.waker.lock().expect("no panic") = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.world.dropped.fetch_add(1, SeqCst);
    }
}

/// A caller's task: polled only when it was woken, as a runtime does.
struct Task {
    subscriber: Option<Subscriber<u32>>,
    woken: Arc<Woken>,
    answer: Option<Result<u32, Lost>>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

impl Task {
    fn new(subscriber: Subscriber<u32>) -> Self {
        Self { subscriber: Some(subscriber), woken: Arc::new(Woken(AtomicBool::new(true))), answer: None }
    }

    fn run(&mut self) {
        if !self.woken.0.swap(false, SeqCst) {
            return;
        }
        let waker = Waker::from(self.woken.clone());
        let Some(subscriber) = &mut self.subscriber else { return };
        if let Poll::Ready(answer) = Pin::new(subscriber).poll(&mut Context::from_waker(&waker)) {
            self.answer = Some(answer);
            self.subscriber = None;
        }
    }
}

fn claim(flights: &Flights<u32>, world: &Arc<World>, body: &'static str) -> Claim<u32> {
    flights.claim(key(body), || Box::pin(world.call()))
}

fn subscriber(claim: Claim<u32>) -> Subscriber<u32> {
    match claim {
        Claim::Lead(subscriber) | Claim::Follow(subscriber) => subscriber,
        Claim::Full => panic!("full"),
    }
}

#[test]
fn a_late_claim_after_the_end_is_a_flight_of_its_own() {
    let (flights, world) = (Flights::new(10), Arc::new(World::default()));
    world.let_go();
    let mut first = Task::new(subscriber(claim(&flights, &world, "a")));
    first.run();
    assert_eq!(first.answer, Some(Ok(42)));
    assert!(matches!(claim(&flights, &world, "a"), Claim::Lead(_)));
    assert_eq!(world.started.load(SeqCst), 2);
}

#[test]
fn the_index_is_bounded_and_frees_its_places() {
    let (flights, world) = (Flights::new(2), Arc::new(World::default()));
    let kept = [subscriber(claim(&flights, &world, "a")), subscriber(claim(&flights, &world, "b"))];
    assert!(matches!(claim(&flights, &world, "c"), Claim::Full));
    assert!(matches!(claim(&flights, &world, "a"), Claim::Follow(_)));
    drop(kept);
    assert_eq!(flights.stats(), DedupStats { active_requests: 0, led: 2, joined: 1 });
    assert!(matches!(claim(&flights, &world, "c"), Claim::Lead(_)));
}

#[test]
fn a_call_that_panics_is_lost_for_all_and_the_next_starts_anew() {
    let flights: Flights<u32> = Flights::new(10);
    let lead = subscriber(flights.claim(key("a"), || Box::pin(async { panic!("on purpose") })));
    let follower = subscriber(flights.claim(key("a"), || unreachable!()));
    let (mut lead, mut follower) = (Task::new(lead), Task::new(follower));
    follower.run();
    lead.run();
    assert_eq!((lead.answer, follower.answer), (Some(Err(Lost)), Some(Err(Lost))));
    assert!(matches!(flights.claim(key("a"), || Box::pin(async { 1 })), Claim::Lead(_)));
}

/// A stream that has begun is an outcome that goes on. Its socket may know the flight as its waker still.
#[test]
fn an_outcome_ends_with_the_last_who_holds_the_flight_even_if_it_knows_its_waker() {
    type Stream = Arc<Waker>;
    let flights: Flights<Stream> = Flights::with_open(10, |_| true);
    let begun = std::future::poll_fn(|cx| Poll::Ready(Arc::new(cx.waker().clone())));
    let mut lead = match flights.claim(key("a"), || Box::pin(begun)) {
        Claim::Lead(lead) => lead,
        other => panic!("{other:?}"),
    };
    let Poll::Ready(Ok(stream)) = Pin::new(&mut lead).poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("it has begun")
    };
    let ended = Arc::downgrade(&stream);
    drop(stream);
    assert!(ended.upgrade().is_some() && flights.stats().active_requests == 1);
    drop(lead);
    assert!(ended.upgrade().is_none() && flights.stats().active_requests == 0);
}

#[derive(Clone, Debug)]
enum Step {
    Join,
    Run(usize),
    Leave(usize),
    LetGo,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Join),
        4 => any::<usize>().prop_map(Step::Run),
        2 => any::<usize>().prop_map(Step::Leave),
        1 => Just(Step::LetGo),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    #[test]
    fn whoever_stays_is_answered_by_one_call(steps in steps()) {
        let (flights, world) = (Flights::new(10), Arc::new(World::default()));
        let mut tasks: Vec<Task> = Vec::new();
        // The model: who listens to the flight of the moment, and how many flights there were.
        let (mut listening, mut expected_calls) = (0usize, 0);
        for step in steps {
            match step {
                Step::Join => {
                    if listening == 0 {
                        expected_calls += 1;
                    }
                    tasks.push(Task::new(subscriber(claim(&flights, &world, "a"))));
                    listening += 1;
                }
                Step::Run(at) if !tasks.is_empty() => {
                    let at = at % tasks.len();
                    let before = tasks[at].answer.is_some();
                    tasks[at].run();
                    if !before && tasks[at].answer.is_some() {
                        // Everybody of this flight is answered from here on; a newcomer flies anew.
                        for task in &mut tasks {
                            task.run();
                            prop_assert_eq!(task.answer, Some(Ok(42)));
                        }
                        tasks.clear();
                        listening = 0;
                    }
                }
                Step::Leave(at) if !tasks.is_empty() => {
                    tasks.swap_remove(at % tasks.len());
                    listening -= 1;
                    let running = world.started.load(SeqCst) - world.dropped.load(SeqCst);
                    prop_assert_eq!(running, usize::from(listening > 0), "the last to leave cancels, and only the last");
                }
                Step::LetGo => world.let_go(),
                Step::Run(_) | Step::Leave(_) => {}
            }
            prop_assert_eq!(world.started.load(SeqCst), expected_calls);
            prop_assert_eq!(flights.stats().active_requests, usize::from(listening > 0));
        }
        // However the callers have come to stand: once the call may end, waking is enough for all.
        world.let_go();
        for _ in 0..=tasks.len() {
            tasks.iter_mut().for_each(Task::run);
        }
        prop_assert!(tasks.iter().all(|task| task.answer == Some(Ok(42))));
        prop_assert!(!world.polled_after_end.load(SeqCst));
        drop(tasks);
        prop_assert_eq!(world.dropped.load(SeqCst), expected_calls);
    }
}
