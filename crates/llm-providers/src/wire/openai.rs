//! OpenAI's REST format: chat completions, embeddings, models and errors.

mod about;
mod answer;
mod assemble;
mod chunk;
mod codec;
mod embedding;
mod envelope;
mod error;
mod field;
mod form;
mod frames;
mod glance;
mod message;
mod model;
mod named;
mod piece;
mod replay;
mod request;
mod response;
mod same;
mod stream;
mod translate;
mod usage;
mod used;

pub use about::{read_about, read_settings};
pub use answer::read_answer;
pub use assemble::ChatAssembler;
pub use chunk::ChunkDecoder;
pub use codec::Chat;
pub use embedding::{
    EmbedRequest, VectorFormat, decode_embedding_request, decode_embedding_response, encode_embedding_request,
    encode_embedding_response, vectors_as_asked,
};
pub use envelope::{Spliced, read_chat, read_embeddings, splice};
pub use error::{ErrorBody, decode_error, describe, encode_error};
pub use form::FormReader;
#[cfg(feature = "sim-server")]
pub(crate) use form::parameter;
pub use frames::{ChunkEncoder, done_frame, error_frame};
pub use model::{decode_models, encode_model, encode_models};
pub use named::read_model;
pub use replay::replay_chat;
pub use request::{IncludeUsage, decode_chat_request, encode_chat_request};
pub use response::{decode_chat_response, encode_chat_response};
pub use same::same_request;
pub use stream::ChatStream;
pub use used::UsageReader;

pub(in crate::wire) use answer::not_json;
pub(in crate::wire) use error::{error_object, error_within};
pub(in crate::wire) use message::{CACHE, read_mark, source, write_mark, write_source};
pub(in crate::wire) use translate::default_name;
pub(in crate::wire) use usage::{read_usage, write_usage};
