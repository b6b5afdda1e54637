//! Streams of every dialect for callers of every other: nothing panics, the frames are the same whatever pieces the
//! stream comes in, and an answer that ends is one that the caller's dialect can read to its end.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use llm_core::Dialect;
use llm_providers::wire::sse::Framer;
use llm_providers::wire::{AnswerOptions, Codec, Translator, codec};

const DIALECTS: [Dialect; 5] =
    [Dialect::OpenAi, Dialect::OpenAiResponses, Dialect::OpenAiCompletions, Dialect::Anthropic, Dialect::Gemini];

const LIMIT: usize = 1 << 16;

/// The frames, and whether the answer came to its end.
fn translate(back: &dyn Codec, front: &dyn Codec, pieces: &[Bytes]) -> (Vec<u8>, bool) {
    let options = AnswerOptions {
        from: Some(back.dialect()),
        include_usage: true,
        thoughts: true,
        seals: true,
        id: "own",
        ..AnswerOptions::default()
    };
    let mut translator = Translator::new(back.stream_decoder(), front.stream_encoder(&options), LIMIT);
    let (mut out, mut ended) = (Vec::new(), false);
    let mut take = |translator: &mut Translator| {
        while let Some(frame) = translator.next_frame() {
            match frame {
                Ok(frame) => {
                    out.extend_from_slice(&frame.bytes);
                    ended |= frame.last;
                }
                Err(error) => out.extend_from_slice(&translator.fail(&error)),
            }
        }
    };
    for piece in pieces {
        translator.push(piece.clone());
        take(&mut translator);
    }
    translator.end();
    take(&mut translator);
    (out, ended)
}

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, stream) = input;
    let stream = Bytes::copy_from_slice(stream);
    let cut = usize::from(cut).min(stream.len());
    // Of Bedrock's streams the messages come as the events of others do; nobody is answered in them.
    for back in DIALECTS.into_iter().chain([Dialect::Bedrock]).filter_map(codec) {
        for front in DIALECTS.into_iter().filter_map(codec) {
            let (whole, ended) = translate(back, front, std::slice::from_ref(&stream));
            let pieces = [stream.slice(..cut), stream.slice(cut..)];
            assert_eq!(translate(back, front, &pieces), (whole.clone(), ended));
            if !ended {
                continue;
            }
            let (mut framer, mut decoder) = (Framer::new(usize::MAX), front.stream_decoder());
            framer.push(whole.into());
            let mut read = Ok(());
            while let Some(event) = framer.next_event().expect("there is no limit") {
                if let Some(data) = event.fields().data {
                    read = read.and_then(|()| decoder.decode(&data, &mut |_| {}));
                }
            }
            // A stream that contradicts itself is told as an error, which is an end too.
            if read.is_ok() {
                decoder.finish(&mut |_| {}).expect("a stream that ends is read to its end");
            }
        }
    }
});
