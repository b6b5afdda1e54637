//! What a simulated model does, as a line of text: `ttft=50ms,gap=10ms,tokens=20`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::value::Value;

/// The header with a request's own script.
pub(crate) const HEADER: &str = "x-llmkit-sim";

/// Why a text is not a script.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// There is no such key.
    #[error("unknown key `{key}` in a sim script; the keys are {}", SimScript::KEYS.join(", "))]
    UnknownKey {
        /// The key, as written.
        key: String,
    },
    /// A key's value is missing, malformed or out of bounds.
    #[error("the key `{key}` of a sim script takes {expected}")]
    BadValue {
        /// The key.
        key: &'static str,
        /// What it takes.
        expected: &'static str,
    },
    /// The bytes are not text.
    #[error("a sim script is UTF-8 text")]
    NotText,
}

/// Defines the script from its one list of keys.
macro_rules! script {
    ($($(#[$doc:meta])* $key:ident: $kind:ty,)*) => {
        /// What a simulated model does. A key left out is as in the script below it: a request's own script goes
        /// over its model's, that over the default.
        ///
        /// As text, `key=value` or, to switch something on, `key`, separated by `,` or `&`.
        ///
        /// # Example
        /// ```
        /// # use llm_providers::SimScript;
        /// let script: SimScript = "ttft=50ms,tokens=20,no_done".parse()?;
        /// assert_eq!(script.tokens, Some(20));
        /// assert_eq!(script.to_string(), "ttft=50ms,tokens=20,no_done");
        /// # Ok::<(), llm_providers::ScriptError>(())
        /// ```
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct SimScript {
            $($(#[$doc])* pub $key: Option<$kind>,)*
        }

        impl SimScript {
            const KEYS: &[&str] = &[$(stringify!($key)),*];

            fn set(&mut self, key: &str, value: Option<&str>) -> Result<(), ScriptError> {
                match key {
                    $(stringify!($key) => {
                        let expected = <$kind as Value>::EXPECTED;
                        let bad = ScriptError::BadValue { key: stringify!($key), expected };
                        self.$key = Some(Value::read(value).ok_or(bad)?);
                    })*
                    _ => return Err(ScriptError::UnknownKey { key: key.into() }),
                }
                Ok(())
            }

            /// This script, and `below` where it says nothing.
            #[must_use]
            pub fn over(self, below: &Self) -> Self {
                Self { $($key: self.$key.or_else(|| below.$key.clone()),)* }
            }
        }

        impl fmt::Display for SimScript {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut line = String::new();
                $(if let Some(value) = &self.$key {
                    if !line.is_empty() {
                        line.push(',');
                    }
                    value.write(stringify!($key), &mut line);
                })*
                f.write_str(&line)
            }
        }
    };
}

script! {
    /// The wait before the answer's first byte, errors too. Default: none.
    ttft: Duration,
    /// The wait between two tokens; an answer that is not streamed takes as long. Default: none.
    gap: Duration,
    /// How many words are said, each a token. Default 16.
    tokens: u32,
    /// What is said instead of words drawn at random. Also instead of structured output.
    reply: String,
    /// Answers with calls when tools are offered and the last message is no tool's: of the first two tools when
    /// several calls at once are allowed. Without this key only a call that the request demands is made.
    tool: bool,
    /// Whether usage is reported. Default `on`.
    usage: bool,
    /// The status of an answer that is an error. Alone, every answer is one; default 500.
    status: u16,
    /// The error's code, in OpenAI's vocabulary. Default: as the status has it.
    code: String,
    /// How often the answer is an error.
    error_rate: f64,
    /// How many requests are answered with an error before the first success, counted for each [`key`](Self::key).
    fail_first: u32,
    /// What [`fail_first`](Self::fail_first) counts by. Default: the model and its script.
    key: String,
    /// What an error says about when to come again.
    retry_after: Duration,
    /// Nothing is ever answered.
    stall: bool,
    /// After this many tokens nothing more is sent; of an answer that is not streamed, after half of it.
    stall_after: u32,
    /// After this many tokens the connection is closed in the middle of the next event; of an answer that is not
    /// streamed, in its middle.
    cut_after: u32,
    /// [`cut_after`](Self::cut_after) cuts between two events.
    cut_clean: bool,
    /// After this many tokens the stream tells an error, and ends.
    error_event: u32,
    /// The stream ends without `[DONE]`.
    no_done: bool,
    /// The answer is a page of HTML. When errors are scripted, theirs are.
    html: bool,
    /// The connection is closed before the announced end of the answer; a stream's, in its last event.
    truncate: bool,
    /// The connection is closed instead of answering.
    hangup: bool,
    /// Served: the answer ends with the end of what is sent: a stream without its terminating chunk, a whole answer
    /// without a length. The other direction stays open.
    half_close: bool,
    /// Served: the connection is closed after the answer, without having said so.
    close: bool,
    /// Served: requests without this bearer key are refused with 401.
    auth: String,
    /// Every request gets the same answer, encoded once and sent as fast as [`gap`](Self::gap) allows. Unless a
    /// fault is scripted too, only the counts know of the request.
    fixed: bool,
}

impl SimScript {
    /// Reads a script from bytes, such as a header's value.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, ScriptError> {
        std::str::from_utf8(bytes).map_err(|_| ScriptError::NotText)?.parse()
    }

    /// Whether the answer may be anything but whole and right.
    pub(crate) fn has_fault(&self) -> bool {
        self.has_errors()
            || self.stall_after.or(self.cut_after).or(self.error_event).is_some()
            || [self.stall, self.no_done, self.html, self.truncate, self.hangup, self.half_close, self.close]
                .contains(&Some(true))
            || self.auth.is_some()
    }

    /// How often the answer is an error, those of `fail_first` aside.
    pub(crate) fn failure_rate(&self) -> f64 {
        let always = self.fail_first.is_none() && self.status.is_some_and(|status| status != 200);
        self.error_rate.unwrap_or(if always { 1.0 } else { 0.0 })
    }

    /// Whether errors are scripted, however rare.
    pub(crate) fn has_errors(&self) -> bool {
        self.failure_rate() > 0.0 || self.fail_first.is_some_and(|count| count > 0)
    }
}

impl FromStr for SimScript {
    type Err = ScriptError;

    fn from_str(text: &str) -> Result<Self, ScriptError> {
        let mut script = Self::default();
        for part in text.split([',', '&']).map(str::trim).filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some((key, value)) => script.set(key.trim(), Some(value.trim()))?,
                None => script.set(part, None)?,
            }
        }
        Ok(script)
    }
}

