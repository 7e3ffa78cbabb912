//! The four limits on a call's time, each with its own error.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Timeout};

use crate::error::{Error, ErrorKind};

/// Limits on a call's time; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a connection is there: name lookup, TCP, TLS, or a place on a shared one.
    pub connect: Option<Duration>,
    /// From sending the request to the first event that carries something (streams) or to the answer's head (others).
    pub first_token: Option<Duration>,
    /// Between two events that carry something; comments and pings do not count. For whole answers: between two pieces.
    pub idle: Option<Duration>,
    /// The whole call, with all tries and waits.
    pub total: Option<Duration>,
}

impl Default for Timeouts {
    /// 10 s, 300 s (models that think first are silent for minutes), 120 s, none (it would cut long healthy streams).
    fn default() -> Self {
        Self {
            connect: Some(Duration::from_secs(10)),
            first_token: Some(Duration::from_secs(300)),
            idle: Some(Duration::from_secs(120)),
            total: None,
        }
    }
}

/// The clock of one call: when it began and which limits hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    pub(super) started: Instant,
    pub(super) timeouts: Timeouts,
}

/// A moment at which a limit is reached, and which one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    pub(super) at: Instant,
    kind: ErrorKind,
    limit: Duration,
    /// When the call began.
    started: Instant,
}

impl Deadline {
    /// The error for a deadline that has passed.
    pub(super) fn expired(&self) -> Error {
        let (what, name) = match self.kind {
            ErrorKind::ConnectTimeout => ("no connection", "connect"),
            ErrorKind::FirstTokenTimeout => ("no first token", "first_token"),
            ErrorKind::IdleTimeout => ("nothing more came", "idle"),
            _ => ("no whole answer", "total"),
        };
        let elapsed = self.started.elapsed();
        let message = format!(
            "{what} within {:?} (Timeouts.{name}; {:.1} s since the call began)",
            self.limit,
            elapsed.as_secs_f64()
        );
        Error::new(self.kind, message).with_elapsed(elapsed)
    }
}

impl Clock {
    pub(crate) fn start(timeouts: Timeouts) -> Self {
        Self { started: Instant::now(), timeouts }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The same clock without a limit on the whole call.
    pub(super) fn without_total(self) -> Self {
        Self { timeouts: Timeouts { total: None, ..self.timeouts }, ..self }
    }

    /// What is left of the total time.
    pub(super) fn left(&self) -> Option<Duration> {
        self.timeouts.total.map(|total| total.saturating_sub(self.elapsed()))
    }

    /// The deadline of a phase that began at `from`: its own, or the whole call's if that comes first.
    pub(super) fn deadline(&self, kind: ErrorKind, from: Instant) -> Option<Deadline> {
        let limit = match kind {
            ErrorKind::ConnectTimeout => self.timeouts.connect,
            ErrorKind::FirstTokenTimeout => self.timeouts.first_token,
            _ => self.timeouts.idle,
        };
        let own =
            limit.and_then(|limit| Some(Deadline { at: from.checked_add(limit)?, kind, limit, started: self.started }));
        let total = self.timeouts.total.and_then(|limit| {
            let at = self.started.checked_add(limit)?;
            Some(Deadline { at, kind: ErrorKind::TotalTimeout, limit, started: self.started })
        });
        match (own, total) {
            (Some(own), Some(total)) => Some(if own.at <= total.at { own } else { total }),
            (own, total) => own.or(total),
        }
    }

    /// Runs `work` until the phase's deadline.
    pub(super) fn within<F: Future>(&self, kind: ErrorKind, from: Instant, work: F) -> Within<F> {
        match self.deadline(kind, from) {
            None => Within::Unlimited { work },
            Some(deadline) => Within::Limited { work: tokio::time::timeout_at(deadline.at, work), deadline },
        }
    }

    /// Runs `work` until the whole call's deadline.
    pub(crate) fn within_total<F: Future>(&self, work: F) -> Within<F> {
        let without_idle = Self { timeouts: Timeouts { idle: None, ..self.timeouts }, ..*self };
        without_idle.within(ErrorKind::IdleTimeout, self.started, work)
    }
}

pin_project! {
    /// Work with a deadline. Written out, because an `async fn` keeps what it is given twice, and a call nests several.
    #[project = WithinProjection]
    #[derive(Debug)]
    pub(crate) enum Within<F> {
        Unlimited { #[pin] work: F },
        Limited { #[pin] work: Timeout<F>, deadline: Deadline },
    }
}

impl<F: Future> Future for Within<F> {
    type Output = Result<F::Output, Error>;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            WithinProjection::Unlimited { work } => work.poll(cx).map(Ok),
            WithinProjection::Limited { work, deadline } => {
                work.poll(cx).map(|done| done.map_err(|_| deadline.expired()))
            }
        }
    }
}
