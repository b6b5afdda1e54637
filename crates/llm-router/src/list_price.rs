//! A target's price, in one atomic word.

use llm_core::sync::{AtomicU64, Ordering};
use llm_core::{Money, Price};

use crate::demand::Demand;

/// The prices of an input and of an output token, in 31 bits of 10⁻¹² dollar each: exact up to $2,147 a million
/// tokens, which dearer ones count as.
#[derive(Debug)]
pub(crate) struct ListPrice(AtomicU64);

/// As signed numbers its halves are no prices: what it comes to is never above what something costs.
const UNKNOWN: u64 = 1 << 63;

impl ListPrice {
    pub(crate) fn new(price: Option<&Price>) -> Self {
        Self(AtomicU64::new(price.map_or(UNKNOWN, pack)))
    }

    pub(crate) fn set(&self, price: Option<&Price>) {
        // Relaxed, here and below: the word is the whole price.
        self.0.store(price.map_or(UNKNOWN, pack), Ordering::Relaxed);
    }

    /// What `demand` costs: `input·in + output·out`.
    pub(crate) fn cost(&self, demand: &Demand) -> Option<Money> {
        let word = self.0.load(Ordering::Relaxed);
        (word != UNKNOWN).then(|| Money::from_units(Tokens::from(demand).units(word)))
    }

    /// The same in 10⁻¹² dollar; where the price is not known, nothing or less.
    #[inline]
    pub(crate) fn units(&self, tokens: Tokens) -> i64 {
        tokens.units(self.0.load(Ordering::Relaxed))
    }
}

/// The tokens of a demand, a billion each at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tokens {
    input: i64,
    output: i64,
}

impl From<&Demand> for Tokens {
    #[inline]
    fn from(demand: &Demand) -> Self {
        let least = |tokens: u64| tokens.min(1_000_000_000) as i64;
        Self { input: least(demand.input_tokens), output: least(demand.output_tokens) }
    }
}

impl Tokens {
    /// What they cost by a price's word: neither product reaches 2⁶².
    #[inline]
    const fn units(self, word: u64) -> i64 {
        (word as i64 >> 32) * self.input + (word & u32::MAX as u64) as i64 * self.output
    }
}

/// The price of a token at so many dollars per thousand, from 0 to 2: more does not fit the word.
pub(crate) fn per_token(usd_per_1k: f64) -> Option<Money> {
    // A thousandth of a dollar is 10⁹ units.
    (0.0..=2.0).contains(&usd_per_1k).then(|| Money::from_units((usd_per_1k * 1e9).round() as i64))
}

fn pack(price: &Price) -> u64 {
    let half = |money: Money| u64::try_from(money.units()).unwrap_or(0).min(i32::MAX as u64);
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
        assert_eq!(list.units((&demand).into()), 3_500_000_000);
        list.set(None);
        assert_eq!(list.cost(&demand), None);
        assert!(list.units((&demand).into()) <= 0);
        list.set(Some(&Price::per_million(Money::from_units(i64::MAX), Money::from_units(-1))));
        let one = Demand { input_tokens: 1, output_tokens: 1, ..Demand::default() };
        assert_eq!(list.cost(&one), Some(Money::from_units(2_147_483_647)));
    }
}
