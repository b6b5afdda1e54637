//! A target's price, in one atomic word.

use llm_core::sync::{AtomicU64, Ordering};
use llm_core::{Money, Price};

use crate::demand::Demand;

/// The prices of an input and of an output token, in 32 bits of 10⁻¹² dollar each: exact up to $4,294 a million
/// tokens, which dearer ones count as.
#[derive(Debug)]
pub(crate) struct ListPrice(AtomicU64);

const UNKNOWN: u64 = u64::MAX;

impl ListPrice {
    pub(crate) fn new(price: Option<&Price>) -> Self {
        Self(AtomicU64::new(price.map_or(UNKNOWN, pack)))
    }

    pub(crate) fn set(&self, price: Option<&Price>) {
        // Relaxed: the word is the whole price.
        self.0.store(price.map_or(UNKNOWN, pack), Ordering::Relaxed);
    }

    /// What `demand` costs: `input·in + output·out`.
    pub(crate) fn cost(&self, demand: &Demand) -> Option<Money> {
        let word = self.0.load(Ordering::Relaxed);
        (word != UNKNOWN).then(|| Money::from_units(units(word, Tokens::from(*demand)) as i64))
    }

    /// The same in 10⁻¹² dollar; not less than any other price's, when it is not known.
    pub(crate) fn units(&self, tokens: Tokens) -> u64 {
        units(self.0.load(Ordering::Relaxed), tokens)
    }
}

/// The tokens of a demand, a billion each at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tokens {
    input: u64,
    output: u64,
}

impl From<Demand> for Tokens {
    fn from(demand: Demand) -> Self {
        let least = |tokens: u64| tokens.min(1_000_000_000);
        Self { input: least(demand.input_tokens), output: least(demand.output_tokens) }
    }
}

fn units(word: u64, tokens: Tokens) -> u64 {
    // Neither product reaches 2⁶², so the sum is a Money.
    (word >> 32) * tokens.input + (word & u64::from(u32::MAX)) * tokens.output
}

fn pack(price: &Price) -> u64 {
    // One below the most, so that no price is the mark of an unknown one.
    let half = |money: Money| u64::try_from(money.units()).unwrap_or(0).min(u64::from(u32::MAX) - 1);
    half(price.rates.input) << 32 | half(price.rates.output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_price_is_exact() {
        let price = Price::per_million("2.5".parse().unwrap(), "10".parse().unwrap());
        let list = ListPrice::new(Some(&price));
        let demand = Demand { input_tokens: 1000, output_tokens: 100, ..Demand::default() };
        assert_eq!(list.cost(&demand).unwrap().to_string(), "$0.0035");
        assert_eq!(list.units(demand.into()), 3_500_000_000);
        list.set(None);
        assert_eq!(list.cost(&demand), None);
        let unknown = list.units(demand.into());
        list.set(Some(&Price::per_million(Money::from_units(i64::MAX), Money::from_units(-1))));
        assert_eq!(
            list.cost(&Demand { input_tokens: 1, output_tokens: 1, ..Demand::default() }),
            Some(Money::from_units(4_294_967_294))
        );
        assert!(unknown > list.units(demand.into()));
    }
}
