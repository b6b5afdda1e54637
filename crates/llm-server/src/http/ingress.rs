//! The routes of the data plane: what each asks, in which dialect, and how its body is read.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Uri};
use llm_core::{Dialect, Envelope, Error};
use llm_providers::wire::{anthropic, completions, gemini, openai, responses};

use super::auth::X_GOOG_API_KEY;

/// A question of the data plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ingress {
    asks: Asks,
    /// The model, where the path names it.
    model: Option<String>,
    /// Whether a stream is to come as one JSON array (Gemini without `alt=sse`).
    pub(super) array: bool,
    /// The key, where the query holds it.
    pub(super) key: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    Chat,
    Completion,
    Response,
    Embeddings,
    Messages,
    CountMessages,
    Content,
    ContentStream,
    CountContent,
}

impl Ingress {
    /// What is asked at `uri`; none where it is not the data plane's.
    pub(super) fn at(uri: &Uri) -> Option<Self> {
        let asks = match uri.path() {
            "/v1/chat/completions" => Asks::Chat,
            "/v1/completions" => Asks::Completion,
            "/v1/responses" => Asks::Response,
            "/v1/embeddings" => Asks::Embeddings,
            "/v1/messages" => Asks::Messages,
            "/v1/messages/count_tokens" => Asks::CountMessages,
            path => return Self::of_gemini(path, uri.query().unwrap_or_default()),
        };
        Some(Self { asks, model: None, array: false, key: None })
    }

    /// `/v1beta/models/MODEL:VERB`, and the same under `/v1`. Clients may encode the colon.
    fn of_gemini(path: &str, query: &str) -> Option<Self> {
        let rest = path.strip_prefix("/v1beta/").or_else(|| path.strip_prefix("/v1/"))?;
        let rest = decoded(rest)?;
        let (model, verb) = rest.rsplit_once(':')?;
        let asks = match verb {
            "generateContent" => Asks::Content,
            "streamGenerateContent" => Asks::ContentStream,
            "countTokens" => Asks::CountContent,
            _ => return None,
        };
        // A tuned model is called by all of its path.
        let model = match model.strip_prefix("models/") {
            Some(model) => model,
            None if model.starts_with("tunedModels/") => model,
            None => return None,
        };
        if model.is_empty() {
            return None;
        }
        let parameter = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next()
        };
        Some(Self {
            asks,
            model: Some(model.to_owned()),
            array: asks == Asks::ContentStream && parameter("alt") != Some("sse"),
            key: parameter("key").and_then(|key| Some(decoded(key)?.into_owned())),
        })
    }

    /// The route in words of its own, for traces and logs.
    pub(super) const fn route(&self) -> &'static str {
        match self.asks {
            Asks::Chat => "/v1/chat/completions",
            Asks::Completion => "/v1/completions",
            Asks::Response => "/v1/responses",
            Asks::Embeddings => "/v1/embeddings",
            Asks::Messages => "/v1/messages",
            Asks::CountMessages => "/v1/messages/count_tokens",
            Asks::Content => "/v1beta/models/{model}:generateContent",
            Asks::ContentStream => "/v1beta/models/{model}:streamGenerateContent",
            Asks::CountContent => "/v1beta/models/{model}:countTokens",
        }
    }

    /// The dialect of its body, its answer and its errors.
    pub(super) const fn dialect(&self) -> Dialect {
        match self.asks {
            Asks::Chat | Asks::Embeddings => Dialect::OpenAi,
            Asks::Completion => Dialect::OpenAiCompletions,
            Asks::Response => Dialect::OpenAiResponses,
            Asks::Messages | Asks::CountMessages => Dialect::Anthropic,
            Asks::Content | Asks::ContentStream | Asks::CountContent => Dialect::Gemini,
        }
    }

    /// Reads its body as far as needed to route it.
    pub(super) fn read(&self, body: Bytes) -> Result<Envelope, Error> {
        let model = self.model.as_deref().unwrap_or_default();
        match self.asks {
            Asks::Chat => openai::read_chat(body),
            Asks::Completion => completions::read_completions(body),
            Asks::Response => responses::read_responses(body),
            Asks::Embeddings => openai::read_embeddings(body),
            Asks::Messages => anthropic::read_messages(body),
            Asks::CountMessages => anthropic::read_count(body),
            Asks::Content => gemini::read_generate(body, model, false),
            Asks::ContentStream => gemini::read_generate(body, model, true),
            Asks::CountContent => gemini::read_count(body, model),
        }
    }

    /// The caller's headers that a provider of its dialect is to see: such as change the answer and hold no credentials.
    pub(super) fn forwarded(&self, headers: &HeaderMap) -> HeaderMap {
        let names: &[HeaderName] = match self.dialect() {
            Dialect::Anthropic => &[ANTHROPIC_VERSION, ANTHROPIC_BETA],
            Dialect::Gemini => &[],
            _ => &[OPENAI_BETA],
        };
        let mut forwarded = HeaderMap::new();
        for name in names {
            for value in headers.get_all(name) {
                forwarded.append(name.clone(), value.clone());
            }
        }
        forwarded
    }
}

/// Whose format a request for models is in, by the headers that the vendors' clients send.
pub(crate) fn dialect_of_models(path: &str, headers: &HeaderMap) -> Dialect {
    if path.starts_with("/v1beta/") || headers.contains_key(X_GOOG_API_KEY) {
        Dialect::Gemini
    } else if headers.contains_key(ANTHROPIC_VERSION) {
        Dialect::Anthropic
    } else {
        Dialect::OpenAi
    }
}

/// The text that is percent-encoded; none where it is no UTF-8.
fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        rest = match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high << 4 | low) as u8);
                &after[2..]
            }
            _ => {
                bytes.push(byte);
                after
            }
        };
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

const ANTHROPIC_BETA: HeaderName = HeaderName::from_static("anthropic-beta");
const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");
const OPENAI_BETA: HeaderName = HeaderName::from_static("openai-beta");

#[cfg(test)]
mod tests {
    use super::*;

    fn at(uri: &str) -> Option<Ingress> {
        Ingress::at(&uri.parse().unwrap())
    }

    #[test]
    fn geminis_paths_name_the_model_the_question_and_the_form() {
        for (uri, model, array) in [
            ("/v1beta/models/g:streamGenerateContent", "g", true),
            ("/v1/models/g%3AstreamGenerateContent?alt=sse", "g", false),
            ("/v1beta/models/up/sim?tokens=1", "", false),
            ("/v1beta/models/up%2Fsim%3Ftokens=1:streamGenerateContent?alt=sse&key=k%2D1", "up/sim?tokens=1", false),
            ("/v1beta/tunedModels/x:streamGenerateContent?alt=sse", "tunedModels/x", false),
        ] {
            let found = at(uri);
            let found = found.as_ref().map(|asked| (asked.model.as_deref().unwrap(), asked.array));
            assert_eq!(found, (!model.is_empty()).then_some((model, array)), "{uri}");
        }
        assert_eq!(at("/v1beta/models/m:generateContent?key=k%2D1").unwrap().key.as_deref(), Some("k-1"));
        assert_eq!(at("/v1beta/models/m:embedContent"), None);
        assert_eq!(at("/v1/models/m"), None);
        assert_eq!(at("/v1/chat/completions").unwrap().dialect(), Dialect::OpenAi);
    }
}
