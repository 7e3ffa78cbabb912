//! Byte-pair merging of one piece: of all neighbours that merge into a token, those with the smallest id merge first,
//! the leftmost of several, until none is left.
//!
//! Short pieces are searched through for each merge. Long ones are cut into windows, each merged by itself; two windows
//! are joined at a token that both have at the same place. That this is right follows from two facts about byte-pair
//! encodings: a part of an encoding is the encoding of its part of the text, and two encodings of which the first ends
//! with the token that the second begins with are, joined there, an encoding again (corollaries II and III in the
//! documentation of the `bpe` crate). So a piece of any length takes linear time.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::vocabulary::{NONE, Vocabulary};

/// Bytes of a window: a bit for each in one word.
const WINDOW: usize = 64;
/// Nearer than this to the end of a window its tokens mostly depend on what follows.
const MARGIN: usize = 16;
/// The key of no pair; see [`Window::search`].
const FREE: u32 = u32::MAX;

/// Where the tokens of a text go, in order.
pub(super) trait Sink {
    /// One token.
    fn push(&mut self, id: u32);
    /// Several tokens.
    fn extend(&mut self, ids: &[u32]);
    /// Whether more of them matter.
    fn is_full(&self) -> bool;
}

/// Room for merging, kept from one piece to the next.
#[derive(Default)]
pub(super) struct Scratch {
    window: Window,
    next: Window,
}

/// The tokens of a window.
#[derive(Default)]
struct Window {
    tokens: Vec<u32>,
}

impl Vocabulary {
    /// Merges a piece that is not empty.
    pub(super) fn merge(&self, piece: &[u8], scratch: &mut Scratch, sink: &mut impl Sink) {
        let Scratch { window, next } = scratch;
        let (mut start, mut size) = (0, WINDOW);
        let bytes = |from: usize, size: usize| piece.get(from..piece.len().min(from + size)).unwrap_or_default();
        window.fill(self, bytes(start, size));
        while start + size < piece.len() {
            let (joint, offset) = window.joint(self, size);
            let from = start + offset;
            // Where a run repeats itself, so do its tokens.
            let repeats = bytes(from, size) == bytes(start, size);
            if joint > 0 && !repeats {
                next.fill(self, bytes(from, size));
            }
            let following = if repeats { &*window } else { &*next };
            if joint > 0 && following.tokens.first() == window.tokens.get(joint) {
                sink.extend(window.tokens.get(..joint).unwrap_or_default());
                if sink.is_full() {
                    return;
                }
                if !repeats {
                    std::mem::swap(window, next);
                }
                start = from;
            } else {
                // Too short to tell: tokens of this piece are longer than others.
                size *= 2;
                window.fill(self, bytes(start, size));
            }
        }
        sink.extend(&window.tokens);
    }
}

impl Window {
    /// Makes it the tokens of `bytes`.
    fn fill(&mut self, vocabulary: &Vocabulary, bytes: &[u8]) {
        if bytes.len() <= WINDOW { self.search(vocabulary, bytes) } else { self.sift(vocabulary, bytes) }
    }

