//! Streams: `TextStream` for asyncio and `SyncTextStream` for threads, over the same queue.

use std::{
    borrow::Cow,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use edgequake_core::{
    Error, ErrorKind,
    call::{Next, Outcome, Progress, Receiver},
    model::Event,
};
use pyo3::{
    exceptions::{PyRuntimeError, PyStopAsyncIteration, PyStopIteration},
    gc::{PyTraverseError, PyVisit},
    prelude::*,
    types::PyString,
};

use crate::{
    bridge::{Waiter, Work, forked, running_loop, thrown, wait},
    errors::to_py,
    event,
    metrics::InferenceMetrics,
    response::LlmResponse,
    structured::{Form, Written, no_form},
};

/// How a stream ended, as Python sees it.
enum End {
    Whole(Py<LlmResponse>),
    Broken(Py<PyAny>),
    /// By `aclose`, `close` or the end of `with`.
    Closed,
    /// The reader was cancelled or interrupted while it waited.
    Cancelled,
}

impl End {
    fn of(py: Python<'_>, outcome: Outcome, provider: Cow<'static, str>, form: Option<Form>) -> PyResult<Self> {
        Ok(match outcome {
            Ok(completed) => Self::Whole(Py::new(py, LlmResponse::of(*completed, provider).with_form(form))?),
            Err(error) => Self::Broken(to_py(py, &error).into_value(py).into_any()),
        })
    }

    fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Whole(response) => Self::Whole(response.clone_ref(py)),
            Self::Broken(error) => Self::Broken(error.clone_ref(py)),
            Self::Closed => Self::Closed,
            Self::Cancelled => Self::Cancelled,
        }
    }

    /// Shows the collector what is held: an error's traceback leads to the frames that hold the stream.
    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Whole(response) => visit.call(response),
            Self::Broken(error) => visit.call(error),
            Self::Closed | Self::Cancelled => Ok(()),
        }
    }

    /// What reading on gives: nothing more, or an error.
    fn read_on(&self, py: Python<'_>) -> PyResult<()> {
        match self {
            // Closed on purpose ends like a generator; a lost reader's text is not whole and must not look so.
            Self::Whole(_) | Self::Closed => Ok(()),
            Self::Broken(error) => Err(PyErr::from_value(error.bind(py).clone())),
            Self::Cancelled => {
                let message = "this stream was closed when its reader was cancelled or interrupted; start it again";
                Err(to_py(py, &Error::new(ErrorKind::Closed, message)))
            }
        }
    }
}

/// The whole answer, of a stream that has ended like this.
fn response(py: Python<'_>, end: Option<&End>) -> PyResult<Py<LlmResponse>> {
    let message = match end {
        Some(End::Whole(response)) => return Ok(response.clone_ref(py)),
        Some(End::Broken(error)) => return Err(PyErr::from_value(error.bind(py).clone())),
        Some(End::Closed | End::Cancelled) => "the stream was closed before its end, so there is no whole response",
        None => "the response is whole only after the stream has been read to its end",
    };
    Err(to_py(py, &Error::new(ErrorKind::Closed, message)))
}

/// The form of an answer and what was read of it.
type Draft = (Form, Mutex<Written>);

/// Keeps the text of an answer that has a form.
fn note(written: &Option<Draft>, event: &Event) {
    if let (Some((_, written)), Event::Text(text)) = (written, event) {
        lock(written).push(text);
    }
}

/// The answer's value as far as it was read.
fn partial(py: Python<'_>, written: &Option<Draft>, end: Option<&End>) -> PyResult<Py<PyAny>> {
    let whole = matches!(end, Some(End::Whole(_)));
    match written {
        Some((form, written)) => Written::partial(written, py, form, whole),
        None => Err(no_form(py)),
    }
}

fn metrics(progress: &Progress) -> InferenceMetrics {
    let (metrics, now) = progress.metrics();
    InferenceMetrics::of(metrics, now)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The reader's side of a streamed call.
struct Reader {
    receiver: Receiver,
    work: Work<()>,
    end: Option<End>,
    provider: Cow<'static, str>,
    /// The form of the answer, where one was asked for, and what was read of it.
    written: Option<Draft>,
}

/// What an item of the stream is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Items {
    /// The pieces of text, as `str`.
    Text,
    /// Every event, typed.
    Events,
}

