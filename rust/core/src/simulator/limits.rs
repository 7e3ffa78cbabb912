//! The simulator's own rate limits: token buckets and a cap on requests at once, as pure state over a given time.

use std::time::Duration;

/// An allowance that fills up evenly and starts full.
#[derive(Debug, Clone)]
struct Bucket {
    capacity: u64,
    window: Duration,
    level: f64,
    filled_at: Duration,
}

impl Bucket {
    fn new(capacity: u64, window: Duration) -> Self {
        Self { capacity, window, level: capacity as f64, filled_at: Duration::ZERO }
    }

    fn fill(&mut self, now: Duration) {
        let share = now.saturating_sub(self.filled_at).as_secs_f64() / self.window.as_secs_f64();
        self.level = (self.level + share * self.capacity as f64).min(self.capacity as f64);
        self.filled_at = self.filled_at.max(now);
    }

    /// Until there is room for `cost`; one that never fits waits for a full bucket.
    fn wait_for(&self, cost: u64) -> Duration {
        let missing = (cost.min(self.capacity) as f64 - self.level).max(0.0);
        self.window.mul_f64(missing / self.capacity as f64)
    }

    fn meter(&self) -> Meter {
        Meter { limit: self.capacity, remaining: self.level as u64, reset: self.wait_for(self.capacity) }
    }
}

/// One allowance as the response headers tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meter {
    pub(crate) limit: u64,
    pub(crate) remaining: u64,
    pub(crate) reset: Duration,
}

/// Both allowances. Where none is configured, a generous one is shown, as the providers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meters {
    pub(crate) requests: Meter,
    pub(crate) tokens: Meter,
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scarce {
    Requests,
    Tokens,
    Concurrency,
}

/// A refusal and how long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) scarce: Scarce,
    pub(crate) wait: Duration,
}

/// All limits of a simulator.
#[derive(Debug)]
pub(crate) struct Limits {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    max_active: Option<usize>,
    active: usize,
}

impl Limits {
    pub(crate) fn new(
        requests: Option<u64>,
        tokens: Option<u64>,
        window: Duration,
        max_concurrent: Option<usize>,
    ) -> Self {
        let bucket = |capacity: Option<u64>| capacity.map(|capacity| Bucket::new(capacity, window));
        Self { requests: bucket(requests), tokens: bucket(tokens), max_active: max_concurrent, active: 0 }
    }

    /// Lets a request of this many tokens in, or refuses it and takes nothing. `now` is since the simulator's start.
    pub(crate) fn admit(&mut self, now: Duration, tokens: u64) -> Result<(), Refusal> {
        let refusal = |scarce, wait| Err(Refusal { scarce, wait });
        if self.max_active.is_some_and(|max| self.active >= max) {
            return refusal(Scarce::Concurrency, Duration::from_secs(1));
        }
        for (bucket, cost, scarce) in
            [(&mut self.requests, 1, Scarce::Requests), (&mut self.tokens, tokens, Scarce::Tokens)]
        {
            if let Some(bucket) = bucket {
                bucket.fill(now);
                if bucket.level < cost as f64 {
                    return refusal(scarce, bucket.wait_for(cost));
                }
            }
        }
        for (bucket, cost) in [(&mut self.requests, 1), (&mut self.tokens, tokens)] {
            if let Some(bucket) = bucket {
                bucket.level -= cost as f64;
            }
        }
        self.active += 1;
        Ok(())
    }

    /// An admitted request is over.
    pub(crate) fn release(&mut self) {
        self.active = self.active.saturating_sub(1);
    }

    pub(crate) fn meters(&self, tokens: u64) -> Meters {
        let nominal = |limit: u64, used: u64, reset| Meter { limit, remaining: limit.saturating_sub(used), reset };
        Meters {
            requests: self
                .requests
                .as_ref()
                .map_or_else(|| nominal(10_000, 1, Duration::from_millis(6)), Bucket::meter),
            tokens: self.tokens.as_ref().map_or_else(|| nominal(2_000_000, tokens, Duration::ZERO), Bucket::meter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_bucket_refuses_and_says_exactly_when_it_will_not() {
        let mut limits = Limits::new(Some(2), None, MINUTE, None);
        assert!(limits.admit(at(0), 5).is_ok() && limits.admit(at(0), 5).is_ok());
        let refusal = limits.admit(at(0), 5).unwrap_err();
        assert_eq!(refusal, Refusal { scarce: Scarce::Requests, wait: at(30) });
        assert!(limits.admit(at(29), 5).is_err());
        assert!(limits.admit(at(30), 5).is_ok());
        assert_eq!(limits.meters(5).requests, Meter { limit: 2, remaining: 0, reset: at(60) });
    }

    #[test]
    fn a_refusal_takes_nothing() {
        let mut limits = Limits::new(Some(10), Some(100), MINUTE, None);
        assert!(limits.admit(at(0), 90).is_ok());
        for _ in 0..50 {
            assert_eq!(limits.admit(at(0), 90).unwrap_err().scarce, Scarce::Tokens);
        }
        assert_eq!(limits.meters(0).requests.remaining, 9);
        assert_eq!(limits.admit(at(0), 1_000).unwrap_err().wait, at(54), "what never fits waits for all");
    }

    #[test]
    fn places_are_given_back() {
        let mut limits = Limits::new(None, None, MINUTE, Some(1));
        assert!(limits.admit(at(0), 1).is_ok());
        assert_eq!(limits.admit(at(0), 1).unwrap_err().scarce, Scarce::Concurrency);
        limits.release();
        assert!(limits.admit(at(0), 1).is_ok());
    }

    #[test]
    fn a_clock_going_back_gives_nothing_away() {
        let mut limits = Limits::new(Some(1), None, MINUTE, None);
        assert!(limits.admit(at(100), 1).is_ok());
        assert!(limits.admit(at(50), 1).is_err());
        assert!(limits.admit(at(130), 1).is_err(), "half a minute gives half a request");
    }
}
