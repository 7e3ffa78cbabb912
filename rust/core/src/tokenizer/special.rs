//! Special tokens: the marks between messages and the like, which have ids but no place in the vocabulary.

use std::{borrow::Cow, collections::HashSet};

use super::encoding::Encoding;
use crate::error::Error;

/// Some of a vocabulary's special tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpecialTokens {
    /// All that there are.
    All,
    /// Those of these names.
    These(HashSet<String>),
}

/// A stretch of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment<'t> {
    /// Ordinary text.
    Text(&'t str),
    /// A special token.
    Token(u32),
}

/// Cuts `text` at the special tokens that are `allowed`. One that is `disallowed` is an error; any other is text.
/// `disallowed` of `All` means all that are not allowed.
///
/// `find` gives the leftmost special token from a byte on: its start, its end and its id.
pub fn segments<'t>(
    text: &'t str,
    allowed: &SpecialTokens,
    disallowed: &SpecialTokens,
    find: impl Fn(usize) -> Option<(usize, usize, u32)>,
) -> Result<Vec<Segment<'t>>, Error> {
    let is_allowed = |name: &str| match allowed {
        SpecialTokens::All => true,
        SpecialTokens::These(names) => names.contains(name),
    };
    let mut refused = match disallowed {
        SpecialTokens::All => None,
        SpecialTokens::These(names) => {
            let found = names.iter().filter_map(|name| Some((text.find(name.as_str())?, name.as_str())));
            found.min().map(|(_, name)| name)
        }
    };
    let mut segments = Vec::new();
    let (mut done, mut from) = (0, 0);
    while refused.is_none()
        && let Some((start, end, id)) = find(from)
    {
        let name = text.get(start..end).unwrap_or_default();
        if is_allowed(name) {
            segments.push(Segment::Text(text.get(done..start).unwrap_or_default()));
            segments.push(Segment::Token(id));
            (done, from) = (end, end);
        } else {
            refused = Some(name).filter(|_| *disallowed == SpecialTokens::All);
            from = start + 1;
        }
    }
    if let Some(name) = refused {
        return Err(Error::invalid(format!(
            "the text has the special token {name:?}, which is disallowed; to encode it as that token pass \
             allowed_special={{{name:?}}}, to encode it as ordinary text pass disallowed_special=()"
        )));
    }
    segments.push(Segment::Text(text.get(done..).unwrap_or_default()));
    Ok(segments)
}

/// The special tokens of an encoding (from `tiktoken_ext/openai_public.py`).
#[derive(Debug, Clone, Copy)]
pub(super) struct Specials {
    named: &'static [(&'static str, u32)],
    /// Whether there are the `<|reserved_…|>` ones of `o200k_harmony` too.
    reserved: bool,
}

const OPEN: &str = "<|";
const CLOSE: &str = "|>";
const RESERVED: &str = "<|reserved_";
/// The ids of `o200k_harmony` that have no name but `<|reserved_…|>`. 200018 has two; its other one is older.
const RESERVED_IDS: [std::ops::Range<u32>; 4] =
    [200_000..200_002, 200_004..200_005, 200_009..200_012, 200_013..201_088];
/// No special token has a longer name.
const LONGEST: usize = 24;

impl Specials {
    pub(super) fn of(encoding: Encoding) -> Self {
        let named: &[_] = match encoding {
            Encoding::R50kBase | Encoding::P50kBase => &[("<|endoftext|>", 50_256)],
            Encoding::P50kEdit => &[
                ("<|endoftext|>", 50_256),
                ("<|fim_prefix|>", 50_281),
                ("<|fim_middle|>", 50_282),
                ("<|fim_suffix|>", 50_283),
            ],
            Encoding::Cl100kBase => &[
                ("<|endoftext|>", 100_257),
                ("<|fim_prefix|>", 100_258),
                ("<|fim_middle|>", 100_259),
                ("<|fim_suffix|>", 100_260),
                ("<|endofprompt|>", 100_276),
            ],
            Encoding::O200kBase => &[("<|endoftext|>", 199_999), ("<|endofprompt|>", 200_018)],
            Encoding::O200kHarmony => &[
                ("<|startoftext|>", 199_998),
                ("<|endoftext|>", 199_999),
                ("<|return|>", 200_002),
                ("<|constrain|>", 200_003),
                ("<|channel|>", 200_005),
                ("<|start|>", 200_006),
                ("<|end|>", 200_007),
                ("<|message|>", 200_008),
                ("<|call|>", 200_012),
                ("<|endofprompt|>", 200_018),
            ],
        };
        Self { named, reserved: encoding == Encoding::O200kHarmony }
    }

    /// Every special token with its id.
    pub(super) fn all(self) -> impl Iterator<Item = (Cow<'static, str>, u32)> {
        let named = self.named.iter().map(|(name, id)| (Cow::Borrowed(*name), *id));
        let reserved = RESERVED_IDS.into_iter().flatten().filter(move |_| self.reserved);
        named.chain(reserved.map(|id| (Cow::Owned(format!("{RESERVED}{id}{CLOSE}")), id)))
    }

    /// The id of a special token.
    pub(super) fn id(self, name: &str) -> Option<u32> {
        if let Some((_, id)) = self.named.iter().find(|(known, _)| *known == name) {
            return Some(*id);
        }
        let digits = name.strip_prefix(RESERVED)?.strip_suffix(CLOSE)?;
        let id: u32 = digits.parse().ok().filter(|_| self.reserved && digits.len() == 6 && !digits.starts_with('+'))?;
        RESERVED_IDS.iter().any(|ids| ids.contains(&id)).then_some(id)
    }

    /// What the special token of that id is called.
    pub(super) fn name(self, id: u32) -> Option<Cow<'static, str>> {
        self.all().find(|(_, known)| *known == id).map(|(name, _)| name)
    }

    /// The leftmost special token that lies in `text` from `from` on: where it starts and ends, and its id.
    pub(super) fn find(self, text: &str, mut from: usize) -> Option<(usize, usize, u32)> {
        loop {
            let start = from + text.get(from..)?.find(OPEN)?;
            let window = text.as_bytes().get(start + OPEN.len()..text.len().min(start + LONGEST)).unwrap_or_default();
            let closed = window.windows(CLOSE.len()).position(|bytes| bytes == CLOSE.as_bytes());
            if let Some(end) = closed.map(|at| start + OPEN.len() + at + CLOSE.len())
                && let Some(id) = text.get(start..end).and_then(|name| self.id(name))
            {
                return Some((start, end, id));
            }
            from = start + 1;
        }
    }
}
