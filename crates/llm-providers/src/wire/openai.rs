//! OpenAI's REST format: chat completions, embeddings, models and errors.

mod about;
mod answer;
mod assemble;
mod chunk;
mod embedding;
mod envelope;
mod error;
mod glance;
mod message;
mod model;
mod replay;
mod request;
mod response;
mod stream;
mod usage;

pub use about::{read_about, read_settings};
pub use answer::read_answer;
pub use assemble::ChatAssembler;
pub use chunk::{ChunkDecoder, ChunkEncoder, done_frame, error_frame};
pub use embedding::{
    EmbedRequest, VectorFormat, decode_embedding_request, decode_embedding_response, encode_embedding_request,
    encode_embedding_response,
};
pub use envelope::{Spliced, read_chat, read_embeddings, splice};
pub use error::{ErrorBody, decode_error, encode_error};
pub use model::{decode_models, encode_model, encode_models};
pub use replay::replay_chat;
pub use request::{ChatRequest, IncludeUsage, decode_chat_request, encode_chat_request};
pub use response::{decode_chat_response, encode_chat_response};
pub use stream::ChatStream;
