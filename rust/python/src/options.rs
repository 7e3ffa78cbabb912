//! The options of a call, from `CompletionOptions` and keyword arguments.

use std::time::Duration;

use edgequake_core::{
    Error, ErrorKind,
    call::Timeouts,
    model::{
        Options, Reasoning, ToolChoice,
        json::{reasoning_from_json, tool_choice_from_json},
    },
};
use pyo3::{
    intern,
    prelude::*,
    types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyString},
};
use serde_json::Value;

use crate::{
    errors::to_py,
    json::{text_of, to_dict, to_json, to_object},
    structured::{Form, to_format},
    tools::{self, to_tools},
};

/// What one call may set besides the options that shape the answer.
#[derive(Default)]
pub(crate) struct CallOptions {
    pub(crate) options: Options,
    pub(crate) model: Option<String>,
    pub(crate) system: Option<String>,
    pub(crate) timeouts: Option<Timeouts>,
    pub(crate) extra_headers: Vec<(String, String)>,
    pub(crate) drop_unsupported: Option<bool>,
    /// How the answer is to be read, where a form was asked for.
    pub(crate) form: Option<Form>,
}

/// Every name that [`CallOptions::set`] takes, also the field names of `CompletionOptions`.
pub(crate) const NAMES: [&str; 23] = [
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "user",
    "metadata",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "reasoning",
    "prompt_cache_key",
    "cached_content",
    "extra",
    "model",
    "system",
    "timeout",
    "extra_headers",
    "drop_unsupported",
];

fn invalid(py: Python<'_>, message: String) -> PyErr {
    to_py(py, &Error::invalid(message))
}

pub(crate) fn wrong_type(name: &str, expected: &str, value: &Bound<'_, PyAny>) -> PyErr {
    let kind = value.get_type().name().map(|name| name.to_string()).unwrap_or_default();
    invalid(value.py(), format!("{name} must be {expected}, not {kind}"))
}

/// A whole number: an `int`, or what stands for one (numpy's), but no `bool`.
pub(crate) fn whole<'py, T>(name: &str, expected: &str, value: &Bound<'py, PyAny>) -> PyResult<T>
where
    T: for<'a> FromPyObject<'a, 'py>,
{
    let index = intern!(value.py(), "__index__");
    let number = match value.is_instance_of::<PyBool>() {
        false if value.is_instance_of::<PyInt>() => value.clone(),
        false => value.call_method0(index).map_err(|_| wrong_type(name, expected, value))?,
        true => return Err(wrong_type(name, expected, value)),
    };
    number.extract::<T>().map_err(|_| {
        // Python refuses to write out thousands of digits.
        let shown = number.str().map_or_else(|_| "such a large one".to_owned(), |text| text.to_string());
        let shown = if shown.len() > 40 { "such a large one" } else { &shown };
        invalid(value.py(), format!("{name} must be {expected}, not {shown}"))
    })
}

/// A number: a `float` or `int`, or what can be made one (numpy's, `Decimal`), but no `bool`.
fn number(name: &str, value: &Bound<'_, PyAny>) -> PyResult<f64> {
    let float = intern!(value.py(), "__float__");
    let given = match value.is_instance_of::<PyBool>() {
        false if value.is_instance_of::<PyFloat>() || value.is_instance_of::<PyInt>() => value.clone(),
        false => value.call_method0(float).map_err(|_| wrong_type(name, "a number", value))?,
        true => return Err(wrong_type(name, "a number", value)),
    };
    given.extract::<f64>().map_err(|_| invalid(value.py(), format!("{name} is too large a number")))
}

pub(crate) fn string(name: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    let text = value.cast::<PyString>().map_err(|_| wrong_type(name, "text", value))?;
    text_of(text).map(str::to_owned)
}

fn flag(name: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(value.cast::<PyBool>().map_err(|_| wrong_type(name, "True or False", value))?.is_true())
}

