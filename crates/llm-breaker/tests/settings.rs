//! A circuit's settings as they are documented.

use std::time::Duration;

use llm_breaker::{Anomaly, CircuitBreaker, CircuitBreakerConfig, CircuitState, FailureRate};

#[test]
fn the_presets_are_the_documented_ones() {
    let production = CircuitBreakerConfig::default();
    let expected = CircuitBreakerConfig {
        failures: 5,
        failure_rate: Some(FailureRate { window: Duration::from_secs(30), share: 0.5, min_calls: 20 }),
        anomaly: Some(Anomaly { z: 2.5, outliers: None }),
        open_for: Duration::from_secs(60),
        success_threshold: 5,
        success_share: 0.8,
        half_open_requests: 10,
        shadow: false,
    };
    assert_eq!(production, expected);
    assert_eq!(CircuitBreakerConfig::production(), production);
    let (z, outliers, secs) = (1.5, Some(1), 10);
    let aggressive = CircuitBreakerConfig::aggressive();
    assert_eq!((aggressive.anomaly, aggressive.open_for), (Some(Anomaly { z, outliers }), Duration::from_secs(secs)));
    let conservative = CircuitBreakerConfig::conservative();
    let anomaly = Some(Anomaly { z: 3.0, outliers: None });
    assert_eq!((conservative.anomaly, conservative.open_for), (anomaly, Duration::from_secs(120)));
}

#[test]
fn the_builder_sets_what_it_says() {
    let breaker = CircuitBreaker::builder()
        .failure_threshold(3)
        .failure_threshold_z_score(2.0)
        .success_threshold(4)
        .half_open_requests(6)
        .timeout_seconds(120)
        .build();
    let expected = CircuitBreakerConfig {
        failures: 3,
        anomaly: Some(Anomaly { z: 2.0, outliers: None }),
        success_threshold: 4,
        half_open_requests: 6,
        open_for: Duration::from_secs(120),
        ..CircuitBreakerConfig::default()
    };
    assert_eq!(*breaker.config(), expected);
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[test]
#[should_panic(expected = "half_open_requests: at least 1 is needed")]
fn what_cannot_be_built_panics_and_says_why() {
    let _ = CircuitBreaker::builder().half_open_requests(0).build();
}

#[test]
fn states_are_spelled_as_documented() {
    let states = [CircuitState::Closed, CircuitState::Open, CircuitState::HalfOpen];
    assert_eq!(serde_json::to_string(&states).ok().as_deref(), Some(r#"["Closed","Open","HalfOpen"]"#));
}
