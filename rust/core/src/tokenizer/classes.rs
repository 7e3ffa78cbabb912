//! The class of a character, as far as the encodings' regular expressions tell characters apart.

/// A class, or a union of them, as bits.
pub(super) type Class = u8;

/// `\p{Lu}` and `\p{Lt}`.
pub(super) const UPPER: Class = 1;
/// `\p{Ll}`.
pub(super) const LOWER: Class = 2;
/// `\p{Lm}` and `\p{Lo}`: letters of scripts without case, among others.
pub(super) const UNCASED: Class = 4;
/// `\p{M}`: accents and vowel signs.
pub(super) const MARK: Class = 8;
/// `\p{N}`.
pub(super) const NUMBER: Class = 16;
/// `\s` without line ends.
pub(super) const SPACE: Class = 32;
/// Carriage return and line feed.
pub(super) const NEWLINE: Class = 64;
/// Everything else.
pub(super) const OTHER: Class = 128;
/// Beyond the end of the text: in no class.
pub(super) const END: Class = 0;

/// `\p{L}`.
pub(super) const LETTER: Class = UPPER | LOWER | UNCASED;
/// `\s`.
pub(super) const WHITE: Class = SPACE | NEWLINE;

// `INDEX` and `BLOCKS`, made by the build script from the Unicode tables that tiktoken's regular expressions use.
include!(concat!(env!("OUT_DIR"), "/classes.rs"));

/// The classes of ASCII; `END` for the first byte of a longer character.
static ASCII: [Class; 256] = {
    let mut table = [END; 256];
    let mut byte = 0;
    while byte < 128 {
        #[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
        {
            table[byte] = BLOCKS[INDEX[0] as usize][byte];
        }
        byte += 1;
    }
    table
};

/// The class of the character that starts at `at`, and how many bytes it has; `(END, 0)` at the end of the text.
#[inline(always)]
pub(super) fn class(text: &[u8], at: usize) -> (Class, usize) {
    match text.get(at) {
        None => (END, 0),
        Some(byte) => match ASCII.get(usize::from(*byte)) {
            Some(&class) if class != END => (class, 1),
            _ => class_beyond_ascii(text, at, *byte),
        },
    }
}

/// `text` is valid UTF-8 and `at` a border of characters, so that the bytes asked for are there.
#[inline]
fn class_beyond_ascii(text: &[u8], at: usize, first: u8) -> (Class, usize) {
    let rest = |n: usize| u32::from(text.get(at + n).copied().unwrap_or(0) & 0x3F);
    let first = u32::from(first);
    let (code, size) = if first < 0xE0 {
        ((first & 0x1F) << 6 | rest(1), 2)
    } else if first < 0xF0 {
        ((first & 0x0F) << 12 | rest(1) << 6 | rest(2), 3)
    } else {
        ((first & 0x07) << 18 | rest(1) << 12 | rest(2) << 6 | rest(3), 4)
    };
    let block = INDEX.get((code >> 8) as usize).and_then(|block| BLOCKS.get(usize::from(*block)));
    (block.and_then(|block| block.get((code & 0xFF) as usize)).copied().unwrap_or(OTHER), size)
}
