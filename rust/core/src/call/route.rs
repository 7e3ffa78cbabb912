//! Where a call goes, and what it passes on its way.
//!
//! A call passes the caches from the outside in; what none of them knows is asked of the provider, and each request that is
//! really sent (each try, each batch of an embedding call) passes the limiters first. So a hit takes nobody's allowance,
//! a call that waits for its next try holds no slot, and it makes no difference whether the cache was put around the
//! limiter or the limiter around the cache.

use std::sync::Arc;

use super::Endpoint;
use crate::{cache::LlmCache, http::Pool, limiter::Limiter};

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
