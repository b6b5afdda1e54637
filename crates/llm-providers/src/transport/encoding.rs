//! Bodies that come encoded although they were not to be.

use std::io;
use std::pin::Pin;

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder};
use futures_util::{StreamExt, TryStreamExt};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use llm_core::{Error, ErrorKind};
use tokio::io::{AsyncBufRead, AsyncRead, BufReader};
use tokio_util::io::{ReaderStream, StreamReader};

use super::{Chunks, HttpAnswer};

/// The answer with its body as it was before it was encoded: decoded as it comes in, up to each point to which the
/// other side flushed. The headers that told of the encoding are gone.
///
/// # Errors
/// `BadAnswer` for an encoding that nobody asked for and nobody here knows.
pub(crate) fn decoded(mut answer: HttpAnswer) -> Result<HttpAnswer, Error> {
    if !answer.headers.contains_key(CONTENT_ENCODING) {
        return Ok(answer);
    }
    let codings = codings(&answer.headers)?;
    // The last one in the list was applied last.
    answer.chunks = codings.into_iter().rev().fold(answer.chunks, decode);
    answer.headers.remove(CONTENT_ENCODING);
    answer.headers.remove(CONTENT_LENGTH);
    Ok(answer)
}

#[derive(Clone, Copy)]
enum Coding {
    Gzip,
    Brotli,
    Zstd,
}

/// Names after which a provider is not believed any more.
const MOST: usize = 4;

fn codings(headers: &HeaderMap) -> Result<Vec<Coding>, Error> {
    let unknown = || Error::new(ErrorKind::BadAnswer, "the provider's answer is in an encoding that was not asked for");
    let mut found = Vec::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        for name in value.to_str().map_err(|_| unknown())?.split(',') {
            let coding = match name.trim().to_ascii_lowercase().as_str() {
                "" | "identity" => continue,
                "gzip" | "x-gzip" => Coding::Gzip,
                "br" => Coding::Brotli,
                "zstd" => Coding::Zstd,
                _ => return Err(unknown()),
            };
            found.push(coding);
            if found.len() > MOST {
                return Err(unknown());
            }
        }
    }
    Ok(found)
}

fn decode(chunks: Chunks, coding: Coding) -> Chunks {
    let encoded = BufReader::new(StreamReader::new(chunks.map_err(io::Error::other)));
    let reader: Pin<Box<dyn AsyncRead + Send>> = match coding {
        Coding::Gzip => Box::pin(members(GzipDecoder::new(encoded))),
        Coding::Brotli => Box::pin(BrotliDecoder::new(encoded)),
        Coding::Zstd => Box::pin(ZstdDecoder::new(encoded)),
    };
    Box::pin(ReaderStream::new(reader).map(|piece| piece.map_err(undecodable)))
}

/// A body of several gzip members one after the other is one body.
fn members<R: AsyncBufRead>(mut decoder: GzipDecoder<R>) -> GzipDecoder<R> {
    decoder.multiple_members(true);
    decoder
}

/// What happened to the body, or to its encoding.
fn undecodable(error: io::Error) -> Error {
    let kind = error.kind();
    match error.into_inner().map(|inner| inner.downcast::<Error>()) {
        Some(Ok(error)) => *error,
        _ if kind == io::ErrorKind::UnexpectedEof => super::failure::interrupted(),
        _ => Error::new(ErrorKind::BadAnswer, "the provider's answer is not encoded as its headers say"),
    }
}
