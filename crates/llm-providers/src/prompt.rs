//! The text of a prompt, and how many tokens it comes to.

use llm_core::{Content, Message, Part, estimate_tokens};

/// The tokens of all text in `messages`, estimated.
pub(crate) fn input_tokens(messages: &[Message]) -> u64 {
    texts(messages).into_iter().map(estimate_tokens).sum()
}

/// All text in `messages`, what tools answered and are asked included.
pub(crate) fn texts(messages: &[Message]) -> Vec<&str> {
    fn collect<'a>(parts: &'a [Part], texts: &mut Vec<&'a str>) {
        for part in parts {
            match &part.content {
                Content::Text(text) | Content::Refusal(text) => texts.push(text),
                Content::ToolCall(call) => texts.extend([call.name.as_str(), &call.arguments]),
                Content::ToolResult { content, .. } => collect(content, texts),
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    for message in messages {
        collect(&message.parts, &mut found);
    }
    found
}