impl Items {
    fn to_py(self, py: Python<'_>, event: Event) -> PyResult<Option<Py<PyAny>>> {
        match (self, event) {
            (Self::Text, Event::Text(text)) => Ok(Some(PyString::new(py, &text).into_any().unbind())),
            (Self::Text, _) => Ok(None),
            (Self::Events, event) => event::to_py(py, event).map(Some),
        }
    }
}

impl Reader {
    /// The next item that is buffered on this side, without a lock.
    fn buffered(&mut self, py: Python<'_>, items: Items) -> PyResult<Option<Py<PyAny>>> {
        if matches!(self.end, Some(End::Closed)) {
            return Ok(None);
        }
        while let Some(event) = self.receiver.buffered() {
            note(&self.written, &event);
            if let Some(item) = items.to_py(py, event)? {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    /// The next item; `Ready(None)` at the end.
    fn poll(&mut self, py: Python<'_>, items: Items, cx: &mut Context<'_>) -> Poll<PyResult<Option<Py<PyAny>>>> {
        loop {
            if let Some(end) = &self.end {
                return Poll::Ready(end.read_on(py).map(|()| None));
            }
            match std::task::ready!(self.receiver.poll_next(cx)) {
                Next::Event(event) => {
                    note(&self.written, &event);
                    match items.to_py(py, event) {
                        Ok(None) => {}
                        other => return Poll::Ready(other),
                    }
                }
                Next::End(outcome) => {
                    if let Err(error) = self.ended(py, outcome) {
                        return Poll::Ready(Err(error));
                    }
                }
            }
        }
    }

    fn ended(&mut self, py: Python<'_>, outcome: Outcome) -> PyResult<()> {
        let form = self.written.as_ref().map(|(form, _)| form.clone_ref(py));
        self.end = Some(End::of(py, outcome, self.provider.clone(), form)?);
        Ok(())
    }

    /// Takes the request back if it still runs.
    fn close(&mut self, end: End) {
        self.work.abort();
        self.end.get_or_insert(end);
        self.receiver.clear();
    }
}

/// A streamed answer: `async for text in stream` gives its text piece by piece as it comes.
///
/// The request is sent at once. `stream.events()` iterates over typed events instead of text. After the end,
/// `stream.response` is the whole `LLMResponse` and `stream.metrics` holds time to first token and rates (it can be read
/// on the way, too). `await stream` waits for the first event. `async with` closes the stream for sure; so do cancelling
/// the task that reads it and dropping it. A closed stream takes its request back at once.
///
/// Iterating raises what the call raises; a stream that breaks off raises `StreamInterrupted`, with the text so far.
#[pyclass(module = "edgequake_llm", weakref)]
pub(crate) struct TextStream {
    reader: Py<AsyncReader>,
    next: Py<StreamNext>,
    progress: Progress,
}

#[pyclass(module = "edgequake_llm._core")]
struct AsyncReader {
    reader: Reader,
    waiter: Option<Waiter>,
}

#[pymethods]
impl AsyncReader {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.waiter.as_ref().map_or(Ok(()), |waiter| waiter.traverse(&visit))?;
        self.reader.end.as_ref().map_or(Ok(()), |end| end.traverse(&visit))
    }

    fn __clear__(&mut self) {
        self.waiter = None;
        self.reader.close(End::Closed);
        self.reader.end = Some(End::Closed);
    }
}

impl AsyncReader {
    /// Closes the stream; whoever waits for its next item hears of it.
    fn close(&mut self) {
        self.reader.close(End::Closed);
        if let Some(waiter) = &self.waiter {
            waiter.waker().wake_by_ref();
        }
    }

    /// The next step of whoever awaits an item: the item, or a future to wait on.
    fn step<'py>(&mut self, py: Python<'py>, items: Items, first: bool) -> PyResult<Step<'py>> {
        if !first && let Some(item) = self.reader.buffered(py, items)? {
            return Ok(Step::Item(item));
        }
        if self.reader.end.is_none() {
            if self.reader.work.is_inherited() {
                self.reader.close(End::Closed);
                return Err(forked(py));
            }
            let fits = match &self.waiter {
                Some(waiter) => waiter.belongs_to(&running_loop(py)?),
                None => false,
            };
            if !fits {
                self.waiter = Some(Waiter::new(py)?);
            }
        }
        let waker = self.waiter.as_ref().map_or(Waker::noop(), Waiter::waker).clone();
        let polled = if first {
            self.reader.poll_first(py, &mut Context::from_waker(&waker))
        } else {
            self.reader.poll(py, items, &mut Context::from_waker(&waker))
        };
        match polled {
            Poll::Ready(Ok(Some(item))) => Ok(Step::Item(item)),
            Poll::Ready(Ok(None)) => {
                self.waiter = None;
                Ok(Step::End)
            }
            Poll::Ready(Err(error)) => {
                self.waiter = None;
                Err(error)
            }
            Poll::Pending => match &mut self.waiter {
                Some(waiter) if waiter.is_waiting() => {
                    Err(PyRuntimeError::new_err("another task is reading this stream already"))
                }
                Some(waiter) => waiter.pause(py).map(Step::Wait),
                None => Err(PyRuntimeError::new_err("no waiter")),
            },
        }
    }
}

