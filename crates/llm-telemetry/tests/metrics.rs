//! What the series say of what happened, as a scraper reads it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use llm_core::{
    AttemptRecord, ErrorKind, Money, Observer, Operation, ProviderId, RequestRecord, Sharing, Transition, Usage,
};
use llm_telemetry::{FAMILIES, MOST_LABELS, ProviderFacts, Telemetry};

const ATTEMPT: AttemptRecord = AttemptRecord {
    operation: Operation::Chat,
    duration: Duration::from_millis(5),
    first_token: None,
    usage: None,
    cost: None,
    error: None,
    upstream_status: None,
};

const REQUEST: RequestRecord<'_> = RequestRecord {
    operation: Operation::Chat,
    model: None,
    stream: false,
    sharing: Sharing::Miss,
    attempts: 1,
    duration: Duration::from_millis(7),
    saved: None,
    error: None,
};

/// So many labels more than there may be.
const BEYOND: usize = 50;

/// A process to which everything has happened.
fn busy() -> Telemetry {
    let telemetry = Telemetry::new();
    let mistral = ProviderId::from("open\"ai");
    telemetry.describe(&mistral, ProviderFacts { system: "mistral_ai".into(), ..ProviderFacts::default() });
    let target = telemetry.target(&mistral, &"fast".into());
    for (millis, error) in [(5, None), (700, None), (90_000, Some(ErrorKind::Timeout))] {
        target.attempt_started();
        target.attempt_ended(&AttemptRecord {
            duration: Duration::from_millis(millis),
            first_token: Some(Duration::from_millis(millis / 2)),
            usage: Some(Usage { input: 10, cache_read: Some(5), output: 3, ..Usage::default() }),
            cost: Some(Money::from_units(1_000_000_000)),
            error,
            ..ATTEMPT
        });
    }
    target.attempt_started();
    target.attempt_ended(&AttemptRecord { usage: Some(Usage::default()), ..ATTEMPT });
    target.attempt_started();
    telemetry.request_ended(&REQUEST);
    telemetry.request_ended(&RequestRecord { attempts: 2, error: Some(ErrorKind::RateLimited), ..REQUEST });
    telemetry.request_ended(&RequestRecord { sharing: Sharing::Joined, attempts: 2, ..REQUEST });
    telemetry.overhead(Duration::from_micros(12));
    let transition = Transition { from: "closed", to: "open", reason: "5 failures in a row".into() };
    telemetry.circuit_changed(&mistral, &"m".into(), &transition);
    telemetry.limit_denied("tenant", "requests");
    telemetry.key_refused(&mistral, "key-1");
    telemetry.set_flights(3, 4);
    telemetry.set_circuits([("a", "open"), ("a", "open"), ("b", "closed")].into_iter());
    telemetry.set_decisions([("fast", 7, 2)].into_iter());
    telemetry.set_probe_failures([("p", 1), ("p", 3)].into_iter());
    telemetry.set_routing(4, [("fast", 5), ("slow", 0)].into_iter());
    telemetry
}

/// The samples by name and labels; panics on what a scraper would refuse.
fn samples(text: &str) -> HashMap<String, f64> {
    let (mut types, mut samples) = (HashSet::new(), HashMap::new());
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert!(types.insert(rest.split(' ').next().expect("a name").to_owned()), "two types: {line}");
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            let family = name.split('{').next().expect("a name");
            let stem = ["_bucket", "_sum", "_count", "_total"].iter().find_map(|end| family.strip_suffix(end));
            assert!(types.contains(family) || stem.is_some_and(|stem| types.contains(stem)), "no type: {line}");
            assert!(samples.insert(name.to_owned(), value.parse().expect("a number")).is_none(), "twice: {line}");
        }
    }
    samples
}

/// The families of a text with the names of the labels that their samples have.
fn families(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    let mut family = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().expect("a name").to_owned();
            found.insert(family.clone(), BTreeSet::new());
        } else if !line.starts_with('#')
            && let Some((_, labels)) = line.split_once('{')
        {
            let labels =
                labels.rsplit_once('}').expect("an end").0.split("\",").filter_map(|label| label.split_once("=\""));
            found
                .get_mut(&family)
                .expect("a type before its samples")
                .extend(labels.map(|(name, _)| name.to_owned()).filter(|name| name != "le"));
        }
    }
    found
}

