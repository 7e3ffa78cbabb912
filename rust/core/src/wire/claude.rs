//! What Anthropic's format and Bedrock's, which was made after it, share: the options that both lack, and answers whose form
//! is kept by a tool.

use super::body::unsupported;
use crate::{
    error::Error,
    model::{Assembly, FinishReason, Options},
};

/// The tool whose arguments are an answer in JSON, where the model has no other way to keep to a form.
pub(super) const JSON_TOOL: &str = "edgequake_answer_in_json";

/// Notes why the model stopped. It waits for no tool if the only one that it called was for the form of its answer.
pub(super) fn finish(reason: &str, answer: &mut Assembly) {
    if reason == "tool_use" && answer.so_far().tool_calls().next().is_none() {
        return answer.finish_as(reason, FinishReason::Stop);
    }
    answer.finish(reason);
}

/// Refuses a seed and penalties.
pub(super) fn no_other_sampling(provider: &'static str, options: &Options) -> Result<(), Error> {
    if options.seed.is_some() {
        return Err(unsupported(provider, "seed", "temperature=0 comes nearest to repeatable answers"));
    }
    for (name, given) in
        [("presence_penalty", options.presence_penalty), ("frequency_penalty", options.frequency_penalty)]
    {
        if given.is_some() {
            return Err(unsupported(provider, name, "temperature and top_p are what shapes the wording there"));
        }
    }
    Ok(())
}

/// Refuses names of stored prompts: marks in the prompt say there what is stored.
pub(super) fn no_named_caches(provider: &'static str, options: &Options) -> Result<(), Error> {
    if options.prompt_cache_key.is_some() {
        return Err(unsupported(provider, "prompt_cache_key", "make the provider with prompt_cache=True"));
    }
    if options.cached_content.is_some() {
        return Err(unsupported(provider, "cached_content", "make the provider with prompt_cache=True"));
    }
    Ok(())
}

/// Refuses a temperature above 1.
pub(super) fn low_temperature(provider: &'static str, options: &Options) -> Result<(), Error> {
    match options.temperature {
        Some(given) if given > 1.0 => Err(Error::invalid(format!("temperature must be from 0 to 1, not {given}"))
            .with_provider(provider)
            .with_param("temperature".to_owned())),
        _ => Ok(()),
    }
}
