//! The table as JSON: amounts are decimal text, so that none is rounded on the way.

use std::collections::HashSet;

use llm_core::{LongPrompt, Money, Multiplier, Price, Rates, Tiers};

use super::dates::is_day;
use super::shape::{Entry, Factors, File, Long, MILLION, usd};
use super::{Catalogue, KnownModel};

/// Why a text is no table of models.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogueError {
    /// It is no JSON, or a member is missing or of another type.
    #[error("{0}")]
    Json(String),
    /// Its version is another one.
    #[error("version: {0} is not known, 1 is")]
    Version(u64),
    /// It is in another currency.
    #[error("currency: `{0}` is not known, `USD` is")]
    Currency(String),
    /// The day of the table is none.
    #[error("as_of: `{0}` is no day such as `2026-11-22`")]
    AsOf(String),
    /// Two entries, or two aliases of different entries, have one name.
    #[error("models: two entries are called `{provider}/{name}`")]
    Duplicate {
        /// The provider.
        provider: String,
        /// The name.
        name: String,
    },
    /// Something in an entry is wrong.
    #[error("models[{place}] (`{entry}`): {key}: {what}")]
    Entry {
        /// Which entry, from 0.
        place: usize,
        /// Its provider and model.
        entry: String,
        /// The member, such as `long_prompt.input`.
        key: &'static str,
        /// What is wrong with it.
        what: String,
    },
}

/// The day of a table, and its entries.
pub(super) fn read(text: &str) -> Result<(Option<String>, Vec<KnownModel>), CatalogueError> {
    let file: File = serde_json::from_str(text).map_err(|error| CatalogueError::Json(error.to_string()))?;
    if file.version != 1 {
        return Err(CatalogueError::Version(file.version));
    }
    if file.currency != usd() {
        return Err(CatalogueError::Currency(file.currency));
    }
    if let Some(day) = file.as_of.as_ref().filter(|day| !is_day(day)) {
        return Err(CatalogueError::AsOf(day.clone()));
    }
    let mut names = HashSet::new();
    let mut aliases = HashSet::new();
    for entry in &file.models {
        let once = |known: &mut HashSet<(String, String)>, name: &String| {
            let (provider, name) = (entry.provider.clone(), name.clone());
            let again = !known.insert((provider.clone(), name.clone()));
            if again { Err(CatalogueError::Duplicate { provider, name }) } else { Ok(()) }
        };
        once(&mut names, &entry.model)?;
        entry.aliases.iter().flatten().try_for_each(|alias| once(&mut aliases, alias))?;
    }
    let models = file.models.into_iter().enumerate().map(|(place, entry)| {
        let name = format!("{}/{}", entry.provider, entry.model);
        let wrong = |Wrong { key, what }| CatalogueError::Entry { place, entry: name, key, what };
        entry.known(file.per_tokens).map_err(wrong)
    });
    Ok((file.as_of, models.collect::<Result<_, _>>()?))
}

/// The table as a file.
pub(super) fn write(table: &Catalogue) -> String {
    let file = File {
        version: 1,
        as_of: table.as_of.clone(),
        currency: usd(),
        per_tokens: MILLION,
        models: table.models.iter().map(Entry::of).collect(),
    };
    serde_json::to_string_pretty(&file).expect("texts and numbers alone")
}

/// What is wrong with a member of an entry.
struct Wrong {
    key: &'static str,
    what: String,
}

impl Wrong {
    fn new(key: &'static str, what: impl Into<String>) -> Self {
        Self { key, what: what.into() }
    }
}

