//! Converse behind the interface of all dialects.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use llm_core::{CompletionRequest, CompletionResponse, Dialect, Error, ErrorKind, Json, Model};

use super::error::{decode_error, encode_error};
use super::events::ConverseDecoder;
use super::frames::ConverseEncoder;
use super::request::decode_request;
use super::response::{decode_response, encode_response};
use super::translate;
use crate::wire::{
    AnswerOptions, Codec, DecodedRequest, Encoded, Fate, Level, StreamDecoder, StreamEncoder, Strictness, Target,
};

/// Amazon Bedrock's `Converse`. The model and whether the answer is a stream stand in the path.
#[derive(Clone, Copy, Debug)]
pub struct Converse;

impl Codec for Converse {
    fn dialect(&self) -> Dialect {
        Dialect::Bedrock
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

    fn encode_response(&self, response: &CompletionResponse, _: &AnswerOptions<'_>) -> Bytes {
        encode_response(response)
    }

    fn stream_decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(ConverseDecoder::new())
    }

    fn stream_encoder(&self, _: &AnswerOptions<'_>) -> Box<dyn StreamEncoder> {
        Box::new(ConverseEncoder::new())
    }

    fn decode_error(&self, status: u16, headers: &HeaderMap, body: &[u8], now_unix: Duration) -> Error {
        decode_error(status, headers, body, now_unix)
    }

    fn encode_error(&self, error: &Error, llmkit: Option<&Json>) -> (u16, Bytes) {
        encode_error(error, llmkit)
    }

    fn fate(&self, level: Level, _: &str, _: &Json) -> Fate {
        match level {
            Level::Part | Level::Tool => Fate::Reject,
            Level::Request | Level::Message => Fate::Refuse,
        }
    }

    fn decode_models(&self, _: &[u8]) -> Result<Vec<Model>, Error> {
        Err(Error::new(ErrorKind::Unsupported, "this dialect does not list models"))
    }
}
