//! What one answer does otherwise than the config says: overrides, faults, and replies queued for the next requests.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use crate::error::Error;

/// A place in an answer's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// After this many events of a stream, all kinds counted. A unary body is one event.
    Events(usize),
    /// After this many bytes of the body as sent (compressed, if it is).
    Bytes(u64),
}

/// How an answer goes wrong. A place beyond the answer's end does nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Fault {
    /// It does not.
    #[default]
    None,
    /// The connection is closed instead of an answer.
    CloseBeforeHeaders,
    /// A connection reset in the middle of the body; over HTTP/2 a reset of the stream alone.
    CutAfter(After),
    /// The connection is closed in the middle of the body, over HTTP/2 with all its streams.
    CloseAfter(After),
    /// The body ends there, whole for HTTP but without the end of the format.
    EndAfter(After),
    /// Nothing more is sent, and the connection stays open.
    StallAfter {
        /// Where it stalls; `Events(0)` is after the headers.
        after: After,
        /// How often to send the format's sign of life: a ping of Anthropic, a comment, an empty line of NDJSON.
        keep_alive: Option<Duration>,
    },
    /// The format's error event in a stream of status 200, and then the end.
    ErrorAfter {
        /// How many events come before it; 0 makes it the first.
        events: usize,
        /// The status that the error speaks of, as 529.
        status: u16,
    },
    /// These bytes in place of an HTTP answer, and then the connection is closed.
    Raw(Bytes),
}

/// A function call of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// The function's name.
    pub name: String,
    /// The arguments as JSON text; empty for a sample made from the tool's schema in the request.
    /// What is not JSON is sent as it is by OpenAI's format, and as `{}` by those that carry an object.
    pub arguments: String,
}

/// What one answer does otherwise; `None` leaves it as configured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// The text.
    pub text: Option<String>,
    /// The number of text deltas, the text being repeated or cut to fit.
    pub tokens: Option<usize>,
    /// Function calls, in place of text or, where both are given, behind it.
    pub tool_calls: Option<Vec<ToolCall>>,
    /// What the model thinks first; empty for nothing. OpenAI's format shows it as `reasoning_content`.
    pub thinking: Option<String>,
    /// Before the headers.
    pub delay: Option<Duration>,
    /// From the headers to the first event; for a unary answer before the headers.
    pub ttft: Option<Duration>,
    /// Between two events.
    pub gap: Option<Duration>,
    /// How far `ttft` and `gap` vary.
    pub jitter: Option<f64>,
    /// How many events go into one write.
    pub chunk_events: Option<usize>,
    /// The status; from 400 on with the format's error body.
    pub status: Option<u16>,
    /// The error's code or type in that body, as `insufficient_quota`.
    pub error: Option<String>,
    /// How long that error asks to wait.
    pub retry_after: Option<Duration>,
    /// Compresses the body, whatever the client accepts.
    pub gzip: Option<bool>,
    /// How it goes wrong.
    pub fault: Option<Fault>,
}

impl Overrides {
    /// What `self` says, and `other` where it says nothing.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            text: self.text.or(other.text),
            tokens: self.tokens.or(other.tokens),
            tool_calls: self.tool_calls.or(other.tool_calls),
            thinking: self.thinking.or(other.thinking),
            delay: self.delay.or(other.delay),
            ttft: self.ttft.or(other.ttft),
            gap: self.gap.or(other.gap),
            jitter: self.jitter.or(other.jitter),
            chunk_events: self.chunk_events.or(other.chunk_events),
            status: self.status.or(other.status),
            error: self.error.or(other.error),
            retry_after: self.retry_after.or(other.retry_after),
            gzip: self.gzip.or(other.gzip),
            fault: self.fault.or(other.fault),
        }
    }

    /// Refuses values that make no sense.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.chunk_events == Some(0) {
            return Err(Error::invalid("chunk_events must be at least 1"));
        }
        if self.jitter.is_some_and(|jitter| !(0.0..=1.0).contains(&jitter)) {
            return Err(Error::invalid("jitter must be from 0 to 1"));
        }
        if self.status.is_some_and(|status| !(200..=599).contains(&status)) {
            return Err(Error::invalid("status must be from 200 to 599"));
        }
        Ok(())
    }
}

/// What a reply's body is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Payload {
    /// What would be answered anyway.
    #[default]
    Normal,
    /// These bytes, with their length announced.
    Whole(Bytes),
    /// These pieces, each a write of its own and an event of its own; pauses between them are `gap`.
    Pieces(Vec<Bytes>),
}

