//! What a simulator is told at its start.

use std::time::Duration;

use crate::error::{Error, ErrorKind};

/// How a simulator listens, answers, limits and records. `SimulatorConfig::default()` answers at once and refuses nobody.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulatorConfig {
    /// The port for HTTP/1.1 and HTTP/2 with prior knowledge; 0 takes a free one.
    pub port: u16,
    /// Whether to listen for TLS too, with a throw-away certificate.
    pub tls: bool,
    /// The port for TLS; 0 takes a free one.
    pub tls_port: u16,
    /// Whether a TLS client must show a certificate of the simulator's own authority (`Simulator::client_identity`).
    pub require_client_cert: bool,
    /// Speaks HTTP/1.1 only, on both ports.
    pub h1_only: bool,
    /// How many streams one HTTP/2 connection may carry at once.
    pub max_concurrent_streams: u32,
    /// The kernel's send buffer for each connection, in bytes. A small one makes a slow reader felt sooner.
    pub send_buffer: Option<u32>,

    /// The text of every answer; `None` for a sentence saying that it is simulated.
    pub text: Option<String>,
    /// The number of text deltas, the text being repeated or cut to fit; `None` for the text as it is.
    pub tokens: Option<usize>,
    /// From the request to the first event. A unary answer waits for all its tokens: `ttft + gap × tokens`.
    pub ttft: Duration,
    /// Between two events. Kept on average; the timer's grain is a millisecond.
    pub gap: Duration,
    /// How far `ttft` and `gap` vary, as a share of each: 0 to 1.
    pub jitter: f64,
    /// Makes jitter, failures and ids repeatable.
    pub seed: u64,
    /// How many events go into one write.
    pub chunk_events: usize,
    /// The length of the vectors where the request does not say.
    pub embedding_dims: usize,
    /// Compresses answers for clients that accept gzip.
    pub gzip: bool,

    /// The share of requests that fail: 0 to 1.
    pub failure_rate: f64,
    /// The status of those failures.
    pub failure_status: u16,
    /// Requests allowed in a `limit_window`; more are answered 429.
    pub requests_per_minute: Option<u64>,
    /// Tokens, of prompts and answers together, allowed in a `limit_window`; more are answered 429.
    pub tokens_per_minute: Option<u64>,
    /// How long the "minute" of the limits is; shorter ones make quick tests.
    pub limit_window: Duration,
    /// Requests worked on at once; more are answered 429.
    pub max_concurrent: Option<usize>,

    /// Whether to keep what was received, keys and all, for `Simulator::requests`.
    pub record: bool,
    /// How many requests are kept; the oldest go first.
    pub record_limit: usize,
}

impl Default for SimulatorConfig {
    fn default() -> Self {
        Self {
            port: 0,
            tls: false,
            tls_port: 0,
            require_client_cert: false,
            h1_only: false,
            max_concurrent_streams: 1000,
            send_buffer: None,
            text: None,
            tokens: None,
            ttft: Duration::ZERO,
            gap: Duration::ZERO,
            jitter: 0.0,
            seed: 0,
            chunk_events: 1,
            embedding_dims: 1536,
            gzip: false,
            failure_rate: 0.0,
            failure_status: 500,
            requests_per_minute: None,
            tokens_per_minute: None,
            limit_window: Duration::from_secs(60),
            max_concurrent: None,
            record: false,
            record_limit: 1000,
        }
    }
}

impl SimulatorConfig {
    /// Refuses values that make no sense.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`], naming the field.
    pub fn check(&self) -> Result<(), Error> {
        let share = |value: f64| (0.0..=1.0).contains(&value);
        let complaint = if !share(self.jitter) {
            "jitter must be from 0 to 1"
        } else if !share(self.failure_rate) {
            "failure_rate must be from 0 to 1"
        } else if !(400..=599).contains(&self.failure_status) {
            "failure_status must be from 400 to 599"
        } else if self.chunk_events == 0 {
            "chunk_events must be at least 1"
        } else if self.embedding_dims == 0 {
            "embedding_dims must be at least 1"
        } else if self.max_concurrent_streams == 0 {
            "max_concurrent_streams must be at least 1"
        } else if self.limit_window.is_zero() {
            "limit_window must be longer than 0"
        } else if self.requests_per_minute == Some(0) || self.tokens_per_minute == Some(0) {
            "requests_per_minute and tokens_per_minute must be at least 1, or not set"
        } else if self.require_client_cert && !self.tls {
            "require_client_cert needs tls"
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::Configuration, format!("simulator: {complaint}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_without_meaning_are_refused_by_name() {
        assert!(SimulatorConfig::default().check().is_ok());
        let default = SimulatorConfig::default;
        for (config, field) in [
            (SimulatorConfig { jitter: 1.5, ..default() }, "jitter"),
            (SimulatorConfig { failure_rate: f64::NAN, ..default() }, "failure_rate"),
            (SimulatorConfig { failure_status: 200, ..default() }, "failure_status"),
            (SimulatorConfig { chunk_events: 0, ..default() }, "chunk_events"),
            (SimulatorConfig { requests_per_minute: Some(0), ..default() }, "requests_per_minute"),
            (SimulatorConfig { require_client_cert: true, ..default() }, "require_client_cert"),
        ] {
            let error = config.check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert!(error.message().contains(field), "{error}");
        }
    }
}
