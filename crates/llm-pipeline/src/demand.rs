//! What a request may come to, before anybody has answered it.

use llm_core::{CallBody, CompletionRequest, Content, EmbeddingInput, Money, Operation, Price};
use llm_ratelimit::Cost;
use memchr::memmem;

/// What a target charges, and how much it can say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The price; none where unknown.
    pub price: Option<Price>,
    /// Output tokens that it gives at most, reasoning included; none where unknown.
    pub max_output: Option<u64>,
}

/// What a request asks, as far as its cost is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Demand {
    /// Bytes of what is sent in. A token of text is a byte at least.
    bytes: u64,
    /// Tokens at most that what stands between the texts comes to.
    markup: u64,
    /// Output tokens that an answer may have, as the request says.
    max_output: Option<u64>,
    /// Answers.
    choices: u64,
    /// Whether something is charged otherwise than by tokens of text.
    beyond_text: bool,
}

/// Why nobody can say what a request costs at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unbounded {
    Price,
    Output,
    Content,
}

impl Unbounded {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Price => "the model has no price in the configuration nor in the table",
            Self::Output => {
                "its output has no bound: set max_completion_tokens in the request, or max_output_tokens of the target"
            }
            Self::Content => "images, audio, files and services beside the text cannot be bounded by their size",
        }
    }
}

/// What in a body is charged otherwise than by tokens of text. A string of the text that equals one of these is
/// taken for it: a refusal too many, never a cost too low.
const BEYOND_TEXT: [&[u8]; 7] = [
    b"\"image_url\"",
    b"\"input_audio\"",
    b"\"file\"",
    b"\"audio\"",
    b"\"web_search_options\"",
    b"\"service_tier\"",
    b"\"prediction\"",
];

/// How a letter of those words could be hidden.
const ESCAPED_LETTERS: [&[u8]; 4] = [b"\\u006", b"\\u007", b"\\u005f", b"\\u005F"];

/// Tokens that a message, a part or a tool may come to beside its text.
const MARKUP: u64 = 32;

impl Demand {
    pub(crate) fn of(body: &CallBody) -> Self {
        match body {
            CallBody::Wire(envelope) => {
                let has = |word: &&[u8]| memmem::find(&envelope.body, word).is_some();
                Self {
                    bytes: envelope.body.len() as u64,
                    markup: 0,
                    max_output: if envelope.operation == Operation::Chat { envelope.max_output } else { Some(0) },
                    choices: envelope.choices.into(),
                    beyond_text: BEYOND_TEXT.iter().chain(&ESCAPED_LETTERS).any(has),
                }
            }
            CallBody::Completion(request) | CallBody::Stream(request) => Self::of_completion(request),
            CallBody::Embedding(request) => {
                let lengths: usize = match &request.input {
                    EmbeddingInput::Texts(texts) => texts.iter().map(String::len).sum(),
                    EmbeddingInput::Tokens(lists) => lists.iter().map(Vec::len).sum(),
                };
                Self { bytes: lengths as u64, markup: 0, max_output: Some(0), choices: 1, beyond_text: false }
            }
            CallBody::Models => Self { bytes: 0, markup: 0, max_output: Some(0), choices: 1, beyond_text: false },
        }
    }

    fn of_completion(request: &CompletionRequest) -> Self {
        let (mut bytes, mut markup) = (0, 0);
        let mut beyond_text = !request.extra.is_empty();
        for message in &request.messages {
            markup += MARKUP;
            for part in &message.parts {
                markup += MARKUP;
                match &part.content {
                    Content::Text(text) | Content::Refusal(text) => bytes += text.len() as u64,
                    Content::ToolCall(call) => bytes += (call.name.len() + call.arguments.len()) as u64,
                    _ => beyond_text = true,
                }
            }
        }
        for tool in &request.tools {
            let described = tool.description.as_ref().map_or(0, String::len);
            let parameters = tool.parameters.as_ref().map_or(0, |json| json.as_str().len());
            markup += MARKUP;
            bytes += (tool.name.len() + described + parameters) as u64;
        }
        Self { bytes, markup, max_output: request.max_tokens, choices: request.n.unwrap_or(1).into(), beyond_text }
    }

    /// What a router chooses by: tokens in, tokens expected out, and the hash of what conversations begin with.
    pub(crate) fn wanted(&self, prefix: u64) -> llm_router::Demand {
        let typical = llm_router::Demand::default().output_tokens;
        llm_router::Demand {
            input_tokens: self.bytes.div_ceil(4),
            output_tokens: self.max_output.unwrap_or(typical),
            prefix,
            within: None,
        }
    }

    /// What is expected of `terms`, and the bound: input one token a byte, output what the request allows, else
    /// what the model gives. The number of output tokens in the bound, too.
    pub(crate) fn cost(&self, terms: &Terms) -> (Cost, Result<u64, Unbounded>) {
        let tokens = self.bytes.div_ceil(4);
        let (price, output) = (terms.price.as_ref(), self.max_output.or(terms.max_output));
        let output = output.map(|output| output.saturating_mul(self.choices));
        let units = |money: Money| u64::try_from(money.units()).unwrap_or(0);
        let expected = price.map_or(0, |price| units(price.rates.input.times(tokens).plus(price.per_request)));
        let bounded = match (price, output) {
            (None, _) => Err(Unbounded::Price),
            (_, None) => Err(Unbounded::Output),
            _ if self.beyond_text => Err(Unbounded::Content),
            (Some(price), Some(output)) => Ok((output, units(price.most(self.bytes + self.markup, output)))),
        };
        let bound = bounded.ok().map(|(_, money)| money);
        (Cost { tokens, money: expected, bound }, bounded.map(|(output, _)| output))
    }
}
