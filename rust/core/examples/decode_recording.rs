//! Decodes recorded answers, to compare them with another reading of the same bytes.
//!
//! Takes JSON lines `{"wire", "status", "stream", "body"}` on standard input and prints one JSON line for each: text,
//! thinking, tool calls, usage and finish reason, or vectors, or the error. A stream is decoded whole and then again cut at
//! random places; `cuts_agree` says whether that made no difference, `complete` whether it ended as it should.

use std::io::{BufRead, Write};

use edgequake_core::{
    Error,
    model::{Assembly, Response},
    stream::Parser,
    wire::{Wire, openai::OpenAi},
};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Recording {
    wire: String,
    status: u16,
    stream: bool,
    body: String,
}

fn wire(name: &str) -> Result<Box<dyn Wire>, String> {
    match name {
        "openai.chat" | "openai.embeddings" => Ok(Box::new(OpenAi::default())),
        other => Err(format!("no decoder for the wire {other}")),
    }
}

/// Decodes a stream that comes in these pieces.
fn decode_stream<'a>(wire: &dyn Wire, pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Assembly, Error> {
    let (mut parser, mut decoder, mut answer) = (Parser::new(wire.framing()), wire.stream_decoder(), Assembly::new());
    for piece in pieces {
        parser.feed(piece, |frame| decoder.frame(frame, &mut answer))?;
    }
    parser.finish(|frame| decoder.frame(frame, &mut answer))?;
    Ok(answer)
}

/// The bytes in pieces of 1 to `longest` bytes.
fn cut<'a>(mut bytes: &'a [u8], longest: usize, random: &mut fastrand::Rng) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(random.usize(1..=longest).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

fn shown(response: &Response) -> Value {
    let calls = response.tool_calls().map(|call| json!({"name": call.name, "arguments": call.arguments}));
    json!({
        "text": response.text(),
        "thinking": response.thinking(),
        "refusal": response.refusal(),
        "tool_calls": calls.collect::<Vec<_>>(),
        "finish_reason": response.finish_reason.as_ref().map(|reason| reason.as_str()),
        "usage": response.usage.map(|usage| json!({
            "prompt_tokens": usage.prompt_tokens(),
            "completion_tokens": usage.completion_tokens(),
            "cached_tokens": usage.cache_read,
            "reasoning_tokens": usage.reasoning,
        })),
    })
}

/// The object with one more field.
fn with(mut object: Value, key: &str, value: bool) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(key.to_owned(), value.into());
    }
    object
}

fn failed(error: &Error) -> Value {
    json!({"error": {"kind": format!("{:?}", error.kind()), "message": error.message(), "code": error.code()}})
}

fn decode(recording: &Recording, random: &mut fastrand::Rng) -> Result<Value, String> {
    let wire = wire(&recording.wire)?;
    let body = recording.body.as_bytes();
    if recording.status != 200 {
        return Ok(failed(&wire.decode_error(recording.status, &HeaderMap::new(), body)));
    }
    if recording.wire.ends_with("embeddings") {
        let count = serde_json::from_slice::<Value>(body).ok();
        let count = count.and_then(|body| body.get("data").and_then(Value::as_array).map(Vec::len)).unwrap_or(0);
        return Ok(match wire.decode_embed(body, count) {
            Ok(vectors) => json!({"vectors": vectors.values.chunks(vectors.dims.max(1)).collect::<Vec<_>>()}),
            Err(error) => failed(&error),
        });
    }
    if !recording.stream {
        return Ok(wire.decode_chat(body).map_or_else(|error| failed(&error), |response| shown(&response)));
    }
    let show = |result: Result<Assembly, Error>| match result {
        Ok(answer) => {
            let complete = answer.is_complete();
            with(shown(&answer.into_response()), "complete", complete)
        }
        Err(error) => failed(&error),
    };
    let whole = show(decode_stream(&*wire, [body]));
    let mut agrees = |longest| show(decode_stream(&*wire, cut(body, longest, random))) == whole;
    let all_agree = [1, 3, 50, 700, 5_000].into_iter().all(&mut agrees);
    Ok(with(whole, "cuts_agree", all_agree))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let recording: Recording = serde_json::from_str(&line?)?;
        writeln!(out, "{}", decode(&recording, &mut random)?)?;
    }
    Ok(out.flush()?)
}
