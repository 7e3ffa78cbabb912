//! Tools as a call takes them.

use edgequake_core::{
    Error,
    model::{Tool, json::tool_from_json},
};
use pyo3::{intern, prelude::*, types::PyDict};
use serde_json::Value;

use crate::{errors::to_py, json::to_json};

/// A tool's definition, converted once, so that sending it again costs nothing. `edgequake_llm.Tool` makes it.
#[pyclass(module = "edgequake_llm._core", frozen)]
pub(crate) struct ToolDefinition {
    tool: Tool,
}

#[pymethods]
impl ToolDefinition {
    /// From OpenAI's form, or a plain one with `name`, `description` and `parameters`. `fit`: a strict mode may change
    /// the schema to what it takes.
    #[new]
    #[pyo3(signature = (value, *, fit=false))]
    fn new(value: &Bound<'_, PyAny>, fit: bool) -> PyResult<Self> {
        Ok(Self { tool: Tool { fit, ..from_json(value)? } })
    }

    /// The name.
    #[getter]
    fn name(&self) -> &str {
        &self.tool.name
    }

    fn __repr__(&self) -> String {
        format!("ToolDefinition({:?})", self.tool.name)
    }
}

fn from_json(value: &Bound<'_, PyAny>) -> PyResult<Tool> {
    tool_from_json(&to_json(value)?).map_err(|error| to_py(value.py(), &error))
}

/// What `edgequake_llm.tools` makes of a function or class; `place` in the list of tools, for what is neither.
fn made<'py>(item: &Bound<'py, PyAny>, place: Option<usize>) -> PyResult<Bound<'py, PyAny>> {
    let py = item.py();
    py.import(intern!(py, "edgequake_llm.tools"))?.call_method1(intern!(py, "as_tool"), (item, place))
}

fn definition(item: &Bound<'_, PyAny>) -> PyResult<Option<Tool>> {
    let Some(definition) = item.getattr_opt(intern!(item.py(), "definition"))? else { return Ok(None) };
    Ok(definition.cast::<ToolDefinition>().ok().map(|definition| definition.get().tool.clone()))
}

/// A tool from a dict, a `Tool`, a typed function or a class.
fn to_tool(item: &Bound<'_, PyAny>, place: Option<usize>) -> PyResult<Tool> {
    if item.is_instance_of::<PyDict>() {
        return from_json(item);
    }
    if let Some(tool) = definition(item)? {
        return Ok(tool);
    }
    let made = made(item, place)?;
    match definition(&made)? {
        Some(tool) => Ok(tool),
        None => from_json(&made),
    }
}

/// The tools of a call.
pub(crate) fn to_tools(value: &Bound<'_, PyAny>) -> PyResult<Vec<Tool>> {
    let wrong = || Error::invalid("tools must be a list of tools");
    let items = value.try_iter().map_err(|_| to_py(value.py(), &wrong()))?;
    items.enumerate().map(|(place, item)| to_tool(&item?, Some(place))).collect()
}

/// `tool_choice` in its JSON form; a tool or a function stands for its name.
pub(crate) fn choice(value: &Bound<'_, PyAny>) -> PyResult<Value> {
    if value.is_callable() {
        let name = to_tool(value, None)?.name;
        return Ok(serde_json::json!({"type": "function", "function": {"name": name}}));
    }
    to_json(value)
}

/// What a tool returned, as the content of its message.
pub(crate) fn result(value: &Bound<'_, PyAny>) -> PyResult<Value> {
    let py = value.py();
    let content =
        py.import(intern!(py, "edgequake_llm.tools"))?.call_method1(intern!(py, "result_content"), (value,))?;
    to_json(&content)
}
