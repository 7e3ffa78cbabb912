//! Answers of a form that was asked for: as Python values when they are whole, and while they are written.

use std::sync::{Mutex, PoisonError};

use edgequake_core::{
    Error,
    model::{
        ResponseFormat,
        json::response_format_from_json,
        partial::{JsonValue, partial},
    },
};
use pyo3::{
    IntoPyObjectExt, intern,
    prelude::*,
    types::{PyDict, PyInt, PyList, PyString},
};

use crate::{errors::to_py, json::to_json};

/// The form that an answer must have, for reading it.
pub(crate) struct Form {
    /// The `ResponseFormat` of `edgequake_llm.structured`; `None` for any JSON.
    format: Option<Py<PyAny>>,
    /// Whether the value is the field `value` of the object that the model writes.
    wrapped: bool,
}

impl Form {
    /// The same form, for another reader.
    pub(crate) fn clone_ref(&self, py: Python<'_>) -> Self {
        Self { format: self.format.as_ref().map(|format| format.clone_ref(py)), wrapped: self.wrapped }
    }

    /// The answer as a value of this form.
    pub(crate) fn parse(&self, response: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let py = response.py();
        let module = py.import(intern!(py, "edgequake_llm.structured"))?;
        let format = self.format.as_ref().map(|format| format.bind(py));
        Ok(module.call_method1(intern!(py, "parse"), (response, format))?.unbind())
    }

    /// The value as far as its text has come; `None` where there is nothing of it yet.
    pub(crate) fn partial(&self, py: Python<'_>, text: &str, whole: bool) -> PyResult<Py<PyAny>> {
        let value = partial(text, whole);
        if !self.wrapped {
            return value.map_or_else(|| Ok(py.None()), |value| to_python(py, &value));
        }
        match &value {
            Some(JsonValue::Object(fields)) => {
                let inner = fields.iter().find(|(name, _)| name == "value").map(|(_, value)| to_python(py, value));
                inner.unwrap_or_else(|| Ok(py.None()))
            }
            _ => Ok(py.None()),
        }
    }
}

/// `response_format` as the core takes it, and how the answer is to be read.
pub(crate) fn to_format(value: &Bound<'_, PyAny>) -> PyResult<(ResponseFormat, Option<Form>)> {
    let py = value.py();
    let parsed = |json| response_format_from_json(&json).map_err(|error| to_py(py, &error));
    if value.is_instance_of::<PyString>() {
        let format = parsed(to_json(value)?)?;
        let form = (format != ResponseFormat::Text).then_some(Form { format: None, wrapped: false });
        return Ok((format, form));
    }
    let module = py.import(intern!(py, "edgequake_llm.structured"))?;
    let made = module.call_method1(intern!(py, "response_format"), (value,))?;
    let mut format = parsed(to_json(&made.getattr(intern!(py, "definition"))?)?)?;
    if let ResponseFormat::Schema { fit, .. } = &mut format {
        *fit = made.getattr(intern!(py, "fit"))?.is_truthy()?;
    }
    let wrapped = made.getattr(intern!(py, "wrapped"))?.is_truthy()?;
    let form = (format != ResponseFormat::Text).then(|| Form { format: Some(made.unbind()), wrapped });
    Ok((format, form))
}

fn to_python(py: Python<'_>, value: &JsonValue<'_>) -> PyResult<Py<PyAny>> {
    match value {
        JsonValue::Null => Ok(py.None()),
        JsonValue::Bool(flag) => flag.into_py_any(py),
        JsonValue::Int(number) => number.into_py_any(py),
        // Only here is a number's text at hand.
        JsonValue::BigInt(number) => Ok(py.get_type::<PyInt>().call1((number.to_string(),))?.unbind()),
        JsonValue::Float(number) => number.into_py_any(py),
        JsonValue::Str(text) => text.as_ref().into_py_any(py),
        JsonValue::Array(items) => {
            let items = items.iter().map(|item| to_python(py, item)).collect::<PyResult<Vec<_>>>()?;
            PyList::new(py, items)?.into_py_any(py)
        }
        JsonValue::Object(fields) => {
            let dict = PyDict::new(py);
            for (name, field) in fields.iter() {
                dict.set_item(name.as_ref(), to_python(py, field)?)?;
            }
            dict.into_py_any(py)
        }
    }
}

/// The text of a streamed answer that has a form, as far as it was read.
#[derive(Default)]
pub(crate) struct Written {
    text: String,
    /// How much of the text the value is of, whether it is whole, and the value.
    last: Option<(usize, bool, Py<PyAny>)>,
}

impl Written {
    /// The next piece was read.
    pub(crate) fn push(&mut self, piece: &str) {
        self.text.push_str(piece);
    }

    /// The value so far; the same object again while nothing was read. Python does not run under the lock.
    pub(crate) fn partial(written: &Mutex<Self>, py: Python<'_>, form: &Form, whole: bool) -> PyResult<Py<PyAny>> {
        let lock = || written.lock().unwrap_or_else(PoisonError::into_inner);
        let text = {
            let written = lock();
            if let Some((length, was_whole, value)) = &written.last
                && *length == written.text.len()
                && *was_whole == whole
            {
                return Ok(value.clone_ref(py));
            }
            written.text.clone()
        };
        let value = form.partial(py, &text, whole)?;
        let before = lock().last.replace((text.len(), whole, value.clone_ref(py)));
        drop(before);
        Ok(value)
    }
}

/// The error for reading the parts of an answer of no form.
pub(crate) fn no_form(py: Python<'_>) -> PyErr {
    to_py(py, &Error::invalid("partial() is for answers in JSON: give response_format"))
}
