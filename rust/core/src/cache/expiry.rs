//! Whose lifetime ends next, without looking at the others.
//!
//! The lifetimes of equal length end in the order in which they began, so each length has a list of its own, and only
//! the lists' first entries are kept sorted. With one length, the usual case, there is nothing to sort and every step is
//! O(1); with as many lengths as entries it is O(log n). Nothing is done lazily: there are no tombstones and no step that
//! sweeps many.

use std::collections::{BTreeMap, BTreeSet};

use crate::list::{Ends, Links};

#[derive(Debug, Clone, Copy, Default)]
struct Node {
    lifetime: u64,
    deadline: u64,
}

/// The deadlines of all entries that have one. Times are nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    links: Links,
    nodes: Vec<Node>,
    /// One list for each lifetime in use.
    lists: BTreeMap<u64, Ends>,
    /// The first deadline of each list; empty where there is only one list.
    first: BTreeSet<(u64, u64)>,
}

impl Expiry {
    /// Adds an entry written at `now`, which must not be before the time of any earlier call.
    pub(super) fn add(&mut self, slot: u32, now: u64, lifetime: u64) {
        let at = slot as usize;
        if at >= self.nodes.len() {
            self.nodes.resize(at + 1, Node::default());
        }
        let deadline = now.saturating_add(lifetime);
        if let Some(node) = self.nodes.get_mut(at) {
            *node = Node { lifetime, deadline };
        }
        let list = self.lists.entry(lifetime).or_default();
        let is_new = list.is_empty();
        self.links.push_back(list, slot);
        if is_new && self.lists.len() == 2 {
            self.first =
                self.lists.iter().filter_map(|(length, list)| Some((self.deadline(*list)?, *length))).collect();
        } else if is_new && self.lists.len() > 2 {
            self.first.insert((deadline, lifetime));
        }
    }

    /// The first deadline of a list.
    fn deadline(&self, list: Ends) -> Option<u64> {
        Some(self.nodes.get(list.front()? as usize)?.deadline)
    }

    /// Takes an entry out that was added.
    pub(super) fn remove(&mut self, slot: u32) {
        let Some(&Node { lifetime, deadline }) = self.nodes.get(slot as usize) else { return };
        let Some(list) = self.lists.get_mut(&lifetime) else { return };
        let was_first = list.front() == Some(slot);
        self.links.unlink(list, slot);
        if !was_first {
            return;
        }
        let next = *list;
        self.first.remove(&(deadline, lifetime));
        match self.deadline(next) {
            Some(next) if self.lists.len() > 1 => {
                self.first.insert((next, lifetime));
            }
            Some(_) => {}
            None => {
                self.lists.remove(&lifetime);
                if self.lists.len() == 1 {
                    self.first.clear();
                }
            }
        }
    }

    /// Gives an entry that was added another lifetime, which begins now.
    pub(super) fn restart(&mut self, slot: u32, now: u64, lifetime: u64) {
        match (self.nodes.get_mut(slot as usize), self.lists.get_mut(&lifetime)) {
            (Some(node), Some(list)) if node.lifetime == lifetime && self.first.is_empty() => {
                node.deadline = now.saturating_add(lifetime);
                self.links.move_to_back(list, slot);
            }
            _ => {
                self.remove(slot);
                self.add(slot, now, lifetime);
            }
        }
    }

    /// Starts the lifetime of an entry that was added anew; the new deadline.
    pub(super) fn renew(&mut self, slot: u32, now: u64) -> u64 {
        let lifetime = self.nodes.get(slot as usize).map_or(0, |node| node.lifetime);
        self.restart(slot, now, lifetime);
        now.saturating_add(lifetime)
    }

    /// An entry whose deadline is `now` or before, the earliest first.
    pub(super) fn due(&self, now: u64) -> Option<u32> {
        if self.first.is_empty() {
            let (_, list) = self.lists.first_key_value()?;
            return (self.deadline(*list)? <= now).then(|| list.front()).flatten();
        }
        let (deadline, lifetime) = self.first.first()?;
        if *deadline > now {
            return None;
        }
        self.lists.get(lifetime)?.front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a plain list of deadlines.
        #[test]
        fn the_earliest_is_due_first(
            ops in prop::collection::vec((0u64..6, 0u32..10, 1u64..5, 0..4), 0..200),
            lengths in 1u64..5,
        ) {
            let mut expiry = Expiry::default();
            let mut model: Vec<(u64, u32)> = Vec::new();
            let mut now = 0;
            for (step, slot, lifetime, how) in ops {
                let lifetime = lifetime.min(lengths) * 7;
                now += step;
                let known = model.iter().any(|(_, s)| *s == slot);
                model.retain(|(_, s)| *s != slot);
                match (known, how) {
                    (true, 0) => expiry.remove(slot),
                    (false, 0) => {}
                    (true, 1) => expiry.restart(slot, now, lifetime),
                    (true, _) => {
                        expiry.remove(slot);
                        expiry.add(slot, now, lifetime);
                    }
                    (false, _) => expiry.add(slot, now, lifetime),
                }
                if how != 0 {
                    model.push((now + lifetime, slot));
                }
                let earliest = model.iter().map(|(deadline, _)| *deadline).min();
                let due = expiry.due(now);
                prop_assert_eq!(due.is_some(), earliest.is_some_and(|e| e <= now));
                if let Some(slot) = due {
                    prop_assert!(model.contains(&(earliest.unwrap(), slot)));
                    expiry.remove(slot);
                    model.retain(|(_, s)| *s != slot);
                }
            }
            for (deadline, slot) in model {
                prop_assert!(expiry.due(deadline).is_some());
                expiry.remove(slot);
            }
            prop_assert!(expiry.lists.is_empty() && expiry.first.is_empty() && expiry.due(u64::MAX).is_none());
        }
    }
}
