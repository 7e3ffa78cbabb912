//! `LLMCache`: the native cache, for providers and by itself.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::Arc,
    time::Duration,
};

use edgequake_core::{
    Error, ErrorKind,
    cache::{self as core, CacheConfig, Clock, Key, LlmCacheConfig, Lookup, Stored, Ttl},
};
use foldhash::{SharedSeed, quality::SeedableRandomState};
use pyo3::{
    intern,
    prelude::*,
    types::{PyBool, PyBytes, PyEllipsis, PyFloat, PyInt, PyString, PyTuple},
};

use crate::{
    embeddings::row_view,
    errors::to_py,
    options::seconds,
    response::{LlmResponse, Usage},
};

/// The key of a request or of a text's vector in a cache, as `CachedProvider.chat_key` and `embed_key` give it.
///
/// 128 bits, the same for equal requests in every process and on every machine. `str(key)` is 32 hexadecimal digits.
#[pyclass(name = "CacheKey", module = "edgequake_llm", frozen, eq, hash)]
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct CacheKey(pub(crate) Key);

#[pymethods]
impl CacheKey {
    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        format!("CacheKey('{}')", self.0)
    }
}

/// What the hits of one model, with prompts of about the same length, saved.
#[pyclass(name = "CacheSaving", module = "edgequake_llm", frozen, get_all)]
pub(crate) struct CacheSaving {
    /// The provider's name.
    provider: &'static str,
    /// The model, as the answers name it; empty where there were more than 10,000 to be told apart.
    model: String,
    /// Calls that were not made. The texts of an `embed` are not counted one by one.
    calls: u64,
    /// The tokens that they would have taken.
    usage: Usage,
    /// The tokens of the longest prompt among them: prices may depend on it.
    longest_prompt: u64,
}

#[pymethods]
impl CacheSaving {
    fn __repr__(&self) -> String {
        let Self { provider, model, calls, usage, longest_prompt } = self;
        let usage = usage.__repr__();
        format!(
            "CacheSaving(provider='{provider}', model='{model}', calls={calls}, usage={usage}, \
             longest_prompt={longest_prompt})"
        )
    }
}

/// What a cache holds, and what it did since it was made.
#[pyclass(name = "CacheStats", module = "edgequake_llm", frozen, get_all)]
pub(crate) struct CacheStats {
    /// Look-ups answered with a fresh value. Each text of an `embed` is a look-up.
    hits: u64,
    /// Look-ups answered with a stale value.
    stale_hits: u64,
    /// Look-ups that found nothing.
    misses: u64,
    /// Of the misses, those that an equal call under way answered with its request.
    shared: u64,
    /// Entries that made room for others while still alive.
    evictions: u64,
    /// Entries that left because their time was over.
    expirations: u64,
    /// Entries held now, those included whose time is over and which nobody has met yet.
    entries: usize,
    /// About how many bytes they take.
    bytes: u64,
    /// Tokens that providers did not have to read and write again, by the usage that came with the stored answers.
    tokens_saved: u64,
    /// The same by provider and model, as a tuple of `CacheSaving`.
    savings: Py<PyTuple>,
}

#[pymethods]
impl CacheStats {
    /// The share of look-ups that were answered, fresh or stale: 0 to 1; 0 before the first one.
    #[getter]
    fn hit_rate(&self) -> f64 {
        let answered = (self.hits + self.stale_hits) as f64;
        let all = answered + self.misses as f64;
        if all > 0.0 { answered / all } else { 0.0 }
    }

    /// What hits saved, in US dollars, as a `CostSaved`: the price of the tokens that came with each stored answer, by
    /// `catalog` (by default `ModelCatalog()`, whose prices come from the package `genai-prices`), as prices are now.
    ///
    /// What has no known price is not in the total; the result names it. Reads the prices when it is called, not before.
    ///
    /// Raises `ConfigurationError` if `genai-prices` is not installed and the catalog's own entries do not do.
    #[pyo3(signature = (catalog=None))]
    fn cost_saved(&self, py: Python<'_>, catalog: Option<Bound<'_, PyAny>>) -> PyResult<Py<PyAny>> {
        let module = py.import(intern!(py, "edgequake_llm.catalog"))?;
        Ok(module.call_method1(intern!(py, "cost_saved"), (&self.savings, catalog))?.unbind())
    }

