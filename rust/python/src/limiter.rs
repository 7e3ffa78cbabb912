//! `RateLimiter` and its permits, for asyncio and for threads.
//!
//! A call that is let in at once costs no future, no other thread and no allocation but its permit. One that has to wait is
//! told through its loop's bridge.

use std::{future::Future, num::NonZeroU32, pin::Pin, time::SystemTime};

use edgequake_core::{
    Error, ErrorKind,
    limiter::{self, Entry, Grant, Limiter, LimiterConfig, PRESETS, Place, Refusal, Turn},
    runtime::generation,
    wire::RateLimits,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use pyo3::{
    Borrowed,
    exceptions::{PyRuntimeError, PyStopIteration},
    prelude::*,
    sync::PyOnceLock,
    types::{PyBool, PyMapping, PyTuple},
};

use crate::{
    bridge::{Waiter, forked, thrown, wait},
    errors::to_py,
    options::{closed, seconds, string},
};

fn refused(py: Python<'_>, refusal: Refusal) -> PyErr {
    to_py(py, &Error::from(refusal))
}

/// A number of tokens.
pub(crate) struct Tokens(pub(crate) u64);

impl<'a, 'py> FromPyObject<'a, 'py> for Tokens {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        match given.extract::<u64>() {
            Ok(tokens) if !given.is_instance_of::<PyBool>() => Ok(Self(tokens)),
            _ => {
                let message = format!("tokens must be a whole number of at least 0, not {}", given.repr()?);
                Err(to_py(given.py(), &Error::invalid(message)))
            }
        }
    }
}

fn limit(config: &Bound<'_, PyAny>, name: &str) -> PyResult<Option<NonZeroU32>> {
    let value = config.getattr(name)?;
    if value.is_none() {
        return Ok(None);
    }
    match value.extract::<NonZeroU32>() {
        Ok(limit) if !value.is_instance_of::<PyBool>() => Ok(Some(limit)),
        _ => {
            let message =
                format!("{name} must be a whole number from 1 to {}, or None for no limit, not {value}", u32::MAX);
            Err(to_py(config.py(), &Error::new(ErrorKind::Configuration, message)))
        }
    }
}

/// The limits of a `RateLimiterConfig`.
pub(crate) fn limits(config: &Bound<'_, PyAny>) -> PyResult<LimiterConfig> {
    Ok(LimiterConfig {
        max_concurrent: limit(config, "max_concurrent")?,
        requests_per_minute: limit(config, "requests_per_minute")?,
        request_burst: limit(config, "burst")?,
        tokens_per_minute: limit(config, "tokens_per_minute")?,
        token_burst: limit(config, "token_burst")?,
        max_wait: seconds("max_wait", &config.getattr("max_wait")?)?,
    })
}

/// The limits of a provider's tier: requests and tokens a minute, 0 for no limit. `None` if there is no such preset.
#[pyfunction]
pub(crate) fn rate_limit_preset(provider: &str, tier: &str) -> Option<(u32, u32)> {
    let number = |limit: Option<NonZeroU32>| limit.map_or(0, NonZeroU32::get);
    let config = limiter::preset(provider, tier)?;
    Some((number(config.requests_per_minute), number(config.tokens_per_minute)))
}

/// The names of all presets: provider and tier.
#[pyfunction]
pub(crate) fn rate_limit_presets() -> Vec<(&'static str, &'static str)> {
    PRESETS.iter().map(|preset| (preset.provider, preset.tier)).collect()
}

/// A limiter of calls: requests a minute, tokens a minute and calls at once, granted together or not at all, first come, first
/// served.
///
///     async with limiter.acquire(tokens=1200) as permit:
///         ...
///         permit.settle(730)
///
/// One limiter serves any number of event loops and threads at once. In a forked child it starts anew, with full buckets: each
/// process is limited on its own. Raises `ConfigurationError` for limits that are none.
#[pyclass(module = "edgequake_llm", frozen, weakref)]
pub(crate) struct RateLimiter {
    limiter: Limiter,
    config: Py<PyAny>,
}

