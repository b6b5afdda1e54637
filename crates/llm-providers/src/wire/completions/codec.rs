//! Completions of a prompt behind the interface of all dialects.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use llm_core::{CompletionRequest, CompletionResponse, Dialect, Error, Json};

use super::chunk::TextDecoder;
use super::frames::TextEncoder;
use super::request::{decode_request, encode_request, fate};
use super::response::{decode_response, encode_response};
use crate::wire::openai::{decode_error, describe, encode_error};
use crate::wire::{
    AnswerOptions, Codec, DecodedRequest, Encoded, Fate, Level, StreamDecoder, StreamEncoder, Strictness, Target,
};

/// OpenAI's completions of a prompt. A prompt that is one text is one message of the user's; other prompts (several, or
/// tokens) only a provider of this dialect understands, and to one goes only a request that is one text.
#[derive(Clone, Copy, Debug)]
pub struct Completions;

impl Codec for Completions {
    fn dialect(&self) -> Dialect {
        Dialect::OpenAiCompletions
    }

    fn decode_request(&self, body: &[u8]) -> Result<DecodedRequest, Error> {
        decode_request(body)
    }

    fn encode_request(
        &self,
        request: &CompletionRequest,
        target: &Target<'_>,
        strictness: Strictness,
    ) -> Result<Encoded, Error> {
        encode_request(request, target, strictness)
    }

    fn decode_response(&self, body: &[u8]) -> Result<CompletionResponse, Error> {
        decode_response(body)
    }

    fn encode_response(&self, response: &CompletionResponse, options: &AnswerOptions<'_>) -> Bytes {
        encode_response(response, options)
    }

    fn stream_decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(TextDecoder::new())
    }

    fn stream_encoder(&self, options: &AnswerOptions<'_>) -> Box<dyn StreamEncoder> {
        Box::new(TextEncoder::new(options))
    }

    fn decode_error(&self, status: u16, headers: &HeaderMap, body: &[u8], now_unix: Duration) -> Error {
        decode_error(status, headers, body, now_unix)
    }

    fn encode_error(&self, error: &Error, llmkit: Option<&Json>) -> (u16, Bytes) {
        let (status, body) = describe(error);
        (status, encode_error(&body, llmkit))
    }

    fn fate(&self, level: Level, name: &str, value: &Json) -> Fate {
        fate(level, name, value)
    }
}
