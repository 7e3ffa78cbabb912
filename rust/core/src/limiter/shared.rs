//! The limiter that threads and tasks share: the state behind a lock, a clock, one timer for all who wait.
//!
//! Waiters are told through callbacks, in the order in which they are let in, never under the lock, on whichever thread made
//! room or, where time made it, on the runtime's. The timer is one tokio task, started when somebody first has to wait and gone
//! when nobody does.

use std::{
    fmt, mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot},
    time::{Instant, sleep_until},
};

use super::{LimiterConfig, LimiterState, LimiterStatus, Outcome, Refusal, Reservation, Ticket, WaiterId};
use crate::wire::RateLimits;

type Callback = Box<dyn FnOnce(Result<Grant, Refusal>) + Send>;

/// The state, with a callback for each waiter; an option only so that it is never dropped under the lock.
type State = LimiterState<Option<Callback>>;

struct Inner {
    state: State,
    outcomes: Vec<Outcome<Option<Callback>>>,
    /// Whether a thread is handing out outcomes. Only one does, so that they stay in order and callbacks that call back in
    /// do not nest.
    delivering: bool,
    /// The process and number of the timer's task, while there is one. A forked child has the value but not the task.
    timer: Option<(u32, u64)>,
    timers: u64,
    /// What the timer sleeps for.
    wake_at: Option<Duration>,
}

struct Shared {
    origin: Instant,
    inner: Mutex<Inner>,
    /// Tells the timer that there is an earlier time to wake at.
    earlier: Arc<Notify>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.earlier.notify_one();
    }
}

impl Shared {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics half-way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets in whoever can be after a change.
    fn turn<'a>(self: &'a Arc<Self>, mut inner: MutexGuard<'a, Inner>) {
        if inner.state.waiting() > 0 {
            let Inner { state, outcomes, .. } = &mut *inner;
            let next = state.poll(self.now(), outcomes);
            if let Some(at) = next
                && inner.wake_at.is_none_or(|wake_at| at < wake_at)
            {
                inner.wake_at = next;
                self.earlier.notify_one();
            }
        }
        self.deliver(inner);
    }

    fn deliver<'a>(self: &'a Arc<Self>, mut inner: MutexGuard<'a, Inner>) {
        if inner.delivering {
            return;
        }
        while !inner.outcomes.is_empty() {
            inner.delivering = true;
            let outcomes = mem::take(&mut inner.outcomes);
            drop(inner);
            for Outcome { waiter, result } in outcomes {
                let result = result.map(|reservation| Grant(self.permit(reservation, false)));
                if let Some(callback) = waiter {
                    callback(result);
                }
            }
            inner = self.lock();
        }
        inner.delivering = false;
    }

    fn permit(self: &Arc<Self>, reservation: Reservation, claimed: bool) -> Permit {
        Permit { shared: self.clone(), reservation: Some(reservation), claimed }
    }

    /// Ends a call and lets in who comes next.
    fn end(self: &Arc<Self>, end: impl FnOnce(&mut State, Duration)) {
        let mut inner = self.lock();
        end(&mut inner.state, self.now());
        self.turn(inner);
    }

    /// Starts the timer's task if there is none. `false` without a runtime to start it on.
    fn start_timer(self: &Arc<Self>) -> bool {
        let process = std::process::id();
        let mut inner = self.lock();
        if inner.timer.is_some_and(|(of, _)| of == process) {
            return true;
        }
        let Ok(runtime) = Handle::try_current() else { return false };
        inner.timers += 1;
        let number = inner.timers;
        inner.timer = Some((process, number));
        drop(inner);
        let alive = Alive { shared: Arc::downgrade(self), number };
        let earlier = self.earlier.clone();
        runtime.spawn(async move {
            while let Some(wake_at) = alive.run() {
                tokio::select! {
                    () = async { match wake_at {
                        Some(at) => sleep_until(at).await,
                        None => std::future::pending().await,
                    } } => {}
                    () = earlier.notified() => {}
                }
            }
        });
        true
    }
}

