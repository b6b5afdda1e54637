//! The process's telemetry; without the feature of that name, nothing in its place.

#[cfg(not(feature = "telemetry"))]
mod off;
#[cfg(feature = "telemetry")]
mod on;

#[cfg(not(feature = "telemetry"))]
pub(crate) use self::off::{Telemetry, Watch};
#[cfg(feature = "telemetry")]
pub(crate) use self::on::{Telemetry, Watch};
