//! Streams pass through byte for byte, whatever chunks they come in.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use llm_core::{Error, ErrorKind, Frame, Usage};
use llm_providers::wire::openai::ChatStream;
use llm_providers::wire::sse::{DEFAULT_LIMIT, Event, Framer};
use proptest::prelude::*;

const ROLE: &str = r#"data: {"id":"c1","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null}

"#;
const STOP: &str = r#"data: {"id":"c1","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}

"#;
const USAGE: &str = r#"data: {"id":"c1","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}

"#;
const DONE: &str = "data: [DONE]\n\n";

fn text(piece: &str) -> String {
    let piece = serde_json::to_string(piece).unwrap();
    format!(
        "data: {{\"id\":\"c1\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{piece}}},\"logprobs\":null,\"finish_reason\":null}}],\"usage\":null}}\n\n"
    )
}

fn usage() -> Usage {
    Usage { input: 5, output: 2, ..Usage::default() }
}

/// What came out of a stream.
#[derive(Debug, Default)]
struct Out {
    bytes: Vec<u8>,
    frames: Vec<Frame>,
    error: Option<Error>,
    end: Option<ErrorKind>,
}

impl Out {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap()
    }

    fn usage(&self) -> Option<Usage> {
        self.frames.iter().filter_map(|frame| frame.usage.as_deref().copied()).next_back()
    }

    fn content(&self) -> bool {
        self.frames.iter().any(|frame| frame.content)
    }

    fn kind(&self) -> Option<ErrorKind> {
        self.error.as_ref().map(Error::kind)
    }
}

fn run(chunks: &[&[u8]], swallow: bool) -> Out {
    let mut stream = ChatStream::new(swallow, DEFAULT_LIMIT);
    let mut out = Out::default();
    let mut take = |stream: &mut ChatStream| {
        while let Some(frame) = stream.next_frame() {
            match frame {
                Ok(frame) => {
                    assert!(out.error.is_none(), "nothing follows an error");
                    out.bytes.extend_from_slice(&frame.bytes);
                    out.frames.push(frame);
                }
                Err(error) => out.error = Some(error),
            }
        }
    };
    for chunk in chunks {
        stream.push(Bytes::copy_from_slice(chunk));
        take(&mut stream);
    }
    stream.end();
    take(&mut stream);
    out.end = stream.finish().err().map(|error| error.kind());
    out
}

fn whole(text: &str, swallow: bool) -> Out {
    run(&[text.as_bytes()], swallow)
}

#[test]
fn the_events_of_one_chunk_are_one_frame_and_a_slice_of_it() {
    let chunk = Bytes::from([ROLE, &text("hi"), STOP, DONE].concat());
    let mut stream = ChatStream::new(false, DEFAULT_LIMIT);
    stream.push(chunk.clone());
    let frame = stream.next_frame().unwrap().unwrap();
    assert_eq!((frame.bytes.as_ptr(), frame.bytes.len()), (chunk.as_ptr(), chunk.len()));
    assert!(frame.content && frame.last && !frame.usage_only);
    assert!(stream.next_frame().is_none());
    assert!(stream.finish().is_ok());
}

#[test]
fn the_usage_chunk_is_a_frame_of_its_own() {
    let before = [ROLE, &text("hi"), STOP].concat();
    let mut stream = ChatStream::new(false, DEFAULT_LIMIT);
    stream.push(Bytes::from([&before, USAGE, DONE].concat()));
    let frames: Vec<_> = std::iter::from_fn(|| stream.next_frame()).map(Result::unwrap).collect();
    let shown: Vec<_> = frames.iter().map(|frame| (&frame.bytes[..], frame.usage_only)).collect();
    assert_eq!(shown, [(before.as_bytes(), false), (USAGE.as_bytes(), true), (DONE.as_bytes(), false)]);
    assert_eq!(frames[1].usage.as_deref(), Some(&usage()));
    assert!(stream.finish().is_ok());
}

#[test]
fn a_role_without_text_is_no_content() {
    assert!(!whole(&[ROLE, STOP, DONE].concat(), false).content());
}