    /// Merges at most [`WINDOW`] bytes by searching through all pairs for each merge: quadratic, but with nothing to
    /// keep in order.
    ///
    /// Each part stands at the place of its first byte. A pair's key is the token that it merges into and then its
    /// place, so that the smallest key is the pair to merge next.
    fn search(&mut self, vocabulary: &Vocabulary, bytes: &[u8]) {
        const PLACE: u32 = WINDOW.trailing_zeros();
        let key = |id: u32, place: u32| if id == NONE { FREE } else { id << PLACE | place };
        let mut ids = [NONE; WINDOW];
        let mut keys = [FREE; WINDOW];
        let pairs = bytes.iter().zip(bytes.iter().skip(1)).zip(0..);
        ids.iter_mut().zip(bytes).for_each(|(id, byte)| *id = vocabulary.single(*byte));
        keys.iter_mut().zip(pairs).for_each(|(slot, ((a, b), at))| *slot = key(vocabulary.double(*a, *b), at));
        let mut parts = u64::MAX.checked_shr(64 - bytes.len() as u32).unwrap_or(0);
        let used = bytes.len().next_multiple_of(8).min(WINDOW);
        let id_at = |ids: &[u32; WINDOW], place: u32| ids.get(place as usize % WINDOW).copied().unwrap_or(NONE);
        let set = |list: &mut [u32; WINDOW], place: u32, value: u32| {
            if let Some(slot) = list.get_mut(place as usize % WINDOW) {
                *slot = value;
            }
        };
        loop {
            let best = keys.get(..used).unwrap_or_default().iter().fold(FREE, |best, key| best.min(*key));
            if best == FREE {
                break;
            }
            let (id, at) = (best >> PLACE, best % WINDOW as u32);
            let later = parts & (u64::MAX << at) & !(1 << at);
            let merged = later & later.wrapping_neg();
            parts &= !merged;
            set(&mut keys, merged.trailing_zeros(), FREE);
            set(&mut ids, at, id);
            let right = later & !merged;
            let after = if right == 0 { NONE } else { vocabulary.merged(id, id_at(&ids, right.trailing_zeros())) };
            set(&mut keys, at, key(after, at));
            let left = parts & !(u64::MAX << at);
            if left != 0 {
                let place = 63 - left.leading_zeros();
                set(&mut keys, place, key(vocabulary.merged(id_at(&ids, place), id), place));
            }
        }
        self.tokens.clear();
        while parts != 0 {
            self.tokens.push(id_at(&ids, parts.trailing_zeros()));
            parts &= parts - 1;
        }
    }

    /// Merges with a heap of the pairs: the ids stay in their places, and those that are merged away become `NONE`.
    fn sift(&mut self, vocabulary: &Vocabulary, bytes: &[u8]) {
        let mut tokens: Vec<u32> = bytes.iter().map(|byte| vocabulary.single(*byte)).collect();
        let mut merged: Vec<u32> = bytes
            .windows(2)
            .map(|pair| match pair {
                [first, second] => vocabulary.double(*first, *second),
                _ => NONE,
            })
            .collect();
        merged.push(NONE);
        let end = tokens.len();
        let mut before: Vec<usize> = (0..=end).map(|at| at.wrapping_sub(1)).collect();
        let mut after: Vec<usize> = (1..=end).collect();
        let pairs = merged.iter().zip(0..).filter(|(id, _)| **id != NONE);
        let mut heap: BinaryHeap<_> = pairs.map(|(id, at)| Reverse((*id, at))).collect();
        let token = |tokens: &[u32], at: usize| tokens.get(at).copied().unwrap_or(NONE);
        while let Some(Reverse((best, at))) = heap.pop() {
            if token(&merged, at) != best {
                continue;
            }
            let next = after.get(at).copied().unwrap_or(end);
            let right = after.get(next).copied().unwrap_or(end);
            let left = before.get(at).copied().unwrap_or(usize::MAX);
            for (list, place, value) in [(&mut tokens, at, best), (&mut merged, next, NONE)] {
                if let Some(slot) = list.get_mut(place) {
                    *slot = value;
                }
            }
            if let Some(slot) = tokens.get_mut(next) {
                *slot = NONE;
            }
            if let (Some(to), Some(back)) = (after.get_mut(at), before.get_mut(right)) {
                (*to, *back) = (right, at);
            }
            for (place, first, second) in [(at, best, token(&tokens, right)), (left, token(&tokens, left), best)] {
                let id = if first == NONE || second == NONE { NONE } else { vocabulary.merged(first, second) };
                if let Some(slot) = merged.get_mut(place) {
                    *slot = id;
                    if id != NONE {
                        heap.push(Reverse((id, place)));
                    }
                }
            }
        }
        tokens.retain(|id| *id != NONE);
        self.tokens = tokens;
    }

    /// Which token the next window should begin with, and where it begins: the last one that ends well before the end,
    /// which is at `size`. 0 if there is none but the first.
    fn joint(&self, vocabulary: &Vocabulary, size: usize) -> (usize, usize) {
        let mut start = size;
        for (joint, id) in self.tokens.iter().enumerate().rev() {
            let end = start;
            start -= vocabulary.token(*id).len();
            if end + MARGIN <= size {
                return (joint, start);
            }
        }
        (0, 0)
    }
}
