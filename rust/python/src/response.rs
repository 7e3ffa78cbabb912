//! `LLMResponse` and what it is made of. Python objects are made when they are asked for.

use std::{borrow::Cow, sync::Arc};

use edgequake_core::{
    call::{self, Completed, Meta},
    metrics::Metrics,
    model::{self, FinishReason, Message, Part, Response, Role},
    wire,
};
use http::Version;
use pyo3::{
    prelude::*,
    sync::PyOnceLock,
    types::{PyDict, PyString},
};

use crate::{
    bridge::Work,
    json::{loads, to_json},
    message::{ChatMessage, to_calls},
    metrics::InferenceMetrics,
    options::{string, wrong_type},
    stream::{SyncTextStream, TextStream},
    structured::{Form, to_format},
};

/// The tokens of a call, as the provider counted them.
///
/// `prompt_tokens` and `completion_tokens` are inclusive totals for every provider: the first holds `cached_tokens` and
/// `cache_write_tokens`, the second `reasoning_tokens`.
#[pyclass(name = "Usage", module = "edgequake_llm", frozen, eq)]
#[derive(Clone, PartialEq)]
pub(crate) struct Usage {
    usage: model::Usage,
}

#[pymethods]
impl Usage {
    #[new]
    #[pyo3(signature = (*, prompt_tokens=0, completion_tokens=0, cached_tokens=0, cache_write_tokens=0, reasoning_tokens=0))]
    fn new(
        prompt_tokens: u64,
        completion_tokens: u64,
        cached_tokens: u64,
        cache_write_tokens: u64,
        reasoning_tokens: u64,
    ) -> Self {
        let usage = model::Usage::from_inclusive(
            prompt_tokens,
            cached_tokens,
            cache_write_tokens,
            completion_tokens,
            reasoning_tokens,
        );
        Self { usage }
    }

    /// The tokens of both calls.
    fn __add__(&self, other: &Self) -> Self {
        Self { usage: self.usage.plus(other.usage) }
    }

    /// All tokens of the prompt, cached ones included.
    #[getter]
    fn prompt_tokens(&self) -> u64 {
        self.usage.prompt_tokens()
    }

    /// All tokens produced, thinking included.
    #[getter]
    fn completion_tokens(&self) -> u64 {
        self.usage.completion_tokens()
    }

    /// Prompt and completion together.
    #[getter]
    fn total_tokens(&self) -> u64 {
        self.usage.total_tokens()
    }

    /// Prompt tokens read from the provider's cache.
    #[getter]
    fn cached_tokens(&self) -> u64 {
        self.usage.cache_read
    }

    /// Prompt tokens written to the provider's cache.
    #[getter]
    fn cache_write_tokens(&self) -> u64 {
        self.usage.cache_write + self.usage.cache_write_1h
    }

    /// Of those, tokens written for one hour (Anthropic).
    #[getter]
    fn cache_write_1h_tokens(&self) -> u64 {
        self.usage.cache_write_1h
    }

    /// Tokens spent on thinking.
    #[getter]
    fn reasoning_tokens(&self) -> u64 {
        self.usage.reasoning
    }

    pub(crate) fn __repr__(&self) -> String {
        let (prompt, completion) = (self.prompt_tokens(), self.completion_tokens());
        let mut text = format!("Usage(prompt_tokens={prompt}, completion_tokens={completion}");
        for (name, count) in [
            ("cached_tokens", self.cached_tokens()),
            ("cache_write_tokens", self.cache_write_tokens()),
            ("reasoning_tokens", self.reasoning_tokens()),
        ] {
            if count > 0 {
                text.push_str(&format!(", {name}={count}"));
            }
        }
        text + ")"
    }
}

impl From<model::Usage> for Usage {
    fn from(usage: model::Usage) -> Self {
        Self { usage }
    }
}

