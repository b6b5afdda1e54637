//! Bodies of OpenAI's responses into neutral form and back: nothing panics, and what was written once is written the same
//! again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use llm_providers::wire::responses::{ItemDecoder, Responses};
use llm_providers::wire::{AnswerOptions, Capabilities, Codec, StreamDecoder, Strictness, Target};

fuzz_target!(|body: &[u8]| {
    let capabilities = Capabilities::default();
    let target = Target { model: "m", capabilities: &capabilities, max_output: None, stream: false };
    if let Ok(read) = Responses.decode_request(body)
        && let Ok(once) = Responses.encode_request(&read.request, &target, Strictness::Strict)
    {
        let again = Responses.decode_request(&once.body).expect("a written request is one");
        let twice = Responses.encode_request(&again.request, &target, Strictness::Strict).expect("and is written");
        assert_eq!(twice.body, once.body);
    }
    if let Ok(response) = Responses.decode_response(body) {
        let once = Responses.encode_response(&response, &AnswerOptions::default());
        let again = Responses.decode_response(&once).expect("a written answer is one");
        assert_eq!(Responses.encode_response(&again, &AnswerOptions::default()), once);
    }
    let error = Responses.decode_error(500, &Default::default(), body, Default::default());
    let _ = Responses.encode_error(&error, None);

    let mut decoder = ItemDecoder::new();
    for data in body.split(|byte| *byte == b'\n') {
        if decoder.decode(data, &mut |_| {}).is_err() {
            break;
        }
    }
    let _ = decoder.finish(&mut |_| {});
});