/// The reader, for one short step. Not `borrow_mut`, which panics where another thread uses the stream at this moment.
fn enter<'py>(py: Python<'py>, reader: &Py<AsyncReader>) -> PyResult<PyRefMut<'py, AsyncReader>> {
    let busy = |_| PyRuntimeError::new_err("another thread is using this stream; one stream belongs to one event loop");
    reader.bind(py).try_borrow_mut().map_err(busy)
}

enum Step<'py> {
    Item(Py<PyAny>),
    Wait(Bound<'py, PyAny>),
    End,
}

impl Reader {
    /// Ready when the first event or the end is there; takes nothing out.
    fn poll_first(&mut self, py: Python<'_>, cx: &mut Context<'_>) -> Poll<PyResult<Option<Py<PyAny>>>> {
        if self.end.is_none() {
            match std::task::ready!(self.receiver.poll_peek(cx)) {
                None => {}
                Some(outcome) => {
                    if let Err(error) = self.ended(py, outcome) {
                        return Poll::Ready(Err(error));
                    }
                }
            }
        }
        Poll::Ready(self.end.as_ref().map_or(Ok(()), |end| end.read_on(py)).map(|()| None))
    }
}

/// What awaits one item of a stream; made once for each stream, so that an item costs no object of its own.
#[pyclass(module = "edgequake_llm._core", frozen)]
pub(crate) struct StreamNext {
    reader: Py<AsyncReader>,
    items: Items,
    /// Waits for the first event and returns this instead of an item.
    first: Option<Py<PyAny>>,
}

#[pymethods]
impl StreamNext {
    fn __await__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let mut reader = enter(py, &self.reader)?;
        match (reader.step(py, self.items, self.first.is_some())?, &self.first) {
            (Step::Wait(future), _) => Ok(future),
            (Step::Item(item), _) => Err(PyStopIteration::new_err(item)),
            (Step::End, Some(result)) => Err(PyStopIteration::new_err(result.clone_ref(py))),
            (Step::End, None) => Err(PyStopAsyncIteration::new_err(())),
        }
    }

    /// Python throws `CancelledError` in here: the stream is closed before it goes on.
    #[pyo3(signature = (error, value=None, _traceback=None))]
    fn throw(
        &self,
        py: Python<'_>,
        error: Bound<'_, PyAny>,
        value: Option<Bound<'_, PyAny>>,
        _traceback: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let mut reader = enter(py, &self.reader)?;
        reader.waiter = None;
        reader.reader.close(End::Cancelled);
        Err(thrown(py, error, value))
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        // The awaiting coroutine is gone; the stream lives on if somebody still holds it.
        enter(py, &self.reader)?.waiter = None;
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.reader)?;
        visit.call(&self.first)
    }
}

/// Awaits nothing and returns a value: what `__aenter__` and `aclose` give.
#[pyclass(module = "edgequake_llm._core")]
struct Done(Option<Py<PyAny>>);

#[pymethods]
impl Done {
    fn __await__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }
    fn __next__(&mut self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Err(PyStopIteration::new_err(self.0.take().unwrap_or_else(|| py.None())))
    }
}

impl TextStream {
    /// A stream over a call that `work` carries out and that `receiver` hears from.
    pub(crate) fn new(
        py: Python<'_>,
        receiver: Receiver,
        work: Work<()>,
        provider: impl Into<Cow<'static, str>>,
        form: Option<Form>,
    ) -> PyResult<Self> {
        let (progress, provider) = (receiver.progress(), provider.into());
        let written = form.map(|form| (form, Mutex::default()));
        let reader = Reader { receiver, work, end: None, provider, written };
        let reader = Py::new(py, AsyncReader { reader, waiter: None })?;
        let next = Py::new(py, StreamNext { reader: reader.clone_ref(py), items: Items::Text, first: None })?;
        Ok(Self { reader, next, progress })
    }
}

