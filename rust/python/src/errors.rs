//! The one door through which core errors become Python exceptions.

use edgequake_core::{Error, ErrorKind};
use pyo3::{
    IntoPyObjectExt,
    prelude::*,
    sync::PyOnceLock,
    types::{PyDict, PyModule, PyType},
};

use crate::{embeddings::vectors_by_place, response::LlmResponse};

/// The Python class for a kind of error, by name in `edgequake_llm._exceptions`.
fn class_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Configuration => "ConfigurationError",
        ErrorKind::InvalidRequest => "InvalidRequestError",
        ErrorKind::Unsupported => "UnsupportedOption",
        ErrorKind::ContextLength => "ContextLengthError",
        ErrorKind::Authentication => "AuthenticationError",
        ErrorKind::PermissionDenied => "PermissionDeniedError",
        ErrorKind::NotFound => "NotFoundError",
        ErrorKind::Conflict => "ConflictError",
        ErrorKind::RequestTooLarge => "RequestTooLargeError",
        ErrorKind::RateLimit => "RateLimitError",
        ErrorKind::Quota => "QuotaError",
        ErrorKind::Server => "ServerError",
        ErrorKind::Overloaded => "OverloadedError",
        ErrorKind::Api => "APIStatusError",
        ErrorKind::Connect => "APIConnectionError",
        ErrorKind::ConnectTimeout => "ConnectTimeout",
        ErrorKind::FirstTokenTimeout => "FirstTokenTimeout",
        ErrorKind::IdleTimeout => "IdleTimeout",
        ErrorKind::TotalTimeout => "TotalTimeout",
        ErrorKind::LimiterTimeout => "RateLimitTimeout",
        ErrorKind::Interrupted => "StreamInterrupted",
        ErrorKind::Malformed => "InvalidResponseError",
        ErrorKind::Closed => "ClosedError",
        ErrorKind::Internal => "InternalError",
    }
}

fn class<'py>(py: Python<'py>, kind: ErrorKind) -> PyResult<Bound<'py, PyType>> {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let module = MODULE.get_or_try_init(py, || py.import("edgequake_llm._exceptions").map(Bound::unbind))?;
    Ok(module.bind(py).getattr(class_name(kind))?.cast_into::<PyType>()?)
}

fn build(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    let details = PyDict::new(py);
    details.set_item("provider", error.provider())?;
    details.set_item("status", error.status())?;
    details.set_item("code", error.code())?;
    details.set_item("error_type", error.error_type())?;
    details.set_item("param", error.param())?;
    details.set_item("request_id", error.request_id())?;
    details.set_item("retry_after", error.retry_after().map(|wait| wait.as_secs_f64()))?;
    details.set_item("retryable", error.retryable())?;
    details.set_item("attempts", error.attempts())?;
    details.set_item("elapsed", error.elapsed().map(|elapsed| elapsed.as_secs_f64()))?;
    if let Some(partial) = error.partial() {
        details.set_item("partial", LlmResponse::partial(partial.clone(), error.provider()).into_py_any(py)?)?;
    }
    if !error.embedded().is_empty() {
        details.set_item("embedded", vectors_by_place(py, error.embedded())?)?;
    }
    let instance = class(py, error.kind())?.call((error.message(),), Some(&details))?;
    Ok(PyErr::from_value(instance))
}

/// The Python exception for a core error.
pub(crate) fn to_py(py: Python<'_>, error: &Error) -> PyErr {
    build(py, error).unwrap_or_else(|failure| failure)
}
