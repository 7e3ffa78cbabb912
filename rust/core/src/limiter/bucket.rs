//! A token bucket in exact integers, to which a call can give back what it took too much.
//!
//! The bucket holds the burst and refills by the allowance, evenly: over any minute it lets in at most what it held at the
//! minute's start and what flowed in since, that is, burst and allowance. Counting is in units so small that a nanosecond's
//! refill is a whole number of them, so nothing is ever rounded.
//!
//! # Giving back
//!
//! Putting back what a long call had reserved too much would break that promise: the bucket went on filling meanwhile, and
//! what it could not hold would be let in a second time. The right level is the one that the bucket would have if the call
//! had taken from the start only what it used. Let *d* be what is missing from a full bucket. Had the call taken less by *x*,
//! then *d* would be lower by *x* ever since, except that *d* cannot go below zero: so now it is lower by the smaller of *x* and
//! the least *d* since the call began. These least values are the same for many calls and grow from older calls to newer ones,
//! so it is enough to keep their differences, one for each call that still has one of its own.

use std::num::NonZeroU32;

/// One request or token. A minute's nanoseconds, so that the refill is whole, and 20 bits more for slower rates.
pub(super) const UNIT: i128 = 60_000_000_000 << 20;

/// More than any real debt, and far from where the numbers end.
const MAX_DEBT: i128 = i128::MAX / 4;

/// How long `rate` takes to bring `amount`, rounded up to whole nanoseconds.
pub(super) fn time_for(amount: i128, rate: i128) -> u64 {
    match amount {
        ..=0 => 0,
        _ if rate <= 0 => u64::MAX,
        _ => u64::try_from((amount + (rate - 1)) / rate).unwrap_or(u64::MAX),
    }
}

/// By how much the least *d* since a call began is more than that of the calls before it.
#[derive(Debug)]
struct Step {
    call: u64,
    amount: i128,
}

/// A bucket. Times are nanoseconds and never go back; calls are numbered in the order in which they take.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Units for each nanosecond.
    rate: i128,
    capacity: i128,
    /// What is missing from a full bucket, *d*; more than `capacity` is debt.
    missing: i128,
    at: u64,
    /// Oldest first, none zero.
    steps: Vec<Step>,
    /// By how much *d* is more than the sum of all steps.
    above: i128,
}

impl Bucket {
    /// A full bucket.
    pub(super) fn new(per_minute: NonZeroU32, burst: NonZeroU32) -> Self {
        Self {
            rate: i128::from(per_minute.get()) << 20,
            capacity: i128::from(burst.get()) * UNIT,
            missing: 0,
            at: 0,
            steps: Vec::new(),
            above: 0,
        }
    }

    pub(super) fn rate(&self) -> i128 {
        self.rate
    }

    /// What it holds now; below zero in debt.
    pub(super) fn level(&self) -> i128 {
        self.capacity - self.missing
    }

    /// Refills up to `now`.
    pub(super) fn advance(&mut self, now: u64) {
        let elapsed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        if self.missing == 0 {
            return;
        }
        let flow = (self.rate * i128::from(elapsed)).min(self.missing);
        self.missing -= flow;
        let from_above = flow.min(self.above);
        self.above -= from_above;
        self.lower(self.steps.len(), flow - from_above);
    }

    /// Takes `amount` off the steps before the `end`th, newest first; returns how much there was.
    fn lower(&mut self, end: usize, amount: i128) -> i128 {
        let mut left = amount;
        let mut begin = end;
        while left > 0
            && let Some(step) = begin.checked_sub(1).and_then(|last| self.steps.get_mut(last))
        {
            let cut = step.amount.min(left);
            step.amount -= cut;
            left -= cut;
            if step.amount > 0 {
                break;
            }
            begin -= 1;
        }
        // Each step leaves once, so this is O(1) a call; only a give-back by an old call moves the newer ones' up.
        self.steps.drain(begin..end);
        amount - left
    }

    /// How long until it holds `amount`, should nothing else happen but that `back` is given back at once.
    pub(super) fn wait(&self, amount: i128, back: i128) -> u64 {
        time_for(amount - self.level() - back.min(self.missing), self.rate)
    }

    /// Takes `amount` out.
    pub(super) fn take(&mut self, call: u64, amount: i128) {
        self.missing += amount;
        self.above += amount;
        if self.above > 0 {
            self.steps.push(Step { call, amount: std::mem::take(&mut self.above) });
        }
    }

