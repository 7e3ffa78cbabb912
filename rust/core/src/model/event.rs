//! What a stream delivers, one at a time.

use compact_str::CompactString;

use super::{Citation, FinishReason, Part, Usage};

/// One event of a streamed answer. Short texts live inside the event, without an allocation.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A piece of the answer's text.
    Text(CompactString),
    /// A piece of the model's thinking.
    Thinking(CompactString),
    /// A piece of a refusal.
    Refusal(CompactString),
    /// A tool call begins.
    ToolCallStart {
        /// Which call of this answer, from 0.
        index: u32,
        /// The call's id.
        id: CompactString,
        /// The tool's name.
        name: CompactString,
    },
    /// A piece of a tool call's arguments, JSON text.
    ToolCallDelta {
        /// Which call of this answer, from 0.
        index: u32,
        /// The piece.
        arguments: CompactString,
    },
    /// A source of the text so far.
    Citation(Box<Citation>),
    /// A whole part that does not come in pieces: an image, hidden thinking, a provider's own block.
    Part(Box<Part>),
    /// Token counts so far; the last one holds.
    Usage(Usage),
    /// Why the model stopped. Comes once.
    Finish(FinishReason),
}

impl Event {
    /// Whether the event carries something of the answer; the idle timeout counts only these.
    pub fn carries(&self) -> bool {
        !matches!(self, Self::Usage(_))
    }

    /// Whether the event is a piece of what the model writes: the pieces' times make the inter-token latency.
    pub fn is_piece(&self) -> bool {
        matches!(self, Self::Text(_) | Self::Thinking(_) | Self::Refusal(_) | Self::ToolCallDelta { .. })
    }

    /// Roughly how many bytes the event holds while it waits to be read.
    pub fn size(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Text(s) | Self::Thinking(s) | Self::Refusal(s) => s.len(),
                Self::ToolCallDelta { arguments, .. } => arguments.len(),
                Self::Part(_) | Self::Citation(_) => 256,
                Self::ToolCallStart { .. } | Self::Usage(_) | Self::Finish(_) => 0,
            }
    }
}
