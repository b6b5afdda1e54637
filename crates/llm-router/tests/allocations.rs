//! Neither a decision nor an outcome allocates.

use std::future::Future;
use std::time::Duration;

use allocation_counter::measure;
use llm_core::{Clock, CompletionRequest, ManualClock, Message, Money, Price, Tick};
use llm_router::{Demand, Observed, RouterConfig, SmartRouter, Strategy, Target};

const STRATEGIES: [Strategy; 9] = [
    Strategy::Weighted,
    Strategy::Fallback,
    Strategy::Cost,
    Strategy::Latency,
    Strategy::Reliability,
    Strategy::Arbitrage,
    Strategy::PeakEwma,
    Strategy::Bandit,
    Strategy::Prefix,
];

fn router(strategy: Strategy) -> SmartRouter {
    let sla = Some(Duration::from_millis(300));
    let config = RouterConfig { strategy, sla, exploration: 0.3, seed: Some(1), ..RouterConfig::default() };
    SmartRouter::try_new(config, &[Target { weight: 1 }; 16]).expect("a route")
}

/// Calls and fails over a simulated hour, every third target refused.
fn calls(router: &SmartRouter, now: &mut Tick) {
    let price = Price::per_million(Money::from_units(1_000_000_000_000), Money::from_units(2_000_000_000_000));
    for call in 0..2000u64 {
        *now = now.after(Duration::from_millis(call % 37 * 100));
        router.set_price((call % 16) as usize, (!call.is_multiple_of(5)).then_some(price));
        let demand = Demand { prefix: call, within: Some(Duration::from_millis(call % 900)), ..Demand::default() };
        let mut plan = router.plan_for(&demand, *now);
        for _ in 0..3 {
            let Some(index) = plan.next(|index| !(index + call as usize).is_multiple_of(3)) else { break };
            let ticket = router.begin(index, *now);
            let latency = Duration::from_millis(100 + call * 7 % 400);
            let cost = Some(Money::from_units(1000));
            let failed = call.is_multiple_of(11);
            ticket.record(Observed { latency, first_token: None, output_tokens: Some(call), cost, failed }, *now);
        }
        let decision = router.choose(&demand, *now, |index| index != 3).expect("some are usable");
        assert_eq!(decision.fallback_chain.len(), 14);
    }
}

#[test]
fn neither_a_decision_nor_an_outcome_allocates() {
    for strategy in STRATEGIES {
        let router = router(strategy);
        let mut now = ManualClock::new().now();
        let counted = measure(|| calls(&router, &mut now));
        assert_eq!(counted.count_total, 0, "{strategy:?}");
    }
}

#[test]
fn a_documented_decision_does_not_either() {
    let router =
        SmartRouter::builder().add_provider("a", 0.003).add_provider("b", 0.001).clock(ManualClock::new()).build();
    let request = CompletionRequest::new("auto", vec![Message::system("Be brief."), Message::user("What is 2+2?")]);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let counted = measure(|| {
        let decided = std::pin::pin!(router.route(&request));
        let std::task::Poll::Ready(Ok(decision)) = decided.poll(&mut cx) else { panic!("it decides at once") };
        assert_eq!(decision.provider, "b");
        router.update_metrics(&decision.provider, 120.0);
    });
    assert_eq!(counted.count_total, 0);
}
