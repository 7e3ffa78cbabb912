//! OpenAI: the Responses API. Its streams number their events, and tell everything again when it is whole.

use bytes::BytesMut;
use serde_json::json;

use super::{
    super::{
        answer::{Answer, Bit, Events, Finish, Text, quoted, write_bits},
        ask::Ask,
        script::ToolCall,
    },
    Problem,
    openai::{self, call_id},
};

fn is(text: impl Into<String>) -> Bit {
    Bit::Is(text.into())
}

fn whole(text: &Text) -> String {
    let mut inside = BytesMut::new();
    text.write_all(&mut inside);
    String::from_utf8_lossy(&inside).into_owned()
}

/// How an answer, or its text, ended.
fn status(answer: &Answer) -> &'static str {
    if answer.finish == Finish::Length { "incomplete" } else { "completed" }
}

fn usage(answer: &Answer) -> String {
    let (input, output) = (answer.prompt_tokens, answer.completion_tokens());
    format!(
        "{{\"input_tokens\":{input},\"input_tokens_details\":{{\"cache_write_tokens\":0,\"cached_tokens\":{}}},\
         \"output_tokens\":{output},\"output_tokens_details\":{{\"reasoning_tokens\":{}}},\"total_tokens\":{}}}",
        answer.cache.read,
        answer.thinking_tokens(),
        input + output
    )
}

/// The whole answer with so much of its output, or one that has just begun.
fn response(answer: &Answer, ask: &Ask<'_>, status: &str, output: Vec<Bit>) -> Vec<Bit> {
    let Answer { id, created, model, .. } = answer;
    let ended = status != "in_progress";
    let details = if status == "incomplete" { "{\"reason\":\"max_output_tokens\"}" } else { "null" };
    let completed = if status == "completed" { created.to_string() } else { "null".to_owned() };
    let usage = if ended { usage(answer) } else { "null".to_owned() };
    let tier = if ended { "default" } else { "auto" };
    let repeated = ask.respond.as_ref().map_or("", |asked| asked.repeated.as_str());
    let start = format!(
        "{{\"id\":\"resp_{id}\",\"object\":\"response\",\"created_at\":{created},\"completed_at\":{completed},\
         \"status\":\"{status}\",\"error\":null,\"incomplete_details\":{details},\"model\":{model},{repeated},\
         \"service_tier\":\"{tier}\",\"output\":["
    );
    let mut bits = vec![is(start)];
    bits.extend(output);
    bits.push(is(format!("],\"usage\":{usage}}}")));
    bits
}

/// One part of a thinking's summary.
fn summary_part(text: &str) -> String {
    format!("{{\"type\":\"summary_text\",\"text\":\"{text}\"}}")
}

fn reasoning(answer: &Answer, ask: &Ask<'_>, summary: &str) -> String {
    let encrypted = if ask.respond.as_ref().is_some_and(|asked| asked.encrypted) {
        format!(",\"encrypted_content\":\"{}\"", answer.signature)
    } else {
        String::new()
    };
    let id = &answer.id;
    format!("{{\"id\":\"rs_{id}\",\"type\":\"reasoning\"{encrypted},\"content\":[],\"summary\":[{summary}]}}")
}

fn text_part() -> [Bit; 3] {
    [is("{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":\""), Bit::Text, is("\"}")]
}

fn message(answer: &Answer, status: &str, content: impl IntoIterator<Item = Bit>) -> Vec<Bit> {
    let id = &answer.id;
    let start = format!("{{\"id\":\"msg_{id}\",\"type\":\"message\",\"status\":\"{status}\",\"content\":[");
    let mut bits = vec![is(start)];
    bits.extend(content);
    bits.push(is("],\"role\":\"assistant\"}"));
    bits
}

fn call(answer: &Answer, n: usize, call: &ToolCall, status: &str, arguments: &str) -> String {
    let (id, call_id, name, arguments) = (&answer.id, call_id(answer, n), quoted(&call.name), quoted(arguments));
    format!(
        "{{\"id\":\"fc_{id}{n}\",\"type\":\"function_call\",\"status\":\"{status}\",\"arguments\":{arguments},\
         \"call_id\":\"{call_id}\",\"name\":{name}}}"
    )
}

