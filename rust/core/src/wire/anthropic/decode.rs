//! Anthropic's answers, whole and streamed.
//!
//! Blocks that have no common form (server tools and their results, …) become [`Part::Raw`], whole, so that the answer
//! can be sent back. Citations stand beside the parts, with the places in the text that they belong to.

use std::borrow::Cow;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, value::RawValue};

use super::{NAME, error};
use crate::{
    error::Error,
    model::{Assembly, Citation, Part, Response, ToolSlot, Usage},
    stream::Frame,
    wire::{
        StreamDecoder,
        body::malformed,
        claude::{JSON_TOOL, finish},
        common::own_signature,
        lenient::{Count, Text, arguments, lenient, parse},
    },
};

/// Token counts as they come: each may be missing, and later ones replace earlier ones.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct Tokens {
    input_tokens: Count,
    cache_creation_input_tokens: Count,
    cache_read_input_tokens: Count,
    #[serde(deserialize_with = "lenient")]
    cache_creation: Option<Lifetimes>,
    output_tokens: Count,
    #[serde(deserialize_with = "lenient")]
    output_tokens_details: Option<Details>,
}

/// Tokens written to the cache, by the entry's lifetime.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct Lifetimes {
    ephemeral_5m_input_tokens: Count,
    ephemeral_1h_input_tokens: Count,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct Details {
    thinking_tokens: Count,
}

impl Tokens {
    /// `message_delta` repeats the counts in part, as totals: field by field, the later one holds.
    fn merge(&mut self, later: &Self) {
        *self = Self {
            input_tokens: later.input_tokens.or(self.input_tokens),
            cache_creation_input_tokens: later.cache_creation_input_tokens.or(self.cache_creation_input_tokens),
            cache_read_input_tokens: later.cache_read_input_tokens.or(self.cache_read_input_tokens),
            cache_creation: later.cache_creation.or(self.cache_creation),
            output_tokens: later.output_tokens.or(self.output_tokens),
            output_tokens_details: later.output_tokens_details.or(self.output_tokens_details),
        };
    }

    /// Anthropic's input leaves the cached tokens out; its output holds the thinking.
    fn usage(&self) -> Usage {
        let lifetimes = self.cache_creation.unwrap_or_default();
        let (short, long) = (lifetimes.ephemeral_5m_input_tokens.get(), lifetimes.ephemeral_1h_input_tokens.get());
        let written = self.cache_creation_input_tokens.0.unwrap_or(short + long);
        let output = self.output_tokens.get();
        let reasoning = self.output_tokens_details.unwrap_or_default().thinking_tokens.get().min(output);
        Usage {
            input: self.input_tokens.get(),
            cache_read: self.cache_read_input_tokens.get(),
            cache_write: written.saturating_sub(long),
            cache_write_1h: long.min(written),
            output: output - reasoning,
            reasoning,
        }
    }
}

/// A whole answer; also the head of a streamed one, whose content is empty.
#[derive(Debug, Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    id: Text<'a>,
    #[serde(borrow, default)]
    model: Text<'a>,
    #[serde(borrow)]
    content: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    stop_reason: Text<'a>,
    #[serde(default, deserialize_with = "lenient")]
    usage: Option<Tokens>,
    error: Option<IgnoredAny>,
}

/// A content block, with the fields of all kinds.
#[derive(Debug, Deserialize)]
struct Block<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow, default)]
    text: Text<'a>,
    #[serde(borrow, default)]
    thinking: Text<'a>,
    #[serde(borrow, default)]
    signature: Text<'a>,
    #[serde(borrow, default)]
    data: Text<'a>,
    #[serde(borrow, default)]
    id: Text<'a>,
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "lenient")]
    citations: Option<Vec<Value>>,
}

/// The kinds of blocks that have a common form.
const BLOCKS: [&str; 4] = ["text", "thinking", "redacted_thinking", "tool_use"];

/// The events that carry something.
const EVENTS: [&str; 6] = [
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
];

/// Decodes a whole answer.
pub(super) fn message(body: &[u8]) -> Result<Response, Error> {
    let message: Message<'_> = parse(NAME, "the answer", body)?;
    if message.error.is_some() {
        return Err(error(body, None));
    }
    let Some(content) = message.content else {
        return Err(malformed(NAME, "the answer has no content", body));
    };
    let mut answer = Assembly::new();
    answer.meta(&message.id, &message.model);
    for (index, raw) in (0..).zip(content) {
        match open(&mut answer, index, raw)? {
            Opened::Known => {}
            Opened::Json(input) => answer.text(&input),
            Opened::Foreign(block) => answer.part(Part::Raw(block)),
        }
    }
    if let Some(tokens) = message.usage {
        answer.usage(tokens.usage());
    }
    finish(&message.stop_reason, &mut answer);
    Ok(answer.into_response())
}

