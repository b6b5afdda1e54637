//! What the connections share.

use llm_core::sync::Mutex;

use super::grant::Grants;
use super::log::Log;
use super::objects::Objects;
use crate::sim::simulator::Simulator;

/// The simulated model, and what it was asked.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) simulator: Simulator,
    pub(super) log: Mutex<Log>,
    pub(super) grants: Mutex<Grants>,
    pub(super) objects: Mutex<Objects>,
}
