//! The golden matrix: what a caller of one dialect and a provider of another say to each other, byte by byte.
//!
//! A file `data/matrix/FRONT-BACK.CASE.txt` holds what comes in (`caller request`, `upstream answer`, `upstream stream`,
//! `upstream error STATUS`), and what must go out. With `BLESS=1` in the environment what goes out is written anew: read
//! the difference before it is kept.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use llm_core::{Content, Dialect, StreamEvent};
use llm_providers::wire::sse::{DEFAULT_LIMIT, Framer};
use llm_providers::wire::{
    AnswerOptions, Capabilities, Codec, Strictness, Target, ThinkingStyle, Translator, codec, events,
};

/// A model of Anthropic's at Bedrock.
const CLAUDE: &str = "eu.anthropic.claude-x-v1:0";

/// Sections by name, in the order of the file.
struct Case {
    path: PathBuf,
    front: &'static dyn Codec,
    back: &'static dyn Codec,
    sections: Vec<(String, String)>,
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/matrix");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    // Of a codec that is not in this build there is nothing to see.
    paths.retain(|path| cfg!(feature = "bedrock") || !path.to_string_lossy().contains("-bedrock."));
    paths.into_iter().map(Case::read).collect()
}

fn dialect(name: &str) -> &'static dyn Codec {
    let all = [
        ("chat", Dialect::OpenAi),
        ("responses", Dialect::OpenAiResponses),
        ("completions", Dialect::OpenAiCompletions),
        ("anthropic", Dialect::Anthropic),
        ("gemini", Dialect::Gemini),
        ("bedrock", Dialect::Bedrock),
    ];
    let (_, dialect) = all.into_iter().find(|(known, _)| *known == name).unwrap();
    codec(dialect).unwrap()
}

impl Case {
    fn read(path: PathBuf) -> Self {
        let text = fs::read_to_string(&path).unwrap();
        let mut sections: Vec<(String, String)> = Vec::new();
        for line in text.lines() {
            match line.strip_prefix("=== ") {
                Some(name) => sections.push((name.to_owned(), String::new())),
                None => {
                    let (_, body) = sections.last_mut().unwrap();
                    body.push_str(line);
                    body.push('\n');
                }
            }
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        let (pair, _) = name.split_once('.').unwrap();
        let (front, back) = pair.split_once('-').unwrap();
        Self { front: dialect(front), back: dialect(back), path, sections }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.sections.iter().find(|(known, _)| known == name).map(|(_, body)| body.trim_end_matches('\n'))
    }

    /// The status and the body of the section `{name} STATUS`.
    fn status(&self, name: &str) -> Option<(u16, &str)> {
        self.sections.iter().find_map(|(known, body)| {
            let status = known.strip_prefix(name)?.trim().parse().ok()?;
            Some((status, body.trim_end_matches('\n')))
        })
    }

    /// The stream that a section holds.
    fn stream(&self) -> Option<Bytes> {
        let text = self.get("upstream stream")?;
        let whole = !text.ends_with("\\");
        let mut text = text.trim_end_matches('\\').to_owned();
        if whole {
            text.push_str("\n\n");
        }
        Some(text.into())
    }

    fn options(&self) -> AnswerOptions<'static> {
        AnswerOptions {
            from: Some(self.back.dialect()),
            created: 1_700_000_000,
            id: "answer-1",
            // Its answers name none.
            model: (self.back.dialect() == Dialect::Bedrock).then_some(CLAUDE),
            include_usage: true,
            thoughts: true,
            seals: true,
            ..AnswerOptions::default()
        }
    }

    /// What goes out, by section.
    fn output(&self) -> BTreeMap<String, String> {
        let mut output = BTreeMap::new();
        if let Some(body) = self.get("caller request") {
            let asked = self.front.decode_request(body.as_bytes()).unwrap();
            let capabilities = Capabilities { thinking: ThinkingStyle::Effort, ..Capabilities::default() };
            // What Bedrock's are told depends on whose they are.
            let model = if self.back.dialect() == Dialect::Bedrock { CLAUDE } else { "upstream-model" };
            let target = Target { model, capabilities: &capabilities, max_output: None, stream: asked.stream };
            let encode = |strictness| self.back.encode_request(&asked.request, &target, strictness);
            match encode(Strictness::Strict) {
                Ok(sent) => {
                    assert_eq!(encode(Strictness::Lenient).unwrap(), sent);
                    assert_eq!(encode(Strictness::Strict).unwrap(), sent, "the same again");
                    output.insert("upstream request".to_owned(), text(&sent.body));
                    if !sent.dropped.is_empty() {
                        output.insert("dropped".to_owned(), sent.dropped.join("\n"));
                    }
                }
                Err(error) => {
                    let told = format!("{}: {error}", error.param().unwrap_or_default());
                    output.insert("refused".to_owned(), told);
                }
            }
        }
        if let Some(body) = self.get("upstream answer") {
            let answer = match self.back.decode_response(body.as_bytes()) {
                Ok(response) => text(&self.front.encode_response(&response, &self.options())),
                Err(error) => text(&self.front.encode_error(&error, None).1),
            };
            output.insert("caller answer".to_owned(), answer);
        }
        if let Some(stream) = self.stream() {
            output.insert("caller stream".to_owned(), text(&self.translated(&[stream])));
        }
        if let Some((status, body)) = self.status("upstream error ") {
            let error = self.back.decode_error(status, &HeaderMap::new(), body.as_bytes(), Duration::ZERO);
            let (status, body) = self.front.encode_error(&error, None);
            output.insert(format!("caller error {status}"), text(&body));
        }
        output
    }

