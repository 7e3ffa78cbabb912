//! What a simulator saw: counters, the fate of every request, and the requests themselves if asked.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use http::{HeaderMap, Method, Version};
use serde::Serialize;

use super::{connection::lock, limits::Limits};

/// What a simulator saw so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Connections accepted.
    pub connections: u64,
    /// Connections open now.
    pub connections_open: u64,
    /// TLS handshakes finished.
    pub tls_handshakes: u64,
    /// Requests received, up to their headers at least.
    pub requests: u64,
    /// Those that came over HTTP/2.
    pub h2_requests: u64,
    /// Requests not yet answered to the end.
    pub in_flight: u64,
    /// The most there ever were at once.
    pub max_in_flight: u64,
    /// Answers handed over to the end, errors included.
    pub completed: u64,
    /// Requests that the client gave up: it closed the connection or reset the stream before the answer's end.
    pub aborted: u64,
    /// Answers that the simulator broke off, as a fault said.
    pub faulted: u64,
    /// Answers of status 429.
    pub rate_limited: u64,
    /// Events of streams sent; a whole body counts as one.
    pub events_sent: u64,
    /// Bytes of bodies sent.
    pub bytes_sent: u64,
}

/// A request as it was received. Its `Debug` output hides keys in headers; the fields hold them.
#[derive(Debug, Clone)]
pub struct RecordedRequest {
    /// Counts requests from 0.
    pub number: u64,
    /// Counts connections from 0.
    pub connection: u64,
    /// HTTP/1.1 or HTTP/2.
    pub version: Version,
    /// The method.
    pub method: Method,
    /// The path.
    pub path: String,
    /// The query, without the question mark.
    pub query: Option<String>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Completed,
    Aborted,
    Faulted,
}

/// The counters behind [`Stats`].
#[derive(Debug, Default)]
pub(super) struct Books {
    connections: AtomicU64,
    connections_closed: AtomicU64,
    tls_handshakes: AtomicU64,
    requests: AtomicU64,
    h2_requests: AtomicU64,
    in_flight: AtomicU64,
    max_in_flight: AtomicU64,
    completed: AtomicU64,
    aborted: AtomicU64,
    faulted: AtomicU64,
    rate_limited: AtomicU64,
    events_sent: AtomicU64,
    bytes_sent: AtomicU64,
}

impl Books {
    pub(super) fn stats(&self) -> Stats {
        let (connections, closed) = (self.connections.load(Relaxed), self.connections_closed.load(Relaxed));
        Stats {
            connections,
            connections_open: connections.saturating_sub(closed),
            tls_handshakes: self.tls_handshakes.load(Relaxed),
            requests: self.requests.load(Relaxed),
            h2_requests: self.h2_requests.load(Relaxed),
            in_flight: self.in_flight.load(Relaxed),
            max_in_flight: self.max_in_flight.load(Relaxed),
            completed: self.completed.load(Relaxed),
            aborted: self.aborted.load(Relaxed),
            faulted: self.faulted.load(Relaxed),
            rate_limited: self.rate_limited.load(Relaxed),
            events_sent: self.events_sent.load(Relaxed),
            bytes_sent: self.bytes_sent.load(Relaxed),
        }
    }

    /// A connection was accepted: its number.
    pub(super) fn connected(&self) -> u64 {
        self.connections.fetch_add(1, Relaxed)
    }

    pub(super) fn disconnected(&self) {
        self.connections_closed.fetch_add(1, Relaxed);
    }

    pub(super) fn tls_handshake(&self) {
        self.tls_handshakes.fetch_add(1, Relaxed);
    }

    pub(super) fn rate_limited(&self) {
        self.rate_limited.fetch_add(1, Relaxed);
    }
}

/// A request in work. Dropped before it was settled, it was aborted by the client.
#[derive(Debug)]
pub(super) struct Ticket {
    /// Counts requests from 0.
    pub(super) number: u64,
    books: Arc<Books>,
    /// The limits to give a place back to.
    limits: Option<Arc<Mutex<Limits>>>,
    settled: bool,
}

impl Ticket {
    pub(super) fn new(books: &Arc<Books>, h2: bool) -> Self {
        let number = books.requests.fetch_add(1, Relaxed);
        books.h2_requests.fetch_add(u64::from(h2), Relaxed);
        let in_flight = books.in_flight.fetch_add(1, Relaxed) + 1;
        books.max_in_flight.fetch_max(in_flight, Relaxed);
        Self { number, books: Arc::clone(books), limits: None, settled: false }
    }

    /// The request holds a place of these limits until it is settled.
    pub(super) fn admitted(&mut self, limits: &Arc<Mutex<Limits>>) {
        self.limits = Some(Arc::clone(limits));
    }

    pub(super) fn sent(&self, events: usize, bytes: usize) {
        self.books.events_sent.fetch_add(events as u64, Relaxed);
        self.books.bytes_sent.fetch_add(bytes as u64, Relaxed);
    }

    /// Says how it ended; the first time counts.
    pub(super) fn settle(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        if let Some(limits) = self.limits.take() {
            lock(&limits).release();
        }
        self.books.in_flight.fetch_sub(1, Relaxed);
        let counter = match outcome {
            Outcome::Completed => &self.books.completed,
            Outcome::Aborted => &self.books.aborted,
            Outcome::Faulted => &self.books.faulted,
        };
        counter.fetch_add(1, Relaxed);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.settle(Outcome::Aborted);
    }
}

/// The latest requests, as many as the config says.
#[derive(Debug)]
pub(super) struct Records {
    kept: VecDeque<RecordedRequest>,
    limit: usize,
}

impl Records {
    pub(super) fn new(limit: usize) -> Self {
        Self { kept: VecDeque::new(), limit }
    }

    pub(super) fn push(&mut self, mut request: RecordedRequest) {
        for name in ["authorization", "x-api-key", "x-goog-api-key", "api-key", "proxy-authorization"] {
            if let Some(value) = request.headers.get_mut(name) {
                value.set_sensitive(true);
            }
        }
        self.kept.push_back(request);
        while self.kept.len() > self.limit {
            self.kept.pop_front();
        }
    }

    pub(super) fn all(&self) -> Vec<RecordedRequest> {
        self.kept.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_settled_once() {
        let books = Arc::new(Books::default());
        let mut first = Ticket::new(&books, true);
        let second = Ticket::new(&books, false);
        first.settle(Outcome::Completed);
        first.settle(Outcome::Faulted);
        drop(first);
        drop(second);
        let expected =
            Stats { requests: 2, h2_requests: 1, max_in_flight: 2, completed: 1, aborted: 1, ..Stats::default() };
        assert_eq!(books.stats(), expected);
    }

    #[test]
    fn records_are_bounded_and_their_debug_output_hides_keys() {
        let mut records = Records::new(2);
        for number in 0..5 {
            let mut headers = HeaderMap::new();
            headers.insert("authorization", "Bearer hunter2".parse().unwrap());
            records.push(RecordedRequest {
                number,
                connection: 0,
                version: Version::HTTP_11,
                method: Method::POST,
                path: "/".into(),
                query: None,
                headers,
                body: Bytes::new(),
            });
        }
        let all = records.all();
        assert_eq!(all.iter().map(|request| request.number).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(all[0].headers["authorization"], "Bearer hunter2");
        assert!(!format!("{all:?}").contains("hunter2"));
    }
}
