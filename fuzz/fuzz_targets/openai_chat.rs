//! Bodies of every kind into neutral form and back: nothing panics, and what was written once is written the
//! same again.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use llm_core::Operation;
use llm_providers::wire::openai::{
    ChunkDecoder, ChunkEncoder, IncludeUsage, VectorFormat, decode_chat_request, decode_chat_response,
    decode_embedding_request, decode_embedding_response, decode_error, decode_models, encode_chat_request,
    encode_chat_response, encode_embedding_response, encode_models, read_answer, read_chat,
};

fuzz_target!(|body: &[u8]| {
    if let Ok(read) = decode_chat_request(body) {
        assert!(read_chat(Bytes::copy_from_slice(body)).is_ok(), "it passes through too");
        let once = encode_chat_request(&read.request, None);
        let again = decode_chat_request(&once).expect("a written request is one");
        assert_eq!(encode_chat_request(&again.request, None), once);
    }
    if let Ok(response) = decode_chat_response(body) {
        assert_eq!(read_answer(body, Operation::Chat).expect("it passes through too"), response.usage);
        let once = encode_chat_response(&response);
        let again = decode_chat_response(&once).expect("a written answer is one");
        assert_eq!(encode_chat_response(&again), once);
    }
    if let Ok(response) = decode_embedding_response(body) {
        let once = encode_embedding_response(&response, VectorFormat::Base64);
        assert_eq!(decode_embedding_response(&once).expect("a written answer is one"), response);
    }
    if let Ok(models) = decode_models(body) {
        assert_eq!(decode_models(&encode_models(&models)).expect("a written list is one"), models);
    }
    let _ = decode_embedding_request(body);
    let _ = decode_error(500, &Default::default(), body, Default::default());

    let mut decoder = ChunkDecoder::new();
    let mut encoder = ChunkEncoder::new(IncludeUsage::Yes, 0);
    let mut events = Vec::new();
    for data in body.split(|byte| *byte == b'\n') {
        if decoder.decode(data, &mut events).is_err() {
            break;
        }
    }
    let _ = decoder.finish(&mut events);
    for event in &events {
        let frames = encoder.encode(event);
        assert!(frames.is_empty() || (frames.starts_with(b"data: {") && frames.ends_with(b"}\n\n")));
    }
});
