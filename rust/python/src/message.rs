//! `ChatMessage`, and every other form in which people give messages.

use std::sync::Arc;

use edgequake_core::{
    Error,
    model::{
        JsonObject, Message, Part, Role,
        json::{message_from_json, message_to_json, parse_role},
    },
};
use pyo3::{
    exceptions::PyBaseException,
    intern,
    prelude::*,
    types::{PyDict, PyList, PyString, PyTuple, PyType},
};
use serde_json::Value;

use crate::{
    errors::to_py,
    json::{loads, text_of, to_dict, to_json, to_object},
    options::{string, wrong_type},
    response::ToolCall,
    tools,
};

/// One message of a conversation: a role and its content.
///
/// `content` is a text or a list of parts in OpenAI's or Anthropic's JSON form. A message is converted once, when it is
/// made, so that sending a long history again costs nothing. Immutable.
///
/// Raises `InvalidRequestError` for an unknown role or content of a wrong form.
#[pyclass(name = "ChatMessage", module = "edgequake_llm", frozen, eq)]
#[derive(PartialEq)]
pub(crate) struct ChatMessage {
    pub(crate) message: Arc<Message>,
}

impl ChatMessage {
    fn of(message: Message) -> Self {
        Self { message: Arc::new(message) }
    }

    fn plain(role: Role, content: &Bound<'_, PyAny>) -> PyResult<Self> {
        from_role_and_content(role, content).map(Self::of)
    }
}

/// A message of this role, in the cheapest way for plain text.
fn from_role_and_content(role: Role, content: &Bound<'_, PyAny>) -> PyResult<Message> {
    if role != Role::Tool
        && let Ok(text) = content.cast::<PyString>()
    {
        return Ok(Message::text(role, text_of(text)?));
    }
    let object = [("role".to_owned(), Value::from(role.as_str())), ("content".to_owned(), to_json(content)?)];
    message_from_json(&object.into_iter().collect()).map_err(|error| to_py(content.py(), &error))
}

/// A message from a `ChatMessage` or a dict.
pub(crate) fn to_message(value: &Bound<'_, PyAny>) -> PyResult<Arc<Message>> {
    let py = value.py();
    if let Ok(message) = value.cast::<ChatMessage>() {
        return Ok(message.get().message.clone());
    }
    let Some(dict) = to_dict(value)? else {
        let kind = value.get_type().name()?;
        let message = format!("a message is a ChatMessage or a dict with role and content, not a {kind}");
        return Err(to_py(py, &Error::invalid(message)));
    };
    if dict.len() == 2
        && let (Some(role), Some(content)) =
            (dict.get_item(intern!(py, "role"))?, dict.get_item(intern!(py, "content"))?)
        && let (Ok(role), Ok(text)) = (role.cast::<PyString>(), content.cast::<PyString>())
    {
        let role = parse_role(text_of(role)?).map_err(|error| to_py(py, &error))?;
        if role != Role::Tool {
            return Ok(Arc::new(Message::text(role, text_of(text)?)));
        }
    }
    let object = to_object(dict.as_any(), "a message")?;
    message_from_json(&object).map(Arc::new).map_err(|error| to_py(py, &error))
}

/// Whether it is what nearly everybody passes: to look for a mapping's methods in it first would cost an exception.
fn is_list(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>()
}

/// The messages of a call: a list of `ChatMessage` or dicts, or one text for a single user message.
pub(crate) fn to_messages(value: &Bound<'_, PyAny>) -> PyResult<Vec<Arc<Message>>> {
    let messages = to_prompt(value)?;
    if messages.iter().all(|message| message.role.is_system()) {
        return Err(to_py(value.py(), &Error::invalid("there is only a system message; add a user message")));
    }
    if messages.iter().filter(|message| !message.role.is_system()).all(|message| message.is_blank()) {
        return Err(to_py(value.py(), &Error::invalid("the prompt is empty: no message has any content")));
    }
    Ok(messages)
}

/// As [`to_messages`], where no answer is wanted: system messages alone will do.
pub(crate) fn to_prompt(value: &Bound<'_, PyAny>) -> PyResult<Vec<Arc<Message>>> {
    let py = value.py();
    let messages = if let Ok(text) = value.cast::<PyString>() {
        let text = text_of(text)?;
        if text.trim().is_empty() {
            return Err(to_py(py, &Error::invalid("the prompt is empty")));
        }
        vec![Arc::new(Message::text(Role::User, text))]
    } else if !is_list(value) && (value.is_instance_of::<ChatMessage>() || to_dict(value)?.is_some()) {
        vec![to_message(value)?]
    } else {
        let iterator = value
            .try_iter()
            .map_err(|_| to_py(py, &Error::invalid("messages are a list of ChatMessage or dicts, or one text")))?;
        let mut messages = Vec::with_capacity(value.len().unwrap_or(0));
        for item in iterator {
            messages.push(to_message(&item?)?);
        }
        messages
    };
    if messages.is_empty() {
        return Err(to_py(py, &Error::invalid("there is no message to send")));
    }
    Ok(messages)
}

/// Tool calls in their dict form: `ToolCall` objects, or dicts as they are.
fn call_dicts<'py>(calls: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let items = calls.try_iter().map_err(|_| wrong_type("tool_calls", "a list of tool calls", calls))?;
    let dict = |call: Bound<'py, PyAny>| match call.cast::<ToolCall>() {
        Ok(call) => call.get().to_dict(calls.py()),
        Err(_) => Ok(call),
    };
    items.map(|call| dict(call?)).collect()
}

