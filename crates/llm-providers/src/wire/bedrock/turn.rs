//! What is said in turn: messages and instructions, their parts, and marks for caching.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use llm_core::{CacheMark, Content, Error, Part, Source};

use super::block::{DOCUMENTS, IMAGES, input, write_call, write_source, write_thought};
use super::translate::{Offered, Translation};
use crate::wire::json::Writer;
use crate::wire::losses::refuse;
use crate::wire::turns::{Placed, Speaker, Turn, Turns};
use crate::wire::{Level, ids};

/// So many places of a prompt can be marked for caching.
const MAX_MARKS: usize = 4;

/// The longest that is the service's usual time for what it caches, in seconds.
const SHORT: u64 = 300;

impl<'a> Translation<'a> {
    /// Counts the marks for caching in the order of the prompt: tools, instructions, turns.
    pub(super) fn count_marks(&mut self, turns: &Turns<'_>, tools: &[Offered<'_>]) {
        let parts = turns.system.iter().chain(turns.turns.iter().flat_map(|turn| &turn.parts));
        let marks = tools.iter().filter(|offered| offered.tool.cache.is_some()).count()
            + parts.filter(|placed| placed.part.cache.is_some()).count();
        self.skip_marks = if self.family.caches() { marks.saturating_sub(MAX_MARKS) } else { marks };
    }

    /// Whether the next mark is one of the last that are allowed.
    pub(super) fn keeps_mark(&mut self) -> bool {
        let skipped = self.skip_marks > 0;
        self.skip_marks -= usize::from(skipped);
        !skipped
    }

    pub(super) fn turn(&mut self, writer: &mut Writer, turn: &Turn<'a>) -> Result<(), Error> {
        let mut result = Ok(());
        writer.object(|writer| {
            writer.key("role").string(match turn.speaker {
                Speaker::Assistant => "assistant",
                Speaker::User | Speaker::System => "user",
            });
            writer.key("content").array(|writer| result = self.blocks(writer, &turn.parts));
        });
        result
    }

    pub(super) fn blocks(&mut self, writer: &mut Writer, parts: &[Placed<'a>]) -> Result<(), Error> {
        parts.iter().try_for_each(|placed| {
            let path = self.names.part(placed.at, placed.place);
            self.block(writer, placed, &path)?;
            let Some(mark) = placed.part.cache else { return Ok(()) };
            if self.keeps_mark() {
                write_mark(writer, mark);
            } else {
                self.losses.hint(format!("{path}.{}", self.names.cache()));
            }
            Ok(())
        })
    }

    fn block(&mut self, writer: &mut Writer, placed: &Placed<'a>, path: &str) -> Result<(), Error> {
        let part = placed.part;
        self.beside(part, path)?;
        let mut result = Ok(());
        writer.object(|writer| match &part.content {
            Content::Reasoning(thought) => write_thought(writer, thought, part.signature.as_ref()),
            Content::ToolCall(call) if call.custom => {
                result = Err(refuse(path, "the provider has no tools that take free text"));
            }
            Content::ToolCall(call) => match input(&call.arguments) {
                Some(input) => write_call(writer, &ids::plain(&call.id), &call.name, input),
                None => {
                    let path = self.names.arguments(placed.at, placed.place);
                    result = Err(refuse(&path, "they are no JSON object"));
                }
            },
            Content::ToolResult { call_id, content, is_error } => writer.key("toolResult").object(|writer| {
                writer.key("toolUseId").string(&ids::plain(call_id));
                writer.key("content").array(|writer| {
                    result = content.iter().enumerate().try_for_each(|(inner, part)| {
                        let path = self.names.inner(placed.at, placed.place, inner);
                        self.inner(writer, part, &path, placed.at)
                    });
                });
                if *is_error {
                    writer.key("status").string("error");
                }
            }),
            _ => result = self.shown(writer, part, path, placed.at),
        });
        result
    }

    /// Writes a part of a tool's answer.
    fn inner(&mut self, writer: &mut Writer, part: &'a Part, path: &str, at: usize) -> Result<(), Error> {
        if part.cache.is_some() {
            self.losses.hint(format!("{path}.{}", self.names.cache()));
        }
        self.beside(part, path)?;
        let mut result = Ok(());
        writer.object(|writer| result = self.shown(writer, part, path, at));
        result
    }

    /// Judges what is said about a part beside what it is.
    fn beside(&mut self, part: &Part, path: &str) -> Result<(), Error> {
        if !part.citations.is_empty() {
            self.losses.hint(format!("{path}.citations"));
        }
        let reasoning = matches!(part.content, Content::Reasoning(_));
        if part.signature.is_some() && !reasoning {
            self.losses.hint(format!("{path}.signature"));
        }
        self.losses.members(path, self.dialect, Level::Part, &part.extra)
    }

    /// Writes the member of a block that says what may be read or seen.
    fn shown(&mut self, writer: &mut Writer, part: &'a Part, path: &str, at: usize) -> Result<(), Error> {
        match &part.content {
            // The words of a refusal are words.
            Content::Text(text) | Content::Refusal(text) => writer.key("text").string(text),
            Content::Image { source, detail } => {
                if detail.as_deref().is_some_and(|detail| detail != "auto") {
                    self.losses.hint(format!("{path}.{}", self.names.detail()));
                }
                match source {
                    Source::Base64 { media_type, data } => {
                        let format = format_of(&IMAGES, media_type);
                        let format =
                            format.ok_or_else(|| refuse(path, "the provider takes jpeg, png, gif and webp"))?;
                        write_source(writer, "image", format, None, data);
                    }
                    _ => return Err(refuse(path, "the provider takes pictures in data URIs of base64 alone")),
                }
            }
            Content::File { source, name } => {
                let (format, data) = match source {
                    Source::Base64 { media_type, data } => {
                        let format = format_of(&DOCUMENTS, media_type);
                        let text = || media_type.get(..5).is_some_and(|kind| kind.eq_ignore_ascii_case("text/"));
                        let format = format.or_else(|| text().then_some("txt"));
                        let why = "the provider takes PDF, text and office documents";
                        (format.ok_or_else(|| refuse(path, why))?, Cow::Borrowed(data.as_str()))
                    }
                    Source::Text { text, .. } => ("txt", Cow::Owned(BASE64.encode(text))),
                    _ => return Err(refuse(path, "the provider takes documents in data URIs of base64 alone")),
                };
                let name = document_name(name.as_deref(), at);
                write_source(writer, "document", format, Some(&name), &data);
            }
            _ => return Err(refuse(path, "such a part has no equal in the provider's dialect")),
        }
        Ok(())
    }
}

