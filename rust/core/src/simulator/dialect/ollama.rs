//! Ollama: chat as NDJSON, and embeddings.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime},
};

use bytes::BytesMut;
use serde_json::json;

use super::{
    super::{
        answer::{Answer, Bit, Events, Finish, Text, object, plain, quoted},
        ask::Ask,
        script::ToolCall,
        times::Rfc3339,
    },
    Problem,
};

/// What stands before the message's text.
fn start(answer: &Answer) -> String {
    let created = Rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(answer.created));
    format!(
        "{{\"model\":{},\"created_at\":\"{created}\",\"message\":{{\"role\":\"assistant\",\"content\":\"",
        answer.model
    )
}

/// What stands behind the message at the end of the answer.
fn end(answer: &Answer) -> String {
    let reason = if answer.finish == Finish::Length { "length" } else { "stop" };
    let (prompt, completion) = (answer.prompt_tokens, answer.completion_tokens());
    let (prompt_ns, completion_ns) = (prompt * 100_000, completion * 10_000_000);
    format!(
        "}},\"done\":true,\"done_reason\":\"{reason}\",\"total_duration\":{},\"load_duration\":1000000,\
         \"prompt_eval_count\":{prompt},\"prompt_eval_duration\":{prompt_ns},\"eval_count\":{completion},\
         \"eval_duration\":{completion_ns}}}\n",
        1_000_000 + prompt_ns + completion_ns
    )
}

/// The message's field of calls, with a comma before it; empty without any.
fn calls(answer: &Answer) -> String {
    let one = |(n, call): (usize, &ToolCall)| {
        let (name, arguments) = (quoted(&call.name), object(call));
        format!(
            "{{\"id\":\"call_{}{n}\",\"function\":{{\"index\":{n},\"name\":{name},\"arguments\":{arguments}}}}}",
            answer.id
        )
    };
    let all: Vec<String> = answer.calls.iter().enumerate().map(one).collect();
    if all.is_empty() { String::new() } else { format!(",\"tool_calls\":[{}]", all.join(",")) }
}

pub(super) fn unary(answer: &Answer, out: &mut BytesMut) {
    out.extend_from_slice(start(answer).as_bytes());
    if let Some(text) = &answer.text {
        text.write_all(out);
    }
    let thinking: String = answer.thoughts().collect();
    let thinking = if thinking.is_empty() { thinking } else { format!(",\"thinking\":\"{thinking}\"") };
    // Writing to memory cannot fail.
    let _ = write!(out, "\"{thinking}{}{}", calls(answer), end(answer));
}

pub(super) fn stream(answer: &Answer) -> Events {
    let (start, calls) = (start(answer), calls(answer));
    let thoughts = answer.thoughts();
    let head = thoughts.map(|piece| format!("{start}\",\"thinking\":\"{piece}\"}},\"done\":false}}\n")).collect();
    let mut tail = if calls.is_empty() { Vec::new() } else { vec![format!("{start}\"{calls}}},\"done\":false}}\n")] };
    tail.push(format!("{start}\"{}", end(answer)));
    Events {
        head,
        text: answer.text.clone().unwrap_or_else(|| Text::new("")),
        after: vec![Bit::Is("\"},\"done\":false}\n".to_owned())],
        tail: plain(tail),
        before: start,
    }
}

pub(super) fn embeddings(ask: &Ask<'_>, vectors: &[Vec<f32>], tokens: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{{\"model\":{},\"embeddings\":", quoted(&ask.model)).as_bytes());
    crate::wire::body::write(out, vectors);
    out.extend_from_slice(
        format!(",\"total_duration\":1000000,\"load_duration\":1000,\"prompt_eval_count\":{tokens}}}\n").as_bytes(),
    );
}

pub(super) fn error(problem: &Problem) -> String {
    json!({"error": problem.message}).to_string()
}
