//! Anthropic: messages. Its JSON is padded with spaces here and there, as the real one is.

use std::{fmt::Write as _, time::SystemTime};

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue};
use serde_json::json;

use super::{
    super::{
        answer::{Answer, Bit, Events, Finish, Text, object, quoted},
        limits::Meters,
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
    let Answer { id, model, prompt_tokens, .. } = answer;
    (
        format!("{{\"model\":{model},\"id\":\"msg_{id}\",\"type\":\"message\",\"role\":\"assistant\",\"content\":["),
        format!(
            "],\"stop_reason\":{stop_reason},\"stop_sequence\":null,\"usage\":{{\"input_tokens\":{prompt_tokens},\
             \"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\
             \"cache_creation\":{{\"ephemeral_5m_input_tokens\":0,\"ephemeral_1h_input_tokens\":0}},\
             \"output_tokens\":{output_tokens},\"service_tier\":\"standard\"}}}}"
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
    match answer.parts() {
        (Some(text), _) => {
            out.extend_from_slice(b"{\"type\":\"text\",\"text\":\"");
            text.write_all(out);
            out.extend_from_slice(b"\"}");
        }
        (None, calls) => {
            let blocks: Vec<String> =
                calls.iter().enumerate().map(|(n, call)| tool_use(answer, n, call, object(call))).collect();
            out.extend_from_slice(blocks.join(",").as_bytes());
        }
    }
    out.extend_from_slice(end.as_bytes());
}

pub(super) fn stream(answer: &Answer) -> Events {
    let event = |name: &str, rest: &str| format!("event: {name}\ndata: {{\"type\":\"{name}\"{rest}}}\n\n");
    let (start, end) = message(answer, "null", 1);
    let mut head = vec![event("message_start", &format!(",\"message\":{start}{end}     "))];
    let block_start =
        |n: usize, block: &str| event("content_block_start", &format!(",\"index\":{n},\"content_block\":{block}   "));
    let block_stop = |n: usize| event("content_block_stop", &format!(",\"index\":{n}            "));
    let (text, calls) = answer.parts();
    let mut tail = Vec::new();
    if text.is_some() {
        head.push(block_start(0, "{\"type\":\"text\",\"text\":\"\"}"));
        tail.push(block_stop(0));
    }
    head.push(PING.to_owned());
    for (n, call) in calls.iter().enumerate() {
        head.push(block_start(n, &tool_use(answer, n, call, "{}")));
        let pieces = Text::new(object(call));
        let mut piece = BytesMut::new();
        for at in 0..=pieces.count() {
            // The first delta is empty, as Anthropic sends it.
            piece.clear();
            if let Some(at) = at.checked_sub(1) {
                pieces.write(at, &mut piece);
            }
            let json = String::from_utf8_lossy(&piece);
            let delta = format!("{{\"type\":\"input_json_delta\",\"partial_json\":\"{json}\"}}");
            head.push(event("content_block_delta", &format!(",\"index\":{n},\"delta\":{delta}  ")));
        }
        head.push(block_stop(n));
    }
    let (reason, tokens) = (stop_reason(answer), answer.completion_tokens());
    tail.push(event(
        "message_delta",
        &format!(
            ",\"delta\":{{\"stop_reason\":\"{reason}\",\"stop_sequence\":null}},\"usage\":{{\"output_tokens\":{tokens}}}"
        ),
    ));
    tail.push(event("message_stop", "          "));
    let mut before = String::new();
    let _ = write!(
        before,
        "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\
         \"delta\":{{\"type\":\"text_delta\",\"text\":\""
    );
    let text = text.cloned().unwrap_or_else(|| Text::new(""));
    Events { head, before, text, after: vec![Bit::Is("\"}    }\n\n".to_owned())], tail }
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
