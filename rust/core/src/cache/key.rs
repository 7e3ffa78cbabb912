//! The 128-bit key of an entry: a hash of structured values, written so that no two different structures look alike.
//!
//! # Why BLAKE3
//!
//! Whoever writes prompts chooses what is hashed. With a fast non-cryptographic hash (xxh3, or SipHash under a key that
//! is in the source) they could make two prompts with one key and have their answer served to somebody else's question.
//! A secret for each process would stop that, but keys must be the same in every process, or no cache outside the
//! process can ever share them. So the hash itself must resist collisions: BLAKE3 cut to 128 bits, where finding any
//! collision takes some 2⁶⁴ hashes and hitting a given entry 2¹²⁸. Measured on a 2-core Xeon at 1, 16 and 64 KiB it takes
//! 1.0, 3.4 and 11 µs (SHA-256 with SHA instructions: 0.8, 15 and 46; xxh3: 0.26, 2.9 and 8.7): little beside a call.
//! Its bits are also good enough to be the table's hash as they are.

use std::fmt;

use serde_json::Value;

use crate::model::JsonObject;

/// What an entry is found by. The same request gives the same key in every process and on every machine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key([u64; 2]);

impl Key {
    /// The key of these bytes, as [`Key::to_bytes`] gave them.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let bits = u128::from_le_bytes(bytes);
        Self([bits as u64, (bits >> 64) as u64])
    }

    /// The key of two halves, each of which is a good hash by itself and has nothing to do with the other.
    #[inline]
    pub fn from_halves(low: u64, high: u64) -> Self {
        Self([low, high])
    }

    /// The key as bytes, to store it elsewhere.
    pub fn to_bytes(self) -> [u8; 16] {
        let [low, high] = self.0;
        (u128::from(low) | u128::from(high) << 64).to_le_bytes()
    }

    /// The bits that choose the place in a hash table.
    pub(super) fn table_hash(self) -> u64 {
        self.0[0]
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

/// What stands before each value, so that a text is never taken for a number or a list for its items.
#[repr(u8)]
enum Tag {
    Absent,
    False,
    True,
    Integer,
    Float,
    Text,
    List,
    Object,
    Variant,
}

/// Collects the values that make up a key.
///
/// Each value is written with its kind, and each text and list with its length, so `("ab", "c")` and `("a", "bc")` differ.
///
/// ```
/// use edgequake_core::cache::KeyBuilder;
///
/// let key = |a: &str, b: &str| KeyBuilder::new("example").text(a).text(b).finish();
/// assert_eq!(key("a", "b"), key("a", "b"));
/// assert_ne!(key("ab", "c"), key("a", "bc"));
/// ```
#[derive(Debug, Clone)]
pub struct KeyBuilder {
    /// Written but not yet hashed: hashing much at once is several times faster than piece by piece.
    pending: Vec<u8>,
    hasher: Option<Box<blake3::Hasher>>,
}

/// From this many bytes on, what is pending is hashed.
const PENDING: usize = 64 * 1024;

impl KeyBuilder {
    /// A builder for one kind of key. Different domains never share a key.
    pub fn new(domain: &str) -> Self {
        let mut builder = Self { pending: Vec::with_capacity(1024), hasher: None };
        builder.text(domain);
        builder
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.pending.len() + bytes.len() <= PENDING {
            self.pending.extend_from_slice(bytes);
            return;
        }
        let hasher = self.hasher.get_or_insert_default();
        hasher.update(&self.pending);
        self.pending.clear();
        if bytes.len() <= PENDING {
            self.pending.extend_from_slice(bytes);
        } else {
            hasher.update(bytes);
        }
    }

    fn tag(&mut self, tag: Tag) -> &mut Self {
        self.write(&[tag as u8]);
        self
    }

    fn sized(&mut self, tag: Tag, len: usize) -> &mut Self {
        self.tag(tag).write(&(len as u64).to_le_bytes());
        self
    }

    /// A text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.sized(Tag::Text, text.len()).write(text.as_bytes());
        self
    }

    /// A whole number of any width.
    pub fn integer(&mut self, number: impl Into<i128>) -> &mut Self {
        self.tag(Tag::Integer).write(&number.into().to_le_bytes());
        self
    }

    /// A number. One without a fraction is the same as that integer, so 1 is 1.0 and −0.0 is 0.
    pub fn float(&mut self, number: f64) -> &mut Self {
        // Below 2^127 the conversion of a whole number is exact.
        if number.fract() == 0.0 && number.abs() < f64::from(2).powi(127) {
            return self.integer(number as i128);
        }
        let bits = if number.is_nan() { f64::NAN } else { number }.to_bits();
        self.tag(Tag::Float).write(&bits.to_le_bytes());
        self
    }

    /// A yes or no.
    pub fn flag(&mut self, yes: bool) -> &mut Self {
        self.tag(if yes { Tag::True } else { Tag::False })
    }

    /// The start of a list; its `len` items follow.
    pub fn list(&mut self, len: usize) -> &mut Self {
        self.sized(Tag::List, len)
    }

    /// Which one of several kinds follows.
    pub fn variant(&mut self, number: u8) -> &mut Self {
        self.tag(Tag::Variant).write(&[number]);
        self
    }

    /// A value that may be absent; absent differs from every value.
    pub fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) -> &mut Self {
        match value {
            Some(value) => write(self, value),
            None => {
                self.tag(Tag::Absent);
            }
        }
        self
    }

    /// A JSON value. The order of an object's keys and the spelling of a number make no difference.
    pub fn json(&mut self, value: &Value) -> &mut Self {
        match value {
            Value::Null => self.tag(Tag::Absent),
            Value::Bool(yes) => self.flag(*yes),
            Value::String(text) => self.text(text),
            Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(number), ..) => self.integer(number),
                (_, Some(number), _) => self.integer(number),
                (.., Some(number)) => self.float(number),
                _ => self.text(&number.to_string()),
            },
            Value::Array(items) => {
                self.list(items.len());
                items.iter().fold(self, Self::json)
            }
            Value::Object(object) => self.object(object),
        }
    }

    /// A JSON object.
    pub fn object(&mut self, object: &JsonObject) -> &mut Self {
        let mut fields: Vec<_> = object.iter().collect();
        fields.sort_unstable_by_key(|(name, _)| *name);
        self.sized(Tag::Object, fields.len());
        fields.into_iter().fold(self, |builder, (name, value)| builder.text(name).json(value))
    }

    /// The key of everything written so far.
    pub fn finish(&self) -> Key {
        let hash = match &self.hasher {
            None => blake3::hash(&self.pending),
            Some(hasher) => {
                let mut hasher = hasher.clone();
                hasher.update(&self.pending);
                hasher.finalize()
            }
        };
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
        Key::from_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However much is written and in whatever pieces it is hashed, it is the hash of tags, lengths and values.
    #[test]
    fn a_key_is_the_hash_of_what_was_written() {
        let texts = ["a", &"b".repeat(50_000), &"c".repeat(50_000), &"d".repeat(200_000), ""];
        let mut builder = KeyBuilder::new("domain");
        let mut written = Vec::new();
        for text in ["domain"].iter().chain(&texts) {
            written.push(Tag::Text as u8);
            written.extend((text.len() as u64).to_le_bytes());
            written.extend(text.as_bytes());
        }
        for text in texts {
            builder.text(text);
        }
        builder.integer(-2).flag(true);
        written.push(Tag::Integer as u8);
        written.extend((-2_i128).to_le_bytes());
        written.push(Tag::True as u8);
        assert_eq!(builder.finish().to_bytes(), blake3::hash(&written).as_bytes()[..16]);
    }
}
