//! Opens one connection: name lookup and happy eyeballs, proxy or tunnel, TLS, and which HTTP version came of it.

use std::{
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderValue, Uri, uri::Authority};
use hyper_util::{
    client::{
        legacy::connect::{
            HttpConnector,
            proxy::{SocksV5, Tunnel},
        },
        proxy::matcher::Matcher,
    },
    rt::TokioIo,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{self, ClientConfig, pki_types::ServerName},
};
use tower_service::Service;

use super::{
    settings::{HttpSettings, Protocol, Proxy},
    tls,
};
use crate::error::{Error, ErrorKind};

/// Where a connection leads: scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Host and, where given, port.
    pub authority: Authority,
}

impl Origin {
    fn uri(&self) -> Result<Uri, Error> {
        let scheme = if self.tls { "https" } else { "http" };
        Uri::builder()
            .scheme(scheme)
            .authority(self.authority.clone())
            .path_and_query("/")
            .build()
            .map_err(|error| Error::new(ErrorKind::Configuration, format!("bad base URL: {error}")))
    }
}

/// A byte stream, with or without TLS.
#[derive(Debug)]
pub enum Io {
    /// In clear.
    Plain(TcpStream),
    /// Under TLS.
    Tls(Box<TlsStream<TcpStream>>),
    /// TLS to an `https://` proxy, and TLS to the origin inside.
    TlsInTls(Box<TlsStream<TlsStream<TcpStream>>>),
}

macro_rules! each_io {
    ($self:ident, $io:ident => $call:expr) => {
        match $self.get_mut() {
            Io::Plain($io) => $call,
            Io::Tls($io) => $call,
            Io::TlsInTls($io) => $call,
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each_io!(self, io => Pin::new(io).poll_read(cx, buf))
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each_io!(self, io => Pin::new(io).poll_write(cx, buf))
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each_io!(self, io => Pin::new(io).poll_flush(cx))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each_io!(self, io => Pin::new(io).poll_shutdown(cx))
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each_io!(self, io => Pin::new(io).poll_write_vectored(cx, bufs))
    }
    fn is_write_vectored(&self) -> bool {
        matches!(self, Self::Plain(_))
    }
}

/// An open connection, before HTTP begins.
#[derive(Debug)]
pub struct Dialed {
    /// The byte stream.
    pub io: Io,
    /// Whether HTTP/2 was agreed on.
    pub http2: bool,
    /// Set where a proxy forwards requests in clear: they name the whole URL and carry this authorization.
    pub forward: Option<Forward>,
}

/// How requests go to a proxy that forwards them.
#[derive(Debug, Clone, Default)]
pub struct Forward {
    /// The `proxy-authorization` header.
    pub authorization: Option<HeaderValue>,
}

/// Opens connections by one pool's settings.
#[derive(Debug)]
pub struct Connector {
    settings: HttpSettings,
    proxy: Option<Matcher>,
    tls: OnceLock<Arc<ClientConfig>>,
}

fn connect_error(what: &str, origin: &Origin, error: &(dyn std::error::Error + 'static)) -> Error {
    let mut message = format!("cannot {what} {}", origin.authority.host());
    if let Some(port) = origin.authority.port_u16() {
        message.push_str(&format!(":{port}"));
    }
    let mut last = String::new();
    let mut cause = Some(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if text != last {
            message.push_str(": ");
            message.push_str(&text);
            last = text;
        }
        cause = error.source();
    }
    Error::new(ErrorKind::Connect, message)
}

/// A TCP connector, or a TCP connector with TLS on top, for tunnels through `https://` proxies.
async fn tcp(uri: Uri) -> Result<TcpStream, Box<dyn std::error::Error + Send + Sync>> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    // Without these a connection that a NAT has forgotten stays silent until the call times out.
    connector.set_keepalive(Some(Duration::from_secs(30)));
    connector.set_keepalive_interval(Some(Duration::from_secs(10)));
    connector.set_keepalive_retries(Some(3));
    poll_fn(|cx| connector.poll_ready(cx)).await?;
    Ok(connector.call(uri).await?.into_inner())
}

type Dial<T> = Pin<Box<dyn Future<Output = Result<TokioIo<T>, Box<dyn std::error::Error + Send + Sync>>> + Send>>;

/// Adapts a function that dials into the service that hyper-util's tunnels are built on.
#[derive(Clone)]
struct DialService<F>(F);

impl<F, T> Service<Uri> for DialService<F>
where
    F: FnMut(Uri) -> Dial<T>,
{
    type Response = TokioIo<T>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Dial<T>;
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }
    fn call(&mut self, uri: Uri) -> Self::Future {
        (self.0)(uri)
    }
}

