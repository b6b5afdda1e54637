//! A completion request in neutral form.

use crate::{Dialect, Json, Message, ModelId, Tool, ToolChoice};

/// What is asked of a model. Fields left out are the provider's to decide.
#[derive(Clone, Debug, PartialEq)]
pub struct CompletionRequest {
    /// The model's name.
    pub model: ModelId,
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// Most tokens to write, reasoning included.
    pub max_tokens: Option<u64>,
    /// 0 to 2.
    pub temperature: Option<f64>,
    /// 0 to 1.
    pub top_p: Option<f64>,
    /// Draws from this many of the likeliest tokens.
    pub top_k: Option<u64>,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// How many answers.
    pub n: Option<u32>,
    /// For answers that repeat.
    pub seed: Option<i64>,
    /// −2 to 2.
    pub presence_penalty: Option<f64>,
    /// −2 to 2.
    pub frequency_penalty: Option<f64>,
    /// What the model may call.
    pub tools: Vec<Tool>,
    /// Whether it is to call.
    pub tool_choice: Option<ToolChoice>,
    /// Whether it may call several at once.
    pub parallel_tool_calls: Option<bool>,
    /// The form of the answer.
    pub response_format: Option<ResponseFormat>,
    /// How much to think, in OpenAI's words: `none`, `minimal`, `low`, `medium`, `high`, `xhigh`, `max`.
    pub reasoning_effort: Option<String>,
    /// Whether to think and how long, where that is said beside or instead of an effort.
    pub thinking: Option<Thinking>,
    /// Whether the thoughts, or a summary of them, are to be told.
    pub show_thoughts: Option<bool>,
    /// Whether the answer's log probabilities are wanted.
    pub logprobs: Option<bool>,
    /// How many alternatives of each token are wanted with them.
    pub top_logprobs: Option<u32>,
    /// How fast and how dear, in OpenAI's words: `auto`, `default`, `flex`, `priority`, ….
    pub service_tier: Option<String>,
    /// Who asks on the caller's side.
    pub user: Option<String>,
    /// Who asks on the caller's side, told so that the provider can stop those who misuse it. Goes before `user`.
    pub safety_identifier: Option<String>,
    /// Parameters without a neutral form, by their name in the dialect, in order.
    pub extra: Vec<(String, Json)>,
    /// What the request was read from; absent if it was made here.
    pub origin: Option<Origin>,
}

impl CompletionRequest {
    /// A request with nothing but a model and messages.
    pub fn new(model: impl Into<ModelId>, messages: Vec<Message>) -> Self {
        Self {
            model: model.into(),
            messages,
            max_tokens: None,
            temperature: None,
            top_p: None,
            top_k: None,
            stop: Vec::new(),
            n: None,
            seed: None,
            presence_penalty: None,
            frequency_penalty: None,
            tools: Vec::new(),
            tool_choice: None,
            parallel_tool_calls: None,
            response_format: None,
            reasoning_effort: None,
            thinking: None,
            show_thoughts: None,
            logprobs: None,
            top_logprobs: None,
            service_tier: None,
            user: None,
            safety_identifier: None,
            extra: Vec::new(),
            origin: None,
        }
    }

    /// Caps the answer at `tokens`.
    #[must_use]
    pub const fn with_max_tokens(mut self, tokens: u64) -> Self {
        self.max_tokens = Some(tokens);
        self
    }

    /// Sets the temperature, 0 to 2.
    #[must_use]
    pub const fn with_temperature(mut self, temperature: f64) -> Self {
        self.temperature = Some(temperature);
        self
    }

    /// Offers a tool.
    #[must_use]
    pub fn with_tool(mut self, tool: Tool) -> Self {
        self.tools.push(tool);
        self
    }

    /// Sets the form of the answer.
    #[must_use]
    pub fn with_response_format(mut self, format: ResponseFormat) -> Self {
        self.response_format = Some(format);
        self
    }
}

/// Whether and how long a model is to think before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Thinking {
    /// Not at all.
    Off,
    /// As the model sees fit.
    Adaptive,
    /// For this many tokens at most.
    Budget(u64),
    /// Only between calls of tools.
    BetweenTools,
}

/// What a request was read from. All that it keeps as JSON is in this dialect, and by it the request's fields are
/// named to whoever wrote them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The caller's dialect.
    pub dialect: Dialect,
    /// Whether the first message stood in a field of its own (`system`, `instructions`) rather than in the list.
    pub leading: bool,
}

/// The form of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseFormat {
    /// Text.
    Text,
    /// Some JSON object.
    JsonObject,
    /// JSON that follows a schema.
    JsonSchema {
        /// The schema's name.
        name: String,
        /// What it is for.
        description: Option<String>,
        /// The schema.
        schema: Option<Json>,
        /// Whether it must be followed to the letter.
        strict: Option<bool>,
    },
}

/// Lets a call take a request by value or by reference.
impl From<&Self> for CompletionRequest {
    fn from(request: &Self) -> Self {
        request.clone()
    }
}
