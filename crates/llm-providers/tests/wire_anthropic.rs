//! Anthropic's messages in neutral form, and their streams.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use base64::Engine as _;
use bytes::BytesMut;
use llm_core::{
    CacheMark, Citation, CompletionRequest, CompletionResponse, Content, Dialect, Error, ErrorKind, Json, Message,
    Origin, Part, Reasoning, ResponseFormat, Role, Signature, Source, StopReason, StreamEvent, Thinking, Tool,
    ToolCall, ToolChoice, Usage,
};
use llm_providers::wire::anthropic::{EventDecoder, EventEncoder, Messages};
use llm_providers::wire::{
    AnswerOptions, Capabilities, Codec, Collector, StreamDecoder, StreamEncoder, Strictness, Target, Text, events,
};
use proptest::prelude::*;

fn json(text: &str) -> Json {
    Json::parse(text).unwrap()
}

fn read(body: &str) -> CompletionRequest {
    Messages.decode_request(body.as_bytes()).unwrap().request
}

/// What is sent for a request, as it is.
fn written(request: &CompletionRequest, stream: bool) -> String {
    let capabilities = Capabilities::default();
    let target = Target { model: request.model.as_str(), capabilities: &capabilities, max_output: None, stream };
    let sent = Messages.encode_request(request, &target, Strictness::Strict).unwrap();
    assert!(sent.dropped.is_empty(), "{:?}", sent.dropped);
    String::from_utf8(sent.body.to_vec()).unwrap()
}

const REQUEST: &str = r#"{"model":"claude-x","max_tokens":2000,"tools":[{"name":"f","description":"d","input_schema":{"type":"object","x":9007199254740993},"strict":true,"cache_control":{"type":"ephemeral","ttl":"1h"},"defer_loading":true},{"type":"web_search_20250305","name":"web_search"}],"tool_choice":{"type":"tool","name":"f","disable_parallel_tool_use":true},"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}],"messages":[{"role":"user","content":[{"type":"text","text":"what is \"this\""},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"},"cache_control":{"type":"ephemeral","ttl":"5m"}},{"type":"image","source":{"type":"url","url":"https://x/y"}},{"type":"image","source":{"type":"file","file_id":"file_1"}},{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBE"},"title":"t","context":"c","citations":{"enabled":true}},{"type":"document","source":{"type":"text","media_type":"text/plain","data":"p"}},{"type":"search_result","source":"s","title":"t","content":[]}]},{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"c2ln"},{"type":"redacted_thinking","data":"b3Bh"},{"type":"text","text":"a","citations":[{"type":"char_location","cited_text":"q"}]},{"type":"tool_use","id":"toolu_1","name":"f","input":{"a": 1.0},"caller":{"type":"direct"}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":[{"type":"text","text":"r"},{"type":"image","source":{"type":"url","url":"https://x/"}}],"is_error":true},{"type":"text","text":"and?"}]},{"role":"system","content":"later"}],"temperature":0.5,"top_p":0.25,"top_k":40,"stop_sequences":["END"],"thinking":{"type":"enabled","budget_tokens":1024,"display":"omitted"},"output_config":{"effort":"max","format":{"type":"json_schema","schema":{"b":1.0,"a":1e2}}},"metadata":{"user_id":"u"},"service_tier":"standard_only","cache_control":{"type":"ephemeral"},"container":"c","made_up":{"x":-0}}"#;

