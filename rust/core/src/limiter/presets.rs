//! Limits by provider and usage tier: starting points, not truth.
//!
//! Providers set limits for each model and account, change them without notice and publish them only in part; the figures
//! here are those of one widely used model. The account's own page has the real ones, and the limiter learns from the
//! headers of every answer where they are lower.

use std::num::NonZeroU32;

use super::LimiterConfig;

/// The limits of one tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// The provider's name, as `openai`.
    pub provider: &'static str,
    /// The tier, as `tier-1`.
    pub tier: &'static str,
    /// Its limits.
    pub config: LimiterConfig,
}

const fn row(provider: &'static str, tier: &'static str, requests: u32, tokens: u32) -> Preset {
    let config = LimiterConfig {
        max_concurrent: None,
        requests_per_minute: NonZeroU32::new(requests),
        request_burst: None,
        tokens_per_minute: NonZeroU32::new(tokens),
        token_burst: None,
        max_wait: None,
    };
    Preset { provider, tier, config }
}

/// All presets.
pub const PRESETS: &[Preset] = &[
    // gpt-4o-mini: the model's page in OpenAI's documentation, as of 2025; tiers 2, 4 and 5 seen in headers of 2026.
    row("openai", "tier-1", 500, 200_000),
    row("openai", "tier-2", 5_000, 2_000_000),
    row("openai", "tier-3", 5_000, 4_000_000),
    row("openai", "tier-4", 10_000, 10_000_000),
    row("openai", "tier-5", 30_000, 150_000_000),
    // Claude Sonnet 4.x: Anthropic's "Rate limits" page of spring 2026. Tokens are the input tokens' limit, the answer's
    // come on top there and within it here. Since 26 June 2026 the tiers are called Start, Build and Scale, and no account's
    // limits went down; the figures of `start` and `scale` are the lowest of their tables of October 2026 that are known to us.
    row("anthropic", "tier-1", 50, 30_000),
    row("anthropic", "tier-2", 1_000, 450_000),
    row("anthropic", "tier-3", 2_000, 800_000),
    row("anthropic", "tier-4", 4_000, 2_000_000),
    row("anthropic", "start", 1_000, 500_000),
    row("anthropic", "scale", 4_000, 4_000_000),
    // Gemini 2.5 Flash: the last table in Google's "Rate limits" page, of 2025; since then only the console shows figures.
    // The free tier has a small limit by the day besides.
    row("gemini", "free", 10, 250_000),
    row("gemini", "tier-1", 1_000, 1_000_000),
    row("gemini", "tier-2", 2_000, 3_000_000),
    row("gemini", "tier-3", 10_000, 8_000_000),
    // A local server has no allowance; how many calls it runs at once is up to its own queue.
    row("ollama", "none", 0, 0),
];

/// The limits of a provider's tier. Case and separators do not matter: `Tier 1` and `tier1` are `tier-1`.
pub fn preset(provider: &str, tier: &str) -> Option<LimiterConfig> {
    let plain = |name: &str| name.replace(['-', '_', ' '], "").to_ascii_lowercase();
    let same = |preset: &&Preset| plain(preset.provider) == plain(provider) && plain(preset.tier) == plain(tier);
    PRESETS.iter().find(same).map(|preset| preset.config)
}
