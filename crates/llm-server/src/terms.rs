//! What is known of the models that providers serve: the configuration before the table of prices.

use std::collections::HashMap;
use std::sync::Arc;

use llm_core::{MoneyError, Price};
use llm_pipeline::Terms;
use llm_providers::{Catalogue, KnownModel};

use crate::config::{self, Kind, Loaded, Target};

/// The table, and who of it each provider is.
#[derive(Clone)]
pub(crate) struct KnownTerms {
    table: Arc<Catalogue>,
    /// By the provider's name.
    vendors: Arc<HashMap<String, String>>,
}

impl KnownTerms {
    pub(crate) fn of(loaded: &Loaded) -> Self {
        let providers = loaded.config.providers.iter();
        let vendors = providers.map(|provider| (provider.name.clone(), vendor(provider).to_owned())).collect();
        Self { table: loaded.prices.clone(), vendors: Arc::new(vendors) }
    }

    /// What the table knows of a provider's model.
    pub(crate) fn model(&self, provider: &str, model: &str) -> Option<&KnownModel> {
        self.table.find(self.vendors.get(provider)?, model)
    }

    /// The terms of a provider's model that the configuration does not name.
    pub(crate) fn terms(&self, provider: &str, model: &str) -> Terms {
        let known = self.model(provider, model);
        Terms { price: known.and_then(|known| known.price), max_output: known.and_then(|known| known.max_output) }
    }

    /// The terms of a target: its own, and the table's where it has none.
    pub(crate) fn of_target(&self, target: &Target) -> Result<Terms, MoneyError> {
        let known = self.terms(&target.provider, &target.model);
        Ok(Terms {
            price: configured(target)?.or(known.price),
            max_output: target.max_output_tokens.or(known.max_output),
        })
    }
}

/// A target's own price.
pub(crate) fn configured(target: &Target) -> Result<Option<Price>, MoneyError> {
    let price = |price: &config::PriceText| Ok(Price::per_million(price.input.parse()?, price.output.parse()?));
    target.price.as_ref().map(price).transpose()
}

/// Whose models a provider serves, as the table calls them. Where the kind does not say, the provider's name does.
fn vendor(provider: &config::Provider) -> &str {
    match provider.kind {
        Kind::OpenAi => "openai",
        Kind::Anthropic => "anthropic",
        Kind::Gemini => "gemini",
        _ => provider.preset().unwrap_or(&provider.name),
    }
}
