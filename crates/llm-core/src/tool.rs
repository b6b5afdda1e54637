//! Tools: what a model may call, and its calls.

use crate::{CacheMark, Json};

/// Something that the model may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// 1–64 of `a-zA-Z0-9_-`; empty for a [`ToolKind::Native`] one.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// The JSON Schema of its arguments; absent = none.
    pub parameters: Option<Json>,
    /// Whether the arguments must follow the schema to the letter.
    pub strict: Option<bool>,
    /// What kind of tool.
    pub kind: ToolKind,
    /// Whether the prompt up to and including this tool is worth caching.
    pub cache: Option<CacheMark>,
    /// Members without a neutral form, by their name in the dialect, in order.
    pub extra: Vec<(String, Json)>,
}

impl Tool {
    /// A function of JSON arguments.
    pub fn function(name: impl Into<String>, description: Option<String>, parameters: Option<Json>) -> Self {
        Self {
            name: name.into(),
            description,
            parameters,
            strict: None,
            kind: ToolKind::Function,
            cache: None,
            extra: Vec::new(),
        }
    }

    /// A tool that only its dialect knows.
    #[must_use]
    pub fn native(json: Json) -> Self {
        Self { kind: ToolKind::Native(json), ..Self::function("", None, None) }
    }
}

/// What kind of tool one is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ToolKind {
    /// It takes JSON.
    Function,
    /// It takes free text.
    Custom {
        /// The grammar of the text, in OpenAI's JSON.
        format: Option<Json>,
    },
    /// Something only the dialect knows, in its JSON, such as a search that the provider runs.
    Native(Json),
}

/// Whether and which tools are to be called.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ToolChoice {
    /// None.
    None,
    /// The model decides.
    Auto,
    /// At least one.
    Required,
    /// This one.
    Function(String),
    /// As if only these were offered.
    Allowed {
        /// Whether at least one of them must be called.
        required: bool,
        /// Their names.
        tools: Vec<String>,
    },
    /// Something only the dialect knows, in its JSON.
    Other(Json),
}

/// A call that the model wants made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolCall {
    /// The call's id, by which its result is told.
    pub id: String,
    /// The tool.
    pub name: String,
    /// JSON text as the model wrote it, possibly not valid JSON; of a custom tool, free text.
    pub arguments: String,
    /// Whether the tool is a [`ToolKind::Custom`] one.
    pub custom: bool,
}

impl ToolCall {
    /// A call of a function.
    pub fn function(id: impl Into<String>, name: impl Into<String>, arguments: impl Into<String>) -> Self {
        Self { id: id.into(), name: name.into(), arguments: arguments.into(), custom: false }
    }
}
