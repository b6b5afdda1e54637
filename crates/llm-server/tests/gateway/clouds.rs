//! Providers in clouds, which want to be shown who asks: what the callers of each format get of them stands beside that
//! of the other providers (`dialects.rs`).
#[cfg(feature = "bedrock")]
mod bedrock;
#[cfg(feature = "vertex")]
mod vertex;

#[cfg(feature = "bedrock")]
pub(crate) use bedrock::bedrock;
#[cfg(feature = "vertex")]
pub(crate) use vertex::vertex;
