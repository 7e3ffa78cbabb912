//! The one normalised form of requests, answers and stream events that every provider's wire format maps to and from.

mod assembly;
mod citation;
mod embedding;
mod event;
pub mod fit;
pub mod json;
mod message;
mod options;
pub mod partial;
mod response;
mod usage;

pub use assembly::{Assembly, ToolSlot};
pub use citation::Citation;
pub use embedding::{EmbedRequest, Embeddings};
pub use event::Event;
pub use message::{CacheControl, Media, Message, Part, Role, ToolCall};
pub use options::{Options, Reasoning, ResponseFormat, Tool, ToolChoice};
pub use response::{FinishReason, Response};
pub use usage::Usage;

use std::sync::Arc;

/// A JSON object whose keys keep their order.
pub type JsonObject = serde_json::Map<String, serde_json::Value>;

/// One chat call as asked for: what every wire format encodes from.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    /// The model's name, as the provider spells it.
    pub model: String,
    /// The conversation, system messages included. Shared, so that a long history is not copied for each call.
    pub messages: Vec<Arc<Message>>,
    /// Everything that shapes the answer.
    pub options: Options,
    /// Whether the answer comes in pieces.
    pub stream: bool,
}
