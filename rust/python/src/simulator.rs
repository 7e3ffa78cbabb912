//! The simulator, started and scripted from Python. `edgequake_llm.simulator` makes it a context manager.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use edgequake_core::{
    Error,
    simulator::{self, After, Fault, Overrides, Payload, Reply, SimulatorConfig, ToolCall},
};
use pyo3::{
    prelude::*,
    types::{PyBytes, PyDict},
};

use crate::{
    errors::to_py,
    options::{header_pairs, seconds},
};

/// A running simulator: a loopback server that speaks the four wire formats.
#[pyclass(module = "edgequake_llm._core", frozen)]
pub(crate) struct Simulator {
    simulator: Mutex<simulator::Simulator>,
}

/// The value of a keyword argument if it was given and is not `None`.
fn given<'py, T>(keywords: &Bound<'py, PyDict>, name: &str) -> PyResult<Option<T>>
where
    T: for<'a> FromPyObject<'a, 'py, Error: Into<PyErr>>,
{
    match keywords.get_item(name)? {
        Some(value) if !value.is_none() => Ok(Some(value.extract::<T>().map_err(Into::into)?)),
        _ => Ok(None),
    }
}

/// As [`given`], in seconds; 0 is allowed.
fn time(keywords: &Bound<'_, PyDict>, name: &str) -> PyResult<Option<Duration>> {
    let Some(value) = keywords.get_item(name)?.filter(|value| !value.is_none()) else { return Ok(None) };
    if value.extract::<f64>().is_ok_and(|seconds| seconds == 0.0) {
        return Ok(Some(Duration::ZERO));
    }
    seconds(name, &value)
}

fn known(keywords: &Bound<'_, PyDict>, names: &[&str]) -> PyResult<()> {
    for name in keywords.keys() {
        let name: String = name.extract()?;
        if !names.contains(&name.as_str()) {
            let message = format!("the simulator has no setting {name:?}; it has {}", names.join(", "));
            return Err(to_py(keywords.py(), &Error::invalid(message)));
        }
    }
    Ok(())
}

fn overrides(keywords: &Bound<'_, PyDict>) -> PyResult<Overrides> {
    let calls: Option<Vec<(String, String)>> = given(keywords, "tool_calls")?;
    Ok(Overrides {
        text: given(keywords, "text")?,
        thinking: given(keywords, "thinking")?,
        tokens: given(keywords, "tokens")?,
        tool_calls: calls
            .map(|calls| calls.into_iter().map(|(name, arguments)| ToolCall { name, arguments }).collect()),
        delay: time(keywords, "delay")?,
        ttft: time(keywords, "ttft")?,
        gap: time(keywords, "gap")?,
        jitter: given(keywords, "jitter")?,
        chunk_events: given(keywords, "chunk_events")?,
        status: given(keywords, "status")?,
        error: given(keywords, "error")?,
        retry_after: time(keywords, "retry_after")?,
        gzip: given(keywords, "gzip")?,
        fault: fault(keywords)?,
    })
}

fn fault(keywords: &Bound<'_, PyDict>) -> PyResult<Option<Fault>> {
    let Some(name) = given::<String>(keywords, "fault")? else { return Ok(None) };
    let events = given(keywords, "after_events")?.unwrap_or(0);
    let after = match given(keywords, "after_bytes")? {
        Some(bytes) => After::Bytes(bytes),
        None => After::Events(events),
    };
    Ok(Some(match name.as_str() {
        "close_before_headers" => Fault::CloseBeforeHeaders,
        "cut" => Fault::CutAfter(after),
        "close" => Fault::CloseAfter(after),
        "end" => Fault::EndAfter(after),
        "stall" => Fault::StallAfter { after, keep_alive: time(keywords, "keep_alive")? },
        "error" => Fault::ErrorAfter { events, status: given(keywords, "error_status")?.unwrap_or(529) },
        "raw" => Fault::Raw(given::<Vec<u8>>(keywords, "raw")?.unwrap_or_default().into()),
        other => {
            let names = "close_before_headers, cut, close, end, stall, error and raw";
            let message = format!("there is no fault {other:?}; there are {names}");
            return Err(to_py(keywords.py(), &Error::invalid(message)));
        }
    }))
}

const OVERRIDES: [&str; 19] = [
    "text",
    "thinking",
    "tokens",
    "tool_calls",
    "delay",
    "ttft",
    "gap",
    "jitter",
    "chunk_events",
    "status",
    "error",
    "retry_after",
    "gzip",
    "fault",
    "after_events",
    "after_bytes",
    "keep_alive",
    "error_status",
    "raw",
];

