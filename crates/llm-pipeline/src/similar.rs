//! Questions that are nearly the same as one whose answer is kept.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use llm_core::{Content, Dialect, Envelope, Operation, Role, TenantId, Tick};
use llm_dedup::{RequestKey, Scope, SimilarityConfig, SimilarityIndex, SimilarityStats};
use llm_providers::wire::openai::{decode_chat_request, encode_chat_request};

/// The questions that were asked, each with the key of its answer.
#[derive(Clone, Debug)]
pub(crate) struct Similar(SimilarityIndex<RequestKey>);

impl Similar {
    pub(crate) fn new(threshold: u32, ttl: Duration, max_entries: usize) -> Self {
        Self(SimilarityIndex::with_config(SimilarityConfig {
            threshold,
            ttl,
            max_entries,
            ..SimilarityConfig::default()
        }))
    }

    /// The key of a question that is nearly `question`.
    pub(crate) fn find(&self, question: &Question, now: Tick) -> Option<RequestKey> {
        self.0.find(&question.scope, &question.text, now)
    }

    /// Remembers that the answer to `question` is found by `key`.
    pub(crate) fn learn(&self, question: Question, key: RequestKey, now: Tick) {
        self.0.insert(question.scope, &question.text, key, now);
    }

    pub(crate) fn stats(&self) -> SimilarityStats {
        self.0.stats()
    }
}

/// What a user asks last, apart from all else that the request says.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    scope: Scope,
    text: String,
}

impl Question {
    /// The question of a chat that ends with one text of the user's and offers no tools; of any other request none.
    pub(crate) fn of(envelope: &Envelope, tenant: TenantId, route: Bytes) -> Option<Self> {
        if envelope.dialect != Dialect::OpenAi || envelope.operation != Operation::Chat || envelope.choices != 1 {
            return None;
        }
        let mut request = decode_chat_request(&envelope.body).ok()?.request;
        let tooled = !request.tools.is_empty() || request.messages.iter().any(|message| message.role == Role::Tool);
        let last = request.messages.last_mut().filter(|message| message.role == Role::User && !tooled)?;
        let [part] = last.parts.as_mut_slice() else { return None };
        let Content::Text(text) = &mut part.content else { return None };
        let text = std::mem::take(text);
        // As with requests that are the same: for whom it is and how it is labelled changes no answer, unless the answer
        // is stored with its labels.
        (request.user, request.safety_identifier) = (None, None);
        let stored = request.extra.iter().any(|(name, value)| name == "store" && value.as_str() == "true");
        request.extra.retain(|(name, _)| match name.as_str() {
            "metadata" => stored,
            name => name != "prompt_cache_key",
        });
        let rest = encode_chat_request(&request, None);
        let mut all = BytesMut::with_capacity(route.len() + rest.len() + 4);
        all.put_u32(route.len() as u32);
        all.put_slice(&route);
        all.put_slice(&rest);
        Some(Self { scope: Scope::new(tenant, all.freeze()), text })
    }
}
