//! JSON that is still being written, as far as it has come.

pub use jiter::JsonValue;
use jiter::PartialMode;

/// The value in the beginning of a JSON text: whatever stands there so far, with a half-written text as far as it goes.
/// A key without a value, half a literal and half an escape are left out; so is a number at the very end, which may go
/// on, unless the text is `whole`.
///
/// `None` if there is no value yet, or if this is no JSON. Reads the text once from its beginning.
pub fn partial(text: &str, whole: bool) -> Option<JsonValue<'_>> {
    let text = if whole { text } else { without_last_number(text) };
    JsonValue::parse_with_config(text.as_bytes(), false, PartialMode::TrailingStrings).ok()
}

/// The text up to a number that ends where the text does.
fn without_last_number(text: &str) -> &str {
    let in_number = |c: char| matches!(c, '0'..='9' | '.' | 'e' | 'E' | '+' | '-');
    let before = text.trim_end_matches(in_number);
    let number = text.get(before.len()..).unwrap_or_default();
    // The last letter of `true` is no number; digits inside of a text are part of it, and so are those of an escape.
    if !number.starts_with(|c: char| c == '-' || c.is_ascii_digit()) || ends_in_text(before) { text } else { before }
}

/// Whether a text in quotes is open at the end.
fn ends_in_text(json: &str) -> bool {
    let bytes = json.as_bytes();
    let mut open = false;
    for at in memchr::memchr_iter(b'"', bytes) {
        let escapes = bytes.get(..at).unwrap_or_default().iter().rev().take_while(|byte| **byte == b'\\').count();
        open ^= !open || escapes.is_multiple_of(2);
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        partial(text, false).map_or_else(|| "none".to_owned(), |value| format!("{value:?}"))
    }

    #[test]
    fn as_far_as_it_has_come() {
        for (text, expected) in [
            ("", "none"),
            ("nope", "none"),
            ("{\"a", "Object([])"),
            ("{\"a\": 12", "Object([])"),
            ("{\"a\": 12,", "Object([(\"a\", Int(12))])"),
            ("{\"a\": \"route 66", "Object([(\"a\", Str(\"route 66\"))])"),
            ("{\"a\": \"\\\"66", "Object([(\"a\", Str(\"\\\"66\"))])"),
            ("{\"a\": \"x\\\\\", \"b\": 6", "Object([(\"a\", Str(\"x\\\\\"))])"),
            ("{\"a\": \"x\\u00", "Object([(\"a\", Str(\"x\"))])"),
            ("[1, tru", "Array([Int(1)])"),
            ("[1, true", "Array([Int(1), Bool(true)])"),
            ("[1, 2", "Array([Int(1)])"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
        assert_eq!(partial("12", true), Some(JsonValue::Int(12)));
        assert_eq!(partial("12", false), None);
    }
}
