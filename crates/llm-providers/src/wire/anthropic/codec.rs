//! Messages behind the interface of all dialects.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use llm_core::{CompletionRequest, CompletionResponse, Dialect, Error, Json, Model};

use super::error::{decode_error, encode_error};
use super::events::EventDecoder;
use super::frames::EventEncoder;
use super::model::{decode_models, encode_model, encode_models};
use super::request::{Purpose, decode_request};
use super::response::{decode_count, decode_response, encode_count, encode_response};
use super::translate;
use crate::wire::{
    AnswerOptions, Codec, DecodedRequest, Encoded, Fate, Level, StreamDecoder, StreamEncoder, Strictness, Target,
};

/// Anthropic's messages.
#[derive(Clone, Copy, Debug)]
pub struct Messages;

impl Codec for Messages {
    fn dialect(&self) -> Dialect {
        Dialect::Anthropic
    }

    fn decode_request(&self, body: &[u8]) -> Result<DecodedRequest, Error> {
        decode_request(body, Purpose::Answer)
    }

    fn encode_request(
        &self,
        request: &CompletionRequest,
        target: &Target<'_>,
        strictness: Strictness,
    ) -> Result<Encoded, Error> {
        translate::encode_request(request, target, strictness, Purpose::Answer)
    }

    fn decode_response(&self, body: &[u8]) -> Result<CompletionResponse, Error> {
        decode_response(body)
    }

    fn encode_response(&self, response: &CompletionResponse, options: &AnswerOptions<'_>) -> Bytes {
        encode_response(response, options)
    }

    fn stream_decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(EventDecoder::new())
    }

    fn stream_encoder(&self, options: &AnswerOptions<'_>) -> Box<dyn StreamEncoder> {
        Box::new(EventEncoder::new(options))
    }

    fn decode_error(&self, status: u16, headers: &HeaderMap, body: &[u8], now_unix: Duration) -> Error {
        decode_error(status, headers, body, now_unix)
    }

    fn encode_error(&self, error: &Error, llmkit: Option<&Json>) -> (u16, Bytes) {
        encode_error(error, llmkit)
    }

    fn fate(&self, level: Level, name: &str, value: &Json) -> Fate {
        translate::fate(level, name, value)
    }

    fn decode_models(&self, body: &[u8]) -> Result<Vec<Model>, Error> {
        decode_models(body)
    }

    fn encode_models(&self, models: &[Model]) -> Bytes {
        encode_models(models)
    }

    fn encode_model(&self, model: &Model) -> Bytes {
        encode_model(model)
    }

    fn decode_count_request(&self, body: &[u8]) -> Result<CompletionRequest, Error> {
        decode_request(body, Purpose::Count).map(|decoded| decoded.request)
    }

    fn encode_count_request(
        &self,
        request: &CompletionRequest,
        target: &Target<'_>,
        strictness: Strictness,
    ) -> Result<Encoded, Error> {
        translate::encode_request(request, target, strictness, Purpose::Count)
    }

    fn decode_count(&self, body: &[u8]) -> Result<u64, Error> {
        decode_count(body)
    }

    fn encode_count(&self, tokens: u64) -> Result<Bytes, Error> {
        Ok(encode_count(tokens))
    }
}
