//! Embeddings and the list of models, in neutral form.

use crate::{Json, ModelId, Usage};

/// What is to be turned into vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbeddingRequest {
    /// The model's name.
    pub model: ModelId,
    /// The inputs.
    pub input: EmbeddingInput,
    /// The vectors' length, where the model lets it be chosen.
    pub dimensions: Option<u32>,
    /// Who asks on the caller's side.
    pub user: Option<String>,
    /// Parameters without a neutral form, by their name in the dialect.
    pub extra: Vec<(String, Json)>,
}

impl EmbeddingRequest {
    /// A request for the vectors of `texts`.
    pub fn new(model: impl Into<ModelId>, texts: Vec<String>) -> Self {
        Self {
            model: model.into(),
            input: EmbeddingInput::Texts(texts),
            dimensions: None,
            user: None,
            extra: Vec::new(),
        }
    }
}

/// Inputs as text or as token ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EmbeddingInput {
    /// Texts.
    Texts(Vec<String>),
    /// Token ids, one list an input.
    Tokens(Vec<Vec<u32>>),
}

impl EmbeddingInput {
    /// The number of inputs.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.len(),
            Self::Tokens(tokens) => tokens.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Vectors for texts.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbeddingResponse {
    /// The model that the provider says has answered.
    pub model: String,
    /// The vectors, sorted by index.
    pub data: Vec<Embedding>,
    /// What it used.
    pub usage: Option<Usage>,
}

/// One vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    /// The input's place.
    pub index: u32,
    /// The vector.
    pub vector: Vec<f32>,
}

/// A model as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// The name callers use.
    pub id: String,
    /// Unix seconds; 0 where unknown.
    pub created: u64,
    /// Who offers it.
    pub owned_by: String,
}
