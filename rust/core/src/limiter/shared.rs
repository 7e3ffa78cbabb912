//! The limiter that threads and tasks share: the state behind a lock, a clock, one timer for all who wait.
//!
//! Waiters are told through callbacks, in the order in which they are let in, never under the lock, on whichever thread made
//! room or, where time made it, on the runtime's. The timer is one tokio task, started when somebody first has to wait and gone
//! when nobody does.
//!
//! None of that survives a fork: the lock may have been held by a thread that the child does not have, and those who run or
//! wait are the parent's. So the child makes a new one of everything on first use, and what it inherited does nothing.

use std::{
    fmt, mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};
use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot},
    time::{Instant, sleep_until},
};

use super::{LimiterConfig, LimiterState, LimiterStatus, Outcome, Refusal, Reservation, Ticket, WaiterId};
use crate::{runtime::forks, wire::RateLimits};

type Callback = Box<dyn FnOnce(Result<Grant, Refusal>) + Send>;

/// The state, with a callback for each waiter; an option only so that it is never dropped under the lock.
type State = LimiterState<Option<Callback>>;

struct Inner {
    state: State,
    outcomes: Vec<Outcome<Option<Callback>>>,
    /// Whether a thread is handing out outcomes. Only one does, so that they stay in order and callbacks that call back in
    /// do not nest.
    delivering: bool,
    /// The number of the timer's task, while there is one.
    timer: Option<u64>,
    timers: u64,
    /// What the timer sleeps for.
    wake_at: Option<Duration>,
}

struct Shared {
    /// Which process it is of.
    forks: u32,
    origin: Instant,
    inner: Mutex<Inner>,
    /// Tells the timer that there is an earlier time to wake at.
    earlier: Arc<Notify>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.is_inherited() {
            // What the callbacks hold may have locks of its own.
            let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
            let empty = LimiterState::new(*inner.state.config());
            mem::forget(mem::replace(&mut inner.state, empty));
            mem::forget(mem::take(&mut inner.outcomes));
        } else {
            self.earlier.notify_one();
        }
    }
}

impl Shared {
    fn new(config: LimiterConfig) -> Self {
        let inner = Inner {
            state: LimiterState::new(config),
            outcomes: Vec::new(),
            delivering: false,
            timer: None,
            timers: 0,
            wake_at: None,
        };
        Self { forks: forks(), origin: Instant::now(), inner: Mutex::new(inner), earlier: Arc::default() }
    }

    fn is_inherited(&self) -> bool {
        self.forks != forks()
    }

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
        if self.is_inherited() {
            return;
        }
        let mut inner = self.lock();
        end(&mut inner.state, self.now());
        self.turn(inner);
    }

    /// Ends a call that used what it had reserved.
    fn release(self: &Arc<Self>, call: Reservation) {
        if self.is_inherited() {
            return;
        }
        let mut inner = self.lock();
        if inner.state.waiting() == 0 {
            // Only a slot comes free, and nobody is let in: no need to ask the clock.
            return inner.state.release(call, Duration::ZERO);
        }
        inner.state.release(call, self.now());
        self.turn(inner);
    }

    /// Takes a waiter out of the queue. `false` if it was not in it any more.
    fn cancel(self: &Arc<Self>, id: WaiterId) -> bool {
        let mut inner = self.lock();
        let callback = inner.state.cancel(id);
        self.turn(inner);
        callback.is_some()
    }

    /// Starts the timer's task if there is none. `false` without a runtime to start it on.
    fn start_timer(self: &Arc<Self>) -> bool {
        let mut inner = self.lock();
        if inner.timer.is_some() {
            return true;
        }
        let Ok(runtime) = Handle::try_current() else { return false };
        inner.timers += 1;
        let number = inner.timers;
        inner.timer = Some(number);
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
            if inner.timer == Some(self.number) {
                inner.timer = None;
            }
        }
    }
}

