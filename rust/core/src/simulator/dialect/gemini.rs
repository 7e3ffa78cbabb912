//! Gemini: content generation and embeddings. Events end in CRLF, and a stream that is not SSE is one JSON array.

use bytes::BytesMut;
use serde_json::{Value, json};

use super::{
    super::{
        answer::{Answer, Bit, Events, Finish, Text, object, plain, quoted},
        ask::Ask,
        limits::Scarce,
        script::ToolCall,
    },
    Problem,
};

fn finish(answer: &Answer) -> &'static str {
    match answer.finish {
        // A function call ends with STOP too.
        Finish::Stop | Finish::Tools => "\"finishReason\":\"STOP\",",
        Finish::Length => "\"finishReason\":\"MAX_TOKENS\",",
    }
}

/// What stands before the parts.
const START: &str = "{\"candidates\":[{\"content\":{\"parts\":[";

/// What stands from behind the parts up to the count of the answer's tokens.
fn middle(answer: &Answer, finish: &str) -> String {
    let prompt = answer.prompt_tokens;
    let cached = match answer.cache.read {
        0 => String::new(),
        read => format!("\"cachedContentTokenCount\":{read},"),
    };
    format!(
        "],\"role\":\"model\"}},{finish}\"index\":0}}],\"usageMetadata\":{{\"promptTokenCount\":{prompt},{cached}\
         \"promptTokensDetails\":[{{\"modality\":\"TEXT\",\"tokenCount\":{prompt}}}],\"candidatesTokenCount\":"
    )
}

/// What stands behind the count of all tokens.
fn end(answer: &Answer) -> String {
    format!("}},\"modelVersion\":{},\"responseId\":\"{}\"}}", answer.model, answer.id)
}

/// The count of the thinking's tokens, with a comma before it; empty without any.
fn thoughts_count(answer: &Answer) -> String {
    match answer.thinking_tokens() {
        0 => String::new(),
        count => format!(",\"thoughtsTokenCount\":{count}"),
    }
}

/// A whole chunk, with the usage at the end of the answer.
fn last(answer: &Answer, parts: &str) -> String {
    let tokens = answer.answer_tokens();
    let (middle, end, total) =
        (middle(answer, finish(answer)), end(answer), answer.prompt_tokens + answer.completion_tokens());
    format!("{START}{parts}{middle}{tokens}{},\"totalTokenCount\":{total}{end}", thoughts_count(answer))
}

/// The calls; the first one carries the signature of the thinking before it.
fn calls(answer: &Answer) -> Vec<String> {
    let part = |(n, call): (usize, &ToolCall)| {
        let (name, arguments) = (quoted(&call.name), object(call));
        let signature = if n == 0 { signature(answer) } else { String::new() };
        format!("{{\"functionCall\":{{\"id\":\"{}{n}\",\"name\":{name},\"args\":{arguments}}}{signature}}}", answer.id)
    };
    answer.calls.iter().enumerate().map(part).collect()
}

/// The field of the thinking's signature, with a comma before it; empty without any.
fn signature(answer: &Answer) -> String {
    if answer.thinking.count() > 0 { format!(",\"thoughtSignature\":\"{}\"", answer.signature) } else { String::new() }
}

fn thought(text: &str) -> String {
    format!("{{\"text\":\"{text}\",\"thought\":true}}")
}

pub(super) fn unary(answer: &Answer, out: &mut BytesMut) {
    let mut parts = Vec::new();
    let all: String = answer.thoughts().collect();
    if !all.is_empty() {
        parts.push(thought(&all));
    }
    if let Some(text) = &answer.text {
        let mut part = BytesMut::from(&b"{\"text\":\""[..]);
        text.write_all(&mut part);
        part.extend_from_slice(b"\"");
        if answer.calls.is_empty() {
            part.extend_from_slice(signature(answer).as_bytes());
        }
        part.extend_from_slice(b"}");
        parts.push(String::from_utf8_lossy(&part).into_owned());
    }
    parts.extend(calls(answer));
    out.extend_from_slice(last(answer, &parts.join(",")).as_bytes());
    out.extend_from_slice(b"\n");
}

pub(super) fn stream(answer: &Answer, sse: bool) -> Events {
    let (open, close) = if sse { ("data: ", "\r\n\r\n") } else { (",\r\n", "") };
    let parts = if answer.calls.is_empty() {
        format!("{{\"text\":\"\"{}}}", signature(answer))
    } else {
        calls(answer).join(",")
    };
    let (middle, end, prompt) = (middle(answer, ""), end(answer), answer.prompt_tokens);
    // An array needs an opening item; SSE starts with the thinking or the text.
    let mut head = Vec::new();
    if !sse {
        head.push(format!("[{START}{{\"text\":\"\"}}{middle}0,\"totalTokenCount\":{prompt}{end}"));
    }
    let so_far = format!("{middle}0,\"totalTokenCount\":{prompt}{end}");
    head.extend(answer.thoughts().map(|piece| format!("{open}{START}{}{so_far}{close}", thought(&piece))));
    Events {
        head,
        before: format!("{open}{START}{{\"text\":\""),
        text: answer.text.clone().unwrap_or_else(|| Text::new("")),
        after: vec![
            Bit::Is(format!("\"}}{middle}")),
            Bit::Count(0),
            Bit::Is(",\"totalTokenCount\":".to_owned()),
            Bit::Count(prompt),
            Bit::Is(format!("{end}{close}")),
        ],
        tail: plain(vec![format!("{open}{}{}", last(answer, &parts), if sse { close } else { "]" })]),
    }
}

pub(super) fn embeddings(ask: &Ask<'_>, vectors: &[Vec<f32>], out: &mut Vec<u8>) {
    let open: &[u8] = if ask.single { b"{\"embedding\":" } else { b"{\"embeddings\":[" };
    out.extend_from_slice(open);
    for (n, vector) in vectors.iter().enumerate() {
        out.extend_from_slice(if n > 0 { b",{\"values\":" } else { b"{\"values\":" });
        crate::wire::body::write(out, vector);
        out.push(b'}');
    }
    let close: &[u8] = if ask.single { b"}\n" } else { b"]}\n" };
    out.extend_from_slice(close);
}

pub(super) fn error(problem: &Problem) -> String {
    let status = match problem.status {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        500 => "INTERNAL",
        501 => "UNIMPLEMENTED",
        503 | 529 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "UNKNOWN",
    };
    let mut details: Vec<Value> = Vec::new();
    if problem.status == 429 {
        let id = match problem.scarce {
            Some(Scarce::Tokens) => "GenerateContentInputTokensPerModelPerMinute",
            _ => "GenerateRequestsPerMinutePerProjectPerModel",
        };
        let id = problem.code.as_deref().unwrap_or(id);
        details.push(json!({"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": id}]}));
    } else if let Some(code) = &problem.code {
        details.push(json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": code}));
    }
    let mut message = problem.message.clone();
    if let Some(wait) = problem.wait {
        let seconds = wait.as_secs_f64();
        message = format!("{message} Please retry in {seconds}s.");
        details.push(json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{seconds}s")}));
    }
    let mut error = json!({"code": problem.status, "message": message, "status": status});
    if let (false, Some(error)) = (details.is_empty(), error.as_object_mut()) {
        error.insert("details".to_owned(), Value::from(details));
    }
    json!({"error": error}).to_string()
}
