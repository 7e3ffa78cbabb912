//! Token counts, kept in buckets that do not overlap, so that each is priced once.

/// The tokens of one call. The fields are exclusive; the methods give the inclusive totals that people know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Prompt tokens neither read from nor written to a cache.
    pub input: u64,
    /// Prompt tokens read from the provider's cache.
    pub cache_read: u64,
    /// Prompt tokens written to the provider's cache with its default lifetime.
    pub cache_write: u64,
    /// Prompt tokens written to the provider's cache for one hour (Anthropic).
    pub cache_write_1h: u64,
    /// Tokens of the answer, thinking left out.
    pub output: u64,
    /// Tokens spent on thinking.
    pub reasoning: u64,
}

impl Usage {
    /// Splits OpenAI-like inclusive totals: `prompt` holds `cache_read` and `cache_write`, `completion` holds `reasoning`.
    pub fn from_inclusive(prompt: u64, cache_read: u64, cache_write: u64, completion: u64, reasoning: u64) -> Self {
        Self {
            input: prompt.saturating_sub(cache_read).saturating_sub(cache_write),
            cache_read,
            cache_write,
            cache_write_1h: 0,
            output: completion.saturating_sub(reasoning),
            reasoning,
        }
    }

    /// The tokens of both calls.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            input: self.input + other.input,
            cache_read: self.cache_read + other.cache_read,
            cache_write: self.cache_write + other.cache_write,
            cache_write_1h: self.cache_write_1h + other.cache_write_1h,
            output: self.output + other.output,
            reasoning: self.reasoning + other.reasoning,
        }
    }

    /// All prompt tokens, cached ones included.
    pub fn prompt_tokens(&self) -> u64 {
        self.input + self.cache_read + self.cache_write + self.cache_write_1h
    }

    /// All tokens produced, thinking included.
    pub fn completion_tokens(&self) -> u64 {
        self.output + self.reasoning
    }

    /// Prompt and completion together.
    pub fn total_tokens(&self) -> u64 {
        self.prompt_tokens() + self.completion_tokens()
    }
}
