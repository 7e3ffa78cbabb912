//! One accepted connection, and how it is ended from within: politely, by a reset, or with raw bytes.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
    sync::Notify,
};
use tokio_rustls::server::TlsStream;

/// How a connection ends before its time.
#[derive(Debug)]
pub(super) enum Ending {
    Close,
    Reset,
    Raw(Bytes),
}

/// What is known of a connection by all who serve it.
pub(super) struct Connection {
    pub(super) number: u64,
    ending: Mutex<Option<Ending>>,
    ended: Notify,
    /// The socket, once hyper has let go of it.
    returned: Mutex<Option<Box<dyn Socket>>>,
}

impl Connection {
    pub(super) fn new(number: u64) -> Arc<Self> {
        Arc::new(Self { number, ending: Mutex::default(), ended: Notify::new(), returned: Mutex::default() })
    }

    /// Ends the connection soon; the first one to say how wins.
    pub(super) fn end(&self, ending: Ending) {
        lock(&self.ending).get_or_insert(ending);
        self.ended.notify_one();
    }

    /// Waits for [`Connection::end`].
    pub(super) async fn ended(&self) {
        self.ended.notified().await;
    }

    /// Carries the ending out, after hyper's part of the connection was dropped.
    pub(super) async fn finish(&self) {
        let (ending, socket) = (lock(&self.ending).take(), lock(&self.returned).take());
        match (ending, socket) {
            (Some(Ending::Reset), Some(socket)) => {
                // Closing a socket that does not linger sends a reset.
                let _ = socket.tcp().set_zero_linger();
            }
            (Some(Ending::Raw(bytes)), Some(mut socket)) => {
                let _ = socket.write_all(&bytes).await;
                let _ = socket.shutdown().await;
            }
            _ => {}
        }
    }
}

/// A lock whose holders cannot panic half-way.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A plain or TLS socket.
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {
    /// The TCP connection below.
    fn tcp(&self) -> &TcpStream;
}

impl Socket for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Socket for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// A socket lent to hyper: it comes back to the connection when hyper drops it.
pub(super) struct Lent {
    socket: Option<Box<dyn Socket>>,
    connection: Arc<Connection>,
}

impl Lent {
    pub(super) fn new(socket: Box<dyn Socket>, connection: Arc<Connection>) -> Self {
        Self { socket: Some(socket), connection }
    }

    /// The socket, which is there until the drop.
    fn socket(self: Pin<&mut Self>) -> io::Result<Pin<&mut Box<dyn Socket>>> {
        self.get_mut().socket.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        *lock(&self.connection.returned) = self.socket.take();
    }
}

impl AsyncRead for Lent {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.socket()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Lent {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.socket()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.socket()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.as_ref().is_some_and(|socket| socket.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket()?.poll_shutdown(cx)
    }
}
