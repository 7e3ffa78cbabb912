//! OpenAI: chat completions, embeddings, the list of models.

use std::fmt::Write as _;

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue};
use serde_json::json;

use super::{
    super::{
        answer::{Answer, Bit, Events, Finish, Text, plain, quoted},
        ask::Ask,
        embed,
        limits::{Meters, Scarce},
        script::ToolCall,
        times::GoDuration,
    },
    Problem, set,
};

fn finish(answer: &Answer) -> &'static str {
    match answer.finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::Tools => "tool_calls",
    }
}

fn usage(answer: &Answer) -> String {
    let (prompt, completion) = (answer.prompt_tokens, answer.completion_tokens());
    format!(
        "{{\"prompt_tokens\":{prompt},\"completion_tokens\":{completion},\"total_tokens\":{},\
         \"prompt_tokens_details\":{{\"cached_tokens\":{},\"audio_tokens\":0}},\
         \"completion_tokens_details\":{{\"reasoning_tokens\":{},\"audio_tokens\":0,\
         \"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}}}",
        prompt + completion,
        answer.cache.read,
        answer.thinking_tokens()
    )
}

pub(in super::super) fn call_id(answer: &Answer, n: usize) -> String {
    format!("call_{}{n}", answer.id)
}

fn call(answer: &Answer, n: usize, call: &ToolCall, arguments: &str) -> String {
    let (id, name, arguments) = (call_id(answer, n), quoted(&call.name), quoted(arguments));
    format!("\"id\":\"{id}\",\"type\":\"function\",\"function\":{{\"name\":{name},\"arguments\":{arguments}}}")
}

pub(super) fn unary(answer: &Answer, out: &mut BytesMut) {
    let Answer { id, created, model, .. } = answer;
    // Writing to memory cannot fail.
    let _ = write!(
        out,
        "{{\"id\":\"chatcmpl-{id}\",\"object\":\"chat.completion\",\"created\":{created},\"model\":{model},\
         \"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":"
    );
    match &answer.text {
        Some(text) => {
            out.extend_from_slice(b"\"");
            text.write_all(out);
            out.extend_from_slice(b"\"");
        }
        None => out.extend_from_slice(b"null"),
    }
    if answer.thinking.count() > 0 {
        out.extend_from_slice(b",\"reasoning_content\":\"");
        answer.thinking.write_all(out);
        out.extend_from_slice(b"\"");
    }
    if !answer.calls.is_empty() {
        let all = answer.calls.iter().enumerate();
        let calls: Vec<String> = all.map(|(n, c)| format!("{{{}}}", call(answer, n, c, &c.arguments))).collect();
        let _ = write!(out, ",\"tool_calls\":[{}]", calls.join(","));
    }
    let _ = write!(
        out,
        ",\"refusal\":null,\"annotations\":[]}},\"logprobs\":null,\"finish_reason\":\"{}\"}}],\"usage\":{},\
         \"service_tier\":\"default\",\"system_fingerprint\":\"fp_simulated\"}}",
        finish(answer),
        usage(answer)
    );
}

