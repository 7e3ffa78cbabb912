//! `ModelInfo`: what a provider tells about one of its models.

use edgequake_core::wire::models;
use pyo3::prelude::*;

use crate::json::loads;

/// What a provider tells about one of its models. What it does not tell is `None` or empty, never a guess.
#[pyclass(name = "ModelInfo", module = "edgequake_llm", frozen)]
pub(crate) struct ModelInfo {
    info: models::ModelInfo,
    provider: &'static str,
}

impl ModelInfo {
    pub(crate) fn of(info: models::ModelInfo, provider: &'static str) -> Self {
        Self { info, provider }
    }
}

#[pymethods]
impl ModelInfo {
    /// The name that calls use.
    #[getter]
    fn id(&self) -> &str {
        &self.info.id
    }

    /// The provider's name, as `openai`.
    #[getter]
    fn provider(&self) -> &'static str {
        self.provider
    }

    /// The name for people.
    #[getter]
    fn name(&self) -> Option<&str> {
        self.info.name.as_deref()
    }

    /// When it was made or published, in seconds since 1970.
    #[getter]
    fn created(&self) -> Option<i64> {
        self.info.created
    }

    /// Who made it.
    #[getter]
    fn owner(&self) -> Option<&str> {
        self.info.owner.as_deref()
    }

    /// The longest prompt in tokens; where the provider counts them together, prompt and answer.
    #[getter]
    fn context_window(&self) -> Option<u64> {
        self.info.context_window
    }

    /// The longest answer in tokens.
    #[getter]
    fn max_output_tokens(&self) -> Option<u64> {
        self.info.max_output_tokens
    }

    /// What the provider says that it can do: `chat`, `embeddings`, `tools`, `vision`, `audio`, `reasoning`, `json`.
    #[getter]
    fn capabilities(&self) -> Vec<&'static str> {
        self.info.capabilities.clone()
    }

    /// The provider's entry as it came.
    #[getter]
    fn raw<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        loads(py, &self.info.raw.to_string())
    }

    fn __repr__(&self) -> String {
        format!("ModelInfo(id={:?}, provider={:?})", self.info.id, self.provider)
    }
}
