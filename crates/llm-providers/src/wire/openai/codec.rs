//! Chat completions behind the interface of all dialects.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use llm_core::{CompletionRequest, CompletionResponse, Dialect, Error, Json};

use super::chunk::ChunkDecoder;
use super::error::{decode_error, describe, encode_error};
use super::frames::ChunkEncoder;
use super::request::decode_chat_request;
use super::response::{decode_chat_response, encode_answer};
use super::translate;
use crate::wire::{
    AnswerOptions, Codec, DecodedRequest, Encoded, Fate, Level, StreamDecoder, StreamEncoder, Strictness, Target,
};

/// OpenAI's chat completions.
#[derive(Clone, Copy, Debug)]
pub struct Chat;

impl Codec for Chat {
    fn dialect(&self) -> Dialect {
        Dialect::OpenAi
    }

    fn decode_request(&self, body: &[u8]) -> Result<DecodedRequest, Error> {
        decode_chat_request(body)
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
        decode_chat_response(body)
    }

    fn encode_response(&self, response: &CompletionResponse, options: &AnswerOptions<'_>) -> Bytes {
        encode_answer(response, options)
    }

    fn stream_decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(ChunkDecoder::new())
    }

    fn stream_encoder(&self, options: &AnswerOptions<'_>) -> Box<dyn StreamEncoder> {
        Box::new(ChunkEncoder::with(options))
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
