//! A conversation as the turns of two speakers, for the dialects that want it so.

use llm_core::{CompletionRequest, Content, Dialect, Error, ErrorKind, Part, Role};

use super::losses::{Losses, refuse};
use super::names::Names;

/// A conversation as instructions and turns.
#[derive(Debug)]
pub(crate) struct Turns<'a> {
    /// The instructions, in order.
    pub(crate) system: Vec<Placed<'a>>,
    /// What the user and the model say in turn, and instructions in between where they may stand there.
    pub(crate) turns: Vec<Turn<'a>>,
}

/// What one of the two says before the other does.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) speaker: Speaker,
    /// In a turn of the user's the answers of tools come first.
    pub(crate) parts: Vec<Placed<'a>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaker {
    User,
    Assistant,
    /// Instructions among the turns.
    System,
}

/// A part and where it stands in the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed<'a> {
    pub(crate) part: &'a Part,
    /// The message.
    pub(crate) at: usize,
    /// The part of the message.
    pub(crate) place: usize,
}

impl<'a> Turns<'a> {
    /// The turns of `request` for a provider of `dialect`. Neighbours of one speaker are joined, empty texts left out, and
    /// so are thoughts that this dialect did not seal. Instructions that do not come first stay where they are if
    /// `late_system` and if a user's turn precedes them, else they join the first.
    ///
    /// # Errors
    /// When nothing is left to say, or the model speaks first.
    pub(crate) fn of(
        request: &'a CompletionRequest,
        dialect: Dialect,
        late_system: bool,
        names: &Names<'_>,
        losses: &mut Losses,
    ) -> Result<Self, Error> {
        // Claude's seals are good wherever it runs.
        let sealed_by = if dialect == Dialect::Bedrock { Dialect::Anthropic } else { dialect };
        // What was read from the same dialect is already as it must be.
        let same = request.origin.is_some_and(|origin| origin.dialect == dialect);
        let mut built = Self { system: Vec::new(), turns: Vec::new() };
        for (at, message) in request.messages.iter().enumerate() {
            if message.name.is_some() {
                losses.hint(format!("{}.name", names.message(at)));
            }
            let mut parts = Vec::with_capacity(message.parts.len());
            for (place, part) in message.parts.iter().enumerate() {
                match &part.content {
                    Content::Text(text) if text.is_empty() && part.signature.is_none() => {}
                    Content::Reasoning(_) if part.signature.as_ref().is_none_or(|seal| seal.dialect != sealed_by) => {
                        losses.hint(names.part(at, place));
                    }
                    _ => parts.push(Placed { part, at, place }),
                }
            }
            if parts.is_empty() {
                // A thought may stand alone where each item is a message.
                let thoughts = message.parts.iter().all(|part| matches!(part.content, Content::Reasoning(_)));
                if matches!(message.role, Role::User | Role::Assistant) && (message.parts.is_empty() || !thoughts) {
                    losses.reject(names.content(at), "there is nothing in it")?;
                }
                continue;
            }
            let speaker = match message.role {
                Role::System | Role::Developer => {
                    let after_user = built.turns.last().is_some_and(|turn| turn.speaker == Speaker::User);
                    let late = !built.turns.is_empty();
                    if !late || !(same || late_system && after_user) {
                        if late {
                            losses.hint(format!("{}.role", names.message(at)));
                        }
                        built.system.extend(parts);
                        continue;
                    }
                    Speaker::System
                }
                Role::User | Role::Tool => Speaker::User,
                Role::Assistant => Speaker::Assistant,
            };
            match built.turns.last_mut() {
                Some(turn) if turn.speaker == speaker && !same => turn.parts.extend(parts),
                _ => built.turns.push(Turn { speaker, parts }),
            }
        }
        for turn in built.turns.iter_mut().filter(|turn| turn.speaker == Speaker::User) {
            // Stable: each kind keeps its order.
            turn.parts.sort_by_key(|placed| !matches!(placed.part.content, Content::ToolResult { .. }));
        }
        match built.turns.first() {
            None => {
                let path = names.param(super::names::Param::Messages);
                let message = format!("invalid value for '{path}': it must hold a message of the user's");
                Err(Error::new(ErrorKind::InvalidRequest, message).with_param(path).with_code("invalid_value"))
            }
            Some(turn) if turn.speaker == Speaker::Assistant => {
                let path = format!("{}.role", names.message(turn.parts[0].at));
                Err(refuse(&path, "the user must speak first"))
            }
            Some(_) => Ok(built),
        }
    }

    /// Whether the last turn answers calls whose turn lacks the thoughts that led to them.
    pub(crate) fn is_unsealed_loop(&self) -> bool {
        let [.., called, answered] = self.turns.as_slice() else { return false };
        let is = |turn: &Turn<'_>, of: fn(&Content) -> bool| turn.parts.iter().any(|placed| of(&placed.part.content));
        is(answered, |content| matches!(content, Content::ToolResult { .. }))
            && is(called, |content| matches!(content, Content::ToolCall(_)))
            && !is(called, |content| matches!(content, Content::Reasoning(_)))
    }
}