/// What came of the beginning of a block.
enum Opened<'a> {
    /// It is in the answer.
    Known,
    /// It is the answer in the form of a tool's arguments, which stand here as far as they have come.
    Json(Cow<'a, str>),
    /// It has no common form.
    Foreign(Value),
}

/// Adds a block, or the beginning of a streamed one.
fn open<'a>(answer: &mut Assembly, index: u64, raw: &'a RawValue) -> Result<Opened<'a>, Error> {
    let block: Block<'_> = match parse(NAME, "a content block", raw.get().as_bytes()) {
        Ok(block) => block,
        // A block of an unknown kind may have fields of these names in any shape.
        Err(error) => return foreign(raw, &BLOCKS).map(Opened::Foreign).ok_or(error),
    };
    match &*block.kind {
        "text" => {
            let start = if block.citations.is_some() { answer.so_far().text_chars() } else { 0 };
            answer.text_block();
            answer.text(&block.text);
            for raw in block.citations.iter().flatten() {
                answer.cite(raw);
                answer.citation(Citation::read(raw, start, answer.so_far().text_chars()));
            }
        }
        "thinking" => {
            if block.thinking.is_empty() {
                own_signature(answer, &block.signature);
            } else {
                answer.thinking(&block.thinking);
                answer.signature(&block.signature);
            }
        }
        "redacted_thinking" => answer.part(Part::RedactedThinking { data: block.data.0.into_owned() }),
        "tool_use" if &*block.name == JSON_TOOL => return Ok(Opened::Json(arguments(block.input))),
        "tool_use" => {
            answer.tool_start(ToolSlot::Index(index), &block.id, &block.name, None);
            // A stream opens the block with an empty object; the pieces follow.
            let input = arguments(block.input);
            if input != "{}" {
                answer.tool_arguments(ToolSlot::Index(index), &input);
            }
        }
        _ => return Ok(serde_json::from_str(raw.get()).map_or(Opened::Known, Opened::Foreign)),
    }
    Ok(Opened::Known)
}

/// The object, if its kind is none of `known`.
#[cold]
fn foreign(raw: &RawValue, known: &[&str]) -> Option<Value> {
    let value: Value = serde_json::from_str(raw.get()).ok()?;
    let kind = value.get("type")?.as_str()?;
    (!known.contains(&kind)).then_some(value)
}

/// One event of a stream, with the fields of all kinds.
#[derive(Debug, Deserialize)]
struct Event<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
    #[serde(default)]
    index: Count,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    #[serde(borrow)]
    content_block: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<Message<'a>>,
    #[serde(default, deserialize_with = "lenient")]
    usage: Option<Tokens>,
    error: Option<IgnoredAny>,
}

/// A piece of a block, or the end of the message.
#[derive(Debug, Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    text: Text<'a>,
    #[serde(borrow, default)]
    partial_json: Text<'a>,
    #[serde(borrow, default)]
    thinking: Text<'a>,
    #[serde(borrow, default)]
    signature: Text<'a>,
    #[serde(borrow, default)]
    stop_reason: Text<'a>,
    #[serde(default, deserialize_with = "lenient")]
    citation: Option<Value>,
}

/// A block that is passed through whole, until it is complete.
#[derive(Debug)]
struct Pending {
    index: u64,
    block: Value,
    input: String,
}

/// The state of one stream.
#[derive(Debug, Default)]
pub(super) struct Stream {
    tokens: Tokens,
    pending: Vec<Pending>,
    /// The block whose input is the answer, and whether any of it has come.
    json: Option<(u64, bool)>,
    /// Whether the open block has had a piece of its signature.
    signed: bool,
    /// Where the open block's text begins, in characters.
    block_start: usize,
    /// The same, once a citation of it has come.
    cited_from: Option<usize>,
}

