//! Gemini's `generateContent`, below a base URL that ends in the API version, as `…/v1beta`.
//!
//! What has no counterpart there: `user` and `parallel_tool_calls=false`. `extra` goes to the top of the body; an
//! `extra["generationConfig"]` is laid over ours key by key, and so is a `thinkingConfig` in it. A stream has no sign of
//! its end but the finish reason. Vertex AI works with a base URL that ends in `…/publishers/google`.

mod decode;
mod embed;
mod encode;
#[cfg(test)]
mod tests;

use http::HeaderMap;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::{
    Ask, EmbedLimits, Encoded, KeyHeader, StreamDecoder, Wire,
    lenient::{error_message, text_at},
    status::{StatusError, parse_go_duration},
    too_long,
};
use crate::{
    error::Error,
    model::{ChatRequest, EmbedRequest, Embeddings, Response},
    stream::Framing,
};

/// The provider's name.
const NAME: &str = "gemini";

/// What a model's name may hold unescaped in a path.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/').remove(b'@');

/// Gemini's content format.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gemini;

impl Wire for Gemini {
    fn name(&self) -> &'static str {
        NAME
    }

    fn key_header(&self) -> KeyHeader {
        KeyHeader { name: "x-goog-api-key", prefix: "" }
    }

    fn framing(&self) -> Framing {
        Framing::Sse
    }

    fn encode_chat(&self, request: &ChatRequest) -> Result<Encoded, Error> {
        let method = if request.stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
        Ok(Encoded { path: path(&request.model, method), body: encode::chat(request)?.into() })
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
        Ok(Encoded { path: path(&request.model, "batchEmbedContents"), body: embed::encode(request)?.into() })
    }

    fn decode_embed(&self, body: &[u8], count: usize) -> Result<Embeddings, Error> {
        embed::decode(body, count)
    }

    fn list_models(&self, page: Option<&str>) -> Result<Ask, Error> {
        let token = page.map(|page| format!("&pageToken={}", utf8_percent_encode(page, NON_ALPHANUMERIC)));
        Ok(Ask::get(format!("/models?pageSize=1000{}", token.unwrap_or_default())))
    }

    fn count_tokens(&self, request: &ChatRequest) -> Result<Ask, Error> {
        Ok(Ask::post(path(&request.model, "countTokens"), encode::count(request)?))
    }

    fn store_prompt(&self, request: &ChatRequest, ttl_seconds: f64, title: Option<&str>) -> Result<Ask, Error> {
        Ok(Ask::post("/cachedContents", encode::store(request, ttl_seconds, title)?))
    }

    fn decode_error(&self, status: u16, _: &HeaderMap, body: &[u8]) -> Error {
        error(body, Some(status))
    }
}

/// The model as a resource: a bare name is below `models/`, anything with a folder stays, as `tunedModels/x`.
fn resource(model: &str) -> String {
    if model.contains('/') { model.to_owned() } else { format!("models/{model}") }
}

fn path(model: &str, method: &str) -> String {
    format!("/{}:{method}", utf8_percent_encode(&resource(model), PATH))
}

/// The error that a body or a frame carries, alone or as a list of one.
#[cold]
fn error(body: &[u8], status: Option<u16>) -> Error {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let value = value.get(0).unwrap_or(&value);
    let code = value.pointer("/error/code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    let details = value.pointer("/error/details").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let detail = |kind: &str| {
        let is_it = |detail: &&Value| text_at(detail, "/@type").is_some_and(|given| given.ends_with(kind));
        details.iter().find(is_it)
    };
    let spent_today = detail(".QuotaFailure").and_then(|detail| detail.get("violations")).and_then(Value::as_array);
    let spent_today = spent_today.is_some_and(|violations| {
        violations.iter().any(|violation| text_at(violation, "/quotaId").is_some_and(|id| id.contains("PerDay")))
    });
    StatusError {
        message: error_message(value, &["/error/message", "/error"], body),
        code: if spent_today {
            // Waiting for a minute does not help; `StatusError` knows the name.
            Some("quota_exceeded_per_day".to_owned())
        } else {
            detail(".ErrorInfo").and_then(|detail| text_at(detail, "/reason"))
        },
        error_type: text_at(value, "/error/status"),
        param: None,
        retry_after: detail(".RetryInfo")
            .and_then(|detail| text_at(detail, "/retryDelay"))
            .and_then(|delay| parse_go_duration(&delay))
            .filter(|wait| !wait.is_zero()),
        too_long: false,
    }
    .read_by(&too_long::GEMINI)
    .into_error(NAME, status.or(code.filter(|code| *code >= 400)).unwrap_or(500))
}
