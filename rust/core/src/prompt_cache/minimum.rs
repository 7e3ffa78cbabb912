//! How long a prefix must be to be cached at all, by model. Kept as data.
//!
//! From Anthropic's page on prompt caching ("Cache limitations"), 2026-11; where sources disagree, the smaller number: a
//! mark on a prefix that is too short is ignored and costs nothing, a missing one costs the whole saving.

/// Parts of a model's name and its minimum in tokens; the first that is found in the name holds.
const MINIMUM: [(&str, u32); 19] = [
    ("fable-5", 512),
    ("mythos-5", 512),
    ("opus-5", 512),
    ("sonnet-5", 1024),
    ("haiku-5", 512),
    ("opus-4-8", 1024),
    ("opus-4-7", 2048),
    ("opus-4-6", 4096),
    ("opus-4-5", 4096),
    ("opus-4", 1024),
    ("haiku-4-5", 4096),
    ("sonnet-4", 1024),
    ("3-7-sonnet", 1024),
    ("3-5-sonnet", 1024),
    ("3-5-haiku", 2048),
    ("3-haiku", 2048),
    ("3-opus", 1024),
    ("haiku", 2048),
    ("sonnet", 1024),
];

/// For models that are not in the table: the smallest of all.
const UNKNOWN: u32 = 512;

/// The shortest prefix in tokens that a model caches. Names may have any prefix and suffix, as gateways and clouds give
/// them; dots count as dashes.
pub fn minimum_tokens(model: Option<&str>) -> u32 {
    let Some(model) = model else { return UNKNOWN };
    let model = model.to_ascii_lowercase().replace('.', "-");
    MINIMUM.iter().find(|(name, _)| model.contains(name)).map_or(UNKNOWN, |(_, tokens)| *tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_model_however_it_is_spelled() {
        for (model, tokens) in [
            ("claude-haiku-4-5", 4096),
            ("claude-haiku-4-5-20251001", 4096),
            ("anthropic/claude-opus-4.5", 4096),
            ("us.anthropic.claude-sonnet-4-20250514-v1:0", 1024),
            ("claude-opus-4-1-20250805", 1024),
            ("claude-opus-4-7", 2048),
            ("claude-opus-5", 512),
            ("claude-3-5-haiku-latest", 2048),
            ("something-new", 512),
        ] {
            assert_eq!(minimum_tokens(Some(model)), tokens, "{model}");
        }
        assert_eq!(minimum_tokens(None), 512);
    }
}
