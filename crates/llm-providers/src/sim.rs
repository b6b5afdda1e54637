//! A simulated provider: deterministic by its seed, with the latency and the faults that a script tells it.

mod fixed;
mod instance;
mod ledger;
mod provider;
mod refusal;
mod script;
#[cfg(feature = "sim-server")]
mod server;
mod show;
mod simulator;
mod value;

pub use ledger::{SimCounts, SimStats};
pub use provider::SimProvider;
pub use script::{ScriptError, SimScript};
#[cfg(feature = "sim-server")]
pub use server::SimServer;
pub use simulator::SimConfig;