/// A place in the queue. Dropping it leaves the queue; after the callback was called it does nothing.
#[must_use = "dropping it leaves the queue"]
pub struct Turn {
    shared: Weak<Shared>,
    id: WaiterId,
}

impl Turn {
    /// Leaves the queue. `false` if the waiting was over already.
    pub fn cancel(&self) -> bool {
        match self.shared.upgrade() {
            Some(shared) if !shared.is_inherited() => shared.cancel(self.id),
            _ => false,
        }
    }

    /// Whether the process was forked meanwhile: then nobody will call back.
    pub fn is_inherited(&self) -> bool {
        self.shared.upgrade().is_none_or(|shared| shared.is_inherited())
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Turn").field(&self.id).finish()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// The answer to [`Limiter::enter_with`].
#[derive(Debug)]
pub enum Place {
    /// Let in.
    Admitted(Permit),
    /// In the queue; the callback will be called, unless the place is dropped before.
    Queued(Turn),
}

/// A limiter shared by threads and tasks. Clones are the same limiter. In a forked child it starts anew, with full buckets
/// (whoever forks calls [`forked`](crate::runtime::forked) there).
#[derive(Clone)]
pub struct Limiter {
    current: Arc<Current>,
}

/// The state of this process.
struct Current {
    config: LimiterConfig,
    shared: ArcSwap<Shared>,
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
        Self { current: Arc::new(Current { config, shared: ArcSwap::from_pointee(Shared::new(config)) }) }
    }

    fn shared(&self) -> Guard<Arc<Shared>> {
        let Current { config, shared } = &*self.current;
        let now = shared.load();
        if !now.is_inherited() {
            return now;
        }
        // If another thread was faster, ours goes.
        shared.compare_and_swap(&now, Arc::new(Shared::new(*config)));
        shared.load()
    }

    /// The configuration.
    pub fn config(&self) -> LimiterConfig {
        self.current.config
    }

    /// What it is doing now.
    pub fn status(&self) -> LimiterStatus {
        let shared = self.shared();
        shared.lock().state.status(shared.now())
    }

    /// Lets a call in at once or not at all; takes nothing if not. It does not pass those who wait.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`] or [`Refusal::NotNow`].
    pub fn try_acquire(&self, tokens: u64) -> Result<Permit, Refusal> {
        let shared = self.shared();
        let reservation = shared.lock().state.try_acquire(shared.now(), tokens)?;
        Ok(shared.permit(reservation, true))
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
            Place::Queued(turn) => Entry::Waiting(Waiting { turn, _limiter: self.clone(), told }),
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
        let shared = self.shared();
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
                let turn = Turn { shared: Arc::downgrade(&shared), id };
                if shared.start_timer() || !turn.cancel() {
                    return Ok(Place::Queued(turn));
                }
                Err(Refusal::NoRuntime)
            }
        }
    }

    /// Lets nobody in for that long: what a 429 asks for, once for all. A shorter time than is already set changes nothing.
    pub fn pause_for(&self, time: Duration) {
        let shared = self.shared();
        let until = shared.now().saturating_add(time);
        shared.lock().state.pause_until(until);
    }

    /// Takes in what an answer's headers say is left; see [`LimiterState::learn`].
    pub fn learn(&self, limits: &RateLimits) {
        self.shared().end(|state, now| state.learn(limits, now));
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
            if let Some(reservation) = self.reservation.take() {
                self.shared.release(reservation);
            }
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
    turn: Turn,
    _limiter: Limiter,
    told: oneshot::Receiver<Result<Grant, Refusal>>,
}

impl Waiting {
    /// Whether the process was forked meanwhile: then it is never let in.
    pub fn is_inherited(&self) -> bool {
        self.turn.is_inherited()
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Waiting").field(&self.turn).finish()
    }
}

impl Future for Waiting {
    type Output = Result<Permit, Refusal>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.told).poll(context).map(|told| told.unwrap_or(Err(Refusal::NoRuntime)).map(Grant::accept))
    }
}
