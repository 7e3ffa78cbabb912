//! From the I/O thread to asyncio, and to threads that wait.
//!
//! The I/O thread never takes the interpreter's lock. What it finishes it notes by number in its loop's list and, only
//! when that list was empty, writes one byte to a socket that the loop watches. The loop then wakes every waiter on the
//! list; each takes its own result and makes the Python objects on the loop's thread.

use std::{
    any::Any,
    cell::RefCell,
    collections::HashMap,
    future::Future,
    io::{Read, Write},
    marker::PhantomData,
    os::{fd::AsRawFd, unix::net::UnixStream},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use edgequake_core::{
    Error, ErrorKind,
    runtime::{forks, generation},
};
use foldhash::fast::FixedState;
use pyo3::{
    exceptions::{PyRuntimeError, PyStopIteration},
    gc::{PyTraverseError, PyVisit},
    intern,
    prelude::*,
    sync::PyOnceLock,
    types::{PyWeakrefMethods, PyWeakrefReference},
};
use tokio::task::JoinHandle;

use crate::{errors::to_py, pause::Pause};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the I/O thread touches of a loop.
struct Mailbox {
    ready: Mutex<Vec<u64>>,
    /// Things given to waiters that have not taken them yet, by the waiter's number; `None` once the loop is closed.
    parcels: Mutex<Option<HashMap<u64, Parcel>>>,
    bell: UnixStream,
    /// Which process it is of: in a forked child its locks may be held by a thread that is not there.
    forks: u32,
}

type Parcel = Box<dyn Any + Send>;

/// Gives one thing to a waiter, from any thread, without the interpreter.
pub(crate) struct Delivery<T> {
    to: LoopWaker,
    thing: PhantomData<fn(T)>,
}

impl<T: Send + 'static> Delivery<T> {
    /// Hands it over and wakes the waiter. It is dropped where nobody can take it any more: the loop was closed. A loop that is
    /// closed later drops what nobody took.
    pub(crate) fn deliver(self, thing: T) {
        let Self { to: LoopWaker { id, mailbox }, .. } = self;
        let mut parcels = lock(&mailbox.parcels);
        let Some(open) = &mut *parcels else { return };
        open.insert(id, Box::new(thing));
        drop(parcels);
        mailbox.wake(id);
    }
}

impl Mailbox {
    fn wake(&self, id: u64) {
        let was_empty = {
            let mut ready = lock(&self.ready);
            ready.push(id);
            ready.len() == 1
        };
        if was_empty {
            // A full socket means that the loop has been rung already; a closed one that it is gone.
            let _ = (&self.bell).write(&[1]);
        }
    }
}

/// Wakes one waiter of a loop, from any thread, without the interpreter.
struct LoopWaker {
    id: u64,
    mailbox: Arc<Mailbox>,
}

impl Wake for LoopWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        self.mailbox.wake(self.id);
    }
}

/// What tasks wait on, by the number of their waiter. Only touched on the loop's thread, and when the loop was closed.
type Pauses = Mutex<HashMap<u64, Py<Pause>, FixedState>>;

/// One event loop's end of the bridge. The loop alone keeps it alive, as the callback of the socket that it watches: so it goes
/// when the loop is closed, and with it everything that still waits there.
#[pyclass(frozen, module = "edgequake_llm._core", weakref)]
pub(crate) struct Bridge {
    mailbox: Arc<Mailbox>,
    bell: UnixStream,
    waiters: Arc<Pauses>,
    next_id: AtomicU64,
}

impl Drop for Bridge {
    fn drop(&mut self) {
        if self.mailbox.forks == forks() {
            let parcels = lock(&self.mailbox.parcels).take();
            drop(parcels);
        }
        // The pauses hold their tasks, which hold what they await: without this they would keep each other alive.
        let pauses = std::mem::take(&mut *lock(&self.waiters));
        drop(pauses);
    }
}

#[pymethods]
impl Bridge {
    /// The loop calls this when the bell has rung: wakes whoever is on the list.
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        let mut rings = [0; 64];
        // Read before the list is taken: a ring that comes after it is not lost.
        let _ = (&self.bell).read(&mut rings);
        let mut ready = std::mem::take(&mut *lock(&self.mailbox.ready)).into_iter();
        for id in ready.by_ref() {
            let pause = lock(&self.waiters).remove(&id);
            if let Some(pause) = pause
                && let Err(error) = Pause::wake(pause.bind(py))
            {
                // It ends the loop, which may be run again: the others are not forgotten.
                ready.for_each(|id| self.mailbox.wake(id));
                return Err(error);
            }
        }
        Ok(())
    }

    // A loop that is dropped without being closed hangs together with its tasks in a circle, through the pauses that stand
    // here. The collector must see it to take their requests back.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Ok(waiters) = self.waiters.try_lock() {
            waiters.values().try_for_each(|waiter| visit.call(waiter))?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        let waiters = std::mem::take(&mut *lock(&self.waiters));
        drop(waiters);
    }
}

