//! A loopback server that speaks the four wire formats, for tests, benches and people without a key.
//!
//! It answers chats (unary and streamed; OpenAI's in its older form and as its Responses API), embeddings, lists of models, counts of tokens, stored prompts (Gemini's
//! `cachedContents`) and rankings as OpenAI, Anthropic, Gemini, Ollama and Cohere do, with their headers, error bodies
//! and rate limits, over HTTP/1.1 and HTTP/2, in clear and over TLS. Prompts that are marked to be cached are, and the
//! usage counts it. Times, failures and faults are scripted: by the [`SimulatorConfig`] for all requests, by
//! [`Simulator::push`] for the next one, and by the request's own header `x-simulator`
//! (`tokens=1000;ttft_ms=50;gap_ms=2;cut_after=5`).
//!
//! It is no proof of compatibility: it was written from the providers' documentation and from recordings, and it takes
//! what they would refuse. It knows no keys, keeps nothing unless told to record, and never leaves 127.0.0.1.
//!
//! The server runs on a thread and a runtime of its own. Paths may have any prefix; `/simulator/stats` gives
//! the counters as JSON.

mod answer;
mod ask;
mod body;
mod books;
mod config;
mod connection;
mod control;
mod dialect;
mod embed;
mod history;
mod limits;
mod lists;
mod playback;
mod prompts;
mod respond;
mod route;
mod sample;
mod script;
mod server;
mod service;
mod stored;
mod times;
mod tls;

use std::{
    fmt,
    time::{Duration, Instant},
};

pub use books::{RecordedRequest, Stats};
pub use config::SimulatorConfig;
pub use script::{After, Fault, Overrides, Payload, Reply, ToolCall};

use crate::error::Error;
use connection::lock;
use server::Server;
use service::State;
use tls::Tls;

/// A running simulator. It ends with [`Simulator::stop`] or when it is dropped.
pub struct Simulator {
    server: Server,
    cert_pem: Option<String>,
    client_identity: Option<String>,
}

impl Simulator {
    /// Starts a simulator: when this returns, its ports take connections.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) for a config without meaning or a port that is
    /// taken.
    pub fn start(config: SimulatorConfig) -> Result<Self, Error> {
        config.check()?;
        let tls = config.tls.then(|| Tls::new(config.h1_only, config.require_client_cert)).transpose()?;
        let (acceptor, cert_pem, client_identity) = match tls {
            Some(tls) => (Some(tls.acceptor), Some(tls.ca_pem), Some(tls.client_pem)),
            None => (None, None, None),
        };
        Ok(Self { server: Server::start(State::new(config), acceptor)?, cert_pem, client_identity })
    }

    /// The port in clear.
    pub fn port(&self) -> u16 {
        self.server.port
    }

    /// The base URL in clear, without a path, as `http://127.0.0.1:40123`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.server.port)
    }

    /// The base URL for TLS, if there is one. Its certificate is for `localhost` and for `127.0.0.1`.
    pub fn tls_url(&self) -> Option<String> {
        self.server.tls_port.map(|port| format!("https://127.0.0.1:{port}"))
    }

    /// The certificate to trust for TLS: that of the throw-away authority, as PEM.
    pub fn cert_pem(&self) -> Option<&str> {
        self.cert_pem.as_deref()
    }

    /// A client's certificate and private key from the same authority, as PEM.
    pub fn client_identity(&self) -> Option<&str> {
        self.client_identity.as_deref()
    }

    /// Queues a reply for the next request that matches it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest) for what cannot be sent.
    pub fn push(&self, reply: Reply) -> Result<(), Error> {
        reply.check()?;
        lock(&self.server.state.script).push(reply);
        Ok(())
    }

    /// How many queued replies were not used yet.
    pub fn pending(&self) -> usize {
        lock(&self.server.state.script).len()
    }

    /// Forgets the queued replies.
    pub fn clear(&self) {
        lock(&self.server.state.script).clear();
    }

    /// What it saw so far.
    pub fn stats(&self) -> Stats {
        self.server.state.books.stats()
    }

    /// Looks at the stats until they are as wanted, for at most `timeout`; returns whether they were. Blocks.
    pub fn wait_for(&self, timeout: Duration, wanted: impl Fn(&Stats) -> bool) -> bool {
        let end = Instant::now() + timeout;
        while !wanted(&self.stats()) {
            if Instant::now() >= end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// The latest requests, oldest first; none unless `record` is set.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        lock(&self.server.state.records).all()
    }

    /// Closes every open connection, the idle ones too, as a server does that restarts.
    pub fn close_connections(&self) {
        self.server.close_connections();
    }

    /// Stops listening, drops all connections and waits for the thread. Does nothing the second time.
    pub fn stop(&mut self) {
        self.server.stop();
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.server.is_running() { "running" } else { "stopped" };
        write!(f, "<Simulator {} {state} {:?}>", self.url(), self.stats())
    }
}
