//! Bodies of completions of a prompt into neutral form and back: nothing panics, and what was written once is written the same
//! again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use llm_providers::wire::completions::{Completions, TextDecoder};
use llm_providers::wire::{AnswerOptions, Capabilities, Codec, StreamDecoder, Strictness, Target};

fuzz_target!(|body: &[u8]| {
    let capabilities = Capabilities::default();
    let target = Target { model: "m", capabilities: &capabilities, max_output: None, stream: false };
    if let Ok(read) = Completions.decode_request(body)
        && let Ok(once) = Completions.encode_request(&read.request, &target, Strictness::Strict)
    {
        let again = Completions.decode_request(&once.body).expect("a written request is one");
        let twice = Completions.encode_request(&again.request, &target, Strictness::Strict).expect("and is written");
        assert_eq!(twice.body, once.body);
    }
    if let Ok(response) = Completions.decode_response(body) {
        let once = Completions.encode_response(&response, &AnswerOptions::default());
        let again = Completions.decode_response(&once).expect("a written answer is one");
        assert_eq!(Completions.encode_response(&again, &AnswerOptions::default()), once);
    }
    let error = Completions.decode_error(500, &Default::default(), body, Default::default());
    let _ = Completions.encode_error(&error, None);

    let mut decoder = TextDecoder::new();
    for data in body.split(|byte| *byte == b'\n') {
        if decoder.decode(data, &mut |_| {}).is_err() {
            break;
        }
    }
    let _ = decoder.finish(&mut |_| {});
});
