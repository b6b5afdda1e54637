//! The documented way to use the arbitrage engine.

use std::sync::Arc;
use std::time::Duration;

use llm_core::ManualClock;
use llm_router::{ArbitrageEngine, ConfigError, ProviderProfile};

const SLA: Duration = Duration::from_millis(200);

fn profile(name: &str, input: f64, output: f64, priority: u32) -> ProviderProfile {
    ProviderProfile {
        name: name.to_string(),
        cost_per_1k_input_tokens: input,
        cost_per_1k_output_tokens: output,
        priority,
    }
}

fn documented(clock: ManualClock) -> Arc<ArbitrageEngine> {
    let engine = Arc::new(ArbitrageEngine::with_clock(clock));
    engine.register(profile("anthropic-claude-haiku", 0.00025, 0.00125, 0));
    engine.register(profile("openai-gpt-4o-mini", 0.00015, 0.00060, 1));
    engine.register(profile("local-vllm", 0.0, 0.0, 0));
    engine.record_success("anthropic-claude-haiku", 800, 200, Duration::from_millis(320));
    engine.record_success("openai-gpt-4o-mini", 800, 200, Duration::from_millis(180));
    engine.record_success("local-vllm", 800, 200, Duration::from_millis(95));
    engine
}

fn name(selected: Option<ProviderProfile>) -> String {
    selected.expect("some are registered").name
}

#[test]
fn the_documented_one_wins() {
    let engine = documented(ManualClock::new());
    for _ in 0..200 {
        assert_eq!(name(engine.select_provider(Some(SLA))), "local-vllm");
    }
    assert_eq!(engine.total_sla_misses(), 0);
}

#[test]
fn the_limit_is_each_callers_own() {
    let engine = documented(ManualClock::new());
    let hour = Some(Duration::from_secs(3600));
    let paid = |sla| name(engine.select_usable(sla, |name| name != "local-vllm"));
    assert_eq!(paid(Some(SLA)), "openai-gpt-4o-mini");
    assert_eq!(name(engine.select_usable(hour, |name| name == "anthropic-claude-haiku")), "anthropic-claude-haiku");
    assert_eq!(name(engine.select_provider(None)), "local-vllm", "no limit: the cheapest");
    // Nobody is that fast: the fastest, and counted once it is known that well.
    for _ in 0..8 {
        engine.record_success("local-vllm", 800, 200, Duration::from_millis(95));
    }
    let fastest = (0..100).filter(|_| name(engine.select_provider(Some(SLA / 10))) == "local-vllm").count();
    assert!(fastest >= 85, "{fastest}, but for those who explore");
    assert!(engine.total_sla_misses() >= 85);
    assert_eq!(engine.select_usable(Some(SLA), |_| false), None);
    assert_eq!(ArbitrageEngine::new().select_provider(None), None);
}

#[test]
fn of_equally_dear_ones_the_least_priority_number_comes_first() {
    let engine = ArbitrageEngine::with_clock(ManualClock::new());
    for (name, priority) in [("a", 2), ("b", 1), ("c", 1)] {
        engine.register(profile(name, 0.001, 0.002, priority));
    }
    assert_eq!(name(engine.select_provider(Some(SLA))), "b");
    engine.register(profile("a", 0.001, 0.002, 0));
    assert_eq!(name(engine.select_provider(Some(SLA))), "a");
}

#[test]
fn what_is_known_outlives_a_registration_and_failures_count_as_slow() {
    let engine = documented(ManualClock::new());
    for _ in 0..3 {
        engine.record_failure("local-vllm", Duration::from_millis(1));
    }
    engine.register(profile("new", 0.5, 0.5, 9));
    assert_eq!(name(engine.select_usable(Some(SLA), |name| name != "new")), "openai-gpt-4o-mini");
    let health = engine.health();
    let of = |name: &str| health.iter().find(|target| target.name == *name).expect("registered");
    assert_eq!((of("local-vllm").consecutive_failures, of("local-vllm").calls), (3, 4));
    assert_eq!(of("anthropic-claude-haiku").p50, Some(Duration::from_millis(320)));
    assert_eq!(of("new").calls, 0);
}

#[test]
fn what_cannot_be_registered_is_named_and_changes_nothing() {
    let engine = documented(ManualClock::new());
    let error = engine.try_register(profile("x", -1.0, 0.0, 0)).unwrap_err();
    assert_eq!(error, ConfigError::Price("x".into(), -1.0));
    for index in 3..64 {
        engine.register(profile(&index.to_string(), 1.0, 1.0, 0));
    }
    assert_eq!(engine.try_register(profile("one more", 0.0, 0.0, 0)), Err(ConfigError::TooMany(65)));
    assert_eq!(name(engine.select_provider(Some(SLA))), "local-vllm");
    engine.record_success("nobody", 1, 1, SLA);
    engine.record_failure("nobody", SLA);
}
