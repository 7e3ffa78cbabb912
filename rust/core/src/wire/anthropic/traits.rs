//! What Anthropic's models can do, by their names: `claude-opus-4-6`, `claude-sonnet-4-5-20250929`, `claude-3-7-sonnet-…`.
//!
//! A model whose name is not understood is asked for whatever the caller wants. Sources: Anthropic's guides "Structured outputs" (4.5
//! and later), "Adaptive thinking" (4.6 and later; 4.7 and later have no other), "Effort" (Opus 4.5, and 4.6 and later),
//! the migration guides of Fable 5 and Mythos 5 and "What's new in Opus 5.5" (these always think, and so does Sonnet 5.5;
//! 5.5, and Fable and Mythos from 5.1 on, cannot be told to call a tool).

/// What a model can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::wire) struct Traits {
    /// Answers in JSON that fits a schema (`output_config.format`).
    pub(in crate::wire) structured: bool,
    /// Decides by itself how much it thinks (`thinking.type` is `adaptive`).
    pub(in crate::wire) adaptive: bool,
    /// Takes a budget of tokens to think (`thinking.type` is `enabled`).
    pub(in crate::wire) budget: bool,
    /// Takes an effort (`output_config.effort`).
    pub(in crate::wire) effort: bool,
    /// Can be told not to think (`thinking.type` is `disabled`).
    pub(in crate::wire) off: bool,
    /// Can be told to call a tool (`tool_choice.type` is `any` or `tool`).
    pub(in crate::wire) forced: bool,
}

/// What the model of this name can do.
pub(in crate::wire) fn traits(model: &str) -> Traits {
    let always = ["fable", "mythos"].iter().any(|name| model.contains(name));
    let Some(version) = version(model) else {
        return Traits { structured: true, adaptive: true, budget: !always, effort: true, off: !always, forced: true };
    };
    let opus = model.contains("opus");
    Traits {
        structured: version >= (4, 5),
        adaptive: version >= (4, 6),
        budget: ((3, 7)..=(4, 6)).contains(&version),
        effort: version >= (4, 6) || opus && version == (4, 5),
        off: version < (5, 5) && !always,
        forced: version < (5, 5) && !(always && version > (5, 0)),
    }
}

/// Major and minor version: the first two numbers of one or two digits in the name. Dates are longer.
fn version(model: &str) -> Option<(u32, u32)> {
    let rest = model.split("claude").nth(1)?;
    let words = rest.split(['-', '.', '_', '@', ':']);
    let mut numbers = words
        .skip_while(|word| !is_number(word))
        .take_while(|word| is_number(word))
        .filter_map(|word| word.parse::<u32>().ok());
    let major = numbers.next()?;
    Some((major, numbers.next().unwrap_or(0)))
}

fn is_number(word: &str) -> bool {
    (1..=2).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (model, expected) in [
            ("claude-opus-4-6", Some((4, 6))),
            ("claude-haiku-4-5-20251001", Some((4, 5))),
            ("claude-sonnet-4-20250514", Some((4, 0))),
            ("claude-opus-4-1@20250805", Some((4, 1))),
            ("claude-3-7-sonnet-latest", Some((3, 7))),
            ("claude-3-haiku-20240307", Some((3, 0))),
            ("claude-2.1", Some((2, 1))),
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", Some((4, 5))),
            ("claude-opus-5", Some((5, 0))),
            ("m", None),
            ("claude-next", None),
        ] {
            assert_eq!(version(model), expected, "{model}");
        }
    }

    #[test]
    fn generations() {
        let of = |model| {
            let Traits { structured, adaptive, budget, effort, off, forced } = traits(model);
            [structured, adaptive, budget, effort, off, forced].map(u8::from)
        };
        assert_eq!(of("claude-3-5-sonnet-20241022"), [0, 0, 0, 0, 1, 1]);
        assert_eq!(of("claude-3-7-sonnet-20250219"), [0, 0, 1, 0, 1, 1]);
        assert_eq!(of("claude-opus-4-1-20250805"), [0, 0, 1, 0, 1, 1]);
        assert_eq!(of("claude-haiku-4-5"), [1, 0, 1, 0, 1, 1]);
        assert_eq!(of("claude-opus-4-5"), [1, 0, 1, 1, 1, 1]);
        assert_eq!(of("claude-sonnet-4-6"), [1, 1, 1, 1, 1, 1]);
        assert_eq!(of("claude-opus-4-7"), [1, 1, 0, 1, 1, 1]);
        assert_eq!(of("claude-opus-5"), [1, 1, 0, 1, 1, 1]);
        assert_eq!(of("claude-fable-5"), [1, 1, 0, 1, 0, 1]);
        assert_eq!(of("claude-mythos-preview"), [1, 1, 0, 1, 0, 1]);
        assert_eq!(of("claude-mythos-5"), [1, 1, 0, 1, 0, 1]);
        assert_eq!(of("claude-fable-5-1"), [1, 1, 0, 1, 0, 0]);
        assert_eq!(of("claude-opus-5-5"), [1, 1, 0, 1, 0, 0]);
        assert_eq!(of("a-model-of-tomorrow"), [1, 1, 1, 1, 1, 1]);
    }
}
