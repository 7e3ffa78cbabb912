//! The one background I/O thread of a process, and what belongs to it.
//!
//! A runtime and its sockets do not survive a fork: the child has the memory but not the thread. So they form a
//! *generation*, tagged with the number of forks before it. Whoever uses one asks [`generation`] each time and gets a new one in
//! a forked child; the inherited one is leaked, because dropping it would wait for threads that are not there.
//!
//! A counter rather than the process id: a call looks at it several times, and to ask the system costs a call of the system.

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    thread,
};

use arc_swap::ArcSwapOption;
use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
    task::JoinHandle,
};

use crate::{
    error::{Error, ErrorKind},
    http::{HttpSettings, Pool, lock},
};

static CURRENT: ArcSwapOption<Generation> = ArcSwapOption::const_empty();
static NEXT_ID: AtomicU64 = AtomicU64::new(1);
static FORKS: AtomicU32 = AtomicU32::new(0);

/// To be called in the child after each fork, before anything else of this crate. Python's bindings do.
pub fn forked() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// How many forks lie between the first process and this one. Unlike the process id, it is had without asking the system.
pub fn forks() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// The runtime of one process, with its pools.
#[derive(Debug)]
pub struct Generation {
    id: u64,
    forks: u32,
    handle: Handle,
    pools: Mutex<HashMap<HttpSettings, Arc<Pool>>>,
    loading: tokio::sync::Mutex<()>,
    /// Ends the thread when dropped; only the loser of a race to make the first generation is ever dropped.
    _stop: oneshot::Sender<()>,
}

impl Generation {
    fn start(forks: u32) -> Result<Self, Error> {
        let failed =
            |error: std::io::Error| Error::new(ErrorKind::Internal, format!("cannot start the I/O thread: {error}"));
        // Without tokio's signal and process drivers, which do not survive a fork.
        let runtime = Builder::new_current_thread().enable_io().enable_time().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        thread::Builder::new()
            .name("edgequake-io".into())
            .spawn(move || {
                // Until the generation is dropped: then the sender is gone.
                let _ = runtime.block_on(stopped);
            })
            .map_err(failed)?;
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Ok(Self { id, forks, handle, pools: Mutex::default(), loading: tokio::sync::Mutex::default(), _stop: stop })
    }

    /// Held by who loads something that the whole process shares; the others wait, and find it there.
    pub(crate) fn loading(&self) -> &tokio::sync::Mutex<()> {
        &self.loading
    }

    /// Tells one generation from another.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Runs a future on the I/O thread.
    pub fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.handle.spawn(work)
    }

    /// Runs `work` here, with this runtime's timer and tasks at hand.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        let _guard = self.handle.enter();
        work()
    }

    /// The pool for these settings, shared by everyone who has equal ones.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for settings that cannot be used.
    pub fn pool(&self, settings: &HttpSettings) -> Result<Arc<Pool>, Error> {
        if let Some(pool) = lock(&self.pools).get(settings) {
            return Ok(pool.clone());
        }
        let new = Pool::new(settings.clone())?;
        let mut pools = lock(&self.pools);
        // Settings that nobody uses any more are forgotten, so that ever-changing ones do not pile up.
        pools.retain(|_, pool| Arc::strong_count(pool) > 1 || pool.connections() != (0, 0));
        Ok(pools.entry(settings.clone()).or_insert(new).clone())
    }
}

/// Whether the generation of this number is this process's own: its pools may be touched.
pub fn is_current(id: u64) -> bool {
    CURRENT.load().as_ref().is_some_and(|current| current.id == id && current.forks == forks())
}

/// The generation of this process, started on first use.
///
/// # Errors
/// [`ErrorKind::Internal`] when no thread can be started.
pub fn generation() -> Result<Arc<Generation>, Error> {
    let forks = forks();
    loop {
        let current = CURRENT.load();
        if let Some(generation) = &*current
            && generation.forks == forks
        {
            return Ok(generation.clone());
        }
        let new = Arc::new(Generation::start(forks)?);
        let before = CURRENT.compare_and_swap(&current, Some(new));
        match (&*before, &*current) {
            // Another thread was faster: ours ends its thread as it is dropped.
            (Some(before), Some(current)) if !Arc::ptr_eq(before, current) => {}
            (Some(_), None) => {}
            // Ours is in. What it replaced, if anything, came from the parent of a fork and is leaked.
            (Some(before), Some(_)) => std::mem::forget(before.clone()),
            (None, _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_share_one_generation_and_its_pools() {
        let ids: Vec<u64> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| generation().unwrap().id())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
        let generation = generation().unwrap();
        let settings = HttpSettings::default();
        assert!(Arc::ptr_eq(&generation.pool(&settings).unwrap(), &generation.pool(&settings).unwrap()));
    }
}
