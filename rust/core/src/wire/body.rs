//! Writes a request body straight from the model to bytes, with no tree of JSON values between.

use serde::Serialize;
use serde_json::Value;

use crate::{
    error::{Error, ErrorKind},
    model::JsonObject,
};

/// Writes one JSON object. Keys that stand in `extra` are left out of the rest and written from there at the end, so
/// that the caller's own fields win without a key being there twice.
#[derive(Debug)]
pub struct ObjectWriter<'a> {
    out: &'a mut Vec<u8>,
    extra: Option<&'a JsonObject>,
    /// Keys of `extra` that [`ObjectWriter::merged`] has written already.
    merged: Vec<&'static str>,
    empty: bool,
}

impl<'a> ObjectWriter<'a> {
    /// Opens an object.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, extra: None, merged: Vec::new(), empty: true }
    }

    /// Opens an object in which `extra` wins over every other field.
    pub fn with_extra(out: &'a mut Vec<u8>, extra: &'a JsonObject) -> Self {
        let mut writer = Self::new(out);
        writer.extra = Some(extra);
        writer
    }

    fn key(&mut self, key: &str) {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        write(self.out, key);
        self.out.push(b':');
    }

    fn taken(&self, key: &str) -> bool {
        self.extra.is_some_and(|extra| extra.contains_key(key))
    }

    /// Writes a field.
    pub fn field<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) {
        if !self.taken(key) {
            self.key(key);
            write(self.out, value);
        }
    }

    /// Writes a field if there is a value.
    pub fn optional<T: Serialize>(&mut self, key: &str, value: Option<T>) {
        if let Some(value) = value {
            self.field(key, &value);
        }
    }

    /// Writes a field whose value is an object of texts, if there are any; what `extra` has under it is laid over them.
    pub fn labels(&mut self, key: &'static str, labels: &[(String, String)]) {
        if !labels.is_empty() {
            self.merged(key, |object| labels.iter().for_each(|(name, value)| object.field(name, value)));
        }
    }

    /// Opens a field's value as an object, which the caller closes; `None` if the field stands in `extra`.
    pub fn open(&mut self, key: &str) -> Option<ObjectWriter<'_>> {
        if self.taken(key) {
            return None;
        }
        self.key(key);
        Some(ObjectWriter::new(self.out))
    }

    /// Writes a field whose value `fill` writes as an object.
    pub fn object(&mut self, key: &str, fill: impl FnOnce(&mut ObjectWriter<'_>)) {
        if let Some(mut inner) = self.open(key) {
            fill(&mut inner);
            inner.close();
        }
    }

    /// Writes a field whose value `fill` writes as an object. An object under the same key of `extra` is laid over it
    /// key by key; anything else there replaces it. An object that stays empty is left out.
    pub fn merged(&mut self, key: &'static str, fill: impl FnOnce(&mut ObjectWriter<'_>)) {
        let theirs = match self.extra.and_then(|extra| extra.get(key)) {
            Some(Value::Object(theirs)) => Some(theirs),
            Some(_) => return,
            None => None,
        };
        let (length, empty) = (self.out.len(), self.empty);
        self.key(key);
        let mut inner = ObjectWriter::new(self.out);
        inner.extra = theirs;
        fill(&mut inner);
        let nothing = inner.empty && theirs.is_none_or(JsonObject::is_empty);
        inner.close();
        if nothing {
            self.out.truncate(length);
            self.empty = empty;
        }
        if theirs.is_some() {
            self.merged.push(key);
        }
    }

    /// Writes a field whose value is an array with an item for each of `items`, written by `write_item`.
    ///
    /// # Errors
    /// The first one of `write_item`.
    pub fn array<I>(
        &mut self,
        key: &str,
        items: impl IntoIterator<Item = I>,
        mut write_item: impl FnMut(&mut Vec<u8>, I) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.taken(key) {
            return Ok(());
        }
        self.key(key);
        self.out.push(b'[');
        for (n, item) in items.into_iter().enumerate() {
            if n > 0 {
                self.out.push(b',');
            }
            write_item(self.out, item)?;
        }
        self.out.push(b']');
        Ok(())
    }

    /// Writes `extra` and closes the object.
    pub fn close(mut self) {
        if let Some(extra) = self.extra.take() {
            let merged = std::mem::take(&mut self.merged);
            for (key, value) in extra.iter().filter(|(key, _)| !merged.contains(&key.as_str())) {
                self.field(key, value);
            }
        }
        self.out.push(b'}');
    }
}

/// Writes any value as JSON. Writing to memory cannot fail; what JSON cannot hold (NaN) becomes `null`, and is refused
/// earlier, by [`Options::check`](crate::model::Options::check).
pub fn write<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let before = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(before);
        out.extend_from_slice(b"null");
    }
}

/// The error for an option that a provider does not have. `option` is its name, with its value where others work, as
/// `parallel_tool_calls=false`.
#[cold]
pub fn unsupported(provider: &'static str, option: &str, instead: &str) -> Error {
    let name = option.split_once('=').map_or(option, |(name, _)| name);
    Error::new(ErrorKind::Unsupported, format!("{option} is not supported by {provider}; {instead}"))
        .with_provider(provider)
        .with_param(name.to_owned())
}

/// The error of a provider that has no embeddings.
pub fn no_embeddings(provider: &'static str) -> Error {
    unsupported(provider, "embed", "use an embedding model of OpenAI, Gemini or Ollama")
}

/// The error for an answer that is not what the provider's format says, with a short excerpt of it.
#[cold]
pub fn malformed(provider: &'static str, what: &str, body: &[u8]) -> Error {
    let excerpt = crate::error::excerpt(body);
    let shown = if excerpt.is_empty() { "an empty body".to_owned() } else { format!("got: {excerpt}") };
    Error::new(ErrorKind::Malformed, format!("{what}; {shown}")).with_provider(provider)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn extra_wins_and_no_key_is_there_twice() {
        let extra = json!({"b": 2, "messages": []}).as_object().cloned().unwrap();
        let mut out = Vec::new();
        let mut body = ObjectWriter::with_extra(&mut out, &extra);
        body.field("a", "é\"\n");
        body.field("b", &1);
        body.object("o", |o| o.optional("x", Some(1.5)));
        body.array("messages", [1, 2], |out, n| {
            write(out, &n);
            Ok(())
        })
        .unwrap();
        body.close();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, r#"{"a":"é\"\n","o":{"x":1.5},"b":2,"messages":[]}"#);
    }

    #[test]
    fn merged_objects_take_extra_key_by_key() {
        let extra = json!({"z": 1, "config": {"b": 20, "deep": {"y": 2}}, "whole": null}).as_object().cloned().unwrap();
        let mut out = Vec::new();
        let mut body = ObjectWriter::with_extra(&mut out, &extra);
        body.merged("nothing", |_| ());
        body.merged("config", |config| {
            config.field("a", &1);
            config.field("b", &2);
            config.merged("deep", |deep| deep.field("x", &1));
            config.merged("empty", |_| ());
        });
        body.merged("whole", |whole| whole.field("a", &1));
        body.close();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, r#"{"config":{"a":1,"deep":{"x":1,"y":2},"b":20},"z":1,"whole":null}"#);
    }
}
