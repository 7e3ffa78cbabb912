//! Anthropic: messages. Its JSON is padded with spaces here and there, as the real one is.

use std::{fmt::Write as _, time::SystemTime};

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue};
use serde_json::json;

use super::{
    super::{
        answer::{Answer, Bit, Events, Finish, Text, object, plain, quoted},
        limits::Meters,
        prompts::CacheCounts,
        script::ToolCall,
        times::Rfc3339,
    },
    Problem, set,
};

pub(super) const PING: &str = "event: ping\ndata: {\"type\": \"ping\"}\n\n";

fn stop_reason(answer: &Answer) -> &'static str {
    match answer.finish {
        Finish::Stop => "end_turn",
        Finish::Length => "max_tokens",
        Finish::Tools => "tool_use",
    }
}

/// The message up to its content, and from its stop reason on.
fn message(answer: &Answer, stop_reason: &str, output_tokens: u64) -> (String, String) {
    let Answer { id, model, prompt_tokens, cache, .. } = answer;
    let CacheCounts { read, write_5m, write_1h } = *cache;
    // Anthropic's count of input leaves out what was cached.
    let (written, input) = (write_5m + write_1h, prompt_tokens.saturating_sub(read + write_5m + write_1h));
    let thinking = answer.thinking_tokens().min(output_tokens);
    let details = if thinking > 0 {
        format!("\"output_tokens_details\":{{\"thinking_tokens\":{thinking}}},")
    } else {
        String::new()
    };
    (
        format!("{{\"model\":{model},\"id\":\"msg_{id}\",\"type\":\"message\",\"role\":\"assistant\",\"content\":["),
        format!(
            "],\"stop_reason\":{stop_reason},\"stop_sequence\":null,\"usage\":{{\"input_tokens\":{input},\
             \"cache_creation_input_tokens\":{written},\"cache_read_input_tokens\":{read},\
             \"cache_creation\":{{\"ephemeral_5m_input_tokens\":{write_5m},\"ephemeral_1h_input_tokens\":{write_1h}}},\
             \"output_tokens\":{output_tokens},{details}\"service_tier\":\"standard\"}}}}"
        ),
    )
}

fn tool_use(answer: &Answer, n: usize, call: &ToolCall, input: &str) -> String {
    let name = quoted(&call.name);
    format!("{{\"type\":\"tool_use\",\"id\":\"toolu_{}{n}\",\"name\":{name},\"input\":{input}}}", answer.id)
}

pub(super) fn unary(answer: &Answer, out: &mut BytesMut) {
    let (start, end) = message(answer, &quoted(stop_reason(answer)), answer.completion_tokens());
    out.extend_from_slice(start.as_bytes());
    let mut blocks = Vec::new();
    let whole = |text: &Text| {
        let mut inside = BytesMut::new();
        text.write_all(&mut inside);
        String::from_utf8_lossy(&inside).into_owned()
    };
    if answer.thinking.count() > 0 {
        let (thought, signature) = (whole(&answer.thinking), &answer.signature);
        blocks.push(format!("{{\"type\":\"thinking\",\"thinking\":\"{thought}\",\"signature\":\"{signature}\"}}"));
    }
    if let Some(text) = &answer.text {
        blocks.push(format!("{{\"type\":\"text\",\"text\":\"{}\"}}", whole(text)));
    }
    blocks.extend(answer.calls.iter().enumerate().map(|(n, call)| tool_use(answer, n, call, object(call))));
    out.extend_from_slice(blocks.join(",").as_bytes());
    out.extend_from_slice(end.as_bytes());
}

fn event(name: &str, rest: &str) -> String {
    format!("event: {name}\ndata: {{\"type\":\"{name}\"{rest}}}\n\n")
}

fn block_start(n: usize, block: &str) -> String {
    event("content_block_start", &format!(",\"index\":{n},\"content_block\":{block}   "))
}

fn block_delta(n: usize, kind: &str, field: &str, value: &str) -> String {
    let delta = format!("{{\"type\":\"{kind}\",\"{field}\":\"{value}\"}}");
    event("content_block_delta", &format!(",\"index\":{n},\"delta\":{delta}  "))
}

