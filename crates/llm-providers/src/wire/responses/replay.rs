//! A whole response as the stream that says the same. Members that nobody here knows are kept.

use llm_core::{Error, ErrorKind, Frame};

use super::response::failure;
use super::usage::read_usage;
use crate::wire::json::{Kind, Raw, Writer};
use crate::wire::openai::not_json;

/// The frames that say what the whole answer `body` says, an event each: that it began, item after item with each text in
/// one piece, and the answer as it is.
///
/// # Errors
/// `BadAnswer` when `body` is no answer; what its `error` says when it failed.
pub(in crate::wire) fn replay_response(body: &[u8]) -> Result<Vec<Frame>, Error> {
    let response = Raw::parse(body).map_err(|syntax| not_json(syntax, body))?;
    if let Some(error) = failure(response) {
        return Err(error);
    }
    let output = response.member("output").filter(|output| output.kind() == Kind::Array);
    let output = output.ok_or_else(|| Error::new(ErrorKind::BadAnswer, "the provider's answer has no 'output'"))?;
    let mut events = Events::default();
    for event in ["response.created", "response.in_progress"] {
        events.tell(event, |writer| begun(writer.key("response"), response));
    }
    for (at, item) in output.items().enumerate() {
        events.item(at, item);
    }
    let incomplete = response.member("status").is_some_and(|status| status.text() == "\"incomplete\"");
    let end = if incomplete { "response.incomplete" } else { "response.completed" };
    let last = events.tell(end, |writer| writer.key("response").text(response.text()));
    last.usage = response.member("usage").and_then(read_usage).map(Box::new);
    last.last = true;
    Ok(events.0)
}

/// Writes the response as it was before anything of it was told.
fn begun(writer: &mut Writer, response: Raw<'_>) {
    writer.object(|writer| {
        for (key, value) in response.members() {
            writer.key(&key);
            match key.as_ref() {
                "status" => writer.string("in_progress"),
                "output" => writer.array(|_| {}),
                "usage" | "incomplete_details" | "completed_at" => writer.null(),
                _ => writer.text(value.text()),
            }
        }
    });
}

/// The events so far; each is numbered by its place.
#[derive(Default)]
struct Events(Vec<Frame>);

/// Where a part stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    item: usize,
    id: &'a str,
    /// The list that it is in, as events count it, and its place there.
    part: Option<(&'static str, usize)>,
}

impl Events {
    fn tell(&mut self, event: &str, fill: impl FnOnce(&mut Writer)) -> &mut Frame {
        let number = self.0.len();
        let mut data = Writer::default();
        data.object(|writer| {
            writer.key("type").string(event);
            writer.key("sequence_number").integer(number);
            fill(writer);
        });
        // A break between two tokens of the answer's would end the event's line.
        data.unbreak();
        let mut frame = Writer::after(format!("event: {event}\ndata: ").as_bytes());
        frame.raw(&data.into_bytes());
        frame.raw(b"\n\n");
        self.0.push(Frame { bytes: frame.into_bytes(), ..Frame::default() });
        &mut self.0[number]
    }

    fn tell_of(&mut self, event: &str, place: Place<'_>, fill: impl FnOnce(&mut Writer)) -> &mut Frame {
        self.tell(event, |writer| {
            writer.key("item_id").text(place.id);
            writer.key("output_index").integer(place.item);
            if let Some((list, part)) = place.part {
                writer.key(list).integer(part);
            }
            fill(writer);
        })
    }

    fn item(&mut self, at: usize, item: Raw<'_>) {
        let whole = |writer: &mut Writer, write: &dyn Fn(&mut Writer)| {
            writer.key("output_index").integer(at);
            write(writer.key("item"));
        };
        self.tell("response.output_item.added", |writer| whole(writer, &|writer| emptied(writer, item)));
        let place = Place { item: at, id: item.member("id").map_or("\"\"", Raw::text), part: None };
        for (list, counted) in [("summary", "summary_index"), ("content", "content_index")] {
            for (number, part) in item.member(list).into_iter().flat_map(Raw::items).enumerate() {
                self.part(Place { part: Some((counted, number)), ..place }, part);
            }
        }
        let called = match item.member("type").map(Raw::text) {
            Some("\"function_call\"") => Some(("response.function_call_arguments", "arguments")),
            Some("\"custom_tool_call\"") => Some(("response.custom_tool_call_input", "input")),
            _ => None,
        };
        if let Some((event, member)) = called {
            self.text(event, member, place, item);
        }
        self.tell("response.output_item.done", |writer| whole(writer, &|writer| writer.text(item.text())));
    }

    fn part(&mut self, place: Place<'_>, part: Raw<'_>) {
        let of_summary = matches!(place.part, Some(("summary_index", _)));
        let around = if of_summary { "response.reasoning_summary_part" } else { "response.content_part" };
        self.tell_of(&format!("{around}.added"), place, |writer| emptied(writer.key("part"), part));
        let told = match part.member("type").map(Raw::text) {
            Some("\"output_text\"") => Some(("response.output_text", "text")),
            Some("\"refusal\"") => Some(("response.refusal", "refusal")),
            Some("\"summary_text\"") => Some(("response.reasoning_summary_text", "text")),
            Some("\"reasoning_text\"") => Some(("response.reasoning_text", "text")),
            _ => None,
        };
        if let Some((event, member)) = told {
            self.text(event, member, place, part);
        }
        self.tell_of(&format!("{around}.done"), place, |writer| writer.key("part").text(part.text()));
    }

    /// Tells the text in the member of `of`, in one piece, and what is said of it.
    fn text(&mut self, event: &str, member: &str, place: Place<'_>, of: Raw<'_>) {
        let text = of.member(member).map_or("\"\"", Raw::text);
        let logprobs = of.member("logprobs").map_or("[]", Raw::text);
        let log = |writer: &mut Writer| {
            if event == "response.output_text" {
                writer.key("logprobs").text(logprobs);
            }
        };
        if text != "\"\"" {
            let delta = self.tell_of(&format!("{event}.delta"), place, |writer| {
                writer.key("delta").text(text);
                log(writer);
            });
            delta.content = true;
        }
        for (number, annotation) in of.member("annotations").into_iter().flat_map(Raw::items).enumerate() {
            self.tell_of("response.output_text.annotation.added", place, |writer| {
                writer.key("annotation_index").integer(number);
                writer.key("annotation").text(annotation.text());
            });
        }
        self.tell_of(&format!("{event}.done"), place, |writer| {
            writer.key(member).text(text);
            log(writer);
        });
    }
}

/// Writes an item or a part as it was when it began: what is told piece by piece is empty.
fn emptied(writer: &mut Writer, whole: Raw<'_>) {
    writer.object(|writer| {
        for (key, value) in whole.members() {
            writer.key(&key);
            match (key.as_ref(), value.kind()) {
                ("status", _) => writer.string("in_progress"),
                ("text" | "refusal" | "arguments" | "input", Kind::String) => writer.string(""),
                ("content" | "summary" | "annotations" | "logprobs", Kind::Array) => writer.array(|_| {}),
                _ => writer.text(value.text()),
            }
        }
    });
}
