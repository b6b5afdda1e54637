//! A provider that answers with what it was asked.

use std::fmt;
use std::sync::Arc;

use futures_util::stream;
use llm_core::{
    Answer, BoxFuture, Call, Clock, CompletionRequest, Dialect, Error, Model, Provider, ProviderId, Role, StopReason,
    SystemClock, Usage, WireAnswer, WireBody, estimate_tokens,
};

use crate::exchange::{self, Asked, Chat, FrameWriter};
use crate::prompt::input_tokens;
use crate::reply::{Reply, Said, Spoken};
use crate::vector;
use crate::wire::codec;
use crate::words::first_bytes;

/// Answers each completion with the last text of the user's, at once: word by word when a stream is asked for.
/// Embeddings are unit vectors that depend on the input alone. Every model name is accepted.
///
/// # Limitations
/// Tools are never called and structured output is not imitated.
///
/// # Example
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use llm_core::{CompletionRequest, Message, Provider};
/// use llm_providers::EchoProvider;
///
/// let echo = EchoProvider::new("echo");
/// let request = CompletionRequest::new("echo", vec![Message::user("What is 2+2?")]);
/// assert_eq!(echo.complete(request).await?.text_content(), "What is 2+2?");
/// # Ok::<(), llm_core::Error>(())
/// # }).unwrap().unwrap();
/// ```
#[derive(Clone)]
pub struct EchoProvider {
    id: ProviderId,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for EchoProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EchoProvider").field("id", &self.id).finish_non_exhaustive()
    }
}

impl EchoProvider {
    /// A provider configured as `id`.
    pub fn new(id: impl Into<ProviderId>) -> Self {
        Self { id: id.into(), clock: Arc::new(SystemClock::new()) }
    }

    /// Dates answers by `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    fn answer(&self, call: Call) -> Result<Answer, Error> {
        let now = self.clock.unix_time().as_secs();
        Ok(match Asked::read(call)? {
            Asked::Chat(chat) if chat.stream => streamed(&chat, now),
            Asked::Chat(chat) => chat.answer(echo(&chat.request, now).whole()),
            Asked::Count(request, dialect) => exchange::count(&request, dialect)?,
            Asked::Embeddings(request, format) => exchange::embeddings(vector::embed(&request)?, format),
            Asked::Models { wire } => {
                let model = Model { id: "echo".into(), created: now, owned_by: "llmkit".into() };
                exchange::models(vec![model], wire)
            }
        })
    }
}

impl Provider for EchoProvider {
    fn id(&self) -> &ProviderId {
        &self.id
    }

    fn speaks(&self, dialect: Dialect) -> bool {
        codec(dialect).is_some()
    }

    fn send(&self, call: Call) -> BoxFuture<'_, Result<Answer, Error>> {
        Box::pin(async { self.answer(call).map_err(|error| error.with_provider(self.id.clone())) })
    }
}

fn streamed(chat: &Chat, now: u64) -> Answer {
    let events = echo(&chat.request, now).events();
    let Some(wire) = chat.wire else {
        return Answer::Events(Box::pin(stream::iter(events.map(Ok))));
    };
    let mut writer = FrameWriter::new(wire, now);
    let frames = events.map(Some).chain([None]);
    let frames = frames.map(move |event| match event {
        Some(event) => writer.frame(&event),
        None => writer.done(),
    });
    let body = WireBody::Frames(Box::pin(stream::iter(frames.map(Ok))));
    Answer::from(WireAnswer { headers: exchange::headers("text/event-stream"), body })
}

fn echo(request: &CompletionRequest, created: u64) -> Reply {
    let asked = request.messages.iter().rfind(|message| message.role == Role::User);
    let mut text = asked.map(|message| message.text()).unwrap_or_default();
    if let Some(end) = request.stop.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| text.find(stop)).min() {
        text.truncate(end);
    }
    let mut stop = StopReason::Stop;
    if let Some(most) = request.max_tokens.filter(|most| *most < estimate_tokens(&text)) {
        // The longest text that is estimated at that many tokens; none at 0.
        let kept =
            if most == 0 { 0 } else { first_bytes(&text, usize::try_from(most * 4).unwrap_or(usize::MAX)).len() };
        text.truncate(kept);
        stop = StopReason::Length;
    }
    let count = u64::from(request.n.unwrap_or(1).clamp(1, MOST_CHOICES));
    let usage =
        Usage { input: input_tokens(&request.messages), output: count * estimate_tokens(&text), ..Usage::default() };
    let choices = (0..count).map(|_| Spoken { said: Said::Text(text.clone()), stop: stop.clone() }).collect();
    Reply { id: "chatcmpl-echo".into(), model: request.model.as_str().into(), created, choices, usage: Some(usage) }
}

/// The most choices that are given, as with OpenAI.
const MOST_CHOICES: u32 = 128;

#[cfg(test)]
mod tests {
    use llm_core::{Content, Message, Part, StreamEvent};

    use super::*;

    fn asked(text: &str) -> CompletionRequest {
        CompletionRequest::new("echo", vec![Message::system("be brief"), Message::user(text), Message::assistant("no")])
    }

    fn text(reply: Reply) -> String {
        reply.whole().text_content()
    }

    #[test]
    fn the_last_user_text_is_answered_with_its_usage() {
        let reply = echo(&asked("What is 2+2?"), 0);
        assert_eq!(reply.usage, Some(Usage { input: 2 + 3 + 1, output: 3, ..Usage::default() }));
        assert_eq!(text(reply), "What is 2+2?");
    }

    #[test]
    fn streamed_words_join_to_the_text() {
        let said = "  What\n is  2+2?\t";
        let words: Vec<_> = echo(&asked(said), 0)
            .events()
            .filter_map(|event| match event {
                StreamEvent::Text { text, .. } => Some(text),
                _ => None,
            })
            .collect();
        assert_eq!(words.len(), 4);
        assert_eq!(words.concat(), said);
    }

    #[test]
    fn a_cap_on_tokens_holds_and_is_told() {
        let reply = echo(&asked("eine lange Überraschung").with_max_tokens(3), 0);
        assert_eq!(reply.choices[0].stop, StopReason::Length);
        assert_eq!(reply.usage.unwrap().output, 3);
        assert_eq!(text(reply), "eine lange ");
        assert_eq!(echo(&asked("four").with_max_tokens(1), 0).choices[0].stop, StopReason::Stop);
        assert_eq!(text(echo(&asked("four").with_max_tokens(0), 0)), "");
    }

    #[test]
    fn a_stop_text_ends_the_answer_before_it() {
        let mut request = asked("one two three");
        request.stop = vec!["three".into(), "two".into()];
        assert_eq!(text(echo(&request, 0)), "one ");
    }

    #[test]
    fn parts_other_than_text_are_not_echoed() {
        let image = Content::Image { source: llm_core::Source::Url("http://x/".into()), detail: None };
        let message = Message::new(Role::User, vec![Part::text("a"), image.into(), Part::text("b")]);
        assert_eq!(text(echo(&CompletionRequest::new("echo", vec![message]), 0)), "ab");
    }
}