impl RateLimiter {
    /// The limiter itself, for what runs in the core.
    pub(crate) fn core(&self) -> &Limiter {
        &self.limiter
    }
}

#[pymethods]
impl RateLimiter {
    #[new]
    fn new(config: Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self { limiter: Limiter::new(limits(&config)?), config: config.unbind() })
    }

    /// A place for one call that will use `tokens` tokens: `async with limiter.acquire(tokens=...) as permit`.
    ///
    /// It is let in when its turn has come, there is a slot, and both buckets have enough. `await limiter.acquire(...)` gives
    /// the permit too, which then ends with its `release()`. Raises `InvalidRequestError` at once if `tokens` is more than
    /// the bucket ever holds, `RateLimitTimeout` if the wait would be or was longer than `max_wait`. Cancelling gives
    /// everything back.
    #[pyo3(signature = (tokens=Tokens(0)), text_signature = "($self, tokens=0)")]
    fn acquire(&self, tokens: Tokens) -> Permit {
        Permit { limiter: self.limiter.clone(), tokens: tokens.0, state: State::New }
    }

    /// The permit if the call can be let in at once, otherwise `None`; nothing is taken then.
    ///
    /// Raises `InvalidRequestError` if `tokens` is more than the bucket ever holds.
    #[pyo3(signature = (tokens=Tokens(0)), text_signature = "($self, tokens=0)")]
    fn try_acquire(&self, py: Python<'_>, tokens: Tokens) -> PyResult<Option<Permit>> {
        let Tokens(tokens) = tokens;
        match self.limiter.try_acquire(tokens) {
            Ok(permit) => Ok(Some(Permit { limiter: self.limiter.clone(), tokens, state: State::Held(permit) })),
            Err(Refusal::NotNow { .. }) => Ok(None),
            Err(refusal) => Err(refused(py, refusal)),
        }
    }

    /// The same for code without an event loop: `with limiter.sync.acquire(tokens=...) as permit`.
    #[getter]
    fn sync(slf: Py<Self>) -> SyncRateLimiter {
        SyncRateLimiter { limiter: slf }
    }

    /// Lets nobody in for so many seconds (or a `timedelta`), as after a 429. A shorter time than is already set changes
    /// nothing.
    fn pause(&self, duration: &Bound<'_, PyAny>) -> PyResult<()> {
        let Some(time) = seconds("duration", duration)? else {
            return Err(to_py(duration.py(), &Error::invalid("duration must be a number of seconds")));
        };
        self.limiter.pause_for(time);
        Ok(())
    }

    /// Takes in what an answer's headers say is left (`x-ratelimit-*`, `anthropic-ratelimit-*`): the buckets go down to it,
    /// never above the configuration, and are back when the provider's reset has passed.
    fn learn(&self, headers: &Bound<'_, PyMapping>) -> PyResult<()> {
        let mut map = HeaderMap::new();
        for pair in headers.items()?.iter() {
            let pair = pair.cast_into::<PyTuple>()?;
            let (name, value) = (string("a header's name", &pair.get_item(0)?)?, pair.get_item(1)?);
            // A header that is none, or no text, says nothing about limits.
            if let Ok(value) = string("a header's value", &value)
                && let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value))
            {
                map.insert(name, value);
            }
        }
        if let Some(limits) = RateLimits::from_headers(&map, SystemTime::now()) {
            self.limiter.learn(&limits);
        }
        Ok(())
    }

    /// What it is doing now.
    #[getter]
    fn status(&self) -> RateLimiterStatus {
        let status = self.limiter.status();
        RateLimiterStatus {
            running: status.running,
            waiting: status.waiting,
            waiting_tokens: status.waiting_tokens,
            requests_left: status.requests_left,
            tokens_left: status.tokens_left,
            paused_for: status.paused_for.as_secs_f64(),
        }
    }

    /// The `RateLimiterConfig` that it was made from.
    #[getter]
    fn config(&self, py: Python<'_>) -> Py<PyAny> {
        self.config.clone_ref(py)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let status = self.limiter.status();
        let config = self.config.bind(py).repr()?;
        Ok(format!("<RateLimiter running={} waiting={} {config}>", status.running, status.waiting))
    }
}

