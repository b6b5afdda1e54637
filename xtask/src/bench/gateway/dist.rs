//! The gateway as it is shipped: built, driven with the bench's loads, and built again by the counts of what ran.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::load::Load;
use super::systems::{Programs, System};
use super::{Pace, SCENARIOS, build, soak, systems};
use crate::{Outcome, process};

/// How long the mixed load lasts, in which everything a day brings comes up.
const MIXED: Duration = Duration::from_secs(20);

/// What of a function never ran stands apart from what did: a request that finds no code in the processor's caches has the
/// less to bring in.
const APART: &str = "-Cllvm-args=-split-machine-functions";

/// The shipped program, beside the folder of the bench's other files.
pub(super) fn shipped(scratch: &Path) -> PathBuf {
    folder(scratch).join("llmkit")
}

fn folder(scratch: &Path) -> PathBuf {
    scratch.with_file_name("dist")
}

/// Makes `target/dist/llmkit`.
///
/// # Errors
/// Where a program is missing or fails.
pub(crate) fn run() -> Outcome {
    let merge = profdata()?;
    let programs = build()?;
    let shipped = shipped(&programs.scratch);
    let folder = folder(&programs.scratch);
    let (counts, profile) = (folder.join("counts"), folder.join("llmkit.profdata"));
    // Those of another build would not fit.
    if counts.exists() {
        std::fs::remove_dir_all(&counts).map_err(|error| format!("{}: {error}", counts.display()))?;
    }
    println!("dist: building with counters");
    let counting = built(&folder, &[&format!("-Cprofile-generate={}", counts.display())])?;
    drive(&programs, Programs { llmkit: counting, ..programs.clone() })?;
    process::run(process::program(merge, ["merge", "--output"].map(OsStr::new)).arg(&profile).arg(&counts))?;
    println!("dist: building by the counts");
    let llmkit = built(&folder, &[&format!("-Cprofile-use={}", profile.display()), APART])?;
    std::fs::copy(llmkit, &shipped).map_err(|error| format!("{}: {error}", shipped.display()))?;
    println!("dist: {}", shipped.display());
    Ok(())
}

/// Each load of the bench, passed on and translated, and the mixed load. The counts are written as the gateways end.
fn drive(programs: &Programs, counting: Programs) -> Outcome {
    let upstream = systems::upstream(programs)?;
    let mut seed = 0;
    for system in [systems::gateway, systems::translating] {
        let System { process, address, model, .. } = system(&counting, upstream.address)?;
        for scenario in SCENARIOS {
            println!("dist: {}", scenario.title);
            seed += 1 << 48;
            let model = model(scenario.model);
            Load::start(&programs.loadgen, scenario, Pace::Full, address, &model, seed)?.go()?;
        }
        drop(process);
    }
    println!("dist: mixed load");
    let (gateway, mut load) = soak::start(&counting, upstream.address, MIXED)?;
    load.begin()?;
    load.answer()?;
    drop(gateway);
    Ok(())
}

/// The gateway, compiled with `flags`; what runs while it is built is compiled without.
fn built(folder: &Path, flags: &[&str]) -> Outcome<PathBuf> {
    let (host, target) = (process::host()?, folder.join("build"));
    let mut cargo = process::cargo(["build", "--quiet", "--release", "--package", "llm-server", "--bin", "llmkit"]);
    cargo.args(["--target", &host, "--target-dir"]).arg(&target).env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    process::run(&mut cargo)?;
    Ok(target.join(host).join("release/llmkit"))
}

/// What reads the counts: of the compiler's own version, for their form changes.
fn profdata() -> Outcome<PathBuf> {
    let root = process::output(&mut process::program("rustc", ["--print", "target-libdir"]))?;
    let program = Path::new(root.trim()).with_file_name("bin").join("llvm-profdata");
    if program.exists() {
        return Ok(program);
    }
    Err("llvm-profdata is missing: `rustup component add llvm-tools` brings it".to_owned())
}
