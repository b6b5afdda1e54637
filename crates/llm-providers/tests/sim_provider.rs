//! The simulated provider in the process, in paused time.
#![cfg(feature = "sim")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use llm_core::{
    Answer, BoxStream, Call, CallBody, CompletionRequest, EmbeddingRequest, Error, ErrorKind, Json, Message, Provider,
    ResponseFormat, StopReason, StreamEvent, Tool, ToolChoice, WireBody,
};
use llm_providers::wire::openai::{decode_chat_response, read_chat};
use llm_providers::{EchoProvider, SimConfig, SimProvider, SimStats};
use proptest::prelude::*;
use tokio::time::Instant;

fn sim() -> SimProvider {
    SimProvider::new("sim", SimConfig::default())
}

fn ask(model: &str) -> CompletionRequest {
    CompletionRequest::new(model, vec![Message::user("What is 2+2?")])
}

fn wire(body: &str) -> Call {
    let envelope = read_chat(Bytes::copy_from_slice(body.as_bytes())).unwrap();
    Call::new(envelope.model_name().into(), CallBody::from(envelope))
}

async fn frames(provider: &impl Provider, call: Call) -> (Vec<llm_core::Frame>, Option<Error>) {
    let Answer::Wire(answer) = provider.send(call).await.unwrap() else { panic!("no wire answer") };
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    let WireBody::Frames(mut stream) = answer.body else { panic!("no stream") };
    let mut frames = Vec::new();
    while let Some(frame) = stream.next().await {
        match frame {
            Ok(frame) => frames.push(frame),
            Err(error) => {
                assert!(stream.next().await.is_none(), "an error is the last item");
                return (frames, Some(error));
            }
        }
    }
    (frames, None)
}

async fn all(mut events: BoxStream<Result<StreamEvent, Error>>) -> (String, Option<Error>) {
    let mut text = String::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(StreamEvent::Text { text: piece, .. }) => text.push_str(&piece),
            Ok(_) => {}
            Err(error) => return (text, Some(error)),
        }
    }
    (text, None)
}

