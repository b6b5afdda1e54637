//! What a path asks for, and in which dialect.

use bytes::Bytes;
use llm_core::{Dialect, Envelope, Error, ErrorKind};

use crate::sim::value::Value as _;
#[cfg(feature = "bedrock")]
use crate::wire::bedrock;
use crate::wire::{anthropic, completions, gemini, openai, responses};

/// A question to a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Chat,
    Completion,
    Response,
    Embeddings,
    Messages,
    CountMessages,
    Generate {
        model: String,
        stream: bool,
    },
    CountContents {
        model: String,
    },
    /// Anthropic's messages at Vertex AI.
    Predict {
        model: String,
    },
    #[cfg(feature = "bedrock")]
    Converse {
        model: String,
        stream: bool,
    },
}

/// What precedes in the paths of Vertex AI whose models follow.
pub(super) const VERTEX: &str = "/publishers/";

impl Asked {
    /// What is asked at `path`, whose version may be left out.
    pub(super) fn at(path: &str) -> Option<Self> {
        #[cfg(feature = "bedrock")]
        if let Some((model, verb)) = path.strip_prefix("/model/").and_then(|rest| rest.split_once('/')) {
            let stream = ["converse", "converse-stream"].iter().position(|known| *known == verb)? == 1;
            return Some(Self::Converse { model: String::read(Some(model))?, stream });
        }
        let versioned = ["/v1beta", "/v1"].iter().find_map(|version| path.strip_prefix(version));
        match versioned.unwrap_or(path) {
            "/chat/completions" => Some(Self::Chat),
            "/completions" => Some(Self::Completion),
            "/responses" => Some(Self::Response),
            "/embeddings" => Some(Self::Embeddings),
            "/messages" => Some(Self::Messages),
            "/messages/count_tokens" => Some(Self::CountMessages),
            path => {
                let (publisher, path) = match path.strip_prefix("/projects/") {
                    Some(rest) => {
                        rest.split_once(VERTEX).and_then(|(_, path)| path.split_at_checked(path.find('/')?))?
                    }
                    None => ("", path),
                };
                let rest = path.strip_prefix("/models/")?;
                let (model, verb) = rest.rsplit_once(':').or_else(|| rest.rsplit_once("%3A"))?;
                let model = String::read(Some(model))?;
                match verb {
                    "rawPredict" if (publisher, model.as_str()) == ("anthropic", "count-tokens") => {
                        Some(Self::CountMessages)
                    }
                    "rawPredict" | "streamRawPredict" if publisher == "anthropic" => Some(Self::Predict { model }),
                    _ if publisher == "anthropic" => None,
                    "generateContent" => Some(Self::Generate { model, stream: false }),
                    "streamGenerateContent" => Some(Self::Generate { model, stream: true }),
                    "countTokens" => Some(Self::CountContents { model }),
                    _ => None,
                }
            }
        }
    }

    pub(super) const fn dialect(&self) -> Dialect {
        match self {
            Self::Chat | Self::Embeddings => Dialect::OpenAi,
            Self::Completion => Dialect::OpenAiCompletions,
            Self::Response => Dialect::OpenAiResponses,
            Self::Messages | Self::CountMessages | Self::Predict { .. } => Dialect::Anthropic,
            Self::Generate { .. } | Self::CountContents { .. } => Dialect::Gemini,
            #[cfg(feature = "bedrock")]
            Self::Converse { .. } => Dialect::Bedrock,
        }
    }

    /// Reads its body.
    pub(super) fn read(&self, body: Bytes) -> Result<Envelope, Error> {
        match self {
            Self::Chat => openai::read_chat(body),
            Self::Completion => completions::read_completions(body),
            Self::Response => responses::read_responses(body),
            Self::Embeddings => openai::read_embeddings(body),
            Self::Messages => anthropic::read_messages(body),
            Self::CountMessages => anthropic::read_count(body),
            Self::Predict { model } => anthropic::read_messages(named(&body, model)?),
            Self::Generate { model, stream } => gemini::read_generate(body, model, *stream),
            Self::CountContents { model } => gemini::read_count(body, model),
            #[cfg(feature = "bedrock")]
            Self::Converse { model, stream } => bedrock::read_converse(body, model, *stream),
        }
    }
}

/// The messages that Vertex AI is sent, as Anthropic itself is: with the model's name, which must not be there, and
/// without the version, which must.
fn named(body: &[u8], model: &str) -> Result<Bytes, Error> {
    let wrong = |what: &str| Error::new(ErrorKind::InvalidRequest, what.to_owned());
    let mut members: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(body).map_err(|_| wrong("the body is no JSON object"))?;
    if members.remove("anthropic_version").is_none_or(|version| version != "vertex-2023-10-16") {
        return Err(wrong("anthropic_version: it must be vertex-2023-10-16"));
    }
    if members.insert("model".to_owned(), model.into()).is_some() {
        return Err(wrong("model: extra inputs are not permitted"));
    }
    Ok(serde_json::Value::Object(members).to_string().into())
}
