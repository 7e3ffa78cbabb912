//! Reads frames that differ from an earlier one in their text only, without parsing them again.
//!
//! In a stream of tokens thousands of frames are alike but for one JSON string. When a frame turned out to carry nothing
//! but a piece of text, and that piece stands in the frame as it is (no escapes), the frame becomes the template. A later
//! frame with the same bytes before the string and the same bytes behind it, and between them no quote, no backslash and
//! no control character, parses to the same JSON but for that string; so its text can be taken as it stands. Everything
//! else goes to the format's decoder.
//!
//! Spaces before the last brace do not count: Anthropic pads its frames with a random number of them.

use std::ops::Range;

use super::{StreamDecoder, Wire};
use crate::{error::Error, model::Assembly, stream::Frame};

/// A stream decoder with a template in front of it.
pub struct Templated {
    decoder: Box<dyn StreamDecoder>,
    event: String,
    known: Vec<u8>,
    /// Where the text stands in `known`; empty means that there is no template.
    text: Range<usize>,
}

/// A decoder of one streamed answer of this format, the fast way.
pub fn decoder(wire: &dyn Wire) -> Templated {
    Templated { decoder: wire.stream_decoder(), event: String::new(), known: Vec::new(), text: 0..0 }
}

/// The frame without its last brace and the spaces before it.
fn without_padding(data: &[u8]) -> Option<&[u8]> {
    Some(data.strip_suffix(b"}")?.trim_ascii_end())
}

impl Templated {
    /// The text of a frame that fits the template.
    fn text<'a>(&self, frame: &Frame<'a>) -> Option<&'a str> {
        let (before, behind) = (self.known.get(..self.text.start)?, self.known.get(self.text.end..)?);
        if self.text.is_empty() || frame.fault || frame.event != self.event {
            return None;
        }
        let rest = frame.data.strip_prefix(before)?;
        let text = match rest.strip_suffix(behind) {
            Some(text) => text,
            None => without_padding(rest)?.strip_suffix(without_padding(behind)?)?,
        };
        if text.iter().any(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)) {
            return None;
        }
        std::str::from_utf8(text).ok()
    }

    fn learn(&mut self, frame: &Frame<'_>, text: Range<usize>) {
        let quoted = text.start.checked_sub(1).and_then(|before| frame.data.get(before)) == Some(&b'"')
            && frame.data.get(text.end) == Some(&b'"');
        if quoted {
            frame.event.clone_into(&mut self.event);
            frame.data.clone_into(&mut self.known);
            self.text = text;
        }
    }
}

impl StreamDecoder for Templated {
    fn frame(&mut self, frame: Frame<'_>, answer: &mut Assembly) -> Result<(), Error> {
        // What a frame behind the end means is the decoder's to say.
        if !answer.is_ended()
            && let Some(text) = self.text(&frame)
        {
            answer.text(text);
            return Ok(());
        }
        answer.watch(frame.data);
        self.decoder.frame(frame, answer)?;
        if let Some(text) = answer.only_text() {
            self.learn(&frame, text);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{anthropic::Anthropic, openai::OpenAi};

    /// Text and event count of the frames, read with and without templates, and how many were read by template.
    fn read(wire: &dyn Wire, event: &str, frames: &[&str]) -> (String, usize) {
        let (mut fast, mut plain) = (decoder(wire), wire.stream_decoder());
        let (mut by_template, mut one, mut other) = (0, Assembly::new(), Assembly::new());
        for data in frames {
            let frame = Frame::new(event, data.as_bytes());
            by_template += usize::from(fast.text(&frame).is_some());
            fast.frame(frame, &mut one).unwrap();
            plain.frame(frame, &mut other).unwrap();
        }
        assert_eq!(one.events().collect::<Vec<_>>(), other.events().collect::<Vec<_>>());
        let text = one.into_response();
        assert_eq!(text, other.into_response());
        (text.text(), by_template)
    }

    fn chunk(content: &str, rest: &str) -> String {
        format!(r#"{{"id":"1","choices":[{{"index":0,"delta":{{"content":"{content}"}}{rest}}}],"usage":null}}"#)
    }

    #[test]
    fn alike_frames_are_not_parsed_again() {
        let frames: Vec<_> = ["a", "é", " b", "", "c"].iter().map(|text| chunk(text, "")).collect();
        let frames: Vec<_> = frames.iter().map(String::as_str).collect();
        assert_eq!(read(&OpenAi::default(), "", &frames), ("aé bc".to_owned(), 4));
    }

    #[test]
    fn whatever_else_differs_is_parsed() {
        for odd in [
            chunk("x", r#","finish_reason":"stop""#),
            chunk(r"x\ny", ""),
            chunk(r"\u0041", ""),
            chunk(r#"x"}},{"index":1,"delta":{"content":"y"#, ""),
            chunk("x", r#","delta":{"content":"z"}"#),
            chunk("x", "").replace("null", r#"{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}"#),
            chunk("x", "").replace("\"1\"", "\"2\""),
            chunk("x", "").replace("content", "refusal"),
        ] {
            let frames = [chunk("a", ""), odd.clone(), chunk("b", "")];
            let frames: Vec<_> = frames.iter().map(String::as_str).collect();
            let (_, by_template) = read(&OpenAi::default(), "", &frames);
            assert!(by_template <= 1, "{odd}");
        }
    }

    #[test]
    fn a_block_that_begins_is_more_than_its_text() {
        let start = |text: &str| {
            format!(r#"{{"type":"content_block_start","index":0,"content_block":{{"type":"text","text":"{text}"}}}}"#)
        };
        let frames = [start("one"), start("two")];
        let frames: Vec<_> = frames.iter().map(String::as_str).collect();
        assert_eq!(read(&Anthropic, "content_block_start", &frames), ("onetwo".to_owned(), 0));
    }

    #[test]
    fn padding_does_not_count() {
        let delta = |text: &str, pad: usize| {
            let pad = " ".repeat(pad);
            let delta = format!(r#"{{"type":"text_delta","text":"{text}"}}"#);
            format!(r#"{{"type":"content_block_delta","index":0,"delta":{delta}{pad}}}"#)
        };
        let frames: Vec<_> = [0, 3, 12, 1].iter().enumerate().map(|(n, pad)| delta(&format!("w{n} "), *pad)).collect();
        let frames: Vec<_> = frames.iter().map(String::as_str).collect();
        assert_eq!(read(&Anthropic, "content_block_delta", &frames), ("w0 w1 w2 w3 ".to_owned(), 3));
    }
}
