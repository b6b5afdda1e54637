//! `llmkit models`: what the configuration offers, what it costs and how much it takes; or all that is known.

use std::io::Write;

use llm_core::{Money, Price};
use llm_providers::{Catalogue, KnownModel};
use serde::Serialize;

use crate::cli::ModelsArgs;
use crate::config::{Loaded, Model, Strategy, Target};
use crate::terms::{KnownTerms, configured};

type Shown = Result<(), Box<dyn std::error::Error>>;

/// Writes what `args` ask for.
pub(crate) fn show(loaded: &Loaded, args: &ModelsArgs, out: &mut impl Write) -> Shown {
    match (args.all, args.json) {
        (true, true) => writeln!(out, "{}", loaded.prices.to_json())?,
        (true, false) => write!(out, "{}", catalogue(&loaded.prices))?,
        (false, true) => writeln!(out, "{}", serde_json::to_string_pretty(&Offer::of(loaded)?)?)?,
        (false, false) => write!(out, "{}", Offer::of(loaded)?.table())?,
    }
    Ok(())
}

/// What the configuration offers.
#[derive(Debug, Serialize)]
struct Offer {
    /// The day of the table of prices.
    as_of: Option<String>,
    models: Vec<Offered>,
}

#[derive(Debug, Serialize)]
struct Offered {
    name: String,
    strategy: Strategy,
    targets: Vec<OfferedTarget>,
}

#[derive(Debug, Serialize)]
struct OfferedTarget {
    provider: String,
    model: String,
    weight: u32,
    price_from: PriceFrom,
    /// Dollars per million tokens.
    price: Option<Rates>,
    max_input: Option<u64>,
    max_output: Option<u64>,
}

/// Who says what a target costs.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum PriceFrom {
    Target,
    Table,
    Unknown,
}

impl PriceFrom {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Table => "table",
            Self::Unknown => "unknown",
        }
    }
}

/// Dollars per million tokens, as decimal text.
#[derive(Debug, Serialize)]
struct Rates {
    input: String,
    cached_input: Option<String>,
    cache_write: Option<String>,
    output: String,
}

impl Rates {
    fn of(price: &Price) -> Self {
        let text = |rate: Money| dollars(rate).trim_start_matches('$').to_owned();
        let rates = &price.rates;
        Self {
            input: text(rates.input),
            cached_input: rates.cache_read.map(text),
            cache_write: rates.cache_write.map(text),
            output: text(rates.output),
        }
    }
}

impl Offer {
    fn of(loaded: &Loaded) -> Result<Self, llm_core::MoneyError> {
        let known = KnownTerms::of(loaded);
        let target = |target: &Target| {
            let (entry, terms) = (known.model(&target.provider, &target.model), known.of_target(target)?);
            let price_from = match terms.price {
                None => PriceFrom::Unknown,
                Some(_) if configured(target)?.is_some() => PriceFrom::Target,
                Some(_) => PriceFrom::Table,
            };
            Ok(OfferedTarget {
                provider: target.provider.clone(),
                model: target.model.clone(),
                weight: target.weight,
                price_from,
                price: terms.price.as_ref().map(Rates::of),
                max_input: entry.and_then(|entry| entry.max_input),
                max_output: terms.max_output,
            })
        };
        let model = |model: &Model| {
            let targets = model.targets.iter().map(target).collect::<Result<_, _>>()?;
            Ok(Offered { name: model.name.clone(), strategy: model.strategy, targets })
        };
        let models = loaded.config.models.iter().map(model).collect::<Result<_, _>>()?;
        Ok(Self { as_of: loaded.prices.as_of().map(str::to_owned), models })
    }

