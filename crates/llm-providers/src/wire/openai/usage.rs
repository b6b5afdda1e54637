//! The `usage` member, between totals with subsets (here) and classes that do not overlap (neutral).

use llm_core::Usage;

use crate::wire::json::{Raw, Writer};

/// Reads a usage object. Subsets larger than their total are cut to it, so that totals stay as reported.
/// `None` when it counts nothing.
pub(in crate::wire) fn read_usage(usage: Raw<'_>) -> Option<Usage> {
    let [prompt, completion, of_prompt, of_completion] =
        usage.pick(["prompt_tokens", "completion_tokens", "prompt_tokens_details", "completion_tokens_details"]);
    let (prompt, completion) = (prompt.and_then(Raw::u64), completion.and_then(Raw::u64));
    if prompt.is_none() && completion.is_none() {
        return None;
    }
    let (prompt, completion) = (prompt.unwrap_or(0), completion.unwrap_or(0));
    // Each class takes from what the ones before it have left.
    let (mut input, mut output) = (prompt, completion);
    let take = |left: &mut u64, count: Option<u64>| {
        let count = count.map(|count| count.min(*left));
        *left -= count.unwrap_or(0);
        count
    };
    let [cached, written, heard] = counts(of_prompt, ["cached_tokens", "cache_write_tokens", "audio_tokens"]);
    let cache_read = take(&mut input, cached);
    let cache_write = take(&mut input, written);
    let audio_input = take(&mut input, heard);
    let [thought, spoken] = counts(of_completion, ["reasoning_tokens", "audio_tokens"]);
    let reasoning = take(&mut output, thought);
    let audio_output = take(&mut output, spoken);
    Some(Usage { input, audio_input, cache_read, cache_write, output, audio_output, reasoning, ..Usage::default() })
}

fn counts<const N: usize>(details: Option<Raw<'_>>, names: [&str; N]) -> [Option<u64>; N] {
    details.map_or([None; N], |details| details.pick(names).map(|count| count.and_then(Raw::u64)))
}

/// Writes a usage object; details only where they are known.
pub(in crate::wire) fn write_usage(writer: &mut Writer, usage: &Usage) {
    writer.object(|writer| {
        writer.key("prompt_tokens").integer(usage.input_total());
        writer.key("completion_tokens").integer(usage.output_total());
        writer.key("total_tokens").integer(usage.total());
        let written = usage.cache_write.or(usage.cache_write_long).map(|_| usage.cache_write_total());
        let prompt =
            [("cached_tokens", usage.cache_read), ("cache_write_tokens", written), ("audio_tokens", usage.audio_input)];
        details(writer, "prompt_tokens_details", &prompt);
        let completion = [("reasoning_tokens", usage.reasoning), ("audio_tokens", usage.audio_output)];
        details(writer, "completion_tokens_details", &completion);
    });
}

fn details(writer: &mut Writer, group: &str, counts: &[(&str, Option<u64>)]) {
    if counts.iter().all(|(_, count)| count.is_none()) {
        return;
    }
    writer.key(group).object(|writer| {
        for (name, count) in counts {
            if let Some(count) = count {
                writer.key(name).integer(count);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Usage> {
        read_usage(Raw::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn subsets_become_classes_of_their_own() {
        let text = r#"{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,
            "prompt_tokens_details":{"cached_tokens":60,"cache_write_tokens":10,"audio_tokens":0},
            "completion_tokens_details":{"reasoning_tokens":20}}"#;
        let usage = Usage {
            input: 30,
            audio_input: Some(0),
            cache_read: Some(60),
            cache_write: Some(10),
            output: 30,
            reasoning: Some(20),
            ..Usage::default()
        };
        assert_eq!(read(text), Some(usage));
        assert_eq!((usage.input_total(), usage.output_total()), (100, 50));
    }

    #[test]
    fn totals_stay_as_reported_when_a_subset_exceeds_them() {
        let text = r#"{"prompt_tokens":5,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":9,
            "cache_write_tokens":9},"completion_tokens_details":{"reasoning_tokens":9}}"#;
        let usage = read(text).unwrap();
        assert_eq!((usage.input_total(), usage.output_total()), (5, 1));
    }

    #[test]
    fn what_was_not_counted_stays_unknown() {
        assert_eq!(read("null"), None);
        assert_eq!(read("{}"), None);
        let usage = read(r#"{"prompt_tokens":3,"total_tokens":3,"prompt_tokens_details":null}"#).unwrap();
        assert_eq!(usage, Usage { input: 3, ..Usage::default() });
    }
}
