//! An HTTP/1.1 connection in the hands of one call, which drives it itself.
//!
//! hyper's connection is a future that reads and writes while it is polled. On a task of its own, a request and its answer
//! would go back and forth between two tasks; here the call that waits for the answer polls it. Between calls nobody does:
//! that the server has closed it shows when it is next looked at.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::{Body, Frame, Incoming},
    client::conn::{TrySendError, http1},
};
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;

use super::connect::{Forward, Io};

/// An HTTP/1.1 connection in the hands of one call. Dropping it closes the socket.
#[derive(Debug)]
pub(crate) struct Http1 {
    sender: http1::SendRequest<Full<Bytes>>,
    /// None once it is over: dropped, it fails what still waits for it.
    driver: Option<Box<http1::Connection<TokioIo<Io>, Full<Bytes>>>>,
    pub(crate) forward: Option<Forward>,
    /// Whether it has served another call before.
    pub(crate) reused: bool,
}

impl Http1 {
    /// # Errors
    /// None before a request is sent, as hyper is today.
    pub(crate) async fn open(io: Io, forward: Option<Forward>) -> Result<Self, hyper::Error> {
        let (sender, driver) = http1::Builder::new().handshake(TokioIo::new(io)).await?;
        Ok(Self { sender, driver: Some(Box::new(driver)), forward, reused: false })
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(driver) = &mut self.driver
            && Pin::new(&mut **driver).poll(cx).is_ready()
        {
            self.driver = None;
        }
    }

    /// Sends a request and waits for the answer's head.
    ///
    /// # Errors
    /// hyper's, with the request where not a byte of it went out.
    pub(crate) fn send(&mut self, request: Request<Full<Bytes>>) -> Sending<'_, impl Future<Output = Sent>> {
        let sent = self.sender.try_send_request(request);
        Sending { connection: self, sent }
    }

    /// The next frame of the answer.
    pub(crate) fn poll_frame(
        &mut self,
        answer: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        // Asked first: hyper reads on only for a body that somebody waits for.
        if let Poll::Ready(frame) = Pin::new(&mut *answer).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        self.drive(cx);
        Pin::new(answer).poll_frame(cx)
    }

    /// Whether it can serve another call now: the last answer is over and the server has not closed it.
    pub(crate) fn is_free(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.driver.is_some() && self.sender.is_ready()
    }
}

/// An answer's head, or hyper's error with the request where not a byte of it went out.
pub(crate) type Sent = Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>>;

pin_project! {
    /// A request on its way. Written out, because an `async fn` would hold the request twice.
    pub(crate) struct Sending<'a, F> {
        connection: &'a mut Http1,
        #[pin]
        sent: F,
    }
}

impl<F: Future> Future for Sending<'_, F> {
    type Output = F::Output;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.connection.drive(cx);
        this.sent.poll(cx)
    }
}
