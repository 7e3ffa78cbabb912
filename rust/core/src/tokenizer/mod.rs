//! Tokens: counts them, encodes and decodes them, and cuts text by them.
//!
//! Every OpenAI encoding is here, equal to tiktoken's token for token. The vocabularies are compiled in, packed; one is
//! unpacked when something is first counted with it, and then shared by the whole process. Models without a public
//! tokenizer get an estimate, which says that it is one.
//!
//! One way through the files: [`pieces`] cuts the text, [`vocabulary`] finds the pieces that are tokens, [`merge`] merges
//! the others. No input takes more than linear time.

pub mod chat;
mod classes;
pub mod cut;
mod encoding;
mod merge;
mod model;
mod pieces;
pub mod special;
mod table;
mod vocabulary;

use std::{
    borrow::Cow,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use chat::Overheads;
pub use encoding::Encoding;
use merge::Sink;
use model::Known;
use special::{Segment, SpecialTokens};
use vocabulary::Vocabulary;

use crate::{
    error::Error,
    model::{Message, Tool},
};

/// Characters to a token, where nothing better is known.
const CHARACTERS_PER_TOKEN: usize = 4;
/// A batch of fewer bytes is counted where it is: starting threads would take longer.
const WORTH_THREADS: usize = 64 << 10;

/// Counts and cuts text as one model, or one encoding, does. Costs nothing to make, clone or keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tokenizer {
    encoding: Option<Encoding>,
    overheads: Overheads,
}

impl From<Encoding> for Tokenizer {
    fn from(encoding: Encoding) -> Self {
        Self { encoding: Some(encoding), overheads: Overheads::of(encoding, false) }
    }
}

/// The number of tokens that a text has by the rule of thumb: a token is four characters. Rounded up.
///
/// It is meant for English; code and other languages have two times as many and more.
pub fn estimate(text: &str) -> usize {
    text.chars().count().div_ceil(CHARACTERS_PER_TOKEN)
}

/// The exact count of a text of more than `threshold` characters; `None` for a shorter one, for which an estimate is good
/// enough and no vocabulary needs to be loaded.
pub fn count_if_needed(text: &str, model: &str, threshold: usize) -> Result<Option<usize>, Error> {
    if text.len() <= threshold || text.chars().count() <= threshold {
        return Ok(None);
    }
    Ok(Some(Tokenizer::for_model(model)?.count(text, None)))
}

impl Tokenizer {
    /// The tokenizer of a model, by its name: `gpt-4o-mini-2024-07-18`, `ft:gpt-4o:…`, `openai/gpt-5`.
    ///
    /// For models of other makers an estimate. An error for a name that tells nothing.
    pub fn for_model(model: &str) -> Result<Self, Error> {
        Ok(match model::look_up(model)? {
            Known::Exact { encoding, reasons } => {
                Self { encoding: Some(encoding), overheads: Overheads::of(encoding, reasons) }
            }
            Known::Estimate => Self::estimate(),
        })
    }

    /// The tokenizer of an encoding, by its name.
    pub fn for_encoding(name: &str) -> Result<Self, Error> {
        let encoding = Encoding::parse(name).ok_or_else(|| {
            let names = Encoding::ALL.map(Encoding::name).join(", ");
            Error::invalid(format!("there is no encoding {name:?}; there are {names}"))
        })?;
        Ok(encoding.into())
    }

    /// A tokenizer that only estimates, by [`estimate`].
    pub fn estimate() -> Self {
        Self { encoding: None, overheads: Overheads::CHAT }
    }

    /// The encoding; `None` for an estimate.
    pub fn encoding(self) -> Option<Encoding> {
        self.encoding
    }

    /// Whether its counts are estimates.
    pub fn is_estimate(self) -> bool {
        self.encoding.is_none()
    }

    /// How many tokens `text` has. What looks like a special token is text like any other.
    ///
    /// With a limit, counting stops once there are more, and the answer is then the limit and one.
    pub fn count(self, text: &str, limit: Option<usize>) -> usize {
        let limit = limit.unwrap_or(usize::MAX);
        let Some(encoding) = self.encoding else {
            return estimate(text).min(limit.saturating_add(1));
        };
        let mut counter = Counter { count: 0, limit };
        encoding.encode_ordinary(text, &mut counter);
        counter.count.min(limit.saturating_add(1))
    }

