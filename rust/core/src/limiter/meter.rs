//! One thing that is limited, requests or tokens: the configured bucket, and below it what the provider's headers say is left.

use std::num::NonZeroU32;

use super::bucket::{Bucket, UNIT, time_for};

/// What headers without a reset are taken to mean: a minute, as nearly all allowances are for one.
const RESET: u64 = 60_000_000_000;

/// The provider's own count, as last heard of. It only ever holds back what the configured bucket would let through, and is
/// forgotten when the provider's window has been reset.
#[derive(Debug)]
struct Learned {
    level: i128,
    rate: i128,
    capacity: i128,
    at: u64,
    until: u64,
}

impl Learned {
    fn wait(&self, amount: i128) -> u64 {
        let missing = amount - self.level;
        let reset = self.until.saturating_sub(self.at);
        if missing > 0 && amount > self.capacity { reset } else { time_for(missing, self.rate).min(reset) }
    }

    fn add(&mut self, amount: i128) {
        self.level = self.level.saturating_add(amount).min(self.capacity);
    }
}

/// The limits on requests, or on tokens.
#[derive(Debug, Default)]
pub(super) struct Meter {
    bucket: Option<Bucket>,
    learned: Option<Learned>,
    /// What running calls have taken.
    running: i128,
}

fn units(amount: u64) -> i128 {
    i128::from(amount) * UNIT
}

impl Meter {
    pub(super) fn new(per_minute: Option<NonZeroU32>, burst: Option<NonZeroU32>) -> Self {
        let bucket = per_minute.zip(burst).map(|(per_minute, burst)| Bucket::new(per_minute, burst));
        Self { bucket, learned: None, running: 0 }
    }

    pub(super) fn advance(&mut self, now: u64) {
        if let Some(bucket) = &mut self.bucket {
            bucket.advance(now);
        }
        match &mut self.learned {
            Some(learned) if now < learned.until => {
                learned.add(learned.rate.saturating_mul(i128::from(now.saturating_sub(learned.at))));
                learned.at = now;
            }
            Some(_) => self.learned = None,
            None => {}
        }
    }

    /// How long until `amount` is there, should nothing else happen. With `hopeful`: should running calls give all back.
    pub(super) fn wait(&self, amount: u64, hopeful: bool) -> u64 {
        let back = if hopeful { self.running } else { 0 };
        let configured = self.bucket.as_ref().map_or(0, |bucket| bucket.wait(units(amount), back));
        let learned = self.learned.as_ref().map_or(0, |learned| learned.wait(units(amount)));
        configured.max(learned)
    }

    /// Takes `amount` out for a call; calls are numbered in this order.
    pub(super) fn take(&mut self, call: u64, amount: u64) {
        let amount = units(amount);
        self.running += amount;
        if let Some(bucket) = &mut self.bucket {
            bucket.take(call, amount);
        }
        if let Some(learned) = &mut self.learned {
            learned.add(-amount);
        }
    }

    /// A call that took `taken` is over and used `used`.
    pub(super) fn end(&mut self, call: u64, taken: u64, used: u64) {
        let (taken, used) = (units(taken), units(used));
        self.running -= taken;
        if let Some(bucket) = &mut self.bucket {
            bucket.end(call, taken, used);
        }
        if let Some(learned) = &mut self.learned {
            learned.add(taken - used);
        }
    }

    /// Takes in what an answer's headers say: `remaining` of `limit`, which will be full again after `reset`.
    ///
    /// The provider has counted some of the calls that run now and not yet others, so the truth lies between `remaining` and
    /// `remaining` less all of them; our own count is kept where it lies between, and moved to the nearer end where not.
    pub(super) fn learn(&mut self, now: u64, limit: Option<u64>, remaining: Option<u64>, reset: Option<u64>) {
        let Some(remaining) = remaining else { return };
        let reset = reset.unwrap_or(RESET);
        if reset == 0 {
            self.learned = None;
            return;
        }
        let high = units(remaining);
        let level = match &self.learned {
            Some(learned) => learned.level.clamp(high - self.running, high),
            None => high,
        };
        let configured = self.bucket.as_ref().map(Bucket::rate);
        let rate = match limit {
            // From what is left to the limit in the time of the reset, but not faster than configured.
            Some(limit) if limit > remaining => {
                let rate = units(limit - remaining) / i128::from(reset);
                configured.map_or(rate, |configured| rate.min(configured))
            }
            _ => configured.unwrap_or(0),
        };
        let capacity = units(limit.unwrap_or(u64::MAX).max(remaining));
        self.learned = Some(Learned { level, rate, capacity, at: now, until: now.saturating_add(reset) });
    }

