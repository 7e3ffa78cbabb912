//! Single flight on the I/O thread: runs the work that equal calls share.
//!
//! The work is a task of its own, so whoever asked first may leave without hurting the others. Each caller keeps to its
//! own total time; when the last one has left, the task is aborted and the request taken back. A flight may carry something
//! that all aboard see before it lands: what there is of a streamed answer.

use std::{
    fmt, mem,
    sync::{Arc, Mutex, OnceLock},
};

use arc_swap::ArcSwap;
use tokio::{sync::oneshot, task::AbortHandle};

use super::{Flights, Key, Seat};
use crate::{
    call::Clock,
    error::{Error, ErrorKind},
    http::lock,
    runtime::forks,
};

/// What each waiter is told: the outcome, and whether it is the one that pays for it.
type Landed<T> = (Result<Arc<T>, Error>, bool);

type Waiting<T, S> = Flights<oneshot::Sender<Landed<T>>, Arc<Work<S>>>;

/// The work of a flight, and what its passengers see of it on the way.
struct Work<S> {
    seen: S,
    task: OnceLock<AbortHandle>,
}

/// The flights of one process. A forked child inherits flights that nobody flies, and perhaps a lock that nobody will
/// open: it leaves them alone and begins with none.
struct Air<T, S> {
    forks: u32,
    flights: Mutex<Waiting<T, S>>,
}

/// Work under way, by key.
pub(crate) struct Flying<T, S = ()>(ArcSwap<Air<T, S>>);

impl<T, S> Default for Flying<T, S> {
    fn default() -> Self {
        Self(ArcSwap::from_pointee(Air::default()))
    }
}

impl<T, S> Default for Air<T, S> {
    fn default() -> Self {
        Self { forks: forks(), flights: Mutex::default() }
    }
}

impl<T, S> fmt::Debug for Flying<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flying")
    }
}

impl<T: Send + Sync + 'static, S: Send + Sync + 'static> Flying<T, S> {
    fn air(&self) -> Arc<Air<T, S>> {
        let current = self.0.load_full();
        if current.forks == forks() {
            return current;
        }
        let before = self.0.compare_and_swap(&current, Arc::new(Air::default()));
        if Arc::ptr_eq(&before, &current) {
            mem::forget(current);
        }
        self.0.load_full()
    }

    /// A place on the flight of `key`. If there is none in the air, `work` takes off, and is given what those aboard see of
    /// it. Must run on the I/O thread.
    pub(crate) fn board<F>(&self, key: Key, seen: impl FnOnce() -> S, work: impl FnOnce(&S) -> F) -> Aboard<T, S>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let air = self.air();
        let (sender, landed) = oneshot::channel();
        let shared = || Arc::new(Work { seen: seen(), task: OnceLock::new() });
        let (seat, shared, first) = lock(&air.flights).join(key, sender, shared);
        let aboard = Aboard { _place: Place { air: air.clone(), seat }, work: shared, landed, first };
        if first {
            let (work, landing) = (work(&aboard.work.seen), Landing { air: Some(air), seat });
            let task = tokio::spawn(async move { landing.land(work.await) });
            // Nobody has left before this is set: the first one is aboard.
            let _ = aboard.work.task.set(task.abort_handle());
        }
        aboard
    }

    /// A place on the flight of `key`, if it is in the air.
    pub(crate) fn join(&self, key: Key) -> Option<Aboard<T, S>> {
        let air = self.air();
        let (sender, landed) = oneshot::channel();
        let (seat, work) = lock(&air.flights).join_in_the_air(key, sender).ok()?;
        Some(Aboard { _place: Place { air, seat }, work, landed, first: false })
    }
}

impl<T: Send + Sync + 'static> Flying<T> {
    /// The result of `work`, or of equal work that is under way already, and whether this caller is the one that pays for
    /// it: exactly one of those who get it is. Must run on the I/O thread.
    ///
    /// # Errors
    /// That of the work, the same for all who wait for it; or that this caller's own total time is over.
    pub(crate) async fn fly<F>(&self, key: Key, clock: &Clock, work: impl Fn() -> F) -> Result<(Arc<T>, bool), Error>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        loop {
            let mut aboard = self.board(key, || (), |()| work());
            // The work keeps to the total time of whoever began it.
            let landed = if aboard.first { aboard.landed().await } else { clock.within_total(aboard.landed()).await? };
            match landed {
                Err(error) if aboard.was_hasty(&error) => {}
                landed => return landed,
            }
        }
    }
}

/// A caller's place on a flight. Dropped, it has left.
pub(crate) struct Aboard<T, S> {
    _place: Place<T, S>,
    work: Arc<Work<S>>,
    landed: oneshot::Receiver<Landed<T>>,
    first: bool,
}

impl<T, S> Aboard<T, S> {
    /// What there is to see of the work before it is done.
    pub(crate) fn seen(&self) -> &S {
        &self.work.seen
    }

    /// Waits for the outcome and whether this caller is the one that pays for it. Comes once; may be given up and called
    /// again before.
    pub(crate) async fn landed(&mut self) -> Result<(Arc<T>, bool), Error> {
        match (&mut self.landed).await {
            Ok((outcome, pays)) => outcome.map(|value| (value, pays)),
            Err(_) => Err(Error::new(ErrorKind::Internal, "the shared request was lost")),
        }
    }

