//! A JSON value left as it lies in the body until somebody wants it.
//!
//! Compatible servers disagree on types: a code is a number or a string, content is a string or a list, an index is
//! missing or null. So the shapes in [`super::decode`] take any value for each field, which costs one pass over it, and
//! the reading is done here, without copying what needs no copy.

use std::borrow::Cow;

use memchr::memchr;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A JSON value of any type; null is the same as missing.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Raw<'a>(#[serde(borrow)] Option<&'a RawValue>);

impl<'a> Raw<'a> {
    /// The JSON text; empty if the value is missing.
    pub(super) fn json(self) -> &'a str {
        self.0.map_or("", RawValue::get)
    }

    /// Whether there is a value.
    pub(super) fn is_some(self) -> bool {
        self.0.is_some()
    }

    /// This value, or the other one if this is missing.
    pub(super) fn or(self, other: Self) -> Self {
        Self(self.0.or(other.0))
    }

    /// Whether the value is a list.
    pub(super) fn is_list(self) -> bool {
        self.json().starts_with('[')
    }

    /// Whether [`Raw::text`] is empty.
    pub(super) fn is_empty(self) -> bool {
        matches!(self.json(), "" | "\"\"")
    }

    /// Reads the value as some type; `None` if it is not of that type.
    pub(super) fn read<T: Deserialize<'a>>(self) -> Option<T> {
        // Most fields are missing: without this an error would be made for each.
        self.0.and_then(|value| serde_json::from_str(value.get()).ok())
    }

    /// A string's text; any other value as JSON text. A string with escapes is written to `scratch`, so that reading
    /// thousands of them allocates nothing.
    pub(super) fn text_in<'s>(self, scratch: &'s mut String) -> &'s str
    where
        'a: 's,
    {
        let json = self.json();
        let Some(inner) = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return json };
        if memchr(b'\\', inner.as_bytes()).is_none() {
            return inner;
        }
        scratch.clear();
        unescape(inner, scratch);
        scratch
    }

    /// As [`Raw::text_in`], where an allocation does not matter.
    pub(super) fn text(self) -> Cow<'a, str> {
        let json = self.json();
        let Some(inner) = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return json.into() };
        if memchr(b'\\', inner.as_bytes()).is_none() {
            return inner.into();
        }
        let mut text = String::new();
        unescape(inner, &mut text);
        text.into()
    }

    /// A count, also one given as a float or in quotes. Beyond 2⁵³ it is none: sums of counts must not overflow.
    pub(super) fn count(self) -> Option<u64> {
        let text = self.json().trim_matches('"');
        if let Ok(count) = text.parse() {
            return Some(count).filter(|count| *count < 1 << 53);
        }
        let number: f64 = text.parse().ok()?;
        (0.0..9e15).contains(&number).then_some(number as u64)
    }
}

/// Undoes JSON's escapes. Half a surrogate pair becomes U+FFFD: some servers cut texts between the two halves.
fn unescape(mut rest: &str, out: &mut String) {
    while let Some(at) = memchr(b'\\', rest.as_bytes()) {
        let (before, escape) = rest.split_at(at);
        let (character, len) = unescape_one(escape);
        out.push_str(before);
        out.push(character);
        rest = escape.get(len..).unwrap_or_default();
    }
    out.push_str(rest);
}

/// The character that an escape stands for, and the escape's length.
fn unescape_one(escape: &str) -> (char, usize) {
    let unit = |at: usize| escape.get(at..at + 4).and_then(|hex| u16::from_str_radix(hex, 16).ok()).unwrap_or(0);
    match escape.as_bytes().get(1) {
        Some(b'n') => ('\n', 2),
        Some(b't') => ('\t', 2),
        Some(b'r') => ('\r', 2),
        Some(b'b') => ('\u{8}', 2),
        Some(b'f') => ('\u{C}', 2),
        Some(b'u') => {
            let first = unit(2);
            if let Some(character) = char::from_u32(first.into()) {
                return (character, 6);
            }
            let second = if escape.get(6..8) == Some("\\u") { unit(8) } else { 0 };
            match char::decode_utf16([first, second]).next() {
                Some(Ok(character)) => (character, 12),
                _ => (char::REPLACEMENT_CHARACTER, 6),
            }
        }
        Some(itself) => (char::from(*itself), 2),
        None => ('\\', 1),
    }
}

/// The bytes as text. A broken character must not cost the whole answer: it becomes U+FFFD.
pub(super) fn utf8(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(json: &str) -> String {
        let raw: Raw<'_> = serde_json::from_str(json).unwrap();
        let mut scratch = String::from("left over");
        assert_eq!(raw.text_in(&mut scratch), raw.text());
        raw.text().into_owned()
    }

    #[test]
    fn any_value_has_a_text() {
        for (json, expected) in [
            ("null", ""),
            ("\"\"", ""),
            ("\"plain\"", "plain"),
            ("429", "429"),
            (r#"{"a": [1.0, 2]}"#, r#"{"a": [1.0, 2]}"#),
            (r#""\"\\\/\b\f\n\r\t\u00e9""#, "\"\\/\u{8}\u{C}\n\r\té"),
            (r#""\ud83d\ude00!""#, "😀!"),
            (r#""cut \ud83d""#, "cut \u{FFFD}"),
            (r#""\ud83dx\ude00""#, "\u{FFFD}x\u{FFFD}"),
            (r#""\ud83d\n\u0041""#, "\u{FFFD}\nA"),
            (r#""\ud83d\u0041""#, "\u{FFFD}A"),
        ] {
            assert_eq!(text(json), expected, "{json}");
        }
    }

    #[test]
    fn any_number_is_a_count() {
        for (json, expected) in [
            ("7", Some(7)),
            ("7.0", Some(7)),
            ("\"7\"", Some(7)),
            ("null", None),
            ("-1", None),
            ("1e300", None),
            ("18446744073709551615", None),
            ("\"inf\"", None),
            ("[]", None),
        ] {
            let raw: Raw<'_> = serde_json::from_str(json).unwrap();
            assert_eq!(raw.count(), expected, "{json}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn unescaping_agrees_with_serde(original in any::<String>(), ascii in any::<bool>()) {
            let mut json = serde_json::to_string(&original).unwrap();
            if ascii {
                let units = |c: char| c.encode_utf16(&mut [0; 2]).iter().map(|u| format!("\\u{u:04x}")).collect::<String>();
                json = json.chars().map(|c| if c.is_ascii() { c.to_string() } else { units(c) }).collect();
            }
            prop_assert_eq!(text(&json), original);
        }
    }
}
