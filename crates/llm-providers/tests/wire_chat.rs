//! Chat completions in neutral form: the examples of OpenAI's format, and round trips.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use llm_core::{
    CacheMark, Choice, CompletionRequest, CompletionResponse, Content, Dialect, ErrorKind, Json, Message, Origin, Part,
    Reasoning, ResponseFormat, Role, Signature, Source, StopReason, StreamEvent, Tool, ToolCall, ToolChoice, ToolKind,
    Usage,
};
use llm_providers::wire::openai::{
    ChunkDecoder, ChunkEncoder, ErrorBody, IncludeUsage, decode_chat_request, decode_chat_response, done_frame,
    encode_chat_request, encode_chat_response, error_frame, read_answer, read_chat,
};
use llm_providers::wire::sse::{DEFAULT_LIMIT, Framer};
use proptest::prelude::*;

fn json(text: &str) -> Json {
    Json::parse(text).unwrap()
}

fn message(members: &str) -> Message {
    let body = format!(r#"{{"model":"m","messages":[{{{members}}}]}}"#);
    decode_chat_request(body.as_bytes()).unwrap().request.messages.remove(0)
}

/// What is written for one message.
fn written(message: &Message) -> String {
    let body = encode_chat_request(&CompletionRequest::new("m", vec![message.clone()]), None);
    let text = String::from_utf8(body.to_vec()).unwrap();
    text[r#"{"model":"m","messages":["#.len()..text.len() - 2].to_owned()
}

const CHAT: Option<Origin> = Some(Origin { dialect: Dialect::OpenAi, leading: false });

const REQUEST: &str = r#"{"model":"gpt-x","messages":[
  {"role":"developer","content":"be brief"},
  {"role":"user","name":"ann","content":[{"type":"text","text":"what is \u0022this\""},
    {"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA","detail":"low"}},
    {"type":"input_audio","input_audio":{"data":"UklG","format":"wav"}},
    {"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,JVBE"}},
    {"type":"file","file":{"file_id":"file-1"}}]},
  {"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"a\": 1.0}"}}]},
  {"role":"tool","tool_call_id":"call_1","content":"ok"}],
 "max_completion_tokens":100,"temperature":0.5,"top_p":1,"presence_penalty":-1,"frequency_penalty":0.25,"stop":"END","n":2,"seed":-7,
 "tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object","x":9007199254740993},"strict":null}}],
 "tool_choice":{"type":"function","function":{"name":"f"}},"parallel_tool_calls":false,
 "response_format":{"type":"json_schema","json_schema":{"name":"s","schema":{"b":1.0,"a":1e2},"strict":true}},
 "reasoning_effort":"xhigh","user":"u","stream":true,"stream_options":{"include_usage":true},
 "top_k":4.0,"logit_bias":{"5":-100},"metadata":null}"#;

