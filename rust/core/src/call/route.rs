//! Where a call goes, and what it passes on its way.
//!
//! A call passes the caches from the outside in; what none of them knows is asked of the provider, and each request that is
//! really sent (each try, each batch of an embedding call) passes the limiters first. So a hit takes nobody's allowance,
//! a call that waits for its next try holds no slot, and it makes no difference whether the cache was put around the
//! limiter or the limiter around the cache.

use std::sync::Arc;

use super::{Completed, Endpoint, Recall, Sender, ask_chat, ask_embed, ask_stream, recall_chat, recall_embed, replay};
use crate::{
    cache::LlmCache,
    error::Error,
    http::Pool,
    limiter::Limiter,
    model::{ChatRequest, EmbedRequest, Embeddings, Response},
};

/// Where a call goes, and what it passes on its way. Cheap to clone: each call takes its own.
#[derive(Debug, Clone)]
pub struct Route {
    /// The provider.
    pub endpoint: Arc<Endpoint>,
    /// The connections of this process to use.
    pub pool: Arc<Pool>,
    /// Every request that is sent passes these, the outermost first.
    pub limiters: Arc<[Limiter]>,
    /// What may know the answer already, the outermost first.
    pub caches: Arc<[Arc<LlmCache>]>,
}

/// A chat call.
///
/// # Errors
/// Any [`ErrorKind`](crate::ErrorKind); the error names the provider and tells how many requests were sent.
pub async fn chat(route: Route, request: ChatRequest) -> Result<Completed<Response>, Error> {
    match recall_chat(&route, &request) {
        Recall::Known(completed) => Ok(completed),
        Recall::Unknown(place) => ask_chat(route, request, place).await,
    }
}

/// A streamed chat call: events go to `sender` as they come, and its end is the last thing it is told.
///
/// A failure before the first event was handed over is tried again; after it, never: the request would be billed twice
/// and the text would come twice.
pub async fn stream(route: Route, request: ChatRequest, sender: Sender) {
    match recall_chat(&route, &request) {
        Recall::Known(completed) => replay(completed, sender),
        Recall::Unknown(place) => ask_stream(route, request, place, sender).await,
    }
}

/// Embeds the texts of `request`, however many.
///
/// # Errors
/// Any [`ErrorKind`](crate::ErrorKind). When a batch fails for good the others are stopped, and the vectors that have come
/// already are in [`Error::embedded`].
pub async fn embed(route: Route, request: EmbedRequest) -> Result<Completed<Embeddings>, Error> {
    match recall_embed(&route, &request) {
        Recall::Known(completed) => Ok(completed),
        Recall::Unknown(texts) => ask_embed(route, request, texts).await,
    }
}
