//! The native side of a provider: takes a call's arguments apart, starts the call, hands out what awaits it.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use edgequake_core::{
    Error,
    cache::{self as core_cache, chat_key, embed_keys},
    call::{self, Completed, Endpoint, EndpointConfig, Recall, RetryPolicy, Route, Timeouts},
    http::{HttpSettings, Pool, Protocol, Proxy},
    limiter::Limiter,
    model::{ChatRequest, EmbedRequest, Embeddings as CoreEmbeddings, Message, Response, Role},
    runtime::{generation, is_current},
    sigv4::Credentials,
    wire::{self, Ask, bedrock, models},
};
use pyo3::{
    IntoPyObjectExt, intern,
    prelude::*,
    types::{PyBool, PyBytes, PyDict, PyList, PyString},
};

use crate::{
    bridge::{Call, Work},
    cache::{CacheKey, LlmCache},
    embeddings::Embeddings,
    errors::to_py,
    json::{loads, to_json, to_object},
    limiter::RateLimiter,
    message::{to_messages, to_prompt},
    models::ModelInfo,
    options::{CallOptions, closed, delay, header_pairs, seconds, string, texts, timeouts, whole, wrong_type},
    prompt_cache,
    response::LlmResponse,
    stream::{SyncTextStream, TextStream},
    structured::Form,
    wires,
};

/// A provider's address and settings, ready for calls. The classes in `edgequake_llm.providers` stand on it.
#[pyclass(module = "edgequake_llm._core", frozen)]
pub(crate) struct Provider {
    endpoint: Arc<Endpoint>,
    model: Option<String>,
    embedding_model: Option<String>,
    drop_unsupported: bool,
    /// What each request passes, the outermost first; see [`Route`].
    limiters: Arc<[Limiter]>,
    /// What may know the answer already, the outermost first; and the same for the core.
    caches: Vec<Py<LlmCache>>,
    core_caches: Arc<[Arc<core_cache::LlmCache>]>,
    closed: AtomicBool,
    pool: Mutex<Option<(u64, Arc<Pool>)>>,
}

fn settings(http: &Bound<'_, PyAny>) -> PyResult<HttpSettings> {
    let py = http.py();
    let mut settings = HttpSettings::default();
    let text = |name: &str| -> PyResult<Option<String>> {
        let value = http.getattr(name)?;
        if value.is_none() { Ok(None) } else { string(name, &value).map(Some) }
    };
    settings.protocol = match text("protocol")?.as_deref() {
        None | Some("auto") => Protocol::Auto,
        Some("http1") => Protocol::Http1,
        Some("http2") => Protocol::Http2,
        Some(other) => {
            let message = format!("protocol is \"auto\", \"http1\" or \"http2\", not {other:?}");
            return Err(to_py(py, &Error::new(edgequake_core::ErrorKind::Configuration, message)));
        }
    };
    let proxy = http.getattr(intern!(py, "proxy"))?;
    settings.proxy = if proxy.is_none() {
        Proxy::Environment
    } else if proxy.cast::<PyBool>().is_ok_and(|flag| !flag.is_true()) {
        Proxy::Direct
    } else if proxy.cast::<PyString>().is_ok() {
        Proxy::Url(string("proxy", &proxy)?)
    } else {
        return Err(wrong_type("proxy", "a URL, or False for none", &proxy));
    };
    let pem = |name: &str| -> PyResult<Option<Vec<u8>>> {
        let value = http.getattr(name)?;
        if value.is_none() {
            return Ok(None);
        }
        let bytes = value.cast::<PyBytes>().map_err(|_| wrong_type(name, "bytes", &value))?;
        Ok(Some(bytes.as_bytes().to_vec()))
    };
    settings.ca_pem = pem("ca_pem")?;
    settings.client_pem = pem("client_pem")?;
    if let Some(keep_alive) = seconds("keep_alive", &http.getattr(intern!(py, "keep_alive"))?)? {
        settings.keep_alive = keep_alive;
    }
    Ok(settings)
}

