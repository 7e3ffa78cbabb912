//! Where a cache has the time from.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// The clock of an [`LlmCache`](super::LlmCache): time since an origin of its own.
#[derive(Debug)]
pub enum Clock {
    /// The system's monotonic clock, since this reading of it.
    System(Duration),
    /// Whoever uses the cache, by [`LlmCache::tell`](super::LlmCache::tell): nanoseconds.
    Told(AtomicU64),
}

impl Clock {
    /// The system's clock, from now on.
    pub fn system() -> Self {
        Self::System(monotonic())
    }

    /// A clock that is told the time; it starts at 0.
    pub fn told() -> Self {
        Self::Told(AtomicU64::new(0))
    }

    /// The time.
    pub(super) fn now(&self) -> Duration {
        match self {
            Self::System(start) => monotonic().saturating_sub(*start),
            Self::Told(nanos) => Duration::from_nanos(nanos.load(Ordering::Relaxed)),
        }
    }

    /// Moves a clock that is told forward.
    pub(super) fn tell(&self, now: Duration) {
        if let Self::Told(nanos) = self {
            nanos.fetch_max(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }
}

/// The kernel's time as of its last tick, at most some milliseconds ago: reading it takes a quarter of the time of the exact
/// one, which would be a fourth of a look-up.
#[cfg(target_os = "linux")]
fn monotonic() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(not(target_os = "linux"))]
fn monotonic() -> Duration {
    static ORIGIN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    ORIGIN.get_or_init(std::time::Instant::now).elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_goes_on_and_a_told_one_never_back() {
        let clock = Clock::system();
        let mut last = clock.now();
        while clock.now() == last {}
        assert!(clock.now() > last);
        last = clock.now();
        clock.tell(Duration::MAX);
        assert!(clock.now() < last + Duration::from_secs(1000), "nobody tells the system's clock");
        let told = Clock::told();
        told.tell(Duration::from_secs(3));
        told.tell(Duration::from_secs(2));
        assert_eq!(told.now(), Duration::from_secs(3));
    }
}
