//! Trace context as W3C has it: what comes in headers, and what goes out.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};

use http::{HeaderMap, HeaderName, HeaderValue};

/// The name of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(NonZeroU128);

/// The name of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(NonZeroU64);

impl TraceId {
    /// A name drawn at random.
    #[must_use]
    pub fn random() -> Self {
        Self(NonZeroU128::new(fastrand::u128(1..)).unwrap_or(NonZeroU128::MIN))
    }

    /// Reads 32 lower-case hexadecimal digits that are not all zero.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        NonZeroU128::new(hex(text, 32)?).map(Self)
    }

    #[cfg(feature = "otlp")]
    pub(crate) const fn bits(self) -> u128 {
        self.0.get()
    }
}

impl SpanId {
    /// A name drawn at random.
    #[must_use]
    pub fn random() -> Self {
        Self(NonZeroU64::new(fastrand::u64(1..)).unwrap_or(NonZeroU64::MIN))
    }

    /// Reads 16 lower-case hexadecimal digits that are not all zero.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        NonZeroU64::new(u64::try_from(hex(text, 16)?).ok()?).map(Self)
    }

    #[cfg(feature = "otlp")]
    pub(crate) const fn bits(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// `digits` lower-case hexadecimal digits and nothing else.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != digits || !text.bytes().all(lower) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

/// A place in somebody else's trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span that asks.
    pub span_id: SpanId,
    /// Whether its trace is recorded.
    pub sampled: bool,
    /// What vendors add, as it came; none where it cannot be read.
    pub state: Option<HeaderValue>,
    /// As it came.
    pub(crate) parent: HeaderValue,
}

impl RemoteContext {
    /// Reads `traceparent` and `tracestate`. None when the first is absent, twice there, or invalid.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        // The common case, before the search for a second value.
        let parent = headers.get(&TRACEPARENT)?;
        let (trace_id, span_id, sampled) = parsed(parent.to_str().ok()?)?;
        if headers.get_all(&TRACEPARENT).iter().nth(1).is_some() {
            return None;
        }
        Some(Self { trace_id, span_id, sampled, state: state(headers), parent: parent.clone() })
    }

    /// Passes the context on as it came.
    pub(crate) fn pass_on(&self, headers: &mut HeaderMap) {
        headers.insert(TRACEPARENT, self.parent.clone());
        if let Some(state) = &self.state {
            headers.insert(TRACESTATE, state.clone());
        }
    }
}

/// Makes a sampled span the parent of what receives `headers`.
pub(crate) fn hand_on(trace_id: TraceId, span_id: SpanId, state: Option<&HeaderValue>, headers: &mut HeaderMap) {
    if let Ok(parent) = HeaderValue::try_from(format!("00-{trace_id}-{span_id}-01")) {
        headers.insert(TRACEPARENT, parent);
        if let Some(state) = state {
            headers.insert(TRACESTATE, state.clone());
        }
    }
}

/// `version-trace-parent-flags`. Of a version that is not known, the first four fields.
fn parsed(text: &str) -> Option<(TraceId, SpanId, bool)> {
    let mut fields = text.split('-');
    let (version, trace_id, span_id, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    if hex(version, 2)? == 0xff || (version == "00" && fields.next().is_some()) {
        return None;
    }
    Some((TraceId::parse(trace_id)?, SpanId::parse(span_id)?, hex(flags, 2)? & 1 == 1))
}

/// The lines of `tracestate` as one. None where there are too many members, or one of them is no `key=value`.
fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut lines = headers.get_all(&TRACESTATE).iter();
    let first = lines.next()?;
    let mut joined = first.to_str().ok()?.to_owned();
    for line in lines {
        joined.push(',');
        joined.push_str(line.to_str().ok()?);
    }
    let members = || joined.split(',').map(str::trim).filter(|member| !member.is_empty());
    let well_formed = |member: &str| {
        member.split_once('=').is_some_and(|(key, value)| {
            let mut letters = key.bytes();
            let begins = letters.next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
            let goes_on = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(&byte);
            begins && letters.all(goes_on) && !value.is_empty() && !value.contains('=')
        })
    };
    let fits = joined.len() <= MOST_STATE && members().count() <= MOST_MEMBERS && members().all(well_formed);
    fits.then(|| HeaderValue::try_from(joined).ok()).flatten()
}

