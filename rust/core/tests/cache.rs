//! The cache against a plain reference.

use std::{sync::Arc, time::Duration};

use edgequake_core::cache::{Cache, CacheConfig, Key, KeyBuilder, Lookup, Ttl};
use proptest::prelude::*;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn key(n: u64) -> Key {
    KeyBuilder::new("test").integer(n).finish()
}

// ---- The reference: a vector in order of use, searched from end to end. ----

#[derive(Debug, Clone)]
struct Plain {
    key: u64,
    value: u64,
    weight: u64,
    ttl: Option<Duration>,
    stale_at: Option<Duration>,
    refreshing: bool,
}

#[derive(Debug)]
struct Reference {
    config: CacheConfig,
    entries: Vec<Plain>,
    hits: u64,
    stale_hits: u64,
    misses: u64,
    evictions: u64,
    expirations: u64,
}

impl Reference {
    /// Unlike the cache, the reference lets nothing dead stay for a moment.
    fn expire(&mut self, now: Duration) {
        let (stale, before) = (self.config.stale, self.entries.len());
        self.entries.retain(|e| e.stale_at.is_none_or(|at| now < at + stale));
        self.expirations += (before - self.entries.len()) as u64;
    }

    fn get(&mut self, key: u64, now: Duration) -> Lookup<u64> {
        self.expire(now);
        let Some(at) = self.entries.iter().position(|e| e.key == key) else {
            self.misses += 1;
            return Lookup::Miss;
        };
        let mut entry = self.entries.remove(at);
        let value = entry.value;
        let fresh = entry.stale_at.is_none_or(|at| now < at);
        let found = if fresh || entry.refreshing { Lookup::Hit(value) } else { Lookup::Stale(value) };
        if fresh {
            self.hits += 1;
            if self.config.refresh_on_read {
                entry.stale_at = entry.ttl.map(|ttl| now + ttl);
            }
        } else {
            self.stale_hits += 1;
            entry.refreshing = true;
        }
        self.entries.push(entry);
        found
    }

    fn insert(&mut self, key: u64, value: u64, weight: u64, ttl: Ttl, now: Duration) -> bool {
        self.expire(now);
        self.entries.retain(|e| e.key != key);
        let ttl = match ttl {
            Ttl::Default => self.config.ttl,
            Ttl::Never => None,
            Ttl::For(time) => Some(time),
        };
        let max_bytes = self.config.max_bytes.unwrap_or(u64::MAX);
        if self.config.max_entries == 0 || weight > max_bytes || ttl.is_some_and(|t| (t + self.config.stale).is_zero())
        {
            return false;
        }
        let stale_at = ttl.map(|ttl| now + ttl);
        self.entries.push(Plain { key, value, weight, ttl, stale_at, refreshing: false });
        while self.entries.len() > self.config.max_entries || self.bytes() > max_bytes {
            self.entries.remove(0);
            self.evictions += 1;
        }
        true
    }

    fn bytes(&self) -> u64 {
        self.entries.iter().map(|e| e.weight).sum()
    }
}

#[derive(Debug, Clone)]
enum Op {
    Get(u64),
    Peek(u64),
    Insert(u64, u64, Ttl),
    Remove(u64),
    RefreshFailed(u64),
    Purge,
    Clear,
}

fn ops() -> impl Strategy<Value = Vec<(u64, Op)>> {
    let ttl = prop_oneof![
        4 => Just(Ttl::Default),
        1 => Just(Ttl::Never),
        4 => (0u64..60).prop_map(|n| Ttl::For(ms(n))),
    ];
    let op = prop_oneof![
        30 => (0u64..12).prop_map(Op::Get),
        5 => (0u64..12).prop_map(Op::Peek),
        30 => (0u64..12, 0u64..40, ttl).prop_map(|(k, weight, ttl)| Op::Insert(k, weight, ttl)),
        4 => (0u64..12).prop_map(Op::Remove),
        4 => (0u64..12).prop_map(Op::RefreshFailed),
        3 => Just(Op::Purge),
        1 => Just(Op::Clear),
    ];
    prop::collection::vec((prop_oneof![3 => Just(0u64), 5 => 1u64..8, 1 => 20u64..80], op), 1..250)
}

