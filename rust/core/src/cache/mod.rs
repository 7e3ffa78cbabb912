//! A cache of answers: exact LRU order, lifetimes, limits on entries and on bytes, statistics.
//!
//! Reading and writing cost the same however full the cache is. There is one lock, held for tens of nanoseconds; no value
//! is dropped and no foreign code runs under it but the value's `clone`, which should be as cheap as an `Arc`'s.
//! Time is a parameter (how long since an origin of the caller's choice), so that tests need not sleep.
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use edgequake_core::cache::{Cache, CacheConfig, KeyBuilder, Lookup, Ttl};
//!
//! let cache = Cache::new(CacheConfig { ttl: Some(Duration::from_secs(60)), ..CacheConfig::default() });
//! let key = KeyBuilder::new("example").text("question").finish();
//! cache.insert(key, Arc::new("answer"), 6, Ttl::Default, Duration::ZERO);
//! assert_eq!(cache.get(key, Duration::from_secs(59)), Lookup::Hit(Arc::new("answer")));
//! assert_eq!(cache.get(key, Duration::from_secs(60)), Lookup::Miss);
//! ```

mod clock;
mod expiry;
mod flight;
mod key;
mod llm;
mod request_key;
mod savings;
mod single;
mod store;

use std::{
    sync::{Mutex, MutexGuard, OnceLock, PoisonError, TryLockError},
    thread,
    time::{Duration, Instant},
};

pub use clock::Clock;
pub use flight::{Flights, Left, Seat};
pub use key::{Key, KeyBuilder};
pub use llm::{Answer, LlmCache, LlmCacheConfig, Stored};
pub use request_key::{chat_key, embed_key, embed_keys};
pub use savings::{Saving, Savings};

pub(crate) use single::{Aboard, Flying};
use store::Store;

use crate::runtime::forks;

/// What a cache may hold and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheConfig {
    /// At most this many entries; 0 stores nothing.
    pub max_entries: usize,
    /// At most this much weight in all. A single value above it is not stored.
    pub max_bytes: Option<u64>,
    /// How long an entry is fresh; `None` is for ever.
    pub ttl: Option<Duration>,
    /// Whether reading a fresh entry starts its lifetime anew.
    pub refresh_on_read: bool,
    /// How long after its lifetime an entry may still be served while one caller fetches it anew.
    pub stale: Duration,
}

impl Default for CacheConfig {
    /// 1,000 entries for an hour each.
    fn default() -> Self {
        Self {
            max_entries: 1000,
            max_bytes: None,
            ttl: Some(Duration::from_secs(3600)),
            refresh_on_read: false,
            stale: Duration::ZERO,
        }
    }
}

/// How long one entry is fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ttl {
    /// As long as the cache's configuration says.
    #[default]
    Default,
    /// For ever.
    Never,
    /// This long.
    For(Duration),
}

/// What a [`Cache::get`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup<V> {
    /// The value, fresh or stale and being fetched by somebody else.
    Hit(V),
    /// The value, stale, and this caller is the one to fetch it anew: to [`Cache::insert`] it or to say
    /// [`Cache::refresh_failed`].
    Stale(V),
    /// Nothing.
    Miss,
}

impl<V> Lookup<V> {
    /// The value, if there is one.
    pub fn value(self) -> Option<V> {
        match self {
            Self::Hit(value) | Self::Stale(value) => Some(value),
            Self::Miss => None,
        }
    }
}

/// What a cache holds and what it did since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Reads answered with a fresh value.
    pub hits: u64,
    /// Reads answered with a stale value.
    pub stale_hits: u64,
    /// Reads that found nothing.
    pub misses: u64,
    /// Entries that made room for others while still alive.
    pub evictions: u64,
    /// Entries that left because their time was over.
    pub expirations: u64,
    /// Entries held now, those included whose time is over and which nobody has met yet.
    pub entries: usize,
    /// Their weight.
    pub bytes: u64,
    /// Tokens that hits made unnecessary, as told by [`Cache::add_saved`].
    pub tokens_saved: u64,
    /// Misses that were answered by the request of an equal call under way, as told by [`Cache::add_shared`].
    pub shared: u64,
}

/// So many dead entries leave under one hold of the lock when [`Cache::purge`] runs.
const PURGE_STEP: usize = 256;

/// A thread-safe cache. `V` is cloned for each hit: use something like an `Arc`.
#[derive(Debug)]
pub struct Cache<V> {
    config: CacheConfig,
    store: Mutex<Store<V>>,
    /// The process that made it, by the forks before it.
    forks: u32,
    /// What is used instead of it, in a forked child that inherited it locked.
    instead: OnceLock<Box<Self>>,
}

/// How long a forked child takes for possible that a lock it inherited is held by somebody who is there.
const PATIENCE: Duration = Duration::from_millis(200);

impl<V: Clone> Cache<V> {
    /// Bytes that an entry takes besides its value and what the value points to, to be added to weights where
    /// `max_bytes` is to mean memory.
    pub const ENTRY_OVERHEAD: usize = Store::<V>::OVERHEAD;

