//! Tools: what a model may call, and its calls.

use crate::Json;

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// 1–64 of `a-zA-Z0-9_-`.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// The JSON Schema of its arguments; absent = none.
    pub parameters: Option<Json>,
    /// Whether the arguments must follow the schema to the letter.
    pub strict: Option<bool>,
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
    /// Something only the dialect knows, in its JSON.
    Other(Json),
}

/// A call that the model wants made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// The call's id, by which its result is told.
    pub id: String,
    /// The tool.
    pub name: String,
    /// JSON text as the model wrote it; possibly not valid JSON.
    pub arguments: String,
}