pub(super) fn stream(answer: &Answer, include_usage: bool) -> Events {
    let Answer { id, created, model, .. } = answer;
    let start = format!(
        "data: {{\"id\":\"chatcmpl-{id}\",\"object\":\"chat.completion.chunk\",\"created\":{created},\"model\":{model},\
         \"service_tier\":\"default\",\"system_fingerprint\":\"fp_simulated\",\"choices\":["
    );
    let no_usage = if include_usage { ",\"usage\":null" } else { "" };
    let chunk = |delta: &str, finish: &str| {
        format!(
            "{start}{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish}}}]{no_usage}}}\n\n"
        )
    };
    let content = if answer.text.is_some() { "\"\"" } else { "null" };
    let mut head = vec![chunk(&format!("{{\"role\":\"assistant\",\"content\":{content},\"refusal\":null}}"), "null")];
    for piece in answer.thoughts() {
        head.push(chunk(&format!("{{\"reasoning_content\":\"{piece}\"}}"), "null"));
    }
    let mut tail = Vec::new();
    for (n, one) in answer.calls.iter().enumerate() {
        tail.push(chunk(&format!("{{\"tool_calls\":[{{\"index\":{n},{}}}]}}", call(answer, n, one, "")), "null"));
        let mut arguments = BytesMut::new();
        let pieces = Text::new(&one.arguments);
        for piece in 0..pieces.count() {
            arguments.clear();
            pieces.write(piece, &mut arguments);
            let piece = String::from_utf8_lossy(&arguments);
            let delta = format!("{{\"tool_calls\":[{{\"index\":{n},\"function\":{{\"arguments\":\"{piece}\"}}}}]}}");
            tail.push(chunk(&delta, "null"));
        }
    }
    tail.push(chunk("{}", &format!("\"{}\"", finish(answer))));
    if include_usage {
        tail.push(format!("{start}],\"usage\":{}}}\n\n", usage(answer)));
    }
    tail.push("data: [DONE]\n\n".to_owned());
    Events {
        head,
        before: format!("{start}{{\"index\":0,\"delta\":{{\"content\":\""),
        text: answer.text.clone().unwrap_or_else(|| Text::new("")),
        after: vec![Bit::Is(format!("\"}},\"logprobs\":null,\"finish_reason\":null}}]{no_usage}}}\n\n"))],
        tail: plain(tail),
    }
}

pub(super) fn embeddings(ask: &Ask<'_>, vectors: &[Vec<f32>], tokens: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"object\":\"list\",\"data\":[");
    for (n, vector) in vectors.iter().enumerate() {
        let comma = if n > 0 { "," } else { "" };
        out.extend_from_slice(format!("{comma}{{\"object\":\"embedding\",\"index\":{n},\"embedding\":").as_bytes());
        if ask.base64 {
            crate::wire::body::write(out, &embed::base64(vector));
        } else {
            crate::wire::body::write(out, vector);
        }
        out.push(b'}');
    }
    let model = quoted(&ask.model);
    out.extend_from_slice(
        format!("],\"model\":{model},\"usage\":{{\"prompt_tokens\":{tokens},\"total_tokens\":{tokens}}}}}\n")
            .as_bytes(),
    );
}

pub(super) fn error(problem: &Problem) -> String {
    let (kind, code) = match (problem.status, problem.scarce) {
        (401, _) => ("invalid_request_error", Some("invalid_api_key")),
        (403, _) => ("invalid_request_error", Some("unsupported_country_region_territory")),
        (404, _) => ("invalid_request_error", Some("model_not_found")),
        (429, Some(Scarce::Tokens)) => ("tokens", Some("rate_limit_exceeded")),
        (429, _) => ("requests", Some("rate_limit_exceeded")),
        (500.., _) => ("server_error", None),
        _ => ("invalid_request_error", None),
    };
    let kind = match problem.code.as_deref() {
        Some(code @ "insufficient_quota") => code,
        _ => kind,
    };
    let code = problem.code.as_deref().or(code);
    json!({"error": {"message": problem.message, "type": kind, "param": problem.param, "code": code}}).to_string()
}

pub(super) fn headers(headers: &mut HeaderMap, id: &str, meters: &Meters) {
    set(headers, "x-request-id", format_args!("req_{id}"));
    set(headers, "openai-version", "2020-10-01");
    set(headers, "openai-organization", "simulated");
    set(headers, "openai-processing-ms", 1);
    let (requests, tokens) = (meters.requests, meters.tokens);
    headers.insert("x-ratelimit-limit-requests", HeaderValue::from(requests.limit));
    headers.insert("x-ratelimit-limit-tokens", HeaderValue::from(tokens.limit));
    headers.insert("x-ratelimit-remaining-requests", HeaderValue::from(requests.remaining));
    headers.insert("x-ratelimit-remaining-tokens", HeaderValue::from(tokens.remaining));
    set(headers, "x-ratelimit-reset-requests", GoDuration(requests.reset));
    set(headers, "x-ratelimit-reset-tokens", GoDuration(tokens.reset));
}
