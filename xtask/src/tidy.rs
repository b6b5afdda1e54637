//! What cargo and the lints cannot say about the repository.

mod bans;
mod configuration;
mod features;
mod licences;
mod readme;
mod sources;

use crate::process;
use crate::workspace::{Metadata, Reach};
use crate::{Outcome, bench, layers};

pub(crate) use configuration::undocumented_or_unread;

/// Checks the repository; every complaint is listed.
pub(crate) fn run() -> Outcome {
    let root = process::root();
    let sources = sources::read(&root)?;
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap_or_default();
    let deny = std::fs::read_to_string(root.join("deny.toml")).map_err(|error| format!("deny.toml: {error}"))?;
    let deny: toml::Table = deny.parse().map_err(|error| format!("deny.toml: {error}"))?;
    let everything = on_our_targets(&deny)?;
    let crates: Vec<&str> = layers::layered(&everything).map(|package| package.name.as_str()).collect();

    let complaints = [
        sources::complaints(&sources),
        readme::complaints(&readme, &crates),
        bench::plot_complaints()?,
        features::complaints(&everything, &sources),
        licences::complaints(&deny, &everything)?,
        bans::complaints(&deny, &everything)?,
    ]
    .concat();
    if complaints.is_empty() {
        println!("tidy: {} files and {} packages are in order", sources.len(), everything.packages.len());
        return Ok(());
    }
    Err(format!("tidy:\n  {}", complaints.join("\n  ")))
}

/// Every package of a build for one of `graph.targets`; what the lock holds for other systems is not distributed.
fn on_our_targets(deny: &toml::Table) -> Outcome<Metadata> {
    let targets = deny.get("graph").and_then(|graph| graph.get("targets")).and_then(|list| list.as_array());
    let targets = targets.ok_or("deny.toml: no list graph.targets")?.iter().filter_map(|target| target.as_str());
    let filters: Vec<&str> = targets.flat_map(|target| ["--filter-platform", target]).collect();
    Metadata::of(&[&["--all-features"], filters.as_slice()].concat(), Reach::Everything)
}