impl Entry {
    fn known(self, per_tokens: u32) -> Result<KnownModel, Wrong> {
        let named = [("provider", &self.provider), ("model", &self.model)];
        let aliases = self.aliases.clone().unwrap_or_default();
        for (key, name) in named.into_iter().chain(aliases.iter().map(|alias| ("aliases", alias))) {
            if name.is_empty() {
                return Err(Wrong::new(key, "a name is needed"));
            }
        }
        for (key, most) in [("max_input", self.max_input), ("max_output", self.max_output)] {
            if most == Some(0) {
                return Err(Wrong::new(key, "must be at least 1"));
            }
        }
        for (key, day) in [("effective_from", &self.effective_from), ("ends", &self.ends)] {
            if let Some(day) = day.as_ref().filter(|day| !is_day(day)) {
                return Err(Wrong::new(key, format!("`{day}` is no day such as `2026-11-22`")));
            }
        }
        let mode = self.mode.clone().unwrap_or_else(|| "chat".to_owned());
        Ok(KnownModel {
            price: self.price(&mode, per_tokens)?,
            provider: self.provider,
            model: self.model,
            aliases,
            mode,
            max_input: self.max_input,
            max_output: self.max_output,
            effective_from: self.effective_from,
            ends: self.ends,
            source: self.source,
        })
    }

    /// An entry without an input price has no price at all.
    fn price(&self, mode: &str, per_tokens: u32) -> Result<Option<Price>, Wrong> {
        let given = Given {
            input: self.input.as_deref(),
            // What embeds says nothing.
            output: self.output.as_deref().or((mode == EMBEDDING && self.input.is_some()).then_some("0")),
            others: [
                ("cached_input", &self.cached_input),
                ("cache_write", &self.cache_write),
                ("cache_write_long", &self.cache_write_long),
                ("reasoning", &self.reasoning),
                ("audio_input", &self.audio_input),
                ("audio_output", &self.audio_output),
            ],
        };
        let Some(rates) = given.rates("input", "output", per_tokens)? else {
            let others = [("per_request", &self.per_request), ("per_search", &self.per_search)];
            let orphan = others.into_iter().find(|(_, text)| text.is_some()).map(|(key, _)| key);
            let orphan =
                orphan.or(self.tiers.as_ref().map(|_| "tiers")).or(self.long_prompt.as_ref().map(|_| "long_prompt"));
            return orphan.map_or(Ok(None), |key| Err(Wrong::new(key, "means nothing without `input`")));
        };
        let amount = |key, text: &Option<String>| text.as_deref().map(|text| dollars(key, text)).transpose();
        Ok(Some(Price {
            rates,
            long_prompt: self.long_prompt.as_ref().map(|long| long.price(per_tokens)).transpose()?,
            tiers: self.tiers.as_ref().map_or(Ok(Tiers::default()), Factors::tiers)?,
            per_request: amount("per_request", &self.per_request)?.unwrap_or(Money::ZERO),
            per_search: amount("per_search", &self.per_search)?,
        }))
    }

    fn of(known: &KnownModel) -> Self {
        let entry = Self {
            provider: known.provider.clone(),
            model: known.model.clone(),
            aliases: (!known.aliases.is_empty()).then(|| known.aliases.clone()),
            mode: Some(known.mode.clone()),
            max_input: known.max_input,
            max_output: known.max_output,
            effective_from: known.effective_from.clone(),
            ends: known.ends.clone(),
            source: known.source.clone(),
            ..Self::default()
        };
        let Some(Price { rates, long_prompt, tiers, per_request, per_search }) = known.price else { return entry };
        let silent = known.mode == EMBEDDING && rates.output == Money::ZERO;
        let factor = |factor: Option<Multiplier>| factor.map(|factor| factor.to_string());
        Self {
            input: Some(per_million(rates.input)),
            cached_input: rates.cache_read.map(per_million),
            cache_write: rates.cache_write.map(per_million),
            cache_write_long: rates.cache_write_long.map(per_million),
            output: (!silent).then(|| per_million(rates.output)),
            reasoning: rates.reasoning.map(per_million),
            audio_input: rates.audio_input.map(per_million),
            audio_output: rates.audio_output.map(per_million),
            per_request: (per_request != Money::ZERO).then(|| amount(per_request)),
            per_search: per_search.map(amount),
            tiers: (tiers != Tiers::default()).then(|| Factors {
                batch: factor(tiers.batch),
                flex: factor(tiers.flex),
                priority: factor(tiers.priority),
                fast: factor(tiers.fast),
            }),
            long_prompt: long_prompt.map(|LongPrompt { over, rates }| Long {
                over: Some(over),
                input: Some(per_million(rates.input)),
                cached_input: rates.cache_read.map(per_million),
                cache_write: rates.cache_write.map(per_million),
                cache_write_long: rates.cache_write_long.map(per_million),
                output: Some(per_million(rates.output)),
                reasoning: rates.reasoning.map(per_million),
                audio_input: rates.audio_input.map(per_million),
                audio_output: rates.audio_output.map(per_million),
            }),
            ..entry
        }
    }
}

