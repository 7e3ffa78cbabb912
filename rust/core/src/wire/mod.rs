//! The providers' wire formats: pure functions between the [`model`](crate::model) and bytes.
//!
//! One file or folder for each format, one [`Wire`] implementation in each. Nothing here does I/O or reads a clock.

pub mod anthropic;
pub mod bedrock;
pub mod body;
mod claude;
mod common;
pub mod gemini;
mod lenient;
mod marks;
pub mod media;
pub mod models;
pub mod ollama;
pub mod openai;
pub mod status;
pub mod template;
mod too_long;

use bytes::Bytes;
use http::{HeaderMap, Method};

use crate::{
    error::{Error, ErrorKind},
    model::{Assembly, ChatRequest, EmbedRequest, Embeddings, Response},
    prompt_cache::PromptCache,
    stream::{Frame, Framing},
};

pub use status::RateLimits;

/// An encoded request, still without base URL, key and connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The path below the base URL, with its query, as `/chat/completions`.
    pub path: String,
    /// The JSON body.
    pub body: Bytes,
}

/// A request of another kind than chat and embed, still without base URL, key and connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The method.
    pub method: Method,
    /// The path below the base URL, with its query, as `/models`.
    pub path: String,
    /// The JSON body; empty for none.
    pub body: Bytes,
}

impl Ask {
    /// A `GET` of a path.
    pub fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), body: Bytes::new() }
    }

    /// A `POST` of a JSON body.
    pub fn post(path: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self { method: Method::POST, path: path.into(), body: body.into() }
    }
}

/// How the key goes into a request: the header's name, and what stands before the key in its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHeader {
    /// The header's name in lower case.
    pub name: &'static str,
    /// What stands before the key, as `Bearer `.
    pub prefix: &'static str,
}

/// What one embedding request may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbedLimits {
    /// At most this many texts.
    pub texts: usize,
    /// At most this many bytes of UTF-8 in all. No token is shorter than a byte, so this bounds the tokens too.
    pub bytes: usize,
}

/// One provider's format: encodes requests, decodes answers, decodes streams, maps errors.
pub trait Wire: Send + Sync + std::fmt::Debug {
    /// The provider's name in messages and telemetry, as `openai`.
    fn name(&self) -> &'static str;

    /// How the key is sent.
    fn key_header(&self) -> KeyHeader;

    /// Headers that every request carries, besides key and content type.
    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// How a streamed answer is framed.
    fn framing(&self) -> Framing;

    /// Encodes a chat request.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for an option that this provider does not have, naming
    /// the nearest thing that works; [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest) for a message that
    /// it cannot carry.
    fn encode_chat(&self, request: &ChatRequest) -> Result<Encoded, Error>;

    /// Decodes a whole answer of status 200.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`](crate::ErrorKind::Malformed) if it is none, or the mapped error if it carries one.
    fn decode_chat(&self, body: &[u8]) -> Result<Response, Error>;

    /// A decoder of one streamed answer.
    fn stream_decoder(&self) -> Box<dyn StreamDecoder>;

    /// What one embedding request may hold; `None` if the provider has no embeddings.
    fn embed_limits(&self) -> Option<EmbedLimits> {
        None
    }

    /// Encodes one batch of texts.
    ///
    /// # Errors
    /// As [`Wire::encode_chat`].
    fn encode_embed(&self, _request: &EmbedRequest) -> Result<Encoded, Error> {
        Err(body::no_embeddings(self.name()))
    }

    /// Decodes the vectors of a batch, in the order of its `count` texts.
    ///
    /// # Errors
    /// As [`Wire::decode_chat`]; also when vectors are missing, twice there or of different lengths.
    fn decode_embed(&self, _body: &[u8], _count: usize) -> Result<Embeddings, Error> {
        Err(body::no_embeddings(self.name()))
    }

    /// Sets cache marks in a request as `config` says; does nothing for a provider that caches by itself.
    fn mark(&self, config: &PromptCache, request: &mut ChatRequest) {
        let _ = (config, request);
    }

    /// Asks for a page of the list of models: the first, or the one that [`models::ModelPage::next`] names.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for a provider that has no list.
    fn list_models(&self, page: Option<&str>) -> Result<Ask, Error>;

    /// Asks how many tokens a request's prompt has.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for a provider that does not count.
    fn count_tokens(&self, request: &ChatRequest) -> Result<Ask, Error> {
        let _ = request;
        let instead = "count with Tokenizer.for_model(model), or read response.usage after the call";
        Err(body::unsupported(self.name(), "count_tokens", instead))
    }

    /// Reads the answer to [`Wire::count_tokens`].
    ///
    /// # Errors
    /// As [`Wire::decode_chat`].
    fn decode_count(&self, body: &[u8]) -> Result<u64, Error> {
        let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        let count = ["input_tokens", "totalTokens"].iter().find_map(|name| value.get(*name)?.as_u64());
        count.ok_or_else(|| self::body::malformed(self.name(), "the answer holds no count of tokens", body))
    }

    /// Asks to store a prompt at the provider for `ttl_seconds`, to be put in front of later ones.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for a provider without such a store.
    fn store_prompt(&self, request: &ChatRequest, ttl_seconds: f64, title: Option<&str>) -> Result<Ask, Error> {
        let _ = (request, ttl_seconds, title);
        Err(body::unsupported(self.name(), "storing prompts", "only Gemini has it; elsewhere give prompt_cache=True"))
    }

    /// Maps an answer of an error status. Retry-After and request id are read from the headers by the caller.
    fn decode_error(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Error;
}

/// Encodes a chat request, leaving out what the provider does not have if the request allows that.
///
/// # Errors
/// As [`Wire::encode_chat`]. Content that the provider cannot carry is never left out.
pub fn encode_chat(wire: &dyn Wire, request: ChatRequest) -> Result<Encoded, Error> {
    dropping(request, |request| wire.encode_chat(request))
}

/// As [`encode_chat`], for [`Wire::count_tokens`].
///
/// # Errors
/// As [`Wire::count_tokens`].
pub fn count_tokens(wire: &dyn Wire, request: ChatRequest) -> Result<Ask, Error> {
    dropping(request, |request| wire.count_tokens(request))
}

/// As [`encode_chat`], for [`Wire::store_prompt`].
///
/// # Errors
/// As [`Wire::store_prompt`].
pub fn store_prompt(
    wire: &dyn Wire,
    request: ChatRequest,
    ttl_seconds: f64,
    title: Option<&str>,
) -> Result<Ask, Error> {
    dropping(request, |request| wire.store_prompt(request, ttl_seconds, title))
}

/// Encodes again and again, each time without the option that was refused, if the request allows that.
fn dropping<T>(request: ChatRequest, encode: impl Fn(&ChatRequest) -> Result<T, Error>) -> Result<T, Error> {
    let mut request = request;
    loop {
        match encode(&request) {
            Err(error) if request.options.drop_unsupported && error.kind() == ErrorKind::Unsupported => {
                if !error.param().is_some_and(|option| request.options.unset(option)) {
                    return Err(error);
                }
            }
            encoded => return encoded,
        }
    }
}

/// Decodes one streamed answer, frame by frame.
pub trait StreamDecoder: Send {
    /// Takes a frame and tells `answer` what is in it. Unknown events and fields are ignored.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`](crate::ErrorKind::Malformed) for a frame that is not what the format says, or the mapped
    /// error if the frame carries one.
    fn frame(&mut self, frame: Frame<'_>, answer: &mut Assembly) -> Result<(), Error>;
}
