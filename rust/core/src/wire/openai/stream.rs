//! Decodes a streamed chat answer, chunk by chunk.

use super::{decode::Answer, error, raw::utf8};
use crate::{error::Error, model::Assembly, stream::Frame, wire::StreamDecoder};

/// The decoder of one stream.
#[derive(Debug)]
pub(super) struct ChatStream {
    provider: &'static str,
    /// Where texts with escapes are written, again and again.
    scratch: String,
}

impl ChatStream {
    pub(super) fn new(provider: &'static str) -> Self {
        Self { provider, scratch: String::new() }
    }
}

impl StreamDecoder for ChatStream {
    fn frame(&mut self, frame: Frame<'_>, answer: &mut Assembly) -> Result<(), Error> {
        let data = frame.data.trim_ascii();
        if data.is_empty() || answer.is_ended() {
            return Ok(());
        }
        if data == b"[DONE]" {
            answer.end();
            return Ok(());
        }
        if frame.event == "error" {
            return Err(error::inside(self.provider, data));
        }
        let text = utf8(data);
        // A list would be read as the fields of a chunk in order.
        let parsed = if data.starts_with(b"{") { serde_json::from_str::<Answer<'_>>(&text).ok() } else { None };
        let Some(chunk) = parsed else {
            if !matches!(frame.event, "" | "message") {
                return Ok(()); // An event of a kind that is not known here.
            }
            return Err(error::instead_of_answer(self.provider, "a chunk of the stream cannot be read", data));
        };
        if let Some(error) = chunk.error() {
            return Err(error::inside(self.provider, error.json().as_bytes()));
        }
        if chunk.choices.is_none() && chunk.object.text() == "error" {
            return Err(error::inside(self.provider, data));
        }
        chunk.tell_meta(answer);
        for choice in chunk.first_choice() {
            if let Some(delta) = &choice.delta {
                delta.tell(false, &mut self.scratch, answer);
            } else if let Some(message) = &choice.message
                && answer.so_far().parts.is_empty()
            {
                // A gateway that cannot stream sends the whole answer as one chunk.
                message.tell(true, &mut self.scratch, answer);
            }
            answer.finish(choice.finish_reason.text_in(&mut self.scratch));
        }
        chunk.tell_usage(answer);
        Ok(())
    }
}