/// What requests to AWS are signed with: access key id, its secret, session token or `None`, region.
fn credentials(given: &Bound<'_, PyAny>) -> PyResult<Credentials> {
    let (id, secret, token, region): (Bound<'_, PyAny>, Bound<'_, PyAny>, Option<Bound<'_, PyAny>>, Bound<'_, PyAny>) =
        given.extract()?;
    Ok(Credentials {
        access_key_id: string("access_key_id", &id)?,
        secret_access_key: string("secret_access_key", &secret)?,
        session_token: token.map(|token| string("session_token", &token)).transpose()?,
        region: string("region", &region)?,
        service: bedrock::SERVICE,
    })
}

fn retry_policy(retry: &Bound<'_, PyAny>) -> PyResult<RetryPolicy> {
    let base = RetryPolicy::default();
    let limit = |name: &str| delay(&format!("RetryPolicy.{name}"), &retry.getattr(name)?);
    Ok(RetryPolicy {
        max_retries: whole("max_retries", "a whole number of at least 0", &retry.getattr("max_retries")?)?,
        base_delay: limit("base_delay")?.unwrap_or(base.base_delay),
        max_delay: limit("max_delay")?.unwrap_or(base.max_delay),
        max_retry_after: limit("max_retry_after")?.unwrap_or(base.max_retry_after),
    })
}

