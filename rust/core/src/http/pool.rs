//! Keeps connections and hands them out: HTTP/2 connections shared by as many calls as the server allows, HTTP/1.1
//! connections to one call at a time.
//!
//! What to do next is decided by [`State::step`], which does no I/O. While it is unknown whether an origin speaks
//! HTTP/2, one caller dials and the others wait for the outcome, so that 100 calls at once open one connection.

use std::{
    collections::HashMap,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::Notify;

use super::{
    connect::{Connector, Dialed, Origin},
    http1::Http1,
    settings::HttpSettings,
};
use crate::error::{Error, ErrorKind};

/// A stream's flow-control window: 1 MiB keeps a 100 ms path at 10 MB/s, more than any answer needs.
const STREAM_WINDOW: u32 = 1 << 20;
/// A connection's window, far above any stream's, so that a slow reader stalls its own stream and no other.
const CONNECTION_WINDOW: u32 = 1 << 30;
/// HTTP/2 pings find dead connections while calls are open.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Locks; a panic elsewhere while it was held left nothing half done here.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An HTTP/2 connection, shared.
#[derive(Debug)]
pub(crate) struct Http2 {
    pub(crate) sender: http2::SendRequest<Full<Bytes>>,
    active: AtomicUsize,
    max_active: AtomicUsize,
    used: Mutex<Instant>,
}

/// One call's place on a shared connection; given back when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) connection: Arc<Http2>,
    pub(crate) reused: bool,
    origin: Arc<OriginPool>,
}

impl Seat {
    pub(crate) fn origin(&self) -> &OriginPool {
        &self.origin
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        *lock(&self.connection.used) = Instant::now();
        self.connection.active.fetch_sub(1, Ordering::AcqRel);
        self.origin.changed.notify_one();
    }
}

/// A connection in the hands of a call.
#[derive(Debug)]
pub(crate) enum Lease {
    Http1(Http1, Arc<OriginPool>),
    Http2(Seat),
}

impl Lease {
    /// The answer was read to its end: the connection may serve the next call.
    pub(crate) fn give_back(self) {
        if let Self::Http1(connection, origin) = self {
            origin.give_back(connection);
        }
    }

    /// Whether the connection had served another call before.
    pub(crate) fn reused(&self) -> bool {
        match self {
            Self::Http1(connection, _) => connection.reused,
            Self::Http2(seat) => seat.reused,
        }
    }
}

#[derive(Debug)]
struct Idle {
    connection: Http1,
    since: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Nothing,
    Http1,
    Http2,
}

#[derive(Debug)]
struct State {
    known: Known,
    idle: Vec<Idle>,
    shared: Vec<Arc<Http2>>,
    dialing: bool,
    /// Shared dials that have ended, and the last one's failure: those who waited for it fail with it.
    dials: u64,
    failure: Option<(u64, Error)>,
}

/// A connection for one call, taken out of the pool.
enum Free {
    Http1(Http1),
    Http2(Arc<Http2>),
}

enum Step {
    Take(Free),
    /// Dial for yourself.
    Dial,
    /// Dial for everyone who waits.
    DialShared,
    Wait,
}

impl State {
    /// A connection that is there and free.
    fn free(&mut self, now: Instant, keep_alive: Duration) -> Option<Free> {
        while let Some(Idle { mut connection, since }) = self.idle.pop() {
            if now.duration_since(since) < keep_alive && connection.is_free() {
                return Some(Free::Http1(connection));
            }
        }
        self.shared.retain(|connection| !connection.sender.is_closed());
        for connection in &self.shared {
            let max = connection.max_active.load(Ordering::Acquire);
            if connection.active.load(Ordering::Acquire) < max {
                connection.active.fetch_add(1, Ordering::AcqRel);
                return Some(Free::Http2(connection.clone()));
            }
        }
        None
    }

    /// What a caller who needs a connection now should do.
    fn step(&mut self, now: Instant, keep_alive: Duration) -> Step {
        if let Some(free) = self.free(now, keep_alive) {
            Step::Take(free)
        } else if self.known == Known::Http1 {
            Step::Dial
        } else if self.dialing {
            Step::Wait
        } else {
            self.dialing = true;
            Step::DialShared
        }
    }

