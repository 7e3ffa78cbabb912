//! Anthropic's messages: `POST /v1/messages`, below the host as base URL.
//!
//! What has no counterpart there: `seed` and the two penalties, sounds, embeddings. An answer in JSON without a schema, or
//! with one that Anthropic does not take, is asked for as the arguments of a tool and comes as text all the same. `max_tokens`
//! is required there; [`DEFAULT_MAX_TOKENS`] is sent where the caller gives none. Thinking without a signature cannot be
//! sent back and is left out, and so are empty texts, which Anthropic refuses.

mod decode;
mod encode;
#[cfg(test)]
mod tests;
pub(super) mod thinking;
pub(super) mod traits;

use http::HeaderMap;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::{
    Ask, Encoded, KeyHeader, StreamDecoder, Wire,
    lenient::{error_message, text_at},
    status::StatusError,
    too_long,
};
use crate::{
    error::Error,
    model::{ChatRequest, Response},
    prompt_cache::PromptCache,
    stream::Framing,
};

pub use encode::DEFAULT_MAX_TOKENS;

/// The provider's name.
const NAME: &str = "anthropic";

/// Anthropic's messages format.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anthropic;

impl Wire for Anthropic {
    fn name(&self) -> &'static str {
        NAME
    }

    fn key_header(&self) -> KeyHeader {
        KeyHeader { name: "x-api-key", prefix: "" }
    }

    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        &[("anthropic-version", "2023-06-01")]
    }

    fn framing(&self) -> Framing {
        Framing::Sse
    }

    fn encode_chat(&self, request: &ChatRequest) -> Result<Encoded, Error> {
        Ok(Encoded { path: "/v1/messages".to_owned(), body: encode::chat(request)?.into() })
    }

    fn decode_chat(&self, body: &[u8]) -> Result<Response, Error> {
        decode::message(body)
    }

    fn stream_decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(decode::Stream::default())
    }

    fn mark(&self, config: &PromptCache, request: &mut ChatRequest) {
        config.apply(request);
    }

    fn list_models(&self, page: Option<&str>) -> Result<Ask, Error> {
        let after = page.map(|page| format!("&after_id={}", utf8_percent_encode(page, NON_ALPHANUMERIC)));
        Ok(Ask::get(format!("/v1/models?limit=1000{}", after.unwrap_or_default())))
    }

    fn count_tokens(&self, request: &ChatRequest) -> Result<Ask, Error> {
        Ok(Ask::post("/v1/messages/count_tokens", encode::count(request)?))
    }

    fn decode_error(&self, status: u16, _: &HeaderMap, body: &[u8]) -> Error {
        error(body, Some(status))
    }
}

/// The error that a body carries. Without a status, as in a stream, the error's type tells which it would have been.
#[cold]
fn error(body: &[u8], status: Option<u16>) -> Error {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let error_type = text_at(&value, "/error/type");
    let status = status.unwrap_or(match error_type.as_deref() {
        Some("invalid_request_error") => 400,
        Some("authentication_error") => 401,
        Some("billing_error") => 402,
        Some("permission_error") => 403,
        Some("not_found_error") => 404,
        Some("conflict_error") => 409,
        Some("request_too_large") => 413,
        Some("rate_limit_error") => 429,
        Some("timeout_error") => 504,
        Some("overloaded_error") => 529,
        _ => 500,
    });
    StatusError {
        message: error_message(&value, &["/error/message", "/message", "/error"], body),
        code: text_at(&value, "/error/details/error_code").or_else(|| text_at(&value, "/error/code")),
        error_type,
        ..StatusError::default()
    }
    .read_by(&too_long::ANTHROPIC)
    .into_error(NAME, status)
    .with_request_id(text_at(&value, "/request_id"))
}
