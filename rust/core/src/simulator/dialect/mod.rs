//! Answers, errors and headers as each provider sends them.

mod anthropic;
mod gemini;
mod ollama;
mod openai;
mod responses;

use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};

pub(super) use openai::call_id;

use super::{
    answer::{Answer, Events},
    ask::Ask,
    embed,
    limits::{Meters, Scarce},
    route::Dialect,
    times::whole_seconds,
};

/// An error to be told in a dialect.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub(super) status: u16,
    pub(super) message: String,
    /// The code or type to give in place of the status's usual one.
    pub(super) code: Option<String>,
    /// How long to wait before another try.
    pub(super) wait: Option<Duration>,
    /// What there is too little of, if a limit was hit.
    pub(super) scarce: Option<Scarce>,
    /// The field of the request that is wrong, where the format has a place for its name.
    pub(super) param: Option<&'static str>,
}

impl Problem {
    pub(super) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), code: None, wait: None, scarce: None, param: None }
    }

    /// An error that was asked for.
    pub(super) fn simulated(status: u16) -> Self {
        Self::new(status, format!("This is a simulated error {status}."))
    }
}

impl Dialect {
    /// A whole answer.
    pub(super) fn unary(self, answer: &Answer, ask: &Ask<'_>) -> Bytes {
        let mut out = BytesMut::with_capacity(1024 + 8 * answer.completion_tokens() as usize);
        match self {
            Self::OpenAi => openai::unary(answer, &mut out),
            Self::Responses => responses::unary(answer, ask, &mut out),
            Self::Anthropic => anthropic::unary(answer, &mut out),
            Self::Gemini => gemini::unary(answer, &mut out),
            Self::Ollama => ollama::unary(answer, &mut out),
        }
        out.freeze()
    }

    /// The events of a streamed answer.
    pub(super) fn stream(self, answer: &Answer, ask: &Ask<'_>) -> Events {
        match self {
            Self::OpenAi => openai::stream(answer, ask.include_usage),
            Self::Responses => responses::stream(answer, ask),
            Self::Anthropic => anthropic::stream(answer),
            Self::Gemini => gemini::stream(answer, ask.sse),
            Self::Ollama => ollama::stream(answer),
        }
    }

    /// The vectors of a request's texts.
    pub(super) fn embeddings(self, ask: &Ask<'_>, dims: usize) -> Bytes {
        let vectors: Vec<Vec<f32>> = ask.inputs.iter().map(|text| embed::vector(text, dims)).collect();
        let tokens = ask.inputs.iter().map(|text| text_tokens(text)).sum();
        let mut out = Vec::with_capacity(256 + vectors.len() * dims * 13);
        match self {
            // Anthropic has no embeddings, and OpenAI one path for them; no route leads here.
            Self::OpenAi | Self::Responses | Self::Anthropic => openai::embeddings(ask, &vectors, tokens, &mut out),
            Self::Gemini => gemini::embeddings(ask, &vectors, &mut out),
            Self::Ollama => ollama::embeddings(ask, &vectors, tokens, &mut out),
        }
        out.into()
    }

    /// An error's body.
    pub(super) fn error(self, problem: &Problem, id: &str) -> String {
        match self {
            Self::OpenAi | Self::Responses => openai::error(problem),
            Self::Anthropic => anthropic::error(problem, id),
            Self::Gemini => gemini::error(problem),
            Self::Ollama => ollama::error(problem),
        }
    }

    /// The event that tells an error in a stream of status 200.
    pub(super) fn error_event(self, problem: &Problem, id: &str) -> String {
        let body = self.error(problem, id);
        match self {
            Self::OpenAi => format!("data: {body}\n\n"),
            Self::Responses => responses::error_event(problem),
            Self::Anthropic => format!("event: error\ndata: {body}\n\n"),
            Self::Gemini => format!("data: {body}\r\n\r\n"),
            Self::Ollama => format!("{body}\n"),
        }
    }

    /// A sign of life that carries nothing.
    pub(super) fn keep_alive(self) -> &'static str {
        match self {
            Self::OpenAi | Self::Responses => ": keep-alive\n\n",
            Self::Anthropic => anthropic::PING,
            Self::Gemini => ": keep-alive\r\n\r\n",
            Self::Ollama => "\n",
        }
    }

    /// The type of a body.
    pub(super) fn content_type(self, stream: bool, sse: bool) -> HeaderValue {
        HeaderValue::from_static(match (self, stream) {
            (Self::OpenAi | Self::Responses | Self::Anthropic, true) => "text/event-stream; charset=utf-8",
            (Self::Gemini, true) if sse => "text/event-stream",
            (Self::Gemini, _) => "application/json; charset=UTF-8",
            (Self::Ollama, true) => "application/x-ndjson",
            (Self::Ollama, false) => "application/json; charset=utf-8",
            (Self::OpenAi | Self::Responses | Self::Anthropic, false) => "application/json",
        })
    }

    /// Request id and rate limits as this provider's headers.
    pub(super) fn headers(self, id: &str, meters: &Meters, now: SystemTime) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(16);
        headers.insert(header::SERVER, HeaderValue::from_static("edgequake-llm-simulator"));
        match self {
            Self::OpenAi | Self::Responses => openai::headers(&mut headers, id, meters),
            Self::Anthropic => anthropic::headers(&mut headers, id, meters, now),
            // Neither sends any limits.
            Self::Gemini | Self::Ollama => {}
        }
        headers
    }

    /// How this provider says how long to wait, besides what its error body says.
    pub(super) fn retry_after(self, headers: &mut HeaderMap, wait: Duration) {
        match self {
            Self::OpenAi | Self::Responses => {
                let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                headers.insert(HeaderName::from_static("retry-after-ms"), HeaderValue::from(millis));
                headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
            }
            Self::Anthropic | Self::Ollama => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
            }
            Self::Gemini => {}
        }
    }
}

/// A rough count of a text's tokens: four bytes each.
pub(super) fn text_tokens(text: &str) -> u64 {
    (text.len() as u64).div_ceil(4).max(1)
}

/// Sets a header whose value is made of digits, letters and punctuation.
fn set(headers: &mut HeaderMap, name: &'static str, value: impl ToString) {
    if let Ok(value) = HeaderValue::try_from(value.to_string()) {
        headers.insert(HeaderName::from_static(name), value);
    }
}
