//! What a model costs, and what a call comes to: integers throughout.

use std::fmt;
use std::str::FromStr;

use crate::money::{fixed_point, write_fixed_point};
use crate::{Money, ServiceTier, Usage};

/// What a model costs. No part of it is negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// Per token.
    pub rates: Rates,
    /// Per token of a request whose prompt is long, where that costs something else.
    pub long_prompt: Option<LongPrompt>,
    /// What tokens cost in other service tiers than the standard one.
    pub tiers: Tiers,
    /// Per request.
    pub per_request: Money,
    /// Per search that the provider makes; none where unknown.
    pub per_search: Option<Money>,
}

/// What tokens cost, each of its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Per input token that no cache served.
    pub input: Money,
    /// Per output token.
    pub output: Money,
    /// Per input token read from the provider's cache; the input price where unknown.
    pub cache_read: Option<Money>,
    /// Per input token written to the provider's cache; the input price where unknown.
    pub cache_write: Option<Money>,
    /// Per input token written to the provider's cache for its longer time; as `cache_write` where unknown.
    pub cache_write_long: Option<Money>,
    /// Per token that the model kept to itself; the output price where unknown.
    pub reasoning: Option<Money>,
    /// Per input token in sound; the input price where unknown.
    pub audio_input: Option<Money>,
    /// Per output token in sound; the output price where unknown.
    pub audio_output: Option<Money>,
}

/// What a request costs all through once its prompt is longer than a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongPrompt {
    /// The limit, in input tokens of all classes.
    pub over: u64,
    /// Per token.
    pub rates: Rates,
}

/// By what the price of a token is multiplied in service tiers other than the standard one; none where unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tiers {
    /// For [`ServiceTier::Batch`].
    pub batch: Option<Multiplier>,
    /// For [`ServiceTier::Flex`].
    pub flex: Option<Multiplier>,
    /// For [`ServiceTier::Priority`].
    pub priority: Option<Multiplier>,
    /// For [`ServiceTier::Fast`].
    pub fast: Option<Multiplier>,
}

/// A factor with six decimals, up to 4,294.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Multiplier(u32);

/// Why a text is not a factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a decimal factor up to 4294 is expected, such as \"0.5\", with at most 6 decimals")]
pub struct MultiplierError;

impl Price {
    /// A price in dollars per million tokens, rounded down to 10⁻¹² dollar a token.
    #[must_use]
    pub const fn per_million(input: Money, output: Money) -> Self {
        Self::per_token(Money::from_units(input.units() / 1_000_000), Money::from_units(output.units() / 1_000_000))
    }

    /// A price per token, with nothing else to pay for but tokens.
    #[must_use]
    pub const fn per_token(input: Money, output: Money) -> Self {
        Self {
            rates: Rates::new(input, output),
            long_prompt: None,
            tiers: Tiers { batch: None, flex: None, priority: None, fast: None },
            per_request: Money::ZERO,
            per_search: None,
        }
    }

