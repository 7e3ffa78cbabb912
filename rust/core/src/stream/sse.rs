//! Server-sent events out of bytes, as the WHATWG's event-stream text has them, with one difference: an event that lacks
//! its closing blank line at the end of the body is handed out too, because servers cut it off.

use memchr::memchr2;

use super::{Frame, tail::Tail};
use crate::error::Error;

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// Cuts a stream into events. An event whose one `data` line lies whole in the fed bytes is handed out where it is,
/// without a copy; only what is incomplete at the end of a chunk is kept.
#[derive(Debug)]
pub struct SseParser {
    /// How many bytes of a byte order mark have come; `None` once the stream has begun.
    bom: Option<usize>,
    /// The last chunk ended in a CR: an LF that follows belongs to it.
    after_cr: bool,
    tail: Tail,
    event: String,
    /// The event's `data` lines so far, joined by LF; `None` until the first.
    data: Option<Vec<u8>>,
    /// Memory for `data`, kept from event to event.
    spare: Vec<u8>,
    /// Bytes looked at, to show that none is looked at twice.
    #[cfg(test)]
    scanned: usize,
}

/// What a line means.
enum Field<'a> {
    Data(&'a [u8]),
    Event(&'a [u8]),
    /// A comment, an `id`, a `retry`, an unknown field.
    Ignored,
}

impl SseParser {
    /// A parser that refuses lines, and events, of more than `max_frame` bytes.
    pub fn new(max_frame: usize) -> Self {
        Self {
            bom: Some(0),
            after_cr: false,
            tail: Tail::new(max_frame),
            event: String::new(),
            data: None,
            spare: Vec::new(),
            #[cfg(test)]
            scanned: 0,
        }
    }

    /// Takes the next bytes and calls `on_frame` for each event that they complete. After an error the rest of the bytes
    /// is lost.
    ///
    /// # Errors
    /// The first one of `on_frame`, or [`ErrorKind::Malformed`](crate::ErrorKind::Malformed) for an event over the limit.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        mut on_frame: impl FnMut(Frame<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut rest = self.skip_bom(bytes)?;
        if self.after_cr && !rest.is_empty() {
            self.after_cr = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        // The event's data while it is one line of these bytes.
        let mut here: Option<&[u8]> = None;
        while let Some(at) = self.line_end(rest) {
            let (line, end) = rest.split_at(at);
            rest = match end {
                [b'\r', b'\n', after @ ..] => after,
                [b'\r'] => {
                    self.after_cr = true;
                    &[]
                }
                [_, after @ ..] => after,
                [] => &[],
            };
            if !self.tail.is_empty() {
                self.tail.hold(line)?;
                self.end_tail()?;
            } else if line.is_empty() {
                match here.take() {
                    Some(data) => self.emit(data, &mut on_frame)?,
                    None => self.emit_kept(&mut on_frame)?,
                }
            } else {
                self.tail.check(line.len())?;
                match field(line) {
                    Field::Data(value) if here.is_none() && self.data.is_none() => here = Some(value),
                    Field::Data(value) => {
                        if let Some(first) = here.take() {
                            self.keep(first)?;
                        }
                        self.keep(value)?;
                    }
                    Field::Event(name) => self.name(name),
                    Field::Ignored => {}
                }
            }
        }
        if let Some(data) = here {
            self.keep(data)?;
        }
        self.tail.hold(rest)
    }

    /// The body has ended: hands out a last event without its blank line.
    ///
    /// # Errors
    /// What `on_frame` returned, or [`ErrorKind::Malformed`](crate::ErrorKind::Malformed) for an event over the limit.
    pub fn finish(&mut self, mut on_frame: impl FnMut(Frame<'_>) -> Result<(), Error>) -> Result<(), Error> {
        self.end_tail()?;
        self.emit_kept(&mut on_frame)
    }

    /// Where the next line ends. Called once for each piece of a line, so that each byte is looked at once.
    fn line_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let at = memchr2(b'\n', b'\r', bytes);
        #[cfg(test)]
        {
            self.scanned += at.map_or(bytes.len(), |at| at + 1);
        }
        at
    }

    /// Passes over a byte order mark at the start, which may come in pieces.
    fn skip_bom<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Error> {
        let Some(seen) = self.bom else { return Ok(bytes) };
        let (before, expected) = BOM.split_at(seen);
        let fits = bytes.iter().zip(expected).take_while(|(a, b)| a == b).count();
        if fits == expected.len() {
            self.bom = None;
        } else if fits == bytes.len() {
            self.bom = Some(seen + fits);
        } else {
            // None after all: what was passed over is the start of the first line.
            self.bom = None;
            self.tail.hold(before)?;
            return Ok(bytes);
        }
        Ok(bytes.get(fits..).unwrap_or_default())
    }

    /// Reads the kept line, which is complete now.
    fn end_tail(&mut self) -> Result<(), Error> {
        let line = self.tail.take();
        let result = match field(&line) {
            Field::Data(value) => self.keep(value),
            Field::Event(name) => {
                self.name(name);
                Ok(())
            }
            Field::Ignored => Ok(()),
        };
        self.tail.reuse(line);
        result
    }

    fn name(&mut self, name: &[u8]) {
        self.event.clear();
        self.event.push_str(&String::from_utf8_lossy(name));
    }

    /// Keeps a `data` line until the event ends.
    fn keep(&mut self, line: &[u8]) -> Result<(), Error> {
        let data = match &mut self.data {
            Some(data) => {
                data.push(b'\n');
                data
            }
            none => none.insert(std::mem::take(&mut self.spare)),
        };
        self.tail.check(data.len().saturating_add(line.len()))?;
        data.extend_from_slice(line);
        Ok(())
    }

    fn emit(&mut self, data: &[u8], on_frame: &mut impl FnMut(Frame<'_>) -> Result<(), Error>) -> Result<(), Error> {
        let result = on_frame(Frame::new(&self.event, data));
        self.event.clear();
        result
    }

    /// Hands out the kept data; an event that has none is no event.
    fn emit_kept(&mut self, on_frame: &mut impl FnMut(Frame<'_>) -> Result<(), Error>) -> Result<(), Error> {
        let Some(mut data) = self.data.take() else {
            self.event.clear();
            return Ok(());
        };
        let result = self.emit(&data, on_frame);
        data.clear();
        self.spare = data;
        result
    }
}

/// Splits a line at its first colon.
fn field(line: &[u8]) -> Field<'_> {
    if let Some(data) = line.strip_prefix(b"data").and_then(value) {
        Field::Data(data)
    } else if let Some(name) = line.strip_prefix(b"event").and_then(value) {
        Field::Event(name)
    } else {
        Field::Ignored
    }
}

/// What stands behind a field's name: nothing, or a colon and the value; one space after the colon is not part of it.
fn value(rest: &[u8]) -> Option<&[u8]> {
    match rest {
        [] => Some(rest),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a parser of that limit makes of the pieces.
    fn read(max: usize, pieces: &[&[u8]]) -> Result<Vec<Vec<u8>>, Error> {
        let mut frames = Vec::new();
        let mut parser = SseParser::new(max);
        let mut push = |frame: Frame<'_>| {
            frames.push(frame.data.to_vec());
            Ok(())
        };
        for piece in pieces {
            parser.feed(piece, &mut push)?;
        }
        parser.finish(&mut push)?;
        Ok(frames)
    }

    #[test]
    fn a_whole_event_is_not_copied() {
        let chunk = b": hello\n\nevent: x\ndata: {\"a\":1}\n\ndata:second\r\n\r\n".as_slice();
        let range = chunk.as_ptr_range();
        let mut seen = Vec::new();
        let mut parser = SseParser::new(100);
        parser
            .feed(chunk, |frame| {
                assert!(range.contains(&frame.data.as_ptr()));
                seen.push((frame.event.to_owned(), frame.data.to_vec()));
                Ok(())
            })
            .unwrap();
        assert_eq!(seen, [("x".to_owned(), b"{\"a\":1}".to_vec()), (String::new(), b"second".to_vec())]);
        assert!(parser.data.is_none() && parser.spare.capacity() == 0 && parser.tail.is_empty());
    }

    #[test]
    fn a_long_line_in_small_pieces_is_looked_at_once() {
        let line = [b"data: ".as_slice(), &vec![b'x'; 2_000_000], b"\n\n"].concat();
        for size in [1, 7, 1_000, 65_536] {
            let (mut parser, mut got) = (SseParser::new(4_000_000), 0);
            for piece in line.chunks(size) {
                parser
                    .feed(piece, |frame| {
                        got += frame.data.len();
                        Ok(())
                    })
                    .unwrap();
            }
            assert_eq!((got, parser.scanned), (2_000_000, line.len()), "in pieces of {size}");
        }
    }

    #[test]
    fn the_limit_holds_for_lines_and_for_events() {
        let exact = [b"data:".as_slice(), &[b'x'; 15], b"\n\n"].concat();
        assert_eq!(read(20, &[&exact]).unwrap(), [vec![b'x'; 15]]);
        for (text, what) in [
            (b"data: 0123456789abcdef\n\n".as_slice(), "a line"),
            (b"data: 0123456789abcdef".as_slice(), "a line that never ends"),
            (b"data: 01234567\ndata: 01234567\ndata: 01234567\n\n", "many lines"),
        ] {
            for cut in 0..text.len() {
                let (a, b) = text.split_at(cut);
                let error = read(20, &[a, b]).unwrap_err();
                assert_eq!(error.kind(), crate::ErrorKind::Malformed, "{what} cut at {cut}");
            }
        }
    }

    #[test]
    fn the_first_error_of_the_reader_stops_it() {
        let mut calls = 0;
        let result = SseParser::new(100).feed(b"data: 1\n\ndata: 2\n\n", |_| {
            calls += 1;
            Err(Error::invalid("enough"))
        });
        assert_eq!((result.unwrap_err().message(), calls), ("enough", 1));
    }
}
