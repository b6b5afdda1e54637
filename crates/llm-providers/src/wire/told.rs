//! What the errors of all providers have in common: texts that hold no keys, and when to try again.

use std::time::{Duration, UNIX_EPOCH};

use http::HeaderMap;
use llm_core::ErrorKind;

use super::date;

/// The text without keys, 8 KiB at most.
pub(crate) fn clean(text: &str) -> String {
    const MOST: usize = 8 << 10;
    redact(&text[..text.floor_char_boundary(MOST)])
}

/// Whether an error's code says that the key was at fault.
pub(crate) fn names_a_key(code: &str) -> bool {
    let code = code.to_ascii_lowercase();
    code.contains("api_key") || code.contains("apikey")
}

/// Blots out words that begin as keys do.
fn redact(text: &str) -> String {
    const PREFIXES: [&str; 7] = ["sk-", "sk_", "rk-", "pk-", "gsk_", "xai-", "AIza"];
    let in_word = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '*');
    let mut clean = String::with_capacity(text.len());
    for piece in text.split_inclusive(|character| !in_word(character)) {
        let word = piece.trim_end_matches(|character| !in_word(character));
        match PREFIXES.iter().find(|prefix| word.starts_with(**prefix) && word.len() >= prefix.len() + 4) {
            Some(prefix) => {
                clean.push_str(prefix);
                clean.push_str("***");
                clean.push_str(&piece[word.len()..]);
            }
            None => clean.push_str(piece),
        }
    }
    clean
}

/// When to try again, by the most exact header there is. `now_unix` is the time since 1970.
pub(crate) fn retry_after(kind: ErrorKind, headers: &HeaderMap, now_unix: Duration) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let number = |name: &str| text(name).and_then(|text| text.parse::<f64>().ok());
    let seconds = |number: f64| Duration::try_from_secs_f64(number).ok();
    let date = || {
        let at = httpdate::parse_http_date(text("retry-after")?).ok()?;
        Some(at.duration_since(UNIX_EPOCH).ok()?.saturating_sub(now_unix))
    };
    let reset = || {
        let openai = ["requests", "tokens", "project-tokens"].into_iter().filter_map(|resource| {
            let wait = go_duration(text(&format!("x-ratelimit-reset-{resource}"))?)?;
            Some((text(&format!("x-ratelimit-remaining-{resource}")) == Some("0"), wait))
        });
        let anthropic = ["requests", "tokens", "input-tokens", "output-tokens"].into_iter().filter_map(|resource| {
            let at = date::read(text(&format!("anthropic-ratelimit-{resource}-reset"))?)?;
            let used_up = text(&format!("anthropic-ratelimit-{resource}-remaining")) == Some("0");
            Some((used_up, at.saturating_sub(now_unix)))
        });
        // What is used up decides; if none says that it is, the longest wait is safe.
        openai.chain(anthropic).max().map(|(_, wait)| wait)
    };
    number("retry-after-ms")
        .and_then(|millis| seconds(millis / 1e3))
        .or_else(|| number("retry-after").and_then(seconds))
        .or_else(date)
        .or_else(|| (kind == ErrorKind::RateLimited).then(reset).flatten())
}

/// A duration as Go writes it: `12ms`, `6m0s`, `1h2m3.5s`.
fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !matches!(character, '0'..='9' | '.'))?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|character: char| matches!(character, '0'..='9' | '.')).unwrap_or(rest.len());
        seconds += number
            * match &rest[..unit] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    if text.is_empty() { None } else { Duration::try_from_secs_f64(seconds).ok() }
}
