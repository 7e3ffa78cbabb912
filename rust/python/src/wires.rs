//! The wire formats by name, and decoding by hand for tests against recorded answers.

use std::sync::Arc;

use edgequake_core::{
    Error, ErrorKind,
    model::Assembly,
    stream::{Frame, MAX_FRAME, Parser, eventstream::EventStreamParser, ndjson::NdJsonParser, sse::SseParser},
    wire::{
        StreamDecoder, Wire,
        anthropic::Anthropic,
        bedrock::Bedrock,
        gemini::Gemini,
        ollama::Ollama,
        openai::{OpenAi, presets, responses::OpenAiResponses},
        template,
    },
};
use http::{HeaderMap, HeaderName, HeaderValue};
use pyo3::{
    IntoPyObjectExt,
    prelude::*,
    types::{PyBytes, PyDict},
};

use crate::{embeddings::Embeddings, errors::to_py, event, options::header_pairs, response::LlmResponse};

/// The wire format of that name, as it is spoken at that address.
pub(crate) fn at(name: &Bound<'_, PyAny>, base_url: &str) -> PyResult<Arc<dyn Wire>> {
    Ok(match name.extract()? {
        "openai" => Arc::new(OpenAi::at(base_url)),
        "openai-responses" => Arc::new(OpenAiResponses { base: OpenAi::at(base_url) }),
        _ => return from_py(name),
    })
}

/// The wire format of that name.
pub(crate) fn from_py(name: &Bound<'_, PyAny>) -> PyResult<Arc<dyn Wire>> {
    let given: String = name.extract()?;
    Ok(match given.as_str() {
        "openai" => Arc::new(OpenAi::default()),
        "openai-responses" => Arc::new(OpenAiResponses::default()),
        "anthropic" => Arc::new(Anthropic),
        "gemini" => Arc::new(Gemini),
        "ollama" => Arc::new(Ollama),
        "bedrock" => Arc::new(Bedrock),
        other => match (chat(other), other.strip_suffix("-responses").and_then(chat)) {
            (Some(wire), _) => Arc::new(wire.clone()),
            (None, Some(base)) => Arc::new(OpenAiResponses { base: base.clone() }),
            (None, None) => {
                let there = "openai and its presets, anthropic, gemini, ollama and bedrock";
                let message = format!("there is no wire format {given:?}; there are {there}");
                return Err(to_py(name.py(), &Error::new(ErrorKind::Configuration, message)));
            }
        },
    })
}

/// The format of a server that speaks OpenAI's, by the server's name.
fn chat(name: &str) -> Option<&'static OpenAi> {
    match name {
        "azure-deployments" => Some(&presets::AZURE_DEPLOYMENTS),
        name => presets::preset(name).map(|preset| preset.wire).or_else(|| reranker(name)),
    }
}

/// The format of a service that ranks documents.
fn reranker(name: &str) -> Option<&'static OpenAi> {
    static RERANKERS: [OpenAi; 2] = presets::RERANKERS;
    RERANKERS.iter().find(|wire| wire.name == name)
}

/// Decodes a recorded answer as a call would, and returns the response or raises.
///
/// A stream's body is fed in pieces that end at `cuts` (byte places in ascending order).
#[pyfunction]
#[pyo3(signature = (wire, body, *, status=200, headers=None, stream=false, cuts=Vec::new()))]
pub(crate) fn decode_chat(
    wire: &Bound<'_, PyAny>,
    body: &[u8],
    status: u16,
    headers: Option<&Bound<'_, PyDict>>,
    stream: bool,
    cuts: Vec<usize>,
) -> PyResult<Py<PyAny>> {
    let py = wire.py();
    let wire = from_py(wire)?;
    let mut map = HeaderMap::new();
    for (name, value) in headers.map(|headers| header_pairs(headers)).transpose()?.unwrap_or_default() {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            map.insert(name, value);
        }
    }
    let outcome = if !(200..300).contains(&status) {
        Err(edgequake_core::call::status_error(wire.as_ref(), status, &map, body))
    } else if stream {
        read_stream(wire.as_ref(), body, &cuts, |_| ())
    } else {
        wire.decode_chat(body)
    };
    match outcome {
        Ok(response) => LlmResponse::partial(response, Some(wire.name())).into_py_any(py),
        Err(error) => Err(to_py(py, &error.with_provider(wire.name()))),
    }
}

