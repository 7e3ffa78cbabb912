//! OpenAI's chat completions and embeddings, and the many servers that speak the same format.
//!
//! Their differences are a few values in [`OpenAi`] on the way out. On the way in, every known dialect is read by the
//! same code: what one server sends does not harm another's answer.

mod decode;
mod embed;
mod encode;
mod error;
mod fill;
mod messages;
pub mod presets;
mod raw;
pub mod responses;
mod stream;
mod usage;

use http::HeaderMap;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{
    error::Error,
    model::{ChatRequest, EmbedRequest, Embeddings, Response},
    prompt_cache::PromptCache,
    stream::Framing,
    wire::{
        Ask, EmbedLimits, Encoded, KeyHeader, StreamDecoder, Wire,
        media::{self, MediaLimits},
    },
};

/// Which field carries `max_tokens`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxTokensField {
    /// `max_completion_tokens` for OpenAI's reasoning models (o1, o3, o4, gpt-5), which refuse the other; else `max_tokens`.
    ByModel,
    /// Always `max_tokens`.
    MaxTokens,
    /// Always `max_completion_tokens`.
    MaxCompletionTokens,
}

/// The format of OpenAI and of compatible servers; the default is OpenAI itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenAi {
    /// The provider's name in messages and telemetry.
    pub name: &'static str,
    /// Which field carries `max_tokens`.
    pub max_tokens_field: MaxTokensField,
    /// Whether to ask for token counts at the end of a stream. Off for servers that refuse `stream_options`.
    pub stream_usage: bool,
    /// Whether to ask for vectors in base64, which is a quarter of the bytes. Answers in either form are read.
    pub base64_embeddings: bool,
    /// Whether vectors in base64 hold signed bytes and not 32-bit floats (Perplexity).
    pub int8_embeddings: bool,
    /// Whether earlier thinking goes back as `reasoning_content`, as DeepSeek and Kimi want it between tool calls.
    pub send_thinking: bool,
    /// Whether an answer that only called tools goes back with an empty `content`, as the server fails without the field.
    pub empty_content: bool,
    /// Whether cache marks are sent as `cache_control`, as OpenRouter wants them for Anthropic's models.
    pub cache_marks: bool,
    /// What one embedding request may hold; `None` if the server has no embeddings.
    pub embed_limits: Option<EmbedLimits>,
    /// Which files the server takes, where it says so; `None` leaves it to the server.
    pub media: Option<MediaLimits>,
    /// How the key is sent.
    pub key_header: KeyHeader,
    /// Whether the model stands in the path, as a deployment (Azure's older API versions).
    pub deployments: bool,
    /// The field for `seed`.
    pub seed_field: &'static str,
    /// The field for `user`; `None` if the server refuses the request because of it.
    pub user_field: Option<&'static str>,
    /// Whether an answer's schema stands beside `json_object`, as llama-cpp-python wants it, and not in an object of its own.
    pub bare_schemas: bool,
    /// Whether requests may be labelled by `metadata`.
    pub metadata: bool,
    /// The field for an embedding's `dimensions`.
    pub dimensions_field: &'static str,
    /// The field for an embedding's `task_type`, where the server has one.
    pub task_field: Option<&'static str>,
}

/// OpenAI takes 2,048 texts and 300,000 tokens in one request. A token is at least one byte, so that 300,000 bytes of any
/// text are within the bound.
pub const OPENAI_EMBED_LIMITS: EmbedLimits = EmbedLimits { texts: 2_048, bytes: 300_000 };

impl OpenAi {
    /// OpenAI itself.
    pub const OPENAI: Self = Self {
        name: "openai",
        max_tokens_field: MaxTokensField::ByModel,
        stream_usage: true,
        base64_embeddings: true,
        int8_embeddings: false,
        send_thinking: false,
        empty_content: false,
        cache_marks: false,
        embed_limits: Some(OPENAI_EMBED_LIMITS),
        media: Some(media::OPENAI),
        key_header: KeyHeader { name: "authorization", prefix: "Bearer " },
        deployments: false,
        seed_field: "seed",
        user_field: Some("user"),
        bare_schemas: false,
        metadata: true,
        dimensions_field: "dimensions",
        task_field: None,
    };

    /// OpenAI at this address, or whoever else is there and speaks its format: OpenAI's limits for files are its own, and
    /// hold nowhere else.
    pub fn at(base_url: &str) -> Self {
        let host = base_url.split("://").nth(1).and_then(|rest| rest.split(['/', ':', '?']).next()).unwrap_or("");
        // Regions have hosts of their own: `eu.api.openai.com`.
        let own = host == "api.openai.com" || host.ends_with(".api.openai.com");
        Self { media: Self::OPENAI.media.filter(|_| own), ..Self::OPENAI }
    }

    /// The path of an endpoint, below the deployment where the server wants it so.
    fn path(&self, model: &str, endpoint: &str) -> String {
        if self.deployments {
            format!("/deployments/{}/{endpoint}", utf8_percent_encode(model, PATH))
        } else {
            format!("/{endpoint}")
        }
    }
}

/// What a deployment's name may hold unescaped in a path.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

impl Default for OpenAi {
    fn default() -> Self {
        Self::OPENAI
    }
}

impl Wire for OpenAi {
    fn name(&self) -> &'static str {
        self.name
    }

    fn key_header(&self) -> KeyHeader {
        self.key_header
    }

    fn framing(&self) -> Framing {
        Framing::Sse
    }

    fn encode_chat(&self, request: &ChatRequest) -> Result<Encoded, Error> {
        encode::chat(self, request)
    }

    fn decode_chat(&self, body: &[u8]) -> Result<Response, Error> {
        decode::chat(self.name, body)
    }

    fn stream_decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(stream::ChatStream::new(self.name))
    }

    fn embed_limits(&self) -> Option<EmbedLimits> {
        self.embed_limits
    }

    fn encode_embed(&self, request: &EmbedRequest) -> Result<Encoded, Error> {
        embed::encode(self, request)
    }

    fn decode_embed(&self, body: &[u8], count: usize) -> Result<Embeddings, Error> {
        embed::decode(self, body, count)
    }

    fn mark(&self, config: &PromptCache, request: &mut ChatRequest) {
        if self.cache_marks {
            config.apply(request);
        }
        if request.options.prompt_cache_key.is_none() {
            request.options.prompt_cache_key.clone_from(&config.key);
        }
    }

    fn list_models(&self, _: Option<&str>) -> Result<Ask, Error> {
        Ok(Ask::get("/models"))
    }

    fn decode_error(&self, status: u16, _headers: &HeaderMap, body: &[u8]) -> Error {
        error::of_status(self.name, status, body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_for_files_are_openais_own() {
        for own in ["https://api.openai.com/v1", "https://eu.api.openai.com", "https://api.openai.com:443/v1?x=1"] {
            assert_eq!(OpenAi::at(own), OpenAi::OPENAI, "{own}");
        }
        for other in
            ["http://localhost:8000/v1", "https://api.openai.com.example/v1", "https://myapi.openai.company", ""]
        {
            assert_eq!(OpenAi::at(other), OpenAi { media: None, ..OpenAi::OPENAI }, "{other}");
        }
    }
}
