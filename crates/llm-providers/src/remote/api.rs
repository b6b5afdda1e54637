//! Which provider's REST format a server speaks: routes, headers and the dialect of its bodies.

use std::sync::Arc;

use http::header::{self, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method};
use llm_core::{Dialect, Error, ErrorKind, Operation};
use secrecy::{ExposeSecret, SecretString};

use super::authorizer::Authorizer;
use super::config::ConfigError;
#[cfg(feature = "vertex")]
use super::vertex::Tokens;
use crate::transport::{AddressError, ConnectOptions, Endpoint};
use crate::wire::{Codec, codec};

/// A provider's REST format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Api {
    /// OpenAI's chat completions, embeddings and models. The base URL ends with the version: `/v1`.
    #[default]
    OpenAi,
    /// The same at Azure, of a resource's `/openai/v1`: the key has a header of its own.
    AzureOpenAi,
    /// Anthropic's messages. The base URL has no version; one that is there all the same is left out.
    Anthropic,
    /// Google's `generateContent`. The base URL has no version; one that is there all the same is left out.
    Gemini,
    /// The same at Vertex AI, of a project at a location, which the base URL names ([`HttpConfig::vertex_ai`]); its key
    /// is a service account's key file.
    ///
    /// [`HttpConfig::vertex_ai`]: crate::HttpConfig::vertex_ai
    #[cfg(feature = "vertex")]
    VertexAi,
    /// Anthropic's messages at Vertex AI, with the base URL and the key of [`VertexAi`](Self::VertexAi).
    #[cfg(feature = "vertex")]
    VertexAnthropic,
    /// Amazon Bedrock's `Converse`, in the region that the base URL names ([`HttpConfig::bedrock`]). Its key is one of
    /// Bedrock's own; other credentials sign ([`HttpProvider::with_aws_credentials`]).
    ///
    /// [`HttpConfig::bedrock`]: crate::HttpConfig::bedrock
    /// [`HttpProvider::with_aws_credentials`]: crate::HttpProvider::with_aws_credentials
    #[cfg(feature = "bedrock")]
    Bedrock,
}

/// What shows who sends a request.
pub(super) enum Proof {
    /// A header that is always the same.
    Header(HeaderName, HeaderValue),
    /// What is made for each request.
    #[cfg_attr(not(feature = "vertex"), expect(dead_code, reason = "no other API has keys for which such is made"))]
    Made(Arc<dyn Authorizer>),
}

