//! The member `usage`: classes that do not overlap.

use llm_core::{ServiceTier, Usage};

use crate::wire::json::{Raw, Writer};

/// Reads a usage object, and the tier that stands beside it.
pub(super) fn read_usage(beside: Raw<'_>) -> Option<Usage> {
    let usage = beside.member("usage")?;
    let count = |name| usage.member(name).and_then(Raw::u64);
    let (input, output) = (count("inputTokens"), count("outputTokens"));
    if input.is_none() && output.is_none() {
        return None;
    }
    let written = count("cacheWriteInputTokens");
    let details = usage.member("cacheDetails");
    let long = details
        .into_iter()
        .flat_map(Raw::items)
        .filter(|item| item.member("ttl").is_some_and(|ttl| ttl.text() == "\"1h\""));
    let long: u64 = long.filter_map(|item| item.member("inputTokens").and_then(Raw::u64)).fold(0, u64::saturating_add);
    let long = long.min(written.unwrap_or(0));
    let tier = beside.member("serviceTier").and_then(|tier| tier.member("type")).and_then(Raw::string);
    Some(Usage {
        input: input.unwrap_or(0),
        cache_read: count("cacheReadInputTokens"),
        cache_write: written.map(|count| count - long),
        cache_write_long: Some(long).filter(|count| *count > 0),
        output: output.unwrap_or(0),
        tier: tier.map_or(ServiceTier::default(), |tier| ServiceTier::named(&tier)),
        ..Usage::default()
    })
}

/// Writes the member `usage`.
pub(super) fn write_usage(writer: &mut Writer, usage: &Usage) {
    writer.key("usage").object(|writer| {
        let input = usage.input.saturating_add(usage.audio_input.unwrap_or(0));
        writer.key("inputTokens").integer(input);
        writer.key("outputTokens").integer(usage.output_total());
        writer.key("totalTokens").integer(usage.input_total().saturating_add(usage.output_total()));
        if let Some(read) = usage.cache_read {
            writer.key("cacheReadInputTokens").integer(read);
        }
        if usage.cache_write.or(usage.cache_write_long).is_some() {
            writer.key("cacheWriteInputTokens").integer(usage.cache_write_total());
        }
    });
}
