//! A request body: only JSON is accepted, and the splice changes what it says and nothing else.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use llm_core::Dialect;
use llm_providers::wire::openai::{read_chat, read_embeddings, splice};
use llm_providers::wire::{anthropic, gemini};
use serde::de::IgnoredAny;

fuzz_target!(|input: (&str, bool, &[u8])| {
    let (model, mark, text) = input;
    let text = [if mark { b"\xEF\xBB\xBF".as_slice() } else { b"" }, text].concat();
    let body = Bytes::from(text);
    let _ = read_embeddings(body.clone());
    let plain = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&body);
    // Of the other formats: what is accepted asks the same as itself, and passes through unchanged.
    let others = [anthropic::read_messages(body.clone()), gemini::read_generate(body.clone(), model, true)];
    for envelope in others.into_iter().flatten() {
        let again = if envelope.dialect == Dialect::Gemini {
            gemini::read_generate(body.clone(), model, true)
        } else {
            anthropic::read_messages(body.clone())
        };
        assert!(again.is_ok_and(|again| again.asks_as(&envelope)));
        let _ = envelope.user_name();
        if envelope.dialect == Dialect::Anthropic {
            let spliced = splice(&envelope, "m", false).into_bytes();
            assert_eq!(anthropic::read_messages(spliced).expect("a spliced body is a request").model_name(), "m");
        }
    }
    let is_json = std::str::from_utf8(plain).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
    let envelope = match read_chat(body.clone()) {
        Ok(envelope) => envelope,
        Err(error) => {
            let tells_why = error.param().is_some() || error.message().contains("object");
            assert!(!is_json || tells_why || error.message().contains("nesting"), "{error}");
            return;
        }
    };
    assert!(is_json, "what is no JSON was accepted");

    let same = splice(&envelope, envelope.model_name(), false);
    assert_eq!(same.segments().len(), 1);
    assert_eq!(same.into_bytes(), plain);

    let model = if model.is_empty() { "m" } else { model };
    let edited = splice(&envelope, model, true);
    assert!(edited.segments().len() <= 5);
    let length = edited.len();
    let edited = edited.into_bytes();
    assert_eq!(edited.len(), length);
    let again = read_chat(edited).expect("a spliced body is a request");
    assert_eq!(again.model_name(), model);
    assert_eq!((again.stream, again.sampled), (envelope.stream, envelope.sampled));
    assert!(again.ask_usage.is_none());
    assert_eq!(again.wants_usage, envelope.stream);
});