/// Seconds as a number or a `timedelta`; `None` for no limit.
pub(crate) fn seconds(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Option<Duration>> {
    match delay(name, value)? {
        Some(duration) if duration.is_zero() => {
            Err(invalid(value.py(), format!("{name} must be more than 0 seconds; None is no limit")))
        }
        duration => Ok(duration),
    }
}

/// As [`seconds`], where 0 makes sense too.
pub(crate) fn delay(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Option<Duration>> {
    /// Longer than anybody waits, and short enough to be added to any clock.
    const LONGEST: f64 = 1e12;
    if value.is_none() {
        return Ok(None);
    }
    let py = value.py();
    let seconds = match value.call_method0(intern!(py, "total_seconds")) {
        Ok(seconds) => seconds.extract::<f64>()?,
        Err(_) => number(name, value)?,
    };
    // `min` would turn NaN into a number.
    let bounded = if seconds > LONGEST { LONGEST } else { seconds };
    Duration::try_from_secs_f64(bounded)
        .map(Some)
        .map_err(|_| invalid(py, format!("{name} must be more than 0 seconds, not {seconds}")))
}

/// A `Timeouts` object, or seconds for the whole call with the other limits as they are.
pub(crate) fn timeouts(value: &Bound<'_, PyAny>, base: Timeouts) -> PyResult<Timeouts> {
    let py = value.py();
    if !value.hasattr(intern!(py, "first_token"))? {
        return Ok(Timeouts { total: seconds("timeout", value)?, ..base });
    }
    let limit = |name: &str| seconds(&format!("Timeouts.{name}"), &value.getattr(name)?);
    Ok(Timeouts {
        connect: limit("connect")?,
        first_token: limit("first_token")?,
        idle: limit("idle")?,
        total: limit("total")?,
    })
}

pub(crate) fn header_pairs(value: &Bound<'_, PyAny>) -> PyResult<Vec<(String, String)>> {
    let dict = to_dict(value)?.ok_or_else(|| wrong_type("headers", "a dict of text", value))?;
    dict.iter()
        .map(|(name, value)| Ok((string("a header's name", &name)?, string("a header's value", &value)?)))
        .collect()
}

/// A dict of texts, in its order.
fn pairs(what: &str, value: &Bound<'_, PyAny>) -> PyResult<Vec<(String, String)>> {
    let dict = to_dict(value)?.ok_or_else(|| wrong_type(what, "a dict of text", value))?;
    let (name, content) = (format!("a name in {what}"), format!("a value in {what}"));
    dict.iter().map(|(key, value)| Ok((string(&name, &key)?, string(&content, &value)?))).collect()
}

/// How many letters have to be put in, taken out or changed to make one word of the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (n, a) in one.chars().enumerate() {
        let mut diagonal = n;
        let mut left = n + 1;
        let mut next = vec![left];
        for (above, b) in row.iter().skip(1).zip(other.chars()) {
            left = (diagonal + usize::from(a != b)).min(left + 1).min(above + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

/// The option whose name is nearest to a misspelt one, if one is near.
fn nearest(given: &str) -> Option<&'static str> {
    let scored = NAMES.into_iter().map(|name| (distance(given, name), name));
    scored.min().filter(|(distance, name)| *distance <= 1 + name.len() / 4).map(|(_, name)| name)
}

impl CallOptions {
    /// The options of a call: those of `options` first, then the keyword arguments. Checked.
    pub(crate) fn new(
        options: Option<&Bound<'_, PyAny>>,
        keywords: Option<&Bound<'_, PyDict>>,
        base: Timeouts,
    ) -> PyResult<Self> {
        let mut call = Self::default();
        let (Some(py), true) = (
            options.map(Bound::py).or(keywords.map(Bound::py)),
            options.is_some_and(|options| !options.is_none()) || keywords.is_some_and(|keywords| !keywords.is_empty()),
        ) else {
            return Ok(call);
        };
        if let Some(options) = options.filter(|options| !options.is_none()) {
            if let Some(dict) = to_dict(options)? {
                call.set_all(&dict, base)?;
            } else if options.hasattr(intern!(py, "max_tokens"))? {
                for name in NAMES {
                    if let Some(value) = options.getattr_opt(name)?.filter(|value| !value.is_none()) {
                        call.set(name, &value, base)?;
                    }
                }
            } else {
                return Err(wrong_type("options", "a CompletionOptions or a dict", options));
            }
        }
        if let Some(keywords) = keywords {
            call.set_all(keywords, base)?;
        }
        call.options.check().map_err(|error| to_py(py, &error))?;
        Ok(call)
    }

    fn set_all(&mut self, dict: &Bound<'_, PyDict>, base: Timeouts) -> PyResult<()> {
        for (name, value) in dict.iter() {
            let name = string("an option's name", &name)?;
            if !value.is_none() || name == "timeout" {
                self.set(&name, &value, base)?;
            }
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: &Bound<'_, PyAny>, base: Timeouts) -> PyResult<()> {
        let py = value.py();
        let options = &mut self.options;
        let checked = |result: Result<_, Error>| result.map_err(|error| to_py(py, &error));
        match name {
            "max_tokens" => options.max_tokens = Some(whole(name, "a whole number of at least 1", value)?),
            "temperature" => options.temperature = Some(number(name, value)?),
            "top_p" => options.top_p = Some(number(name, value)?),
            "top_k" => options.top_k = Some(whole(name, "a whole number of at least 0", value)?),
            "stop" => options.stop = texts(name, value)?,
            "seed" => options.seed = Some(whole(name, "a whole number of 64 bits", value)?),
            "presence_penalty" => options.presence_penalty = Some(number(name, value)?),
            "frequency_penalty" => options.frequency_penalty = Some(number(name, value)?),
            "user" => options.user = Some(string(name, value)?),
            "metadata" => options.metadata = pairs(name, value)?,
            "tools" => options.tools = to_tools(value)?,
            "tool_choice" => options.tool_choice = Some(checked_choice(value)?),
            "parallel_tool_calls" => options.parallel_tool_calls = Some(flag(name, value)?),
            "response_format" => {
                let (format, form) = to_format(value)?;
                options.response_format = Some(format);
                self.form = form;
            }
            "reasoning" => options.reasoning = Some(self::checked::<Reasoning>(py, reasoning_from_json, value)?),
            "prompt_cache_key" => options.prompt_cache_key = Some(string(name, value)?),
            "cached_content" => options.cached_content = Some(string(name, value)?),
            "extra" => options.extra.extend(to_object(value, "extra")?),
            "model" => {
                let model = string(name, value)?;
                if model.trim().is_empty() {
                    return checked(Err(Error::invalid("model is empty")));
                }
                self.model = Some(model);
            }
            "system" => self.system = Some(string(name, value)?),
            "timeout" => self.timeouts = Some(timeouts(value, base)?),
            "extra_headers" => self.extra_headers = header_pairs(value)?,
            "drop_unsupported" => self.drop_unsupported = Some(flag(name, value)?),
            _ => {
                let hint = match nearest(name) {
                    Some(near) => format!("did you mean {near}?"),
                    None => "pass fields of the provider's own in extra={...}".to_owned(),
                };
                return checked(Err(Error::invalid(format!("there is no option {name:?}; {hint}"))));
            }
        }
        Ok(())
    }
}

fn checked<T>(py: Python<'_>, parse: fn(&Value) -> Result<T, Error>, value: &Bound<'_, PyAny>) -> PyResult<T> {
    parse(&to_json(value)?).map_err(|error| to_py(py, &error))
}

/// One text, or several.
pub(crate) fn texts(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(vec![text_of(text)?.to_owned()]);
    }
    let expected = "a text or a list of texts";
    if value.is_instance_of::<PyBytes>() || to_dict(value)?.is_some() {
        return Err(wrong_type(name, expected, value));
    }
    let items = value.try_iter().map_err(|_| wrong_type(name, expected, value))?;
    items.map(|item| string(name, &item?)).collect()
}

fn checked_choice(value: &Bound<'_, PyAny>) -> PyResult<ToolChoice> {
    tool_choice_from_json(&tools::choice(value)?).map_err(|error| to_py(value.py(), &error))
}

/// The error for a client that was closed.
pub(crate) fn closed(py: Python<'_>, what: &str) -> PyErr {
    to_py(py, &Error::new(ErrorKind::Closed, what))
}
