//! Ollama's embeddings: `POST /api/embed`.

use serde::{Deserialize, de::IgnoredAny};

use super::{NAME, error};
use crate::{
    error::Error,
    model::{EmbedRequest, Embeddings, Usage},
    wire::{
        EmbedLimits,
        body::{ObjectWriter, malformed, unsupported},
        common::check_vectors,
        lenient::{Count, Text, parse},
    },
};

/// Ollama sets no limit; these keep one request from holding a small server for long.
pub(super) const LIMITS: EmbedLimits = EmbedLimits { texts: 512, bytes: 1_000_000 };

/// The body for a batch of texts.
pub(super) fn encode(request: &EmbedRequest) -> Result<Vec<u8>, Error> {
    if request.task_type.is_some() {
        return Err(unsupported(NAME, "task_type", "put the model's own prefix before each text"));
    }
    let mut out = Vec::with_capacity(1024);
    let mut body = ObjectWriter::with_extra(&mut out, &request.extra);
    body.field("model", &request.model);
    body.field("input", &request.inputs);
    body.optional("dimensions", request.dimensions);
    body.close();
    Ok(out)
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default)]
    model: Text<'a>,
    embeddings: Option<Vec<Vec<f32>>>,
    #[serde(default)]
    prompt_eval_count: Count,
    error: Option<IgnoredAny>,
}

/// The vectors of a batch; they stand in the order of the texts.
pub(super) fn decode(body: &[u8], count: usize) -> Result<Embeddings, Error> {
    let answer: Answer<'_> = parse(NAME, "the answer", body)?;
    if answer.error.is_some() {
        return Err(error(body, None));
    }
    let Some(vectors) = answer.embeddings else {
        return Err(malformed(NAME, "the answer has no embeddings", body));
    };
    let vectors = vectors.iter().map(Vec::as_slice);
    let mut embeddings = check_vectors(NAME, vectors, count)?;
    embeddings.model = answer.model.0.into_owned();
    embeddings.usage = answer.prompt_eval_count.0.map(|input| Usage { input, ..Usage::default() });
    Ok(embeddings)
}
