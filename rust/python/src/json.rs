//! Python values to JSON and back.

use edgequake_core::{Error, model::JsonObject};
use pyo3::{
    intern,
    prelude::*,
    types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple},
};
use serde_json::{Number, Value};

use crate::errors::to_py;

/// Deeper than this is a cycle or a mistake.
const MAX_DEPTH: usize = 100;

fn invalid(py: Python<'_>, message: String) -> PyErr {
    to_py(py, &Error::invalid(message))
}

/// A Python value as JSON. Dicts with text keys, lists, tuples, text, numbers, booleans and `None`.
pub(crate) fn to_json(value: &Bound<'_, PyAny>) -> PyResult<Value> {
    convert(value, 0)
}

/// A Python mapping as a JSON object.
pub(crate) fn to_object(value: &Bound<'_, PyAny>, what: &str) -> PyResult<JsonObject> {
    match to_json(value)? {
        Value::Object(object) => Ok(object),
        _ => Err(invalid(value.py(), format!("{what} is a dict"))),
    }
}

fn convert(value: &Bound<'_, PyAny>, depth: usize) -> PyResult<Value> {
    let py = value.py();
    if depth > MAX_DEPTH {
        return Err(invalid(py, format!("a value is nested deeper than {MAX_DEPTH} levels")));
    }
    if value.is_none() {
        return Ok(Value::Null);
    }
    if let Ok(text) = value.cast::<PyString>() {
        return text_of(text).map(|text| Value::String(text.to_owned()));
    }
    if let Ok(flag) = value.cast::<PyBool>() {
        return Ok(Value::Bool(flag.is_true()));
    }
    if value.is_instance_of::<PyInt>() {
        if let Ok(number) = value.extract::<i64>() {
            return Ok(Value::Number(number.into()));
        }
        let number = value.extract::<u64>().map_err(|_| invalid(py, "a whole number is too large for JSON".into()))?;
        return Ok(Value::Number(number.into()));
    }
    if let Ok(number) = value.cast::<PyFloat>() {
        let number = Number::from_f64(number.value());
        return number.map(Value::Number).ok_or_else(|| invalid(py, "NaN and infinity cannot be sent as JSON".into()));
    }
    if let Ok(dict) = value.cast::<PyDict>() {
        let mut object = JsonObject::with_capacity(dict.len());
        for (key, item) in dict.iter() {
            let key = key.cast::<PyString>().map_err(|_| invalid(py, "the keys of a dict must be text".into()))?;
            object.insert(text_of(key)?.to_owned(), convert(&item, depth + 1)?);
        }
        return Ok(Value::Object(object));
    }
    if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        let items = value.try_iter()?.map(|item| convert(&item?, depth + 1)).collect::<PyResult<_>>()?;
        return Ok(Value::Array(items));
    }
    if let Some(dict) = to_dict(value)? {
        return convert(&dict, depth + 1);
    }
    let kind = value.get_type().name()?;
    Err(invalid(py, format!("a {kind} cannot be sent as JSON")))
}

/// Any mapping as a dict; `None` for what is none.
pub(crate) fn to_dict<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyDict>>> {
    let py = value.py();
    if let Ok(dict) = value.cast::<PyDict>() {
        return Ok(Some(dict.clone()));
    }
    if !value.hasattr(intern!(py, "keys"))? {
        return Ok(None);
    }
    Ok(Some(py.get_type::<PyDict>().call1((value,))?.cast_into()?))
}

/// A Python text as UTF-8. Lone surrogates have no UTF-8 and are refused, with the way out.
pub(crate) fn text_of<'a>(text: &'a Bound<'_, PyString>) -> PyResult<&'a str> {
    text.to_str().map_err(|_| {
        let message = "a text has lone surrogates, which cannot be sent; clean it with \
                       text.encode('utf-8', 'replace').decode()";
        invalid(text.py(), message.into())
    })
}

/// JSON text as Python objects, by Python's own parser.
pub(crate) fn loads<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import(intern!(py, "json"))?.call_method1(intern!(py, "loads"), (text,))
}
