//! The limiter's decisions against an independent checker, with a fake clock.
// clippy.toml allows these in tests, but does not reach functions outside of `#[test]`.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic)]

use std::{collections::VecDeque, num::NonZeroU32, time::Duration};

use edgequake_core::{
    Error, ErrorKind,
    limiter::{LimiterConfig, LimiterState, Outcome, PRESETS, Refusal, Reservation, Ticket, WaiterId, preset},
    wire::RateLimits,
};
use proptest::prelude::*;

const MINUTE: Duration = Duration::from_secs(60);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn config(max_concurrent: u32, requests: (u32, u32), tokens: (u32, u32)) -> LimiterConfig {
    LimiterConfig {
        max_concurrent: NonZeroU32::new(max_concurrent),
        requests_per_minute: NonZeroU32::new(requests.0),
        request_burst: NonZeroU32::new(requests.1),
        tokens_per_minute: NonZeroU32::new(tokens.0),
        token_burst: NonZeroU32::new(tokens.1),
        max_wait: None,
    }
}

// ---- The checker: knows the promises and nothing of how they are kept. ----

/// A bucket played again from the beginning for each question, in sixty-thousand-millionths of a token.
#[derive(Default)]
struct Replay {
    per_minute: i128,
    burst: i128,
    /// When, and how much: taken at first, corrected when the call is settled.
    taken: Vec<(Duration, i128)>,
}

impl Replay {
    const UNIT: i128 = 60_000_000_000;

    fn new(per_minute: Option<NonZeroU32>, burst: Option<NonZeroU32>) -> Self {
        let number = |n: Option<NonZeroU32>| i128::from(n.map_or(0, NonZeroU32::get));
        Self { per_minute: number(per_minute), burst: number(burst) * Self::UNIT, taken: Vec::new() }
    }

    fn level(&self, now: Duration) -> i128 {
        let (mut level, mut at) = (self.burst, Duration::ZERO);
        for (time, amount) in self.taken.iter().chain([&(now, 0)]) {
            let flow = self.per_minute * (*time - at).as_nanos() as i128;
            level = (level + flow).min(self.burst) - amount * Self::UNIT;
            at = *time;
        }
        level
    }

    fn fits(&self, amount: u64, now: Duration) -> bool {
        self.per_minute == 0 || self.level(now) >= i128::from(amount) * Self::UNIT
    }
}

/// A call that was let in.
struct Call {
    at: Duration,
    reservation: Option<Reservation>,
    reserved: u64,
    /// What counts for the promise: what it used of what it reserved, as far as it is known.
    tokens: u64,
    requests: u64,
}

struct World {
    config: LimiterConfig,
    state: LimiterState<u64>,
    now: Duration,
    /// Who waits, in order: number, tokens, since, id.
    queue: VecDeque<(u64, u64, Duration, WaiterId)>,
    calls: Vec<Call>,
    requests: Replay,
    tokens: Replay,
    paused_until: Duration,
    learned_until: Duration,
    arrivals: u64,
    next: Option<Duration>,
}

impl World {
    fn new(config: LimiterConfig) -> Self {
        Self {
            config,
            state: LimiterState::new(config),
            now: Duration::ZERO,
            queue: VecDeque::new(),
            calls: Vec::new(),
            requests: Replay::new(config.requests_per_minute, config.request_capacity()),
            tokens: Replay::new(config.tokens_per_minute, config.token_capacity()),
            paused_until: Duration::ZERO,
            learned_until: Duration::ZERO,
            arrivals: 0,
            next: None,
        }
    }

    fn let_in(&mut self, reservation: Reservation, tokens: u64) {
        assert_eq!(reservation.tokens(), tokens);
        assert!(self.requests.fits(1, self.now) && self.tokens.fits(tokens, self.now), "let in without room");
        assert!(self.now >= self.paused_until, "let in while paused");
        self.requests.taken.push((self.now, 1));
        self.tokens.taken.push((self.now, i128::from(tokens)));
        self.calls.push(Call { at: self.now, reservation: Some(reservation), reserved: tokens, tokens, requests: 1 });
        let running = self.running().len();
        assert!(self.config.max_concurrent.is_none_or(|max| running <= max.get() as usize), "{running} at once");
    }

