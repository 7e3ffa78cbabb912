//! Reads the error bodies of OpenAI and of the servers that imitate it, each in its own way.

use serde_json::Value;

use super::raw::Raw;
use crate::{
    error::{Error, excerpt},
    wire::{body::malformed, status::StatusError, too_long},
};

/// Statuses for the codes and types of errors that come inside an answer of status 200, where no number says it.
const STATUSES: [(&[&str], u16); 8] = [
    (&["rate_limit_exceeded", "rate_limit_error", "too_many_requests", "insufficient_quota", "slow_down"], 429),
    (&["authentication_error", "invalid_api_key"], 401),
    (&["billing_error", "insufficient_credits"], 402),
    (&["permission_error", "forbidden"], 403),
    (&["not_found_error", "model_not_found"], 404),
    (&["overloaded_error", "service_unavailable", "server_overloaded", "engine_overloaded"], 503),
    (&["timeout_error", "timeout"], 504),
    (&["context_length_exceeded", "string_above_max_length", "invalid_request_error", "content_filter"], 400),
];

/// Whether an `error` field holds an error: some servers send it empty beside a good answer.
pub(super) fn is_one(error: Raw<'_>) -> bool {
    !matches!(error.json(), "" | "\"\"" | "{}" | "[]" | "false")
}

/// The error for an answer of an error status.
pub(super) fn of_status(provider: &'static str, status: u16, body: &[u8]) -> Error {
    let parsed: Option<Value> = serde_json::from_slice(body).ok().or_else(|| framed(body));
    let said = parsed
        .as_ref()
        .and_then(body_error)
        .unwrap_or_else(|| StatusError { message: excerpt(body), ..StatusError::default() });
    said.read_by(&too_long::OPENAI).into_error(provider, status)
}

/// What stands in the first event of a body that is framed like a stream, as gateways send it that had begun with one.
fn framed(body: &[u8]) -> Option<Value> {
    let data = body.trim_ascii_start().strip_prefix(b"data:")?;
    serde_json::from_slice(data.split(|byte| *byte == b'\n').next()?).ok()
}

/// The error for what stands in an `error` field, or in an error event, under status 200.
#[cold]
pub(super) fn inside(provider: &'static str, error: &[u8]) -> Error {
    let parsed: Option<Value> = serde_json::from_slice(error).ok();
    let said = parsed.as_ref().and_then(|value| body_error(value).or_else(|| plain_error(value)));
    let said = said.unwrap_or_else(|| StatusError { message: excerpt(error), ..StatusError::default() });
    let status = implied_status(&said);
    said.read_by(&too_long::OPENAI).into_error(provider, status)
}

/// The error for a body or frame of status 200 that is no answer: the error it carries, if it is an error body.
#[cold]
pub(super) fn instead_of_answer(provider: &'static str, what: &str, body: &[u8]) -> Error {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    match parsed.as_ref().and_then(body_error) {
        Some(_) => inside(provider, body),
        None => malformed(provider, what, body),
    }
}

/// The status that an error means: its code if that is one, else by its code's or type's name; 500 if nothing is known.
fn implied_status(said: &StatusError) -> u16 {
    let number = said.code.as_ref().and_then(|code| code.parse().ok()).filter(|code| (400..=599).contains(code));
    let named = || {
        let given = [&said.code, &said.error_type].into_iter().flatten();
        given.filter_map(|name| STATUSES.iter().find(|(names, _)| names.contains(&name.as_str()))).next()
    };
    number.or_else(|| named().map(|(_, status)| *status)).unwrap_or(500)
}

