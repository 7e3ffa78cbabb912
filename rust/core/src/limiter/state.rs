//! The limiter's decisions, without lock, clock or timer.

use std::time::Duration;

use slab::Slab;

use super::{LimiterConfig, LimiterStatus, Refusal, meter::Meter};
use crate::{
    list::{Ends, Links},
    wire::RateLimits,
};

/// A call that was let in. It must come back through [`LimiterState::release`], [`LimiterState::settle`] or
/// [`LimiterState::refund`] of the state that it is from: its slot stays taken until then.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "its slot stays taken until it is given back"]
pub struct Reservation {
    call: u64,
    tokens: u64,
}

impl Reservation {
    /// The tokens reserved.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }
}

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WaiterId {
    slot: u32,
    serial: u64,
}

/// The answer to [`LimiterState::acquire`].
#[derive(Debug, PartialEq, Eq)]
pub enum Ticket {
    /// Let in.
    Granted(Reservation),
    /// Must wait; [`LimiterState::poll`] says when it is let in.
    Queued(WaiterId),
    /// Will not be let in.
    Refused(Refusal),
}

/// A waiter whose waiting is over.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome<W> {
    /// What was given to [`LimiterState::acquire`].
    pub waiter: W,
    /// Let in, or refused because of `max_wait`.
    pub result: Result<Reservation, Refusal>,
}

#[derive(Debug)]
struct Waiter<W> {
    serial: u64,
    tokens: u64,
    since: u64,
    waiter: W,
}

