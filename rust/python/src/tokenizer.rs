//! `Tokenizer`, `estimate_tokens` and `count_tokens_if_needed`.

use std::{borrow::Cow, collections::HashSet};

use edgequake_core::{
    Error, ErrorKind,
    model::Message,
    tokenizer::{self as core, chat::Overheads, cut, special::SpecialTokens},
};
use pyo3::{
    exceptions::PyUnicodeEncodeError,
    intern,
    prelude::*,
    types::{PyBytes, PyDict, PyString, PyTuple},
};

use crate::{
    errors::to_py, json::text_of, message::to_messages, options::whole, tokenizer_file::FileTokenizer, tools::to_tools,
};

/// Shorter texts are counted before another thread could have used the interpreter.
const WORTH_DETACHING: usize = 2 << 10;

/// Counts tokens, encodes and decodes them, and cuts text by them.
///
/// `Tokenizer.for_model("gpt-4o-mini")` and `Tokenizer.for_encoding("o200k_base")` give tiktoken's results to the token.
/// Nothing is loaded before the first count; what is loaded is shared by all. `Tokenizer.from_file("tokenizer.json")`
/// takes any vocabulary in Hugging Face's form. For models whose tokenizer is not public (Claude, Gemini) `for_model`
/// gives an estimate of one token for each four characters: `is_estimate` is then true, and `provider.count_tokens`
/// asks the provider itself.
///
/// Immutable, and safe to share between threads. Texts of more than 2 KB are worked on with the interpreter's lock
/// released.
#[pyclass(module = "edgequake_llm", frozen)]
pub(crate) struct Tokenizer {
    engine: Engine,
    /// What `for_model` was given, so that a copy can be made.
    model: Option<String>,
}

enum Engine {
    Core(core::Tokenizer),
    File(FileTokenizer),
}

impl From<core::Tokenizer> for Tokenizer {
    fn from(tokenizer: core::Tokenizer) -> Self {
        Self { engine: Engine::Core(tokenizer), model: None }
    }
}

/// Lets other threads of Python run meanwhile, if `size` bytes make it worth it.
fn detached<T: Send>(py: Python<'_>, size: usize, work: impl FnOnce() -> T + Send) -> T {
    if size < WORTH_DETACHING { work() } else { py.detach(work) }
}

/// A text as UTF-8, with surrogates made whole or replaced, as tiktoken does.
fn lenient<'a>(text: &'a Bound<'_, PyString>) -> PyResult<Cow<'a, str>> {
    let py = text.py();
    match text.to_str() {
        Ok(text) => Ok(Cow::Borrowed(text)),
        Err(error) if error.is_instance_of::<PyUnicodeEncodeError>(py) => {
            let units = text.call_method1(intern!(py, "encode"), ("utf-16", "surrogatepass"))?;
            let clean = units.call_method1(intern!(py, "decode"), ("utf-16", "replace"))?;
            Ok(Cow::Owned(clean.extract()?))
        }
        Err(error) => Err(error),
    }
}

fn at_least_zero(name: &str, value: &Bound<'_, PyAny>) -> PyResult<usize> {
    whole(name, "a whole number of at least 0", value)
}

/// `"all"`, or names of special tokens.
fn special_tokens(name: &str, value: &Bound<'_, PyAny>) -> PyResult<SpecialTokens> {
    let wrong = || {
        let message = format!("{name} must be \"all\" or a set of special tokens' names");
        to_py(value.py(), &Error::invalid(message))
    };
    if let Ok(text) = value.cast::<PyString>() {
        return if text_of(text)? == "all" { Ok(SpecialTokens::All) } else { Err(wrong()) };
    }
    let names = value.try_iter().map_err(|_| wrong())?;
    let names: PyResult<HashSet<String>> = names.map(|name| name?.extract().map_err(|_| wrong())).collect();
    Ok(SpecialTokens::These(names?))
}

#[pymethods]
impl Tokenizer {
    /// The tokenizer of a model: `"gpt-4o-mini-2024-07-18"`, `"ft:gpt-4o:acme::x"`, `"openai/gpt-5"`. An estimate for
    /// models of other makers.
    ///
    /// Raises `InvalidRequestError` for a name that tells nothing; the message says what to use instead.
    #[staticmethod]
    fn for_model(py: Python<'_>, model: &str) -> PyResult<Self> {
        let tokenizer = core::Tokenizer::for_model(model).map_err(|error| to_py(py, &error))?;
        Ok(Self { engine: Engine::Core(tokenizer), model: Some(model.to_owned()) })
    }

