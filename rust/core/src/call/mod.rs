//! One call from start to end: send, wait, retry, decode, time, cancel.
//!
//! Every call is one future. Dropping it takes the request back at once: over HTTP/1.1 the connection closes, over
//! HTTP/2 the stream is reset and the connection lives on.

mod cached;
mod counting;
mod embed;
mod endpoint;
mod estimate;
mod heavy;
mod passage;
mod queue;
mod resource;
mod retry;
mod route;
mod stream;
mod tape;
mod timeouts;
mod unary;

use std::time::SystemTime;

use http::{HeaderMap, Version};

pub use cached::{Chat, Recall, Texts, ask_chat, ask_embed, ask_stream, recall_chat, recall_embed, replay};
pub use endpoint::{Endpoint, EndpointConfig};
pub use queue::{Next, Outcome, Progress, Receiver, Sender, queue};
pub use resource::{ask, count_tokens, list_models};
pub use retry::RetryPolicy;
pub use route::Route;
pub(crate) use tape::Tape;
pub(crate) use timeouts::Clock;
pub use timeouts::Timeouts;
pub use unary::status_error;

use crate::{
    metrics::Metrics,
    wire::{RateLimits, status::request_id},
};

/// What a call brought, besides its answer.
#[derive(Debug, Clone)]
pub struct Meta {
    /// Requests sent, the failed ones included.
    pub attempts: u32,
    /// The last answer's headers.
    pub headers: HeaderMap,
    /// When they came.
    pub received: SystemTime,
    /// The HTTP version that the answer came over.
    pub version: Version,
    /// What it took.
    pub metrics: Metrics,
    /// Whether a cache answered, and no request of this call was sent.
    pub cached: bool,
}

impl Meta {
    /// The provider's id of the last request.
    pub fn request_id(&self) -> Option<&str> {
        request_id(&self.headers)
    }

    /// What is left of the provider's allowances.
    pub fn rate_limits(&self) -> Option<RateLimits> {
        RateLimits::from_headers(&self.headers, self.received)
    }
}

impl Default for Meta {
    /// Of an answer that no call brought.
    fn default() -> Self {
        Self {
            attempts: 1,
            headers: HeaderMap::new(),
            received: SystemTime::UNIX_EPOCH,
            version: Version::HTTP_11,
            metrics: Metrics::default(),
            cached: false,
        }
    }
}

/// An answer and what it took.
#[derive(Debug, Clone)]
pub struct Completed<T> {
    /// The answer.
    pub value: T,
    /// What it took.
    pub meta: Meta,
}

/// A try that failed, and what that means for another one.
#[derive(Debug)]
struct Failed {
    error: crate::Error,
    /// A kept connection was dead: the request was never seen.
    stale: bool,
}

impl From<crate::Error> for Failed {
    fn from(error: crate::Error) -> Self {
        Self { error, stale: false }
    }
}
