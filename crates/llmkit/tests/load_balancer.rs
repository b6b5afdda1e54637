//! The documented way to use the load balancer, and what it does when endpoints fail.

use std::sync::Arc;
use std::time::Duration;

use llm_core::ManualClock;
use llmkit::{BalancerConfig, LoadBalancer, ModelEndpoint};

fn endpoint(id: &str, url: &str, weight: u32, max_rps: f64) -> ModelEndpoint {
    ModelEndpoint { id: id.into(), url: url.into(), weight, max_rps, healthy: true, latency_p99_ms: 0.0 }
}

fn documented() -> (LoadBalancer, ManualClock) {
    let clock = ManualClock::new();
    let config = BalancerConfig {
        endpoints: vec![
            endpoint("gpt-4o", "https://api.openai.com/v1", 2, 100.0),
            endpoint("claude-3", "https://api.anthropic.com/v1", 1, 50.0),
        ],
        ..Default::default()
    };
    (LoadBalancer::with_clock(config, Arc::new(clock.clone())), clock)
}

fn turns(balancer: &LoadBalancer, count: usize) -> Vec<String> {
    (0..count).filter_map(|_| balancer.select()).map(|endpoint| endpoint.id).collect()
}

#[test]
fn the_documented_calls_work() {
    let (lb, _) = documented();
    let ep = lb.select().unwrap();
    lb.mark_success(&ep.id, 42.0);
    assert_eq!((ep.id.as_str(), ep.url.as_str(), ep.healthy), ("gpt-4o", "https://api.openai.com/v1", true));
    let stats = lb.stats();
    assert_eq!((stats.healthy, stats.endpoints[0].calls, stats.endpoints[1].calls), (2, 1, 0));
    assert_eq!(stats.endpoints[0].latency_p99_ms, 42.0);
    assert!((stats.endpoints[0].latency_ema_ms.unwrap() - 42.0).abs() < 0.001);
    assert_eq!(LoadBalancer::new(BalancerConfig::default()).select(), None);
}

#[test]
fn turns_go_by_weight_smoothly() {
    let (lb, _) = documented();
    assert_eq!(turns(&lb, 6), ["gpt-4o", "claude-3", "gpt-4o", "gpt-4o", "claude-3", "gpt-4o"]);
}

#[test]
fn three_failures_in_a_row_are_down_and_a_success_is_up_at_once() {
    let (lb, _) = documented();
    lb.mark_failure("gpt-4o");
    lb.mark_failure("gpt-4o");
    lb.mark_success("gpt-4o", 10.0);
    lb.mark_failure("gpt-4o");
    lb.mark_failure("gpt-4o");
    assert_eq!(lb.stats().healthy, 2);
    lb.mark_failure("gpt-4o");
    assert_eq!((lb.stats().healthy, lb.stats().endpoints[0].consecutive_failures), (1, 3));
    assert_eq!(turns(&lb, 5), ["claude-3"; 5]);
    lb.mark_success("gpt-4o", 10.0);
    assert!(turns(&lb, 3).contains(&"gpt-4o".into()));
}

#[test]
fn what_is_down_is_found_out_about_by_one_selection_after_a_wait() {
    let (lb, clock) = documented();
    ["gpt-4o", "claude-3"].into_iter().for_each(|id| (0..3).for_each(|_| lb.mark_failure(id)));
    assert_eq!(lb.select(), None, "all are down");
    // The wait is lengthened by up to a tenth.
    clock.advance(Duration::from_secs(67));
    let mut probed = turns(&lb, 10);
    probed.sort();
    assert_eq!(probed, ["claude-3", "gpt-4o"]);
    lb.mark_failure("claude-3");
    lb.mark_success("gpt-4o", 10.0);
    assert_eq!(turns(&lb, 4), ["gpt-4o"; 4]);
    clock.advance(Duration::from_secs(67));
    assert_eq!(turns(&lb, 4), ["gpt-4o"; 4], "a failed probe doubles the wait");
    clock.advance(Duration::from_secs(67));
    assert!(turns(&lb, 4).contains(&"claude-3".into()));
    // Nobody says how that went: it is tried again after a minute.
    assert_eq!(turns(&lb, 4), ["gpt-4o"; 4]);
    clock.advance(Duration::from_secs(60));
    assert!(turns(&lb, 4).contains(&"claude-3".into()));
}

#[test]
fn without_failover_health_is_left_aside() {
    let endpoints = vec![endpoint("a", "", 1, 0.0), ModelEndpoint { healthy: false, ..endpoint("b", "", 1, 0.0) }];
    let lb = LoadBalancer::new(BalancerConfig { endpoints: endpoints.clone(), failover: false });
    assert_eq!(turns(&lb, 4), ["a", "b", "a", "b"]);
    assert_eq!((lb.stats().healthy, lb.select().unwrap().healthy, lb.select().unwrap().healthy), (1, true, false));
    let lb = LoadBalancer::new(BalancerConfig { endpoints, failover: true });
    assert_eq!(turns(&lb, 4), ["a"; 4]);
}

#[test]
fn a_rate_holds() {
    let clock = ManualClock::new();
    let endpoints = vec![endpoint("a", "", 1, 5.0), endpoint("b", "", 1, 3.0)];
    let config = BalancerConfig { endpoints, ..Default::default() };
    let lb = LoadBalancer::with_clock(config, Arc::new(clock.clone()));
    let count = |selected: &[String], id: &str| selected.iter().filter(|one| *one == id).count();
    let at_once = turns(&lb, 100);
    assert_eq!((count(&at_once, "a"), count(&at_once, "b")), (5, 3));
    assert_eq!(lb.select(), None);
    clock.advance(Duration::from_millis(200));
    assert_eq!(turns(&lb, 10), ["a"]);
}
