//! Benchmarks: of the mechanisms, and of the gateway as a whole.

mod check;
mod gateway;
mod plot;
mod telemetry;

use crate::{Outcome, process};

pub(crate) use check::{Act, run as check};
pub(crate) use gateway::dist::run as dist;
pub(crate) use gateway::flame::run as flame;
pub(crate) use gateway::soak::{MINUTES, run as soak};
pub(crate) use gateway::{Choice, run as gateway};
pub(crate) use plot::{complaints as plot_complaints, run as plot};
pub(crate) use telemetry::run as telemetry;

/// The criterion benches; `arguments` go to cargo.
pub(crate) fn criterion(arguments: &[&str]) -> Outcome {
    process::run(process::cargo(["bench", "--package", "benches"]).args(arguments))
}

/// A table of ratios to peers, measured in turns.
pub(crate) fn table(name: &str) -> Outcome {
    process::run(&mut process::cargo(["bench", "--quiet", "--package", "benches", "--bench", name]))
}