    fn running(&self) -> Vec<usize> {
        (0..self.calls.len()).filter(|n| self.calls[*n].reservation.is_some()).collect()
    }

    fn acquire(&mut self, tokens: u64) {
        self.arrivals += 1;
        let number = self.arrivals;
        match self.state.acquire(self.now, tokens, || number) {
            Ticket::Granted(reservation) => {
                assert!(self.queue.is_empty(), "passed those who wait");
                self.let_in(reservation, tokens);
            }
            Ticket::Queued(id) => self.queue.push_back((number, tokens, self.now, id)),
            Ticket::Refused(Refusal::TooLarge { tokens: asked, capacity }) => {
                assert!(asked == tokens && tokens > capacity);
                assert_eq!(Some(capacity), self.config.token_capacity().map(|c| u64::from(c.get())));
            }
            Ticket::Refused(Refusal::TooLong { needed, max_wait }) => {
                assert_eq!(Some(max_wait), self.config.max_wait);
                assert!(needed > max_wait || max_wait.is_zero());
            }
            Ticket::Refused(other) => panic!("{other:?}"),
        }
    }

    fn try_acquire(&mut self, tokens: u64) {
        let before = self.state.status(self.now);
        match self.state.try_acquire(self.now, tokens) {
            Ok(reservation) => {
                assert!(self.queue.is_empty(), "passed those who wait");
                self.let_in(reservation, tokens);
            }
            Err(_) => assert_eq!(self.state.status(self.now), before, "a refusal takes nothing"),
        }
    }

    fn end(&mut self, call: usize, how: u8, used: u64) {
        let Some(reservation) = self.calls[call].reservation.take() else { return };
        let reserved = self.calls[call].reserved;
        match how {
            0 => self.state.release(reservation, self.now),
            1 => {
                self.calls[call].tokens = used.min(reserved);
                self.tokens.taken[call].1 = i128::from(used.min(reserved));
                self.state.settle(reservation, used, self.now);
            }
            _ => {
                (self.calls[call].tokens, self.calls[call].requests) = (0, 0);
                self.tokens.taken[call].1 = 0;
                self.requests.taken[call].1 = 0;
                self.state.refund(reservation, self.now);
            }
        }
    }