#[test]
fn both_formats_are_well_formed_and_say_the_same() {
    let telemetry = busy();
    let (classic_type, classic) = telemetry.render(None);
    let (open_type, open) = telemetry.render(Some("application/openmetrics-text;version=1.0.0,text/plain;q=0.5"));
    assert!(classic_type.starts_with("text/plain") && open_type.starts_with("application/openmetrics-text"));
    assert!(open.ends_with("# EOF\n") && !classic.contains("# EOF") && !classic.contains("# UNIT"));
    assert!(classic.contains("# TYPE llmkit_request_tokens_total counter\n"));
    assert_eq!(samples(&classic), samples(&open));
}

#[test]
fn every_family_is_listed_with_its_labels_and_none_is_listed_that_never_shows() {
    let listed = FAMILIES.iter().filter(|family| !family.name.starts_with("llmkit_spans"));
    let listed: BTreeMap<_, BTreeSet<_>> = listed
        .map(|family| (family.name.to_owned(), family.labels.iter().map(|&label| label.to_owned()).collect()))
        .collect();
    let telemetry = busy();
    telemetry.set_answers(3, 1);
    telemetry.set_similarity(2, 1, 1.5);
    let mut shown = families(&telemetry.render(None).1);
    // Spans are counted where there are traces.
    shown.remove("llmkit_spans_total");
    let unpriced = Telemetry::new();
    let target = unpriced.target(&"p".into(), &"m".into());
    target.attempt_started();
    let cached = Usage { cache_read: Some(1), output: 9, ..Usage::default() };
    target.attempt_ended(&AttemptRecord { usage: Some(cached), first_token: Some(Duration::ZERO), ..ATTEMPT });
    shown.extend(families(&unpriced.render(None).1).into_iter().filter(|(name, _)| name.contains("unpriced")));
    assert_eq!(shown, listed);
}

#[test]
fn buckets_are_cumulative_up_to_the_count() {
    let samples = samples(&busy().render(None).1);
    let labels = "provider=\"open\\\"ai\",model=\"fast\"";
    let bucket = |le: &str| {
        let of = |name: String| samples.get(&name).copied();
        of(format!("llmkit_request_duration_seconds_bucket{{le=\"{le}\",{labels}}}")).unwrap_or_else(|| panic!("{le}"))
    };
    assert_eq!(
        (bucket("0.01"), bucket("0.64"), bucket("1.28"), bucket("81.92"), bucket("+Inf")),
        (2.0, 2.0, 3.0, 3.0, 4.0)
    );
    assert_eq!(samples[&format!("llmkit_request_duration_seconds_count{{{labels}}}")], 4.0);
    assert!((samples[&format!("llmkit_request_duration_seconds_sum{{{labels}}}")] - 90.71).abs() < 1e-9);
}

#[test]
fn what_happened_is_counted_under_the_specified_names() {
    let samples = samples(&busy().render(None).1);
    let provider = "provider=\"open\\\"ai\"";
    let gen_ai = "gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"mistral_ai\",gen_ai_request_model=\"fast\"";
    let expected = [
        (format!("llmkit_request_tokens_total{{{provider},direction=\"input\"}}"), 45.0),
        (format!("llmkit_request_tokens_total{{{provider},direction=\"output\"}}"), 9.0),
        (format!("llmkit_request_cost_total{{{provider},model=\"fast\"}}"), 0.003),
        (format!("llmkit_request_active{{{provider}}}"), 1.0),
        (format!("llmkit_provider_errors_total{{{provider},error_type=\"timeout\"}}"), 1.0),
        (format!("llmkit_token_classes_total{{{provider},class=\"cache_read\"}}"), 15.0),
        (format!("llmkit_unpriced_requests_total{{{provider},model=\"fast\"}}"), 1.0),
        (format!("gen_ai_client_operation_duration_seconds_count{{{gen_ai}}}"), 3.0),
        (format!("gen_ai_client_operation_duration_seconds_count{{{gen_ai},error_type=\"timeout\"}}"), 1.0),
        (format!("gen_ai_client_token_usage_sum{{{gen_ai},gen_ai_token_type=\"input\"}}"), 45.0),
        (format!("gen_ai_server_time_to_first_token_seconds_count{{{gen_ai}}}"), 3.0),
        // Half of 700 ms for two further tokens.
        (format!("gen_ai_server_time_per_output_token_seconds_bucket{{le=\"0.2\",{gen_ai}}}"), 2.0),
        (format!("gen_ai_server_time_per_output_token_seconds_bucket{{le=\"0.15\",{gen_ai}}}"), 1.0),
        ("gen_ai_server_request_duration_seconds_count{gen_ai_operation_name=\"chat\"}".to_owned(), 2.0),
        ("llmkit_requests_total{operation=\"chat\",outcome=\"ok\"}".to_owned(), 2.0),
        ("llmkit_requests_total{operation=\"chat\",outcome=\"rate_limit\"}".to_owned(), 1.0),
        ("llmkit_shared_requests_total{sharing=\"joined\"}".to_owned(), 1.0),
        ("llmkit_attempts_total".to_owned(), 3.0),
        ("llmkit_request_attempts_bucket{le=\"1.0\"}".to_owned(), 1.0),
        ("llmkit_overhead_seconds_bucket{le=\"0.00001\"}".to_owned(), 0.0),
        ("llmkit_overhead_seconds_bucket{le=\"0.00002\"}".to_owned(), 1.0),
        (format!("llmkit_circuit_transitions_total{{{provider},from=\"closed\",to=\"open\"}}"), 1.0),
        ("llmkit_circuits{provider=\"a\",state=\"open\"}".to_owned(), 2.0),
        ("llmkit_limit_denials_total{level=\"tenant\",resource=\"requests\"}".to_owned(), 1.0),
        ("llmkit_limit_decisions_total{model=\"fast\",decision=\"denied\"}".to_owned(), 2.0),
        ("llmkit_circuit_probe_failures{provider=\"p\"}".to_owned(), 3.0),
        ("llmkit_fallbacks_total".to_owned(), 4.0),
        ("llmkit_sla_misses_total{model=\"fast\"}".to_owned(), 5.0),
        (format!("llmkit_keys_refused_total{{{provider}}}"), 1.0),
        ("llmkit_flights_joined_total".to_owned(), 4.0),
    ];
    for (name, value) in expected {
        let found = samples.get(&name).unwrap_or_else(|| panic!("{name} is missing"));
        assert!((found - value).abs() < 1e-9, "{name} is {found}");
    }
}