/// Finds the error in a body: `{"error": {…}}`, `{"error": "text"}`, a bare `{"message": …}` or `{"detail": …}`, a list
/// of any of these.
fn body_error(body: &Value) -> Option<StatusError> {
    match body {
        Value::Array(items) => body_error(items.first()?),
        Value::Object(fields) => {
            if let Some(error) = fields.get("error") {
                let mut said = plain_error(error)?;
                // Beside a plain text there may be a code and a type (Hugging Face).
                said.code = said.code.or_else(|| text_of(fields.get("code")));
                let kind = || text_of(fields.get("error_type").or_else(|| fields.get("type")));
                said.error_type = said.error_type.or_else(kind);
                return Some(said);
            }
            match fields.get("errors") {
                Some(Value::Array(errors)) => plain_error(errors.first()?),
                _ => plain_error(body),
            }
        }
        _ => None,
    }
}

/// Reads an error that is a text or an object of its own.
fn plain_error(error: &Value) -> Option<StatusError> {
    let fields = match error {
        Value::String(message) => return Some(StatusError { message: message.clone(), ..StatusError::default() }),
        Value::Object(fields) => fields,
        _ => return None,
    };
    let mut message = ["message", "detail", "msg", "error"].iter().find_map(|key| sentence(fields.get(*key)?))?;
    if let Some(behind) = fields.get("metadata").and_then(behind_the_gateway) {
        message = format!("{message} ({behind})");
    }
    Some(StatusError {
        message,
        code: text_of(fields.get("code")),
        error_type: text_of(fields.get("type")),
        param: text_of(fields.get("param")),
        ..StatusError::default()
    })
}

/// What a message says: a text, FastAPI's list of `{loc, msg}`, or an object with a message of its own (Mistral).
fn sentence(message: &Value) -> Option<String> {
    match message {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let parts: Vec<String> = items.iter().filter_map(sentence).collect();
            (!parts.is_empty()).then(|| parts.join("; "))
        }
        Value::Object(fields) => {
            let text = ["msg", "message", "detail"].iter().find_map(|key| sentence(fields.get(*key)?))?;
            let place = fields.get("loc").and_then(Value::as_array).map(|loc| {
                let names: Vec<String> = loc.iter().filter_map(|name| text_of(Some(name))).collect();
                names.join(".")
            });
            Some(place.map_or(text.clone(), |place| format!("{place}: {text}")))
        }
        _ => None,
    }
}

/// OpenRouter's `metadata`: which provider failed and what it said.
fn behind_the_gateway(metadata: &Value) -> Option<String> {
    let said = match metadata.get("raw")? {
        Value::String(text) => excerpt(text.as_bytes()),
        other => excerpt(other.to_string().as_bytes()),
    };
    match metadata.get("provider_name").and_then(Value::as_str) {
        Some(name) => Some(format!("{name}: {said}")),
        None => Some(said),
    }
}

