//! Bodies that are no chat completion request are refused, each naming what is wrong with it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use llm_core::ErrorKind;
use llm_providers::wire::openai::{decode_chat_request, read_chat};
use serde::Deserialize;

/// A line of `data/malformed_chat.jsonl`.
#[derive(Deserialize)]
struct Malformed {
    name: String,
    /// The parameter that the error names; null when the body is not a JSON object.
    param: Option<String>,
    /// Base64.
    body: String,
}

fn malformed() -> Vec<(Malformed, Bytes)> {
    let lines = include_str!("data/malformed_chat.jsonl").lines();
    let read = |line: &str| {
        let malformed: Malformed = serde_json::from_str(line).expect("a line is an object");
        let body = STANDARD.decode(&malformed.body).expect("a body is base64");
        (malformed, Bytes::from(body))
    };
    lines.map(read).collect()
}

#[test]
fn there_are_more_than_200() {
    assert!(malformed().len() > 200);
}

#[test]
fn each_malformed_body_is_refused_with_the_parameter_at_fault() {
    for (malformed, body) in malformed() {
        let error = read_chat(body).expect_err(&malformed.name);
        assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{}", malformed.name);
        assert_eq!(error.param(), malformed.param.as_deref(), "{}: {error}", malformed.name);
        assert_eq!(error.code().is_some(), error.param().is_some(), "{}: {error}", malformed.name);
    }
}

#[test]
fn the_neutral_decoder_refuses_the_same_bodies() {
    for (malformed, body) in malformed() {
        let error = decode_chat_request(&body).expect_err(&malformed.name);
        assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{}", malformed.name);
    }
}
