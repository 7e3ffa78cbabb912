//! Builds one answer out of a provider's stream and hands out the events on the way.
//!
//! The wire formats call one method for each thing they read; the rules that hold for every provider (the first finish
//! reason wins, usage is merged and not added up, tool calls are told apart) are kept here, once.

use std::ops::Range;

use serde_json::Value;

use super::{Citation, Event, FinishReason, Part, Response, ToolCall, Usage};

/// Tells a provider's parallel tool calls apart: whatever it numbers or names them by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolSlot {
    /// The provider's own index.
    Index(u64),
    /// No index came: the call opened last.
    Last,
}

#[derive(Debug)]
struct OpenCall {
    /// The provider's index, where it has one.
    key: Option<u64>,
    /// Where its part is in `response.parts`.
    part: usize,
}

/// An answer under construction.
#[derive(Debug, Default)]
pub struct Assembly {
    response: Response,
    calls: Vec<OpenCall>,
    events: Vec<Event>,
    ended: bool,
    watched: Watched,
    /// The next text begins a part of its own, of which these citations have come before it.
    next_text: Option<Vec<Value>>,
}

/// Whether what was read from a frame is one piece of text that stands in the frame as it is.
#[derive(Debug, Default)]
struct Watched {
    address: usize,
    length: usize,
    events_before: usize,
    text: Option<Range<usize>>,
}

impl Assembly {
    /// An empty answer.
    pub fn new() -> Self {
        Self::default()
    }

    /// The answer's id and model; empty values change nothing, the first ones stay.
    pub fn meta(&mut self, id: &str, model: &str) {
        if self.response.id.is_empty() {
            id.clone_into(&mut self.response.id);
        }
        if self.response.model.is_empty() {
            model.clone_into(&mut self.response.model);
        }
    }

    /// A piece of text. An empty piece is no event.
    pub fn text(&mut self, piece: &str) {
        if piece.is_empty() {
            return;
        }
        match self.response.parts.last_mut() {
            Some(Part::Text { text, .. }) if self.next_text.is_none() => text.push_str(piece),
            _ => {
                let citations = self.next_text.take().unwrap_or_default();
                self.response.parts.push(Part::Text { text: piece.to_owned(), cache: None, citations });
            }
        }
        let start = piece.as_ptr().addr().wrapping_sub(self.watched.address);
        let end = start.wrapping_add(piece.len());
        self.watched.text = (start < end && end <= self.watched.length).then_some(start..end);
        self.events.push(Event::Text(piece.into()));
    }

    /// From now on a text that lies in these bytes is noted, for [`Assembly::only_text`].
    pub fn watch(&mut self, bytes: &[u8]) {
        let (address, length) = (bytes.as_ptr().addr(), bytes.len());
        self.watched = Watched { address, length, events_before: self.events.len(), text: None };
    }

    /// Where in the watched bytes the text stands, if one piece of text is all that was read from them.
    pub fn only_text(&mut self) -> Option<Range<usize>> {
        let text = self.watched.text.take()?;
        (self.events.len() == self.watched.events_before + 1).then_some(text)
    }

    /// A block of text begins, which is kept apart from the one before: its citations are its own.
    pub fn text_block(&mut self) {
        self.next_text = Some(Vec::new());
        // Its text is not all that this frame carries.
        self.watched.length = 0;
    }

    /// A citation of the block of text, as it has to be sent back.
    pub fn cite(&mut self, raw: &Value) {
        match (&mut self.next_text, self.response.parts.last_mut()) {
            (Some(citations), _) | (None, Some(Part::Text { citations, .. })) => citations.push(raw.clone()),
            (None, _) => {}
        }
    }

    /// A piece of thinking.
    pub fn thinking(&mut self, piece: &str) {
        if piece.is_empty() {
            return;
        }
        match self.response.parts.last_mut() {
            Some(Part::Thinking { text, signature: None }) => text.push_str(piece),
            _ => self.response.parts.push(Part::Thinking { text: piece.to_owned(), signature: None }),
        }
        self.events.push(Event::Thinking(piece.into()));
    }

    /// The signature of the thinking that came last; stands alone where no thinking text came.
    pub fn signature(&mut self, piece: &str) {
        if piece.is_empty() {
            return;
        }
        match self.response.parts.last_mut() {
            Some(Part::Thinking { signature, .. }) => signature.get_or_insert_default().push_str(piece),
            _ => self.response.parts.push(Part::Thinking { text: String::new(), signature: Some(piece.to_owned()) }),
        }
    }

    /// A piece of a refusal.
    pub fn refusal(&mut self, piece: &str) {
        if piece.is_empty() {
            return;
        }
        match self.response.parts.last_mut() {
            Some(Part::Refusal { text }) => text.push_str(piece),
            _ => self.response.parts.push(Part::Refusal { text: piece.to_owned() }),
        }
        self.events.push(Event::Refusal(piece.into()));
    }

