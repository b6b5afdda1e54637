//! `usageMetadata`, between totals with subsets (here) and classes that do not overlap (neutral).

use llm_core::{ServiceTier, Usage};

use super::member::{count, member, text};
use crate::wire::json::{Raw, Writer};

/// Reads a usage object; `None` when it counts nothing. What tools put into the prompt is input too.
pub(super) fn read_usage(raw: Raw<'_>) -> Option<Usage> {
    let read = |name| member(raw, name).and_then(count);
    let (prompt, output) = (read("promptTokenCount"), read("candidatesTokenCount"));
    let (reasoning, tools) = (read("thoughtsTokenCount"), read("toolUsePromptTokenCount"));
    prompt.or(output).or(reasoning).or(tools)?;
    let sound = |group| {
        let of = |detail: Raw<'_>| text(detail, "modality").is_some_and(|kind| kind.eq_ignore_ascii_case("AUDIO"));
        let detail = member(raw, group)?.items().find(|detail| of(*detail))?;
        member(detail, "tokenCount").and_then(count)
    };
    let (mut input, mut output) = (prompt.unwrap_or(0), output.unwrap_or(0));
    // Each class takes from what the ones before it have left, so that totals stay as reported.
    let take = |left: &mut u64, count: Option<u64>| {
        let count = count.map(|count| count.min(*left));
        *left -= count.unwrap_or(0);
        count
    };
    let cache_read = take(&mut input, read("cachedContentTokenCount"));
    let heard = sound("promptTokensDetails");
    let cached = sound("cacheTokensDetails").unwrap_or(0);
    let audio_input = take(&mut input, heard.map(|heard| heard.saturating_sub(cached)));
    let audio_output = take(&mut output, sound("candidatesTokensDetails"));
    let tier = text(raw, "serviceTier").map_or(ServiceTier::Standard, |tier| tier_named(&tier));
    let input = input.saturating_add(tools.unwrap_or(0));
    Some(Usage { input, audio_input, cache_read, output, audio_output, reasoning, tier, ..Usage::default() })
}

fn tier_named(name: &str) -> ServiceTier {
    match name.to_ascii_lowercase().as_str() {
        "unspecified" | "service_tier_unspecified" => ServiceTier::Standard,
        name => ServiceTier::named(name),
    }
}

/// Writes a usage object; details only where they are known.
pub(super) fn write_usage(writer: &mut Writer, usage: &Usage) {
    writer.object(|writer| {
        writer.key("promptTokenCount").integer(usage.input_total());
        if let Some(cached) = usage.cache_read {
            writer.key("cachedContentTokenCount").integer(cached);
        }
        let spoken = usage.audio_output.unwrap_or(0);
        writer.key("candidatesTokenCount").integer(usage.output.saturating_add(spoken));
        if let Some(thoughts) = usage.reasoning {
            writer.key("thoughtsTokenCount").integer(thoughts);
        }
        writer.key("totalTokenCount").integer(usage.total());
        for (group, heard) in
            [("promptTokensDetails", usage.audio_input), ("candidatesTokensDetails", usage.audio_output)]
        {
            if let Some(heard) = heard {
                writer.key(group).array(|writer| {
                    writer.object(|writer| {
                        writer.key("modality").string("AUDIO");
                        writer.key("tokenCount").integer(heard);
                    });
                });
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
    fn classes_do_not_overlap_and_totals_stay() {
        let usage = read(
            r#"{"promptTokenCount":100,"cachedContentTokenCount":60,"candidatesTokenCount":"20","thoughtsTokenCount":5,
            "toolUsePromptTokenCount":7,"totalTokenCount":132,"promptTokensDetails":[{"modality":"TEXT","tokenCount":90},
            {"modality":"AUDIO","tokenCount":10}],"cacheTokensDetails":[{"modality":"AUDIO","tokenCount":4}]}"#,
        );
        let expected = Usage {
            input: 41,
            audio_input: Some(6),
            cache_read: Some(60),
            output: 20,
            reasoning: Some(5),
            ..Usage::default()
        };
        assert_eq!(usage, Some(expected));
        assert_eq!((expected.input_total(), expected.output_total()), (107, 25));
    }

    #[test]
    fn what_was_not_counted_stays_unknown() {
        assert_eq!(read("{}"), None);
        assert_eq!(read(r#"{"promptTokenCount":3}"#), Some(Usage { input: 3, ..Usage::default() }));
        let cut = read(r#"{"promptTokenCount":3,"cachedContentTokenCount":9}"#).unwrap();
        assert_eq!((cut.input, cut.input_total()), (0, 3));
    }
}
