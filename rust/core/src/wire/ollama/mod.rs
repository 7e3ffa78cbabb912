//! Ollama's chat: `POST /api/chat` and `/api/embed`, answers in lines of JSON.
//!
//! What has no counterpart there: forcing a tool call, one tool call at a time, `user`, a budget for thinking, strict
//! tools, files by address. `extra` goes to the top of the body; an `extra["options"]` is laid over ours key by key.

mod decode;
mod embed;
mod encode;
#[cfg(test)]
mod tests;

use http::HeaderMap;
use serde_json::Value;

use super::{
    Ask, EmbedLimits, Encoded, KeyHeader, StreamDecoder, Wire, lenient::error_message, status::StatusError, too_long,
};
use crate::{
    error::Error,
    model::{ChatRequest, EmbedRequest, Embeddings, Response},
    stream::Framing,
};

/// The provider's name.
const NAME: &str = "ollama";

/// Ollama's chat format.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ollama;

impl Wire for Ollama {
    fn name(&self) -> &'static str {
        NAME
    }

    /// A server of one's own wants no key; one behind a gateway may.
    fn key_header(&self) -> KeyHeader {
        KeyHeader { name: "authorization", prefix: "Bearer " }
    }

    fn framing(&self) -> Framing {
        Framing::NdJson
    }

    fn encode_chat(&self, request: &ChatRequest) -> Result<Encoded, Error> {
        Ok(Encoded { path: "/api/chat".to_owned(), body: encode::chat(request)?.into() })
    }

    fn decode_chat(&self, body: &[u8]) -> Result<Response, Error> {
        decode::answer(body)
    }

    fn stream_decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(decode::Stream)
    }

    fn embed_limits(&self) -> Option<EmbedLimits> {
        Some(embed::LIMITS)
    }

    fn encode_embed(&self, request: &EmbedRequest) -> Result<Encoded, Error> {
        Ok(Encoded { path: "/api/embed".to_owned(), body: embed::encode(request)?.into() })
    }

    fn decode_embed(&self, body: &[u8], count: usize) -> Result<Embeddings, Error> {
        embed::decode(body, count)
    }

    fn list_models(&self, _: Option<&str>) -> Result<Ask, Error> {
        Ok(Ask::get("/api/tags"))
    }

    fn decode_error(&self, status: u16, _: &HeaderMap, body: &[u8]) -> Error {
        error(body, Some(status))
    }
}

/// The error that a body or a line carries. A line in a stream may name the status that it would have had.
#[cold]
fn error(body: &[u8], status: Option<u16>) -> Error {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let named = value.get("status").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    let message = error_message(&value, &["/error", "/error/message"], body);
    let status = status.or(named.filter(|code| *code >= 400)).unwrap_or(500);
    StatusError { message, ..StatusError::default() }.read_by(&too_long::OLLAMA).into_error(NAME, status)
}
