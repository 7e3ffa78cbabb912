//! Lines of JSON out of bytes: newline-delimited JSON, as Ollama streams it.

use memchr::memchr;

use super::{Frame, tail::Tail};
use crate::error::Error;

/// Cuts a stream into lines. A line that lies whole in the fed bytes is handed out where it is, without a copy.
#[derive(Debug)]
pub struct NdJsonParser {
    tail: Tail,
}

impl NdJsonParser {
    /// A parser that refuses lines of more than `max_frame` bytes.
    pub fn new(max_frame: usize) -> Self {
        Self { tail: Tail::new(max_frame) }
    }

    /// Takes the next bytes and calls `on_frame` for each line that they complete, blank lines left out. After an error
    /// the rest of the bytes is lost.
    ///
    /// # Errors
    /// The first one of `on_frame`, or [`ErrorKind::Malformed`](crate::ErrorKind::Malformed) for a line over the limit.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        mut on_frame: impl FnMut(Frame<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut rest = bytes;
        while let Some(at) = memchr(b'\n', rest) {
            let (line, after) = rest.split_at(at);
            rest = after.get(1..).unwrap_or_default();
            if self.tail.is_empty() {
                self.tail.check(line.len())?;
                emit(line, &mut on_frame)?;
            } else {
                self.tail.hold(line)?;
                self.flush(&mut on_frame)?;
            }
        }
        self.tail.hold(rest)
    }

    /// The body has ended: hands out a last line without its newline.
    ///
    /// # Errors
    /// What `on_frame` returned.
    pub fn finish(&mut self, mut on_frame: impl FnMut(Frame<'_>) -> Result<(), Error>) -> Result<(), Error> {
        self.flush(&mut on_frame)
    }

    fn flush(&mut self, on_frame: &mut impl FnMut(Frame<'_>) -> Result<(), Error>) -> Result<(), Error> {
        let line = self.tail.take();
        let result = emit(&line, on_frame);
        self.tail.reuse(line);
        result
    }
}

/// A line's surrounding white space, the CR of a CRLF among it, is no part of its JSON.
fn emit(line: &[u8], on_frame: &mut impl FnMut(Frame<'_>) -> Result<(), Error>) -> Result<(), Error> {
    match line.trim_ascii() {
        [] => Ok(()),
        data => on_frame(Frame { event: "", data }),
    }
}
