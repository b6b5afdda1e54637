//! Calls of tools in a conversation, and their results: what must hold before either is translated.

use std::collections::HashSet;

use llm_core::{CompletionRequest, Content, Error, ErrorKind, Message, Role};

use super::names::Names;

/// Checks that every call is answered once, in the messages of tools that directly follow it, and every result is of such
/// a call.
///
/// # Errors
/// `InvalidRequest`, naming the message at fault.
pub(crate) fn check(request: &CompletionRequest, names: &Names<'_>) -> Result<(), Error> {
    let mut seen: HashSet<&str> = HashSet::new();
    // The calls that wait for their results, and the message that made them.
    let mut open: Vec<&str> = Vec::new();
    let mut caller = 0;
    for (at, message) in request.messages.iter().enumerate() {
        for part in &message.parts {
            match &part.content {
                Content::ToolResult { call_id, .. } => {
                    let Some(place) = open.iter().position(|id| id == call_id) else {
                        let what = if seen.contains(call_id.as_str()) { "is not next to it" } else { "is of no call" };
                        return Err(wrong(names, at, &format!("the result for the tool call '{call_id}' {what}")));
                    };
                    open.remove(place);
                }
                Content::ToolCall(call) => {
                    if !seen.insert(&call.id) {
                        return Err(wrong(names, at, &format!("there are several tool calls '{}'", call.id)));
                    }
                    caller = at;
                }
                _ => {}
            }
        }
        let calls = message.tool_calls().map(|call| call.id.as_str());
        if is_followed_up(message) && !open.is_empty() {
            return Err(unanswered(names, caller, open[0]));
        }
        open.extend(calls);
    }
    match open.first() {
        Some(id) => Err(unanswered(names, caller, id)),
        None => Ok(()),
    }
}

/// Whether calls before a message will not be answered any more. Neighbours that are the model's are one turn.
fn is_followed_up(message: &Message) -> bool {
    let is_result = |content: &Content| matches!(content, Content::ToolResult { .. });
    match message.role {
        Role::Assistant | Role::Tool => false,
        _ => message.parts.is_empty() || !message.parts.iter().all(|part| is_result(&part.content)),
    }
}

fn unanswered(names: &Names<'_>, at: usize, id: &str) -> Error {
    wrong(names, at, &format!("the tool call '{id}' has no result in the messages directly after it"))
}

fn wrong(names: &Names<'_>, at: usize, why: &str) -> Error {
    let path = names.message(at);
    Error::new(ErrorKind::InvalidRequest, format!("invalid value for '{path}': {why}"))
        .with_param(path)
        .with_code("invalid_value")
}
