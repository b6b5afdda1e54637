//! The `usage` member: classes that do not overlap, but for thoughts, which are among the output.

use llm_core::Usage;

use crate::wire::json::{Raw, Writer};

/// Usage as it is told, member by member; what is told later replaces what was told before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    input: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cache_write_long: Option<u64>,
    output: Option<u64>,
    thinking: Option<u64>,
}

impl Counts {
    /// Takes in what `usage` says.
    pub(super) fn read(&mut self, usage: Raw<'_>) {
        for (key, value) in usage.members() {
            let place = match key.as_ref() {
                "input_tokens" => &mut self.input,
                "cache_read_input_tokens" => &mut self.cache_read,
                "cache_creation_input_tokens" => &mut self.cache_write,
                "cache_creation" => {
                    let long = value.member("ephemeral_1h_input_tokens").and_then(Raw::u64);
                    self.cache_write_long = long.or(self.cache_write_long);
                    continue;
                }
                "output_tokens" => &mut self.output,
                "output_tokens_details" => {
                    self.thinking = value.member("thinking_tokens").and_then(Raw::u64).or(self.thinking);
                    continue;
                }
                _ => continue,
            };
            *place = value.u64().or(*place);
        }
    }

    /// The classes; `None` when nothing was counted.
    pub(super) fn usage(&self) -> Option<Usage> {
        if self.input.is_none() && self.output.is_none() {
            return None;
        }
        let output = self.output.unwrap_or(0);
        let reasoning = self.thinking.map(|count| count.min(output));
        let written = self.cache_write;
        let long = self.cache_write_long.map(|count| count.min(written.unwrap_or(count)));
        Some(Usage {
            input: self.input.unwrap_or(0),
            cache_read: self.cache_read,
            cache_write: written.map(|count| count - long.unwrap_or(0)),
            // A split that says nothing of the longer kind is none.
            cache_write_long: long.filter(|count| *count > 0),
            output: output - reasoning.unwrap_or(0),
            reasoning,
            ..Usage::default()
        })
    }
}

/// Writes a usage object. What an answer must count and was not counted is 0.
pub(super) fn write_usage(writer: &mut Writer, usage: Option<&Usage>) {
    let usage = usage.copied().unwrap_or_default();
    writer.object(|writer| {
        writer.key("input_tokens").integer(usage.input.saturating_add(usage.audio_input.unwrap_or(0)));
        if usage.cache_write.or(usage.cache_write_long).is_some() {
            writer.key("cache_creation_input_tokens").integer(usage.cache_write_total());
        }
        if let Some(count) = usage.cache_read {
            writer.key("cache_read_input_tokens").integer(count);
        }
        if let Some(long) = usage.cache_write_long {
            writer.key("cache_creation").object(|writer| {
                writer.key("ephemeral_5m_input_tokens").integer(usage.cache_write.unwrap_or(0));
                writer.key("ephemeral_1h_input_tokens").integer(long);
            });
        }
        writer.key("output_tokens").integer(usage.output_total());
        if let Some(count) = usage.reasoning {
            writer.key("output_tokens_details").object(|writer| writer.key("thinking_tokens").integer(count));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Option<Usage> {
        let mut counts = Counts::default();
        for text in texts {
            counts.read(Raw::parse(text.as_bytes()).unwrap());
        }
        counts.usage()
    }

    #[test]
    fn classes_are_told_apart() {
        let text = r#"{"input_tokens":3,"cache_creation_input_tokens":10,"cache_read_input_tokens":5,
            "cache_creation":{"ephemeral_5m_input_tokens":4,"ephemeral_1h_input_tokens":6},"output_tokens":9,
            "output_tokens_details":{"thinking_tokens":7}}"#;
        let usage = read(&[text]).unwrap();
        let expected = Usage {
            input: 3,
            cache_read: Some(5),
            cache_write: Some(4),
            cache_write_long: Some(6),
            output: 2,
            reasoning: Some(7),
            ..Usage::default()
        };
        assert_eq!(usage, expected);
        assert_eq!((usage.input_total(), usage.output_total()), (18, 9));
        let mut writer = Writer::default();
        write_usage(&mut writer, Some(&usage));
        assert_eq!(read(&[std::str::from_utf8(&writer.into_bytes()).unwrap()]), Some(expected));
    }

    #[test]
    fn later_counts_replace_earlier_ones_unless_they_are_null() {
        let usage = read(&[
            r#"{"input_tokens":3,"cache_read_input_tokens":2,"output_tokens":1}"#,
            r#"{"input_tokens":null,"output_tokens":5}"#,
            r#"{"output_tokens":8,"cache_read_input_tokens":4}"#,
        ]);
        assert_eq!(usage, Some(Usage { input: 3, cache_read: Some(4), output: 8, ..Usage::default() }));
        assert_eq!(read(&["{}", "null"]), None);
    }

    #[test]
    fn subsets_never_exceed_what_they_are_of() {
        let usage = read(&[r#"{"input_tokens":1,"cache_creation_input_tokens":2,"output_tokens":3,
            "cache_creation":{"ephemeral_1h_input_tokens":9},"output_tokens_details":{"thinking_tokens":9}}"#])
        .unwrap();
        assert_eq!((usage.input_total(), usage.output_total()), (3, 3));
    }
}