#[pymethods]
impl TextStream {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.reader)?;
        visit.call(&self.next)
    }

    fn __aiter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __anext__(&self, py: Python<'_>) -> Py<StreamNext> {
        self.next.clone_ref(py)
    }

    /// Waits for the first event, so that a call which fails at once raises here; returns the stream.
    fn __await__(slf: &Bound<'_, Self>) -> PyResult<StreamNext> {
        let reader = slf.borrow().reader.clone_ref(slf.py());
        Ok(StreamNext { reader, items: Items::Events, first: Some(slf.clone().into_any().unbind()) })
    }

    fn __aenter__(slf: &Bound<'_, Self>) -> Done {
        Done(Some(slf.clone().into_any().unbind()))
    }

    #[pyo3(signature = (exc_type, exc_value, traceback, /))]
    fn __aexit__(
        &self,
        py: Python<'_>,
        exc_type: Option<Bound<'_, PyAny>>,
        exc_value: Option<Bound<'_, PyAny>>,
        traceback: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Done> {
        let _ = (exc_type, exc_value, traceback);
        self.aclose(py)
    }

    /// Closes the stream; takes the request back if it still runs.
    fn aclose(&self, py: Python<'_>) -> PyResult<Done> {
        enter(py, &self.reader)?.close();
        Ok(Done(None))
    }

    /// The typed events of the stream, to be read instead of its text.
    fn events(&self, py: Python<'_>) -> PyResult<EventStream> {
        let next = StreamNext { reader: self.reader.clone_ref(py), items: Items::Events, first: None };
        Ok(EventStream { next: Py::new(py, next)? })
    }

    /// The answer in the form that `response_format` asks for, as far as it was read: dicts, lists, texts and numbers,
    /// unchecked; `None` before there is anything of it. A text that is being written is there as far as it goes, a
    /// number or a name only when it is whole. Cheap to call after each piece; the same object while nothing was read.
    ///
    /// Raises `InvalidRequestError` without such a format.
    fn partial(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let reader = enter(py, &self.reader)?;
        partial(py, &reader.reader.written, reader.reader.end.as_ref())
    }

    /// The whole answer. Raises `ClosedError` before the stream has been read to its end.
    #[getter]
    fn response(&self, py: Python<'_>) -> PyResult<Py<LlmResponse>> {
        response(py, enter(py, &self.reader)?.reader.end.as_ref())
    }

    /// What the call has taken, so far or in all.
    #[getter]
    fn metrics(&self) -> InferenceMetrics {
        metrics(&self.progress)
    }
}

/// The typed events of a stream: `async for event in stream.events()`.
#[pyclass(module = "edgequake_llm")]
pub(crate) struct EventStream {
    next: Py<StreamNext>,
}

#[pymethods]
impl EventStream {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.next)
    }

    fn __aiter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __anext__(&self, py: Python<'_>) -> Py<StreamNext> {
        self.next.clone_ref(py)
    }
}

/// A streamed answer for code without an event loop: `for text in stream`.
///
/// As `TextStream`, with `with` instead of `async with` and `close()` instead of `aclose()`. Waiting releases the
/// interpreter's lock, and Ctrl-C interrupts it.
#[pyclass(module = "edgequake_llm", weakref)]
pub(crate) struct SyncTextStream {
    reader: Py<SyncReader>,
}

/// Shared by the threads that use the stream: one may read or wait while another one closes it. No lock is held while
/// Python runs or while somebody waits.
#[pyclass(module = "edgequake_llm._core", frozen)]
struct SyncReader {
    receiver: Mutex<Receiver>,
    work: Mutex<Work<()>>,
    end: Mutex<Option<End>>,
    /// Whether `end` is set, for those who wait without the interpreter.
    ended: AtomicBool,
    progress: Progress,
    provider: Cow<'static, str>,
    written: Option<Draft>,
}

#[pymethods]
impl SyncReader {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.end.try_lock() {
            Ok(end) => end.as_ref().map_or(Ok(()), |end| end.traverse(&visit)),
            Err(_) => Ok(()),
        }
    }

    fn __clear__(&self) {
        self.close(End::Closed);
        let end = lock(&self.end).replace(End::Closed);
        drop(end);
    }
}

