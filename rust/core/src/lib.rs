//! The Python-free core of edgequake-llm.
//!
//! One call flows one way: [`model`] (what was asked) → [`wire`] (a provider's bytes) → [`http`] (a pooled connection)
//! → [`stream`] (frames out of bytes) → [`wire`] again (events out of frames) → the caller. [`call`] strings these
//! together with retries, timeouts and cancellation. Everything in `model`, `wire` and `stream` is pure: no I/O, no clock.

pub mod cache;
pub mod call;
pub mod error;
pub mod http;
pub mod limiter;
mod list;
pub mod metrics;
pub mod model;
pub mod prompt_cache;
pub mod runtime;
pub mod sigv4;
#[cfg(feature = "simulator")]
pub mod simulator;
pub mod stream;
pub mod tokenizer;
pub mod wire;

pub use error::{Error, ErrorKind};
