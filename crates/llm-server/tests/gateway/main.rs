//! The gateway as a process, between raw sockets and a second process as its upstream.

mod answers;
mod browsers;
mod bytes;
mod caller;
mod canned;
mod chromium;
mod clouds;
mod connections;
mod dashboard;
mod dialects;
mod encrypted;
mod failures;
mod forward;
mod http2;
mod keys;
mod lifecycle;
mod limits;
mod openapi;
mod operations;
mod prices;
mod process;
mod responses;
mod routing;
mod sessions;
mod sharing;
mod streams;
#[cfg(feature = "tui")]
mod top;
mod wire;
