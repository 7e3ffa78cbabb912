//! Messages out of bytes: AWS's binary event stream, `application/vnd.amazon.eventstream`, as Bedrock streams.
//!
//! A message is, in big-endian numbers: its whole length and its headers' length (4 bytes each), the CRC-32 of those eight
//! bytes, the headers, the payload, and the CRC-32 of all that came before. Source: AWS, "Amazon Transcribe: Event stream
//! encoding", and Smithy's specification "Amazon Event Stream".

use super::{Frame, tail::Tail};
use crate::error::{Error, ErrorKind};

/// Two lengths and their checksum.
const PRELUDE: usize = 12;
/// The checksum at the end.
const CHECKSUM: usize = 4;

/// Cuts a stream into messages. A message that lies whole in the fed bytes is handed out where it is, without a copy.
#[derive(Debug)]
pub struct EventStreamParser {
    tail: Tail,
    max: usize,
}

/// The two lengths of a message.
#[derive(Debug, Clone, Copy)]
struct Prelude {
    total: usize,
    headers: usize,
}

impl EventStreamParser {
    /// A parser that refuses messages of more than `max_frame` bytes.
    pub fn new(max_frame: usize) -> Self {
        Self { tail: Tail::new(max_frame), max: max_frame }
    }

    /// Takes the next bytes and calls `on_frame` for each message that they complete. After an error the rest of the bytes
    /// is lost.
    ///
    /// # Errors
    /// The first one of `on_frame`, or [`ErrorKind::Malformed`] for a message over the limit, with a wrong checksum or with
    /// lengths or headers that do not add up.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        mut on_frame: impl FnMut(Frame<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.tail.is_empty()
                && let Some(prelude) = prelude(rest, self.max)?
                && let Some((message, after)) = rest.split_at_checked(prelude.total)
            {
                emit(message, prelude, &mut on_frame)?;
                rest = after;
                continue;
            }
            // What is kept is never a whole message, and never a prelude without its checks: so there is always more to take.
            let wanted = prelude(self.tail.bytes(), self.max)?.map_or(PRELUDE, |prelude| prelude.total);
            let missing = wanted.saturating_sub(self.tail.bytes().len());
            let (more, after) = rest.split_at(missing.min(rest.len()));
            self.tail.hold(more)?;
            rest = after;
            if let Some(prelude) = prelude(self.tail.bytes(), self.max)?
                && self.tail.bytes().len() == prelude.total
            {
                let message = self.tail.take();
                let result = emit(&message, prelude, &mut on_frame);
                self.tail.reuse(message);
                result?;
            }
        }
        Ok(())
    }

    /// The body has ended. Unlike a line, a message says how long it is: one that is not whole was cut off.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] if it ended in the middle of a message.
    pub fn finish(&mut self, _: impl FnMut(Frame<'_>) -> Result<(), Error>) -> Result<(), Error> {
        if self.tail.is_empty() { Ok(()) } else { Err(broken("ends in the middle of a message")) }
    }
}

#[cold]
fn broken(what: &str) -> Error {
    Error::new(ErrorKind::Malformed, format!("the event stream {what}"))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// The lengths at the beginning of a message, checked; `None` if they are not all there yet.
fn prelude(bytes: &[u8], max: usize) -> Result<Option<Prelude>, Error> {
    let Some((lengths, checksum)) =
        bytes.get(..PRELUDE).and_then(|prelude| Some((prelude.get(..8)?, number(prelude, 8)?)))
    else {
        return Ok(None);
    };
    if crc32fast::hash(lengths) != checksum {
        return Err(broken("has a message whose lengths do not fit their checksum"));
    }
    let length = |at| number(lengths, at).and_then(|length| usize::try_from(length).ok()).unwrap_or(usize::MAX);
    let (total, headers) = (length(0), length(4));
    if total > max {
        return Err(broken(&format!("has a message of {total} bytes, larger than {max}")));
    }
    if total.checked_sub(PRELUDE + CHECKSUM).is_none_or(|room| headers > room) {
        return Err(broken("has a message whose lengths do not add up"));
    }
    Ok(Some(Prelude { total, headers }))
}

fn emit(
    message: &[u8],
    prelude: Prelude,
    on_frame: &mut impl FnMut(Frame<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let parts = message.split_last_chunk::<CHECKSUM>().and_then(|(before, checksum)| {
        let (headers, payload) = before.get(PRELUDE..)?.split_at_checked(prelude.headers)?;
        Some((before, headers, payload, u32::from_be_bytes(*checksum)))
    });
    let Some((before, headers, payload, checksum)) = parts else {
        return Err(broken("has a message whose lengths do not add up"));
    };
    if crc32fast::hash(before) != checksum {
        return Err(broken("has a message that does not fit its checksum"));
    }
    let names = Names::read(headers).ok_or_else(|| broken("has a message whose headers cannot be read"))?;
    on_frame(names.frame(payload))
}

/// The headers that tell what a message is.
#[derive(Debug, Default)]
struct Names<'a> {
    message: &'a str,
    event: &'a str,
    exception: &'a str,
    code: &'a str,
    text: &'a str,
}

impl<'a> Names<'a> {
    /// Reads all headers; `None` if they are no headers.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (mut names, mut rest) = (Self::default(), bytes);
        while let Some((length, after)) = rest.split_first() {
            let (name, after) = after.split_at_checked(usize::from(*length))?;
            let (kind, after) = after.split_first()?;
            let (size, after) = match kind {
                // True and false have no value.
                0 | 1 => (0, after),
                2 => (1, after),
                3 => (2, after),
                4 => (4, after),
                // Of 64 bits, and a time in milliseconds.
                5 | 8 => (8, after),
                // Bytes and text.
                6 | 7 => {
                    let (size, after) = after.split_first_chunk::<2>()?;
                    (usize::from(u16::from_be_bytes(*size)), after)
                }
                // A UUID.
                9 => (16, after),
                _ => return None,
            };
            let (value, after) = after.split_at_checked(size)?;
            if *kind == 7 {
                let value = std::str::from_utf8(value).ok()?;
                match name {
                    b":message-type" => names.message = value,
                    b":event-type" => names.event = value,
                    b":exception-type" => names.exception = value,
                    b":error-code" => names.code = value,
                    b":error-message" => names.text = value,
                    _ => {}
                }
            }
            rest = after;
        }
        Some(names)
    }

    /// An exception is modelled by the service and has a payload; an error is not, and has its text in a header.
    fn frame(&self, payload: &'a [u8]) -> Frame<'a> {
        match self.message {
            "exception" => Frame { event: self.exception, data: payload, fault: true },
            "error" => Frame { event: self.code, data: self.text.as_bytes(), fault: true },
            _ => Frame { event: self.event, data: payload, fault: false },
        }
    }
}