/// Members of `tracestate`, as W3C bounds them.
const MOST_MEMBERS: usize = 32;

/// Bytes of `tracestate` that are passed on; W3C asks for 512 at least.
const MOST_STATE: usize = 4096;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        HeaderMap::from_iter(lines.iter().map(line))
    }

    fn parent(text: &str) -> Option<RemoteContext> {
        RemoteContext::of(&headers(&[("traceparent", text)]))
    }

    #[test]
    fn a_parent_is_read_and_its_flag_kept() {
        let context = parent(&format!("00-{TRACE}-{SPAN}-01")).unwrap();
        assert_eq!((context.trace_id.to_string(), context.span_id.to_string()), (TRACE.to_owned(), SPAN.to_owned()));
        assert!(context.sampled);
        assert!(!parent(&format!("00-{TRACE}-{SPAN}-02")).unwrap().sampled);
        assert!(parent(&format!("cc-{TRACE}-{SPAN}-03-what-the-future-brings")).unwrap().sampled);
    }

    #[test]
    fn what_is_no_parent_is_none() {
        let zeros = "0".repeat(32);
        for text in [
            String::new(),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-{}-01", &zeros[..16]),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("0-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", &TRACE[1..]),
            format!("00-+{}-{SPAN}-01", &TRACE[1..]),
        ] {
            assert_eq!(parent(&text), None, "{text}");
        }
        let whole = format!("00-{TRACE}-{SPAN}-01");
        assert_eq!(RemoteContext::of(&HeaderMap::new()), None);
        let mut twice = headers(&[("traceparent", &whole)]);
        twice.append("traceparent", HeaderValue::from_str(&whole).unwrap());
        assert_eq!(RemoteContext::of(&twice), None);
    }

    #[test]
    fn states_are_joined_in_order_and_dropped_where_they_cannot_be_read() {
        let whole = format!("00-{TRACE}-{SPAN}-01");
        let state = |lines: &[&str]| {
            let mut headers = headers(&[("traceparent", &whole)]);
            for line in lines {
                headers.append("tracestate", HeaderValue::from_str(line).unwrap());
            }
            let state = RemoteContext::of(&headers).unwrap().state;
            state.map(|state| state.to_str().unwrap().to_owned())
        };
        assert_eq!(state(&["a=1, b@x=2", "c=3"]).as_deref(), Some("a=1, b@x=2,c=3"));
        assert_eq!(state(&[]), None);
        assert_eq!(state(&["A=1"]), None);
        assert_eq!(state(&["a"]), None);
        assert_eq!(state(&["a=1,b=2=3"]), None);
        let many = |count| (0..count).map(|at| format!("k{at}=v")).collect::<Vec<_>>().join(",");
        assert!(state(&[&many(32)]).is_some() && state(&[&many(33)]).is_none());
        assert_eq!(state(&[&format!("a={}", "x".repeat(MOST_STATE))]), None);
    }

    #[test]
    fn what_is_handed_on_is_read_again() {
        let (trace_id, span_id) = (TraceId::random(), SpanId::random());
        let mut out = HeaderMap::new();
        hand_on(trace_id, span_id, Some(&HeaderValue::from_static("a=1")), &mut out);
        let read = RemoteContext::of(&out).unwrap();
        assert_eq!((read.trace_id, read.span_id, read.sampled), (trace_id, span_id, true));
        let mut further = HeaderMap::new();
        read.pass_on(&mut further);
        assert_eq!(further, out);
    }
}
