//! The bounded queue between a call and its reader.
//!
//! The call puts in whole batches and stops reading the socket while the queue is full, so that a slow reader slows the
//! sender down and memory stays flat. The reader takes whole batches too: one lock for each batch, not for each event.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    mem,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
    vec::Drain,
};

use super::Completed;
use crate::{
    error::{Error, ErrorKind},
    http::lock,
    metrics::Metrics,
    model::{Event, Response},
};

/// The queue is full at this many events …
pub(super) const MAX_EVENTS: usize = 1024;
/// … or at this many bytes.
pub(super) const MAX_BYTES: usize = 256 << 10;

/// How a streamed call ended.
pub type Outcome = Result<Box<Completed<Response>>, Error>;

/// What a streamed call writes into: the queue of its reader, or the tape that equal calls read.
pub(super) trait Sink: fmt::Debug + Send + Sync {
    /// Puts events in that came at `now`, even if there is no room: what came in one piece of the socket is kept together.
    /// Returns whether one of them carries something of the answer.
    fn push(&self, events: Drain<'_, Event>, now: Duration) -> bool;

    /// What it has taken so far; each piece counts as one token until the provider has given its counts.
    fn metrics(&self) -> Metrics;

    /// Ready when events may be put in.
    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()>;

    /// Whether events may be put in now.
    fn has_room(&self) -> bool;

    /// Whether others than the caller read it, who keep to their own total times.
    fn is_shared(&self) -> bool;
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Event>,
    bytes: usize,
    outcome: Option<Outcome>,
    finished: bool,
    metrics: Metrics,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// The call's end.
#[derive(Debug)]
pub struct Sender(Arc<Mutex<State>>);

/// The reader's end.
#[derive(Debug)]
pub struct Receiver {
    shared: Arc<Mutex<State>>,
    taken: VecDeque<Event>,
    started: Instant,
}

/// An empty queue.
pub fn queue() -> (Sender, Receiver) {
    let shared = Arc::new(Mutex::new(State::default()));
    (Sender(shared.clone()), Receiver { shared, taken: VecDeque::new(), started: Instant::now() })
}

impl Sender {
    /// Puts events in that came at `now`, even into a full queue: what came in one piece of the socket is kept together.
    /// Returns whether one of them carries something of the answer.
    pub fn push(&self, events: impl Iterator<Item = Event>, now: Duration) -> bool {
        let mut carries = false;
        let reader = {
            let mut state = lock(&self.0);
            for event in events {
                if event.is_piece() {
                    state.metrics.add_output_tokens(1, now);
                }
                carries |= event.carries();
                state.bytes += event.size();
                state.events.push_back(event);
            }
            state.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
        carries
    }

    /// What it has taken so far; each piece counts as one token until the provider has given its counts.
    pub fn metrics(&self) -> Metrics {
        lock(&self.0).metrics.clone()
    }

    /// Whether events may be put in now.
    pub fn has_room(&self) -> bool {
        let state = lock(&self.0);
        state.events.len() < MAX_EVENTS && state.bytes < MAX_BYTES
    }

    /// Waits until the reader has made room.
    pub async fn room(&self) {
        poll_fn(|cx| self.poll_room(cx)).await;
    }

    /// The call is over.
    pub fn finish(self, outcome: Outcome) {
        self.end(outcome);
    }

    fn end(&self, outcome: Outcome) {
        let reader = {
            let mut state = lock(&self.0);
            if std::mem::replace(&mut state.finished, true) {
                return;
            }
            if let Ok(completed) = &outcome {
                state.metrics = completed.meta.metrics.clone();
            }
            state.outcome = Some(outcome);
            state.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl Sink for Sender {
    fn push(&self, events: Drain<'_, Event>, now: Duration) -> bool {
        Sender::push(self, events, now)
    }

    fn metrics(&self) -> Metrics {
        Sender::metrics(self)
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.0);
        if state.events.len() < MAX_EVENTS && state.bytes < MAX_BYTES {
            return Poll::Ready(());
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn has_room(&self) -> bool {
        Sender::has_room(self)
    }

    fn is_shared(&self) -> bool {
        false
    }
}

impl Drop for Sender {
    /// A call that was aborted, or that failed inside, must not leave its reader waiting.
    fn drop(&mut self) {
        if !lock(&self.0).finished {
            self.end(Err(Error::new(ErrorKind::Closed, "the call was taken back before its end")));
        }
    }
}

/// How far a call has come; can be asked by anyone while the reader waits.
#[derive(Debug, Clone)]
pub struct Progress {
    shared: Arc<Mutex<State>>,
    started: Instant,
}

impl Progress {
    /// What the call has taken so far, and the time since it began.
    pub fn metrics(&self) -> (Metrics, Duration) {
        (lock(&self.shared).metrics.clone(), self.started.elapsed())
    }
}

/// What the reader gets next.
#[derive(Debug)]
pub enum Next {
    /// An event.
    Event(Event),
    /// The end, with the whole answer or the error. Comes once.
    End(Outcome),
}

impl Receiver {
    /// A view on how far the call has come.
    pub fn progress(&self) -> Progress {
        Progress { shared: self.shared.clone(), started: self.started }
    }

    /// The next event if one is already on this side: no lock, no waiting.
    pub fn buffered(&mut self) -> Option<Event> {
        self.taken.pop_front()
    }

    /// Forgets what has been taken over and not been read: the reader wants no more.
    pub fn clear(&mut self) {
        self.taken.clear();
    }

    /// Ready when an event is there (`None`) or the end is (`Some`); takes no event out.
    pub fn poll_peek(&mut self, cx: &mut Context<'_>) -> Poll<Option<Outcome>> {
        match self.poll_next(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Next::End(outcome)) => Poll::Ready(Some(outcome)),
            Poll::Ready(Next::Event(event)) => {
                self.taken.push_front(event);
                Poll::Ready(None)
            }
        }
    }

    /// The next event or the end; registers the waker where neither is there. `None` after the end was handed out.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        if let Some(event) = self.taken.pop_front() {
            return Poll::Ready(Next::Event(event));
        }
        let (writer, outcome) = {
            let mut state = lock(&self.shared);
            mem::swap(&mut self.taken, &mut state.events);
            state.bytes = 0;
            let outcome = if self.taken.is_empty() { state.outcome.take() } else { None };
            if self.taken.is_empty() && outcome.is_none() {
                state.reader = Some(cx.waker().clone());
            }
            (state.writer.take(), outcome)
        };
        if let Some(writer) = writer {
            writer.wake();
        }
        match (self.taken.pop_front(), outcome) {
            (Some(event), _) => Poll::Ready(Next::Event(event)),
            (None, Some(outcome)) => Poll::Ready(Next::End(outcome)),
            (None, None) => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_until_read_and_in_order() {
        let (sender, mut receiver) = queue();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(receiver.poll_next(&mut cx).is_pending());
        sender.push((0..MAX_EVENTS).map(|n| Event::Text(n.to_string().into())), Duration::ZERO);
        assert!(!sender.has_room());
        sender.finish(Err(Error::invalid("over")));
        for n in 0..MAX_EVENTS {
            let Poll::Ready(Next::Event(Event::Text(text))) = receiver.poll_next(&mut cx) else { panic!("{n}") };
            assert_eq!(text, n.to_string());
        }
        assert!(matches!(receiver.poll_next(&mut cx), Poll::Ready(Next::End(Err(_)))));
        assert!(receiver.poll_next(&mut cx).is_pending());
    }

    #[test]
    fn a_call_that_is_dropped_wakes_its_reader() {
        let (sender, mut receiver) = queue();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(receiver.poll_next(&mut cx).is_pending());
        drop(sender);
        let Poll::Ready(Next::End(Err(error))) = receiver.poll_next(&mut cx) else { panic!("no end") };
        assert_eq!(error.kind(), ErrorKind::Closed);
        assert!(receiver.poll_next(&mut cx).is_pending(), "the end comes once");
    }

    #[test]
    fn few_large_events_fill_it_too() {
        let (sender, mut receiver) = queue();
        sender.push(std::iter::once(Event::Text("x".repeat(MAX_BYTES).into())), Duration::ZERO);
        assert!(!sender.has_room());
        assert!(receiver.poll_next(&mut Context::from_waker(Waker::noop())).is_ready());
        assert!(sender.has_room());
    }
}
