//! A try's way through the limiters: waiting to be let in, what it reserves, what it gives back however it ends, and what the
//! answer's headers teach.

use std::{
    mem,
    time::{Duration, SystemTime},
};

use http::HeaderMap;

use super::{
    Failed, RetryPolicy, Route,
    counting::{self, Counting},
    estimate::Estimate,
    queue::Sink,
    timeouts::Clock,
};
use crate::{
    error::{Error, ErrorKind},
    limiter::{Limiter, Permit},
    model::ChatRequest,
    wire::RateLimits,
};

/// How long a 429 that names no time keeps everybody out.
const PAUSE: Duration = Duration::from_secs(1);

impl Route {
    /// What the smallest bucket of tokens holds, where tokens are limited.
    fn capacity(&self) -> Option<u64> {
        let capacities = self.limiters.iter().filter_map(|limiter| limiter.config().token_capacity());
        capacities.min().map(|capacity| u64::from(capacity.get()))
    }

    /// The tokens to reserve for a chat request: the prompt's counted, where tokens are limited and the model's tokenizer is
    /// known, else estimated. Nothing where nobody limits.
    pub(super) fn estimate(&self, request: &ChatRequest) -> Counting {
        if self.limiters.is_empty() {
            return Counting::Done(Estimate::default());
        }
        let capacity = self.capacity();
        let estimate = Estimate::chat(request, capacity);
        match capacity.and_then(|_| counting::tokenizer(&request.model)) {
            Some(tokenizer) => counting::chat(tokenizer, request, estimate),
            None => Counting::Done(estimate),
        }
    }

    /// As [`Route::estimate`], for texts to embed.
    pub(super) fn estimate_texts(&self, model: &str, texts: &[String]) -> Counting {
        if self.limiters.is_empty() {
            return Counting::Done(Estimate::default());
        }
        let estimate = Estimate::texts(texts);
        match self.capacity().and_then(|_| counting::tokenizer(model)) {
            Some(tokenizer) => counting::texts(tokenizer, texts, estimate),
            None => Counting::Done(estimate),
        }
    }

    /// Waits until every limiter has let the try in; the wait counts against the call's total time. Dropping the future
    /// gives back what was granted. `sink` is where the try's answer goes if it comes in pieces.
    pub(super) async fn enter<'a>(
        &'a self,
        estimate: Estimate,
        clock: &Clock,
        sink: Option<&'a dyn Sink>,
    ) -> Result<Passage<'a>, Error> {
        let permits = Vec::with_capacity(self.limiters.len());
        let mut passage = Passage { limiters: &self.limiters, permits, prompt: estimate.prompt, sink, sent: false };
        for limiter in self.limiters.iter() {
            let entered = Box::pin(clock.within_total(limiter.acquire(estimate.total()))).await?;
            passage.permits.push(entered?);
        }
        Ok(passage)
    }
}

/// The permits of one try. Dropped before its end, because the call was cancelled, it gives back everything if nothing was sent,
/// and else all but the prompt and the answer so far: the provider has counted those.
#[derive(Debug)]
pub(super) struct Passage<'a> {
    limiters: &'a [Limiter],
    permits: Vec<Permit>,
    prompt: u64,
    sink: Option<&'a dyn Sink>,
    sent: bool,
}

impl Passage<'_> {
    /// The request goes out now.
    pub(super) fn send(&mut self) {
        self.sent = true;
    }

    /// An answer's headers have come, whatever its status.
    pub(super) fn hear(&self, headers: &HeaderMap) {
        if !self.limiters.is_empty()
            && let Some(limits) = RateLimits::from_headers(headers, SystemTime::now())
        {
            self.limiters.iter().for_each(|limiter| limiter.learn(&limits));
        }
    }

    /// The answer is whole and took `used` tokens, where the provider tells.
    pub(super) fn done(mut self, used: Option<u64>) {
        let made = self.made();
        for permit in mem::take(&mut self.permits) {
            let used = used.unwrap_or_else(|| if made > 0 { self.prompt + made } else { permit.tokens() });
            permit.settle(used);
        }
    }

    /// The try failed. Comes back if the provider has never seen it, for the next try.
    pub(super) fn failed(mut self, failed: &Failed, policy: &RetryPolicy) -> Option<Self> {
        let error = &failed.error;
        if failed.stale {
            self.sent = false;
            return Some(self);
        }
        let asked = error.retry_after();
        let pause = match error.kind() {
            ErrorKind::RateLimit => Some(asked.unwrap_or(PAUSE)),
            ErrorKind::Overloaded => asked,
            _ => None,
        };
        if let Some(pause) = pause {
            // All wait this once, instead of each finding out for itself; but no longer than a call would wait for its retry,
            // so that whoever comes next hears of an hour's wait as an error.
            let pause = pause.min(policy.max_retry_after);
            self.limiters.iter().for_each(|limiter| limiter.pause_for(pause));
        }
        if self.sent && self.made() == 0 && error.status().is_some_and(|status| status >= 400) {
            // Refused: counted as a request, but no tokens were used.
            mem::take(&mut self.permits).into_iter().for_each(|permit| permit.settle(0));
        } else if let Some(usage) = error.partial().and_then(|partial| partial.usage) {
            let used = usage.prompt_tokens() + usage.completion_tokens().max(self.made());
            mem::take(&mut self.permits).into_iter().for_each(|permit| permit.settle(used));
        }
        None
    }

    /// The tokens of the answer so far, one for each piece.
    fn made(&self) -> u64 {
        self.sink.map_or(0, |sink| sink.metrics().output_tokens())
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        if self.permits.is_empty() {
            return;
        }
        let used = self.prompt + self.made();
        for permit in mem::take(&mut self.permits) {
            if self.sent { permit.settle(used) } else { permit.refund() }
        }
    }
}