    /// The tokenizer of an encoding: `"o200k_base"`, `"o200k_harmony"`, `"cl100k_base"`, `"p50k_base"`, `"p50k_edit"` or
    /// `"r50k_base"` (also called `"gpt2"`). Raises `InvalidRequestError` for any other name.
    #[staticmethod]
    fn for_encoding(py: Python<'_>, name: &str) -> PyResult<Self> {
        core::Tokenizer::for_encoding(name).map(Self::from).map_err(|error| to_py(py, &error))
    }

    /// The tokenizer in a `tokenizer.json` file, as models on Hugging Face have one.
    ///
    /// Needs the `tokenizers` package: `pip install edgequake-llm[tokenizers]`. Raises `ConfigurationError` without it, or
    /// if the file cannot be read. Truncation and padding that the file asks for are turned off.
    #[staticmethod]
    fn from_file(path: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self { engine: Engine::File(FileTokenizer::open(path)?), model: None })
    }

    /// A tokenizer that only estimates: a token is four characters, rounded up.
    #[staticmethod]
    fn estimate() -> Self {
        core::Tokenizer::estimate().into()
    }

    /// How many tokens `text` has. What looks like a special token is counted as text.
    ///
    /// With `limit`, counting stops once there are more than that many, and the result is `limit + 1`; so
    /// `count_tokens(text, limit=n) > n` costs no more for a text of any length.
    #[pyo3(signature = (text, limit=None))]
    fn count_tokens(&self, text: &Bound<'_, PyString>, limit: Option<&Bound<'_, PyAny>>) -> PyResult<usize> {
        let limit = limit.map(|limit| at_least_zero("limit", limit)).transpose()?;
        match &self.engine {
            Engine::Core(tokenizer) => {
                let content = lenient(text)?;
                Ok(detached(text.py(), content.len(), || tokenizer.count(&content, limit)))
            }
            Engine::File(file) => {
                let count = file.count(text.as_any())?;
                Ok(limit.map_or(count, |limit| count.min(limit.saturating_add(1))))
            }
        }
    }

    /// The count of each text, in parallel, with the interpreter's lock released. `threads` is at most how many threads
    /// work; by default as many as there are processors.
    #[pyo3(signature = (texts, *, threads=None))]
    fn count_batch(&self, texts: &Bound<'_, PyAny>, threads: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<usize>> {
        let py = texts.py();
        let threads = threads.map(|threads| at_least_zero("threads", threads)).transpose()?;
        let wrong = || to_py(py, &Error::invalid("texts must be a list of texts"));
        if texts.is_instance_of::<PyString>() {
            return Err(wrong());
        }
        let items = texts.try_iter().map_err(|_| wrong())?;
        let items: Vec<Bound<'_, PyString>> =
            items.map(|item| item?.cast_into().map_err(|_| wrong())).collect::<PyResult<_>>()?;
        match &self.engine {
            Engine::Core(tokenizer) => {
                let contents: Vec<Cow<'_, str>> = items.iter().map(lenient).collect::<PyResult<_>>()?;
                let contents: Vec<&str> = contents.iter().map(AsRef::as_ref).collect();
                Ok(py.detach(|| tokenizer.count_batch(&contents, threads)))
            }
            Engine::File(file) => items.iter().map(|text| file.count(text.as_any())).collect(),
        }
    }

    /// The tokens of `text`, as tiktoken's `encode` gives them.
    ///
    /// Special tokens in the text become their ids where `allowed_special` (`"all"` or a set) has them. One in
    /// `disallowed_special` raises `InvalidRequestError`; `"all"` means those that are not allowed, and `()` none, so that
    /// they are encoded as ordinary text. Raises `InvalidRequestError` for an estimate, which has no tokens.
    #[pyo3(signature = (text, *, allowed_special=None, disallowed_special=None))]
    fn encode(
        &self,
        text: &Bound<'_, PyString>,
        allowed_special: Option<&Bound<'_, PyAny>>,
        disallowed_special: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Vec<u32>> {
        let py = text.py();
        let allowed = allowed_special.map(|value| special_tokens("allowed_special", value)).transpose()?;
        let allowed = allowed.unwrap_or_else(|| SpecialTokens::These(HashSet::new()));
        let disallowed = disallowed_special.map(|value| special_tokens("disallowed_special", value)).transpose()?;
        let disallowed = disallowed.unwrap_or(SpecialTokens::All);
        let content = lenient(text)?;
        match &self.engine {
            Engine::Core(tokenizer) => {
                let encoded = detached(py, content.len(), || tokenizer.encode(&content, &allowed, &disallowed));
                encoded.map_err(|error| to_py(py, &error))
            }
            Engine::File(file) => file.encode(py, &content, &allowed, &disallowed),
        }
    }

    /// The text of tokens. `errors` says what to do with bytes that are no valid UTF-8, as for `bytes.decode`.
    ///
    /// Raises `InvalidRequestError` for a number that is no token, `UnicodeDecodeError` with `errors="strict"`.
    #[pyo3(signature = (tokens, errors="replace"))]
    fn decode<'py>(&self, py: Python<'py>, tokens: Vec<u32>, errors: &str) -> PyResult<Bound<'py, PyAny>> {
        match &self.engine {
            Engine::Core(_) => self.decode_bytes(py, tokens)?.call_method1(intern!(py, "decode"), ("utf-8", errors)),
            Engine::File(file) => file.decode(py, tokens),
        }
    }

    /// The bytes that tokens stand for. They may begin or end within a character.
    fn decode_bytes<'py>(&self, py: Python<'py>, tokens: Vec<u32>) -> PyResult<Bound<'py, PyAny>> {
        match &self.engine {
            Engine::Core(tokenizer) => {
                let bytes = detached(py, tokens.len(), || tokenizer.decode(&tokens));
                Ok(PyBytes::new(py, &bytes.map_err(|error| to_py(py, &error))?).into_any())
            }
            Engine::File(file) => file.decode(py, tokens)?.call_method0(intern!(py, "encode")),
        }
    }

    /// The longest beginning of `text` that ends between two tokens and two characters and has at most `max_tokens`
    /// tokens, counted by itself. Empty if not even the first character has so few.
    fn truncate<'py>(
        &self,
        text: &Bound<'py, PyString>,
        max_tokens: &Bound<'_, PyAny>,
    ) -> PyResult<Bound<'py, PyString>> {
        let py = text.py();
        let max_tokens = at_least_zero("max_tokens", max_tokens)?;
        let content = text_of(text)?;
        let start = match &self.engine {
            Engine::Core(tokenizer) => detached(py, content.len(), || tokenizer.truncate(content, max_tokens))
                .map_err(|error| to_py(py, &error))?,
            Engine::File(file) => cut::truncate(&file.borders(py), content, max_tokens)?,
        };
        Ok(if start.len() == content.len() { text.clone() } else { PyString::new(py, start) })
    }

    /// Cuts `text` into chunks of at most `max_tokens` tokens each, counted by itself, between tokens and between
    /// characters. Each chunk begins with the last `overlap` tokens of the one before, or as many of them as whole
    /// characters and the limit allow; without an overlap the chunks joined are the text.
    ///
    /// Raises `InvalidRequestError` if `max_tokens` is 0, if `overlap` is not smaller than `max_tokens`, or if a single
    /// character has more tokens than that.
    #[pyo3(signature = (text, max_tokens, overlap=None), text_signature = "($self, text, max_tokens, overlap=0)")]
    fn split<'py>(
        &self,
        text: &Bound<'py, PyString>,
        max_tokens: &Bound<'_, PyAny>,
        overlap: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Vec<Bound<'py, PyString>>> {
        let py = text.py();
        let max_tokens = at_least_zero("max_tokens", max_tokens)?;
        let overlap = overlap.map_or(Ok(0), |overlap| at_least_zero("overlap", overlap))?;
        let content = text_of(text)?;
        let chunks = match &self.engine {
            Engine::Core(tokenizer) => detached(py, content.len(), || tokenizer.split(content, max_tokens, overlap))
                .map_err(|error| to_py(py, &error))?,
            Engine::File(file) => cut::split(&file.borders(py), content, max_tokens, overlap)?,
        };
        Ok(chunks.into_iter().map(|chunk| PyString::new(py, chunk)).collect())
    }

    /// The tokens of a whole prompt: the messages, the tools, and what the provider adds around them.
    ///
    /// By the formula of the OpenAI Cookbook (*How to count tokens with tiktoken*): exact for plain messages to OpenAI's
    /// models, an approximation for tools, calls of tools in the history and images (85 tokens with `detail: low`, else
    /// 765), and for other vendors. Documents and sound count nothing.
    #[pyo3(signature = (messages, tools=None))]
    fn count_messages(&self, messages: &Bound<'_, PyAny>, tools: Option<&Bound<'_, PyAny>>) -> PyResult<usize> {
        let py = messages.py();
        let messages = to_messages(messages)?;
        let tools = tools.map_or(Ok(Vec::new()), to_tools)?;
        match &self.engine {
            Engine::Core(tokenizer) => {
                let size = messages.iter().map(|message| Message::size(message)).sum();
                Ok(detached(py, size, || tokenizer.count_messages(&messages, &tools)))
            }
            Engine::File(file) => core::chat::count(Overheads::CHAT, &messages, &tools, |text| {
                file.count(PyString::new(py, text).as_any())
            }),
        }
    }

    /// Whether the counts are estimates.
    #[getter]
    fn is_estimate(&self) -> bool {
        matches!(&self.engine, Engine::Core(tokenizer) if tokenizer.is_estimate())
    }

    /// The encoding's name, the file's path, or `"estimate"`.
    #[getter]
    fn name(&self) -> &str {
        match &self.engine {
            Engine::Core(tokenizer) => tokenizer.encoding().map_or("estimate", |encoding| encoding.name()),
            Engine::File(file) => file.path(),
        }
    }

    /// The special tokens with their ids.
    #[getter]
    fn special_tokens<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        match &self.engine {
            Engine::Core(tokenizer) => {
                for (name, id) in tokenizer.special_tokens() {
                    dict.set_item(name, id)?;
                }
            }
            Engine::File(file) => {
                for (name, id) in file.special_tokens() {
                    dict.set_item(name, id)?;
                }
            }
        }
        Ok(dict)
    }

    /// The tokens that are not special by their bytes, in the form that `tiktoken.Encoding(mergeable_ranks=...)` takes.
    fn _ranks<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        if let Engine::Core(tokenizer) = &self.engine {
            for (token, id) in tokenizer.ranks().map_err(|error| to_py(py, &error))? {
                dict.set_item(PyBytes::new(py, token), id)?;
            }
        }
        Ok(dict)
    }

    /// Bytes that the loaded vocabulary takes; loads it if need be.
    fn _memory(&self) -> usize {
        match &self.engine {
            Engine::Core(tokenizer) => tokenizer.memory(),
            Engine::File(_) => 0,
        }
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        let Ok(other) = other.cast::<Self>() else { return false };
        match (&self.engine, &other.get().engine) {
            (Engine::Core(a), Engine::Core(b)) => a == b,
            (Engine::File(a), Engine::File(b)) => a.path() == b.path(),
            _ => false,
        }
    }

    fn __hash__(&self, py: Python<'_>) -> PyResult<isize> {
        PyString::new(py, self.name()).hash()
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let (maker, argument) = slf.get().origin();
        Ok((slf.get_type().getattr(maker)?, PyTuple::new(slf.py(), argument)?))
    }

    fn __repr__(&self) -> String {
        let (maker, argument) = self.origin();
        format!("Tokenizer.{maker}({})", argument.map(|text| format!("{text:?}")).unwrap_or_default())
    }
}