/// A call of a tool that the model asks for. `arguments` is JSON text; `parse()` gives it as Python objects. One that is
/// made by hand takes a dict for it, too.
#[pyclass(name = "ToolCall", module = "edgequake_llm", frozen, eq, get_all)]
#[derive(Clone, PartialEq)]
pub(crate) struct ToolCall {
    /// The call's id; the result refers to it.
    id: String,
    /// The tool's name.
    name: String,
    /// The arguments, JSON text.
    arguments: String,
    /// The provider's signature of the call, sent back untouched (Gemini).
    signature: Option<String>,
}

impl From<&model::ToolCall> for ToolCall {
    fn from(call: &model::ToolCall) -> Self {
        let model::ToolCall { id, name, arguments, signature } = call.clone();
        Self { id, name, arguments, signature }
    }
}

#[pymethods]
impl ToolCall {
    #[new]
    #[pyo3(signature = (id, name, arguments, *, signature=None))]
    fn new(
        id: &Bound<'_, PyAny>,
        name: &Bound<'_, PyAny>,
        arguments: &Bound<'_, PyAny>,
        signature: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let is_text = arguments.is_instance_of::<PyString>();
        let arguments = if is_text { string("arguments", arguments)? } else { to_json(arguments)?.to_string() };
        let signature = signature.map(|signature| string("signature", signature)).transpose()?;
        Ok(Self { id: string("id", id)?, name: string("name", name)?, arguments, signature })
    }

    /// The arguments as Python objects. Raises `ValueError` (`json.JSONDecodeError`) if the model wrote no valid JSON.
    fn parse<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        loads(py, &self.arguments)
    }

    /// OpenAI's dict form.
    pub(crate) fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let function = PyDict::new(py);
        function.set_item("name", &self.name)?;
        function.set_item("arguments", &self.arguments)?;
        let dict = PyDict::new(py);
        dict.set_item("id", &self.id)?;
        dict.set_item("type", "function")?;
        dict.set_item("function", function)?;
        if let Some(signature) = &self.signature {
            dict.set_item("signature", signature)?;
        }
        Ok(dict.into_any())
    }

    fn __repr__(&self) -> String {
        format!("ToolCall(id={:?}, name={:?}, arguments={:?})", self.id, self.name, self.arguments)
    }
}

/// A source that a part of an answer's text rests on.
#[pyclass(name = "Citation", module = "edgequake_llm", frozen, get_all)]
pub(crate) struct Citation {
    /// Where that part begins in the answer's `content`.
    start: usize,
    /// Where it ends; in a stream's event, how far it has come.
    end: usize,
    /// The source's address.
    url: Option<String>,
    /// The source's title.
    title: Option<String>,
    /// The words of the source.
    cited_text: Option<String>,
    /// The citation as the provider sent it.
    raw: Py<PyAny>,
}

impl Citation {
    pub(crate) fn of(py: Python<'_>, citation: &model::Citation) -> PyResult<Self> {
        let model::Citation { start, end, url, title, cited_text, raw } = citation.clone();
        Ok(Self { start, end, url, title, cited_text, raw: loads(py, &raw.to_string())?.unbind() })
    }
}

#[pymethods]
impl Citation {
    fn __repr__(&self) -> String {
        let what = self.url.as_deref().or(self.title.as_deref()).unwrap_or("?");
        format!("Citation({}:{}, {what:?})", self.start, self.end)
    }
}

/// What is left of the provider's allowances, from the headers of the answer. Resets are in seconds.
#[pyclass(name = "RateLimits", module = "edgequake_llm", frozen, get_all)]
pub(crate) struct RateLimits {
    /// Requests allowed in the provider's window.
    limit_requests: Option<u64>,
    /// Requests left in it.
    remaining_requests: Option<u64>,
    /// Seconds until the requests are full again.
    reset_requests: Option<f64>,
    /// Tokens allowed in the window.
    limit_tokens: Option<u64>,
    /// Tokens left in it.
    remaining_tokens: Option<u64>,
    /// Seconds until the tokens are full again.
    reset_tokens: Option<f64>,
}

