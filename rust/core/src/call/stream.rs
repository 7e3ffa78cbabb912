//! A call whose answer comes in pieces.

use std::{
    future::{Future, poll_fn},
    pin::pin,
};

use bytes::Bytes;
use http::header;
use tokio::time::{Instant, Sleep};

use super::{
    Completed, Endpoint, Failed, Route,
    passage::Passage,
    queue::Sink,
    retry::Retry,
    timeouts::Clock,
    unary::{again, collect, encode, meta, open, refused, with_head},
};
use crate::{
    error::{Error, ErrorKind},
    http::{Answer, Outgoing},
    model::{Assembly, ChatRequest, Response},
    stream::Parser,
    wire::{StreamDecoder, body::malformed, template},
};

/// How much of an answer is kept to show in an error.
const EXCERPT: usize = 1024;

/// A streamed chat call, by the provider itself. As [`super::ask_stream`], but for the end, which the caller tells. Where
/// others read it too, the total time holds until the first event: from then on each reader keeps to its own.
pub(super) async fn stream(
    route: &Route,
    request: Box<ChatRequest>,
    sink: &dyn Sink,
) -> Result<Completed<Response>, Error> {
    let endpoint = &route.endpoint;
    let counting = route.estimate(&request);
    let outgoing = encode(endpoint, *request).await?;
    let estimate = counting.done().await;
    let clock = Clock::start(endpoint.timeouts);
    let mut retry = Retry::new(endpoint.retry);
    let mut unseen = None;
    loop {
        let mut passage = match unseen.take() {
            Some(passage) => passage,
            None => {
                let entered = route.enter(estimate, &clock, Some(sink)).await;
                entered.map_err(|error| refused(endpoint, &retry, error))?
            }
        };
        let mut reading = Reading { endpoint, clock, sink, delivered: false };
        match reading.attempt(route, &mut passage, &outgoing).await {
            Ok(mut completed) => {
                passage.done(completed.value.usage.map(|usage| usage.total_tokens()));
                completed.meta.attempts = retry.attempts();
                return Ok(completed);
            }
            Err(failed) => {
                unseen = passage.failed(&failed, &endpoint.retry);
                if reading.delivered {
                    return Err(failed.error.with_attempts(retry.attempts()));
                }
                again(endpoint, &clock, &mut retry, failed).await?;
            }
        }
    }
}

/// One try at reading a stream.
struct Reading<'a> {
    endpoint: &'a Endpoint,
    clock: Clock,
    sink: &'a dyn Sink,
    delivered: bool,
}

