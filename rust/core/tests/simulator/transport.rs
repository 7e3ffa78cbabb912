//! Connections: TLS and its certificates, which version is spoken, ports, and the simulator's end.

use std::time::Duration;

use edgequake_core::{
    ErrorKind,
    simulator::{Simulator, SimulatorConfig},
};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::client::{Client, Speak, eventually, plain, post, raw_request, request, soon, start, tcp, tls, wires};

fn secure() -> SimulatorConfig {
    SimulatorConfig { tls: true, ..SimulatorConfig::default() }
}

fn tls_port(simulator: &Simulator) -> u16 {
    simulator.tls_url().unwrap().rsplit_once(':').unwrap().1.parse().unwrap()
}

#[tokio::test]
async fn tls_with_the_certificate_and_the_version_agreed_on() {
    let simulator = start(secure());
    let (port, ca) = (tls_port(&simulator), simulator.cert_pem().unwrap());
    let h2: &[&[u8]] = &[b"h2", b"http/1.1"];
    for (offered, agreed, speak) in [(h2, &b"h2"[..], Speak::H2), (&h2[1..], b"http/1.1", Speak::H1)] {
        let socket = tls(port, ca, None, offered).await.unwrap();
        assert_eq!(socket.get_ref().1.alpn_protocol(), Some(agreed));
        let mut client = Client::over(socket, speak).await;
        for wire in wires() {
            assert_eq!(client.post(wire.stream, &wire.body(true), "").await.status, 200);
        }
    }
    assert_eq!((simulator.stats().tls_handshakes, simulator.stats().h2_requests), (2, 4));
}

#[tokio::test]
async fn faults_reach_through_tls() {
    let simulator = start(secure());
    let [openai, ..] = wires();
    let (port, ca) = (tls_port(&simulator), simulator.cert_pem().unwrap());
    let mut client = Client::over(tls(port, ca, None, &[b"h2"]).await.unwrap(), Speak::H2).await;
    let answer = client.post(openai.stream, &openai.body(true), "cut_after=4").await;
    assert_eq!(answer.frames().len(), 4);
    assert!(answer.error.is_some());
    let mut socket = tls(port, ca, None, &[b"http/1.1"]).await.unwrap();
    socket.write_all(&raw_request(openai.stream, &openai.body(true), "cut_after=4")).await.unwrap();
    let mut text = Vec::new();
    let error = soon(socket.read_to_end(&mut text)).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(String::from_utf8(text).unwrap().matches("data: ").count(), 4);
}

