//! Requests of every dialect for providers of every other: nothing panics, what is written is a request of the
//! provider's dialect, the same each time, and leniency refuses nothing that strictness lets pass.
#![no_main]

use libfuzzer_sys::fuzz_target;
use llm_core::Dialect;
use llm_providers::wire::{Capabilities, Strictness, Target, ThinkingStyle, codec};

const DIALECTS: [Dialect; 5] =
    [Dialect::OpenAi, Dialect::OpenAiResponses, Dialect::OpenAiCompletions, Dialect::Anthropic, Dialect::Gemini];

fuzz_target!(|body: &[u8]| {
    let budget = Capabilities { thinking: ThinkingStyle::Budget, late_system: true, ..Capabilities::default() };
    for front in DIALECTS.into_iter().filter_map(codec) {
        let Ok(asked) = front.decode_request(body) else { continue };
        for back in DIALECTS.into_iter().chain([Dialect::Bedrock]).filter_map(codec) {
            for capabilities in [&Capabilities::default(), &budget] {
                let target = Target { model: "m", capabilities, max_output: None, stream: asked.stream };
                let encode = |strictness| back.encode_request(&asked.request, &target, strictness);
                let Ok(strict) = encode(Strictness::Strict) else {
                    let _ = encode(Strictness::Lenient);
                    continue;
                };
                assert_eq!(encode(Strictness::Strict).expect("it was written before"), strict);
                assert_eq!(encode(Strictness::Lenient).expect("leniency refuses no more"), strict);
                let sent = back.decode_request(&strict.body);
                assert!(sent.is_ok(), "{:?} of {}", sent.err(), String::from_utf8_lossy(&strict.body));
            }
        }
    }
});
