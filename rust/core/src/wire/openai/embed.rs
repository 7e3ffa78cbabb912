//! Embedding requests and answers.

use std::{borrow::Cow, fmt};

use base64::{Engine, engine::general_purpose::STANDARD_PAD_INDIFFERENT};
use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};

use super::{
    OpenAi, error,
    raw::{Raw, utf8},
    usage::Tokens,
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
    if request.task_type.is_some() && wire.task_field.is_none() {
        return Err(unsupported(wire.name, "task_type", "if this server has such a field, send it in extra"));
    }
    let size: usize = request.inputs.iter().map(|text| text.len() + 8).sum();
    let mut out = Vec::with_capacity(size + 256);
    let mut body = ObjectWriter::with_extra(&mut out, &request.extra);
    body.field("model", &request.model);
    body.field("input", &request.inputs);
    body.optional(wire.dimensions_field, request.dimensions);
    if let Some(field) = wire.task_field {
        body.optional(field, request.task_type.as_ref());
    }
    body.optional("encoding_format", wire.base64_embeddings.then_some("base64"));
    body.close();
    Ok(Encoded { path: wire.path(&request.model, "embeddings"), body: out.into() })
}

/// Reads the vectors of a batch of `count` texts and puts each where its index says.
pub(super) fn decode(wire: &OpenAi, body: &[u8], count: usize) -> Result<Embeddings, Error> {
    let provider = wire.name;
    let text = utf8(body);
    let parsed: Answer<'_> = serde_json::from_str(&text).map_err(|_| {
        let what = if holds_tokens(&text) { UNPOOLED } else { "the answer holds no embeddings" };
        error::instead_of_answer(provider, what, body)
    })?;
    if error::is_one(parsed.error) {
        return Err(error::inside(provider, parsed.error.json().as_bytes()));
    }
    let Some(items) = parsed.data else {
        return Err(error::instead_of_answer(provider, "the answer holds no embeddings", body));
    };
    let mut embeddings = Embeddings { model: parsed.model.text().into_owned(), ..Embeddings::default() };
    embeddings.usage = parsed.usage.read::<Tokens<'_>>().and_then(|tokens| tokens.usage());
    fill(&mut embeddings, wire, &items, count).map_err(|error| error.with_provider(provider))?;
    Ok(embeddings)
}

/// What servers of models that were made to generate do, llama.cpp's among them.
const UNPOOLED: &str = "the server gives a vector for each token, and none for the text: it has to pool them";

fn holds_tokens(answer: &str) -> bool {
    let parsed: Option<serde_json::Value> = serde_json::from_str(answer).ok();
    parsed.is_some_and(|answer| answer.pointer("/data/0/embedding/0/0").is_some())
}

fn malformed(message: String) -> Error {
    Error::new(ErrorKind::Malformed, message)
}