    /// A source of the text. The same one again is no news.
    pub fn citation(&mut self, citation: Citation) {
        if !self.response.citations.contains(&citation) {
            self.response.citations.push(citation.clone());
            self.events.push(Event::Citation(Box::new(citation)));
        }
    }

    /// The text that the citations from `start` on rest on is whole now.
    pub fn end_citations(&mut self, start: usize) {
        if self.response.citations.last().is_some_and(|last| last.start >= start) {
            let end = self.response.text_chars();
            self.response.citations.iter_mut().filter(|one| one.start >= start).for_each(|one| one.end = end);
        }
    }

    /// A whole part that does not come in pieces.
    pub fn part(&mut self, part: Part) {
        self.events.push(Event::Part(Box::new(part.clone())));
        self.response.parts.push(part);
    }

    /// A tool call begins. An empty id is made up, so that results can refer to it.
    pub fn tool_start(&mut self, slot: ToolSlot, id: &str, name: &str, signature: Option<&str>) {
        let index = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
        let id = if id.is_empty() { format!("call_{index}") } else { id.to_owned() };
        self.events.push(Event::ToolCallStart { index, id: id.as_str().into(), name: name.into() });
        let key = match slot {
            ToolSlot::Index(key) => Some(key),
            ToolSlot::Last => None,
        };
        self.calls.push(OpenCall { key, part: self.response.parts.len() });
        self.response.parts.push(Part::ToolCall(ToolCall {
            id,
            name: name.to_owned(),
            arguments: String::new(),
            signature: signature.map(str::to_owned),
        }));
    }

    fn find(&self, slot: ToolSlot) -> Option<usize> {
        match slot {
            ToolSlot::Index(key) => self.calls.iter().rposition(|call| call.key == Some(key)),
            ToolSlot::Last => self.calls.len().checked_sub(1),
        }
    }

    /// The call in that slot, where one has begun.
    pub fn tool(&self, slot: ToolSlot) -> Option<&ToolCall> {
        let open = self.calls.get(self.find(slot)?)?;
        match self.response.parts.get(open.part) {
            Some(Part::ToolCall(call)) => Some(call),
            _ => None,
        }
    }

    /// A piece of a tool call's arguments; opens a nameless call if none has begun in that slot.
    pub fn tool_arguments(&mut self, slot: ToolSlot, piece: &str) {
        if piece.is_empty() {
            return;
        }
        if self.find(slot).is_none() {
            self.tool_start(slot, "", "", None);
        }
        let Some(index) = self.find(slot) else { return };
        let part = self.calls.get(index).map(|open| open.part);
        if let Some(Part::ToolCall(call)) = part.and_then(|at| self.response.parts.get_mut(at)) {
            call.arguments.push_str(piece);
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            self.events.push(Event::ToolCallDelta { index, arguments: piece.into() });
        }
    }

    /// Token counts as the provider last gave them; merging earlier partial ones is the wire format's business.
    pub fn usage(&mut self, usage: Usage) {
        if self.response.usage != Some(usage) {
            self.response.usage = Some(usage);
            self.events.push(Event::Usage(usage));
        }
    }

    /// The usage so far.
    pub fn usage_so_far(&self) -> Option<Usage> {
        self.response.usage
    }

    /// Why the model stopped. Only the first reason counts: some servers send a second, wrong one.
    pub fn finish(&mut self, raw: &str) {
        self.finish_as(raw, FinishReason::parse(raw));
    }

    /// As [`Assembly::finish`], where the provider's word means something else than usual.
    pub fn finish_as(&mut self, raw: &str, reason: FinishReason) {
        if self.response.finish_reason.is_some() || raw.is_empty() {
            return;
        }
        let mut reason = reason;
        if reason == FinishReason::Stop && !self.calls.is_empty() {
            // Gemini and Ollama say "stop" when they wait for tool results.
            reason = FinishReason::ToolCalls;
        }
        self.response.finish_reason = Some(reason.clone());
        self.response.raw_finish_reason = Some(raw.to_owned());
        self.events.push(Event::Finish(reason));
    }

    /// An event that another assembly has handed out. What that one kept to itself (ids, signatures) is not in it.
    pub fn event(&mut self, event: &Event) {
        match event {
            Event::Text(piece) => self.text(piece),
            Event::Thinking(piece) => self.thinking(piece),
            Event::Refusal(piece) => self.refusal(piece),
            Event::ToolCallStart { index, id, name } => {
                self.tool_start(ToolSlot::Index((*index).into()), id, name, None)
            }
            Event::ToolCallDelta { index, arguments } => {
                self.tool_arguments(ToolSlot::Index((*index).into()), arguments);
            }
            Event::Citation(citation) => self.citation(Citation::clone(citation)),
            Event::Part(part) => self.part(Part::clone(part)),
            Event::Usage(usage) => self.usage(*usage),
            Event::Finish(reason) => self.finish_as(reason.as_str(), reason.clone()),
        }
    }

