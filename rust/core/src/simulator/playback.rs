//! Plays an answer's body piece by piece, with its fault. Pure: the pauses between the pieces are the body's business.

use std::{
    io::{self, Write as _},
    vec,
};

use bytes::{Bytes, BytesMut};
use flate2::{Compression, write::GzEncoder};

use super::{
    answer::Events,
    script::{After, Fault},
};

/// A whole body goes out in slices of this size, so that a slow reader is felt.
const SLICE: usize = 64 << 10;

/// About one event. Events are written into buffers of eight, shared with the pieces cut out of them.
const ROOM: usize = 512;

/// Where the bytes come from.
#[derive(Debug)]
pub(super) enum Source {
    Events(Events),
    Pieces(vec::IntoIter<Bytes>),
    Whole(Bytes),
}

/// How an answer is broken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Break {
    /// A reset of the connection, or over HTTP/2 of the stream.
    Reset,
    /// The end of the connection.
    Close,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Send these bytes, in which so many events end.
    Data(Bytes, usize),
    /// Nothing more comes, and nobody is told.
    Stall,
    Break(Break),
    /// The body has ended; `early` is by a fault.
    End {
        early: bool,
    },
}

/// A body on its way.
#[derive(Debug)]
pub(super) struct Playback {
    source: Source,
    chunk: usize,
    fault: Fault,
    /// The event told by [`Fault::ErrorAfter`].
    error_event: Bytes,
    gzip: Option<GzEncoder<Vec<u8>>>,
    events: usize,
    bytes: u64,
    /// The length of a whole body.
    whole: Option<u64>,
    buffer: BytesMut,
}