/// What a limiter is doing at a moment.
#[pyclass(module = "edgequake_llm", frozen, get_all)]
pub(crate) struct RateLimiterStatus {
    /// Calls let in and not over.
    running: usize,
    /// Calls in the queue.
    waiting: usize,
    /// The tokens that they want.
    waiting_tokens: u64,
    /// Requests that could be let in now; `None` without a limit.
    requests_left: Option<u64>,
    /// Tokens that could be let in now; `None` without a limit.
    tokens_left: Option<u64>,
    /// Seconds for which nobody is let in, after a 429.
    paused_for: f64,
}

#[pymethods]
impl RateLimiterStatus {
    fn __repr__(&self) -> String {
        let number = |left: Option<u64>| left.map_or_else(|| "None".to_owned(), |left| left.to_string());
        format!(
            "RateLimiterStatus(running={}, waiting={}, waiting_tokens={}, requests_left={}, tokens_left={}, paused_for={:.3})",
            self.running,
            self.waiting,
            self.waiting_tokens,
            number(self.requests_left),
            number(self.tokens_left),
            self.paused_for
        )
    }
}

/// Where a permit stands.
enum State {
    New,
    Waiting(Box<(Turn, Waiter)>),
    Held(limiter::Permit),
    Over,
}

type Told = Result<Grant, Refusal>;

/// One call's place: to be entered with `async with` (or awaited), and then the right to make the call.
///
/// It ends with `settle(tokens)`, `refund()` or `release()`, at the end of `async with`, or when it is dropped; all but the
/// first two take what was reserved for used, because the call may have been made.
#[pyclass(module = "edgequake_llm", freelist = 64)]
pub(crate) struct Permit {
    limiter: Limiter,
    tokens: u64,
    state: State,
}

impl Permit {
    fn held(&mut self, py: Python<'_>) -> PyResult<limiter::Permit> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Held(permit) => Ok(permit),
            State::Over => Err(closed(py, "this permit is over already")),
            before => {
                self.state = before;
                Err(closed(py, "this permit was not entered yet: use it with async with, or await it"))
            }
        }
    }

    /// Whether it was let in without waiting. Refusals are left for the await to find.
    fn admitted(&mut self) -> bool {
        if matches!(self.state, State::New)
            && let Ok(permit) = self.limiter.try_acquire(self.tokens)
        {
            self.state = State::Held(permit);
            return true;
        }
        false
    }

    /// Tries to be let in; `None` is done, otherwise a future to wait on.
    fn enter<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match &mut self.state {
            State::New => match self.limiter.try_acquire(self.tokens) {
                Ok(permit) => {
                    self.state = State::Held(permit);
                    Ok(None)
                }
                Err(Refusal::NotNow { .. }) => self.queue(py),
                Err(refusal) => {
                    self.state = State::Over;
                    Err(refused(py, refusal))
                }
            },
            State::Waiting(place) => {
                let (turn, waiter) = &mut **place;
                if turn.is_inherited() {
                    self.state = State::Over;
                    return Err(forked(py));
                }
                match waiter.take::<Told>() {
                    None => waiter.pause(py).map(Some),
                    Some(Ok(grant)) => {
                        self.state = State::Held(grant.accept());
                        Ok(None)
                    }
                    Some(Err(refusal)) => {
                        self.state = State::Over;
                        Err(refused(py, refusal))
                    }
                }
            }
            State::Held(_) | State::Over => {
                Err(PyRuntimeError::new_err("this permit was used already; call acquire() for each call"))
            }
        }
    }

    fn queue<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.state = State::Over;
        let mut waiter = Waiter::new(py)?;
        let delivery = waiter.delivery::<Told>();
        let runtime = generation().map_err(|error| to_py(py, &error))?;
        let entered = runtime.within(|| self.limiter.enter_with(self.tokens, move |told| delivery.deliver(told)));
        match entered.map_err(|refusal| refused(py, refusal))? {
            Place::Admitted(permit) => {
                self.state = State::Held(permit);
                Ok(None)
            }
            Place::Queued(turn) => {
                let pause = waiter.pause(py)?;
                self.state = State::Waiting(Box::new((turn, waiter)));
                Ok(Some(pause))
            }
        }
    }

    /// Ends the call, or the waiting.
    fn leave(&mut self) {
        self.state = State::Over;
    }
}

