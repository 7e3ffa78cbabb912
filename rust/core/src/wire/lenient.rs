//! Reading JSON that servers spell differently: fields of other types than expected cost nothing but themselves.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Value, error::Category, value::RawValue};

use super::body::malformed;
use crate::error::{Error, excerpt};

/// Text that borrows from the body where it has no escapes. `null` is empty; numbers and booleans become their text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(v)))
            }
            fn visit_str<E>(self, v: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(v.to_owned())))
            }
            fn visit_unit<E>(self) -> Result<Text<'de>, E> {
                Ok(Text::default())
            }
            fn visit_bool<E>(self, v: bool) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(v.to_string())))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(v.to_string())))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(v.to_string())))
            }
            fn visit_f64<E>(self, v: f64) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(v.to_string())))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// A count as odd servers give it: a whole number, a float, a number as text, `null` or nonsense (no count).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count(pub(super) Option<u64>);

impl Count {
    /// The count, 0 where there is none.
    pub(super) fn get(self) -> u64 {
        self.0.unwrap_or(0)
    }

    /// This count, or else `earlier`.
    pub(super) fn or(self, earlier: Self) -> Self {
        Self(self.0.or(earlier.0))
    }

    /// The largest number taken for a count; sums of several then stay within 64 bits.
    const MOST: u64 = 1 << 50;

    fn new(n: u64) -> Self {
        Self((n <= Self::MOST).then_some(n))
    }

    fn from_float(v: f64) -> Self {
        // The cast saturates; NaN and negative numbers are out before.
        if v >= 0.0 { Self::new(v as u64) } else { Self(None) }
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Count;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a count")
            }
            fn visit_u64<E>(self, v: u64) -> Result<Count, E> {
                Ok(Count::new(v))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Count, E> {
                Ok(u64::try_from(v).map_or(Count(None), Count::new))
            }
            fn visit_f64<E>(self, v: f64) -> Result<Count, E> {
                Ok(Count::from_float(v))
            }
            fn visit_str<E>(self, v: &str) -> Result<Count, E> {
                let whole = v.trim().parse().ok();
                Ok(whole.map_or_else(|| v.trim().parse().map_or(Count(None), Count::from_float), Count::new))
            }
            fn visit_unit<E>(self) -> Result<Count, E> {
                Ok(Count(None))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Count, E> {
                Ok(Count(None))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Count, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Count(None))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Count, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Count(None))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// Reads a field that may be missing, `null` or of an odd shape (then there is none): what is not worth an error.
pub(super) fn lenient<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let raw = Option::<&'de RawValue>::deserialize(deserializer)?;
    Ok(raw.and_then(|raw| serde_json::from_str(raw.get()).ok()))
}

/// Reads a JSON object. `what` names it in the error.
pub(super) fn parse<'a, T: Deserialize<'a>>(provider: &'static str, what: &str, body: &'a [u8]) -> Result<T, Error> {
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(malformed(provider, &format!("{what} is not a JSON object"), body));
    }
    serde_json::from_slice(body).map_err(|error| {
        let fault = match error.classify() {
            Category::Data => "has an unexpected shape",
            Category::Eof => "is cut off",
            Category::Io | Category::Syntax => "is not JSON",
        };
        malformed(provider, &format!("{what} {fault} (line {}, column {})", error.line(), error.column()), body)
    })
}

/// The text or number at a JSON pointer. For error bodies, which are rare and vary.
pub(super) fn text_at(value: &Value, pointer: &str) -> Option<String> {
    match value.pointer(pointer)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The message of an error body: the text at one of `pointers`, or else the body's beginning.
pub(super) fn error_message(value: &Value, pointers: &[&str], body: &[u8]) -> String {
    pointers.iter().find_map(|pointer| text_at(value, pointer)).unwrap_or_else(|| excerpt(body))
}

/// JSON without the white space between its tokens; numbers and texts stay as they are written.
fn compact(json: &str) -> Cow<'_, str> {
    if !json.contains([' ', '\n', '\r', '\t']) {
        return Cow::Borrowed(json);
    }
    let (mut quoted, mut escaped) = (false, false);
    let kept = json.chars().filter(|&c| {
        if quoted {
            quoted = escaped || c != '"';
            escaped = !escaped && c == '\\';
            return true;
        }
        quoted = c == '"';
        !c.is_ascii_whitespace()
    });
    Cow::Owned(kept.collect())
}

/// A tool call's arguments as JSON text, whether a server gives them as an object or as text; empty if it gives none.
pub(super) fn arguments(raw: Option<&RawValue>) -> Cow<'_, str> {
    match raw.map(RawValue::get) {
        None | Some("null") => Cow::Borrowed(""),
        Some(text) if text.starts_with('"') => serde_json::from_str(text).map_or(Cow::Borrowed(text), Cow::Owned),
        Some(text) => compact(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_leniently() {
        let counts: Vec<Count> =
            serde_json::from_str(r#"[7, 7.0, "7", "7.5", " 7 ", null, -1, "x", true, {"a":[1]}, [2], 1e300]"#).unwrap();
        let want = [Some(7), Some(7), Some(7), Some(7), Some(7), None, None, None, None, None, None, None];
        assert_eq!(counts.iter().map(|count| count.0).collect::<Vec<_>>(), want);
    }

    #[test]
    fn texts_borrow_and_take_scalars() {
        let texts: Vec<Text<'_>> = serde_json::from_str(r#"["plain", "a\nb", null, 3, -1, 1.5, true]"#).unwrap();
        assert!(matches!(&texts[0].0, Cow::Borrowed("plain")));
        let all: Vec<&str> = texts.iter().map(|text| &**text).collect();
        assert_eq!(all, ["plain", "a\nb", "", "3", "-1", "1.5", "true"]);
        assert!(serde_json::from_str::<Text<'_>>("{}").is_err());
    }

    #[test]
    fn compact_touches_no_text_and_no_number() {
        let json = "{ \"a b\" : [ 1.0 ,\n 12345678901234567890 ], \"q\\\" x\\\\\" :\t\"é \" }";
        assert_eq!(compact(json), "{\"a b\":[1.0,12345678901234567890],\"q\\\" x\\\\\":\"é \"}");
        assert!(matches!(compact("{\"a\":1}"), Cow::Borrowed(_)));
    }

    #[test]
    fn arguments_of_either_kind() {
        let raw = |text: &str| RawValue::from_string(text.into()).unwrap();
        assert_eq!(arguments(Some(&raw(r#""{\"a\": 1}""#))), r#"{"a": 1}"#);
        assert_eq!(arguments(Some(&raw(r#"{"a": 1}"#))), r#"{"a":1}"#);
        assert_eq!((arguments(Some(&raw("null"))), arguments(None)), ("".into(), "".into()));
    }

    #[test]
    fn faults_are_told_apart() {
        let fault = |body: &str| {
            let error =
                parse::<std::collections::HashMap<Text<'_>, u8>>("p", "the answer", body.as_bytes()).unwrap_err();
            error.message().split_once(';').unwrap().0.to_owned()
        };
        assert_eq!(fault("[1]"), "the answer is not a JSON object");
        assert_eq!(fault("{\"a\":"), "the answer is cut off (line 1, column 5)");
        assert_eq!(fault("{a}"), "the answer is not JSON (line 1, column 2)");
        assert_eq!(fault(" {\"a\": \"b\"}"), "the answer has an unexpected shape (line 1, column 10)");
    }
}