#[test]
fn two_targets_that_the_conventions_call_alike_are_one_series_there() {
    let telemetry = Telemetry::new();
    for provider in ["east", "west"] {
        let provider = ProviderId::from(provider);
        telemetry.describe(&provider, ProviderFacts { system: "openai".into(), ..ProviderFacts::default() });
        let target = telemetry.target(&provider, &"fast".into());
        target.attempt_started();
        target.attempt_ended(&ATTEMPT);
    }
    let samples = samples(&telemetry.render(None).1);
    let labels = "gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"openai\",gen_ai_request_model=\"fast\"";
    assert_eq!(samples[&format!("gen_ai_client_operation_duration_seconds_count{{{labels}}}")], 2.0);
    assert_eq!(samples["llmkit_request_duration_seconds_count{provider=\"east\",model=\"fast\"}"], 1.0);
}

#[test]
fn labels_that_are_too_many_are_counted_as_other_in_every_family() {
    let telemetry = Telemetry::new();
    let many = MOST_LABELS + BEYOND;
    for number in 0..many {
        let provider = ProviderId::from(format!("p{number}"));
        let target = telemetry.target(&provider, &format!("m{number}").into());
        target.attempt_started();
        let usage = Some(Usage { input: 1, output: 1, reasoning: Some(1), ..Usage::default() });
        target.attempt_ended(&AttemptRecord { usage, first_token: Some(Duration::ZERO), ..ATTEMPT });
        target.attempt_started();
        target.attempt_ended(&AttemptRecord { error: Some(ErrorKind::Timeout), ..ATTEMPT });
        let transition = Transition { from: "closed", to: "open", reason: String::new() };
        telemetry.circuit_changed(&provider, &"m".into(), &transition);
        telemetry.limit_denied(&format!("l{number}"), "tokens");
        telemetry.key_refused(&provider, "k");
    }
    let names: Vec<String> = (0..many).map(|number| format!("n{number}")).collect();
    telemetry.set_circuits(names.iter().map(|name| (name.as_str(), "open")));
    telemetry.set_decisions(names.iter().map(|name| (name.as_str(), 1, 1)));
    telemetry.set_probe_failures(names.iter().map(|name| (name.as_str(), 1)));
    telemetry.set_routing(1, names.iter().map(|name| (name.as_str(), 1)));
    let samples = samples(&telemetry.render(None).1);
    // Label sets that differ in what is open: those of a closed set (input and output, two decisions) multiply them.
    let mut sets: HashMap<&str, usize> = HashMap::new();
    for name in samples.keys().filter(|name| !name.contains("_bucket{")) {
        *sets.entry(name.split('{').next().unwrap()).or_default() += 1;
    }
    assert!(sets.len() >= FAMILIES.len() - 11, "{sets:?}");
    for (family, sets) in sets {
        assert!(sets <= 2 * (MOST_LABELS + 1), "{family} has {sets}");
    }
    let other = "gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"other\",gen_ai_request_model=\"other\"";
    let beyond = BEYOND as f64;
    for (name, value) in [
        ("llmkit_request_duration_seconds_count{provider=\"other\",model=\"other\"}", 2.0 * beyond),
        ("llmkit_request_tokens_total{provider=\"other\",direction=\"output\"}", 2.0 * beyond),
        ("llmkit_provider_errors_total{provider=\"other\",error_type=\"timeout\"}", beyond),
        (&format!("gen_ai_client_operation_duration_seconds_count{{{other}}}"), beyond),
        ("llmkit_circuit_transitions_total{provider=\"other\",from=\"closed\",to=\"open\"}", beyond),
        ("llmkit_limit_denials_total{level=\"other\",resource=\"tokens\"}", beyond),
        ("llmkit_keys_refused_total{provider=\"other\"}", beyond),
        ("llmkit_circuits{provider=\"other\",state=\"open\"}", beyond),
        ("llmkit_limit_decisions_total{model=\"other\",decision=\"allowed\"}", beyond),
    ] {
        assert_eq!(samples.get(name), Some(&value), "{name}");
    }
}

