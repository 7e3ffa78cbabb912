//! The classes of characters that the encodings' regular expressions tell apart, as one table in two stages.

use std::{collections::HashMap, error::Error, fmt::Write as _};

use regex_syntax::hir::{Class, HirKind};

/// Each class: its bit, and the expression for its characters. What is in none of them is `OTHER`.
const CLASSES: [(u8, &str); 7] = [
    (1, r"[\p{Lu}\p{Lt}]"),
    (2, r"\p{Ll}"),
    (4, r"[\p{Lm}\p{Lo}]"),
    (8, r"\p{M}"),
    (16, r"\p{N}"),
    (32, r"[\s&&[^\r\n]]"),
    (64, r"[\r\n]"),
];
const OTHER: u8 = 128;
const BLOCK: usize = 256;

/// The table as Rust source: `BLOCKS[INDEX[char >> 8]][char & 255]`.
pub(crate) fn source() -> Result<String, Box<dyn Error>> {
    let mut table = vec![OTHER; 0x11_0000];
    for (bit, expression) in CLASSES {
        let hir = regex_syntax::parse(expression)?;
        let HirKind::Class(Class::Unicode(class)) = hir.kind() else {
            return Err(format!("{expression} is no class of characters").into());
        };
        for range in class.ranges() {
            let span = range.start() as usize..=range.end() as usize;
            for slot in table.get_mut(span).ok_or("a character beyond Unicode")? {
                if *slot != OTHER {
                    return Err(format!("{expression} overlaps another class").into());
                }
                *slot = bit;
            }
        }
    }
    let mut seen: HashMap<&[u8], usize> = HashMap::new();
    let mut blocks: Vec<&[u8]> = Vec::new();
    let mut index = Vec::new();
    for block in table.chunks(BLOCK) {
        let place = *seen.entry(block).or_insert_with(|| {
            blocks.push(block);
            blocks.len() - 1
        });
        index.push(u8::try_from(place)?);
    }
    let mut source = String::new();
    writeln!(source, "static INDEX: [u8; {}] = {index:?};", index.len())?;
    writeln!(source, "static BLOCKS: [[u8; {BLOCK}]; {}] = {blocks:?};", blocks.len())?;
    Ok(source)
}