    fn __repr__(&self) -> String {
        let Self { hits, stale_hits, misses, shared, evictions, expirations, entries, bytes, tokens_saved, savings: _ } =
            self;
        format!(
            "CacheStats(hits={hits}, stale_hits={stale_hits}, misses={misses}, shared={shared}, \
             evictions={evictions}, expirations={expirations}, entries={entries}, bytes={bytes}, \
             tokens_saved={tokens_saved})"
        )
    }
}

/// A cache of answers, of vectors, and of whatever else is put in.
///
/// `LLMCache(CacheConfig(...))`; `CachedProvider(llm, cache)` uses it, any number of providers at once, and so does
/// everybody else by `get` and `set`. Exact LRU order; reading and writing cost the same however full it is. Any thread,
/// any event loop; a forked child goes on with a copy of its own.
///
/// Keys are text, bytes, numbers, `None`, tuples of these, or a `CacheKey`; keys that are equal in Python are one key.
/// Only their hash is kept. Values are any Python objects, kept by reference.
///
/// `clock` is a function that returns seconds, for tests; by default the system's monotonic clock.
///
/// Raises `ConfigurationError` or `InvalidRequestError` for values out of range.
#[pyclass(name = "LLMCache", module = "edgequake_llm", frozen, weakref)]
pub(crate) struct LlmCache {
    cache: Arc<core::LlmCache>,
    config: Py<PyAny>,
    /// A Python function that gives seconds, and its value at the start.
    clock: Option<(Py<PyAny>, f64)>,
    /// For the caller's own keys: their hash never leaves the process, so a fast one under a secret will do.
    secrets: [RandomState; 2],
    /// For texts, whose other half is Python's own hash, which is under a secret too and there already.
    text_secret: SeedableRandomState,
}

/// The kinds of keys, so that a text is never taken for bytes of the same spelling.
mod kind {
    pub(super) const TEXT: u8 = 0;
    pub(super) const SURROGATES: u8 = 1;
    pub(super) const BYTES: u8 = 2;
    pub(super) const INTEGER: u8 = 3;
    pub(super) const FLOAT: u8 = 4;
    pub(super) const NONE: u8 = 5;
    pub(super) const TUPLE: u8 = 6;
    pub(super) const ANSWER: u8 = 7;
}

fn write_sized(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    out.push(kind);
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// A key as bytes; equal ones for keys that are equal in Python.
fn write_key(out: &mut Vec<u8>, key: &Bound<'_, PyAny>, depth: usize) -> PyResult<()> {
    let py = key.py();
    let integer = |out: &mut Vec<u8>, number: i128| {
        out.push(kind::INTEGER);
        out.extend_from_slice(&number.to_le_bytes());
    };
    if let Ok(text) = key.cast::<PyString>() {
        match text.to_str() {
            Ok(text) => write_sized(out, kind::TEXT, text.as_bytes()),
            Err(_) => {
                let bytes = text.call_method1(intern!(py, "encode"), ("utf-8", "surrogatepass"))?;
                write_sized(out, kind::SURROGATES, bytes.cast::<PyBytes>()?.as_bytes());
            }
        }
    } else if let Ok(bytes) = key.cast::<PyBytes>() {
        write_sized(out, kind::BYTES, bytes.as_bytes());
    } else if let Ok(flag) = key.cast::<PyBool>() {
        integer(out, i128::from(flag.is_true()));
    } else if key.is_instance_of::<PyInt>() {
        match key.extract::<i128>() {
            Ok(number) if number != i128::MIN => integer(out, number),
            _ => return Err(invalid(py, "a whole number of more than 127 bits is no cache key; use its text")),
        }
    } else if let Ok(number) = key.cast::<PyFloat>() {
        let number = number.value();
        // Below 2^127 the conversion of a whole number is exact.
        if number.fract() == 0.0 && number.abs() < f64::from(2).powi(127) {
            integer(out, number as i128);
        } else {
            out.push(kind::FLOAT);
            out.extend_from_slice(&if number.is_nan() { f64::NAN } else { number }.to_le_bytes());
        }
    } else if key.is_none() {
        out.push(kind::NONE);
    } else if let Ok(key) = key.cast::<CacheKey>() {
        out.push(kind::ANSWER);
        out.extend_from_slice(&key.get().0.to_bytes());
    } else if let Ok(items) = key.cast::<PyTuple>()
        && depth < 100
    {
        out.push(kind::TUPLE);
        out.extend_from_slice(&(items.len() as u64).to_le_bytes());
        for item in items.iter_borrowed() {
            write_key(out, &item, depth + 1)?;
        }
    } else {
        let what = key.get_type().name()?;
        let message =
            format!("a cache key is text, bytes, a number, None, a CacheKey or a tuple of these, not a {what}");
        return Err(invalid(py, message));
    }
    Ok(())
}

fn invalid(py: Python<'_>, message: impl Into<String>) -> PyErr {
    to_py(py, &Error::invalid(message))
}

/// A lifetime as it is given: left out, `None` for ever, or seconds.
pub(crate) struct TtlArgument(Ttl);

impl<'py> FromPyObject<'_, 'py> for TtlArgument {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        Ok(Self(if value.is_none() {
            Ttl::Never
        } else if value.is_instance_of::<PyEllipsis>() {
            Ttl::Default
        } else {
            seconds("ttl", &value)?.map_or(Ttl::Never, Ttl::For)
        }))
    }
}