impl Provider {
    fn name(&self) -> &'static str {
        self.endpoint.wire.name()
    }

    fn failed(&self, py: Python<'_>, error: Error) -> PyErr {
        to_py(py, &error.with_provider(self.name()))
    }

    /// Another provider of equal settings.
    fn alike(&self, py: Python<'_>) -> Self {
        Self {
            endpoint: self.endpoint.clone(),
            model: self.model.clone(),
            embedding_model: self.embedding_model.clone(),
            drop_unsupported: self.drop_unsupported,
            limiters: self.limiters.clone(),
            caches: self.caches.iter().map(|cache| cache.clone_ref(py)).collect(),
            core_caches: self.core_caches.clone(),
            closed: AtomicBool::new(false),
            pool: Mutex::new(None),
        }
    }

    /// The pool of this process: looked up for each call, because a fork leaves the old one behind.
    fn pool(&self, py: Python<'_>) -> PyResult<Arc<Pool>> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(closed(py, "this provider was closed; make a new one"));
        }
        let generation = generation().map_err(|error| self.failed(py, error))?;
        let mut cached = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((id, pool)) = &*cached
            && *id == generation.id()
        {
            return Ok(pool.clone());
        }
        let pool = generation.pool(&self.endpoint.settings).map_err(|error| self.failed(py, error))?;
        *cached = Some((generation.id(), pool.clone()));
        Ok(pool)
    }

    /// The way of one call to `endpoint`.
    fn route(&self, py: Python<'_>, endpoint: Arc<Endpoint>) -> PyResult<Route> {
        for cache in &self.caches {
            cache.get().tell(py)?;
        }
        let (limiters, caches) = (self.limiters.clone(), self.core_caches.clone());
        Ok(Route { endpoint, pool: self.pool(py)?, limiters, caches })
    }

    fn request(
        &self,
        messages: &Bound<'_, PyAny>,
        options: Option<&Bound<'_, PyAny>>,
        keywords: Option<&Bound<'_, PyDict>>,
        stream: bool,
    ) -> PyResult<(Arc<Endpoint>, ChatRequest, Option<Form>)> {
        self.request_of(messages.py(), to_messages(messages)?, options, keywords, stream)
    }

    fn request_of(
        &self,
        py: Python<'_>,
        mut messages: Vec<Arc<Message>>,
        options: Option<&Bound<'_, PyAny>>,
        keywords: Option<&Bound<'_, PyDict>>,
        stream: bool,
    ) -> PyResult<(Arc<Endpoint>, ChatRequest, Option<Form>)> {
        let call = CallOptions::new(options, keywords, self.endpoint.timeouts)?;
        if let Some(system) = call.system {
            messages.insert(0, Arc::new(Message::text(Role::System, system)));
        }
        let Some(model) = call.model.or_else(|| self.model.clone()) else {
            return Err(self.failed(py, Error::invalid("no model given; pass model=... to the provider or the call")));
        };
        let endpoint = self.endpoint_for(py, call.timeouts, &call.extra_headers)?;
        let mut options = call.options;
        options.drop_unsupported = call.drop_unsupported.unwrap_or(self.drop_unsupported);
        Ok((endpoint, ChatRequest { model, messages, options, stream }, call.form))
    }

    fn endpoint_for(
        &self,
        py: Python<'_>,
        timeouts: Option<Timeouts>,
        extra_headers: &[(String, String)],
    ) -> PyResult<Arc<Endpoint>> {
        let mut endpoint = self.endpoint.clone();
        if let Some(timeouts) = timeouts {
            endpoint = Arc::new(endpoint.with_timeouts(timeouts));
        }
        if !extra_headers.is_empty() {
            let with = endpoint.with_headers(extra_headers).map_err(|error| self.failed(py, error))?;
            endpoint = Arc::new(with);
        }
        Ok(endpoint)
    }

    /// Where a call goes that has no options but these two.
    fn plain_endpoint(
        &self,
        py: Python<'_>,
        call: &str,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Arc<Endpoint>> {
        let (mut limits, mut headers) = (None, Vec::new());
        for (name, value) in keywords.iter().flat_map(|keywords| keywords.iter()) {
            match string("an option's name", &name)?.as_str() {
                "timeout" => limits = Some(timeouts(&value, self.endpoint.timeouts)?),
                "extra_headers" if value.is_none() => {}
                "extra_headers" => headers = header_pairs(&value)?,
                other => {
                    let message = format!("{call} has no option {other:?}; it has timeout and extra_headers");
                    return Err(self.failed(py, Error::invalid(message)));
                }
            }
        }
        self.endpoint_for(py, limits, &headers)
    }

    /// Starts a stream, or lays a known answer out as one that is over.
    fn start_stream(
        &self,
        py: Python<'_>,
        endpoint: Arc<Endpoint>,
        request: ChatRequest,
    ) -> PyResult<(call::Receiver, Work<()>)> {
        let route = self.route(py, endpoint)?;
        let (sender, receiver) = call::queue();
        let work = match call::recall_chat(&route, &request) {
            Recall::Known(completed) => {
                call::replay(completed, sender);
                Work::done()
            }
            Recall::Unknown(place) => Work::start(py, call::ask_stream(route, Box::new(request), place, sender))?,
        };
        Ok((receiver, work))
    }

    fn finish_chat(
        py: Python<'_>,
        provider: &'static str,
        form: Option<Form>,
        outcome: ChatOutcome,
    ) -> PyResult<Py<PyAny>> {
        let completed = outcome.map_err(|error| to_py(py, &error.with_provider(provider)))?;
        LlmResponse::of(completed, provider).with_form(form).into_py_any(py)
    }

    fn finish_models(py: Python<'_>, provider: &'static str, outcome: ModelsOutcome) -> PyResult<Py<PyAny>> {
        let models = outcome.map_err(|error| to_py(py, &error.with_provider(provider)))?;
        let models: Vec<ModelInfo> = models.into_iter().map(|info| ModelInfo::of(info, provider)).collect();
        models.into_py_any(py)
    }

    fn finish_count(py: Python<'_>, provider: &'static str, outcome: Result<u64, Error>) -> PyResult<Py<PyAny>> {
        outcome.map_err(|error| to_py(py, &error.with_provider(provider)))?.into_py_any(py)
    }

    fn finish_ask(
        py: Python<'_>,
        provider: &'static str,
        outcome: Result<Completed<impl AsRef<[u8]>>, Error>,
    ) -> PyResult<Py<PyAny>> {
        let answer = outcome.map_err(|error| to_py(py, &error.with_provider(provider)))?;
        let text = String::from_utf8_lossy(answer.value.as_ref());
        if text.is_empty() { Ok(py.None()) } else { loads(py, &text).map(Bound::unbind) }
    }

    /// A request to any other endpoint: text is JSON already, anything else is turned into it.
    fn ask_of(
        &self,
        method: &Bound<'_, PyAny>,
        path: &str,
        body: Option<&Bound<'_, PyAny>>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<(Route, Ask, &'static str)> {
        let py = method.py();
        let invalid = |message: &str| self.failed(py, Error::invalid(message));
        let name = string("method", method)?.to_ascii_uppercase();
        let known = ["GET", "POST", "PUT", "PATCH", "DELETE"];
        if !known.contains(&name.as_str()) {
            return Err(invalid(&format!("the method is one of {}, not {name:?}", known.join(", "))));
        }
        let method = name.parse().map_err(|_| invalid("the method cannot be sent"))?;
        if !path.starts_with('/') {
            return Err(invalid("the path starts with a slash and stands below the base URL, as \"/models\""));
        }
        let body = match body.filter(|body| !body.is_none()) {
            None => String::new(),
            Some(body) if body.cast::<PyString>().is_ok() => string("body", body)?,
            Some(body) => to_json(body)?.to_string(),
        };
        let endpoint = self.plain_endpoint(py, "request", keywords)?;
        Ok((self.route(py, endpoint)?, Ask { method, path: path.to_owned(), body: body.into() }, self.name()))
    }

    fn finish_embed(py: Python<'_>, provider: &'static str, outcome: EmbedOutcome) -> PyResult<Py<PyAny>> {
        let completed = outcome.map_err(|error| to_py(py, &error.with_provider(provider)))?;
        Embeddings::of(py, completed, provider)?.into_py_any(py)
    }

    fn embed_request(
        &self,
        inputs: &Bound<'_, PyAny>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<(Arc<Endpoint>, EmbedRequest)> {
        let py = inputs.py();
        let invalid = |message: &str| self.failed(py, Error::invalid(message));
        if self.endpoint.wire.embed_limits().is_none() {
            return Err(to_py(py, &wire::body::no_embeddings(self.name())));
        }
        if inputs.cast::<PyString>().is_ok() {
            return Err(invalid("embed takes a list of texts; put a single text in a list"));
        }
        let inputs = texts("texts", inputs)?;
        if inputs.is_empty() {
            return Err(invalid("embed needs at least one text"));
        }
        if let Some(place) = inputs.iter().position(|text| text.is_empty()) {
            return Err(invalid(&format!("text {place} is empty; an empty text has no embedding")));
        }
        let mut request = EmbedRequest {
            model: self.embedding_model.clone().unwrap_or_default(),
            inputs,
            dimensions: None,
            task_type: None,
            extra: Default::default(),
        };
        let (mut limits, mut headers) = (None, Vec::new());
        for (name, value) in keywords.iter().flat_map(|keywords| keywords.iter()) {
            if value.is_none() {
                continue;
            }
            match string("an option's name", &name)?.as_str() {
                "model" => request.model = string("model", &value)?,
                "dimensions" => match whole("dimensions", "a whole number of at least 1", &value)? {
                    0 => return Err(invalid("dimensions must be a whole number of at least 1, not 0")),
                    dimensions => request.dimensions = Some(dimensions),
                },
                "task_type" => request.task_type = Some(string("task_type", &value)?),
                "extra" => request.extra = to_object(&value, "extra")?,
                "timeout" => limits = Some(timeouts(&value, self.endpoint.timeouts)?),
                "extra_headers" => headers = header_pairs(&value)?,
                other => {
                    let known = "model, dimensions, task_type, extra, timeout and extra_headers";
                    return Err(invalid(&format!("embed has no option {other:?}; it has {known}")));
                }
            }
        }
        if request.model.trim().is_empty() {
            return Err(invalid(
                "no embedding model given; pass embedding_model=... to the provider or model=... here",
            ));
        }
        Ok((self.endpoint_for(py, limits, &headers)?, request))
    }
}

