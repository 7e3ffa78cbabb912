//! Token counts in the dialects of OpenAI and of the servers that imitate it.

use serde::Deserialize;

use super::raw::Raw;
use crate::model::Usage;

/// Token counts as compatible servers give them. All totals are inclusive.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Tokens<'a> {
    #[serde(borrow)]
    prompt_tokens: Raw<'a>,
    completion_tokens: Raw<'a>,
    total_tokens: Raw<'a>,
    prompt_tokens_details: Option<PromptDetails<'a>>,
    completion_tokens_details: Option<CompletionDetails<'a>>,
    /// DeepSeek.
    prompt_cache_hit_tokens: Raw<'a>,
    /// Moonshot.
    cached_tokens: Raw<'a>,
    /// Gateways before Anthropic's models.
    cache_read_input_tokens: Raw<'a>,
    cache_creation_input_tokens: Raw<'a>,
    /// Perplexity, Copilot.
    reasoning_tokens: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PromptDetails<'a> {
    #[serde(borrow)]
    cached_tokens: Raw<'a>,
    cache_write_tokens: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CompletionDetails<'a> {
    #[serde(borrow)]
    reasoning_tokens: Raw<'a>,
}

/// The first count that is given and not zero.
fn first_of(given: &[Raw<'_>]) -> u64 {
    given.iter().filter_map(|raw| raw.count()).find(|count| *count > 0).unwrap_or(0)
}

impl Tokens<'_> {
    /// The counts; `None` if there are none.
    pub(super) fn usage(&self) -> Option<Usage> {
        let (prompt, completion) = (self.prompt_tokens.count(), self.completion_tokens.count());
        if prompt.is_none() && completion.is_none() {
            return None;
        }
        let (prompt, completion) = (prompt.unwrap_or(0), completion.unwrap_or(0));
        let (read, written) =
            self.prompt_tokens_details.as_ref().map(|d| (d.cached_tokens, d.cache_write_tokens)).unwrap_or_default();
        let thought = self.completion_tokens_details.as_ref().map(|d| d.reasoning_tokens).unwrap_or_default();
        let read = first_of(&[read, self.prompt_cache_hit_tokens, self.cached_tokens, self.cache_read_input_tokens]);
        let written = first_of(&[written, self.cache_creation_input_tokens]);
        let reasoning = first_of(&[thought, self.reasoning_tokens]);
        // xAI counts reasoning beside the completion, all others within it; only the total tells.
        let beside = reasoning > 0 && self.total_tokens.count() == Some(prompt + completion + reasoning);
        let completion = if beside { completion + reasoning } else { completion };
        // The totals hold. Some servers estimate the reasoning, or call a hidden prompt of their own cached (Azure's
        // Grok), and come out above the total that should hold it.
        Some(Usage::from_inclusive(
            prompt,
            read.min(prompt),
            written.min(prompt),
            completion,
            reasoning.min(completion),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(json: &str) -> Option<Usage> {
        serde_json::from_str::<Tokens<'_>>(json).unwrap().usage()
    }

    #[test]
    fn usage_in_every_dialect() {
        let full = Usage { input: 60, cache_read: 30, cache_write: 10, output: 15, reasoning: 5, cache_write_1h: 0 };
        let cached = Usage { input: 70, cache_read: 30, output: 20, ..Usage::default() };
        let thought = Usage { input: 100, output: 15, reasoning: 5, ..Usage::default() };
        for (json, expected) in [
            (
                r#"{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120,"prompt_tokens_details":{"cached_tokens":30,"cache_write_tokens":10},"completion_tokens_details":{"reasoning_tokens":5}}"#,
                full,
            ),
            (
                r#"{"prompt_tokens":100,"completion_tokens":20,"prompt_cache_hit_tokens":30,"prompt_cache_miss_tokens":70}"#,
                cached,
            ),
            (
                r#"{"prompt_tokens":100,"completion_tokens":20,"prompt_tokens_details":{"cached_tokens":30},"prompt_cache_hit_tokens":30}"#,
                cached,
            ),
            (
                r#"{"prompt_tokens":100.0,"completion_tokens":"20","cached_tokens":30,"prompt_tokens_details":null}"#,
                cached,
            ),
            (
                r#"{"prompt_tokens":100,"completion_tokens":20,"prompt_tokens_details":{"cached_tokens":0},"cache_read_input_tokens":30}"#,
                cached,
            ),
            (r#"{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120,"reasoning_tokens":5}"#, thought),
            // xAI: reasoning beside the completion.
            (
                r#"{"prompt_tokens":100,"completion_tokens":15,"total_tokens":120,"completion_tokens_details":{"reasoning_tokens":5}}"#,
                thought,
            ),
            // Nothing to tell it by: within, as the others do.
            (
                r#"{"prompt_tokens":100,"completion_tokens":20,"completion_tokens_details":{"reasoning_tokens":5}}"#,
                thought,
            ),
            // More cached, more thought than there was: the totals hold.
            (
                r#"{"prompt_tokens":7,"completion_tokens":1,"total_tokens":8,"prompt_tokens_details":{"cached_tokens":163}}"#,
                Usage { cache_read: 7, output: 1, ..Usage::default() },
            ),
            (
                r#"{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10,"reasoning_tokens":9}"#,
                Usage { input: 7, reasoning: 3, ..Usage::default() },
            ),
            (r#"{"prompt_tokens":7}"#, Usage { input: 7, ..Usage::default() }),
        ] {
            assert_eq!(usage(json), Some(expected), "{json}");
        }
        for json in ["{}", r#"{"prompt_tokens":null,"completion_tokens":null}"#, r#"{"cost":1}"#] {
            assert_eq!(usage(json), None, "{json}");
        }
    }
}
