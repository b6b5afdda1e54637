//! Bodies of Google's dialect into neutral form and back: nothing panics, what was written once is written the same again,
//! and a stream that comes as an array says the same wherever it is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use llm_providers::wire::gemini::{ArrayEvents, GenerateContent, PartDecoder};
use llm_providers::wire::{AnswerOptions, Capabilities, Codec, StreamDecoder, Strictness, Target};

fuzz_target!(|body: &[u8]| {
    let capabilities = Capabilities::default();
    let target = Target { model: "m", capabilities: &capabilities, max_output: None, stream: false };
    if let Ok(read) = GenerateContent.decode_request(body)
        && let Ok(once) = GenerateContent.encode_request(&read.request, &target, Strictness::Strict)
    {
        let again = GenerateContent.decode_request(&once.body).expect("a written request is one");
        let twice =
            GenerateContent.encode_request(&again.request, &target, Strictness::Strict).expect("and is written");
        assert_eq!(twice.body, once.body);
    }
    if let Ok(request) = GenerateContent.decode_count_request(body) {
        let _ = GenerateContent.encode_count_request(&request, &target, Strictness::Lenient);
    }
    if let Ok(response) = GenerateContent.decode_response(body) {
        let once = GenerateContent.encode_response(&response, &AnswerOptions::default());
        let again = GenerateContent.decode_response(&once).expect("a written answer is one");
        assert_eq!(GenerateContent.encode_response(&again, &AnswerOptions::default()), once);
    }
    let _ = GenerateContent.decode_count(body);
    let error = GenerateContent.decode_error(500, &Default::default(), body, Default::default());
    let _ = GenerateContent.encode_error(&error, None);

    let mut decoder = PartDecoder::new();
    for data in body.split(|byte| *byte == b'\n') {
        if decoder.decode(data, &mut |_| {}).is_err() {
            break;
        }
    }
    let _ = decoder.finish(&mut |_| {});

    let (head, tail) = body.split_at(body.len() / 2);
    let mut events = ArrayEvents::new();
    assert_eq!([events.push(head), events.push(tail)].concat(), ArrayEvents::new().push(body));
});
