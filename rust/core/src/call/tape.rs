//! What has come of a stream that equal calls share: written once, read by each from its beginning at its own pace.
//!
//! The request is read as fast as the fastest reader reads: a slow one holds nobody up, and when all are slow the socket is
//! left alone until one of them goes on. What all readers have read is kept for those who come later, its pieces joined, so
//! that it takes what its text takes; what one of them still has to read is kept piece by piece. Each reader's own queue is
//! bounded as any stream's.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
    vec::Drain,
};

use slab::Slab;
use tokio::sync::Notify;

use super::{
    Sender,
    queue::{MAX_BYTES, MAX_EVENTS, Sink},
    timeouts::Clock,
};
use crate::{
    http::lock,
    metrics::Metrics,
    model::{Assembly, Event, Response},
};

/// So many events that all have read are worth being joined.
const MANY: usize = 256;

/// A place on the tape: so many events, and so many bytes, come before it.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    events: usize,
    bytes: usize,
}

impl Place {
    fn pass(&mut self, event: &Event) {
        self.events += 1;
        self.bytes += event.size();
    }
}

#[derive(Debug, Default)]
struct State {
    /// What all readers have read, joined.
    old: Vec<Event>,
    /// The last counts of tokens among it: some providers send them after each piece, and only the last ones hold.
    old_usage: Option<Event>,
    /// The rest, and where it begins and ends.
    events: Vec<Event>,
    start: Place,
    end: Place,
    metrics: Metrics,
    /// How many events each reader has passed on.
    readers: Slab<usize>,
    /// Where the fastest reader is or was.
    furthest: Place,
    /// Those who want the whole answer and no events.
    driving: usize,
    writer: Option<Waker>,
}

impl State {
    /// The same bounds ahead of the fastest reader as a reader's queue has.
    fn has_room(&self) -> bool {
        let Place { events, bytes } = self.furthest;
        let near = self.end.events - events < MAX_EVENTS && self.end.bytes - bytes < MAX_BYTES;
        near || self.driving > 0
    }

    /// Joins what all have read.
    fn join(&mut self) {
        let slowest = self.readers.iter().map(|(_, events)| *events).min().unwrap_or(self.end.events);
        let read = slowest - self.start.events;
        if read < MANY {
            return;
        }
        let Self { old, old_usage, events, start, .. } = self;
        for event in events.drain(..read) {
            start.pass(&event);
            if matches!(event, Event::Usage(_)) {
                *old_usage = Some(event);
                continue;
            }
            let apart = match old.last_mut() {
                Some(last) => last.join(event),
                None => Some(event),
            };
            old.extend(apart);
        }
        if self.furthest.events < self.start.events {
            self.furthest = self.start;
        }
    }
}

/// The events of a stream under way.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    state: Mutex<State>,
    grown: Notify,
}

impl Tape {
    /// Has the stream read on however slow its readers are, until what it returns is dropped.
    pub(crate) fn drive(self: Arc<Self>) -> Driving {
        let writer = {
            let mut state = lock(&self.state);
            state.driving += 1;
            state.writer.take()
        };
        if let Some(writer) = writer {
            writer.wake();
        }
        Driving(self)
    }

    /// A reader at the beginning, who passes the events on to `sender`.
    pub(super) fn play(self: Arc<Self>, sender: &Sender) -> Playing<'_> {
        let (reader, place, batch) = {
            let mut state = lock(&self.state);
            let start = state.start;
            let old = state.old.iter().chain(&state.old_usage).cloned().collect();
            (state.readers.insert(start.events), start, old)
        };
        Playing { tape: self, reader, sender, place, batch, begun: false }
    }
}

impl Sink for Tape {
    fn push(&self, events: Drain<'_, Event>, now: Duration) -> bool {
        let mut carries = false;
        {
            let mut state = lock(&self.state);
            for event in events {
                if event.is_piece() {
                    state.metrics.add_output_tokens(1, now);
                }
                carries |= event.carries();
                state.end.pass(&event);
                state.events.push(event);
            }
            if state.events.len() >= 2 * MANY {
                state.join();
            }
        }
        self.grown.notify_waiters();
        carries
    }