/// A one-shot reply for the next request that matches. Limits and random failures do not touch it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reply {
    /// Only for requests with this in their path.
    pub path_contains: Option<String>,
    /// Headers in place of those of the same name.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub payload: Payload,
    /// Everything else.
    pub overrides: Overrides,
}

impl Reply {
    /// A status with the format's own error body.
    pub fn status(status: u16) -> Self {
        Self { overrides: Overrides { status: Some(status), ..Overrides::default() }, ..Self::default() }
    }

    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { overrides: Overrides { text: Some(text.into()), ..Overrides::default() }, ..Self::default() }
    }

    /// A function call.
    pub fn tool_call(name: impl Into<String>, arguments: impl Into<String>) -> Self {
        let call = ToolCall { name: name.into(), arguments: arguments.into() };
        Self { overrides: Overrides { tool_calls: Some(vec![call]), ..Overrides::default() }, ..Self::default() }
    }

    /// Exactly this body.
    pub fn bytes(status: u16, body: impl Into<Bytes>) -> Self {
        Self { payload: Payload::Whole(body.into()), ..Self::status(status) }
    }

    /// Exactly this body, in these pieces.
    pub fn pieces<P: Into<Bytes>>(pieces: impl IntoIterator<Item = P>) -> Self {
        Self { payload: Payload::Pieces(pieces.into_iter().map(Into::into).collect()), ..Self::default() }
    }

    /// The normal answer with a fault.
    pub fn fault(fault: Fault) -> Self {
        Self { overrides: Overrides { fault: Some(fault), ..Overrides::default() }, ..Self::default() }
    }

    /// Adds a fault to this reply.
    #[must_use]
    pub fn with_fault(mut self, fault: Fault) -> Self {
        self.overrides.fault = Some(fault);
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Waits before the headers.
    #[must_use]
    pub fn with_delay(mut self, delay: Duration) -> Self {
        self.overrides.delay = Some(delay);
        self
    }

    /// Only for requests with this in their path.
    #[must_use]
    pub fn on(mut self, path_contains: impl Into<String>) -> Self {
        self.path_contains = Some(path_contains.into());
        self
    }

    /// Refuses what cannot be sent.
    pub(crate) fn check(&self) -> Result<(), Error> {
        for (name, value) in &self.headers {
            let Ok(name) = name.parse::<HeaderName>() else {
                return Err(Error::invalid(format!("{name:?} is no header name")));
            };
            if [http::header::CONTENT_LENGTH, http::header::TRANSFER_ENCODING].contains(&name) {
                return Err(Error::invalid(format!("{name} follows from the body; lie about it with Fault::Raw")));
            }
            if HeaderValue::from_str(value).is_err() {
                return Err(Error::invalid(format!("the value of header {name} cannot be sent")));
            }
        }
        self.overrides.check()
    }
}

/// Replies waiting for their request, first in, first out.
#[derive(Debug, Default)]
pub(crate) struct Script(VecDeque<Reply>);

impl Script {
    pub(crate) fn push(&mut self, reply: Reply) {
        self.0.push_back(reply);
    }

    /// The first reply that is for this path.
    pub(crate) fn take(&mut self, path: &str) -> Option<Reply> {
        let matches = |reply: &Reply| reply.path_contains.as_deref().is_none_or(|part| path.contains(part));
        let at = self.0.iter().position(matches)?;
        self.0.remove(at)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_taken_in_order_by_those_they_are_for() {
        let mut script = Script::default();
        for reply in [Reply::text("a").on("/embed"), Reply::text("b"), Reply::text("c")] {
            script.push(reply);
        }
        let mut take = |path| script.take(path).and_then(|reply| reply.overrides.text);
        assert_eq!(take("/v1/chat/completions").as_deref(), Some("b"));
        assert_eq!(take("/v1/embeddings").as_deref(), Some("a"));
        assert_eq!(take("/v1/embeddings").as_deref(), Some("c"));
        assert_eq!(take("/v1/embeddings"), None);
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        for reply in [
            Reply::text("x").with_header("a b", "c"),
            Reply::text("x").with_header("a", "b\nc"),
            Reply::text("x").with_header("Content-Length", "7"),
            Reply::status(99),
            Reply { overrides: Overrides { chunk_events: Some(0), ..Overrides::default() }, ..Reply::default() },
        ] {
            assert!(reply.check().is_err(), "{reply:?}");
        }
        assert!(Reply::status(429).with_header("retry-after", "1").check().is_ok());
    }
}
