//! Reads whole answers, and the items that streams are made of.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, value::RawValue};

use crate::{
    error::Error,
    model::{Assembly, FinishReason, Part, Response, ToolSlot, Usage},
    wire::{
        lenient::{Count, Text, arguments, lenient},
        openai::{decode::tell_annotation, error},
    },
};

/// Stands between the parts of a summary of thinking, which are paragraphs.
pub(super) const PARAGRAPH: &str = "\n\n";

/// A whole answer; also what the events at a stream's two ends carry.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Answer<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    model: Text<'a>,
    #[serde(borrow)]
    status: Text<'a>,
    #[serde(borrow)]
    output: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(deserialize_with = "lenient")]
    incomplete_details: Option<Incomplete>,
    #[serde(deserialize_with = "lenient")]
    usage: Option<Tokens>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Incomplete {
    reason: Option<String>,
}

/// Token counts. The totals are inclusive.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Tokens {
    input_tokens: Count,
    #[serde(deserialize_with = "lenient")]
    input_tokens_details: Option<InputDetails>,
    output_tokens: Count,
    #[serde(deserialize_with = "lenient")]
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct InputDetails {
    cached_tokens: Count,
    cache_write_tokens: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    reasoning_tokens: Count,
}

impl Tokens {
    fn usage(&self) -> Usage {
        let (input, output) = (self.input_tokens.get(), self.output_tokens.get());
        let details = self.input_tokens_details.as_ref();
        let read = details.map_or(0, |details| details.cached_tokens.get()).min(input);
        let written = details.map_or(0, |details| details.cache_write_tokens.get()).min(input - read);
        let reasoning = self.output_tokens_details.as_ref().map_or(0, |details| details.reasoning_tokens.get());
        Usage::from_inclusive(input, read, written, output, reasoning.min(output))
    }
}

/// An item of the output, with the fields of all kinds.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Item<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) call_id: Text<'a>,
    #[serde(borrow)]
    pub(super) name: Text<'a>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    summary: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) encrypted_content: Text<'a>,
}

/// A part of a message or of a summary.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Piece<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(borrow)]
    refusal: Text<'a>,
    annotations: Vec<Value>,
}

fn pieces<'a>(raw: Option<&'a RawValue>) -> Vec<Piece<'a>> {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

impl Item<'_> {
    /// The arguments of a function call, JSON text.
    pub(super) fn arguments(&self) -> std::borrow::Cow<'_, str> {
        arguments(self.arguments)
    }

    /// The thinking, as paragraphs: the summary, or the text itself where the server shows it.
    pub(super) fn thinking(&self) -> String {
        let mut said = pieces(self.summary);
        if said.is_empty() {
            said = pieces(self.content);
        }
        said.iter().map(|piece| &*piece.text).collect::<Vec<_>>().join(PARAGRAPH)
    }

    /// Adds what a message says.
    pub(super) fn tell_message(&self, answer: &mut Assembly) {
        for piece in pieces(self.content) {
            if &*piece.kind == "refusal" {
                answer.refusal(&piece.refusal);
            } else {
                answer.text(&piece.text);
            }
            piece.annotations.iter().for_each(|annotation| tell_annotation(annotation, answer));
        }
    }
}

/// Adds a whole item. One of a kind that has no common form is passed through.
pub(super) fn tell_item(raw: &RawValue, answer: &mut Assembly) {
    let item: Item<'_> = serde_json::from_str(raw.get()).unwrap_or_default();
    match &*item.kind {
        "message" => item.tell_message(answer),
        "reasoning" => {
            let text = item.thinking();
            let signature = Some(item.encrypted_content.to_string()).filter(|content| !content.is_empty());
            if text.is_empty() {
                tell_hidden(&item, answer);
            } else {
                answer.thinking(&text);
                answer.signature(signature.as_deref().unwrap_or(""));
            }
        }
        "function_call" => {
            answer.tool_start(ToolSlot::Last, &item.call_id, &item.name, None);
            answer.tool_arguments(ToolSlot::Last, &item.arguments());
        }
        _ => answer.part(Part::Raw(serde_json::from_str(raw.get()).unwrap_or_default())),
    }
}

/// Thinking of which only the encrypted form came.
pub(super) fn tell_hidden(item: &Item<'_>, answer: &mut Assembly) {
    if !item.encrypted_content.is_empty() {
        answer.part(Part::RedactedThinking { data: item.encrypted_content.to_string() });
    }
}