    /// What could be taken now; `None` without any limit.
    pub(super) fn left(&self) -> Option<u64> {
        let levels = [self.bucket.as_ref().map(Bucket::level), self.learned.as_ref().map(|learned| learned.level)];
        let level = levels.into_iter().flatten().min()?;
        Some(u64::try_from(level / UNIT).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn meter(per_minute: u32, burst: u32) -> Meter {
        Meter::new(NonZeroU32::new(per_minute), NonZeroU32::new(burst))
    }

    #[test]
    fn headers_move_it_down_and_the_reset_moves_it_back() {
        let mut meter = meter(600, 100);
        meter.learn(0, Some(100), Some(4), Some(12 * SECOND)); // 96 in 12 s: 8 a second
        assert_eq!((meter.left(), meter.wait(4, false)), (Some(4), 0));
        assert_eq!(meter.wait(12, false), SECOND);
        meter.advance(6 * SECOND);
        assert_eq!(meter.left(), Some(52));
        meter.advance(12 * SECOND);
        assert_eq!(meter.left(), Some(100), "back to the configured bucket, which was never touched");
    }

    #[test]
    fn headers_never_move_it_above_the_configuration() {
        let mut meter = meter(60, 10);
        meter.take(0, 10);
        meter.learn(0, Some(10_000), Some(9_999), Some(SECOND / 100));
        meter.learn(0, Some(10_000), Some(10_000), Some(0));
        meter.learn(0, None, Some(10_000), None);
        assert_eq!((meter.left(), meter.wait(1, false)), (Some(0), SECOND));
    }

    #[test]
    fn a_fast_reset_refills_no_faster_than_configured() {
        let mut meter = meter(60, 100);
        meter.learn(0, Some(1000), Some(0), Some(10 * SECOND));
        meter.advance(5 * SECOND);
        assert_eq!(meter.left(), Some(5));
        meter.advance(10 * SECOND);
        assert_eq!(meter.left(), Some(100));
    }

    #[test]
    fn running_calls_that_the_provider_has_not_counted_yet_are_not_forgotten() {
        let mut meter = meter(6000, 1000);
        meter.learn(0, Some(1000), Some(50), Some(60 * SECOND));
        for call in 0..20 {
            meter.take(call, 1);
        }
        assert_eq!(meter.left(), Some(30));
        meter.learn(0, Some(1000), Some(45), Some(60 * SECOND)); // it has seen 5 of the 20
        assert_eq!(meter.left(), Some(30));
        meter.learn(0, Some(1000), Some(25), Some(60 * SECOND)); // somebody else uses the key too
        assert_eq!(meter.left(), Some(25));
        meter.learn(0, Some(1000), Some(60), Some(60 * SECOND)); // some of ours were refused and not counted
        assert_eq!(meter.left(), Some(40));
    }

    #[test]
    fn a_daily_allowance_is_held_to_as_well() {
        // 10,000 a day, refilled one every 8.64 s, all used up.
        let mut meter = meter(600, 100);
        meter.learn(0, Some(10_000), Some(0), Some(86_400 * SECOND));
        let wait = meter.wait(1, false);
        assert!(wait.abs_diff(8_640_000_000) < 1000, "{wait}");
    }

    #[test]
    fn a_limit_can_be_learned_where_none_is_configured() {
        let mut meter = Meter::default();
        assert_eq!((meter.left(), meter.wait(u64::MAX, false)), (None, 0));
        meter.learn(0, Some(5), Some(1), Some(4 * SECOND));
        meter.take(0, 1);
        assert_eq!((meter.left(), meter.wait(1, false)), (Some(0), SECOND));
        assert_eq!(
            meter.wait(6, false),
            4 * SECOND,
            "more than the provider's limit: after the reset nothing is known"
        );
        meter.end(0, 1, 0);
        assert_eq!(meter.wait(1, false), 0);
        meter.learn(0, None, Some(0), None);
        assert_eq!(meter.wait(1, false), 60 * SECOND);
        meter.advance(60 * SECOND);
        assert_eq!(meter.left(), None);
    }
}
