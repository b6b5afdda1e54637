//! OpenAI's other routes: moderations, images, audio, and what the account keeps.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use llm_core::{Error, ErrorKind};
use serde_json::{Value, json};

use super::answer::{Answerer, Broken, Then, after, headers};
use super::form::{Field, fields};
use super::head::{Framing, Method};
use super::objects::{Answer, Asked};
use super::request::{LastTarget, Request};
use super::wait::pass;
use crate::sim::ledger::InFlight;
use crate::sim::script::SimScript;
use crate::sim::simulator::CREATED;

/// A route of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Other {
    Moderations,
    Images,
    Speech,
    Transcriptions,
    Objects,
}

/// Bytes of an answer's image or sound.
const MEDIUM: usize = 3000;

impl Other {
    /// What is asked at `path`, which is without its version.
    pub(super) fn at(path: &str) -> Option<Self> {
        Some(match path {
            "/moderations" => Self::Moderations,
            "/images/generations" | "/images/edits" | "/images/variations" => Self::Images,
            "/audio/speech" => Self::Speech,
            "/audio/transcriptions" | "/audio/translations" => Self::Transcriptions,
            _ if ["/files", "/uploads", "/batches", "/responses/"].iter().any(|start| path.starts_with(start)) => {
                Self::Objects
            }
            _ => return None,
        })
    }
}

/// What a request says.
struct Said {
    json: Value,
    fields: Vec<Field>,
}

impl Said {
    fn read(request: &Request) -> Result<Self, Error> {
        let kind = request.header("content-type").unwrap_or_default();
        if kind.starts_with("multipart/form-data") {
            let no_form = || Error::new(ErrorKind::InvalidRequest, "the body is no form");
            return Ok(Self { json: Value::Null, fields: fields(kind, &request.body).ok_or_else(no_form)? });
        }
        let json = if request.body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&request.body) };
        let json =
            json.map_err(|error| Error::new(ErrorKind::InvalidRequest, format!("the body is no JSON: {error}")))?;
        Ok(Self { json, fields: Vec::new() })
    }

    fn text(&self, name: &str) -> Option<String> {
        let field = self.fields.iter().find(|field| field.name == name);
        let field = field.map(|field| String::from_utf8_lossy(&field.value).into_owned());
        field.or_else(|| self.json[name].as_str().map(str::to_owned))
    }

    fn file(&self, name: &str) -> Result<&Field, Error> {
        let field = self.fields.iter().find(|field| field.name == name);
        field.ok_or_else(|| Error::new(ErrorKind::InvalidRequest, format!("`{name}` is missing")).with_param(name))
    }

    fn is(&self, name: &str) -> bool {
        self.json[name] == true || self.text(name).is_some_and(|text| text == "true")
    }
}

