//! Whole answers told as streams, and streams put together to whole answers.

use bytes::Bytes;
use llm_core::{Dialect, ErrorKind, Frame};
use llm_providers::wire::openai::{ChatAssembler, decode_chat_response, replay_chat};
use llm_providers::wire::{Assembler, replay};
use proptest::prelude::*;
use serde_json::{Value, json};

const LIMIT: usize = 1 << 20;

fn assembled(stream: &[u8], cut: usize) -> Value {
    let mut assembler = ChatAssembler::new(LIMIT);
    for piece in stream.chunks(cut.max(1)) {
        assembler.push(Bytes::copy_from_slice(piece)).expect("a stream");
    }
    serde_json::from_slice(&assembler.finish().expect("a stream")).expect("a stream")
}

fn stream(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(|frame| frame.bytes.to_vec()).collect()
}

fn data(frame: &Frame) -> Value {
    let text = std::str::from_utf8(&frame.bytes).expect("a stream");
    serde_json::from_str(text.strip_prefix("data: ").expect("an event").trim_end()).expect("JSON")
}

fn answer() -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": "gpt-x",
        "choices": [{
            "index": 0,
            "message": {
                "role": "assistant", "content": "Hé\n\"you\"", "refusal": null, "reasoning_content": "let me see",
                "tool_calls": [
                    { "id": "call_a", "type": "function", "function": { "name": "f", "arguments": "{\"x\": 1.0}" } },
                    { "id": "call_b", "type": "function", "function": { "name": "g", "arguments": "{}" } },
                ],
                "annotations": [{ "type": "url_citation", "url": "https://example.org" }],
            },
            "logprobs": { "content": [{ "token": "Hé", "logprob": -0.5 }], "refusal": null },
            "finish_reason": "tool_calls",
            "content_filter_results": { "hate": { "filtered": false } },
        }],
        "usage": { "prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8 },
        "system_fingerprint": "fp_1", "x_unknown": { "a": [1, 2] },
    })
}

#[test]
fn a_whole_answer_told_as_a_stream_is_the_same_answer() {
    for text in [serde_json::to_string(&answer()).unwrap(), serde_json::to_string_pretty(&answer()).unwrap()] {
        let frames = replay_chat(text.as_bytes()).unwrap();
        let mut told = assembled(&stream(&frames), 7);
        // What is null has no piece.
        told["choices"][0]["logprobs"]["refusal"] = Value::Null;
        assert_eq!(told, answer());
    }
}