/// A code or type, which some servers give as a number.
fn text_of(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn every_shape_of_error_body() {
        let cases: [(u16, &str, ErrorKind, &str, Option<&str>); 15] = [
            (
                // LiteLLM, when a stream fails before it has begun.
                500,
                "data: {\"error\": {\"message\": \"no start\", \"type\": \"internal\", \"param\": null, \"code\": \"500\"}}\n\ndata: [DONE]\n\n",
                ErrorKind::Server,
                "no start",
                Some("500"),
            ),
            (
                429,
                r#"{"error":{"message":"slow","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#,
                ErrorKind::RateLimit,
                "slow",
                Some("rate_limit_exceeded"),
            ),
            (
                429,
                r#"{"error":{"message":"broke","type":"insufficient_quota","code":null}}"#,
                ErrorKind::Quota,
                "broke (the account's quota is used up: check plan and billing; waiting will not help)",
                None,
            ),
            (
                400,
                r#"{"error":{"message":"long","code":"context_length_exceeded"}}"#,
                ErrorKind::ContextLength,
                "long",
                Some("context_length_exceeded"),
            ),
            (400, r#"{"error":{"code":400,"message":"odd"}}"#, ErrorKind::InvalidRequest, "odd", Some("400")),
            (503, r#"{"error":"no slot","error_type":"overloaded"}"#, ErrorKind::Overloaded, "no slot", None),
            (
                400,
                r#"{"object":"error","message":"bad","type":"invalid_model","code":"1500"}"#,
                ErrorKind::InvalidRequest,
                "bad",
                Some("1500"),
            ),
            (403, r#"{"detail":"not you"}"#, ErrorKind::PermissionDenied, "not you", None),
            (
                422,
                r#"{"detail":[{"loc":["body","messages",0],"msg":"field required"},{"loc":["body"],"msg":"odd"}]}"#,
                ErrorKind::InvalidRequest,
                "body.messages.0: field required; body: odd",
                None,
            ),
            (
                422,
                r#"{"object":"error","message":{"detail":[{"loc":["x"],"msg":"no"}]},"type":"invalid"}"#,
                ErrorKind::InvalidRequest,
                "x: no",
                None,
            ),
            (500, r#"[{"error":{"code":500,"message":"in a list"}}]"#, ErrorKind::Server, "in a list", Some("500")),
            (
                400,
                r#"{"errors":[{"message":"worker","code":5007}],"success":false}"#,
                ErrorKind::InvalidRequest,
                "worker",
                Some("5007"),
            ),
            (
                429,
                r#"{"error":{"message":"Provider returned error","code":429,"metadata":{"raw":"{\"busy\":1}","provider_name":"Acme"}}}"#,
                ErrorKind::RateLimit,
                "Provider returned error (Acme: {\"busy\":1})",
                Some("429"),
            ),
            (502, "<html>\n<h1>Bad Gateway</h1></html>", ErrorKind::Server, "<html> <h1>Bad Gateway</h1></html>", None),
            (500, "", ErrorKind::Server, "status 500 without a message", None),
        ];
        for (status, body, kind, message, code) in cases {
            let error = of_status("openai", status, body.as_bytes());
            assert_eq!((error.kind(), error.message(), error.code()), (kind, message, code), "{body}");
            assert_eq!((error.status(), error.provider()), (Some(status), Some("openai")));
        }
        let error = of_status("openai", 400, br#"{"error":{"message":"x","type":"t","param":"temperature"}}"#);
        assert_eq!((error.error_type(), error.param()), (Some("t"), Some("temperature")));
    }

    #[test]
    fn an_error_under_status_200_gets_a_status_of_its_own() {
        for (error, status, kind) in [
            (r#"{"code":502,"message":"m"}"#, 502, ErrorKind::Server),
            (r#"{"code":"429","message":"m"}"#, 429, ErrorKind::RateLimit),
            (r#"{"code":null,"type":"insufficient_quota","message":"m"}"#, 429, ErrorKind::Quota),
            (r#"{"code":7,"type":"overloaded_error","message":"m"}"#, 503, ErrorKind::Overloaded),
            (
                r#"{"type":"invalid_request_error","code":"context_length_exceeded","message":"m"}"#,
                400,
                ErrorKind::ContextLength,
            ),
            (r#"{"type":"server_error","message":"m"}"#, 500, ErrorKind::Server),
            (r#"{"error":{"code":401,"message":"m"}}"#, 401, ErrorKind::Authentication),
            ("\"m\"", 500, ErrorKind::Server),
            ("m", 500, ErrorKind::Server),
        ] {
            let got = inside("openai", error.as_bytes());
            assert_eq!((got.status(), got.kind()), (Some(status), kind), "{error}");
            assert!(got.message().starts_with('m'), "{error}");
        }
    }

    #[test]
    fn what_is_no_error_body_is_malformed() {
        for body in ["<html>", "", "[]", "{}", "7", r#"{"choices":[]}"#] {
            assert_eq!(instead_of_answer("x", "no answer", body.as_bytes()).kind(), ErrorKind::Malformed, "{body}");
        }
        assert_eq!(
            instead_of_answer("x", "no answer", br#"[{"error":{"message":"m","code":403}}]"#).status(),
            Some(403)
        );
    }
}
