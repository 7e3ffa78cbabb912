//! Embeds any number of texts: split at the provider's limits, some batches at once, order kept.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::{Completed, Meta, Route, heavy, timeouts::Clock, unary::post};
use crate::{
    error::{Error, ErrorKind},
    model::{EmbedRequest, Embeddings},
    wire::{EmbedLimits, body::no_embeddings},
};

/// Batches under way at once, for one call.
const AT_ONCE: usize = 4;

/// Embeds texts, by the provider itself. As [`super::ask_embed`].
pub(super) async fn embed(route: &Route, request: EmbedRequest) -> Result<Completed<Embeddings>, Error> {
    let wire = route.endpoint.wire.clone();
    let Some(limits) = wire.embed_limits() else {
        return Err(no_embeddings(wire.name()));
    };
    let EmbedRequest { model, inputs, dimensions, task_type, extra } = request;
    // One clock for all batches: the total limit is the whole call's.
    let clock = Clock::start(route.endpoint.timeouts);
    let mut waiting = batches(inputs, limits).into_iter();
    let mut running: JoinSet<(usize, Result<Completed<Embeddings>, Error>)> = JoinSet::new();
    let mut done: BTreeMap<usize, Embeddings> = BTreeMap::new();
    let mut meta: Option<Meta> = None;
    let mut attempts = 0;
    loop {
        while running.len() < AT_ONCE
            && let Some((start, inputs)) = waiting.next()
        {
            let count = inputs.len();
            let batch = EmbedRequest {
                model: model.clone(),
                inputs,
                dimensions,
                task_type: task_type.clone(),
                extra: extra.clone(),
            };
            let route = route.clone();
            running.spawn(async move { (start, one(&route, &clock, batch, count).await) });
        }
        let Some(joined) = running.join_next().await else { break };
        let (start, outcome) = joined.map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        match outcome {
            Ok(completed) => {
                attempts += completed.meta.attempts;
                done.insert(start, completed.value);
                meta = Some(completed.meta);
            }
            Err(error) => return Err(error.with_embedded(done.into_iter().collect())),
        }
    }
    let mut whole = Embeddings::default();
    for batch in done.into_values() {
        whole.append(batch).map_err(|error| error.with_provider(wire.name()))?;
    }
    let Some(mut meta) = meta else { return Err(Error::invalid("embed needs at least one text")) };
    meta.attempts = attempts;
    if whole.model.is_empty() {
        whole.model = model;
    }
    if let Some(usage) = &whole.usage {
        meta.metrics.set_tokens(usage.prompt_tokens(), 0);
    }
    Ok(Completed { value: whole, meta })
}

/// One batch.
async fn one(route: &Route, clock: &Clock, batch: EmbedRequest, count: usize) -> Result<Completed<Embeddings>, Error> {
    let size = batch.inputs.iter().map(String::len).sum();
    let counting = route.estimate_texts(&batch.model, &batch.inputs);
    let encoder = route.endpoint.clone();
    let outgoing = heavy::run(size, move || encoder.post(encoder.wire.encode_embed(&batch)?, false)).await?;
    let estimate = counting.done().await;
    let wire = route.endpoint.wire.clone();
    let decode = move |body: &Bytes| wire.decode_embed(body, count);
    let used = |vectors: &Embeddings| vectors.usage.map(|usage| usage.prompt_tokens());
    post(route, &outgoing, clock, estimate, decode, used).await
}

/// Cuts the texts into batches within the limits, each with the place of its first text.
fn batches(inputs: Vec<String>, limits: EmbedLimits) -> Vec<(usize, Vec<String>)> {
    let mut batches: Vec<(usize, Vec<String>)> = Vec::new();
    let mut bytes = 0_usize;
    for (place, text) in inputs.into_iter().enumerate() {
        let length = text.len();
        match batches.last_mut() {
            Some((_, batch)) if batch.len() < limits.texts && bytes + length <= limits.bytes => {
                bytes += length;
                batch.push(text);
            }
            _ => {
                bytes = length;
                batches.push((place, vec![text]));
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(lengths: &[usize], texts: usize, bytes: usize) -> Vec<(usize, usize)> {
        let inputs = lengths.iter().map(|n| "e".repeat(*n)).collect();
        batches(inputs, EmbedLimits { texts, bytes }).iter().map(|(start, batch)| (*start, batch.len())).collect()
    }

    #[test]
    fn batches_keep_within_both_limits() {
        assert_eq!(split(&[1; 5], 2, 100), [(0, 2), (2, 2), (4, 1)]);
        assert_eq!(split(&[5, 5, 5, 20, 1], 100, 10), [(0, 2), (2, 1), (3, 1), (4, 1)]);
        assert_eq!(split(&[], 100, 10), []);
    }
}
