//! A completion request in neutral form.

use crate::{Json, Message, ModelId, Tool, ToolChoice};

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
    /// How long to think, in the providers' words: `low`, `high`, ….
    pub reasoning_effort: Option<String>,
    /// Who asks on the caller's side.
    pub user: Option<String>,
    /// Parameters without a neutral form, by their name in the dialect, in order.
    pub extra: Vec<(String, Json)>,
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
            user: None,
            extra: Vec::new(),
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
