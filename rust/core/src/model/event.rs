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

    /// Takes the next event in, if both are pieces of the same thing; else it comes back.
    #[must_use]
    pub fn join(&mut self, next: Self) -> Option<Self> {
        match (self, next) {
            (Self::Text(text), Self::Text(more))
            | (Self::Thinking(text), Self::Thinking(more))
            | (Self::Refusal(text), Self::Refusal(more)) => text.push_str(&more),
            (Self::ToolCallDelta { index, arguments }, Self::ToolCallDelta { index: same, arguments: more })
                if *index == same =>
            {
                arguments.push_str(&more);
            }
            (_, next) => return Some(next),
        }
        None
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pieces_of_the_same_thing_are_joined() {
        let delta = |index, text: &str| Event::ToolCallDelta { index, arguments: text.into() };
        let usage = Event::Usage(Usage::default());
        let mut all: Vec<Event> = Vec::new();
        for event in [
            Event::Text("a".into()),
            Event::Text("b".into()),
            Event::Thinking("c".into()),
            Event::Text("d".into()),
            delta(0, "e"),
            delta(0, "f"),
            delta(1, "g"),
            usage.clone(),
            usage.clone(),
            Event::Finish(FinishReason::Stop),
            Event::Finish(FinishReason::Stop),
        ] {
            let apart = match all.last_mut() {
                Some(last) => last.join(event),
                None => Some(event),
            };
            all.extend(apart);
        }
        let texts = [Event::Text("ab".into()), Event::Thinking("c".into()), Event::Text("d".into())];
        let rest = [delta(0, "ef"), delta(1, "g"), usage.clone(), usage];
        let finish = [Event::Finish(FinishReason::Stop), Event::Finish(FinishReason::Stop)];
        assert_eq!(all, texts.into_iter().chain(rest).chain(finish).collect::<Vec<_>>());
    }
}