    /// The count of each text, by as many threads as there are processors, or as `threads` says.
    pub fn count_batch(self, texts: &[&str], threads: Option<usize>) -> Vec<usize> {
        let bytes: usize = texts.iter().map(|text| text.len()).sum();
        let available = || thread::available_parallelism().map_or(1, usize::from);
        let threads = threads.unwrap_or_else(available).min(texts.len()).min(bytes / WORTH_THREADS + 1);
        if threads <= 1 {
            return texts.iter().map(|text| self.count(text, None)).collect();
        }
        let counts: Vec<AtomicUsize> = texts.iter().map(|_| AtomicUsize::new(0)).collect();
        let next = AtomicUsize::new(0);
        let work = || {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let (Some(text), Some(count)) = (texts.get(at), counts.get(at)) else { return };
                count.store(self.count(text, None), Ordering::Relaxed);
            }
        };
        thread::scope(|scope| {
            for _ in 1..threads {
                // Where the system has no more threads, this one does the work.
                let _ = thread::Builder::new().spawn_scoped(scope, work);
            }
            work();
        });
        counts.into_iter().map(AtomicUsize::into_inner).collect()
    }

    /// The tokens of `text`. Special tokens that are `allowed` become their ids; one that is `disallowed` is an error;
    /// any other is text. `disallowed` of `All` means all that are not allowed. This is what tiktoken's `encode` does.
    pub fn encode(self, text: &str, allowed: &SpecialTokens, disallowed: &SpecialTokens) -> Result<Vec<u32>, Error> {
        let encoding = self.exact("tokens")?;
        let specials = encoding.specials();
        let mut tokens = Tokens(Vec::with_capacity(text.len() / 4));
        for segment in special::segments(text, allowed, disallowed, |from| specials.find(text, from))? {
            match segment {
                Segment::Text(text) => encoding.encode_ordinary(text, &mut tokens),
                Segment::Token(id) => tokens.push(id),
            }
        }
        Ok(tokens.0)
    }

    /// The bytes that tokens stand for, special ones included. They need not be valid UTF-8. An error for an id that is
    /// no token's.
    pub fn decode(self, tokens: &[u32]) -> Result<Vec<u8>, Error> {
        let encoding = self.exact("tokens")?;
        let (vocabulary, specials) = (encoding.vocabulary(), encoding.specials());
        let mut bytes = Vec::with_capacity(4 * tokens.len());
        for id in tokens {
            match vocabulary.token(*id) {
                [] => {
                    let name = specials
                        .name(*id)
                        .ok_or_else(|| Error::invalid(format!("{id} is no token of {}", encoding.name())))?;
                    bytes.extend_from_slice(name.as_bytes());
                }
                token => bytes.extend_from_slice(token),
            }
        }
        Ok(bytes)
    }

    /// See [`cut::truncate`].
    pub fn truncate(self, text: &str, max_tokens: usize) -> Result<&str, Error> {
        cut::truncate(&self, text, max_tokens)
    }

    /// See [`cut::split`].
    pub fn split(self, text: &str, max_tokens: usize, overlap: usize) -> Result<Vec<&str>, Error> {
        cut::split(&self, text, max_tokens, overlap)
    }

    /// The tokens of a whole prompt, with what the provider adds around the texts; see [`chat`].
    pub fn count_messages(self, messages: &[impl AsRef<Message>], tools: &[Tool]) -> usize {
        let counted = chat::count(self.overheads, messages, tools, |text| Ok::<_, Error>(self.count(text, None)));
        counted.unwrap_or_default()
    }

    /// The special tokens with their ids.
    pub fn special_tokens(self) -> Vec<(Cow<'static, str>, u32)> {
        self.encoding.map(|encoding| encoding.specials().all().collect()).unwrap_or_default()
    }

    /// Every token that is not special: its bytes and its id, which is also the order in which tokens merge.
    pub fn ranks(self) -> Result<Vec<(&'static [u8], u32)>, Error> {
        let vocabulary = self.exact("tokens")?.vocabulary();
        let tokens = (0..vocabulary.len()).map(|id| (vocabulary.token(id), id));
        Ok(tokens.filter(|(token, _)| !token.is_empty()).collect())
    }

    /// Bytes of memory that the vocabulary takes, which it loads if it has to. 0 for an estimate.
    pub fn memory(self) -> usize {
        self.encoding.map_or(0, |encoding| encoding.vocabulary().size())
    }

    fn exact(self, what: &str) -> Result<Encoding, Error> {
        self.encoding.ok_or_else(|| {
            Error::invalid(format!(
                "an estimate has no {what}; use a model or an encoding of OpenAI, or Tokenizer.from_file"
            ))
        })
    }
}

