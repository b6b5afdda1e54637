//! What the documentation shows is what the code reads.

use std::collections::BTreeSet;
use std::path::PathBuf;

use llm_providers::SimScript;
use llm_server::config::{Environment, Source};

fn page(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The fenced blocks of `language`.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let parts = page.split("```").skip(1).step_by(2);
    parts.filter_map(|part| part.strip_prefix(language)?.strip_prefix('\n')).collect()
}

#[test]
fn the_readmes_configuration_loads_without_a_warning() {
    let readme = page("README.md");
    let samples = blocks(&readme, "toml");
    assert_eq!(samples.len(), 1);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), samples[0]).unwrap();
    let environment = Environment::from_iter([("LLMKIT_KEY", "k"), ("OPENAI_API_KEY", "k")]);
    let loaded = Source { file: Some(file.path().to_owned()), environment, listen: None }.load().unwrap();
    assert_eq!(loaded.warnings, [""; 0]);
    assert_eq!((loaded.config.providers.len(), loaded.config.models.len()), (2, 1));
}

#[test]
fn the_readmes_first_two_commands_start_and_test() {
    let readme = page("README.md");
    assert_eq!(blocks(&readme, "sh")[..2], ["cargo run --release\n", "cargo xtask test\n"]);
}

#[test]
fn the_page_about_simulation_has_every_key_of_a_script() {
    let page = page("docs/simulation.md");
    let table = page.split("| name |").nth(1).unwrap().split("\n\n").next().unwrap();
    let documented: BTreeSet<_> =
        table.lines().skip(2).filter_map(|row| row.strip_prefix("| `")?.split('`').next()).collect();
    let refused = "nonsense".parse::<SimScript>().unwrap_err().to_string();
    let known: BTreeSet<_> = refused.split("the keys are ").nth(1).unwrap().split(", ").collect();
    assert_eq!(documented, known);
}

#[test]
fn the_sample_of_a_file_of_prices_is_one() {
    let page = page("docs/configuration.md");
    let samples = blocks(&page, "json");
    assert_eq!(samples.len(), 1);
    let table = llm_providers::Catalogue::parse(samples[0]).unwrap();
    assert!(table.find("groq", "llama-x-70b").unwrap().price.unwrap().long_prompt.is_some());
}

#[test]
fn the_page_about_observability_lists_every_series() {
    let page = page("docs/observability.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let is_series = |rest: &str| ["counter", "gauge", "histogram"].iter().any(|kind| rest.starts_with(kind));
    let documented: Vec<_> = rows.filter(|(_, rest)| is_series(rest)).collect();
    let listed = llm_telemetry::FAMILIES.iter().map(|family| {
        let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        (family.name, format!("{} | {} | {} |", family.kind.as_str(), labels.join(", "), family.help))
    });
    let listed: Vec<_> = listed.collect();
    let listed: Vec<_> = listed.iter().map(|(name, rest)| (*name, rest.as_str())).collect();
    assert_eq!(documented, listed);
}
