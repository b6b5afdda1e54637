//! HTTP in: connections, the data plane, and the routes beside it.

pub(crate) mod auth;
mod body;
mod error;
mod inbound;
pub(crate) mod listener;
pub(crate) mod operations;
mod quota;
pub(crate) mod service;