/// A loop of this thread, by weak reference, and its bridge, by weak reference.
struct Known {
    event_loop: Py<PyWeakrefReference>,
    bridge: Py<PyWeakrefReference>,
}

thread_local! {
    static KNOWN: RefCell<Vec<Known>> = const { RefCell::new(Vec::new()) };
}

/// The loop that runs in this thread.
pub(crate) fn running_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static GET: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let get = GET.get_or_try_init(py, || py.import("asyncio")?.getattr("get_running_loop").map(Bound::unbind))?;
    get.bind(py).call0()
}

/// The bridge of the loop that runs in this thread, made on first use.
pub(crate) fn bridge<'py>(py: Python<'py>, event_loop: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Bridge>> {
    let found = KNOWN.with_borrow(|known| {
        known.iter().find_map(|known| {
            let same = known.event_loop.bind(py).upgrade().is_some_and(|alive| alive.is(event_loop));
            if same { known.bridge.bind(py).upgrade_as::<Bridge>().ok().flatten() } else { None }
        })
    });
    match found {
        Some(bridge) => Ok(bridge),
        None => new_bridge(py, event_loop),
    }
}

fn new_bridge<'py>(py: Python<'py>, event_loop: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Bridge>> {
    let (bell, ringer) = UnixStream::pair()?;
    bell.set_nonblocking(true)?;
    ringer.set_nonblocking(true)?;
    let fd = bell.as_raw_fd();
    let parcels = Mutex::new(Some(HashMap::new()));
    let mailbox = Arc::new(Mailbox { ready: Mutex::default(), parcels, bell: ringer, forks: forks() });
    let bridge = Bound::new(py, Bridge { mailbox, bell, waiters: Arc::default(), next_id: AtomicU64::new(1) })?;
    event_loop.call_method1(intern!(py, "add_reader"), (fd, &bridge)).map_err(|error| {
        let message = "the event loop cannot watch a socket (no add_reader); use asyncio's selector loop or uvloop";
        let failure = PyRuntimeError::new_err(message);
        failure.set_cause(py, Some(error));
        failure
    })?;
    let entry = Known {
        event_loop: PyWeakrefReference::new(event_loop)?.unbind(),
        bridge: PyWeakrefReference::new(bridge.as_any())?.unbind(),
    };
    KNOWN.with_borrow_mut(|known| {
        known
            .retain(|known| known.event_loop.bind(py).upgrade().is_some() && known.bridge.bind(py).upgrade().is_some());
        known.push(entry);
    });
    Ok(bridge)
}

/// One waiter: polls a future with a waker that wakes the loop, and gives asyncio something to wait on meanwhile.
pub(crate) struct Waiter {
    mailbox: Arc<Mailbox>,
    waiters: Arc<Pauses>,
    event_loop: Py<PyAny>,
    id: u64,
    waker: Waker,
    waiting: bool,
    /// Whether something may be delivered.
    expects: bool,
}

impl Waiter {
    /// A waiter on the loop that runs now.
    pub(crate) fn new(py: Python<'_>) -> PyResult<Self> {
        let event_loop = running_loop(py)?;
        let bridge = bridge(py, &event_loop)?;
        let id = bridge.get().next_id.fetch_add(1, Ordering::Relaxed);
        let Bridge { mailbox, waiters, .. } = bridge.get();
        let (mailbox, waiters) = (mailbox.clone(), waiters.clone());
        let waker = Waker::from(Arc::new(LoopWaker { id, mailbox: mailbox.clone() }));
        Ok(Self { mailbox, waiters, event_loop: event_loop.unbind(), id, waker, waiting: false, expects: false })
    }

    /// Whether `event_loop` is the one that this waiter belongs to.
    pub(crate) fn belongs_to(&self, event_loop: &Bound<'_, PyAny>) -> bool {
        self.event_loop.bind(event_loop.py()).is(event_loop)
    }

