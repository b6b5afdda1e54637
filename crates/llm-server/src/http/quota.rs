//! What callers are told of their own limits, in the headers that their SDKs read.

use std::time::Duration;

use http::{HeaderName, Response};
use llm_core::Dialect;
use llm_providers::wire::rfc3339;
use llm_ratelimit::{Headroom, Room};

use super::body::Body;
use super::fields::digits;

/// Names of one resource: limit, remaining, reset.
type Names = [HeaderName; 3];

static REQUESTS: Names = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];

static ANTHROPIC_REQUESTS: Names = [
    HeaderName::from_static("anthropic-ratelimit-requests-limit"),
    HeaderName::from_static("anthropic-ratelimit-requests-remaining"),
    HeaderName::from_static("anthropic-ratelimit-requests-reset"),
];

static ANTHROPIC_TOKENS: Names = [
    HeaderName::from_static("anthropic-ratelimit-tokens-limit"),
    HeaderName::from_static("anthropic-ratelimit-tokens-remaining"),
    HeaderName::from_static("anthropic-ratelimit-tokens-reset"),
];

static TOKENS: Names = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

/// What is left of a caller's own limits. Where the caller has none, what the provider says of ours stays.
pub(super) struct Quota {
    anthropic: bool,
    /// The time since 1970.
    now: Duration,
    headroom: Headroom,
}

impl Quota {
    pub(super) fn new(dialect: Dialect, now: Duration, headroom: Headroom) -> Self {
        Self { anthropic: dialect == Dialect::Anthropic, now, headroom }
    }

    /// Whether this goes in place of what the provider says under `name`.
    pub(super) fn covers(&self, name: &HeaderName) -> bool {
        self.rooms().any(|(names, _)| names.contains(name))
    }

    /// Shows it.
    pub(super) fn show(&self, response: &mut Response<Body>) {
        for (names, Room { limit, left, reset }) in self.rooms() {
            for name in names {
                response.headers_mut().remove(name);
            }
            let [limits, remaining, resets] = names;
            let fields = response.body_mut().fields();
            fields.number(limits, limit);
            fields.number(remaining, left);
            match self.anthropic {
                true => fields.text(resets, &rfc3339(self.now.saturating_add(reset))),
                false => fields.line(resets, |text| write_span(text, reset)),
            }
        }
    }

    /// The resources that are limited.
    fn rooms(&self) -> impl Iterator<Item = (&'static Names, Room)> {
        let [requests, tokens] =
            if self.anthropic { [&ANTHROPIC_REQUESTS, &ANTHROPIC_TOKENS] } else { [&REQUESTS, &TOKENS] };
        let rooms =
            [self.headroom.requests.map(|room| (requests, room)), self.headroom.tokens.map(|room| (tokens, room))];
        rooms.into_iter().flatten()
    }
}

/// A duration as OpenAI writes it: `12ms`, `1s`, `6m0s`, `1h2m3.5s`. Rounded up to the millisecond.
fn write_span(text: &mut Vec<u8>, span: Duration) {
    let millis = u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    let mut put = |number, unit: &[u8]| {
        digits(text, number);
        text.extend_from_slice(unit);
    };
    if millis < 1000 {
        return put(millis, b"ms");
    }
    let (hours, minutes, millis) = (millis / 3_600_000, millis / 60_000 % 60, millis % 60_000);
    if hours > 0 {
        put(hours, b"h");
    }
    if hours > 0 || minutes > 0 {
        put(minutes, b"m");
    }
    put(millis / 1000, b"");
    if millis % 1000 > 0 {
        let fraction = format!(".{:03}", millis % 1000);
        text.extend_from_slice(fraction.trim_end_matches('0').as_bytes());
    }
    text.push(b's');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::HeaderValue;

    use super::super::body::Payload;
    use super::super::inbound::Exchange;
    use super::*;

    fn written(span: Duration) -> String {
        let mut text = Vec::new();
        write_span(&mut text, span);
        String::from_utf8(text).unwrap()
    }

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
            assert_eq!(written(Duration::from_millis(millis)), text);
        }
        assert_eq!(written(Duration::from_nanos(1)), "1ms");
    }

    #[test]
    fn the_callers_own_limits_go_over_the_providers() {
        let mut response = Response::new(Body::new(Payload::Done, Arc::new(Exchange::default())));
        for name in REQUESTS.iter().chain(&TOKENS) {
            response.headers_mut().insert(name, HeaderValue::from_static("theirs"));
        }
        let room = Room { limit: 10, left: 9, reset: Duration::from_secs(6) };
        let quota = Quota::new(Dialect::OpenAi, Duration::ZERO, Headroom { requests: Some(room), tokens: None });
        assert!(quota.covers(&REQUESTS[2]) && !quota.covers(&TOKENS[0]) && !quota.covers(&ANTHROPIC_REQUESTS[0]));
        quota.show(&mut response);
        let mut headers = std::mem::take(response.headers_mut());
        response.body_mut().take_fields().move_to(&mut headers);
        let shown = |names: &Names| names.each_ref().map(|name| headers[name].to_str().map(str::to_owned).ok());
        assert_eq!(shown(&REQUESTS), ["10", "9", "6s"].map(|text| Some(text.to_owned())));
        assert_eq!(shown(&TOKENS), ["theirs"; 3].map(|text| Some(text.to_owned())));
    }
}