impl Playback {
    /// `chunk` events make one piece. With `gzip`, a whole body is compressed at once and events one by one.
    pub(super) fn new(source: Source, chunk: usize, gzip: bool, fault: Fault, error_event: Bytes) -> Self {
        let mut encoder = gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast()));
        let source = match (source, encoder.take()) {
            (Source::Whole(body), Some(whole)) => Source::Whole(compress_whole(whole, &body).unwrap_or(body)),
            (source, streamed) => {
                encoder = streamed;
                source
            }
        };
        let whole = match &source {
            Source::Whole(body) => Some(body.len() as u64),
            _ => None,
        };
        Self {
            source,
            chunk: chunk.max(1),
            fault,
            error_event,
            gzip: encoder,
            events: 0,
            bytes: 0,
            whole,
            buffer: BytesMut::new(),
        }
    }

    /// The length of the body, where it is known and will be announced.
    pub(super) fn length(&self) -> Option<u64> {
        if matches!(self.fault, Fault::EndAfter(_)) { None } else { self.whole }
    }

    /// Whether each piece is an event that a client should get on its own.
    pub(super) fn is_stream(&self) -> bool {
        self.whole.is_none()
    }

    /// Whether nothing more will come: true from the last piece on, so that the end goes out with it.
    pub(super) fn is_over(&self) -> bool {
        self.at_fault().is_none() && self.gzip.is_none() && self.source_is_over()
    }

    fn source_is_over(&self) -> bool {
        match &self.source {
            Source::Events(events) => self.events >= events.count(),
            Source::Pieces(pieces) => pieces.as_slice().is_empty(),
            Source::Whole(rest) => rest.is_empty(),
        }
    }

    /// What the fault says to do, if its place is reached.
    fn at_fault(&self) -> Option<Step> {
        if self.whole.is_some_and(|length| self.bytes >= length) {
            return None; // HTTP has counted the bytes: nothing can go wrong any more.
        }
        let reached = |after: &After| match *after {
            After::Events(events) => self.events >= events,
            After::Bytes(bytes) => self.bytes >= bytes,
        };
        match &self.fault {
            Fault::CutAfter(after) if reached(after) => Some(Step::Break(Break::Reset)),
            Fault::CloseAfter(after) if reached(after) => Some(Step::Break(Break::Close)),
            Fault::EndAfter(after) if reached(after) => Some(Step::End { early: true }),
            Fault::StallAfter { after, .. } if reached(after) => Some(Step::Stall),
            Fault::ErrorAfter { events, .. } if self.events >= *events => Some(Step::Data(self.error_event.clone(), 1)),
            _ => None,
        }
    }

    /// How many more events may come before the fault.
    fn events_left(&self) -> usize {
        match &self.fault {
            Fault::CutAfter(After::Events(n))
            | Fault::CloseAfter(After::Events(n))
            | Fault::EndAfter(After::Events(n))
            | Fault::StallAfter { after: After::Events(n), .. }
            | Fault::ErrorAfter { events: n, .. } => n.saturating_sub(self.events),
            _ => usize::MAX,
        }
    }

    /// How many more bytes may come before the fault.
    fn bytes_left(&self) -> usize {
        match &self.fault {
            Fault::CutAfter(After::Bytes(n))
            | Fault::CloseAfter(After::Bytes(n))
            | Fault::EndAfter(After::Bytes(n))
            | Fault::StallAfter { after: After::Bytes(n), .. } => {
                usize::try_from(n.saturating_sub(self.bytes)).unwrap_or(usize::MAX)
            }
            _ => usize::MAX,
        }
    }

    /// The next piece, or what happens in its place.
    pub(super) fn step(&mut self) -> Step {
        loop {
            match self.at_fault() {
                // A body that ends early, but properly by HTTP's rules, ends its compression too.
                Some(Step::End { .. }) if self.gzip.is_some() => return self.trailer(),
                Some(Step::Data(event, _)) => {
                    // The error is told once; after it comes the end.
                    self.fault = Fault::None;
                    self.source = Source::Pieces(Vec::new().into_iter());
                    let event = self.compressed(event);
                    return self.sent(event, 1);
                }
                Some(step) => return step,
                None => {}
            }
            if self.source_is_over() {
                return if self.gzip.is_some() { self.trailer() } else { Step::End { early: false } };
            }
            let (bytes, events) = self.produce();
            let bytes = self.compressed(bytes);
            let left = self.bytes_left();
            if bytes.len() > left {
                return self.sent(bytes.slice(..left), 0);
            }
            if !bytes.is_empty() {
                return self.sent(bytes, events);
            }
            self.events += events;
        }
    }

    fn sent(&mut self, bytes: Bytes, events: usize) -> Step {
        self.events += events;
        self.bytes += bytes.len() as u64;
        Step::Data(bytes, events)
    }

    /// The next bytes of the source, and how many events end in them.
    fn produce(&mut self) -> (Bytes, usize) {
        let most = self.chunk.min(self.events_left());
        match &mut self.source {
            Source::Events(events) => {
                let upto = events.count().min(self.events.saturating_add(most));
                if self.buffer.capacity() - self.buffer.len() < ROOM {
                    self.buffer.reserve(8 * ROOM);
                }
                (self.events..upto).for_each(|n| events.write(n, &mut self.buffer));
                (self.buffer.split().freeze(), upto - self.events)
            }
            Source::Pieces(pieces) => (pieces.next().unwrap_or_default(), 1),
            Source::Whole(rest) => {
                let slice = rest.split_to(rest.len().min(SLICE));
                (slice, usize::from(rest.is_empty()))
            }
        }
    }

    /// Compresses a piece so that the reader can take it in at once.
    fn compressed(&mut self, bytes: Bytes) -> Bytes {
        let Some(encoder) = &mut self.gzip else { return bytes };
        // Writing to memory cannot fail.
        let _ = encoder.write_all(&bytes).and_then(|()| encoder.flush());
        std::mem::take(encoder.get_mut()).into()
    }

    /// The end of the compression, as a piece of its own.
    fn trailer(&mut self) -> Step {
        let rest = self.gzip.take().and_then(|encoder| encoder.finish().ok()).unwrap_or_default();
        self.bytes += rest.len() as u64;
        Step::Data(rest.into(), 0)
    }

    /// A sign of life, ready to be sent.
    pub(super) fn keep_alive(&mut self, sign: &'static str) -> Bytes {
        self.compressed(Bytes::from_static(sign.as_bytes()))
    }

    /// How often to send a sign of life while stalled.
    pub(super) fn keep_alive_every(&self) -> Option<std::time::Duration> {
        match self.fault {
            Fault::StallAfter { keep_alive, .. } => keep_alive,
            _ => None,
        }
    }
}