/// The settings of a `CacheConfig`.
fn settings(config: &Bound<'_, PyAny>) -> PyResult<LlmCacheConfig> {
    let py = config.py();
    let wrong = |message: String| to_py(py, &Error::new(ErrorKind::Configuration, message));
    let count = |name: &str, least: u64| -> PyResult<Option<u64>> {
        let value = config.getattr(name)?;
        if value.is_none() {
            return Ok(None);
        }
        let whole = value.is_instance_of::<PyInt>() && !value.is_instance_of::<PyBool>();
        match value.extract::<u64>() {
            Ok(number) if whole && number >= least => Ok(Some(number)),
            _ => Err(wrong(format!("{name} must be a whole number of at least {least}, not {}", value.repr()?))),
        }
    };
    let flag = |name: &str| -> PyResult<bool> {
        let value = config.getattr(name)?;
        let flag = value.cast::<PyBool>().map(|flag| flag.is_true());
        flag.map_err(|_| wrong(format!("{name} must be True or False")))
    };
    let Some(max_entries) = count("max_entries", 0)? else {
        return Err(wrong("max_entries must be a whole number; there is no cache without a limit".into()));
    };
    let stale = config.getattr("stale")?;
    let none = stale.extract::<f64>().is_ok_and(|seconds| seconds == 0.0);
    Ok(LlmCacheConfig {
        limits: CacheConfig {
            max_entries: usize::try_from(max_entries).unwrap_or(usize::MAX),
            max_bytes: count("max_bytes", 1)?,
            ttl: seconds("ttl", &config.getattr("ttl")?)?,
            refresh_on_read: flag("refresh_on_read")?,
            stale: if none { Duration::ZERO } else { seconds("stale", &stale)?.unwrap_or(Duration::MAX) },
        },
        completions: flag("cache_completions")?,
        embeddings: flag("cache_embeddings")?,
        nonzero_temperature: flag("cache_nonzero_temperature")?,
    })
}

impl LlmCache {
    /// The cache, for the core.
    pub(crate) fn core(&self) -> &Arc<core::LlmCache> {
        &self.cache
    }

    /// Tells the cache what a clock of the caller's own says.
    #[inline(always)]
    pub(crate) fn tell(&self, py: Python<'_>) -> PyResult<()> {
        if self.clock.is_some() { self.ask_clock(py) } else { Ok(()) }
    }

    #[cold]
    fn ask_clock(&self, py: Python<'_>) -> PyResult<()> {
        if let Some((clock, started)) = &self.clock {
            let now: f64 = clock.call0(py)?.extract(py)?;
            self.cache.tell(Duration::try_from_secs_f64(now - started).unwrap_or_default());
        }
        Ok(())
    }

    // Inline, because a key that goes through memory costs as much as the look-up.
    #[inline(always)]
    fn key(&self, key: &Bound<'_, PyAny>) -> PyResult<Key> {
        if let Ok(text) = key.cast_exact::<PyString>()
            && let Ok(utf8) = text.to_str()
        {
            return Ok(Key::from_halves(
                text.hash()?.cast_unsigned() as u64,
                self.text_secret.hash_one(utf8.as_bytes()),
            ));
        }
        self.unusual_key(key)
    }

