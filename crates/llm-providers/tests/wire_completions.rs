//! Completions of a prompt: what becomes of each member when it goes to a provider that knows conversations alone.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use llm_core::{Dialect, Error, ErrorKind};
use llm_providers::wire::{Capabilities, Codec, Encoded, Strictness, Target, codec};

fn completions() -> &'static dyn Codec {
    codec(Dialect::OpenAiCompletions).unwrap()
}

fn translate(to: Dialect, members: &str, strictness: Strictness) -> Result<Encoded, Error> {
    let body = format!(r#"{{"model":"x","max_tokens":9{members}}}"#);
    let asked = completions().decode_request(body.as_bytes())?;
    let capabilities = Capabilities::default();
    let target = Target { model: "m", capabilities: &capabilities, max_output: None, stream: asked.stream };
    codec(to).unwrap().encode_request(&asked.request, &target, strictness)
}

#[test]
fn each_parameter_has_its_equal_in_chat_or_is_refused_by_name() {
    const BARE: &str = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"max_completion_tokens":9}"#;
    for (members, becomes) in [
        (r#""echo":false"#, Ok("")),
        (r#""echo":true"#, Err("echo")),
        (r#""best_of":1"#, Ok("")),
        (r#""suffix":"""#, Ok("")),
        (r#""suffix":null"#, Ok("")),
        (r#""suffix":"end""#, Err("suffix")),
        (r#""logprobs":2"#, Ok(r#""logprobs":true,"top_logprobs":2"#)),
        (r#""n":2"#, Ok(r#""n":2"#)),
        (r#""stop":"END""#, Ok(r#""stop":["END"]"#)),
        (r#""seed":7,"presence_penalty":0.5"#, Ok(r#""presence_penalty":0.5,"seed":7"#)),
        (r#""logit_bias":{"5":1}"#, Ok(r#""logit_bias":{"5":1}"#)),
        (r#""user":"u""#, Ok(r#""user":"u""#)),
        (r#""made_up":1"#, Err("made_up")),
    ] {
        let members = format!(r#","prompt":"hi",{members}"#);
        for strictness in [Strictness::Strict, Strictness::Lenient] {
            match (translate(Dialect::OpenAi, &members, strictness), becomes) {
                (Ok(sent), Ok("")) => assert_eq!((sent.body.as_ref(), sent.dropped.len()), (BARE.as_bytes(), 0)),
                (Ok(sent), Ok(part)) => {
                    let text = std::str::from_utf8(&sent.body).unwrap();
                    assert!(text.contains(part) && sent.dropped.is_empty(), "{text}");
                }
                (Err(error), Err(name)) => {
                    assert_eq!((error.param(), error.code()), (Some(name), Some("unsupported_parameter")));
                }
                (result, _) => panic!("{members}: {result:?}"),
            }
        }
    }
    let several = translate(Dialect::OpenAi, r#","prompt":"hi","best_of":3"#, Strictness::Lenient).unwrap();
    assert_eq!(several.dropped, ["best_of"]);
    assert_eq!(
        translate(Dialect::OpenAi, r#","prompt":"hi","best_of":3"#, Strictness::Strict).unwrap_err().param(),
        Some("best_of")
    );
}

#[test]
fn only_a_prompt_that_is_one_text_is_a_conversation() {
    for back in [Dialect::OpenAi, Dialect::OpenAiResponses, Dialect::Anthropic, Dialect::Gemini] {
        for prompt in [r#","prompt":"hi""#, r#","prompt":["hi"]"#] {
            assert!(translate(back, prompt, Strictness::Strict).is_ok());
        }
        for prompt in
            ["", r#","prompt":null"#, r#","prompt":["a","b"]"#, r#","prompt":[1,2]"#, r#","prompt":[[1],[2]]"#]
        {
            let error = translate(back, prompt, Strictness::Lenient).unwrap_err();
            assert_eq!((error.kind(), error.param()), (ErrorKind::InvalidRequest, Some("prompt")), "{prompt}");
        }
    }
}

#[test]
fn a_request_of_this_dialect_is_written_again_as_it_was() {
    for prompt in [r#""hi""#, "null", r#"["a","b"]"#, "[1,2]"] {
        let rest =
            r#""temperature":0.5,"stop":["1","2","3","4","5"],"logprobs":0,"echo":true,"suffix":"s","best_of":2"#;
        let members = format!(r#","prompt":{prompt},{rest}"#);
        let sent = translate(Dialect::OpenAiCompletions, &members, Strictness::Strict).unwrap();
        let expected = format!(r#"{{"model":"m","prompt":{prompt},"max_tokens":9,{rest}}}"#);
        assert_eq!(std::str::from_utf8(&sent.body).unwrap(), expected);
    }
}

#[test]
fn what_is_wrong_is_named() {
    for (members, param) in [
        (r#","prompt":7"#, "prompt"),
        (r#","prompt":"a","prompt":"b""#, "prompt"),
        (r#","prompt":"a","logprobs":true"#, "logprobs"),
        (r#","prompt":"a","stop":7"#, "stop"),
        (r#","prompt":"a","stream_options":7"#, "stream_options"),
    ] {
        let error = translate(Dialect::OpenAiCompletions, members, Strictness::Strict).unwrap_err();
        assert_eq!((error.kind(), error.param()), (ErrorKind::InvalidRequest, Some(param)), "{members}");
    }
}

#[test]
fn a_conversation_is_no_prompt() {
    let capabilities = Capabilities::default();
    let target = Target { model: "m", capabilities: &capabilities, max_output: None, stream: false };
    for (body, param) in [
        (r#"{"model":"x","messages":[{"role":"system","content":"s"},{"role":"user","content":"u"}]}"#, "messages"),
        (r#"{"model":"x","messages":[{"role":"assistant","content":"u"}]}"#, "messages"),
        (
            r#"{"model":"x","messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]}"#,
            "messages[0].content",
        ),
    ] {
        let asked = codec(Dialect::OpenAi).unwrap().decode_request(body.as_bytes()).unwrap();
        let error = completions().encode_request(&asked.request, &target, Strictness::Lenient).unwrap_err();
        assert_eq!(error.param(), Some(param), "{body}");
    }
}