    /// The waker to poll with.
    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// What can give this waiter something once. It is taken with [`Waiter::take`].
    pub(crate) fn delivery<T: Send + 'static>(&mut self) -> Delivery<T> {
        self.expects = true;
        Delivery { to: LoopWaker { id: self.id, mailbox: self.mailbox.clone() }, thing: PhantomData }
    }

    /// What was delivered.
    pub(crate) fn take<T: Send + 'static>(&self) -> Option<T> {
        let parcel = lock(&self.mailbox.parcels).as_mut()?.remove(&self.id)?;
        parcel.downcast().ok().map(|thing| *thing)
    }

    /// What a task waits on after a poll that was pending, to be yielded to it.
    pub(crate) fn pause<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let pause = Bound::new(py, Pause::new(self.event_loop.clone_ref(py)))?;
        lock(&self.waiters).insert(self.id, pause.clone().unbind());
        self.waiting = true;
        Ok(pause.into_any())
    }

    /// Whether a task waits.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting && lock(&self.waiters).contains_key(&self.id)
    }

    /// Shows the collector what is held.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.event_loop)
    }

    /// Nobody waits any more.
    pub(crate) fn forget(&mut self) {
        if std::mem::take(&mut self.waiting) {
            let waiter = lock(&self.waiters).remove(&self.id);
            drop(waiter);
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.forget();
        if self.expects && self.mailbox.forks == forks() {
            let untaken = lock(&self.mailbox.parcels).as_mut().and_then(|parcels| parcels.remove(&self.id));
            drop(untaken);
        }
    }
}

/// Runs in a forked child before anything else does.
#[pyfunction]
pub(crate) fn after_fork() {
    edgequake_core::runtime::forked();
}

/// The error for something that was started before a fork and is used in the child.
pub(crate) fn forked(py: Python<'_>) -> PyErr {
    let message =
        "this call was started before the process forked and does not exist in the child; start it again there";
    to_py(py, &Error::new(ErrorKind::Closed, message))
}

/// Work on the I/O thread. Dropped before its end, it is aborted, and the request taken back.
pub(crate) struct Work<T> {
    handle: Option<JoinHandle<T>>,
    forks: u32,
}

impl<T: Send + 'static> Work<T> {
    /// Starts work.
    pub(crate) fn start(py: Python<'_>, work: impl Future<Output = T> + Send + 'static) -> PyResult<Self> {
        let generation = generation().map_err(|error| to_py(py, &error))?;
        // In a box: the runtime moves its tasks about before they start.
        Ok(Self { handle: Some(generation.spawn(Box::pin(work))), forks: forks() })
    }

    /// No work: what it would bring is there already.
    pub(crate) fn done() -> Self {
        Self { handle: None, forks: forks() }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Error>> {
        let Some(handle) = &mut self.handle else {
            return Poll::Ready(Err(Error::new(ErrorKind::Closed, "this call was awaited already")));
        };
        let joined = std::task::ready!(Pin::new(handle).poll(cx));
        self.handle = None;
        Poll::Ready(joined.map_err(|error| {
            if error.is_cancelled() {
                Error::new(ErrorKind::Closed, "this call was cancelled")
            } else {
                Error::new(ErrorKind::Internal, format!("the call failed inside edgequake-llm: {error}"))
            }
        }))
    }

    /// Waits for the result in this thread, without the interpreter; looks for Ctrl-C twenty times a second.
    pub(crate) fn wait(mut self, py: Python<'_>) -> PyResult<T> {
        wait(py, |cx| self.poll(cx))?.map_err(|error| to_py(py, &error))
    }
}

impl<T> Work<T> {
    /// Whether this process is not the one that started the work.
    pub(crate) fn is_inherited(&self) -> bool {
        self.forks != forks()
    }

    /// Ends the work now.
    pub(crate) fn abort(&mut self) {
        if let Some(handle) = self.handle.take() {
            if self.is_inherited() {
                // Its runtime is not here, and the runtime's locks may have been held while the process forked.
                std::mem::forget(handle);
            } else {
                handle.abort();
            }
        }
    }
}

impl<T> Drop for Work<T> {
    fn drop(&mut self) {
        self.abort();
    }
}

struct ThreadWaker(Thread);

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls until there is a result, waiting in this thread without the interpreter; looks for signals between.
pub(crate) fn wait<T: Send>(py: Python<'_>, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T> + Send) -> PyResult<T> {
    const TICK: Duration = Duration::from_millis(50);
    let waker = Waker::from(Arc::new(ThreadWaker(thread::current())));
    loop {
        let polled = py.detach(|| {
            let mut cx = Context::from_waker(&waker);
            match poll(&mut cx) {
                Poll::Ready(value) => Some(value),
                Poll::Pending => {
                    thread::park_timeout(TICK);
                    match poll(&mut cx) {
                        Poll::Ready(value) => Some(value),
                        Poll::Pending => None,
                    }
                }
            }
        });
        match polled {
            Some(value) => return Ok(value),
            None => py.check_signals()?,
        }
    }
}

