//! What is documented and not built yet: it loads with a warning, and nothing reads it. Each entry goes when its
//! feature comes.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Sections, and keys of sections, with what they will do. `*` is any entry of a list.
const PENDING: &[(&str, &str)] = &[
    ("pipeline", "names the pipeline"),
    ("pipelines", "runs several pipelines"),
    ("stages", "sets up the stages"),
    ("distributed", "joins several nodes"),
    ("guard", "inspects prompts"),
    ("templates", "keeps prompt templates"),
    ("conversations", "keeps conversations"),
    ("dead_letters", "keeps what was shed"),
    ("hooks", "calls hooks"),
    ("control", "tunes the process"),
    ("database_url", "moves the state"),
    ("durability", "says when state is on disk"),
    ("server.core_pinning", "pins threads"),
    ("models.*.hedge", "hedges calls"),
    ("models.*.scorer", "scores answers"),
    ("models.*.tools", "runs tool loops"),
];

/// Strategies that are documented and not built yet: their models are routed by weight.
const STRATEGIES: &[&str] = &["tournament"];

/// Takes what is not built out of `table`; what was taken, as warnings.
pub(crate) fn take(table: &mut DeTable<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    for (path, purpose) in PENDING {
        let parts: Vec<&str> = path.split('.').collect();
        if remove(table, &parts) {
            warnings.push(format!("`{path}` ({purpose}) is not built yet and is ignored"));
        }
    }
    for model in tables(table, "models") {
        let strategy = model.get("strategy").and_then(|value| value.get_ref().as_str());
        if let Some(name) = strategy.and_then(|name| STRATEGIES.iter().find(|known| **known == name)) {
            warnings.push(format!("the strategy `{name}` is not built yet: its model is routed by weight"));
            model.remove("strategy");
        }
    }
    warnings
}

/// The tables of the list `name`.
fn tables<'a, 'i>(table: &'a mut DeTable<'i>, name: &str) -> impl Iterator<Item = &'a mut DeTable<'i>> {
    let entries = match table.get_mut(name).map(Spanned::get_mut) {
        Some(DeValue::Array(entries)) => Some(entries),
        _ => None,
    };
    entries.into_iter().flat_map(|entries| entries.iter_mut()).filter_map(|entry| as_table(entry.get_mut()))
}

fn as_table<'a, 'i>(value: &'a mut DeValue<'i>) -> Option<&'a mut DeTable<'i>> {
    match value {
        DeValue::Table(table) => Some(table),
        _ => None,
    }
}

fn remove(table: &mut DeTable<'_>, path: &[&str]) -> bool {
    match path {
        [] => false,
        [last] => table.remove(*last).is_some(),
        // Every table of the list is cleared, not only the first that has the key.
        [list, "*", rest @ ..] => tables(table, list).map(|table| usize::from(remove(table, rest))).sum::<usize>() > 0,
        [first, rest @ ..] => {
            table.get_mut(*first).and_then(|inner| as_table(inner.get_mut())).is_some_and(|table| remove(table, rest))
        }
    }
}