/// The timer's task. When its runtime is shut down it is dropped, and the next one who has to wait starts another.
struct Alive {
    shared: Weak<Shared>,
    number: u64,
}

impl Alive {
    /// Lets in whose time has come. `None` if nobody waits any more, otherwise when to come back, if time can help at all.
    fn run(&self) -> Option<Option<Instant>> {
        let shared = self.shared.upgrade()?;
        let mut inner = shared.lock();
        let Inner { state, outcomes, .. } = &mut *inner;
        let next = state.poll(shared.now(), outcomes);
        inner.wake_at = next;
        let idle = inner.state.waiting() == 0;
        if idle {
            inner.timer = None;
        }
        shared.deliver(inner);
        // A time beyond the clock's range is as good as never.
        (!idle).then(|| next.and_then(|at| shared.origin.checked_add(at)))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            let mut inner = shared.lock();
            if inner.timer.is_some_and(|(_, number)| number == self.number) {
                inner.timer = None;
            }
        }
    }
}

/// The answer to [`Limiter::enter_with`].
#[derive(Debug)]
pub enum Place {
    /// Let in.
    Admitted(Permit),
    /// In the queue; the callback will be called, unless [`Limiter::cancel`] comes before.
    Queued(WaiterId),
}

/// A limiter shared by threads and tasks. Clones are the same limiter.
#[derive(Clone)]
pub struct Limiter {
    shared: Arc<Shared>,
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Limiter").field(&self.status()).finish()
    }
}

/// The answer to [`Limiter::enter`].
#[derive(Debug)]
pub enum Entry {
    /// Let in.
    Admitted(Permit),
    /// In the queue; await it.
    Waiting(Waiting),
}

impl Limiter {
    /// A limiter with full buckets.
    pub fn new(config: LimiterConfig) -> Self {
        let inner = Inner {
            state: LimiterState::new(config),
            outcomes: Vec::new(),
            delivering: false,
            timer: None,
            timers: 0,
            wake_at: None,
        };
        let shared = Shared { origin: Instant::now(), inner: Mutex::new(inner), earlier: Arc::default() };
        Self { shared: Arc::new(shared) }
    }

    /// The configuration.
    pub fn config(&self) -> LimiterConfig {
        *self.shared.lock().state.config()
    }

    /// What it is doing now.
    pub fn status(&self) -> LimiterStatus {
        self.shared.lock().state.status(self.shared.now())
    }

    /// Lets a call in at once or not at all; takes nothing if not. It does not pass those who wait.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`] or [`Refusal::NotNow`].
    pub fn try_acquire(&self, tokens: u64) -> Result<Permit, Refusal> {
        let reservation = self.shared.lock().state.try_acquire(self.shared.now(), tokens)?;
        Ok(self.shared.permit(reservation, true))
    }

    /// Waits until the call is let in. Dropping the future leaves the queue, or gives back what it was granted meanwhile.
    ///
    /// # Errors
    /// Any [`Refusal`] but [`Refusal::NotNow`].
    pub async fn acquire(&self, tokens: u64) -> Result<Permit, Refusal> {
        match self.enter(tokens)? {
            Entry::Admitted(permit) => Ok(permit),
            Entry::Waiting(waiting) => waiting.await,
        }
    }

    /// [`Limiter::acquire`] in two steps: the place in the queue is taken now, in the order of the calls, and awaited later.
    ///
    /// # Errors
    /// As [`Limiter::acquire`].
    pub fn enter(&self, tokens: u64) -> Result<Entry, Refusal> {
        let (tell, told) = oneshot::channel();
        // If nobody listens any more, the grant comes back and is dropped, which refunds it.
        let callback = move |result| drop(tell.send(result));
        Ok(match self.enter_with(tokens, callback)? {
            Place::Admitted(permit) => Entry::Admitted(permit),
            Place::Queued(id) => Entry::Waiting(Waiting { limiter: self.clone(), id, told }),
        })
    }

