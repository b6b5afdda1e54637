//! Every family of series, once: what `/metrics` shows, what the dashboard draws, what the documentation lists.

/// What a family's samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Buckets, a sum and a count.
    Histogram,
}

impl Kind {
    /// The word in Prometheus' text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What a family is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Requests as their callers see them.
    Requests,
    /// Calls to providers.
    Providers,
    /// Tokens and money.
    Usage,
    /// Retries, circuits, limits.
    Resilience,
    /// Calls that are shared.
    Sharing,
    /// The process itself.
    Process,
}

impl Topic {
    /// The topic as a heading.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "Requests",
            Self::Providers => "Providers",
            Self::Usage => "Tokens and cost",
            Self::Resilience => "Retries, circuits, limits",
            Self::Sharing => "Sharing",
            Self::Process => "Process",
        }
    }
}

/// A family of series.
#[derive(Debug)]
pub struct Family {
    /// The name in Prometheus' classic text, `_total` included.
    pub name: &'static str,
    /// What its samples are.
    pub kind: Kind,
    /// Its labels. The values of each come from the configuration or from a closed set.
    pub labels: &'static [&'static str],
    /// The unit in Grafana's words: `s`, `short`, `currencyUSD`.
    pub unit: &'static str,
    /// What it is about.
    pub topic: Topic,
    /// What it says.
    pub help: &'static str,
}

macro_rules! families {
    ($($ident:ident: $kind:ident $name:literal $labels:tt $unit:literal $topic:ident, $help:literal;)+) => {
        $(
            pub(crate) const $ident: &Family = &Family {
                name: $name,
                kind: Kind::$kind,
                labels: &$labels,
                unit: $unit,
                topic: Topic::$topic,
                help: $help,
            };
        )+
        /// All families, in the order in which they are shown.
        pub const FAMILIES: &[&Family] = &[$($ident),+];
    };
}

