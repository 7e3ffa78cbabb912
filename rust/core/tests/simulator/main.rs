//! The simulator seen from outside, by a client that shares no code with the core's own.

#![cfg(feature = "simulator")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "these are tests")]

mod client;
mod faults;
mod limits;
mod responses;
mod seen;
mod transport;
mod wire;
