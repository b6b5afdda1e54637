//! What a claim costs a call that nobody shares, beside a bare map entry made and removed.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use dashmap::DashMap;
use futures_util::FutureExt;
use llm_core::TenantId;
use llm_dedup::{Claim, Flights, RequestKey};

fn key(body: &Bytes) -> RequestKey {
    RequestKey::new(TenantId::from("tenant"), Bytes::from_static(b"chat\nopenai"), body.clone())
}

fn claims(c: &mut Criterion) {
    let mut group = c.benchmark_group("dedup");
    let body = Bytes::from(vec![b'x'; 1024]);
    group.bench_function("fingerprint of 1 KB", |b| b.iter(|| key(black_box(&body))));

    let flights = Flights::<u64>::new(10_000);
    group.bench_function("lead, answer, end", |b| {
        let lead = |key| match flights.claim(key, None, || Box::pin(async { 7 })) {
            Claim::Lead(subscriber) => subscriber.now_or_never(),
            other => panic!("nobody else is there: {other:?}"),
        };
        b.iter_batched(|| key(&body), lead, BatchSize::SmallInput);
    });

    let Claim::Lead(leader) = flights.claim(key(&body), None, || Box::pin(std::future::pending())) else {
        panic!("nobody else is there");
    };
    group.bench_function("follow and leave", |b| {
        let follow = |key| match flights.claim(key, None, || Box::pin(std::future::pending())) {
            Claim::Follow(subscriber) => drop(subscriber),
            other => panic!("the leader is there: {other:?}"),
        };
        b.iter_batched(|| key(&body), follow, BatchSize::SmallInput);
    });
    drop(leader);

    let map = DashMap::<RequestKey, u64>::new();
    group.bench_function("a bare map: insert and remove", |b| {
        let entry = |key: RequestKey| {
            map.insert(key.clone(), 7);
            map.remove(&key)
        };
        b.iter_batched(|| key(&body), entry, BatchSize::SmallInput);
    });
    group.finish();
}

criterion_group!(benches, claims);
criterion_main!(benches);