    fn metrics(&self) -> Metrics {
        lock(&self.state).metrics.clone()
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.state);
        if state.has_room() {
            return Poll::Ready(());
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn has_room(&self) -> bool {
        lock(&self.state).has_room()
    }

    fn is_shared(&self) -> bool {
        true
    }
}

/// The wish for the whole answer. See [`Tape::drive`].
#[derive(Debug)]
pub(crate) struct Driving(Arc<Tape>);

impl Drop for Driving {
    fn drop(&mut self) {
        lock(&self.0.state).driving -= 1;
    }
}

/// One reader of a tape.
#[derive(Debug)]
pub(super) struct Playing<'a> {
    tape: Arc<Tape>,
    reader: usize,
    sender: &'a Sender,
    place: Place,
    /// What is to be passed on next: at first, what all others had read already.
    batch: Vec<Event>,
    begun: bool,
}

impl Drop for Playing<'_> {
    fn drop(&mut self) {
        lock(&self.tape.state).readers.try_remove(self.reader);
    }
}

impl Playing<'_> {
    /// Passes on what comes, without an end. May be given up at any time; nothing is lost and nothing comes twice.
    pub(super) async fn on(&mut self, clock: &Clock) {
        loop {
            self.rest(clock).await;
            let tape = self.tape.clone();
            let mut grown = pin!(tape.grown.notified());
            // What is written from here on is heard of.
            grown.as_mut().enable();
            if !self.is_behind() {
                grown.await;
            }
        }
    }

    /// Passes on what is there already, as the reader makes room.
    pub(super) async fn rest(&mut self, clock: &Clock) {
        while self.is_behind() {
            poll_fn(|cx| self.sender.poll_room(cx)).await;
            self.pass(clock);
        }
    }

    fn is_behind(&self) -> bool {
        !self.batch.is_empty() || lock(&self.tape.state).end.events > self.place.events
    }

    /// Passes on as much as fills an empty queue; what all others had read already in one go, as an answer that is known.
    fn pass(&mut self, clock: &Clock) {
        let writer = {
            let mut state = lock(&self.tape.state);
            let start = self.place;
            let ahead = start.events - state.start.events;
            for event in state.events.iter().skip(ahead).take(MAX_EVENTS) {
                self.place.pass(event);
                self.batch.push(event.clone());
                if self.place.bytes - start.bytes >= MAX_BYTES {
                    break;
                }
            }
            if let Some(reader) = state.readers.get_mut(self.reader) {
                *reader = self.place.events;
            }
            if self.place.events > state.furthest.events {
                state.furthest = self.place;
            }
            if state.has_room() { state.writer.take() } else { None }
        };
        if let Some(writer) = writer {
            writer.wake();
        }
        self.begun = true;
        self.sender.push(self.batch.drain(..), clock.elapsed());
    }

    /// The answer as far as it was passed on; `None` if nothing was.
    pub(super) fn so_far(&self, model: &str) -> Option<Response> {
        if !self.begun {
            return None;
        }
        let mut answer = Assembly::new();
        answer.meta("", model);
        {
            let state = lock(&self.tape.state);
            let passed = state.events.iter().take(self.place.events - state.start.events);
            state.old.iter().chain(&state.old_usage).chain(passed).for_each(|event| answer.event(event));
        }
        Some(answer.into_response())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        call::{Next, Receiver, Timeouts, queue},
        error::Error,
    };

    fn push(tape: &Tape, texts: impl IntoIterator<Item = String>) {
        let mut events: Vec<_> = texts.into_iter().map(|text| Event::Text(text.into())).collect();
        tape.push(events.drain(..), Duration::ZERO);
    }

    fn read(receiver: &mut Receiver) -> Vec<String> {
        let mut texts = Vec::new();
        while let Poll::Ready(Next::Event(Event::Text(text))) =
            receiver.poll_next(&mut Context::from_waker(Waker::noop()))
        {
            texts.push(text.to_string());
        }
        texts
    }

    fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
        range.map(|n| n.to_string()).collect()
    }

    /// Polls once; whether the future goes on waiting.
    fn waits(future: impl Future<Output = ()>) -> bool {
        pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    #[test]
    fn each_reads_from_the_beginning_whenever_it_comes() {
        let (tape, clock) = (Arc::new(Tape::default()), Clock::start(Timeouts::default()));
        let (sender, mut early) = queue();
        let mut playing = tape.clone().play(&sender);
        assert!(waits(playing.on(&clock)));
        push(&tape, numbers(0..3));
        assert!(waits(playing.on(&clock)));
        assert_eq!(read(&mut early), numbers(0..3));
        push(&tape, numbers(3..5));
        let (other, mut late) = queue();
        let mut following = tape.clone().play(&other);
        assert!(waits(following.on(&clock)) && waits(playing.on(&clock)));
        assert_eq!((read(&mut early), read(&mut late)), (numbers(3..5), numbers(0..5)));
        assert_eq!(following.so_far("m").unwrap().text(), "01234");
        assert_eq!(tape.metrics().output_tokens(), 5);
    }

    #[test]
    fn what_all_have_read_is_joined_and_late_ones_get_it_whole() {
        let (tape, clock) = (Arc::new(Tape::default()), Clock::start(Timeouts::default()));
        let ((first_end, mut first), (second_end, mut second)) = (queue(), queue());
        let (mut at_first, mut at_second) = (tape.clone().play(&first_end), tape.clone().play(&second_end));
        let kept = |tape: &Tape| lock(&tape.state).events.len();
        let mut texts = Vec::new();
        for n in 0..40 {
            push(&tape, numbers(n * 100..(n + 1) * 100));
            assert!(waits(at_first.on(&clock)));
            texts.append(&mut read(&mut first));
            if n < 20 {
                assert!(waits(at_second.on(&clock)));
                assert!(kept(&tape) < 3 * MANY, "{}", kept(&tape));
                texts.truncate((n + 1) * 100);
                read(&mut second);
            }
        }
        assert_eq!(texts, numbers(0..4000), "piece by piece, for who was there");
        assert!(kept(&tape) > 2000 - MANY, "the slow one has them to read yet");
        let (late_end, mut late) = queue();
        let mut at_late = tape.clone().play(&late_end);
        assert!(at_late.so_far("m").is_none());
        let mut late_read = Vec::new();
        for _ in 0..10 {
            assert!(waits(at_late.on(&clock)));
            late_read.append(&mut read(&mut late));
        }
        assert_eq!(late_read.concat(), numbers(0..4000).concat());
        assert!(late_read.len() < 2000 + 3 * MANY, "few pieces for what all had read");
        assert_eq!(at_late.so_far("m").unwrap().text(), numbers(0..4000).concat());
        assert_eq!(at_second.so_far("m").unwrap().text(), numbers(0..2000).concat());
        drop(at_second);
        push(&tape, numbers(4000..4001));
        assert!(kept(&tape) <= 1, "nobody is behind any more");
    }

    #[derive(Debug, Clone)]
    enum Op {
        Push(usize),
        Come,
        /// This reader passes on what it can.
        Pass(usize),
        /// This one's queue is read empty.
        Read(usize),
        Leave(usize),
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let op = prop_oneof![
            4 => (1..600_usize).prop_map(Op::Push),
            1 => Just(Op::Come),
            6 => (0..4_usize).prop_map(Op::Pass),
            4 => (0..4_usize).prop_map(Op::Read),
            1 => (0..4_usize).prop_map(Op::Leave),
        ];
        prop::collection::vec(op, 0..60)
    }

    proptest! {
        /// Against one long text: whatever comes, goes and dawdles, each reader has a beginning of it, and in the end all.
        #[test]
        fn every_reader_reads_the_same_text(ops in ops()) {
            let (tape, clock) = (Arc::new(Tape::default()), Clock::start(Timeouts::default()));
            let (mut whole, mut count) = (String::new(), 0);
            let mut readers: Vec<(Playing<'_>, Receiver, String)> = Vec::new();
            for op in ops {
                match op {
                    Op::Push(n) => {
                        let room = tape.has_room();
                        let ahead = readers.iter().map(|(playing, ..)| playing.place.events).max();
                        let near = ahead.is_none_or(|ahead| count - ahead < MAX_EVENTS);
                        prop_assert!(room || !near || readers.is_empty(), "who is near the end makes room");
                        push(&tape, numbers(count..count + n));
                        whole += &numbers(count..count + n).concat();
                        count += n;
                    }
                    Op::Come => {
                        let (sender, receiver) = queue();
                        let sender: &'static Sender = Box::leak(Box::new(sender));
                        readers.push((tape.clone().play(sender), receiver, String::new()));
                    }
                    Op::Pass(at) => {
                        if let Some((playing, ..)) = readers.get_mut(at) {
                            prop_assert!(waits(playing.on(&clock)));
                        }
                    }
                    Op::Read(at) => {
                        if let Some((_, receiver, text)) = readers.get_mut(at) {
                            *text += &read(receiver).concat();
                            prop_assert!(whole.starts_with(text.as_str()));
                        }
                    }
                    Op::Leave(at) => {
                        if at < readers.len() {
                            readers.remove(at);
                        }
                    }
                }
            }
            for (mut playing, mut receiver, mut text) in readers {
                while text.len() < whole.len() {
                    prop_assert!(waits(playing.on(&clock)));
                    let more = read(&mut receiver).concat();
                    prop_assert!(!more.is_empty());
                    text += &more;
                }
                prop_assert_eq!(&text, &whole);
                prop_assert_eq!(playing.so_far("m").map(|so_far| so_far.text()).unwrap_or_default(), text);
            }
        }
    }

    #[test]
    fn the_fastest_reader_sets_the_pace_and_a_slow_one_holds_nobody_up() {
        let (tape, clock) = (Arc::new(Tape::default()), Clock::start(Timeouts::default()));
        let ((slow_end, mut slow), (fast_end, mut fast)) = (queue(), queue());
        let (mut at_slow, mut at_fast) = (tape.clone().play(&slow_end), tape.clone().play(&fast_end));
        let (mut written, mut fast_read) = (0, Vec::new());
        for _ in 0..20 {
            assert!(tape.has_room());
            push(&tape, numbers(written..written + MAX_EVENTS));
            written += MAX_EVENTS;
            assert!(waits(at_slow.on(&clock)) && waits(at_fast.on(&clock)));
            fast_read.append(&mut read(&mut fast));
        }
        assert_eq!(fast_read, numbers(0..written));
        // Now the fast one stops, too: its queue and as much again, and the writer waits.
        push(&tape, numbers(written..written + MAX_EVENTS));
        assert!(waits(at_fast.on(&clock)) && tape.has_room());
        push(&tape, numbers(written + MAX_EVENTS..written + 2 * MAX_EVENTS));
        assert!(waits(at_fast.on(&clock)) && !tape.has_room());
        // The slow one has a queue full, not the answer.
        assert_eq!(read(&mut slow).len(), MAX_EVENTS);
        let mut slow_read = MAX_EVENTS;
        while slow_read < written + MAX_EVENTS {
            assert!(!tape.has_room(), "far behind, it cannot make room");
            assert!(waits(at_slow.on(&clock)));
            slow_read += read(&mut slow).len();
        }
        drop((at_fast, fast));
        assert!(waits(at_slow.on(&clock)) && tape.has_room(), "it is the one ahead now");
    }

    #[test]
    fn large_events_fill_it_too_and_who_wants_the_whole_makes_room() {
        let tape = Arc::new(Tape::default());
        push(&tape, ["x".repeat(MAX_BYTES)]);
        assert!(!tape.has_room());
        let driving = [tape.clone().drive(), tape.clone().drive()];
        assert!(tape.has_room());
        drop(driving);
        assert!(!tape.has_room());
    }

    #[tokio::test]
    async fn the_writer_wakes_when_there_is_room_again() {
        let (tape, clock) = (Arc::new(Tape::default()), Clock::start(Timeouts::default()));
        push(&tape, ["x".repeat(MAX_BYTES)]);
        let writer = tokio::spawn({
            let tape = tape.clone();
            async move { poll_fn(|cx| tape.poll_room(cx)).await }
        });
        tokio::task::yield_now().await;
        assert!(!writer.is_finished());
        let (sender, receiver) = queue();
        tape.clone().play(&sender).rest(&clock).await;
        writer.await.unwrap();
        sender.finish(Err(Error::invalid("over")));
        drop(receiver);
    }
}