#[pymethods]
impl Permit {
    fn __await__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, PyAny>> {
        let (py, admitted) = (slf.py(), slf.borrow_mut().admitted());
        if admitted { Fast::get(py)?.awaited.bind(py).call1((slf,)) } else { Ok(slf.into_any()) }
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let entered = slf.borrow_mut().enter(slf.py())?;
        match entered {
            Some(future) => Ok(future),
            None => Err(PyStopIteration::new_err(slf.unbind())),
        }
    }

    /// Python throws `CancelledError` in here: the place is given up before it goes on.
    #[pyo3(signature = (error, value=None, traceback=None))]
    fn throw(
        &mut self,
        py: Python<'_>,
        error: Bound<'_, PyAny>,
        value: Option<Bound<'_, PyAny>>,
        traceback: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'_, PyAny>> {
        let _ = traceback;
        self.leave();
        Err(thrown(py, error, value))
    }

    /// Python calls this when the coroutine that waits is closed: the place is given up.
    fn close(&mut self) {
        if matches!(self.state, State::Waiting(_)) {
            self.leave();
        }
    }

    fn __aenter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, PyAny>> {
        let (py, admitted) = (slf.py(), slf.borrow_mut().admitted());
        if admitted { Fast::get(py)?.entered.bind(py).call1((slf,)) } else { Ok(slf.into_any()) }
    }

    #[pyo3(signature = (exc_type, exc_value, traceback, /))]
    fn __aexit__(
        &mut self,
        py: Python<'_>,
        exc_type: &Bound<'_, PyAny>,
        exc_value: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        let _ = (exc_type, exc_value, traceback);
        self.leave();
        Ok(Fast::get(py)?.left.clone_ref(py))
    }

    /// The call is over and used `tokens`: what it had reserved beyond is given back; what it used beyond is taken, if need be as
    /// a debt that later calls wait for. Raises `ClosedError` if it is over already.
    fn settle(&mut self, py: Python<'_>, tokens: Tokens) -> PyResult<()> {
        self.held(py)?.settle(tokens.0);
        Ok(())
    }

    /// The call was never made: gives back everything. Raises `ClosedError` if it is over already.
    fn refund(&mut self, py: Python<'_>) -> PyResult<()> {
        self.held(py)?.refund();
        Ok(())
    }

    /// The call is over; it used what it had reserved, as far as anybody knows. Does nothing if it is over already.
    fn release(&mut self) {
        self.leave();
    }

    /// The tokens reserved.
    #[getter]
    fn tokens(&self) -> u64 {
        self.tokens
    }

    fn __repr__(&self) -> String {
        let state = match self.state {
            State::New => "new",
            State::Waiting(_) => "waiting",
            State::Held(_) => "held",
            State::Over => "over",
        };
        format!("<Permit {state} tokens={}>", self.tokens)
    }
}

