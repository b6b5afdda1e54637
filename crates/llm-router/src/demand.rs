//! What a request asks for, as far as the choice depends on it.

use std::time::Duration;

use llm_core::{CompletionRequest, HashKey, Message, Part, Role, estimate_tokens, hash128};

/// What a request asks for, as far as the choice depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Tokens of the prompt.
    pub input_tokens: u64,
    /// Tokens expected of the answer.
    pub output_tokens: u64,
    /// A hash of the part of the prompt that requests share; equal prefixes go to the same target under
    /// [`Strategy::Prefix`](crate::Strategy::Prefix).
    pub prefix: u64,
    /// The time that is left for the answer. Targets that are expected to take longer stand behind the others, and
    /// [`Strategy::Arbitrage`](crate::Strategy::Arbitrage) holds it against their 95th percentile where it is below
    /// [`RouterConfig::sla`](crate::RouterConfig::sla).
    pub within: Option<Duration>,
}

/// The answer's length where the request does not cap it.
const TYPICAL_OUTPUT: u64 = 500;

/// A request of which nothing is known: 1000 tokens in, 500 out.
impl Default for Demand {
    fn default() -> Self {
        Self { input_tokens: 1000, output_tokens: TYPICAL_OUTPUT, prefix: 0, within: None }
    }
}

impl Demand {
    /// The demand of `request`, which may take any time: its texts' estimated tokens, its cap on the answer or 500 tokens, and the hash of
    /// its messages up to the first user's, which every turn of a conversation begins with.
    ///
    /// The hash is the same in every process, so that replicas agree on a prefix's target.
    #[must_use]
    pub fn of(request: &CompletionRequest) -> Self {
        let input_tokens = request.messages.iter().flat_map(texts).map(estimate_tokens).sum();
        let leading = request.messages.iter().position(|message| message.role == Role::User).map_or(0, |at| at + 1);
        let mix = |hash: u64, text: &str| hash128(HashKey::fixed(hash), &[text.as_bytes()]) as u64;
        let prefix = request.messages[..leading].iter().flat_map(texts).fold(0, mix);
        Self { input_tokens, output_tokens: request.max_tokens.unwrap_or(TYPICAL_OUTPUT), prefix, within: None }
    }
}

fn texts(message: &Message) -> impl Iterator<Item = &str> {
    message.parts.iter().filter_map(Part::as_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_turns_of_a_conversation_share_its_prefix() {
        let mut messages = vec![Message::system("Be brief."), Message::user("What is 2+2?")];
        let first = Demand::of(&CompletionRequest::new("auto", messages.clone()).with_max_tokens(7));
        assert_eq!((first.input_tokens, first.output_tokens), (6, 7));
        messages.extend([Message::assistant("4"), Message::user("And 3+3?")]);
        let second = Demand::of(&CompletionRequest::new("auto", messages));
        assert_eq!(second.prefix, first.prefix);
        let other = vec![Message::system("Be brief."), Message::user("What is 5+5?")];
        assert_ne!(Demand::of(&CompletionRequest::new("auto", other)).prefix, first.prefix);
    }
}