type ChatOutcome = Result<Completed<Response>, Error>;
type ModelsOutcome = Result<Vec<models::ModelInfo>, Error>;
type EmbedOutcome = Result<Completed<CoreEmbeddings>, Error>;

#[pymethods]
impl Provider {
    #[new]
    #[pyo3(signature = (wire, *, base_url, api_key, headers, model, embedding_model, timeouts, retry, http, drop_unsupported=false, prompt_cache=None, credentials=None))]
    #[allow(clippy::too_many_arguments)] // one for each setting, all by keyword
    fn new(
        wire: &Bound<'_, PyAny>,
        base_url: &Bound<'_, PyAny>,
        api_key: Option<&Bound<'_, PyAny>>,
        headers: &Bound<'_, PyAny>,
        model: Option<&Bound<'_, PyAny>>,
        embedding_model: Option<&Bound<'_, PyAny>>,
        timeouts: &Bound<'_, PyAny>,
        retry: &Bound<'_, PyAny>,
        http: &Bound<'_, PyAny>,
        drop_unsupported: bool,
        prompt_cache: Option<&Bound<'_, PyAny>>,
        credentials: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let py = wire.py();
        let base_url = string("base_url", base_url)?;
        let wire = wires::at(wire, &base_url)?;
        let name = wire.name();
        let limits = self::timeouts(timeouts, Timeouts::default())?;
        let text = |name: &str, value: Option<&Bound<'_, PyAny>>| value.map(|value| string(name, value)).transpose();
        let config = EndpointConfig {
            wire,
            base_url,
            api_key: text("api_key", api_key)?,
            credentials: credentials.map(self::credentials).transpose()?,
            headers: header_pairs(headers)?,
            settings: settings(http)?,
            timeouts: limits,
            retry: retry_policy(retry)?,
            prompt_cache: prompt_cache.map(prompt_cache::from_py).transpose()?.flatten(),
        };
        // Everything that can be wrong with the settings is said here, not at the first call.
        let checked = edgequake_core::http::Connector::new(config.settings.clone()).map(drop);
        let endpoint =
            checked.and_then(|()| Endpoint::new(config)).map_err(|error| to_py(py, &error.with_provider(name)))?;
        Ok(Self {
            endpoint: Arc::new(endpoint),
            model: text("model", model)?,
            embedding_model: text("embedding_model", embedding_model)?,
            drop_unsupported,
            limiters: Arc::default(),
            caches: Vec::new(),
            core_caches: Arc::default(),
            closed: AtomicBool::new(false),
            pool: Mutex::new(None),
        })
    }

