//! Every package in the lock can be used under an allowed licence.

use toml::Table;

use crate::Outcome;
use crate::workspace::Metadata;

/// Packages whose licence expression cannot be met by `licenses.allow` of `deny.toml`.
pub(crate) fn complaints(deny: &Table, metadata: &Metadata) -> Outcome<Vec<String>> {
    let allowed = allowed(deny)?;
    let mut found = Vec::new();
    for package in &metadata.packages {
        let (name, version) = (&package.name, &package.version);
        match package.license.as_deref() {
            None => found.push(format!("{name} {version} names no licence")),
            Some(expression) => match is_met(expression, &allowed) {
                Some(true) => {}
                Some(false) => found.push(format!("{name} {version}: the licence `{expression}` is not allowed")),
                None => found.push(format!("{name} {version}: `{expression}` is no SPDX expression")),
            },
        }
    }
    Ok(found)
}

fn allowed(deny: &Table) -> Outcome<Vec<String>> {
    let list = deny.get("licenses").and_then(|table| table.get("allow")).and_then(|list| list.as_array());
    let list = list.ok_or("deny.toml: no list licenses.allow")?;
    Ok(list.iter().filter_map(|one| one.as_str()).map(str::to_owned).collect())
}

/// Whether the allowed licences satisfy the expression; `None` when it cannot be read.
///
/// `expression = term (OR term)*`, `term = factor (AND factor)*`, `factor = (expression) | licence [WITH exception]`;
/// the `/` of old manifests is an `OR`.
fn is_met(expression: &str, allowed: &[String]) -> Option<bool> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let met = any(&mut rest, allowed)?;
    rest.is_empty().then_some(met)
}

fn any(rest: &mut &[&str], allowed: &[String]) -> Option<bool> {
    let mut met = all(rest, allowed)?;
    while take(rest, "OR") {
        met |= all(rest, allowed)?;
    }
    Some(met)
}

fn all(rest: &mut &[&str], allowed: &[String]) -> Option<bool> {
    let mut met = one(rest, allowed)?;
    while take(rest, "AND") {
        met &= one(rest, allowed)?;
    }
    Some(met)
}

fn one(rest: &mut &[&str], allowed: &[String]) -> Option<bool> {
    if take(rest, "(") {
        let met = any(rest, allowed)?;
        return take(rest, ")").then_some(met);
    }
    let licence = next_name(rest)?;
    let whole = if take(rest, "WITH") { format!("{licence} WITH {}", next_name(rest)?) } else { licence.to_owned() };
    Some(allowed.contains(&whole))
}

fn next_name<'a>(rest: &mut &[&'a str]) -> Option<&'a str> {
    let (&name, tail) = rest.split_first()?;
    if matches!(name, "(" | ")" | "AND" | "OR" | "WITH") {
        return None;
    }
    *rest = tail;
    Some(name)
}

fn take(rest: &mut &[&str], word: &str) -> bool {
    let Some((&first, tail)) = rest.split_first() else { return false };
    if first == word {
        *rest = tail;
    }
    first == word
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(expression: &str) -> Option<bool> {
        is_met(expression, &["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "ISC"].map(str::to_owned))
    }

    #[test]
    fn one_allowed_side_of_an_or_is_enough() {
        assert_eq!(met("MIT OR GPL-3.0"), Some(true));
        assert_eq!(met("GPL-3.0 OR LGPL-3.0"), Some(false));
        assert_eq!(met("Unlicense/MIT"), Some(true));
    }

    #[test]
    fn both_sides_of_an_and_must_be_allowed() {
        assert_eq!(met("MIT AND ISC"), Some(true));
        assert_eq!(met("MIT AND OpenSSL"), Some(false));
    }

    #[test]
    fn and_binds_tighter_than_or_and_brackets_bind_tightest() {
        assert_eq!(met("MIT OR ISC AND OpenSSL"), Some(true));
        assert_eq!(met("(MIT OR ISC) AND OpenSSL"), Some(false));
        assert_eq!(met("(MIT OR GPL-2.0) AND (ISC OR GPL-2.0)"), Some(true));
    }

    #[test]
    fn an_exception_is_part_of_the_licence() {
        assert_eq!(met("Apache-2.0 WITH LLVM-exception"), Some(true));
        assert_eq!(met("Apache-2.0 WITH Classpath-exception-2.0"), Some(false));
        assert_eq!(met("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT"), Some(true));
    }

    #[test]
    fn what_is_no_expression_is_not_taken_for_one() {
        for text in ["", "MIT OR", "(MIT", "MIT MIT", "OR", "MIT WITH"] {
            assert_eq!(met(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_package_without_a_licence_and_one_with_another_are_named() {
        let deny: Table = "[licenses]\nallow = [\"MIT\"]\n".parse().expect("toml");
        let json = r#"{"packages":[
            {"name":"a","version":"1.0.0","id":"a","license":"GPL-3.0"},
            {"name":"b","version":"2.0.0","id":"b","license":null},
            {"name":"c","version":"3.0.0","id":"c","license":"MIT"}]}"#;
        let metadata = Metadata::parse(json).expect("metadata");
        assert_eq!(
            complaints(&deny, &metadata),
            Ok(vec!["a 1.0.0: the licence `GPL-3.0` is not allowed".to_owned(), "b 2.0.0 names no licence".to_owned()])
        );
    }
}
