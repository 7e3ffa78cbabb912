//! The table of servers that speak OpenAI's format, as the Python classes read it.

use edgequake_core::wire::openai::presets::{self, PRESETS};
use pyo3::prelude::*;

/// A server that speaks OpenAI's format: where it is and how it is set up.
#[pyclass(name = "Preset", module = "edgequake_llm", frozen, eq)]
#[derive(PartialEq)]
pub(crate) struct Preset {
    preset: &'static presets::Preset,
}

#[pymethods]
impl Preset {
    /// Its name, in settings, messages and telemetry.
    #[getter]
    fn name(&self) -> &'static str {
        self.preset.name
    }

    /// Its name for people.
    #[getter]
    fn title(&self) -> &'static str {
        self.preset.title
    }

    /// Where it is; empty if each customer has an address of their own.
    #[getter]
    fn default_base_url(&self) -> &'static str {
        self.preset.base_url
    }

    /// Environment variables that hold another address.
    #[getter]
    fn base_url_variables(&self) -> Vec<&'static str> {
        self.preset.base_url_variables.to_vec()
    }

    /// Environment variables that hold the key.
    #[getter]
    fn key_variables(&self) -> Vec<&'static str> {
        self.preset.key_variables.to_vec()
    }

    /// Whether it does not answer without a key.
    #[getter]
    fn key_required(&self) -> bool {
        self.preset.key_required
    }

    /// Whether it has embeddings.
    #[getter]
    fn has_embeddings(&self) -> bool {
        self.preset.wire.embed_limits.is_some()
    }

    fn __repr__(&self) -> String {
        format!("Preset(name={:?}, base_url={:?})", self.preset.name, self.preset.base_url)
    }
}

/// The preset of that name or one of its other names, if there is one.
#[pyfunction]
pub(crate) fn preset(name: &str) -> Option<Preset> {
    presets::preset(name).map(|preset| Preset { preset })
}

/// The names of all presets.
#[pyfunction]
pub(crate) fn preset_names() -> Vec<&'static str> {
    PRESETS.iter().map(|preset| preset.name).collect()
}
