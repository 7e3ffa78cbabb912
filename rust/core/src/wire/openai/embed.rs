//! Embedding requests and answers.

use std::{borrow::Cow, fmt};

use base64::{Engine, engine::general_purpose::STANDARD_PAD_INDIFFERENT};
use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};

use super::{
    OpenAi,
    decode::Tokens,
    error,
    raw::{Raw, utf8},
};
use crate::{
    error::{Error, ErrorKind},
    model::{EmbedRequest, Embeddings},
    wire::{
        Encoded,
        body::{ObjectWriter, unsupported},
    },
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer<'a> {
    #[serde(borrow)]
    model: Raw<'a>,
    data: Option<Vec<Item<'a>>>,
    usage: Raw<'a>,
    error: Raw<'a>,
}

#[derive(Debug, Deserialize)]
struct Item<'a> {
    #[serde(borrow, default)]
    index: Raw<'a>,
    embedding: Vector<'a>,
}

/// A vector in either encoding.
#[derive(Debug)]
enum Vector<'a> {
    /// Little-endian 32-bit floats in base64.
    Base64(Cow<'a, str>),
    Numbers(Vec<f32>),
}

struct VectorVisitor;

impl<'de> Visitor<'de> for VectorVisitor {
    type Value = Vector<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a vector, as a list of numbers or in base64")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Vector::Base64(text.into()))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Vector::Base64(text.to_owned().into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut numbers = Vec::new();
        while let Some(number) = items.next_element()? {
            numbers.push(number);
        }
        Ok(Vector::Numbers(numbers))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Vector<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(VectorVisitor)
    }
}

/// Encodes one batch.
pub(super) fn encode(wire: &OpenAi, request: &EmbedRequest) -> Result<Encoded, Error> {
    if request.task_type.is_some() {
        return Err(unsupported(wire.name, "task_type", "if this server has such a field, send it in extra"));
    }
    let size: usize = request.inputs.iter().map(|text| text.len() + 8).sum();
    let mut out = Vec::with_capacity(size + 256);
    let mut body = ObjectWriter::with_extra(&mut out, &request.extra);
    body.field("model", &request.model);
    body.field("input", &request.inputs);
    body.optional("dimensions", request.dimensions);
    body.optional("encoding_format", wire.base64_embeddings.then_some("base64"));
    body.close();
    Ok(Encoded { path: "/embeddings".to_owned(), body: out.into() })
}

/// Reads the vectors of a batch of `count` texts and puts each where its index says.
pub(super) fn decode(provider: &'static str, body: &[u8], count: usize) -> Result<Embeddings, Error> {
    let text = utf8(body);
    let parsed: Answer<'_> = serde_json::from_str(&text)
        .map_err(|_| error::instead_of_answer(provider, "the answer holds no embeddings", body))?;
    if error::is_one(parsed.error) {
        return Err(error::inside(provider, parsed.error.json().as_bytes()));
    }
    let Some(items) = parsed.data else {
        return Err(error::instead_of_answer(provider, "the answer holds no embeddings", body));
    };
    let fail = |message: String| Error::new(ErrorKind::Malformed, message).with_provider(provider);
    let mut places: Vec<Option<&Vector<'_>>> = vec![None; count];
    for (n, item) in items.iter().enumerate() {
        // A server that gives no index means the order of the texts.
        let index = item.index.count().map_or(Some(n), |index| usize::try_from(index).ok());
        let place = index.and_then(|index| places.get_mut(index));
        match place {
            Some(place @ None) => *place = Some(&item.embedding),
            Some(Some(_)) => return Err(fail(format!("the answer holds two vectors for one text of {count}"))),
            None => {
                return Err(fail(format!("the answer holds a vector for a text beyond the {count} that were sent")));
            }
        }
    }
    let mut embeddings = Embeddings { model: parsed.model.text().into_owned(), ..Embeddings::default() };
    embeddings.usage = parsed.usage.read::<Tokens<'_>>().and_then(|tokens| tokens.usage());
    let (mut bytes, mut numbers) = (Vec::new(), Vec::new());
    for (n, place) in places.into_iter().enumerate() {
        let vector = match place {
            Some(Vector::Numbers(given)) => given,
            Some(Vector::Base64(text)) => {
                bytes.clear();
                numbers.clear();
                let decoded = STANDARD_PAD_INDIFFERENT.decode_vec(text.as_ref(), &mut bytes);
                let (whole, rest) = bytes.as_chunks::<4>();
                if decoded.is_err() || !rest.is_empty() {
                    return Err(fail(format!("vector {n} of the answer is not base64 of 32-bit floats")));
                }
                numbers.extend(whole.iter().map(|four| f32::from_le_bytes(*four)));
                &numbers
            }
            None => return Err(fail(format!("the answer lacks the vector of text {n}, of {count}"))),
        };
        if n == 0 {
            embeddings.values.reserve_exact(vector.len().saturating_mul(count));
        }
        embeddings.push(vector).map_err(|error| error.with_provider(provider))?;
    }
    Ok(embeddings)
}