/// The mode of models whose answers are no text.
const EMBEDDING: &str = "embedding";

impl Long {
    fn price(&self, per_tokens: u32) -> Result<LongPrompt, Wrong> {
        let given = Given {
            input: self.input.as_deref(),
            output: self.output.as_deref(),
            others: [
                ("long_prompt.cached_input", &self.cached_input),
                ("long_prompt.cache_write", &self.cache_write),
                ("long_prompt.cache_write_long", &self.cache_write_long),
                ("long_prompt.reasoning", &self.reasoning),
                ("long_prompt.audio_input", &self.audio_input),
                ("long_prompt.audio_output", &self.audio_output),
            ],
        };
        let needed = |key| Wrong::new(key, "is needed");
        let rates = given.rates("long_prompt.input", "long_prompt.output", per_tokens)?;
        let rates = rates.ok_or_else(|| needed("long_prompt.input"))?;
        Ok(LongPrompt { over: self.over.ok_or_else(|| needed("long_prompt.over"))?, rates })
    }
}

impl Factors {
    fn tiers(&self) -> Result<Tiers, Wrong> {
        let factor = |key, text: &Option<String>| {
            let factor = text.as_deref().map(str::parse::<Multiplier>).transpose();
            factor.map_err(|error| Wrong::new(key, error.to_string()))
        };
        Ok(Tiers {
            batch: factor("tiers.batch", &self.batch)?,
            flex: factor("tiers.flex", &self.flex)?,
            priority: factor("tiers.priority", &self.priority)?,
            fast: factor("tiers.fast", &self.fast)?,
        })
    }
}

/// Rates as they are written: the two that are needed, and those of single classes.
struct Given<'a> {
    input: Option<&'a str>,
    output: Option<&'a str>,
    others: [(&'static str, &'a Option<String>); 6],
}

impl Given<'_> {
    /// The rates; none where none is given.
    fn rates(&self, input: &'static str, output: &'static str, per_tokens: u32) -> Result<Option<Rates>, Wrong> {
        let rate = |key, text: &str| {
            let inexact = || format!("`{text}` for {per_tokens} tokens is no whole number of 10⁻¹² dollar a token");
            dollars(key, text)?.divided_by(per_tokens).ok_or_else(|| Wrong::new(key, inexact()))
        };
        let others = || self.others.iter().find(|(_, text)| text.is_some()).map(|(key, _)| *key);
        let (given_input, given_output) = match (self.input, self.output) {
            (Some(input), Some(output)) => (input, output),
            (Some(_), None) => return Err(Wrong::new(output, "is needed")),
            (None, given) => {
                let orphan = given.map(|_| output).or_else(others);
                return orphan.map_or(Ok(None), |key| Err(Wrong::new(key, "means nothing without `input`")));
            }
        };
        let [cache_read, cache_write, cache_write_long, reasoning, audio_input, audio_output] =
            self.others.map(|(key, text)| text.as_deref().map(|text| rate(key, text)).transpose());
        Ok(Some(Rates {
            input: rate(input, given_input)?,
            output: rate(output, given_output)?,
            cache_read: cache_read?,
            cache_write: cache_write?,
            cache_write_long: cache_write_long?,
            reasoning: reasoning?,
            audio_input: audio_input?,
            audio_output: audio_output?,
        }))
    }
}

