//! Responses: what becomes of each member of a request, both ways, and what comes back of answers and streams.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::{Bytes, BytesMut};
use llm_core::{
    CompletionResponse, Content, Dialect, Error, ErrorKind, Part, Signature, StopReason, StreamEvent, Usage,
};
use llm_providers::wire::openai::splice;
use llm_providers::wire::responses::{ResponseStream, read_answer, read_responses};
use llm_providers::wire::{
    AnswerOptions, Capabilities, Codec, Encoded, Strictness, Target, Text, Translator, codec, collect, events, replay,
};
use proptest::prelude::*;
use serde_json::json;

fn responses() -> &'static dyn Codec {
    codec(Dialect::OpenAiResponses).unwrap()
}

fn chat() -> &'static dyn Codec {
    codec(Dialect::OpenAi).unwrap()
}

fn anthropic() -> &'static dyn Codec {
    codec(Dialect::Anthropic).unwrap()
}

type Pair<'a> = (&'a dyn Codec, &'a dyn Codec);

fn translate((from, to): Pair<'_>, body: &str, strictness: Strictness) -> Result<Encoded, Error> {
    let asked = from.decode_request(body.as_bytes())?;
    let capabilities = Capabilities::default();
    to.encode_request(
        &asked.request,
        &Target { model: "m", capabilities: &capabilities, max_output: None, stream: asked.stream },
        strictness,
    )
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// What a rule does to a field.
enum Becomes {
    /// These members are sent; an empty text: nothing is sent, and nothing is said about it.
    Sent(&'static str),
    /// It is left out and listed.
    Dropped(&'static str),
    /// It is refused under this name; leniently it is left out and listed.
    Rejected(&'static str),
    /// It is refused under this name, also leniently.
    Refused(&'static str),
}
use Becomes::{Dropped, Refused, Rejected, Sent};

fn check(pair: Pair<'_>, plain: &str, table: &[(&str, Becomes)]) {
    let bare = translate(pair, &format!("{{{plain}}}"), Strictness::Strict).unwrap();
    for (members, becomes) in table {
        let body = format!("{{{plain},{members}}}");
        let both = [Strictness::Strict, Strictness::Lenient].map(|strictness| translate(pair, &body, strictness));
        let refused = |result: &Result<Encoded, Error>, name: &str| {
            let error = result.as_ref().expect_err(members);
            assert_eq!((error.kind(), error.param()), (ErrorKind::InvalidRequest, Some(name)), "{members}");
            assert_eq!(error.code(), Some("unsupported_parameter"), "{members}");
        };
        match becomes {
            Sent(part) => {
                for sent in both.iter().map(|result| result.as_ref().unwrap_or_else(|e| panic!("{members}: {e}"))) {
                    assert_eq!(sent.dropped, [""; 0], "{members}");
                    let found = if part.is_empty() { sent.body == bare.body } else { text(&sent.body).contains(part) };
                    assert!(found, "{members}: {}", text(&sent.body));
                }
            }
            Dropped(name) => {
                for sent in both.iter().map(|result| result.as_ref().unwrap_or_else(|e| panic!("{members}: {e}"))) {
                    assert_eq!((&sent.dropped[..], &sent.body), (&[(*name).to_owned()][..], &bare.body), "{members}");
                }
            }
            Rejected(name) => {
                refused(&both[0], name);
                assert!(both[1].as_ref().unwrap().dropped.iter().any(|dropped| dropped == name), "{members}");
            }
            Refused(name) => both.iter().for_each(|result| refused(result, name)),
        }
    }
}

const RESPONSES: &str = r#""model":"x","input":"hi""#;
const CHAT: &str = r#""model":"x","messages":[{"role":"user","content":"hi"}]"#;

#[test]
fn what_needs_a_provider_that_keeps_answers_is_refused_elsewhere() {
    for to in [chat(), anthropic(), codec(Dialect::Gemini).unwrap()] {
        check(
            (responses(), to),
            RESPONSES,
            &[
                (r#""previous_response_id":"resp_1""#, Refused("previous_response_id")),
                (r#""previous_response_id":null,"conversation":null,"prompt":null"#, Sent("")),
                (r#""conversation":"conv_1""#, Refused("conversation")),
                (r#""prompt":{"id":"p"}"#, Refused("prompt")),
                (r#""background":true"#, Refused("background")),
                (r#""background":false"#, Sent("")),
                (r#""store":true"#, Dropped("store")),
                (r#""store":false"#, Sent("")),
                (r#""truncation":"auto""#, Rejected("truncation")),
                (r#""truncation":"disabled""#, Sent("")),
                (r#""include":["reasoning.encrypted_content"]"#, Sent("")),
                (r#""stream_options":{"include_obfuscation":false}"#, Sent("")),
                (r#""max_tool_calls":3"#, Dropped("max_tool_calls")),
                (r#""tools":[{"type":"web_search"}]"#, Refused("tools[0].type")),
                (r#""tool_choice":{"type":"web_search"}"#, Refused("tool_choice")),
                (r#""made_up":1"#, Refused("made_up")),
            ],
        );
        let item = r#"{"model":"x","input":[{"role":"user","content":"hi"},{"type":"item_reference","id":"msg_1"}]}"#;
        let error = translate((responses(), to), item, Strictness::Lenient).unwrap_err();
        assert_eq!((error.param(), error.code()), (Some("input[1]"), Some("unsupported_parameter")));
    }
}

#[test]
fn each_parameter_of_responses_has_its_equal_in_chat() {
    check(
        (responses(), chat()),
        RESPONSES,
        &[
            (r#""max_output_tokens":7"#, Sent(r#""max_completion_tokens":7"#)),
            (r#""reasoning":{"effort":"low"}"#, Sent(r#""reasoning_effort":"low""#)),
            (r#""reasoning":{"summary":"auto"}"#, Dropped("reasoning.summary")),
            (r#""text":{"verbosity":"low"}"#, Sent(r#""verbosity":"low""#)),
            (r#""metadata":{"a":"b"}"#, Sent(r#""metadata":{"a":"b"}"#)),
            (r#""prompt_cache_key":"k""#, Sent(r#""prompt_cache_key":"k""#)),
            (r#""safety_identifier":"s","user":"u""#, Sent(r#""safety_identifier":"s","user":"u""#)),
            (
                r#""include":["message.output_text.logprobs"],"top_logprobs":2"#,
                Sent(r#""logprobs":true,"top_logprobs":2"#),
            ),
            (
                r#""text":{"format":{"type":"json_schema","name":"n","schema":{"a":1.0}}}"#,
                Sent(r#""response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"a":1.0}}}"#),
            ),
            (r#""tools":[{"type":"custom","name":"c"}]"#, Sent(r#""tools":[{"type":"custom","custom":{"name":"c"}}]"#)),
        ],
    );
}

#[test]
fn each_parameter_of_chat_becomes_what_responses_have() {
    check(
        (chat(), responses()),
        CHAT,
        &[
            (r#""max_completion_tokens":7"#, Sent(r#""max_output_tokens":7"#)),
            (r#""stop":"END""#, Rejected("stop")),
            (r#""stop":[]"#, Sent("")),
            (r#""n":1"#, Sent("")),
            (r#""n":2"#, Refused("n")),
            (r#""seed":1"#, Dropped("seed")),
            (r#""presence_penalty":0"#, Sent("")),
            (r#""frequency_penalty":1"#, Rejected("frequency_penalty")),
            (r#""logit_bias":{}"#, Sent("")),
            (r#""logit_bias":{"5":1}"#, Rejected("logit_bias")),
            (r#""logprobs":true,"top_logprobs":3"#, Sent(r#""include":["message.output_text.logprobs"]"#)),
            (r#""reasoning_effort":"high""#, Sent(r#""reasoning":{"effort":"high"}"#)),
            (r#""verbosity":"low""#, Sent(r#""text":{"verbosity":"low"}"#)),
            (r#""store":true"#, Sent(r#""store":true"#)),
            (r#""metadata":{"a":"b"}"#, Sent(r#""metadata":{"a":"b"}"#)),
            (r#""response_format":{"type":"json_object"}"#, Sent(r#""text":{"format":{"type":"json_object"}}"#)),
            (
                r#""tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":{"type":"function","function":{"name":"f"}}"#,
                Sent(r#""tool_choice":{"type":"function","name":"f"}"#),
            ),
            (r#""made_up":1"#, Refused("made_up")),
        ],
    );
}

#[test]
fn what_is_wrong_is_named_as_its_caller_wrote_it() {
    for (body, param) in [
        (r#"{"input":"hi"}"#, "model"),
        (r#"{"model":"","input":"hi"}"#, "model"),
        (r#"{"model":"x","input":7}"#, "input"),
        (r#"{"model":"x","input":[7]}"#, "input[0]"),
        (r#"{"model":"x","input":[{}]}"#, "input[0].type"),
        (r#"{"model":"x","input":[{"role":"wizard","content":"x"}]}"#, "input[0].role"),
        (r#"{"model":"x","input":[{"role":"user","content":[{}]}]}"#, "input[0].content[0].type"),
        (r#"{"model":"x","input":[{"type":"function_call","call_id":"c","name":"f"}]}"#, "input[0].arguments"),
        (r#"{"model":"x","input":[{"type":"function_call_output","call_id":"c"}]}"#, "input[0].output"),
        (r#"{"model":"x","input":"hi","temperature":"1"}"#, "temperature"),
        (r#"{"model":"x","input":"hi","input":"ho"}"#, "input"),
        (r#"{"model":"x","input":"hi","text":{"format":7}}"#, "text.format"),
        (r#"{"model":"x","input":"hi","reasoning":7}"#, "reasoning"),
    ] {
        let error = responses().decode_request(body.as_bytes()).unwrap_err();
        assert_eq!((error.kind(), error.param()), (ErrorKind::InvalidRequest, Some(param)), "{body}");
    }
    let unanswered = r#"{"model":"x","input":[{"role":"user","content":"x"},{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}]}"#;
    assert_eq!(translate((responses(), chat()), unanswered, Strictness::Strict).unwrap_err().param(), Some("input[1]"));
    let thoughts = r#"{"model":"x","input":[{"type":"reasoning","summary":[]}]}"#;
    assert_eq!(translate((responses(), chat()), thoughts, Strictness::Strict).unwrap_err().param(), Some("input"));
}

#[test]
fn calls_made_in_one_turn_are_one_message_of_chats() {
    let body = r#"{"model":"x","input":[{"role":"user","content":"q"},{"role":"assistant","content":"a"},{"role":"assistant","content":"b"},
        {"type":"function_call","call_id":"1","name":"f","arguments":"{}"},{"type":"reasoning","summary":[],"encrypted_content":"x"},
        {"type":"function_call","call_id":"2","name":"g","arguments":""},{"type":"function_call_output","call_id":"1","output":"r"},
        {"type":"function_call_output","call_id":"2","output":"s"}]}"#;
    let sent = translate((responses(), chat()), body, Strictness::Strict).unwrap();
    assert!(
        text(&sent.body).contains(
            r#"{"role":"assistant","content":"a"},{"role":"assistant","content":"b","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"2","type":"function","function":{"name":"g","arguments":""}}]},{"role":"tool","tool_call_id":"1","content":"r"}"#
        ),
        "{}",
        text(&sent.body)
    );
    assert_eq!(sent.dropped, ["input[4]"]);
}

#[test]
fn a_request_of_this_dialect_is_written_again_as_it_was() {
    let body = r#"{"model":"m","instructions":"i","input":[{"type":"item_reference","id":"x"},{"type":"message","role":"user","content":[{"type":"input_image","file_id":"f","detail":"low"},{"type":"input_odd","a":1.0}]},{"type":"custom_tool_call","call_id":"c","name":"n","input":"free"},{"type":"custom_tool_call_output","call_id":"c","output":"r"},{"type":"reasoning","summary":[],"id":"rs_1"}],"tools":[{"type":"mcp","server_label":"l"}],"tool_choice":{"type":"mcp","server_label":"l"},"reasoning":{"effort":"low","summary":"detailed","context":"auto"},"text":{"format":{"type":"text"},"verbosity":"low"},"include":["file_search_call.results","message.output_text.logprobs"],"previous_response_id":"p","background":true}"#;
    let sent = translate((responses(), responses()), body, Strictness::Strict).unwrap();
    assert_eq!((text(&sent.body), sent.dropped.len()), (body, 0));
}

#[test]
fn a_failed_answer_is_an_error_whole_and_streamed() {
    let failed = r#"{"id":"r","status":"failed","error":{"code":"rate_limit_exceeded","message":"slow"},"output":[]}"#;
    assert_eq!(responses().decode_response(failed.as_bytes()).unwrap_err().kind(), ErrorKind::RateLimited);
    assert_eq!(responses().decode_response(br#"{"id":"r"}"#).unwrap_err().kind(), ErrorKind::BadAnswer);
    for (data, kind) in [
        (format!(r#"{{"type":"response.failed","response":{failed}}}"#), ErrorKind::RateLimited),
        (r#"{"type":"error","code":"server_is_overloaded","message":"m"}"#.to_owned(), ErrorKind::Overloaded),
        (r#"{"error":{"message":"m","code":"context_length_exceeded"}}"#.to_owned(), ErrorKind::ContextLength),
        ("{}".to_owned(), ErrorKind::BadAnswer),
        ("nope".to_owned(), ErrorKind::BadAnswer),
    ] {
        let mut decoder = responses().stream_decoder();
        assert_eq!(decoder.decode(data.as_bytes(), &mut |_| {}).unwrap_err().kind(), kind, "{data}");
    }
    let mut decoder = responses().stream_decoder();
    decoder.decode(b"[DONE]", &mut |_| {}).unwrap();
    assert_eq!(decoder.finish(&mut |_| {}).unwrap_err().kind(), ErrorKind::StreamInterrupted);
}

#[test]
fn an_answer_that_is_told_only_at_the_end_is_told_all_the_same() {
    let end = r#"{"type":"response.completed","response":{"id":"resp_1","model":"g","created_at":1,"status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"hi"}]}],"usage":{"input_tokens":1,"output_tokens":2}}}"#;
    let mut decoder = responses().stream_decoder();
    let mut told = Vec::new();
    decoder.decode(end.as_bytes(), &mut |event| told.push(event.map(|text| text.into_string()))).unwrap();
    let usage = Usage { input: 1, output: 2, ..Usage::default() };
    assert_eq!(
        told,
        [
            StreamEvent::Start { id: "resp_1".to_owned(), model: "g".to_owned(), created: Some(1) },
            StreamEvent::Text { choice: 0, text: "hi".to_owned() },
            StreamEvent::Stop { choice: 0, reason: StopReason::Stop },
            StreamEvent::Usage(usage),
        ]
    );
    assert_eq!((decoder.is_done(), decoder.usage()), (true, Some(usage)));
}

/// Each frame's data, as an encoder of this dialect writes `events`.
fn streamed(told: &[StreamEvent]) -> Vec<serde_json::Value> {
    let mut encoder = responses().stream_encoder(&AnswerOptions { id: "own", ..AnswerOptions::default() });
    let mut out = BytesMut::new();
    told.iter().for_each(|event| encoder.encode(event.map(|text| Text::plain(text)), &mut out));
    encoder.finish(&mut out);
    let data = text(&out).lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

proptest! {
    #[test]
    fn a_stream_ends_with_what_its_pieces_said(pieces in prop::collection::vec(("\\PC{1,8}", 0..5_u32), 0..12)) {
        let mut told = vec![StreamEvent::Start { id: "a".to_owned(), model: "m".to_owned(), created: None }];
        for index in 0..2 {
            let (id, name) = (format!("c{index}"), "f".to_owned());
            told.push(StreamEvent::ToolCall { choice: 0, index, id, name, custom: index == 1 });
        }
        for (text, of) in pieces {
            told.push(match of {
                0 => StreamEvent::Text { choice: 0, text },
                1 => StreamEvent::Reasoning { choice: 0, text },
                4 => StreamEvent::EndOfThought { choice: 0 },
                of => StreamEvent::ToolArguments { choice: 0, index: of - 2, fragment: text },
            });
        }
        told.push(StreamEvent::Stop { choice: 0, reason: StopReason::ToolCalls });
        let frames = streamed(&told);
        let mut texts: Vec<String> = Vec::new();
        for (at, frame) in frames.iter().enumerate() {
            prop_assert_eq!(frame["sequence_number"].as_u64(), Some(at as u64));
            let kind = frame["type"].as_str().unwrap();
            let item = usize::try_from(frame["output_index"].as_u64().unwrap_or(0)).unwrap();
            match kind {
                "response.output_item.added" => texts.push(String::new()),
                _ if kind.ends_with(".delta") => texts[item].push_str(frame["delta"].as_str().unwrap()),
                "response.output_item.done" => {
                    let output = &frames.last().unwrap()["response"]["output"][item];
                    prop_assert_eq!(output, &frame["item"]);
                    let whole = ["/content/0/text", "/arguments", "/input"];
                    let whole = whole.into_iter().find_map(|path| output.pointer(path)).and_then(|text| text.as_str());
                    let thought = summaries(output).concat();
                    prop_assert_eq!(whole.unwrap_or(&thought), &texts[item]);
                }
                _ => {}
            }
        }
        let last = frames.last().unwrap();
        prop_assert_eq!(last["type"].as_str(), Some("response.completed"));
        // What is streamed is what a whole answer would have been.
        let whole = responses().decode_response(last["response"].to_string().as_bytes()).unwrap();
        let again = streamed(&events(whole.clone()));
        prop_assert_eq!(&again.last().unwrap()["response"]["output"], &last["response"]["output"]);
        let body: Bytes = responses().encode_response(&whole, &AnswerOptions::default());
        prop_assert_eq!(responses().decode_response(&body).unwrap().choices, whole.choices);
    }
}

/// The texts of an item's summary.
fn summaries(item: &serde_json::Value) -> Vec<String> {
    let texts = item["summary"].as_array().into_iter().flatten();
    texts.map(|text| text["text"].as_str().unwrap().to_owned()).collect()
}

/// The thoughts of an answer and their seals.
fn thoughts(response: &CompletionResponse) -> Vec<(String, Option<Signature>)> {
    let parts = response.choices.iter().flat_map(|choice| &choice.message.parts);
    let thought = |part: &Part| match &part.content {
        Content::Reasoning(thought) => Some((thought.text.clone(), part.signature.clone())),
        _ => None,
    };
    parts.filter_map(thought).collect()
}

/// What a stream of `dialect` says.
fn read_stream(dialect: Dialect, stream: &[u8]) -> CompletionResponse {
    collect(Bytes::copy_from_slice(stream), 1 << 20, codec(dialect).unwrap().stream_decoder(), dialect).unwrap()
}

prop_compose! {
    fn thoughts_and_more()(kind in 0..4_usize, texts in prop::collection::vec("[a-z]{0,3}", 0..4), seal in prop::option::of("[a-z]{1,3}")) -> serde_json::Value {
        let summary: Vec<_> = texts.iter().map(|text| json!({ "type": "summary_text", "text": text })).collect();
        match kind {
            0 => json!({ "type": "message", "id": "m", "role": "assistant", "content": [{ "type": "output_text", "text": "said" }] }),
            1 => json!({ "type": "web_search_call", "id": "w" }),
            _ => json!({ "type": "reasoning", "id": "r", "summary": summary, "encrypted_content": seal }),
        }
    }
}

proptest! {
    #[test]
    fn thoughts_stay_apart_whole_and_streamed(items in prop::collection::vec(thoughts_and_more(), 0..6)) {
        let body = json!({ "id": "resp_1", "model": "m", "status": "completed", "output": items }).to_string();
        let whole = responses().decode_response(body.as_bytes()).unwrap();
        let frames = replay(Dialect::OpenAiResponses, body.as_bytes()).unwrap();
        let stream: Vec<u8> = frames.iter().flat_map(|frame| frame.bytes.to_vec()).collect();
        prop_assert_eq!(thoughts(&read_stream(Dialect::OpenAiResponses, &stream)), thoughts(&whole));
        for to in [Dialect::Anthropic, Dialect::OpenAiResponses] {
            let options = AnswerOptions { from: Some(Dialect::OpenAiResponses), ..AnswerOptions::default() };
            let codec = codec(to).unwrap();
            let mut translator = Translator::new(responses().stream_decoder(), codec.stream_encoder(&options), 1 << 20);
            translator.push(Bytes::copy_from_slice(&stream));
            let told = std::iter::from_fn(|| translator.next_frame()).flat_map(|frame| frame.unwrap().bytes.to_vec());
            let streamed = read_stream(to, &told.collect::<Vec<_>>());
            let said = codec.decode_response(&codec.encode_response(&whole, &options)).unwrap();
            prop_assert_eq!(thoughts(&streamed), thoughts(&said), "{:?}", to);
        }
    }
}

#[test]
fn each_part_of_a_summary_is_told_at_its_place() {
    let events = [
        (
            "response.output_item.added",
            json!({ "output_index": 0, "item": { "type": "reasoning", "id": "r", "summary": [] } }),
        ),
        ("response.reasoning_summary_text.delta", json!({ "output_index": 0, "summary_index": 0, "delta": "on" })),
        ("response.reasoning_summary_text.delta", json!({ "output_index": 0, "summary_index": 0, "delta": "e" })),
        (
            "response.reasoning_summary_text.delta",
            json!({ "output_index": 0, "summary_index": 1, "delta": "two", "logprobs": 7 }),
        ),
        (
            "response.output_item.done",
            json!({ "output_index": 0, "item": { "type": "reasoning", "encrypted_content": "s" } }),
        ),
    ];
    let mut decoder = responses().stream_decoder();
    let mut told = Vec::new();
    for (kind, mut event) in events {
        event["type"] = kind.into();
        let sink = &mut |event: StreamEvent<Text<'_>>| told.push(event.map(|text| text.into_string()));
        decoder.decode(event.to_string().as_bytes(), sink).unwrap();
    }
    let thought = |text: &str| StreamEvent::Reasoning { choice: 0, text: text.to_owned() };
    assert_eq!(told[..4], [thought("on"), thought("e"), StreamEvent::EndOfThought { choice: 0 }, thought("two")]);
    let frames = streamed(&told);
    let seen: Vec<_> = frames
        .iter()
        .filter(|frame| !frame["summary_index"].is_null())
        .map(|frame| {
            (frame["type"].as_str().unwrap().rsplit_once('_').unwrap().1, frame["summary_index"].as_u64().unwrap())
        })
        .collect();
    let step = |index| [("part.added", index), ("text.delta", index), ("text.done", index), ("part.done", index)];
    let mut expected = [step(0), step(1)].concat();
    expected.insert(2, ("text.delta", 0));
    assert_eq!(seen, expected);
    assert_eq!(summaries(&frames.last().unwrap()["response"]["output"][0]), ["one", "two"]);
}

#[test]
fn a_body_that_passes_through_is_read_only_as_far_as_it_is_routed() {
    let read = |body: &str| read_responses(Bytes::copy_from_slice(body.as_bytes()));
    let body = r#"{"mod\u0065l":"a\/b","input":[{}],"stream":true,"temperature":0.0,"max_output_tokens":7,"user":"u","store":false}"#;
    let envelope = read(body).unwrap();
    assert_eq!((envelope.dialect, envelope.model_name()), (Dialect::OpenAiResponses, "a/b"));
    assert_eq!((envelope.stream, envelope.sampled, envelope.max_output), (true, false, Some(7)));
    assert_eq!((envelope.user_name(), envelope.ask_usage), (Some("u"), None));
    let other = body.replace("a\\/b", "c").replace("\"stream\":true,", "");
    let spliced = splice(&envelope, "n", true).into_bytes();
    assert_eq!(text(&spliced), body.replace("a\\/b", "n"));
    assert!(!read(&other).unwrap().asks_as(&envelope));
    assert!(read(&body.replace("\"stream\":true,", "")).unwrap().asks_as(&envelope));
    // An answer repeats who asked.
    assert!(!read(&body.replace("\"u\"", "\"v\"")).unwrap().asks_as(&envelope));
    for (body, param) in [
        (r#"{"input":"x"}"#, Some("model")),
        (r#"{"model":"","input":"x"}"#, Some("model")),
        (r#"{"model":"a","model":"b"}"#, Some("model")),
        (r#"{"model":"a","input":{}}"#, Some("input")),
        (r#"{"model":"a","stream":1}"#, Some("stream")),
        (r#"{"model":"a","input":"x"} x"#, None),
        ("[]", None),
    ] {
        let error = read(body).unwrap_err();
        assert_eq!((error.kind(), error.param()), (ErrorKind::InvalidRequest, param), "{body}");
    }
}

#[test]
fn a_stream_passes_through_byte_for_byte_up_to_its_end() {
    let delta =
        "event: response.output_text.delta\r\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"x\"}\r\n\r\n";
    let end = "data: {\"type\":\"response.incomplete\",\"response\":{\"usage\":{\"input_tokens\":3,\"output_tokens\":4}}}\n\n";
    let told = format!(": comment\n\ndata: {{\"type\":\"response.created\",\"response\":{{}}}}\n\n{delta}{end}");
    let stream = format!("{told}data: [DONE]\n\n");
    for cut in 0..=stream.len() {
        let mut passing = ResponseStream::new(1 << 10);
        let mut frames = Vec::new();
        for piece in [&stream[..cut], &stream[cut..]] {
            passing.push(Bytes::copy_from_slice(piece.as_bytes()));
            frames.extend(std::iter::from_fn(|| passing.next_frame()).map(Result::unwrap));
        }
        assert_eq!(frames.iter().map(|frame| text(&frame.bytes)).collect::<String>(), told, "cut at {cut}");
        assert_eq!(frames.iter().map(|frame| frame.content).collect::<Vec<_>>(), [false, false, true, false]);
        let usage = Usage { input: 3, output: 4, ..Usage::default() };
        assert_eq!((frames[3].usage.as_deref(), frames[3].last), (Some(&usage), true));
        passing.finish().unwrap();
    }
    for (stream, kind) in [
        (delta.to_owned(), None),
        (
            "data: {\"type\":\"error\",\"code\":\"rate_limit_exceeded\",\"message\":\"m\"}\n\n".to_owned(),
            Some(ErrorKind::RateLimited),
        ),
        (
            "data: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\"}}\n\n".to_owned(),
            Some(ErrorKind::Upstream),
        ),
        ("data: nope\n\n".to_owned(), Some(ErrorKind::BadAnswer)),
        (format!("data: {}\n\n", "x".repeat(2000)), Some(ErrorKind::BadAnswer)),
    ] {
        let mut passing = ResponseStream::new(1 << 10);
        passing.push(stream.into());
        assert_eq!(passing.next_frame().unwrap().err().map(|error| error.kind()), kind);
        assert_eq!(passing.finish().unwrap_err().kind(), ErrorKind::StreamInterrupted);
    }
    let usage = read_answer(br#"{"output":[],"error":null,"usage":{"input_tokens":1}}"#).unwrap();
    assert_eq!(usage, Some(Usage { input: 1, ..Usage::default() }));
    assert_eq!(read_answer(br#"{"choices":[]}"#).unwrap_err().kind(), ErrorKind::BadAnswer);
}