    /// [`Limiter::enter`] for those who are not Rust futures: `callback` is called once the waiting is over, if there is any.
    ///
    /// The callback runs on the thread that made room or on the runtime's, without a lock; it must be quick and must not
    /// panic. A [`Grant`] that it drops is given back. It is dropped uncalled if the limiter and all its permits are dropped.
    ///
    /// # Errors
    /// As [`Limiter::acquire`]. The callback is then not called.
    pub fn enter_with(
        &self,
        tokens: u64,
        callback: impl FnOnce(Result<Grant, Refusal>) + Send + 'static,
    ) -> Result<Place, Refusal> {
        let shared = &self.shared;
        let mut callback = Some(callback);
        let mut inner = shared.lock();
        match inner
            .state
            .acquire(shared.now(), tokens, || callback.take().map(|callback| Box::new(callback) as Callback))
        {
            Ticket::Granted(reservation) => {
                drop(inner);
                Ok(Place::Admitted(shared.permit(reservation, true)))
            }
            Ticket::Refused(refusal) => {
                drop(inner);
                Err(refusal)
            }
            Ticket::Queued(id) => {
                shared.turn(inner);
                if shared.start_timer() || !self.cancel(id) {
                    return Ok(Place::Queued(id));
                }
                Err(Refusal::NoRuntime)
            }
        }
    }

    /// Leaves the queue. `false` if the waiting was over already.
    pub fn cancel(&self, id: WaiterId) -> bool {
        let mut inner = self.shared.lock();
        let callback = inner.state.cancel(id);
        self.shared.turn(inner);
        callback.is_some()
    }

    /// Lets nobody in for that long: what a 429 asks for, once for all. A shorter time than is already set changes nothing.
    pub fn pause_for(&self, time: Duration) {
        let mut inner = self.shared.lock();
        let until = self.shared.now().saturating_add(time);
        inner.state.pause_until(until);
    }

    /// Takes in what an answer's headers say is left; see [`LimiterState::learn`].
    pub fn learn(&self, limits: &RateLimits) {
        self.shared.end(|state, now| state.learn(limits, now));
    }
}

/// A call that was let in. Dropping it ends the call with all that it had reserved taken for used.
#[must_use = "the call is over when it is dropped"]
pub struct Permit {
    shared: Arc<Shared>,
    reservation: Option<Reservation>,
    /// Whether the caller knows that it was let in.
    claimed: bool,
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("tokens", &self.tokens()).finish_non_exhaustive()
    }
}

impl Permit {
    /// The tokens reserved.
    pub fn tokens(&self) -> u64 {
        self.reservation.as_ref().map_or(0, Reservation::tokens)
    }

    /// Ends the call, which used `tokens`: gives back what it had reserved beyond, or takes what it used beyond.
    pub fn settle(mut self, tokens: u64) {
        self.end(|state, reservation, now| state.settle(reservation, tokens, now));
    }

    /// The call was never sent: gives back everything.
    pub fn refund(mut self) {
        self.end(LimiterState::refund);
    }

    fn end(&mut self, end: impl FnOnce(&mut State, Reservation, Duration)) {
        if let Some(reservation) = self.reservation.take() {
            self.shared.end(|state, now| end(state, reservation, now));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.claimed {
            self.end(LimiterState::release);
        } else {
            self.end(LimiterState::refund);
        }
    }
}

/// A [`Permit`] on its way to the one who waits for it. Dropping it gives everything back, since nothing was sent.
#[derive(Debug)]
#[must_use = "dropping it gives everything back"]
pub struct Grant(Permit);

impl Grant {
    /// Takes the permit: from now on a call is under way.
    pub fn accept(self) -> Permit {
        let Self(mut permit) = self;
        permit.claimed = true;
        permit
    }
}

/// A place in the queue, to be awaited. Dropping it leaves the queue, or gives back what was granted meanwhile.
pub struct Waiting {
    limiter: Limiter,
    id: WaiterId,
    told: oneshot::Receiver<Result<Grant, Refusal>>,
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Waiting").field(&self.id).finish()
    }
}

impl Future for Waiting {
    type Output = Result<Permit, Refusal>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.told).poll(context).map(|told| told.unwrap_or(Err(Refusal::NoRuntime)).map(Grant::accept))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // Does nothing if it was told already.
        self.limiter.cancel(self.id);
    }
}
