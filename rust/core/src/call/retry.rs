//! When a failed call is tried again, and after how long. Pure: elapsed time and randomness are parameters.

use std::time::Duration;

use crate::error::Error;

/// How failed calls are tried again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// At most this many more requests after the first.
    pub max_retries: u32,
    /// The first wait is a random time up to this long; each later bound is twice the one before.
    pub base_delay: Duration,
    /// No bound grows over this.
    pub max_delay: Duration,
    /// A provider that asks for a longer wait than this gets none: the error is raised at once and tells the wait.
    pub max_retry_after: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_retries: 2,
            base_delay: Duration::from_millis(500),
            max_delay: Duration::from_secs(8),
            max_retry_after: Duration::from_secs(60),
        }
    }
}

/// The tries of one call.
#[derive(Debug)]
pub struct Retry {
    policy: RetryPolicy,
    retries: u32,
    stale: u32,
}

/// Kept connections that turn out dead are replaced at once, without counting as a try; at most this often, so that a
/// server which closes everything cannot keep a call busy.
const MAX_STALE: u32 = 3;

impl Retry {
    /// No try has failed yet.
    pub fn new(policy: RetryPolicy) -> Self {
        Self { policy, retries: 0, stale: 0 }
    }

    /// Requests sent so far, counting the one that runs.
    pub fn attempts(&self) -> u32 {
        self.retries + 1
    }

    /// How long to wait before the next try; `None` to give up.
    ///
    /// `stale` says that a kept connection was dead. `left` is what remains of the call's total time; `random` is uniform
    /// in 0 to 1. Full jitter: the wait is uniform between 0 and the bound, so that callers who failed together do not
    /// come back together. The provider's own wait is kept, plus up to a tenth (at most a second) for the same reason.
    pub fn next(&mut self, error: &Error, stale: bool, left: Option<Duration>, random: f64) -> Option<Duration> {
        if stale && self.stale < MAX_STALE {
            self.stale += 1;
            return Some(Duration::ZERO);
        }
        if !error.retryable() || self.retries >= self.policy.max_retries {
            return None;
        }
        let wait = match error.retry_after() {
            Some(asked) if asked > self.policy.max_retry_after => return None,
            Some(asked) => asked + (asked / 10).min(Duration::from_secs(1)).mul_f64(random),
            None => {
                let bound = self.policy.base_delay.saturating_mul(1 << self.retries.min(16));
                bound.min(self.policy.max_delay).mul_f64(random)
            }
        };
        if left.is_some_and(|left| wait >= left) {
            return None;
        }
        self.retries += 1;
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    const fn s(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn bounds_double_up_to_the_cap() {
        let error = Error::new(ErrorKind::Server, "");
        let mut retry = Retry::new(RetryPolicy { max_retries: 6, ..Default::default() });
        let waits: Vec<_> =
            std::iter::from_fn(|| retry.next(&error, false, None, 1.0)).map(|w| w.as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 8000]);
        assert_eq!(retry.attempts(), 7);
    }

    #[test]
    fn the_providers_wait_is_kept_or_refused_whole() {
        let limited = |wait| Error::new(ErrorKind::RateLimit, "").with_retry_after(wait);
        let mut retry = Retry::new(RetryPolicy::default());
        assert_eq!(retry.next(&limited(s(53)), false, None, 0.0), Some(s(53)));
        assert_eq!(retry.next(&limited(s(53)), false, Some(s(50)), 0.0), None, "longer than the call may still take");
        assert_eq!(retry.next(&limited(s(61)), false, None, 0.0), None, "longer than the policy allows");
        assert_eq!(retry.attempts(), 2);
    }

    #[test]
    fn dead_connections_are_free_but_bounded() {
        let error = Error::new(ErrorKind::Connect, "");
        let mut retry = Retry::new(RetryPolicy { max_retries: 0, ..Default::default() });
        for _ in 0..MAX_STALE {
            assert_eq!(retry.next(&error, true, None, 1.0), Some(Duration::ZERO));
        }
        assert_eq!(retry.next(&error, true, None, 1.0), None);
        assert_eq!(retry.attempts(), 1);
    }

    #[test]
    fn what_is_not_retryable_is_not_retried() {
        let mut retry = Retry::new(RetryPolicy::default());
        assert_eq!(retry.next(&Error::new(ErrorKind::Quota, ""), false, None, 0.5), None);
    }
}