#[test]
fn every_kind_of_content_counts() {
    for delta in [
        r#"{"content":"a"}"#,
        r#"{"content":"\n"}"#,
        r#"{"reasoning_content":"a","content":null}"#,
        r#"{"reasoning":"a"}"#,
        r#"{"refusal":"a"}"#,
        r#"{"tool_calls":[{"index":0,"function":{"arguments":""}}]}"#,
        r#"{"audio":{"data":"AA"}}"#,
        r#"{"function_call":{"name":"f"}}"#,
        r#"{"content":[{"type":"text","text":"a"}]}"#,
    ] {
        let event = format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{delta}}}]}}\n\n");
        assert!(whole(&event, false).content(), "{delta}");
    }
    for delta in [
        r#"{"role":"assistant"}"#,
        "{}",
        r#"{"content":null}"#,
        r#"{"tool_calls":[ ]}"#,
        r#"{"obfuscation":"abc"}"#,
        "null",
        r#"{"content":"","audio":null,"refusal":""}"#,
    ] {
        let event = format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{delta}}}],\"obfuscation\":\"x\"}}\n\n");
        assert!(!whole(&event, false).content(), "{delta}");
    }
}

#[test]
fn each_frame_tells_of_its_own_events() {
    let pieces = [ROLE.to_owned(), text("a"), text(""), text("b\"\\é"), STOP.to_owned(), DONE.to_owned()];
    let chunks: Vec<_> = pieces.iter().map(String::as_bytes).collect();
    let out = run(&chunks, false);
    let content: Vec<_> = out.frames.iter().map(|frame| frame.content).collect();
    assert_eq!(content, [false, true, false, true, false, false]);
    assert_eq!(out.text(), pieces.concat());
}

