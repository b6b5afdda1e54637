//! Bodies of Anthropic's dialect into neutral form and back: nothing panics, and what was written once is written the
//! same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use llm_providers::wire::anthropic::{EventDecoder, Messages};
use llm_providers::wire::{AnswerOptions, Capabilities, Codec, StreamDecoder, Strictness, Target};

fuzz_target!(|body: &[u8]| {
    let capabilities = Capabilities::default();
    let target = Target { model: "m", capabilities: &capabilities, max_output: None, stream: false };
    if let Ok(read) = Messages.decode_request(body)
        && let Ok(once) = Messages.encode_request(&read.request, &target, Strictness::Strict)
    {
        let again = Messages.decode_request(&once.body).expect("a written request is one");
        let twice = Messages.encode_request(&again.request, &target, Strictness::Strict).expect("and can be written");
        assert_eq!(twice.body, once.body);
    }
    if let Ok(request) = Messages.decode_count_request(body) {
        let _ = Messages.encode_count_request(&request, &target, Strictness::Lenient);
    }
    if let Ok(response) = Messages.decode_response(body) {
        let once = Messages.encode_response(&response, &AnswerOptions::default());
        let again = Messages.decode_response(&once).expect("a written answer is one");
        assert_eq!(Messages.encode_response(&again, &AnswerOptions::default()), once);
    }
    let _ = Messages.decode_count(body);
    let error = Messages.decode_error(500, &Default::default(), body, Default::default());
    let _ = Messages.encode_error(&error, None);

    let mut decoder = EventDecoder::new();
    for data in body.split(|byte| *byte == b'\n') {
        if decoder.decode(data, &mut |_| {}).is_err() {
            break;
        }
    }
    let _ = decoder.finish(&mut |_| {});
});
