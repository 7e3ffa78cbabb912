//! An answer before it is told in a dialect, and the events of a stream made one by one as they are needed.

use std::{fmt::Write as _, sync::Arc};

use bytes::BytesMut;

use super::{prompts::CacheCounts, script::ToolCall};

/// The text of every answer unless the config has another.
pub(crate) const DEFAULT_TEXT: &str = "This is a simulated answer from the edgequake-llm simulator: \
    no model was called, nothing was spent, and every word here was made up locally.";

/// What a model thinks that is asked to think, unless it is told otherwise.
pub(crate) const DEFAULT_THINKING: &str = "Nobody thinks here; a real model would weigh the question now.";

/// Words of more letters than this are more than one token.
const LONG_WORD: usize = 16;

/// A text in the pieces that a stream delivers, each already escaped for the inside of a JSON string.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    pieces: Arc<[Box<str>]>,
    count: usize,
}

impl Text {
    pub(crate) fn new(text: &str) -> Self {
        let pieces: Arc<[Box<str>]> = split(text).map(escaped).collect();
        Self { count: pieces.len(), pieces }
    }

    /// The same text repeated or cut to so many pieces.
    pub(crate) fn with_count(&self, count: usize) -> Self {
        let count = if self.pieces.is_empty() { 0 } else { count };
        Self { pieces: Arc::clone(&self.pieces), count }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Writes one piece. Each repetition starts with a space.
    pub(crate) fn write(&self, n: usize, out: &mut BytesMut) {
        let len = self.pieces.len().max(1);
        if n > 0 && n.is_multiple_of(len) {
            out.extend_from_slice(b" ");
        }
        if let Some(piece) = self.pieces.get(n % len) {
            out.extend_from_slice(piece.as_bytes());
        }
    }

    /// Writes all pieces.
    pub(crate) fn write_all(&self, out: &mut BytesMut) {
        (0..self.count).for_each(|n| self.write(n, out));
    }
}

/// Cuts before each run of white space, and long words in between.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let mut in_word = false;
        let mut letters = 0;
        let end = rest.char_indices().find_map(|(at, c)| {
            let starts_next = in_word && c.is_whitespace() || letters == LONG_WORD;
            in_word |= !c.is_whitespace();
            letters += usize::from(in_word);
            starts_next.then_some(at)
        });
        let (piece, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// The inside of a JSON string, without its quotes.
fn escaped(text: &str) -> Box<str> {
    let quoted = quoted(text);
    quoted.get(1..quoted.len() - 1).unwrap_or_default().into()
}

/// A JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Why it stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    Stop,
    Length,
    Tools,
}

/// One answer, for every dialect.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// Unique in this simulator, the same again with the same seed.
    pub(crate) id: String,
    /// Seconds since 1970.
    pub(crate) created: u64,
    /// The model's name as a JSON string.
    pub(crate) model: String,
    /// What the model thinks first; empty for nothing.
    pub(crate) thinking: Text,
    /// Whether its text stays with the model, as the Responses API keeps it unless a summary is asked for.
    pub(crate) secret: bool,
    /// The thought's signature.
    pub(crate) signature: String,
    pub(crate) text: Option<Text>,
    pub(crate) calls: Vec<ToolCall>,
    pub(crate) finish: Finish,
    pub(crate) prompt_tokens: u64,
    /// Of those, what a cache of prompts has to do with.
    pub(crate) cache: CacheCounts,
}

impl Answer {
    /// Tokens of the answer, thinking left out: one for each piece of text, an estimate for calls.
    pub(crate) fn answer_tokens(&self) -> u64 {
        let calls: u64 = self.calls.iter().map(|call| 8 + call.arguments.len() as u64 / 4).sum();
        calls + self.text.as_ref().map_or(0, Text::count) as u64
    }

    /// Tokens of the thinking: one for each piece.
    pub(crate) fn thinking_tokens(&self) -> u64 {
        self.thinking.count() as u64
    }

    /// All tokens produced.
    pub(crate) fn completion_tokens(&self) -> u64 {
        self.answer_tokens() + self.thinking_tokens()
    }

    /// The pieces of the thinking, escaped for the inside of a JSON string.
    pub(crate) fn thoughts(&self) -> impl Iterator<Item = String> {
        (0..self.thinking.count()).map(|n| {
            let mut piece = BytesMut::new();
            self.thinking.write(n, &mut piece);
            String::from_utf8_lossy(&piece).into_owned()
        })
    }
}

