//! A body that passes through: its bytes, and where the few fields stand that somebody needs to know.

use std::ops::Range;

use bytes::Bytes;

/// The wire format of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// OpenAI's REST format: chat completions, embeddings, models.
    OpenAi,
    /// OpenAI's responses.
    OpenAiResponses,
    /// OpenAI's completions of a prompt, from before there was chat.
    OpenAiCompletions,
    /// Anthropic's messages.
    Anthropic,
    /// Google's `generateContent`.
    Gemini,
    /// Amazon Bedrock's `Converse`, which providers speak and callers do not.
    Bedrock,
}

impl Dialect {
    /// The dialect's name in metrics, logs and keys.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::OpenAiResponses => "openai_responses",
            Self::OpenAiCompletions => "openai_completions",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Bedrock => "bedrock",
        }
    }
}

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A completion of messages.
    Chat,
    /// The number of a prompt's tokens.
    CountTokens,
    /// Vectors for texts.
    Embeddings,
    /// The list of models.
    Models,
    /// Whatever a request asks that is passed on as it is.
    Forward,
}

impl Operation {
    /// The operation's name in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::CountTokens => "count_tokens",
            Self::Embeddings => "embeddings",
            Self::Models => "models",
            Self::Forward => "pass_through",
        }
    }
}

/// A byte range of a body. Bodies are shorter than 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The span as a range of indices.
    #[must_use]
    pub const fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A replacement of one span of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edit {
    /// What is replaced; empty to insert.
    pub at: Span,
    /// What stands there instead.
    pub with: &'static str,
}

/// What a body asks, in 128 bits, keyed per process. Bodies that ask the same have the same digest, in whatever order
/// and spacing; it finds candidates, and the dialect's codec compares them in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest(u128);

impl Digest {
    /// The digest with these bits.
    #[must_use]
    pub const fn new(bits: u128) -> Self {
        Self(bits)
    }

    /// All bits.
    #[must_use]
    pub const fn bits(self) -> u128 {
        self.0
    }
}

/// A request body in its caller's dialect, read only as far as needed to route it. Made by the codecs of
/// `llm-providers`, which have checked that the body is one JSON object.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The format of `body`.
    pub dialect: Dialect,
    /// What is asked for.
    pub operation: Operation,
    /// The whole body, as received.
    pub body: Bytes,
    /// What the body asks.
    pub digest: Digest,
    /// Whether two bodies of this format ask the same: in full, where a digest only makes it likely.
    pub same: fn(&[u8], &[u8]) -> bool,
    /// Where the model's name stands in `body`, quotes included.
    pub model: Span,
    /// The model's name when it is written with escapes, decoded.
    pub escaped_model: Option<Box<str>>,
    /// Whether the answer is wanted as a stream.
    pub stream: bool,
    /// Whether the answer is a draw: the temperature is absent or other than 0.
    pub sampled: bool,
    /// Whether the call does more than answer, such as to add to a conversation that the provider keeps: two of them are
    /// two, however alike.
    pub stateful: bool,
    /// Whether the caller asked for the usage of a stream.
    pub wants_usage: bool,
    /// Who the caller says it asks for: the value of `safety_identifier`, else of `user`, without its quotes, as
    /// written.
    pub user: Option<Span>,
    /// How many tokens each answer may have at most, where the caller says so.
    pub max_output: Option<u64>,
    /// How many answers are wanted.
    pub choices: u32,
    /// The edit that makes a provider report the usage of a stream whose caller did not ask.
    pub ask_usage: Option<Edit>,
}

impl Envelope {
    /// Whether `other` asks the same, of the same operation and in the same format. How the answer is to travel and for
    /// whom it is does not count.
    #[must_use]
    pub fn asks_as(&self, other: &Self) -> bool {
        self.digest == other.digest
            && (self.dialect, self.operation) == (other.dialect, other.operation)
            && (self.same)(&self.body, &other.body)
    }

    /// Who the caller says it asks for.
    #[must_use]
    pub fn user_name(&self) -> Option<&str> {
        std::str::from_utf8(&self.body[self.user?.range()]).ok()
    }

    /// The model that the caller named.
    #[must_use]
    pub fn model_name(&self) -> &str {
        match &self.escaped_model {
            Some(name) => name,
            None => {
                let quoted = self.model.range();
                std::str::from_utf8(&self.body[quoted.start + 1..quoted.end - 1]).unwrap_or_default()
            }
        }
    }
}
