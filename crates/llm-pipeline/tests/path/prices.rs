//! What calls cost where no target says so, and in other service tiers.

use std::time::Duration;

use llm_core::{CallBody, Error, ErrorKind, Money, Multiplier, Price, ServiceTier, Tiers, Usage};
use llm_pipeline::{PipelineBuilder, Terms};
use llm_ratelimit::{CapConfig, LimitConfig, Resource};
use llm_router::Strategy;

use crate::bench::{Bench, Scripted, Step, body};

const CAP: u64 = 100_000;

/// A hard budget of each key.
fn budget() -> Vec<LimitConfig> {
    let money = Some(CapConfig { cap: CAP, per: Duration::from_secs(86_400) });
    vec![LimitConfig { level: "key".into(), name: "*".into(), money, ..LimitConfig::default() }]
}

/// A token costs `units`; an answer has 10 at most.
fn terms(units: i64) -> Terms {
    let each = Money::from_units(units);
    Terms { price: Some(Price::per_token(each, each)), max_output: Some(10) }
}

fn bench(provider: &std::sync::Arc<Scripted>, adjust: impl FnOnce(PipelineBuilder) -> PipelineBuilder) -> Bench {
    Bench::new(&[provider], Strategy::Fallback, |builder| adjust(builder.limits(budget())))
}

async fn ask(bench: &Bench, model: &str) -> Result<u64, Error> {
    bench.path.handle(bench.request("a", body(model, "", false))).await?;
    let limits = bench.path.limits();
    let money = limits.iter().find(|limit| limit.resource == Resource::Money).expect("a budget");
    Ok(CAP - money.remaining)
}

fn used(usage: Usage) -> std::sync::Arc<Scripted> {
    Scripted::new("p", vec![Step::Used(usage)])
}

#[tokio::test(start_paused = true)]
async fn a_name_addressed_directly_has_the_terms_that_are_known_of_it() {
    let provider = used(Usage { input: 2, output: 3, ..Usage::default() });
    let known = |builder: PipelineBuilder| {
        builder.terms(|provider, model| match (provider.as_str(), model.as_str()) {
            ("p", "known" | "m") => terms(7),
            _ => Terms::default(),
        })
    };
    assert_eq!(ask(&bench(&provider, known), "p/known").await.unwrap(), 5 * 7);
    assert_eq!(ask(&bench(&provider, known), "p/m").await.unwrap(), 5, "a target's terms go before");
    let unknown = ask(&bench(&provider, known), "p/unknown").await.unwrap_err();
    assert_eq!((unknown.kind(), unknown.code()), (ErrorKind::Denied, Some("unbounded_cost")));
}

/// An account may be served in a tier that the request does not name.
#[tokio::test(start_paused = true)]
async fn a_hard_budget_reserves_for_the_dearest_tier_and_is_charged_for_the_one_it_was() {
    let doubled = |_: &_, _: &_| {
        let tiers = Tiers { priority: Some(Multiplier::from_millionths(2_000_000)), ..Tiers::default() };
        Terms { price: terms(1000).price.map(|price| Price { tiers, ..price }), ..terms(1000) }
    };
    let CallBody::Wire(sent) = body("p/x", "", false) else { panic!("a body") };
    let most = 1000 * 2 * (sent.body.len() as u64 + 10);
    for (tier, cost) in [(ServiceTier::Standard, 5000), (ServiceTier::Priority, 10_000)] {
        let provider = used(Usage { input: 2, output: 3, tier, ..Usage::default() });
        assert_eq!(ask(&bench(&provider, |builder| builder.terms(doubled)), "p/x").await.unwrap(), cost);
    }
    // What it costs in the end is not known: what was reserved stays spent.
    let provider = used(Usage { input: 2, output: 3, tier: ServiceTier::Other, ..Usage::default() });
    assert_eq!(ask(&bench(&provider, |builder| builder.terms(doubled)), "p/x").await.unwrap(), most);
}