    #[cold]
    fn unusual_key(&self, key: &Bound<'_, PyAny>) -> PyResult<Key> {
        if let Ok(key) = key.cast::<CacheKey>() {
            return Ok(key.get().0);
        }
        if let Ok(text) = key.cast::<PyString>()
            && let Ok(utf8) = text.to_str()
        {
            // Of a class of its own, which may hash otherwise and is the same key nevertheless.
            return self.key(&PyString::new(key.py(), utf8));
        }
        let mut written = Vec::new();
        write_key(&mut written, key, 0)?;
        let [low, high] = self.secrets.each_ref().map(|secret| {
            let mut hasher = secret.build_hasher();
            hasher.write(&written);
            hasher.finish()
        });
        Ok(Key::from_halves(low, high))
    }

    /// Looks up a value of the caller's own; `None` in place of what is of another kind.
    #[inline(always)]
    fn find(&self, py: Python<'_>, key: Key) -> Lookup<Option<Py<PyAny>>> {
        // Under the lock there is only a count to raise; no Python runs.
        self.cache.get_with(key, |stored| match stored {
            Stored::Other(value) => value.downcast_ref::<Py<PyAny>>().map(|own| own.clone_ref(py)),
            _ => None,
        })
    }

    /// What was found; an answer or a vector is made into a Python object only now.
    #[inline(always)]
    fn found(&self, py: Python<'_>, key: Key, own: Option<Py<PyAny>>) -> PyResult<Py<PyAny>> {
        match own {
            Some(own) => Ok(own),
            None => self.cache.peek(key).map_or_else(|| Ok(py.None()), |stored| self.value(py, &stored)),
        }
    }

    fn value(&self, py: Python<'_>, stored: &Stored) -> PyResult<Py<PyAny>> {
        match stored {
            Stored::Other(value) => match value.downcast_ref::<Py<PyAny>>() {
                Some(value) => Ok(value.clone_ref(py)),
                None => Ok(py.None()),
            },
            Stored::Answer(answer) => {
                let response = LlmResponse::of(answer.recall(Duration::ZERO), answer.provider());
                Ok(Py::new(py, response)?.into_any())
            }
            Stored::Vector(vector, _) => row_view(py, vector).map(Bound::unbind),
        }
    }
}

/// About how many bytes a value takes, itself and without what it refers to.
fn size_of(value: &Bound<'_, PyAny>) -> PyResult<usize> {
    // The usual ones without a call: what CPython says, but for letters beyond Latin-1.
    if let Ok(text) = value.cast_exact::<PyString>() {
        return Ok(49 + text.len()?);
    }
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(33 + bytes.as_bytes().len());
    }
    if value.is_none() || value.is_exact_instance_of::<PyInt>() || value.is_exact_instance_of::<PyFloat>() {
        return Ok(28);
    }
    value.call_method0(intern!(value.py(), "__sizeof__"))?.extract()
}

#[pymethods]
impl LlmCache {
    #[new]
    #[pyo3(signature = (config=None, *, clock=None))]
    fn new(py: Python<'_>, config: Option<Bound<'_, PyAny>>, clock: Option<Py<PyAny>>) -> PyResult<Self> {
        let config = match config {
            Some(config) => config,
            None => py.import("edgequake_llm.cache")?.getattr("CacheConfig")?.call0()?,
        };
        if !config.hasattr(intern!(py, "cache_completions"))? {
            let what = config.get_type().name()?;
            let message = format!("the settings of a cache are a CacheConfig, not {what}");
            return Err(to_py(py, &Error::new(ErrorKind::Configuration, message)));
        }
        let (clock, time) = match clock {
            None => (None, Clock::system()),
            Some(clock) => {
                let started = clock.call0(py)?.extract(py)?;
                (Some((clock, started)), Clock::told())
            }
        };
        let cache = Arc::new(core::LlmCache::new(settings(&config)?, time));
        let secrets = [RandomState::new(), RandomState::new()];
        let text_secret = SeedableRandomState::with_seed(RandomState::new().hash_one(0), SharedSeed::global_random());
        Ok(Self { cache, config: config.unbind(), clock, secrets, text_secret })
    }

    /// The value of a key, fresh or stale, or `default`. Counts as a use of it.
    #[pyo3(signature = (key, default=None))]
    fn get(&self, py: Python<'_>, key: &Bound<'_, PyAny>, default: Option<Py<PyAny>>) -> PyResult<Py<PyAny>> {
        self.tell(py)?;
        let key = self.key(key)?;
        match self.find(py, key) {
            Lookup::Hit(found) => self.found(py, key, found),
            Lookup::Stale(found) => {
                // Whoever gets it this way was not told to fetch it anew.
                self.cache.refresh_failed(key);
                self.found(py, key, found)
            }
            Lookup::Miss => Ok(default.unwrap_or_else(|| py.None())),
        }
    }