impl Simulator {
    fn lock(&self) -> MutexGuard<'_, simulator::Simulator> {
        self.simulator.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Simulator {
    /// Starts a simulator. The keyword arguments are those of `edgequake_llm.Simulator`.
    #[new]
    #[pyo3(signature = (**config))]
    fn new(py: Python<'_>, config: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let mut settings = SimulatorConfig::default();
        if let Some(keywords) = config {
            macro_rules! take {
                ($($name:ident),*; optional $($optional:ident),*; time $($time:ident),*) => {
                    known(keywords, &[$(stringify!($name),)* $(stringify!($optional),)* $(stringify!($time),)*])?;
                    $(if let Some(value) = given(keywords, stringify!($name))? { settings.$name = value; })*
                    $(settings.$optional = given(keywords, stringify!($optional))?;)*
                    $(if let Some(value) = time(keywords, stringify!($time))? { settings.$time = value; })*
                };
            }
            take!(port, tls, tls_port, require_client_cert, h1_only, max_concurrent_streams, jitter, seed,
                  chunk_events, embedding_dims, gzip, failure_rate, failure_status, record, record_limit;
                  optional text, tokens, requests_per_minute, tokens_per_minute, max_concurrent, send_buffer;
                  time ttft, gap, limit_window);
        }
        let started = py.detach(|| simulator::Simulator::start(settings));
        Ok(Self { simulator: Mutex::new(started.map_err(|error| to_py(py, &error))?) })
    }

    /// Queues a reply for the next request that matches it.
    #[pyo3(signature = (**reply))]
    fn push(&self, py: Python<'_>, reply: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
        let mut queued = Reply::default();
        if let Some(keywords) = reply {
            let names: Vec<&str> = OVERRIDES.into_iter().chain(["path", "headers", "body", "pieces"]).collect();
            known(keywords, &names)?;
            queued.path_contains = given(keywords, "path")?;
            if let Some(headers) = keywords.get_item("headers")?.filter(|headers| !headers.is_none()) {
                queued.headers = header_pairs(&headers)?;
            }
            if let Some(body) = given::<Vec<u8>>(keywords, "body")? {
                queued.payload = Payload::Whole(body.into());
            }
            if let Some(pieces) = given::<Vec<Vec<u8>>>(keywords, "pieces")? {
                queued.payload = Payload::Pieces(pieces.into_iter().map(Into::into).collect());
            }
            queued.overrides = overrides(keywords)?;
        }
        self.lock().push(queued).map_err(|error| to_py(py, &error))
    }

    /// What it saw so far, as a dict of counts.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.lock().stats();
        let dict = PyDict::new(py);
        for (name, count) in [
            ("connections", stats.connections),
            ("connections_open", stats.connections_open),
            ("tls_handshakes", stats.tls_handshakes),
            ("requests", stats.requests),
            ("h2_requests", stats.h2_requests),
            ("in_flight", stats.in_flight),
            ("max_in_flight", stats.max_in_flight),
            ("completed", stats.completed),
            ("aborted", stats.aborted),
            ("faulted", stats.faulted),
            ("rate_limited", stats.rate_limited),
            ("events_sent", stats.events_sent),
            ("bytes_sent", stats.bytes_sent),
        ] {
            dict.set_item(name, count)?;
        }
        Ok(dict)
    }

    /// The latest requests, oldest first, as dicts; none unless `record` is set.
    fn requests<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let requests = self.lock().requests();
        let to_dict = |request: simulator::RecordedRequest| {
            let headers = PyDict::new(py);
            for (name, value) in &request.headers {
                headers.set_item(name.as_str(), String::from_utf8_lossy(value.as_bytes()))?;
            }
            let dict = PyDict::new(py);
            dict.set_item("number", request.number)?;
            dict.set_item("connection", request.connection)?;
            dict.set_item("http2", request.version == http::Version::HTTP_2)?;
            dict.set_item("method", request.method.as_str())?;
            dict.set_item("path", request.path)?;
            dict.set_item("query", request.query)?;
            dict.set_item("headers", headers)?;
            dict.set_item("body", PyBytes::new(py, &request.body))?;
            Ok(dict)
        };
        requests.into_iter().map(to_dict).collect()
    }

    /// How many queued replies were not used yet.
    fn pending(&self) -> usize {
        self.lock().pending()
    }

    /// Forgets the queued replies.
    fn clear(&self) {
        self.lock().clear();
    }

    /// Closes every open connection, as a server does that restarts.
    fn close_connections(&self) {
        self.lock().close_connections();
    }

    /// Stops listening and drops all connections.
    fn stop(&self, py: Python<'_>) {
        py.detach(|| self.lock().stop());
    }

    /// The port in clear.
    #[getter]
    fn port(&self) -> u16 {
        self.lock().port()
    }

    /// The base URL in clear, without a path.
    #[getter]
    fn url(&self) -> String {
        self.lock().url()
    }

    /// The base URL for TLS, if there is one.
    #[getter]
    fn tls_url(&self) -> Option<String> {
        self.lock().tls_url()
    }

    /// The certificate (PEM) to trust for TLS.
    #[getter]
    fn cert_pem(&self) -> Option<String> {
        self.lock().cert_pem().map(str::to_owned)
    }

    /// A client's certificate and key (PEM) of the same authority.
    #[getter]
    fn client_pem(&self) -> Option<String> {
        self.lock().client_identity().map(str::to_owned)
    }

    fn __repr__(&self) -> String {
        format!("{:?}", *self.lock())
    }
}
