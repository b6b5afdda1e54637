//! The load generator of `cargo xtask bench gateway`, and the bare floor that it is driven against.
//!
//! `drive` connects, prints `ready`, waits for a line, loads the target, prints what it saw as one line of JSON, and keeps its
//! connections until the next line: whoever started it reads the target's accounts at exactly these moments. `soak` does the same
//! with a mixed load.

mod ask;
mod drive;
mod floor;
mod measured;
mod options;
mod prompt;
mod soak;

use std::process::ExitCode;

use options::{Command, Options};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let outcome = Options::read(&words).and_then(|options| match options.command {
        Command::Floor => on_all_cores(floor::run(options)),
        Command::Drive => on_one_core(drive::run(options)),
        Command::Soak => on_one_core(soak::run(options)),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("loadgen: {why}");
            ExitCode::FAILURE
        }
    }
}

/// As a gateway runs.
fn on_all_cores(work: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| format!("no runtime: {error}"))?.block_on(work)
}

/// The rest of the machine is the target's and the upstream's.
fn on_one_core(work: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    let outcome = runtime.block_on(work);
    // A thread may still wait for a line that nobody sends.
    runtime.shutdown_background();
    outcome
}
