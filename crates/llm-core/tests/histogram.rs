//! A histogram beside the sorted list of what it was told.

use std::time::Duration;

use llm_core::{Histogram, SlidingHistogram, Tick};
use proptest::prelude::*;

/// Times between 8 µs and 146 minutes: spread over all orders, or all but one alike, or close to the ends of buckets.
fn times() -> impl Strategy<Value = Vec<u64>> {
    let any = (13u32..43, 0.0f64..1.0).prop_map(|(octave, within)| ((1u64 << octave) as f64 * (1.0 + within)) as u64);
    let edge = (13u32..43, 0u64..17, 0u64..3)
        .prop_map(|(octave, within, off)| ((1 << octave) + (within << octave >> 4)).max((1 << 13) + 1) + off - 1);
    let few = (any.clone(), any.clone(), 1usize..400).prop_map(|(one, other, count)| {
        let mut times = vec![one; count];
        times.push(other);
        times
    });
    let within = |nanos: &u64| *nanos < 1 << 43;
    prop_oneof![
        proptest::collection::vec(any, 1..400),
        proptest::collection::vec(edge.prop_filter("beyond the last bucket", within), 1..400),
        few,
    ]
}

fn near(found: Duration, exact: f64) -> bool {
    (found.as_nanos() as f64 / exact - 1.0).abs() <= 0.03
}

proptest! {
    #[test]
    fn quantiles_and_mean_are_within_three_percent(mut times in times(), share in 0.0f64..=1.0) {
        let (histogram, sliding) = (Histogram::new(), SlidingHistogram::new(Duration::from_secs(60)));
        let now = Tick::from_nanos(3_600_000_000_000);
        for &nanos in &times {
            histogram.record(Duration::from_nanos(nanos));
            sliding.record(Duration::from_nanos(nanos), now);
        }
        let all = histogram.distribution();
        prop_assert_eq!(&all, &sliding.distribution(now));
        prop_assert_eq!(all.count(), times.len() as u64);
        times.sort_unstable();
        for share in [0.0, 0.5, 0.95, 0.99, 1.0, share] {
            let rank = ((share * times.len() as f64).ceil() as usize).max(1);
            let (found, exact) = (all.quantile(share), times[rank - 1]);
            prop_assert!(near(found, exact as f64), "{}: {:?} for {}", share, found, exact);
        }
        prop_assert!(near(all.mean(), times.iter().map(|&nanos| nanos as f64).sum::<f64>() / times.len() as f64));
    }
}