    fn poll(&mut self) {
        let mut outcomes = Vec::new();
        self.next = self.state.poll(self.now, &mut outcomes);
        for Outcome { waiter, result } in outcomes {
            let (number, tokens, since, _) = self.queue.pop_front().unwrap();
            assert_eq!(waiter, number, "first come, first served");
            match result {
                Ok(reservation) => self.let_in(reservation, tokens),
                Err(Refusal::TooLong { max_wait, .. }) => assert!(self.now - since >= max_wait),
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(self.state.waiting(), self.queue.len());
        let Some((_, tokens, since, _)) = self.queue.front().copied() else {
            assert_eq!(self.next, None);
            return;
        };
        assert!(self.next.is_none_or(|next| next > self.now), "nothing is left to do now");
        assert!(self.config.max_wait.is_none_or(|max| self.now - since < max), "waited too long");
        // With nothing but the buckets in the way, the first one waits exactly as long as it must.
        let slot_free = self.config.max_concurrent.is_none_or(|max| self.running().len() < max.get() as usize);
        if slot_free && self.now >= self.paused_until && self.now >= self.learned_until {
            let fits = |at| self.requests.fits(1, at) && self.tokens.fits(tokens, at);
            assert!(!fits(self.now), "waits although there is room");
            if self.config.max_wait.is_none() {
                let next = self.next.unwrap();
                assert!(fits(next) && !fits(next - Duration::from_nanos(1)), "wakes at the wrong time");
            }
        }
    }

    /// Time passes as under a timer that does what `poll` says.
    fn advance(&mut self, by: Duration) {
        let to = self.now + by;
        while let Some(next) = self.next.filter(|next| *next <= to) {
            self.now = next;
            self.poll();
        }
        self.now = to;
        self.poll();
    }

    fn check_promise(&self) {
        let limit = |per_minute: Option<NonZeroU32>, burst: Option<NonZeroU32>| {
            per_minute.map_or(u64::MAX, |a| u64::from(a.get()) + u64::from(burst.unwrap().get()))
        };
        let requests = limit(self.config.requests_per_minute, self.config.request_capacity());
        let tokens = limit(self.config.tokens_per_minute, self.config.token_capacity());
        for last in &self.calls {
            let window = || self.calls.iter().filter(|c| c.at <= last.at && last.at - c.at <= MINUTE);
            assert!(window().map(|c| c.requests).sum::<u64>() <= requests, "requests in the minute to {:?}", last.at);
            assert!(window().map(|c| c.tokens).sum::<u64>() <= tokens, "tokens in the minute to {:?}", last.at);
        }
    }

    /// Lets everything end and checks that nothing was lost.
    fn finish(&mut self) {
        for _ in 0..100_000 {
            if self.queue.is_empty() {
                break;
            }
            match (self.next, self.running().first()) {
                (_, Some(call)) => {
                    let call = *call;
                    self.end(call, 0, 0);
                    self.poll();
                }
                (Some(next), None) => self.advance(next - self.now),
                (None, None) => panic!("deadlock: somebody waits, nobody runs and no time is set"),
            }
        }
        assert!(self.queue.is_empty(), "the queue does not drain");
        self.check_promise();
        for call in self.running() {
            self.end(call, 0, 0);
        }
        self.advance(secs(100_000));
        let status = self.state.status(self.now);
        let full = |capacity: Option<NonZeroU32>| capacity.map(|c| u64::from(c.get()));
        assert_eq!((status.running, status.waiting, status.waiting_tokens), (0, 0, 0));
        assert_eq!(status.requests_left, full(self.config.request_capacity()));
        assert_eq!(status.tokens_left, full(self.config.token_capacity()));
        // The whole burst is really to be had, and not one more.
        if let Some(burst) = full(self.config.request_capacity()) {
            for n in 0..=burst {
                let got = self.state.try_acquire(self.now, 0);
                assert_eq!(got.is_ok(), n < burst);
                got.into_iter().for_each(|call| self.state.release(call, self.now));
            }
        }
        if let Some(burst) = full(self.config.token_capacity()) {
            self.now += MINUTE;
            let all = self.state.try_acquire(self.now, burst).unwrap();
            self.state.release(all, self.now);
            assert!(self.state.try_acquire(self.now, 1).is_err());
        }
    }
}

#[derive(Debug, Clone)]
enum Op {
    Acquire(u64),
    Try(u64),
    Cancel(usize),
    End(usize, u8, u64),
    Advance(Duration),
    Pause(Duration),
    Learn(RateLimits),
}

fn times() -> impl Strategy<Value = Duration> {
    prop_oneof![4 => (0u64..3_000).prop_map(ms), 4 => (0u64..70).prop_map(secs), 1 => (0u64..5_000_000_000).prop_map(Duration::from_nanos)]
}

fn headers() -> impl Strategy<Value = RateLimits> {
    let number = || prop::option::of(0u64..40);
    let reset = || prop::option::of((0u64..90).prop_map(secs));
    (number(), number(), reset(), number(), number(), reset()).prop_map(|(lr, rr, sr, lt, rt, st)| RateLimits {
        limit_requests: lr,
        remaining_requests: rr,
        reset_requests: sr,
        limit_tokens: lt.map(|n| n * 10),
        remaining_tokens: rt.map(|n| n * 10),
        reset_tokens: st,
    })
}

fn ops(learn: u32) -> impl Strategy<Value = Vec<Op>> {
    let tokens = || prop_oneof![8 => 0u64..60, 1 => 0u64..400];
    let op = prop_oneof![
        12 => tokens().prop_map(Op::Acquire),
        2 => tokens().prop_map(Op::Try),
        2 => any::<usize>().prop_map(Op::Cancel),
        10 => (any::<usize>(), 0u8..3, 0u64..120).prop_map(|(n, how, used)| Op::End(n, how, used)),
        8 => times().prop_map(Op::Advance),
        1 => times().prop_map(Op::Pause),
        learn => headers().prop_map(Op::Learn),
    ];
    prop::collection::vec(op, 1..160)
}

fn configs() -> impl Strategy<Value = LimiterConfig> {
    let limit = |max| prop::option::weighted(0.8, 1u32..max);
    (limit(6), limit(90), limit(20), limit(600), limit(200), prop::option::weighted(0.3, times())).prop_map(
        |(max_concurrent, rpm, request_burst, tpm, token_burst, max_wait)| {
            let some = |n: Option<u32>| n.and_then(NonZeroU32::new);
            LimiterConfig {
                max_concurrent: some(max_concurrent),
                requests_per_minute: some(rpm),
                request_burst: some(request_burst),
                tokens_per_minute: some(tpm),
                token_burst: some(token_burst),
                max_wait,
            }
        },
    )
}

fn run(config: LimiterConfig, ops: Vec<Op>) {
    let mut world = World::new(config);
    for op in ops {
        match op {
            Op::Acquire(tokens) => world.acquire(tokens),
            Op::Try(tokens) => world.try_acquire(tokens),
            Op::Cancel(n) if !world.queue.is_empty() => {
                let (number, _, _, id) = world.queue.remove(n % world.queue.len()).unwrap();
                assert_eq!(world.state.cancel(id), Some(number));
                assert_eq!(world.state.cancel(id), None, "cancelling twice counts once");
            }
            Op::End(n, how, used) if !world.running().is_empty() => {
                let running = world.running();
                let (call, used) = (running[n % running.len()], used);
                let over = used.saturating_sub(world.calls[call].reserved);
                // The checker's replay knows no debt, so that a reservation is exceeded only in a test of its own.
                world.end(call, how, used - over);
            }
            Op::Advance(by) => world.advance(by),
            Op::Pause(time) => {
                world.paused_until = world.paused_until.max(world.now + time);
                world.state.pause_until(world.now + time);
            }
            Op::Learn(limits) => {
                let reset = |r: Option<Duration>| r.unwrap_or(MINUTE);
                let until = reset(limits.reset_requests).max(reset(limits.reset_tokens));
                world.learned_until = world.learned_until.max(world.now + until);
                world.state.learn(&limits, world.now);
            }
            _ => {}
        }
        world.poll();
    }
    world.finish();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(700))]

