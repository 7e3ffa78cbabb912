//! Converse's answers, whole and streamed.
//!
//! Blocks that have no common form (pictures, what the provider's own tools did, …) become [`Part::Raw`], whole, so that the
//! answer can be sent back.

use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

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

/// Token counts as they come.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Tokens {
    input_tokens: Count,
    output_tokens: Count,
    cache_read_input_tokens: Count,
    cache_write_input_tokens: Count,
    #[serde(deserialize_with = "lenient")]
    cache_details: Option<Vec<CacheDetail>>,
}

/// Tokens written to the cache with one lifetime.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct CacheDetail {
    ttl: String,
    input_tokens: Count,
}

impl Tokens {
    /// Bedrock's input leaves the cached tokens out; its output holds the thinking, which it does not count apart.
    fn usage(&self) -> Usage {
        let written = self.cache_write_input_tokens.get();
        let details = self.cache_details.iter().flatten().filter(|detail| detail.ttl == "1h");
        let long = details.map(|detail| detail.input_tokens.get()).sum::<u64>().min(written);
        Usage {
            input: self.input_tokens.get(),
            cache_read: self.cache_read_input_tokens.get(),
            cache_write: written - long,
            cache_write_1h: long,
            output: self.output_tokens.get(),
            reasoning: 0,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(borrow)]
    output: Option<Output<'a>>,
    #[serde(borrow, default)]
    stop_reason: Text<'a>,
    #[serde(default, deserialize_with = "lenient")]
    usage: Option<Tokens>,
}

#[derive(Debug, Deserialize)]
struct Output<'a> {
    #[serde(borrow)]
    message: Option<Message<'a>>,
}

#[derive(Debug, Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<Vec<&'a RawValue>>,
}

/// A content block: one of these, or another.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Block<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    tool_use: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow)]
    citations_content: Option<&'a RawValue>,
}

/// A tool call, or the beginning of a streamed one.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolUse<'a> {
    #[serde(borrow, default)]
    tool_use_id: Text<'a>,
    #[serde(borrow, default)]
    name: Text<'a>,
    /// `server_tool_use` for a tool that runs there, and not here.
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reasoning<'a> {
    #[serde(borrow)]
    reasoning_text: Option<ReasoningText<'a>>,
    #[serde(borrow, default)]
    redacted_content: Text<'a>,
}

#[derive(Debug, Deserialize)]
struct ReasoningText<'a> {
    #[serde(borrow, default)]
    text: Text<'a>,
    #[serde(borrow, default)]
    signature: Text<'a>,
}

/// Text with its sources.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cited {
    #[serde(deserialize_with = "lenient")]
    content: Option<Vec<CitedText>>,
    #[serde(deserialize_with = "lenient")]
    citations: Option<Vec<Value>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CitedText {
    text: String,
}

/// Decodes a whole answer.
pub(super) fn message(body: &[u8]) -> Result<Response, Error> {
    let given: Answer<'_> = parse(NAME, "the answer", body)?;
    let Some(content) = given.output.and_then(|output| output.message).and_then(|message| message.content) else {
        return Err(malformed(NAME, "the answer has no content", body));
    };
    let mut answer = Assembly::new();
    for (index, raw) in (0..).zip(content) {
        block(&mut answer, index, raw)?;
    }
    if let Some(tokens) = given.usage {
        answer.usage(tokens.usage());
    }
    finish(&given.stop_reason, &mut answer);
    Ok(answer.into_response())
}

/// Adds a block.
fn block(answer: &mut Assembly, index: u64, raw: &RawValue) -> Result<(), Error> {
    let block: Block<'_> = parse(NAME, "a content block", raw.get().as_bytes())?;
    if let Some(text) = block.text {
        answer.text(&text);
    } else if let Some(tool) = block.tool_use {
        let tool: ToolUse<'_> = parse(NAME, "a tool call", tool.get().as_bytes())?;
        if &*tool.name == JSON_TOOL {
            answer.text(&arguments(tool.input));
        } else if tool.kind.is_empty() {
            answer.tool_start(ToolSlot::Index(index), &tool.tool_use_id, &tool.name, None);
            answer.tool_arguments(ToolSlot::Index(index), &arguments(tool.input));
        } else {
            whole(answer, raw);
        }
    } else if let Some(reasoning) = block.reasoning_content {
        let reasoning: Reasoning<'_> = parse(NAME, "a block of reasoning", reasoning.get().as_bytes())?;
        if let Some(ReasoningText { text, signature }) = reasoning.reasoning_text {
            if text.is_empty() {
                own_signature(answer, &signature);
            } else {
                answer.thinking(&text);
                answer.signature(&signature);
            }
        }
        if !reasoning.redacted_content.is_empty() {
            answer.part(Part::RedactedThinking { data: reasoning.redacted_content.0.into_owned() });
        }
    } else if let Some(cited) = block.citations_content {
        let cited: Cited = parse(NAME, "a block of cited text", cited.get().as_bytes())?;
        let start = answer.so_far().text_chars();
        cited.content.iter().flatten().for_each(|piece| answer.text(&piece.text));
        let end = answer.so_far().text_chars();
        cited.citations.iter().flatten().for_each(|raw| answer.citation(citation(raw, start, end)));
    } else {
        whole(answer, raw);
    }
    Ok(())
}