impl Reading<'_> {
    async fn attempt(
        &mut self,
        route: &Route,
        passage: &mut Passage<'_>,
        outgoing: &Outgoing,
    ) -> Result<Completed<Response>, Failed> {
        let (mut answer, sent) = open(route, passage, outgoing, &self.clock).await?;
        let response = if comes_whole(&answer) {
            let body = collect(&mut answer.body, &self.clock, EXCERPT << 16).await?;
            let decoded = self.endpoint.wire.decode_chat(&body);
            let response = decoded.map_err(|error| with_head(error, &answer.headers, Some(answer.status.as_u16())))?;
            self.replay(&response);
            response
        } else {
            match self.read(&mut answer, sent).await {
                Ok(response) => response,
                Err(error) => return Err(with_head(error, &answer.headers, None).into()),
            }
        };
        let mut metrics = self.sink.metrics();
        metrics.finish(self.clock.elapsed());
        if let Some(usage) = &response.usage {
            metrics.set_tokens(usage.prompt_tokens(), usage.completion_tokens());
        }
        let Answer { headers, version, body, .. } = answer;
        let meta = meta(headers, version, metrics);
        // On its own task: the caller has all there is and need not wait for the connection to come free.
        tokio::spawn(body.drain());
        Ok(Completed { value: response, meta })
    }

    /// A server that answered a stream's request with one whole answer.
    fn replay(&mut self, response: &Response) {
        let mut answer = Assembly::new();
        answer.replay(response);
        self.deliver(&mut answer);
    }

    /// Hands the new events over; returns whether one of them carries something.
    fn deliver(&mut self, answer: &mut Assembly) -> bool {
        let events = answer.events();
        if events.len() == 0 {
            return false;
        }
        self.delivered = true;
        if self.sink.is_shared() {
            self.clock = self.clock.without_total();
        }
        self.sink.push(events, self.clock.elapsed())
    }

    async fn read(&mut self, answer: &mut Answer, sent: Instant) -> Result<Response, Error> {
        let wire = &self.endpoint.wire;
        let mut decoder = template::decoder(wire.as_ref());
        let mut parser = Parser::new(wire.framing());
        let mut assembly = Assembly::new();
        let mut head: Vec<u8> = Vec::new();
        let mut frames = 0_u64;
        let mut watch = Watch { phase: ErrorKind::FirstTokenTimeout, from: sent };
        let mut timer = pin!(tokio::time::sleep_until(sent));
        let failure = loop {
            let piece = match watch.next(&self.clock, timer.as_mut(), answer.body.next()).await {
                Ok(piece) => piece,
                Err(error) => break error,
            };
            let at_end = piece.is_none();
            let fed = match piece {
                None => parser.finish(|frame| {
                    frames += 1;
                    decoder.frame(frame, &mut assembly)
                }),
                Some(Ok(bytes)) => {
                    keep_head(&mut head, &bytes);
                    parser.feed(&bytes, |frame| {
                        frames += 1;
                        decoder.frame(frame, &mut assembly)
                    })
                }
                Some(Err(error)) => break error,
            };
            if self.deliver(&mut assembly) {
                watch = Watch { phase: ErrorKind::IdleTimeout, from: Instant::now() };
            }
            if let Err(error) = fed {
                // The last line of a body that was cut off in mid-line is no fault of the format.
                let cut = at_end && frames > 1 && error.kind() == ErrorKind::Malformed;
                break if cut { Error::new(ErrorKind::Connect, "the stream ended before its end") } else { error };
            }
            if assembly.is_ended() || (at_end && assembly.is_complete()) {
                return Ok(assembly.into_response());
            }
            if at_end {
                // Whole frames and not one thing in them that we know, not even a model's name: another protocol.
                let strange = assembly.so_far() == &Response::default();
                break if frames == 0 || strange {
                    malformed(wire.name(), "the answer is not a stream of events", &head)
                } else {
                    Error::new(ErrorKind::Connect, "the stream ended before its end")
                };
            }
            if !self.sink.has_room() {
                // The reader is slow, not the server: the time does not count against the idle limit.
                let room = poll_fn(|cx| self.sink.poll_room(cx));
                self.clock.within_total(room).await?;
                watch.from = Instant::now();
            }
        };
        Err(self.broken(failure, assembly))
    }

    /// Once something was delivered, a broken stream is an interruption that carries the text so far.
    fn broken(&self, error: Error, assembly: Assembly) -> Error {
        if !self.delivered {
            return error;
        }
        let partial = assembly.into_response();
        if error.kind() != ErrorKind::Connect {
            return error.with_partial(partial);
        }
        let text = partial.text();
        let message = format!("{} (after {} characters of text)", error.message(), text.chars().count());
        Error::new(ErrorKind::Interrupted, message).with_partial(partial)
    }
}

fn keep_head(head: &mut Vec<u8>, bytes: &Bytes) {
    let room = EXCERPT.saturating_sub(head.len());
    head.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
}

/// Whether the server ignored that a stream was asked for: it then says so by the content type.
fn comes_whole(answer: &Answer) -> bool {
    let content_type = answer.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let content_type = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    content_type == "application/json" || content_type == "text/html"
}

/// Watches over the silence between events with one timer that is only moved when it fires too early.
struct Watch {
    phase: ErrorKind,
    from: Instant,
}

impl Watch {
    async fn next<T>(
        &self,
        clock: &Clock,
        mut timer: std::pin::Pin<&mut Sleep>,
        work: impl Future<Output = T>,
    ) -> Result<T, Error> {
        let Some(deadline) = clock.deadline(self.phase, self.from) else { return Ok(work.await) };
        let mut work = pin!(work);
        std::future::poll_fn(|cx| {
            if let std::task::Poll::Ready(value) = work.as_mut().poll(cx) {
                return std::task::Poll::Ready(Ok(value));
            }
            // A deadline that has come nearer needs the timer moved at once; one that went further can wait until it
            // fires.
            if timer.deadline() > deadline.at {
                timer.as_mut().reset(deadline.at);
            }
            while timer.as_mut().poll(cx).is_ready() {
                if Instant::now() >= deadline.at {
                    return std::task::Poll::Ready(Err(deadline.expired()));
                }
                timer.as_mut().reset(deadline.at);
            }
            std::task::Poll::Pending
        })
        .await
    }
}
