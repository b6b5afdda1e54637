//! The names that a request's caller knows its fields by.

use llm_core::{CompletionRequest, Content, Dialect, Part, Role};

/// A neutral parameter of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "the table is whole, whether or not a codec has a quarrel with each of them")]
pub(crate) enum Param {
    MaxTokens,
    Temperature,
    TopP,
    TopK,
    Stop,
    N,
    Seed,
    PresencePenalty,
    FrequencyPenalty,
    Logprobs,
    TopLogprobs,
    Tools,
    ToolChoice,
    ParallelToolCalls,
    ResponseFormat,
    ReasoningEffort,
    Thinking,
    ShowThoughts,
    ServiceTier,
    User,
    SafetyIdentifier,
    Messages,
}

/// The parameters in the order of [`Param`]: OpenAI chat, responses, completions, Anthropic, Gemini.
const PARAMS: [[&str; 5]; 22] = [
    ["max_completion_tokens", "max_output_tokens", "max_tokens", "max_tokens", "generationConfig.maxOutputTokens"],
    ["temperature", "temperature", "temperature", "temperature", "generationConfig.temperature"],
    ["top_p", "top_p", "top_p", "top_p", "generationConfig.topP"],
    ["top_k", "top_k", "top_k", "top_k", "generationConfig.topK"],
    ["stop", "stop", "stop", "stop_sequences", "generationConfig.stopSequences"],
    ["n", "n", "n", "n", "generationConfig.candidateCount"],
    ["seed", "seed", "seed", "seed", "generationConfig.seed"],
    [
        "presence_penalty",
        "presence_penalty",
        "presence_penalty",
        "presence_penalty",
        "generationConfig.presencePenalty",
    ],
    [
        "frequency_penalty",
        "frequency_penalty",
        "frequency_penalty",
        "frequency_penalty",
        "generationConfig.frequencyPenalty",
    ],
    ["logprobs", "include", "logprobs", "logprobs", "generationConfig.responseLogprobs"],
    ["top_logprobs", "top_logprobs", "logprobs", "top_logprobs", "generationConfig.logprobs"],
    ["tools", "tools", "tools", "tools", "tools"],
    ["tool_choice", "tool_choice", "tool_choice", "tool_choice", "toolConfig.functionCallingConfig"],
    [
        "parallel_tool_calls",
        "parallel_tool_calls",
        "parallel_tool_calls",
        "tool_choice.disable_parallel_tool_use",
        "toolConfig",
    ],
    ["response_format", "text.format", "response_format", "output_config.format", "generationConfig.responseMimeType"],
    [
        "reasoning_effort",
        "reasoning.effort",
        "reasoning_effort",
        "output_config.effort",
        "generationConfig.thinkingConfig.thinkingLevel",
    ],
    ["reasoning_effort", "reasoning", "reasoning_effort", "thinking", "generationConfig.thinkingConfig"],
    [
        "reasoning_effort",
        "reasoning.summary",
        "reasoning_effort",
        "thinking.display",
        "generationConfig.thinkingConfig.includeThoughts",
    ],
    ["service_tier", "service_tier", "service_tier", "service_tier", "serviceTier"],
    ["user", "user", "user", "metadata.user_id", "user"],
    ["safety_identifier", "safety_identifier", "safety_identifier", "metadata.user_id", "safety_identifier"],
    ["messages", "input", "prompt", "messages", "contents"],
];

/// Names the fields of a request as its origin's dialect does; those of a request that was made here in OpenAI's words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names<'a> {
    request: &'a CompletionRequest,
    dialect: Dialect,
    leading: bool,
}

impl<'a> Names<'a> {
    pub(crate) fn of(request: &'a CompletionRequest) -> Self {
        let (dialect, leading) = request.origin.map_or((Dialect::OpenAi, false), |from| (from.dialect, from.leading));
        Self { request, dialect, leading }
    }

