//! Single flight: equal calls at the same time share one piece of work. The bookkeeping only; who runs the work is up to
//! the caller.
//!
//! The work belongs to the flight and not to whoever asked first, so any caller may leave without hurting the others;
//! when the last one leaves, the work is given up.

use std::collections::HashMap;

use super::Key;

/// One caller's place in a flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seat {
    key: Key,
    flight: u64,
    waiter: u64,
}

#[derive(Debug)]
struct Flight<W, A> {
    number: u64,
    waiters: HashMap<u64, W>,
    work: A,
}

/// What one caller's leaving means. What is in here is the caller's to drop, outside of any lock.
#[derive(Debug, PartialEq, Eq)]
pub struct Left<W, A> {
    /// The waiter, if it was still there.
    pub waiter: Option<W>,
    /// It was the last one: the work is to be stopped, and its result will be nobody's.
    pub last: bool,
    /// The flight's handle of the work, if it was the last one.
    pub work: Option<A>,
}

/// The flights in the air, each with those who wait for it and with a handle of the work, by which it can be stopped and by
/// which those who come later find what there is of it already.
#[derive(Debug)]
pub struct Flights<W, A> {
    flights: HashMap<Key, Flight<W, A>>,
    next: u64,
}

impl<W, A> Default for Flights<W, A> {
    fn default() -> Self {
        Self { flights: HashMap::new(), next: 0 }
    }
}

impl<W, A: Clone> Flights<W, A> {
    /// Waits for the flight of `key`. With `true` there was none: the caller starts the work of the handle that it gets back
    /// again, and [`Flights::land`] is called when it is done.
    pub fn join(&mut self, key: Key, waiter: W, work: impl FnOnce() -> A) -> (Seat, A, bool) {
        self.next += 1;
        let number = self.next;
        let flight =
            self.flights.entry(key).or_insert_with(|| Flight { number, waiters: HashMap::new(), work: work() });
        flight.waiters.insert(number, waiter);
        (Seat { key, flight: flight.number, waiter: number }, flight.work.clone(), flight.number == number)
    }

    /// As [`Flights::join`], if there is a flight of `key` in the air; the waiter comes back if not.
    pub fn join_in_the_air(&mut self, key: Key, waiter: W) -> Result<(Seat, A), W> {
        let Some(flight) = self.flights.get_mut(&key) else { return Err(waiter) };
        self.next += 1;
        flight.waiters.insert(self.next, waiter);
        Ok((Seat { key, flight: flight.number, waiter: self.next }, flight.work.clone()))
    }

    /// Stops waiting.
    pub fn leave(&mut self, seat: Seat) -> Left<W, A> {
        let Some(flight) = self.flights.get_mut(&seat.key).filter(|flight| flight.number == seat.flight) else {
            return Left { waiter: None, last: false, work: None };
        };
        let waiter = flight.waiters.remove(&seat.waiter);
        let last = flight.waiters.is_empty();
        let work = if last { self.flights.remove(&seat.key).map(|flight| flight.work) } else { None };
        Left { waiter, last, work }
    }

    /// The work that was started for `seat` is done: all who wait for it, in the order in which they came. A flight that
    /// everybody left has nobody, even when a newer one of the same key is in the air.
    pub fn land(&mut self, seat: Seat) -> Vec<W> {
        if self.flights.get(&seat.key).is_none_or(|current| current.number != seat.flight) {
            return Vec::new();
        }
        let mut waiters: Vec<_> =
            self.flights.remove(&seat.key).into_iter().flat_map(|flight| flight.waiters).collect();
        waiters.sort_unstable_by_key(|(number, _)| *number);
        waiters.into_iter().map(|(_, waiter)| waiter).collect()
    }

    /// How many pieces of work are under way.
    pub fn len(&self) -> usize {
        self.flights.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::KeyBuilder;

    type Plain<W> = Flights<W, &'static str>;

    fn key(name: &str) -> Key {
        KeyBuilder::new(name).finish()
    }

    #[test]
    fn equal_calls_share_one_flight_and_land_in_order() {
        let mut flights = Plain::default();
        let (seat, work, first) = flights.join(key("a"), 0, || "work");
        assert!(first && work == "work");
        for n in 1..1000 {
            let (_, work, first) = flights.join(key("a"), n, || unreachable!());
            assert!(!first && work == "work");
        }
        assert!(flights.join(key("b"), -1, || "other").2, "another key is another flight");
        assert_eq!(flights.land(seat), (0..1000).collect::<Vec<_>>());
        assert_eq!(flights.len(), 1);
        assert!(flights.join(key("a"), 7, || "next").2, "after landing, the next one starts anew");
    }

    #[test]
    fn one_who_leaves_does_not_stop_the_rest_but_the_last_one_does() {
        let mut flights = Plain::default();
        let (first, ..) = flights.join(key("a"), "first", || "work");
        let (second, ..) = flights.join(key("a"), "second", || unreachable!());
        assert_eq!(flights.leave(first), Left { waiter: Some("first"), last: false, work: None });
        assert_eq!(flights.leave(first), Left { waiter: None, last: false, work: None }, "leaving twice counts once");
        assert_eq!(flights.leave(second), Left { waiter: Some("second"), last: true, work: Some("work") });
        assert!(flights.is_empty());
    }

    #[test]
    fn who_only_joins_starts_nothing() {
        let mut flights = Plain::default();
        assert_eq!(flights.join_in_the_air(key("a"), "alone"), Err("alone"));
        let (seat, ..) = flights.join(key("a"), "first", || "work");
        let (second, work) = flights.join_in_the_air(key("a"), "second").unwrap();
        assert_eq!(work, "work");
        assert!(!flights.leave(seat).last);
        assert_eq!(flights.land(second), ["second"], "and may be the one that it lands for");
    }

    #[test]
    fn an_abandoned_flight_does_not_land_on_its_successor() {
        let mut flights = Plain::default();
        let (old, ..) = flights.join(key("a"), "old", || "work");
        flights.leave(old);
        let (new, _, started) = flights.join(key("a"), "new", || "work");
        assert!(started);
        assert_eq!(flights.land(old), Vec::<&str>::new());
        assert!(!flights.leave(old).last);
        assert_eq!(flights.land(new), ["new"]);
    }
}