/// Decodes a recorded answer with the vectors of `count` texts.
#[pyfunction]
pub(crate) fn decode_embed(wire: &Bound<'_, PyAny>, body: &[u8], count: usize) -> PyResult<Embeddings> {
    let py = wire.py();
    let wire = from_py(wire)?;
    match wire.decode_embed(body, count) {
        Ok(vectors) => Embeddings::by_hand(py, vectors, wire.name()),
        Err(error) => Err(to_py(py, &error.with_provider(wire.name()))),
    }
}

/// The events of a recorded stream, fed in pieces that end at `cuts`; raises what the stream would.
#[pyfunction]
#[pyo3(signature = (wire, body, *, cuts=Vec::new()))]
pub(crate) fn decode_events(wire: &Bound<'_, PyAny>, body: &[u8], cuts: Vec<usize>) -> PyResult<Vec<Py<PyAny>>> {
    let py = wire.py();
    let wire = from_py(wire)?;
    let mut events = Vec::new();
    let outcome = read_stream(wire.as_ref(), body, &cuts, |answer| events.extend(answer.events()));
    outcome.map_err(|error| to_py(py, &error.with_provider(wire.name())))?;
    events.into_iter().map(|event| event::to_py(py, event)).collect()
}

/// An event's name and its data.
type NamedFrame<'py> = (String, Bound<'py, PyBytes>);

/// What the parser of a framing, `"sse"`, `"ndjson"` or `"eventstream"`, makes of pieces of a stream: for each piece, and then for the
/// end of the body, a list of (event name, data).
#[pyfunction]
#[pyo3(signature = (framing, pieces, *, max_frame=MAX_FRAME))]
pub(crate) fn read_frames<'py>(
    py: Python<'py>,
    framing: &str,
    pieces: Vec<Bound<'py, PyBytes>>,
    max_frame: usize,
) -> PyResult<Vec<Vec<NamedFrame<'py>>>> {
    let mut parser = match framing {
        "sse" => Parser::Sse(SseParser::new(max_frame)),
        "ndjson" => Parser::NdJson(NdJsonParser::new(max_frame)),
        "eventstream" => Parser::EventStream(EventStreamParser::new(max_frame)),
        _ => {
            let message = format!("there is no framing {framing:?}; there are sse, ndjson and eventstream");
            return Err(to_py(py, &Error::new(ErrorKind::Configuration, message)));
        }
    };
    let mut frames = Vec::with_capacity(pieces.len() + 1);
    for piece in pieces.iter().map(Some).chain([None]) {
        let mut these = Vec::new();
        let push = |frame: Frame<'_>| {
            these.push((frame.event.to_owned(), PyBytes::new(py, frame.data)));
            Ok(())
        };
        let outcome = match piece {
            Some(piece) => parser.feed(piece.as_bytes(), push),
            None => parser.finish(push),
        };
        outcome.map_err(|error| to_py(py, &error))?;
        frames.push(these);
    }
    Ok(frames)
}

/// Decodes a stream that comes in pieces, and calls `after_piece` behind each.
fn read_stream(
    wire: &dyn Wire,
    body: &[u8],
    cuts: &[usize],
    mut after_piece: impl FnMut(&mut Assembly),
) -> Result<edgequake_core::model::Response, Error> {
    let (mut decoder, mut parser) = (template::decoder(wire), Parser::new(wire.framing()));
    let mut answer = Assembly::new();
    let mut from = 0;
    for to in cuts.iter().copied().chain([body.len()]) {
        let piece = body.get(from..to.min(body.len())).unwrap_or_default();
        parser.feed(piece, |frame| decoder.frame(frame, &mut answer))?;
        after_piece(&mut answer);
        from = from.max(to.min(body.len()));
    }
    parser.finish(|frame| decoder.frame(frame, &mut answer))?;
    after_piece(&mut answer);
    if !answer.is_complete() {
        let error = Error::new(ErrorKind::Interrupted, "the stream ended before its end");
        return Err(error.with_partial(answer.into_response()));
    }
    Ok(answer.into_response())
}