impl Connector {
    /// A connector; reads the proxy variables of the environment if the settings say so.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for a proxy URL or certificates that cannot be used.
    pub fn new(settings: HttpSettings) -> Result<Self, Error> {
        tls::check(&settings)?;
        let proxy = match &settings.proxy {
            Proxy::Direct => None,
            Proxy::Environment => Some(Matcher::from_env()),
            Proxy::Url(url) => {
                let scheme = url.split_once("://").map(|(scheme, _)| scheme);
                if !matches!(scheme, Some("http" | "https" | "socks5" | "socks5h")) || url.parse::<Uri>().is_err() {
                    let message = "proxy must be a URL that begins with http://, https://, socks5:// or socks5h://";
                    return Err(Error::new(ErrorKind::Configuration, message));
                }
                Some(Matcher::builder().all(url.clone()).build())
            }
        };
        Ok(Self { settings, proxy, tls: OnceLock::new() })
    }

    /// The settings.
    pub fn settings(&self) -> &HttpSettings {
        &self.settings
    }

    /// Whether the protocol to such an origin is known to be HTTP/1.1 before anything is dialed.
    pub fn is_surely_http1(&self, origin: &Origin) -> bool {
        match self.settings.protocol {
            Protocol::Http1 => true,
            Protocol::Http2 => false,
            Protocol::Auto => !origin.tls,
        }
    }