fn configs() -> impl Strategy<Value = CacheConfig> {
    let max_bytes = prop::option::weighted(0.6, 0u64..200);
    let ttl = prop::option::weighted(0.8, 0u64..60);
    (0usize..9, max_bytes, ttl, any::<bool>(), prop_oneof![Just(0u64), 1u64..40]).prop_map(
        |(max_entries, max_bytes, ttl, refresh_on_read, stale)| CacheConfig {
            max_entries,
            max_bytes,
            ttl: ttl.map(ms),
            refresh_on_read,
            stale: ms(stale),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn behaves_as_the_plain_reference(config in configs(), ops in ops()) {
        let cache = Cache::new(config);
        let mut plain = Reference {
            config, entries: Vec::new(), hits: 0, stale_hits: 0, misses: 0, evictions: 0, expirations: 0,
        };
        let (mut now, mut next) = (Duration::ZERO, 0u64);
        for (step, op) in ops {
            now += ms(step);
            match op {
                Op::Get(k) => {
                    let found = cache.get(key(k), now);
                    prop_assert_eq!(found, plain.get(k, now));
                }
                Op::Peek(k) => {
                    plain.expire(now);
                    let expected = plain.entries.iter().find(|e| e.key == k).map(|e| e.value);
                    prop_assert_eq!(cache.peek(key(k), now), expected);
                    prop_assert_eq!(cache.contains(key(k), now), expected.is_some());
                }
                Op::Insert(k, weight, ttl) => {
                    next += 1;
                    let stored = if next % 2 == 0 {
                        cache.insert(key(k), next, weight, ttl, now)
                    } else {
                        let swap = |old: &mut u64, new| Ok(std::mem::replace(old, new));
                        cache.insert_with(key(k), next, weight, ttl, now, swap, |new| new)
                    };
                    prop_assert_eq!(stored, plain.insert(k, next, weight, ttl, now));
                }
                Op::Remove(k) => {
                    plain.expire(now);
                    let at = plain.entries.iter().position(|e| e.key == k);
                    prop_assert_eq!(cache.remove(key(k), now), at.map(|at| plain.entries.remove(at).value));
                }
                Op::RefreshFailed(k) => {
                    cache.refresh_failed(key(k));
                    plain.entries.iter_mut().filter(|e| e.key == k).for_each(|e| e.refreshing = false);
                }
                Op::Purge => {
                    cache.purge(now);
                    plain.expire(now);
                    prop_assert_eq!(cache.len(), plain.entries.len());
                }
                Op::Clear => {
                    cache.purge(now);
                    cache.clear();
                    plain.expire(now);
                    plain.entries.clear();
                    prop_assert!(cache.is_empty());
                }
            }
            prop_assert!(cache.len() <= config.max_entries);
            prop_assert!(cache.stats().bytes <= config.max_bytes.unwrap_or(u64::MAX));
        }
        // The living, in exact order; the dead must all have been counted once.
        let living: Vec<_> = cache.keys().into_iter().filter(|k| cache.contains(*k, now)).collect();
        plain.expire(now);
        prop_assert_eq!(living, plain.entries.iter().map(|e| key(e.key)).collect::<Vec<_>>());
        cache.purge(now);
        let stats = cache.stats();
        prop_assert_eq!((stats.entries, stats.bytes), (plain.entries.len(), plain.bytes()));
        prop_assert_eq!((stats.hits, stats.stale_hits, stats.misses), (plain.hits, plain.stale_hits, plain.misses));
        prop_assert_eq!((stats.evictions, stats.expirations), (plain.evictions, plain.expirations));
    }
}

// ---- What the reference does not show. ----

#[test]
fn one_caller_is_told_to_refresh_a_stale_value() {
    let cache = Cache::new(CacheConfig { ttl: Some(ms(10)), stale: ms(10), ..CacheConfig::default() });
    cache.insert(key(1), "old", 1, Ttl::Default, ms(0));
    assert_eq!(cache.get(key(1), ms(9)), Lookup::Hit("old"));
    assert_eq!(cache.get(key(1), ms(10)), Lookup::Stale("old"));
    assert_eq!(cache.get(key(1), ms(11)), Lookup::Hit("old"), "somebody is at it");
    cache.refresh_failed(key(1));
    assert_eq!(cache.get(key(1), ms(12)), Lookup::Stale("old"), "the next one tries");
    cache.insert(key(1), "new", 1, Ttl::Default, ms(15));
    assert_eq!(cache.get(key(1), ms(24)), Lookup::Hit("new"));
    assert_eq!(cache.get(key(1), ms(35)), Lookup::Miss);
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.stale_hits, stats.misses, stats.expirations), (2, 3, 1, 1));
}

#[test]
fn an_older_clock_reading_does_not_turn_time_back() {
    let cache = Cache::new(CacheConfig { ttl: Some(ms(10)), ..CacheConfig::default() });
    cache.insert(key(1), 1, 1, Ttl::Default, ms(100));
    cache.insert(key(2), 2, 1, Ttl::Default, ms(95));
    assert_eq!(cache.get(key(2), ms(109)), Lookup::Hit(2), "written at 100, as far as the cache knows");
    assert_eq!(cache.get(key(1), ms(110)), Lookup::Miss);
    assert_eq!(cache.peek(key(2), ms(109)), None);
}

