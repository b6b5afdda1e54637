//! The `usage` member, between totals with subsets (here) and classes that do not overlap (neutral).

use llm_core::Usage;

use crate::wire::json::{Raw, Writer};

/// Reads a usage object, as recordings and pictures have it too. Subsets larger than their total are cut to it, so that
/// totals stay as reported. `None` when it counts nothing.
pub(in crate::wire) fn read_usage(usage: Raw<'_>) -> Option<Usage> {
    let count = |name| usage.member(name).and_then(Raw::u64);
    let detail = |group, name| usage.member(group).and_then(|group| group.member(name)).and_then(Raw::u64);
    let (input, output) = (count("input_tokens"), count("output_tokens"));
    if input.is_none() && output.is_none() {
        return None;
    }
    let (mut input, mut output) = (input.unwrap_or(0), output.unwrap_or(0));
    // Each class takes from what the ones before it have left.
    let take = |left: &mut u64, count: Option<u64>| {
        let count = count.map(|count| count.min(*left));
        *left -= count.unwrap_or(0);
        count
    };
    let cache_read = take(&mut input, detail("input_tokens_details", "cached_tokens"));
    let cache_write = take(&mut input, detail("input_tokens_details", "cache_write_tokens"));
    // Of recordings it has another name.
    let audio = detail("input_tokens_details", "audio_tokens").or(detail("input_token_details", "audio_tokens"));
    let audio_input = take(&mut input, audio);
    let reasoning = take(&mut output, detail("output_tokens_details", "reasoning_tokens"));
    let audio_output = take(&mut output, detail("output_tokens_details", "audio_tokens"));
    Some(Usage { input, audio_input, cache_read, cache_write, output, audio_output, reasoning, ..Usage::default() })
}

/// Writes a usage object. Clients read the two counts that are always there without asking: unknown ones are 0.
pub(super) fn write_usage(writer: &mut Writer, usage: &Usage) {
    writer.object(|writer| {
        writer.key("input_tokens").integer(usage.input_total());
        writer.key("input_tokens_details").object(|writer| {
            writer.key("cached_tokens").integer(usage.cache_read.unwrap_or(0));
            if usage.cache_write.or(usage.cache_write_long).is_some() {
                writer.key("cache_write_tokens").integer(usage.cache_write_total());
            }
            if let Some(audio) = usage.audio_input {
                writer.key("audio_tokens").integer(audio);
            }
        });
        writer.key("output_tokens").integer(usage.output_total());
        writer.key("output_tokens_details").object(|writer| {
            writer.key("reasoning_tokens").integer(usage.reasoning.unwrap_or(0));
            if let Some(audio) = usage.audio_output {
                writer.key("audio_tokens").integer(audio);
            }
        });
        writer.key("total_tokens").integer(usage.total());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Usage> {
        read_usage(Raw::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn subsets_become_classes_of_their_own_and_totals_stay() {
        let text = r#"{"input_tokens":100,"input_tokens_details":{"cached_tokens":60,"cache_write_tokens":10},
            "output_tokens":50,"output_tokens_details":{"reasoning_tokens":20},"total_tokens":150}"#;
        let usage = Usage {
            input: 30,
            cache_read: Some(60),
            cache_write: Some(10),
            output: 30,
            reasoning: Some(20),
            ..Usage::default()
        };
        assert_eq!(read(text), Some(usage));
        let mut writer = Writer::default();
        write_usage(&mut writer, &usage);
        assert_eq!(Raw::parse(&writer.into_bytes()).ok().and_then(read_usage), Some(usage));
        let more = r#"{"input_tokens":5,"input_tokens_details":{"cached_tokens":9},"output_tokens":1,
            "output_tokens_details":{"reasoning_tokens":9}}"#;
        let usage = read(more).unwrap();
        assert_eq!((usage.input_total(), usage.output_total()), (5, 1));
    }

    #[test]
    fn what_counts_nothing_is_no_usage() {
        assert_eq!(read("{}"), None);
        assert_eq!(read("null"), None);
    }
}