    #[test]
    fn keeps_every_promise(config in configs(), ops in ops(0)) {
        run(config, ops);
    }

    /// What it learns only ever holds it back.
    #[test]
    fn keeps_every_promise_whatever_the_headers_say(config in configs(), ops in ops(4)) {
        run(config, ops);
    }
}

// ---- One by one. ----

fn granted(ticket: Ticket) -> Reservation {
    match ticket {
        Ticket::Granted(reservation) => reservation,
        other => panic!("{other:?}"),
    }
}

fn queued(ticket: Ticket) -> WaiterId {
    match ticket {
        Ticket::Queued(id) => id,
        other => panic!("{other:?}"),
    }
}

type Told<W> = Vec<(W, Result<u64, Refusal>)>;

fn polled<W>(state: &mut LimiterState<W>, now: Duration) -> (Told<W>, Option<Duration>) {
    let mut outcomes = Vec::new();
    let next = state.poll(now, &mut outcomes);
    let told = |o: Outcome<W>| {
        let tokens = o.result.as_ref().map(Reservation::tokens).map_err(|refusal| *refusal);
        (o.waiter, tokens)
    };
    (outcomes.into_iter().map(told).collect(), next)
}

#[test]
fn a_minutes_requests_are_burst_and_allowance_to_the_one() {
    let mut state = LimiterState::<()>::new(config(0, (60, 5), (0, 0)));
    let mut times = Vec::new();
    for n in 0..=600_000_u64 {
        while let Ok(call) = state.try_acquire(ms(n), 0) {
            state.release(call, ms(n));
            times.push(n);
        }
    }
    assert_eq!(times[..8], [0, 0, 0, 0, 0, 1000, 2000, 3000]);
    assert_eq!(times.len(), 5 + 600);
    let most = times.iter().map(|start| times.iter().filter(|t| (*start..=start + 60_000).contains(t)).count()).max();
    assert_eq!(most, Some(65));
}

