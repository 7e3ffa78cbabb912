//! Where an answer's text comes from.

use serde_json::Value;

/// A place in the answer's text, and the source that it rests on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Citation {
    /// Where the text begins that rests on the source, in characters of [`Response::text`](super::Response::text).
    pub start: usize,
    /// Where it ends; in a stream's event, how far it has come.
    pub end: usize,
    /// The source's address.
    pub url: Option<String>,
    /// The source's title.
    pub title: Option<String>,
    /// The words of the source.
    pub cited_text: Option<String>,
    /// The citation as the provider sent it.
    pub raw: Value,
}

impl Citation {
    /// A citation with the address, title and words that its JSON has under these names.
    pub(crate) fn read(raw: &Value, start: usize, end: usize) -> Self {
        let text = |names: &[&str]| names.iter().find_map(|name| raw.get(name)?.as_str()).map(str::to_owned);
        Self {
            start,
            end,
            url: text(&["url", "uri"]).or_else(|| text(&["source"]).filter(|source| source.contains("://"))),
            title: text(&["title", "document_title"]),
            cited_text: text(&["cited_text", "content"]),
            raw: raw.clone(),
        }
    }
}
