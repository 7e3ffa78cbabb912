//! `LimiterState`: the limiter's decisions with the time as a parameter, for tests with a clock of their own.

use std::{collections::HashMap, time::Duration};

use edgequake_core::{
    Error,
    limiter::{LimiterConfig, LimiterState as Core, Outcome, Refusal, Reservation, Ticket, WaiterId},
    wire::RateLimits,
};
use pyo3::{exceptions::PyKeyError, prelude::*};

use crate::{
    errors::to_py,
    limiter::{Tokens, limits},
};

/// The pure part of `RateLimiter`: it decides and does nothing else. Every call takes the time, in nanoseconds since an
/// origin of the caller's choice, and numbers the calls from 1 on; nothing waits.
///
/// `acquire` returns `"granted"`, `"queued"`, or what refused it: `"too_large"`, `"too_long"`. After anything that may make room,
/// and at the time that the last `poll` gave, poll again: it returns whose waiting is over, in order, as pairs of number
/// and whether it was let in, and when to come back at the latest, `None` if only another call's end can help.
#[pyclass(module = "edgequake_llm._core")]
pub(crate) struct LimiterState {
    state: Core<u64>,
    calls: u64,
    running: HashMap<u64, Reservation>,
    waiting: HashMap<u64, WaiterId>,
}

fn at(now: u64) -> Duration {
    Duration::from_nanos(now)
}

impl LimiterState {
    fn end(&mut self, call: u64) -> PyResult<Reservation> {
        self.running.remove(&call).ok_or_else(|| PyKeyError::new_err(call))
    }
}

#[pymethods]
impl LimiterState {
    #[new]
    fn new(config: &Bound<'_, PyAny>) -> PyResult<Self> {
        let limits: LimiterConfig = limits(config)?;
        Ok(Self { state: Core::new(limits), calls: 0, running: HashMap::new(), waiting: HashMap::new() })
    }

    /// A call with this many tokens comes; returns its number and what becomes of it.
    fn acquire(&mut self, now: u64, tokens: Tokens) -> PyResult<(u64, &'static str)> {
        self.calls += 1;
        let call = self.calls;
        let answer = match self.state.acquire(at(now), tokens.0, || call) {
            Ticket::Granted(reservation) => {
                self.running.insert(call, reservation);
                "granted"
            }
            Ticket::Queued(id) => {
                self.waiting.insert(call, id);
                "queued"
            }
            Ticket::Refused(Refusal::TooLarge { .. }) => "too_large",
            Ticket::Refused(_) => "too_long",
        };
        Ok((call, answer))
    }

    /// Ends the waiting of all whose turn has come or whose time is over.
    fn poll(&mut self, now: u64) -> (Vec<(u64, bool)>, Option<u64>) {
        let mut outcomes = Vec::new();
        let next = self.state.poll(at(now), &mut outcomes);
        let over = outcomes.into_iter().map(|Outcome { waiter: call, result }| {
            self.waiting.remove(&call);
            match result {
                Ok(reservation) => {
                    self.running.insert(call, reservation);
                    (call, true)
                }
                Err(_) => (call, false),
            }
        });
        (over.collect(), next.map(|next| u64::try_from(next.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// A call leaves the queue. `False` if it was not in it.
    fn cancel(&mut self, call: u64) -> bool {
        self.waiting.remove(&call).is_some_and(|id| self.state.cancel(id).is_some())
    }

    /// A call ends, having used what it had reserved. Raises `KeyError` if it does not run.
    fn release(&mut self, now: u64, call: u64) -> PyResult<()> {
        let reservation = self.end(call)?;
        self.state.release(reservation, at(now));
        Ok(())
    }

    /// A call ends, having used this many tokens. Raises `KeyError` if it does not run.
    fn settle(&mut self, now: u64, call: u64, tokens: Tokens) -> PyResult<()> {
        let reservation = self.end(call)?;
        self.state.settle(reservation, tokens.0, at(now));
        Ok(())
    }

    /// A call was never made. Raises `KeyError` if it does not run.
    fn refund(&mut self, now: u64, call: u64) -> PyResult<()> {
        let reservation = self.end(call)?;
        self.state.refund(reservation, at(now));
        Ok(())
    }

    /// Nobody is let in before `until`.
    fn pause_until(&mut self, until: u64) {
        self.state.pause_until(at(until));
    }

    /// An answer says what is left of the provider's allowances; resets are in nanoseconds.
    #[pyo3(signature = (now, *, limit_requests=None, remaining_requests=None, reset_requests=None, limit_tokens=None,
                        remaining_tokens=None, reset_tokens=None))]
    fn learn(
        &mut self,
        py: Python<'_>,
        now: u64,
        limit_requests: Option<u64>,
        remaining_requests: Option<u64>,
        reset_requests: Option<u64>,
        limit_tokens: Option<u64>,
        remaining_tokens: Option<u64>,
        reset_tokens: Option<u64>,
    ) -> PyResult<()> {
        if remaining_requests.or(remaining_tokens).is_none() {
            return Err(to_py(py, &Error::invalid("learn needs remaining_requests or remaining_tokens")));
        }
        let limits = RateLimits {
            limit_requests,
            remaining_requests,
            reset_requests: reset_requests.map(at),
            limit_tokens,
            remaining_tokens,
            reset_tokens: reset_tokens.map(at),
        };
        self.state.learn(&limits, at(now));
        Ok(())
    }
}