    /// A call that took `taken` is over and used `used`.
    pub(super) fn end(&mut self, call: u64, taken: i128, used: i128) {
        if used > taken {
            // A debt beyond all sense must not run out of numbers.
            let more = (used - taken).min(MAX_DEBT - self.missing).max(0);
            self.missing += more;
            self.above += more;
        } else if used < taken {
            let end = self.steps.partition_point(|step| step.call <= call);
            self.missing -= self.lower(end, taken - used);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn bucket(per_minute: u32, burst: u32) -> Bucket {
        Bucket::new(NonZeroU32::new(per_minute).unwrap(), NonZeroU32::new(burst).unwrap())
    }

    /// What happened to a bucket, to be played again with what is known at the end.
    enum Past {
        Flow(u64),
        Take(usize),
        More(i128),
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        /// After every step the level is that of a bucket from which each call took only what it used.
        #[test]
        fn the_level_is_as_if_each_call_had_taken_what_it_used(
            burst in 1u32..60,
            ops in prop::collection::vec((0u8..4, 0usize..8, 0u32..30, 0u64..4_000), 1..120),
        ) {
            let mut bucket = bucket(600, burst);
            let (mut now, mut past, mut taken, mut open) = (0, Vec::new(), Vec::new(), Vec::new());
            for (op, which, amount, millis) in ops {
                let amount = i128::from(amount) * UNIT;
                match op {
                    0 => {
                        now += millis * 1_000_000;
                        bucket.advance(now);
                        past.push(Past::Flow(now));
                    }
                    3 if !open.is_empty() => {
                        let call: usize = open.remove(which % open.len());
                        bucket.end(call as u64, taken[call], amount);
                        past.push(Past::More(amount - taken[call].min(amount)));
                        taken[call] = taken[call].min(amount);
                    }
                    _ => {
                        let call = taken.len();
                        bucket.take(call as u64, amount);
                        taken.push(amount);
                        open.push(call);
                        past.push(Past::Take(call));
                    }
                }
                let (mut missing, mut at) = (0, 0);
                for event in &past {
                    match event {
                        Past::Flow(to) => missing = (missing - i128::from(to - at) * bucket.rate).max(0),
                        Past::Take(call) => missing += taken[*call],
                        Past::More(more) => missing += more,
                    }
                    if let Past::Flow(to) = event {
                        at = *to;
                    }
                }
                prop_assert_eq!(bucket.missing, missing);
                prop_assert_eq!(bucket.above + bucket.steps.iter().map(|s| s.amount).sum::<i128>(), missing);
                prop_assert!(bucket.steps.iter().all(|s| s.amount > 0));
            }
        }
    }

    #[test]
    fn refill_is_exact_to_the_nanosecond_and_never_drifts() {
        // 7 a minute: one every 8,571,428,571.43 ns, for a month.
        let mut bucket = bucket(7, 1);
        let mut now = 0;
        for n in 1..=302_400_u64 {
            bucket.take(n, UNIT);
            bucket.end(n, UNIT, UNIT);
            let wait = bucket.wait(UNIT, 0);
            bucket.advance(now + wait - 1);
            assert_ne!(bucket.wait(UNIT, 0), 0, "a nanosecond early");
            now += wait;
            bucket.advance(now);
            assert_eq!(bucket.wait(UNIT, 0), 0, "{n}");
        }
        assert!(now.abs_diff(30 * 24 * 3600 * SECOND) <= 302_400, "off by no more than the rounding up of each wait");
        assert!(bucket.steps.len() <= 1);
    }

    #[test]
    fn a_busy_buckets_long_calls_give_back_everything() {
        let mut bucket = bucket(600, 100);
        for call in 0..10 {
            bucket.take(call, 10 * UNIT);
        }
        // Others use what flows in, so the bucket stays empty for a minute.
        for second in 1..=60 {
            bucket.advance(second * SECOND);
            bucket.take(second + 100, 10 * UNIT);
        }
        assert_eq!(bucket.level(), 0);
        for call in 0..10 {
            bucket.end(call, 10 * UNIT, UNIT);
        }
        assert_eq!(bucket.level(), 90 * UNIT);
    }

    #[test]
    fn what_flowed_over_is_not_given_back() {
        let mut bucket = bucket(600, 100);
        for call in 0..10 {
            bucket.take(call, 100 * UNIT);
            bucket.advance((call + 1) * 10 * SECOND);
        }
        bucket.take(10, 100 * UNIT);
        for call in 0..10 {
            bucket.end(call, 100 * UNIT, 0);
        }
        assert_eq!(bucket.level(), 0, "it was full again after each of them");
        bucket.end(10, 100 * UNIT, 0);
        assert_eq!(bucket.level(), 100 * UNIT);
    }

    #[test]
    fn using_more_than_taken_leads_into_debt() {
        let mut bucket = bucket(60, 10);
        bucket.take(0, 10 * UNIT);
        bucket.end(0, 10 * UNIT, 25 * UNIT);
        assert_eq!(bucket.level(), -15 * UNIT);
        assert_eq!(bucket.wait(UNIT, 0), 16 * SECOND);
        assert_eq!(bucket.wait(10 * UNIT, 100 * UNIT), 0);
    }
}