/// Passes a block through.
fn whole(answer: &mut Assembly, raw: &RawValue) {
    if let Ok(value) = serde_json::from_str(raw.get()) {
        answer.part(Part::Raw(value));
    }
}

fn citation(raw: &Value, start: usize, end: usize) -> Citation {
    let text = |pointer| raw.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let words = raw.get("sourceContent").and_then(Value::as_array).into_iter().flatten();
    let cited: String = words.filter_map(|piece| piece.get("text")?.as_str()).collect();
    Citation {
        start,
        end,
        url: text("/location/web/url"),
        title: text("/title"),
        cited_text: (!cited.is_empty()).then_some(cited),
        raw: raw.clone(),
    }
}

/// The payload of one message of a stream, with the fields of all kinds.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    #[serde(default)]
    content_block_index: Count,
    #[serde(borrow)]
    start: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    #[serde(borrow, default)]
    stop_reason: Text<'a>,
    #[serde(default, deserialize_with = "lenient")]
    usage: Option<Tokens>,
}

/// A piece of a block.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delta<'a> {
    #[serde(borrow, default)]
    text: Text<'a>,
    #[serde(borrow)]
    tool_use: Option<Input<'a>>,
    #[serde(borrow)]
    reasoning_content: Option<ReasoningPiece<'a>>,
    #[serde(default, deserialize_with = "lenient")]
    tool_result: Option<Vec<Value>>,
    #[serde(default, deserialize_with = "lenient")]
    image: Option<Map<String, Value>>,
    #[serde(default, deserialize_with = "lenient")]
    citation: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Input<'a> {
    #[serde(borrow, default)]
    input: Text<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReasoningPiece<'a> {
    #[serde(borrow, default)]
    text: Text<'a>,
    #[serde(borrow, default)]
    signature: Text<'a>,
    #[serde(borrow, default)]
    redacted_content: Text<'a>,
}

/// A block that is passed through whole, until it is complete.
#[derive(Debug)]
struct Pending {
    index: u64,
    /// The block with its one field, as `{"toolResult": {…}}`.
    block: Value,
    input: String,
}

/// The state of one stream.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pending: Vec<Pending>,
    /// The block whose input is the answer, and whether any of it has come.
    json: Option<(u64, bool)>,
    /// The block that has had a piece of its signature.
    signed: Option<u64>,
    /// The block whose text came last, and where that begins, in characters.
    text: Option<(u64, usize)>,
    /// The block that citations have come of.
    cited: Option<u64>,
}

