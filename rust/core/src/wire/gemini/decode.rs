//! Gemini's answers. A stream's chunks have the shape of a whole answer, so both are read alike.
//!
//! Parts without a common form (code that Gemini runs, its results, …) become [`Part::Raw`]. A signature on a text or
//! picture becomes a [`Part::Thinking`] without text before it; one on an empty text becomes one where it stands.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, value::RawValue};

use super::{NAME, error};
use crate::{
    error::Error,
    model::{Assembly, Citation, FinishReason, Media, Part, Response, ToolSlot, Usage},
    stream::Frame,
    wire::{
        StreamDecoder,
        body::malformed,
        common::own_signature,
        lenient::{Count, Text, arguments, parse},
    },
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk<'a> {
    #[serde(borrow, default)]
    response_id: Text<'a>,
    #[serde(borrow, default)]
    model_version: Text<'a>,
    #[serde(borrow)]
    candidates: Option<Vec<Candidate<'a>>>,
    #[serde(borrow)]
    prompt_feedback: Option<Feedback<'a>>,
    #[serde(rename = "usageMetadata")]
    usage: Option<Tokens>,
    error: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    #[serde(borrow)]
    content: Option<Content<'a>>,
    #[serde(borrow, default)]
    finish_reason: Text<'a>,
    #[serde(default)]
    index: Count,
    #[serde(borrow)]
    grounding_metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    citation_metadata: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
struct Content<'a> {
    #[serde(borrow)]
    parts: Option<Vec<Piece<'a>>>,
}

/// A part, with the fields of the kinds that have a common form.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Piece<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    thought: Option<bool>,
    #[serde(borrow, default)]
    thought_signature: Text<'a>,
    #[serde(borrow)]
    function_call: Option<Call<'a>>,
    #[serde(borrow)]
    inline_data: Option<Blob<'a>>,
}

#[derive(Debug, Deserialize)]
struct Call<'a> {
    #[serde(borrow, default)]
    id: Text<'a>,
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Blob<'a> {
    #[serde(borrow, default)]
    mime_type: Text<'a>,
    #[serde(borrow, default)]
    data: Text<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback<'a> {
    #[serde(borrow, default)]
    block_reason: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Tokens {
    prompt_token_count: Count,
    cached_content_token_count: Count,
    candidates_token_count: Count,
    thoughts_token_count: Count,
    tool_use_prompt_token_count: Count,
}

impl Tokens {
    /// Gemini's prompt holds the cached tokens, but not what its own tools added; its candidates leave the thoughts out.
    /// `None` if it counts nothing: Vertex AI's chunks do so until the last one.
    fn usage(&self) -> Option<Usage> {
        self.prompt_token_count.or(self.candidates_token_count).or(self.thoughts_token_count).0?;
        let prompt = self.prompt_token_count.get();
        let cached = self.cached_content_token_count.get().min(prompt);
        Some(Usage {
            input: prompt - cached + self.tool_use_prompt_token_count.get(),
            cache_read: cached,
            output: self.candidates_token_count.get(),
            reasoning: self.thoughts_token_count.get(),
            ..Usage::default()
        })
    }
}

/// Decodes a whole answer.
pub(super) fn answer(body: &[u8]) -> Result<Response, Error> {
    let mut answer = Assembly::new();
    let Some(reason) = read(body, "the answer", &mut answer)? else {
        return Err(malformed(NAME, "the answer has no candidates", body));
    };
    finish(&reason, &mut answer);
    Ok(answer.into_response())
}

/// Decodes a stream, which needs no memory of earlier chunks.
#[derive(Debug)]
pub(super) struct Stream;

impl StreamDecoder for Stream {
    fn frame(&mut self, frame: Frame<'_>, answer: &mut Assembly) -> Result<(), Error> {
        if frame.data.trim_ascii().is_empty() {
            return Ok(());
        }
        let reason = read(frame.data, "a stream chunk", answer)?.unwrap_or_default();
        // A model that runs code says `STOP` before the code's result as well; that is not the end.
        let last = answer.so_far().parts.last();
        let runs_code = matches!(last, Some(Part::Raw(part)) if part.get("executableCode").is_some());
        if *reason != *"STOP" || !runs_code {
            finish(&reason, answer);
        }
        Ok(())
    }
}

/// Adds what is in a chunk and hands back why the model stopped, if it has; `None` if the chunk holds no answer at all.
fn read<'a>(data: &'a [u8], what: &str, answer: &mut Assembly) -> Result<Option<Text<'a>>, Error> {
    let chunk: Chunk<'a> = match parse(NAME, what, data) {
        Ok(chunk) => chunk,
        Err(fault) => return Err(listed_error(data).unwrap_or(fault)),
    };
    if chunk.error.is_some() {
        return Err(error(data, None));
    }
    answer.meta(&chunk.response_id, &chunk.model_version);
    if let Some(usage) = chunk.usage.and_then(|tokens| tokens.usage()) {
        answer.usage(usage);
    }
    let first = (0..).zip(chunk.candidates.unwrap_or_default()).find(|(_, candidate)| candidate.index.get() == 0);
    if let Some((at, candidate)) = first {
        for (n, piece) in candidate.content.and_then(|content| content.parts).iter().flatten().enumerate() {
            if !add(piece, answer) {
                raw_part(data, at, n, answer);
            }
        }
        if let Some(raw) = candidate.grounding_metadata {
            grounded(raw, answer);
        }
        if let Some(raw) = candidate.citation_metadata {
            cited(raw, answer);
        }
        return Ok(Some(candidate.finish_reason));
    }
    let blocked = chunk.prompt_feedback.map(|feedback| feedback.block_reason).filter(|reason| !reason.is_empty());
    Ok(blocked.map(|reason| match FinishReason::parse(&reason) {
        FinishReason::ContentFilter => reason,
        _ => Text("content_filter".into()),
    }))
}