/// The state of a limiter whose waiters are known to the caller as `W`.
///
/// After anything that may make room ([`LimiterState::release`] and its like, [`LimiterState::cancel`],
/// [`LimiterState::learn`]) and at the time that the last [`LimiterState::poll`] gave, poll again. `now` is the time since
/// an origin of the caller's choice; a reading older than the last one counts as the last one.
#[derive(Debug)]
pub struct LimiterState<W> {
    config: LimiterConfig,
    requests: Meter,
    tokens: Meter,
    running: usize,
    /// Calls let in so far.
    calls: u64,
    waiters: Slab<Waiter<W>>,
    links: Links,
    queue: Ends,
    waiting_tokens: u64,
    serial: u64,
    paused_until: u64,
    now: u64,
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl<W> LimiterState<W> {
    /// With full buckets and nobody waiting.
    pub fn new(config: LimiterConfig) -> Self {
        Self {
            config,
            requests: Meter::new(config.requests_per_minute, config.request_capacity()),
            tokens: Meter::new(config.tokens_per_minute, config.token_capacity()),
            running: 0,
            calls: 0,
            waiters: Slab::new(),
            links: Links::default(),
            queue: Ends::default(),
            waiting_tokens: 0,
            serial: 0,
            paused_until: 0,
            now: 0,
        }
    }

    /// The configuration.
    pub fn config(&self) -> &LimiterConfig {
        &self.config
    }

    fn advance(&mut self, now: Duration) {
        self.now = self.now.max(nanos(now));
        self.requests.advance(self.now);
        self.tokens.advance(self.now);
    }

    fn slot_free(&self) -> bool {
        self.config.max_concurrent.is_none_or(|max| self.running < max.get() as usize)
    }

    /// How long until that many requests with that many tokens in all could be let in, slots aside. With `hopeful`: should
    /// the running calls give back all their tokens at once.
    fn wait(&self, requests: u64, tokens: u64, hopeful: bool) -> u64 {
        let paused = self.paused_until.saturating_sub(self.now);
        paused.max(self.requests.wait(requests, false)).max(self.tokens.wait(tokens, hopeful))
    }

    /// The same for somebody who joins the queue now.
    fn wait_at_end(&self, tokens: u64, hopeful: bool) -> u64 {
        let requests = self.waiters.len() as u64 + 1;
        self.wait(requests, self.waiting_tokens.saturating_add(tokens), hopeful)
    }

    fn admit(&mut self, tokens: u64) -> Reservation {
        self.running += 1;
        self.calls += 1;
        self.requests.take(self.calls, 1);
        self.tokens.take(self.calls, tokens);
        Reservation { call: self.calls, tokens }
    }

    /// Lets a call in if nobody waits, there is a slot, and both buckets have enough; takes nothing otherwise.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`] or [`Refusal::NotNow`].
    pub fn try_acquire(&mut self, now: Duration, tokens: u64) -> Result<Reservation, Refusal> {
        self.advance(now);
        if let Some(capacity) = self.config.token_capacity().map(|capacity| u64::from(capacity.get()))
            && tokens > capacity
        {
            return Err(Refusal::TooLarge { tokens, capacity });
        }
        if self.queue.is_empty() && self.slot_free() && self.wait(1, tokens, false) == 0 {
            return Ok(self.admit(tokens));
        }
        Err(Refusal::NotNow { wait: Duration::from_nanos(self.wait_at_end(tokens, false)) })
    }

    /// Lets a call in, or puts it at the end of the queue, or refuses it for good. `waiter` is asked only for a queued one.
    pub fn acquire(&mut self, now: Duration, tokens: u64, waiter: impl FnOnce() -> W) -> Ticket {
        let needed = match self.try_acquire(now, tokens) {
            Ok(reservation) => return Ticket::Granted(reservation),
            Err(Refusal::NotNow { wait }) => wait,
            Err(refusal) => return Ticket::Refused(refusal),
        };
        if let Some(max_wait) = self.config.max_wait
            && (max_wait.is_zero() || self.wait_at_end(tokens, true) > nanos(max_wait))
        {
            return Ticket::Refused(Refusal::TooLong { needed, max_wait });
        }
        self.serial += 1;
        let serial = self.serial;
        let waiter = Waiter { serial, tokens, since: self.now, waiter: waiter() };
        let slot = u32::try_from(self.waiters.insert(waiter)).unwrap_or(u32::MAX);
        self.links.push_back(&mut self.queue, slot);
        self.waiting_tokens = self.waiting_tokens.saturating_add(tokens);
        Ticket::Queued(WaiterId { slot, serial })
    }

    fn dequeue(&mut self, slot: u32) -> Option<Waiter<W>> {
        let waiter = self.waiters.try_remove(slot as usize)?;
        self.links.unlink(&mut self.queue, slot);
        self.waiting_tokens = self.waiting_tokens.saturating_sub(waiter.tokens);
        Some(waiter)
    }

    /// Takes a waiter out of the queue; `None` if it is no longer in it.
    pub fn cancel(&mut self, id: WaiterId) -> Option<W> {
        let waiter = self.waiters.get(id.slot as usize)?;
        if waiter.serial != id.serial {
            return None;
        }
        self.dequeue(id.slot).map(|waiter| waiter.waiter)
    }

    /// Ends the waiting of all whose turn has come or whose time is over, in order. Returns when to poll again at the latest;
    /// `None` if only another call's end can help.
    pub fn poll(&mut self, now: Duration, outcomes: &mut Vec<Outcome<W>>) -> Option<Duration> {
        self.advance(now);
        loop {
            let slot = self.queue.front()?;
            let (tokens, since) = self.waiters.get(slot as usize).map(|waiter| (waiter.tokens, waiter.since))?;
            let wait = self.wait(1, tokens, false);
            let turn = self.slot_free().then(|| self.now.saturating_add(wait));
            // All wait equally long at most, so nobody's time is over before the first one's.
            let deadline = self.config.max_wait.map(|max_wait| since.saturating_add(nanos(max_wait)));
            let result = if turn == Some(self.now) {
                Ok(self.admit(tokens))
            } else if let Some(max_wait) = self.config.max_wait
                && deadline.is_some_and(|deadline| deadline <= self.now)
            {
                let needed = Duration::from_nanos((self.now - since).saturating_add(wait));
                Err(Refusal::TooLong { needed, max_wait })
            } else {
                return [turn, deadline].into_iter().flatten().min().map(Duration::from_nanos);
            };
            match self.dequeue(slot) {
                Some(waiter) => outcomes.push(Outcome { waiter: waiter.waiter, result }),
                None => return None,
            }
        }
    }

    fn end(&mut self, call: Reservation, now: Duration, requests: u64, tokens: u64) {
        self.advance(now);
        self.running = self.running.saturating_sub(1);
        self.requests.end(call.call, 1, requests);
        self.tokens.end(call.call, call.tokens, tokens);
    }

    /// The call is over; it used what it had reserved, as far as anybody knows.
    pub fn release(&mut self, call: Reservation, now: Duration) {
        let tokens = call.tokens;
        self.end(call, now, 1, tokens);
    }

    /// The call is over and used `tokens`. What it had reserved beyond that is given back; what it used beyond its
    /// reservation is taken, if need be as a debt that later calls wait for.
    pub fn settle(&mut self, call: Reservation, tokens: u64, now: Duration) {
        self.end(call, now, 1, tokens);
    }

    /// The call was never sent: gives back everything.
    pub fn refund(&mut self, call: Reservation, now: Duration) {
        self.end(call, now, 0, 0);
    }

    /// Lets nobody in before `time`: what a 429 asks for, once for all. An earlier time than already set changes nothing.
    pub fn pause_until(&mut self, time: Duration) {
        self.paused_until = self.paused_until.max(nanos(time));
    }

    /// Takes in what an answer's headers say is left. The buckets go down to it, never above the configuration, and are
    /// back at it when the provider's reset has passed.
    pub fn learn(&mut self, limits: &RateLimits, now: Duration) {
        self.advance(now);
        let RateLimits {
            limit_requests,
            remaining_requests,
            reset_requests,
            limit_tokens,
            remaining_tokens,
            reset_tokens,
        } = *limits;
        self.requests.learn(self.now, limit_requests, remaining_requests, reset_requests.map(nanos));
        self.tokens.learn(self.now, limit_tokens, remaining_tokens, reset_tokens.map(nanos));
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiters.len()
    }

    /// What it is doing at `now`.
    pub fn status(&mut self, now: Duration) -> LimiterStatus {
        self.advance(now);
        LimiterStatus {
            running: self.running,
            waiting: self.waiters.len(),
            waiting_tokens: self.waiting_tokens,
            requests_left: self.requests.left(),
            tokens_left: self.tokens.left(),
            paused_for: Duration::from_nanos(self.paused_until.saturating_sub(self.now)),
        }
    }
}
