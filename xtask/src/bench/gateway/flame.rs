//! A flame graph of the gateway under load.

use std::fs::File;
use std::path::PathBuf;

use super::load::{Load, SMALL, Scenario};
use super::{Pace, Programs, build, systems};
use crate::{Outcome, process};

/// Longer than what is recorded.
const LOAD: Scenario = Scenario { full_ms: 8000, ..SMALL };
const RECORDED_SECONDS: &str = "5";

/// The most of a stack that perf keeps, in bytes: futures within futures are deep.
const STACK: &str = "dwarf,65528";

/// Shares below this, in percent, are left out.
const LEAST: &str = "0.4";

/// Builds with symbols, records a gateway's CPU time while it is driven, draws `docs/flamegraph.svg`.
///
/// # Errors
/// Where a program is missing or fails.
pub(crate) fn run() -> Outcome {
    let perf = tool("perf", "Debian's package linux-perf has it")?;
    let collapse = tool("inferno-collapse-perf", "`cargo install inferno` brings it")?;
    let draw = tool("inferno-flamegraph", "`cargo install inferno` brings it")?;
    let programs = with_symbols(build()?)?;
    let upstream = systems::upstream(&programs)?;
    let gateway = systems::gateway(&programs, upstream.address)?;
    let mut load = Load::start(&programs.loadgen, &LOAD, Pace::Full, gateway.address, &(gateway.model)(LOAD.model), 0)?;
    load.begin()?;

    let [samples, stacks, folded] = ["perf.data", "perf.txt", "perf.folded"].map(|name| programs.scratch.join(name));
    let id = gateway.process.id().to_string();
    // The clock, for a virtual machine may have no counter of cycles.
    let record = ["record", "--quiet", "--event", "cpu-clock", "--freq", "499", "--call-graph", STACK, "--pid", &id];
    let mut record = process::program(&perf, record);
    process::run(record.arg("--output").arg(&samples).args(["--", "sleep", RECORDED_SECONDS]))?;
    load.answer()?;

    let mut script = process::program(&perf, ["script", "--no-inline", "--input"]);
    process::run(script.arg(&samples).stdout(created(&stacks)?))?;
    process::run(process::program(&collapse, [&stacks]).stdout(created(&folded)?))?;
    let picture = process::root().join("docs/flamegraph.svg");
    let title = "CPU time of the gateway: 1 KB requests, 32 connections";
    let mut draw = process::program(&draw, ["--title", title, "--minwidth", LEAST, "--hash", "--colors", "rust"]);
    process::run(draw.arg(&folded).stdout(created(&picture)?))?;
    println!("bench: drawn: {}", picture.display());
    Ok(())
}

fn tool(name: &str, from: &str) -> Outcome<PathBuf> {
    process::find(name).ok_or_else(|| format!("`{name}` is missing: {from}"))
}

fn created(file: &PathBuf) -> Outcome<File> {
    File::create(file).map_err(|error| format!("{}: {error}", file.display()))
}

/// The same gateway with the names of its functions, in a folder of its own beside the other builds.
fn with_symbols(programs: Programs) -> Outcome<Programs> {
    println!("bench: building with symbols");
    let target = programs.scratch.with_file_name("prof");
    let mut cargo = process::cargo(["build", "--quiet", "--profile", "bench", "--package", "llm-server"]);
    cargo.args(["--bin", "llmkit", "--target-dir"]).arg(&target).env("CARGO_PROFILE_BENCH_DEBUG", "1");
    process::run(&mut cargo)?;
    Ok(Programs { llmkit: target.join("release/llmkit"), ..programs })
}