/// Adds the sources that a search found, each where it supports the text. Gemini counts in bytes.
#[cold]
fn grounded(raw: &RawValue, answer: &mut Assembly) {
    let Ok(metadata) = serde_json::from_str::<Value>(raw.get()) else { return };
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let chunks = list(&metadata, "groundingChunks");
    let text = answer.so_far().text();
    for support in list(&metadata, "groundingSupports") {
        let segment = support.get("segment").cloned().unwrap_or_default();
        let (start, end) = (place(&segment, "startIndex", &text, 0), place(&segment, "endIndex", &text, text.len()));
        for index in list(&support, "groundingChunkIndices") {
            let chunk = index.as_u64().and_then(|n| chunks.get(usize::try_from(n).ok()?));
            let Some(source) = chunk.and_then(|chunk| chunk.as_object()?.values().next()) else { continue };
            answer.citation(Citation::read(source, start, end));
        }
    }
}

/// Adds the sources that the text repeats.
#[cold]
fn cited(raw: &RawValue, answer: &mut Assembly) {
    let Ok(metadata) = serde_json::from_str::<Value>(raw.get()) else { return };
    let sources = metadata.get("citationSources").or_else(|| metadata.get("citations")).and_then(Value::as_array);
    let text = answer.so_far().text();
    for source in sources.into_iter().flatten() {
        let (start, end) = (place(source, "startIndex", &text, 0), place(source, "endIndex", &text, text.len()));
        answer.citation(Citation::read(source, start, end));
    }
}

/// A place given in bytes, in characters.
fn place(value: &Value, key: &str, text: &str, otherwise: usize) -> usize {
    let given = value.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    let at = given.unwrap_or(otherwise).min(text.len());
    text.char_indices().take_while(|(byte, _)| *byte < at).count()
}

/// Adds a part; `false` if it has no common form.
fn add(piece: &Piece<'_>, answer: &mut Assembly) -> bool {
    let signature = &*piece.thought_signature;
    if let Some(call) = &piece.function_call {
        let signature = Some(signature).filter(|signature| !signature.is_empty());
        answer.tool_start(ToolSlot::Last, &call.id, &call.name, signature);
        answer.tool_arguments(ToolSlot::Last, &arguments(call.args));
    } else if let Some(blob) = &piece.inline_data {
        own_signature(answer, signature);
        answer.part(media(blob));
    } else if let Some(text) = &piece.text {
        if piece.thought == Some(true) && !text.is_empty() {
            answer.thinking(text);
            answer.signature(signature);
        } else {
            own_signature(answer, signature);
            answer.text(text);
        }
    } else {
        return false;
    }
    true
}

fn media(blob: &Blob<'_>) -> Part {
    let media_type = blob.mime_type.to_string();
    let (kind, _) = media_type.split_once('/').unwrap_or_default();
    let (image, audio) = (kind == "image", kind == "audio");
    let media = Media::Base64 { media_type, data: blob.data.to_string() };
    match (image, audio) {
        (true, _) => Part::Image { media, detail: None },
        (_, true) => Part::Audio { media },
        _ => Part::Document { media, name: None },
    }
}

/// Adds a part as it came. Rare, so the chunk is read once more for it.
#[cold]
fn raw_part(data: &[u8], candidate: usize, part: usize, answer: &mut Assembly) {
    let Ok(chunk) = serde_json::from_slice::<Value>(data) else { return };
    let Some(part) = chunk.pointer(&format!("/candidates/{candidate}/content/parts/{part}")) else { return };
    match part.as_object() {
        Some(fields) if fields.keys().all(|key| key == "thought" || key == "thoughtSignature") => {
            own_signature(answer, fields.get("thoughtSignature").and_then(Value::as_str).unwrap_or_default());
        }
        _ => answer.part(Part::Raw(part.clone())),
    }
}

/// Notes why the model stopped.
fn finish(reason: &str, answer: &mut Assembly) {
    // Some proxies send the number that the enumeration has in protobuf.
    answer.finish(match reason {
        "0" | "FINISH_REASON_UNSPECIFIED" => "",
        "1" => "STOP",
        "2" => "MAX_TOKENS",
        "3" => "SAFETY",
        "4" => "RECITATION",
        "5" => "OTHER",
        "6" => "BLOCKLIST",
        "7" => "PROHIBITED_CONTENT",
        "8" => "SPII",
        "9" => "MALFORMED_FUNCTION_CALL",
        other => other,
    });
}

/// Errors may come as a list of one.
#[cold]
fn listed_error(data: &[u8]) -> Option<Error> {
    let list: Vec<Value> = serde_json::from_slice(data).ok()?;
    list.first()?.get("error").is_some().then(|| error(data, None))
}
