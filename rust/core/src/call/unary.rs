//! A call whose answer comes whole.

use std::{future::Future, sync::Arc, time::SystemTime};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Version};
use tokio::time::Instant;

use super::{
    Completed, Endpoint, Failed, Meta, Route, estimate::Estimate, heavy, passage::Passage, retry::Retry,
    timeouts::Clock,
};
use crate::{
    error::{Error, ErrorKind},
    http::{Answer, Body, Outgoing, connect, idle},
    metrics::Metrics,
    model::{ChatRequest, Response},
    wire::{
        Wire,
        status::{request_id, retry_after},
    },
};

/// The largest answer that is read whole.
const MAX_BODY: usize = 512 << 20;

/// A chat call, by the provider itself. As [`super::ask_chat`].
pub(super) async fn chat(route: &Route, request: Box<ChatRequest>) -> Result<Completed<Response>, Error> {
    let counting = route.estimate(&request);
    let outgoing = encode(&route.endpoint, *request).await?;
    let estimate = counting.done().await;
    let wire = route.endpoint.wire.clone();
    let decode = move |body: &Bytes| {
        let mut response = wire.decode_chat(body)?;
        response.raw = body.clone();
        Ok(response)
    };
    let clock = Clock::start(route.endpoint.timeouts);
    let used = |response: &Response| response.usage.map(|usage| usage.total_tokens());
    let mut completed = post(route, &outgoing, &clock, estimate, decode, used).await?;
    if let Some(usage) = &completed.value.usage {
        completed.meta.metrics.set_tokens(usage.prompt_tokens(), usage.completion_tokens());
    }
    Ok(completed)
}

/// The request of a chat call, ready to be sent.
pub(super) fn encode(
    endpoint: &Arc<Endpoint>,
    request: ChatRequest,
) -> impl Future<Output = Result<Outgoing, Error>> + use<> {
    let (endpoint, stream) = (endpoint.clone(), request.stream);
    let size = request.messages.iter().map(|message| message.size()).sum();
    heavy::run(size, move || endpoint.post(endpoint.encode_chat(request)?, stream))
}

/// Posts until it succeeds, fails for good or the tries are used up.
pub(super) async fn post<T: Send + 'static>(
    route: &Route,
    outgoing: &Outgoing,
    clock: &Clock,
    estimate: Estimate,
    decode: impl Fn(&Bytes) -> Result<T, Error> + Clone + Send + 'static,
    used: impl Fn(&T) -> Option<u64>,
) -> Result<Completed<T>, Error> {
    let endpoint = &route.endpoint;
    let mut retry = Retry::new(endpoint.retry);
    let mut unseen = None;
    loop {
        let mut passage = match unseen.take() {
            Some(passage) => passage,
            None => {
                let entered = route.enter(estimate, clock, None).await;
                entered.map_err(|error| refused(endpoint, &retry, error))?
            }
        };
        match attempt(route, &mut passage, outgoing, clock, decode.clone()).await {
            Ok((value, mut meta)) => {
                passage.done(used(&value));
                meta.attempts = retry.attempts();
                return Ok(Completed { value, meta });
            }
            Err(failed) => {
                unseen = passage.failed(&failed, &endpoint.retry);
                again(endpoint, clock, &mut retry, failed).await?;
            }
        }
    }
}

/// The error of a call whose next try a limiter did not let in.
pub(super) fn refused(endpoint: &Endpoint, retry: &Retry, error: Error) -> Error {
    error.with_provider(endpoint.wire.name()).with_attempts(retry.attempts() - 1)
}

/// Waits before the next try, or gives up with the error of the last one.
pub(super) async fn again(endpoint: &Endpoint, clock: &Clock, retry: &mut Retry, failed: Failed) -> Result<(), Error> {
    let attempts = retry.attempts();
    match retry.next(&failed.error, failed.stale, clock.left(), fastrand::f64()) {
        Some(wait) if wait.is_zero() => Ok(()),
        Some(wait) => {
            tokio::time::sleep(wait).await;
            Ok(())
        }
        None => Err(failed.error.with_provider(endpoint.wire.name()).with_attempts(attempts)),
    }
}