impl Tokenizer {
    /// The method that made it, and what it was given.
    fn origin(&self) -> (&'static str, Option<&str>) {
        match (&self.engine, &self.model) {
            (_, Some(model)) => ("for_model", Some(model)),
            (Engine::File(file), None) => ("from_file", Some(file.path())),
            (Engine::Core(tokenizer), None) => match tokenizer.encoding() {
                None => ("estimate", None),
                Some(encoding) => ("for_encoding", Some(encoding.name())),
            },
        }
    }
}

/// The number of tokens that a text has by the rule of thumb: characters ÷ 4, rounded up. Loads nothing.
///
/// It fits English prose. Code has up to twice as many tokens, Chinese, Japanese and Korean two to four times as many.
#[pyfunction]
pub(crate) fn estimate_tokens(text: &Bound<'_, PyString>) -> PyResult<usize> {
    Ok(text.len()?.div_ceil(4))
}

/// The exact count of a text of more than `threshold` characters; `None` for a shorter one, for which `estimate_tokens` is
/// good enough, so that the vocabulary is not even loaded.
///
/// Raises `InvalidRequestError` for a long text if the model is not known, as `Tokenizer.for_model` does.
#[pyfunction]
#[pyo3(signature = (text, model, threshold=10_000))]
pub(crate) fn count_tokens_if_needed(
    text: &Bound<'_, PyString>,
    model: &str,
    threshold: usize,
) -> PyResult<Option<usize>> {
    let py = text.py();
    let content = lenient(text)?;
    let counted = detached(py, content.len(), || core::count_if_needed(&content, model, threshold));
    counted.map_err(|error| to_py(py, &error))
}

/// The error for what is missing to read a file.
pub(crate) fn configuration(py: Python<'_>, message: String) -> PyErr {
    to_py(py, &Error::new(ErrorKind::Configuration, message))
}