fn compress_whole(mut encoder: GzEncoder<Vec<u8>>, body: &[u8]) -> io::Result<Bytes> {
    encoder.write_all(body)?;
    Ok(encoder.finish()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::answer::{Bit, Text, plain};
    use std::io::Read as _;

    /// Six events, `H`, `<a>`, `< b>`, `< c>`, `T`, `U`: 14 bytes.
    fn events() -> Source {
        Source::Events(Events {
            head: vec!["H".into()],
            before: "<".into(),
            text: Text::new("a b c"),
            after: vec![Bit::Is(">".into())],
            tail: plain(vec!["T".into(), "U".into()]),
        })
    }

    fn whole(length: usize) -> Source {
        Source::Whole(vec![b'x'; length].into())
    }

    fn playback(source: Source, chunk: usize, fault: Fault) -> Playback {
        Playback::new(source, chunk, false, fault, Bytes::from_static(b"E"))
    }

    /// Everything sent, the sizes of the pieces' events, and how it ended.
    fn play(mut playback: Playback) -> (Vec<u8>, Vec<usize>, Step) {
        let (mut all, mut sizes) = (Vec::new(), Vec::new());
        loop {
            match playback.step() {
                Step::Data(bytes, events) => {
                    all.extend_from_slice(&bytes);
                    sizes.push(events);
                }
                step => return (all, sizes, step),
            }
        }
    }

    #[test]
    fn events_come_one_by_one_or_in_chunks() {
        let end = Step::End { early: false };
        assert_eq!(play(playback(events(), 1, Fault::None)), (b"H<a>< b>< c>TU".to_vec(), vec![1; 6], end));
        let (all, sizes, _) = play(playback(events(), 4, Fault::None));
        assert_eq!((all.as_slice(), sizes), (&b"H<a>< b>< c>TU"[..], vec![4, 2]));
    }

    #[test]
    fn it_is_over_with_the_last_piece() {
        for (source, pieces) in [(events(), 6), (whole(SLICE + 1), 2), (whole(0), 0)] {
            let mut playback = playback(source, 1, Fault::None);
            for _ in 0..pieces {
                assert!(!playback.is_over());
                assert!(matches!(playback.step(), Step::Data(..)));
            }
            assert!(playback.is_over());
            assert_eq!(playback.step(), Step::End { early: false });
        }
    }

    #[test]
    fn every_fault_at_every_event() {
        let text = b"H<a>< b>< c>TU";
        let upto = [0, 1, 4, 8, 12, 13, 14];
        for (n, length) in upto.into_iter().enumerate() {
            for chunk in [1, 4] {
                let after = After::Events(n);
                for (fault, end) in [
                    (Fault::CutAfter(after), Step::Break(Break::Reset)),
                    (Fault::CloseAfter(after), Step::Break(Break::Close)),
                    (Fault::EndAfter(after), Step::End { early: true }),
                    (Fault::StallAfter { after, keep_alive: None }, Step::Stall),
                ] {
                    let (all, sizes, ended) = play(playback(events(), chunk, fault));
                    assert_eq!((all.as_slice(), ended), (&text[..length], end));
                    assert_eq!(sizes.iter().sum::<usize>(), n);
                }
                let (all, _, ended) = play(playback(events(), chunk, Fault::ErrorAfter { events: n, status: 529 }));
                assert_eq!((all, ended), ([&text[..length], b"E"].concat(), Step::End { early: false }));
            }
        }
    }

    #[test]
    fn a_cut_at_every_byte() {
        for source in [events, || whole(14)] {
            let (text, ..) = play(playback(source(), 1, Fault::None));
            for n in 0..text.len() {
                let (all, _, ended) = play(playback(source(), 3, Fault::CutAfter(After::Bytes(n as u64))));
                assert_eq!((all.as_slice(), ended), (&text[..n], Step::Break(Break::Reset)));
            }
        }
    }

    #[test]
    fn faults_beyond_the_end_do_nothing() {
        for (source, fault) in [
            (events(), Fault::CutAfter(After::Events(7))),
            (events(), Fault::CutAfter(After::Bytes(15))),
            (whole(9), Fault::CutAfter(After::Events(1))),
            (whole(9), Fault::StallAfter { after: After::Bytes(9), keep_alive: None }),
        ] {
            assert_eq!(play(playback(source, 1, fault)).2, Step::End { early: false });
        }
    }

    #[test]
    fn the_length_is_announced_unless_it_will_be_another() {
        assert_eq!(playback(whole(9), 1, Fault::CutAfter(After::Bytes(3))).length(), Some(9));
        assert_eq!(playback(whole(9), 1, Fault::EndAfter(After::Bytes(3))).length(), None);
        assert_eq!(playback(events(), 1, Fault::None).length(), None);
    }

    #[test]
    fn compressed_pieces_can_be_read_as_they_come() {
        let unpack = |bytes: &[u8]| {
            let mut out = vec![0; 64];
            let read = flate2::read::GzDecoder::new(bytes).read(&mut out).unwrap();
            out.truncate(read);
            out
        };
        let mut one = Playback::new(events(), 4, true, Fault::None, Bytes::new());
        let Step::Data(first, 4) = one.step() else { panic!("no first piece") };
        assert_eq!(unpack(&first), b"H<a>< b>< c>");
        for fault in [Fault::None, Fault::EndAfter(After::Events(2))] {
            let (all, _, _) = play(Playback::new(events(), 1, true, fault.clone(), Bytes::new()));
            let mut text = Vec::new();
            flate2::read::GzDecoder::new(all.as_slice()).read_to_end(&mut text).unwrap();
            assert_eq!(text, if fault == Fault::None { &b"H<a>< b>< c>TU"[..] } else { b"H<a>" });
        }
        let whole = Playback::new(whole(100_000), 1, true, Fault::None, Bytes::new());
        assert!(whole.length().is_some_and(|length| length < 1000));
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(play(whole).0.as_slice()).read_to_end(&mut text).unwrap();
        assert_eq!(text.len(), 100_000);
    }

    #[test]
    fn scripted_pieces_stay_as_they_are() {
        let pieces: Vec<Bytes> = vec!["da".into(), "".into(), "ta: \n\n".into()];
        let source = Source::Pieces(pieces.into_iter());
        let (all, sizes, _) = play(playback(source, 5, Fault::None));
        assert_eq!(
            (all.as_slice(), sizes),
            (
                &b"data: 

"[..],
                vec![1, 1]
            )
        );
    }
}
