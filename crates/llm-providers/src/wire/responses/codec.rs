//! Responses behind the interface of all dialects.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use llm_core::{CompletionRequest, CompletionResponse, Dialect, Error, Json};

use super::events::ItemDecoder;
use super::frames::ItemEncoder;
use super::request::decode_request;
use super::response::{decode_response, encode_response};
use super::translate;
use crate::wire::openai::{decode_error, describe, encode_error};
use crate::wire::{
    AnswerOptions, Codec, DecodedRequest, Encoded, Fate, Level, StreamDecoder, StreamEncoder, Strictness, Target,
};

/// OpenAI's responses. What only a provider that keeps them can do (`previous_response_id`, `conversation`,
/// `background`, references to items) is refused when a request goes to a provider of another dialect; answers of such
/// say that they were not stored.
#[derive(Clone, Copy, Debug)]
pub struct Responses;

impl Codec for Responses {
    fn dialect(&self) -> Dialect {
        Dialect::OpenAiResponses
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
        translate::encode_request(request, target, strictness)
    }

    fn decode_response(&self, body: &[u8]) -> Result<CompletionResponse, Error> {
        decode_response(body)
    }

    fn encode_response(&self, response: &CompletionResponse, options: &AnswerOptions<'_>) -> Bytes {
        encode_response(response, options)
    }

    fn stream_decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(ItemDecoder::new())
    }

    fn stream_encoder(&self, options: &AnswerOptions<'_>) -> Box<dyn StreamEncoder> {
        Box::new(ItemEncoder::new(options))
    }

    fn decode_error(&self, status: u16, headers: &HeaderMap, body: &[u8], now_unix: Duration) -> Error {
        decode_error(status, headers, body, now_unix)
    }

    fn encode_error(&self, error: &Error, llmkit: Option<&Json>) -> (u16, Bytes) {
        let (status, body) = describe(error);
        (status, encode_error(&body, llmkit))
    }

    fn fate(&self, level: Level, name: &str, value: &Json) -> Fate {
        translate::fate(level, name, value)
    }
}
