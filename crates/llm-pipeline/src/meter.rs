//! What an attempt holds of the limits, and how much of it its answer uses.

use std::sync::Arc;

use llm_core::{Error, ErrorKind, Money, Price, Tick, Usage};
use llm_ratelimit::{Admission, Cost, Exhausted, Resource};

use crate::hold::{Hold, is_free};

/// What an attempt holds of its target's limits and, once it answers, of its caller's.
#[derive(Debug)]
pub(crate) struct Meter {
    target: Option<Box<Admission>>,
    caller: Option<Hold>,
    price: Option<Arc<Price>>,
    /// Whether what is said is counted against what is reserved.
    counts: bool,
    /// Tokens said, at least.
    said: u64,
    /// Output tokens that are reserved: as tokens, and as money.
    tokens: u64,
    money: u64,
    free: bool,
    /// What it has used and when it ended.
    ended: Option<(Option<Cost>, Tick)>,
}

/// Output tokens that are reserved at a time when an answer is longer than expected.
const STEP: u64 = 64;

impl Meter {
    /// A meter of an attempt that goes out now. `output` is how many output tokens its money is reserved for; none
    /// when it does not matter what the attempt costs.
    pub(crate) fn new(mut target: Option<Box<Admission>>, price: Option<Arc<Price>>, output: Option<u64>) -> Self {
        target.iter_mut().for_each(|target| target.sent());
        Self {
            target,
            caller: None,
            price,
            counts: output.is_some(),
            said: 0,
            tokens: 0,
            money: output.unwrap_or(u64::MAX),
            free: false,
            ended: None,
        }
    }

    /// Takes over what the request holds of its caller's limits.
    ///
    /// # Errors
    /// `Denied` when what was said by now is more than can be had.
    pub(crate) fn entrust(&mut self, hold: &mut Hold, now: impl FnOnce() -> Tick) -> Result<(), Error> {
        let mut hold = std::mem::take(hold);
        if let Some((used, at)) = self.ended {
            hold.end(used, at);
            return Ok(());
        }
        self.caller = Some(hold);
        self.top_up(now)
    }

    /// Another piece of content has come: a token at least.
    ///
    /// # Errors
    /// `Denied` when nothing is reserved for it and no more can be had.
    pub(crate) fn said(&mut self, now: impl FnOnce() -> Tick) -> Result<(), Error> {
        self.said += 1;
        if self.caller.is_none() { Ok(()) } else { self.top_up(now) }
    }

    fn top_up(&mut self, now: impl FnOnce() -> Tick) -> Result<(), Error> {
        if !self.counts || self.said <= self.tokens.min(self.money) {
            return Ok(());
        }
        let now = now();
        let mut more = Cost::exact(0, 0);
        if self.said > self.tokens {
            more.tokens = STEP;
            self.tokens += STEP;
        }
        if self.said > self.money {
            more.bound = Some(self.price.as_ref().map_or(0, |price| units(price.most_output(STEP))));
            self.money += STEP;
        }
        if let Some(target) = &mut self.target {
            target.extend(more, now).map_err(|short| cut(&short))?;
        }
        self.caller.as_mut().map_or(Ok(()), |caller| caller.extend(more, now)).map_err(|short| cut(&short))
    }

    /// The attempt has failed.
    pub(crate) fn failed(&mut self, error: &Error) {
        self.free = is_free(error);
        if error.is_unsent() {
            self.target.iter_mut().for_each(|target| target.unsent());
        }
    }

    /// The attempt has ended, with `usage` if anybody said so. Settles; gives what it cost.
    pub(crate) fn end(&mut self, usage: Option<&Usage>, now: Tick) -> Option<Money> {
        let cost = self.price.as_ref().zip(usage).and_then(|(price, usage)| price.cost(usage));
        let used = match usage {
            _ if self.free => Some(Cost::default()),
            // Something in it has no known price: what was reserved stays spent, as where nobody says what was used.
            Some(_) if self.price.is_some() && cost.is_none() => None,
            Some(usage) => Some(Cost::exact(usage.input_total() + usage.output_total(), cost.map_or(0, units))),
            None => None,
        };
        if let Some(mut target) = self.target.take()
            && target.is_sent()
            && let Some(used) = used
        {
            target.settle(used, now);
        }
        if let Some(mut caller) = self.caller.take() {
            caller.end(used, now);
        }
        self.ended = Some((used, now));
        cost
    }
}

fn units(money: Money) -> u64 {
    u64::try_from(money.units()).unwrap_or(0)
}

fn cut(short: &Exhausted) -> Error {
    let code = if short.resource == Resource::Money { "insufficient_quota" } else { "rate_limit_exceeded" };
    Error::new(ErrorKind::Denied, format!("the answer was cut off: {short}")).with_code(code)
}