    /// The same provider with a limiter around it: every request that is sent passes it first.
    fn limited(&self, py: Python<'_>, limiter: &RateLimiter) -> Self {
        let limiters = std::iter::once(limiter.core()).chain(self.limiters.iter()).cloned();
        Self { limiters: limiters.collect(), ..self.alike(py) }
    }

    /// The same provider with a cache around it: what it knows is not asked for.
    fn cached(&self, py: Python<'_>, cache: Py<LlmCache>) -> Self {
        let core_caches = std::iter::once(cache.get().core()).chain(self.core_caches.iter()).cloned().collect();
        let caches = std::iter::once(&cache).chain(&self.caches).map(|cache| cache.clone_ref(py)).collect();
        Self { caches, core_caches, ..self.alike(py) }
    }

    /// What the answer to a chat call is found by in a cache.
    #[pyo3(signature = (messages, options=None, keywords=None))]
    fn chat_key(
        &self,
        messages: &Bound<'_, PyAny>,
        options: Option<&Bound<'_, PyAny>>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<CacheKey> {
        let (endpoint, request, _) = self.request(messages, options, keywords, false)?;
        Ok(CacheKey(chat_key(self.name(), endpoint.base_url(), &request)))
    }

    /// What the vector of a text is found by in a cache.
    #[pyo3(signature = (text, keywords=None))]
    fn embed_key(&self, text: &Bound<'_, PyString>, keywords: Option<&Bound<'_, PyDict>>) -> PyResult<CacheKey> {
        let py = text.py();
        let (endpoint, request) = self.embed_request(PyList::new(py, [text])?.as_any(), keywords)?;
        let keys = embed_keys(self.name(), endpoint.base_url(), &request);
        keys.first().copied().map(CacheKey).ok_or_else(|| self.failed(py, Error::invalid("embed needs a text")))
    }