#[test]
fn the_longest_times_do_not_overflow() {
    let config =
        CacheConfig { ttl: Some(Duration::MAX), stale: Duration::MAX, refresh_on_read: true, ..Default::default() };
    let cache = Cache::new(config);
    assert!(cache.insert(key(1), 1, u64::MAX, Ttl::Default, Duration::from_secs(1)));
    assert_eq!(cache.get(key(1), Duration::from_secs(u64::from(u32::MAX))), Lookup::Hit(1));
    assert!(
        cache.insert(key(2), 2, 1, Ttl::For(Duration::MAX), Duration::from_secs(2)),
        "weights do not overflow either"
    );
    assert_eq!((cache.len(), cache.stats().bytes), (1, 1));
    // Ten milliseconds fresh, renewed by reading, stale for ever.
    let config = CacheConfig { ttl: Some(ms(10)), stale: Duration::MAX, refresh_on_read: true, ..Default::default() };
    let cache = Cache::new(config);
    cache.insert(key(1), 1, 1, Ttl::Default, ms(1));
    assert_eq!(cache.get(key(1), ms(9)), Lookup::Hit(1));
    assert_eq!(cache.get(key(1), ms(18)), Lookup::Hit(1));
    assert_eq!(cache.get(key(1), Duration::from_secs(1 << 33)), Lookup::Stale(1));
}

/// A value that, when it is dropped or cloned, calls the cache it is in.
#[derive(Clone)]
struct Meddler {
    _inner: Arc<MeddlerInner>,
}

struct MeddlerInner(Arc<std::sync::OnceLock<Cache<Meddler>>>);

impl Drop for MeddlerInner {
    fn drop(&mut self) {
        if let Some(cache) = self.0.get() {
            cache.contains(key(0), ms(0));
        }
    }
}

#[test]
fn values_are_dropped_after_the_lock() {
    let place = Arc::new(std::sync::OnceLock::new());
    let config = CacheConfig { max_entries: 2, ttl: Some(ms(10)), ..CacheConfig::default() };
    place.set(Cache::new(config)).ok();
    let cache = place.get().unwrap();
    let value = || Meddler { _inner: Arc::new(MeddlerInner(place.clone())) };
    for n in 0..4 {
        cache.insert(key(n), value(), 1, Ttl::Default, ms(0)); // evicts
    }
    cache.insert(key(3), value(), 1, Ttl::Default, ms(0)); // replaces
    cache.insert(key(9), value(), 1, Ttl::For(ms(0)), ms(0)); // is refused
    assert!(cache.get(key(3), ms(10)).value().is_none()); // expires
    assert!(cache.remove(key(2), ms(10)).is_none());
    cache.insert(key(5), value(), 1, Ttl::Default, ms(10));
    assert_eq!(cache.purge(ms(20)), 1);
    cache.insert(key(6), value(), 1, Ttl::Default, ms(20));
    cache.clear();
    assert!(cache.is_empty());
}

#[test]
fn however_many_are_dead_they_go_before_the_living() {
    let cache = Cache::new(CacheConfig { max_bytes: Some(20), ..CacheConfig::default() });
    cache.insert(key(0), 0, 1, Ttl::Never, ms(0));
    for n in 1..20 {
        cache.insert(key(n), n, 1, Ttl::For(ms(5)), ms(0));
    }
    cache.insert(key(20), 20, 19, Ttl::Never, ms(5));
    assert_eq!(cache.keys(), [key(0), key(20)]);
    assert_eq!((cache.stats().evictions, cache.stats().expirations), (0, 19));
}

#[test]
fn threads_share_it() {
    let cache = Cache::new(CacheConfig { max_entries: 50, ..CacheConfig::default() });
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let cache = &cache;
            scope.spawn(move || {
                for n in 0..5_000u64 {
                    let k = (n * 7 + thread) % 100;
                    if let Some(value) = cache.get(key(k), ms(n)).value() {
                        assert_eq!(value, k);
                    }
                    cache.insert(key(k), k, 1, Ttl::Default, ms(n));
                }
            });
        }
    });
    let stats = cache.stats();
    assert_eq!((stats.entries, stats.bytes, stats.hits + stats.misses), (50, 50, 20_000));
}

#[test]
fn a_purge_of_many_counts_them_all() {
    let cache = Cache::new(CacheConfig { max_entries: 10_000, ..CacheConfig::default() });
    for n in 0..5_000 {
        cache.insert(key(n), (), 1, Ttl::For(ms(1 + n % 3)), ms(0));
    }
    cache.insert(key(5_000), (), 1, Ttl::Never, ms(0));
    assert_eq!(cache.purge(ms(1)), 1667);
    assert_eq!(cache.purge(ms(3)), 3333);
    assert_eq!((cache.len(), cache.stats().expirations), (1, 5_000));
    cache.add_saved(100);
    cache.add_saved(20);
    assert_eq!(cache.stats().tokens_saved, 120);
}

#[test]
fn the_bookkeeping_is_small() {
    // An embedding of 1,536 numbers is to take at most 6.5 KB in all; an `Arc` has two counts, an allocator a header.
    const VECTOR: usize = 1536 * size_of::<f32>() + 2 * size_of::<usize>() + size_of::<Arc<[f32]>>() + 16;
    const { assert!(VECTOR + Cache::<Arc<[f32]>>::ENTRY_OVERHEAD <= 6_500) }
    const { assert!(Cache::<Arc<str>>::ENTRY_OVERHEAD <= 128) }
}