impl From<wire::RateLimits> for RateLimits {
    fn from(limits: wire::RateLimits) -> Self {
        Self {
            limit_requests: limits.limit_requests,
            remaining_requests: limits.remaining_requests,
            reset_requests: limits.reset_requests.map(|reset| reset.as_secs_f64()),
            limit_tokens: limits.limit_tokens,
            remaining_tokens: limits.remaining_tokens,
            reset_tokens: limits.reset_tokens.map(|reset| reset.as_secs_f64()),
        }
    }
}

#[pymethods]
impl RateLimits {
    fn __repr__(&self) -> String {
        let show = |value: Option<u64>| value.map_or_else(|| "None".to_owned(), |value| value.to_string());
        format!(
            "RateLimits(remaining_requests={}, remaining_tokens={})",
            show(self.remaining_requests),
            show(self.remaining_tokens)
        )
    }
}

/// A whole answer. `str(response)` is its text.
///
/// One can be made by hand, for a hook that answers a call or for a test: from its text, `thinking`, a `refusal`,
/// `tool_calls`, each in the place where a model would have it. `finish_reason` is `"stop"`, or `"tool_calls"` where there
/// are some, unless it is given. `response_format` says how `parsed` reads the text, as for a call. `attempts` is 0.
///
/// Raises `InvalidRequestError` for values of a wrong type.
#[pyclass(name = "LLMResponse", module = "edgequake_llm", frozen, weakref)]
pub(crate) struct LlmResponse {
    completed: Arc<Completed<Response>>,
    provider: Cow<'static, str>,
    form: Option<Form>,
    parsed: PyOnceLock<Py<PyAny>>,
}

impl LlmResponse {
    /// The answer of a finished call.
    pub(crate) fn of(completed: Completed<Response>, provider: impl Into<Cow<'static, str>>) -> Self {
        let provider = provider.into();
        Self { completed: Arc::new(completed), provider, form: None, parsed: PyOnceLock::new() }
    }

    /// The same answer, to be read in the form that was asked for.
    pub(crate) fn with_form(mut self, form: Option<Form>) -> Self {
        self.form = form;
        self
    }

    /// What had come of an answer that broke off.
    pub(crate) fn partial(value: Response, provider: Option<&'static str>) -> Self {
        let meta = Meta::default();
        Self::of(Completed { value, meta }, provider.unwrap_or("unknown"))
    }

    fn value(&self) -> &Response {
        &self.completed.value
    }

    fn meta(&self) -> &Meta {
        &self.completed.meta
    }

    /// The reader's end of a stream that brings this answer and is over, and its form.
    fn laid_out(&self, py: Python<'_>) -> (call::Receiver, Option<Form>) {
        let (sender, receiver) = call::queue();
        call::replay((*self.completed).clone(), sender);
        (receiver, self.form.as_ref().map(|form| form.clone_ref(py)))
    }
}

