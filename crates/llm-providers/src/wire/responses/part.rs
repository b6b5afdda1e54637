//! Parts of messages and of tools' answers, read and written.

use std::borrow::Cow;

use llm_core::{Citation, Content, Dialect, Error, Json, Part, Source};

use crate::wire::json::{Kind, Raw, Writer};
use crate::wire::openai::{CACHE, default_name, read_mark, source, write_mark, write_source};
use crate::wire::read::{keep, missing, only, string, wrong_type};

/// Who speaks a part: the model's texts have another name than those of all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Voice {
    Model,
    Others,
}

/// Reads what a message or a tool says: a text, or a list of parts.
pub(super) fn read_content(raw: Raw<'_>, path: &str) -> Result<Vec<Part>, Error> {
    match raw.kind() {
        Kind::String => Ok(vec![Part::text(string(raw, path)?)]),
        Kind::Array => raw.items().enumerate().map(|(at, part)| read_one(part, &format!("{path}[{at}]"))).collect(),
        kind => Err(wrong_type(path, "a string or an array", kind)),
    }
}

fn read_one(raw: Raw<'_>, path: &str) -> Result<Part, Error> {
    if raw.kind() != Kind::Object {
        return Err(wrong_type(path, "an object", raw.kind()));
    }
    if raw.member("type").is_none() {
        return Err(missing(&format!("{path}.type")));
    }
    Ok(read_part(raw).unwrap_or_else(|| Content::Other { dialect: Dialect::OpenAiResponses, json: raw.json() }.into()))
}

/// The part's neutral form; `None` if it has none.
pub(super) fn read_part(raw: Raw<'_>) -> Option<Part> {
    let kind = raw.member("type")?.exact_string()?;
    let (content, known) = read_part_content(raw, &kind)?;
    let mut part = Part::new(content);
    for (key, value) in raw.members().filter(|(_, value)| !value.is_null()) {
        match key.as_ref() {
            "type" => {}
            "annotations" if kind == "output_text" && value.kind() == Kind::Array => {
                part.citations = value.items().map(read_citation).collect();
            }
            // Every text of an answer has them; they are told of the answer as a whole.
            "logprobs" if value.items().next().is_none() => {}
            CACHE => match read_mark(value) {
                Some(mark) => part.cache = Some(mark),
                None => keep(&mut part.extra, &key, value),
            },
            key if known.contains(&key) => {}
            key => keep(&mut part.extra, key, value),
        }
    }
    Some(part)
}

/// What the part is, and the members that say so.
fn read_part_content(raw: Raw<'_>, kind: &str) -> Option<(Content, &'static [&'static str])> {
    let text = |name| raw.member(name).map(|text| text.exact_string().map(Cow::into_owned));
    match kind {
        "input_text" | "output_text" | "text" => Some((Content::Text(text("text")??), &["text"])),
        "refusal" => Some((Content::Refusal(text("refusal")??), &["refusal"])),
        "input_image" => {
            let source = match (text("image_url"), text("file_id")) {
                (Some(url), None) => source(&url?),
                (None, Some(id)) => Source::Id(id?),
                _ => return None,
            };
            let detail = text("detail").map_or(Some(None), |detail| detail.map(Some))?;
            Some((Content::Image { source, detail }, &["image_url", "file_id", "detail"]))
        }
        "input_file" => {
            let source = match (text("file_id"), text("file_url"), text("file_data")) {
                (Some(id), None, None) => Source::Id(id?),
                (None, Some(url), None) => Source::Url(url?),
                (None, None, Some(data)) => match source(&data?) {
                    inline @ Source::Base64 { .. } => inline,
                    _ => return None,
                },
                _ => return None,
            };
            let name = text("filename").map_or(Some(None), |name| name.map(Some))?;
            Some((Content::File { source, name }, &["file_id", "file_url", "file_data", "filename"]))
        }
        "input_audio" => {
            let body = raw.member("input_audio")?;
            only(body, &["data", "format"])?;
            let text = |name| body.member(name)?.exact_string().map(Cow::into_owned);
            Some((Content::Audio { data: text("data")?, format: text("format")? }, &["input_audio"]))
        }
        _ => None,
    }
}

/// Reads an annotation; only links to pages say something that has a neutral form.
pub(super) fn read_citation(raw: Raw<'_>) -> Citation {
    let native = Some((Dialect::OpenAiResponses, raw.json()));
    if raw.member("type").is_none_or(|kind| kind.text() != "\"url_citation\"") {
        return Citation { native, ..Citation::default() };
    }
    let text = |name| raw.member(name).and_then(Raw::string).map(Cow::into_owned);
    let place = |name| raw.member(name).and_then(Raw::u64).and_then(|place| u32::try_from(place).ok());
    Citation {
        url: text("url"),
        title: text("title"),
        quote: None,
        span: place("start_index").zip(place("end_index")),
        native,
    }
}

/// Whether a citation has a form here.
pub(super) const fn is_known(citation: &Citation) -> bool {
    citation.url.is_some() || matches!(citation.native, Some((Dialect::OpenAiResponses, _)))
}

/// Writes an annotation of the characters `start..end`, unless it says which.
pub(super) fn write_citation(writer: &mut Writer, citation: &Citation, start: usize, end: usize) {
    if let Some((Dialect::OpenAiResponses, native)) = &citation.native {
        return writer.json(native);
    }
    let (start, end) = citation.span.map_or((start, end), |(start, end)| (start as usize, end as usize));
    writer.object(|writer| {
        writer.key("type").string("url_citation");
        writer.key("start_index").integer(start);
        writer.key("end_index").integer(end);
        writer.key("title").string(citation.title.as_deref().unwrap_or_default());
        writer.key("url").string(citation.url.as_deref().unwrap_or_default());
    });
}

/// What is written of a part beside what it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Besides {
    /// Its own members without a neutral form.
    pub(super) extra: bool,
    /// Marks for caching.
    pub(super) marks: bool,
}

