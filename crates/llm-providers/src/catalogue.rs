//! What is known of models before they are asked: prices and limits, by provider and name.

mod dates;
mod file;
mod index;
mod known_model;
mod shape;

use std::sync::LazyLock;

pub use self::file::CatalogueError;
use self::index::Index;
pub use self::known_model::KnownModel;

/// A table of models with their prices and limits.
///
/// The format of its file: `docs/configuration.md`, section `[prices]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Catalogue {
    as_of: Option<String>,
    models: Vec<KnownModel>,
    index: Index,
}

impl Catalogue {
    /// The table that llmkit comes with.
    #[must_use]
    pub fn built_in() -> &'static Self {
        static BUILT_IN: LazyLock<Catalogue> =
            LazyLock::new(|| Catalogue::parse(include_str!("../data/prices.json")).expect("a test reads the file"));
        &BUILT_IN
    }

    /// Reads a table.
    ///
    /// # Errors
    /// [`CatalogueError`] names the entry and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, CatalogueError> {
        let (as_of, models) = file::read(text)?;
        Ok(Self { as_of, index: Index::of(&models), models })
    }

    /// The table as JSON that [`parse`](Self::parse) reads.
    #[must_use]
    pub fn to_json(&self) -> String {
        file::write(self)
    }

    /// This table with `own` over it: an entry of the same provider and model is replaced whole, and the others of `own`
    /// stand first.
    #[must_use]
    pub fn under(&self, own: Self) -> Self {
        let mut models = own.models;
        for model in &self.models {
            if !own.index.has(&model.provider, &model.model) {
                models.push(model.clone());
            }
        }
        Self { as_of: self.as_of.clone(), index: Index::of(&models), models }
    }

    /// What is known of `model`, as its `provider` spells it: the entry of that name, else the first with an alias that
    /// matches it, else the same for the name without its date (`-20260115` or `-2026-01-15`).
    #[must_use]
    pub fn find(&self, provider: &str, model: &str) -> Option<&KnownModel> {
        self.index.find(provider, model).map(|place| &self.models[place])
    }

    /// All entries, in order.
    #[must_use]
    pub fn models(&self) -> &[KnownModel] {
        &self.models
    }

    /// The day on which the table was right, such as `2026-11-22`.
    #[must_use]
    pub fn as_of(&self) -> Option<&str> {
        self.as_of.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use llm_core::Usage;
    use proptest::prelude::*;

    use super::*;

    fn model<'a>(provider: &str, model: &str) -> Option<&'a str> {
        Catalogue::built_in().find(provider, model).map(|known| known.model.as_str())
    }

    fn table(models: &str) -> Catalogue {
        Catalogue::parse(&format!("{{\"version\":1,\"models\":[{models}]}}")).unwrap()
    }

    #[test]
    fn an_answer_of_sonnet_with_a_cache_costs_a_cent_and_a_third() {
        let price = Catalogue::built_in().find("anthropic", "claude-sonnet-5-5").unwrap().price.unwrap();
        let usage =
            Usage { input: 1000, cache_read: Some(10_000), cache_write: Some(2000), output: 500, ..Usage::default() };
        assert_eq!(price.cost(&usage).unwrap().to_string(), "$0.013");
    }

    #[test]
    fn an_answer_of_gpt_4o_with_a_cache_costs_a_quarter_of_a_cent() {
        let price = Catalogue::built_in().find("openai", "gpt-4o").unwrap().price.unwrap();
        let usage = Usage { input: 200, cache_read: Some(1000), output: 100, ..Usage::default() };
        assert_eq!(price.cost(&usage).unwrap().to_string(), "$0.00275");
    }

    #[test]
    fn the_models_of_the_documents_are_known_or_unknown_and_never_free() {
        let table = Catalogue::built_in();
        let known = |provider, model| table.find(provider, model).map(|known| known.price.unwrap());
        for (provider, model) in [
            ("anthropic", "claude-sonnet-4-6"),
            ("anthropic", "claude-haiku-4-5"),
            ("openai", "gpt-4o"),
            ("openai", "gpt-4o-mini"),
        ] {
            let one = Usage { input: 1, ..Usage::default() };
            assert!(known(provider, model).unwrap().cost(&one).unwrap().units() > 0, "{model}");
        }
        for model in ["claude-sonnet-4-20250514", "claude-3"] {
            assert_eq!(known("anthropic", model), None, "{model}");
        }
    }

    #[test]
    fn every_price_of_the_table_is_above_nothing() {
        for known in Catalogue::built_in().models() {
            let price = known.price.unwrap();
            let rates = [Some(price.rates), price.long_prompt.map(|long| long.rates)];
            for rates in rates.into_iter().flatten() {
                let cached = rates.cache_read.unwrap_or(rates.input);
                assert!(rates.input.units() > 0 && cached.units() > 0, "{known:?}");
                assert!(cached <= rates.input, "{known:?}");
                assert!(rates.output >= rates.input || known.mode == "embedding", "{known:?}");
                assert!(rates.cache_write.is_none_or(|write| write >= rates.input), "{known:?}");
                assert!(rates.cache_write_long >= rates.cache_write, "{known:?}");
            }
            assert!(
                known.max_input.is_some() && (known.max_output.is_some() || known.mode == "embedding"),
                "{known:?}"
            );
        }
    }

    #[test]
    fn a_name_is_found_by_itself_then_by_alias_then_without_its_date() {
        let own = table(
            r#"{"provider":"p","model":"a","aliases":["a-*","b"]},{"provider":"p","model":"a-2026-01-15"},
               {"provider":"p","model":"c","aliases":["*-c-*"]},{"provider":"q","model":"a"}"#,
        );
        let find = |model| own.find("p", model).map(|known| known.model.as_str());
        for (asked, found) in [
            ("a", Some("a")),
            ("a-2026-01-15", Some("a-2026-01-15")),
            ("a-2026-01-16", Some("a")),
            ("a-x", Some("a")),
            ("b", Some("a")),
            ("b-20260115", Some("a")),
            ("c-20260115", Some("c")),
            ("c-2026-01-15", Some("c")),
            ("x-c-y", Some("c")),
            ("x-c-", Some("c")),
            ("c-20261315", None),
            ("c-20260100", None),
            ("c-2026-1-15", None),
            ("c-2026-01-15-20260115", None),
            ("c-", None),
            ("", None),
            ("A", None),
        ] {
            assert_eq!(find(asked), found, "{asked}");
        }
        assert_eq!(own.find("r", "a"), None);
    }

    #[test]
    fn the_table_knows_dated_names_and_does_not_guess() {
        assert_eq!(model("openai", "gpt-4o-2024-08-06"), Some("gpt-4o"));
        assert_eq!(model("openai", "gpt-4o-mini-2024-07-18"), Some("gpt-4o-mini"));
        assert_eq!(model("anthropic", "claude-haiku-4-5-20251001"), Some("claude-haiku-4-5"));
        assert_eq!(model("anthropic", "claude-sonnet-5-5-latest"), Some("claude-sonnet-5-5"));
        assert_eq!(model("groq", "openai/gpt-oss-20b"), Some("openai/gpt-oss-20b"));
        for unknown in ["gpt-4o-audio-preview", "gpt-4", "gpt-4o-2024-13-06", "claude-sonnet-5-5"] {
            assert_eq!(model("openai", unknown), None, "{unknown}");
        }
    }

    #[test]
    fn ones_own_entries_replace_those_of_the_table_and_stand_first() {
        let own = table(
            r#"{"provider":"openai","model":"gpt-4o","input":"1","output":"2"},
               {"provider":"openai","model":"mine","aliases":["gpt-*"],"input":"3","output":"4"},
               {"provider":"local","model":"any","aliases":["*"],"input":"0","output":"0"}"#,
        );
        let both = Catalogue::built_in().under(own);
        assert_eq!(both.models().len(), Catalogue::built_in().models().len() + 2);
        let input = |provider, model| both.find(provider, model).unwrap().price.unwrap().rates.input.units();
        assert_eq!(input("openai", "gpt-4o"), 1_000_000);
        assert_eq!(input("openai", "gpt-4.1"), 2_000_000, "a name goes before an alias");
        assert_eq!(input("openai", "gpt-9"), 3_000_000);
        assert_eq!(both.find("openai", "gpt-4o").unwrap().max_output, None, "replaced whole");
        assert_eq!(input("local", "whatever"), 0);
        assert_eq!(both.as_of(), Catalogue::built_in().as_of());
    }

    proptest! {
        #[test]
        fn any_name_is_looked_up_without_a_panic(name in "\\PC{0,24}") {
            let found = Catalogue::built_in().find("anthropic", &name);
            prop_assert!(found.is_none_or(|known| name.starts_with(&known.model)));
        }

        #[test]
        fn a_date_behind_a_known_name_changes_nothing(place: prop::sample::Index, (y, m, d) in (2020..2040, 1..=12, 1..=31)) {
            let models = Catalogue::built_in().models();
            let known = &models[place.index(models.len())];
            for dated in [format!("{}-{y}{m:02}{d:02}", known.model), format!("{}-{y}-{m:02}-{d:02}", known.model)] {
                prop_assert_eq!(Catalogue::built_in().find(&known.provider, &dated), Some(known));
            }
        }
    }
}
