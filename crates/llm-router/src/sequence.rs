//! One full turn of smooth weighted round robin, laid out in advance.

/// The longest turn; weights that need a longer one are scaled down, to at least 1.
const LONGEST: u64 = 4096;

/// The first choices of one turn: each target as often as its weight says, spread evenly.
///
/// Smooth weighted round robin as nginx defines it: each step adds every weight to its target's credit, takes
/// the target with the most credit (the first of equals), and subtracts the sum of the weights from it.
pub(crate) fn sequence(weights: &[u32]) -> Box<[u8]> {
    let weights = reduced(weights);
    let total: i64 = weights.iter().sum();
    let mut credit = vec![0i64; weights.len()];
    let step = |_| {
        let mut best = 0;
        for (index, weight) in weights.iter().enumerate() {
            credit[index] += weight;
            if credit[index] > credit[best] {
                best = index;
            }
        }
        credit[best] -= total;
        best as u8
    };
    (0..total).map(step).collect()
}

/// The weights in their smallest terms, their sum at most [`LONGEST`] or so.
fn reduced(weights: &[u32]) -> Vec<i64> {
    let divisor = weights.iter().fold(0, |divisor, weight| gcd(divisor, *weight)).max(1);
    let weights: Vec<u64> = weights.iter().map(|weight| u64::from(weight / divisor)).collect();
    let total: u64 = weights.iter().sum();
    let scaled = |weight: u64| match weight {
        0 => 0,
        _ if total <= LONGEST => weight,
        _ => (weight * LONGEST / total).max(1),
    };
    weights.into_iter().map(|weight| scaled(weight) as i64).collect()
}

const fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts(turn: &[u8], targets: usize) -> Vec<usize> {
        (0..targets).map(|target| turn.iter().filter(|index| usize::from(**index) == target).count()).collect()
    }

    #[test]
    fn the_known_example_comes_out() {
        assert_eq!(*sequence(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn common_factors_do_not_lengthen_the_turn() {
        assert_eq!(sequence(&[200, 100]), sequence(&[2, 1]));
        assert_eq!(sequence(&[7, 0, 7]).len(), 2);
    }

    #[test]
    fn weights_too_fine_for_a_turn_are_rounded_and_nobody_is_lost() {
        let turn = sequence(&[u32::MAX, 1, u32::MAX - 1]);
        let counts = counts(&turn, 3);
        assert!(turn.len() as u64 <= LONGEST + 3);
        assert_eq!(counts[1], 1);
        assert!(counts[0].abs_diff(counts[2]) <= 1);
    }

    proptest! {
        #[test]
        fn a_turn_holds_each_target_as_often_as_its_weight(weights in proptest::collection::vec(0u32..50, 1..10)) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            let turn = sequence(&weights);
            let divisor = weights.iter().fold(0, |d, w| gcd(d, *w));
            let expected: Vec<usize> = weights.iter().map(|weight| (weight / divisor) as usize).collect();
            prop_assert_eq!(counts(&turn, weights.len()), expected);
        }

        #[test]
        fn no_target_is_ever_a_whole_choice_off_its_share(weights in proptest::collection::vec(1u32..20, 1..6)) {
            let turn = sequence(&weights);
            let total: u32 = weights.iter().sum();
            for prefix in 0..turn.len() {
                for (target, count) in counts(&turn[..prefix], weights.len()).into_iter().enumerate() {
                    let share = prefix as f64 * f64::from(weights[target]) / f64::from(total);
                    prop_assert!((count as f64 - share).abs() < weights.len() as f64, "target {target} at {prefix}");
                }
            }
        }
    }
}