#[test]
fn both_buckets_and_the_slot_or_none() {
    let mut state = LimiterState::new(config(1, (60, 10), (600, 100)));
    let first = granted(state.acquire(ms(0), 80, || "first"));
    queued(state.acquire(ms(0), 30, || "second"));
    let status = state.status(ms(0));
    assert_eq!((status.requests_left, status.tokens_left), (Some(9), Some(20)), "a waiter holds nothing");
    assert_eq!((status.running, status.waiting, status.waiting_tokens), (1, 1, 30));
    assert_eq!(polled(&mut state, secs(1)), (vec![], None), "tokens are there now, but only the slot helps");
    state.release(first, secs(2));
    assert_eq!(polled(&mut state, secs(2)), (vec![("second", Ok(30))], None));
}

#[test]
fn a_small_request_does_not_pass_a_large_one() {
    let mut state = LimiterState::new(config(0, (6000, 100), (600, 100)));
    let _all = granted(state.acquire(ms(0), 100, || "all"));
    queued(state.acquire(ms(0), 50, || "large"));
    queued(state.acquire(ms(0), 1, || "small"));
    assert_eq!(polled(&mut state, secs(1)), (vec![], Some(secs(5))));
    assert_eq!(state.try_acquire(secs(1), 1), Err(Refusal::NotNow { wait: ms(4200) }), "and neither does a try");
    assert_eq!(polled(&mut state, secs(5)), (vec![("large", Ok(50))], Some(ms(5100))));
    assert_eq!(polled(&mut state, ms(5100)), (vec![("small", Ok(1))], None));
}

#[test]
fn one_who_leaves_the_head_lets_the_next_in() {
    let mut state = LimiterState::new(config(0, (6000, 100), (600, 100)));
    let _some = granted(state.acquire(ms(0), 60, || "some"));
    let large = queued(state.acquire(ms(0), 90, || "large"));
    queued(state.acquire(ms(0), 40, || "small"));
    assert_eq!(state.cancel(large), Some("large"));
    assert_eq!(polled(&mut state, ms(0)), (vec![("small", Ok(40))], None));
    assert_eq!(state.cancel(large), None);
    queued(state.acquire(ms(0), 10, || "somebody else in the same place"));
    assert_eq!((state.cancel(large), state.waiting()), (None, 1));
}

#[test]
fn a_request_above_the_bucket_is_refused_at_once_and_says_what_to_change() {
    let mut state = LimiterState::new(config(0, (60, 10), (600, 100)));
    let Ticket::Refused(refusal) = state.acquire(ms(0), 101, || ()) else { panic!("let in") };
    assert_eq!(refusal, Refusal::TooLarge { tokens: 101, capacity: 100 });
    let error = Error::from(refusal);
    assert_eq!((error.kind(), error.retryable()), (ErrorKind::InvalidRequest, false));
    for word in ["101", "100", "max_tokens", "token_burst"] {
        assert!(error.message().contains(word), "{error}");
    }
    assert!(state.try_acquire(ms(0), 100).is_ok(), "the largest that fits does");
}

#[test]
fn a_call_that_would_wait_too_long_is_refused_with_the_wait_it_needs() {
    let limits = LimiterConfig { max_wait: Some(secs(5)), ..config(0, (6000, 100), (600, 100)) };
    let mut state = LimiterState::new(limits);
    let first = granted(state.acquire(ms(0), 100, || 1));
    state.release(first, ms(0));
    queued(state.acquire(ms(0), 40, || 2)); // in 4 s
    let refused = state.acquire(ms(0), 20, || 3);
    assert_eq!(refused, Ticket::Refused(Refusal::TooLong { needed: secs(6), max_wait: secs(5) }));
    queued(state.acquire(ms(0), 10, || 4)); // in 5 s
    assert_eq!(polled(&mut state, secs(4)), (vec![(2, Ok(40))], Some(secs(5))));
    assert_eq!(polled(&mut state, secs(5)), (vec![(4, Ok(10))], None));
    let error = Error::from(Refusal::TooLong { needed: secs(6), max_wait: secs(5) });
    assert_eq!(
        (error.kind(), error.retry_after(), error.retryable()),
        (ErrorKind::LimiterTimeout, Some(secs(6)), false)
    );
}