    /// The caller's frames for a stream that comes in these pieces, the one that tells of a failure included.
    fn translated(&self, pieces: &[Bytes]) -> Bytes {
        self.translated_with(pieces, &self.options())
    }

    fn translated_with(&self, pieces: &[Bytes], options: &AnswerOptions<'_>) -> Bytes {
        let mut translator =
            Translator::new(self.back.stream_decoder(), self.front.stream_encoder(options), DEFAULT_LIMIT);
        let mut out = Vec::new();
        let mut last = None;
        let mut take = |translator: &mut Translator, out: &mut Vec<u8>| {
            while let Some(frame) = translator.next_frame() {
                match frame {
                    Ok(frame) => {
                        assert_eq!(last, None, "nothing follows the last frame");
                        last = frame.last.then_some(());
                        out.extend_from_slice(&frame.bytes);
                    }
                    Err(error) => out.extend_from_slice(&translator.fail(&error)),
                }
            }
        };
        for piece in pieces {
            translator.push(piece.clone());
            take(&mut translator, &mut out);
        }
        translator.end();
        take(&mut translator, &mut out);
        out.into()
    }
}

/// Lines of a file end with a line feed alone; Gemini's frames do not.
fn text(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).unwrap().replace("\r\n", "\n").trim_end_matches('\n').to_owned()
}

#[test]
fn what_goes_out_is_what_the_matrix_says() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = Vec::new();
    for case in cases() {
        let output = case.output();
        let is_input =
            |name: &str| name == "caller request" || name.starts_with("upstream ") && name != "upstream request";
        let expected: BTreeMap<_, _> = case
            .sections
            .iter()
            .filter(|(name, _)| !is_input(name))
            .map(|(name, body)| (name.clone(), body.trim_end_matches('\n').to_owned()))
            .collect();
        if output == expected {
            continue;
        }
        if bless {
            let mut file = String::new();
            for (name, body) in case.sections.iter().filter(|(name, _)| is_input(name)) {
                file.push_str(&format!("=== {name}\n{}\n", body.trim_end_matches('\n')));
                let answers: &[&str] = match name.as_str() {
                    "caller request" => &["upstream request", "dropped", "refused"],
                    "upstream answer" => &["caller answer"],
                    "upstream stream" => &["caller stream"],
                    _ => &[],
                };
                let told = output.iter().filter(|(told, _)| {
                    answers.contains(&told.as_str())
                        || name.starts_with("upstream error") && told.starts_with("caller error")
                });
                for (name, body) in told {
                    file.push_str(&format!("=== {name}\n{body}\n"));
                }
            }
            fs::write(&case.path, file).unwrap();
        }
        for (name, body) in &output {
            if expected.get(name) != Some(body) {
                wrong.push(format!("{} {name}:\n{body}", case.path.display()));
            }
        }
        wrong.extend(expected.keys().filter(|name| !output.contains_key(*name)).map(|name| format!("no {name}")));
    }
    assert!(wrong.is_empty() || bless, "{}", wrong.join("\n"));
}

#[test]
fn a_stream_is_the_same_whatever_pieces_it_comes_in() {
    for case in cases() {
        // Bedrock's come in binary messages, whose pieces are put together before they come here.
        let Some(stream) = case.stream().filter(|_| case.back.dialect() != Dialect::Bedrock) else { continue };
        let whole = case.translated(std::slice::from_ref(&stream));
        for cut in 0..=stream.len() {
            let pieces = [stream.slice(..cut), stream.slice(cut..)];
            assert_eq!(case.translated(&pieces), whole, "{} cut at {cut}", case.path.display());
        }
        let bytes: Vec<_> = (0..stream.len()).map(|at| stream.slice(at..=at)).collect();
        assert_eq!(case.translated(&bytes), whole, "{} byte by byte", case.path.display());
    }
}

