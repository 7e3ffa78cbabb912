//! Where a call goes, and what it passes on its way.
//!
//! A call passes the caches from the outside in; what none of them knows is asked of the provider, and each request that is
//! really sent (each try, each batch of an embedding call) passes the limiters first. So a hit takes nobody's allowance,
//! a call that waits for its next try holds no slot, and it makes no difference whether the cache was put around the
//! limiter or the limiter around the cache.

use std::sync::Arc;

use super::{Completed, Endpoint, Sender};
use crate::{
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
}

/// A chat call.
///
/// # Errors
/// Any [`ErrorKind`](crate::ErrorKind); the error names the provider and tells how many requests were sent.
pub async fn chat(route: Route, request: ChatRequest) -> Result<Completed<Response>, Error> {
    super::unary::chat(&route, request).await.map_err(|error| route.endpoint.named(error))
}

/// A streamed chat call: events go to `sender` as they come, and its end is the last thing it is told.
///
/// A failure before the first event was handed over is tried again; after it, never: the request would be billed twice
/// and the text would come twice.
pub async fn stream(route: Route, request: ChatRequest, sender: Sender) {
    let outcome = super::stream::stream(&route, request, &sender).await;
    sender.finish(outcome.map(Box::new).map_err(|error| route.endpoint.named(error)));
}

/// Embeds the texts of `request`, however many.
///
/// # Errors
/// Any [`ErrorKind`](crate::ErrorKind). When a batch fails for good the others are stopped, and the vectors that have come
/// already are in [`Error::embedded`].
pub async fn embed(route: Route, request: EmbedRequest) -> Result<Completed<Embeddings>, Error> {
    super::embed::embed(&route, request).await.map_err(|error| route.endpoint.named(error))
}
