//! What the simulator reports: given-up requests at once, slow readers, and the requests themselves.

use std::time::Duration;

use edgequake_core::simulator::SimulatorConfig;
use http::Version;
use http_body_util::BodyExt as _;
use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
};

use crate::client::{
    Answer, BOTH, Client, Speak, eventually, plain, post, raw_request, request, soon, start, tcp, wires,
};

#[tokio::test]
async fn a_request_given_up_before_the_headers_is_seen() {
    let simulator = plain();
    let [openai, ..] = wires();
    for (aborted, speak) in [(1, Speak::H1), (2, Speak::H2)] {
        let mut client = Client::new(&simulator, speak).await;
        let sending = client.send(request(openai.unary, &openai.body, "delay_ms=600000"));
        tokio::select! {
            _ = sending => panic!("answered"),
            () = eventually(&simulator, |stats| stats.in_flight == 1) => {}
        }
        eventually(&simulator, |stats| stats.aborted == aborted && stats.in_flight == 0).await;
        if speak == Speak::H2 {
            assert_eq!(client.post(openai.unary, &openai.body, "").await.status, 200, "the connection lives on");
        }
    }
    assert_eq!(simulator.stats().h2_requests, 2);
}

#[tokio::test]
async fn a_stream_given_up_is_seen_whatever_it_is_doing() {
    let simulator = plain();
    let mut aborted = 0;
    for wire in wires() {
        for speak in BOTH {
            for control in ["stall_after=2", "stall_after=2;keep_alive_ms=5", "gap_ms=600000", "ttft_ms=600000"] {
                let mut client = Client::new(&simulator, speak).await;
                let response = client.send(request(wire.stream, &wire.body(true), control)).await.unwrap();
                let mut body = response.into_body();
                if control != "ttft_ms=600000" {
                    assert!(soon(body.frame()).await.unwrap().unwrap().is_data());
                }
                assert_eq!(simulator.stats().in_flight, 1);
                drop(body);
                aborted += 1;
                eventually(&simulator, |stats| stats.aborted == aborted && stats.in_flight == 0).await;
            }
        }
    }
    assert_eq!((simulator.stats().completed, simulator.stats().faulted), (0, 0));
}

#[tokio::test]
async fn a_full_answer_is_counted_by_the_time_it_is_read() {
    let simulator = plain();
    for (n, wire) in wires().into_iter().enumerate() {
        for (m, speak) in BOTH.into_iter().enumerate() {
            let mut client = Client::new(&simulator, speak).await;
            assert!(client.post(wire.stream, &wire.body(true), "").await.error.is_none());
            assert!(client.post(wire.unary, &wire.body(false), "status=500").await.error.is_none());
            let stats = simulator.stats();
            assert_eq!((stats.completed, stats.in_flight), ((4 * n + 2 * m + 2) as u64, 0));
        }
    }
    let stats = simulator.stats();
    assert_eq!((stats.requests, stats.connections, stats.max_in_flight, stats.aborted), (16, 8, 1, 0));
    assert!(stats.events_sent > 8 * 24 && stats.bytes_sent > 8 * 24 * 50);
}

#[tokio::test]
async fn a_slow_reader_stalls_the_answer() {
    const EVENTS: u64 = 1_000_000;
    let simulator = start(SimulatorConfig { send_buffer: Some(16 << 10), ..SimulatorConfig::default() });
    let [openai, ..] = wires();
    for (n, speak) in BOTH.into_iter().enumerate() {
        let before = simulator.stats().events_sent;
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 << 10).unwrap();
        let socket = socket.connect(([127, 0, 0, 1], simulator.port()).into()).await.unwrap();
        let mut client = Client::over(socket, speak).await;
        let control = format!("tokens={EVENTS}");
        let mut endless = openai.body(true);
        endless["max_tokens"] = Value::Null;
        let response = client.send(request(openai.stream, &endless, &control)).await.unwrap();
        let sent = || simulator.stats().events_sent - before;
        let stalled = async || {
            let mut last = sent();
            let mut still = 0;
            while still < 20 {
                tokio::time::sleep(Duration::from_millis(5)).await;
                still = if sent() == last { still + 1 } else { 0 };
                last = sent();
            }
            last
        };
        let first = soon(stalled()).await;
        assert!(first < EVENTS / 10, "{first} events were sent to nobody over {speak:?}");
        let mut body = response.into_body();
        let mut read = 0;
        while read < 4 << 20 {
            read += soon(body.frame()).await.unwrap().unwrap().into_data().unwrap().len();
        }
        let second = soon(stalled()).await;
        assert!(second > first && second < EVENTS / 2, "{first} {second}");
        drop((body, client));
        eventually(&simulator, |stats| stats.aborted == n as u64 + 1).await;
    }
}