    /// Whether the work failed because the time of whoever began it is over, and that is not this caller.
    pub(crate) fn was_hasty(&self, error: &Error) -> bool {
        !self.first && error.kind() == ErrorKind::TotalTimeout
    }
}

struct Place<T, S> {
    air: Arc<Air<T, S>>,
    seat: Seat,
}

impl<T, S> Drop for Place<T, S> {
    fn drop(&mut self) {
        let left = lock(&self.air.flights).leave(self.seat);
        if let Some(task) = left.work.as_ref().and_then(|work| work.task.get()) {
            task.abort();
        }
    }
}

/// The work's duty to tell the waiters, kept even if it panics.
struct Landing<T, S> {
    air: Option<Arc<Air<T, S>>>,
    seat: Seat,
}

impl<T, S> Landing<T, S> {
    fn land(mut self, outcome: Result<T, Error>) {
        self.tell(outcome);
    }

    fn tell(&mut self, outcome: Result<T, Error>) {
        let Some(air) = self.air.take() else { return };
        let mut waiters = lock(&air.flights).land(self.seat);
        let outcome = outcome.map(Arc::new);
        // The last one is told first and moves the value out, so that a single waiter has it for itself.
        let last = waiters.pop();
        let alone = waiters.is_empty();
        for (n, waiter) in waiters.into_iter().enumerate() {
            let _ = waiter.send((outcome.clone(), n == 0));
        }
        if let Some(waiter) = last {
            let _ = waiter.send((outcome, alone));
        }
    }
}

impl<T, S> Drop for Landing<T, S> {
    fn drop(&mut self) {
        self.tell(Err(Error::new(ErrorKind::Internal, "the shared request failed inside edgequake-llm")));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use super::*;
    use crate::{cache::KeyBuilder, call::Timeouts};

    fn key() -> Key {
        KeyBuilder::new("test").finish()
    }

    fn within(total: Option<Duration>) -> Clock {
        Clock::start(Timeouts { total, ..Timeouts::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn one_pays_for_all_and_a_failure_reaches_all() {
        let flying = Arc::new(Flying::<usize>::default());
        let begun = AtomicUsize::new(0);
        for fails in [false, true] {
            begun.store(0, Ordering::Relaxed);
            let calls = (0..100).map(|_| async {
                let work = || {
                    let n = begun.fetch_add(1, Ordering::Relaxed);
                    async move {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        if fails { Err(Error::invalid("no")) } else { Ok(n) }
                    }
                };
                flying.fly(key(), &within(None), work).await
            });
            let outcomes = join_all(calls).await;
            assert_eq!(begun.load(Ordering::Relaxed), 1);
            assert_eq!(outcomes.iter().filter(|o| o.is_err()).count(), if fails { 100 } else { 0 });
            let paid = outcomes.iter().flatten().filter(|(_, pays)| *pays).count();
            assert_eq!(paid, usize::from(!fails));
        }
    }

    async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
        let mut futures: Vec<_> = futures.map(Box::pin).collect();
        let mut outputs = Vec::new();
        std::future::poll_fn(|cx| {
            futures.retain_mut(|future| match future.as_mut().poll(cx) {
                std::task::Poll::Ready(output) => {
                    outputs.push(output);
                    false
                }
                std::task::Poll::Pending => true,
            });
            if futures.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        outputs
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_panics_leaves_nobody_waiting() {
        let flying = Flying::<()>::default();
        let lost = flying.fly(key(), &within(None), || async { panic!("on purpose") }).await;
        assert_eq!(lost.unwrap_err().kind(), ErrorKind::Internal);
        assert!(flying.fly(key(), &within(None), || async { Ok(()) }).await.unwrap().1, "the next one starts anew");
    }

    #[tokio::test(start_paused = true)]
    async fn each_caller_keeps_its_own_total_time() {
        let flying = Flying::<u8>::default();
        let answer = || async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            Ok(1)
        };
        // As a call does that runs out of its own total time.
        let short = || async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            Err(Error::new(ErrorKind::TotalTimeout, "the first one's time"))
        };
        let (hasty, patient, first) = (
            within(Some(Duration::from_secs(2))),
            within(Some(Duration::from_secs(100))),
            within(Some(Duration::from_secs(5))),
        );
        let ((first, _), (hasty, hasty_for), (patient, patient_for)) = tokio::join!(
            async { (flying.fly(key(), &first, short).await, first.elapsed()) },
            async { (flying.fly(key(), &hasty, answer).await, hasty.elapsed()) },
            async { (flying.fly(key(), &patient, answer).await, patient.elapsed()) },
        );
        assert_eq!(first.unwrap_err().kind(), ErrorKind::TotalTimeout);
        assert_eq!((hasty.unwrap_err().kind(), hasty_for), (ErrorKind::TotalTimeout, Duration::from_secs(2)));
        assert_eq!((*patient.unwrap().0, patient_for), (1, Duration::from_secs(15)), "it asked again itself");
    }
}