#[pymethods]
impl LlmResponse {
    #[new]
    #[pyo3(signature = (content=None, *, model=None, provider=None, usage=None, finish_reason=None, tool_calls=None, thinking=None, refusal=None, id=None, response_format=None))]
    #[allow(clippy::too_many_arguments)] // all but the text by keyword
    fn new(
        content: Option<&Bound<'_, PyAny>>,
        model: Option<&Bound<'_, PyAny>>,
        provider: Option<&Bound<'_, PyAny>>,
        usage: Option<&Bound<'_, PyAny>>,
        finish_reason: Option<&Bound<'_, PyAny>>,
        tool_calls: Option<&Bound<'_, PyAny>>,
        thinking: Option<&Bound<'_, PyAny>>,
        refusal: Option<&Bound<'_, PyAny>>,
        id: Option<&Bound<'_, PyAny>>,
        response_format: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let text = |name: &str, value: Option<&Bound<'_, PyAny>>| value.map(|value| string(name, value)).transpose();
        let usage = match usage {
            None => None,
            Some(usage) => match usage.cast::<Usage>() {
                Ok(usage) => Some(usage.get().usage),
                Err(_) => return Err(wrong_type("usage", "a Usage", usage)),
            },
        };
        let thinking = text("thinking", thinking)?.map(|text| Part::Thinking { text, signature: None });
        let said = text("content", content)?.filter(|text| !text.is_empty());
        let said = said.map(Part::text);
        let refusal = text("refusal", refusal)?.map(|text| Part::Refusal { text });
        let calls = tool_calls.map(to_calls).transpose()?.unwrap_or_default();
        let otherwise = if calls.is_empty() { "stop" } else { "tool_calls" };
        let reason = text("finish_reason", finish_reason)?.unwrap_or_else(|| otherwise.to_owned());
        let value = Response {
            id: text("id", id)?.unwrap_or_default(),
            model: text("model", model)?.unwrap_or_default(),
            parts: thinking.into_iter().chain(said).chain(refusal).chain(calls).collect(),
            finish_reason: Some(FinishReason::parse(&reason)),
            raw_finish_reason: Some(reason),
            usage,
            ..Response::default()
        };
        let mut metrics = Metrics::default();
        if let Some(usage) = usage {
            metrics.set_tokens(usage.prompt_tokens(), usage.completion_tokens());
        }
        metrics.finish(std::time::Duration::ZERO);
        let form = response_format.map(to_format).transpose()?.and_then(|(_, form)| form);
        let provider = text("provider", provider)?.map_or(Cow::Borrowed("unknown"), Cow::Owned);
        let meta = Meta { attempts: 0, metrics, ..Meta::default() };
        Ok(Self::of(Completed { value, meta }, provider).with_form(form))
    }

    /// This answer as a stream that has come whole, as `provider.stream` gives one.
    fn replay(&self, py: Python<'_>) -> PyResult<TextStream> {
        let (receiver, form) = self.laid_out(py);
        TextStream::new(py, receiver, Work::done(), self.provider.clone(), form)
    }

    /// As `replay`, to be read without an event loop.
    fn replay_sync(&self, py: Python<'_>) -> PyResult<SyncTextStream> {
        let (receiver, form) = self.laid_out(py);
        SyncTextStream::new(py, receiver, Work::done(), self.provider.clone(), form)
    }