#[test]
fn without_metrics_nothing_is_counted() {
    let telemetry = Telemetry::builder().metrics(false).try_build().unwrap();
    let target = telemetry.target(&"p".into(), &"m".into());
    target.attempt_started();
    target.attempt_ended(&ATTEMPT);
    telemetry.request_ended(&REQUEST);
    assert!(!telemetry.render(None).1.contains("provider=\"p\""));
}

#[test]
fn threads_that_count_at_once_lose_nothing() {
    let telemetry = Telemetry::new();
    let target = telemetry.target(&"p".into(), &"m".into());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    target.attempt_started();
                    target.attempt_ended(&ATTEMPT);
                    telemetry.request_ended(&REQUEST);
                }
            });
        }
    });
    let samples = samples(&telemetry.render(None).1);
    assert_eq!(samples["llmkit_request_duration_seconds_count{provider=\"p\",model=\"m\"}"], 8000.0);
    assert_eq!(samples["llmkit_request_active{provider=\"p\"}"], 0.0);
    assert_eq!(samples["llmkit_requests_total{operation=\"chat\",outcome=\"ok\"}"], 8000.0);
}

#[test]
fn totals_are_the_same_counts_in_few_words() {
    let telemetry = busy();
    let (totals, text) = (telemetry.totals(), telemetry.render(None).1);
    let shown = |line: &str| {
        let value = text.lines().find_map(|known| known.strip_prefix(line)).unwrap_or_else(|| panic!("{line}\n{text}"));
        value.trim().parse::<f64>().unwrap()
    };
    let known = &totals.providers["open\"ai"];
    for (line, value) in [
        ("llmkit_request_active{provider=\"open\\\"ai\"}", known.active as f64),
        ("llmkit_request_tokens_total{provider=\"open\\\"ai\",direction=\"input\"}", known.input_tokens as f64),
        ("llmkit_request_tokens_total{provider=\"open\\\"ai\",direction=\"output\"}", known.output_tokens as f64),
        ("llmkit_request_cost_total{provider=\"open\\\"ai\",model=\"fast\"}", known.cost),
        ("llmkit_unpriced_requests_total{provider=\"open\\\"ai\",model=\"fast\"}", totals.unpriced as f64),
        (
            "llmkit_request_duration_seconds_count{provider=\"open\\\"ai\",model=\"fast\"}",
            known.duration.count() as f64,
        ),
        ("llmkit_request_duration_seconds_sum{provider=\"open\\\"ai\",model=\"fast\"}", known.duration.sum),
        ("llmkit_overhead_seconds_count", totals.overhead.count() as f64),
        ("llmkit_saved_cost_total", totals.saved),
        ("llmkit_requests_total{operation=\"chat\",outcome=\"ok\"}", totals.outcomes["ok"] as f64),
        ("llmkit_shared_requests_total{sharing=\"joined\"}", totals.sharing["joined"] as f64),
    ] {
        assert_eq!(shown(line), value, "{line}");
    }
    assert_eq!(known.errors["timeout"], 1);
    assert_eq!(known.first_token.count(), 3);
    assert_eq!(totals.duration.count(), totals.outcomes.values().sum::<u64>());
    let changes = telemetry.circuit_changes();
    assert_eq!((changes.len(), changes[0].transition.to), (1, "open"));
}