/// All items of the output.
fn output(answer: &Answer, ask: &Ask<'_>) -> Vec<Bit> {
    let mut items = Vec::new();
    if answer.thinking.count() > 0 {
        let summary = if answer.secret { String::new() } else { summary_part(&whole(&answer.thinking)) };
        items.push(vec![is(reasoning(answer, ask, &summary))]);
    }
    if answer.text.is_some() {
        items.push(message(answer, status(answer), text_part()));
    }
    let calls = answer.calls.iter().enumerate();
    items.extend(calls.map(|(n, one)| vec![is(call(answer, n, one, "completed", &one.arguments))]));
    items.join(&is(","))
}

pub(super) fn unary(answer: &Answer, ask: &Ask<'_>, out: &mut BytesMut) {
    let text = answer.text.clone().unwrap_or_else(|| Text::new(""));
    write_bits(&response(answer, ask, status(answer), output(answer, ask)), &text, text.count(), out);
}

/// The numbers of events.
struct Numbers(u64);

impl Numbers {
    /// An event up to its own fields; they end with `}\n\n`.
    fn start(&mut self, kind: &str) -> String {
        let number = self.0;
        self.0 += 1;
        format!("event: {kind}\ndata: {{\"type\":\"{kind}\",\"sequence_number\":{number},")
    }

    fn event(&mut self, kind: &str, fields: &str) -> String {
        format!("{}{fields}}}\n\n", self.start(kind))
    }

    /// An event with a field that may hold the text.
    fn around(&mut self, kind: &str, before: &str, value: impl IntoIterator<Item = Bit>) -> Vec<Bit> {
        let mut bits = vec![is(format!("{}{before}", self.start(kind)))];
        bits.extend(value);
        bits.push(is("}\n\n"));
        bits
    }
}

/// The thinking, as item 0.
fn think(answer: &Answer, ask: &Ask<'_>, numbers: &mut Numbers, head: &mut Vec<String>) {
    let at = format!("\"item_id\":\"rs_{}\",\"output_index\":0,\"summary_index\":0,", answer.id);
    let item = reasoning(answer, ask, "");
    head.push(numbers.event("response.output_item.added", &format!("\"output_index\":0,\"item\":{item}")));
    let mut summary = String::new();
    if !answer.secret {
        let begun = format!("{at}\"part\":{}", summary_part(""));
        head.push(numbers.event("response.reasoning_summary_part.added", &begun));
        for piece in answer.thoughts() {
            let delta = format!("{at}\"delta\":\"{piece}\"");
            head.push(numbers.event("response.reasoning_summary_text.delta", &delta));
        }
        let thought = whole(&answer.thinking);
        let done = format!("{at}\"text\":\"{thought}\"");
        head.push(numbers.event("response.reasoning_summary_text.done", &done));
        summary = summary_part(&thought);
        head.push(numbers.event("response.reasoning_summary_part.done", &format!("{at}\"part\":{summary}")));
    }
    let item = reasoning(answer, ask, &summary);
    head.push(numbers.event("response.output_item.done", &format!("\"output_index\":0,\"item\":{item}")));
}

/// What closes the text.
fn close(answer: &Answer, index: usize, numbers: &mut Numbers) -> [Vec<Bit>; 3] {
    let at = format!("\"item_id\":\"msg_{}\",\"output_index\":{index},\"content_index\":0,", answer.id);
    let item = message(answer, status(answer), text_part());
    [
        numbers.around("response.output_text.done", &format!("{at}\"logprobs\":[],\"text\":\""), [Bit::Text, is("\"")]),
        numbers.around("response.content_part.done", &format!("{at}\"part\":"), text_part()),
        numbers.around("response.output_item.done", &format!("\"output_index\":{index},\"item\":"), item),
    ]
}

