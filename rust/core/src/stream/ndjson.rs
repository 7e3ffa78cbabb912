//! Lines of JSON out of bytes: newline-delimited JSON, as Ollama streams it.

use memchr::memchr;

use super::{Frame, tail::Tail};
use crate::error::Error;

/// Cuts a stream into lines. A line that lies whole in the fed bytes is handed out where it is, without a copy.
#[derive(Debug)]
pub struct NdJsonParser {
    tail: Tail,
    /// Bytes looked at for a line's end, to show that none is looked at twice.
    #[cfg(test)]
    scanned: usize,
}

impl NdJsonParser {
    /// A parser that refuses lines of more than `max_frame` bytes.
    pub fn new(max_frame: usize) -> Self {
        Self {
            tail: Tail::new(max_frame),
            #[cfg(test)]
            scanned: 0,
        }
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
        while let Some(at) = self.line_end(rest) {
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

    /// Where the next line ends. Called once for each piece of a line, so that each byte is looked at once.
    fn line_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let at = memchr(b'\n', bytes);
        #[cfg(test)]
        {
            self.scanned += at.map_or(bytes.len(), |at| at + 1);
        }
        at
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
        data => on_frame(Frame::new("", data)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_in_small_pieces_is_looked_at_once() {
        let line = [vec![b'x'; 2_000_000], b"\n{}\n".to_vec()].concat();
        for size in [1, 7, 1_000, 65_536] {
            let (mut parser, mut got) = (NdJsonParser::new(4_000_000), Vec::new());
            for piece in line.chunks(size) {
                parser
                    .feed(piece, |frame| {
                        got.push(frame.data.len());
                        Ok(())
                    })
                    .unwrap();
            }
            assert_eq!((got, parser.scanned), (vec![2_000_000, 2], line.len()), "in pieces of {size}");
        }
    }

    #[test]
    fn a_whole_line_is_not_copied() {
        let chunk = b"{\"a\":1}\r\n[2]\n".as_slice();
        let range = chunk.as_ptr_range();
        let mut parser = NdJsonParser::new(100);
        let mut seen = 0;
        parser
            .feed(chunk, |frame| {
                assert!(range.contains(&frame.data.as_ptr()));
                seen += 1;
                Ok(())
            })
            .unwrap();
        assert!(seen == 2 && parser.tail.is_empty());
    }
}
