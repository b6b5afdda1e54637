//! What a forge checks before `test`.

use crate::{Outcome, process};

/// The committed lock files fit the manifests, so that every machine builds the same versions.
pub(crate) fn run() -> Outcome {
    for manifest in ["Cargo.toml", "fuzz/Cargo.toml"] {
        process::output(&mut process::cargo([
            "metadata",
            "--locked",
            "--format-version",
            "1",
            "--manifest-path",
            manifest,
        ]))?;
        println!("ci: the lock file beside {manifest} is up to date");
    }
    Ok(())
}
