//! A stream on its way from one dialect into another: framing, ends, errors, and what it costs.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use llm_core::{Dialect, ErrorKind, Frame, Usage};
use llm_providers::wire::sse::DEFAULT_LIMIT;
use llm_providers::wire::{AnswerOptions, Translator, codec};

fn translator(from: Dialect, to: Dialect, include_usage: bool, limit: usize) -> Translator {
    let options = AnswerOptions { from: Some(from), include_usage, id: "own", ..AnswerOptions::default() };
    Translator::new(codec(from).unwrap().stream_decoder(), codec(to).unwrap().stream_encoder(&options), limit)
}

/// All frames of a stream that comes in one piece, and the error that ends it.
fn frames(mut translator: Translator, stream: &str) -> (Vec<Frame>, Option<ErrorKind>) {
    let (mut frames, mut error) = (Vec::new(), None);
    translator.push(Bytes::copy_from_slice(stream.as_bytes()));
    let mut take = |translator: &mut Translator| {
        while let Some(frame) = translator.next_frame() {
            assert!(error.is_none(), "nothing follows an error");
            match frame {
                Ok(frame) => frames.push(frame),
                Err(failed) => error = Some(failed.kind()),
            }
        }
    };
    take(&mut translator);
    translator.end();
    take(&mut translator);
    (frames, error)
}

fn bytes(frames: &[Frame]) -> String {
    frames.iter().map(|frame| std::str::from_utf8(&frame.bytes).unwrap()).collect()
}

const ANTHROPIC: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"model\":\"c\",\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\n\
    event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n\
    event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}\n\n\
    event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n\
    event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":5}}\n\n\
    event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

const CHAT: &str = "data: {\"id\":\"c\",\"model\":\"g\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n\
    data: {\"id\":\"c\",\"model\":\"g\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"finish_reason\":null}]}\n\n\
    data: {\"id\":\"c\",\"model\":\"g\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
    data: {\"id\":\"c\",\"model\":\"g\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":5}}\n\n\
    data: [DONE]\n\n";

fn to_chat(stream: &str) -> (Vec<Frame>, Option<ErrorKind>) {
    frames(translator(Dialect::Anthropic, Dialect::OpenAi, false, DEFAULT_LIMIT), stream)
}

fn to_anthropic(stream: &str) -> (Vec<Frame>, Option<ErrorKind>) {
    frames(translator(Dialect::OpenAi, Dialect::Anthropic, false, DEFAULT_LIMIT), stream)
}

#[test]
fn the_last_frame_says_so_and_usage_is_told_beside_the_bytes() {
    for (told, error) in [to_chat(ANTHROPIC), to_anthropic(CHAT)] {
        assert_eq!(error, None);
        let [frame] = told.as_slice() else { panic!("{told:?}") };
        assert!(frame.last && frame.content);
        assert_eq!(frame.usage.as_deref(), Some(&Usage { input: 3, output: 5, ..Usage::default() }));
    }
    assert!(bytes(&to_chat(ANTHROPIC).0).ends_with("data: [DONE]\n\n"));
    assert!(bytes(&to_anthropic(CHAT).0).ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"));
}

#[test]
fn usage_is_in_the_stream_only_of_a_caller_who_asked() {
    let without = bytes(&to_chat(ANTHROPIC).0);
    assert!(!without.contains("usage"), "{without}");
    let with = frames(translator(Dialect::Anthropic, Dialect::OpenAi, true, DEFAULT_LIMIT), ANTHROPIC).0;
    let with = bytes(&with);
    assert_eq!(with.matches("\"prompt_tokens\":3").count(), 1);
    assert_eq!(with.matches("\"usage\":null").count(), with.matches("data: ").count() - 2);
}

#[test]
fn line_ends_marks_and_comments_change_nothing() {
    let expected = bytes(&to_anthropic(CHAT).0);
    for stream in [
        CHAT.replace('\n', "\r\n"),
        CHAT.replace('\n', "\r"),
        format!("\u{feff}{CHAT}"),
        format!(": ping\n\n{}", CHAT.replace("\n\n", "\n\n: keepalive\n\n")),
        CHAT.replace("data: ", "data:"),
        CHAT.replace(",\"choices\"", ",\ndata: \"choices\""),
        CHAT.replace("\n\n", "\n\n\n\n"),
        CHAT.replace("data: ", "id: 7\nretry: 1\nevent: message\ndata: "),
        CHAT.trim_end().to_owned(),
        CHAT.trim_end().replace("\n\ndata: [DONE]", ""),
        format!("{CHAT}data: after the end\n\n"),
    ] {
        let (told, error) = to_anthropic(&stream);
        assert_eq!((bytes(&told), error), (expected.clone(), None), "{stream}");
    }
    assert_eq!(bytes(&to_chat(ANTHROPIC.trim_end()).0), bytes(&to_chat(ANTHROPIC).0));
}

#[test]
fn a_comment_alone_is_a_frame_without_bytes() {
    let mut translator = translator(Dialect::OpenAi, Dialect::Anthropic, false, DEFAULT_LIMIT);
    translator.push(Bytes::from_static(b": ping\n\n"));
    let frame = translator.next_frame().unwrap().unwrap();
    assert!(frame.bytes.is_empty() && !frame.content && !frame.last);
    assert!(translator.next_frame().is_none());
}

#[test]
fn a_stream_that_stops_early_fails_after_what_came_and_keeps_its_usage() {
    let cut = ANTHROPIC.split("event: content_block_stop").next().unwrap();
    let mut translator = translator(Dialect::Anthropic, Dialect::OpenAi, true, DEFAULT_LIMIT);
    translator.push(Bytes::copy_from_slice(cut.as_bytes()));
    let told = translator.next_frame().unwrap().unwrap();
    assert!(told.content && !told.last && std::str::from_utf8(&told.bytes).unwrap().contains("\"content\":\"hi\""));
    translator.end();
    let error = translator.next_frame().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StreamInterrupted);
    assert!(translator.next_frame().is_none() && !translator.is_done());
    assert_eq!(translator.usage(), Some(Usage { input: 3, output: 1, ..Usage::default() }));
    let last = translator.fail(&error);
    let last = std::str::from_utf8(&last).unwrap();
    assert!(last.starts_with("data: {\"error\":{\"message\":") && !last.contains("[DONE]"), "{last}");

    let chat =
        CHAT.split("data: {\"id\":\"c\",\"model\":\"g\",\"choices\":[{\"index\":0,\"delta\":{},").next().unwrap();
    let (told, error) = to_anthropic(chat);
    assert_eq!(error, Some(ErrorKind::StreamInterrupted));
    assert!(!bytes(&told).contains("message_stop") && !bytes(&told).contains("message_delta"));
}

#[test]
fn an_event_longer_than_the_limit_fails_the_stream() {
    let (_, error) = frames(translator(Dialect::OpenAi, Dialect::Anthropic, false, 64), CHAT);
    assert_eq!(error, Some(ErrorKind::BadAnswer));
}

#[test]
fn what_is_no_stream_is_an_error_never_an_empty_answer() {
    for stream in ["", "\n\n", "<html>\n\n", ": only comments\n\n", "data: {}\n\n", "data: nope\n\n"] {
        for (told, error) in [to_anthropic(stream), to_chat(stream)] {
            assert!(error.is_some() && bytes(&told).is_empty(), "{stream:?}");
        }
    }
}