    pub(crate) const fn param(&self, param: Param) -> &'static str {
        let column = match self.dialect {
            Dialect::OpenAi => 0,
            Dialect::OpenAiResponses => 1,
            Dialect::OpenAiCompletions => 2,
            // Nobody calls in Bedrock's, whose models are mostly Anthropic's.
            Dialect::Anthropic | Dialect::Bedrock => 3,
            Dialect::Gemini => 4,
        };
        PARAMS[param as usize][column]
    }

    /// The message at `at`.
    pub(crate) fn message(&self, at: usize) -> String {
        if self.leading && at == 0 {
            let field = match self.dialect {
                Dialect::OpenAiResponses => "instructions",
                Dialect::Gemini => "systemInstruction",
                _ => "system",
            };
            return field.to_owned();
        }
        let at = at - usize::from(self.leading);
        match self.dialect {
            Dialect::OpenAiCompletions => "prompt".to_owned(),
            _ => format!("{}[{at}]", self.param(Param::Messages)),
        }
    }

    /// What the message at `at` says.
    pub(crate) fn content(&self, at: usize) -> String {
        let message = self.message(at);
        match self.dialect {
            _ if self.leading && at == 0 => message,
            Dialect::OpenAiCompletions => message,
            Dialect::Gemini => message + ".parts",
            _ => message + ".content",
        }
    }

    /// The part `part` of the message at `at`.
    pub(crate) fn part(&self, at: usize, part: usize) -> String {
        let parts = &self.request.messages[at].parts;
        let message = self.message(at);
        match self.dialect {
            Dialect::OpenAi => match parts.get(part).map(|part| &part.content) {
                Some(Content::ToolCall(_)) => format!("{message}.tool_calls[{}]", before(parts, part, is_call)),
                Some(Content::Refusal(_)) => message + ".refusal",
                Some(Content::Reasoning(_)) => message + ".reasoning_content",
                Some(Content::ToolResult { .. }) => message,
                _ => format!("{message}.content[{}]", before(parts, part, is_content)),
            },
            Dialect::OpenAiCompletions => message,
            Dialect::OpenAiResponses if parts.get(part).is_some_and(|part| self.is_item(at, part)) => message,
            Dialect::Gemini => format!("{message}.parts[{part}]"),
            _ if self.leading && at == 0 => format!("{message}[{part}]"),
            _ => format!("{message}.content[{part}]"),
        }
    }

    /// Whether a part is a whole item of the input (responses).
    fn is_item(&self, at: usize, part: &Part) -> bool {
        match part.content {
            Content::ToolCall(_) | Content::ToolResult { .. } | Content::Reasoning(_) => true,
            Content::Other { .. } => self.request.messages[at].role == Role::Tool,
            _ => false,
        }
    }

    /// The part `inner` of the tool's answer that is part `part` of the message at `at`.
    pub(crate) fn inner(&self, at: usize, part: usize, inner: usize) -> String {
        let result = self.part(at, part);
        match self.dialect {
            Dialect::Gemini => format!("{result}.functionResponse.parts[{inner}]"),
            Dialect::OpenAiResponses => format!("{}.output[{inner}]", self.message(at)),
            _ => format!("{result}.content[{inner}]"),
        }
    }

    /// The arguments of the call that is part `part` of the message at `at`.
    pub(crate) fn arguments(&self, at: usize, part: usize) -> String {
        let member = match self.dialect {
            Dialect::OpenAi | Dialect::OpenAiCompletions => ".function.arguments",
            Dialect::OpenAiResponses => ".arguments",
            Dialect::Anthropic | Dialect::Bedrock => ".input",
            Dialect::Gemini => ".functionCall.args",
        };
        self.part(at, part) + member
    }

    /// The member that marks a part or a tool for caching.
    pub(crate) const fn cache(&self) -> &'static str {
        match self.dialect {
            Dialect::Anthropic => "cache_control",
            _ => "prompt_cache_breakpoint",
        }
    }

    /// The member of a picture that says how closely to look.
    pub(crate) const fn detail(&self) -> &'static str {
        match self.dialect {
            Dialect::OpenAi => "image_url.detail",
            _ => "detail",
        }
    }

    /// Where an answer's schema is described.
    pub(crate) const fn schema(&self) -> &'static str {
        match self.dialect {
            Dialect::OpenAi => "response_format.json_schema",
            _ => self.param(Param::ResponseFormat),
        }
    }

    /// The schema of the arguments of the tool at `at`.
    pub(crate) fn parameters(&self, at: usize) -> String {
        let member = match self.dialect {
            Dialect::OpenAi | Dialect::OpenAiCompletions => ".function.parameters",
            Dialect::OpenAiResponses => ".parameters",
            Dialect::Anthropic | Dialect::Bedrock => ".input_schema",
            Dialect::Gemini => ".parametersJsonSchema",
        };
        self.tool(at) + member
    }

    /// What says the kind of the tool at `at`.
    pub(crate) fn tool_kind(&self, at: usize) -> String {
        match self.dialect {
            Dialect::OpenAiResponses => self.tool(at) + ".type",
            _ => self.tool(at),
        }
    }

    /// The tool at `at`.
    pub(crate) fn tool(&self, at: usize) -> String {
        match self.dialect {
            Dialect::Gemini => format!("tools.functionDeclarations[{at}]"),
            _ => format!("tools[{at}]"),
        }
    }
}

fn before(parts: &[Part], part: usize, is: fn(&Content) -> bool) -> usize {
    parts[..part.min(parts.len())].iter().filter(|part| is(&part.content)).count()
}

const fn is_call(content: &Content) -> bool {
    matches!(content, Content::ToolCall(_))
}

/// Whether a chat message has it in `content`.
const fn is_content(content: &Content) -> bool {
    !matches!(content, Content::ToolCall(_) | Content::Refusal(_) | Content::Reasoning(_) | Content::ToolResult { .. })
}