/// What is sent back.
enum Reply {
    Whole(&'static str, Bytes),
    /// The data of each event, and its name where the API gives one.
    Events(Vec<(Option<&'static str>, Value)>),
}

impl Answerer<'_, '_> {
    /// Answers a request of one of these routes, as its model's script has it.
    pub(super) async fn other(
        &mut self,
        request: &Request,
        other: Other,
        path: &str,
        last: &mut Option<LastTarget>,
    ) -> Result<Then, Broken> {
        let number = self.note(request);
        let said = Said::read(request);
        let target = said.and_then(|said| {
            let model = said.text("model").filter(|_| other != Other::Objects).unwrap_or_default();
            Ok((self.target(&model, request.script(), last)?, said))
        });
        let (target, said) = target.inspect_err(|_| self.shared.simulator.begin_other().fail())?;
        let (mut in_flight, ordinal) = self.shared.simulator.begin(&target);
        let answered = async {
            self.admit(request, &target.script)?;
            self.open(&target, ordinal).await?;
            match self.reply(request, other, path, &said)? {
                Reply::Whole(kind, body) => {
                    self.whole_of(kind, request, number, &target.script, &body, 0, &mut in_flight).await
                }
                Reply::Events(events) => self.events(request, number, &target.script, events, &mut in_flight).await,
            }
        };
        let answered = answered.await;
        if matches!(answered, Err(Broken::Refused(_) | Broken::Cut)) {
            in_flight.fail();
        }
        answered
    }

    fn reply(&self, request: &Request, other: Other, path: &str, said: &Said) -> Result<Reply, Error> {
        let json = |value: Value| Reply::Whole("application/json", value.to_string().into());
        Ok(match other {
            Other::Objects => {
                let method = match request.head.method {
                    Method::Get => "GET",
                    Method::Post => "POST",
                    Method::Delete => "DELETE",
                    Method::Other => "",
                };
                let asked = Asked { method, path, body: &request.body, fields: &said.fields };
                match self.shared.objects.lock().answer(&asked)? {
                    Answer::Json(value) => json(value),
                    Answer::Content(bytes) => Reply::Whole("application/octet-stream", bytes),
                }
            }
            _ if request.head.method != Method::Post => {
                return Err(Error::new(ErrorKind::NotFound, "this path is for another method"));
            }
            Other::Moderations => json(moderation(said)),
            Other::Images => {
                if path != "/images/generations" {
                    said.file("image").or_else(|error| said.file("image[]").map_err(|_| error))?;
                }
                let image = STANDARD.encode(medium(said.text("prompt").unwrap_or_default().as_bytes()));
                let usage = json!({ "input_tokens": 3, "output_tokens": 5, "total_tokens": 8 });
                match said.is("stream") {
                    false => json(json!({ "created": CREATED, "data": [{ "b64_json": image }], "usage": usage })),
                    true => Reply::Events(
                        ["image_generation.partial_image", "image_generation.completed"]
                            .map(|name| (Some(name), json!({ "type": name, "b64_json": image, "usage": usage })))
                            .into(),
                    ),
                }
            }
            Other::Speech => {
                let sound = medium(said.text("input").unwrap_or_default().as_bytes());
                match said.text("stream_format").as_deref() {
                    Some("sse") => {
                        let delta = json!({ "type": "speech.audio.delta", "audio": STANDARD.encode(&sound) });
                        Reply::Events(vec![(None, delta), (None, json!({ "type": "speech.audio.done" }))])
                    }
                    _ => Reply::Whole("audio/mpeg", sound),
                }
            }
            Other::Transcriptions => {
                let file = said.file("file")?;
                let name = file.filename.as_deref().unwrap_or("a file");
                let text = format!("{name} of {} bytes", file.value.len());
                match said.text("response_format").as_deref() {
                    Some("text" | "srt" | "vtt") => {
                        Reply::Whole("text/plain; charset=utf-8", format!("{text}\n").into())
                    }
                    _ if said.is("stream") => Reply::Events(vec![
                        (None, json!({ "type": "transcript.text.delta", "delta": text })),
                        (None, json!({ "type": "transcript.text.done", "text": text })),
                    ]),
                    _ => json(json!({ "text": text, "usage": { "type": "duration", "seconds": 1 } })),
                }
            }
        })
    }

    async fn events(
        &mut self,
        request: &Request,
        number: u64,
        script: &SimScript,
        events: Vec<(Option<&'static str>, Value)>,
        in_flight: &mut InFlight,
    ) -> Result<Then, Broken> {
        let framing = if request.head.chunks { Framing::Chunked } else { Framing::ToTheEnd };
        self.writer.head(200, &headers("text/event-stream", number), framing, request.head.keep).send().await?;
        for (at, (name, data)) in events.into_iter().enumerate() {
            pass(script.gap.filter(|_| at > 0)).await;
            let name = name.map_or_else(String::new, |name| format!("event: {name}\n"));
            let event = format!("{name}data: {data}\n\n");
            if script.cut_after.is_some_and(|most| at as u64 >= u64::from(most)) {
                self.writer.half(framing, event.as_bytes()).send().await?;
                return Err(Broken::Cut);
            }
            self.writer.part(framing, event.as_bytes()).send().await?;
        }
        in_flight.complete();
        if framing == Framing::Chunked {
            self.writer.part(framing, &[]);
        }
        self.writer.send().await?;
        Ok(if framing == Framing::ToTheEnd { Then::Close } else { after(script) })
    }
}

/// What says that each input is harmless, but for those that say that they are not.
fn moderation(said: &Said) -> Value {
    let inputs = match &said.json["input"] {
        Value::Array(inputs) => inputs.clone(),
        one => vec![one.clone()],
    };
    let results = inputs.iter().map(|input| {
        let flagged = input.to_string().contains("harmful");
        let of =
            |value: Value| json!({ "hate": value, "hate/threatening": value, "self-harm": value, "violence": value });
        json!({
            "flagged": flagged, "categories": of(flagged.into()),
            "category_scores": of(if flagged { 0.9 } else { 0.1 }.into()),
            "category_applied_input_types": of(json!(["text"])),
        })
    });
    let model = said.text("model").unwrap_or_else(|| "sim".to_owned());
    json!({ "id": "modr-sim", "model": model, "results": results.collect::<Vec<_>>() })
}

/// An image or a sound made of `seed`: every byte there is, and nothing that is text.
fn medium(seed: &[u8]) -> Bytes {
    let sum = seed.iter().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(*byte));
    (0..MEDIUM).map(|at| (at as u8).wrapping_add(sum)).collect::<Vec<_>>().into()
}
