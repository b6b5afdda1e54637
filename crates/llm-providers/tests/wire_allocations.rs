//! A stream on its way from one dialect into another allocates nothing for an event.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use allocation_counter::measure;
use bytes::Bytes;
use llm_core::Dialect;
use llm_providers::wire::sse::DEFAULT_LIMIT;
use llm_providers::wire::{AnswerOptions, Translator, codec};

/// For each dialect, how a stream of text begins, and an event of it.
const STREAMS: [(Dialect, &str, &str); 4] = [
    (
        Dialect::OpenAi,
        "data: {\"id\":\"c\",\"model\":\"g\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
        "data: {\"id\":\"c\",\"model\":\"g\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi there\"},\"finish_reason\":null}]}\n\n",
    ),
    (
        Dialect::OpenAiResponses,
        "data: {\"type\":\"response.created\",\"response\":{\"id\":\"r\",\"model\":\"m\",\"status\":\"in_progress\",\"output\":[]}}\n\n\
         data: {\"type\":\"response.output_item.added\",\"output_index\":0,\"item\":{\"id\":\"i\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[]}}\n\n",
        "data: {\"type\":\"response.output_text.delta\",\"item_id\":\"i\",\"output_index\":0,\"content_index\":0,\"delta\":\"hi there\"}\n\n",
    ),
    (
        Dialect::Anthropic,
        "data: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"model\":\"c\",\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\n\
         data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
        "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hi there\"}}\n\n",
    ),
    (
        Dialect::Gemini,
        "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"x\"}],\"role\":\"model\"}}]}\n\n",
        "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"hi there\"}],\"role\":\"model\"}}]}\n\n",
    ),
];

const EVENTS: usize = 2000;

fn tell(translator: &mut Translator, event: &'static str, times: usize) {
    for _ in 0..times {
        translator.push(Bytes::from_static(event.as_bytes()));
        let frame = translator.next_frame().unwrap().unwrap();
        assert!(frame.content && translator.next_frame().is_none());
    }
}

#[test]
fn an_event_costs_no_allocation() {
    for (from, begin, event) in STREAMS {
        for (to, ..) in STREAMS {
            let options = AnswerOptions { from: Some(from), id: "own", ..AnswerOptions::default() };
            let (decoder, encoder) =
                (codec(from).unwrap().stream_decoder(), codec(to).unwrap().stream_encoder(&options));
            let mut translator = Translator::new(decoder, encoder, DEFAULT_LIMIT);
            translator.push(Bytes::from_static(begin.as_bytes()));
            while translator.next_frame().is_some() {}
            // Buffers grow to the size of what they hold.
            tell(&mut translator, event, 100);
            let allocated = measure(|| tell(&mut translator, event, EVENTS)).count_total;
            // What a format says once more at the end, all of the text, is kept and grows.
            assert!(allocated <= 16, "{from:?} to {to:?}: {allocated} for {EVENTS} events");
        }
    }
}