impl StreamDecoder for Stream {
    fn frame(&mut self, frame: Frame<'_>, answer: &mut Assembly) -> Result<(), Error> {
        match frame.data.trim_ascii() {
            b"" => return Ok(()),
            // Some gateways close with OpenAI's mark.
            b"[DONE]" => {
                answer.end();
                return Ok(());
            }
            _ => {}
        }
        let event: Event<'_> = match parse(NAME, "a stream event", frame.data) {
            Ok(event) => event,
            Err(fault) => return odd_event(frame.data, fault),
        };
        if event.error.is_some() || &*event.kind == "error" {
            return Err(error(frame.data, None));
        }
        let index = event.index.get();
        let kind = if event.kind.is_empty() { frame.event } else { &*event.kind };
        match (kind, event.delta) {
            ("content_block_delta", Some(delta)) => self.piece(index, &delta, answer),
            ("content_block_start", _) => {
                self.signed = false;
                self.block_start = answer.so_far().text_chars();
                if let Some(raw) = event.content_block {
                    match open(answer, index, raw)? {
                        Opened::Known => {}
                        // A stream opens the block with an empty object; the pieces follow.
                        Opened::Json(_) => self.json = Some((index, false)),
                        Opened::Foreign(block) => self.pending.push(Pending { index, block, input: String::new() }),
                    }
                }
            }
            ("content_block_stop", _) => self.close(Some(index), answer),
            ("message_start", _) => {
                if let Some(head) = event.message {
                    answer.meta(&head.id, &head.model);
                    self.count(head.usage, answer);
                }
            }
            ("message_delta", delta) => {
                self.count(event.usage, answer);
                if let Some(delta) = delta {
                    self.close(None, answer);
                    finish(&delta.stop_reason, answer);
                }
            }
            ("message_stop", _) => {
                self.close(None, answer);
                answer.end();
            }
            _ => {}
        }
        Ok(())
    }
}

/// An event whose fields have other shapes than those of the known events: one of a new kind is passed over.
#[cold]
fn odd_event(data: &[u8], fault: Error) -> Result<(), Error> {
    let event = serde_json::from_slice::<&RawValue>(data).ok().and_then(|raw| foreign(raw, &EVENTS));
    match event.as_ref().and_then(|event| event.get("type")) {
        None => Err(fault),
        Some(kind) if kind == "error" => Err(error(data, None)),
        Some(_) => Ok(()),
    }
}

impl Stream {
    fn count(&mut self, tokens: Option<Tokens>, answer: &mut Assembly) {
        if let Some(tokens) = tokens {
            self.tokens.merge(&tokens);
            answer.usage(self.tokens.usage());
        }
    }

    fn piece(&mut self, index: u64, delta: &Delta<'_>, answer: &mut Assembly) {
        answer.text(&delta.text);
        answer.thinking(&delta.thinking);
        if let Some(raw) = &delta.citation {
            let end = answer.so_far().text_chars();
            let start = *self.cited_from.get_or_insert(self.block_start.min(end));
            answer.cite(raw);
            answer.citation(Citation::read(raw, start, end));
        }
        if !delta.signature.is_empty() {
            self.sign(&delta.signature, answer);
        }
        if let Some((json, begun)) = &mut self.json
            && *json == index
        {
            *begun |= !delta.partial_json.is_empty();
            answer.text(&delta.partial_json);
        } else if !delta.partial_json.is_empty() {
            match self.pending.iter_mut().find(|pending| pending.index == index) {
                Some(pending) => pending.input.push_str(&delta.partial_json),
                None => answer.tool_arguments(ToolSlot::Index(index), &delta.partial_json),
            }
        }
    }

    /// A signature belongs to the thinking of its own block, which may be hidden: then it must not go to an earlier one.
    fn sign(&mut self, signature: &str, answer: &mut Assembly) {
        let earlier = matches!(answer.so_far().parts.last(), Some(Part::Thinking { signature: Some(_), .. }));
        if earlier && !self.signed {
            own_signature(answer, signature);
        } else {
            answer.signature(signature);
        }
        self.signed = true;
    }

    /// Hands out the block of that index if it is passed through, or all of them.
    fn close(&mut self, index: Option<u64>, answer: &mut Assembly) {
        if let Some(start) = self.cited_from.take() {
            answer.end_citations(start);
        }
        if let Some((json, begun)) = self.json
            && index.is_none_or(|index| index == json)
        {
            self.json = None;
            if !begun {
                answer.text("{}");
            }
        }
        let done = |pending: &mut Pending| index.is_none_or(|index| index == pending.index);
        for Pending { mut block, input, .. } in self.pending.extract_if(.., done) {
            if let (Some(block), Ok(input)) = (block.as_object_mut(), serde_json::from_str(&input)) {
                block.insert("input".to_owned(), input);
            }
            answer.part(Part::Raw(block));
        }
    }
}
