//! No feature is empty: each enables something, or some code asks for it.

use super::sources::Source;
use crate::process;
use crate::workspace::Metadata;

/// Features that change nothing, by crate and name.
pub(crate) fn complaints(metadata: &Metadata, sources: &[Source]) -> Vec<String> {
    let root = process::root();
    let mut found = Vec::new();
    for package in metadata.members() {
        let folder = package.folder.strip_prefix(&root).unwrap_or(&package.folder);
        for (name, enables) in &package.features {
            let asked = format!("feature = \"{name}\"");
            let is_asked =
                || sources.iter().any(|source| source.path.starts_with(folder) && source.text.contains(&asked));
            if name != "default" && enables.is_empty() && !is_asked() {
                found.push(format!("{}: the feature `{name}` is empty", package.name));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Package;

    fn with_features(features: &[(&str, &[&str])]) -> Metadata {
        let package = Package {
            name: "a".to_owned(),
            version: "0.1.0".to_owned(),
            license: None,
            folder: process::root().join("crates/a"),
            is_member: true,
            dependencies: Vec::new(),
            features: features
                .iter()
                .map(|(name, enables)| ((*name).to_owned(), enables.iter().map(|&one| one.to_owned()).collect()))
                .collect(),
            targets: Vec::new(),
        };
        Metadata { packages: vec![package], target_directory: "target".into() }
    }

    #[test]
    fn a_feature_that_nothing_asks_for_is_empty() {
        let metadata = with_features(&[("default", &[]), ("std", &[]), ("tokio", &["dep:tokio"])]);
        assert_eq!(complaints(&metadata, &[]), ["a: the feature `std` is empty"]);
    }

    #[test]
    fn a_feature_that_code_of_its_own_crate_asks_for_is_not_empty() {
        let source = |path: &str| Source { path: path.into(), text: "#[cfg(feature = \"std\")]".to_owned() };
        let metadata = with_features(&[("std", &[])]);
        assert_eq!(complaints(&metadata, &[source("crates/a/src/lib.rs")]), Vec::<String>::new());
        assert_eq!(complaints(&metadata, &[source("crates/b/src/lib.rs")]).len(), 1);
    }
}