    /// Drops what has been idle for too long; returns whether anything is left.
    fn reap(&mut self, now: Instant, keep_alive: Duration) -> bool {
        self.idle.retain_mut(|idle| now.duration_since(idle.since) < keep_alive && idle.connection.is_free());
        self.shared.retain(|connection| {
            let unused = connection.active.load(Ordering::Acquire) == 0;
            let expired = unused && now.duration_since(*lock(&connection.used)) >= keep_alive;
            !expired && !connection.sender.is_closed()
        });
        !self.idle.is_empty() || !self.shared.is_empty()
    }
}

/// The connections to one origin.
#[derive(Debug)]
pub(crate) struct OriginPool {
    pub(crate) origin: Origin,
    connector: Arc<Connector>,
    state: Mutex<State>,
    changed: Notify,
}

impl OriginPool {
    fn new(origin: Origin, connector: Arc<Connector>) -> Self {
        let known = if connector.is_surely_http1(&origin) { Known::Http1 } else { Known::Nothing };
        let state = State { known, idle: Vec::new(), shared: Vec::new(), dialing: false, dials: 0, failure: None };
        Self { origin, connector, state: Mutex::new(state), changed: Notify::new() }
    }

    fn seat(self: &Arc<Self>, connection: Arc<Http2>, reused: bool) -> Lease {
        Lease::Http2(Seat { connection, reused, origin: self.clone() })
    }

    fn take(self: &Arc<Self>, free: Free) -> Lease {
        match free {
            Free::Http1(connection) => Lease::Http1(connection, self.clone()),
            Free::Http2(connection) => self.seat(connection, true),
        }
    }

    /// A connection for one call, if one is free now.
    pub(crate) fn idle(self: &Arc<Self>) -> Option<Lease> {
        let free = lock(&self.state).free(Instant::now(), self.connector.settings().keep_alive)?;
        Some(self.take(free))
    }

    /// A connection for one call, dialed if need be.
    pub(crate) async fn lease(self: &Arc<Self>) -> Result<Lease, Error> {
        let keep_alive = self.connector.settings().keep_alive;
        let mut waited_for = None;
        loop {
            // Registered before the state is read, so that no change is missed.
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let step = {
                let mut state = lock(&self.state);
                match (&state.failure, waited_for) {
                    (Some((dial, error)), Some(since)) if *dial > since => return Err(error.clone()),
                    _ => {}
                }
                let step = state.step(Instant::now(), keep_alive);
                if matches!(step, Step::Wait | Step::DialShared) {
                    waited_for.get_or_insert(state.dials);
                }
                step
            };
            match step {
                Step::Take(free) => return Ok(self.take(free)),
                Step::Dial => match self.open().await? {
                    Opened::Http1(connection) => return Ok(Lease::Http1(connection, self.clone())),
                    Opened::Http2(connection) => {
                        self.share(connection, 0);
                        continue;
                    }
                },
                // The dial goes on if this caller is cancelled: others wait for it.
                Step::DialShared => drop(tokio::spawn(self.clone().dial_shared())),
                Step::Wait => {}
            }
            changed.await;
        }
    }

    async fn dial_shared(self: Arc<Self>) {
        let opened = self.open().await;
        let keep = {
            let mut state = lock(&self.state);
            state.dialing = false;
            state.dials += 1;
            match opened {
                Ok(Opened::Http1(connection)) => {
                    state.known = Known::Http1;
                    state.idle.push(Idle { connection, since: Instant::now() });
                    None
                }
                Ok(Opened::Http2(connection)) => Some(connection),
                Err(error) => {
                    state.failure = Some((state.dials, error));
                    None
                }
            }
        };
        match keep {
            Some(connection) => self.share(connection, 0),
            None => self.changed.notify_waiters(),
        }
    }

    fn share(&self, connection: Arc<Http2>, active: usize) {
        connection.active.store(active, Ordering::Release);
        {
            let mut state = lock(&self.state);
            state.known = Known::Http2;
            state.shared.push(connection);
        }
        self.changed.notify_waiters();
    }

