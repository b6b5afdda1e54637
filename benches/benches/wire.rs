//! What is read of a body and of a stream that pass through, beside reading them into a JSON tree.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use llm_providers::wire::openai::{ChatStream, read_chat, same_request};
use llm_providers::wire::sse::DEFAULT_LIMIT;

fn body(text: usize) -> Bytes {
    let text = "every word of a prompt ".repeat(text.div_ceil(23));
    let body = format!(
        r#"{{"model":"fast","temperature":0.7,"messages":[{{"role":"system","content":"Be brief."}},{{"role":"user","content":"{text}"}}]}}"#
    );
    Bytes::from(body)
}

fn code() -> Bytes {
    let text = r#"    let value = the_function(argument, \"text\");\n"#.repeat(655);
    Bytes::from(format!(r#"{{"model":"fast","messages":[{{"role":"user","content":"{text}"}}]}}"#))
}

fn tools() -> Bytes {
    let tool = r#"{"type":"function","function":{"name":"get_current_weather","description":"Get the current weather in a given location","strict":true,"parameters":{"type":"object","properties":{"location":{"type":"string","description":"The city and state, e.g. San Francisco, CA"},"unit":{"type":"string","enum":["celsius","fahrenheit"]},"days":{"type":"integer","minimum":1,"maximum":14}},"required":["location","unit"],"additionalProperties":false}}}"#;
    let tools = [tool; 18].join(",");
    Bytes::from(format!(r#"{{"model":"fast","messages":[{{"role":"user","content":"hi"}}],"tools":[{tools}]}}"#))
}

/// All that is read of a request: where the few fields stand, and what the whole asks, in 128 bits.
fn envelope(c: &mut Criterion) {
    for (name, body) in
        [("256 B", body(256)), ("32 KB", body(32 << 10)), ("32 KB of code", code()), ("8 KB of tools", tools())]
    {
        let mut group = c.benchmark_group(format!("wire/request of {name}"));
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function("envelope", |b| b.iter(|| read_chat(black_box(&body).clone()).expect("a request")));
        group.bench_function("serde_json::Value", |b| {
            b.iter(|| serde_json::from_slice::<serde_json::Value>(black_box(&body)).expect("JSON"));
        });
        group.finish();
    }
}

/// What comes on top when an equal digest was met: that the requests are the same, told from their bytes.
fn same(c: &mut Criterion) {
    for (name, body) in [("256 B", body(256)), ("32 KB", body(32 << 10)), ("8 KB of tools", tools())] {
        let text = std::str::from_utf8(&body).expect("text");
        let streamed = text.replacen('{', r#"{"stream":true,"#, 1);
        let members = text.trim_start_matches(r#"{"model":"fast","#).trim_end_matches('}');
        let turned = format!(r#"{{{members},"model":"fast"}}"#);
        let mut group = c.benchmark_group(format!("wire/the same {name}"));
        group.throughput(Throughput::Bytes(body.len() as u64));
        for (name, other) in
            [("byte for byte", text), ("but for the stream flag", &streamed), ("in another order", &turned)]
        {
            let other = other.as_bytes().to_vec();
            group.bench_function(name, |b| b.iter(|| assert!(same_request(black_box(&body), black_box(&other)))));
        }
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

criterion_group!(benches, envelope, same, stream);
criterion_main!(benches);
