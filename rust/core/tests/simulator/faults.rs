//! Answers that go wrong, each in its own way, over both versions of HTTP.

use std::{io::Read as _, time::Duration};

use edgequake_core::simulator::{After, Fault, Reply, SimulatorConfig};
use http_body_util::BodyExt as _;
use hyper::body::Bytes;
use serde_json::json;

use crate::client::{BOTH, Client, Speak, eventually, plain, post, raw, request, soon, start, wires};

#[tokio::test]
async fn a_cut_resets_after_exactly_so_many_events() {
    let simulator = plain();
    for wire in wires() {
        for speak in BOTH {
            let mut client = Client::new(&simulator, speak).await;
            let answer = client.post(wire.stream, &wire.body(true), "cut_after=5").await;
            assert_eq!((answer.status.as_u16(), answer.frames().len()), (200, 5), "{} {speak:?}", wire.name);
            assert!(answer.error.is_some());
            if speak == Speak::H2 {
                let again = client.post(wire.unary, &wire.body(false), "").await;
                assert_eq!(again.status, 200, "the other streams live on");
            }
        }
    }
    assert_eq!((simulator.stats().faulted, simulator.stats().aborted), (8, 0));
    assert_eq!(simulator.stats().connections, 8);
}

#[tokio::test]
async fn a_cut_over_http_1_is_a_real_reset() {
    let simulator = plain();
    let [openai, ..] = wires();
    for control in ["cut_after=3", "cut_after_bytes=700"] {
        let (_, end) = raw(&simulator, openai.stream, &openai.body(true), control).await;
        assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    }
    let (bytes, end) = raw(&simulator, openai.stream, &openai.body(true), "close_after=3").await;
    assert!(end.is_ok() && !bytes.ends_with(b"0\r\n\r\n"));
    assert_eq!(String::from_utf8(bytes).unwrap().matches("data: ").count(), 3);
}

#[tokio::test]
async fn a_cut_in_the_middle_of_an_event_and_of_a_whole_body() {
    let simulator = plain();
    let [openai, ..] = wires();
    for speak in BOTH {
        for (path, stream) in [(openai.stream, true), (openai.unary, false)] {
            let mut client = Client::new(&simulator, speak).await;
            let answer = client.post(path, &openai.body(stream), "cut_after_bytes=333").await;
            assert_eq!(answer.body.len(), 333);
            assert!(answer.error.is_some());
        }
    }
}

#[tokio::test]
async fn closing_takes_the_whole_connection() {
    let simulator = plain();
    let [openai, ..] = wires();
    let mut client = Client::new(&simulator, Speak::H2).await;
    let bystander = client.send(request(openai.stream, &openai.body(true), "stall_after=1")).await.unwrap();
    let answer = client.post(openai.stream, &openai.body(true), "close_after=2").await;
    assert_eq!(answer.frames().len(), 2);
    assert!(answer.error.is_some());
    assert!(soon(bystander.into_body().collect()).await.is_err());
    eventually(&simulator, |stats| stats.connections_open == 0).await;
}

#[tokio::test]
async fn nothing_comes_before_the_headers() {
    let simulator = plain();
    let [openai, ..] = wires();
    for speak in BOTH {
        let mut client = Client::new(&simulator, speak).await;
        simulator.push(Reply::fault(Fault::CloseBeforeHeaders)).unwrap();
        assert!(client.send(request(openai.unary, &openai.body, "")).await.is_err());
    }
    assert_eq!(simulator.stats().faulted, 2);
    let (bytes, end) = raw(&simulator, openai.unary, &openai.body, "close_before_headers").await;
    assert!(bytes.is_empty() && end.is_ok());
}

#[tokio::test]
async fn an_early_end_is_no_error_of_http() {
    let simulator = plain();
    for wire in wires() {
        for speak in BOTH {
            let mut client = Client::new(&simulator, speak).await;
            let answer = client.post(wire.stream, &wire.body(true), "end_after=4").await;
            assert_eq!(answer.frames().len(), 4);
            assert!(answer.error.is_none());
        }
    }
}

#[tokio::test]
async fn a_stall_keeps_the_connection_and_may_show_signs_of_life() {
    let simulator = plain();
    for wire in wires() {
        for keep_alive in [None, Some(Duration::from_millis(5))] {
            let after = After::Events(2);
            simulator.push(Reply::fault(Fault::StallAfter { after, keep_alive })).unwrap();
            let mut client = Client::new(&simulator, Speak::H1).await;
            let response = client.send(request(wire.stream, &wire.body(true), "")).await.unwrap();
            let mut body = response.into_body();
            let mut text = String::new();
            for _ in 0..2 {
                let frame = soon(body.frame()).await.unwrap().unwrap().into_data().unwrap();
                text.push_str(std::str::from_utf8(&frame).unwrap());
            }
            if keep_alive.is_none() {
                assert!(tokio::time::timeout(Duration::from_millis(50), body.frame()).await.is_err());
                continue;
            }
            for _ in 0..3 {
                let sign = soon(body.frame()).await.unwrap().unwrap().into_data().unwrap();
                assert!(sign.ends_with(b"\n") && !String::from_utf8_lossy(&sign).contains("content"), "{sign:?}");
            }
        }
    }
    eventually(&simulator, |stats| stats.aborted == 8).await;
}