#[test]
fn streamed_arguments_joined_are_those_of_the_whole_answer() {
    let mut compared = 0;
    for case in cases() {
        let (Some(stream), Some(answer)) = (case.stream(), case.get("upstream answer")) else { continue };
        let Ok(response) = case.back.decode_response(answer.as_bytes()) else { continue };
        let whole: Vec<_> = response.tool_calls().map(|call| (call.name.clone(), call.arguments.clone())).collect();
        // As the caller reads the stream that was written for it.
        let translated = case.translated(&[stream]);
        let (mut framer, mut decoder) = (Framer::new(DEFAULT_LIMIT), case.front.stream_decoder());
        let mut calls: Vec<(String, String)> = Vec::new();
        let mut text = String::new();
        framer.push(translated);
        let mut failed = false;
        while let Some(event) = framer.next_event().unwrap() {
            let Some(data) = event.fields().data else { continue };
            let read = decoder.decode(&data, &mut |event| match event {
                StreamEvent::ToolCall { name, .. } => calls.push((name.into_string(), String::new())),
                StreamEvent::ToolArguments { index, fragment, .. } => {
                    calls[index as usize].1.push_str(&fragment.decode());
                }
                // A refusal is a text like any other where the dialect has no place for it.
                StreamEvent::Text { text: piece, .. } | StreamEvent::Refusal { text: piece, .. } => {
                    text.push_str(&piece.decode());
                }
                _ => {}
            });
            failed |= read.is_err();
        }
        if !failed {
            assert_eq!(calls, whole, "{}", case.path.display());
            let said = response.choices.iter().flat_map(|choice| &choice.message.parts);
            let said: String = said
                .filter_map(|part| match &part.content {
                    Content::Text(text) | Content::Refusal(text) => Some(text.as_str()),
                    _ => None,
                })
                .collect();
            assert_eq!(text, said, "{}", case.path.display());
            compared += calls.len();
        }
    }
    assert!(compared >= 6);
}

/// The pieces of thoughts that a chat's caller is told, and whether it is told of seals.
fn told_thoughts(frames: &[u8]) -> (Option<String>, bool) {
    let (mut framer, mut thoughts, mut seals) = (Framer::new(DEFAULT_LIMIT), None, false);
    framer.push(Bytes::copy_from_slice(frames));
    while let Some(event) = framer.next_event().unwrap() {
        let data = event.fields().data.unwrap_or_default();
        let Ok(chunk) = serde_json::from_slice::<serde_json::Value>(&data) else { continue };
        let delta = &chunk["choices"][0]["delta"];
        if let Some(piece) = delta["reasoning_content"].as_str() {
            thoughts.get_or_insert_with(String::new).push_str(piece);
        }
        seals |= !delta["reasoning_details"].is_null();
    }
    (thoughts, seals)
}

#[test]
fn a_chat_is_told_the_same_thoughts_whole_and_streamed_and_of_no_seals() {
    let mut compared = 0;
    for case in cases() {
        let (Some(stream), Some(answer)) = (case.stream(), case.get("upstream answer")) else { continue };
        let (Ok(response), Dialect::OpenAi) = (case.back.decode_response(answer.as_bytes()), case.front.dialect())
        else {
            continue;
        };
        let shown = AnswerOptions { thoughts: true, seals: false, ..case.options() };
        for options in [AnswerOptions { thoughts: false, ..shown }, shown] {
            let whole = case.front.encode_response(&response, &options);
            let whole: serde_json::Value = serde_json::from_slice(&whole).unwrap();
            let message = &whole["choices"][0]["message"];
            let expected = message["reasoning_content"].as_str().map(str::to_owned);
            assert!(message["reasoning_details"].is_null(), "{}", case.path.display());
            let streamed = case.translated_with(std::slice::from_ref(&stream), &options);
            assert_eq!(told_thoughts(&streamed), (expected.clone(), false), "{}", case.path.display());
            assert!(options.thoughts || expected.is_none(), "{}", case.path.display());
            compared += usize::from(expected.is_some());
        }
    }
    assert!(compared >= 2, "{compared}");
}

#[test]
fn a_whole_answer_told_as_a_stream_says_the_same() {
    for case in cases() {
        let Some(answer) = case.get("upstream answer") else { continue };
        let Ok(response) = case.back.decode_response(answer.as_bytes()) else { continue };
        let calls = |content: &Content| matches!(content, Content::ToolCall(_));
        let told = response.choices.iter().flat_map(|choice| &choice.message.parts).filter(|part| calls(&part.content));
        let told = told.count();
        let streamed = events(response.clone());
        let begun = streamed.iter().filter(|event| matches!(event, StreamEvent::ToolCall { .. })).count();
        assert_eq!(begun, told, "{}", case.path.display());
        assert!(matches!(streamed[0], StreamEvent::Start { .. }));
    }
}
