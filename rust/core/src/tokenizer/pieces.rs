//! Cuts a text into the pieces within which tokens are merged, exactly as each encoding's regular expression does.
//!
//! The expressions are tiktoken's (`tiktoken_ext/openai_public.py`) and stand with the code that does their work. Each
//! alternative is tried in order, and its backtracking is worked out by hand, so that no text takes more than linear
//! time. Every character is in some alternative: the pieces together are the text.

use super::classes::{Class, LETTER, LOWER, MARK, NEWLINE, NUMBER, OTHER, SPACE, UNCASED, UPPER, WHITE, class};

/// How an encoding cuts text.
pub(super) trait Pattern {
    /// Where the piece ends that starts at `start`, which must lie before the end of `text` (valid UTF-8).
    fn end(text: &[u8], start: usize) -> usize;
}

/// `r50k_base`, `p50k_base` and `p50k_edit`:
///
/// `'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s`
pub(super) struct Gpt2;

/// `cl100k_base`:
///
/// `'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s`
pub(super) struct Cl100k;

/// `o200k_base` and `o200k_harmony`:
///
/// ```text
/// [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|
/// [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|
/// \p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
/// ```
pub(super) struct O200k;

/// `[^\s\p{L}\p{N}]`.
const SYMBOL: Class = MARK | OTHER;
/// `[^\r\n\p{L}\p{N}]`: what may stand before the letters of a word.
const LEAD: Class = MARK | OTHER | SPACE;

impl Pattern for Gpt2 {
    #[inline(always)]
    fn end(text: &[u8], start: usize) -> usize {
        let (first, size) = class(text, start);
        if first == OTHER
            && let Some(end) = contraction::<false>(text, start)
        {
            return end;
        }
        let (kind, from) = if is_space(text, start) { (class(text, start + 1).0, start + 1) } else { (first, start) };
        for set in [LETTER, NUMBER, SYMBOL] {
            if kind & set != 0 {
                return run(text, from, set);
            }
        }
        let white = run(text, start, WHITE);
        if white == text.len() { white } else { before_last(text, start, size, white) }
    }
}

impl Pattern for Cl100k {
    #[inline(always)]
    fn end(text: &[u8], start: usize) -> usize {
        let (first, size) = class(text, start);
        if first & LETTER != 0 {
            return run(text, start + size, LETTER);
        }
        if first == OTHER
            && let Some(end) = contraction::<true>(text, start)
        {
            return end;
        }
        if first & LEAD != 0 && class(text, start + size).0 & LETTER != 0 {
            return run(text, start + size, LETTER);
        }
        if first == NUMBER {
            return digits(text, start);
        }
        let from = if is_space(text, start) { start + 1 } else { start };
        let end = run(text, from, SYMBOL);
        if end > from {
            return run(text, end, NEWLINE);
        }
        let white = run(text, start, WHITE);
        if white == text.len() {
            return white;
        }
        line_end(text, start, white).unwrap_or_else(|| before_last(text, start, size, white))
    }
}

impl Pattern for O200k {
    #[inline(always)]
    fn end(text: &[u8], start: usize) -> usize {
        let (first, size) = class(text, start);
        if first & LETTER != 0 {
            if let Some(end) = word(text, start) {
                return contraction::<true>(text, end).unwrap_or(end);
            }
        } else if first & LEAD != 0 {
            if let Some(end) = lead_and_word(text, start, first, size) {
                return contraction::<true>(text, end).unwrap_or(end);
            }
        } else if first == NUMBER {
            return digits(text, start);
        }
        let from = if is_space(text, start) { start + 1 } else { start };
        let end = run(text, from, SYMBOL);
        if end > from {
            let mut end = end;
            while matches!(text.get(end), Some(b'\r' | b'\n' | b'/')) {
                end += 1;
            }
            return end;
        }
        let white = run(text, start, WHITE);
        line_end(text, start, white)
            .unwrap_or_else(|| if white == text.len() { white } else { before_last(text, start, size, white) })
    }
}

