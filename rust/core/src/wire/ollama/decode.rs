//! Ollama's answers. A whole answer has the shape of a stream's line, so both are read alike.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{NAME, error};
use crate::{
    error::Error,
    model::{Assembly, Response, ToolSlot, Usage},
    stream::Frame,
    wire::{
        StreamDecoder,
        body::malformed,
        lenient::{Count, Text, arguments, parse},
    },
};

#[derive(Debug, Deserialize)]
struct Line<'a> {
    #[serde(borrow, default)]
    model: Text<'a>,
    #[serde(borrow)]
    message: Option<Message<'a>>,
    #[serde(default)]
    done: bool,
    #[serde(borrow, default)]
    done_reason: Text<'a>,
    #[serde(default)]
    prompt_eval_count: Count,
    #[serde(default)]
    eval_count: Count,
    error: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    content: Text<'a>,
    #[serde(borrow, default)]
    thinking: Text<'a>,
    #[serde(borrow)]
    tool_calls: Option<Vec<Call<'a>>>,
}

#[derive(Debug, Deserialize)]
struct Call<'a> {
    #[serde(borrow, default)]
    id: Text<'a>,
    #[serde(borrow)]
    function: Function<'a>,
}

#[derive(Debug, Deserialize)]
struct Function<'a> {
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

/// Decodes a whole answer.
pub(super) fn answer(body: &[u8]) -> Result<Response, Error> {
    let mut answer = Assembly::new();
    if !read(body, "the answer", &mut answer)? {
        return Err(malformed(NAME, "the answer has no message", body));
    }
    Ok(answer.into_response())
}

/// Decodes a stream, which needs no memory of earlier lines.
#[derive(Debug)]
pub(super) struct Stream;

impl StreamDecoder for Stream {
    fn frame(&mut self, frame: Frame<'_>, answer: &mut Assembly) -> Result<(), Error> {
        if !frame.data.trim_ascii().is_empty() {
            read(frame.data, "a stream line", answer)?;
        }
        Ok(())
    }
}

/// Adds what is in a line; says whether there is a message in it.
fn read(data: &[u8], what: &str, answer: &mut Assembly) -> Result<bool, Error> {
    let line: Line<'_> = parse(NAME, what, data)?;
    if line.error.is_some() {
        return Err(error(data, None));
    }
    answer.meta("", &line.model);
    if let Some(message) = &line.message {
        answer.thinking(&message.thinking);
        answer.text(&message.content);
        for call in message.tool_calls.iter().flatten() {
            answer.tool_start(ToolSlot::Last, &call.id, &call.function.name, None);
            answer.tool_arguments(ToolSlot::Last, &arguments(call.function.arguments));
        }
    }
    if line.done {
        // A prompt that was in the cache whole has no count.
        if line.prompt_eval_count.or(line.eval_count).0.is_some() {
            let (input, output) = (line.prompt_eval_count.get(), line.eval_count.get());
            answer.usage(Usage { input, output, ..Usage::default() });
        }
        answer.finish(if line.done_reason.is_empty() { "stop" } else { &line.done_reason });
        answer.end();
    }
    Ok(line.message.is_some())
}
