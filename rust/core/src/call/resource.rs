//! Calls to a provider's other endpoints, with the same retries, limits and errors as a chat: the list of models, counts
//! of tokens, stored prompts, and whatever else speaks JSON below the base URL.

use bytes::Bytes;
use serde::de::IgnoredAny;

use super::{Completed, Route, estimate::Estimate, timeouts::Clock, unary::post};
use crate::{
    error::{Error, ErrorKind},
    model::ChatRequest,
    wire::{
        self, Ask,
        body::malformed,
        models::{self, ModelInfo},
    },
};

/// More pages than any list has; a server that goes on naming a next one is broken.
const MAX_PAGES: usize = 1000;

/// Asks, and returns the answer's body: valid JSON, or nothing at all.
///
/// # Errors
/// Any [`ErrorKind`]; [`ErrorKind::Malformed`] if the body is not JSON.
pub async fn ask(route: &Route, ask: Ask) -> Result<Completed<Bytes>, Error> {
    let clock = Clock::start(route.endpoint.timeouts);
    answer(route, &clock, ask).await.map_err(|error| route.endpoint.named(error))
}

/// The provider's models, all pages of the list.
///
/// # Errors
/// Any [`ErrorKind`].
pub async fn list_models(route: &Route) -> Result<Vec<ModelInfo>, Error> {
    pages(route).await.map_err(|error| route.endpoint.named(error))
}

/// How many tokens a request's prompt has, as the provider counts them.
///
/// # Errors
/// Any [`ErrorKind`]; [`ErrorKind::Unsupported`] for a provider that does not count.
pub async fn count_tokens(route: &Route, request: ChatRequest) -> Result<u64, Error> {
    let wire = &route.endpoint.wire;
    let answer = ask(route, wire::count_tokens(wire.as_ref(), request)?).await?;
    wire.decode_count(&answer.value).map_err(|error| route.endpoint.named(error))
}

async fn answer(route: &Route, clock: &Clock, ask: Ask) -> Result<Completed<Bytes>, Error> {
    let outgoing = route.endpoint.send(ask, false)?;
    let name = route.endpoint.wire.name();
    let decode = move |body: &Bytes| {
        if !body.is_empty() && serde_json::from_slice::<IgnoredAny>(body).is_err() {
            return Err(malformed(name, "the answer is not JSON", body));
        }
        Ok(body.clone())
    };
    post(route, &outgoing, clock, Estimate::default(), decode, |_| None).await
}

/// The limit on the total time holds for all pages together.
async fn pages(route: &Route) -> Result<Vec<ModelInfo>, Error> {
    let clock = Clock::start(route.endpoint.timeouts);
    let wire = &route.endpoint.wire;
    let (mut all, mut page) = (Vec::new(), None);
    for _ in 0..MAX_PAGES {
        let answer = answer(route, &clock, wire.list_models(page.as_deref())?).await?;
        let mut read = models::decode(wire.name(), &answer.value)?;
        all.append(&mut read.models);
        page = read.next;
        if page.is_none() {
            return Ok(all);
        }
    }
    Err(Error::new(ErrorKind::Malformed, "the list of models has no end"))
}
