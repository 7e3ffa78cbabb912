//! A whole answer, streamed or not.

use bytes::Bytes;

use super::{Citation, Part, ToolCall, Usage};

/// Why the model stopped, mapped once from every provider's spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinishReason {
    /// It was done, or met a stop text.
    Stop,
    /// `max_tokens` or the context window was reached.
    Length,
    /// It waits for the results of tool calls.
    ToolCalls,
    /// The provider's filter cut the answer or refused it.
    ContentFilter,
    /// The model refused.
    Refusal,
    /// The provider paused a long turn; send the answer back to go on (Anthropic).
    Pause,
    /// The provider failed while answering.
    Error,
    /// A reason that has no common name, as the provider spells it in lower case.
    Other(String),
}

impl FinishReason {
    /// The reason as the field spells it: `stop`, `length`, `tool_calls`, `content_filter`, `refusal`, `pause`, `error`, …
    pub fn as_str(&self) -> &str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
            Self::Refusal => "refusal",
            Self::Pause => "pause",
            Self::Error => "error",
            Self::Other(name) => name,
        }
    }

    /// The common reason for any provider's spelling, in any case. One table for all providers.
    pub fn parse(raw: &str) -> Self {
        match raw.to_ascii_lowercase().as_str() {
            "stop" | "end_turn" | "stop_sequence" | "eos" | "eos_token" | "complete" | "completed" | "finished" => {
                Self::Stop
            }
            "length"
            | "max_tokens"
            | "max_output_tokens"
            | "model_length"
            | "model_context_window_exceeded"
            | "incomplete" => Self::Length,
            "tool_calls" | "tool_use" | "tool_call" | "function_call" => Self::ToolCalls,
            "content_filter"
            | "content_filtered"
            | "guardrail_intervened"
            | "safety"
            | "recitation"
            | "blocklist"
            | "prohibited_content"
            | "spii"
            | "image_safety"
            | "image_prohibited_content"
            | "image_recitation"
            | "sensitive" => Self::ContentFilter,
            "refusal" => Self::Refusal,
            "pause_turn" | "pause" => Self::Pause,
            "error" | "failed" | "malformed_model_output" | "malformed_tool_use" => Self::Error,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// A whole answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Response {
    /// The provider's id of the answer; empty where it has none.
    pub id: String,
    /// The model that answered, as the provider names it; empty where it says nothing.
    pub model: String,
    /// What the model said, in order: thinking, text, tool calls, …
    pub parts: Vec<Part>,
    /// The sources of its text, in the order in which the provider gave them.
    pub citations: Vec<Citation>,
    /// Why it stopped; `None` if the provider never said.
    pub finish_reason: Option<FinishReason>,
    /// The provider's own spelling of the reason.
    pub raw_finish_reason: Option<String>,
    /// Token counts, where the provider gave any.
    pub usage: Option<Usage>,
    /// The body as it came, for fields that the common form does not carry. Empty for streams.
    pub raw: Bytes,
}

impl Response {
    /// The text of the answer: all text parts joined.
    pub fn text(&self) -> String {
        self.joined(|part| match part {
            Part::Text { text, .. } => Some(text),
            _ => None,
        })
    }

    /// How many characters the text has.
    pub fn text_chars(&self) -> usize {
        let texts = self.parts.iter().map(|part| match part {
            Part::Text { text, .. } => text.chars().count(),
            _ => 0,
        });
        texts.sum()
    }

    /// The model's thinking, joined.
    pub fn thinking(&self) -> String {
        self.joined(|part| match part {
            Part::Thinking { text, .. } => Some(text),
            _ => None,
        })
    }

    /// The refusal, joined; empty when the model did not refuse.
    pub fn refusal(&self) -> String {
        self.joined(|part| match part {
            Part::Refusal { text } => Some(text),
            _ => None,
        })
    }

    fn joined<'a>(&'a self, pick: impl Fn(&'a Part) -> Option<&'a String>) -> String {
        self.parts.iter().filter_map(pick).map(String::as_str).collect()
    }

    /// The tool calls of the answer, in order.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.parts.iter().filter_map(|part| match part {
            Part::ToolCall(call) => Some(call),
            _ => None,
        })
    }
}
