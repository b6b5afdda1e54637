//! What is read of a body and of a stream that pass through, beside reading them into a JSON tree.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use llm_providers::wire::openai::{ChatStream, read_chat};
use llm_providers::wire::sse::DEFAULT_LIMIT;

fn body(text: usize) -> Bytes {
    let text = "every word of a prompt ".repeat(text.div_ceil(23));
    let body = format!(
        r#"{{"model":"fast","temperature":0.7,"messages":[{{"role":"system","content":"Be brief."}},{{"role":"user","content":"{text}"}}]}}"#
    );
    Bytes::from(body)
}

fn envelope(c: &mut Criterion) {
    for (name, size) in [("256 B", 256), ("32 KB", 32 << 10)] {
        let body = body(size);
        let mut group = c.benchmark_group(format!("wire/request of {name}"));
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function("envelope", |b| b.iter(|| read_chat(black_box(&body).clone()).expect("a request")));
        group.bench_function("serde_json::Value", |b| {
            b.iter(|| serde_json::from_slice::<serde_json::Value>(black_box(&body)).expect("JSON"));
        });
        group.finish();
    }
}

fn stream(c: &mut Criterion) {
    let chunk = r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}]}"#;
    let event = Bytes::from(format!("{chunk}\n\n"));
    let mut group = c.benchmark_group("wire/stream event");
    group.throughput(Throughput::Bytes(event.len() as u64));
    let mut stream = ChatStream::new(true, DEFAULT_LIMIT);
    group.bench_function("passed through", |b| {
        b.iter(|| {
            stream.push(black_box(&event).clone());
            stream.next_frame().expect("a frame").expect("no error")
        });
    });
    group.bench_function("serde_json::Value", |b| {
        b.iter(|| serde_json::from_str::<serde_json::Value>(black_box(&chunk[6..])).expect("JSON"));
    });
    group.finish();
}

criterion_group!(benches, envelope, stream);
criterion_main!(benches);
