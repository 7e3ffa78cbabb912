//! The limiter as threads and tasks share it: wake-ups, cancellation at every point, runtimes that come and go.
//!
//! Times are tokio's paused clock, which jumps to the next timer when nothing else is left to do.
// clippy.toml allows these in tests, but does not reach functions outside of `#[test]`.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    num::NonZeroU32,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use edgequake_core::{
    limiter::{Entry, Limiter, LimiterConfig, Place, Refusal, Waiting},
    wire::RateLimits,
};
use tokio::{
    runtime::Builder,
    time::{Instant, sleep, timeout},
};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn requests(per_minute: u32, burst: u32) -> LimiterConfig {
    LimiterConfig {
        requests_per_minute: NonZeroU32::new(per_minute),
        request_burst: NonZeroU32::new(burst),
        ..LimiterConfig::default()
    }
}

fn slots(max: u32) -> LimiterConfig {
    LimiterConfig { max_concurrent: NonZeroU32::new(max), ..LimiterConfig::default() }
}

fn waiting(limiter: &Limiter, tokens: u64) -> Waiting {
    match limiter.enter(tokens) {
        Ok(Entry::Waiting(waiting)) => waiting,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn waiters_come_in_order_and_on_time() {
    let limiter = Limiter::new(requests(600, 1));
    let order = Arc::new(Mutex::new(Vec::new()));
    let start = Instant::now();
    let tasks: Vec<_> = (0..200_u64)
        .map(|n| {
            let (entry, order) = (limiter.enter(0).unwrap(), order.clone());
            tokio::spawn(async move {
                let permit = match entry {
                    Entry::Admitted(permit) => permit,
                    Entry::Waiting(waiting) => waiting.await.unwrap(),
                };
                order.lock().unwrap().push((n, start.elapsed()));
                drop(permit);
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let order = Arc::into_inner(order).unwrap().into_inner().unwrap();
    assert!(order.iter().map(|(n, _)| *n).eq(0..200), "{order:?}");
    for (n, at) in order {
        // The timer counts in milliseconds.
        assert!(at >= ms(100 * n) && at <= ms(100 * n + 2), "{n} at {at:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_gives_up_holds_nobody_back() {
    let limiter = Limiter::new(requests(60, 1));
    let first = limiter.acquire(0).await.unwrap();
    let gone = waiting(&limiter, 0);
    let next = waiting(&limiter, 0);
    assert!(timeout(ms(300), gone).await.is_err());
    assert_eq!(limiter.status().waiting, 1);
    let start = Instant::now();
    drop(next.await.unwrap());
    assert!(start.elapsed() <= ms(702), "its second is from the first call on");
    drop(first);
}

#[tokio::test(start_paused = true)]
async fn what_was_granted_and_never_taken_is_given_back() {
    let limiter = Limiter::new(LimiterConfig { max_concurrent: NonZeroU32::new(1), ..requests(60, 10) });
    let first = limiter.try_acquire(0).unwrap();
    let second = waiting(&limiter, 0);
    let third = waiting(&limiter, 0);
    drop(first);
    // The second one has been granted the slot, but nobody has looked yet.
    assert_eq!((limiter.status().running, limiter.status().waiting), (1, 1));
    drop(second);
    let third = third.await.unwrap();
    assert_eq!(limiter.status().requests_left, Some(8), "the first and the third");
    third.refund();
    let status = limiter.status();
    assert_eq!((status.running, status.waiting, status.requests_left), (0, 0, Some(9)));
}

#[tokio::test(start_paused = true)]
async fn a_permit_settles_refunds_or_is_dropped() {
    let limiter = Limiter::new(LimiterConfig {
        tokens_per_minute: NonZeroU32::new(600),
        token_burst: NonZeroU32::new(100),
        ..requests(60, 10)
    });
    let left = || (limiter.status().requests_left.unwrap(), limiter.status().tokens_left.unwrap());
    let permit = limiter.try_acquire(60).unwrap();
    assert_eq!((permit.tokens(), left()), (60, (9, 40)));
    permit.settle(10);
    assert_eq!(left(), (9, 90));
    limiter.try_acquire(60).unwrap().refund();
    assert_eq!(left(), (9, 90));
    drop(limiter.try_acquire(60).unwrap());
    assert_eq!(left(), (8, 30));
    assert_eq!(limiter.try_acquire(31).unwrap_err(), Refusal::NotNow { wait: ms(100) });
    assert_eq!(limiter.acquire(101).await.unwrap_err(), Refusal::TooLarge { tokens: 101, capacity: 100 });
    assert!(format!("{limiter:?}").contains("tokens_left: Some(30)"), "{limiter:?}");
}

#[tokio::test(start_paused = true)]
async fn max_wait_ends_the_wait() {
    let limiter = Limiter::new(LimiterConfig { max_wait: Some(ms(500)), ..slots(1) });
    let first = limiter.acquire(0).await.unwrap();
    let start = Instant::now();
    let refused = limiter.acquire(0).await.unwrap_err();
    assert!(matches!(refused, Refusal::TooLong { .. }), "{refused}");
    assert!(start.elapsed() >= ms(500) && start.elapsed() <= ms(502));
    drop(first);
    limiter.acquire(0).await.unwrap().refund();
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_all_and_headers_are_heard_of_while_waiting() {
    let limiter = Limiter::new(requests(6000, 100));
    let start = Instant::now();
    limiter.pause_for(ms(2000));
    limiter.pause_for(ms(1000));
    let tasks: Vec<_> = (0..5).map(|_| waiting(&limiter, 0)).collect();
    for task in tasks {
        drop(task.await.unwrap());
    }
    assert!(start.elapsed() >= ms(2000) && start.elapsed() <= ms(2002));
    let empty = RateLimits { remaining_requests: Some(0), reset_requests: Some(ms(60_000)), ..RateLimits::default() };
    limiter.learn(&empty);
    let held = waiting(&limiter, 0);
    let start = Instant::now();
    let (limiter, _) = tokio::join!(
        async {
            sleep(ms(50)).await;
            limiter.learn(&RateLimits { remaining_requests: Some(9), reset_requests: Some(ms(0)), ..empty });
            limiter
        },
        async { drop(held.await.unwrap()) }
    );
    assert!(start.elapsed() < ms(60), "{:?}", start.elapsed());
    assert_eq!(limiter.status().running, 0);
}

/// The timer sleeps for the first waiter; when that one is gone, a later and shorter sleep must not be missed.
#[tokio::test(start_paused = true)]
async fn the_timer_hears_of_an_earlier_time() {
    let limiter = Limiter::new(LimiterConfig {
        tokens_per_minute: NonZeroU32::new(60),
        token_burst: NonZeroU32::new(60),
        ..LimiterConfig::default()
    });
    drop(limiter.try_acquire(60).unwrap());
    let long = waiting(&limiter, 60);
    sleep(ms(10)).await;
    drop(long);
    let start = Instant::now();
    drop(waiting(&limiter, 1).await.unwrap());
    assert!(start.elapsed() <= ms(1000), "{:?}", start.elapsed());
}

/// The timer had nothing to sleep for, as only a slot was short, and now has.
#[tokio::test(start_paused = true)]
async fn the_timer_hears_of_a_time_after_having_none() {
    let limiter = Limiter::new(LimiterConfig { max_concurrent: NonZeroU32::new(1), ..requests(60, 1) });
    let start = Instant::now();
    drop(limiter.try_acquire(0).unwrap());
    let (second, third) = (waiting(&limiter, 0), waiting(&limiter, 0));
    let second = second.await.unwrap();
    sleep(ms(200)).await;
    drop(second);
    drop(timeout(ms(5_000), third).await.unwrap().unwrap());
    assert!(start.elapsed() >= ms(2_000) && start.elapsed() <= ms(2_004), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn one_who_leaves_the_head_lets_the_next_in_at_once() {
    let limiter = Limiter::new(LimiterConfig {
        tokens_per_minute: NonZeroU32::new(60),
        token_burst: NonZeroU32::new(60),
        ..LimiterConfig::default()
    });
    let start = Instant::now();
    drop(limiter.try_acquire(30).unwrap());
    let (large, small) = (waiting(&limiter, 60), waiting(&limiter, 10));
    drop(large);
    drop(small.await.unwrap());
    assert_eq!(start.elapsed(), ms(0));
}

/// A provider that counts on its own: a bucket and, at a time, no more than so many calls.
struct Provider {
    level: f64,
    at: Instant,
    refused: usize,
}

impl Provider {
    fn call(&mut self, per_second: f64, burst: f64) {
        self.level = (self.level + self.at.elapsed().as_secs_f64() * per_second).min(burst);
        self.at = Instant::now();
        if self.level + 1e-6 < 1.0 {
            self.refused += 1;
        }
        self.level -= 1.0;
    }
}

#[tokio::test(start_paused = true)]
async fn five_hundred_calls_through_ten_slots_meet_no_429() {
    let limiter = Limiter::new(LimiterConfig { max_concurrent: NonZeroU32::new(10), ..requests(600, 100) });
    let provider = Arc::new(Mutex::new(Provider { level: 100.0, at: Instant::now(), refused: 0 }));
    let running = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let tasks: Vec<_> = (0..500)
        .map(|n| {
            let (limiter, provider, running) = (limiter.clone(), provider.clone(), running.clone());
            tokio::spawn(async move {
                let permit = limiter.acquire(1).await.unwrap();
                provider.lock().unwrap().call(10.0, 100.0);
                assert!(running.fetch_add(1, Ordering::SeqCst) < 10);
                sleep(ms(20 + n % 7)).await;
                running.fetch_sub(1, Ordering::SeqCst);
                permit.settle(1);
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(provider.lock().unwrap().refused, 0);
    assert!(start.elapsed() < ms(40_500), "and no allowance was left unused: {:?}", start.elapsed());
    assert_eq!(limiter.status().running, 0);
}

#[test]
fn callbacks_work_without_futures() {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let limiter = Limiter::new(slots(1));
    let (tell, told) = mpsc::channel();
    let callback = |n| {
        let tell = tell.clone();
        move |result: Result<_, _>| tell.send((n, result)).unwrap()
    };
    let Ok(Place::Admitted(first)) = limiter.enter_with(0, callback(0)) else { panic!("not let in") };
    assert_eq!(limiter.enter_with(0, callback(1)).unwrap_err(), Refusal::NoRuntime);
    assert_eq!(limiter.status().waiting, 0, "one who cannot be woken is not left in the queue");
    let _inside = runtime.enter();
    let queued = |n| match limiter.enter_with(0, callback(n)) {
        Ok(Place::Queued(turn)) => turn,
        other => panic!("{other:?}"),
    };
    let (one, _two, _three) = (queued(1), queued(2), queued(3));
    assert!(one.cancel() && !one.cancel());
    drop(first);
    let (n, grant) = told.recv().unwrap();
    assert_eq!(n, 2);
    let permit = grant.unwrap().accept();
    assert!(told.try_recv().is_err(), "the slot is taken");
    drop(permit);
    let (n, grant) = told.recv().unwrap();
    assert_eq!(n, 3);
    drop(grant); // not accepted: given back
    assert_eq!((limiter.status().running, limiter.status().waiting), (0, 0));
}

#[test]
fn ten_thousand_callbacks_that_give_back_at_once_do_not_nest() {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let _inside = runtime.enter();
    let limiter = Limiter::new(slots(1));
    let first = limiter.try_acquire(0).unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut turns = Vec::new();
    for n in 0..10_000 {
        let (order, limiter_too) = (order.clone(), limiter.clone());
        let callback = move |grant| {
            order.lock().unwrap().push(n);
            limiter_too.status(); // no lock is held
            drop(grant);
        };
        let Ok(Place::Queued(turn)) = limiter.enter_with(0, callback) else { panic!("{n}") };
        turns.push(turn);
    }
    drop(first);
    assert!(order.lock().unwrap().iter().copied().eq(0..10_000));
    assert_eq!((limiter.status().running, limiter.status().waiting), (0, 0));
}

#[test]
fn it_outlives_the_runtime_that_ran_its_timer() {
    let limiter = Limiter::new(requests(60_000, 1));
    for _ in 0..3 {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let left_behind = runtime.block_on(async {
            for _ in 0..3 {
                drop(limiter.acquire(0).await.unwrap());
            }
            limiter.pause_for(ms(1));
            Some(waiting(&limiter, 0))
        });
        drop(runtime);
        drop(left_behind);
    }
    assert_eq!(limiter.status().waiting, 0);
}

#[test]
fn it_ends_its_timer_when_it_is_dropped() {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let limiter = Limiter::new(requests(1, 1));
        drop(limiter.try_acquire(0).unwrap());
        let (tell, told) = mpsc::channel::<()>();
        let _turn = limiter.enter_with(0, move |_| drop(tell)).unwrap();
        tokio::task::yield_now().await;
        assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 1);
        drop(limiter);
        assert!(told.recv().is_err(), "the callback is dropped, not called");
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0, "and not only after its minute");
    });
}

#[test]
fn many_threads_never_exceed_the_slots() {
    const CALLS: usize = 4_000;
    let runtime = Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    let limiter = Limiter::new(LimiterConfig { tokens_per_minute: NonZeroU32::new(u32::MAX), ..slots(7) });
    let running = Arc::new(AtomicUsize::new(0));
    let finished = Arc::new(AtomicUsize::new(0));
    runtime.block_on(async {
        let tasks: Vec<_> = (0..CALLS)
            .map(|n| {
                let (limiter, running, finished) = (limiter.clone(), running.clone(), finished.clone());
                tokio::spawn(async move {
                    let permit = match n % 5 {
                        0 => match timeout(Duration::from_micros(n as u64 % 300), limiter.acquire(10)).await {
                            Ok(permit) => permit.unwrap(),
                            Err(_) => return,
                        },
                        _ => limiter.acquire(10).await.unwrap(),
                    };
                    assert!(running.fetch_add(1, Ordering::SeqCst) < 7);
                    tokio::task::yield_now().await;
                    running.fetch_sub(1, Ordering::SeqCst);
                    finished.fetch_add(1, Ordering::SeqCst);
                    match n % 3 {
                        0 => permit.settle(3),
                        1 => permit.refund(),
                        _ => drop(permit),
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert!(finished.load(Ordering::SeqCst) >= CALLS * 4 / 5);
    let status = limiter.status();
    assert_eq!((status.running, status.waiting, status.waiting_tokens), (0, 0, 0));
}