#[tokio::test]
async fn the_same_seed_and_sequence_give_the_same_bytes() {
    let body = |n: u32| format!(r#"{{"model":"sim?tokens=9","messages":[{{"role":"user","content":"q{n}"}}],"n":2}}"#);
    let stream = |n: u32| body(n).replace("\"n\":2", "\"stream\":true");
    async fn play(provider: &SimProvider, calls: Vec<Call>) -> Vec<Bytes> {
        let mut all = Vec::new();
        for call in calls {
            if call.body.stream() {
                all.extend(frames(provider, call).await.0.into_iter().map(|frame| frame.bytes));
            } else if let Answer::Wire(answer) = provider.send(call).await.unwrap() {
                let WireBody::Whole { bytes, .. } = answer.body else { panic!("no whole answer") };
                all.push(bytes);
            }
        }
        all
    }
    let calls = || vec![wire(&body(1)), wire(&stream(2)), wire(&body(1)), wire(&body(3))];
    let seeded = |seed| SimProvider::new("sim", SimConfig { seed, ..SimConfig::default() });
    let first = play(&seeded(7), calls()).await;
    assert_eq!(first, play(&seeded(7), calls()).await);
    assert_ne!(first, play(&seeded(8), calls()).await);
    // Asked twice, the text is the same and the id is not.
    let answer = |at: usize| decode_chat_response(&first[at]).unwrap();
    let third = first.len() - 2;
    assert_eq!(answer(0).text_content(), answer(third).text_content());
    assert_ne!(answer(0).id, answer(third).id);
    assert_ne!(answer(0).text_content(), answer(third + 1).text_content());
}

#[tokio::test]
async fn errors_are_drawn_at_their_rate_and_the_same_for_a_seed() {
    async fn outcomes(provider: SimProvider) -> Vec<bool> {
        let mut failed = Vec::new();
        for _ in 0..400 {
            failed.push(provider.complete(ask("sim?error_rate=0.25")).await.is_err());
        }
        failed
    }
    let failed = outcomes(sim()).await;
    let count = failed.iter().filter(|failed| **failed).count();
    // Four standard deviations about 100.
    assert!((65..=135).contains(&count), "{count}");
    assert_eq!(failed, outcomes(sim()).await);

    let provider = sim();
    assert_eq!(failed, outcomes(provider.clone()).await);
    assert_eq!(provider.stats().total.requests, 400);
    provider.reset();
    assert_eq!(provider.stats(), SimStats::default());
    assert_eq!(failed, outcomes(provider).await, "after a reset the sequence starts again");
}

#[tokio::test(start_paused = true)]
async fn latency_is_as_scripted() {
    let start = Instant::now();
    let mut stream = sim().stream(ask("sim?ttft=50ms,gap=10ms,tokens=5")).await.unwrap();
    let mut times = Vec::new();
    while let Some(event) = stream.next().await {
        if let StreamEvent::Text { .. } = event.unwrap() {
            times.push(start.elapsed().as_millis());
        }
    }
    assert_eq!(times, [50, 60, 70, 80, 90]);

    let start = Instant::now();
    sim().complete(ask("sim?ttft=50ms,gap=10ms,tokens=5")).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_millis(90));
    let start = Instant::now();
    sim().complete(ask("sim?ttft=50ms,status=503")).await.unwrap_err();
    assert_eq!(start.elapsed(), Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn fixed_answers_keep_their_pace_and_ignore_the_question() {
    let provider = sim();
    let body = |text: &str, rest: &str| {
        wire(&format!(
            r#"{{"model":"sim?fixed,ttft=5ms,gap=10ms,tokens=4","messages":[{{"role":"user","content":"{text}"}}]{rest}}}"#
        ))
    };
    let start = Instant::now();
    let (first, _) = frames(&provider, body("a", r#","stream":true"#)).await;
    assert_eq!(start.elapsed(), Duration::from_millis(35));
    let (second, _) = frames(&provider, body("b", r#","stream":true"#)).await;
    let bytes = |frames: &[llm_core::Frame]| frames.iter().map(|frame| frame.bytes.clone()).collect::<Vec<_>>();
    assert_eq!(bytes(&first), bytes(&second));
    assert!(first.last().unwrap().last);
    let Answer::Wire(answer) = provider.send(body("c", "")).await.unwrap() else { panic!("no wire answer") };
    let WireBody::Whole { bytes, usage } = answer.body else { panic!("no whole answer") };
    assert_eq!(decode_chat_response(&bytes).unwrap().usage, usage);
    assert_eq!(usage.unwrap().output, 4);
    let stats = provider.stats();
    assert_eq!((stats.total.completed, stats.total.output_tokens), (3, 12));
}

#[tokio::test(start_paused = true)]
async fn stalls_last_for_ever() {
    let forever = Duration::from_secs(1_000_000);
    let timed = |model: &'static str| tokio::time::timeout(forever, async move { sim().complete(ask(model)).await });
    assert!(timed("sim?stall").await.is_err());
    assert!(timed("sim?stall_after=3").await.is_err());
    let mut stream = sim().stream(ask("sim?stall_after=3")).await.unwrap();
    let mut said = 0;
    while let Ok(event) = tokio::time::timeout(forever, stream.next()).await {
        said += u32::from(matches!(event.unwrap().unwrap(), StreamEvent::Text { .. }));
    }
    assert_eq!(said, 3);
}

#[tokio::test]
async fn errors_are_those_that_a_transport_tells() {
    let provider = sim();
    let error = |model: &'static str| {
        let provider = provider.clone();
        async move { provider.complete(ask(model)).await.unwrap_err() }
    };
    let limited = error("sim?status=429,retry_after=2s").await;
    assert_eq!((limited.kind(), limited.retry_after()), (ErrorKind::RateLimited, Some(Duration::from_secs(2))));
    assert_eq!(error("sim?status=429&retry_after=1500ms").await.retry_after(), Some(Duration::from_millis(1500)));
    assert_eq!(error("sim?status=429,code=insufficient_quota").await.kind(), ErrorKind::QuotaExhausted);
    assert_eq!(error("sim?status=400,code=context_length_exceeded").await.kind(), ErrorKind::ContextLength);
    let failed = error("sim?error_rate=1").await;
    assert_eq!((failed.kind(), failed.upstream_status(), failed.retryable()), (ErrorKind::Upstream, Some(500), true));
    assert_eq!(error("sim?status=404").await.kind(), ErrorKind::NotFound);
    assert_eq!(error("sim?html").await.kind(), ErrorKind::BadAnswer);
    assert_eq!(error("sim?html,status=502").await.upstream_status(), Some(502));
    assert_eq!(error("sim?hangup").await.kind(), ErrorKind::Connection);
    assert_eq!(error("sim?truncate").await.kind(), ErrorKind::StreamInterrupted);
    assert_eq!(error("sim?cut_after=1").await.kind(), ErrorKind::StreamInterrupted);
    let unknown = error("sim?speed=9").await;
    assert_eq!((unknown.kind(), unknown.param()), (ErrorKind::InvalidRequest, Some("model")));
    assert!(unknown.message().contains("unknown key `speed`"), "{unknown}");
    assert_eq!(unknown.provider().unwrap().as_str(), "sim");
    assert_eq!((provider.stats().total.failed, provider.stats().total.active), (12, 0));
}

#[tokio::test]
async fn streams_break_where_scripted() {
    let told = async |model: &str| all(sim().stream(ask(model)).await.unwrap()).await;
    let (whole, none) = told("sim?tokens=5").await;
    assert!(none.is_none());
    let (part, error) = told("sim?tokens=5,cut_after=2").await;
    assert_eq!(error.unwrap().kind(), ErrorKind::StreamInterrupted);
    assert_eq!(part, whole.split_inclusive(' ').take(2).collect::<String>().trim_end());
    let (_, error) = told("sim?tokens=5,error_event=2").await;
    assert_eq!(error.unwrap().kind(), ErrorKind::Upstream);
    assert_eq!(told("sim?tokens=5,truncate").await.1.unwrap().kind(), ErrorKind::StreamInterrupted);
    let body = r#"{"model":"sim?no_done,tokens=2","messages":[{"role":"user","content":"q"}],"stream":true}"#;
    let (frames, error) = frames(&sim(), wire(body)).await;
    assert!(error.is_none() && frames.iter().all(|frame| !frame.last));
}

#[tokio::test]
async fn the_first_requests_of_a_key_fail() {
    let provider = sim();
    let fails = async |model: &str| provider.complete(ask(model)).await.is_err();
    let model = "sim?fail_first=2,status=503";
    assert_eq!(
        [fails(model).await, fails(model).await, fails(model).await, fails(model).await],
        [true, true, false, false]
    );
    assert!(fails("sim?fail_first=1,key=other").await);
    assert!(!fails("sim?fail_first=1,key=other,tokens=2").await, "one key, whatever else is scripted");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_is_counted_as_such() {
    let provider = sim();
    let waiting = provider.complete(ask("sim?stall"));
    assert!(tokio::time::timeout(Duration::from_secs(1), waiting).await.is_err());
    let mut stream = provider.stream(ask("sim?gap=1s")).await.unwrap();
    stream.next().await.unwrap().unwrap();
    assert_eq!(provider.stats().total.active, 1);
    drop(stream);
    let stats = provider.stats();
    assert_eq!((stats.total.requests, stats.total.cancelled, stats.total.active), (2, 2, 0));

    // Nothing is left to wait for after the last event.
    let mut stream = provider.stream(ask("sim?tokens=1")).await.unwrap();
    while !matches!(stream.next().await, Some(Ok(StreamEvent::Usage(_)))) {}
    drop(stream);
    assert_eq!(provider.stats().total.completed, 1);
}

#[tokio::test]
async fn a_request_may_go_over_its_models_script_and_that_over_the_default() {
    let config = SimConfig {
        seed: 0,
        default: "tokens=3,usage=off".parse().unwrap(),
        models: [("short".into(), "tokens=1".parse().unwrap())].into(),
    };
    let provider = SimProvider::new("sim", config);
    let words = async |model: &str| {
        let response = provider.complete(ask(model)).await.unwrap();
        assert!(response.usage.is_none());
        response.text_content().split(' ').count()
    };
    assert_eq!(words("anything").await, 3);
    assert_eq!(words("short").await, 1);
    assert_eq!(words("short?tokens=2").await, 2);
    let names: Vec<_> = provider.models().await.unwrap().into_iter().map(|model| model.id).collect();
    assert_eq!(names, ["short", "sim"]);
    assert_eq!(provider.stats().models["short"].requests, 2);
}

#[tokio::test]
async fn caps_and_replies_are_honoured() {
    let response = sim().complete(ask("sim?reply=one%2C two three").with_max_tokens(2)).await.unwrap();
    assert_eq!(response.text_content(), "one, two");
    assert_eq!(response.choices[0].stop, Some(StopReason::Length));
    assert_eq!(response.usage.unwrap().output, 2);
    let response = sim().complete(ask("sim?tokens=4").with_max_tokens(4)).await.unwrap();
    assert_eq!((response.choices[0].stop.clone(), response.usage.unwrap().output), (Some(StopReason::Stop), 4));
    assert_eq!(response.usage.unwrap().input, 3);
}

fn tool(name: &str) -> Tool {
    let schema = r#"{"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer","minimum":1}},"required":["city","days"]}"#;
    Tool::function(name, None, Some(Json::parse(schema).unwrap()))
}

#[tokio::test]
async fn tools_are_called_when_scripted_or_demanded() {
    let calls = async |request: &CompletionRequest| {
        let response = sim().complete(request.into()).await.unwrap();
        let names: Vec<_> = response.tool_calls().map(|call| call.name.clone()).collect();
        assert!(response.tool_calls().all(|call| call.arguments == r#"{"city":"sim","days":1}"#));
        assert_eq!(response.choices[0].stop == Some(StopReason::ToolCalls), !names.is_empty());
        names.join(" ")
    };
    let mut request = ask("sim").with_tool(tool("f")).with_tool(tool("g")).with_tool(tool("h"));
    assert_eq!(calls(&request).await, "");
    request.tool_choice = Some(ToolChoice::Function("g".into()));
    assert_eq!(calls(&request).await, "g");
    request.tool_choice = Some(ToolChoice::Required);
    assert_eq!(calls(&request).await, "f g");
    request.parallel_tool_calls = Some(false);
    assert_eq!(calls(&request).await, "f");

    request.model = "sim?tool".into();
    request.tool_choice = None;
    assert_eq!(calls(&request).await, "f");
    request.tool_choice = Some(ToolChoice::None);
    assert_eq!(calls(&request).await, "");
    request.tool_choice = Some(ToolChoice::Auto);
    request.messages.push(Message::tool("call_1", "sunny"));
    assert_eq!(calls(&request).await, "", "an answered call is not made again");
}

#[tokio::test]
async fn structured_output_follows_the_schema() {
    let schema = r#"{"type":"object","properties":{"steps":{"type":"array","items":{"type":"string"},"minItems":2},"sure":{"type":"boolean"}},"required":["steps","sure"]}"#;
    let format = ResponseFormat::JsonSchema {
        name: "n".into(),
        description: None,
        schema: Some(Json::parse(schema).unwrap()),
        strict: None,
    };
    let request = ask("sim").with_response_format(format);
    let text = sim().complete((&request).into()).await.unwrap().text_content();
    assert_eq!(text, r#"{"steps":["sim","sim"],"sure":true}"#);
    assert_eq!(all(sim().stream(request).await.unwrap()).await.0, text);
    let object = sim().complete(ask("sim").with_response_format(ResponseFormat::JsonObject)).await.unwrap();
    assert!(serde_json::from_str::<serde_json::Map<_, _>>(&object.text_content()).is_ok());
}

#[tokio::test]
async fn usage_that_was_not_asked_for_is_told_beside_the_bytes() {
    let body = r#"{"model":"sim?tokens=2","messages":[{"role":"user","content":"q"}],"stream":true}"#;
    let (frames, _) = frames(&sim(), wire(body)).await;
    let told = frames.iter().find(|frame| frame.usage.is_some()).unwrap();
    assert!(told.bytes.is_empty());
    assert_eq!(told.usage.as_ref().unwrap().output, 2);
    assert_eq!(frames.iter().filter(|frame| frame.content).count(), 2);
    assert_eq!(frames.last().unwrap().bytes, "data: [DONE]\n\n");
}

#[tokio::test]
async fn embeddings_are_scripted_too() {
    let response = sim().embed(EmbeddingRequest::new("sim", vec!["a".into(), "b".into()])).await.unwrap();
    assert_eq!(response.data.len(), 2);
    assert_eq!(response.model, "sim");
    let error = sim().embed(EmbeddingRequest::new("sim?status=500", vec!["a".into()])).await.unwrap_err();
    assert_eq!(error.upstream_status(), Some(500));
}

#[tokio::test]
async fn echo_answers_wire_calls_in_their_bytes() {
    let echo = EchoProvider::new("echo");
    let body = r#"{"model":"echo","messages":[{"role":"user","content":"Grüße  an\n alle"}]}"#;
    let Answer::Wire(answer) = echo.send(wire(body)).await.unwrap() else { panic!("no wire answer") };
    let WireBody::Whole { bytes, usage } = answer.body else { panic!("no whole answer") };
    let response = decode_chat_response(&bytes).unwrap();
    assert_eq!((response.text_content().as_str(), response.usage), ("Grüße  an\n alle", usage));

    let streaming = body.replace("}]}", r#"}],"stream":true,"stream_options":{"include_usage":true}}"#);
    let (frames, error) = frames(&echo, wire(&streaming)).await;
    assert!(error.is_none() && frames.last().unwrap().last);
    assert_eq!(frames.iter().filter(|frame| frame.content).count(), 3);
    assert_eq!(echo.models().await.unwrap()[0].id, "echo");
    assert_eq!(echo.embed(EmbeddingRequest::new("echo", vec!["a".into()])).await.unwrap().data.len(), 1);
}

proptest! {
    #[test]
    fn echo_streams_exactly_what_it_would_say_at_once(text in "\\PC{0,60}|[ \n\ta-c]{0,30}", cap in proptest::option::of(0..12_u64)) {
        let mut request = CompletionRequest::new("echo", vec![Message::user(text)]);
        request.max_tokens = cap;
        let echo = EchoProvider::new("echo");
        let (streamed, whole) = futures_util::FutureExt::now_or_never(async {
            let streamed = all(echo.stream((&request).into()).await.unwrap()).await;
            (streamed.0, echo.complete(request).await.unwrap())
        }).unwrap();
        prop_assert_eq!(streamed, whole.text_content());
        prop_assert!(cap.is_none_or(|cap| whole.usage.unwrap().output <= cap));
    }
}
