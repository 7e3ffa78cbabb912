//! A server that has gone silent: HTTP/2 pings find it out, where no time limit is set.

use std::time::Duration;

use edgequake_core::{
    ErrorKind,
    http::{HttpSettings, Origin, Outgoing, Pool, Protocol, connect},
};
use http::{HeaderMap, Method};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// An empty SETTINGS frame: the least that makes a connection.
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

/// The clock is tokio's and jumps ahead while nothing else happens, so this takes no time.
#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = listener.local_addr().unwrap().to_string().parse().unwrap();
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(&SETTINGS).await.unwrap();
        let mut read = Vec::new();
        // Until the client closes it; answers nothing, not even a ping.
        socket.read_to_end(&mut read).await.unwrap();
        read
    });
    let pool = Pool::new(HttpSettings { protocol: Protocol::Http2, ..HttpSettings::default() }).unwrap();
    let origin = Origin { tls: false, authority };
    let outgoing = Outgoing {
        method: Method::POST,
        path: "/v1/chat/completions".parse().unwrap(),
        headers: HeaderMap::new().into(),
        body: "{}".into(),
    };
    let connection = connect(&pool, &origin).await.unwrap();
    let sent = tokio::time::timeout(Duration::from_secs(3600), connection.send(&outgoing)).await;
    let error = sent.expect("it hangs").unwrap_err().error;
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    assert!(error.message().contains("keep-alive timed out"), "{error}");
    let read = server.await.unwrap();
    let is_ping = |frame: &[u8]| frame.starts_with(&[0, 0, 8, 6, 0]);
    assert!(read.windows(5).any(is_ping), "no ping was sent");
}