/// The arguments of a call where the format carries an object: what is not JSON becomes an empty one.
pub(crate) fn object(call: &ToolCall) -> &str {
    let valid = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&call.arguments).is_ok();
    if valid { &call.arguments } else { "{}" }
}

/// A bit of an event.
#[derive(Debug, Clone)]
pub(crate) enum Bit {
    Is(String),
    /// The number of pieces so far, plus this.
    Count(u64),
    /// The whole text, for formats that tell it again behind its pieces.
    Text,
}

/// Events that tell nothing of the text.
pub(crate) fn plain(events: Vec<String>) -> Vec<Vec<Bit>> {
    events.into_iter().map(|event| vec![Bit::Is(event)]).collect()
}

/// Writes bits behind so many pieces of a text.
pub(crate) fn write_bits(bits: &[Bit], text: &Text, pieces: usize, out: &mut BytesMut) {
    for bit in bits {
        match bit {
            Bit::Is(text) => out.extend_from_slice(text.as_bytes()),
            // Writing to memory cannot fail.
            Bit::Count(base) => drop(write!(out, "{}", base + pieces as u64)),
            Bit::Text => text.write_all(out),
        }
    }
}

/// The events of a streamed answer, written when they are due: memory does not grow with the answer's length.
#[derive(Debug)]
pub(crate) struct Events {
    /// Whole events before the text.
    pub(crate) head: Vec<String>,
    /// A text event up to its text.
    pub(crate) before: String,
    pub(crate) text: Text,
    /// A text event from behind its text.
    pub(crate) after: Vec<Bit>,
    /// Whole events after the text.
    pub(crate) tail: Vec<Vec<Bit>>,
}

impl Events {
    pub(crate) fn count(&self) -> usize {
        self.head.len() + self.text.count() + self.tail.len()
    }

    /// Writes the event of this number.
    pub(crate) fn write(&self, n: usize, out: &mut BytesMut) {
        if let Some(event) = self.head.get(n) {
            out.extend_from_slice(event.as_bytes());
            return;
        }
        let n = n - self.head.len();
        if n < self.text.count() {
            out.extend_from_slice(self.before.as_bytes());
            self.text.write(n, out);
            write_bits(&self.after, &self.text, n + 1, out);
        } else if let Some(event) = self.tail.get(n - self.text.count()) {
            write_bits(event, &self.text, self.text.count(), out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &Text) -> String {
        let mut out = BytesMut::new();
        text.write_all(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn pieces_make_up_the_text_again() {
        for text in ["", " ", "a", "one two  three\n", " lead", "né\u{1F600} x", &"long".repeat(20), DEFAULT_TEXT] {
            let pieces: Vec<&str> = split(text).collect();
            assert_eq!(pieces.concat(), text);
            assert!(pieces.iter().all(|piece| piece.chars().count() <= LONG_WORD + 2), "{pieces:?}");
        }
        assert_eq!(split("one two  three\n").collect::<Vec<_>>(), ["one", " two", "  three", "\n"]);
        assert_eq!(Text::new(DEFAULT_TEXT).count(), 24);
    }

    #[test]
    fn a_text_is_repeated_or_cut_to_the_count() {
        let text = Text::new("a \"b\"");
        assert_eq!(all(&text.with_count(5)), r#"a \"b\" a \"b\" a"#);
        assert_eq!(all(&text.with_count(1)), "a");
        assert_eq!(all(&Text::new("").with_count(9)), "");
    }

    #[test]
    fn events_in_order() {
        let events = Events {
            head: vec!["H".into()],
            before: "<".into(),
            text: Text::new("a b"),
            after: vec![Bit::Is("|".into()), Bit::Count(10), Bit::Is(">".into())],
            tail: vec![vec![Bit::Is("T".into())], vec![Bit::Is("[".into()), Bit::Text, Bit::Is("]".into())]],
        };
        let mut out = BytesMut::new();
        (0..events.count() + 1).for_each(|n| events.write(n, &mut out));
        assert_eq!(out, "H<a|11>< b|12>T[a b]".as_bytes());
    }

    #[test]
    fn arguments_that_are_no_object() {
        let call = |arguments: &str| ToolCall { name: "f".into(), arguments: arguments.into() };
        assert_eq!(object(&call(r#"{"a":1}"#)), r#"{"a":1}"#);
        assert_eq!(object(&call("[1]")), "{}");
        assert_eq!(object(&call("{")), "{}");
    }
}
