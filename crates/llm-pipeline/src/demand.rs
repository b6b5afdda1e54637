//! What a request may come to, before anybody has answered it.

use llm_core::{CallBody, CompletionRequest, Content, Dialect, EmbeddingInput, Money, Operation, Price};
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
    /// Whether it costs nothing.
    free: bool,
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

/// What in a body of `dialect` is charged otherwise than by tokens of its text. A string of the text that equals one of
/// these is taken for it: a refusal too many, never a cost too low.
const fn beyond_text(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::OpenAi | Dialect::OpenAiCompletions => &[
            "\"image_url\"",
            "\"input_audio\"",
            "\"file\"",
            "\"audio\"",
            "\"web_search_options\"",
            "\"service_tier\"",
            "\"prediction\"",
        ],
        Dialect::OpenAiResponses => &[
            "\"input_image\"",
            "\"input_file\"",
            "\"input_audio\"",
            "\"web_search",
            "\"file_search\"",
            "\"code_interpreter\"",
            "\"image_generation\"",
            "\"computer",
            "\"mcp\"",
            "\"prompt\"",
            "\"previous_response_id\"",
            "\"conversation\"",
            "\"item_reference\"",
            "\"service_tier\"",
        ],
        Dialect::Anthropic => &[
            "\"image\"",
            "\"document\"",
            "\"file_id\"",
            "\"container\"",
            "\"mcp_servers\"",
            "\"web_search_",
            "\"web_fetch_",
            "\"code_execution_",
            "\"tool_search_",
            "\"context_management\"",
            "\"compaction\"",
            "\"fallbacks\"",
            "\"thread\"",
            "\"inference_geo\"",
            "\"service_tier\"",
            "\"speed\"",
        ],
        Dialect::Gemini => &[
            "\"inlineData\"",
            "\"inline_data\"",
            "\"fileData\"",
            "\"file_data\"",
            "\"cachedContent\"",
            "\"cached_content\"",
            "\"googleSearch",
            "\"google_search",
            "\"urlContext\"",
            "\"url_context\"",
            "\"codeExecution\"",
            "\"code_execution\"",
            "\"googleMaps\"",
            "\"google_maps\"",
            "\"fileSearch\"",
            "\"file_search\"",
            "\"computerUse\"",
            "\"computer_use\"",
            "\"speechConfig\"",
            "\"speech_config\"",
            "\"imageConfig\"",
            "\"image_config\"",
            "\"serviceTier\"",
            "\"service_tier\"",
        ],
        Dialect::Bedrock => {
            &["\"image\"", "\"document\"", "\"video\"", "\"audio\"", "\"systemTool\"", "\"serviceTier\""]
        }
    }
}

/// How a letter of those words could be hidden.
const ESCAPED_LETTERS: [&str; 4] = ["\\u004", "\\u005", "\\u006", "\\u007"];

/// What providers may add to a prompt that offers tools, in tokens.
const TOOLS: u64 = 1024;

/// Tokens that a message, a part or a tool may come to beside its text.
const MARKUP: u64 = 32;

impl Demand {
    pub(crate) fn of(body: &CallBody) -> Self {
        match body {
            CallBody::Wire(envelope) => {
                let has = |word: &str| memmem::find(&envelope.body, word.as_bytes()).is_some();
                let mut beyond = beyond_text(envelope.dialect).iter().chain(&ESCAPED_LETTERS);
                Self {
                    bytes: envelope.body.len() as u64,
                    markup: if has("\"tools\"") { TOOLS } else { 0 },
                    max_output: if envelope.operation == Operation::Chat { envelope.max_output } else { Some(0) },
                    choices: envelope.choices.into(),
                    beyond_text: beyond.any(|word| has(word)),
                    free: false,
                }
            }
            CallBody::Completion(request) | CallBody::Stream(request) => Self::of_completion(request),
            CallBody::Embedding(request) => {
                let lengths: usize = match &request.input {
                    EmbeddingInput::Texts(texts) => texts.iter().map(String::len).sum(),
                    EmbeddingInput::Tokens(lists) => lists.iter().map(Vec::len).sum(),
                };
                Self::of_bytes(lengths as u64)
            }
            CallBody::Models => Self::of_bytes(0),
            CallBody::Forward(forward) => {
                Self { beyond_text: forward.charged, free: !forward.charged, ..Self::of_bytes(0) }
            }
        }
    }

    /// So many bytes of text, and no answer in text.
    const fn of_bytes(bytes: u64) -> Self {
        Self { bytes, markup: 0, max_output: Some(0), choices: 1, beyond_text: false, free: false }
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
        Self {
            bytes,
            markup,
            max_output: request.max_tokens,
            choices: request.n.unwrap_or(1).into(),
            beyond_text,
            free: false,
        }
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
        if self.free {
            return (Cost::exact(0, 0), Ok(0));
        }
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

#[cfg(test)]
mod tests {
    use llm_core::{Error, Money};
    use llm_providers::wire::{anthropic, gemini, openai, responses};

    use super::*;

    #[test]
    fn what_no_size_bounds_is_seen_in_every_format() {
        let terms =
            Terms { price: Some(Price::per_token(Money::from_units(1), Money::from_units(1))), max_output: Some(9) };
        let bounded = |envelope: Result<llm_core::Envelope, Error>| {
            let envelope = envelope.expect("a request");
            Demand::of(&CallBody::from(envelope)).cost(&terms).1
        };
        let chat = |part: &str| {
            openai::read_chat(format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{part}]}}]}}"#).into())
        };
        let message = |part: &str| {
            anthropic::read_messages(
                format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{part}]}}]}}"#).into(),
            )
        };
        let content =
            |part: &str| gemini::read_generate(format!(r#"{{"contents":[{{"parts":[{part}]}}]}}"#).into(), "m", false);
        let response = |more: &str| responses::read_responses(format!(r#"{{"model":"m","input":"x"{more}}}"#).into());
        for envelope in [
            chat(r#"{"type":"image_url","image_url":{"url":"https://x"}}"#),
            message(r#"{"type":"image","source":{"type":"url","url":"https://x"}}"#),
            message(r#"{"type":"\u0064ocument"}"#),
            content(r#"{"fileData":{"fileUri":"x"}}"#),
            content(r#"{"inline\u0044ata":{}}"#),
            response(r#","previous_response_id":"r""#),
            response(r#","tools":[{"type":"web_search_preview"}]"#),
        ] {
            let body = envelope.as_ref().ok().map(|envelope| envelope.body.clone());
            assert_eq!(bounded(envelope), Err(Unbounded::Content), "{body:?}");
        }
        for envelope in
            [chat(r#"{"type":"text","text":"image"}"#), message(""), content(r#"{"text":"x"}"#), response("")]
        {
            assert_eq!(bounded(envelope), Ok(9));
        }
    }
}