impl Api {
    /// Where the vendor itself serves it, to all.
    #[must_use]
    pub const fn base_url(self) -> &'static str {
        match self {
            // Azure's names the resource: there is no default.
            Self::OpenAi | Self::AzureOpenAi => "https://api.openai.com/v1",
            Self::Anthropic => "https://api.anthropic.com",
            Self::Gemini => "https://generativelanguage.googleapis.com",
            // The base URL that names no project reaches no model.
            #[cfg(feature = "vertex")]
            Self::VertexAi | Self::VertexAnthropic => "https://aiplatform.googleapis.com/v1",
            #[cfg(feature = "bedrock")]
            Self::Bedrock => "https://bedrock-runtime.us-east-1.amazonaws.com",
        }
    }

    /// The dialect of its completions.
    #[must_use]
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::OpenAi | Self::AzureOpenAi => Dialect::OpenAi,
            Self::Anthropic => Dialect::Anthropic,
            Self::Gemini => Dialect::Gemini,
            #[cfg(feature = "vertex")]
            Self::VertexAi => Dialect::Gemini,
            #[cfg(feature = "vertex")]
            Self::VertexAnthropic => Dialect::Anthropic,
            #[cfg(feature = "bedrock")]
            Self::Bedrock => Dialect::Bedrock,
        }
    }

    pub(super) fn codec(self) -> &'static dyn Codec {
        codec(self.dialect()).expect("each API's dialect has a codec")
    }

    /// Reads a base URL.
    pub(super) fn endpoint(self, base_url: &str) -> Result<Endpoint, AddressError> {
        let url = base_url.trim().trim_end_matches('/');
        let versions: &[&str] = match self {
            Self::OpenAi | Self::AzureOpenAi => &[],
            Self::Anthropic => &["/v1"],
            Self::Gemini => &["/v1", "/v1beta"],
            #[cfg(feature = "vertex")]
            Self::VertexAi | Self::VertexAnthropic => &[],
            #[cfg(feature = "bedrock")]
            Self::Bedrock => &[],
        };
        let bare = versions.iter().find_map(|version| url.strip_suffix(version));
        Endpoint::parse(bare.unwrap_or(url))
    }

    /// What shows who has `key`; what must be asked for it elsewhere is asked with `options`.
    #[cfg_attr(not(feature = "vertex"), expect(unused_variables, reason = "nothing is asked for elsewhere"))]
    pub(super) fn proof(self, key: &SecretString, options: &ConnectOptions) -> Result<Proof, ConfigError> {
        let (name, value) = match self {
            #[cfg(feature = "bedrock")]
            Self::Bedrock => (header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {}", key.expose_secret()))),
            Self::OpenAi => (header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {}", key.expose_secret()))),
            Self::AzureOpenAi => (HeaderName::from_static("api-key"), HeaderValue::from_str(key.expose_secret())),
            Self::Anthropic => (HeaderName::from_static("x-api-key"), HeaderValue::from_str(key.expose_secret())),
            Self::Gemini => (HeaderName::from_static("x-goog-api-key"), HeaderValue::from_str(key.expose_secret())),
            #[cfg(feature = "vertex")]
            Self::VertexAi | Self::VertexAnthropic => {
                return Ok(Proof::Made(Arc::new(Tokens::of(key.expose_secret(), options.clone())?)));
            }
        };
        let mut value = value.map_err(|_| ConfigError::Key)?;
        value.set_sensitive(true);
        Ok(Proof::Header(name, value))
    }

    /// What goes with every request, unless its caller says otherwise.
    pub(super) fn headers(self, headers: &mut HeaderMap) {
        if self == Self::Anthropic {
            headers.insert(ANTHROPIC_VERSION, HeaderValue::from_static("2023-06-01"));
        }
    }

    /// Where a completion is asked in `dialect`, which is not the API's first.
    pub(super) fn other_place(self, endpoint: &Endpoint, dialect: Dialect) -> Option<PathAndQuery> {
        match (self, dialect) {
            (Self::OpenAi | Self::AzureOpenAi, Dialect::OpenAiResponses) => Some(endpoint.join("/responses")),
            (Self::OpenAi | Self::AzureOpenAi, Dialect::OpenAiCompletions) => Some(endpoint.join("/completions")),
            _ => None,
        }
    }

    /// Where completions are asked, if that is one place for all models.
    pub(super) fn one_place(self, endpoint: &Endpoint) -> Option<PathAndQuery> {
        match self {
            Self::OpenAi | Self::AzureOpenAi | Self::Anthropic => {
                Some(self.route(endpoint, Operation::Chat, "", false).ok()?.1)
            }
            Self::Gemini => None,
            #[cfg(feature = "vertex")]
            Self::VertexAi | Self::VertexAnthropic => None,
            #[cfg(feature = "bedrock")]
            Self::Bedrock => None,
        }
    }

    /// Whether its answers say which model gave them.
    pub(super) const fn names_models(self) -> bool {
        match self {
            #[cfg(feature = "bedrock")]
            Self::Bedrock => false,
            _ => true,
        }
    }

    /// Where `operation` of `model` is asked.
    pub(super) fn route(
        self,
        endpoint: &Endpoint,
        operation: Operation,
        model: &str,
        stream: bool,
    ) -> Result<(Method, PathAndQuery), Error> {
        let path = match (self, operation) {
            (Self::OpenAi | Self::AzureOpenAi, Operation::Chat) => "/chat/completions",
            (Self::OpenAi | Self::AzureOpenAi, Operation::Embeddings) => "/embeddings",
            (Self::OpenAi | Self::AzureOpenAi, Operation::Models) => "/models",
            (Self::Anthropic, Operation::Chat) => "/v1/messages",
            (Self::Anthropic, Operation::CountTokens) => "/v1/messages/count_tokens",
            (Self::Anthropic, Operation::Models) => "/v1/models?limit=1000",
            (Self::Gemini, Operation::Models) => "/v1beta/models?pageSize=1000",
            (Self::Gemini, Operation::Chat | Operation::CountTokens) => {
                let verb = gemini_verb(operation, stream);
                let path = match model.contains('/') {
                    true => format!("/v1beta/{}:{verb}", segment(model)),
                    false => format!("/v1beta/models/{}:{verb}", segment(model)),
                };
                return Ok((Method::POST, endpoint.join(&path)));
            }
            #[cfg(feature = "vertex")]
            (Self::VertexAi, Operation::Chat | Operation::CountTokens) => {
                let path = match model.contains('/') {
                    true => format!("/{}:{}", segment(model), gemini_verb(operation, stream)),
                    false => {
                        format!("/publishers/google/models/{}:{}", segment(model), gemini_verb(operation, stream))
                    }
                };
                return Ok((Method::POST, endpoint.join(&path)));
            }
            #[cfg(feature = "vertex")]
            (Self::VertexAnthropic, Operation::Chat | Operation::CountTokens) => {
                let (model, verb) = match (operation, stream) {
                    // Here the body names it.
                    (Operation::CountTokens, _) => ("count-tokens".to_owned(), "rawPredict"),
                    (_, false) => (segment(model), "rawPredict"),
                    (_, true) => (segment(model), "streamRawPredict"),
                };
                return Ok((Method::POST, endpoint.join(&format!("/publishers/anthropic/models/{model}:{verb}"))));
            }
            #[cfg(feature = "vertex")]
            (Self::VertexAi | Self::VertexAnthropic, Operation::Embeddings | Operation::Models) => {
                return Err(unasked(operation));
            }
            #[cfg(feature = "bedrock")]
            (Self::Bedrock, Operation::Chat) => {
                // Of an ARN the slashes, too, are no part of the path.
                let (model, verb) =
                    (segment(model).replace('/', "%2F"), if stream { "converse-stream" } else { "converse" });
                return Ok((Method::POST, endpoint.join(&format!("/model/{model}/{verb}"))));
            }
            #[cfg(feature = "bedrock")]
            (Self::Bedrock, _) => return Err(unasked(operation)),
            (Self::OpenAi | Self::AzureOpenAi, Operation::CountTokens)
            | (Self::Anthropic | Self::Gemini, Operation::Embeddings)
            | (_, Operation::Forward) => {
                return Err(unasked(operation));
            }
        };
        let method = if operation == Operation::Models { Method::GET } else { Method::POST };
        Ok((method, endpoint.join(path)))
    }
}

pub(super) const ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");

fn unasked(operation: Operation) -> Error {
    let message = format!("{} cannot be asked of this provider", operation.as_str());
    Error::new(ErrorKind::Unsupported, message)
}

const fn gemini_verb(operation: Operation, stream: bool) -> &'static str {
    match (operation, stream) {
        (Operation::CountTokens, _) => "countTokens",
        (_, false) => "generateContent",
        (_, true) => "streamGenerateContent?alt=sse",
    }
}