#[test]
fn a_chunk_like_the_last_one_is_still_read_when_it_says_more() {
    let first = text("a");
    let sly = first.replace(r#""content":"a""#, r#""content":"a","x":"""#);
    assert_eq!(whole(&[&first, &sly, STOP, DONE].concat(), false).text(), [&first, &sly, STOP, DONE].concat());

    // The quote that ends the text stands elsewhere: all but the text looks the same, yet this is no JSON.
    let broken = first.replace(r#""content":"a""#, r#""content":"a"b""#);
    let out = whole(&(first.clone() + &broken), false);
    assert_eq!(out.kind(), Some(ErrorKind::BadAnswer));
    let finished = first.replace(r#""finish_reason":null"#, r#""finish_reason":"length""#);
    assert_eq!(whole(&(first.clone() + &finished), false).end, None);
    let used = text("b").replace(r#""usage":null"#, r#""usage":{"prompt_tokens":5,"completion_tokens":2}"#);
    assert_eq!(whole(&(first.clone() + &used), false).usage(), Some(usage()));
    let failed = text("b").replace(r#""usage":null"#, r#""error":{"message":"no"}"#);
    assert_eq!(whole(&(first.clone() + &failed), false).kind(), Some(ErrorKind::Upstream));
}

#[test]
fn a_usage_chunk_that_nobody_asked_for_is_cut_out() {
    let stream = [ROLE, &text("a"), STOP, USAGE, DONE].concat();
    let out = whole(&stream, true);
    assert_eq!(out.text(), [ROLE, &text("a"), STOP, DONE].concat());
    assert_eq!((out.usage(), out.end), (Some(usage()), None));
    assert_eq!(whole(&stream, false).text(), stream);
}

#[test]
fn a_chunk_with_choices_and_usage_is_passed_on() {
    let both = text("a").replace(r#""usage":null"#, r#""usage":{"prompt_tokens":5,"completion_tokens":2}"#);
    let out = whole(&[&both, STOP, DONE].concat(), true);
    assert_eq!(out.text(), [&both, STOP, DONE].concat());
    assert_eq!(out.usage(), Some(usage()));
    let azure = "data: {\"choices\":[],\"id\":\"\",\"prompt_filter_results\":[{\"prompt_index\":0}]}\n\n";
    assert_eq!(whole(&[azure, DONE].concat(), true).text(), [azure, DONE].concat());
}

#[test]
fn a_stream_without_marker_ends_well_only_if_every_choice_did() {
    assert_eq!(whole(&[ROLE, &text("a"), STOP].concat(), false).end, None);
    assert_eq!(whole(&[ROLE, STOP, USAGE].concat(), true).end, None);
    assert_eq!(whole(&[ROLE, &text("a")].concat(), false).end, Some(ErrorKind::StreamInterrupted));
    let second = text("b").replace(r#""index":0"#, r#""index":1"#);
    assert_eq!(whole(&[ROLE, &second, STOP].concat(), false).end, Some(ErrorKind::StreamInterrupted));
    assert_eq!(whole("", false).end, Some(ErrorKind::StreamInterrupted));
    assert_eq!(whole(": ping\n\n", false).end, Some(ErrorKind::StreamInterrupted));
    assert_eq!(whole(DONE, false).end, None);
}

#[test]
fn an_event_without_its_blank_line_is_given_one_if_it_is_whole() {
    for (cut, lacks) in [("data: [DONE]", "\n\n"), ("data: [DONE]\n", "\n"), ("data: [DONE]\r\n", "\n")] {
        let out = whole(&[ROLE, cut].concat(), false);
        assert_eq!(out.text(), [ROLE, cut, lacks].concat());
        assert!(out.frames.last().unwrap().last);
        assert_eq!(out.end, None);
    }
    let out = whole(&[ROLE, STOP.trim_end()].concat(), false);
    assert_eq!((out.text(), out.end), ([ROLE, STOP].concat().as_str(), None));
}

#[test]
fn an_event_that_was_cut_in_the_middle_is_not_passed_on() {
    let half = &STOP[..STOP.len() / 2];
    let out = whole(&[ROLE, half].concat(), false);
    assert_eq!((out.text(), out.end, out.kind()), (ROLE, Some(ErrorKind::StreamInterrupted), None));
    let out = whole(&[STOP, "data: {\"choi"].concat(), false);
    assert_eq!((out.text(), out.end), (STOP, None));
}

#[test]
fn an_error_in_the_stream_is_the_providers_and_comes_last() {
    let error = "data: {\"error\":{\"message\":\"busy\",\"type\":\"server_error\",\"param\":null,\"code\":\"server_is_overloaded\"}}\n\n";
    let out = whole(&[ROLE, &text("a"), error, STOP, DONE].concat(), false);
    assert_eq!(out.text(), [ROLE, &text("a")].concat());
    let told = out.error.as_ref().unwrap();
    assert_eq!(
        (told.kind(), told.message(), told.code()),
        (ErrorKind::Overloaded, "busy", Some("server_is_overloaded"))
    );
    assert_eq!(out.end, Some(ErrorKind::StreamInterrupted));
    assert_eq!(whole("event: error\ndata: {\"error\":\"no\"}\n\n", false).kind(), Some(ErrorKind::Upstream));
    assert_eq!(whole("data: {\"error\":\"no\"}", false).kind(), Some(ErrorKind::Upstream));
}

#[test]
fn an_event_that_is_no_chunk_is_an_error() {
    for data in ["nope", "[]", "{\"a\":}", "\"text\"", "{} {}"] {
        let out = whole(&format!("{ROLE}data: {data}\n\n{DONE}"), false);
        assert_eq!((out.kind(), out.text()), (Some(ErrorKind::BadAnswer), ROLE), "{data}");
    }
}

#[test]
fn comments_pass_and_events_without_data_do_not() {
    let out = whole(
        &[": ping\n\n", ROLE, "id: 1\nretry: 5\n\n", "data:\n\n", "event: x\n\n", ": b\n\n", STOP, DONE].concat(),
        false,
    );
    assert_eq!(out.text(), [": ping\n\n", ROLE, ": b\n\n", STOP, DONE].concat());
}

#[test]
fn every_spelling_of_an_event_passes_as_it_came() {
    let all = [
        "data:{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\u{2028}b\u{85}\"}}]}\r\n\r\n",
        "event: message\nid: 7\ndata: {\"choices\":\ndata: [{\"index\":0,\"delta\":{}}]}\n\n",
        ": comment\ndata: {\"choices\":[]}\n\n\n",
        "data: {\"choices\":[]}\r\r",
        STOP,
        "data:[DONE] \n\n",
    ]
    .concat();
    let out = whole(&all, false);
    assert_eq!((out.text(), out.end), (all.as_str(), None));
    assert!(out.content());
}

#[test]
fn a_byte_order_mark_is_left_out() {
    let stream = ["\u{feff}", ROLE, DONE].concat();
    for cut in 0..6 {
        let (left, right) = stream.as_bytes().split_at(cut);
        assert_eq!(run(&[left, right], false).text(), [ROLE, DONE].concat());
    }
}

#[test]
fn nothing_follows_the_marker() {
    let out = whole(&[STOP, DONE, &text("late"), "garbage"].concat(), false);
    assert_eq!(out.text(), [STOP, DONE].concat());
}

#[test]
fn an_event_longer_than_the_limit_is_an_error() {
    let long = text(&"x".repeat(500));
    for cut in [0, 1, 200, 400, long.len() - 1] {
        let mut stream = ChatStream::new(false, 300);
        let mut error = None;
        for part in [&long[..cut], &long[cut..]] {
            stream.push(Bytes::copy_from_slice(part.as_bytes()));
            error = error.or_else(|| stream.next_frame().and_then(Result::err));
        }
        assert_eq!(error.unwrap().kind(), ErrorKind::BadAnswer);
        assert!(stream.next_frame().is_none());
    }
    let mut stream = ChatStream::new(false, long.len());
    stream.push(long.clone().into());
    assert_eq!(stream.next_frame().unwrap().unwrap().bytes, long);
}

/// Everything that may stand in a stream, in one.
fn recorded() -> String {
    [
        "\u{feff}",
        ROLE,
        &text("Hé\u{2028}"),
        &text("llo"),
        ": ping\r\n\r\n",
        "id: 3\n\n",
        &text("\u{1f600}").replace('\n', "\r\n"),
        "data: {\"choices\":\r\ndata: []}\r\n\r\n",
        &text("x").replace('\n', "\r"),
        &text(" end"),
        STOP,
        USAGE,
        DONE,
    ]
    .concat()
}

#[test]
fn every_split_of_a_recorded_stream_gives_the_same() {
    let stream = recorded();
    for swallow in [false, true] {
        let expected = whole(&stream, swallow);
        assert_eq!((expected.usage(), expected.end, expected.kind()), (Some(usage()), None, None));
        for cut in 0..=stream.len() {
            let (left, right) = stream.as_bytes().split_at(cut);
            let out = run(&[left, right], swallow);
            assert_eq!(out.bytes, expected.bytes, "{cut}");
            assert_eq!((out.usage(), out.end), (expected.usage(), expected.end), "{cut}");
            assert!(out.content() && out.frames.last().unwrap().last);
        }
        let single: Vec<_> = stream.as_bytes().chunks(1).collect();
        assert_eq!(run(&single, swallow).bytes, expected.bytes);
    }
}

fn frame_all(chunks: &[&[u8]]) -> (Vec<Event>, Bytes) {
    let mut framer = Framer::new(DEFAULT_LIMIT);
    let mut events = Vec::new();
    for chunk in chunks {
        framer.push(Bytes::copy_from_slice(chunk));
        while let Some(event) = framer.next_event().unwrap() {
            events.push(event);
        }
    }
    (events, framer.finish())
}

/// Cuts `stream` at `cuts`.
fn cut<'a>(stream: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    places.extend([0, stream.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect()
}

/// The events of a stream by the letter: lines first, then events at blank lines.
fn naive(stream: &[u8]) -> Vec<Option<Vec<u8>>> {
    let mut lines = Vec::new();
    let mut line = Vec::new();
    let mut bytes = stream.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\n' => lines.push(std::mem::take(&mut line)),
            b'\r' => {
                bytes.next_if_eq(&b'\n');
                lines.push(std::mem::take(&mut line));
            }
            byte => line.push(byte),
        }
    }
    let mut events = Vec::new();
    let mut data: Option<Vec<u8>> = None;
    for line in lines {
        if line.is_empty() {
            events.push(data.take());
        } else if let Some(value) = line.strip_prefix(b"data") {
            let value = match value {
                [] => value,
                [b':', b' ', value @ ..] | [b':', value @ ..] => value,
                _ => continue,
            };
            match &mut data {
                None => data = Some(value.to_vec()),
                Some(data) => data.extend([b"\n", value].concat()),
            }
        }
    }
    events
}

/// Chunks that look much alike, some of them broken.
fn any_chunk() -> impl Strategy<Value = String> {
    let piece = || {
        prop_oneof![
            Just(""),
            Just("a"),
            Just("\\\\"),
            Just("\\\""),
            Just("é"),
            Just("\""),
            Just("\","),
            Just("\",\"content\":\""),
            Just("\n")
        ]
    };
    let delta = prop_oneof![
        piece().prop_map(|text| format!(r#"{{"content":"{text}"}}"#)),
        piece().prop_map(|text| format!(r#"{{"reasoning_content":"{text}"}}"#)),
        (piece(), piece()).prop_map(|(one, two)| format!(r#"{{"content":"{one}","refusal":"{two}"}}"#)),
        piece().prop_map(|text| format!(r#"{{"content":"{text}","tool_calls":[{{"index":0}}]}}"#)),
        Just("{}".to_owned()),
    ];
    let reason = prop_oneof![8 => Just("null"), 1 => Just("\"stop\"")];
    let tail = prop_oneof![
        4 => Just(String::new()),
        4 => piece().prop_map(|padding| format!(r#","obfuscation":"{padding}""#)),
        1 => Just(r#","usage":null"#.to_owned()),
        1 => Just(r#","usage":{"prompt_tokens":1}"#.to_owned()),
        1 => Just(r#","error":"no""#.to_owned()),
    ];
    let head = prop_oneof![3 => Just(String::new()), 1 => piece().prop_map(|padding| format!(r#""obfuscation":"{padding}","#))];
    (head, delta, reason, tail).prop_map(|(head, delta, reason, tail)| {
        format!("data: {{{head}\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{reason}}}]{tail}}}\n\n")
            .replace("\n\"", "\\n\"")
    })
}

fn noise() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("data"),
        Just(":"),
        Just(" "),
        Just("\n"),
        Just("\r"),
        Just("\r\n"),
        Just("\n\n"),
        Just("data: x"),
        Just("id: 1"),
        Just(": c"),
        Just("[DONE]"),
        Just("\u{2028}"),
        Just("{\"choices\":[]}"),
        Just("data: {\"choices\":[]}\n\n"),
        Just("é"),
    ];
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn framed_events_joined_are_the_stream_in_every_split(
        stream in noise(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let (expected, rest) = frame_all(&[&stream]);
        let (events, left) = frame_all(&cut(&stream, &cuts));
        prop_assert_eq!(&events, &expected);
        prop_assert_eq!(&left, &rest);
        let mut joined: Vec<u8> = events.iter().flat_map(|event| event.raw.to_vec()).collect();
        joined.extend_from_slice(&left);
        prop_assert_eq!(joined, stream);
    }

    #[test]
    fn framed_events_are_those_of_the_specification(stream in noise()) {
        let (mut events, rest) = frame_all(&[&stream]);
        if rest.ends_with(b"\r") && naive(&stream).len() > events.len() {
            events.push(Event { raw: rest });
        }
        let data: Vec<_> = events.iter().map(|event| event.fields().data.map(|data| data.into_owned())).collect();
        prop_assert_eq!(data, naive(&stream));
    }

    #[test]
    fn a_stream_passes_the_same_in_every_split(
        pieces in prop::collection::vec(prop_oneof![
            any::<String>().prop_map(|piece| text(&piece)),
            any::<String>().prop_map(|piece| text(&piece).replace('\n', "\r\n")),
            Just(ROLE.to_owned()), Just(STOP.to_owned()), Just(USAGE.to_owned()), Just(": ping\n\n".to_owned()),
            Just("id: 1\n\n".to_owned()), Just("\n".to_owned()), Just(DONE.to_owned()), Just("data: {\"err".to_owned()),
        ], 0..12),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        swallow in any::<bool>(),
    ) {
        let stream = pieces.concat().into_bytes();
        let expected = run(&[&stream], swallow);
        let out = run(&cut(&stream, &cuts), swallow);
        prop_assert_eq!(&out.bytes, &expected.bytes);
        prop_assert_eq!(out.content(), expected.content());
        prop_assert_eq!(out.usage(), expected.usage());
        prop_assert_eq!((out.end, out.kind()), (expected.end, expected.kind()));
    }

    /// What was learned from one chunk never changes what is read from the next.
    #[test]
    fn a_chunk_says_the_same_after_others_as_alone(chunks in prop::collection::vec(any_chunk(), 1..12)) {
        let mut stream = ChatStream::new(true, DEFAULT_LIMIT);
        for chunk in chunks {
            let mut fresh = ChatStream::new(true, DEFAULT_LIMIT);
            let mut told = [&mut stream, &mut fresh].map(|stream| {
                stream.push(Bytes::from(chunk.clone()));
                let frame = stream.next_frame().unwrap();
                frame.map(|frame| (frame.bytes, frame.content, frame.usage)).map_err(|error| error.kind())
            });
            let alone = std::mem::replace(&mut told[1], Err(ErrorKind::Internal));
            prop_assert_eq!(&told[0], &alone, "{}", chunk);
            if alone.is_err() {
                break;
            }
        }
    }

    #[test]
    fn no_stream_makes_it_panic(stream in prop::collection::vec(any::<u8>(), 0..200), swallow in any::<bool>()) {
        run(&[b"data: ", &stream, b"\n\n"], swallow);
    }
}
