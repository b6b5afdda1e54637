//! Sharing beside singleflight-async's, tokio's broadcast and moka. `cargo xtask bench dedup`.

use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use benches::{Bar, Table};
use bytes::Bytes;
use futures_util::future::join_all;
use llm_core::{Clock, SystemClock, TenantId, Tick};
use llm_dedup::{Broadcast, CacheConfig, Claim, Flights, Keep, Listener, Publisher, RequestKey, ResponseCache};
use singleflight_async::SingleFlight;
use tokio::runtime::Runtime;
use tokio::sync::broadcast;

/// Callers of one flight, listeners of one stream.
const CALLERS: usize = 100;

/// A body of 1 KB, in memory of its own.
fn body() -> Bytes {
    Bytes::from_static(vec![b'x'; 1024].leak())
}

fn key(tenant: &TenantId, body: &Bytes) -> RequestKey {
    RequestKey::new(tenant.clone(), Bytes::from_static(b"chat\nopenai"), body.clone())
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// An upstream call that takes a while.
async fn call() -> u64 {
    tokio::task::yield_now().await;
    7
}

/// `count` callers, in flights of a hundred who wait together.
fn by_flight<F: Future>(runtime: &Runtime, count: u64, caller: impl Fn() -> F) {
    runtime.block_on(async {
        for _ in 0..count.div_ceil(CALLERS as u64) {
            black_box(join_all((0..CALLERS).map(|_| caller())).await);
        }
    });
}

fn flights(table: &Table) {
    let tenant = TenantId::from("tenant");
    let (ours, others) = (body(), body());
    let flights = Flights::<u64>::new(10_000);
    let group = SingleFlight::<RequestKey, u64>::new();
    let (known, asked) = (key(&tenant, &ours), key(&tenant, &others));
    let Claim::Lead(mut lead) = flights.claim(&known, None, || Box::pin(std::future::pending())) else {
        panic!("nobody else is there");
    };
    assert!(pin!(&mut lead).poll(&mut cx()).is_pending());
    // What joining and leaving change is seen by all: nothing of it is left out.
    let follow = |key: &RequestKey| {
        let claim = flights.claim(key, None, || unreachable!("the leader is there"));
        assert!(matches!(claim, Claim::Follow(_)), "the leader is there");
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let peer = |count| by_flight(&runtime, count, || group.work(asked.clone(), call));
    table.row(
        "join a flight of 1 KB that is under way, hashed already, and leave; a caller of 100 of singleflight-async's",
        Some(Bar::Times(0.15)),
        |count| (0..count).for_each(|_| follow(&asked)),
        peer,
    );
    table.row(
        "the same from the body on: hash, compare, join",
        Some(Bar::Times(0.6)),
        |count| (0..count).for_each(|_| follow(&key(&tenant, black_box(&others)))),
        peer,
    );
    drop(lead);
    table.row(
        "a caller of 100, from its claim to its answer",
        None,
        |count| {
            by_flight(&runtime, count, || match flights.claim(&asked, None, || Box::pin(call())) {
                Claim::Lead(subscriber) | Claim::Follow(subscriber) => subscriber,
                other => panic!("there is room: {other:?}"),
            });
        },
        peer,
    );
    table.row(
        "a caller that nobody joins: lead, answer, end; singleflight-async's",
        None,
        |count| {
            (0..count).for_each(|_| match flights.claim(&asked, None, || Box::pin(async { 7 })) {
                Claim::Lead(subscriber) => assert!(pin!(subscriber).poll(&mut cx()).is_ready()),
                other => panic!("nobody else is there: {other:?}"),
            });
        },
        |count| {
            (0..count).for_each(|_| {
                assert!(pin!(group.work(asked.clone(), || async { 7 })).poll(&mut cx()).is_ready());
            });
        },
    );
}

/// As many chunks as a stream has, and as the peer keeps.
const CHUNKS: usize = 64;

type Log = (Broadcast<Bytes, ()>, Publisher<Bytes, ()>, Vec<Listener<Bytes, ()>>);

fn log() -> Log {
    let (log, publisher) = Broadcast::by_hand(1 << 20, Bytes::len);
    let listeners = (0..CALLERS).map(|_| log.listen().expect("it is new")).collect();
    (log, publisher, listeners)
}

fn streams(table: &Table) {
    let chunk = Bytes::from(vec![b'x'; 150]);
    // A clone of a chunk is a reference counted one more.
    drop(chunk.clone());
    let a_stream = (CHUNKS * CALLERS) as u64;
    let per_chunk_and_listener = |count: u64, stream: &dyn Fn()| (0..count.div_ceil(a_stream)).for_each(|_| stream());

    table.row(
        "a chunk for one of 100 who wait for it; tokio's broadcast",
        Some(Bar::Times(0.95)),
        |count| {
            per_chunk_and_listener(count, &|| {
                let (_log, mut publisher, mut listeners) = log();
                for _ in 0..CHUNKS {
                    assert!(listeners.iter_mut().all(|listener| listener.poll_item(&mut cx()).is_pending()));
                    publisher.publish(chunk.clone()).expect("there is room");
                    assert!(listeners.iter_mut().all(|listener| listener.poll_item(&mut cx()).is_ready()));
                }
            });
        },
        |count| {
            per_chunk_and_listener(count, &|| {
                let (sender, _) = broadcast::channel::<Bytes>(CHUNKS);
                let mut receivers: Vec<_> = (0..CALLERS).map(|_| sender.subscribe()).collect();
                for _ in 0..CHUNKS {
                    let mut waiting: Vec<_> = receivers.iter_mut().map(|receiver| Box::pin(receiver.recv())).collect();
                    assert!(waiting.iter_mut().all(|receiver| receiver.as_mut().poll(&mut cx()).is_pending()));
                    sender.send(chunk.clone()).expect("they listen");
                    assert!(waiting.iter_mut().all(|receiver| receiver.as_mut().poll(&mut cx()).is_ready()));
                }
            });
        },
    );
    table.row(
        "a chunk for one of 100 who come for it when it is there",
        Some(Bar::Times(0.95)),
        |count| {
            per_chunk_and_listener(count, &|| {
                let (_log, mut publisher, mut listeners) = log();
                for _ in 0..CHUNKS {
                    publisher.publish(chunk.clone()).expect("there is room");
                    assert!(listeners.iter_mut().all(|listener| listener.poll_item(&mut cx()).is_ready()));
                }
            });
        },
        |count| {
            per_chunk_and_listener(count, &|| {
                let (sender, _) = broadcast::channel::<Bytes>(CHUNKS);
                let mut receivers: Vec<_> = (0..CALLERS).map(|_| sender.subscribe()).collect();
                for _ in 0..CHUNKS {
                    sender.send(chunk.clone()).expect("they listen");
                    assert!(receivers.iter_mut().all(|receiver| receiver.try_recv().is_ok()));
                }
            });
        },
    );
    table.row(
        "a chunk replayed to one of 100 who come late; tokio's broadcast, which knows only who was there before",
        Some(Bar::Times(0.65)),
        |count| {
            per_chunk_and_listener(count, &|| {
                let (_log, mut publisher, mut listeners) = log();
                (0..CHUNKS).for_each(|_| publisher.publish(chunk.clone()).expect("there is room"));
                for listener in &mut listeners {
                    assert!((0..CHUNKS).all(|_| listener.poll_item(&mut cx()).is_ready()));
                }
            });
        },
        |count| {
            per_chunk_and_listener(count, &|| {
                let (sender, _) = broadcast::channel::<Bytes>(CHUNKS);
                let mut receivers: Vec<_> = (0..CALLERS).map(|_| sender.subscribe()).collect();
                (0..CHUNKS).for_each(|_| drop(sender.send(chunk.clone())));
                for receiver in &mut receivers {
                    assert!((0..CHUNKS).all(|_| receiver.try_recv().is_ok()));
                }
            });
        },
    );
}

/// Answers kept, of a hundred thousand that are asked for.
const KEPT: usize = 10_000;
const ASKED: usize = 100_000;

/// How often each of `ASKED` is asked for, summed up: the k-th in proportion to k^-s.
fn zipf(s: f64) -> Vec<f64> {
    let shares = (1..=ASKED).map(|rank| (rank as f64).powf(-s));
    let sums: Vec<f64> = shares
        .scan(0.0, |sum, share| {
            Some({
                *sum += share;
                *sum
            })
        })
        .collect();
    let all = sums[ASKED - 1];
    sums.into_iter().map(|sum| sum / all).collect()
}

/// The share of hits in a million requests of which those asked for rarely are many.
fn hit_ratio(s: f64, mut hit: impl FnMut(usize) -> bool) -> f64 {
    let (sums, mut random) = (zipf(s), fastrand::Rng::with_seed(4711));
    let mut request = |_: &usize| {
        let share = random.f64();
        hit(sums.partition_point(|sum| *sum < share))
    };
    let mut requests = |count: usize| (0..count).filter(&mut request).count();
    requests(500_000);
    requests(1_000_000) as f64 / 1e6
}

fn answers(table: &Table) {
    let tenant = TenantId::from("tenant");
    let clock = SystemClock::new();
    let ttl = Duration::from_secs(3600);
    let cache = || {
        let config = CacheConfig { max_entries: KEPT, ..CacheConfig::default() };
        ResponseCache::builder(config).max_bytes(1 << 30).build_for(|_: &u64| 8)
    };
    let peer = || moka::sync::Cache::<RequestKey, u64>::builder().max_capacity(KEPT as u64).time_to_live(ttl).build();

    let (ours, theirs, now) = (cache(), peer(), clock.now());
    let (asked, other) = (key(&tenant, &body()), key(&tenant, &body()));
    assert!(ours.put(&other, 7, ttl, now));
    theirs.insert(other.clone(), 7);
    for at in 0..KEPT / 2 {
        let key = key(&tenant, &Bytes::from(format!("{at:1024}")));
        assert!(ours.put(&key, 7, ttl, now));
        theirs.insert(key, 7);
    }
    theirs.run_pending_tasks();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let shared = moka::future::Cache::<RequestKey, u64>::builder().max_capacity(KEPT as u64).time_to_live(ttl).build();
    runtime.block_on(async {
        for (key, value) in &theirs {
            shared.insert(key.as_ref().clone(), value).await;
        }
        shared.run_pending_tasks().await;
    });
    let find = |count| (0..count).for_each(|_| assert!(ours.find(black_box(&asked), now).is_some()));
    let get_with = |count| {
        runtime.block_on(async {
            for _ in 0..count {
                let answer = shared.get_with(black_box(&asked).clone(), async { unreachable!("it is kept") });
                assert_eq!(answer.await, 7);
            }
        });
    };
    let hit = "a hit, body of 1 KB, hashed already, the time given; moka's `get_with`";
    table.row(hit, Some(Bar::Times(0.15)), find, get_with);
    table.row("the same; moka's `get`, which starts no call", None, find, |count| {
        (0..count).for_each(|_| assert!(theirs.get(black_box(&asked)).is_some()));
    });
    let flights = Flights::<u64>::builder(10_000).answers(ours.clone(), |answer| Some(*answer)).build();
    table.row(
        "a claim that is a hit, from the body on and with the time read; moka's `get_with`",
        None,
        |count| {
            (0..count).for_each(|_| {
                let keep = Some(Keep { ttl, now: clock.now() });
                let claim = flights.claim(&key(&tenant, black_box(asked.body())), keep, || unreachable!("it is kept"));
                assert!(matches!(claim, Claim::Hit(7)));
            });
        },
        get_with,
    );

    println!("\n| hit ratio, {KEPT} kept of {ASKED} | ours | moka's | ours : moka's |\n|---|---:|---:|---:|");
    let keys: Vec<RequestKey> = (0..ASKED).map(|at| key(&tenant, &Bytes::from(at.to_string()))).collect();
    for s in [0.9, 1.1] {
        let (ours, theirs) = (cache(), peer());
        let ratios = [
            hit_ratio(s, |at| {
                let hit = ours.find(&keys[at], Tick::ZERO).is_some();
                if !hit {
                    ours.put(&keys[at], 7, ttl, Tick::ZERO);
                }
                hit
            }),
            hit_ratio(s, |at| {
                let hit = theirs.get(&keys[at]).is_some();
                if !hit {
                    theirs.insert(keys[at].clone(), 7);
                }
                hit
            }),
        ];
        let [ours, theirs] = ratios.map(|ratio| ratio * 100.0);
        println!("| Zipf {s} | {ours:.2} % | {theirs:.2} % | {:.3}× |", ours / theirs);
    }
}

fn main() {
    let table = Table::new();
    flights(&table);
    streams(&table);
    answers(&table);
}
