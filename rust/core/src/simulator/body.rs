//! The body of an answer: plays it in time, tells the books what was sent, and notices when nobody wants it any more.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    books::{Outcome, Ticket},
    connection::{Connection, Ending},
    playback::{Break, Playback, Step},
};

/// What was sent is given this long to leave the machine before a connection is reset.
const SETTLE: Duration = Duration::from_millis(10);

/// Pauses between events.
#[derive(Debug)]
pub(super) struct Pace {
    pub(super) ttft: Duration,
    pub(super) gap: Duration,
    pub(super) jitter: f64,
    pub(super) rng: fastrand::Rng,
}

impl Pace {
    /// A pause as long as `pause` give or take the jitter.
    pub(super) fn vary(&mut self, pause: Duration) -> Duration {
        if self.jitter == 0.0 { pause } else { pause.mul_f64(1.0 + self.jitter * (2.0 * self.rng.f64() - 1.0)) }
    }
}

/// What comes next.
#[derive(Debug)]
enum Next {
    Play,
    KeepAlive(Duration),
    Break(Break),
}

/// The body of an answer.
pub(super) struct AnswerBody {
    playback: Playback,
    pace: Pace,
    keep_alive: &'static str,
    ticket: Ticket,
    connection: Arc<Connection>,
    h2: bool,
    next: Next,
    /// When the next event is due.
    due: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
    sleeping: bool,
    /// Whether to let hyper write out what it has before it gets more.
    flush: bool,
}

impl fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerBody").field("playback", &self.playback).field("next", &self.next).finish_non_exhaustive()
    }
}

impl AnswerBody {
    /// A body whose first event comes after `pace.ttft`.
    pub(super) fn new(
        playback: Playback,
        mut pace: Pace,
        keep_alive: &'static str,
        ticket: Ticket,
        connection: Arc<Connection>,
        h2: bool,
    ) -> Self {
        let ttft = pace.vary(pace.ttft);
        let mut body = Self {
            playback,
            pace,
            keep_alive,
            ticket,
            connection,
            h2,
            next: Next::Play,
            due: Instant::now() + ttft,
            sleep: None,
            sleeping: false,
            flush: false,
        };
        if body.playback.is_over() {
            body.ticket.settle(Outcome::Completed);
        }
        if !ttft.is_zero() {
            body.sleep_until(body.due);
        }
        body
    }

    fn sleep_until(&mut self, when: Instant) {
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(when),
            None => self.sleep = Some(Box::pin(sleep_until(when))),
        }
        self.sleeping = true;
    }

    /// Pauses before the next event; without a pause, makes sure that this one is written first.
    fn pause(&mut self, events: usize) {
        if !self.playback.is_stream() {
            return;
        }
        let gap = self.pace.vary(self.pace.gap);
        self.due += gap.saturating_mul(u32::try_from(events).unwrap_or(u32::MAX));
        if gap.is_zero() || self.due <= Instant::now() {
            self.flush = true;
        } else {
            self.sleep_until(self.due);
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        loop {
            if let (true, Some(sleep)) = (this.sleeping, &mut this.sleep) {
                ready!(sleep.as_mut().poll(cx));
                this.sleeping = false;
            }
            if std::mem::take(&mut this.flush) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match this.next {
                Next::Play => match this.playback.step() {
                    Step::Data(bytes, events) => {
                        this.ticket.sent(events, bytes.len());
                        if this.playback.is_over() {
                            this.ticket.settle(Outcome::Completed);
                        } else {
                            this.pause(events);
                        }
                        return Poll::Ready(Some(Ok(Frame::data(bytes))));
                    }
                    Step::End { early } => {
                        this.ticket.settle(if early { Outcome::Faulted } else { Outcome::Completed });
                        return Poll::Ready(None);
                    }
                    Step::Stall => match this.playback.keep_alive_every() {
                        // Hyper wakes us, or rather drops us, when the client goes away.
                        None => return Poll::Pending,
                        Some(every) => {
                            this.next = Next::KeepAlive(every);
                            this.sleep_until(Instant::now() + every);
                        }
                    },
                    Step::Break(how) => {
                        this.next = Next::Break(how);
                        this.sleep_until(Instant::now() + SETTLE);
                    }
                },
                Next::KeepAlive(every) => {
                    this.sleep_until(Instant::now() + every);
                    let sign = this.playback.keep_alive(this.keep_alive);
                    this.ticket.sent(0, sign.len());
                    return Poll::Ready(Some(Ok(Frame::data(sign))));
                }
                Next::Break(how) => {
                    this.ticket.settle(Outcome::Faulted);
                    match (how, this.h2) {
                        (Break::Reset, true) => return Poll::Ready(Some(Err(Broken))),
                        (Break::Reset, false) => this.connection.end(Ending::Reset),
                        (Break::Close, _) => this.connection.end(Ending::Close),
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.playback.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        self.playback.length().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Makes hyper reset an HTTP/2 stream.
#[derive(Debug)]
pub(super) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer is cut here on purpose")
    }
}

impl std::error::Error for Broken {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_bounded_and_repeatable() {
        let pace = || Pace { ttft: Duration::ZERO, gap: Duration::ZERO, jitter: 0.5, rng: fastrand::Rng::with_seed(7) };
        let pauses = |mut pace: Pace| (0..100).map(|_| pace.vary(Duration::from_millis(100))).collect::<Vec<_>>();
        let first = pauses(pace());
        assert_eq!(first, pauses(pace()));
        assert!(first.iter().all(|pause| (50..=150).contains(&pause.as_millis())));
        assert!(first.iter().any(|pause| pause.as_millis() < 80) && first.iter().any(|pause| pause.as_millis() > 120));
    }
}
