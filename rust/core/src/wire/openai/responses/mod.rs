//! OpenAI's Responses API: chat calls as lists of items. Embeddings are those of the chat format.
//!
//! A turn is sent without the ids of its items, and thinking by its encrypted form, which is asked for: that works whether or
//! not OpenAI stores the conversation. To go on from a stored answer instead, send `previous_response_id` as an extra field.

mod decode;
mod encode;
mod stream;

use http::HeaderMap;

use super::{OpenAi, embed, error};
use crate::{
    error::Error,
    model::{ChatRequest, EmbedRequest, Embeddings, Response},
    prompt_cache::PromptCache,
    stream::Framing,
    wire::{Ask, EmbedLimits, Encoded, KeyHeader, StreamDecoder, Wire},
};

/// The format of OpenAI's Responses API, and of servers that speak it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpenAiResponses {
    /// What it has in common with the chat format.
    pub base: OpenAi,
}

impl Wire for OpenAiResponses {
    fn name(&self) -> &'static str {
        self.base.name
    }

    fn key_header(&self) -> KeyHeader {
        self.base.key_header()
    }

    fn framing(&self) -> Framing {
        Framing::Sse
    }

    fn encode_chat(&self, request: &ChatRequest) -> Result<Encoded, Error> {
        encode::chat(&self.base, request)
    }

    fn decode_chat(&self, body: &[u8]) -> Result<Response, Error> {
        decode::chat(self.base.name, body)
    }

    fn stream_decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(stream::ResponseStream::new(self.base.name))
    }

    fn embed_limits(&self) -> Option<EmbedLimits> {
        self.base.embed_limits
    }

    fn encode_embed(&self, request: &EmbedRequest) -> Result<Encoded, Error> {
        embed::encode(&self.base, request)
    }

    fn decode_embed(&self, body: &[u8], count: usize) -> Result<Embeddings, Error> {
        embed::decode(&self.base, body, count)
    }

    fn mark(&self, config: &PromptCache, request: &mut ChatRequest) {
        self.base.mark(config, request);
    }

    fn list_models(&self, page: Option<&str>) -> Result<Ask, Error> {
        self.base.list_models(page)
    }

    fn decode_error(&self, status: u16, _headers: &HeaderMap, body: &[u8]) -> Error {
        error::of_status(self.base.name, status, body)
    }
}