    /// What `usage` costs: `Σ tokens·rate × multiplier(tier) + per_request + searches·per_search`, rounded up to 10⁻¹²
    /// dollar; a class without a rate of its own costs what [`Rates`] says. None where the tier or a search has no known
    /// price.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> Option<Money> {
        let multiplier = self.tiers.of(usage.tier)?;
        let searches = match usage.searches {
            None | Some(0) => Money::ZERO,
            Some(searches) => self.per_search?.times(searches),
        };
        let tokens = self.rates_at(usage.input_total()).units(usage);
        Some(multiplier.applied_to(tokens).plus(self.per_request).plus(searches))
    }

    /// The most that a request without searches may cost, with so many tokens in and out at most, of whatever classes
    /// and in whatever tier whose price is known.
    #[must_use]
    pub fn most(&self, input: u64, output: u64) -> Money {
        let long = self.long_prompt.filter(|long| input > long.over).map(|long| long.rates);
        let dearest =
            |of: fn(&Rates) -> Money| long.as_ref().map_or(of(&self.rates), |long| of(long).max(of(&self.rates)));
        let input = i128::from(dearest(Rates::dearest_input).units()) * i128::from(input);
        let output = i128::from(dearest(Rates::dearest_output).units()) * i128::from(output);
        self.tiers.dearest().applied_to(input.saturating_add(output)).plus(self.per_request)
    }

    /// The most that so many output tokens may add to a request, however long its prompt.
    #[must_use]
    pub fn most_output(&self, tokens: u64) -> Money {
        let long = self.long_prompt.map_or(Money::ZERO, |long| long.rates.dearest_output());
        let dearest = i128::from(self.rates.dearest_output().max(long).units());
        self.tiers.dearest().applied_to(dearest * i128::from(tokens))
    }

    fn rates_at(&self, prompt: u64) -> &Rates {
        match &self.long_prompt {
            Some(long) if prompt > long.over => &long.rates,
            _ => &self.rates,
        }
    }
}

impl Rates {
    /// Two rates, for input and output of all classes.
    #[must_use]
    pub const fn new(input: Money, output: Money) -> Self {
        Self {
            input,
            output,
            cache_read: None,
            cache_write: None,
            cache_write_long: None,
            reasoning: None,
            audio_input: None,
            audio_output: None,
        }
    }

    /// What the tokens of `usage` cost, in 10⁻¹² dollar.
    fn units(&self, usage: &Usage) -> i128 {
        let write = self.cache_write.unwrap_or(self.input);
        let classes = [
            (self.input, Some(usage.input)),
            (self.cache_read.unwrap_or(self.input), usage.cache_read),
            (write, usage.cache_write),
            (self.cache_write_long.unwrap_or(write), usage.cache_write_long),
            (self.audio_input.unwrap_or(self.input), usage.audio_input),
            (self.output, Some(usage.output)),
            (self.reasoning.unwrap_or(self.output), usage.reasoning),
            (self.audio_output.unwrap_or(self.output), usage.audio_output),
        ];
        // A product of 63 and 64 bits fits; only a sum of several may not.
        let each = classes.map(|(rate, tokens)| i128::from(rate.units()) * i128::from(tokens.unwrap_or(0)));
        each.into_iter().fold(0, i128::saturating_add)
    }

    fn dearest_input(&self) -> Money {
        let others = [self.cache_read, self.cache_write, self.cache_write_long, self.audio_input];
        others.into_iter().flatten().fold(self.input, Money::max)
    }

    fn dearest_output(&self) -> Money {
        [self.reasoning, self.audio_output].into_iter().flatten().fold(self.output, Money::max)
    }
}

impl Tiers {
    /// By what the price of a token is multiplied in `tier`; none where unknown.
    #[must_use]
    pub const fn of(&self, tier: ServiceTier) -> Option<Multiplier> {
        match tier {
            ServiceTier::Standard => Some(Multiplier::ONE),
            ServiceTier::Batch => self.batch,
            ServiceTier::Flex => self.flex,
            ServiceTier::Priority => self.priority,
            ServiceTier::Fast => self.fast,
            ServiceTier::Other => None,
        }
    }

    /// The largest of them, and of the standard tier's.
    fn dearest(&self) -> Multiplier {
        [self.batch, self.flex, self.priority, self.fast].into_iter().flatten().fold(Multiplier::ONE, Multiplier::max)
    }
}

impl Multiplier {
    /// Changes nothing.
    pub const ONE: Self = Self(1_000_000);

    /// A factor of `millionths` × 10⁻⁶.
    #[must_use]
    pub const fn from_millionths(millionths: u32) -> Self {
        Self(millionths)
    }

    /// The factor in millionths.
    #[must_use]
    pub const fn millionths(self) -> u32 {
        self.0
    }