/// One function call.
fn tell_call(answer: &Answer, n: usize, one: &ToolCall, index: usize, numbers: &mut Numbers) -> Vec<String> {
    let at = format!("\"item_id\":\"fc_{}{n}\",\"output_index\":{index},", answer.id);
    let item = call(answer, n, one, "in_progress", "");
    let added = format!("\"output_index\":{index},\"item\":{item}");
    let mut events = vec![numbers.event("response.output_item.added", &added)];
    let pieces = Text::new(&one.arguments);
    let mut piece = BytesMut::new();
    for n in 0..pieces.count() {
        piece.clear();
        pieces.write(n, &mut piece);
        let delta = format!("{at}\"delta\":\"{}\"", String::from_utf8_lossy(&piece));
        events.push(numbers.event("response.function_call_arguments.delta", &delta));
    }
    let done = format!("{at}\"arguments\":{}", quoted(&one.arguments));
    events.push(numbers.event("response.function_call_arguments.done", &done));
    let item = call(answer, n, one, "completed", &one.arguments);
    events.push(numbers.event("response.output_item.done", &format!("\"output_index\":{index},\"item\":{item}")));
    events
}

pub(super) fn stream(answer: &Answer, ask: &Ask<'_>) -> Events {
    let mut numbers = Numbers(0);
    let mut head = Vec::new();
    for kind in ["response.created", "response.in_progress"] {
        let begun: String = response(answer, ask, "in_progress", Vec::new()).iter().filter_map(fixed).collect();
        head.push(numbers.event(kind, &format!("\"response\":{begun}")));
    }
    let mut index = 0;
    if answer.thinking.count() > 0 {
        think(answer, ask, &mut numbers, &mut head);
        index += 1;
    }
    let text = answer.text.clone().unwrap_or_else(|| Text::new(""));
    let mut tail = Vec::new();
    let mut before = String::new();
    let mut after = Vec::new();
    if answer.text.is_some() {
        let item: String = message(answer, "in_progress", []).iter().filter_map(fixed).collect();
        head.push(numbers.event("response.output_item.added", &format!("\"output_index\":{index},\"item\":{item}")));
        let at = format!("\"item_id\":\"msg_{}\",\"output_index\":{index},\"content_index\":0,", answer.id);
        let part: String = text_part().iter().filter_map(fixed).collect();
        head.push(numbers.event("response.content_part.added", &format!("{at}\"part\":{part}")));
        let kind = "response.output_text.delta";
        before = format!("event: {kind}\ndata: {{\"type\":\"{kind}\",{at}\"logprobs\":[],\"delta\":\"");
        // A count is of the pieces with this one: the first piece has the next number.
        after = vec![is("\",\"sequence_number\":"), Bit::Count(numbers.0.saturating_sub(1)), is("}\n\n")];
        numbers.0 += text.count() as u64;
        tail.extend(close(answer, index, &mut numbers));
        index += 1;
    }
    for (n, one) in answer.calls.iter().enumerate() {
        let events = tell_call(answer, n, one, index + n, &mut numbers);
        tail.extend(events.into_iter().map(|event| vec![is(event)]));
    }
    let ended = response(answer, ask, status(answer), output(answer, ask));
    tail.push(numbers.around(&format!("response.{}", status(answer)), "\"response\":", ended));
    Events { head, before, text, after, tail }
}

/// What of a bit is known before the text.
fn fixed(bit: &Bit) -> Option<&str> {
    match bit {
        Bit::Is(text) => Some(text),
        Bit::Count(_) | Bit::Text => None,
    }
}

/// The event that tells an error: the fields of the error's body beside the type.
pub(super) fn error_event(problem: &Problem) -> String {
    let body: serde_json::Value = serde_json::from_str(&openai::error(problem)).unwrap_or_default();
    let error = body.get("error");
    let field = |name: &str| error.and_then(|error| error.get(name)).filter(|value| !value.is_null());
    let event = json!({
        "type": "error",
        "code": field("code").or_else(|| field("type")),
        "message": problem.message,
        "param": problem.param,
        "sequence_number": 0,
    });
    format!("event: error\ndata: {event}\n\n")
}
