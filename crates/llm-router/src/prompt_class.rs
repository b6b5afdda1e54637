//! What kind of prompt a text is, by rules cheap enough for every request.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What kind of prompt a text is, so that each kind can have a pipeline of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptClass {
    /// A short question of fact.
    Faq,
    /// It asks to explain, compare, prove or plan.
    Reasoning,
    /// It is about code or holds some.
    Code,
    /// None of the others.
    #[default]
    General,
}

/// A text is no class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a class is expected: faq, reasoning, code or general")]
pub struct PromptClassError;

/// Only the beginning of a prompt is read, in bytes: the question stands there, and the work stays bounded.
const READ: usize = 2048;

/// Most words of a question of fact.
const FAQ_WORDS: usize = 16;

/// Phrases, in lower case, and what each says for its class. The class with the highest sum wins, the first listed
/// of equals, from a sum of 2.
const PHRASES: &[(PromptClass, u32, &[&str])] = &[
    (PromptClass::Code, 3, &["```", "stack trace", "traceback", "unit test", "regular expression", "sql query"]),
    (PromptClass::Code, 2, &["fn ", "def ", "#include", "public class", "select * from", "=> {", "();", "import "]),
    (PromptClass::Code, 2, &["refactor", "debug", "implement a", "write a function", "write a program", "compile"]),
    (PromptClass::Code, 1, &["code", "function", "python", "javascript", "rust", "algorithm", "script", "bug"]),
    (PromptClass::Reasoning, 3, &["step by step", "prove that", "think through", "trade-off", "pros and cons"]),
    (PromptClass::Reasoning, 2, &["explain why", "explain how", "compare", "analyze", "analyse", "derive", "evaluate"]),
    (PromptClass::Reasoning, 2, &["why does", "why do", "why is", "reason about", "what would happen", "argue"]),
    (PromptClass::Reasoning, 1, &["explain", "because", "therefore", "assume", "suppose", "plan"]),
];

/// The phrases that begin with each byte, in either case, of all [`PHRASES`] in a row; one bit each.
const STARTS: [u64; 256] = {
    let mut starts = [0; 256];
    let (mut row, mut number) = (0, 0);
    while row < PHRASES.len() {
        let mut place = 0;
        while place < PHRASES[row].2.len() {
            let byte = PHRASES[row].2[place].as_bytes()[0];
            starts[byte as usize] |= 1 << number;
            starts[byte.to_ascii_uppercase() as usize] |= 1 << number;
            (place, number) = (place + 1, number + 1);
        }
        row += 1;
    }
    starts
};

/// How a question of fact begins, in lower case.
const QUESTIONS: &[&str] = &[
    "what is",
    "what's",
    "what are",
    "what does",
    "who ",
    "when ",
    "where ",
    "which ",
    "how many",
    "how much",
    "how do i",
    "how can i",
    "how long",
    "how old",
    "can i ",
    "do you ",
    "does ",
    "is there",
    "are there",
];

impl PromptClass {
    /// The class of `text`: `explicit` where the caller names one, else by the phrases at its beginning. The same
    /// text is always of the same class.
    #[must_use]
    pub fn classify(text: &str, explicit: Option<Self>) -> Self {
        if let Some(class) = explicit {
            return class;
        }
        let text = text.trim_start().as_bytes();
        let text = &text[..text.len().min(READ)];
        let (code, reasoning) = sums(text);
        if code.max(reasoning) >= 2 {
            return if code >= reasoning { Self::Code } else { Self::Reasoning };
        }
        let words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).take(FAQ_WORDS + 1).count();
        let asks = QUESTIONS.iter().any(|question| begins(text, question.as_bytes()));
        if words <= FAQ_WORDS && asks { Self::Faq } else { Self::General }
    }

    /// The name in headers and configuration: `faq`, `reasoning`, `code`, `general`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Faq => "faq",
            Self::Reasoning => "reasoning",
            Self::Code => "code",
            Self::General => "general",
        }
    }
}

impl fmt::Display for PromptClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for PromptClass {
    type Err = PromptClassError;

    fn from_str(text: &str) -> Result<Self, PromptClassError> {
        let all = [Self::Faq, Self::Reasoning, Self::Code, Self::General];
        all.into_iter().find(|class| text.trim().eq_ignore_ascii_case(class.as_str())).ok_or(PromptClassError)
    }
}

/// The weights of the phrases in `text`, each counted once: for code and for reasoning.
fn sums(text: &[u8]) -> (u32, u32) {
    let phrases =
        || PHRASES.iter().flat_map(|(class, weight, phrases)| phrases.iter().map(move |one| (class, weight, one)));
    let mut texts = [""; 64];
    texts.iter_mut().zip(phrases()).for_each(|(text, (.., phrase))| *text = *phrase);
    let (mut seen, mut in_word) = (0u64, false);
    for (at, byte) in text.iter().enumerate() {
        let alphanumeric = byte.is_ascii_alphanumeric();
        // A phrase does not begin where a word is running on.
        let runs_on = in_word && alphanumeric;
        in_word = alphanumeric;
        let mut begun = if runs_on { 0 } else { STARTS[usize::from(*byte)] & !seen };
        while begun != 0 {
            let number = begun.trailing_zeros();
            begun &= begun - 1;
            seen |= u64::from(begins(&text[at..], texts[number as usize].as_bytes())) << number;
        }
    }
    let sum = |class| -> u32 {
        let found = phrases().enumerate().filter(|(number, (of, ..))| **of == class && seen >> number & 1 == 1);
        found.map(|(_, (_, weight, _))| weight).sum()
    };
    (sum(PromptClass::Code), sum(PromptClass::Reasoning))
}

fn begins(text: &[u8], phrase: &[u8]) -> bool {
    text.get(..phrase.len()).is_some_and(|start| start.eq_ignore_ascii_case(phrase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_classified_by_what_they_ask() {
        for (text, class) in [
            ("What is the capital of France?", PromptClass::Faq),
            ("  how do I reset my password?", PromptClass::Faq),
            ("Where can I see my invoices", PromptClass::Faq),
            ("Explain why Rust is memory safe step by step", PromptClass::Reasoning),
            ("Compare leasing with buying a car and derive which is cheaper.", PromptClass::Reasoning),
            ("Write a function in Python that reverses a list", PromptClass::Code),
            ("What does this do?\n```rust\nfn main() {}\n```", PromptClass::Code),
            ("Refactor this, please: def f(x): return x", PromptClass::Code),
            ("Write a poem about the sea.", PromptClass::General),
            ("She was undefined and encoded.", PromptClass::General),
            ("", PromptClass::General),
        ] {
            assert_eq!(PromptClass::classify(text, None), class, "{text}");
        }
    }

    #[test]
    fn the_caller_has_the_last_word() {
        let explicit = " Code ".parse().ok();
        assert_eq!(PromptClass::classify("What is 2+2?", explicit), PromptClass::Code);
        assert_eq!("poem".parse::<PromptClass>(), Err(PromptClassError));
        for class in [PromptClass::Faq, PromptClass::Reasoning, PromptClass::Code, PromptClass::General] {
            assert_eq!(class.to_string().parse(), Ok(class));
            assert_eq!(serde_json::to_value(class).unwrap(), class.as_str());
        }
    }

    #[test]
    fn text_past_the_beginning_and_text_in_any_script_is_harmless() {
        let long = format!("{}```", "ä".repeat(READ));
        assert_eq!(PromptClass::classify(&long, None), PromptClass::General);
        assert_eq!(PromptClass::classify("什么是所有权？", None), PromptClass::General);
    }
}
