//! Where each name of a model is found.

use std::collections::BTreeMap;

use super::KnownModel;
use super::dates::without_day;

/// The places of entries, by provider.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Index(BTreeMap<String, Names>);

/// The names of a provider's models.
#[derive(Clone, Debug, Default, PartialEq)]
struct Names {
    exact: BTreeMap<String, usize>,
    /// In the order of the entries.
    aliases: Vec<(String, usize)>,
}

impl Index {
    pub(super) fn of(models: &[KnownModel]) -> Self {
        let mut providers: BTreeMap<String, Names> = BTreeMap::new();
        for (place, known) in models.iter().enumerate() {
            let names = providers.entry(known.provider.clone()).or_default();
            names.exact.insert(known.model.clone(), place);
            names.aliases.extend(known.aliases.iter().map(|alias| (alias.clone(), place)));
        }
        Self(providers)
    }

    /// Whether there is an entry of this very name.
    pub(super) fn has(&self, provider: &str, model: &str) -> bool {
        self.0.get(provider).is_some_and(|names| names.exact.contains_key(model))
    }

    pub(super) fn find(&self, provider: &str, model: &str) -> Option<usize> {
        let names = self.0.get(provider)?;
        names.find(model).or_else(|| names.find(without_day(model)?))
    }
}

impl Names {
    fn find(&self, model: &str) -> Option<usize> {
        let alias = || self.aliases.iter().find(|(pattern, _)| matches(pattern, model)).map(|(_, place)| *place);
        self.exact.get(model).copied().or_else(alias)
    }
}

/// Whether `name` is what `pattern` says, in which `*` stands for any text, or none.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        // The first place at which a part stands leaves the most to the others.
        let Some((_, behind)) = name.split_once(part) else { return false };
        name = behind;
    }
    name.ends_with(last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition: `*` is nothing, or a letter and `*`.
    fn by_definition(pattern: &[char], name: &[char]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            (['*', rest @ ..], _) if by_definition(rest, name) => true,
            (['*', ..], [_, behind @ ..]) => by_definition(pattern, behind),
            ([one, rest @ ..], [other, behind @ ..]) => one == other && by_definition(rest, behind),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_star_stands_for_any_text(pattern in "[ab*]{0,7}", name in "[ab*]{0,9}") {
            let (letters, of_name): (Vec<_>, Vec<_>) = (pattern.chars().collect(), name.chars().collect());
            prop_assert_eq!(matches(&pattern, &name), by_definition(&letters, &of_name));
        }
    }
}
