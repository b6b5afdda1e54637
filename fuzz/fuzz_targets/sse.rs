//! A stream cut anywhere: the framer gives the same events, whose bytes joined are the stream, and a stream that
//! passes through comes out the same.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use llm_core::Error;
use llm_providers::wire::openai::ChatStream;
use llm_providers::wire::sse::{DEFAULT_LIMIT, Framer};

fuzz_target!(|input: (Vec<u16>, bool, &[u8])| {
    let (cuts, swallow, stream) = input;
    let mut places: Vec<_> = cuts.iter().map(|cut| usize::from(*cut) % (stream.len() + 1)).collect();
    places.extend([0, stream.len()]);
    places.sort_unstable();
    let chunks: Vec<_> = places.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();

    let (events, rest) = frame(&chunks);
    assert_eq!((&events, &rest), (&frame(&[stream]).0, &frame(&[stream]).1));
    assert_eq!([events.concat(), rest.to_vec()].concat(), stream);
    assert_eq!(pass(&chunks, swallow), pass(&[stream], swallow));
});

fn frame(chunks: &[&[u8]]) -> (Vec<Bytes>, Bytes) {
    let mut framer = Framer::new(DEFAULT_LIMIT);
    let mut events = Vec::new();
    for chunk in chunks {
        framer.push(Bytes::copy_from_slice(chunk));
        while let Some(event) = framer.next_event().expect("the input is shorter than the limit") {
            let _ = event.fields();
            events.push(event.raw);
        }
    }
    (events, framer.finish())
}

/// What comes out, and what was read from it.
fn pass(chunks: &[&[u8]], swallow: bool) -> impl PartialEq + std::fmt::Debug + use<> {
    let mut stream = ChatStream::new(swallow, DEFAULT_LIMIT);
    let (mut bytes, mut content, mut usage, mut last, mut error) = (Vec::new(), false, None, false, None);
    let mut take = |stream: &mut ChatStream| {
        while let Some(frame) = stream.next_frame() {
            match frame {
                Ok(frame) => {
                    assert!(error.is_none() && !last, "nothing follows an error or the end");
                    bytes.extend_from_slice(&frame.bytes);
                    content |= frame.content;
                    usage = frame.usage.or(usage.take());
                    last |= frame.last;
                }
                Err(told) => error = Some(told.kind()),
            }
        }
    };
    for chunk in chunks {
        stream.push(Bytes::copy_from_slice(chunk));
        take(&mut stream);
    }
    stream.end();
    take(&mut stream);
    (bytes, content, usage, last, error, stream.finish().map_err(|error: Error| error.kind()))
}
