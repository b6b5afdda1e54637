//! The tables of a Markdown page.

/// One table, with the last heading before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) heading: String,
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    /// The cells under the named column.
    pub(crate) fn column(&self, name: &str) -> Option<impl Iterator<Item = &str>> {
        let at = self.columns.iter().position(|column| column == name)?;
        Some(self.rows.iter().filter_map(move |row| row.get(at).map(String::as_str)))
    }
}

/// The tables of the page, in order; what stands in a code fence is none.
pub(crate) fn tables(page: &str) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    let mut heading = String::new();
    let mut in_fence = false;
    let mut in_table = false;
    for line in page.lines().map(str::trim) {
        if line.starts_with("```") {
            in_fence = !in_fence;
        }
        if in_fence || !line.starts_with('|') {
            in_table = false;
            if !in_fence && line.starts_with('#') {
                heading = line.trim_start_matches('#').trim().to_owned();
            }
            continue;
        }
        let cells = cells(line);
        match tables.last_mut() {
            Some(table) if in_table => {
                if !is_rule(&cells) {
                    table.rows.push(cells);
                }
            }
            _ => tables.push(Table { heading: heading.clone(), columns: cells, rows: Vec::new() }),
        }
        in_table = true;
    }
    tables
}

/// What stands between backticks.
pub(crate) fn code_spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn cells(line: &str) -> Vec<String> {
    let inner = line.trim_matches('|').replace("\\|", "\u{0}");
    inner.split('|').map(|cell| cell.trim().replace('\u{0}', "|")).collect()
}

fn is_rule(cells: &[String]) -> bool {
    cells.iter().all(|cell| !cell.is_empty() && cell.chars().all(|c| matches!(c, '-' | ':')))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# Page
text

| crate | owns |
|---|:--|
| `a` | x \\| y |
| [`b`](crates/b) | z |

```text
| not | a table |
```
## Next `[server]`
| key |
|---|
| `listen` |
";

    #[test]
    fn tables_come_with_their_heading_and_without_rules() {
        let tables = tables(PAGE);
        assert_eq!(tables.len(), 2);
        assert_eq!(tables[0].columns, ["crate", "owns"]);
        assert_eq!(tables[0].rows[0], ["`a`", "x | y"]);
        assert_eq!(tables[1].heading, "Next `[server]`");
        assert_eq!(tables[1].column("key").expect("there").collect::<Vec<_>>(), ["`listen`"]);
    }

    #[test]
    fn a_column_that_is_not_there_is_none() {
        assert!(tables(PAGE)[0].column("key").is_none());
    }

    #[test]
    fn code_spans_are_what_stands_between_backticks() {
        assert_eq!(code_spans("`a`, or `b`").collect::<Vec<_>>(), ["a", "b"]);
    }
}