    /// So many times `units`, rounded up to the next whole unit.
    fn applied_to(self, units: i128) -> Money {
        let units = match self {
            // By far the most frequent, and the division is the dearest part.
            Self::ONE => units,
            Self(factor) => {
                let millionths = units.saturating_mul(factor.into());
                let (whole, rest) = (millionths.div_euclid(1_000_000), millionths.rem_euclid(1_000_000));
                whole + i128::from(rest > 0)
            }
        };
        Money::from_units(i64::try_from(units).unwrap_or(if units < 0 { i64::MIN } else { i64::MAX }))
    }
}

/// Reads a decimal factor exactly.
impl FromStr for Multiplier {
    type Err = MultiplierError;

    fn from_str(text: &str) -> Result<Self, MultiplierError> {
        fixed_point(text, 6).and_then(|millionths| u32::try_from(millionths).ok()).map(Self).ok_or(MultiplierError)
    }
}

impl fmt::Display for Multiplier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_fixed_point(f, self.0.into(), 6)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A rate in dollars per million tokens.
    fn rate(text: &str) -> Money {
        text.parse::<Money>().unwrap().divided_by(1_000_000).unwrap()
    }

    fn price(input: &str, output: &str) -> Price {
        Price::per_token(rate(input), rate(output))
    }

    #[test]
    fn cached_tokens_cost_their_own_price() {
        let list = price("2.5", "10");
        let list = Price { rates: Rates { cache_read: Some(rate("1.25")), ..list.rates }, ..list };
        let usage = Usage { input: 200, cache_read: Some(1000), output: 100, ..Usage::default() };
        assert_eq!(list.cost(&usage).unwrap().to_string(), "$0.00275");
    }

    #[test]
    fn each_class_costs_its_own_rate_or_that_of_the_class_it_is_part_of() {
        let of = |usage| price("1", "10").cost(&usage).unwrap().units();
        let none = Usage::default();
        assert_eq!(of(Usage { cache_read: Some(3), ..none }), 3_000_000);
        assert_eq!(of(Usage { cache_write: Some(3), ..none }), 3_000_000);
        assert_eq!(of(Usage { cache_write_long: Some(3), ..none }), 3_000_000);
        assert_eq!(of(Usage { audio_input: Some(3), ..none }), 3_000_000);
        assert_eq!(of(Usage { reasoning: Some(3), ..none }), 30_000_000);
        assert_eq!(of(Usage { audio_output: Some(3), ..none }), 30_000_000);
        let written = price("1", "10");
        let written = Price { rates: Rates { cache_write: Some(rate("2")), ..written.rates }, ..written };
        let long = Usage { cache_write_long: Some(3), ..none };
        assert_eq!(written.cost(&long).unwrap().units(), 6_000_000, "not less than the short time");
    }

    #[test]
    fn a_long_prompt_costs_more_all_through() {
        let long = LongPrompt { over: 1000, rates: Rates::new(rate("4"), rate("15")) };
        let list = Price { long_prompt: Some(long), ..price("2", "10") };
        let at = |cache_read| {
            let usage = Usage { input: 400, cache_read: Some(cache_read), output: 10, ..Usage::default() };
            list.cost(&usage).unwrap().units()
        };
        assert_eq!(at(600), 1000 * 2_000_000 + 10 * 10_000_000);
        assert_eq!(at(601), 1001 * 4_000_000 + 10 * 15_000_000);
    }

    #[test]
    fn the_tier_multiplies_tokens_and_nothing_else() {
        let tiers = Tiers { batch: Some("0.5".parse().unwrap()), ..Tiers::default() };
        let list = Price { tiers, per_request: Money::from_units(7), per_search: Some(rate("10")), ..price("1", "3") };
        let usage = |tier| Usage { input: 3, output: 1, searches: Some(2), tier, ..Usage::default() };
        let cost = |tier| list.cost(&usage(tier)).map(Money::units);
        assert_eq!(cost(ServiceTier::Standard), Some(6_000_000 + 7 + 20_000_000));
        assert_eq!(cost(ServiceTier::Batch), Some(3_000_000 + 7 + 20_000_000));
    }

    #[test]
    fn what_has_no_known_price_has_no_known_cost() {
        let list = price("1", "3");
        for tier in [ServiceTier::Flex, ServiceTier::Priority, ServiceTier::Fast, ServiceTier::Other] {
            assert_eq!(list.cost(&Usage { input: 1, tier, ..Usage::default() }), None, "{tier:?}");
        }
        assert_eq!(list.cost(&Usage { searches: Some(1), ..Usage::default() }), None);
        assert_eq!(list.cost(&Usage { searches: Some(0), ..Usage::default() }), Some(Money::ZERO));
    }

    #[test]
    fn a_part_of_a_unit_counts_as_one() {
        let tiers = Tiers { flex: Some("0.1".parse().unwrap()), ..Tiers::default() };
        let list = Price { tiers, ..Price::per_token(Money::from_units(1), Money::ZERO) };
        let cost = |input| list.cost(&Usage { input, tier: ServiceTier::Flex, ..Usage::default() }).unwrap().units();
        assert_eq!([cost(0), cost(1), cost(10), cost(11)], [0, 1, 1, 2]);
    }

    #[test]
    fn the_largest_numbers_saturate() {
        let list = Price::per_token(Money::from_units(i64::MAX), Money::from_units(i64::MAX));
        let usage = Usage {
            input: u64::MAX,
            cache_read: Some(u64::MAX),
            cache_write: Some(u64::MAX),
            output: u64::MAX,
            ..Usage::default()
        };
        assert_eq!(list.cost(&usage), Some(Money::from_units(i64::MAX)));
        assert_eq!(list.most(u64::MAX, u64::MAX), Money::from_units(i64::MAX));
        assert_eq!(list.most_output(u64::MAX), Money::from_units(i64::MAX));
    }

    #[test]
    fn factors_read_exactly() {
        assert_eq!("0.5".parse(), Ok(Multiplier(500_000)));
        assert_eq!("2".parse(), Ok(Multiplier::ONE).map(|one: Multiplier| Multiplier(2 * one.0)));
        for bad in ["", "-1", "1e3", "0.1234567", "4295", "a"] {
            assert_eq!(bad.parse::<Multiplier>(), Err(MultiplierError), "{bad}");
        }
    }

    fn money() -> impl Strategy<Value = Money> {
        (0..1_000_000_000_i64).prop_map(Money::from_units)
    }

    fn rates() -> impl Strategy<Value = Rates> {
        let some = || proptest::option::of(money());
        ((money(), money(), some(), some()), (some(), some(), some(), some())).prop_map(|(one, other)| {
            let (input, output, cache_read, cache_write) = one;
            let (cache_write_long, reasoning, audio_input, audio_output) = other;
            Rates { input, output, cache_read, cache_write, cache_write_long, reasoning, audio_input, audio_output }
        })
    }

    fn prices() -> impl Strategy<Value = Price> {
        let long = (0..5000_u64, rates()).prop_map(|(over, rates)| LongPrompt { over, rates });
        let tier = || proptest::option::of((0..5_000_000_u32).prop_map(Multiplier));
        let tiers = (tier(), tier(), tier(), tier());
        let tiers = tiers.prop_map(|(batch, flex, priority, fast)| Tiers { batch, flex, priority, fast });
        (rates(), proptest::option::of(long), tiers, money(), proptest::option::of(money())).prop_map(
            |(rates, long_prompt, tiers, per_request, per_search)| Price {
                rates,
                long_prompt,
                tiers,
                per_request,
                per_search,
            },
        )
    }

    fn usages() -> impl Strategy<Value = Usage> {
        let tokens = || 0..2000_u64;
        let some = || proptest::option::of(tokens());
        let tier = (0..6_usize).prop_map(|index| {
            let [standard, batch] = [ServiceTier::Standard, ServiceTier::Batch];
            [standard, batch, ServiceTier::Flex, ServiceTier::Priority, ServiceTier::Fast, ServiceTier::Other][index]
        });
        ((tokens(), some(), some(), some(), some()), (tokens(), some(), some()), proptest::option::of(0..9_u64), tier)
            .prop_map(|((input, cache_read, cache_write, cache_write_long, audio_input), said, searches, tier)| {
                let (output, reasoning, audio_output) = said;
                Usage {
                    input,
                    audio_input,
                    cache_read,
                    cache_write,
                    cache_write_long,
                    output,
                    audio_output,
                    reasoning,
                    searches,
                    tier,
                }
            })
    }

    /// The formula in millionths of a unit, token by token.
    fn by_hand(price: &Price, usage: &Usage) -> Option<u128> {
        let prompt = usage.input
            + [usage.audio_input, usage.cache_read, usage.cache_write, usage.cache_write_long]
                .iter()
                .flatten()
                .sum::<u64>();
        let rates = match price.long_prompt {
            Some(LongPrompt { over, rates }) if prompt > over => rates,
            _ => price.rates,
        };
        let factor = match usage.tier {
            ServiceTier::Standard => 1_000_000,
            ServiceTier::Batch => price.tiers.batch?.0,
            ServiceTier::Flex => price.tiers.flex?.0,
            ServiceTier::Priority => price.tiers.priority?.0,
            ServiceTier::Fast => price.tiers.fast?.0,
            ServiceTier::Other => return None,
        };
        let mut tokens = 0_u128;
        let mut add = |count: Option<u64>, rates: &[Option<Money>]| {
            let rate = rates.iter().flatten().next().unwrap().units() as u128;
            tokens += u128::from(count.unwrap_or(0)) * rate;
        };
        let (input, output) = (Some(rates.input), Some(rates.output));
        add(Some(usage.input), &[input]);
        add(usage.cache_read, &[rates.cache_read, input]);
        add(usage.cache_write, &[rates.cache_write, input]);
        add(usage.cache_write_long, &[rates.cache_write_long, rates.cache_write, input]);
        add(usage.audio_input, &[rates.audio_input, input]);
        add(Some(usage.output), &[output]);
        add(usage.reasoning, &[rates.reasoning, output]);
        add(usage.audio_output, &[rates.audio_output, output]);
        let calls = match usage.searches.unwrap_or(0) {
            0 => 0,
            searches => price.per_search?.units() as u128 * u128::from(searches),
        };
        Some(tokens * u128::from(factor) + (calls + price.per_request.units() as u128) * 1_000_000)
    }

    proptest! {
        #[test]
        fn a_cost_is_the_exact_number_or_the_next_unit_above_it(price in prices(), usage in usages()) {
            let exact = by_hand(&price, &usage);
            let cost = price.cost(&usage).map(|cost| cost.units() as u128 * 1_000_000);
            prop_assert_eq!(cost.is_some(), exact.is_some());
            if let Some((cost, exact)) = cost.zip(exact) {
                prop_assert!(cost >= exact && cost - exact < 1_000_000, "{} {}", cost, exact);
            }
        }

        #[test]
        fn no_usage_within_the_bounds_costs_more_than_the_most(price in prices(), usage in usages(), more in 0..3000_u64) {
            let usage = Usage { searches: None, ..usage };
            let (input, output) = (usage.input_total() + more, usage.output_total() + more);
            if let Some(cost) = price.cost(&usage) {
                prop_assert!(cost <= price.most(input, output));
                let without = price.cost(&Usage { output: 0, reasoning: None, audio_output: None, ..usage }).unwrap();
                prop_assert!(cost <= without.plus(price.most_output(output)));
            }
        }

        #[test]
        fn a_factor_that_is_printed_reads_back(millionths: u32) {
            prop_assert_eq!(Multiplier(millionths).to_string().parse(), Ok(Multiplier(millionths)));
        }
    }
}
