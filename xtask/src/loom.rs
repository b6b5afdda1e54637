//! The models of the atomic protocols, each crate's `loom_tests`.

use crate::workspace::{Metadata, Reach};
use crate::{Outcome, process};

/// The crates that have models. They stay free of tokio, which a loom build does not fit.
const CRATES: &[&str] = &["llm-core", "llm-ratelimit", "llm-breaker", "llm-dedup", "llm-router"];

/// Enough for every bug of two or three threads, and minutes instead of hours.
const PREEMPTIONS: &str = "3";

/// Runs every model; a crate of the list without one is an error.
pub(crate) fn run() -> Outcome {
    let metadata = Metadata::read(Reach::Members)?;
    // A folder of its own: the flags differ from every other build's.
    let target = metadata.target_directory.join("loom");
    let cargo = |last: &[&str], name: &str| {
        let mut command = process::cargo(["test", "--release", "--lib", "--package", name, "--target-dir"]);
        command
            .arg(&target)
            .args(["--", "loom_tests"])
            .args(last)
            .env("RUSTFLAGS", "--cfg llm_loom")
            .env("LOOM_MAX_PREEMPTIONS", PREEMPTIONS)
            // The profile's link-time optimisation would only delay the models.
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        command
    };
    for name in CRATES {
        let listed = process::output(&mut cargo(&["--list"], name))?;
        if !listed.lines().any(|line| line.ends_with(": test")) {
            return Err(format!("loom: {name} has no model in a `loom_tests` module"));
        }
        process::run(&mut cargo(&[], name))?;
    }
    Ok(())
}
