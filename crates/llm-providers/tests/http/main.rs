//! The provider over HTTP, against upstreams that answer in every way.
#![cfg(feature = "http")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod answers;
mod clocks;
mod connections;
mod encrypted;
mod proxies;
mod upstream;