    /// An empty cache.
    pub fn new(config: CacheConfig) -> Self {
        let store = Mutex::new(Store::new(config));
        Self { config, store, forks: forks(), instead: OnceLock::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Store<V>> {
        if let Some(instead) = self.instead.get() {
            return instead.lock();
        }
        match self.store.try_lock() {
            Ok(store) => store,
            // Nothing panics half-way through a change, so a poisoned lock guards a sound store.
            Err(TryLockError::Poisoned(store)) => store.into_inner(),
            Err(TryLockError::WouldBlock) => self.wait_for_lock(),
        }
    }

    /// The lock is held. If the process forked at the very moment in which another thread held it, it is held for ever in the
    /// child, where that thread is not: the child then begins with an empty store.
    #[cold]
    fn wait_for_lock(&self) -> MutexGuard<'_, Store<V>> {
        if forks() == self.forks {
            return self.store.lock().unwrap_or_else(PoisonError::into_inner);
        }
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            match self.store.try_lock() {
                Ok(store) => return store,
                Err(TryLockError::Poisoned(store)) => return store.into_inner(),
                Err(TryLockError::WouldBlock) => thread::yield_now(),
            }
        }
        self.instead.get_or_init(|| Box::new(Self::new(self.config))).lock()
    }

    /// Looks a value up and counts as a use of it.
    pub fn get(&self, key: Key, now: Duration) -> Lookup<V> {
        self.get_with(key, now, V::clone)
    }

    /// As [`Cache::get`], with what `take` makes of the value. It runs under the lock: it is to be as cheap as a clone of an
    /// `Arc`, and must not call the cache.
    pub fn get_with<R>(&self, key: Key, now: Duration, take: impl FnOnce(&V) -> R) -> Lookup<R> {
        let (found, dead) = self.lock().get(key, now, take);
        drop(dead);
        found
    }

    /// The value if it is fresh or stale. Changes neither order nor lifetime nor statistics.
    pub fn peek(&self, key: Key, now: Duration) -> Option<V> {
        self.lock().peek(key, now)
    }

    /// Whether there is a value, fresh or stale. Changes nothing.
    pub fn contains(&self, key: Key, now: Duration) -> bool {
        self.lock().contains(key, now)
    }

    /// Stores a value as the most recently used one. Dead entries and then the least recently used ones make room.
    ///
    /// Returns whether it was stored: not if it alone is heavier than `max_bytes`, or its lifetime is zero. An older value of that
    /// key is gone in any case.
    pub fn insert(&self, key: Key, value: V, weight: u64, ttl: Ttl, now: Duration) -> bool {
        self.insert_with(key, value, weight, ttl, now, |_, value| Err(value), |value| value)
    }

    /// As [`Cache::insert`], for values that are cheaper to change than to make: where there is one of that key already,
    /// `swap` may exchange what is in it with `new` and give back the old; otherwise `make` makes one. Both run under the lock: no
    /// foreign code, and nothing that drops what is foreign.
    pub fn insert_with<T>(
        &self,
        key: Key,
        new: T,
        weight: u64,
        ttl: Ttl,
        now: Duration,
        swap: impl FnOnce(&mut V, T) -> Result<T, T>,
        make: impl FnOnce(T) -> V,
    ) -> bool {
        let (stored, garbage, old) = self.lock().insert(key, new, weight, ttl, now, swap, make);
        drop((garbage, old));
        stored
    }

    /// Takes a value out; `None` if it was not there or its time was over.
    pub fn remove(&self, key: Key, now: Duration) -> Option<V> {
        let (value, dead) = self.lock().remove(key, now);
        drop(dead);
        value
    }

    /// Takes everything out. Statistics are kept.
    pub fn clear(&self) {
        let old = self.lock().clear();
        drop(old);
    }

    /// Takes out what is dead and says how many that were. Never needed for correctness; it frees memory early. The lock is
    /// let go every few hundred entries.
    pub fn purge(&self, now: Duration) -> usize {
        let mut count = 0;
        loop {
            let garbage = self.lock().purge(now, PURGE_STEP);
            count += garbage.len();
            if garbage.len() < PURGE_STEP {
                return count;
            }
        }
    }

    /// The caller that was given [`Lookup::Stale`] could not fetch the value: the next reader is to try.
    pub fn refresh_failed(&self, key: Key) {
        self.lock().refresh_failed(key);
    }

    /// Counts the tokens that a hit saved.
    pub fn add_saved(&self, tokens: u64) {
        self.lock().stats.tokens_saved += tokens;
    }

    /// Counts a miss that was answered by the request of an equal call.
    pub fn add_shared(&self) {
        self.lock().stats.shared += 1;
    }

    /// Entries held, those included whose time is over and which nobody has met yet; [`Cache::purge`] first for an exact count.
    pub fn len(&self) -> usize {
        self.lock().stats().entries
    }

    /// Whether it holds no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The statistics.
    pub fn stats(&self) -> CacheStats {
        self.lock().stats()
    }

    /// All keys, least recently used first, the dead ones that nobody has met yet included. Costs time in proportion to
    /// their number, under the lock: for tests and inspection.
    pub fn keys(&self) -> Vec<Key> {
        self.lock().keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_nobody_will_open_is_left_behind() {
        let (now, key) = (Duration::ZERO, KeyBuilder::new("test").finish());
        // As a forked child sees it: made by another process, and locked by nobody who is here.
        let cache = Cache { forks: u32::MAX, ..Cache::new(CacheConfig::default()) };
        assert!(cache.insert(key, 1, 1, Ttl::Default, now));
        assert_eq!(cache.get(key, now), Lookup::Hit(1), "while it is open it is used");
        let inherited = cache.store.lock();
        assert_eq!(cache.get(key, now), Lookup::Miss);
        assert!(cache.insert(key, 2, 1, Ttl::Default, now));
        drop(inherited);
        assert_eq!(cache.get(key, now), Lookup::Hit(2), "for good");
    }
}