/// Whether the character at `at` is U+0020, the only one that ` ?` takes.
#[inline(always)]
fn is_space(text: &[u8], at: usize) -> bool {
    text.get(at) == Some(&b' ')
}

/// The end of the characters of `set` that stand from `at` on.
#[inline(always)]
fn run(text: &[u8], mut at: usize, set: Class) -> usize {
    loop {
        let (kind, size) = class(text, at);
        if kind & set == 0 {
            return at;
        }
        at += size;
    }
}

/// `\p{N}{1,3}`, of which the first is there.
#[inline(always)]
fn digits(text: &[u8], start: usize) -> usize {
    let mut at = start;
    for _ in 0..3 {
        let (kind, size) = class(text, at);
        if kind != NUMBER {
            break;
        }
        at += size;
    }
    at
}

/// `\s+(?!\S)|\s` for white space from `start` to `end`, before something else: all but its last character, which may
/// lead the next piece; but that one too if it is alone. `size` is the size of the first.
#[inline]
fn before_last(text: &[u8], start: usize, size: usize, end: usize) -> usize {
    if start + size >= end {
        return end;
    }
    let mut last = end - 1;
    while text.get(last).is_some_and(|byte| byte & 0xC0 == 0x80) {
        last -= 1;
    }
    last
}

/// `\s*[\r\n]+` for white space from `start` to `end`: up to its last line end.
#[inline]
fn line_end(text: &[u8], start: usize, end: usize) -> Option<usize> {
    let last = text.get(start..end)?.iter().rposition(|byte| matches!(byte, b'\r' | b'\n'))?;
    Some(start + last + 1)
}

/// The end of an apostrophe and `s`, `t`, `re`, `ve`, `m`, `ll` or `d` at `at`, in any case if `ANY_CASE`; to Unicode
/// `ſ` (U+017F) is an `s` in another case.
#[inline(always)]
fn contraction<const ANY_CASE: bool>(text: &[u8], at: usize) -> Option<usize> {
    if text.get(at) != Some(&b'\'') {
        return None;
    }
    let fold = |byte: Option<&u8>| byte.map(|byte| if ANY_CASE { byte.to_ascii_lowercase() } else { *byte });
    match fold(text.get(at + 1))? {
        b's' | b't' | b'm' | b'd' => Some(at + 2),
        b'l' if fold(text.get(at + 2)) == Some(b'l') => Some(at + 3),
        b'r' | b'v' if fold(text.get(at + 2)) == Some(b'e') => Some(at + 3),
        0xC5 if ANY_CASE && text.get(at + 2) == Some(&0xBF) => Some(at + 3),
        _ => None,
    }
}

/// The letters of `o200k`'s first two alternatives from `start` on, nothing before them.
///
/// The first alternative is capitals, then small letters, of which there must be one; what has no case is in both sets.
/// Without a small letter it still matches up to the last character that has no case, by backtracking. The second one
/// remains for capitals only.
#[inline(always)]
fn word(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    let mut uncased = None;
    loop {
        let (kind, size) = class(text, at);
        if kind & (UNCASED | MARK) != 0 {
            at += size;
            uncased = Some(at);
        } else if kind == UPPER {
            at += size;
        } else if kind == LOWER {
            return Some(run(text, at + size, LOWER | UNCASED | MARK));
        } else {
            return uncased.or((at > start).then_some(at));
        }
    }
}

/// The same with the character before the letters, at `start`: of class `first` and `size` bytes.
///
/// A mark is a letter as well: where the first alternative fails after it, it matches the mark alone, before the second
/// alternative is tried.
#[inline(always)]
fn lead_and_word(text: &[u8], start: usize, first: Class, size: usize) -> Option<usize> {
    let from = start + size;
    if first != MARK {
        return word(text, from);
    }
    let mut at = from;
    loop {
        let (kind, size) = class(text, at);
        match kind {
            UPPER => at += size,
            LOWER | UNCASED | MARK => return word(text, from),
            _ => return Some(from),
        }
    }
}
