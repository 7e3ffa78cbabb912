//! The cache without its lock: entries in a slab, a table of their numbers, one list by use, one index by deadline.
//!
//! Pure: time comes as a parameter, and values that leave are handed out, so that the caller drops them where it likes.

use std::mem;

use hashbrown::HashTable;
use slab::Slab;

use super::{CacheConfig, CacheStats, Key, Lookup, Ttl, expiry::Expiry};
use crate::list::{Ends, Links};

/// So many dead entries leave at each insert: enough to keep up with any stream of inserts, few enough not to be felt.
const SWEEP: usize = 4;

/// The time that never comes. An entry that goes stale then is not in the expiry index.
const NEVER: u64 = u64::MAX;

/// One cache line for values of up to 24 bytes: in a large cache, the time of a read is the number of lines it touches.
#[derive(Debug)]
#[repr(align(64))]
struct Entry<V> {
    key: Key,
    value: V,
    weight: u64,
    /// From then on it is stale.
    stale_at: u64,
    /// Whether somebody was told to fetch it anew.
    refreshing: bool,
}

/// Values that left the cache and wait to be dropped. One, the usual case, needs no allocation.
#[derive(Debug)]
pub(super) struct Garbage<V>(Option<V>, Vec<V>);

impl<V> Garbage<V> {
    fn none() -> Self {
        Self(None, Vec::new())
    }

    fn add(&mut self, value: Option<V>) {
        match (&self.0, value) {
            (None, value) => self.0 = value,
            (Some(_), Some(value)) => self.1.push(value),
            (Some(_), None) => {}
        }
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.0.is_some()) + self.1.len()
    }
}

#[derive(Debug)]
pub(super) struct Store<V> {
    config: CacheConfig,
    /// The configuration's times in nanoseconds.
    ttl: u64,
    stale: u64,
    entries: Slab<Entry<V>>,
    table: HashTable<u32>,
    links: Links,
    /// Least recently used first.
    by_use: Ends,
    expiry: Expiry,
    bytes: u64,
    /// The latest time seen: the callers' clocks are read outside the lock and may come in the wrong order.
    now: u64,
    pub(super) stats: CacheStats,
}

