//! Gemini's embeddings: `batchEmbedContents`.

use serde::{Deserialize, de::IgnoredAny};

use super::{NAME, error, resource};
use crate::{
    error::Error,
    model::{EmbedRequest, Embeddings, Usage},
    wire::{
        EmbedLimits,
        body::{ObjectWriter, malformed},
        common::check_vectors,
        lenient::{Count, lenient, parse},
    },
};

/// Gemini takes 100 texts a batch. A text may have 2,048 tokens; 100 of them are some 800,000 characters.
pub(super) const LIMITS: EmbedLimits = EmbedLimits { texts: 100, bytes: 800_000 };

/// The body for a batch of texts. `extra` goes into each text's request: the body has no other field.
pub(super) fn encode(request: &EmbedRequest) -> Result<Vec<u8>, Error> {
    let model = resource(&request.model);
    let mut out = Vec::with_capacity(1024);
    let mut body = ObjectWriter::new(&mut out);
    body.array("requests", &request.inputs, |out, text| {
        let mut item = ObjectWriter::with_extra(out, &request.extra);
        item.field("model", &model);
        if let Some(mut content) = item.open("content") {
            content.array("parts", [text], |out, text| {
                let mut part = ObjectWriter::new(out);
                part.field("text", text);
                part.close();
                Ok(())
            })?;
            content.close();
        }
        item.optional("taskType", request.task_type.as_ref());
        item.optional("outputDimensionality", request.dimensions);
        item.close();
        Ok(())
    })?;
    body.close();
    Ok(out)
}

#[derive(Deserialize)]
struct Answer {
    embeddings: Option<Vec<Vector>>,
    #[serde(default, rename = "usageMetadata", deserialize_with = "lenient")]
    usage: Option<Tokens>,
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Vector {
    values: Vec<f32>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Tokens {
    prompt_token_count: Count,
}

/// The vectors of a batch; they stand in the order of the texts.
pub(super) fn decode(body: &[u8], count: usize) -> Result<Embeddings, Error> {
    let answer: Answer = parse(NAME, "the answer", body)?;
    if answer.error.is_some() {
        return Err(error(body, None));
    }
    let Some(vectors) = answer.embeddings else {
        return Err(malformed(NAME, "the answer has no embeddings", body));
    };
    let vectors = vectors.iter().map(|vector| vector.values.as_slice());
    let mut embeddings = check_vectors(NAME, vectors, count)?;
    let tokens = answer.usage.and_then(|usage| usage.prompt_token_count.0);
    embeddings.usage = tokens.map(|input| Usage { input, ..Usage::default() });
    Ok(embeddings)
}