#[test]
fn every_field_of_a_request_is_read() {
    let read = decode_chat_request(REQUEST.as_bytes()).unwrap();
    assert!(read.stream && read.include_usage);
    let user = Message {
        role: Role::User,
        name: Some("ann".into()),
        parts: vec![
            Part::text("what is \"this\""),
            Part::new(Content::Image {
                source: Source::Base64 { media_type: "image/png".into(), data: "AAAA".into() },
                detail: Some("low".into()),
            }),
            Part::new(Content::Audio { data: "UklG".into(), format: "wav".into() }),
            Part::new(Content::File {
                source: Source::Base64 { media_type: "application/pdf".into(), data: "JVBE".into() },
                name: Some("a.pdf".into()),
            }),
            Part::new(Content::File { source: Source::Id("file-1".into()), name: None }),
        ],
        extra: vec![],
    };
    let call = ToolCall::function("call_1", "f", "{\"a\": 1.0}");
    let expected = CompletionRequest {
        model: "gpt-x".into(),
        messages: vec![
            Message::new(Role::Developer, vec![Part::text("be brief")]),
            user,
            Message::new(Role::Assistant, vec![Content::ToolCall(call).into()]),
            Message::tool("call_1", "ok"),
        ],
        max_tokens: Some(100),
        temperature: Some(0.5),
        top_p: Some(1.0),
        stop: vec!["END".into()],
        n: Some(2),
        seed: Some(-7),
        presence_penalty: Some(-1.0),
        frequency_penalty: Some(0.25),
        tools: vec![Tool::function("f", Some("d".into()), Some(json(r#"{"type":"object","x":9007199254740993}"#)))],
        tool_choice: Some(ToolChoice::Function("f".into())),
        parallel_tool_calls: Some(false),
        response_format: Some(ResponseFormat::JsonSchema {
            name: "s".into(),
            description: None,
            schema: Some(json(r#"{"b":1.0,"a":1e2}"#)),
            strict: Some(true),
        }),
        reasoning_effort: Some("xhigh".into()),
        user: Some("u".into()),
        top_k: Some(4),
        extra: vec![("logit_bias".into(), json(r#"{"5":-100}"#)), ("metadata".into(), json("null"))],
        origin: CHAT,
        ..CompletionRequest::new("", vec![])
    };
    assert_eq!(read.request, expected);
    let again = decode_chat_request(&encode_chat_request(&expected, Some(IncludeUsage::Yes))).unwrap();
    assert_eq!(again, read);
}

#[test]
fn a_written_request_is_one_that_passes_through() {
    let request = decode_chat_request(REQUEST.as_bytes()).unwrap().request;
    for (stream, streams, asks) in
        [(None, false, false), (Some(IncludeUsage::No), true, false), (Some(IncludeUsage::Yes), true, true)]
    {
        let envelope = read_chat(encode_chat_request(&request, stream)).unwrap();
        assert_eq!((envelope.stream, envelope.wants_usage, envelope.model_name()), (streams, asks, "gpt-x"));
    }
}

#[test]
fn the_older_cap_is_read_when_it_is_alone() {
    let read = |caps: &str| {
        decode_chat_request(format!(r#"{{"model":"m","messages":[{{"role":"user"}}]{caps}}}"#).as_bytes())
            .unwrap()
            .request
    };
    assert_eq!(read(r#","max_tokens":5"#).max_tokens, Some(5));
    assert_eq!(read(r#","max_tokens":null,"max_completion_tokens":6"#).max_tokens, Some(6));
    let both = read(r#","max_tokens":5,"max_completion_tokens":6"#);
    assert_eq!((both.max_tokens, both.extra), (Some(6), vec![("max_tokens".into(), json("5"))]));
}

#[test]
fn what_has_no_neutral_form_is_kept_as_it_is() {
    let new = r#"{"type":"text","text":"a","made_up":{"b":1.0}}"#;
    let part = message(&format!(r#""role":"user","content":[{new}]"#)).parts.remove(0);
    assert_eq!((part.as_text(), &part.extra[..]), (Some("a"), &[("made_up".to_owned(), json(r#"{"b":1.0}"#))][..]));
    let kind = r#"{"type":"image_url","image_url":{"url":"u","made_up":1}}"#;
    let other = Content::Other { dialect: Dialect::OpenAi, json: json(kind) };
    assert_eq!(message(&format!(r#""role":"user","content":[{kind}]"#)).parts, [other.into()]);
    let audio = message(r#""role":"assistant","audio":{"id":"a 1"},"annotations":[ ],"function_call":null"#);
    assert_eq!(audio.extra, [("audio".into(), json(r#"{"id":"a 1"}"#)), ("annotations".into(), json("[ ]"))]);
    assert_eq!(written(&audio), r#"{"role":"assistant","content":null,"audio":{"id":"a 1"},"annotations":[ ]}"#);
    for members in [
        format!(r#""role":"user","content":[{new},{kind}]"#),
        r#""role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"","x":1}}]"#.to_owned(),
        r#""role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":""},"x":1}]"#.to_owned(),
    ] {
        assert_eq!(written(&message(&members)), format!("{{{members}}}"));
    }

    let body = r#"{"model":"m","messages":[{"role":"user","content":"a"}],"tools":[{"type":"web","web":{"name":"n"}}],"response_format":{"type":"json_object","schema":{}},"tool_choice":{"type":"allowed_tools"}}"#;
    let request = decode_chat_request(body.as_bytes()).unwrap().request;
    assert_eq!(request.tools, [Tool::native(json(r#"{"type":"web","web":{"name":"n"}}"#))]);
    assert_eq!(request.response_format, None);
    assert_eq!(request.tool_choice, Some(ToolChoice::Other(json(r#"{"type":"allowed_tools"}"#))));
    let keys: Vec<_> = request.extra.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["response_format"]);
    assert_eq!(decode_chat_request(&encode_chat_request(&request, None)).unwrap().request, request);
}

#[test]
fn what_other_dialects_know_too_is_read_and_written() {
    let call = r#"{"id":"c","type":"custom","custom":{"name":"n","input":"free"}}"#;
    let sealed = r#"{"id":"d","type":"function","function":{"name":"f","arguments":"{}"},"extra_content":{"google":{"thought_signature":"c2ln"}}}"#;
    let cached = r#"{"type":"text","text":"a","prompt_cache_breakpoint":{"mode":"explicit","ttl":"12h"}}"#;
    let details = r#"[{"type":"reasoning.text","text":"hm","signature":"s1","format":"anthropic-claude-v1","index":0},{"type":"reasoning.encrypted","data":"s2","format":"anthropic-claude-v1","index":1}]"#;
    for members in [
        format!(r#""role":"user","content":[{cached}]"#),
        format!(r#""role":"assistant","content":null,"tool_calls":[{call},{sealed}]"#),
        format!(r#""role":"assistant","content":"b","reasoning_content":"hm","reasoning_details":{details}"#),
    ] {
        let message = message(&members);
        assert_eq!(written(&message), format!("{{{members}}}"));
        assert_eq!(message.extra, []);
    }
    let seal = |dialect, value: &str| Some(Signature { dialect, value: value.into() });
    let calls = message(&format!(r#""role":"assistant","tool_calls":[{call},{sealed}]"#)).parts;
    let custom = ToolCall { custom: true, ..ToolCall::function("c", "n", "free") };
    assert_eq!(calls[0], Content::ToolCall(custom).into());
    assert_eq!(calls[1].signature, seal(Dialect::Gemini, "c2ln"));
    let thoughts = message(&format!(r#""role":"assistant","reasoning_details":{details}"#)).parts;
    let redacted = Content::Reasoning(Reasoning { text: String::new(), redacted: true });
    assert_eq!((&thoughts[1].content, &thoughts[1].signature), (&redacted, &seal(Dialect::Anthropic, "s2")));
    let mark = message(&format!(r#""role":"user","content":[{cached}]"#)).parts[0].cache;
    assert_eq!(mark, Some(CacheMark { ttl: Some(std::time::Duration::from_secs(43_200)) }));

    let body = r#"{"model":"m","messages":[{"role":"user","content":"a"}],"logprobs":true,"top_logprobs":2,"tools":[{"type":"custom","custom":{"name":"n","description":"d","format":{"type":"text"}}}],"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[{"type":"function","function":{"name":"f"}}]}},"service_tier":"flex","safety_identifier":"s","user":"u"}"#;
    let request = decode_chat_request(body.as_bytes()).unwrap().request;
    assert_eq!(request.tools[0].kind, ToolKind::Custom { format: Some(json(r#"{"type":"text"}"#)) });
    assert_eq!(request.tool_choice, Some(ToolChoice::Allowed { required: true, tools: vec!["f".into()] }));
    assert!(request.extra.is_empty());
    assert_eq!(encode_chat_request(&request, None), body);
}

#[test]
fn a_data_uri_is_read_whatever_its_spelling() {
    let image = |url: &str| match message(&format!(
        r#""role":"user","content":[{{"type":"image_url","image_url":{{"url":"{url}"}}}}]"#
    ))
    .parts
    .remove(0)
    {
        Part { content: Content::Image { source, .. }, .. } => source,
        other => panic!("{other:?}"),
    };
    let inline = |media_type: &str| Source::Base64 { media_type: media_type.into(), data: "AA==".into() };
    assert_eq!(image("DATA:image/jpg;charset=x;BASE64,AA=="), inline("image/jpeg"));
    for address in ["https://x/y.png", "data:,x", "data:image/png,AA", "data:;base64,AA", "é"] {
        assert_eq!(image(address), Source::Url(address.into()));
    }
}

#[test]
fn a_wrong_request_names_its_parameter() {
    let wrong = |members: &str| {
        let error = decode_chat_request(format!(r#"{{"model":"m",{members}}}"#).as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
        (error.param().unwrap_or_default().to_owned(), error.code().unwrap_or_default().to_owned())
    };
    let user = r#""messages":[{"role":"user","content":"a"}]"#;
    for (members, param, code) in [
        (
            r#""messages":[{"role":"user","content":"a"},{"content":"a"}]"#,
            "messages[1].role",
            "missing_required_parameter",
        ),
        (r#""messages":[{"role":"robot"}]"#, "messages[0].role", "invalid_value"),
        (r#""messages":[{"role":1}]"#, "messages[0].role", "invalid_type"),
        (r#""messages":[{"role":"user","content":7}]"#, "messages[0].content", "invalid_type"),
        (r#""messages":[{"role":"user","content":["a"]}]"#, "messages[0].content[0]", "invalid_type"),
        (r#""messages":[{"role":"user","content":[{}]}]"#, "messages[0].content[0].type", "missing_required_parameter"),
        (r#""messages":[{"role":"user","content":"\ud83d"}]"#, "messages[0].content", "invalid_value"),
        (r#""messages":[{"role":"tool","content":"a"}]"#, "messages[0].tool_call_id", "missing_required_parameter"),
        (r#""messages":[{"role":"assistant","tool_calls":{}}]"#, "messages[0].tool_calls", "invalid_type"),
        (
            r#""messages":[{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":1}}]}]"#,
            "messages[0].tool_calls[0].function.arguments",
            "invalid_type",
        ),
    ] {
        assert_eq!(wrong(members), (param.to_owned(), code.to_owned()), "{members}");
    }
    for (member, param, code) in [
        (r#""temperature":"1""#, "temperature", "invalid_type"),
        (r#""temperature":1e999"#, "temperature", "invalid_value"),
        (r#""max_tokens":-1"#, "max_tokens", "invalid_value"),
        (r#""max_completion_tokens":1.5"#, "max_completion_tokens", "invalid_value"),
        (r#""n":5000000000"#, "n", "invalid_value"),
        (r#""seed":9223372036854775808"#, "seed", "invalid_value"),
        (r#""stop":["a",1]"#, "stop[1]", "invalid_type"),
        (r#""tools":{}"#, "tools", "invalid_type"),
        (r#""tools":[1]"#, "tools[0]", "invalid_type"),
        (r#""tool_choice":1"#, "tool_choice", "invalid_type"),
        (r#""response_format":"json""#, "response_format", "invalid_type"),
        (r#""stream_options":{"include_usage":1}"#, "stream_options.include_usage", "invalid_type"),
        (r#""top_p":1,"top_p":1"#, "top_p", "invalid_value"),
    ] {
        assert_eq!(wrong(&format!("{user},{member}")), (param.to_owned(), code.to_owned()), "{member}");
    }
}

#[test]
fn tool_results_among_other_parts_become_messages_before_them() {
    let result = Content::ToolResult { call_id: "c".into(), content: vec![Part::text("r")], is_error: true };
    let mixed = Message::new(Role::User, vec![Part::text("next"), result.into()]);
    assert_eq!(written(&mixed), r#"{"role":"tool","tool_call_id":"c","content":"r"},{"role":"user","content":"next"}"#);
}

#[test]
fn what_a_tools_message_says_beside_its_result_stays_in_it() {
    let members = r#""role":"tool","tool_call_id":"c","content":"r","cache_control":{"x":1}"#;
    assert_eq!(written(&message(members)), format!("{{{members}}}"));
}

const RESPONSE: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}},"service_tier":"default","system_fingerprint":null}"#;

#[test]
fn an_answer_is_written_as_openai_writes_it() {
    let response = decode_chat_response(RESPONSE.as_bytes()).unwrap();
    assert_eq!((response.text_content().as_str(), response.created), ("hi", Some(1)));
    assert_eq!(
        response.usage,
        Some(Usage { input: 5, cache_read: Some(0), output: 2, reasoning: Some(0), ..Usage::default() })
    );
    assert_eq!(encode_chat_response(&response), RESPONSE);
}

#[test]
fn content_and_refusal_are_always_there_and_tool_calls_never_empty() {
    let choice = Choice { index: 0, message: Message::new(Role::Assistant, vec![]), stop: None, logprobs: None };
    let response = CompletionResponse { choices: vec![choice], ..CompletionResponse::new("i", "m") };
    let written = r#"{"id":"i","object":"chat.completion","created":0,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":null,"refusal":null},"logprobs":null,"finish_reason":null}]}"#;
    assert_eq!(encode_chat_response(&response), written);
}

#[test]
fn an_answer_of_a_server_that_deviates_is_understood() {
    let body = r#"{"id":"x","choices":[{"message":{"content":"","reasoning":"hm","tool_calls":[
        {"function":{"name":"f","arguments":{"a":1.0}}},{"id":"","function":{"name":"g"}},{"id":"own","index":2,"function":{"name":"h","arguments":"{"}}],
        "annotations":[]},"finish_reason":"stop","stop_reason":7}],"timings":{"n":1}}"#;
    let response = decode_chat_response(body.as_bytes()).unwrap();
    let calls: Vec<_> =
        response.tool_calls().map(|call| (call.id.as_str(), call.name.as_str(), call.arguments.as_str())).collect();
    assert_eq!(calls, [("call_x_0", "f", r#"{"a":1.0}"#), ("call_x_1", "g", "{}"), ("own", "h", "{")]);
    assert_eq!(response.choices[0].stop, Some(StopReason::ToolCalls));
    assert_eq!(response.reasoning().next().unwrap().text, "hm");
    assert_eq!(response.extra, [("timings".to_owned(), json(r#"{"n":1}"#))]);
    let lone = r#"{"choices":[{"message":{"content":"a\ud83d"},"finish_reason":"eos"}]}"#;
    let response = decode_chat_response(lone.as_bytes()).unwrap();
    assert_eq!(response.text_content(), "a\u{fffd}");
    assert_eq!(response.choices[0].stop, Some(StopReason::Other("eos".into())));
}

#[test]
fn what_is_no_answer_is_never_an_empty_success() {
    use llm_core::Operation::{Chat, Embeddings};
    for body in [
        "",
        "<html>",
        "[]",
        "{}",
        r#"{"choices":null}"#,
        r#"{"choices":[]} x"#,
        r#"{"choices":[}"#,
        r#"{"data":{}}"#,
        "null",
    ] {
        assert_eq!(decode_chat_response(body.as_bytes()).unwrap_err().kind(), ErrorKind::BadAnswer, "{body}");
        assert_eq!(read_answer(body.as_bytes(), Chat).unwrap_err().kind(), ErrorKind::BadAnswer, "{body}");
        assert_eq!(read_answer(body.as_bytes(), Embeddings).unwrap_err().kind(), ErrorKind::BadAnswer, "{body}");
    }
    let failed = br#"{"error":{"message":"busy","code":503}}"#;
    assert_eq!(read_answer(failed, Chat).unwrap_err().kind(), ErrorKind::Overloaded);
    assert_eq!(decode_chat_response(failed).unwrap_err().kind(), ErrorKind::Overloaded);
    let usage = read_answer(RESPONSE.as_bytes(), Chat).unwrap().unwrap();
    assert_eq!((usage.input_total(), usage.output_total()), (5, 2));
    assert_eq!(read_answer(br#"{"choices":[],"usage":null}"#, Chat).unwrap(), None);
    let embeddings = br#"{"data":[],"usage":{"prompt_tokens":3,"total_tokens":3}}"#;
    assert_eq!(read_answer(embeddings, Embeddings).unwrap().unwrap().input, 3);
}

fn decode(chunks: &[&str]) -> (Vec<StreamEvent>, Option<ErrorKind>) {
    let mut decoder = ChunkDecoder::new();
    let mut events = Vec::new();
    let mut result = Ok(());
    for chunk in chunks {
        result = result.and_then(|()| decoder.decode(chunk.as_bytes(), &mut events));
    }
    let end = result.and_then(|()| decoder.finish(&mut events));
    (events, end.err().map(|error| error.kind()))
}

fn encode(events: &[StreamEvent], usage: IncludeUsage) -> Vec<u8> {
    let mut encoder = ChunkEncoder::new(usage, 9);
    events.iter().flat_map(|event| encoder.encode(event)).chain(done_frame()).collect()
}

/// The data of each event.
fn data(stream: Vec<u8>) -> Vec<String> {
    let mut framer = Framer::new(DEFAULT_LIMIT);
    framer.push(Bytes::from(stream));
    let events = std::iter::from_fn(|| framer.next_event().unwrap());
    events.map(|event| String::from_utf8(event.fields().data.unwrap().into_owned()).unwrap()).collect()
}

fn stream() -> Vec<StreamEvent> {
    vec![
        StreamEvent::Start { id: "c1".into(), model: "m".into(), created: Some(1) },
        StreamEvent::Reasoning { choice: 0, text: "hm".into() },
        StreamEvent::Text { choice: 0, text: "h\"i\u{2028}".into() },
        StreamEvent::Text { choice: 1, text: "yo".into() },
        StreamEvent::Refusal { choice: 1, text: "no".into() },
        StreamEvent::ToolCall { choice: 0, index: 0, id: "call_1".into(), name: "f".into(), custom: false },
        StreamEvent::ToolArguments { choice: 0, index: 0, fragment: "{\"a\":\\u00".into() },
        StreamEvent::ToolCall { choice: 0, index: 1, id: "call_2".into(), name: "g".into(), custom: false },
        StreamEvent::ToolArguments { choice: 0, index: 0, fragment: "e9}".into() },
        StreamEvent::Stop { choice: 1, reason: StopReason::ContentFilter },
        StreamEvent::Stop { choice: 0, reason: StopReason::ToolCalls },
        StreamEvent::Usage(Usage { input: 5, output: 2, ..Usage::default() }),
    ]
}

#[test]
fn chunks_follow_the_rules_of_the_format() {
    let chunks = data(encode(&stream(), IncludeUsage::Yes));
    let head = r#"{"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":["#;
    let chunk = |index: u32, delta: &str, reason: &str| {
        format!(r#"{head}{{"index":{index},"delta":{delta},"logprobs":null,"finish_reason":{reason}}}],"usage":null}}"#)
    };
    let role = r#"{"role":"assistant","content":"","refusal":null}"#;
    let expected = [
        chunk(0, role, "null"),
        chunk(0, r#"{"reasoning_content":"hm"}"#, "null"),
        chunk(0, "{\"content\":\"h\\\"i\u{2028}\"}", "null"),
        chunk(1, role, "null"),
        chunk(1, r#"{"content":"yo"}"#, "null"),
        chunk(1, r#"{"refusal":"no"}"#, "null"),
        chunk(
            0,
            r#"{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"f","arguments":""}}]}"#,
            "null",
        ),
        chunk(0, r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\":\\u00"}}]}"#, "null"),
        chunk(
            0,
            r#"{"tool_calls":[{"index":1,"id":"call_2","type":"function","function":{"name":"g","arguments":""}}]}"#,
            "null",
        ),
        chunk(0, r#"{"tool_calls":[{"index":0,"function":{"arguments":"e9}"}}]}"#, "null"),
        chunk(1, "{}", "\"content_filter\""),
        chunk(0, "{}", "\"tool_calls\""),
        format!(r#"{head}],"usage":{{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}}}"#),
        "[DONE]".to_owned(),
    ];
    assert_eq!(chunks, expected);

    let without = data(encode(&stream(), IncludeUsage::No));
    assert_eq!(without.len(), expected.len() - 1);
    assert!(!without.concat().contains("usage"));
}

#[test]
fn a_choice_that_ends_at_once_tells_its_role_first() {
    let events = [StreamEvent::Stop { choice: 3, reason: StopReason::Length }];
    let chunks = data(encode(&events, IncludeUsage::No));
    assert!(chunks[0].contains(r#""role":"assistant""#) && chunks[1].contains(r#""finish_reason":"length""#));
}

#[test]
fn chunks_read_back_as_the_events_they_were_made_of() {
    for usage in [IncludeUsage::Yes, IncludeUsage::No] {
        let chunks = data(encode(&stream(), usage));
        let chunks: Vec<_> = chunks.iter().map(String::as_str).collect();
        let mut expected = stream();
        if usage == IncludeUsage::No {
            expected.pop();
        }
        assert_eq!(decode(&chunks), (expected, None));
    }
}

#[test]
fn a_tool_call_in_pieces_is_told_once_its_name_is_known() {
    let delta = |delta: &str| format!(r#"{{"id":"x","choices":[{{"index":0,"delta":{delta}}}]}}"#);
    let pieces = [
        r#"{"tool_calls":[{"index":0,"id":"c1","function":{"arguments":""}}]}"#,
        r#"{"tool_calls":[{"index":0,"function":{"name":"f"}}]}"#,
        r#"{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}"#,
        r#"{"tool_calls":[{"function":{"name":"g"}}]}"#,
        r#"{"tool_calls":[{"function":{"arguments":"{\"a\""}}]}"#,
        r#"{"tool_calls":[{"function":{"arguments":":1}"}}]}"#,
        r#"{"tool_calls":[{"id":"c3","function":{"name":"h","arguments":{"b":2}}}]}"#,
        r#"{"tool_calls":[{"index":9,"function":{"name":"last"}}]}"#,
    ];
    let mut chunks: Vec<_> = pieces.iter().map(|piece| delta(piece)).collect();
    chunks.push(r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#.into());
    let chunks: Vec<_> = chunks.iter().map(String::as_str).collect();
    let call = |index, id: &str, name: &str| {
        let (id, name) = (id.into(), name.into());
        StreamEvent::ToolCall { choice: 0, index, id, name, custom: false }
    };
    let arguments = |index, fragment: &str| StreamEvent::ToolArguments { choice: 0, index, fragment: fragment.into() };
    let expected = vec![
        StreamEvent::Start { id: "x".into(), model: String::new(), created: None },
        call(0, "c1", "f"),
        arguments(0, "{}"),
        call(1, "call_x_0_1", "g"),
        arguments(1, "{\"a\""),
        arguments(1, ":1}"),
        call(2, "c3", "h"),
        arguments(2, r#"{"b":2}"#),
        call(9, "call_x_0_9", "last"),
        StreamEvent::Stop { choice: 0, reason: StopReason::ToolCalls },
    ];
    assert_eq!(decode(&chunks), (expected, None));
}

#[test]
fn later_totals_replace_earlier_ones_and_come_last() {
    let chunk = |tokens: u32, reason: &str| {
        format!(
            r#"{{"id":"x","choices":[{{"delta":{{"content":"a"}},"finish_reason":{reason}}}],"usage":{{"prompt_tokens":1,"completion_tokens":{tokens}}}}}"#
        )
    };
    let (events, end) = decode(&[&chunk(1, "null"), &chunk(2, "\"stop\""), &chunk(3, "\"stop\""), "[DONE]"]);
    assert_eq!(end, None);
    assert_eq!(events.last(), Some(&StreamEvent::Usage(Usage { input: 1, output: 3, ..Usage::default() })));
    let usages = events.iter().filter(|event| matches!(event, StreamEvent::Usage(_))).count();
    let stops = events.iter().filter(|event| matches!(event, StreamEvent::Stop { .. })).count();
    assert_eq!((usages, stops), (1, 1));
}

#[test]
fn a_neutral_stream_tells_truncation_errors_and_noise() {
    let open = r#"{"id":"x","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#;
    assert_eq!(decode(&[open]).1, Some(ErrorKind::StreamInterrupted));
    assert_eq!(decode(&[]).1, Some(ErrorKind::StreamInterrupted));
    assert_eq!(decode(&[open, "[DONE]"]).1, None);
    assert_eq!(decode(&["nope"]).1, Some(ErrorKind::BadAnswer));
    assert_eq!(decode(&["[]"]).1, Some(ErrorKind::BadAnswer));
    assert_eq!(decode(&[open, r#"{"error":{"message":"m","code":429}}"#]).1, Some(ErrorKind::RateLimited));
    let azure = r#"{"id":"","model":"","choices":[],"prompt_filter_results":[]}"#;
    assert!(matches!(&decode(&[azure, open]).0[0], StreamEvent::Start { id, .. } if id == "x"));
}

#[test]
fn an_error_frame_is_one_event_that_is_read_back_as_that_error() {
    let body = ErrorBody { message: "cut\noff", kind: "server_error", param: None, code: Some("upstream_error") };
    let frame = error_frame(&body);
    assert_eq!(
        frame,
        "data: {\"error\":{\"message\":\"cut\\noff\",\"type\":\"server_error\",\"param\":null,\"code\":\"upstream_error\"}}\n\n"
    );
    let error = ChunkDecoder::new().decode(&frame[6..frame.len() - 2], &mut Vec::new()).unwrap_err();
    assert_eq!(
        (error.message(), error.code(), error.kind()),
        ("cut\noff", Some("upstream_error"), ErrorKind::Upstream)
    );
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,6}", any::<String>()]
}

fn raw_json() -> impl Strategy<Value = Json> {
    prop_oneof![Just("1.0"), Just("9007199254740993"), Just(r#"{"b":[1e2,-0], "a":"\ud83d"}"#), Just("true")]
        .prop_map(json)
}

fn source() -> impl Strategy<Value = Source> {
    prop_oneof![
        "https://[a-z]{1,5}/x".prop_map(Source::Url),
        ("image/(png|webp)", "[A-Za-z0-9+/]{0,8}").prop_map(|(media_type, data)| Source::Base64 { media_type, data }),
    ]
}

fn content() -> impl Strategy<Value = Part> {
    prop_oneof![
        word().prop_map(Part::text),
        (source(), prop::option::of(word())).prop_map(|(source, detail)| Content::Image { source, detail }.into()),
        (word(), word()).prop_map(|(data, format)| Content::Audio { data, format }.into()),
        (prop_oneof![source(), word().prop_map(Source::Id)], prop::option::of(word()))
            .prop_map(|(source, name)| Content::File { source, name }.into()),
        Just(Content::Other { dialect: Dialect::OpenAi, json: json(r#"{"type":"new_kind","x":1.0}"#) }.into()),
    ]
}

fn any_call() -> impl Strategy<Value = Part> {
    (word(), word(), word(), any::<bool>())
        .prop_map(|(id, name, arguments, custom)| Content::ToolCall(ToolCall { id, name, arguments, custom }).into())
}

fn any_message() -> impl Strategy<Value = Message> {
    let name = || prop::option::of(word());
    let from = |role| move |(parts, name)| Message { name, ..Message::new(role, parts) };
    prop_oneof![
        (prop::collection::vec(content(), 1..4), name()).prop_map(from(Role::User)),
        (word().prop_map(|text| vec![Part::text(text)]), name()).prop_map(from(Role::System)),
        (
            prop::option::of(word()),
            prop::collection::vec(word().prop_map(Part::text), 0..3),
            prop::option::of(word()),
            prop::collection::vec(any_call(), 0..3),
        )
            .prop_map(|(thoughts, texts, refusal, calls)| {
                let thoughts = thoughts.map(|text| Content::Reasoning(Reasoning { text, redacted: false }).into());
                let parts = thoughts
                    .into_iter()
                    .chain(texts)
                    .chain(refusal.map(|text| Content::Refusal(text).into()))
                    .chain(calls);
                Message::new(Role::Assistant, parts.collect())
            }),
        (word(), prop::collection::vec(content(), 1..3)).prop_map(|(call_id, content)| {
            Message::new(Role::Tool, vec![Content::ToolResult { call_id, content, is_error: false }.into()])
        }),
    ]
}

fn any_request() -> impl Strategy<Value = CompletionRequest> {
    let tool = (word(), prop::option::of(word()), prop::option::of(raw_json()), any::<Option<bool>>()).prop_map(
        |(name, description, parameters, strict)| Tool { strict, ..Tool::function(name, description, parameters) },
    );
    let choice = prop_oneof![
        Just(ToolChoice::None),
        Just(ToolChoice::Auto),
        Just(ToolChoice::Required),
        word().prop_map(ToolChoice::Function),
        Just(ToolChoice::Other(json(r#"{"type":"allowed_tools"}"#))),
    ];
    let format = prop_oneof![
        Just(ResponseFormat::Text),
        Just(ResponseFormat::JsonObject),
        (word(), prop::option::of(word()), prop::option::of(raw_json()), any::<Option<bool>>()).prop_map(
            |(name, description, schema, strict)| ResponseFormat::JsonSchema { name, description, schema, strict }
        ),
    ];
    let number = || prop::option::of(-2.0..2.0_f64);
    (
        (
            word().prop_filter("a name is not empty", |name| !name.is_empty()),
            prop::collection::vec(any_message(), 1..4),
        ),
        (prop::option::of(0..u64::MAX), number(), number(), number(), number()),
        (prop::collection::vec(word(), 0..3), any::<Option<u32>>(), any::<Option<i64>>()),
        (prop::collection::vec(tool, 0..3), prop::option::of(choice), any::<Option<bool>>()),
        (prop::option::of(format), prop::option::of(word()), prop::option::of(word())),
        prop::collection::vec(("x_[a-z]{1,4}", raw_json()), 0..3),
    )
        .prop_map(|(head, numbers, stops, tools, rest, extra)| {
            let mut request = CompletionRequest::new(head.0, head.1);
            (
                request.max_tokens,
                request.temperature,
                request.top_p,
                request.presence_penalty,
                request.frequency_penalty,
            ) = numbers;
            (request.stop, request.n, request.seed) = stops;
            (request.tools, request.tool_choice, request.parallel_tool_calls) = tools;
            (request.response_format, request.reasoning_effort, request.user) = rest;
            request.extra = extra;
            request.origin = CHAT;
            request
        })
}

fn any_response() -> impl Strategy<Value = CompletionResponse> {
    let reason = prop_oneof![
        Just(StopReason::Length),
        Just(StopReason::ToolCalls),
        Just(StopReason::ContentFilter),
        "x[a-z]{1,4}".prop_map(StopReason::Other)
    ];
    let part = |text: Option<String>, wrap: fn(String) -> Content| {
        text.filter(|text| !text.is_empty()).map(|text| Part::new(wrap(text)))
    };
    let message = (
        prop::option::of(word()),
        prop::option::of(word()),
        prop::option::of(word()),
        prop::collection::vec(any_call(), 0..3),
    )
        .prop_map(move |(thoughts, text, refusal, calls)| {
            let thoughts = part(thoughts, |text| Content::Reasoning(Reasoning { text, redacted: false }));
            let texts = text.map(Part::text).into_iter().chain(part(refusal, Content::Refusal));
            let calls = calls
                .into_iter()
                .filter(|call| !matches!(&call.content, Content::ToolCall(call) if call.id.is_empty()));
            Message::new(Role::Assistant, thoughts.into_iter().chain(texts).chain(calls).collect())
        });
    let choice = (any::<u32>(), message, prop::option::of(reason), prop::option::of(raw_json()))
        .prop_map(|(index, message, stop, logprobs)| Choice { index, message, stop, logprobs });
    let count = || 0..1_000_000_u64;
    let usage = (count(), prop::option::of(count()), prop::option::of(count()), count(), prop::option::of(count()))
        .prop_map(|(input, cache_read, cache_write, output, reasoning)| Usage {
            input,
            cache_read,
            cache_write,
            output,
            reasoning,
            ..Usage::default()
        });
    (
        word(),
        word(),
        any::<u64>(),
        prop::collection::vec(choice, 0..3),
        prop::option::of(usage),
        prop::collection::vec(("x_[a-z]{1,4}", raw_json()), 0..3),
    )
        .prop_map(|(id, model, created, choices, usage, extra)| CompletionResponse {
            created: Some(created),
            choices,
            usage,
            extra,
            dialect: Some(Dialect::OpenAi),
            ..CompletionResponse::new(id, model)
        })
}

proptest! {
    #[test]
    fn a_request_reads_back_as_it_was_written(request in any_request(), stream in prop::option::of(any::<bool>())) {
        let usage = stream.map(|usage| if usage { IncludeUsage::Yes } else { IncludeUsage::No });
        let read = decode_chat_request(&encode_chat_request(&request, usage)).unwrap();
        prop_assert_eq!(read.request, request);
        prop_assert_eq!((read.stream, read.include_usage), (stream.is_some(), stream == Some(true)));
    }

    #[test]
    fn an_answer_reads_back_as_it_was_written(response in any_response()) {
        let body = encode_chat_response(&response);
        prop_assert_eq!(read_answer(&body, llm_core::Operation::Chat).unwrap(), response.usage);
        prop_assert_eq!(decode_chat_response(&body).unwrap(), response);
    }

    #[test]
    fn nothing_that_is_received_makes_the_decoders_panic(noise in prop::collection::vec(any::<u8>(), 0..60), at in any::<prop::sample::Index>()) {
        for text in [REQUEST, RESPONSE] {
            let at = at.index(text.len());
            let body = [&text.as_bytes()[..at], &noise, &text.as_bytes()[at..]].concat();
            let _ = (decode_chat_request(&body), decode_chat_response(&body));
            let _ = ChunkDecoder::new().decode(&body, &mut Vec::new());
        }
    }
}