/// A model's name as part of a path: all that has a meaning there is percent-encoded, slashes aside.
pub(super) fn segment(model: &str) -> String {
    let mut segment = String::with_capacity(model.len());
    for byte in model.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b'@' => {
                segment.push(char::from(byte));
            }
            _ => {
                segment.push('%');
                segment.extend(
                    [byte >> 4, byte & 15].map(|digit| {
                        char::from_digit(digit.into(), 16).map_or('0', |digit| digit.to_ascii_uppercase())
                    }),
                );
            }
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_may_have_a_slash_or_the_version_at_its_end() {
        for (api, base, path) in [
            (Api::OpenAi, "http://host/v1/", "/v1/chat/completions"),
            (Api::Anthropic, "http://host", "/v1/messages"),
            (Api::Anthropic, "http://host/v1/", "/v1/messages"),
            (Api::Anthropic, "http://host/proxy", "/proxy/v1/messages"),
            (Api::Gemini, "http://host/v1beta", "/v1beta/models/m:generateContent"),
            (Api::Gemini, "http://host/v1/", "/v1beta/models/m:generateContent"),
        ] {
            let endpoint = api.endpoint(base).unwrap();
            assert_eq!(api.route(&endpoint, Operation::Chat, "m", false).unwrap().1, path, "{base}");
        }
    }

    #[test]
    fn a_model_cannot_leave_its_place_in_the_path() {
        let endpoint = Api::Gemini.endpoint("http://host").unwrap();
        let path = |model| Api::Gemini.route(&endpoint, Operation::Chat, model, true).unwrap().1.to_string();
        assert_eq!(path("a?b#c:d"), "/v1beta/models/a%3Fb%23c%3Ad:streamGenerateContent?alt=sse");
        assert_eq!(path("tunedModels/x"), "/v1beta/tunedModels/x:streamGenerateContent?alt=sse");
    }

    #[cfg(feature = "bedrock")]
    #[test]
    fn a_model_of_bedrock_is_one_segment_of_the_path() {
        let endpoint = Api::Bedrock.endpoint("http://h/").unwrap();
        let path = |model, stream| Api::Bedrock.route(&endpoint, Operation::Chat, model, stream).unwrap().1.to_string();
        assert_eq!(path("us.anthropic.claude-v1:0", false), "/model/us.anthropic.claude-v1%3A0/converse");
        let arn = "arn:aws:bedrock:r:1:inference-profile/x";
        assert_eq!(path(arn, true), "/model/arn%3Aaws%3Abedrock%3Ar%3A1%3Ainference-profile%2Fx/converse-stream");
    }

    #[cfg(feature = "vertex")]
    #[test]
    fn models_of_vertex_ai_are_googles_unless_their_names_say_whose() {
        let endpoint = Api::VertexAi.endpoint("http://h/v1/projects/p/locations/l").unwrap();
        let path = |model, asked| Api::VertexAi.route(&endpoint, asked, model, false).unwrap().1.to_string();
        let at = "/v1/projects/p/locations/l";
        assert_eq!(path("m-1", Operation::Chat), format!("{at}/publishers/google/models/m-1:generateContent"));
        assert_eq!(path("m-1", Operation::CountTokens), format!("{at}/publishers/google/models/m-1:countTokens"));
        assert_eq!(path("endpoints/7", Operation::Chat), format!("{at}/endpoints/7:generateContent"));
        assert!(Api::VertexAi.route(&endpoint, Operation::Embeddings, "m", false).is_err());
    }
}