fn dollars(key: &'static str, text: &str) -> Result<Money, Wrong> {
    text.parse().map_err(|error: llm_core::MoneyError| Wrong::new(key, format!("`{text}`: {error}")))
}

/// A rate per token as it is written, for a million.
fn per_million(rate: Money) -> String {
    amount(rate.times(MILLION.into()))
}

fn amount(money: Money) -> String {
    money.to_string().trim_start_matches('$').to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn file(models: Value) -> String {
        json!({ "version": 1, "models": models }).to_string()
    }

    fn error(models: Value) -> String {
        Catalogue::parse(&file(models)).unwrap_err().to_string()
    }

    /// The entry `p/m` with `more` in it.
    fn entry(more: Value) -> Value {
        let mut entry = json!({ "provider": "p", "model": "m", "input": "1", "output": "2" });
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([entry])
    }

    #[test]
    fn every_entry_of_the_table_is_written_as_it_was_read() {
        let text = include_str!("../../data/prices.json");
        let read: Value = serde_json::from_str(text).unwrap();
        let table = Catalogue::parse(text).unwrap();
        let written: Value = serde_json::from_str(&table.to_json()).unwrap();
        let (read, written) = (&read["models"], &written["models"]);
        assert_eq!(read.as_array().unwrap().len(), table.models().len());
        for (place, known) in table.models().iter().enumerate() {
            assert_eq!(read[place], written[place], "{}", known.model);
        }
        assert_eq!(Catalogue::parse(&table.to_json()), Ok(table));
    }

    #[test]
    fn the_shape_may_say_null_and_what_nobody_here_knows() {
        let entry = json!([{
            "provider": "anthropic", "model": "claude-sonnet-5-5", "aliases": ["claude-sonnet-5-5-*"], "mode": "chat",
            "input": "2", "cached_input": "0.1", "cache_write": "2.5", "cache_write_long": "4", "output": "10",
            "reasoning": null, "audio_input": null, "per_request": "0", "per_search": "0.01",
            "tiers": { "batch": "0.5", "moonlight": "0.3" }, "long_prompt": null, "colour": ["blue"],
            "max_input": 1_000_000, "max_output": 128_000, "effective_from": "2026-11-22", "ends": null, "source": "…"
        }]);
        let table = Catalogue::parse(&file(entry)).unwrap();
        let built_in = Catalogue::built_in().find("anthropic", "claude-sonnet-5-5").unwrap();
        assert_eq!(table.models()[0].price, built_in.price);
    }

    #[test]
    fn an_entry_may_know_limits_and_no_price() {
        let table = Catalogue::parse(&file(json!([{ "provider": "p", "model": "m", "max_output": 9 }]))).unwrap();
        let known = table.find("p", "m").unwrap();
        assert_eq!((known.price, known.max_output, known.mode.as_str()), (None, Some(9), "chat"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_entry_and_key() {
        for (more, key) in [
            (json!({ "input": "-1" }), "input"),
            (json!({ "input": "1e3" }), "input"),
            (json!({ "input": "" }), "input"),
            (json!({ "input": "0.0000001" }), "input"),
            (json!({ "output": null }), "output"),
            (json!({ "input": null }), "output"),
            (json!({ "input": null, "output": null, "reasoning": "1" }), "reasoning"),
            (json!({ "input": null, "output": null, "per_search": "1" }), "per_search"),
            (json!({ "input": null, "output": null, "tiers": {} }), "tiers"),
            (json!({ "cached_input": "x" }), "cached_input"),
            (json!({ "cache_write": "1.2.3" }), "cache_write"),
            (json!({ "cache_write_long": "," }), "cache_write_long"),
            (json!({ "reasoning": "NaN" }), "reasoning"),
            (json!({ "audio_input": "$1" }), "audio_input"),
            (json!({ "audio_output": " 1" }), "audio_output"),
            (json!({ "per_request": "-0.01" }), "per_request"),
            (json!({ "per_search": "one" }), "per_search"),
            (json!({ "tiers": { "flex": "half" } }), "tiers.flex"),
            (json!({ "tiers": { "batch": "-0.5" } }), "tiers.batch"),
            (json!({ "long_prompt": { "input": "1", "output": "1" } }), "long_prompt.over"),
            (json!({ "long_prompt": { "over": 1, "output": "1" } }), "long_prompt.output"),
            (json!({ "long_prompt": { "over": 1 } }), "long_prompt.input"),
            (json!({ "long_prompt": { "over": 1, "input": "1", "output": "-1" } }), "long_prompt.output"),
            (json!({ "provider": "" }), "provider"),
            (json!({ "model": "" }), "model"),
            (json!({ "aliases": ["a", ""] }), "aliases"),
            (json!({ "max_output": 0 }), "max_output"),
            (json!({ "ends": "soon" }), "ends"),
            (json!({ "effective_from": "2026-13-01" }), "effective_from"),
        ] {
            let told = error(entry(more.clone()));
            assert!(told.starts_with("models[0] (`") && told.contains(&format!("`): {key}: ")), "{more}: {told}");
        }
    }

    #[test]
    fn numbers_in_place_of_decimal_text_are_refused_with_their_line() {
        for more in [json!({ "input": 2.5 }), json!({ "output": 1 }), json!({ "tiers": { "batch": 0.5 } })] {
            let told = error(entry(more));
            assert!(told.contains("expected a string") && told.contains("line 1"), "{told}");
        }
    }

    #[test]
    fn two_entries_of_one_name_are_refused() {
        let one = || json!({ "provider": "p", "model": "m", "aliases": ["x"] });
        assert_eq!(error(json!([one(), one()])), "models: two entries are called `p/m`");
        let other = json!({ "provider": "p", "model": "n", "aliases": ["x"] });
        assert_eq!(error(json!([one(), other])), "models: two entries are called `p/x`");
        let elsewhere = json!({ "provider": "q", "model": "m", "aliases": ["x"] });
        assert!(Catalogue::parse(&file(json!([one(), elsewhere]))).is_ok());
    }

    #[test]
    fn a_file_of_another_kind_is_refused() {
        for (text, told) in [
            (r#"{"version":2,"models":[]}"#, "version: 2 is not known, 1 is"),
            (r#"{"version":1,"currency":"EUR","models":[]}"#, "currency: `EUR` is not known, `USD` is"),
            (r#"{"version":1,"as_of":"today","models":[]}"#, "as_of: `today` is no day such as `2026-11-22`"),
            (r#"{"version":1}"#, "missing field `models` at line 1 column 13"),
            (r#"{"models":[]}"#, "missing field `version` at line 1 column 13"),
            ("[]", "invalid length 0, expected struct File with 5 elements at line 1 column 2"),
        ] {
            assert_eq!(Catalogue::parse(text).unwrap_err().to_string(), told, "{text}");
        }
    }

    #[test]
    fn amounts_may_be_for_another_number_of_tokens() {
        let text = json!({ "version": 1, "per_tokens": 1000,
            "models": [{ "provider": "p", "model": "m", "input": "0.0025", "output": "0.01" }] });
        let price = Catalogue::parse(&text.to_string()).unwrap().models()[0].price;
        assert_eq!(price.unwrap().rates, Rates::new(Money::from_units(2_500_000), Money::from_units(10_000_000)));
        let none = text.to_string().replace("1000", "0");
        assert!(Catalogue::parse(&none).unwrap_err().to_string().contains("input"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
            let _ = Catalogue::parse(&text);
        }

        #[test]
        fn any_amount_with_six_decimals_is_written_as_it_was_read(micro in 0..1_000_000_000_000_u64) {
            let text = amount(Money::from_units(i64::try_from(micro).unwrap()).times(1_000_000));
            let table = Catalogue::parse(&file(entry(json!({ "input": text })))).unwrap();
            let written: Value = serde_json::from_str(&table.to_json()).unwrap();
            prop_assert_eq!(written["models"][0]["input"].as_str(), Some(text.as_str()));
        }
    }
}
