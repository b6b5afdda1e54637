//! Listeners that come, read and leave in any order: each hears all of the source from its start.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::{Stream, StreamExt};
use llm_dedup::{Broadcast, Interrupted, Listener, NoRoom};
use proptest::prelude::*;

/// A source that gives so many items and is let out one by one.
#[derive(Default)]
struct World {
    out: AtomicUsize,
    polls: AtomicUsize,
    dropped: AtomicBool,
    waker: std::sync::Mutex<Option<Waker>>,
}

struct Source {
    world: Arc<World>,
    given: usize,
    all: usize,
    fails: bool,
}

impl Stream for Source {
    type Item = Result<usize, &'static str>;

    fn poll_next(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.world.polls.fetch_add(1, SeqCst);
        if self.given == self.all {
            return Poll::Ready(self.fails.then_some(Err("broken")));
        }
        if self.given == self.world.out.load(SeqCst) {
            *self.world.waker.lock().expect("no panic") = Some(cx.waker().clone());
            return Poll::Pending;
        }
        self.given += 1;
        Poll::Ready(Some(Ok(self.given)))
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.world.dropped.store(true, SeqCst);
    }
}

impl World {
    fn let_out(&self, items: usize) {
        self.out.fetch_add(items, SeqCst);
        let waker = self.waker.lock().expect("no panic").take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Each item weighs ten bytes.
fn broadcast(all: usize, fails: bool, most: usize) -> (Broadcast<usize, &'static str>, Arc<World>) {
    let world = Arc::new(World::default());
    let source = Source { world: world.clone(), given: 0, all, fails };
    (Broadcast::new(Box::pin(source), most, |_| 10), world)
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

/// A listener's task: polled only when it was woken, as a runtime does, or when it has read something before.
struct Task {
    listener: Listener<usize, &'static str>,
    woken: Arc<Woken>,
    heard: Vec<usize>,
    end: Option<Option<Interrupted<&'static str>>>,
}

impl Task {
    fn new(broadcast: &Broadcast<usize, &'static str>) -> Option<Self> {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        Some(Self { listener: broadcast.listen()?, woken, heard: Vec::new(), end: None })
    }

    /// Reads at most so many items.
    fn run(&mut self, items: usize) {
        if self.end.is_some() || !self.woken.0.swap(false, SeqCst) {
            return;
        }
        let waker = Waker::from(self.woken.clone());
        for _ in 0..items {
            match self.listener.poll_item(&mut Context::from_waker(&waker)) {
                Poll::Ready(Some(Ok(item))) => self.heard.push(item),
                Poll::Ready(Some(Err(error))) => self.end = Some(Some(error)),
                Poll::Ready(None) => self.end = Some(None),
                Poll::Pending => return,
            }
            if self.end.is_some() {
                return;
            }
        }
        // It reads on when it comes round again.
        self.woken.0.store(true, SeqCst);
    }
}

/// What the pages say of the memory of a listener.
#[test]
fn a_listener_takes_64_bytes() {
    assert!(size_of::<Listener<bytes::Bytes, ()>>() <= 64, "{}", size_of::<Listener<bytes::Bytes, ()>>());
}

#[test]
fn a_late_listener_hears_everything_from_the_start() {
    let (broadcast, world) = broadcast(5, false, 1000);
    world.let_out(3);
    let mut first = Task::new(&broadcast).unwrap();
    first.run(100);
    assert_eq!(first.heard, [1, 2, 3]);
    let mut late = Task::new(&broadcast).unwrap();
    world.let_out(2);
    late.run(100);
    first.run(100);
    assert_eq!((first.heard, late.heard), (vec![1, 2, 3, 4, 5], vec![1, 2, 3, 4, 5]));
    assert_eq!((first.end, late.end), (Some(None), Some(None)));
    assert!(!broadcast.is_open());
}

#[test]
fn beyond_its_bound_a_broadcast_is_closed_to_newcomers_and_waits_for_the_slowest() {
    let (broadcast, world) = broadcast(100, false, 50);
    world.let_out(100);
    let (mut fast, mut slow) = (Task::new(&broadcast).unwrap(), Task::new(&broadcast).unwrap());
    fast.run(1000);
    assert!(!broadcast.is_open() && broadcast.listen().is_none());
    let ahead = fast.heard.len();
    assert!((5..=10).contains(&ahead), "{ahead}");
    assert!(fast.listener.is_stalled());
    slow.run(8);
    fast.run(1000);
    assert!(fast.heard.len() > ahead && fast.heard.len() < 30, "{}", fast.heard.len());
    while slow.end.is_none() {
        slow.run(7);
        fast.run(1000);
    }
    assert_eq!((fast.heard.len(), slow.heard.len()), (100, 100));
}

#[test]
fn the_slowest_can_be_expelled_so_that_the_others_go_on() {
    let (broadcast, world) = broadcast(100, false, 50);
    world.let_out(100);
    let (mut fast, mut slow) = (Task::new(&broadcast).unwrap(), Task::new(&broadcast).unwrap());
    fast.run(1000);
    // Who is not behind anybody expels nobody else.
    slow.listener.expel_slowest();
    assert!(fast.listener.is_stalled());
    fast.listener.expel_slowest();
    fast.run(1000);
    assert_eq!((fast.heard.len(), fast.end), (100, Some(None)));
    slow.run(100);
    assert_eq!(slow.end, Some(Some(Interrupted::Expelled)));
    assert!(slow.heard.len() < 5, "{}", slow.heard.len());
    let waker = Waker::from(slow.woken.clone());
    assert_eq!(slow.listener.poll_item(&mut Context::from_waker(&waker)), Poll::Ready(None));
}

#[test]
fn the_source_ends_with_the_last_who_holds_it() {
    let (broadcast, world) = broadcast(5, false, 1000);
    let (mut one, two) = (Task::new(&broadcast).unwrap(), Task::new(&broadcast).unwrap());
    one.run(1);
    drop(broadcast);
    drop(two);
    assert!(!world.dropped.load(SeqCst));
    drop(one);
    assert!(world.dropped.load(SeqCst));
}

/// All that comes before there is nothing or an end.
fn read(listener: &mut Listener<usize, &'static str>) -> Vec<usize> {
    let mut heard = Vec::new();
    while let Poll::Ready(Some(Ok(item))) = listener.poll_item(&mut Context::from_waker(Waker::noop())) {
        heard.push(item);
    }
    heard
}

#[test]
fn who_comes_back_goes_on_where_it_was() {
    let (broadcast, world) = broadcast(100, false, 10_000);
    world.let_out(40);
    let mut first = broadcast.listen().unwrap();
    assert_eq!((first.position(), read(&mut first).len(), first.position()), (0, 40, 40));
    world.let_out(60);
    for from in [0, 1, 3, 4, 19, 20, 35, 39, 40] {
        let mut again = broadcast.listen_from(from).unwrap();
        assert_eq!(again.position(), from);
        assert!(read(&mut again).into_iter().eq(from as usize + 1..=100));
    }
    assert!(broadcast.listen_from(101).is_none());
    assert_eq!(read(&mut broadcast.listen_from(100).unwrap()), [0usize; 0]);
    assert!(broadcast.is_complete() && !broadcast.is_open());
    assert!(broadcast.items().unwrap().into_iter().eq(1..=100));
}

#[test]
fn of_a_long_stream_only_what_was_asked_for_stays_behind() {
    let (broadcast, world) = broadcast(1000, false, 800);
    broadcast.keep_behind(300);
    world.let_out(1000);
    let mut first = Task::new(&broadcast).unwrap();
    first.run(600);
    assert!(broadcast.listen().is_none() && broadcast.listen_from(500).is_none());
    let mut again = broadcast.listen_from(570).unwrap();
    drop(first);
    assert!(read(&mut again).into_iter().eq(571..=1000));
}

#[test]
fn a_stream_is_read_on_for_who_is_away_as_far_as_there_is_room() {
    let (log, world) = broadcast(100, false, 10_000);
    world.let_out(50);
    let mut away = log.listen().unwrap();
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let fill = |listener: &mut Listener<usize, &'static str>| {
        listener.poll_fill(&mut Context::from_waker(&Waker::from(woken.clone())))
    };
    assert_eq!((fill(&mut away), away.position()), (Poll::Pending, 0));
    world.let_out(50);
    assert!(woken.0.swap(false, SeqCst));
    while fill(&mut away).is_pending() {
        assert!(woken.0.swap(false, SeqCst), "it goes on by itself");
    }
    assert_eq!(read(&mut away).len(), 100);

    let (log, world) = broadcast(1000, false, 200);
    world.let_out(1000);
    let mut away = log.listen().unwrap();
    while fill(&mut away).is_pending() && woken.0.swap(false, SeqCst) {}
    let polls = world.polls.load(SeqCst);
    assert!((20..30).contains(&polls), "{polls}");
    assert!(away.is_stalled());
    assert_eq!(read(&mut away).len(), 1000);
}

#[test]
fn what_is_fed_by_hand_waits_for_room_and_ends_as_told() {
    let (log, mut publisher) = Broadcast::<usize, &'static str>::by_hand(50, |_| 10);
    let mut listener = log.listen().unwrap();
    let mut published = 0;
    while publisher.publish(published).is_ok() {
        published += 1;
    }
    assert!((5..8).contains(&published), "{published}");
    assert_eq!(publisher.publish(0), Err(NoRoom));
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let waker = Waker::from(woken.clone());
    assert!(publisher.poll_room(&mut Context::from_waker(&waker)).is_pending());
    assert!(read(&mut listener).into_iter().eq(0..published));
    assert!(woken.0.load(SeqCst) && publisher.publish(published).is_ok());
    publisher.fail("broken");
    assert_eq!(read(&mut listener), [published]);
    let mut second = Broadcast::<usize, &'static str>::by_hand(50, |_| 10);
    let mut listener = second.0.listen().unwrap();
    assert!(!second.1.is_abandoned());
    second.1.publish(1).unwrap();
    drop(second.1);
    let mut next = || listener.poll_item(&mut Context::from_waker(Waker::noop()));
    assert_eq!(next(), Poll::Ready(Some(Ok(1))));
    assert_eq!(next(), Poll::Ready(Some(Err(Interrupted::Lost))));
    assert_eq!(next(), Poll::Ready(None));
}

#[test]
fn who_feeds_a_log_that_nobody_holds_can_tell() {
    let (log, publisher) = Broadcast::<usize, &'static str>::by_hand(50, |_| 10);
    let listener = log.listen().unwrap();
    drop(log);
    assert!(!publisher.is_abandoned());
    drop(listener);
    assert!(publisher.is_abandoned());
}

#[test]
fn a_source_that_panics_is_lost_for_all() {
    let source = futures_util::stream::iter([1, 2]).map(|item| if item == 2 { panic!("on purpose") } else { Ok(item) });
    let log = Broadcast::<usize, &'static str>::new(Box::pin(source), 100, |_| 10);
    let (mut one, mut two) = (log.listen().unwrap(), log.listen().unwrap());
    let next =
        |listener: &mut Listener<usize, &'static str>| listener.poll_item(&mut Context::from_waker(Waker::noop()));
    assert_eq!((next(&mut one), next(&mut two)), (Poll::Ready(Some(Ok(1))), Poll::Ready(Some(Ok(1)))));
    let lost = || Poll::Ready(Some(Err(Interrupted::Lost)));
    assert_eq!((next(&mut one), next(&mut two)), (lost(), lost()));
}

#[derive(Clone, Debug)]
enum Step {
    Join,
    Leave(usize),
    Run(usize, usize),
    LetOut(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => Just(Step::Join),
        1 => any::<usize>().prop_map(Step::Leave),
        6 => (any::<usize>(), 1usize..9).prop_map(|(at, items)| Step::Run(at, items)),
        3 => (1usize..5).prop_map(Step::LetOut),
    ];
    proptest::collection::vec(step, 1..200)
}

proptest! {
    /// Whatever the order: all who stay hear the same, whole, and exactly one end.
    #[test]
    fn every_listener_hears_the_whole_source(steps in steps(), fails: bool, most in 10usize..400) {
        const ALL: usize = 60;
        let (broadcast, world) = broadcast(ALL, fails, most);
        let mut tasks = vec![Task::new(&broadcast).unwrap()];
        for step in steps {
            match step {
                Step::Join => tasks.extend(Task::new(&broadcast)),
                Step::Leave(at) if tasks.len() > 1 => drop(tasks.swap_remove(at % tasks.len())),
                Step::Leave(_) => {}
                Step::Run(at, items) => {
                    let at = at % tasks.len();
                    tasks[at].run(items);
                }
                Step::LetOut(items) => world.let_out(items),
            }
            for task in &tasks {
                prop_assert!(task.heard.iter().copied().eq(1..=task.heard.len()));
            }
        }
        world.let_out(ALL);
        // A runtime polls whoever was woken: nobody is forgotten.
        for _ in 0..10 * ALL {
            tasks.iter_mut().for_each(|task| task.run(3));
        }
        let end = fails.then_some(Interrupted::Failed("broken"));
        for task in &tasks {
            prop_assert_eq!(task.heard.len(), ALL);
            prop_assert_eq!(&task.end, &Some(end.clone()));
        }
    }
}