#[tokio::test]
async fn error_events_come_first_or_in_between() {
    let simulator = plain();
    for wire in wires() {
        for events in [0, 3] {
            let control = format!("error_after={events}; error_status=529");
            let answer = post(&simulator, wire.stream, &wire.body(true), &control).await;
            assert_eq!((answer.status.as_u16(), answer.frames().len()), (200, events + 1), "{}", wire.name);
            let last = answer.events().pop().unwrap();
            let kind = match wire.name {
                "anthropic" => {
                    assert!(answer.frames().last().unwrap().starts_with("event: error\n"));
                    last["error"]["type"] == "overloaded_error"
                }
                "gemini" => last["error"]["status"] == "UNAVAILABLE",
                "openai" => last["error"]["type"] == "server_error",
                _ => last["error"].as_str().unwrap().contains("529"),
            };
            assert!(kind, "{last}");
            assert!(answer.error.is_none());
        }
    }
}

#[tokio::test]
async fn raw_bytes_are_sent_as_they_are() {
    let simulator = plain();
    let [openai, ..] = wires();
    for bytes in ["HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort", "not http at all", ""] {
        simulator.push(Reply::fault(Fault::Raw(Bytes::from(bytes)))).unwrap();
        let (seen, end) = raw(&simulator, openai.unary, &openai.body, "").await;
        assert_eq!((String::from_utf8(seen).unwrap(), end.is_ok()), (bytes.to_owned(), true));
    }
    let megabytes = Bytes::from(vec![b'x'; 5 << 20]);
    simulator.push(Reply::fault(Fault::Raw(megabytes.clone()))).unwrap();
    assert_eq!(raw(&simulator, openai.unary, &openai.body, "").await.0.len(), megabytes.len());
}

#[tokio::test]
async fn replies_are_sent_as_scripted() {
    let simulator = plain();
    let [openai, ..] = wires();
    let teapot = Reply::bytes(418, "short and stout").with_header("X-Tea", "mint").with_header("server", "pot");
    simulator.push(teapot.on("/completions").with_delay(Duration::from_millis(5))).unwrap();
    let pieces = ["data: {\"a\":\"\u{e9}".as_bytes(), b"\"}\n", b"\ndata", b": [DONE]\n\n"];
    simulator.push(Reply::pieces(pieces)).unwrap();
    assert_eq!(simulator.pending(), 2);
    let embedding = json!({"model": "e", "input": "x"});
    let answer = post(&simulator, "/v1/embeddings", &embedding, "").await;
    assert_eq!((answer.status.as_u16(), answer.body), (200, pieces.concat()));
    let answer = post(&simulator, openai.unary, &openai.body, "").await;
    assert_eq!((answer.status.as_u16(), answer.text()), (418, "short and stout"));
    assert_eq!((answer.header("x-tea"), answer.header("server")), ("mint", "pot"));
    let moved = Reply::status(302).with_header("location", "https://example.com/");
    for (reply, status, header) in [(moved, 302, "location"), (Reply::status(204), 204, "server")] {
        simulator.push(reply).unwrap();
        let answer = post(&simulator, openai.unary, &openai.body, "").await;
        assert_eq!((answer.status.as_u16(), answer.headers.contains_key(header)), (status, true));
    }
    assert_eq!((simulator.pending(), simulator.stats().completed, simulator.stats().aborted), (0, 4, 0));
    assert!(simulator.push(Reply::text("x").with_header("bad name", "x")).is_err());
    simulator.push(Reply::text("never sent")).unwrap();
    simulator.clear();
    assert!(!post(&simulator, openai.unary, &openai.body, "").await.text().contains("never"));
}

#[tokio::test]
async fn each_event_or_chunk_of_events_is_a_chunk_of_http() {
    let simulator = plain();
    let [openai, ..] = wires();
    for (control, sizes) in [("tokens=4", [1; 7].as_slice()), ("tokens=4; chunk_events=3", &[3, 3, 1])] {
        // Hyper's client hands out one frame for each chunk of HTTP/1.1, however the bytes arrive.
        let mut client = Client::new(&simulator, Speak::H1).await;
        let mut body = client.send(request(openai.stream, &openai.body(true), control)).await.unwrap().into_body();
        let mut seen = Vec::new();
        while let Some(frame) = soon(body.frame()).await {
            let frame = frame.unwrap().into_data().unwrap();
            seen.push(String::from_utf8_lossy(&frame).matches("data: ").count());
        }
        assert_eq!(seen, sizes);
    }
}

#[tokio::test]
async fn compressed_when_the_client_takes_it() {
    let simulator = start(SimulatorConfig { gzip: true, ..SimulatorConfig::default() });
    for wire in wires() {
        for stream in [false, true] {
            let path = if stream { wire.stream } else { wire.unary };
            let plain = post(&simulator, path, &wire.body(stream), "").await;
            assert!(plain.headers.get("content-encoding").is_none());
            let mut client = Client::new(&simulator, Speak::H1).await;
            let mut request = request(path, &wire.body(stream), "");
            request.headers_mut().insert("accept-encoding", "br, gzip;q=0.9".parse().unwrap());
            let answer = crate::client::Answer::read(client.send(request).await.unwrap()).await;
            assert_eq!(answer.header("content-encoding"), "gzip");
            let mut text = String::new();
            flate2::read::GzDecoder::new(answer.body.as_slice()).read_to_string(&mut text).unwrap();
            assert!(text.len() > 200 && text.split("made").count() == plain.text().split("made").count());
        }
    }
}