impl StreamDecoder for Stream {
    fn frame(&mut self, frame: Frame<'_>, answer: &mut Assembly) -> Result<(), Error> {
        if frame.fault {
            return Err(error(Some(frame.event), None, frame.data));
        }
        if !matches!(
            frame.event,
            "contentBlockStart" | "contentBlockDelta" | "contentBlockStop" | "messageStop" | "metadata"
        ) {
            return Ok(());
        }
        let event: Event<'_> = parse(NAME, "a stream event", frame.data)?;
        let index = event.content_block_index.get();
        match (frame.event, event.start, event.delta) {
            ("contentBlockStart", Some(start), _) => self.open(index, start, answer)?,
            ("contentBlockDelta", _, Some(delta)) => self.piece(index, &delta, answer),
            ("contentBlockStop", ..) => self.close(Some(index), answer),
            ("messageStop", ..) => {
                self.close(None, answer);
                finish(&event.stop_reason, answer);
            }
            ("metadata", ..) => {
                if let Some(tokens) = event.usage {
                    answer.usage(tokens.usage());
                }
                // The last event, if it stands behind the end of the message.
                if answer.is_complete() {
                    answer.end();
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Stream {
    /// The beginning of a block. One of text or reasoning has none.
    fn open(&mut self, index: u64, start: &RawValue, answer: &mut Assembly) -> Result<(), Error> {
        let block: Block<'_> = parse(NAME, "the start of a block", start.get().as_bytes())?;
        if let Some(tool) = block.tool_use {
            let tool: ToolUse<'_> = parse(NAME, "a tool call", tool.get().as_bytes())?;
            if &*tool.name == JSON_TOOL {
                self.json = Some((index, false));
                return Ok(());
            }
            if tool.kind.is_empty() {
                answer.tool_start(ToolSlot::Index(index), &tool.tool_use_id, &tool.name, None);
                return Ok(());
            }
        }
        if let Ok(block) = serde_json::from_str(start.get()) {
            self.pending.push(Pending { index, block, input: String::new() });
        }
        Ok(())
    }

    fn piece(&mut self, index: u64, delta: &Delta<'_>, answer: &mut Assembly) {
        if !delta.text.is_empty() && self.text.is_none_or(|(block, _)| block != index) {
            self.text = Some((index, answer.so_far().text_chars()));
        }
        answer.text(&delta.text);
        if let Some(raw) = &delta.citation {
            let end = answer.so_far().text_chars();
            let start = self.text.filter(|(block, _)| *block == index).map_or(end, |(_, start)| start);
            self.cited = Some(index);
            answer.citation(citation(raw, start, end));
        }
        if let Some(reasoning) = &delta.reasoning_content {
            answer.thinking(&reasoning.text);
            if !reasoning.signature.is_empty() {
                self.sign(index, &reasoning.signature, answer);
            }
            if !reasoning.redacted_content.is_empty() {
                answer.part(Part::RedactedThinking { data: reasoning.redacted_content.0.clone().into_owned() });
            }
        }
        if let Some(Input { input }) = &delta.tool_use
            && !input.is_empty()
        {
            match (&mut self.json, self.pending.iter_mut().find(|pending| pending.index == index)) {
                (Some((json, begun)), _) if *json == index => {
                    *begun = true;
                    answer.text(input);
                }
                (_, Some(pending)) => pending.input.push_str(input),
                (_, None) => answer.tool_arguments(ToolSlot::Index(index), input),
            }
        }
        if delta.tool_result.is_some() || delta.image.is_some() {
            self.grow(index, delta);
        }
    }

    /// A piece of what is passed through: more content of a tool's result, or a picture.
    fn grow(&mut self, index: u64, delta: &Delta<'_>) {
        let Some(pending) = self.pending.iter_mut().find(|pending| pending.index == index) else { return };
        if let Some(more) = &delta.tool_result
            && let Some(result) = pending.block.get_mut("toolResult").and_then(Value::as_object_mut)
            && let Some(content) = result.entry("content").or_insert_with(|| json!([])).as_array_mut()
        {
            content.extend(more.iter().cloned());
        }
        if let Some(more) = &delta.image
            && let Some(image) = pending.block.get_mut("image").and_then(Value::as_object_mut)
        {
            image.extend(more.clone());
        }
    }

    /// A signature belongs to the thinking of its own block, which may be hidden: then it must not go to an earlier one.
    fn sign(&mut self, index: u64, signature: &str, answer: &mut Assembly) {
        let earlier = matches!(answer.so_far().parts.last(), Some(Part::Thinking { signature: Some(_), .. }));
        if earlier && self.signed != Some(index) {
            own_signature(answer, signature);
        } else {
            answer.signature(signature);
        }
        self.signed = Some(index);
    }

    /// Ends the block of that index, or all of them.
    fn close(&mut self, index: Option<u64>, answer: &mut Assembly) {
        let is_over = |block: u64| index.is_none_or(|index| index == block);
        if let Some((block, start)) = self.text
            && self.cited == Some(block)
            && is_over(block)
        {
            self.cited = None;
            answer.end_citations(start);
        }
        if let Some((json, begun)) = self.json
            && is_over(json)
        {
            self.json = None;
            if !begun {
                answer.text("{}");
            }
        }
        for Pending { mut block, input, .. } in self.pending.extract_if(.., |pending| is_over(pending.index)) {
            if let (Some(tool), Ok(input)) =
                (block.get_mut("toolUse").and_then(Value::as_object_mut), serde_json::from_str(&input))
            {
                tool.insert("input".to_owned(), input);
            }
            answer.part(Part::Raw(block));
        }
    }
}