    /// Starts a chat call; await what it returns.
    #[pyo3(signature = (messages, options=None, keywords=None))]
    fn chat(
        &self,
        messages: &Bound<'_, PyAny>,
        options: Option<&Bound<'_, PyAny>>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Call> {
        let py = messages.py();
        let (endpoint, request, form) = self.request(messages, options, keywords, false)?;
        let (route, name) = (self.route(py, endpoint)?, self.name());
        match call::recall_chat(&route, &request) {
            Recall::Known(completed) => Self::finish_chat(py, name, form, Ok(completed)).map(Call::ready),
            Recall::Unknown(place) => {
                let work = call::ask_chat(route, Box::new(request), place);
                Call::start(py, work, move |py, outcome| Self::finish_chat(py, name, form, outcome))
            }
        }
    }

    /// Makes a chat call and waits for it in this thread.
    #[pyo3(signature = (messages, options=None, keywords=None))]
    fn chat_sync(
        &self,
        messages: &Bound<'_, PyAny>,
        options: Option<&Bound<'_, PyAny>>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let py = messages.py();
        let (endpoint, request, form) = self.request(messages, options, keywords, false)?;
        let route = self.route(py, endpoint)?;
        let outcome = match call::recall_chat(&route, &request) {
            Recall::Known(completed) => Ok(completed),
            Recall::Unknown(place) => Work::start(py, call::ask_chat(route, Box::new(request), place))?.wait(py)?,
        };
        Self::finish_chat(py, self.name(), form, outcome)
    }

    /// Starts a streamed chat call.
    #[pyo3(signature = (messages, options=None, keywords=None))]
    fn stream(
        &self,
        messages: &Bound<'_, PyAny>,
        options: Option<&Bound<'_, PyAny>>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<TextStream> {
        let py = messages.py();
        let (endpoint, request, form) = self.request(messages, options, keywords, true)?;
        let (receiver, work) = self.start_stream(py, endpoint, request)?;
        TextStream::new(py, receiver, work, self.name(), form)
    }

    /// Starts a streamed chat call to be read in this thread.
    #[pyo3(signature = (messages, options=None, keywords=None))]
    fn stream_sync(
        &self,
        messages: &Bound<'_, PyAny>,
        options: Option<&Bound<'_, PyAny>>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<SyncTextStream> {
        let py = messages.py();
        let (endpoint, request, form) = self.request(messages, options, keywords, true)?;
        let (receiver, work) = self.start_stream(py, endpoint, request)?;
        SyncTextStream::new(py, receiver, work, self.name(), form)
    }

