//! The hash tables of a vocabulary: open addressing, keys in place, built once and then only read.
//!
//! A key holds the whole of what it stands for, so that a look-up compares one slot and follows no pointer.

/// An odd number without a pattern (2^64 ÷ the golden ratio).
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

/// Words as keys and tokens as values.
pub(super) trait Slot: Copy {
    /// What it is found by.
    type Key: Copy + PartialEq;
    /// A slot that no key equals.
    const EMPTY: Self;
    /// The slot for a key.
    fn new(key: Self::Key, id: u32) -> Self;
    /// Whether it is [`Slot::EMPTY`].
    fn is_empty(self) -> bool;
    /// Whether it is the slot of `key`.
    fn is(self, key: Self::Key) -> bool;
    /// The value.
    fn id(self) -> u32;
    /// A hash whose high bits are good.
    fn hash(key: Self::Key) -> u64;
}

/// A table that was given room for all its keys at once.
pub(super) struct Table<S> {
    slots: Vec<S>,
}

impl<S: Slot> Table<S> {
    /// An empty table for `keys` keys: three slots for two keys.
    pub(super) fn for_keys(keys: usize) -> Self {
        Self { slots: vec![S::EMPTY; keys + keys / 2 + 8] }
    }

    /// Where the search for a key begins.
    #[inline(always)]
    fn home(&self, key: S::Key) -> usize {
        ((u128::from(S::hash(key)) * self.slots.len() as u128) >> 64) as usize
    }

    /// Puts a key in that is not there yet.
    pub(super) fn insert(&mut self, key: S::Key, id: u32) {
        let home = self.home(key);
        let (before, from) = self.slots.split_at_mut(home);
        if let Some(slot) = from.iter_mut().chain(before).find(|slot| slot.is_empty()) {
            *slot = S::new(key, id);
        }
    }

    /// The value of a key.
    #[inline(always)]
    pub(super) fn get(&self, key: S::Key) -> Option<u32> {
        let mut at = self.home(key);
        loop {
            let Some(slot) = self.slots.get(at) else {
                at = 0;
                continue;
            };
            if slot.is(key) {
                return Some(slot.id());
            }
            if slot.is_empty() {
                return None;
            }
            at += 1;
        }
    }

    /// Bytes that it takes.
    pub(super) fn size(&self) -> usize {
        self.slots.len() * size_of::<S>()
    }
}

/// Two tokens side by side, and the token that they merge into: three ids of 21 bits in one word.
#[derive(Clone, Copy)]
pub(super) struct PairSlot(u64);

impl Slot for PairSlot {
    type Key = (u32, u32);
    const EMPTY: Self = Self(u64::MAX);

    #[inline(always)]
    fn new((left, right): Self::Key, id: u32) -> Self {
        Self(u64::from(left) << 42 | u64::from(right) << 21 | u64::from(id))
    }
    #[inline(always)]
    fn is_empty(self) -> bool {
        self.0 == u64::MAX
    }
    #[inline(always)]
    fn is(self, (left, right): Self::Key) -> bool {
        self.0 >> 21 == (u64::from(left) << 21 | u64::from(right))
    }
    #[inline(always)]
    fn id(self) -> u32 {
        (self.0 & 0x1F_FFFF) as u32
    }
    #[inline(always)]
    fn hash((left, right): Self::Key) -> u64 {
        let key = u64::from(left) << 21 | u64::from(right);
        (key ^ key >> 20).wrapping_mul(MULTIPLIER)
    }
}

/// A piece of at most seven bytes, with its length in the eighth.
#[derive(Clone, Copy)]
pub(super) struct ShortSlot {
    low: u32,
    high: u32,
    id: u32,
}

impl Slot for ShortSlot {
    type Key = u64;
    const EMPTY: Self = Self { low: 0, high: 0, id: 0 };

    #[inline(always)]
    fn new(key: u64, id: u32) -> Self {
        Self { low: key as u32, high: (key >> 32) as u32, id }
    }
    #[inline(always)]
    fn is_empty(self) -> bool {
        self.high == 0
    }
    #[inline(always)]
    fn is(self, key: u64) -> bool {
        u64::from(self.high) << 32 | u64::from(self.low) == key
    }
    #[inline(always)]
    fn id(self) -> u32 {
        self.id
    }
    #[inline(always)]
    fn hash(key: u64) -> u64 {
        (key ^ key >> 32).wrapping_mul(MULTIPLIER)
    }
}

/// A piece of at most fifteen bytes, with its length in the sixteenth.
#[derive(Clone, Copy)]
pub(super) struct MediumSlot {
    words: [u32; 4],
    id: u32,
}

impl Slot for MediumSlot {
    type Key = u128;
    const EMPTY: Self = Self { words: [0; 4], id: 0 };

    #[inline(always)]
    fn new(key: u128, id: u32) -> Self {
        Self { words: [key as u32, (key >> 32) as u32, (key >> 64) as u32, (key >> 96) as u32], id }
    }
    #[inline(always)]
    fn is_empty(self) -> bool {
        self.words == [0; 4]
    }
    #[inline(always)]
    fn is(self, key: u128) -> bool {
        self.words == [key as u32, (key >> 32) as u32, (key >> 64) as u32, (key >> 96) as u32]
    }
    #[inline(always)]
    fn id(self) -> u32 {
        self.id
    }
    #[inline(always)]
    fn hash(key: u128) -> u64 {
        let (low, high) = (key as u64, (key >> 64) as u64);
        let product = u128::from(low ^ MULTIPLIER) * u128::from(high ^ 0xD6E8_FEB8_6659_FD93);
        (product as u64) ^ (product >> 64) as u64
    }
}

/// A hash of a longer piece. Whoever finds it has to compare the bytes.
#[derive(Clone, Copy)]
pub(super) struct HashSlot {
    low: u32,
    high: u32,
    id: u32,
}

impl Slot for HashSlot {
    type Key = u64;
    const EMPTY: Self = Self { low: 0, high: 0, id: u32::MAX };

    #[inline(always)]
    fn new(key: u64, id: u32) -> Self {
        Self { low: key as u32, high: (key >> 32) as u32, id }
    }
    #[inline(always)]
    fn is_empty(self) -> bool {
        self.id == u32::MAX
    }
    #[inline(always)]
    fn is(self, key: u64) -> bool {
        !self.is_empty() && u64::from(self.high) << 32 | u64::from(self.low) == key
    }
    #[inline(always)]
    fn id(self) -> u32 {
        self.id
    }
    #[inline(always)]
    fn hash(key: u64) -> u64 {
        key
    }
}

/// The hash of a piece for a [`HashSlot`].
pub(super) fn hash(piece: &[u8]) -> u64 {
    let mut state = piece.len() as u64;
    for chunk in piece.chunks(8) {
        let mut word = [0; 8];
        word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
        state = (state ^ u64::from_le_bytes(word)).wrapping_mul(MULTIPLIER);
        state ^= state >> 29;
    }
    state
}