    /// The text of the answer; empty when there is none, as with tool calls.
    #[getter]
    pub(crate) fn content(&self) -> std::borrow::Cow<'_, str> {
        match self.value().parts.as_slice() {
            [model::Part::Text { text, .. }] => text.as_str().into(),
            _ => self.value().text().into(),
        }
    }

    /// The answer in the form that `response_format` asks for: an instance of its type, or the JSON value for a schema or
    /// `"json"`. Read and checked at first use. `None` without such a format, and while the model calls tools.
    ///
    /// Raises `StructuredOutputError`, which keeps the text, if the answer has not that form, was cut or refused.
    #[getter]
    fn parsed(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        let Some(form) = &this.form else { return Ok(py.None()) };
        this.parsed.get_or_try_init(py, || form.parse(slf.as_any())).map(|parsed| parsed.clone_ref(py))
    }

    /// The model's thinking, where the provider shows it.
    #[getter]
    fn thinking(&self) -> Option<String> {
        Some(self.value().thinking()).filter(|text| !text.is_empty())
    }

    /// Why the model refused, if it did.
    #[getter]
    fn refusal(&self) -> Option<String> {
        Some(self.value().refusal()).filter(|text| !text.is_empty())
    }

    /// The sources of the text, in the provider's order: from documents and searches that it was given.
    #[getter]
    fn citations(&self, py: Python<'_>) -> PyResult<Vec<Citation>> {
        self.value().citations.iter().map(|citation| Citation::of(py, citation)).collect()
    }

    /// The tools that the model wants called, in order.
    #[getter]
    fn tool_calls(&self) -> Vec<ToolCall> {
        self.value().tool_calls().map(ToolCall::from).collect()
    }

    /// Why the model stopped: `stop`, `length`, `tool_calls`, `content_filter`, `refusal`, `pause`, `error`, or the
    /// provider's own word in lower case; `None` if it never said.
    #[getter]
    fn finish_reason<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyString>> {
        self.value().finish_reason.as_ref().map(|reason| PyString::intern(py, reason.as_str()))
    }

    /// The provider's own spelling of the reason.
    #[getter]
    fn raw_finish_reason(&self) -> Option<&str> {
        self.value().raw_finish_reason.as_deref()
    }

    /// Token counts; `None` where the provider gave none.
    #[getter]
    fn usage(&self) -> Option<Usage> {
        self.value().usage.map(Usage::from)
    }

    /// The provider's id of the answer; empty where it has none.
    #[getter]
    fn id(&self) -> &str {
        &self.value().id
    }

    /// The model that answered, as the provider names it.
    #[getter]
    fn model(&self) -> &str {
        &self.value().model
    }

    /// The provider's name, as `openai`.
    #[getter]
    fn provider(&self) -> &str {
        &self.provider
    }

    /// The provider's id of the request, for its support.
    #[getter]
    fn request_id(&self) -> Option<&str> {
        self.meta().request_id()
    }

    /// Requests sent for this answer: more than 1 when some failed and were tried again, 0 when a cache or a hook had it.
    #[getter]
    fn attempts(&self) -> u32 {
        self.meta().attempts
    }

    /// What is left of the provider's allowances; `None` where it does not tell.
    #[getter]
    fn rate_limits(&self) -> Option<RateLimits> {
        self.meta().rate_limits().map(RateLimits::from)
    }

    /// The answer's HTTP headers, names in lower case.
    #[getter]
    fn headers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (name, value) in &self.meta().headers {
            dict.set_item(name.as_str(), String::from_utf8_lossy(value.as_bytes()))?;
        }
        Ok(dict)
    }

    /// `"HTTP/1.1"` or `"HTTP/2"`.
    #[getter]
    fn http_version(&self) -> &'static str {
        if self.meta().version == Version::HTTP_2 { "HTTP/2" } else { "HTTP/1.1" }
    }

    /// What the call took.
    #[getter]
    fn metrics(&self) -> InferenceMetrics {
        let metrics = self.meta().metrics.clone();
        let total = metrics.total(std::time::Duration::ZERO);
        InferenceMetrics::of(metrics, total)
    }

    /// Whether the answer came from a cache of this library and cost nothing.
    #[getter]
    fn cached(&self) -> bool {
        self.meta().cached
    }

    /// The body as the provider sent it, for fields that have no place above; `None` for streams.
    #[getter]
    fn raw<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let raw = &self.value().raw;
        if raw.is_empty() { Ok(None) } else { loads(py, &String::from_utf8_lossy(raw)).map(Some) }
    }

    /// The answer as a message, to append to the conversation; keeps thinking and tool calls as the provider wants them.
    #[getter]
    fn message(&self) -> ChatMessage {
        let content = self.value().parts.clone();
        let as_parts = false;
        let message = Message { role: Role::Assistant, content, name: None, as_parts, cache: None };
        ChatMessage { message: Arc::new(message.normal()) }
    }

    fn __str__(&self) -> String {
        self.content().into_owned()
    }

    fn __repr__(&self) -> String {
        let content = self.content();
        let shown: String = content.chars().take(60).collect();
        let more = if shown.len() < content.len() { "…" } else { "" };
        let reason = self.value().finish_reason.as_ref().map_or("None", |reason| reason.as_str());
        format!("LLMResponse(model={:?}, content={shown:?}{more}, finish_reason={reason:?})", self.model())
    }
}