    /// Starts embedding texts; await what it returns.
    #[pyo3(signature = (texts, keywords=None))]
    fn embed(&self, texts: &Bound<'_, PyAny>, keywords: Option<&Bound<'_, PyDict>>) -> PyResult<Call> {
        let py = texts.py();
        let (endpoint, request) = self.embed_request(texts, keywords)?;
        let (route, name) = (self.route(py, endpoint)?, self.name());
        match call::recall_embed(&route, &request) {
            Recall::Known(completed) => Self::finish_embed(py, name, Ok(completed)).map(Call::ready),
            Recall::Unknown(texts) => {
                let work = call::ask_embed(route, request, texts);
                Call::start(py, work, move |py, outcome| Self::finish_embed(py, name, outcome))
            }
        }
    }

    /// Embeds texts and waits for it in this thread.
    #[pyo3(signature = (texts, keywords=None))]
    fn embed_sync(&self, texts: &Bound<'_, PyAny>, keywords: Option<&Bound<'_, PyDict>>) -> PyResult<Py<PyAny>> {
        let py = texts.py();
        let (endpoint, request) = self.embed_request(texts, keywords)?;
        let route = self.route(py, endpoint)?;
        let outcome = match call::recall_embed(&route, &request) {
            Recall::Known(completed) => Ok(completed),
            Recall::Unknown(texts) => Work::start(py, call::ask_embed(route, request, texts))?.wait(py)?,
        };
        Self::finish_embed(py, self.name(), outcome)
    }

