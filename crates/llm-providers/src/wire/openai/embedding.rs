//! Embeddings.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use llm_core::{Embedding, EmbeddingInput, EmbeddingRequest, EmbeddingResponse, Error, ErrorKind, Usage};

use super::answer::{no_answer, not_json};
use super::usage::read_usage;
use crate::wire::json::{Kind, Raw, Writer};
use crate::wire::read::{self, duplicate, keep, missing, small, string, wrong_type, wrong_value};

/// How vectors are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VectorFormat {
    /// As arrays of numbers.
    #[default]
    Float,
    /// As base64 of little-endian 32-bit floats.
    Base64,
}

/// A request for embeddings as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbedRequest {
    /// What is asked.
    pub request: EmbeddingRequest,
    /// How the vectors are to be written.
    pub format: VectorFormat,
}

/// Reads a request body.
///
/// # Errors
/// `InvalidRequest`, naming the parameter.
pub fn decode_embedding_request(body: &[u8]) -> Result<EmbedRequest, Error> {
    const KNOWN: [&str; 5] = ["model", "input", "dimensions", "user", "encoding_format"];
    let raw = read::object(body)?;
    let mut request = EmbeddingRequest::new("", Vec::new());
    let mut format = VectorFormat::Float;
    let mut seen = Vec::new();
    for (key, value) in raw.members() {
        let name = key.as_ref();
        if let Some(known) = KNOWN.iter().find(|known| **known == name) {
            if seen.contains(known) {
                return Err(duplicate(name));
            }
            seen.push(known);
        }
        match name {
            "model" => request.model = read::model(value)?,
            "input" => request.input = read_input(value)?,
            "dimensions" | "user" | "encoding_format" if value.is_null() => {}
            "dimensions" => request.dimensions = Some(small(value, name)?),
            "user" => request.user = Some(string(value, name)?),
            "encoding_format" => format = read_format(value)?,
            _ => keep(&mut request.extra, name, value),
        }
    }
    match ["model", "input"].into_iter().find(|param| !seen.contains(param)) {
        Some(param) => Err(missing(param)),
        None => Ok(EmbedRequest { request, format }),
    }
}

/// Writes a request body.
#[must_use]
pub fn encode_embedding_request(request: &EmbeddingRequest, format: VectorFormat) -> Bytes {
    let mut writer = Writer::default();
    writer.object(|writer| {
        writer.key("model").string(request.model.as_str());
        writer.key("input").array(|writer| match &request.input {
            EmbeddingInput::Texts(texts) => texts.iter().for_each(|text| writer.string(text)),
            EmbeddingInput::Tokens(lists) => lists.iter().for_each(|list| {
                writer.array(|writer| list.iter().for_each(|token| writer.integer(token)));
            }),
        });
        writer.key("encoding_format").string(match format {
            VectorFormat::Float => "float",
            VectorFormat::Base64 => "base64",
        });
        if let Some(dimensions) = request.dimensions {
            writer.key("dimensions").integer(dimensions);
        }
        if let Some(user) = &request.user {
            writer.key("user").string(user);
        }
        request.extra.iter().for_each(|(key, value)| writer.key(key).json(value));
    });
    writer.into_bytes()
}

/// Reads an answer, its vectors as numbers or as base64; sorted by index.
///
/// # Errors
/// `BadAnswer` when it is none; what its `error` member says when it has one instead of `data`.
pub fn decode_embedding_response(body: &[u8]) -> Result<EmbeddingResponse, Error> {
    let raw = Raw::parse(body).map_err(|syntax| not_json(syntax, body))?;
    let list = raw.member("data").filter(|list| list.kind() == Kind::Array).ok_or_else(|| no_answer(raw, "data"))?;
    let mut data = list
        .items()
        .enumerate()
        .map(|(place, item)| read_embedding(item, place))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| Error::new(ErrorKind::BadAnswer, "the provider's answer holds something that is no vector"))?;
    data.sort_by_key(|embedding| embedding.index);
    let model = raw.member("model").and_then(Raw::string).unwrap_or_default().into_owned();
    Ok(EmbeddingResponse { model, data, usage: raw.member("usage").and_then(read_usage) })
}

/// Writes an answer. Numbers are written as short as they read back the same.
#[must_use]
pub fn encode_embedding_response(response: &EmbeddingResponse, format: VectorFormat) -> Bytes {
    let mut writer = Writer::default();
    writer.object(|writer| {
        writer.key("object").string("list");
        writer.key("model").string(&response.model);
        writer.key("data").array(|writer| {
            response.data.iter().for_each(|embedding| write_embedding(writer, embedding, format));
        });
        if let Some(usage) = &response.usage {
            write_input_usage(writer, usage);
        }
    });
    writer.into_bytes()
}