/// Makes the Python object for a result; runs on the thread that awaits it.
type Finish<T> = Box<dyn FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + Sync>;

/// Work with a result type that Python does not see.
trait Job: Send + Sync {
    fn poll(&mut self, py: Python<'_>, cx: &mut Context<'_>) -> Poll<PyResult<Py<PyAny>>>;
    fn is_inherited(&self) -> bool;
    fn abort(&mut self);
}

struct TypedJob<T> {
    work: Work<T>,
    finish: Option<Finish<T>>,
}

impl<T: Send + 'static> Job for TypedJob<T> {
    fn poll(&mut self, py: Python<'_>, cx: &mut Context<'_>) -> Poll<PyResult<Py<PyAny>>> {
        let result = std::task::ready!(self.work.poll(cx));
        Poll::Ready(result.map_err(|error| to_py(py, &error)).and_then(|value| match self.finish.take() {
            Some(finish) => finish(py, value),
            None => Err(PyRuntimeError::new_err("this call was awaited already")),
        }))
    }
    fn is_inherited(&self) -> bool {
        self.work.is_inherited()
    }
    fn abort(&mut self) {
        self.work.abort();
    }
}

/// A call under way. Await it once. Cancelling the awaiting task, or dropping the call, takes the request back.
#[pyclass(module = "edgequake_llm._core")]
pub(crate) struct Call {
    job: Option<Box<dyn Job>>,
    ready: Option<Py<PyAny>>,
    waiter: Option<Waiter>,
}

impl Call {
    /// Starts work whose result `finish` turns into a Python object.
    pub(crate) fn start<T: Send + 'static>(
        py: Python<'_>,
        work: impl Future<Output = T> + Send + 'static,
        finish: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + Sync + 'static,
    ) -> PyResult<Self> {
        let work = Work::start(py, work)?;
        Ok(Self { job: Some(Box::new(TypedJob { work, finish: Some(Box::new(finish)) })), ready: None, waiter: None })
    }

    /// A call whose result is there already: awaiting it never suspends.
    pub(crate) fn ready(result: Py<PyAny>) -> Self {
        Self { job: None, ready: Some(result), waiter: None }
    }

    fn abandon(&mut self) {
        self.ready = None;
        self.waiter = None;
        if let Some(mut job) = self.job.take() {
            job.abort();
        }
    }
}

#[pymethods]
impl Call {
    fn __await__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if let Some(result) = self.ready.take() {
            return Err(PyStopIteration::new_err(result));
        }
        let Some(job) = &mut self.job else {
            return Err(PyRuntimeError::new_err("this call was awaited already"));
        };
        if job.is_inherited() {
            self.abandon();
            return Err(forked(py));
        }
        if self.waiter.is_none() {
            self.waiter = Some(Waiter::new(py)?);
        }
        let Some(waiter) = &mut self.waiter else { return Err(PyRuntimeError::new_err("no waiter")) };
        match job.poll(py, &mut Context::from_waker(waiter.waker())) {
            Poll::Pending => waiter.pause(py),
            Poll::Ready(result) => {
                self.job = None;
                self.waiter = None;
                Err(PyStopIteration::new_err(result?))
            }
        }
    }

    /// Python throws `CancelledError` in here: the request is taken back before it goes on.
    #[pyo3(signature = (error, value=None, _traceback=None))]
    fn throw(
        &mut self,
        py: Python<'_>,
        error: Bound<'_, PyAny>,
        value: Option<Bound<'_, PyAny>>,
        _traceback: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'_, PyAny>> {
        self.abandon();
        Err(thrown(py, error, value))
    }

    fn close(&mut self) {
        self.abandon();
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.waiter.as_ref().map_or(Ok(()), |waiter| waiter.traverse(&visit))
    }

    fn __clear__(&mut self) {
        self.abandon();
    }
}

/// The exception that was thrown into an awaitable: given as an instance, or as class and value.
pub(crate) fn thrown(_py: Python<'_>, error: Bound<'_, PyAny>, value: Option<Bound<'_, PyAny>>) -> PyErr {
    match value.filter(|value| !value.is_none()) {
        Some(value) if value.is_instance_of::<pyo3::exceptions::PyBaseException>() => PyErr::from_value(value),
        Some(value) => match error.call1((value,)) {
            Ok(instance) => PyErr::from_value(instance),
            Err(failure) => failure,
        },
        None => PyErr::from_value(error),
    }
}