    /// The path and body that a call would send, for tests and for looking at.
    #[pyo3(signature = (messages, options=None, keywords=None, *, stream=false))]
    fn encode<'py>(
        &self,
        messages: &Bound<'py, PyAny>,
        options: Option<&Bound<'py, PyAny>>,
        keywords: Option<&Bound<'py, PyDict>>,
        stream: bool,
    ) -> PyResult<(String, Bound<'py, PyBytes>)> {
        let py = messages.py();
        let (endpoint, request, _) = self.request(messages, options, keywords, stream)?;
        let encoded = endpoint.encode_chat(request).map_err(|error| self.failed(py, error))?;
        Ok((encoded.path, PyBytes::new(py, &encoded.body)))
    }

    /// Starts listing the provider's models; await what it returns.
    #[pyo3(signature = (keywords=None))]
    fn list_models(&self, py: Python<'_>, keywords: Option<&Bound<'_, PyDict>>) -> PyResult<Call> {
        let endpoint = self.plain_endpoint(py, "list_models", keywords)?;
        let (route, name) = (self.route(py, endpoint)?, self.name());
        let work = async move { call::list_models(&route).await };
        Call::start(py, work, move |py, outcome| Self::finish_models(py, name, outcome))
    }

    /// Lists the provider's models and waits for it in this thread.
    #[pyo3(signature = (keywords=None))]
    fn list_models_sync(&self, py: Python<'_>, keywords: Option<&Bound<'_, PyDict>>) -> PyResult<Py<PyAny>> {
        let route = self.route(py, self.plain_endpoint(py, "list_models", keywords)?)?;
        let work = Work::start(py, async move { call::list_models(&route).await })?;
        Self::finish_models(py, self.name(), work.wait(py)?)
    }

    /// Starts counting the tokens of a prompt at the provider; await what it returns.
    #[pyo3(signature = (messages, options=None, keywords=None))]
    fn count_tokens(
        &self,
        messages: &Bound<'_, PyAny>,
        options: Option<&Bound<'_, PyAny>>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Call> {
        let py = messages.py();
        let (endpoint, request, _) = self.request(messages, options, keywords, false)?;
        let (route, name) = (self.route(py, endpoint)?, self.name());
        let work = async move { call::count_tokens(&route, request).await };
        Call::start(py, work, move |py, outcome| Self::finish_count(py, name, outcome))
    }

    /// Counts the tokens of a prompt at the provider and waits for it in this thread.
    #[pyo3(signature = (messages, options=None, keywords=None))]
    fn count_tokens_sync(
        &self,
        messages: &Bound<'_, PyAny>,
        options: Option<&Bound<'_, PyAny>>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let py = messages.py();
        let (endpoint, request, _) = self.request(messages, options, keywords, false)?;
        let route = self.route(py, endpoint)?;
        let work = Work::start(py, async move { call::count_tokens(&route, request).await })?;
        Self::finish_count(py, self.name(), work.wait(py)?)
    }

    /// Starts a request to any other endpoint below the base URL; await what it returns.
    #[pyo3(signature = (method, path, body=None, keywords=None))]
    fn ask(
        &self,
        method: &Bound<'_, PyAny>,
        path: &str,
        body: Option<&Bound<'_, PyAny>>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Call> {
        let py = method.py();
        let (route, ask, name) = self.ask_of(method, path, body, keywords)?;
        let work = async move { call::ask(&route, ask).await };
        Call::start(py, work, move |py, outcome| Self::finish_ask(py, name, outcome))
    }

    /// Makes a request to any other endpoint and waits for it in this thread.
    #[pyo3(signature = (method, path, body=None, keywords=None))]
    fn ask_sync(
        &self,
        method: &Bound<'_, PyAny>,
        path: &str,
        body: Option<&Bound<'_, PyAny>>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let py = method.py();
        let (route, ask, name) = self.ask_of(method, path, body, keywords)?;
        let work = Work::start(py, async move { call::ask(&route, ask).await })?;
        Self::finish_ask(py, name, work.wait(py)?)
    }

    /// Path and body of the request that stores a prompt at the provider for `ttl` seconds.
    #[pyo3(signature = (messages, ttl, title=None, keywords=None))]
    fn encode_store(
        &self,
        messages: &Bound<'_, PyAny>,
        ttl: f64,
        title: Option<&str>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<(String, String)> {
        let py = messages.py();
        let (endpoint, request, _) = self.request_of(py, to_prompt(messages)?, None, keywords, false)?;
        let ask = wire::store_prompt(endpoint.wire.as_ref(), request, ttl, title);
        let ask = ask.map_err(|error| self.failed(py, error))?;
        Ok((ask.path, String::from_utf8_lossy(&ask.body).into_owned()))
    }

    /// The path and body that would be sent for texts which fit in one request, for tests and for looking at.
    #[pyo3(signature = (texts, keywords=None))]
    fn encode_embed<'py>(
        &self,
        texts: &Bound<'py, PyAny>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<(String, Bound<'py, PyBytes>)> {
        let py = texts.py();
        let (endpoint, request) = self.embed_request(texts, keywords)?;
        let encoded = endpoint.wire.encode_embed(&request).map_err(|error| self.failed(py, error))?;
        Ok((encoded.path, PyBytes::new(py, &encoded.body)))
    }

    /// Refuses further calls, and closes the unused connections if no other provider shares the pool.
    fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        let pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner).take();
        // One hold is the registry's, one is ours. A pool from before a fork is the parent's: its locks may be held.
        if let Some((id, pool)) = pool
            && is_current(id)
            && Arc::strong_count(&pool) <= 2
        {
            pool.close_idle();
        }
    }

    /// Connections of this provider's pool: (unused HTTP/1.1 ones, HTTP/2 ones).
    fn connections(&self, py: Python<'_>) -> PyResult<(usize, usize)> {
        Ok(self.pool(py)?.connections())
    }

    /// The provider's name, as `openai`.
    #[getter(name)]
    fn py_name(&self) -> &'static str {
        self.name()
    }

    /// The header that keys go into, and what stands before them there.
    #[getter]
    fn key_header(&self) -> (&'static str, &'static str) {
        let header = self.endpoint.wire.key_header();
        (header.name, header.prefix)
    }

    /// The base URL.
    #[getter]
    fn base_url(&self) -> &str {
        self.endpoint.base_url()
    }

    /// The model that calls use unless they name another.
    #[getter]
    fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// The embedding model that `embed` uses unless it names another.
    #[getter]
    fn embedding_model(&self) -> Option<&str> {
        self.embedding_model.as_deref()
    }
}
