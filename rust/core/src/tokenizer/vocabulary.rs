//! A loaded vocabulary: which pieces are tokens, which two tokens merge into a third, and what each token stands for.

use super::table::{HashSlot, MediumSlot, PairSlot, ShortSlot, Table, hash};

/// The id of no token.
pub(super) const NONE: u32 = u32::MAX;
/// What the packed form has for the left half of a token that has no halves, and for both of an id that is no token.
const NO_HALF: u32 = 0xFF_FFFF;
/// The longest piece that a token's bytes are compared with.
const LONGEST: usize = 128;

/// A vocabulary, immutable.
pub(super) struct Vocabulary {
    /// The bytes of all tokens, one after another.
    bytes: Vec<u8>,
    /// Where each token's bytes begin, and at last where they end.
    starts: Vec<u32>,
    /// The tokens of single bytes.
    singles: Box<[u32; 256]>,
    /// The tokens of two bytes, by `first << 8 | second`; `NONE` where there is no such token.
    doubles: Vec<u32>,
    /// Tokens of at most 7 bytes.
    short: Table<ShortSlot>,
    /// Tokens of 8 to 15 bytes.
    medium: Table<MediumSlot>,
    /// Longer tokens by a hash.
    long: Table<HashSlot>,
    /// Tokens by their halves.
    pairs: Table<PairSlot>,
}

impl Vocabulary {
    /// Unpacks the first `count` tokens of a vocabulary in the form that `build/vocabulary.rs` describes.
    pub(super) fn unpack(packed: &[u8], count: usize) -> Self {
        let mut vocabulary = Self {
            bytes: Vec::with_capacity(8 * count),
            starts: Vec::with_capacity(count + 1),
            singles: Box::new([NONE; 256]),
            doubles: vec![NONE; 1 << 16],
            short: Table::for_keys(0),
            medium: Table::for_keys(0),
            long: Table::for_keys(0),
            pairs: Table::for_keys(count),
        };
        vocabulary.unpack_bytes_and_pairs(packed, count);
        vocabulary.index_by_bytes(count);
        vocabulary.bytes.shrink_to_fit();
        vocabulary
    }

    fn unpack_bytes_and_pairs(&mut self, packed: &[u8], count: usize) {
        let mut planes = packed.chunks_exact(packed.len() / 6);
        let mut half = || {
            let mut plane = || planes.next().unwrap_or_default().iter().map(|byte| u32::from(*byte));
            plane().zip(plane()).zip(plane()).map(|((low, middle), high)| low | middle << 8 | high << 16)
        };
        let halves = half().zip(half());
        for ((left, right), id) in halves.zip(0..).take(count) {
            self.starts.push(self.bytes.len() as u32);
            if left != NO_HALF {
                self.append_token(left);
                self.append_token(right);
                self.pairs.insert((left, right), id);
            } else if let Some(single) = self.singles.get_mut(right as usize) {
                *single = id;
                self.bytes.push(right as u8);
            }
        }
        self.starts.push(self.bytes.len() as u32);
    }

    /// Repeats the bytes of a token that has been unpacked.
    fn append_token(&mut self, id: u32) {
        let id = id as usize;
        if let Some((from, to)) = self.starts.get(id).zip(self.starts.get(id + 1)) {
            self.bytes.extend_from_within(*from as usize..*to as usize);
        }
    }