/// The vectors in the order of their texts.
fn fill(embeddings: &mut Embeddings, wire: &OpenAi, items: &[Item<'_>], count: usize) -> Result<(), Error> {
    let mut places: Vec<Option<&Vector<'_>>> = vec![None; count];
    for (n, item) in items.iter().enumerate() {
        // A server that gives no index means the order of the texts.
        let index = item.index.count().map_or(Some(n), |index| usize::try_from(index).ok());
        match index.and_then(|index| places.get_mut(index)) {
            Some(place @ None) => *place = Some(&item.embedding),
            Some(Some(_)) => return Err(malformed(format!("the answer holds two vectors for one of {count} texts"))),
            None => return Err(malformed(format!("the answer holds a vector beyond those of the {count} texts"))),
        }
    }
    let (mut bytes, mut numbers) = (Vec::new(), Vec::new());
    for (n, place) in places.into_iter().enumerate() {
        let vector = match place {
            Some(Vector::Numbers(given)) => given,
            Some(Vector::Base64(text)) => {
                numbers.clear();
                bytes.clear();
                let decoded = STANDARD_PAD_INDIFFERENT.decode_vec(text.as_ref(), &mut bytes);
                if decoded.is_err() || !read_numbers(wire, &bytes, &mut numbers) {
                    return Err(malformed(format!("vector {n} of the answer is not base64 of 32-bit floats")));
                }
                &numbers
            }
            None => return Err(malformed(format!("the answer lacks the vector of text {n}, of {count}"))),
        };
        if n == 0 {
            embeddings.values.reserve_exact(vector.len().saturating_mul(count));
        }
        embeddings.push(vector)?;
    }
    Ok(())
}

/// Reads a vector's bytes; false if they are no vector. No model gives numbers beyond a billion: they show
/// that the bytes are in another encoding, which would else pass for a vector unnoticed.
fn read_numbers(wire: &OpenAi, bytes: &[u8], numbers: &mut Vec<f32>) -> bool {
    if wire.int8_embeddings {
        numbers.extend(bytes.iter().map(|byte| f32::from(byte.cast_signed())));
        return true;
    }
    let (whole, rest) = bytes.as_chunks::<4>();
    numbers.extend(whole.iter().map(|four| f32::from_le_bytes(*four)));
    rest.is_empty() && numbers.iter().all(|number| number.abs() < 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::JsonObject;

    fn read(wire: &OpenAi, body: &str, count: usize) -> Result<Embeddings, Error> {
        decode(wire, body.as_bytes(), count)
    }

    fn base64(numbers: &[f32]) -> String {
        STANDARD_PAD_INDIFFERENT.encode(numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>())
    }

    #[test]
    fn the_request() {
        let request = EmbedRequest {
            model: "e".to_owned(),
            inputs: vec!["a\n".to_owned(), "b".to_owned()],
            dimensions: Some(8),
            task_type: None,
            extra: JsonObject::from_iter([("user".to_owned(), "u".into())]),
        };
        let wire = OpenAi::default();
        let encoded = encode(&wire, &request).unwrap();
        assert_eq!(encoded.path, "/embeddings");
        assert_eq!(
            encoded.body,
            br#"{"model":"e","input":["a\n","b"],"dimensions":8,"encoding_format":"base64","user":"u"}"#.as_slice()
        );
        let plain = OpenAi { base64_embeddings: false, ..wire.clone() };
        let encoded = encode(&plain, &EmbedRequest { dimensions: None, ..request.clone() }).unwrap();
        assert_eq!(encoded.body, br#"{"model":"e","input":["a\n","b"],"user":"u"}"#.as_slice());
        let error = encode(&wire, &EmbedRequest { task_type: Some("x".to_owned()), ..request }).unwrap_err();
        assert_eq!((error.kind(), error.param()), (ErrorKind::Unsupported, Some("task_type")));
    }

    #[test]
    fn vectors_go_where_their_index_says() {
        let wire = OpenAi::default();
        let (first, second) = (base64(&[1.5, -2.0]), base64(&[0.25, 1e-7]));
        for body in [
            format!(
                r#"{{"model":"e","data":[{{"index":1,"embedding":"{second}"}},{{"index":0,"embedding":"{first}"}}],"usage":{{"prompt_tokens":9,"total_tokens":9}}}}"#
            ),
            format!(
                r#"{{"model":"e","data":[{{"embedding":[1.5,-2]}},{{"index":null,"embedding":"{second}"}}],"usage":{{"prompt_tokens":9}}}}"#
            ),
            format!(
                r#"{{"model":"e","data":[{{"embedding":"{}"}},{{"embedding":"{}"}}],"usage":{{"prompt_tokens":9}}}}"#,
                first.replace('A', "\\u0041"),
                second.trim_end_matches('=')
            ),
        ] {
            let got = read(&wire, &body, 2).unwrap();
            assert_eq!(
                (got.model.as_str(), got.dims, got.values.as_slice()),
                ("e", 2, [1.5, -2.0, 0.25, 1e-7].as_slice()),
                "{body}"
            );
            assert_eq!(got.usage.map(|usage| (usage.prompt_tokens(), usage.total_tokens())), Some((9, 9)));
        }
        assert_eq!(read(&wire, r#"{"data":[]}"#, 0).unwrap().len(), 0);
    }

    #[test]
    fn signed_bytes() {
        let wire = OpenAi { int8_embeddings: true, ..OpenAi::default() };
        let body = format!(
            r#"{{"data":[{{"index":0,"embedding":"{}"}}]}}"#,
            STANDARD_PAD_INDIFFERENT.encode([0, 127, 128, 255, 1])
        );
        assert_eq!(read(&wire, &body, 1).unwrap().values, [0.0, 127.0, -128.0, -1.0, 1.0]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let odd = STANDARD_PAD_INDIFFERENT.encode([1, 2, 3, 4, 5]);
        let nan = base64(&[f32::NAN]);
        let huge = base64(&[3e30]);
        for (body, count, message) in [
            (r#"{"data":[{"index":0,"embedding":[1]}]}"#.to_owned(), 2, "the answer lacks the vector of text 1, of 2"),
            (
                r#"{"data":[{"index":1,"embedding":[1]},{"index":1,"embedding":[1]}]}"#.to_owned(),
                2,
                "the answer holds two vectors for one of 2 texts",
            ),
            (
                r#"{"data":[{"index":2,"embedding":[1]}]}"#.to_owned(),
                2,
                "the answer holds a vector beyond those of the 2 texts",
            ),
            (
                r#"{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[1,2]}]}"#.to_owned(),
                2,
                "vectors of 1 and 2 numbers in one answer",
            ),
            (r#"{"data":[{"index":0,"embedding":[]}]}"#.to_owned(), 1, "vectors of 0 and 0 numbers in one answer"),
            (
                format!(r#"{{"data":[{{"index":0,"embedding":"{odd}"}}]}}"#),
                1,
                "vector 0 of the answer is not base64 of 32-bit floats",
            ),
            (
                format!(r#"{{"data":[{{"index":0,"embedding":"{nan}"}}]}}"#),
                1,
                "vector 0 of the answer is not base64 of 32-bit floats",
            ),
            (
                format!(r#"{{"data":[{{"index":0,"embedding":"{huge}"}}]}}"#),
                1,
                "vector 0 of the answer is not base64 of 32-bit floats",
            ),
            (
                r#"{"data":[{"index":0,"embedding":"*"}]}"#.to_owned(),
                1,
                "vector 0 of the answer is not base64 of 32-bit floats",
            ),
            (r#"{"data":[{"index":0,"embedding":null}]}"#.to_owned(), 1, "the answer holds no embeddings; got: "),
            (
                r#"{"data":[{"index":0,"embedding":[[1.0,2.0],[3.0,4.0]]}]}"#.to_owned(),
                1,
                "the server gives a vector for each token, and none for the text: it has to pool them",
            ),
            ("{}".to_owned(), 1, "the answer holds no embeddings; got: {}"),
            ("<html>".to_owned(), 1, "the answer holds no embeddings; got: <html>"),
        ] {
            let error = read(&OpenAi::default(), &body, count).unwrap_err();
            assert_eq!((error.kind(), error.provider()), (ErrorKind::Malformed, Some("openai")), "{body}");
            assert!(error.message().starts_with(message), "{error} {body}");
        }
        let error = read(&OpenAi::default(), r#"{"error":{"code":429,"message":"m"}}"#, 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RateLimit);
    }
}