/// What is awaited where there is nothing to wait for, made in Python: its own generators and coroutines hand over their value
/// faster than an awaitable of ours, which can do so only by raising `StopIteration`.
struct Fast {
    /// A function that gives what `__aenter__` returns, and one for `__await__`.
    entered: Py<PyAny>,
    awaited: Py<PyAny>,
    /// What leaving a permit gives to await: it is done already, so one serves for all.
    left: Py<PyAny>,
}

impl Fast {
    fn get(py: Python<'_>) -> PyResult<&'static Self> {
        static FAST: PyOnceLock<Fast> = PyOnceLock::new();
        FAST.get_or_try_init(py, || {
            let module = py.import("edgequake_llm._ready")?;
            let of = |name| module.getattr(name).map(Bound::unbind);
            Ok(Self { entered: of("entered")?, awaited: of("awaited")?, left: of("LEFT")? })
        })
    }
}

/// A `RateLimiter` for code without an event loop; `limiter.sync`.
#[pyclass(module = "edgequake_llm", frozen)]
pub(crate) struct SyncRateLimiter {
    limiter: Py<RateLimiter>,
}

#[pymethods]
impl SyncRateLimiter {
    /// As `RateLimiter.acquire`, for `with`: waits in this thread, with the interpreter's lock released.
    #[pyo3(signature = (tokens=Tokens(0)), text_signature = "($self, tokens=0)")]
    fn acquire(&self, tokens: Tokens) -> SyncPermit {
        SyncPermit { permit: self.limiter.get().acquire(tokens) }
    }
}

/// One call's place for code without an event loop: `with limiter.sync.acquire(tokens=...) as permit`. Else as `Permit`.
#[pyclass(module = "edgequake_llm", weakref)]
pub(crate) struct SyncPermit {
    permit: Permit,
}

#[pymethods]
impl SyncPermit {
    fn __enter__<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        let py = slf.py();
        let (limiter, tokens) = {
            let mut this = slf.borrow_mut();
            match std::mem::replace(&mut this.permit.state, State::Over) {
                State::New => (this.permit.limiter.clone(), this.permit.tokens),
                before => {
                    this.permit.state = before;
                    return Err(PyRuntimeError::new_err("this permit was used already; call acquire() for each call"));
                }
            }
        };
        let permit = match limiter.try_acquire(tokens) {
            Err(Refusal::NotNow { .. }) => {
                let runtime = generation().map_err(|error| to_py(py, &error))?;
                match runtime.within(|| limiter.enter(tokens)) {
                    // While it waits another thread may look at the permit, so it is not borrowed.
                    Ok(Entry::Waiting(mut waiting)) => wait(py, |cx| Pin::new(&mut waiting).poll(cx))?,
                    Ok(Entry::Admitted(permit)) => Ok(permit),
                    Err(refusal) => Err(refusal),
                }
            }
            other => other,
        };
        slf.borrow_mut().permit.state = State::Held(permit.map_err(|refusal| refused(py, refusal))?);
        Ok(slf)
    }

    #[pyo3(signature = (exc_type, exc_value, traceback, /))]
    fn __exit__(&mut self, exc_type: &Bound<'_, PyAny>, exc_value: &Bound<'_, PyAny>, traceback: &Bound<'_, PyAny>) {
        let _ = (exc_type, exc_value, traceback);
        self.permit.leave();
    }

    /// As `Permit.settle`.
    fn settle(&mut self, py: Python<'_>, tokens: Tokens) -> PyResult<()> {
        self.permit.settle(py, tokens)
    }

    /// As `Permit.refund`.
    fn refund(&mut self, py: Python<'_>) -> PyResult<()> {
        self.permit.refund(py)
    }

    /// As `Permit.release`.
    fn release(&mut self) {
        self.permit.leave();
    }

    /// The tokens reserved.
    #[getter]
    fn tokens(&self) -> u64 {
        self.permit.tokens
    }

    fn __repr__(&self) -> String {
        self.permit.__repr__().replace("<Permit", "<SyncPermit")
    }
}