    /// As `get`, for those who fetch stale values anew: returns (state, value).
    ///
    /// `"hit"`: fresh, or stale and being fetched by somebody else. `"stale"`: this caller is the one to fetch it anew, and
    /// then to `set` it or to say `refresh_failed`. `"miss"`: nothing; the value is `None`.
    fn lookup(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<(&'static str, Py<PyAny>)> {
        self.tell(py)?;
        let key = self.key(key)?;
        Ok(match self.find(py, key) {
            Lookup::Hit(found) => ("hit", self.found(py, key, found)?),
            Lookup::Stale(found) => ("stale", self.found(py, key, found)?),
            Lookup::Miss => ("miss", py.None()),
        })
    }

    /// The caller that was told `"stale"` could not fetch the value: the next one is to try.
    fn refresh_failed(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        self.cache.refresh_failed(self.key(key)?);
        Ok(())
    }

    /// The value of a key, or `default`, as `get`; changes neither order nor lifetime nor statistics.
    #[pyo3(signature = (key, default=None))]
    fn peek(&self, py: Python<'_>, key: &Bound<'_, PyAny>, default: Option<Py<PyAny>>) -> PyResult<Py<PyAny>> {
        self.tell(py)?;
        match self.cache.peek(self.key(key)?) {
            Some(stored) => self.value(py, &stored),
            None => Ok(default.unwrap_or_else(|| py.None())),
        }
    }

    fn __contains__(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.tell(py)?;
        Ok(self.cache.contains(self.key(key)?))
    }

    /// Stores a value. Dead entries, then the least recently used ones make room.
    ///
    /// `ttl` in seconds, or a `timedelta`, overrides the cache's; `None` is for ever. `size` is what the value takes in
    /// bytes, for `max_bytes` and the statistics; by default what the object itself takes, without what it refers to.
    /// Returns whether it was stored: not if it alone is larger than `max_bytes`.
    #[pyo3(signature = (key, value, *, ttl=TtlArgument(Ttl::Default), size=None))]
    fn set(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ttl: TtlArgument,
        size: Option<usize>,
    ) -> PyResult<bool> {
        self.tell(py)?;
        let key = self.key(key)?;
        let size = size.map_or_else(|| size_of(value), Ok)?;
        Ok(self.cache.insert_own(key, value.clone().unbind(), size, ttl.0))
    }

    /// Takes a value out. Returns whether it was there and its time was not over.
    fn delete(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.tell(py)?;
        Ok(self.cache.remove(self.key(key)?).is_some())
    }

    /// Takes everything out. The statistics go on.
    fn clear(&self) {
        self.cache.clear();
    }

    /// Takes out what is dead and returns how many that were. Never needed for correctness; it frees memory early.
    fn purge(&self, py: Python<'_>) -> PyResult<usize> {
        self.tell(py)?;
        Ok(self.cache.purge())
    }

    /// What it holds, and what it did since it was made.
    fn stats(&self, py: Python<'_>) -> PyResult<CacheStats> {
        let stats = self.cache.stats();
        let savings = self.cache.savings().into_iter().map(|saving| {
            let core::Saving { provider, model, calls, usage, longest_prompt } = saving;
            CacheSaving { provider, model, calls, usage: usage.into(), longest_prompt }
        });
        let savings = savings.map(|saving| Py::new(py, saving)).collect::<PyResult<Vec<_>>>()?;
        Ok(CacheStats {
            hits: stats.hits,
            stale_hits: stats.stale_hits,
            misses: stats.misses,
            shared: stats.shared,
            evictions: stats.evictions,
            expirations: stats.expirations,
            entries: stats.entries,
            bytes: stats.bytes,
            tokens_saved: stats.tokens_saved,
            savings: PyTuple::new(py, savings)?.unbind(),
        })
    }

    /// The settings.
    #[getter]
    fn config(&self, py: Python<'_>) -> Py<PyAny> {
        self.config.clone_ref(py)
    }

    fn __len__(&self) -> usize {
        self.cache.len()
    }

    fn __repr__(&self) -> String {
        let core::CacheStats { entries, bytes, hits, misses, .. } = self.cache.stats();
        format!("<LLMCache entries={entries} bytes={bytes} hits={hits} misses={misses}>")
    }
}