impl TryFrom<String> for SimScript {
    type Error = ScriptError;

    fn try_from(text: String) -> Result<Self, ScriptError> {
        text.parse()
    }
}

impl From<SimScript> for String {
    fn from(script: SimScript) -> Self {
        script.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text() -> impl Strategy<Value = String> {
        "[ -~]{0,12}|[,&%= \\n\u{e9}\u{1F600}]{0,6}"
    }

    fn micros() -> impl Strategy<Value = Duration> {
        (0..10_000_000_000_u64).prop_map(Duration::from_micros)
    }

    prop_compose! {
        fn script()(
            (ttft, gap, retry_after) in (proptest::option::of(micros()), proptest::option::of(micros()), proptest::option::of(micros())),
            (reply, code, key, auth) in (proptest::option::of(text()), proptest::option::of(text()), proptest::option::of(text()), proptest::option::of(text())),
            numbers in proptest::array::uniform5(proptest::option::of(0..=1_000_000_u32)),
            switches in proptest::array::uniform11(proptest::option::of(any::<bool>())),
            status in proptest::option::of(prop_oneof![Just(200_u16), 300..=599_u16]),
            error_rate in proptest::option::of(0.0..=1.0_f64),
        ) -> SimScript {
            let [tokens, fail_first, stall_after, cut_after, error_event] = numbers;
            let [tool, usage, stall, cut_clean, no_done, html, truncate, hangup, half_close, close, fixed] = switches;
            SimScript {
                ttft, gap, tokens, reply, tool, usage, status, code, error_rate, fail_first, key, retry_after, stall,
                stall_after, cut_after, cut_clean, error_event, no_done, html, truncate, hangup, half_close, close,
                auth, fixed,
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(script in script()) {
            let line = script.to_string();
            prop_assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line:?}");
            prop_assert_eq!(line.parse(), Ok(script.clone()));
            prop_assert_eq!(line.replace(',', "&").parse(), Ok(script));
        }

        #[test]
        fn any_text_is_a_script_or_an_error(text in "\\PC{0,60}") {
            let _ = text.parse::<SimScript>();
        }

        #[test]
        fn a_script_goes_over_another_key_by_key(above in script(), below in script()) {
            let both = format!("{below},{above}").parse::<SimScript>();
            prop_assert_eq!(Ok(above.over(&below)), both);
        }
    }

    #[test]
    fn both_separators_spaces_and_switches_are_read() {
        let script: SimScript = " ttft = 50ms & tokens=5,, tool ,usage=off&reply=a%2Cb".parse().unwrap();
        assert_eq!(script.ttft, Some(Duration::from_millis(50)));
        assert_eq!((script.tokens, script.tool, script.usage), (Some(5), Some(true), Some(false)));
        assert_eq!(script.reply.as_deref(), Some("a,b"));
        assert_eq!("".parse(), Ok(SimScript::default()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |text: &str| text.parse::<SimScript>().unwrap_err().to_string();
        assert!(error("token=5").starts_with("unknown key `token` in a sim script; the keys are ttft, gap, "));
        assert_eq!(error("ttft=50"), "the key `ttft` of a sim script takes a duration such as `50ms`");
        for bad in [
            "tokens",
            "tokens=-1",
            "tokens=1000001",
            "status=201",
            "status=600",
            "error_rate=1.5",
            "tool=maybe",
            "error_rate=NaN",
            "reply=%2",
            "reply=%zz",
            "reply=%ff",
        ] {
            assert!(error(bad).starts_with("the key `"), "{bad}");
        }
    }

    #[test]
    fn a_status_alone_is_always_given_and_200_takes_it_back() {
        let rate = |text: &str| text.parse::<SimScript>().unwrap().failure_rate();
        assert_eq!(rate("status=429"), 1.0);
        assert_eq!(rate("status=429,error_rate=0.1"), 0.1);
        assert_eq!(rate("status=429,fail_first=2"), 0.0);
        assert_eq!(rate("status=429,status=200"), 0.0);
    }
}
