//! Prompt caching: the config as a provider takes it, and marks for messages by hand.

use std::sync::Arc;

use edgequake_core::{
    Error, ErrorKind,
    prompt_cache::{PromptCache, Ttl},
};
use pyo3::{intern, prelude::*};

use crate::{
    errors::to_py,
    message::{ChatMessage, to_prompt},
    options::string,
};

fn ttl(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Ttl> {
    let given = string(name, value)?;
    Ttl::parse(&given).ok_or_else(|| {
        let message = format!("{name} is \"5m\" or \"1h\", not {given:?}");
        to_py(value.py(), &Error::new(ErrorKind::Configuration, message))
    })
}

/// The core's config from a `CachePromptConfig`; `None` if it is switched off.
pub(crate) fn from_py(config: &Bound<'_, PyAny>) -> PyResult<Option<PromptCache>> {
    let py = config.py();
    if config.is_none() || !config.getattr(intern!(py, "enabled"))?.is_truthy()? {
        return Ok(None);
    }
    let lasting = ttl("ttl", &config.getattr(intern!(py, "ttl"))?)?;
    let turns = config.getattr(intern!(py, "turns_ttl"))?;
    let count = |name: &str| -> PyResult<usize> {
        config.getattr(name)?.extract().map_err(|_| {
            let message = format!("{name} is a whole number of at least 0");
            to_py(py, &Error::new(ErrorKind::Configuration, message))
        })
    };
    let minimum = config.getattr(intern!(py, "min_tokens"))?;
    let key = config.getattr(intern!(py, "key"))?;
    let cache = PromptCache {
        system: config.getattr(intern!(py, "cache_system_prompt"))?.is_truthy()?,
        tools: config.getattr(intern!(py, "cache_tools"))?.is_truthy()?,
        last_turns: count("cache_last_turns")?,
        ttl: lasting,
        turns_ttl: if turns.is_none() { Ttl::default() } else { ttl("turns_ttl", &turns)? },
        min_tokens: if minimum.is_none() { None } else { u32::try_from(count("min_tokens")?).ok() },
        key: if key.is_none() { None } else { Some(string("key", &key)?) },
    };
    cache.check().map_err(|error| to_py(py, &error))?;
    Ok(Some(cache))
}

/// Mark messages, as `apply_cache_control` says.
#[pyfunction]
#[pyo3(signature = (config, messages, model=None))]
pub(crate) fn mark_messages(
    config: &Bound<'_, PyAny>,
    messages: &Bound<'_, PyAny>,
    model: Option<&str>,
) -> PyResult<Vec<ChatMessage>> {
    let mut messages = to_prompt(messages)?;
    if let Some(cache) = from_py(config)? {
        cache.apply_to_messages(model, &mut messages);
    }
    Ok(messages.into_iter().map(|message: Arc<_>| ChatMessage { message }).collect())
}
