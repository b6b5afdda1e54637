//! HTTP in: connections, the data plane, and the routes beside it.

mod array;
pub(crate) mod auth;
mod body;
pub(crate) mod cors;
mod dashboard;
mod drive;
mod error;
mod fields;
mod forward;
mod http1;
mod http2;
mod inbound;
pub(crate) mod incoming;
mod ingress;
pub(crate) mod listener;
mod openapi;
pub(crate) mod operations;
pub(crate) mod overview;
mod quota;
pub(crate) mod service;
pub(crate) mod sessions;
pub(crate) mod tls;
mod upload;