impl cut::Borders for Tokenizer {
    type Error = Error;

    fn ends(&self, text: &str, limit: usize) -> Result<Vec<usize>, Error> {
        let Some(encoding) = self.encoding else {
            let starts = text.char_indices().map(|(at, _)| at).step_by(CHARACTERS_PER_TOKEN).skip(1);
            let end = (!text.is_empty()).then_some(text.len());
            return Ok(starts.chain(end).collect());
        };
        let mut ends = Ends { vocabulary: encoding.vocabulary(), ends: Vec::new(), limit };
        encoding.encode_ordinary(text, &mut ends);
        Ok(ends.ends)
    }

    fn fits(&self, text: &str, limit: usize) -> Result<bool, Error> {
        Ok(self.count(text, Some(limit)) <= limit)
    }
}

/// Counts tokens, until there are more than `limit`.
struct Counter {
    count: usize,
    limit: usize,
}

impl Sink for Counter {
    #[inline(always)]
    fn push(&mut self, _: u32) {
        self.count += 1;
    }

    #[inline(always)]
    fn extend(&mut self, ids: &[u32]) {
        self.count += ids.len();
    }

    #[inline(always)]
    fn is_full(&self) -> bool {
        self.count > self.limit
    }
}

/// Collects tokens.
struct Tokens(Vec<u32>);

impl Sink for Tokens {
    #[inline(always)]
    fn push(&mut self, id: u32) {
        self.0.push(id);
    }

    #[inline(always)]
    fn extend(&mut self, ids: &[u32]) {
        self.0.extend_from_slice(ids);
    }

    #[inline(always)]
    fn is_full(&self) -> bool {
        false
    }
}

/// Collects where tokens end, until there are more than `limit`.
struct Ends<'v> {
    vocabulary: &'v Vocabulary,
    ends: Vec<usize>,
    limit: usize,
}

impl Sink for Ends<'_> {
    fn push(&mut self, id: u32) {
        let end = self.ends.last().copied().unwrap_or(0) + self.vocabulary.token(id).len();
        self.ends.push(end);
    }

    fn extend(&mut self, ids: &[u32]) {
        ids.iter().for_each(|id| self.push(*id));
    }

    fn is_full(&self) -> bool {
        self.ends.len() > self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes tokens up to a limit, and counts what it is given beyond.
    struct Full {
        limit: usize,
        given: usize,
    }

    impl Sink for Full {
        fn push(&mut self, _: u32) {
            self.given += 1;
        }

        fn extend(&mut self, ids: &[u32]) {
            self.given += ids.len();
        }

        fn is_full(&self) -> bool {
            self.given > self.limit
        }
    }

    #[test]
    fn a_limit_ends_the_work_soon_after_it() {
        for text in ["word ".repeat(100_000), "a".repeat(1 << 20), "q7é".repeat(100_000), " ".repeat(1 << 20)] {
            for encoding in Encoding::ALL {
                let mut sink = Full { limit: 100, given: 0 };
                encoding.encode_ordinary(&text, &mut sink);
                assert!((101..200).contains(&sink.given), "{encoding:?} went on to {}", sink.given);
            }
        }
    }

    #[test]
    fn other_models_are_estimated_and_say_so() {
        let tokenizer = Tokenizer::for_model("claude-opus-4-5").unwrap();
        assert!(tokenizer.is_estimate() && tokenizer.encoding().is_none());
        assert_eq!(tokenizer.count("12345", None), 2);
        assert!(tokenizer.decode(&[1]).unwrap_err().message().contains("estimate"));
    }
}
