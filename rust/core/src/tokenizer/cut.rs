//! Cuts text at the borders of tokens, and never inside a character.

use crate::error::Error;

/// What cutting needs to know of a text's tokens.
pub trait Borders {
    /// What can go wrong in finding tokens.
    type Error: From<Error>;

    /// The byte at which each token of `text` ends, in order. It may stop when there are more than `limit` of them.
    fn ends(&self, text: &str, limit: usize) -> Result<Vec<usize>, Self::Error>;

    /// Whether `text`, taken by itself, has at most `limit` tokens.
    fn fits(&self, text: &str, limit: usize) -> Result<bool, Self::Error>;
}

/// The longest beginning of `text` that ends between two of its tokens and two characters, and has at most `max_tokens`
/// tokens when it is counted by itself.
///
/// The two counts can differ: what follows a text may decide how its end is cut into tokens. Empty if not even the
/// first character fits.
pub fn truncate<'t, B: Borders>(borders: &B, text: &'t str, max_tokens: usize) -> Result<&'t str, B::Error> {
    let ends = borders.ends(text, max_tokens)?;
    if ends.len() <= max_tokens {
        return Ok(text);
    }
    let within = ends.get(..max_tokens).unwrap_or_default();
    for end in within.iter().rev() {
        if let Some(start) = text.get(..*end)
            && borders.fits(start, max_tokens)?
        {
            return Ok(start);
        }
    }
    by_characters(borders, text, max_tokens)
}

/// Cuts `text` into chunks of at most `max_tokens` tokens each, counted by itself, of which each begins with the last
/// `overlap` tokens of the one before, or as many of them as whole characters and the limit allow. Without `overlap`
/// the chunks together are the text. Between characters always, and between tokens wherever a character has no more
/// than `max_tokens`.
///
/// An error if `max_tokens` is 0, `overlap` is not smaller than it, or one character has more tokens than it.
pub fn split<'t, B: Borders>(
    borders: &B,
    text: &'t str,
    max_tokens: usize,
    overlap: usize,
) -> Result<Vec<&'t str>, B::Error> {
    if max_tokens == 0 {
        return Err(Error::invalid("max_tokens must be at least 1, not 0").into());
    }
    if overlap >= max_tokens {
        let message = format!("overlap ({overlap}) must be smaller than max_tokens ({max_tokens})");
        return Err(Error::invalid(message).into());
    }
    let ends = borders.ends(text, usize::MAX)?;
    // How many tokens end at a byte or before it.
    let tokens_at = |at: usize| ends.partition_point(|end| *end <= at);
    let mut chunks = Vec::new();
    // The next chunk starts at `from`; all before `done` is in some chunk.
    let (mut from, mut done) = (0, 0);
    while done < text.len() {
        let first = tokens_at(from);
        let candidates = ends.get(first..ends.len().min(first + max_tokens)).unwrap_or_default();
        let mut chunk = "";
        for end in candidates.iter().rev().take_while(|end| **end > done) {
            if let Some(part) = text.get(from..*end)
                && borders.fits(part, max_tokens)?
            {
                chunk = part;
                break;
            }
        }
        if chunk.is_empty() {
            if from < done {
                // With an overlap there is no room for anything new.
                from = done;
                continue;
            }
            let rest = text.get(from..).unwrap_or_default();
            chunk = by_characters(borders, rest, max_tokens)?;
            if chunk.is_empty() {
                let character = rest.chars().next().unwrap_or_default();
                let message =
                    format!("the character {character:?} alone has more than max_tokens ({max_tokens}) tokens");
                return Err(Error::invalid(message).into());
            }
        }
        chunks.push(chunk);
        done = from + chunk.len();
        let last = tokens_at(done);
        let starts = (last.saturating_sub(overlap)..last).map(|n| n.checked_sub(1).and_then(|n| ends.get(n)).copied());
        let start = starts.map(|end| end.unwrap_or(0)).find(|start| *start > from && text.is_char_boundary(*start));
        from = start.unwrap_or(done).min(done);
    }
    Ok(chunks)
}

/// The longest beginning that fits, a character at a time: for tokens that end within characters one after another.
fn by_characters<'t, B: Borders>(borders: &B, text: &'t str, max_tokens: usize) -> Result<&'t str, B::Error> {
    let mut best = "";
    for (at, character) in text.char_indices() {
        match text.get(..at + character.len_utf8()) {
            Some(start) if borders.fits(start, max_tokens)? => best = start,
            _ => break,
        }
    }
    Ok(best)
}
