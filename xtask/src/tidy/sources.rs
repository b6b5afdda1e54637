//! Every source file says what it is for, and none is left half done.

use std::path::{Path, PathBuf};

use crate::Outcome;

/// One Rust file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// From the repository's root.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// Spelled in two halves, so that this file does not find itself.
const UNFINISHED: &[&str] =
    &[concat!("FIX", "ME"), concat!("todo", "!("), concat!("unimplemented", "!("), concat!("#[", "ignore")];

/// The Rust files below `root`, apart from what is built or installed there.
pub(crate) fn read(root: &Path) -> Outcome<Vec<Source>> {
    let mut found = Vec::new();
    collect(root, root, &mut found)?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// A file without its header, or with a mark of unfinished work.
pub(crate) fn complaints(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for Source { path, text } in sources {
        let path = path.display();
        if !text.starts_with("//! ") {
            found.push(format!("{path}: the first line is not `//!` with what the file is for"));
        }
        for (number, line) in text.lines().enumerate() {
            for word in UNFINISHED.iter().filter(|word| line.contains(**word)) {
                found.push(format!("{path}:{}: `{word}`", number + 1));
            }
        }
    }
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<Source>) -> Outcome {
    let at = |error: std::io::Error| format!("{}: {error}", folder.display());
    for entry in std::fs::read_dir(folder).map_err(at)? {
        let entry = entry.map_err(at)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let path = entry.path();
        if entry.file_type().map_err(at)?.is_dir() {
            let is_ours =
                !name.starts_with('.') && !matches!(&*name, "target" | "node_modules" | "corpus" | "artifacts");
            if is_ours {
                collect(root, &path, found)?;
            }
        } else if name.ends_with(".rs") {
            let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            let path = path.strip_prefix(root).map(Path::to_path_buf).unwrap_or(path);
            found.push(Source { path, text });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Vec<Source> {
        vec![Source { path: "a.rs".into(), text: text.to_owned() }]
    }

    #[test]
    fn a_file_that_says_what_it_is_for_passes() {
        assert_eq!(complaints(&source("//! Buckets.\nfn main() {}\n")), Vec::<String>::new());
    }

    #[test]
    fn a_file_without_a_header_is_named() {
        assert_eq!(
            complaints(&source("fn main() {}\n")),
            ["a.rs: the first line is not `//!` with what the file is for"]
        );
        assert_eq!(complaints(&source("//!\n")).len(), 1, "an empty header says nothing");
    }

    #[test]
    fn unfinished_work_is_named_with_its_line() {
        for word in UNFINISHED {
            let text = format!("//! A file.\n\nfn main() {{ {word} }}\n");
            assert_eq!(complaints(&source(&text)), [format!("a.rs:3: `{word}`")]);
        }
    }
}
