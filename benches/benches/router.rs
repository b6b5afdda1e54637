//! One decision of a route.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use llm_router::{SmartRouter, Strategy, Target};

fn plans(c: &mut Criterion) {
    let mut group = c.benchmark_group("router");
    for (name, strategy) in [("weighted", Strategy::Weighted), ("fallback", Strategy::Fallback)] {
        for targets in [1, 3, 16] {
            let targets: Vec<_> = (1..=targets).map(|weight| Target { weight }).collect();
            let router = SmartRouter::try_new(strategy, &targets).expect("a route");
            group.bench_with_input(BenchmarkId::new(name, targets.len()), &router, |b, router| {
                b.iter(|| black_box(router).plan().next(|_| true));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, plans);
criterion_main!(benches);