#[tokio::test]
async fn every_simulator_has_an_authority_of_its_own() {
    let (one, other) = (start(secure()), start(secure()));
    let error = tls(tls_port(&one), other.cert_pem().unwrap(), None, &[b"h2"]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
    assert_eq!(one.stats().tls_handshakes, 0);
    assert_eq!(plain().tls_url(), None);
}

#[tokio::test]
async fn a_client_certificate_is_demanded() {
    let simulator = start(SimulatorConfig { require_client_cert: true, ..secure() });
    let ca = simulator.cert_pem().unwrap();
    let [openai, ..] = wires();
    let stranger = tls(tls_port(&simulator), ca, None, &[b"http/1.1"]).await;
    if let Ok(mut socket) = stranger {
        // In TLS 1.3 the client hears of it after its own handshake.
        let _ = socket.write_all(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(soon(socket.read(&mut [0; 10])).await.is_err());
    }
    let friend = tls(tls_port(&simulator), ca, simulator.client_identity(), &[b"http/1.1"]).await.unwrap();
    let answer = Client::over(friend, Speak::H1).await.post(openai.unary, &openai.body, "").await;
    assert_eq!((answer.status.as_u16(), simulator.stats().tls_handshakes), (200, 1));
}

#[tokio::test]
async fn http_1_only_on_both_ports() {
    let simulator = start(SimulatorConfig { h1_only: true, ..secure() });
    let [openai, ..] = wires();
    let socket = tls(tls_port(&simulator), simulator.cert_pem().unwrap(), None, &[b"h2", b"http/1.1"]).await.unwrap();
    assert_eq!(socket.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(post(&simulator, openai.unary, &openai.body, "").await.status, 200);
    let mut socket = tcp(simulator.port()).await;
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = soon(socket.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(&[0, 0]), "an HTTP/2 frame: {answer:?}");
}

#[tokio::test]
async fn as_many_streams_as_allowed() {
    let simulator = start(SimulatorConfig { max_concurrent_streams: 3, ..SimulatorConfig::default() });
    let [openai, ..] = wires();
    let mut client = Client::new(&simulator, Speak::H2).await;
    // The first request makes sure that the server's settings have come.
    client.post(openai.unary, &openai.body, "").await;
    let Client::H2(sender) = &client else { panic!("no HTTP/2") };
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let mut sender = sender.clone();
            let request = request(openai.stream, &openai.body(true), "tokens=3;ttft_ms=100");
            tokio::spawn(async move {
                let response = sender.send_request(request).await.unwrap();
                response.into_body().collect().await.unwrap().to_bytes()
            })
        })
        .collect();
    for task in tasks {
        assert!(soon(task).await.unwrap().ends_with(b"data: [DONE]\n\n"));
    }
    assert_eq!((simulator.stats().max_in_flight, simulator.stats().connections), (3, 1));
}

#[tokio::test]
async fn many_given_up_streams_are_no_attack() {
    let simulator = plain();
    let [openai, ..] = wires();
    let mut client = Client::new(&simulator, Speak::H2).await;
    for _ in 0..500 {
        drop(client.send(request(openai.stream, &openai.body(true), "stall_after=1")).await.unwrap());
    }
    eventually(&simulator, |stats| stats.aborted == 500).await;
    assert_eq!(client.post(openai.unary, &openai.body, "").await.status, 200);
    assert_eq!(simulator.stats().connections, 1);
}

#[tokio::test]
async fn open_connections_can_be_closed() {
    let simulator = plain();
    let [openai, ..] = wires();
    let (mut idle, mut busy) = (Client::new(&simulator, Speak::H1).await, Client::new(&simulator, Speak::H2).await);
    assert_eq!(idle.post(openai.unary, &openai.body, "").await.status, 200);
    let response = busy.send(request(openai.stream, &openai.body(true), "stall_after=1")).await.unwrap();
    simulator.close_connections();
    assert!(soon(response.into_body().collect()).await.is_err());
    eventually(&simulator, |stats| stats.connections_open == 0).await;
    assert!(idle.send(request(openai.unary, &openai.body, "")).await.is_err());
    assert_eq!(post(&simulator, openai.unary, &openai.body, "").await.status, 200, "new ones are welcome");
}

#[tokio::test]
async fn it_stops_with_everything_open_and_frees_its_port() {
    let mut simulator = plain();
    let [openai, ..] = wires();
    let mut client = Client::new(&simulator, Speak::H1).await;
    let response = client.send(request(openai.stream, &openai.body(true), "stall_after=1")).await.unwrap();
    let port = simulator.port();
    simulator.stop();
    simulator.stop();
    assert!(soon(response.into_body().collect()).await.is_err());
    assert!(format!("{simulator:?}").contains("stopped"));
    let again = start(SimulatorConfig { port, ..SimulatorConfig::default() });
    assert_eq!(again.url(), format!("http://127.0.0.1:{port}"));
    assert_eq!(post(&again, openai.unary, &openai.body, "").await.status, 200);
    drop(again);
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err());
}

#[tokio::test]
async fn a_port_that_is_taken_is_said_so() {
    let simulator = plain();
    let error = Simulator::start(SimulatorConfig { port: simulator.port(), ..SimulatorConfig::default() }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.message().contains(&simulator.port().to_string()), "{error}");
}

#[test]
fn it_needs_no_runtime_of_its_user() {
    use std::io::{Read as _, Write as _};
    let simulator = plain();
    let mut socket = std::net::TcpStream::connect(("127.0.0.1", simulator.port())).unwrap();
    socket.write_all(b"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with('}'), "{answer}");
    assert!(simulator.wait_for(Duration::from_secs(10), |stats| stats.completed == 1));
    assert!(!simulator.wait_for(Duration::ZERO, |stats| stats.completed == 2));
}

#[test]
fn threads_can_share_it() {
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&plain());
}