    /// Puts a whole answer in, as if it had been streamed in as few pieces as possible.
    pub fn replay(&mut self, response: &Response) {
        self.meta(&response.id, &response.model);
        for part in &response.parts {
            match part {
                Part::Text { text, citations, .. } => {
                    self.text_block();
                    self.text(text);
                    citations.iter().for_each(|raw| self.cite(raw));
                }
                Part::Thinking { text, signature } => {
                    self.thinking(text);
                    self.signature(signature.as_deref().unwrap_or(""));
                }
                Part::Refusal { text } => self.refusal(text),
                Part::ToolCall(call) => {
                    self.tool_start(ToolSlot::Last, &call.id, &call.name, call.signature.as_deref());
                    self.tool_arguments(ToolSlot::Last, &call.arguments);
                }
                other => self.part(other.clone()),
            }
        }
        response.citations.iter().for_each(|citation| self.citation(citation.clone()));
        if let Some(usage) = response.usage {
            self.usage(usage);
        }
        self.finish(response.raw_finish_reason.as_deref().unwrap_or(""));
        self.end();
    }

    /// The format's own sign of the end was seen.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Whether the stream ended as its format says: by its sign of the end, or at least with a finish reason.
    pub fn is_complete(&self) -> bool {
        self.ended || self.response.finish_reason.is_some()
    }

    /// Whether the format's own sign of the end was seen: nothing more will come.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// The events since the last call of this, in order.
    pub fn events(&mut self) -> std::vec::Drain<'_, Event> {
        self.events.drain(..)
    }

    /// The answer as far as it has come.
    pub fn so_far(&self) -> &Response {
        &self.response
    }

    /// The answer. Tool calls without arguments get `{}`.
    pub fn into_response(mut self) -> Response {
        for part in &mut self.response.parts {
            if let Part::ToolCall(call) = part
                && call.arguments.trim().is_empty()
            {
                "{}".clone_into(&mut call.arguments);
            }
        }
        self.response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_finish_wins_and_empty_arguments_become_an_object() {
        let mut answer = Assembly::new();
        answer.tool_start(ToolSlot::Index(1), "", "now", None);
        answer.finish("length");
        answer.finish("stop");
        let response = answer.into_response();
        assert_eq!(response.finish_reason, Some(FinishReason::Length));
        let call = response.tool_calls().next().cloned().unwrap();
        assert_eq!((call.id.as_str(), call.arguments.as_str()), ("call_0", "{}"));
    }

    #[test]
    fn parallel_calls_stay_apart() {
        let mut answer = Assembly::new();
        answer.tool_start(ToolSlot::Index(0), "a", "f", None);
        answer.tool_start(ToolSlot::Index(1), "b", "g", None);
        answer.tool_arguments(ToolSlot::Index(0), "[0");
        answer.tool_arguments(ToolSlot::Index(1), "[1]");
        answer.tool_arguments(ToolSlot::Index(0), "]");
        answer.finish("stop");
        let response = answer.into_response();
        let arguments: Vec<_> = response.tool_calls().map(|call| call.arguments.clone()).collect();
        assert_eq!(arguments, ["[0]", "[1]"]);
        assert_eq!(response.finish_reason, Some(FinishReason::ToolCalls));
    }

    #[test]
    fn events_make_the_same_answer_again() {
        let mut answer = Assembly::new();
        answer.thinking("hm");
        answer.text("a");
        answer.tool_start(ToolSlot::Index(7), "x", "f", None);
        answer.tool_start(ToolSlot::Index(9), "y", "g", None);
        answer.tool_arguments(ToolSlot::Index(7), "[1");
        answer.tool_arguments(ToolSlot::Index(9), "[2]");
        answer.tool_arguments(ToolSlot::Index(7), "]");
        answer.part(Part::RedactedThinking { data: "d".into() });
        answer.refusal("no");
        answer.usage(Usage::from_inclusive(1, 0, 0, 2, 0));
        answer.finish("tool_calls");
        let mut again = Assembly::new();
        answer.events().for_each(|event| again.event(&event));
        assert_eq!(again.into_response(), answer.into_response());
    }

    #[test]
    fn a_part_between_texts_separates_them() {
        let mut answer = Assembly::new();
        for piece in ["a", "", "b"] {
            answer.text(piece);
        }
        answer.thinking("hm");
        answer.signature("sig");
        answer.text("c");
        assert_eq!(answer.events().count(), 4);
        let response = answer.into_response();
        assert_eq!((response.text().as_str(), response.thinking().as_str(), response.parts.len()), ("abc", "hm", 3));
    }
}
