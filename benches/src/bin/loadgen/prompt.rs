//! Request bodies, each with a prompt that no other request has.

use bytes::Bytes;

/// A sentence as prompts have them: with what JSON must escape.
const SENTENCE: &str =
    "The harbour master wrote \\\"wait for the tide\\\" in the log, and nobody sailed before noon.\\n";

/// Makes bodies of about one size that differ in their prompt.
#[derive(Debug, Clone)]
pub(crate) struct Prompts {
    head: String,
    tail: String,
    next: u64,
}

impl Prompts {
    /// Bodies of about `bytes` bytes, whose prompts carry the numbers from `seed` on.
    pub(crate) fn new(model: &str, bytes: usize, is_stream: bool, seed: u64) -> Self {
        let stream = if is_stream { ",\"stream\":true" } else { "" };
        let head = format!(
            "{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"system\",\"content\":\"Answer briefly.\"}},{{\"role\":\"user\",\"content\":\""
        );
        let end = format!("\"}}],\"temperature\":0.7{stream}}}");
        let number = 20;
        let filler = bytes.saturating_sub(head.len() + number + end.len()) / SENTENCE.len();
        Self { head, tail: format!(" {}{end}", SENTENCE.repeat(filler)), next: seed }
    }

    /// The next body.
    pub(crate) fn body(&mut self) -> Bytes {
        let number = self.next;
        self.next += 1;
        Bytes::from(format!("{}{number:019}{}", self.head, self.tail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_bodies_are_the_same() {
        let mut prompts = Prompts::new("m", 1024, false, 7);
        assert_ne!(prompts.body(), prompts.body());
    }

    #[test]
    fn a_body_is_about_as_long_as_asked() {
        for bytes in [1024, 32 * 1024] {
            let length = Prompts::new("m", bytes, true, u64::MAX / 2).body().len();
            assert!(length <= bytes && length + 2 * SENTENCE.len() > bytes, "{length} of {bytes}");
        }
    }

    #[test]
    fn braces_and_quotes_are_in_pairs() {
        let body = Prompts::new("m", 400, true, 1).body();
        let text = std::str::from_utf8(&body).expect("text");
        assert_eq!(text.matches('{').count(), text.matches('}').count());
        assert_eq!(text.replace("\\\"", "").matches('"').count() % 2, 0);
        assert!(text.ends_with("],\"temperature\":0.7,\"stream\":true}"));
    }
}