impl SyncReader {
    fn next(&self, py: Python<'_>, items: Items) -> PyResult<Option<Py<PyAny>>> {
        loop {
            let event = lock(&self.receiver).buffered();
            let event = match event {
                Some(event) => event,
                None => {
                    if let Some(end) = self.end(py) {
                        return end.read_on(py).map(|()| None);
                    }
                    match self.wait(py)? {
                        None => continue,
                        Some(Next::Event(event)) => event,
                        Some(Next::End(outcome)) => {
                            let form = self.written.as_ref().map(|(form, _)| form.clone_ref(py));
                            self.set_end(End::of(py, outcome, self.provider.clone(), form)?);
                            continue;
                        }
                    }
                }
            };
            note(&self.written, &event);
            if let Some(item) = items.to_py(py, event)? {
                return Ok(Some(item));
            }
        }
    }

    /// What comes next, without the interpreter; `None` if another thread has reached or made the end.
    fn wait(&self, py: Python<'_>) -> PyResult<Option<Next>> {
        if lock(&self.work).is_inherited() {
            self.close(End::Closed);
            return Err(forked(py));
        }
        if let Poll::Ready(next) = lock(&self.receiver).poll_next(&mut Context::from_waker(Waker::noop())) {
            return Ok(Some(next));
        }
        let waited = wait(py, |cx| match lock(&self.receiver).poll_next(cx) {
            Poll::Ready(next) => Poll::Ready(Some(next)),
            Poll::Pending if self.ended.load(Ordering::Acquire) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        waited.inspect_err(|_| self.close(End::Cancelled))
    }

    fn end(&self, py: Python<'_>) -> Option<End> {
        lock(&self.end).as_ref().map(|end| end.clone_ref(py))
    }

    fn set_end(&self, end: End) {
        lock(&self.end).get_or_insert(end);
        self.ended.store(true, Ordering::Release);
    }

    /// Takes the request back if it still runs.
    fn close(&self, end: End) {
        self.set_end(end);
        lock(&self.work).abort();
        lock(&self.receiver).clear();
    }
}

impl SyncTextStream {
    /// As [`TextStream::new`].
    pub(crate) fn new(
        py: Python<'_>,
        receiver: Receiver,
        work: Work<()>,
        provider: impl Into<Cow<'static, str>>,
        form: Option<Form>,
    ) -> PyResult<Self> {
        let (progress, provider) = (receiver.progress(), provider.into());
        let reader = SyncReader {
            receiver: Mutex::new(receiver),
            work: Mutex::new(work),
            end: Mutex::new(None),
            ended: AtomicBool::new(false),
            progress,
            provider,
            written: form.map(|form| (form, Mutex::default())),
        };
        Ok(Self { reader: Py::new(py, reader)? })
    }
}

#[pymethods]
impl SyncTextStream {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.reader)
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.reader.get().next(py, Items::Text)
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    #[pyo3(signature = (exc_type, exc_value, traceback, /))]
    fn __exit__(
        &self,
        exc_type: Option<Bound<'_, PyAny>>,
        exc_value: Option<Bound<'_, PyAny>>,
        traceback: Option<Bound<'_, PyAny>>,
    ) {
        let _ = (exc_type, exc_value, traceback);
        self.close();
    }

    /// Closes the stream; takes the request back if it still runs.
    fn close(&self) {
        self.reader.get().close(End::Closed);
    }

    /// The typed events of the stream, to be read instead of its text.
    fn events(&self, py: Python<'_>) -> SyncEventStream {
        SyncEventStream { reader: self.reader.clone_ref(py) }
    }

    /// The answer in the form that `response_format` asks for, as far as it was read: dicts, lists, texts and numbers,
    /// unchecked; `None` before there is anything of it. A text that is being written is there as far as it goes, a
    /// number or a name only when it is whole. Cheap to call after each piece; the same object while nothing was read.
    ///
    /// Raises `InvalidRequestError` without such a format.
    fn partial(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let reader = self.reader.get();
        partial(py, &reader.written, reader.end(py).as_ref())
    }

    /// The whole answer. Raises `ClosedError` before the stream has been read to its end.
    #[getter]
    fn response(&self, py: Python<'_>) -> PyResult<Py<LlmResponse>> {
        response(py, self.reader.get().end(py).as_ref())
    }

    /// What the call has taken, so far or in all.
    #[getter]
    fn metrics(&self) -> InferenceMetrics {
        metrics(&self.reader.get().progress)
    }
}

/// The typed events of a stream: `for event in stream.events()`.
#[pyclass(module = "edgequake_llm")]
pub(crate) struct SyncEventStream {
    reader: Py<SyncReader>,
}

#[pymethods]
impl SyncEventStream {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.reader)
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.reader.get().next(py, Items::Events)
    }
}