#[test]
fn a_call_that_might_get_in_in_time_waits_until_its_time_is_over() {
    let limits = LimiterConfig { max_wait: Some(secs(5)), ..config(2, (6000, 100), (600, 100)) };
    let mut state = LimiterState::new(limits);
    // By the reservation it would be a minute; but the running call may give back nearly all of it.
    let first = granted(state.acquire(ms(0), 100, || 1));
    queued(state.acquire(ms(0), 100, || 2));
    let refusal = Refusal::TooLong { needed: secs(10), max_wait: secs(5) };
    assert_eq!(polled(&mut state, ms(4_999)), (vec![], Some(secs(5))));
    assert_eq!(polled(&mut state, secs(5)), (vec![(2, Err(refusal))], None));
    queued(state.acquire(secs(5), 90, || 3));
    state.settle(first, 10, secs(6));
    assert_eq!(polled(&mut state, secs(6)), (vec![(3, Ok(90))], None));
    // Only slots are short: nothing is known of how long that will be.
    let _fourth = granted(state.acquire(secs(60), 1, || 4));
    queued(state.acquire(secs(60), 1, || 5));
    let refusal = Refusal::TooLong { needed: secs(10), max_wait: secs(5) };
    assert_eq!(polled(&mut state, secs(70)).0, vec![(5, Err(refusal))]);
}

#[test]
fn with_no_wait_at_all_acquire_is_try_acquire() {
    let limits = LimiterConfig { max_wait: Some(Duration::ZERO), ..config(1, (0, 0), (0, 0)) };
    let mut state = LimiterState::new(limits);
    let _first = granted(state.acquire(ms(0), 5, || ()));
    assert!(matches!(state.acquire(ms(0), 5, || ()), Ticket::Refused(Refusal::TooLong { .. })));
}

#[test]
fn using_more_than_reserved_is_a_debt_that_later_calls_wait_for() {
    let mut state = LimiterState::new(config(0, (6000, 100), (600, 100)));
    let call = granted(state.acquire(ms(0), 10, || 1));
    state.settle(call, 160, ms(0));
    assert_eq!(state.status(ms(0)).tokens_left, Some(0));
    queued(state.acquire(ms(0), 10, || 2));
    assert_eq!(polled(&mut state, ms(0)), (vec![], Some(secs(7))));
    assert_eq!(polled(&mut state, secs(7)), (vec![(2, Ok(10))], None));
    let call = granted(state.acquire(secs(100), 1, || 3)); // long paid
    state.settle(call, u64::MAX, secs(100));
    assert!(state.try_acquire(secs(1_000_000), 1).is_err(), "nonsense is not free");
    let mut state = LimiterState::<()>::new(config(0, (0, 0), (u32::MAX, u32::MAX)));
    let calls: Vec<_> = (0..1_000).map(|_| state.try_acquire(ms(0), 1).unwrap()).collect();
    for call in calls {
        state.settle(call, u64::MAX, ms(0));
    }
    assert!(state.try_acquire(Duration::MAX, 1).is_err(), "not even a great deal of it");
}

#[test]
fn a_429_pauses_all_once() {
    let mut state = LimiterState::new(config(0, (6000, 100), (0, 0)));
    for n in 0..5 {
        state.pause_until(secs(10) + ms(n)); // five calls failed at once
    }
    state.pause_until(secs(3));
    for n in 0..3 {
        queued(state.acquire(ms(0), 0, || n));
    }
    assert_eq!(polled(&mut state, secs(10)), (vec![], Some(ms(10_004))));
    assert_eq!(polled(&mut state, ms(10_004)).0, vec![(0, Ok(0)), (1, Ok(0)), (2, Ok(0))]);
    assert_eq!(state.status(secs(11)).paused_for, Duration::ZERO);
}

