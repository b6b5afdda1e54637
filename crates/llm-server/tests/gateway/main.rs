//! The gateway as a process, between raw sockets and a second process as its upstream.

mod answers;
mod bytes;
mod connections;
mod failures;
mod keys;
mod lifecycle;
mod limits;
mod operations;
mod prices;
mod process;
mod routing;
mod sharing;
mod streams;
mod wire;
