//! Circuits as requests meet them: slowness, requests to slow down, and models apart.

use std::time::Duration;

use llm_core::{Clock, Error, ErrorKind};
use llm_pipeline::RetryPolicy;
use llm_router::Strategy;

use crate::bench::{Bench, Scripted, Step, broken};

const USUAL: Step = Step::After(Duration::from_millis(100));
const SLOW: Step = Step::After(Duration::from_secs(5));

/// A provider that is as usual for a hundred calls, and slow from then on.
fn slowing() -> std::sync::Arc<Scripted> {
    let mut steps = vec![USUAL; 100];
    steps.push(SLOW);
    Scripted::new("slow", steps)
}

async fn ask(bench: &Bench, calls: usize) -> Vec<String> {
    let mut served = Vec::new();
    for call in 0..calls {
        let answer = bench.ask(&call.to_string()).await.expect("an answer");
        served.push(answer.served.provider.to_string());
    }
    served
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_becomes_slow_is_left_for_another() {
    let (slow, other) = (slowing(), Scripted::new("other", vec![USUAL]));
    let bench = Bench::new(&[&slow, &other], Strategy::Fallback, |b| b);
    assert!(ask(&bench, 100).await.iter().all(|served| served == "slow"));
    let served = ask(&bench, 20).await;
    let stayed = served.iter().filter(|served| *served == "slow").count();
    assert!((2..=12).contains(&stayed) && served[19] == "other", "{served:?}");
    assert!(bench.path.circuits()[0].stats.anomaly);
}

#[tokio::test(start_paused = true)]
async fn slow_is_better_than_nothing() {
    let slow = slowing();
    let bench = Bench::new(&[&slow], Strategy::Fallback, |b| b);
    assert_eq!(ask(&bench, 150).await.len(), 150);
    assert!(bench.path.circuits()[0].stats.anomaly);
}

#[tokio::test(start_paused = true)]
async fn who_asks_to_slow_down_is_left_alone_until_then() {
    let slow_down = Error::new(ErrorKind::RateLimited, "slow down").with_retry_after(Duration::from_secs(90));
    let limited = Scripted::new("limited", vec![Step::Fail(slow_down), USUAL]);
    let other = Scripted::new("other", vec![USUAL]);
    let bench = Bench::new(&[&limited, &other], Strategy::Fallback, |b| b);
    assert_eq!(ask(&bench, 10).await, ["other"; 10]);
    assert_eq!(limited.calls(), 1);
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert_eq!(ask(&bench, 1).await, ["limited"]);
}

#[tokio::test(start_paused = true)]
async fn where_all_have_asked_to_slow_down_the_caller_is_asked_the_same() {
    let slow_down = Error::new(ErrorKind::RateLimited, "slow down").with_retry_after(Duration::from_secs(90));
    let provider = Scripted::new("p", vec![Step::Fail(slow_down)]);
    let bench = Bench::new(&[&provider], Strategy::Fallback, |b| b);
    assert_eq!(bench.ask("x").await.unwrap_err().kind(), ErrorKind::RateLimited);
    let begun = bench.clock.now();
    let held = bench.ask("x").await.unwrap_err();
    assert_eq!((held.kind(), provider.calls()), (ErrorKind::RateLimited, 1));
    assert_eq!((held.retry_after(), bench.clock.now()), (Some(Duration::from_secs(90)), begun));
}

#[tokio::test(start_paused = true)]
async fn half_of_the_calls_failing_opens_the_circuit() {
    let steps = (0..50).flat_map(|_| [Step::Answer("{}"), Step::Fail(broken(500))]).collect();
    let provider = Scripted::new("p", steps);
    let bench = Bench::new(&[&provider], Strategy::Fallback, |b| {
        b.retry(RetryPolicy { attempts: 0, ..RetryPolicy::default() })
    });
    for call in 0..20 {
        let _ = bench.ask(&call.to_string()).await;
    }
    assert_eq!(bench.ask("x").await.unwrap_err().kind(), ErrorKind::CircuitOpen);
    assert_eq!(provider.calls(), 20);
}
