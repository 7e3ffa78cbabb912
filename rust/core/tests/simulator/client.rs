//! A plain client for the tests: hyper's connections without a pool, and bodies read frame by frame.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use edgequake_core::simulator::{Simulator, SimulatorConfig, Stats};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    },
};

/// The longest that anything here may take before a test fails rather than hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// A simulator with this config.
pub(crate) fn start(config: SimulatorConfig) -> Simulator {
    Simulator::start(config).unwrap()
}

/// A simulator that answers at once.
pub(crate) fn plain() -> Simulator {
    start(SimulatorConfig::default())
}

/// Fails the test if it takes too long.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}

/// Waits until the simulator saw what is wanted, with the client's tasks running meanwhile.
pub(crate) async fn eventually(simulator: &Simulator, wanted: impl Fn(&Stats) -> bool) {
    let until = async {
        while !wanted(&simulator.stats()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, until).await.is_err() {
        panic!("not seen: {:?}", simulator.stats());
    }
}

/// A connection of either version.
pub(crate) enum Client {
    H1(hyper::client::conn::http1::SendRequest<Full<Bytes>>),
    H2(hyper::client::conn::http2::SendRequest<Full<Bytes>>),
}

/// Which version to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speak {
    H1,
    H2,
}

pub(crate) const BOTH: [Speak; 2] = [Speak::H1, Speak::H2];

impl Client {
    /// A connection in clear, HTTP/2 with prior knowledge.
    pub(crate) async fn new(simulator: &Simulator, speak: Speak) -> Self {
        Self::over(tcp(simulator.port()).await, speak).await
    }

    pub(crate) async fn over(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, speak: Speak) -> Self {
        let io = TokioIo::new(io);
        match speak {
            Speak::H1 => {
                let (sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
                tokio::spawn(connection);
                Self::H1(sender)
            }
            Speak::H2 => {
                let (sender, connection) =
                    hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
                tokio::spawn(connection);
                Self::H2(sender)
            }
        }
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::H1(sender) => {
                sender.ready().await?;
                soon(sender.send_request(request)).await
            }
            Self::H2(sender) => {
                sender.ready().await?;
                soon(sender.send_request(request)).await
            }
        }
    }

    /// Sends a body, with the control header unless it is empty, and reads the answer to its end.
    pub(crate) async fn post(&mut self, path: &str, body: &Value, control: &str) -> Answer {
        Answer::read(self.send(request(path, body, control)).await.unwrap()).await
    }
}

pub(crate) fn request(path: &str, body: &Value, control: &str) -> Request<Full<Bytes>> {
    let mut builder = Request::builder().method(Method::POST).uri(format!("http://localhost{path}"));
    builder = builder.header("host", "localhost").header("content-type", "application/json");
    if !control.is_empty() {
        builder = builder.header("x-simulator", control);
    }
    builder.body(Full::new(body.to_string().into())).unwrap()
}

/// One request on a connection of its own.
pub(crate) async fn post(simulator: &Simulator, path: &str, body: &Value, control: &str) -> Answer {
    Client::new(simulator, Speak::H1).await.post(path, body, control).await
}

/// An answer as far as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// How the body broke off, if it did.
    pub(crate) error: Option<hyper::Error>,
}

impl Answer {
    pub(crate) async fn read(response: Response<Incoming>) -> Self {
        let (parts, mut body) = response.into_parts();
        let mut answer = Self { status: parts.status, headers: parts.headers, body: Vec::new(), error: None };
        while let Some(frame) = soon(body.frame()).await {
            match frame {
                Ok(frame) => answer.body.extend_from_slice(&frame.into_data().unwrap()),
                Err(error) => {
                    answer.error = Some(error);
                    break;
                }
            }
        }
        answer
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.headers)).to_str().unwrap()
    }

    /// The whole frames of the body: what stands between empty lines, or the lines of NDJSON.
    pub(crate) fn frames(&self) -> Vec<&str> {
        let end = if self.header("content-type").contains("ndjson") {
            "\n"
        } else if self.text().contains("\r\n\r\n") {
            "\r\n\r\n"
        } else {
            "\n\n"
        };
        let mut frames: Vec<&str> = self.text().split(end).collect();
        frames.pop();
        frames
    }

    /// The JSON values of the frames that carry one.
    pub(crate) fn events(&self) -> Vec<Value> {
        let data = |frame: &&str| match frame.split_once("data: ") {
            Some((_, data)) => data.to_owned(),
            None => (*frame).to_owned(),
        };
        let frames = self.frames();
        frames.iter().map(data).filter_map(|data| serde_json::from_str(&data).ok()).collect()
    }
}

pub(crate) async fn tcp(port: u16) -> TcpStream {
    let socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

/// Sends a request as bytes and reads until the connection ends; the error is that of the end.
pub(crate) async fn raw(
    simulator: &Simulator,
    path: &str,
    body: &Value,
    control: &str,
) -> (Vec<u8>, std::io::Result<()>) {
    let mut socket = tcp(simulator.port()).await;
    socket.write_all(&raw_request(path, body, control)).await.unwrap();
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match soon(socket.read(&mut buffer)).await {
            Ok(0) => return (all, Ok(())),
            Ok(n) => all.extend_from_slice(&buffer[..n]),
            Err(error) => return (all, Err(error)),
        }
    }
}

pub(crate) fn raw_request(path: &str, body: &Value, control: &str) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: x\r\nx-simulator: {control}\r\ncontent-length: {length}\r\n\r\n{body}")
        .into()
}

/// A TLS connection that trusts this authority and offers these protocols.
pub(crate) async fn tls(
    port: u16,
    ca_pem: &str,
    identity: Option<&str>,
    protocols: &[&[u8]],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    };
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    soon(TlsConnector::from(Arc::new(config)).connect(name, tcp(port).await)).await
}

/// A chat in each format: its name, the path for a unary and for a streamed answer, and the body (its `stream` to be set).
pub(crate) struct Wire {
    pub(crate) name: &'static str,
    pub(crate) unary: &'static str,
    pub(crate) stream: &'static str,
    pub(crate) body: Value,
}

impl Wire {
    pub(crate) fn body(&self, stream: bool) -> Value {
        let mut body = self.body.clone();
        if self.name != "gemini" {
            body["stream"] = json!(stream);
        }
        body
    }
}

pub(crate) fn wires() -> [Wire; 4] {
    let chat = json!({"model": "m-1", "max_tokens": 500, "messages": [{"role": "user", "content": "secret words"}]});
    let ollama = json!({"model": "m-1", "messages": [{"role": "user", "content": "secret words"}]});
    let contents = json!({"contents": [{"role": "user", "parts": [{"text": "secret words"}]}]});
    let wire = |name, unary, stream, body: &Value| Wire { name, unary, stream, body: body.clone() };
    [
        wire("openai", "/v1/chat/completions", "/v1/chat/completions", &chat),
        wire("anthropic", "/v1/messages", "/v1/messages", &chat),
        wire(
            "gemini",
            "/v1beta/models/m-1:generateContent",
            "/v1beta/models/m-1:streamGenerateContent?alt=sse",
            &contents,
        ),
        wire("ollama", "/api/chat", "/api/chat", &ollama),
    ]
}
