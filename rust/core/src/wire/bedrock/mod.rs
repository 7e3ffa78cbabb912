//! Amazon Bedrock's Converse: `POST /model/{model}/converse` and `/converse-stream`, below the host of a region.
//!
//! One format for the models of many makers. What it has no field for goes, as each maker spells it, into
//! `additionalModelRequestFields`: here that is done for thinking and `top_k` of Claude, Nova and gpt-oss, told apart by
//! the model's name. What has no counterpart: `seed`, the two penalties, `user`, embeddings, a list of models (another
//! service has it). Thinking without a signature cannot be sent back and is left out, and so are empty texts.
//!
//! Source: AWS's API reference of the Bedrock runtime, and the service model in botocore, 2026-11.

mod decode;
mod encode;
mod fields;
mod media;
#[cfg(test)]
mod tests;

use http::HeaderMap;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::{
    Ask, Encoded, KeyHeader, StreamDecoder, Wire, body,
    lenient::{error_message, text_at},
    status::StatusError,
    too_long,
};
use crate::{
    error::{Error, ErrorKind, redact},
    model::{ChatRequest, Response},
    prompt_cache::PromptCache,
    stream::Framing,
};

/// The provider's name.
const NAME: &str = "bedrock";

/// The service's name in signatures.
pub const SERVICE: &str = "bedrock";

/// What stands in a model's id as it is; slashes and colons of an ARN do not.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Bedrock's Converse format.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bedrock;

fn path(model: &str, operation: &str) -> Result<String, Error> {
    if model.trim_matches('.').is_empty() {
        return Err(Error::invalid("the model's name is empty").with_provider(NAME).with_param("model".to_owned()));
    }
    Ok(format!("/model/{}/{operation}", utf8_percent_encode(model, UNRESERVED)))
}

impl Wire for Bedrock {
    fn name(&self) -> &'static str {
        NAME
    }

    fn key_header(&self) -> KeyHeader {
        KeyHeader { name: "authorization", prefix: "Bearer " }
    }

    fn framing(&self) -> Framing {
        Framing::EventStream
    }

    fn encode_chat(&self, request: &ChatRequest) -> Result<Encoded, Error> {
        let operation = if request.stream { "converse-stream" } else { "converse" };
        Ok(Encoded { path: path(&request.model, operation)?, body: encode::chat(request)?.into() })
    }

    fn decode_chat(&self, body: &[u8]) -> Result<Response, Error> {
        decode::message(body)
    }

    fn stream_decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(decode::Stream::default())
    }

    /// Marks go to the models that take them: others refuse a prompt that holds one.
    fn mark(&self, config: &PromptCache, request: &mut ChatRequest) {
        if fields::Family::of(&request.model).takes_marks() {
            config.apply(request);
        }
    }

    fn list_models(&self, _: Option<&str>) -> Result<Ask, Error> {
        let instead = "Bedrock's other service has it: `aws bedrock list-foundation-models`, `list-inference-profiles`";
        Err(body::unsupported(NAME, "list_models", instead))
    }

    fn count_tokens(&self, request: &ChatRequest) -> Result<Ask, Error> {
        Ok(Ask::post(path(&request.model, "count-tokens")?, encode::count(request)?))
    }

    fn decode_count(&self, body: &[u8]) -> Result<u64, Error> {
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        let count = value.get("inputTokens").and_then(Value::as_u64);
        count.ok_or_else(|| body::malformed(NAME, "the answer holds no count of tokens", body))
    }

    fn decode_error(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Error {
        let name = headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok());
        error(name, Some(status), body)
    }
}

/// The status that an exception has outside of a stream.
fn status_of(exception: &str) -> u16 {
    match exception {
        "validationexception" | "servicequotaexceededexception" => 400,
        "accessdeniedexception" => 403,
        "resourcenotfoundexception" => 404,
        "modeltimeoutexception" => 408,
        "modelerrorexception" | "modelstreamerrorexception" => 424,
        "throttlingexception" | "modelnotreadyexception" => 429,
        "serviceunavailableexception" => 503,
        _ => 500,
    }
}

/// What AWS answers, mostly with 403, where a key or a signature is no good. Source: AWS's "Common Errors".
const NOT_SIGNED: [&str; 9] = [
    "expiredtoken",
    "expiredtokenexception",
    "incompletesignature",
    "incompletesignatureexception",
    "invalidclienttokenid",
    "invalidsignatureexception",
    "missingauthenticationtoken",
    "missingauthenticationtokenexception",
    "unrecognizedclientexception",
];

/// The error that an answer's body carries, or a message of a stream, which has a name instead of a status.
#[cold]
fn error(name: Option<&str>, status: Option<u16>, body: &[u8]) -> Error {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let name = name.map(str::to_owned).or_else(|| text_at(&value, "/__type")).unwrap_or_default();
    // `com.amazon.coral#ValidationException:http://…`
    let name = name.split(':').next().unwrap_or_default().rsplit('#').next().unwrap_or_default();
    let lower = name.to_ascii_lowercase();
    let status = status.unwrap_or_else(|| status_of(&lower));
    let message = error_message(&value, &["/message", "/Message"], body);
    let error_type = (!name.is_empty()).then(|| name.to_owned());
    if NOT_SIGNED.contains(&lower.as_str()) {
        let hint = "check the key, its secret, the session token, the region and this machine's clock; for new \
                    credentials make a new provider";
        return Error::new(ErrorKind::Authentication, format!("{} ({hint})", redact(&message)))
            .with_provider(NAME)
            .with_status(status)
            .with_error_type(error_type);
    }
    let kind_of = match lower.as_str() {
        "servicequotaexceededexception" => 402,
        // It is the model that failed, and no fault of the request's.
        "modelerrorexception" | "modelstreamerrorexception" => 500,
        _ => status,
    };
    let error = StatusError { message, error_type, ..StatusError::default() };
    let error = error.read_by(&too_long::BEDROCK).into_error(NAME, kind_of);
    // Of a broken stream the API reference says "Retry your request", of a failed model it does not.
    let retryable = error.retryable() && lower != "modelerrorexception";
    error.with_retryable(retryable).with_status(status)
}
