//! What a connection pool is made with. Providers of equal settings share one pool, so the settings are its key.

use std::{fmt, time::Duration};

/// Which HTTP versions are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Protocol {
    /// Over TLS whatever both sides prefer (ALPN: `h2`, then `http/1.1`); in clear HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only; in clear by prior knowledge.
    Http2,
}

/// Whether requests go through a proxy.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub enum Proxy {
    /// As `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say.
    #[default]
    Environment,
    /// Never.
    Direct,
    /// Through this one: `http://`, `https://`, `socks5://` or `socks5h://`, with `user:password@` if need be.
    Url(String),
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str("Environment"),
            Self::Direct => f.write_str("Direct"),
            // The URL may hold a password.
            Self::Url(url) => write!(f, "Url({:?})", url.rsplit('@').next().unwrap_or_default()),
        }
    }
}

/// What a pool is made with.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HttpSettings {
    /// Which HTTP versions are spoken.
    pub protocol: Protocol,
    /// Whether requests go through a proxy.
    pub proxy: Proxy,
    /// Certificates (PEM) that are trusted besides the bundled and the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// The client's certificate chain and private key (PEM, one text).
    pub client_pem: Option<Vec<u8>>,
    /// How long an unused connection is kept.
    pub keep_alive: Duration,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            protocol: Protocol::Auto,
            proxy: Proxy::Environment,
            ca_pem: None,
            client_pem: None,
            keep_alive: Duration::from_secs(90),
        }
    }
}

impl fmt::Debug for HttpSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSettings")
            .field("protocol", &self.protocol)
            .field("proxy", &self.proxy)
            .field("ca_pem", &self.ca_pem.is_some())
            .field("client_pem", &self.client_pem.is_some())
            .field("keep_alive", &self.keep_alive)
            .finish()
    }
}