#[test]
fn the_stream_is_one_that_clients_expect() {
    let frames = replay_chat(answer().to_string().as_bytes()).unwrap();
    let first = data(&frames[0]);
    assert_eq!(first["object"], "chat.completion.chunk");
    assert_eq!(first["choices"][0]["delta"], json!({ "role": "assistant", "content": "" }));
    let calls = frames.iter().find(|frame| String::from_utf8_lossy(&frame.bytes).contains("call_b")).unwrap();
    assert!(calls.content);
    assert_eq!(data(calls)["choices"][0]["delta"]["tool_calls"][1]["index"], 1);
    let [.., end, usage, done] = frames.as_slice() else { panic!("{frames:?}") };
    assert_eq!(data(end)["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!((data(usage)["choices"].clone(), usage.usage_only), (json!([]), true));
    assert_eq!(usage.usage.as_ref().unwrap().output_total(), 5);
    assert_eq!((done.last, &done.bytes[..]), (true, &b"data: [DONE]\n\n"[..]));
    assert!(frames[..frames.len() - 1].iter().all(|frame| !frame.last && !frame.bytes.is_empty()));
}

#[test]
fn pieces_of_texts_calls_and_choices_come_together() {
    let chunks = [
        json!({ "id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": [1] }),
        json!({ "id": "c", "object": "chat.completion.chunk", "created": 7, "model": "m",
                "choices": [{ "index": 1, "delta": { "role": "assistant", "content": "b" }, "finish_reason": null }] }),
        json!({ "id": "c", "object": "chat.completion.chunk", "created": 7, "model": "m", "obfuscation": "xx",
                "choices": [{ "index": 0, "delta": { "role": "assistant", "content": "" }, "finish_reason": null }] }),
        json!({ "id": "c", "choices": [{ "index": 0, "delta": { "tool_calls": [
                { "index": 0, "id": "call", "type": "function", "function": { "name": "f", "arguments": "" } }] } }] }),
        json!({ "id": "c", "choices": [{ "index": 0, "delta": { "tool_calls": [
                { "index": 0, "function": { "arguments": "{\"a\":" } }] } }] }),
        json!({ "id": "c", "choices": [{ "index": 0, "delta": { "tool_calls": [
                { "index": 1, "id": "other", "type": "function", "function": { "name": "g", "arguments": "{}" } },
                { "index": 0, "function": { "arguments": "1}" } }] } }] }),
        json!({ "id": "c", "choices": [{ "index": 1, "delta": { "content": "c" }, "finish_reason": "stop" }] }),
        json!({ "id": "c", "choices": [{ "index": 0, "delta": {}, "finish_reason": "tool_calls" }] }),
        json!({ "id": "c", "choices": [], "usage": { "total_tokens": 2 } }),
    ];
    let mut text: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    text.push_str(": comment\n\ndata: [DONE]\n\n");
    for cut in [1, 5, 64, 4096] {
        let whole = assembled(text.as_bytes(), cut);
        let expected = json!({
            "id": "c", "object": "chat.completion", "created": 7, "model": "m", "prompt_filter_results": [1],
            "choices": [
                { "index": 0, "logprobs": null, "finish_reason": "tool_calls", "message": {
                    "role": "assistant", "content": null, "refusal": null, "tool_calls": [
                        { "id": "call", "type": "function", "function": { "name": "f", "arguments": "{\"a\":1}" } },
                        { "id": "other", "type": "function", "function": { "name": "g", "arguments": "{}" } },
                    ] } },
                { "index": 1, "logprobs": null, "finish_reason": "stop",
                  "message": { "role": "assistant", "content": "bc", "refusal": null } },
            ],
            "usage": { "total_tokens": 2 },
        });
        assert_eq!(whole, expected);
    }
}

#[test]
fn what_is_no_answer_is_neither() {
    for body in ["{}", "[]", "{\"choices\":7}", "no"] {
        assert_eq!(replay_chat(body.as_bytes()).unwrap_err().kind(), ErrorKind::BadAnswer, "{body}");
    }
    let mut nothing = ChatAssembler::new(LIMIT);
    nothing.push(Bytes::from_static(b"data: [DONE]\n\n")).unwrap();
    assert_eq!(nothing.finish().unwrap_err().kind(), ErrorKind::BadAnswer);
    let mut broken = ChatAssembler::new(LIMIT);
    assert_eq!(broken.push(Bytes::from_static(b"data: {\n\n")).unwrap_err().kind(), ErrorKind::BadAnswer);
    let mut long = ChatAssembler::new(8);
    assert!(long.push(Bytes::from_static(b"data: {\"choices\":[]}\n\n")).is_err());
}

fn response() -> Value {
    json!({
        "id": "resp_1", "object": "response", "created_at": 1_700_000_000, "status": "incomplete", "completed_at": 1_700_000_009,
        "error": null, "incomplete_details": { "reason": "max_output_tokens" }, "model": "gpt-x", "instructions": "be kind",
        "tools": [{ "type": "function", "name": "f" }], "temperature": 0.5, "previous_response_id": "resp_0",
        "output": [
            { "type": "reasoning", "id": "rs_1", "encrypted_content": "sealed", "status": "completed", "summary": [
                { "type": "summary_text", "text": "one" }, { "type": "summary_text", "text": "two" }],
              "content": [{ "type": "reasoning_text", "text": "raw" }] },
            { "type": "web_search_call", "id": "ws_1", "status": "completed", "action": { "type": "search", "query": "q" } },
            { "type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "phase": "commentary", "content": [
                { "type": "output_text", "text": "Hé\n\"you\"", "logprobs": [{ "token": "Hé", "logprob": -0.5 }],
                  "annotations": [{ "type": "url_citation", "url": "https://example.org" }, { "type": "file_path", "file_id": "f" }] },
                { "type": "refusal", "refusal": "no" }] },
            { "type": "function_call", "id": "fc_1", "status": "completed", "call_id": "call_a", "name": "f", "arguments": "{\"x\": 1.0}" },
            { "type": "custom_tool_call", "id": "ctc_1", "status": "incomplete", "call_id": "call_b", "name": "g", "input": "free" },
        ],
        "usage": { "input_tokens": 3, "output_tokens": 5, "total_tokens": 8 }, "x_unknown": { "a": [1, 2] },
    })
}

fn replayed(body: &str) -> (Vec<Frame>, Vec<Value>) {
    let frames = replay(Dialect::OpenAiResponses, body.as_bytes()).expect("an answer");
    let data = |(number, frame): (usize, &Frame)| {
        let text = std::str::from_utf8(&frame.bytes).expect("text");
        let (event, data) = text.split_once("\ndata: ").expect("an event");
        let data: Value = serde_json::from_str(data.strip_suffix("\n\n").expect("its end")).expect("JSON");
        assert_eq!(
            (data["type"].as_str(), data["sequence_number"].as_u64()),
            (event.strip_prefix("event: "), Some(number as u64))
        );
        data
    };
    let data = frames.iter().enumerate().map(data).collect();
    (frames, data)
}

/// The output that a client has put together when the events are over.
fn output_of(events: &[Value]) -> Value {
    let mut output = Vec::<Value>::new();
    let index = |event: &Value, name: &str| usize::try_from(event[name].as_u64().expect("an index")).expect("small");
    for event in events {
        let kind = event["type"].as_str().expect("a type");
        if kind == "response.output_item.added" {
            assert_eq!(output.len(), index(event, "output_index"));
            output.push(event["item"].clone());
            continue;
        }
        if event["output_index"].is_null() {
            continue;
        }
        let item = &mut output[index(event, "output_index")];
        if kind == "response.output_item.done" {
            // Its status aside, all of it was told before.
            if let Some(status) = item.get_mut("status") {
                *status = event["item"]["status"].clone();
            }
            assert_eq!(*item, event["item"]);
            continue;
        }
        assert_eq!(event["item_id"], item["id"]);
        let list = if event["summary_index"].is_null() { "content" } else { "summary" };
        let number = event.get("content_index").or_else(|| event.get("summary_index"));
        if kind.ends_with("_part.added") {
            item[list].as_array_mut().expect("a list").push(event["part"].clone());
            continue;
        }
        let within = match number {
            Some(number) => &mut item[list][usize::try_from(number.as_u64().expect("an index")).expect("small")],
            None => item,
        };
        let member = ["text", "refusal", "arguments", "input"].into_iter().find(|name| within[name].is_string());
        if kind.ends_with(".annotation.added") {
            within["annotations"].as_array_mut().expect("a list").push(event["annotation"].clone());
        } else if kind.ends_with(".delta") {
            let member = &mut within[member.expect("a text")];
            *member = format!("{}{}", member.as_str().expect("text"), event["delta"].as_str().expect("text")).into();
            let probable = event["logprobs"].as_array().into_iter().flatten().cloned();
            if let Some(logprobs) = within.get_mut("logprobs").and_then(Value::as_array_mut) {
                logprobs.extend(probable);
            }
        } else if kind.ends_with("_part.done") {
            assert_eq!(*within, event["part"]);
        } else {
            let member = member.expect("a text");
            assert_eq!(within[member], event[member], "{kind}");
        }
    }
    output.into()
}

#[test]
fn a_whole_response_told_as_a_stream_is_the_same_response() {
    for body in [response().to_string(), serde_json::to_string_pretty(&response()).unwrap()] {
        let (frames, events) = replayed(&body);
        let mut begun = response();
        begun["status"] = "in_progress".into();
        begun["output"] = json!([]);
        for nothing in ["usage", "incomplete_details", "completed_at"] {
            begun[nothing] = Value::Null;
        }
        for (event, kind) in events.iter().zip(["response.created", "response.in_progress"]) {
            assert_eq!((event["type"].as_str(), &event["response"]), (Some(kind), &begun));
        }
        assert_eq!(output_of(&events), response()["output"]);
        let (last, end) = (frames.last().unwrap(), events.last().unwrap());
        assert_eq!((end["type"].as_str(), &end["response"]), (Some("response.incomplete"), &response()));
        assert_eq!((last.last, last.usage.as_ref().unwrap().output_total()), (true, 5));
        assert_eq!(frames.iter().filter(|frame| frame.last).count(), 1);
        assert_eq!(frames.iter().filter(|frame| frame.content).count(), 7);
        // To the byte, but for breaks between tokens.
        let mut assembler = Assembler::new(Dialect::OpenAiResponses, LIMIT).unwrap();
        assembler.push(stream(&frames).into()).unwrap();
        assert_eq!(assembler.finish().unwrap(), body.replace('\n', " "));
    }
}

#[test]
fn a_response_that_is_none_or_failed_is_not_told() {
    for (body, kind) in [
        ("{}", ErrorKind::BadAnswer),
        ("no", ErrorKind::BadAnswer),
        (
            r#"{"output":[],"status":"failed","error":{"code":"server_is_overloaded","message":"m"}}"#,
            ErrorKind::Overloaded,
        ),
    ] {
        assert_eq!(replay(Dialect::OpenAiResponses, body.as_bytes()).unwrap_err().kind(), kind, "{body}");
    }
}

prop_compose! {
    fn item()(kind in 0..4_usize, texts in proptest::collection::vec(".{0,9}", 0..3), seal in proptest::option::of(".{1,9}")) -> Value {
        let parts = |kind: &str| texts.iter().map(|text| json!({ "type": kind, "text": text })).collect::<Value>();
        let text = texts.concat();
        match kind {
            0 => json!({ "type": "message", "id": "m", "status": "completed", "role": "assistant", "content": parts("output_text") }),
            1 => json!({ "type": "reasoning", "id": "r", "summary": parts("summary_text"), "encrypted_content": seal }),
            2 => json!({ "type": "function_call", "id": "f", "status": "completed", "call_id": "c", "name": "f", "arguments": text }),
            _ => json!({ "type": "image_generation_call", "id": "i", "status": "completed", "result": text }),
        }
    }
}

proptest! {
    #[test]
    fn any_response_survives_the_way_into_a_stream(items in proptest::collection::vec(item(), 0..5), extra in ".{0,9}") {
        let whole = json!({ "id": "resp_1", "status": "completed", "model": "m", "output": items, "x": extra });
        let (_, events) = replayed(&whole.to_string());
        prop_assert_eq!(&output_of(&events), &whole["output"]);
        prop_assert_eq!(&events.last().unwrap()["response"], &whole);
    }
}

prop_compose! {
    fn message()(content in proptest::option::of(".{1,20}"), calls in proptest::collection::vec((".{0,5}", ".{0,12}"), 0..3), refusal in proptest::option::of(".{1,9}")) -> Value {
        let mut message = json!({ "role": "assistant", "content": content, "refusal": refusal });
        if !calls.is_empty() {
            let call = |(number, (name, arguments)): (usize, &(String, String))| json!({
                "id": format!("call_{number}"), "type": "function", "function": { "name": name, "arguments": arguments },
            });
            message["tool_calls"] = calls.iter().enumerate().map(call).collect();
        }
        message
    }
}

proptest! {
    #[test]
    fn any_answer_survives_the_way_there_and_back(messages in proptest::collection::vec(message(), 1..4), cut in 1usize..200) {
        let choice = |(index, message): (usize, &Value)| {
            json!({ "index": index, "message": message, "logprobs": null, "finish_reason": "stop" })
        };
        let choices: Value = messages.iter().enumerate().map(choice).collect();
        let whole = json!({
            "id": "c", "object": "chat.completion", "created": 7, "model": "m", "choices": choices,
            "usage": { "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 },
        });
        let bytes = whole.to_string();
        let told = assembled(&stream(&replay_chat(bytes.as_bytes()).unwrap()), cut);
        // A message that says nothing at all says an empty text in a stream.
        let mut expected = whole;
        for choice in expected["choices"].as_array_mut().unwrap() {
            let message = &mut choice["message"];
            if message["content"].is_null() && message["tool_calls"].is_null() {
                message["content"] = "".into();
            }
        }
        prop_assert_eq!(&told, &expected);
        prop_assert!(decode_chat_response(told.to_string().as_bytes()).is_ok());
    }
}
