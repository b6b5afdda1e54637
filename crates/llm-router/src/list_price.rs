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
        let of = |units: u64, tokens: u64| Money::from_units(units as i64).times(tokens);
        (word != UNKNOWN)
            .then(|| of(word >> 32, demand.input_tokens).plus(of(word & u64::from(u32::MAX), demand.output_tokens)))
    }
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
        let demand = Demand { input_tokens: 1000, output_tokens: 100, prefix: 0 };
        assert_eq!(list.cost(&demand).unwrap().to_string(), "$0.0035");
        list.set(None);
        assert_eq!(list.cost(&demand), None);
        list.set(Some(&Price::per_million(Money::from_units(i64::MAX), Money::from_units(-1))));
        assert_eq!(
            list.cost(&Demand { input_tokens: 1, output_tokens: 1, prefix: 0 }),
            Some(Money::from_units(4_294_967_294))
        );
    }
}
