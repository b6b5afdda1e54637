//! What callers are told of their own limits, in the headers that their SDKs read.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use llm_core::Dialect;
use llm_providers::wire::rfc3339;
use llm_ratelimit::{Headroom, Room};

/// Names of one resource: limit, remaining, reset.
type Names = [HeaderName; 3];

const REQUESTS: Names = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];

const ANTHROPIC_REQUESTS: Names = [
    HeaderName::from_static("anthropic-ratelimit-requests-limit"),
    HeaderName::from_static("anthropic-ratelimit-requests-remaining"),
    HeaderName::from_static("anthropic-ratelimit-requests-reset"),
];

const ANTHROPIC_TOKENS: Names = [
    HeaderName::from_static("anthropic-ratelimit-tokens-limit"),
    HeaderName::from_static("anthropic-ratelimit-tokens-remaining"),
    HeaderName::from_static("anthropic-ratelimit-tokens-reset"),
];

const TOKENS: Names = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

/// Shows what is left of the caller's own limits, in place of what the provider said of ours. Where the caller has
/// none, the provider's words stay. `now` is the time since 1970.
pub(crate) fn show(headers: &mut HeaderMap, dialect: Dialect, now: Duration, headroom: Headroom) {
    let anthropic = dialect == Dialect::Anthropic;
    let [requests, tokens] = if anthropic { [ANTHROPIC_REQUESTS, ANTHROPIC_TOKENS] } else { [REQUESTS, TOKENS] };
    for (names, room) in [(requests, headroom.requests), (tokens, headroom.tokens)] {
        let Some(Room { limit, left, reset }) = room else { continue };
        let [limits, remaining, resets] = names;
        headers.insert(limits, HeaderValue::from(limit));
        headers.insert(remaining, HeaderValue::from(left));
        let reset = if anthropic { rfc3339(now.saturating_add(reset)) } else { span(reset) };
        if let Ok(reset) = HeaderValue::from_str(&reset) {
            headers.insert(resets, reset);
        }
    }
}

/// A duration as OpenAI writes it: `12ms`, `1s`, `6m0s`, `1h2m3.5s`. Rounded up to the millisecond.
fn span(span: Duration) -> String {
    let millis = u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    if millis < 1000 {
        return format!("{millis}ms");
    }
    let (hours, minutes, seconds) = (millis / 3_600_000, millis / 60_000 % 60, millis % 60_000);
    let mut text = String::new();
    if hours > 0 {
        text = format!("{hours}h");
    }
    if hours > 0 || minutes > 0 {
        text.push_str(&format!("{minutes}m"));
    }
    let decimals = format!("{:03}", seconds % 1000);
    let decimals = decimals.trim_end_matches('0');
    text.push_str(&(seconds / 1000).to_string());
    if !decimals.is_empty() {
        text.push_str(&format!(".{decimals}"));
    }
    text + "s"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_as_go_writes_them() {
        for (millis, text) in [
            (0, "0ms"),
            (12, "12ms"),
            (999, "999ms"),
            (1000, "1s"),
            (1500, "1.5s"),
            (60_000, "1m0s"),
            (360_000, "6m0s"),
            (3_723_500, "1h2m3.5s"),
            (90_061_010, "25h1m1.01s"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
        assert_eq!(span(Duration::from_nanos(1)), "1ms");
    }

    #[test]
    fn the_callers_own_limits_go_over_the_providers() {
        let mut headers = HeaderMap::new();
        for name in REQUESTS.iter().chain(&TOKENS) {
            headers.insert(name.clone(), HeaderValue::from_static("theirs"));
        }
        let room = Room { limit: 10, left: 9, reset: Duration::from_secs(6) };
        show(&mut headers, Dialect::OpenAi, Duration::ZERO, Headroom { requests: Some(room), tokens: None });
        let shown = |names: &Names| names.each_ref().map(|name| headers[name].to_str().map(str::to_owned).ok());
        assert_eq!(shown(&REQUESTS), ["10", "9", "6s"].map(|text| Some(text.to_owned())));
        assert_eq!(shown(&TOKENS), ["theirs"; 3].map(|text| Some(text.to_owned())));
    }
}