pub(super) fn write_mark(writer: &mut Writer, mark: CacheMark) {
    writer.object(|writer| {
        writer.key("cachePoint").object(|writer| {
            writer.key("type").string("default");
            if mark.ttl.is_some_and(|ttl| ttl.as_secs() > SHORT) {
                writer.key("ttl").string("1h");
            }
        });
    });
}

fn format_of(formats: &[(&str, &'static str)], media_type: &str) -> Option<&'static str> {
    formats.iter().find(|(known, _)| known.eq_ignore_ascii_case(media_type)).map(|(_, format)| *format)
}

/// The name of a document in a message, with the characters that names may have; one without is called by its message.
fn document_name(name: Option<&str>, at: usize) -> String {
    let allowed =
        |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '(' | ')' | '[' | ']');
    let spaced: String =
        name.unwrap_or_default().chars().map(|character| if allowed(character) { character } else { ' ' }).collect();
    // Of neighbouring spaces one may stand.
    let name: String = spaced.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect();
    if name.is_empty() { format!("document {at}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_documents_name_has_only_what_names_may_have() {
        assert_eq!(document_name(Some("Q3  report (final).pdf"), 2), "Q3 report (final) pdf");
        assert_eq!(document_name(Some("é"), 2), "document 2");
        assert_eq!(document_name(None, 0), "document 0");
    }
}
