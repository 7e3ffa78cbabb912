//! Where a call goes, and what it passes on its way.
//!
//! A call passes the caches from the outside in; what none of them knows is asked of the provider, and each request that is
//! really sent (each try, each batch of an embedding call) passes the limiters first. So a hit takes nobody's allowance,
//! a call that waits for its next try holds no slot, and it makes no difference whether the cache was put around the
//! limiter or the limiter around the cache.

use std::{sync::Arc, time::Duration};

use super::{Completed, Endpoint, Meta, Sender, timeouts::Clock};
use crate::{
    error::{Error, ErrorKind},
    http::Pool,
    limiter::{Limiter, Permit},
    model::{ChatRequest, EmbedRequest, Embeddings, Response},
};

/// How long a 429 that names no time keeps everybody out.
const PAUSE: Duration = Duration::from_secs(1);

/// Where a call goes, and what it passes on its way. Cheap to clone: each call takes its own.
#[derive(Debug, Clone)]
pub struct Route {
    /// The provider.
    pub endpoint: Arc<Endpoint>,
    /// The connections of this process to use.
    pub pool: Arc<Pool>,
    /// Every request that is sent passes these, the outermost first.
    pub limiters: Arc<[Limiter]>,
}

/// A chat call.
///
/// # Errors
/// Any [`ErrorKind`](crate::ErrorKind); the error names the provider and tells how many requests were sent.
pub async fn chat(route: Route, request: ChatRequest) -> Result<Completed<Response>, Error> {
    super::unary::chat(&route, request).await
}

/// A streamed chat call: events go to `sender` as they come, and its end is the last thing it is told.
///
/// A failure before the first event was handed over is tried again; after it, never: the request would be billed twice
/// and the text would come twice.
pub async fn stream(route: Route, request: ChatRequest, sender: Sender) {
    let outcome = super::stream::stream(&route, request, &sender).await;
    sender.finish(outcome.map(Box::new).map_err(|error| error.with_provider(route.endpoint.wire.name())));
}

/// Embeds the texts of `request`, however many.
///
/// # Errors
/// Any [`ErrorKind`](crate::ErrorKind). When a batch fails for good the others are stopped, and the vectors that have come
/// already are in [`Error::embedded`].
pub async fn embed(route: Route, request: EmbedRequest) -> Result<Completed<Embeddings>, Error> {
    super::embed::embed(&route, request).await
}

impl Route {
    /// The tokens to reserve for a chat request: what the prompt comes to at four characters a token (OpenAI's rule of thumb
    /// for English), plus the longest answer asked for. 0 where nobody limits tokens.
    pub(super) fn estimate(&self, request: &ChatRequest) -> u64 {
        if self.limiters.is_empty() {
            return 0;
        }
        let prompt: usize = request.messages.iter().map(|message| message.size()).sum();
        rough_tokens(prompt) + request.options.max_tokens.map_or(0, u64::from)
    }

    /// As [`Route::estimate`], for texts to embed.
    pub(super) fn estimate_texts(&self, texts: &[String]) -> u64 {
        if self.limiters.is_empty() { 0 } else { rough_tokens(texts.iter().map(String::len).sum()) }
    }

    /// Waits until every limiter has let `tokens` in; the wait counts against the call's total time. Dropping the future
    /// gives back what was granted.
    pub(super) async fn enter(&self, tokens: u64, clock: &Clock) -> Result<Passage<'_>, Error> {
        let mut passage = Passage { limiters: &self.limiters, permits: Vec::with_capacity(self.limiters.len()) };
        for limiter in self.limiters.iter() {
            let entered = clock.within_total(limiter.acquire(tokens)).await;
            match entered.and_then(|granted| granted.map_err(Error::from)) {
                Ok(permit) => passage.permits.push(permit),
                Err(error) => {
                    passage.permits.drain(..).for_each(Permit::refund);
                    return Err(error);
                }
            }
        }
        Ok(passage)
    }
}

fn rough_tokens(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(4)
}

/// The permits of one try. Dropped before its end, it leaves what it had reserved taken: the request may have been sent and
/// counted.
#[derive(Debug)]
pub(super) struct Passage<'a> {
    limiters: &'a [Limiter],
    permits: Vec<Permit>,
}

impl Passage<'_> {
    /// The try is over: settles what it used, or what its error tells, and lets the limiters learn from the answer's headers.
    pub(super) fn end(self, tried: Result<(Option<u64>, &Meta), &Error>) {
        match tried {
            Ok((used, meta)) => {
                if let Some(limits) = &meta.rate_limits {
                    self.limiters.iter().for_each(|limiter| limiter.learn(limits));
                }
                for permit in self.permits {
                    let reserved = permit.tokens();
                    permit.settle(used.unwrap_or(reserved));
                }
            }
            Err(error) => {
                if error.kind() == ErrorKind::RateLimit {
                    let wait = error.retry_after().unwrap_or(PAUSE);
                    self.limiters.iter().for_each(|limiter| limiter.pause_for(wait));
                }
                match error.kind() {
                    // Nobody has counted it.
                    ErrorKind::Connect | ErrorKind::ConnectTimeout => self.permits.into_iter().for_each(Permit::refund),
                    // Counted as a request, but no tokens were made.
                    _ if error.status().is_some() => self.permits.into_iter().for_each(|permit| permit.settle(0)),
                    _ => drop(self.permits),
                }
            }
        }
    }
}