impl Answer<'_> {
    /// The error that the answer carries.
    pub(super) fn error(&self, provider: &'static str) -> Option<Error> {
        let given = self.error.map(RawValue::get).filter(|raw| *raw != "null");
        match given {
            Some(raw) => Some(error::inside(provider, raw.as_bytes())),
            None if &*self.status == "failed" => Some(error::inside(provider, b"{\"message\":\"the answer failed\"}")),
            None => None,
        }
    }

    /// Tells id and model.
    pub(super) fn tell_meta(&self, answer: &mut Assembly) {
        answer.meta(&self.id, &self.model);
    }

    /// Tells what comes last: token counts, and why the model stopped.
    pub(super) fn tell_end(&self, answer: &mut Assembly) {
        if let Some(tokens) = &self.usage {
            answer.usage(tokens.usage());
        }
        match self.incomplete_details.as_ref().and_then(|details| details.reason.as_deref()) {
            Some(reason) => answer.finish(reason),
            // In the background, it is not done yet.
            None if matches!(&*self.status, "queued" | "in_progress") => {
                answer.finish_as(&self.status, FinishReason::Other(self.status.to_string()));
            }
            None => answer.finish(&self.status),
        }
    }
}

/// Reads a whole answer.
pub(super) fn chat(provider: &'static str, body: &[u8]) -> Result<Response, Error> {
    let read = serde_json::from_slice::<Answer<'_>>(body);
    let Some(parsed) = read.ok().filter(|answer| answer.output.is_some() || answer.error.is_some()) else {
        let what = match serde_json::from_slice::<IgnoredAny>(body) {
            Ok(_) => "the answer has no output",
            Err(_) => "the answer is not a response object",
        };
        return Err(error::instead_of_answer(provider, what, body));
    };
    if let Some(error) = parsed.error(provider) {
        return Err(error);
    }
    let mut answer = Assembly::new();
    parsed.tell_meta(&mut answer);
    parsed.output.iter().flatten().for_each(|item| tell_item(item, &mut answer));
    parsed.tell_end(&mut answer);
    answer.end();
    Ok(answer.into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_whole_answer() {
        let body = r#"{"id":"resp_1","object":"response","model":"m1","status":"completed","error":null,"incomplete_details":null,
            "output":[{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"One."},{"type":"summary_text","text":"Two."}],"encrypted_content":"xyz"},
            {"type":"message","id":"msg_1","role":"assistant","content":[{"type":"output_text","text":"Hi","annotations":[{"type":"url_citation","url":"https://a","title":"A","start_index":0,"end_index":2}]}]},
            {"type":"web_search_call","id":"ws_1","status":"completed"},
            {"type":"function_call","id":"fc_1","call_id":"call_9","name":"f","arguments":"{\"x\":1}"}],
            "usage":{"input_tokens":10,"input_tokens_details":{"cached_tokens":4},"output_tokens":5,"output_tokens_details":{"reasoning_tokens":3},"total_tokens":15}}"#;
        let response = chat("test", body.as_bytes()).unwrap();
        assert_eq!((response.id.as_str(), response.model.as_str()), ("resp_1", "m1"));
        assert_eq!((response.thinking().as_str(), response.text().as_str()), ("One.\n\nTwo.", "Hi"));
        assert!(matches!(&response.parts[0], Part::Thinking { signature: Some(s), .. } if s == "xyz"));
        assert!(matches!(&response.parts[2], Part::Raw(item) if item["id"] == "ws_1"));
        assert_eq!(response.citations[0].url.as_deref(), Some("https://a"));
        let call = response.tool_calls().next().unwrap();
        assert_eq!((call.id.as_str(), call.arguments.as_str()), ("call_9", "{\"x\":1}"));
        assert_eq!(response.finish_reason, Some(FinishReason::ToolCalls));
        let usage = response.usage.unwrap();
        assert_eq!(
            (usage.prompt_tokens(), usage.completion_tokens(), usage.cache_read, usage.reasoning),
            (10, 5, 4, 3)
        );
    }

    #[test]
    fn how_answers_end() {
        for (rest, expected) in [
            (r#""status":"completed""#, FinishReason::Stop),
            (r#""status":"incomplete","incomplete_details":{"reason":"max_output_tokens"}"#, FinishReason::Length),
            (r#""status":"incomplete","incomplete_details":{"reason":"content_filter"}"#, FinishReason::ContentFilter),
            (r#""status":"queued""#, FinishReason::Other("queued".to_owned())),
        ] {
            let response = chat("test", format!("{{\"output\":[],{rest}}}").as_bytes()).unwrap();
            assert_eq!(response.finish_reason, Some(expected), "{rest}");
        }
    }

    #[test]
    fn what_is_no_answer() {
        for body in ["", "<html>busy</html>", "{}", "[]", "null", "{\"output\":[{"] {
            let error = chat("test", body.as_bytes()).unwrap_err();
            assert_eq!((error.kind(), error.provider()), (ErrorKind::Malformed, Some("test")), "{body}");
        }
        let failed = br#"{"status":"failed","output":[],"error":{"code":"rate_limit_exceeded","message":"slow down"}}"#;
        let error = chat("test", failed).unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::RateLimit, "slow down"));
    }
}