/// The tool calls of an answer that is made by hand, as parts of it.
pub(crate) fn to_calls(calls: &Bound<'_, PyAny>) -> PyResult<Vec<Part>> {
    let dict = PyDict::new(calls.py());
    dict.set_item("role", "assistant")?;
    dict.set_item("tool_calls", call_dicts(calls)?)?;
    let message = to_message(dict.as_any())?;
    Ok(message.content.iter().filter(|part| matches!(part, Part::ToolCall(_))).cloned().collect())
}

#[pymethods]
impl ChatMessage {
    #[new]
    #[pyo3(signature = (role, content=None, *, name=None, tool_calls=None, tool_call_id=None))]
    fn new(
        role: &Bound<'_, PyAny>,
        content: Option<&Bound<'_, PyAny>>,
        name: Option<&Bound<'_, PyAny>>,
        tool_calls: Option<&Bound<'_, PyAny>>,
        tool_call_id: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let py = role.py();
        let dict = PyDict::new(py);
        // An enum member of text type counts as its value.
        let role = role.getattr(intern!(py, "value")).unwrap_or_else(|_| role.clone());
        dict.set_item("role", role)?;
        dict.set_item("content", content)?;
        if let Some(name) = name {
            dict.set_item("name", string("name", name)?)?;
        }
        if let Some(id) = tool_call_id {
            dict.set_item("tool_call_id", string("tool_call_id", id)?)?;
        }
        if let Some(calls) = tool_calls {
            dict.set_item("tool_calls", call_dicts(calls)?)?;
        }
        let message = to_message(dict.as_any())?;
        Ok(Self { message })
    }

    /// A system message.
    #[staticmethod]
    fn system(content: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::plain(Role::System, content)
    }

    /// A user's message.
    #[staticmethod]
    fn user(content: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::plain(Role::User, content)
    }

    /// The model's message.
    #[staticmethod]
    fn assistant(content: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::plain(Role::Assistant, content)
    }

    /// The result of a tool call. `content` is a text, content parts (images, documents), or anything that JSON can
    /// hold, dataclasses and pydantic models included; `name` is the tool's (found by itself where the call is in the
    /// conversation). `is_error` tells the model that the tool failed; an exception as `content` implies it.
    ///
    /// Raises `InvalidRequestError` for what has no form in JSON.
    #[staticmethod]
    #[pyo3(signature = (tool_call_id, content, *, name=None, is_error=None))]
    fn tool(
        tool_call_id: &Bound<'_, PyAny>,
        content: &Bound<'_, PyAny>,
        name: Option<&Bound<'_, PyAny>>,
        is_error: Option<bool>,
    ) -> PyResult<Self> {
        let py = content.py();
        let failed = content.is_instance_of::<PyBaseException>();
        let content = if let Ok(text) = content.cast::<PyString>() {
            Value::from(text_of(text)?)
        } else if failed {
            // As a traceback's last line has it.
            let kind = content.get_type().name()?.to_string();
            let says = content.str()?.to_string();
            Value::from(if says.is_empty() { kind } else { format!("{kind}: {says}") })
        } else {
            tools::result(content)?
        };
        let mut object = JsonObject::new();
        object.insert("role".into(), "tool".into());
        object.insert("tool_call_id".into(), string("tool_call_id", tool_call_id)?.into());
        object.insert("content".into(), content);
        if let Some(name) = name {
            object.insert("name".into(), string("name", name)?.into());
        }
        object.insert("is_error".into(), is_error.unwrap_or(failed).into());
        message_from_json(&object).map(Self::of).map_err(|error| to_py(py, &error))
    }

    /// A message from its dict form, as `to_dict` gives it.
    #[classmethod]
    fn from_dict(_cls: &Bound<'_, PyType>, value: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self { message: to_message(value)? })
    }

    /// The dict form, ready for JSON.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        loads(py, &Value::Object(message_to_json(&self.message)).to_string())
    }

    /// `"system"`, `"developer"`, `"user"`, `"assistant"` or `"tool"`.
    #[getter]
    fn role(&self) -> &'static str {
        self.message.role.as_str()
    }

    /// The text; the text parts joined where the content is a list.
    #[getter]
    fn content(&self) -> String {
        match self.message.content.as_slice() {
            [Part::ToolResult { content, .. }] => {
                Message { content: content.clone(), ..(*self.message).clone() }.joined_text()
            }
            _ => self.message.joined_text(),
        }
    }

    /// The speaker's name, if given.
    #[getter]
    fn name(&self) -> Option<&str> {
        match self.message.content.as_slice() {
            [Part::ToolResult { name, .. }] => name.as_deref(),
            _ => self.message.name.as_deref(),
        }
    }

    /// The tool calls in an assistant's message.
    #[getter]
    fn tool_calls(&self) -> Vec<ToolCall> {
        let calls = self.message.content.iter().filter_map(|part| match part {
            Part::ToolCall(call) => Some(ToolCall::from(call)),
            _ => None,
        });
        calls.collect()
    }

    /// Whether a tool message says that the tool failed.
    #[getter]
    fn is_error(&self) -> bool {
        matches!(self.message.content.as_slice(), [Part::ToolResult { is_error: true, .. }])
    }

    /// The id of the call that a tool message answers.
    #[getter]
    fn tool_call_id(&self) -> Option<&str> {
        match self.message.content.as_slice() {
            [Part::ToolResult { id, .. }] => Some(id),
            _ => None,
        }
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyAny>,))> {
        let py = slf.py();
        Ok((slf.get_type().getattr(intern!(py, "from_dict"))?, (slf.get().to_dict(py)?,)))
    }

    fn __repr__(&self) -> String {
        let text = self.content();
        let shown: String = text.chars().take(60).collect();
        let more = if shown.len() < text.len() { "…" } else { "" };
        format!("ChatMessage(role='{}', content={:?}{more})", self.role(), shown)
    }
}
