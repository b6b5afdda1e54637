//! README's crate table names each crate of the workspace, and no other.

use crate::markdown;

/// `crates` are the workspace's crates that belong in a layer.
pub(crate) fn complaints(page: &str, crates: &[&str]) -> Vec<String> {
    let tables = markdown::tables(page);
    let Some(column) = tables.iter().find_map(|table| table.column("crate")) else {
        return vec!["README.md: no table with a column `crate`".to_owned()];
    };
    let listed: Vec<&str> = column.flat_map(|cell| markdown::code_spans(cell).next()).collect();
    let missing = crates
        .iter()
        .filter(|name| !listed.contains(name))
        .map(|name| format!("README.md: the crate table lacks {name}"));
    let unknown = listed
        .iter()
        .filter(|name| !crates.contains(name))
        .map(|name| format!("README.md: the crate table names {name}, which the workspace does not have"));
    missing.chain(unknown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "| crate | owns |\n|---|---|\n| [`llm-core`](crates/llm-core) | words |\n| `llm-gone` | `x` |\n";

    #[test]
    fn a_table_equal_to_the_workspace_passes() {
        assert_eq!(complaints(PAGE, &["llm-core", "llm-gone"]), Vec::<String>::new());
    }

    #[test]
    fn a_missing_and_an_unknown_crate_are_named() {
        assert_eq!(
            complaints(PAGE, &["llm-core", "llm-dedup"]),
            [
                "README.md: the crate table lacks llm-dedup",
                "README.md: the crate table names llm-gone, which the workspace does not have"
            ]
        );
    }

    #[test]
    fn a_page_without_the_table_is_a_complaint() {
        assert_eq!(complaints("# llmkit\n", &[]).len(), 1);
    }
}
