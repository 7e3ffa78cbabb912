//! The listening side: a thread with a runtime of its own, its ports, and the connections that come in.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Notify,
};
use tokio_rustls::TlsAcceptor;

use super::{
    connection::{Connection, Ending, Lent, Socket, lock},
    service::{State, serve},
};
use crate::{
    error::{Error, ErrorKind},
    runtime::forks,
};

/// What hyper may hold of a body that the reader does not take. Small, so that a slow reader is felt.
const BUFFER: usize = 64 << 10;
/// What an HTTP/2 client may send before it is read.
const WINDOW: u32 = 1 << 20;

/// A running server.
pub(super) struct Server {
    pub(super) state: Arc<State>,
    pub(super) port: u16,
    pub(super) tls_port: Option<u16>,
    connections: Arc<Connections>,
    stop: Arc<Notify>,
    thread: Option<thread::JoinHandle<()>>,
    /// The process that the thread belongs to, by the forks before it.
    forks: u32,
}

/// The connections that are open.
type Connections = Mutex<HashMap<u64, Arc<Connection>>>;

impl Server {
    /// Binds the ports and starts serving.
    pub(super) fn start(state: State, tls: Option<TlsAcceptor>) -> Result<Self, Error> {
        let (state, stop) = (Arc::new(state), Arc::new(Notify::new()));
        let connections: Arc<Connections> = Arc::default();
        let (ready, bound) = mpsc::channel();
        let listener = Listener { state: Arc::clone(&state), connections: Arc::clone(&connections) };
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("edgequake-simulator".to_owned())
            .spawn(move || run(listener, tls, &ready, &stopped))
            .map_err(|error| failed(&error))?;
        match bound.recv().unwrap_or_else(|_| Err(failed(&"its thread ended"))) {
            Ok((port, tls_port)) => {
                Ok(Self { state, port, tls_port, connections, stop, thread: Some(thread), forks: forks() })
            }
            Err(error) => {
                let _ = thread.join();
                Err(error)
            }
        }
    }

    /// Closes every open connection, whatever is going on there.
    pub(super) fn close_connections(&self) {
        lock(&self.connections).values().for_each(|connection| connection.end(Ending::Close));
    }

    /// Stops listening, drops every connection and waits for the thread's end.
    pub(super) fn stop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        if self.forks == forks() {
            self.stop.notify_one();
            let _ = thread.join();
        } else {
            // After a fork the thread is the parent's; joining it here would never end.
            std::mem::forget(thread);
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.thread.is_some()
    }
}

fn failed(error: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Internal, format!("the simulator could not start: {error}"))
}

type Ports = Result<(u16, Option<u16>), Error>;

/// The thread: tells the ports over `ready`, then serves until `stop`.
fn run(listener: Listener, tls: Option<TlsAcceptor>, ready: &mpsc::Sender<Ports>, stop: &Notify) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(ready.send(Err(failed(&error)))),
    };
    runtime.block_on(async {
        let config = &listener.state.config;
        let bound = bind(config.port, config.send_buffer).and_then(|plain| {
            let Some(acceptor) = tls else { return Ok((plain, None)) };
            Ok((plain, Some((bind(config.tls_port, config.send_buffer)?, acceptor))))
        });
        let (plain, tls) = match bound {
            Ok(((plain, port), None)) => {
                drop(ready.send(Ok((port, None))));
                (plain, None)
            }
            Ok(((plain, port), Some(((secure, tls_port), acceptor)))) => {
                drop(ready.send(Ok((port, Some(tls_port)))));
                (plain, Some((secure, acceptor)))
            }
            Err(error) => return drop(ready.send(Err(error))),
        };
        if let Some((secure, acceptor)) = tls {
            tokio::spawn(listener.clone().accept(secure, Some(acceptor)));
        }
        tokio::select! {
            () = stop.notified() => {}
            () = listener.accept(plain, None) => {}
        }
    });
    // Dropping the runtime drops every task, and with them every connection.
}

fn bind(port: u16, send_buffer: Option<u32>) -> Result<(TcpListener, u16), Error> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listen = || -> io::Result<(TcpListener, u16)> {
        let socket = TcpSocket::new_v4()?;
        // On Windows this would let two servers share a port.
        socket.set_reuseaddr(cfg!(unix))?;
        if let Some(bytes) = send_buffer {
            socket.set_send_buffer_size(bytes)?;
        }
        socket.bind(address)?;
        let listener = socket.listen(4096)?;
        let port = listener.local_addr()?.port();
        Ok((listener, port))
    };
    listen().map_err(|error| {
        let message = format!("the simulator cannot listen on {address}: {error}; port 0 takes a free one");
        Error::new(ErrorKind::Configuration, message)
    })
}

/// Takes connections in.
#[derive(Clone)]
struct Listener {
    state: Arc<State>,
    connections: Arc<Connections>,
}

impl Listener {
    async fn accept(self, listener: TcpListener, tls: Option<TlsAcceptor>) {
        loop {
            match listener.accept().await {
                Ok((socket, _)) => drop(tokio::spawn(self.clone().connection(socket, tls.clone()))),
                // Out of file descriptors, most likely: the next try may do better.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    /// One connection from its first byte to its last.
    async fn connection(self, socket: TcpStream, tls: Option<TlsAcceptor>) {
        let books = Arc::clone(&self.state.books);
        let connection = Connection::new(books.connected());
        lock(&self.connections).insert(connection.number, Arc::clone(&connection));
        let _open = Open { listener: &self, number: connection.number };
        let _ = socket.set_nodelay(true);
        let serving = async {
            let socket: Box<dyn Socket> = match tls {
                None => Box::new(socket),
                Some(acceptor) => {
                    let Ok(socket) = acceptor.accept(socket).await else { return };
                    books.tls_handshake();
                    Box::new(socket)
                }
            };
            self.serve(socket, Arc::clone(&connection)).await;
        };
        tokio::select! {
            () = serving => {}
            () = connection.ended() => {}
        }
        connection.finish().await;
    }

    async fn serve(&self, socket: Box<dyn Socket>, connection: Arc<Connection>) {
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().max_buf_size(BUFFER);
        builder
            .http2()
            .max_concurrent_streams(self.state.config.max_concurrent_streams)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_send_buf_size(BUFFER)
            // A client that gives up many requests is what is being tested, not an attack.
            .max_pending_accept_reset_streams(10_000)
            .max_local_error_reset_streams(None);
        let builder = if self.state.config.h1_only { builder.http1_only() } else { builder };
        let socket = TokioIo::new(Lent::new(socket, Arc::clone(&connection)));
        let state = &self.state;
        let service = service_fn(|request| serve(Arc::clone(state), Arc::clone(&connection), request));
        // However it ends, the books know.
        let _ = builder.serve_connection(socket, service).await;
    }
}

/// A connection on the list of open ones, until it is dropped, be it with the whole runtime.
struct Open<'a> {
    listener: &'a Listener,
    number: u64,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        lock(&self.listener.connections).remove(&self.number);
        self.listener.state.books.disconnected();
    }
}
