//! Request bodies pass through byte for byte but for the model's name and the one edit that asks for usage.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use llm_core::{Envelope, Error};
use llm_providers::wire::openai::{read_chat, read_embeddings, splice};
use proptest::prelude::*;

const MESSAGES: &str = r#""messages":[{"role":"user","content":"hi"}]"#;

fn chat(text: &str) -> Result<Envelope, Error> {
    read_chat(Bytes::copy_from_slice(text.as_bytes()))
}

/// A chat body with `members` before its messages.
fn with(members: &str) -> Envelope {
    chat(&format!(r#"{{"model":"m",{members}{MESSAGES}}}"#)).unwrap()
}

fn spliced(text: &str, model: &str, ask_usage: bool) -> String {
    let bytes = splice(&chat(text).unwrap(), model, ask_usage).into_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn only_the_models_name_changes() {
    let text = r#" { "x" : 1.0 , "big":9007199254740993,"model" :	"a" ,"d":-0,"d":1e2,"messages":[{"odd" :null}] ,"😀":"\ud83d"}
"#;
    assert_eq!(spliced(text, "b\"é", false), text.replace("\"a\"", "\"b\\\"é\""));
    assert_eq!(spliced(text, "a", false), text);
}

#[test]
fn a_body_that_stays_the_same_is_one_segment_and_not_copied() {
    let envelope = with("");
    let spliced = splice(&envelope, "m", true);
    assert_eq!(spliced.segments().len(), 1);
    assert_eq!(spliced.into_bytes().as_ptr(), envelope.body.as_ptr());
}

#[test]
fn what_stays_is_shared_with_the_body() {
    let envelope = with(r#""stream":true,"#);
    let spliced = splice(&envelope, "other", true);
    assert_eq!(spliced.segments().len(), 5);
    let body = envelope.body.as_ptr_range();
    let shared: usize =
        spliced.segments().iter().filter(|segment| body.contains(&segment.as_ptr())).map(Bytes::len).sum();
    assert_eq!(shared, envelope.body.len() - r#""m""#.len());
    assert_eq!(spliced.len(), spliced.into_bytes().len());
}

#[test]
fn a_stream_that_does_not_ask_for_usage_is_made_to_ask() {
    for (options, asking) in [
        ("", r#"{"stream_options":{"include_usage":true},"model":"m","stream":true,"messages":[{}]}"#),
        (
            r#""stream_options":null,"#,
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[{}]}"#,
        ),
        (
            r#""stream_options":{},"#,
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[{}]}"#,
        ),
        (
            r#""stream_options":{"a":1},"#,
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true,"a":1},"messages":[{}]}"#,
        ),
        (
            r#""stream_options":{"a":1,"include_usage":false ,"b":2},"#,
            r#"{"model":"m","stream":true,"stream_options":{"a":1,"include_usage":true ,"b":2},"messages":[{}]}"#,
        ),
        (
            r#""stream_options":{"include_usage": null},"#,
            r#"{"model":"m","stream":true,"stream_options":{"include_usage": true},"messages":[{}]}"#,
        ),
        (
            r#""stream_options":{"include_usage":true},"#,
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[{}]}"#,
        ),
    ] {
        let text = format!(r#"{{"model":"m","stream":true,{options}"messages":[{{}}]}}"#);
        assert_eq!(spliced(&text, "m", true), asking);
        assert_eq!(spliced(&text, "m", false), text);
        let envelope = chat(&text).unwrap();
        assert_eq!(envelope.wants_usage, envelope.ask_usage.is_none(), "{text}");
        assert!(chat(asking).unwrap().wants_usage);
    }
}

#[test]
fn usage_is_asked_before_and_after_the_model() {
    let before = r#"{"stream_options":{},"stream":true,"messages":[{}],"model":"m"}"#;
    let asking = r#"{"stream_options":{"include_usage":true},"stream":true,"messages":[{}],"model":"n"}"#;
    assert_eq!(spliced(before, "n", true), asking);
}

#[test]
fn only_streams_ask_for_usage() {
    for members in ["", r#""stream":false,"#, r#""stream":null,"#, r#""stream_options":{"include_usage":true},"#] {
        let envelope = with(members);
        assert!(!envelope.stream && envelope.ask_usage.is_none() && !envelope.wants_usage, "{members}");
    }
}

#[test]
fn a_temperature_of_zero_in_any_spelling_is_no_draw() {
    for zero in ["0", "0.0", "-0", "0e5", "-0.000E-7"] {
        assert!(!with(&format!(r#""temperature":{zero},"#)).sampled, "{zero}");
    }
    for draw in ["", r#""temperature":null,"#, r#""temperature":1,"#, r#""temperature":0.01,"#, r#""temperature":"0","#]
    {
        assert!(with(draw).sampled, "{draw}");
    }
}

#[test]
fn keys_and_names_are_found_when_they_are_written_with_escapes() {
    let text = format!(r#"{{"mod\u0065l":"\u0061/\"b","\u0073tream":true,{MESSAGES}}}"#);
    let envelope = chat(&text).unwrap();
    assert_eq!(envelope.model_name(), "a/\"b");
    assert!(envelope.stream);
    assert_eq!(splice(&envelope, "a/\"b", false).into_bytes(), text);
    assert_eq!(spliced(&text, "c", false), text.replace(r#""\u0061/\"b""#, r#""c""#));
}

#[test]
fn a_byte_order_mark_is_left_out_and_offsets_count_it() {
    let text = format!("\u{feff}{{\"model\":\"m\",\"stream\":true,{MESSAGES}}}");
    let envelope = chat(&text).unwrap();
    assert_eq!(&envelope.body[envelope.model.range()], b"\"m\"");
    assert_eq!(spliced(&text, "m", false), text[3..]);
    let asking = text[3..].replacen('{', r#"{"stream_options":{"include_usage":true},"#, 1);
    assert_eq!(spliced(&text, "m", true), asking);
}

#[test]
fn half_a_surrogate_pair_passes() {
    let text = format!(r#"{{"model":"m","x":"\ud83d",{MESSAGES}}}"#);
    assert_eq!(spliced(&text, "m", false), text);
}

#[test]
fn what_is_the_providers_to_judge_passes() {
    for body in [
        r#"{"model":"m","messages":[{}],"temperature":"hot","n":-1,"unknown":{"a":[]},"input":7}"#,
        r#"{"model":"m","messages":[{"role":"robot"}],"x":1,"x":2,"stream_options":{"a":1}}"#,
        r#"{"model":" ","messages":[{"content":1e999}]}"#,
    ] {
        assert!(chat(body).is_ok(), "{body}");
    }
}

#[test]
fn a_body_that_is_not_json_is_refused_where_it_stops_being_it() {
    let error = chat("{\"model\":\"m\",\n \"messages\":[{}],}").unwrap_err();
    assert_eq!(error.message(), "the body is not valid JSON: expected a string as key at line 2 column 18");
    assert_eq!((error.param(), error.code()), (None, None));
}

#[test]
fn a_fault_is_told_only_of_a_body_that_is_json() {
    assert_eq!(chat(r#"{"model":1,"messages":[{}]"#).unwrap_err().param(), None);
    assert_eq!(chat(r#"{"model":1,"messages":[{}]}"#).unwrap_err().param(), Some("model"));
}

#[test]
fn an_embeddings_body_needs_a_model_and_an_input() {
    let read = |text: &'static str| read_embeddings(Bytes::from_static(text.as_bytes()));
    for good in [r#""x""#, r#"["x"]"#, "[1,2]", "[[1],[2]]", r#""""#, "[null]"] {
        let text = format!(r#"{{"model":"m","input":{good},"messages":1}}"#);
        let envelope = read_embeddings(text.clone().into()).unwrap();
        assert_eq!(splice(&envelope, "m", true).into_bytes(), text);
    }
    for (bad, param, code) in [
        (r#"{"input":"x"}"#, "model", "missing_required_parameter"),
        (r#"{"model":"m"}"#, "input", "missing_required_parameter"),
        (r#"{"model":"m","input":[ ]}"#, "input", "invalid_value"),
        (r#"{"model":"m","input":null}"#, "input", "invalid_type"),
        (r#"{"model":"m","input":{}}"#, "input", "invalid_type"),
        (r#"{"model":"m","input":"a","input":"b"}"#, "input", "invalid_value"),
    ] {
        let error = read(bad).unwrap_err();
        assert_eq!((error.param(), error.code()), (Some(param), Some(code)), "{bad}");
    }
}

fn member() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just("null".to_owned()),
        "-?[1-9][0-9]{0,18}(\\.[0-9]+)?",
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        Just(r#"{"model":"x","stream":[true,{"messages":1}]}"#.to_owned()),
        Just(r#"["\"model\":\"x\"", "\ud83d"]"#.to_owned()),
    ];
    ("[ \n\t]{0,2}", "[a-z]{1,4}_[a-z]", value)
        .prop_map(|(space, key, value)| format!("{space}\"{key}\"{space}:{space}{value}{space}"))
}

proptest! {
    /// Any order, spacing and unknown members: what is put in comes out, with the name changed and the usage asked.
    #[test]
    fn a_spliced_body_is_the_body_with_its_edits(
        members in prop::collection::vec(member(), 0..6),
        order in Just(vec![0, 1, 2, 3]).prop_shuffle(),
        options in prop::option::of(prop_oneof![Just("null"), Just("{}"), Just("{ }"), Just(r#"{"include_usage" :false}"#)]),
        name in any::<String>().prop_filter("a name is not empty", |name| !name.is_empty()),
        new in any::<String>(),
        mark in any::<bool>(),
    ) {
        let known = [
            format!(r#""model": {}"#, serde_json::to_string(&name).unwrap()),
            r#""messages" :[ {"role":"user"} ]"#.to_owned(),
            r#""stream": true "#.to_owned(),
            options.map(|options| format!(r#""stream_options" : {options}"#)).unwrap_or_default(),
        ];
        let mut all = members;
        for (place, which) in order.into_iter().enumerate() {
            if !known[which].is_empty() {
                all.insert((place * 2).min(all.len()), known[which].clone());
            }
        }
        let text = format!("{}{{{}}}", if mark { "\u{feff}" } else { "" }, all.join(","));
        let envelope = chat(&text).unwrap();
        prop_assert_eq!(envelope.model_name(), &name);

        let same = splice(&envelope, &name, false).into_bytes();
        prop_assert_eq!(&same[..], text.trim_start_matches('\u{feff}').as_bytes());

        let edited = splice(&envelope, &new, true);
        prop_assert!(edited.segments().len() <= 5);
        prop_assert!(edited.segments().iter().all(|segment| !segment.is_empty()));
        let edited: serde_json::Value = serde_json::from_slice(&lossless(&edited.into_bytes())).unwrap();
        let mut expected: serde_json::Value = serde_json::from_slice(&lossless(&same)).unwrap();
        expected["model"] = new.into();
        if !expected["stream_options"].is_object() {
            expected["stream_options"] = serde_json::json!({});
        }
        expected["stream_options"]["include_usage"] = true.into();
        prop_assert_eq!(edited, expected);
    }
}

/// `serde_json::Value` has no form for half a surrogate pair.
fn lossless(body: &[u8]) -> Vec<u8> {
    String::from_utf8(body.to_vec()).unwrap().replace("\\ud83d", "").into_bytes()
}