#[tokio::test]
async fn big_bodies_feel_a_slow_reader_too() {
    let simulator = start(SimulatorConfig { send_buffer: Some(16 << 10), ..SimulatorConfig::default() });
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let mut socket = socket.connect(([127, 0, 0, 1], simulator.port()).into()).await.unwrap();
    let texts: Vec<String> = (0..400).map(|n| format!("text {n}")).collect();
    let body = json!({"model": "e", "input": texts});
    socket.write_all(&raw_request("/v1/embeddings", &body, "")).await.unwrap();
    let mut buffer = [0; 100];
    soon(socket.read_exact(&mut buffer)).await.unwrap();
    drop(socket);
    eventually(&simulator, |stats| stats.aborted == 1).await;
    assert!(simulator.stats().bytes_sent < 4 << 20);
}

#[tokio::test]
async fn a_request_that_breaks_off_is_given_up() {
    let simulator = plain();
    let mut socket = tcp(simulator.port()).await;
    let half = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{\"model\"";
    socket.write_all(half).await.unwrap();
    eventually(&simulator, |stats| stats.in_flight == 1).await;
    drop(socket);
    eventually(&simulator, |stats| stats.aborted == 1 && stats.connections_open == 0).await;
}

#[tokio::test]
async fn requests_are_recorded_when_asked() {
    let quiet = plain();
    let simulator = start(SimulatorConfig { record: true, record_limit: 3, ..SimulatorConfig::default() });
    let [.., gemini, _] = wires();
    for speak in BOTH {
        let mut client = Client::new(&simulator, speak).await;
        for n in 0..2 {
            let mut request = request(&format!("/p{n}{}", gemini.stream), &gemini.body, "");
            request.headers_mut().insert("x-goog-api-key", "k-123".parse().unwrap());
            assert_eq!(Answer::read(client.send(request).await.unwrap()).await.status, 200);
        }
    }
    let seen = simulator.requests();
    let numbers: Vec<_> = seen.iter().map(|request| (request.number, request.connection, request.version)).collect();
    assert_eq!(numbers, [(1, 0, Version::HTTP_11), (2, 1, Version::HTTP_2), (3, 1, Version::HTTP_2)]);
    let last = &seen[2];
    assert_eq!(last.path, "/p1/v1beta/models/m-1:streamGenerateContent");
    assert_eq!((last.query.as_deref(), last.method.as_str()), (Some("alt=sse"), "POST"));
    assert_eq!(last.headers["x-goog-api-key"], "k-123");
    assert_eq!(serde_json::from_slice::<Value>(&last.body).unwrap(), gemini.body);
    assert!(!format!("{seen:?}").contains("k-123"));
    post(&quiet, gemini.unary, &gemini.body, "").await;
    assert!(quiet.requests().is_empty());
}

#[tokio::test]
async fn the_counters_over_http_do_not_count_themselves() {
    let simulator = plain();
    let [openai, ..] = wires();
    post(&simulator, openai.unary, &openai.body, "").await;
    let mut client = Client::new(&simulator, Speak::H1).await;
    for _ in 0..2 {
        let request = http::Request::get("/simulator/stats").header("host", "x").body(Default::default()).unwrap();
        let stats = Answer::read(client.send(request).await.unwrap()).await.json();
        assert_eq!((&stats["requests"], &stats["completed"], &stats["in_flight"]), (&json!(1), &json!(1), &json!(0)));
    }
    let request = http::Request::get("/simulator/stats").header("host", "x").body(Bytes::new().into()).unwrap();
    drop(client.send(request).await.unwrap());
    assert_eq!(simulator.stats().aborted, 0);
}