    async fn open(self: &Arc<Self>) -> Result<Opened, Error> {
        let Dialed { io, http2, forward } = self.connector.dial(&self.origin).await?;
        let failed =
            |error: hyper::Error| Error::new(ErrorKind::Connect, format!("cannot open an HTTP connection: {error}"));
        if !http2 {
            return Http1::open(io, forward).await.map(Opened::Http1).map_err(failed);
        }
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .max_concurrent_reset_streams(1024)
            .handshake(TokioIo::new(io))
            .await
            .map_err(failed)?;
        let max_active = AtomicUsize::new(connection.current_max_send_streams());
        let shared =
            Arc::new(Http2 { sender, active: AtomicUsize::new(0), max_active, used: Mutex::new(Instant::now()) });
        // Only a weak hold: the connection closes when the pool and the last call let go of it.
        let (watched, origin) = (Arc::downgrade(&shared), Arc::downgrade(self));
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            let _ = poll_fn(|cx| {
                let polled = connection.as_mut().poll(cx);
                if let Some(shared) = watched.upgrade() {
                    let max = connection.current_max_send_streams();
                    if shared.max_active.swap(max, Ordering::AcqRel) < max
                        && let Some(origin) = origin.upgrade()
                    {
                        origin.changed.notify_waiters();
                    }
                }
                polled
            })
            .await;
            if let Some(origin) = origin.upgrade() {
                origin.changed.notify_waiters();
            }
        });
        Ok(Opened::Http2(shared))
    }

    fn give_back(self: Arc<Self>, mut connection: Http1) {
        connection.reused = true;
        if connection.is_free() {
            lock(&self.state).idle.push(Idle { connection, since: Instant::now() });
        }
    }
}

enum Opened {
    Http1(Http1),
    Http2(Arc<Http2>),
}

/// All connections of one [`HttpSettings`].
#[derive(Debug)]
pub struct Pool {
    connector: Arc<Connector>,
    origins: Mutex<HashMap<Origin, Arc<OriginPool>>>,
    reaping: Mutex<bool>,
}

impl Pool {
    /// An empty pool.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for settings that cannot be used.
    pub fn new(settings: HttpSettings) -> Result<Arc<Self>, Error> {
        let connector = Arc::new(Connector::new(settings)?);
        Ok(Arc::new(Self { connector, origins: Mutex::default(), reaping: Mutex::new(false) }))
    }

    /// How many connections wait unused, or are shared: (HTTP/1.1 idle, HTTP/2).
    pub fn connections(&self) -> (usize, usize) {
        let origins = lock(&self.origins);
        origins
            .values()
            .map(|origin| lock(&origin.state))
            .fold((0, 0), |(idle, shared), state| (idle + state.idle.len(), shared + state.shared.len()))
    }

    /// Closes every connection that serves no call now.
    pub fn close_idle(&self) {
        for origin in lock(&self.origins).values() {
            lock(&origin.state).reap(Instant::now(), Duration::ZERO);
        }
    }

    /// The connections to `origin`. Must be called on the runtime: the first call starts the clearing of idle ones.
    pub(crate) fn origin(self: &Arc<Self>, origin: &Origin) -> Arc<OriginPool> {
        if !std::mem::replace(&mut *lock(&self.reaping), true) {
            tokio::spawn(reap(Arc::downgrade(self), self.connector.settings().keep_alive));
        }
        let mut origins = lock(&self.origins);
        match origins.get(origin) {
            Some(known) => known.clone(),
            None => {
                let new = Arc::new(OriginPool::new(origin.clone(), self.connector.clone()));
                origins.insert(origin.clone(), new.clone());
                new
            }
        }
    }
}

/// Closes idle connections in time, and ends with the pool or when there is nothing left to watch.
async fn reap(pool: Weak<Pool>, keep_alive: Duration) {
    let every = (keep_alive / 2).max(Duration::from_millis(100));
    loop {
        tokio::time::sleep(every).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut origins = lock(&pool.origins);
        let now = Instant::now();
        origins.retain(|_, origin| {
            let busy = lock(&origin.state).reap(now, keep_alive);
            busy || Arc::strong_count(origin) > 1
        });
        if origins.is_empty() {
            *lock(&pool.reaping) = false;
            return;
        }
    }
}
