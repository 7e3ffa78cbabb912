//! Decodes a streamed answer, event by event.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::decode::{Answer, Item, PARAGRAPH, tell_hidden, tell_item};
use crate::{
    error::Error,
    model::{Assembly, ToolSlot},
    stream::Frame,
    wire::{
        StreamDecoder,
        lenient::{Count, Text},
        openai::{decode::tell_annotation, error},
    },
};

/// One event, with the fields of all kinds.
#[derive(Debug, Deserialize)]
struct Event<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
    #[serde(default)]
    output_index: Count,
    #[serde(default)]
    summary_index: Count,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    item: Option<&'a RawValue>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
    annotation: Option<Value>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// The state of one stream.
#[derive(Debug)]
pub(super) struct ResponseStream {
    provider: &'static str,
    /// The place of the item whose text or thinking came in pieces last.
    told: Option<u64>,
}

impl ResponseStream {
    pub(super) fn new(provider: &'static str) -> Self {
        Self { provider, told: None }
    }

    /// An item is whole: adds what of it did not come in pieces.
    fn close(&mut self, place: u64, raw: &RawValue, answer: &mut Assembly) {
        let item: Item<'_> = serde_json::from_str(raw.get()).unwrap_or_default();
        let slot = ToolSlot::Index(place);
        match &*item.kind {
            "message" if self.told == Some(place) => {}
            "reasoning" if self.told == Some(place) => answer.signature(&item.encrypted_content),
            "reasoning" if item.thinking().is_empty() => tell_hidden(&item, answer),
            "function_call" => match answer.tool(slot) {
                None => tell_item(raw, answer),
                Some(call) if call.arguments.is_empty() => answer.tool_arguments(slot, &item.arguments()),
                Some(_) => {}
            },
            _ => tell_item(raw, answer),
        }
    }
}

impl StreamDecoder for ResponseStream {
    fn frame(&mut self, frame: Frame<'_>, answer: &mut Assembly) -> Result<(), Error> {
        match frame.data.trim_ascii() {
            b"" => return Ok(()),
            // Servers that imitate the API close with the chat format's mark.
            b"[DONE]" => {
                answer.end();
                return Ok(());
            }
            _ => {}
        }
        let Ok(event) = serde_json::from_slice::<Event<'_>>(frame.data) else {
            return Err(error::instead_of_answer(self.provider, "a stream event is not what was expected", frame.data));
        };
        let kind = if event.kind.is_empty() { frame.event } else { &*event.kind };
        let place = event.output_index.get();
        let piece = || event.delta.and_then(|raw| serde_json::from_str::<Text<'_>>(raw.get()).ok()).unwrap_or_default();
        match kind {
            "response.output_text.delta" => {
                self.told = Some(place);
                answer.text(&piece());
            }
            "response.refusal.delta" => {
                self.told = Some(place);
                answer.refusal(&piece());
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                self.told = Some(place);
                answer.thinking(&piece());
            }
            "response.reasoning_summary_part.added" if event.summary_index.get() > 0 => answer.thinking(PARAGRAPH),
            "response.output_text.annotation.added" => {
                if let Some(annotation) = &event.annotation {
                    tell_annotation(annotation, answer);
                }
            }
            "response.output_item.added" => {
                let item = event.item.and_then(|raw| serde_json::from_str::<Item<'_>>(raw.get()).ok());
                if let Some(item) = item.filter(|item| &*item.kind == "function_call") {
                    answer.tool_start(ToolSlot::Index(place), &item.call_id, &item.name, None);
                }
            }
            "response.function_call_arguments.delta" => answer.tool_arguments(ToolSlot::Index(place), &piece()),
            "response.output_item.done" => {
                if let Some(item) = event.item {
                    self.close(place, item, answer);
                }
            }
            "response.created" | "response.in_progress" | "response.queued" => {
                if let Some(head) = event.response.and_then(|raw| serde_json::from_str::<Answer<'_>>(raw.get()).ok()) {
                    head.tell_meta(answer);
                }
            }
            "response.completed" | "response.incomplete" | "response.failed" => {
                let read = event.response.and_then(|raw| serde_json::from_str::<Answer<'_>>(raw.get()).ok());
                let whole = read.unwrap_or_default();
                if let Some(error) = whole.error(self.provider) {
                    return Err(error);
                }
                whole.tell_meta(answer);
                whole.tell_end(answer);
                answer.end();
            }
            "error" => {
                let body = event.error.map_or(frame.data, |raw| raw.get().as_bytes());
                return Err(error::inside(self.provider, body));
            }
            "" => return Err(error::instead_of_answer(self.provider, "a stream event has no type", frame.data)),
            _ => {}
        }
        Ok(())
    }
}