families! {
    REQUEST_DURATION: Histogram "llmkit_request_duration_seconds" ["provider", "model"] "s" Providers,
        "Calls to providers, to the end of the answer";
    REQUEST_TOKENS: Counter "llmkit_request_tokens_total" ["provider", "direction"] "short" Usage,
        "Tokens as providers reported them, cached input included";
    REQUEST_ACTIVE: Gauge "llmkit_request_active" ["provider"] "short" Providers,
        "Calls to providers under way";
    REQUEST_COST: Counter "llmkit_request_cost_total" ["provider", "model"] "currencyUSD" Usage,
        "Dollars, where the price is known";
    PROVIDER_ERRORS: Counter "llmkit_provider_errors_total" ["provider", "error_type"] "short" Providers,
        "Calls that failed, those behind a retry too";

    CLIENT_DURATION: Histogram "gen_ai_client_operation_duration_seconds"
        ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "error_type"] "s" Providers,
        "Calls to providers, to the end of the answer";
    CLIENT_TOKENS: Histogram "gen_ai_client_token_usage"
        ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_token_type"] "short" Usage,
        "Tokens of a call, as its provider reported them";
    SERVER_DURATION: Histogram "gen_ai_server_request_duration_seconds" ["gen_ai_operation_name", "error_type"] "s"
        Requests, "Requests from their arrival to the end of their answer";
    SERVER_FIRST_TOKEN: Histogram "gen_ai_server_time_to_first_token_seconds"
        ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"] "s" Providers,
        "From sending to a stream's first content";
    SERVER_PER_TOKEN: Histogram "gen_ai_server_time_per_output_token_seconds"
        ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model"] "s" Providers,
        "Time per output token of a stream after its first";

    FIRST_TOKEN: Histogram "llmkit_time_to_first_token_seconds" ["provider", "model"] "s" Providers,
        "From sending to a stream's first content";
    TOKEN_CLASSES: Counter "llmkit_token_classes_total" ["provider", "class"] "short" Usage,
        "Tokens read from or written to providers' caches, and spent on reasoning; part of the tokens of their direction";
    UNPRICED: Counter "llmkit_unpriced_requests_total" ["provider", "model"] "short" Usage,
        "Calls whose tokens have no known price";
    REQUESTS: Counter "llmkit_requests_total" ["operation", "outcome"] "short" Requests,
        "Requests answered or refused";
    OVERHEAD: Histogram "llmkit_overhead_seconds" [] "s" Requests,
        "Our own time of a request, up to the head of its answer";
    ATTEMPTS: Counter "llmkit_attempts_total" [] "short" Resilience,
        "Calls made for requests";
    REQUEST_ATTEMPTS: Histogram "llmkit_request_attempts" [] "short" Resilience,
        "Calls made for one request";
    CIRCUIT_TRANSITIONS: Counter "llmkit_circuit_transitions_total" ["provider", "from", "to"] "short" Resilience,
        "Changes of circuits";
    CIRCUITS: Gauge "llmkit_circuits" ["provider", "state"] "short" Resilience,
        "Circuits by their state";
    PROBE_FAILURES: Gauge "llmkit_circuit_probe_failures" ["provider"] "short" Resilience,
        "Rounds of probes in a row that failed, of the circuit that has the most";
    FALLBACKS: Counter "llmkit_fallbacks_total" [] "short" Resilience,
        "Calls to another target than the one before, for the same request";
    SLA_MISSES: Counter "llmkit_sla_misses_total" ["model"] "short" Resilience,
        "Requests for which no target was known to be fast enough";
    LIMIT_DENIALS: Counter "llmkit_limit_denials_total" ["level", "resource"] "short" Resilience,
        "Requests and attempts that a limit denied";
    LIMIT_DECISIONS: Counter "llmkit_limit_decisions_total" ["model", "decision"] "short" Resilience,
        "Calls that limits let pass or denied";
    KEYS_REFUSED: Counter "llmkit_keys_refused_total" ["provider"] "short" Resilience,
        "Keys of ours that providers have refused";
    SHARED: Counter "llmkit_shared_requests_total" ["sharing"] "short" Sharing,
        "Requests by whose call answered them";
    FLIGHTS_ACTIVE: Gauge "llmkit_flights_active" [] "short" Sharing,
        "Different calls in flight that can be joined";
    FLIGHTS_JOINED: Counter "llmkit_flights_joined_total" [] "short" Sharing,
        "Requests that joined a call in flight";
    SAVED_COST: Counter "llmkit_saved_cost_total" [] "currencyUSD" Sharing,
        "Dollars that shared calls and finished answers would have cost";
    CACHE_ENTRIES: Gauge "llmkit_cache_entries" [] "short" Sharing,
        "Finished answers that are kept";
    CACHE_EVICTIONS: Counter "llmkit_cache_evictions_total" [] "short" Sharing,
        "Finished answers that were forgotten to make room";
    SEMANTIC_HITS: Counter "dedup_semantic_hits_total" [] "short" Sharing,
        "Requests that were nearly the same as one whose answer is kept";
    SEMANTIC_MISSES: Counter "dedup_semantic_miss_total" [] "short" Sharing,
        "Requests that were compared and were like none";
    SIMILARITY: Gauge "avg_similarity_score" [] "short" Sharing,
        "Bits of 64 in which the fingerprints of the last 256 near-duplicates differed, on average";
    SPANS: Counter "llmkit_spans_total" ["outcome"] "short" Process,
        "Spans that were made, sent to the collector, or could not be sent";
    BUILD: Gauge "llmkit_build_info" ["version"] "short" Process,
        "The running version";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_follow_prometheus_rules() {
        let mut seen = HashSet::new();
        for family in FAMILIES {
            let Family { name, kind, labels, .. } = family;
            assert!(seen.insert(name), "{name} twice");
            let word =
                |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || b"_0123456789".contains(&byte));
            assert!(word(name) && labels.iter().all(|label| word(label) && !label.starts_with("__")), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert!(!labels.contains(&"le"), "{name}");
            assert!(!family.help.is_empty() && !family.help.ends_with('.'), "{name}");
        }
    }

    #[test]
    fn the_specified_series_are_there_under_their_names_and_labels() {
        let specified: [(&str, Kind, &[&str]); 5] = [
            ("llmkit_request_duration_seconds", Kind::Histogram, &["provider", "model"]),
            ("llmkit_request_tokens_total", Kind::Counter, &["provider", "direction"]),
            ("llmkit_request_active", Kind::Gauge, &["provider"]),
            ("llmkit_request_cost_total", Kind::Counter, &["provider", "model"]),
            ("llmkit_provider_errors_total", Kind::Counter, &["provider", "error_type"]),
        ];
        for (name, kind, labels) in specified {
            let family = FAMILIES.iter().find(|family| family.name == name).unwrap();
            assert_eq!((family.kind, family.labels), (kind, labels));
        }
    }
}