#[test]
fn headers_hold_waiters_back_until_the_reset() {
    let mut state = LimiterState::new(config(0, (600, 100), (60_000, 10_000)));
    let limits = RateLimits {
        limit_requests: Some(10),
        remaining_requests: Some(1),
        reset_requests: Some(secs(9)), // one a second
        ..RateLimits::default()
    };
    state.learn(&limits, ms(0));
    let _first = granted(state.acquire(ms(0), 10, || 0));
    queued(state.acquire(ms(0), 10, || 1));
    queued(state.acquire(ms(0), 10, || 2));
    assert_eq!(polled(&mut state, ms(0)), (vec![], Some(secs(1))));
    assert_eq!(polled(&mut state, secs(1)), (vec![(1, Ok(10))], Some(secs(2))));
    state.learn(&RateLimits { reset_requests: Some(Duration::ZERO), ..limits }, ms(1500));
    assert_eq!(polled(&mut state, ms(1500)), (vec![(2, Ok(10))], None), "full again, says the provider");
    assert_eq!(state.status(ms(1500)).requests_left, Some(99), "ours refilled as configured");
}

#[test]
fn defaults_are_as_documented() {
    let only = |requests: u32, tokens: u32| config(0, (requests, 0), (tokens, 0));
    let number = |n: Option<NonZeroU32>| n.map_or(0, NonZeroU32::get);
    let limits = only(500, 100_000);
    assert_eq!((number(limits.request_capacity()), number(limits.token_capacity())), (83, 100_000));
    assert_eq!(number(only(3, 0).request_capacity()), 1);
    assert_eq!((only(0, 0).request_capacity(), only(0, 0).token_capacity()), (None, None));
    let mut free = LimiterState::<()>::new(LimiterConfig::default());
    assert!(free.try_acquire(ms(0), u64::MAX).is_ok(), "nothing configured, nothing limited");
}

#[test]
fn ten_thousand_waiters_are_served_in_order_by_one_timer() {
    let mut state = LimiterState::new(config(0, (6000, 1), (0, 0)));
    let mut ids: Vec<_> = (0..=10_000_u64).map(|n| state.acquire(ms(0), 0, || n)).collect();
    let _first = granted(ids.remove(0));
    let ids: Vec<_> = ids.into_iter().map(queued).collect();
    for id in ids.iter().skip(1).step_by(2) {
        assert!(state.cancel(*id).is_some());
    }
    let (mut now, mut order) = (ms(0), Vec::new());
    let mut polls = 0;
    while let (told, Some(next)) = polled(&mut state, now) {
        order.extend(told.into_iter().map(|(n, _)| n));
        now = next;
        polls += 1;
    }
    order.extend(polled(&mut state, now).0.into_iter().map(|(n, _)| n));
    assert_eq!((now, polls), (secs(50), 5_000), "one step each, at the allowance's pace");
    assert!(order.iter().eq((1..10_000).step_by(2).collect::<Vec<_>>().iter().take(order.len())), "in order");
    assert_eq!(state.waiting(), 0);
}

#[test]
fn presets_are_found_by_any_spelling() {
    assert_eq!(preset("openai", "tier-1"), preset("OpenAI", "Tier 1"));
    let limits = preset("anthropic", "tier1").unwrap();
    assert_eq!((limits.requests_per_minute, limits.max_concurrent), (NonZeroU32::new(50), None));
    assert_eq!(preset("ollama", "none"), Some(LimiterConfig::default()));
    assert_eq!((preset("openai", "tier-9"), preset("nobody", "tier-1")), (None, None));
    for (n, row) in PRESETS.iter().enumerate() {
        assert!(!PRESETS[n + 1..].iter().any(|other| (other.provider, other.tier) == (row.provider, row.tier)));
        assert_eq!(preset(row.provider, row.tier), Some(row.config));
    }
}