    fn table(&self) -> String {
        let mut rows = Rows::new([
            "MODEL",
            "PROVIDER",
            "TARGET",
            "INPUT",
            "CACHED",
            "OUTPUT",
            "MAX INPUT",
            "MAX OUTPUT",
            "PRICE FROM",
        ]);
        for model in &self.models {
            for (place, target) in model.targets.iter().enumerate() {
                let name = if place == 0 { model.name.clone() } else { String::new() };
                let rate = |of: fn(&Rates) -> Option<&String>| {
                    target.price.as_ref().and_then(of).map_or_else(none, |rate| format!("${rate}"))
                };
                rows.add([
                    name,
                    target.provider.clone(),
                    target.model.clone(),
                    rate(|rates| Some(&rates.input)),
                    rate(|rates| rates.cached_input.as_ref()),
                    rate(|rates| Some(&rates.output)),
                    count(target.max_input),
                    count(target.max_output),
                    target.price_from.as_str().to_owned(),
                ]);
            }
        }
        let day = self.as_of.as_deref().map_or_else(String::new, |day| format!(", as of {day} in the table"));
        format!(
            "{}\nPrices are for a million tokens{day}. Other models of a provider are called PROVIDER/MODEL; \
             `llmkit models --all` lists those that are known.\n",
            rows.text()
        )
    }
}

/// All that is known.
fn catalogue(table: &Catalogue) -> String {
    let mut rows = Rows::new([
        "PROVIDER",
        "MODEL",
        "MODE",
        "INPUT",
        "CACHED",
        "CACHE WRITE",
        "OUTPUT",
        "MAX INPUT",
        "MAX OUTPUT",
        "NOTES",
    ]);
    for known in table.models() {
        let rates = known.price.map(|price| price.rates);
        let rate = |rate: Option<Money>| rate.map_or_else(none, dollars);
        rows.add([
            known.provider.clone(),
            known.model.clone(),
            known.mode.clone(),
            rate(rates.map(|rates| rates.input)),
            rate(rates.and_then(|rates| rates.cache_read)),
            rate(rates.and_then(|rates| rates.cache_write)),
            rate(rates.map(|rates| rates.output).filter(|output| known.mode != "embedding" || *output != Money::ZERO)),
            count(known.max_input),
            count(known.max_output),
            notes(known),
        ]);
    }
    let day = table.as_of().map_or_else(String::new, |day| format!(", as of {day}"));
    format!("{}\nPrices are for a million tokens{day}. `--json` shows all of them.\n", rows.text())
}

fn notes(known: &KnownModel) -> String {
    let long = known.price.and_then(|price| price.long_prompt).map(|long| {
        let (input, output) = (dollars(long.rates.input), dollars(long.rates.output));
        format!("prompts over {}: {input} in, {output} out", long.over)
    });
    let unknown = known.price.is_none().then(|| "price unknown".to_owned());
    let ends = known.ends.as_ref().map(|day| format!("ends {day}"));
    [unknown, long, ends].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// What a million tokens cost.
fn dollars(rate: Money) -> String {
    rate.times(1_000_000).to_string()
}

fn count(tokens: Option<u64>) -> String {
    tokens.map_or_else(none, |tokens| tokens.to_string())
}

fn none() -> String {
    "-".to_owned()
}

/// Columns for people.
struct Rows<const N: usize>(Vec<[String; N]>);

impl<const N: usize> Rows<N> {
    fn new(heads: [&str; N]) -> Self {
        Self(vec![heads.map(str::to_owned)])
    }

    fn add(&mut self, row: [String; N]) {
        self.0.push(row);
    }

    /// The rows, each column as wide as its widest cell; numbers stand at the right.
    fn text(&self) -> String {
        let width = |column: usize| self.0.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; N] = std::array::from_fn(width);
        let is_number =
            |cell: &str| cell == "-" || cell.trim_start_matches('$').starts_with(|c: char| c.is_ascii_digit());
        let numbers: [bool; N] = std::array::from_fn(|column| {
            let mut cells = self.0.iter().skip(1).map(|row| row[column].as_str());
            cells.all(is_number)
        });
        let mut text = String::new();
        for row in &self.0 {
            let cells = row.iter().zip(widths).zip(numbers).map(|((cell, width), number)| {
                if number { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
            text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            text.push('\n');
        }
        text
    }
}
