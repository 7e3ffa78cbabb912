//! What a task waits on while a call is under way.
//!
//! To a task it is an asyncio future. But where `Future.set_result` has the loop call the task back later, by way of a handle
//! that is made, queued and taken out again, this calls it at once: whoever wakes it runs as a callback of the loop already.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::{
    exceptions::PyRuntimeError,
    gc::{PyTraverseError, PyVisit},
    intern,
    prelude::*,
    sync::PyOnceLock,
    types::{PyDict, PyTuple},
};

/// What a task waits on while a call is under way; to asyncio, a future.
#[pyclass(frozen, module = "edgequake_llm._core")]
pub(crate) struct Pause {
    event_loop: Py<PyAny>,
    state: Mutex<State>,
}

struct State {
    /// How a task knows that what it was handed was awaited and not just yielded.
    blocking: bool,
    /// Whom to call at the end, and in which context.
    callbacks: Vec<(Py<PyAny>, Option<Py<PyAny>>)>,
    end: Option<End>,
}

enum End {
    Woken,
    Cancelled(Option<Py<PyAny>>),
}

impl Pause {
    pub(crate) fn new(event_loop: Py<PyAny>) -> Self {
        Self { event_loop, state: Mutex::new(State { blocking: true, callbacks: Vec::new(), end: None }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it, and gives whom to call: nobody, if it had ended before.
    fn end(&self, end: End) -> Vec<(Py<PyAny>, Option<Py<PyAny>>)> {
        let mut state = self.state();
        if state.end.is_some() {
            return Vec::new();
        }
        state.end = Some(end);
        std::mem::take(&mut state.callbacks)
    }

    /// Lets the task that waits go on, now. To be called by the loop.
    ///
    /// # Errors
    /// What ends the loop: `KeyboardInterrupt` and `SystemExit`. A task keeps all other errors.
    pub(crate) fn wake(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        for (callback, context) in slf.get().end(End::Woken) {
            match context {
                Some(context) => context.bind(py).call_method1(intern!(py, "run"), (callback, slf))?,
                None => callback.bind(py).call1((slf,))?,
            };
        }
        Ok(())
    }

    fn call_soon(slf: &Bound<'_, Self>, callback: &Py<PyAny>, context: Option<Py<PyAny>>) -> PyResult<()> {
        let py = slf.py();
        let keywords = PyDict::new(py);
        keywords.set_item(intern!(py, "context"), context)?;
        let event_loop = slf.get().event_loop.bind(py);
        event_loop.call_method(intern!(py, "call_soon"), (callback, slf), Some(&keywords)).map(drop)
    }

    fn cancelled_error(py: Python<'_>, message: Option<&Py<PyAny>>) -> PyErr {
        static CANCELLED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let class = CANCELLED
            .get_or_try_init(py, || py.import("asyncio.exceptions")?.getattr("CancelledError").map(Bound::unbind));
        let arguments = PyTuple::new(py, message);
        match class.and_then(|class| class.bind(py).call1(arguments?)) {
            Ok(error) => PyErr::from_value(error),
            Err(error) => error,
        }
    }
}

#[pymethods]
impl Pause {
    #[getter(_asyncio_future_blocking)]
    fn blocking(&self) -> bool {
        self.state().blocking
    }

    #[setter(_asyncio_future_blocking)]
    fn set_blocking(&self, blocking: bool) {
        self.state().blocking = blocking;
    }

    fn get_loop(&self, py: Python<'_>) -> Py<PyAny> {
        self.event_loop.clone_ref(py)
    }

    #[pyo3(signature = (callback, /, *, context=None))]
    fn add_done_callback(slf: &Bound<'_, Self>, callback: Py<PyAny>, context: Option<Py<PyAny>>) -> PyResult<()> {
        {
            let mut state = slf.get().state();
            if state.end.is_none() {
                state.callbacks.push((callback, context));
                return Ok(());
            }
        }
        Self::call_soon(slf, &callback, context)
    }

    fn remove_done_callback(&self, callback: &Bound<'_, PyAny>) -> PyResult<usize> {
        let before = std::mem::take(&mut self.state().callbacks);
        let count = before.len();
        let mut kept = Vec::new();
        for (known, context) in before {
            if !known.bind(callback.py()).eq(callback)? {
                kept.push((known, context));
            }
        }
        let removed = count - kept.len();
        self.state().callbacks.append(&mut kept);
        Ok(removed)
    }

    /// A task that is cancelled cancels what it waits on: the loop calls it back to take its error.
    #[pyo3(signature = (msg=None))]
    fn cancel(slf: &Bound<'_, Self>, msg: Option<Py<PyAny>>) -> PyResult<bool> {
        if slf.get().state().end.is_some() {
            return Ok(false);
        }
        for (callback, context) in slf.get().end(End::Cancelled(msg)) {
            Self::call_soon(slf, &callback, context)?;
        }
        Ok(true)
    }

    fn cancelled(&self) -> bool {
        matches!(self.state().end, Some(End::Cancelled(_)))
    }

    fn done(&self) -> bool {
        self.state().end.is_some()
    }

    /// None: the result is with whoever waits.
    fn result(&self, py: Python<'_>) -> PyResult<()> {
        let message = match &self.state().end {
            Some(End::Woken) => return Ok(()),
            Some(End::Cancelled(message)) => message.as_ref().map(|message| message.clone_ref(py)),
            None => return Err(PyRuntimeError::new_err("this call is still under way")),
        };
        Err(Self::cancelled_error(py, message.as_ref()))
    }

    fn exception(&self, py: Python<'_>) -> PyResult<()> {
        self.result(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.event_loop)?;
        let Ok(state) = self.state.try_lock() else { return Ok(()) };
        if let Some(End::Cancelled(Some(message))) = &state.end {
            visit.call(message)?;
        }
        state.callbacks.iter().try_for_each(|(callback, context)| {
            visit.call(callback)?;
            context.as_ref().map_or(Ok(()), |context| visit.call(context))
        })
    }

    fn __clear__(&self) {
        let callbacks = std::mem::take(&mut self.state().callbacks);
        drop(callbacks);
    }
}