/// The answer with its vectors as `request` asks for them: numbers, unless it says base64. One that has them so is left as
/// it came; servers that know one form only are put right.
///
/// # Errors
/// As [`decode_embedding_response`], where the vectors are to be written anew.
pub fn vectors_as_asked(request: &[u8], answer: Bytes) -> Result<Bytes, Error> {
    let asked = Raw::parse(request).ok().and_then(|raw| raw.member("encoding_format"));
    let base64 = asked.and_then(Raw::string).is_some_and(|format| format == "base64");
    let first = Raw::parse(&answer).ok().and_then(|raw| raw.member("data")?.items().next()?.member("embedding"));
    let format = match first.map(Raw::kind) {
        Some(Kind::Array) if base64 => VectorFormat::Base64,
        Some(Kind::String) if !base64 => VectorFormat::Float,
        _ => return Ok(answer),
    };
    Ok(encode_embedding_response(&decode_embedding_response(&answer)?, format))
}

/// `[1,2]` is one input of two tokens, `[[1,2]]` too.
fn read_input(raw: Raw<'_>) -> Result<EmbeddingInput, Error> {
    let Some(first) = raw.items().next() else {
        return match raw.kind() {
            Kind::String => Ok(EmbeddingInput::Texts(vec![string(raw, "input")?])),
            Kind::Array => Err(wrong_value("input", "it must not be empty")),
            kind => Err(wrong_type("input", "a string or an array", kind)),
        };
    };
    let mixed = || wrong_value("input", "its items must be strings, token ids or lists of token ids, all alike");
    match first.kind() {
        Kind::String => {
            let texts = raw.items().map(|item| match item.kind() {
                Kind::String => string(item, "input"),
                _ => Err(mixed()),
            });
            Ok(EmbeddingInput::Texts(texts.collect::<Result<_, _>>()?))
        }
        Kind::Number => Ok(EmbeddingInput::Tokens(vec![read_tokens(raw).ok_or_else(mixed)?])),
        Kind::Array => {
            let lists = raw.items().map(read_tokens).collect::<Option<_>>();
            lists.map(EmbeddingInput::Tokens).ok_or_else(mixed)
        }
        _ => Err(mixed()),
    }
}

fn read_tokens(raw: Raw<'_>) -> Option<Vec<u32>> {
    let tokens = raw.items().map(|token| token.u64().and_then(|token| u32::try_from(token).ok()));
    (raw.kind() == Kind::Array).then(|| tokens.collect()).flatten()
}

fn read_format(raw: Raw<'_>) -> Result<VectorFormat, Error> {
    match string(raw, "encoding_format")?.as_str() {
        "float" => Ok(VectorFormat::Float),
        "base64" => Ok(VectorFormat::Base64),
        other => Err(wrong_value("encoding_format", &format!("'{other}' is neither float nor base64"))),
    }
}

fn read_embedding(raw: Raw<'_>, place: usize) -> Option<Embedding> {
    let index = match raw.member("index") {
        Some(index) => u32::try_from(index.u64()?).ok()?,
        None => u32::try_from(place).ok()?,
    };
    let vector = raw.member("embedding")?;
    let vector: Vec<f32> = match vector.kind() {
        Kind::Array => vector.items().map(|number| number.text().parse().ok()).collect::<Option<_>>()?,
        Kind::String => {
            let bytes = STANDARD.decode(vector.string()?.as_bytes()).ok()?;
            let (floats, rest) = bytes.as_chunks::<4>();
            rest.is_empty().then(|| floats.iter().map(|float| f32::from_le_bytes(*float)).collect())?
        }
        _ => return None,
    };
    vector.iter().all(|number| number.is_finite()).then_some(Embedding { index, vector })
}

fn write_embedding(writer: &mut Writer, embedding: &Embedding, format: VectorFormat) {
    writer.object(|writer| {
        writer.key("object").string("embedding");
        writer.key("index").integer(embedding.index);
        writer.key("embedding");
        match format {
            VectorFormat::Float => {
                writer.array(|writer| embedding.vector.iter().for_each(|number| writer.f32(*number)))
            }
            VectorFormat::Base64 => {
                let bytes: Vec<u8> = embedding.vector.iter().flat_map(|number| number.to_le_bytes()).collect();
                writer.string(&STANDARD.encode(bytes));
            }
        }
    });
}

fn write_input_usage(writer: &mut Writer, usage: &Usage) {
    writer.key("usage").object(|writer| {
        writer.key("prompt_tokens").integer(usage.input_total());
        writer.key("total_tokens").integer(usage.total());
    });
}