/// Nanoseconds since the origin; 584 years of them.
fn nanos(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl<V: Clone> Store<V> {
    pub(super) fn new(config: CacheConfig) -> Self {
        Self {
            config,
            ttl: config.ttl.map_or(NEVER, nanos),
            stale: nanos(config.stale),
            entries: Slab::new(),
            table: HashTable::new(),
            links: Links::default(),
            by_use: Ends::default(),
            expiry: Expiry::default(),
            bytes: 0,
            now: 0,
            stats: CacheStats::default(),
        }
    }

    /// Bytes of bookkeeping for each entry: the slab's, a link by use, a link and a node by deadline, a place in the table.
    pub(super) const OVERHEAD: usize = size_of::<Entry<V>>() - size_of::<V>() + 8 + (8 + 16) + 8;

    fn tick(&mut self, now: std::time::Duration) -> u64 {
        self.now = self.now.max(nanos(now));
        self.now
    }

    fn find(&self, key: Key) -> Option<u32> {
        let same = |slot: &u32| self.entries.get(*slot as usize).is_some_and(|entry| entry.key == key);
        self.table.find(key.table_hash(), same).copied()
    }

    /// When an entry that goes stale then is dead.
    fn dead_at(&self, stale_at: u64) -> u64 {
        stale_at.saturating_add(self.stale)
    }

    /// A dead entry, if there is one.
    fn dead(&self, now: u64) -> Option<u32> {
        self.expiry.due(now.checked_sub(self.stale)?)
    }

    fn living(&self, key: Key, now: u64) -> Option<&Entry<V>> {
        let entry = self.entries.get(self.find(key)? as usize)?;
        (now < self.dead_at(entry.stale_at)).then_some(entry)
    }

    /// Looks a value up and gives what `take` makes of it; also a dead value to be dropped.
    pub(super) fn get<R>(
        &mut self,
        key: Key,
        now: std::time::Duration,
        take: impl FnOnce(&V) -> R,
    ) -> (Lookup<R>, Option<V>) {
        let now = self.tick(now);
        let Some(slot) = self.find(key) else {
            self.stats.misses += 1;
            return (Lookup::Miss, None);
        };
        let stale = self.stale;
        let Some(entry) = self.entries.get_mut(slot as usize) else { return (Lookup::Miss, None) };
        if now >= entry.stale_at.saturating_add(stale) {
            self.stats.misses += 1;
            self.stats.expirations += 1;
            return (Lookup::Miss, self.take(slot));
        }
        // Before the clone: an atomic count would keep the processor from fetching the links meanwhile.
        self.links.move_to_back(&mut self.by_use, slot);
        if now >= entry.stale_at {
            self.stats.stale_hits += 1;
            let value = take(&entry.value);
            let refreshing = mem::replace(&mut entry.refreshing, true);
            return (if refreshing { Lookup::Hit(value) } else { Lookup::Stale(value) }, None);
        }
        if self.config.refresh_on_read && entry.stale_at != NEVER {
            entry.stale_at = self.expiry.renew(slot, now);
        }
        self.stats.hits += 1;
        (Lookup::Hit(take(&entry.value)), None)
    }

    pub(super) fn peek(&self, key: Key, now: std::time::Duration) -> Option<V> {
        Some(self.living(key, self.now.max(nanos(now)))?.value.clone())
    }

    pub(super) fn contains(&self, key: Key, now: std::time::Duration) -> bool {
        self.living(key, self.now.max(nanos(now))).is_some()
    }

    /// Stores what `make` makes of `new`, or what `swap` makes of the old value by exchanging what is in it with `new`. Whether
    /// it was stored, and what is to be dropped.
    pub(super) fn insert<T>(
        &mut self,
        key: Key,
        new: T,
        weight: u64,
        ttl: Ttl,
        now: std::time::Duration,
        swap: impl FnOnce(&mut V, T) -> Result<T, T>,
        make: impl FnOnce(T) -> V,
    ) -> (bool, Garbage<V>, Option<T>) {
        let now = self.tick(now);
        let mut garbage = self.expire(now, SWEEP);
        let ttl = match ttl {
            Ttl::Default => self.ttl,
            Ttl::Never => NEVER,
            Ttl::For(time) => nanos(time),
        };
        let stale_at = now.saturating_add(ttl);
        // Without a limit this one still keeps the sum of all weights from overflowing.
        let max_bytes = self.config.max_bytes.unwrap_or(u64::MAX);
        if let Some(slot) = self.find(key)
            && let Some(entry) = self.entries.get_mut(slot as usize)
        {
            self.stats.expirations += u64::from(now >= entry.stale_at.saturating_add(self.stale));
            let fits = weight <= max_bytes && self.bytes - entry.weight <= max_bytes - weight;
            if fits && entry.stale_at != NEVER && stale_at != NEVER && stale_at.saturating_add(self.stale) > now {
                // In its place: the usual case.
                self.bytes = self.bytes - entry.weight + weight;
                let old = match swap(&mut entry.value, new) {
                    Ok(old) => Some(old),
                    Err(new) => {
                        garbage.add(Some(mem::replace(&mut entry.value, make(new))));
                        None
                    }
                };
                (entry.weight, entry.stale_at, entry.refreshing) = (weight, stale_at, false);
                self.links.move_to_back(&mut self.by_use, slot);
                self.expiry.restart(slot, now, ttl);
                return (true, garbage, old);
            }
            garbage.add(self.take(slot));
        }
        if self.config.max_entries == 0 || weight > max_bytes || self.dead_at(stale_at) <= now {
            return (false, garbage, Some(new));
        }
        let room = max_bytes - weight;
        // The slab's numbers must fit the links.
        let max_entries = self.config.max_entries.min(u32::MAX as usize);
        while self.entries.len() >= max_entries || self.bytes > room {
            let dead = self.dead(now);
            let Some(slot) = dead.or(self.by_use.front()) else { break };
            match dead {
                Some(_) => self.stats.expirations += 1,
                None => self.stats.evictions += 1,
            }
            garbage.add(self.take(slot));
        }
        let entry = Entry { key, value: make(new), weight, stale_at, refreshing: false };
        let slot = u32::try_from(self.entries.insert(entry)).unwrap_or(u32::MAX);
        let entries = &self.entries;
        let hash_of = |slot: &u32| entries.get(*slot as usize).map_or(0, |entry| entry.key.table_hash());
        self.table.insert_unique(key.table_hash(), slot, hash_of);
        self.links.push_back(&mut self.by_use, slot);
        if stale_at != NEVER {
            self.expiry.add(slot, now, ttl);
        }
        self.bytes += weight;
        (true, garbage, None)
    }

    /// Takes an entry out of everything.
    fn take(&mut self, slot: u32) -> Option<V> {
        let entry = self.entries.try_remove(slot as usize)?;
        if let Ok(place) = self.table.find_entry(entry.key.table_hash(), |other| *other == slot) {
            place.remove();
        }
        self.links.unlink(&mut self.by_use, slot);
        if entry.stale_at != NEVER {
            self.expiry.remove(slot);
        }
        self.bytes -= entry.weight;
        Some(entry.value)
    }

    fn expire(&mut self, now: u64, at_most: usize) -> Garbage<V> {
        let mut garbage = Garbage::none();
        for _ in 0..at_most {
            let Some(slot) = self.dead(now) else { break };
            garbage.add(self.take(slot));
            self.stats.expirations += 1;
        }
        garbage
    }

    pub(super) fn purge(&mut self, now: std::time::Duration, at_most: usize) -> Garbage<V> {
        let now = self.tick(now);
        self.expire(now, at_most)
    }

    pub(super) fn remove(&mut self, key: Key, now: std::time::Duration) -> (Option<V>, Option<V>) {
        let now = self.tick(now);
        let Some(slot) = self.find(key) else { return (None, None) };
        let living = self.living(key, now).is_some();
        let value = self.take(slot);
        if living {
            return (value, None);
        }
        self.stats.expirations += 1;
        (None, value)
    }

    pub(super) fn refresh_failed(&mut self, key: Key) {
        if let Some(slot) = self.find(key)
            && let Some(entry) = self.entries.get_mut(slot as usize)
        {
            entry.refreshing = false;
        }
    }

    /// Empties the store; the old contents are the caller's to drop. Statistics and time go on.
    pub(super) fn clear(&mut self) -> Self {
        let mut empty = Self::new(self.config);
        empty.stats = self.stats;
        empty.now = self.now;
        mem::replace(self, empty)
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        let slots = self.links.iter(self.by_use);
        slots.filter_map(|slot| self.entries.get(slot as usize)).map(|entry| entry.key).collect()
    }

    pub(super) fn stats(&self) -> CacheStats {
        CacheStats { entries: self.entries.len(), bytes: self.bytes, ..self.stats }
    }
}
