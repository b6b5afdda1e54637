//! The documented way to use a router: named providers, a goal, decisions, metrics.

use std::time::Duration;

use llm_core::{Clock, CompletionRequest, ManualClock, Message, ProviderId};
use llm_router::{ConfigError, Observed, Optimization, Reason, RouteError, SmartRouter, SmartRouterBuilder, Strategy};

fn three() -> SmartRouterBuilder {
    SmartRouter::builder()
        .add_provider("openai", 0.003)
        .add_provider("anthropic", 0.0015)
        .add_provider("groq", 0.0001)
        .clock(ManualClock::new())
}

fn request() -> CompletionRequest {
    CompletionRequest::new("auto", vec![Message::user("What is 2+2?")]).with_max_tokens(97)
}

fn chain(router: &llm_router::Decision) -> Vec<&str> {
    router.fallback_chain.iter().map(ProviderId::as_str).collect()
}

#[tokio::test]
async fn cost_goes_to_the_cheapest_then_along_the_chain() {
    let router = three()
        .optimize_for(Optimization::Cost)
        .fallback_providers(vec!["openai".to_string(), "anthropic".to_string()])
        .build();
    let decision = router.route(&request()).await.unwrap();
    assert_eq!(decision.provider, "groq");
    assert_eq!(chain(&decision), ["openai", "anthropic"]);
    assert_eq!(format!("{:?}", decision.fallback_chain), r#"["openai", "anthropic"]"#);
    // 100 tokens at $0.0001 a thousand.
    assert!((decision.predicted_cost - 0.00001).abs() < 1e-12, "{}", decision.predicted_cost);
    assert_eq!(decision.predicted_latency_ms, 0.0);
    assert_eq!((decision.reason, decision.reason.to_string().as_str()), (Reason::Cost, "least expected cost"));
}

#[tokio::test]
async fn without_a_list_the_cheaper_come_first() {
    let decision = three().build().route(&request()).await.unwrap();
    assert_eq!((decision.provider.as_str(), chain(&decision)), ("groq", vec!["anthropic", "openai"]));
}

#[tokio::test]
async fn metrics_move_the_decisions_of_latency() {
    let router = three().optimize_for(Optimization::Latency).exploration(0.0).seed(1).build();
    for (name, millis) in [("openai", 900.0), ("anthropic", 200.0), ("groq", 400.0)] {
        (0..8).for_each(|_| router.update_metrics(&name.into(), millis));
    }
    let decision = router.route(&request()).await.unwrap();
    assert_eq!(decision.provider, "anthropic");
    assert!((decision.predicted_latency_ms - 200.0).abs() < 1.0);
    // What is no time and who is no provider change nothing.
    router.update_metrics(&"anthropic".into(), f64::NAN);
    router.update_metrics(&"anthropic".into(), -1.0);
    router.update_metrics(&"nobody".into(), 1.0);
    assert_eq!(router.route(&request()).await.unwrap().provider, "anthropic");
}

#[tokio::test]
async fn reliability_goes_to_the_least_failures() {
    let router = three().optimize_for(Optimization::Reliability).exploration(0.0).seed(1).build();
    let clock = ManualClock::new();
    for index in 0..3 {
        for call in 0..40 {
            let failed = call % 10 < 2 - index;
            let observed = Observed { latency: Duration::from_millis(100), failed, ..Observed::default() };
            router.record(index as usize, observed, clock.now());
        }
        (0..8).for_each(|_| router.update_metrics(&router.names()[index as usize].clone(), 100.0));
    }
    assert_eq!(router.route(&request()).await.unwrap().provider, "groq");
}

#[tokio::test]
async fn a_router_without_providers_decides_nothing() {
    let router = SmartRouter::builder().optimize_for(Optimization::Latency).build();
    assert_eq!(router.route(&request()).await.unwrap_err(), RouteError::NoProvider);
    for strategy in [Strategy::Weighted, Strategy::PeakEwma, Strategy::Bandit, Strategy::Prefix] {
        let router = SmartRouter::builder().strategy(strategy).build();
        assert_eq!(router.plan().next(|_| true), None);
    }
}

#[test]
fn what_cannot_be_built_is_named() {
    let error = |builder: SmartRouterBuilder| builder.try_build().unwrap_err();
    assert_eq!(error(three().add_provider("groq", 0.1)), ConfigError::Duplicate("groq".into()));
    let unknown = three().fallback_providers(vec!["mistral".into()]);
    assert_eq!(error(unknown), ConfigError::UnknownFallback("mistral".into()));
    assert_eq!(error(three().add_provider("x", -1.0)), ConfigError::Price("x".into(), -1.0));
    assert!(matches!(error(three().add_provider("x", f64::NAN)), ConfigError::Price(..)));
    assert_eq!(error(three().exploration(1.5)), ConfigError::Exploration(1.5));
    assert_eq!(error(three().sla(Duration::ZERO)), ConfigError::NoSpan("sla"));
}

#[test]
fn health_and_explanations_serialise() {
    let router = three().build();
    let now = ManualClock::new().now();
    let ticket = router.begin(2, now);
    let second = Duration::from_secs(1);
    let observed = Observed {
        latency: second,
        first_token: Some(Duration::from_millis(500)),
        output_tokens: Some(50),
        ..Observed::default()
    };
    ticket.record(observed, now.after(second));
    let health = serde_json::to_value(&router.health(now.after(second))[2]).unwrap();
    let expected = serde_json::json!({
        "name": "groq", "state": "unknown", "p50_ms": 1000.0, "p95_ms": 1000.0, "p99_ms": 1000.0, "mean_ms": 1000.0,
        "success_rate": 1.0, "calls": 1, "consecutive_failures": 0, "in_flight": 0, "tokens_per_second": 100.0,
    });
    assert_eq!(health, expected);
    let explained = serde_json::to_value(router.explain(&llm_router::Demand::default(), now)).unwrap();
    let decision = router.choose(&llm_router::Demand::default(), now, |index| index != 0).unwrap();
    let decision = serde_json::to_value(decision).unwrap();
    assert_eq!((&decision["provider"], &decision["reason"]), (&"groq".into(), &"cost".into()));
    assert_eq!(decision["fallback_chain"], serde_json::json!(["anthropic"]));
    assert_eq!(explained[0]["name"], "groq");
    assert_eq!(explained[0]["reason"], "cost");
    assert_eq!(explained[0]["predicted_cost_usd"], 0.00015);
    assert_eq!(serde_json::from_str::<Strategy>(r#""peak_ewma""#).unwrap(), Strategy::PeakEwma);
}
