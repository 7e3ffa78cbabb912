//! Streams: `TextStream` for asyncio and `SyncTextStream` for threads, over the same queue.

use std::task::{Context, Poll};

use edgequake_core::{
    Error, ErrorKind,
    call::{Next, Outcome, Receiver},
    model::Event,
};
use pyo3::{
    exceptions::{PyRuntimeError, PyStopAsyncIteration, PyStopIteration},
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
    Closed,
}

/// The reader's side of a streamed call.
struct Reader {
    receiver: Receiver,
    work: Work<()>,
    end: Option<End>,
    provider: &'static str,
    /// The form of the answer, where one was asked for, and what was read of it.
    written: Option<(Form, Written)>,
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
            self.note(&event);
            if let Some(item) = items.to_py(py, event)? {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    /// The next item; `Ready(None)` at the end.
    fn poll(&mut self, py: Python<'_>, items: Items, cx: &mut Context<'_>) -> Poll<PyResult<Option<Py<PyAny>>>> {
        loop {
            match &self.end {
                Some(End::Whole(_)) => return Poll::Ready(Ok(None)),
                Some(End::Broken(error)) => return Poll::Ready(Err(PyErr::from_value(error.bind(py).clone()))),
                Some(End::Closed) => return Poll::Ready(Ok(None)),
                None => {}
            }
            match std::task::ready!(self.receiver.poll_next(cx)) {
                Next::Event(event) => {
                    self.note(&event);
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

    /// Keeps the text of an answer that has a form.
    fn note(&mut self, event: &Event) {
        if let (Some((_, written)), Event::Text(text)) = (&mut self.written, event) {
            written.push(text);
        }
    }

    /// The answer's value as far as it was read.
    fn partial(&mut self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let whole = matches!(self.end, Some(End::Whole(_)));
        match &mut self.written {
            Some((form, written)) => written.partial(py, form, whole),
            None => Err(no_form(py)),
        }
    }

    fn ended(&mut self, py: Python<'_>, outcome: Outcome) -> PyResult<()> {
        let form = self.written.as_ref().map(|(form, _)| form.clone_ref(py));
        self.end = Some(match outcome {
            Ok(completed) => End::Whole(Py::new(py, LlmResponse::of(*completed, self.provider).with_form(form))?),
            Err(error) => End::Broken(to_py(py, &error).into_value(py).into_any()),
        });
        Ok(())
    }

    /// Takes the request back if it still runs.
    fn close(&mut self) {
        self.work.abort();
        if self.end.is_none() {
            self.end = Some(End::Closed);
        }
    }

    fn response(&self, py: Python<'_>) -> PyResult<Py<LlmResponse>> {
        let message = match &self.end {
            Some(End::Whole(response)) => return Ok(response.clone_ref(py)),
            Some(End::Broken(error)) => return Err(PyErr::from_value(error.bind(py).clone())),
            Some(End::Closed) => "the stream was closed before its end, so there is no whole response",
            None => "the response is whole only after the stream has been read to its end",
        };
        Err(to_py(py, &Error::new(ErrorKind::Closed, message)))
    }

    fn metrics(&self) -> InferenceMetrics {
        let (metrics, now) = self.receiver.metrics();
        InferenceMetrics::of(metrics, now)
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
}

#[pyclass(module = "edgequake_llm._core")]
struct AsyncReader {
    reader: Reader,
    waiter: Option<Waiter>,
}

impl AsyncReader {
    /// The next step of whoever awaits an item: the item, or a future to wait on.
    fn step<'py>(&mut self, py: Python<'py>, items: Items, first: bool) -> PyResult<Step<'py>> {
        if !first && let Some(item) = self.reader.buffered(py, items)? {
            return Ok(Step::Item(item));
        }
        if self.reader.end.is_none() {
            if self.reader.work.is_inherited() {
                self.reader.close();
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
        let waker = self.waiter.as_ref().map_or(std::task::Waker::noop(), Waiter::waker).clone();
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
                Some(waiter) => waiter.future(py).map(Step::Wait),
                None => Err(PyRuntimeError::new_err("no waiter")),
            },
        }
    }
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
        match &self.end {
            Some(End::Broken(error)) => Poll::Ready(Err(PyErr::from_value(error.bind(py).clone()))),
            _ => Poll::Ready(Ok(None)),
        }
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
        let mut reader = self.reader.bind(py).borrow_mut();
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
        self.reader.bind(py).borrow_mut().close();
        Err(thrown(py, error, value))
    }

    fn close(&self, py: Python<'_>) {
        // The awaiting coroutine is gone; the stream lives on if somebody still holds it.
        self.reader.bind(py).borrow_mut().waiter = None;
    }
}

#[pymethods]
impl AsyncReader {
    fn close(&mut self) {
        self.waiter = None;
        self.reader.close();
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
        provider: &'static str,
        form: Option<Form>,
    ) -> PyResult<Self> {
        let written = form.map(|form| (form, Written::default()));
        let reader = Reader { receiver, work, end: None, provider, written };
        let reader = Py::new(py, AsyncReader { reader, waiter: None })?;
        let next = Py::new(py, StreamNext { reader: reader.clone_ref(py), items: Items::Text, first: None })?;
        Ok(Self { reader, next })
    }
}

#[pymethods]
impl TextStream {
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
    ) -> Done {
        let _ = (exc_type, exc_value, traceback);
        self.aclose(py)
    }

    /// Closes the stream; takes the request back if it still runs.
    fn aclose(&self, py: Python<'_>) -> Done {
        self.reader.bind(py).borrow_mut().close();
        Done(None)
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
        self.reader.bind(py).borrow_mut().reader.partial(py)
    }

    /// The whole answer. Raises `ClosedError` before the stream has been read to its end.
    #[getter]
    fn response(&self, py: Python<'_>) -> PyResult<Py<LlmResponse>> {
        self.reader.bind(py).borrow().reader.response(py)
    }

    /// What the call has taken, so far or in all.
    #[getter]
    fn metrics(&self, py: Python<'_>) -> InferenceMetrics {
        self.reader.bind(py).borrow().reader.metrics()
    }
}

/// The typed events of a stream: `async for event in stream.events()`.
#[pyclass(module = "edgequake_llm")]
pub(crate) struct EventStream {
    next: Py<StreamNext>,
}

#[pymethods]
impl EventStream {
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

#[pyclass(module = "edgequake_llm._core")]
struct SyncReader {
    reader: Reader,
}

impl SyncReader {
    fn next(&mut self, py: Python<'_>, items: Items) -> PyResult<Option<Py<PyAny>>> {
        if let Some(item) = self.reader.buffered(py, items)? {
            return Ok(Some(item));
        }
        loop {
            if self.reader.end.is_none() && self.reader.work.is_inherited() {
                self.reader.close();
                return Err(forked(py));
            }
            match self.reader.poll(py, items, &mut Context::from_waker(std::task::Waker::noop())) {
                Poll::Ready(item) => return item,
                Poll::Pending => {
                    let receiver = &mut self.reader.receiver;
                    let ended = match wait(py, |cx| receiver.poll_peek(cx)) {
                        Ok(ended) => ended,
                        Err(interrupt) => {
                            self.reader.close();
                            return Err(interrupt);
                        }
                    };
                    if let Some(outcome) = ended {
                        self.reader.ended(py, outcome)?;
                    }
                }
            }
        }
    }
}

impl SyncTextStream {
    /// As [`TextStream::new`].
    pub(crate) fn new(
        py: Python<'_>,
        receiver: Receiver,
        work: Work<()>,
        provider: &'static str,
        form: Option<Form>,
    ) -> PyResult<Self> {
        let written = form.map(|form| (form, Written::default()));
        let reader = Reader { receiver, work, end: None, provider, written };
        Ok(Self { reader: Py::new(py, SyncReader { reader })? })
    }
}

#[pymethods]
impl SyncTextStream {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.reader.bind(py).borrow_mut().next(py, Items::Text)
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    #[pyo3(signature = (exc_type, exc_value, traceback, /))]
    fn __exit__(
        &self,
        py: Python<'_>,
        exc_type: Option<Bound<'_, PyAny>>,
        exc_value: Option<Bound<'_, PyAny>>,
        traceback: Option<Bound<'_, PyAny>>,
    ) {
        let _ = (exc_type, exc_value, traceback);
        self.close(py);
    }

    /// Closes the stream; takes the request back if it still runs.
    fn close(&self, py: Python<'_>) {
        self.reader.bind(py).borrow_mut().reader.close();
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
        self.reader.bind(py).borrow_mut().reader.partial(py)
    }

    /// The whole answer. Raises `ClosedError` before the stream has been read to its end.
    #[getter]
    fn response(&self, py: Python<'_>) -> PyResult<Py<LlmResponse>> {
        self.reader.bind(py).borrow().reader.response(py)
    }

    /// What the call has taken, so far or in all.
    #[getter]
    fn metrics(&self, py: Python<'_>) -> InferenceMetrics {
        self.reader.bind(py).borrow().reader.metrics()
    }
}

/// The typed events of a stream: `for event in stream.events()`.
#[pyclass(module = "edgequake_llm")]
pub(crate) struct SyncEventStream {
    reader: Py<SyncReader>,
}

#[pymethods]
impl SyncEventStream {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.reader.bind(py).borrow_mut().next(py, Items::Events)
    }
}