/// Writes what a message or a tool says: one plain text as a string, anything else as a list.
pub(super) fn write_content(writer: &mut Writer, parts: &[&Part], voice: Voice, besides: Besides) {
    match parts {
        [] => writer.string(""),
        [part] if is_plain(part, voice, besides) => writer.string(part.as_text().unwrap_or_default()),
        parts => writer.array(|writer| parts.iter().for_each(|part| write_part(writer, part, voice, besides))),
    }
}

fn is_plain(part: &Part, voice: Voice, besides: Besides) -> bool {
    part.as_text().is_some()
        && (part.cache.is_none() || !besides.marks)
        && (!besides.extra || part.extra.is_empty() && (voice == Voice::Others || part.citations.is_empty()))
}

fn write_part(writer: &mut Writer, part: &Part, voice: Voice, besides: Besides) {
    if let Content::Other { json, .. } = &part.content {
        return writer.json(json);
    }
    writer.object(|writer| {
        match &part.content {
            Content::Text(text) => {
                writer.key("type").string(if voice == Voice::Model { "output_text" } else { "input_text" });
                writer.key("text").string(text);
                if voice == Voice::Model {
                    let cited = part.citations.iter().filter(|citation| besides.extra && is_known(citation));
                    let end = text.chars().count();
                    writer.key("annotations").array(|writer| {
                        cited.for_each(|citation| write_citation(writer, citation, 0, end));
                    });
                }
            }
            Content::Refusal(text) => {
                writer.key("type").string("refusal");
                writer.key("refusal").string(text);
            }
            Content::Image { source, detail } => {
                writer.key("type").string("input_image");
                write_source(writer, source, "image_url");
                if let Some(detail) = detail {
                    writer.key("detail").string(detail);
                }
            }
            Content::File { source, name } => {
                writer.key("type").string("input_file");
                // A document without a name is none to OpenAI.
                let made = || matches!(source, Source::Base64 { .. } | Source::Text { .. }) && !besides.extra;
                if let Some(name) = name.as_deref().or_else(|| made().then(|| default_name(source))) {
                    writer.key("filename").string(name);
                }
                let key = if matches!(source, Source::Url(_)) { "file_url" } else { "file_data" };
                write_source(writer, source, key);
            }
            Content::Audio { data, format } => {
                writer.key("type").string("input_audio");
                writer.key("input_audio").object(|writer| {
                    writer.key("data").string(data);
                    writer.key("format").string(format);
                });
            }
            _ => {}
        }
        if let Some(mark) = part.cache.filter(|_| besides.marks) {
            write_mark(writer, mark);
        }
        if besides.extra {
            let extra = |(key, value): &(String, Json)| writer.key(key).json(value);
            part.extra.iter().for_each(extra);
        }
    });
}
