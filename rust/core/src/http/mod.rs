//! The pooled HTTP client: one request out, one answer in, over HTTP/2 or HTTP/1.1.

mod connect;
mod decompress;
mod http1;
mod pool;
mod settings;
mod tls;

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version, header, uri::PathAndQuery};
use http_body_util::Full;
use hyper::body::{Body as _, Frame, Incoming};

pub use connect::{Connector, Origin};
pub use decompress::ACCEPT_ENCODING;
pub use pool::Pool;
pub(crate) use pool::lock;
pub use settings::{HttpSettings, Protocol, Proxy};

use crate::error::{Error, ErrorKind};
use decompress::Decompressor;
use pool::{Lease, OriginPool};

/// A request, cheap to clone for another attempt.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// `POST` or `GET`.
    pub method: Method,
    /// Path and query on the origin.
    pub path: PathAndQuery,
    /// All headers but `host` and `content-length`.
    pub headers: Arc<HeaderMap>,
    /// The body; empty for `GET`.
    pub body: Bytes,
}

/// A request that got no answer.
#[derive(Debug)]
pub struct SendError {
    /// What happened.
    pub error: Error,
    /// A kept connection turned out to be dead: another one may be tried at once.
    pub stale: bool,
}

/// An answer whose body is still to be read.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The HTTP version it came over.
    pub version: Version,
    /// The body.
    pub body: Body,
}

/// An answer's body. Dropped before its end, it closes the connection (HTTP/1.1) or resets the stream (HTTP/2).
#[derive(Debug)]
pub struct Body {
    incoming: Incoming,
    lease: Option<Lease>,
    decompressor: Option<Decompressor>,
}

/// The causes of a hyper error in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A lease on a connection to `origin`, dialed if need be.
#[derive(Debug)]
pub struct Connection(Lease);

/// Takes a connection from the pool or dials one.
///
/// # Errors
/// [`ErrorKind::Connect`] or [`ErrorKind::Configuration`].
pub async fn connect(pool: &Arc<Pool>, origin: &Origin) -> Result<Connection, Error> {
    pool.origin(origin).lease().await.map(Connection)
}

/// A connection to `origin` that is free now; `None` where one has to be waited for or dialed.
pub fn idle(pool: &Arc<Pool>, origin: &Origin) -> Option<Connection> {
    pool.origin(origin).idle().map(Connection)
}

impl Connection {
    /// Sends a request and waits for the answer's head.
    ///
    /// # Errors
    /// [`SendError`] with [`ErrorKind::Connect`]. Dropping the future takes the request back: the connection is closed
    /// (HTTP/1.1) or the stream reset (HTTP/2).
    pub async fn send(self, outgoing: &Outgoing) -> Result<Answer, SendError> {
        let refused = |error| SendError { error, stale: false };
        let Self(mut lease) = self;
        let reused = lease.reused();
        let sent = match &mut lease {
            Lease::Http1(connection, origin) => {
                let request = http1_request(outgoing, origin, connection.forward.as_ref());
                request.map(|request| connection.send(request)).map_err(refused)?.await
            }
            Lease::Http2(seat) => {
                let request = http2_request(outgoing, seat.origin());
                let mut sender = seat.connection.sender.clone();
                request.map(|request| sender.try_send_request(request)).map_err(refused)?.await
            }
        };
        let response = sent.map_err(|mut failed| {
            let unsent = failed.take_message().is_some();
            let error = failed.error();
            let message = format!("the connection broke before an answer came: {}", causes(error));
            let stale = unsent || (reused && (error.is_incomplete_message() || error.is_canceled()));
            SendError { error: Error::new(ErrorKind::Connect, message), stale }
        })?;
        let (head, incoming) = response.into_parts();
        let encoding = head.headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok());
        let decompressor = Decompressor::new(encoding.unwrap_or("")).map_err(refused)?;
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            version: head.version,
            body: Body { incoming, lease: Some(lease), decompressor },
        })
    }
}

fn build(outgoing: &Outgoing, uri: Uri, version: Version) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(outgoing.body.clone()));
    *request.method_mut() = outgoing.method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = version;
    *request.headers_mut() = HeaderMap::clone(&outgoing.headers);
    request
}

fn absolute(outgoing: &Outgoing, origin: &OriginPool) -> Result<Uri, Error> {
    let scheme = if origin.origin.tls { "https" } else { "http" };
    Uri::builder()
        .scheme(scheme)
        .authority(origin.origin.authority.clone())
        .path_and_query(outgoing.path.clone())
        .build()
        .map_err(|error| Error::new(ErrorKind::Configuration, format!("bad base URL: {error}")))
}

fn http1_request(
    outgoing: &Outgoing,
    origin: &OriginPool,
    forward: Option<&connect::Forward>,
) -> Result<Request<Full<Bytes>>, Error> {
    let uri = match forward {
        Some(_) => absolute(outgoing, origin)?,
        None => Uri::from(outgoing.path.clone()),
    };
    let mut request = build(outgoing, uri, Version::HTTP_11);
    let host = HeaderValue::from_str(origin.origin.authority.as_str())
        .map_err(|_| Error::new(ErrorKind::Configuration, "the base URL's host cannot be sent"))?;
    request.headers_mut().entry(header::HOST).or_insert(host);
    if let Some(authorization) = forward.and_then(|forward| forward.authorization.clone()) {
        request.headers_mut().insert(header::PROXY_AUTHORIZATION, authorization);
    }
    Ok(request)
}

fn http2_request(outgoing: &Outgoing, origin: &OriginPool) -> Result<Request<Full<Bytes>>, Error> {
    Ok(build(outgoing, absolute(outgoing, origin)?, Version::HTTP_2))
}

impl Body {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.lease {
            Some(Lease::Http1(connection, _)) => connection.poll_frame(&mut self.incoming, cx),
            _ => Pin::new(&mut self.incoming).poll_frame(cx),
        }
    }

    /// The next piece, decompressed; `None` at the end, when the connection goes back to the pool.
    ///
    /// # Errors
    /// [`ErrorKind::Connect`] when the connection breaks, [`ErrorKind::Malformed`] for broken compression.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        loop {
            match poll_fn(|cx| self.poll_frame(cx)).await {
                None => {
                    if let Some(lease) = self.lease.take() {
                        lease.give_back();
                    }
                    return None;
                }
                Some(Err(error)) => {
                    self.lease = None;
                    let message = format!("the connection broke in mid-answer: {}", causes(&error));
                    return Some(Err(Error::new(ErrorKind::Connect, message)));
                }
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    let Some(decompressor) = &mut self.decompressor else { return Some(Ok(data)) };
                    match decompressor.feed(&data) {
                        Ok(data) if data.is_empty() => {}
                        other => return Some(other),
                    }
                }
            }
        }
    }

    /// Reads past the logical end of a stream, so that its connection can be used again. Gives up soon: a server that
    /// does not end its answer is not worth waiting for.
    pub async fn drain(mut self) {
        let _ = tokio::time::timeout(std::time::Duration::from_millis(500), async {
            for _ in 0..64 {
                if !matches!(self.next().await, Some(Ok(_))) {
                    break;
                }
            }
        })
        .await;
    }
}