    fn index_by_bytes(&mut self, count: usize) {
        let mut sizes = [0; 3];
        let kind = |size: usize| if size < 8 { 0 } else { usize::from(size >= 16) + 1 };
        for (from, to) in self.starts.iter().zip(self.starts.iter().skip(1)) {
            if let Some(size) = sizes.get_mut(kind((to - from) as usize)) {
                *size += 1;
            }
        }
        let [short, medium, long] = sizes;
        self.short = Table::for_keys(short);
        self.medium = Table::for_keys(medium);
        self.long = Table::for_keys(long);
        for id in 0..count as u32 {
            let (from, to) = self.span(id);
            match to - from {
                0 => {}
                1..=7 => self.short.insert(short_key(&self.bytes, from, to), id),
                8..=15 => self.medium.insert(medium_key(&self.bytes, from, to), id),
                _ => self.long.insert(hash(self.bytes.get(from..to).unwrap_or_default()), id),
            }
            if let Some([first, second]) = self.bytes.get(from..to)
                && let Some(double) = self.doubles.get_mut(usize::from(*first) << 8 | usize::from(*second))
            {
                *double = id;
            }
        }
    }

    fn span(&self, id: u32) -> (usize, usize) {
        let start = |id: usize| self.starts.get(id).map_or(0, |start| *start as usize);
        let id = id as usize;
        if id + 1 < self.starts.len() { (start(id), start(id + 1)) } else { (0, 0) }
    }

    /// The bytes that a token stands for; empty if the id is no token's.
    pub(super) fn token(&self, id: u32) -> &[u8] {
        let (from, to) = self.span(id);
        self.bytes.get(from..to).unwrap_or_default()
    }

    /// One more than the largest id.
    pub(super) fn len(&self) -> u32 {
        self.starts.len() as u32 - 1
    }

    /// The token that the piece `text[start..end]` is as a whole.
    #[inline(always)]
    pub(super) fn find(&self, text: &[u8], start: usize, end: usize) -> Option<u32> {
        match end - start {
            0..=7 => self.short.get(short_key(text, start, end)),
            8..=15 => self.medium.get(medium_key(text, start, end)),
            16..=LONGEST => {
                let piece = text.get(start..end)?;
                self.long.get(hash(piece)).filter(|id| self.token(*id) == piece)
            }
            _ => None,
        }
    }

    /// The token of a single byte.
    #[inline(always)]
    pub(super) fn single(&self, byte: u8) -> u32 {
        self.singles.get(usize::from(byte)).copied().unwrap_or(NONE)
    }

    /// The token of two bytes, or `NONE`.
    #[inline(always)]
    pub(super) fn double(&self, first: u8, second: u8) -> u32 {
        self.doubles.get(usize::from(first) << 8 | usize::from(second)).copied().unwrap_or(NONE)
    }

    /// The token that two tokens merge into, or `NONE`.
    #[inline(always)]
    pub(super) fn merged(&self, left: u32, right: u32) -> u32 {
        self.pairs.get((left, right)).unwrap_or(NONE)
    }

    /// Bytes of memory that it takes.
    pub(super) fn size(&self) -> usize {
        let tables = self.short.size() + self.medium.size() + self.long.size() + self.pairs.size();
        self.bytes.capacity() + 4 * (self.starts.capacity() + self.doubles.capacity() + 256) + tables
    }
}

/// Up to 16 bytes from `start` on, the rest zero.
#[inline(always)]
fn load(text: &[u8], start: usize) -> u128 {
    let rest = text.get(start..).unwrap_or_default();
    if let Some(chunk) = rest.first_chunk::<16>() {
        return u128::from_le_bytes(*chunk);
    }
    let mut padded = [0; 16];
    padded.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    u128::from_le_bytes(padded)
}

/// At most 7 bytes, and their number in the topmost.
#[inline(always)]
fn short_key(text: &[u8], start: usize, end: usize) -> u64 {
    let size = end - start;
    let rest = text.get(start..).unwrap_or_default();
    let bytes = match rest.first_chunk::<8>() {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => load(text, start) as u64,
    };
    bytes & ((1 << (8 * size)) - 1) | (size as u64) << 56
}

/// At most 15 bytes, and their number in the topmost.
#[inline(always)]
fn medium_key(text: &[u8], start: usize, end: usize) -> u128 {
    let size = end - start;
    load(text, start) & ((1 << (8 * size)) - 1) | (size as u128) << 120
}
