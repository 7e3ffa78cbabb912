//! A limiter of calls: requests a minute, tokens a minute and calls at once, granted together or not at all, in strict order.
//!
//! # What it promises
//!
//! - Over every minute, wherever it begins, at most *allowance + burst* requests are let in, and as many tokens: a bucket
//!   holds the burst and refills by the allowance, evenly. Tokens are reserved by the caller's estimate and settled by what
//!   was really used.
//! - First come, first served. A large request at the head waits for its tokens, and nobody passes it.
//! - A waiter holds nothing, so leaving the queue costs nobody anything and there is no deadlock.
//! - A step costs the same with ten waiters and with ten thousand, and one timer serves them all.
//!
//! [`LimiterState`] decides; it is pure and takes the time as a parameter. [`Limiter`] puts a lock, a clock and tokio's
//! timer around it. A forked child starts with a state of its own: full buckets, nobody running, nobody waiting. What is
//! *not* here: limits by the day (but they are learned from headers), separate limits for input and output tokens, limits
//! shared between processes.

mod bucket;
mod meter;
mod presets;
mod shared;
mod state;

use std::{fmt, num::NonZeroU32, time::Duration};

use crate::error::{Error, ErrorKind};

pub use presets::{PRESETS, Preset, preset};
pub use shared::{Entry, Grant, Limiter, Permit, Place, Turn, Waiting};
pub use state::{LimiterState, Outcome, Reservation, Ticket, WaiterId};

/// The limits; what is `None` is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LimiterConfig {
    /// At most this many calls at once.
    pub max_concurrent: Option<NonZeroU32>,
    /// The allowance of requests.
    pub requests_per_minute: Option<NonZeroU32>,
    /// How many requests may be let in at once after a rest. By default what the allowance gives in ten seconds, at least 1:
    /// providers enforce a minute's allowance over shorter times too, and answer a large burst with 429.
    pub request_burst: Option<NonZeroU32>,
    /// The allowance of tokens, prompt and answer together.
    pub tokens_per_minute: Option<NonZeroU32>,
    /// How many tokens may be let in at once after a rest, and so the largest single request. By default a minute's
    /// allowance, which is what the providers' own buckets hold.
    pub token_burst: Option<NonZeroU32>,
    /// How long a call may wait before it is refused; `None` is for ever. It is refused at once when it would have to wait
    /// longer even if every running call gave back all the tokens it has reserved.
    pub max_wait: Option<Duration>,
}

impl LimiterConfig {
    /// What the bucket of requests holds.
    pub fn request_capacity(&self) -> Option<NonZeroU32> {
        let allowance = self.requests_per_minute?;
        self.request_burst.or_else(|| NonZeroU32::new(allowance.get() / 6)).or(Some(NonZeroU32::MIN))
    }

    /// What the bucket of tokens holds: the largest request that can be let in.
    pub fn token_capacity(&self) -> Option<NonZeroU32> {
        self.tokens_per_minute.map(|allowance| self.token_burst.unwrap_or(allowance))
    }
}

/// Why a call was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It needs more tokens than the bucket can ever hold: waiting would not help.
    TooLarge {
        /// The tokens asked for.
        tokens: u64,
        /// What the bucket holds when it is full.
        capacity: u64,
    },
    /// It would have to wait, or has waited, longer than `max_wait`.
    TooLong {
        /// How long it would have had to wait by what was known, without the time for running calls to make room.
        needed: Duration,
        /// How long it was allowed to.
        max_wait: Duration,
    },
    /// It would have to wait, and the caller did not want to.
    NotNow {
        /// How long, by what is known now; zero where only a running call must end first.
        wait: Duration,
    },
    /// There is no tokio runtime whose timer could wake it, or that runtime was shut down.
    NoRuntime,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { tokens, capacity } => write!(
                f,
                "the request needs {tokens} tokens, but the rate limiter never lets in more than {capacity} at once: \
                 lower max_tokens, shorten the prompt, or raise token_burst (and tokens_per_minute, if your tier allows it)"
            ),
            Self::TooLong { needed, max_wait } => write!(
                f,
                "the rate limiter would have let this call in after about {:.1} s, but max_wait is {:.1} s: \
                 raise max_wait, send less, or raise the limits if your tier allows it",
                needed.as_secs_f64(),
                max_wait.as_secs_f64()
            ),
            Self::NotNow { wait } if wait.is_zero() => f.write_str("the rate limiter is at max_concurrent calls"),
            Self::NotNow { wait } => write!(f, "the rate limiter has no room for another {:.3} s", wait.as_secs_f64()),
            Self::NoRuntime => f.write_str("a call that has to wait needs a running tokio runtime with a timer"),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let (kind, wait) = match refusal {
            Refusal::TooLarge { .. } => (ErrorKind::InvalidRequest, None),
            Refusal::TooLong { needed: wait, .. } | Refusal::NotNow { wait } => (ErrorKind::LimiterTimeout, Some(wait)),
            Refusal::NoRuntime => (ErrorKind::Internal, None),
        };
        // Not to be tried again by the same call: waiting was this layer's business, and it gave up.
        Self::new(kind, refusal.to_string()).with_retry_after(wait).with_retryable(false)
    }
}

/// What a limiter is doing now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimiterStatus {
    /// Calls let in and not yet over.
    pub running: usize,
    /// Calls waiting.
    pub waiting: usize,
    /// The tokens that they want.
    pub waiting_tokens: u64,
    /// Requests that could be let in now; `None` without a limit.
    pub requests_left: Option<u64>,
    /// Tokens that could be let in now; `None` without a limit.
    pub tokens_left: Option<u64>,
    /// How long nobody is let in because of a 429; zero if nothing is paused.
    pub paused_for: Duration,
}
