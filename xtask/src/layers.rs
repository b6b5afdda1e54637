//! Crates depend only on layers below their own.

use crate::Outcome;
use crate::workspace::{Metadata, OUTSIDE, Package, Reach};

/// Bottom first. A crate depends only on rows that come before its own.
pub(crate) const LAYERS: &[&[&str]] = &[
    &["llm-core"],
    &["llm-ratelimit", "llm-breaker", "llm-dedup", "llm-router", "llm-guard", "llm-prompt", "llm-control"],
    &["llm-providers", "llm-telemetry", "llm-store", "llm-cluster"],
    &["llm-pipeline"],
    &["llm-server"],
    &["llmkit"],
    &["llmkit-python", "llmkit-node"],
];

/// Checks the workspace.
pub(crate) fn run() -> Outcome {
    let metadata = Metadata::read(Reach::Members)?;
    let found = violations(&metadata);
    if found.is_empty() {
        println!("layers: {} crates depend only downward", layered(&metadata).count());
        return Ok(());
    }
    Err(format!("layers:\n  {}", found.join("\n  ")))
}

/// The workspace's crates that belong in a row.
pub(crate) fn layered(metadata: &Metadata) -> impl Iterator<Item = &Package> {
    metadata.members().filter(|package| !OUTSIDE.contains(&package.name.as_str()))
}

/// Each crate in no row and each edge that does not point down, by name. Dev-dependencies are free.
pub(crate) fn violations(metadata: &Metadata) -> Vec<String> {
    let mut found = Vec::new();
    for package in layered(metadata) {
        let Some(own) = row(&package.name) else {
            found.push(format!("{} is in no row of LAYERS", package.name));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|dependency| !dependency.is_dev) {
            let name = dependency.name.as_str();
            let is_ours = metadata.member(name).is_some();
            let points_down = row(name).is_some_and(|below| below < own);
            if is_ours && !points_down {
                found.push(format!("{} -> {name} does not point down", package.name));
            }
        }
    }
    found
}

fn row(name: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn workspace(edges: &[(&str, &[&str])]) -> Metadata {
        let package = |&(name, below): &(&str, &[&str])| Package {
            name: name.to_owned(),
            version: "0.1.0".to_owned(),
            license: None,
            folder: name.into(),
            is_member: true,
            dependencies: below.iter().map(|name| Dependency { name: (*name).to_owned(), is_dev: false }).collect(),
            features: Default::default(),
            targets: Vec::new(),
        };
        Metadata { packages: edges.iter().map(package).collect(), target_directory: "target".into() }
    }

    #[test]
    fn crates_depend_only_downward() {
        let metadata = Metadata::read(Reach::Members).expect("cargo knows its workspace");
        assert_eq!(violations(&metadata), Vec::<String>::new());
    }

    #[test]
    fn an_edge_to_a_lower_row_or_to_the_outer_world_is_free() {
        let metadata = workspace(&[
            ("llm-core", &["serde"]),
            ("llm-breaker", &["llm-core"]),
            ("llmkit", &["llm-core", "llm-breaker"]),
        ]);
        assert_eq!(violations(&metadata), Vec::<String>::new());
    }

    #[test]
    fn an_upward_edge_is_reported_by_name() {
        let metadata =
            workspace(&[("llm-core", &[]), ("llm-breaker", &["llm-pipeline"]), ("llm-pipeline", &["llm-core"])]);
        assert_eq!(violations(&metadata), ["llm-breaker -> llm-pipeline does not point down"]);
    }

    #[test]
    fn a_sideways_edge_is_reported_by_name() {
        let metadata = workspace(&[("llm-breaker", &[]), ("llm-router", &["llm-breaker"])]);
        assert_eq!(violations(&metadata), ["llm-router -> llm-breaker does not point down"]);
    }

    #[test]
    fn a_crate_in_no_row_is_reported_by_name() {
        let metadata = workspace(&[("llm-core", &[]), ("llm-extra", &["llm-core"])]);
        assert_eq!(violations(&metadata), ["llm-extra is in no row of LAYERS"]);
    }

    #[test]
    fn tools_outside_the_rows_use_all_and_are_used_by_none() {
        let metadata = workspace(&[("llm-core", &["xtask"]), ("xtask", &["llm-core"]), ("benches", &["llm-core"])]);
        assert_eq!(violations(&metadata), ["llm-core -> xtask does not point down"]);
    }

    #[test]
    fn dev_dependencies_are_free() {
        let mut metadata = workspace(&[("llm-core", &["llmkit"]), ("llmkit", &["llm-core"])]);
        metadata.packages[0].dependencies[0].is_dev = true;
        assert_eq!(violations(&metadata), Vec::<String>::new());
    }
}