    async fn tls(&self) -> Result<TlsConnector, Error> {
        if let Some(config) = self.tls.get() {
            return Ok(config.clone().into());
        }
        let settings = self.settings.clone();
        let config = tokio::task::spawn_blocking(move || tls::client_config(&settings))
            .await
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))??;
        Ok(self.tls.get_or_init(|| Arc::new(config)).clone().into())
    }

    async fn handshake<T>(&self, origin: &Origin, io: T) -> Result<TlsStream<T>, Error>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let host = origin.authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host)
            .map_err(|_| Error::new(ErrorKind::Configuration, "the base URL's host is not a valid name"))?;
        let tls = self.tls().await?;
        tls.connect(name, io).await.map_err(|error| {
            let refused = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
            match refused {
                Some(rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol)) => {
                    self.no_common_protocol()
                }
                _ => connect_error("agree on TLS with", origin, &error),
            }
        })
    }

    /// Opens a connection to `origin`.
    ///
    /// # Errors
    /// [`ErrorKind::Connect`] with the whole chain of causes.
    pub async fn dial(&self, origin: &Origin) -> Result<Dialed, Error> {
        let uri = origin.uri()?;
        let Some(proxy) = self.proxy.as_ref().and_then(|matcher| matcher.intercept(&uri)) else {
            let io = tcp(uri).await.map_err(|error| connect_error("connect to", origin, &*error))?;
            return self.secure(origin, io).await;
        };
        let through =
            |error: &(dyn std::error::Error + 'static)| connect_error("connect through the proxy to", origin, error);
        match proxy.uri().scheme_str() {
            Some("socks5" | "socks5h") => {
                let local_dns = proxy.uri().scheme_str() == Some("socks5");
                let dial = DialService(|uri| -> Dial<TcpStream> {
                    Box::pin(async move { Ok(TokioIo::new(tcp(uri).await?)) })
                });
                let mut socks = SocksV5::new(proxy.uri().clone(), dial).local_dns(local_dns);
                if let Some((user, password)) = proxy.raw_auth() {
                    socks = socks.with_auth(user.to_owned(), password.to_owned());
                }
                let io = socks.call(with_port(uri)?).await.map_err(|error| through(&error))?;
                self.secure(origin, io.into_inner()).await
            }
            Some("https") => {
                let host = proxy.uri().host().unwrap_or_default().to_owned();
                let (name, tls) = (ServerName::try_from(host), self.tls().await?);
                // A proxy speaks HTTP/1.1 to take the CONNECT.
                let mut config = (**tls.config()).clone();
                config.alpn_protocols.clear();
                let tls = TlsConnector::from(Arc::new(config));
                let name =
                    name.map_err(|_| Error::new(ErrorKind::Configuration, "the proxy's host is not a valid name"))?;
                let dial = DialService(move |uri| -> Dial<TlsStream<TcpStream>> {
                    let (tls, name) = (tls.clone(), name.clone());
                    Box::pin(async move { Ok(TokioIo::new(tls.connect(name, tcp(uri).await?).await?)) })
                });
                let io = tunnel(&proxy, dial).call(uri).await.map_err(|error| through(&error))?;
                if !origin.tls {
                    let http2 = self.settings.protocol == Protocol::Http2;
                    return Ok(Dialed { io: Io::Tls(Box::new(io.into_inner())), http2, forward: None });
                }
                let io = self.handshake(origin, io.into_inner()).await?;
                let http2 = io.get_ref().1.alpn_protocol() == Some(b"h2");
                Ok(Dialed { io: Io::TlsInTls(Box::new(io)), http2, forward: None })
            }
            _ if origin.tls => {
                let dial = DialService(|uri| -> Dial<TcpStream> {
                    Box::pin(async move { Ok(TokioIo::new(tcp(uri).await?)) })
                });
                let io = tunnel(&proxy, dial).call(uri).await.map_err(|error| through(&error))?;
                self.secure(origin, io.into_inner()).await
            }
            _ => {
                let io = tcp(proxy.uri().clone()).await.map_err(|error| through(&*error))?;
                let forward = Forward { authorization: proxy.basic_auth().cloned() };
                Ok(Dialed { io: Io::Plain(io), http2: false, forward: Some(forward) })
            }
        }
    }

    /// The server speaks none of the HTTP versions that were offered.
    fn no_common_protocol(&self) -> Error {
        let message = match self.settings.protocol {
            Protocol::Http2 => "the server does not speak HTTP/2; leave the protocol on auto",
            Protocol::Http1 => "the server does not speak HTTP/1.1; leave the protocol on auto",
            Protocol::Auto => "the server speaks neither HTTP/2 nor HTTP/1.1",
        };
        Error::new(ErrorKind::Connect, message)
    }

    async fn secure(&self, origin: &Origin, io: TcpStream) -> Result<Dialed, Error> {
        if !origin.tls {
            let http2 = self.settings.protocol == Protocol::Http2;
            return Ok(Dialed { io: Io::Plain(io), http2, forward: None });
        }
        let io = self.handshake(origin, io).await?;
        let http2 = io.get_ref().1.alpn_protocol() == Some(b"h2");
        if self.settings.protocol == Protocol::Http2 && !http2 {
            return Err(self.no_common_protocol());
        }
        Ok(Dialed { io: Io::Tls(Box::new(io)), http2, forward: None })
    }
}

fn tunnel<C>(proxy: &hyper_util::client::proxy::matcher::Intercept, dial: C) -> Tunnel<C> {
    let tunnel = Tunnel::new(proxy.uri().clone(), dial);
    match proxy.basic_auth() {
        Some(authorization) => tunnel.with_auth(authorization.clone()),
        None => tunnel,
    }
}

/// The SOCKS service wants the port spelled out.
fn with_port(uri: Uri) -> Result<Uri, Error> {
    let invalid = |_| Error::new(ErrorKind::Configuration, "bad base URL");
    if uri.port().is_some() {
        return Ok(uri);
    }
    let port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let authority = format!("{}:{port}", uri.host().unwrap_or_default());
    let mut parts = uri.into_parts();
    parts.authority = Some(authority.parse().map_err(|_| Error::new(ErrorKind::Configuration, "bad base URL"))?);
    Uri::from_parts(parts).map_err(invalid)
}
