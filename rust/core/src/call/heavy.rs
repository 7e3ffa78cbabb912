//! Keeps long computations off the I/O thread, which must go on reading for every other call.

use crate::error::{Error, ErrorKind};

/// From this many bytes on, encoding or decoding is worth a trip to another thread: some 100 µs.
const HEAVY: usize = 128 << 10;

/// Runs `work` here, or on a thread for blocking work if `size` bytes make it long.
pub(super) async fn run<T: Send + 'static>(
    size: usize,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    if size < HEAVY {
        return work();
    }
    let joined = tokio::task::spawn_blocking(work).await;
    joined.map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?
}
