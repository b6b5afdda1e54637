//! The framer beside another implementation: the same events from the same bytes, whatever pieces they come in.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use llm_providers::wire::sse::{DEFAULT_LIMIT, Framer};
use proptest::prelude::*;
use sseer::event_stream::EventStream;

/// An event's name and data.
type Event = (String, String);

fn ours(pieces: &[Bytes]) -> Vec<Event> {
    let mut framer = Framer::new(DEFAULT_LIMIT);
    let mut events = Vec::new();
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).unwrap().to_owned();
    for piece in pieces {
        framer.push(piece.clone());
        while let Some(event) = framer.next_event().unwrap() {
            let fields = event.fields();
            let Some(data) = &fields.data else { continue };
            let name = fields.name.filter(|name| !name.is_empty()).map_or_else(|| "message".to_owned(), text);
            events.push((name, text(data)));
        }
    }
    events
}

fn theirs(pieces: &[Bytes]) -> Vec<Event> {
    let pieces = stream::iter(pieces.to_vec()).map(Ok::<_, Infallible>);
    let events = EventStream::new(pieces).map(|event| {
        let event = event.unwrap();
        (event.event.to_string(), event.data.to_string())
    });
    events.collect().now_or_never().unwrap()
}

fn cut(text: &str, places: &[prop::sample::Index]) -> Vec<Bytes> {
    let text = Bytes::copy_from_slice(text.as_bytes());
    let mut places: Vec<_> = places.iter().map(|place| place.index(text.len() + 1)).collect();
    places.extend([0, text.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| text.slice(pair[0]..pair[1])).collect()
}

fn line() -> impl Strategy<Value = String> {
    let field = prop_oneof!["data", "event", "id", "retry", "", "other", "da ta", "data\u{e9}"];
    let value = prop_oneof!["[a-z :]{0,6}", " *", ".{0,8}", "\\PC{0,4}"]
        .prop_map(|text: String| text.replace(['\r', '\n'], ""));
    // A name without a colon has no value; what that means for `event` they read otherwise.
    let bare = prop_oneof![Just("data".to_owned()), Just("id".to_owned()), Just("x".to_owned())];
    prop_oneof![
        4 => (field, value).prop_map(|(field, value)| format!("{field}:{value}")),
        1 => bare,
        3 => Just(String::new()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]
    #[test]
    fn the_framer_reads_what_another_reads(
        lines in prop::collection::vec((line(), prop_oneof!["\n", "\r", "\r\n"]), 0..14),
        mark in any::<bool>(),
        places in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut text = if mark { "\u{feff}".to_owned() } else { String::new() };
        text.extend(lines.into_iter().flat_map(|(line, end)| [line, end]));
        // So that the last event has an end whose bytes belong to nothing else.
        text.push_str("\n\ndata: end\n\n");
        let whole = [Bytes::copy_from_slice(text.as_bytes())];
        let pieces = cut(&text, &places);
        let read = ours(&pieces);
        prop_assert_eq!(&read, &ours(&whole), "{:?}", text);
        prop_assert_eq!(read, theirs(&pieces), "{:?}", text);
    }
}
