//! Bytes to frames: incremental, split anywhere, bounded in memory, with no I/O.

pub mod eventstream;
pub mod ndjson;
pub mod sse;
mod tail;

use crate::error::Error;

/// One frame of a stream: an SSE event, a line of NDJSON (which has no event name), or a message of AWS's event stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The event's name, or the name of the exception; empty where none was given.
    pub event: &'a str,
    /// The payload. SSE: the `data` lines joined by newlines.
    pub data: &'a [u8],
    /// Whether the framing itself says that this is an error. Only AWS's event stream does.
    pub fault: bool,
}

impl<'a> Frame<'a> {
    /// A frame of a framing that has no errors of its own.
    pub fn new(event: &'a str, data: &'a [u8]) -> Self {
        Self { event, data, fault: false }
    }
}

/// How a stream's bytes are cut into frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events.
    Sse,
    /// One JSON value on each line.
    NdJson,
    /// AWS's binary event stream.
    EventStream,
}

/// The largest frame taken, in bytes. The largest seen in recordings is 100,873; generated images go to some megabytes.
pub const MAX_FRAME: usize = 64 << 20;

/// An incremental parser of any framing.
#[derive(Debug)]
pub enum Parser {
    /// Server-sent events.
    Sse(sse::SseParser),
    /// One JSON value on each line.
    NdJson(ndjson::NdJsonParser),
    /// AWS's binary event stream.
    EventStream(eventstream::EventStreamParser),
}

impl Parser {
    /// A parser that refuses frames of more than [`MAX_FRAME`] bytes.
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::Sse => Self::Sse(sse::SseParser::new(MAX_FRAME)),
            Framing::NdJson => Self::NdJson(ndjson::NdJsonParser::new(MAX_FRAME)),
            Framing::EventStream => Self::EventStream(eventstream::EventStreamParser::new(MAX_FRAME)),
        }
    }

    /// Takes the next bytes and calls `on_frame` for each frame that they complete; stops at its first error.
    ///
    /// # Errors
    /// What `on_frame` returned, or [`ErrorKind::Malformed`](crate::ErrorKind::Malformed) for a frame over the limit or a
    /// broken one.
    pub fn feed(&mut self, bytes: &[u8], on_frame: impl FnMut(Frame<'_>) -> Result<(), Error>) -> Result<(), Error> {
        match self {
            Self::Sse(parser) => parser.feed(bytes, on_frame),
            Self::NdJson(parser) => parser.feed(bytes, on_frame),
            Self::EventStream(parser) => parser.feed(bytes, on_frame),
        }
    }

    /// The body has ended: hands out what stands without its closing newline. Servers cut the last one off.
    ///
    /// # Errors
    /// What `on_frame` returned, or [`ErrorKind::Malformed`](crate::ErrorKind::Malformed) in the middle of a message of
    /// AWS's event stream.
    pub fn finish(&mut self, on_frame: impl FnMut(Frame<'_>) -> Result<(), Error>) -> Result<(), Error> {
        match self {
            Self::Sse(parser) => parser.finish(on_frame),
            Self::NdJson(parser) => parser.finish(on_frame),
            Self::EventStream(parser) => parser.finish(on_frame),
        }
    }
}
