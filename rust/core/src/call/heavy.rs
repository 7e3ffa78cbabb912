//! Keeps long computations off the I/O thread, which must go on reading for every other call.

use std::future::Future;

use crate::error::{Error, ErrorKind};

/// From this many bytes on, encoding or decoding is worth a trip to another thread: some 100 µs.
const HEAVY: usize = 128 << 10;

/// Runs `work` here, or on a thread for blocking work if `size` bytes make it long.
pub(super) fn run<T, W>(size: usize, work: W) -> impl Future<Output = Result<T, Error>> + use<T, W>
where
    T: Send + 'static,
    W: FnOnce() -> Result<T, Error> + Send + 'static,
{
    // Begun before it is awaited: so the call's future has no room for it.
    let begun = if size < HEAVY { Ok(work()) } else { Err(tokio::task::spawn_blocking(work)) };
    async move {
        match begun {
            Ok(done) => done,
            Err(thread) => thread.await.map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?,
        }
    }
}
