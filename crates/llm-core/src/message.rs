//! Messages and the parts they are made of.

use std::time::Duration;

use crate::{Dialect, Json, ToolCall};

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The operator's standing instructions.
    System,
    /// The developer's instructions, where a provider tells them from the operator's.
    Developer,
    /// The person or program that asks.
    User,
    /// The model.
    Assistant,
    /// A tool that the model called.
    Tool,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub parts: Vec<Part>,
    /// A name that tells speakers of one role apart.
    pub name: Option<String>,
    /// Members without a neutral form, by their name in the dialect, in order.
    pub extra: Vec<(String, Json)>,
}

impl Message {
    /// A message made of `parts`.
    #[must_use]
    pub const fn new(role: Role, parts: Vec<Part>) -> Self {
        Self { role, parts, name: None, extra: Vec::new() }
    }

    /// A text of the system's.
    pub fn system(text: impl Into<String>) -> Self {
        Self::new(Role::System, vec![Part::text(text)])
    }

    /// A text of the user's.
    pub fn user(text: impl Into<String>) -> Self {
        Self::new(Role::User, vec![Part::text(text)])
    }

    /// A text of the model's.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self::new(Role::Assistant, vec![Part::text(text)])
    }

    /// A tool's answer to the call `call_id`.
    pub fn tool(call_id: impl Into<String>, text: impl Into<String>) -> Self {
        let result = Content::ToolResult { call_id: call_id.into(), content: vec![Part::text(text)], is_error: false };
        Self::new(Role::Tool, vec![result.into()])
    }

    /// The message's text parts, joined without a separator.
    #[must_use]
    pub fn text(&self) -> String {
        self.parts.iter().filter_map(Part::as_text).collect()
    }

    /// The tool calls in the message.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.parts.iter().filter_map(|part| match &part.content {
            Content::ToolCall(call) => Some(call),
            _ => None,
        })
    }
}

/// A piece of a message and what its dialect says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The piece.
    pub content: Content,
    /// Whether the prompt up to and including this part is worth caching.
    pub cache: Option<CacheMark>,
    /// The seal that lets the part's provider take it back.
    pub signature: Option<Signature>,
    /// What the text is based on.
    pub citations: Vec<Citation>,
    /// Members without a neutral form, by their name in the dialect, in order.
    pub extra: Vec<(String, Json)>,
}

impl Part {
    /// A part about which nothing else is said.
    #[must_use]
    pub const fn new(content: Content) -> Self {
        Self { content, cache: None, signature: None, citations: Vec::new(), extra: Vec::new() }
    }

    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(Content::Text(text.into()))
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl From<Content> for Part {
    fn from(content: Content) -> Self {
        Self::new(content)
    }
}

/// What a part is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// Text.
    Text(String),
    /// A picture.
    Image {
        /// Where it is.
        source: Source,
        /// The resolution wanted, in OpenAI's words: `auto`, `low`, `high`, ….
        detail: Option<String>,
    },
    /// Sound.
    Audio {
        /// Base64.
        data: String,
        /// `wav`, `mp3`, ….
        format: String,
    },
    /// A document.
    File {
        /// Where it is.
        source: Source,
        /// Its name.
        name: Option<String>,
    },
    /// The model's words for not answering.
    Refusal(String),
    /// The model's thoughts.
    Reasoning(Reasoning),
    /// A tool that the model wants called.
    ToolCall(ToolCall),
    /// What a tool answered.
    ToolResult {
        /// The id of the call.
        call_id: String,
        /// The answer.
        content: Vec<Part>,
        /// Whether the tool failed.
        is_error: bool,
    },
    /// A part that no neutral form exists for, in its dialect's JSON.
    Other {
        /// The dialect that knows it.
        dialect: Dialect,
        /// The part.
        json: Json,
    },
}

/// Where a picture or a document is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// At an address.
    Url(String),
    /// Here.
    Base64 {
        /// Such as `image/png`.
        media_type: String,
        /// Base64, as received.
        data: String,
    },
    /// Here, as text.
    Text {
        /// Such as `text/plain`.
        media_type: String,
        /// The text.
        text: String,
    },
    /// With the provider, under this id.
    Id(String),
}

/// A model's thoughts. Their seal is the part's [`signature`](Part::signature).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasoning {
    /// What may be read of them; empty where only the seal is given out.
    pub text: String,
    /// Whether the provider holds them back altogether: the signature is then all there is of them.
    pub redacted: bool,
}

/// Opaque bytes that a provider wants back unchanged: its proof that the part is its own. Worth nothing to any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The dialect of the provider that made it.
    pub dialect: Dialect,
    /// As received.
    pub value: String,
}

/// A place in a prompt up to which the provider is to keep it for the next call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheMark {
    /// How long; the provider's shortest where absent.
    pub ttl: Option<Duration>,
}

/// What a text is based on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Citation {
    /// Where it was found, if on the web.
    pub url: Option<String>,
    /// The source's title.
    pub title: Option<String>,
    /// The source's words.
    pub quote: Option<String>,
    /// The characters of the message's text that rest on it, first and one past the last; absent where the whole part
    /// does.
    pub span: Option<(u32, u32)>,
    /// The citation in its dialect's JSON.
    pub native: Option<(Dialect, Json)>,
}
