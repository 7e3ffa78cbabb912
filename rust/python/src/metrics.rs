//! `InferenceMetrics`: what one inference took, measured by every call or by hand.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use edgequake_core::{Error, metrics::Metrics};
use pyo3::{prelude::*, types::PyDict};

use crate::{errors::to_py, options::whole};

enum Clock {
    System(Instant),
    /// A Python function that gives seconds, and its value at the start.
    Given(Py<PyAny>, f64),
    /// The time of a call that is over, or a moment within one.
    Fixed(Duration),
}

/// What one inference took. Every call fills one by itself; made by hand, it counts from its making.
///
/// `ttft_ms` is the time from the start to the first token, in milliseconds. `tokens_per_second` is output tokens ÷ the
/// time from the first token to the last one (÷ the whole time where all came at once). Percentiles of the inter-token
/// latency are over the gaps between the pieces that came, by nearest rank.
///
/// `clock` is a function that returns seconds, for tests; by default the system's monotonic clock.
#[pyclass(name = "InferenceMetrics", module = "edgequake_llm", frozen)]
pub(crate) struct InferenceMetrics {
    metrics: Mutex<Metrics>,
    clock: Clock,
}

impl InferenceMetrics {
    /// The metrics of a call, as of `now` since its start.
    pub(crate) fn of(metrics: Metrics, now: Duration) -> Self {
        Self { metrics: Mutex::new(metrics), clock: Clock::Fixed(now) }
    }

    fn lock(&self) -> MutexGuard<'_, Metrics> {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self, py: Python<'_>) -> PyResult<Duration> {
        match &self.clock {
            Clock::System(started) => Ok(started.elapsed()),
            Clock::Given(clock, started) => {
                let now: f64 = clock.call0(py)?.extract(py)?;
                Ok(Duration::try_from_secs_f64(now - started).unwrap_or_default())
            }
            Clock::Fixed(now) => Ok(*now),
        }
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[pymethods]
impl InferenceMetrics {
    #[new]
    #[pyo3(signature = (*, clock=None))]
    fn new(py: Python<'_>, clock: Option<Py<PyAny>>) -> PyResult<Self> {
        let clock = match clock {
            None => Clock::System(Instant::now()),
            Some(clock) => {
                let started = clock.call0(py)?.extract(py)?;
                Clock::Given(clock, started)
            }
        };
        Ok(Self { metrics: Mutex::default(), clock })
    }

    /// The first token has come. Only the first call counts.
    fn record_first_token(&self, py: Python<'_>) -> PyResult<()> {
        let now = self.now(py)?;
        self.lock().record_first_token(now);
        Ok(())
    }

    /// `count` more output tokens have come; the first call sets the time to first token too.
    fn add_output_tokens(&self, count: &Bound<'_, PyAny>) -> PyResult<()> {
        let now = self.now(count.py())?;
        let count = whole("count", "a whole number of at least 0", count)?;
        self.lock().add_output_tokens(count, now);
        Ok(())
    }

    /// The answer is over: the total time and the rate stand still from now on.
    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        let now = self.now(py)?;
        self.lock().finish(now);
        Ok(())
    }

    /// Milliseconds from the start to the first token; `None` before it.
    #[getter]
    fn ttft_ms(&self) -> Option<f64> {
        self.lock().ttft().map(ms)
    }

    /// Milliseconds from the start to the end, or to now.
    #[getter]
    fn total_ms(&self, py: Python<'_>) -> PyResult<f64> {
        let now = self.now(py)?;
        Ok(ms(self.lock().total(now)))
    }

    /// Output tokens: the provider's count once it is known; until then each piece counts as one.
    #[getter]
    fn output_tokens(&self) -> u64 {
        self.lock().output_tokens()
    }

    /// Prompt tokens; 0 until the provider has told them.
    #[getter]
    fn input_tokens(&self) -> u64 {
        self.lock().input_tokens()
    }

    /// Output tokens a second; 0.0 before the first token.
    #[getter]
    fn tokens_per_second(&self, py: Python<'_>) -> PyResult<f64> {
        let now = self.now(py)?;
        Ok(self.lock().tokens_per_second(now))
    }

    /// The `q` quantile (0 to 1) of the gaps between pieces in milliseconds; `None` with fewer than two pieces.
    fn inter_token_ms(&self, py: Python<'_>, q: f64) -> PyResult<Option<f64>> {
        if !(0.0..=1.0).contains(&q) {
            return Err(to_py(py, &Error::invalid(format!("a quantile is from 0 to 1, not {q}"))));
        }
        Ok(self.lock().inter_token(q).map(ms))
    }

    /// The median gap between pieces in milliseconds.
    #[getter]
    fn itl_p50_ms(&self) -> Option<f64> {
        self.lock().inter_token(0.5).map(ms)
    }

    /// The 95th percentile of the gaps between pieces in milliseconds.
    #[getter]
    fn itl_p95_ms(&self) -> Option<f64> {
        self.lock().inter_token(0.95).map(ms)
    }

    /// The 99th percentile of the gaps between pieces in milliseconds.
    #[getter]
    fn itl_p99_ms(&self) -> Option<f64> {
        self.lock().inter_token(0.99).map(ms)
    }

    /// All figures in a dict, for logs.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        dict.set_item("ttft_ms", self.ttft_ms())?;
        dict.set_item("total_ms", self.total_ms(py)?)?;
        dict.set_item("input_tokens", self.input_tokens())?;
        dict.set_item("output_tokens", self.output_tokens())?;
        dict.set_item("tokens_per_second", self.tokens_per_second(py)?)?;
        dict.set_item("itl_p50_ms", self.itl_p50_ms())?;
        dict.set_item("itl_p95_ms", self.itl_p95_ms())?;
        dict.set_item("itl_p99_ms", self.itl_p99_ms())?;
        Ok(dict)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let ttft = self.ttft_ms().map_or_else(|| "None".to_owned(), |ms| format!("{ms:.1}"));
        Ok(format!(
            "InferenceMetrics(ttft_ms={ttft}, total_ms={:.1}, output_tokens={}, tokens_per_second={:.1})",
            self.total_ms(py)?,
            self.output_tokens(),
            self.tokens_per_second(py)?
        ))
    }
}
