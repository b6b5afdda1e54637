//! The gateway as a process, between raw sockets and a second process as its upstream.

mod answers;
mod browsers;
mod bytes;
mod caller;
mod connections;
mod dialects;
mod encrypted;
mod failures;
mod http2;
mod keys;
mod lifecycle;
mod limits;
mod operations;
mod prices;
mod process;
mod routing;
mod sessions;
mod sharing;
mod streams;
mod wire;
