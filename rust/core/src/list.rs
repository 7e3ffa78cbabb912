//! Doubly linked lists over numbered slots: exact order in eight bytes a slot, with no pointer and no allocation for each item.
//!
//! One [`Links`] can carry several lists, each a pair of [`Ends`], as long as a slot is in one of them at a time. The
//! links lie apart from what they order, so that moving an item touches a small, dense array.

/// "No slot".
const NIL: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Link {
    prev: u32,
    next: u32,
}

/// First and last slot of one list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    front: u32,
    back: u32,
}

impl Default for Ends {
    fn default() -> Self {
        Self { front: NIL, back: NIL }
    }
}

impl Ends {
    /// The slot that has been in the list longest.
    pub(crate) fn front(self) -> Option<u32> {
        (self.front != NIL).then_some(self.front)
    }

    /// Whether nothing is in the list.
    pub(crate) fn is_empty(self) -> bool {
        self.front == NIL
    }
}

/// The links of every slot.
#[derive(Debug, Default)]
pub(crate) struct Links(Vec<Link>);

impl Links {
    fn link(&mut self, slot: u32) -> Option<&mut Link> {
        self.0.get_mut(slot as usize)
    }

    /// Puts `slot`, which must be in no list, behind the last one.
    pub(crate) fn push_back(&mut self, ends: &mut Ends, slot: u32) {
        let at = slot as usize;
        if at >= self.0.len() {
            self.0.resize(at + 1, Link { prev: NIL, next: NIL });
        }
        let last = ends.back;
        if let Some(link) = self.link(slot) {
            *link = Link { prev: last, next: NIL };
        }
        match self.link(last) {
            Some(link) => link.next = slot,
            None => ends.front = slot,
        }
        ends.back = slot;
    }

    /// Takes `slot`, which must be in this list, out of it.
    pub(crate) fn unlink(&mut self, ends: &mut Ends, slot: u32) {
        let Some(&Link { prev, next }) = self.0.get(slot as usize) else { return };
        match self.link(prev) {
            Some(link) => link.next = next,
            None => ends.front = next,
        }
        match self.link(next) {
            Some(link) => link.prev = prev,
            None => ends.back = prev,
        }
    }

    /// Moves `slot`, which must be in this list, to its end.
    pub(crate) fn move_to_back(&mut self, ends: &mut Ends, slot: u32) {
        if ends.back != slot {
            self.unlink(ends, slot);
            self.push_back(ends, slot);
        }
    }

    /// The slots of a list from front to back.
    pub(crate) fn iter(&self, ends: Ends) -> impl Iterator<Item = u32> {
        std::iter::successors(ends.front(), |slot| {
            self.0.get(*slot as usize).map(|link| link.next).filter(|next| *next != NIL)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Two lists over the same links against two plain vectors.
        #[test]
        fn two_lists_are_as_two_vectors(ops in prop::collection::vec((0u8..3, 0usize..2, 0u32..12), 0..200)) {
            let mut links = Links::default();
            let mut ends = [Ends::default(); 2];
            let mut model: [Vec<u32>; 2] = Default::default();
            for (op, which, slot) in ops {
                let inside = model[which].contains(&slot);
                match op {
                    0 if !model.iter().any(|list| list.contains(&slot)) => {
                        links.push_back(&mut ends[which], slot);
                        model[which].push(slot);
                    }
                    1 if inside => {
                        links.unlink(&mut ends[which], slot);
                        model[which].retain(|s| *s != slot);
                    }
                    2 if inside => {
                        links.move_to_back(&mut ends[which], slot);
                        model[which].retain(|s| *s != slot);
                        model[which].push(slot);
                    }
                    _ => {}
                }
                for (list, plain) in ends.iter().zip(&model) {
                    prop_assert_eq!(&links.iter(*list).collect::<Vec<_>>(), plain);
                    prop_assert_eq!(list.is_empty(), plain.is_empty());
                    prop_assert_eq!(list.front(), plain.first().copied());
                }
            }
        }
    }
}