async fn attempt<T: Send + 'static>(
    route: &Route,
    passage: &mut Passage<'_>,
    outgoing: &Outgoing,
    clock: &Clock,
    decode: impl FnOnce(&Bytes) -> Result<T, Error> + Send + 'static,
) -> Result<(T, Meta), Failed> {
    let (mut answer, _) = open(route, passage, outgoing, clock).await?;
    let body = collect(&mut answer.body, clock, MAX_BODY).await?;
    let came = clock.elapsed();
    let decoded = heavy::run(body.len(), move || decode(&body)).await;
    let value = decoded.map_err(|error| with_head(error, &answer.headers, Some(answer.status.as_u16())))?;
    let mut metrics = Metrics::default();
    metrics.record_first_token(came);
    metrics.finish(clock.elapsed());
    Ok((value, meta(answer.headers, answer.version, metrics)))
}

/// Sends the request and returns an answer of a success status and when it was sent; any other status is an error.
pub(super) async fn open(
    route: &Route,
    passage: &mut Passage<'_>,
    outgoing: &Outgoing,
    clock: &Clock,
) -> Result<(Answer, Instant), Failed> {
    let Route { endpoint, pool, .. } = route;
    let started = Instant::now();
    let connection = match idle(pool, &endpoint.origin) {
        Some(connection) => connection,
        // In a box: dialing is rare, and needs more room than all the rest of a call.
        None => Box::pin(clock.within(ErrorKind::ConnectTimeout, started, connect(pool, &endpoint.origin))).await??,
    };
    let outgoing = endpoint.signed(outgoing, SystemTime::now())?;
    passage.send();
    let sent_at = Instant::now();
    let sent = clock.within(ErrorKind::FirstTokenTimeout, sent_at, connection.send(&outgoing)).await?;
    let mut answer = sent.map_err(|failed| Failed { error: failed.error, stale: failed.stale })?;
    passage.hear(&answer.headers);
    if answer.status.is_success() {
        return Ok((answer, sent_at));
    }
    let body = collect(&mut answer.body, clock, 1 << 20).await.unwrap_or_default();
    Err(status_error(endpoint.wire.as_ref(), answer.status.as_u16(), &answer.headers, &body).into())
}

/// The error for an answer of an error status: what its body says, and what its headers add to that.
pub fn status_error(wire: &dyn Wire, status: u16, headers: &HeaderMap, body: &[u8]) -> Error {
    if (300..400).contains(&status) {
        let message = format!("the server redirects elsewhere (status {status}); set base_url to where the API is");
        return Error::new(ErrorKind::Api, message).with_status(status);
    }
    let mut error = wire.decode_error(status, headers, body);
    if let Some(advice) = headers.get("x-should-retry").and_then(|value| value.to_str().ok())
        && error.kind() != ErrorKind::Quota
    {
        let retryable = match advice {
            "true" => true,
            "false" => false,
            _ => error.retryable(),
        };
        error = error.with_retryable(retryable);
    }
    let wait = retry_after(headers, SystemTime::now());
    with_head(error.with_retry_after(wait), headers, Some(status))
}

/// Adds what the answer's head tells to an error.
pub(super) fn with_head(error: Error, headers: &HeaderMap, status: Option<u16>) -> Error {
    let status = if error.status().is_some() { None } else { status };
    error.with_request_id(request_id(headers).map(str::to_owned)).with_status(status)
}

/// Reads a body; the idle limit holds between its pieces.
pub(super) async fn collect(body: &mut Body, clock: &Clock, limit: usize) -> Result<Bytes, Error> {
    let mut whole = BytesMut::new();
    let mut first = None;
    loop {
        let piece = clock.within(ErrorKind::IdleTimeout, Instant::now(), body.next()).await?;
        match piece.transpose()? {
            None => return Ok(first.unwrap_or_else(|| whole.freeze())),
            Some(piece) if whole.is_empty() && first.is_none() => first = Some(piece),
            Some(piece) => {
                if let Some(first) = first.take() {
                    whole.extend_from_slice(&first);
                }
                whole.extend_from_slice(&piece);
                if whole.len() > limit {
                    let message = format!("the answer is larger than {} MiB", limit >> 20);
                    return Err(Error::new(ErrorKind::Malformed, message));
                }
            }
        }
    }
}

/// What an answer that has just come took.
pub(super) fn meta(headers: HeaderMap, version: Version, metrics: Metrics) -> Meta {
    Meta { attempts: 1, headers, received: SystemTime::now(), version, metrics, cached: false }
}