#[test]
fn every_field_of_a_request_is_read_and_written_as_it_stood() {
    let request = read(REQUEST);
    let mark = |seconds: Option<u64>| Some(CacheMark { ttl: seconds.map(Duration::from_secs) });
    let seal = |value: &str| Some(Signature { dialect: Dialect::Anthropic, value: value.into() });
    let inline = |media_type: &str, data: &str| Source::Base64 { media_type: media_type.into(), data: data.into() };
    let image = |source| Part::new(Content::Image { source, detail: None });
    let file = |source, name: Option<&str>| Part::new(Content::File { source, name: name.map(str::to_owned) });
    let native = |text: &str| Content::Other { dialect: Dialect::Anthropic, json: json(text) };
    let tool = Tool {
        strict: Some(true),
        cache: mark(Some(3600)),
        extra: vec![("defer_loading".into(), json("true"))],
        ..Tool::function("f", Some("d".into()), Some(json(r#"{"type":"object","x":9007199254740993}"#)))
    };
    let expected = CompletionRequest {
        messages: vec![
            Message::new(Role::System, vec![Part { cache: mark(None), ..Part::text("s") }]),
            Message::new(
                Role::User,
                vec![
                    Part::text("what is \"this\""),
                    Part { cache: mark(Some(300)), ..image(inline("image/png", "AAAA")) },
                    image(Source::Url("https://x/y".into())),
                    image(Source::Id("file_1".into())),
                    Part {
                        extra: vec![
                            ("context".into(), json("\"c\"")),
                            ("citations".into(), json(r#"{"enabled":true}"#)),
                        ],
                        ..file(inline("application/pdf", "JVBE"), Some("t"))
                    },
                    file(Source::Text { media_type: "text/plain".into(), text: "p".into() }, None),
                    native(r#"{"type":"search_result","source":"s","title":"t","content":[]}"#).into(),
                ],
            ),
            Message::new(
                Role::Assistant,
                vec![
                    Part {
                        signature: seal("c2ln"),
                        ..Part::new(Content::Reasoning(Reasoning { text: "hm".into(), redacted: false }))
                    },
                    Part {
                        signature: seal("b3Bh"),
                        ..Part::new(Content::Reasoning(Reasoning { text: String::new(), redacted: true }))
                    },
                    Part {
                        citations: vec![Citation {
                            quote: Some("q".into()),
                            native: Some((Dialect::Anthropic, json(r#"{"type":"char_location","cited_text":"q"}"#))),
                            ..Citation::default()
                        }],
                        ..Part::text("a")
                    },
                    Part {
                        extra: vec![("caller".into(), json(r#"{"type":"direct"}"#))],
                        ..Part::new(Content::ToolCall(ToolCall::function("toolu_1", "f", r#"{"a": 1.0}"#)))
                    },
                ],
            ),
            Message::new(
                Role::User,
                vec![
                    Part::new(Content::ToolResult {
                        call_id: "toolu_1".into(),
                        content: vec![Part::text("r"), image(Source::Url("https://x/".into()))],
                        is_error: true,
                    }),
                    Part::text("and?"),
                ],
            ),
            Message::system("later"),
        ],
        max_tokens: Some(2000),
        temperature: Some(0.5),
        top_p: Some(0.25),
        top_k: Some(40),
        stop: vec!["END".into()],
        tools: vec![tool, Tool::native(json(r#"{"type":"web_search_20250305","name":"web_search"}"#))],
        tool_choice: Some(ToolChoice::Function("f".into())),
        parallel_tool_calls: Some(false),
        response_format: Some(ResponseFormat::JsonSchema {
            name: "response".into(),
            description: None,
            schema: Some(json(r#"{"b":1.0,"a":1e2}"#)),
            strict: Some(true),
        }),
        reasoning_effort: Some("max".into()),
        thinking: Some(Thinking::Budget(1024)),
        show_thoughts: Some(false),
        service_tier: Some("default".into()),
        safety_identifier: Some("u".into()),
        extra: vec![
            ("cache_control".into(), json(r#"{"type":"ephemeral"}"#)),
            ("container".into(), json("\"c\"")),
            ("made_up".into(), json(r#"{"x":-0}"#)),
        ],
        origin: Some(Origin { dialect: Dialect::Anthropic, leading: true }),
        ..CompletionRequest::new("claude-x", vec![])
    };
    assert_eq!(request, expected);
    assert_eq!(written(&request, false), REQUEST);
}

#[test]
fn a_stream_is_asked_for_and_told() {
    let body = r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"a"}],"stream":true}"#;
    let asked = Messages.decode_request(body.as_bytes()).unwrap();
    assert!(asked.stream);
    assert_eq!(written(&asked.request, true), body);
}

#[test]
fn a_wrong_request_names_its_parameter() {
    let wrong = |body: &str| {
        let error = Messages.decode_request(body.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{body}");
        (error.param().unwrap_or_default().to_owned(), error.code().unwrap_or_default().to_owned())
    };
    for (messages, param, code) in [
        (r#"[]"#, "messages", "invalid_value"),
        (r#"{}"#, "messages", "invalid_type"),
        (r#"[1]"#, "messages[0]", "invalid_type"),
        (r#"[{"content":"a"}]"#, "messages[0].role", "missing_required_parameter"),
        (r#"[{"role":"tool","content":"a"}]"#, "messages[0].role", "invalid_value"),
        (r#"[{"role":"user"}]"#, "messages[0].content", "missing_required_parameter"),
        (r#"[{"role":"user","content":null}]"#, "messages[0].content", "invalid_type"),
        (r#"[{"role":"user","content":"\ud83d"}]"#, "messages[0].content", "invalid_value"),
        (r#"[{"role":"user","content":[{}]}]"#, "messages[0].content[0].type", "missing_required_parameter"),
        (r#"[{"role":"user","content":["a"]}]"#, "messages[0].content[0]", "invalid_type"),
        (
            r#"[{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":"{}"}]}]"#,
            "messages[0].content[0].input",
            "invalid_type",
        ),
        (
            r#"[{"role":"assistant","content":[{"type":"tool_use","name":"f","input":{}}]}]"#,
            "messages[0].content[0].id",
            "missing_required_parameter",
        ),
        (
            r#"[{"role":"user","content":[{"type":"tool_result","content":"a"}]}]"#,
            "messages[0].content[0].tool_use_id",
            "missing_required_parameter",
        ),
        (
            r#"[{"role":"user","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]}]"#,
            "messages[0].content[0].type",
            "invalid_value",
        ),
        (
            r#"[{"role":"assistant","content":[{"type":"tool_result","tool_use_id":"a"}]}]"#,
            "messages[0].content[0].type",
            "invalid_value",
        ),
    ] {
        let body = format!(r#"{{"model":"m","max_tokens":1,"messages":{messages}}}"#);
        assert_eq!(wrong(&body), (param.to_owned(), code.to_owned()), "{messages}");
    }
    let plain = r#""model":"m","messages":[{"role":"user","content":"a"}]"#;
    for (members, param, code) in [
        (r#""top_p":1"#, "max_tokens", "missing_required_parameter"),
        (r#""max_tokens":null"#, "max_tokens", "invalid_type"),
        (r#""max_tokens":0"#, "max_tokens", "invalid_value"),
        (r#""max_tokens":"1""#, "max_tokens", "invalid_type"),
        (r#""max_tokens":1,"temperature":"1""#, "temperature", "invalid_type"),
        (r#""max_tokens":1,"max_tokens":2"#, "max_tokens", "invalid_value"),
        (r#""max_tokens":1,"system":1"#, "system", "invalid_type"),
        (r#""max_tokens":1,"stop_sequences":"a""#, "stop_sequences", "invalid_type"),
        (r#""max_tokens":1,"tools":{}"#, "tools", "invalid_type"),
        (r#""max_tokens":1,"tool_choice":"auto""#, "tool_choice", "invalid_type"),
        (r#""max_tokens":1,"tool_choice":{"type":"tool"}"#, "tool_choice.name", "missing_required_parameter"),
        (r#""max_tokens":1,"thinking":{"type":"enabled"}"#, "thinking.budget_tokens", "missing_required_parameter"),
        (r#""max_tokens":1,"metadata":"u""#, "metadata", "invalid_type"),
        (r#""max_tokens":1,"stream":1"#, "stream", "invalid_type"),
    ] {
        assert_eq!(wrong(&format!("{{{plain},{members}}}")), (param.to_owned(), code.to_owned()), "{members}");
    }
    assert_eq!(wrong(r#"{"max_tokens":1,"messages":[{"role":"user","content":"a"}]}"#).0, "model");
}

/// A line of `data/malformed_chat.jsonl`.
#[derive(serde::Deserialize)]
struct Malformed {
    name: String,
    param: Option<String>,
    body: String,
}

#[test]
fn what_is_not_json_is_refused_as_in_any_dialect() {
    let mut refused = 0;
    for line in include_str!("data/malformed_chat.jsonl").lines() {
        let malformed: Malformed = serde_json::from_str(line).unwrap();
        if malformed.param.is_none() {
            let body = base64::engine::general_purpose::STANDARD.decode(&malformed.body).unwrap();
            let error = Messages.decode_request(&body).expect_err(&malformed.name);
            assert_eq!((error.kind(), error.param()), (ErrorKind::InvalidRequest, None), "{}", malformed.name);
            refused += 1;
        }
    }
    assert!(refused > 100, "{refused}");
    let marked = "\u{feff}{\"model\":\"m\",\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}";
    assert!(Messages.decode_request(marked.as_bytes()).is_ok());
}

#[test]
fn a_count_needs_no_cap_and_asks_for_nothing_but_the_prompt() {
    let body =
        r#"{"model":"m","system":"s","messages":[{"role":"user","content":"a"}],"thinking":{"type":"adaptive"}}"#;
    assert_eq!(Messages.decode_request(body.as_bytes()).unwrap_err().param(), Some("max_tokens"));
    let mut request = Messages.decode_count_request(body.as_bytes()).unwrap();
    request.temperature = Some(0.5);
    request.stop = vec!["x".into()];
    request.safety_identifier = Some("u".into());
    let capabilities = Capabilities::default();
    let target = Target { model: "claude", capabilities: &capabilities, max_output: None, stream: true };
    let sent = Messages.encode_count_request(&request, &target, Strictness::Strict).unwrap();
    assert_eq!(
        sent.body,
        r#"{"model":"claude","system":"s","messages":[{"role":"user","content":"a"}],"thinking":{"type":"adaptive"}}"#
    );
    assert_eq!(Messages.encode_count(7).unwrap(), r#"{"input_tokens":7}"#);
    assert_eq!(Messages.decode_count(br#"{"input_tokens":7}"#).unwrap(), 7);
    assert_eq!(Messages.decode_count(b"{}").unwrap_err().kind(), ErrorKind::BadAnswer);
    let chat = llm_providers::wire::codec(Dialect::OpenAi).unwrap();
    assert_eq!(chat.decode_count_request(b"{}").unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn a_request_that_was_made_here_is_written_in_this_dialect() {
    let mut request = CompletionRequest::new(
        "m",
        vec![
            Message::system("s"),
            Message::user("u"),
            Message::new(Role::Assistant, vec![Content::ToolCall(ToolCall::function("c", "f", "")).into()]),
            Message::tool("c", "r"),
        ],
    );
    request.extra.push(("inference_geo".into(), json("\"eu\"")));
    assert_eq!(
        written(&request.with_max_tokens(9), false),
        r#"{"model":"m","max_tokens":9,"system":"s","messages":[{"role":"user","content":"u"},{"role":"assistant","content":[{"type":"tool_use","id":"c","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":"r"}]}],"inference_geo":"eu"}"#
    );
}

#[test]
fn results_come_before_what_the_user_says_beside_them() {
    let result = Content::ToolResult { call_id: "c".into(), content: vec![Part::text("r")], is_error: false };
    let call = Content::ToolCall(ToolCall::function("c", "f", "{}"));
    let turns = vec![
        Message::user("u"),
        Message::new(Role::Assistant, vec![call.into()]),
        Message::new(Role::User, vec![Part::text("next"), result.into()]),
    ];
    let sent = written(&CompletionRequest::new("m", turns), false);
    let expected = r#"[{"type":"tool_result","tool_use_id":"c","content":"r"},{"type":"text","text":"next"}]"#;
    assert!(sent.contains(expected), "{sent}");
}

const RESPONSE: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-x","content":[{"type":"thinking","thinking":"hm","signature":"c2ln"},{"type":"redacted_thinking","data":"b3Bh"},{"type":"text","text":"a","citations":[{"type":"char_location","cited_text":"q"}]},{"type":"server_tool_use","id":"s","name":"web_search","input":{"q":1e2}},{"type":"tool_use","id":"toolu_1","name":"f","input":{"a": 9007199254740993}}],"stop_reason":"stop_sequence","stop_sequence":"END","usage":{"input_tokens":3,"cache_creation_input_tokens":6,"cache_read_input_tokens":5,"cache_creation":{"ephemeral_5m_input_tokens":4,"ephemeral_1h_input_tokens":2},"output_tokens":9},"container":{"id":"c"}}"#;

#[test]
fn an_answer_is_read_whole_and_written_as_it_stood() {
    let response = Messages.decode_response(RESPONSE.as_bytes()).unwrap();
    assert_eq!(response.choices[0].stop, Some(StopReason::StopSequence("END".into())));
    assert_eq!(response.text_content(), "a");
    assert_eq!(response.tool_calls().next().unwrap().arguments, r#"{"a": 9007199254740993}"#);
    let usage = Usage {
        input: 3,
        cache_read: Some(5),
        cache_write: Some(4),
        cache_write_long: Some(2),
        output: 9,
        ..Usage::default()
    };
    assert_eq!(response.usage, Some(usage));
    let again = Messages.encode_response(&response, &AnswerOptions::default());
    assert_eq!(again, RESPONSE);
}

/// The events that a stream of these datas tells, and how it ends.
fn decode(datas: &[&str]) -> (Vec<StreamEvent>, Option<Error>) {
    let mut decoder = EventDecoder::new();
    let mut told = Vec::new();
    for data in datas {
        let read = decoder.decode(data.as_bytes(), &mut |event| told.push(event.map(|text| text.into_string())));
        if let Err(error) = read {
            return (told, Some(error));
        }
    }
    let end = decoder.finish(&mut |event| told.push(event.map(|text| text.into_string())));
    (told, end.err())
}

const START: &str = r#"{"type":"message_start","message":{"id":"m1","model":"c","usage":{"input_tokens":3,"cache_read_input_tokens":1,"output_tokens":1}}}"#;
const STOP: &str = r#"{"type":"message_stop"}"#;

fn start() -> StreamEvent {
    StreamEvent::Start { id: "m1".into(), model: "c".into(), created: None }
}

fn spoken(text: &str) -> StreamEvent {
    StreamEvent::Text { choice: 0, text: text.into() }
}

fn stopped(reason: StopReason) -> StreamEvent {
    StreamEvent::Stop { choice: 0, reason }
}

#[test]
fn pings_and_what_is_not_known_yet_say_nothing() {
    let (told, end) = decode(&[
        r#"{"type":"ping"}"#,
        START,
        r#"{"type":"ping"}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"made_up","x":1}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"made_up_delta","text":"x"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"made_up_event","error":null}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":"a"}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":""}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"b\u00e9\ud83d"}}"#,
        r#"{"type":"content_block_stop","index":1}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":null},"usage":{"output_tokens":2}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"pause_turn","stop_sequence":null},"usage":{"input_tokens":null,"output_tokens":5}}"#,
        STOP,
        "not looked at any more",
    ]);
    assert!(end.is_none());
    let usage = Usage { input: 3, cache_read: Some(1), output: 5, ..Usage::default() };
    let expected = [start(), spoken("a"), spoken("bé\u{fffd}"), stopped(StopReason::Pause), StreamEvent::Usage(usage)];
    assert_eq!(told, expected);
}

#[test]
fn a_call_without_pieces_has_the_arguments_that_it_began_with() {
    let call = |input: &str, deltas: &[&str]| {
        let begin = format!(
            r#"{{"type":"content_block_start","index":0,"content_block":{{"type":"tool_use","id":"t","name":"f","input":{input}}}}}"#
        );
        let mut datas = vec![START, &begin];
        datas.extend(deltas);
        datas.extend([r#"{"type":"content_block_stop","index":0}"#, STOP]);
        let (told, end) = decode(&datas);
        assert!(end.is_none());
        told.into_iter()
            .filter_map(|event| match event {
                StreamEvent::ToolArguments { fragment, .. } => Some(fragment),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    let delta =
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"a\":1}"}}"#;
    let empty = r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":""}}"#;
    assert_eq!(call("{}", &[]), ["{}"]);
    assert_eq!(call("{ }", &[empty]), ["{}"]);
    assert_eq!(call(r#"{"b": 1.0}"#, &[]), [r#"{"b": 1.0}"#]);
    assert_eq!(call(r#""{\"b\": ""#, &[]), [r#"{"b": "#]);
    assert_eq!(call(r#"{"b": 1.0}"#, &[delta]), [r#"{"a":1}"#]);
}

#[test]
fn thoughts_are_sealed_one_by_one() {
    let block = |thinking: &str| {
        format!(
            r#"{{"type":"content_block_start","index":0,"content_block":{{"type":"thinking","thinking":"{thinking}","signature":""}}}}"#
        )
    };
    let seal = |seal: &str| {
        format!(
            r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"signature_delta","signature":"{seal}"}}}}"#
        )
    };
    let end = r#"{"type":"content_block_stop","index":0}"#;
    let (told, error) = decode(&[START, &block("a"), &seal("1"), end, &block(""), &seal("2"), end, STOP]);
    assert!(error.is_none());
    let mut collector = Collector::new(Dialect::Anthropic);
    told.into_iter().for_each(|event| collector.add(event));
    let parts = collector.into_response().choices.remove(0).message.parts;
    let thoughts: Vec<_> = parts
        .iter()
        .map(|part| match &part.content {
            Content::Reasoning(reasoning) => (reasoning.text.as_str(), part.signature.as_ref().unwrap().value.as_str()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(thoughts, [("a", "1"), ("", "2")]);
}

#[test]
fn a_stream_without_its_end_or_with_an_error_fails() {
    let block = r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"a"}}"#;
    let kind = |datas: &[&str]| decode(datas).1.map(|error| error.kind());
    assert_eq!(kind(&[]), Some(ErrorKind::StreamInterrupted));
    assert_eq!(kind(&[START, block]), Some(ErrorKind::StreamInterrupted));
    let said = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#;
    assert_eq!(kind(&[START, block, said]), Some(ErrorKind::StreamInterrupted));
    assert_eq!(kind(&[START, block, said, STOP]), None);
    let failed = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let (told, error) = decode(&[START, block, failed]);
    assert_eq!((told.len(), error.unwrap().kind()), (2, ErrorKind::Overloaded));
    assert_eq!(kind(&[r#"{"error":{"message":"m"}}"#]), Some(ErrorKind::Upstream));
    assert_eq!(kind(&["nope"]), Some(ErrorKind::BadAnswer));
    assert_eq!(kind(&["[]"]), Some(ErrorKind::BadAnswer));
    assert_eq!(kind(&["{}"]), Some(ErrorKind::BadAnswer));
}

/// The frames for these events, each as its data; the names are checked to be those in the data.
fn encode(told: &[StreamEvent]) -> Vec<String> {
    let mut encoder = EventEncoder::new(&AnswerOptions { from: Some(Dialect::OpenAi), ..AnswerOptions::default() });
    let mut out = BytesMut::new();
    for event in told {
        encoder.encode(event.map(|text| Text::plain(text)), &mut out);
    }
    encoder.finish(&mut out);
    datas(&out)
}

fn datas(out: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(out).unwrap();
    assert!(text.ends_with("\n\n"));
    let read = |frame: &str| {
        let (name, data) = frame.split_once('\n').unwrap();
        let data = data.strip_prefix("data: ").unwrap();
        let kind = name.strip_prefix("event: ").unwrap();
        assert!(data.starts_with(&format!(r#"{{"type":"{kind}""#)), "{frame}");
        assert!(serde_json::from_str::<serde::de::IgnoredAny>(data).is_ok(), "{data}");
        data.to_owned()
    };
    text.trim_end().split("\n\n").map(read).collect()
}

fn call(index: u32) -> StreamEvent {
    StreamEvent::ToolCall { choice: 0, index, id: format!("c{index}"), name: "f".into(), custom: false }
}

fn piece(index: u32, fragment: &str) -> StreamEvent {
    StreamEvent::ToolArguments { choice: 0, index, fragment: fragment.into() }
}

/// The blocks of a stream, each as its kind and its joined deltas; they must not overlap and count up.
fn blocks(datas: &[String]) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    let mut open = false;
    for data in datas {
        let value: serde_json::Value = serde_json::from_str(data).unwrap();
        let index = value["index"].as_u64();
        match value["type"].as_str().unwrap() {
            "content_block_start" => {
                assert!(!open && index == Some(blocks.len() as u64), "{data}");
                open = true;
                let block = &value["content_block"];
                blocks.push(format!("{} {}:", block["type"].as_str().unwrap(), block["id"].as_str().unwrap_or("")));
            }
            "content_block_delta" => {
                assert!(open && index == Some(blocks.len() as u64 - 1), "{data}");
                let delta = &value["delta"];
                let text =
                    ["text", "partial_json", "thinking", "signature"].iter().find_map(|name| delta[name].as_str());
                blocks.last_mut().unwrap().push_str(text.unwrap());
            }
            "content_block_stop" => {
                assert!(open && index == Some(blocks.len() as u64 - 1), "{data}");
                open = false;
            }
            _ => {}
        }
    }
    assert!(!open);
    blocks
}

#[test]
fn calls_side_by_side_become_blocks_one_after_the_other() {
    let told = encode(&[
        start(),
        spoken("a"),
        call(0),
        call(1),
        piece(1, r#"{"b""#),
        piece(0, r#"{"a":"}"#),
        piece(1, ":2}"),
        call(2),
        piece(0, r#""}"#),
        piece(2, "{}"),
        stopped(StopReason::ToolCalls),
    ]);
    assert_eq!(blocks(&told), ["text :a", r#"tool_use c0:{"a":"}"}"#, r#"tool_use c1:{"b":2}"#, "tool_use c2:{}"]);
}

#[test]
fn a_whole_call_is_closed_as_soon_as_the_next_begins() {
    let mut encoder = EventEncoder::new(&AnswerOptions::default());
    let mut out = BytesMut::new();
    for event in [start(), call(0), piece(0, "{}"), call(1), piece(1, "{")] {
        encoder.encode(event.map(|text| Text::plain(text)), &mut out);
    }
    let so_far = String::from_utf8(out.to_vec()).unwrap();
    assert!(so_far.contains(r#"{"type":"content_block_stop","index":0}"#), "nothing waits that need not");
    assert!(so_far.ends_with("\"index\":1,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\"}}\n\n"));
}

#[test]
fn a_call_that_goes_on_after_it_was_over_is_an_error_not_a_wrong_call() {
    let told =
        encode(&[start(), call(0), piece(0, "{}"), call(1), piece(0, " "), piece(1, "{}"), stopped(StopReason::Stop)]);
    assert_eq!(told.last().unwrap(), r#"{"type":"message_stop"}"#);
    let told = encode(&[start(), call(0), piece(0, "{}"), call(1), piece(0, "x"), stopped(StopReason::ToolCalls)]);
    assert!(told.last().unwrap().starts_with(r#"{"type":"error","error":{"type":"api_error""#));
}

#[test]
fn other_choices_and_an_empty_answer() {
    let other = StreamEvent::Text { choice: 1, text: "x".into() };
    let told = encode(&[start(), other, StreamEvent::Stop { choice: 1, reason: StopReason::Length }]);
    assert_eq!(told.len(), 3);
    assert!(told[1].contains(r#""stop_reason":"end_turn""#));
    assert!(encode(&[])[0].contains(r#""type":"message_start""#));
}

#[test]
fn googles_seal_travels_in_the_beginning_of_a_call() {
    let google = Signature { dialect: Dialect::Gemini, value: "c2ln".into() };
    let told =
        encode(&[start(), call(0), StreamEvent::Signature { choice: 0, signature: google.clone() }, piece(0, "{}")]);
    let begun = told.iter().find(|data| data.contains("tool_use")).unwrap();
    assert!(begun.contains(r#""input":{},"extra_content":{"google":{"thought_signature":"c2ln"}}}"#), "{begun}");
    let datas: Vec<_> = told.iter().map(String::as_str).collect();
    let (read, _) = decode(&datas);
    assert!(read.contains(&StreamEvent::Signature { choice: 0, signature: google.clone() }));
    let history = r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"tool_use","id":"c","name":"f","input":{},"extra_content":{"google":{"thought_signature":"c2ln"}}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c"}]}]}"#;
    assert_eq!(read_signature(history), Some(google));
}

fn read_signature(body: &str) -> Option<Signature> {
    read(body).messages[1].parts[0].signature.clone()
}

#[test]
fn a_failure_is_one_frame() {
    let mut out = BytesMut::new();
    let mut encoder = EventEncoder::new(&AnswerOptions::default());
    encoder.fail(&Error::new(ErrorKind::StreamInterrupted, "cut\noff"), &mut out);
    assert_eq!(
        out,
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"cut\\noff\"}}\n\n"
    );
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,6}", any::<String>().prop_filter("not empty", |text| !text.is_empty())]
}

fn arguments() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("{}".to_owned()),
        (word(), word()).prop_map(|(key, value)| serde_json::json!({ key: value, "n": [1, {"m": "}]{"}] }).to_string()),
        Just(r#"{"a": 9007199254740993, "b":-0, "c":"\ud83d\ude00\u00e9"}"#.to_owned()),
        prop::sample::select(&[r#""a \"string\"""#, r#"{"broken": "#, "[1]", "null", "words"][..])
            .prop_map(str::to_owned),
    ]
}

fn any_answer() -> impl Strategy<Value = CompletionResponse> {
    let seal = |value: Option<String>| value.map(|value| Signature { dialect: Dialect::Anthropic, value });
    let part = prop_oneof![
        3 => word().prop_map(Part::text),
        1 => (word(), prop::option::of(word())).prop_map(move |(text, value)| Part {
            signature: seal(value),
            ..Part::new(Content::Reasoning(Reasoning { text, redacted: false }))
        }),
        1 => word().prop_map(move |value| Part {
            signature: seal(Some(value)),
            ..Part::new(Content::Reasoning(Reasoning { text: String::new(), redacted: true }))
        }),
        2 => ("[a-z]{1,4}", word(), arguments())
            .prop_map(|(id, name, input)| Content::ToolCall(ToolCall::function(id, name, input)).into()),
    ];
    let usage = prop::option::of((0..99_u64, prop::option::of(0..9_u64), 0..99_u64)).prop_map(|counts| {
        let (input, cache_read, output) = counts?;
        Some(Usage { input, cache_read, output, ..Usage::default() })
    });
    let stop =
        prop_oneof![Just(StopReason::Length), Just(StopReason::ToolCalls), word().prop_map(StopReason::StopSequence)];
    (word(), word(), prop::collection::vec(part, 0..6), stop, usage).prop_map(|(id, model, parts, stop, usage)| {
        let mut response = CompletionResponse::new(id, model);
        let message = Message::new(Role::Assistant, parts);
        response.choices.push(llm_core::Choice { index: 0, message, stop: Some(stop), logprobs: None });
        response.usage = usage;
        response.dialect = Some(Dialect::Anthropic);
        response
    })
}

/// Joins neighbours that a stream does not tell apart.
fn joined(mut response: CompletionResponse) -> CompletionResponse {
    let parts = &mut response.choices[0].message.parts;
    let mut joined: Vec<Part> = Vec::new();
    for part in parts.drain(..) {
        match (joined.last_mut(), &part.content) {
            (Some(Part { content: Content::Text(so_far), .. }), Content::Text(text)) => so_far.push_str(text),

            _ => joined.push(part),
        }
    }
    *parts = joined;
    response
}

proptest! {
    #[test]
    fn an_answer_reads_back_as_it_was_written(response in any_answer()) {
        let body = Messages.encode_response(&response, &AnswerOptions::default());
        let mut read = Messages.decode_response(&body).unwrap();
        // An answer must count; what it does not know it says is nothing.
        if response.usage.is_none() {
            prop_assert_eq!(read.usage.take(), Some(Usage::default()));
        }
        prop_assert_eq!(&read, &response);
        prop_assert_eq!(Messages.encode_response(&response, &AnswerOptions::default()), body);
    }

    #[test]
    fn a_stream_reads_back_as_the_answer_it_tells(response in any_answer(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4)) {
        let options = AnswerOptions { from: Some(Dialect::Anthropic), ..AnswerOptions::default() };
        let mut encoder = EventEncoder::new(&options);
        let mut out = BytesMut::new();
        for event in events(response.clone()) {
            // Arguments come in pieces.
            if let StreamEvent::ToolArguments { choice, index, fragment } = &event {
                let mut places: Vec<_> = cuts.iter().map(|cut| fragment.floor_char_boundary(cut.index(fragment.len() + 1))).collect();
                places.extend([0, fragment.len()]);
                places.sort_unstable();
                for pair in places.windows(2) {
                    let fragment = Text::plain(&fragment[pair[0]..pair[1]]);
                    encoder.encode(StreamEvent::ToolArguments { choice: *choice, index: *index, fragment }, &mut out);
                }
                continue;
            }
            encoder.encode(event.map(|text| Text::plain(text)), &mut out);
        }
        encoder.finish(&mut out);
        let (mut decoder, mut collector) = (EventDecoder::new(), Collector::new(Dialect::Anthropic));
        let datas = datas(&out);
        blocks(&datas);
        for data in datas {
            decoder.decode(data.as_bytes(), &mut |event| collector.add(event.map(|text| text.into_string()))).unwrap();
        }
        decoder.finish(&mut |_| {}).unwrap();
        let mut read = collector.into_response();
        if response.usage.is_none() {
            read.usage = None;
        }
        prop_assert_eq!(read, joined(response));
    }

    #[test]
    fn nothing_that_is_received_makes_the_decoders_panic(noise in prop::collection::vec(any::<u8>(), 0..40), at in any::<prop::sample::Index>()) {
        for text in [REQUEST, RESPONSE, START] {
            let at = at.index(text.len());
            let body = [&text.as_bytes()[..at], &noise, &text.as_bytes()[at..]].concat();
            let _ = (Messages.decode_request(&body), Messages.decode_response(&body), Messages.decode_count(&body));
            let _ = EventDecoder::new().decode(&body, &mut |_| {});
        }
    }
}