fn block_stop(n: usize) -> String {
    event("content_block_stop", &format!(",\"index\":{n}            "))
}

pub(super) fn stream(answer: &Answer) -> Events {
    let (start, end) = message(answer, "null", 1);
    let mut head = vec![event("message_start", &format!(",\"message\":{start}{end}     "))];
    let mut index = 0;
    if answer.thinking.count() > 0 {
        head.push(block_start(index, "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}"));
        head.extend(answer.thoughts().map(|piece| block_delta(index, "thinking_delta", "thinking", &piece)));
        head.push(block_delta(index, "signature_delta", "signature", &answer.signature));
        head.push(block_stop(index));
        index += 1;
    }
    let mut tail = Vec::new();
    let text_index = index;
    if answer.text.is_some() {
        head.push(block_start(index, "{\"type\":\"text\",\"text\":\"\"}"));
        tail.push(block_stop(index));
        index += 1;
    }
    head.push(PING.to_owned());
    for (n, call) in answer.calls.iter().enumerate() {
        let at = index + n;
        tail.push(block_start(at, &tool_use(answer, n, call, "{}")));
        // The first delta is empty, as Anthropic sends it.
        tail.push(block_delta(at, "input_json_delta", "partial_json", ""));
        let pieces = Text::new(object(call));
        let mut piece = BytesMut::new();
        for n in 0..pieces.count() {
            piece.clear();
            pieces.write(n, &mut piece);
            tail.push(block_delta(at, "input_json_delta", "partial_json", &String::from_utf8_lossy(&piece)));
        }
        tail.push(block_stop(at));
    }
    let (reason, tokens, thinking) = (stop_reason(answer), answer.completion_tokens(), answer.thinking_tokens());
    let details = if thinking > 0 {
        format!(",\"output_tokens_details\":{{\"thinking_tokens\":{thinking}}}")
    } else {
        String::new()
    };
    tail.push(event(
        "message_delta",
        &format!(
            ",\"delta\":{{\"stop_reason\":\"{reason}\",\"stop_sequence\":null}},\
             \"usage\":{{\"output_tokens\":{tokens}{details}}}"
        ),
    ));
    tail.push(event("message_stop", "          "));
    let mut before = String::new();
    let _ = write!(
        before,
        "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":{text_index},\
         \"delta\":{{\"type\":\"text_delta\",\"text\":\""
    );
    let text = answer.text.clone().unwrap_or_else(|| Text::new(""));
    Events { head, before, text, after: vec![Bit::Is("\"}    }\n\n".to_owned())], tail: plain(tail) }
}

pub(super) fn error(problem: &Problem, id: &str) -> String {
    let kind = match problem.status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        409 => "conflict_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 | 503 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    let kind = problem.code.as_deref().unwrap_or(kind);
    json!({"type": "error", "error": {"type": kind, "message": problem.message}, "request_id": format!("req_{id}")})
        .to_string()
}

pub(super) fn headers(headers: &mut HeaderMap, id: &str, meters: &Meters, now: SystemTime) {
    set(headers, "request-id", format_args!("req_{id}"));
    set(headers, "anthropic-organization-id", "00000000-0000-4000-8000-000000000000");
    let (requests, tokens) = (meters.requests, meters.tokens);
    headers.insert("anthropic-ratelimit-requests-limit", HeaderValue::from(requests.limit));
    headers.insert("anthropic-ratelimit-requests-remaining", HeaderValue::from(requests.remaining));
    set(headers, "anthropic-ratelimit-requests-reset", Rfc3339(now + requests.reset));
    headers.insert("anthropic-ratelimit-tokens-limit", HeaderValue::from(tokens.limit));
    headers.insert("anthropic-ratelimit-tokens-remaining", HeaderValue::from(tokens.remaining));
    set(headers, "anthropic-ratelimit-tokens-reset", Rfc3339(now + tokens.reset));
}
