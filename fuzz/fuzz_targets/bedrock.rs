//! Bodies of Bedrock's dialect into neutral form and back, and its streams of binary messages: nothing panics, what was
//! written once is written the same again, and messages are the same wherever the stream is cut.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use llm_core::Error;
use llm_providers::wire::bedrock::{Converse, ConverseDecoder, ConverseEncoder, EventStream};
use llm_providers::wire::{AnswerOptions, Capabilities, Codec, StreamDecoder, StreamEncoder, Strictness, Target};

/// The messages of a stream that comes in these pieces.
fn messages(pieces: &[&[u8]]) -> Result<Vec<Bytes>, Error> {
    let (mut stream, mut found) = (EventStream::new(1 << 16), Vec::new());
    for piece in pieces {
        stream.push(piece);
        while let Some(message) = stream.next_event()? {
            found.push(message);
        }
    }
    Ok(found)
}

fuzz_target!(|body: &[u8]| {
    let capabilities = Capabilities::default();
    for model in ["anthropic.claude", "amazon.nova", "m"] {
        let target = Target { model, capabilities: &capabilities, max_output: None, stream: false };
        if let Ok(read) = Converse.decode_request(body)
            && let Ok(once) = Converse.encode_request(&read.request, &target, Strictness::Strict)
        {
            let again = Converse.decode_request(&once.body).expect("a written request is one");
            let twice = Converse.encode_request(&again.request, &target, Strictness::Lenient).expect("and is written");
            let third = Converse.decode_request(&twice.body).expect("a written request is one");
            assert_eq!(third.request.messages, again.request.messages);
        }
    }
    if let Ok(response) = Converse.decode_response(body) {
        let once = Converse.encode_response(&response, &AnswerOptions::default());
        if let Ok(again) = Converse.decode_response(&once) {
            assert_eq!(Converse.encode_response(&again, &AnswerOptions::default()), once);
        }
    }
    let error = Converse.decode_error(500, &Default::default(), body, Default::default());
    let _ = Converse.encode_error(&error, None);

    // Lines as the messages of a stream, told on as such.
    let (mut decoder, mut encoder, mut out) = (ConverseDecoder::new(), ConverseEncoder::new(), BytesMut::new());
    for data in body.split(|byte| *byte == b'\n') {
        if decoder.decode(data, &mut |event| encoder.encode(event, &mut out)).is_err() {
            break;
        }
    }
    encoder.finish(&mut out);
    let told = messages(&[&out]).expect("what is written can be read");
    let mut reader = ConverseDecoder::new();
    let read = told.iter().try_for_each(|message| reader.decode(message, &mut |_| {}));
    assert!(read.is_err() || reader.is_done());

    let (head, tail) = body.split_at(body.len() / 2);
    assert_eq!(messages(&[head, tail]).ok(), messages(&[body]).ok());
});
