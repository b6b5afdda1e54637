//! The client over the simulated provider.
