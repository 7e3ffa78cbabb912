//! The one error type of the core.
//!
//! An error is classified once, where it arises, by what happened and never by searching its text; `rust/python` maps
//! each [`ErrorKind`] to one Python exception class.

use std::{fmt, time::Duration};

use crate::model::{Embeddings, Response};

/// What went wrong, in the caller's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The client was set up wrongly: no key, a bad base URL, an unreadable certificate.
    Configuration,
    /// The request was refused before anything was sent, or by the provider as malformed (400, 422).
    InvalidRequest,
    /// The provider has no such option; nothing was sent.
    Unsupported,
    /// The prompt does not fit in the model's context window.
    ContextLength,
    /// The key is missing or wrong (401).
    Authentication,
    /// The key may not do this (403).
    PermissionDenied,
    /// No such model or path (404).
    NotFound,
    /// Conflict (409).
    Conflict,
    /// The request body is too large (413).
    RequestTooLarge,
    /// Too many requests or tokens for now (429).
    RateLimit,
    /// The account's money or quota is used up; waiting does not help (402, some 429).
    Quota,
    /// The provider failed (5xx).
    Server,
    /// The provider is overloaded (503, 529).
    Overloaded,
    /// Any other error answer of the provider.
    Api,
    /// No connection, or the connection broke before an answer came.
    Connect,
    /// `Timeouts::connect` passed.
    ConnectTimeout,
    /// `Timeouts::first_token` passed.
    FirstTokenTimeout,
    /// `Timeouts::idle` passed.
    IdleTimeout,
    /// `Timeouts::total` passed.
    TotalTimeout,
    /// The limiter would have let the call in only later than it may wait; [`Error::retry_after`] is the wait it would have
    /// needed.
    LimiterTimeout,
    /// A stream ended before its end; the text so far is in [`Error::partial`].
    Interrupted,
    /// The answer is not what the provider's protocol says.
    Malformed,
    /// The client, the stream or the process it belongs to is gone.
    Closed,
    /// A fault of this library.
    Internal,
}

#[derive(Debug, Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    provider: Option<&'static str>,
    status: Option<u16>,
    code: Option<String>,
    error_type: Option<String>,
    param: Option<String>,
    request_id: Option<String>,
    retry_after: Option<Duration>,
    retryable: bool,
    attempts: u32,
    elapsed: Option<Duration>,
    partial: Option<Box<Response>>,
    embedded: Vec<(usize, Embeddings)>,
}

/// What went wrong, with everything the caller can act on. One word wide, so that `Result`s stay small.
#[derive(Debug, Clone)]
pub struct Error(Box<Inner>);

macro_rules! field {
    ($(#[$doc:meta])* $get:ident, $set:ident, $field:ident: Option<$ty:ty>, $ret:ty, $conv:expr) => {
        $(#[$doc])*
        pub fn $get(&self) -> Option<$ret> {
            let convert: fn(&$ty) -> $ret = $conv;
            self.0.$field.as_ref().map(convert)
        }
        #[doc = concat!("Sets [`Error::", stringify!($get), "`]; `None` leaves it as it is.")]
        #[must_use]
        pub fn $set(mut self, value: impl Into<Option<$ty>>) -> Self {
            if let Some(value) = value.into() {
                self.0.$field = Some(value);
            }
            self
        }
    };
}

impl Error {
    /// An error of `kind`; whether it is worth another try follows from the kind until [`Error::with_retryable`] says otherwise.
    #[cold]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let retryable = matches!(
            kind,
            ErrorKind::Conflict
                | ErrorKind::RateLimit
                | ErrorKind::Server
                | ErrorKind::Overloaded
                | ErrorKind::Connect
                | ErrorKind::ConnectTimeout
        );
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            provider: None,
            status: None,
            code: None,
            error_type: None,
            param: None,
            request_id: None,
            retry_after: None,
            retryable,
            attempts: 0,
            elapsed: None,
            partial: None,
            embedded: Vec::new(),
        }))
    }

    /// Bad input, found before anything was sent.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidRequest, message)
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message: what happened and what to do. Never holds a secret.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Whether the same request may succeed later.
    pub fn retryable(&self) -> bool {
        self.0.retryable
    }

    /// Overrides [`Error::retryable`].
    #[must_use]
    pub fn with_retryable(mut self, retryable: bool) -> Self {
        self.0.retryable = retryable;
        self
    }

    /// Requests sent for this call, the failed ones included; 0 when nothing was sent.
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Sets [`Error::attempts`].
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.0.attempts = attempts;
        self
    }

    /// What had arrived when a stream broke.
    pub fn partial(&self) -> Option<&Response> {
        self.0.partial.as_deref()
    }

    /// Sets [`Error::partial`].
    #[must_use]
    pub fn with_partial(mut self, partial: Response) -> Self {
        self.0.partial = Some(Box::new(partial));
        self
    }

    /// The batches of an embedding call that had come before another one failed, each with the place of its first text.
    pub fn embedded(&self) -> &[(usize, Embeddings)] {
        &self.0.embedded
    }

    /// Sets [`Error::embedded`].
    #[must_use]
    pub fn with_embedded(mut self, embedded: Vec<(usize, Embeddings)>) -> Self {
        self.0.embedded = embedded;
        self
    }

    /// Cuts `secrets` out of everything that the provider said: some gateways echo the request.
    #[must_use]
    pub fn without(mut self, secrets: &[String]) -> Self {
        let Inner { message, code, error_type, param, request_id, .. } = &mut *self.0;
        for text in std::iter::once(message).chain([code, error_type, param, request_id].into_iter().flatten()) {
            for secret in secrets {
                cut_out(text, secret);
            }
        }
        self
    }

    field!(/** The provider's name, as `openai`. */ provider, with_provider, provider: Option<&'static str>, &'static str, |p| p);
    field!(/** The HTTP status, where an answer came. */ status, with_status, status: Option<u16>, u16, |s| *s);
    field!(/** The provider's error code, as `insufficient_quota`. */ code, with_code, code: Option<String>, &str, |s| s);
    field!(/** The provider's error type, as `overloaded_error`. */ error_type, with_error_type, error_type: Option<String>, &str, |s| s);
    field!(/** The request field that the provider complains of. */ param, with_param, param: Option<String>, &str, |s| s);
    field!(/** The provider's id of the request, for its support. */ request_id, with_request_id, request_id: Option<String>, &str, |s| s);
    field!(/** How long the provider asks to wait. */ retry_after, with_retry_after, retry_after: Option<Duration>, Duration, |d| *d);
    field!(/** How long the call had run. */ elapsed, with_elapsed, elapsed: Option<Duration>, Duration, |d| *d);
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(provider) = self.provider() {
            write!(f, "{provider}: ")?;
        }
        f.write_str(self.message())
    }
}

impl std::error::Error for Error {}

/// At most 200 characters of an answer, on one line, for an error message.
///
/// What looks like a key (`sk-…`, `AIza…`, `Bearer …`) is cut out: some gateways echo the request.
pub fn excerpt(body: &[u8]) -> String {
    const LIMIT: usize = 200;
    let text = String::from_utf8_lossy(body.get(..body.len().min(4 * LIMIT)).unwrap_or_default());
    let mut out = String::with_capacity(LIMIT + 4);
    for (n, word) in text.split_whitespace().enumerate() {
        if n > 0 {
            out.push(' ');
        }
        out.push_str(&redact(word));
        if out.chars().count() > LIMIT {
            out = out.chars().take(LIMIT).collect();
            out.push('…');
            return out;
        }
    }
    if body.len() > 4 * LIMIT {
        out.push('…');
    }
    out
}

/// What stands where a secret stood.
const REDACTED: &str = "[redacted]";

/// Replaces `secret` in `text`, and its beginning where an excerpt ends within it.
fn cut_out(text: &mut String, secret: &str) {
    /// Shorter beginnings tell nothing, and may be ordinary words.
    const TELLING: usize = 6;
    if text.contains(secret) {
        *text = text.replace(secret, REDACTED);
    }
    let Some(shown) = text.strip_suffix('…') else { return };
    let lengths = secret.char_indices().map(|(length, _)| length).rev().take_while(|length| *length >= TELLING);
    let kept = lengths.into_iter().find_map(|length| shown.strip_suffix(secret.get(..length)?));
    if let Some(kept) = kept {
        *text = format!("{kept}{REDACTED}…");
    }
}

/// Replaces runs that look like API keys by `[redacted]`.
pub fn redact(text: &str) -> String {
    const MARKS: [&str; 8] = ["sk-", "sk_", "AIza", "gsk_", "xai-", "hf_", "pplx-", "nvapi-"];
    let is_key = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '*' || c == '.';
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((at, mark)) = MARKS.iter().filter_map(|m| rest.find(m).map(|at| (at, *m))).min_by_key(|(at, _)| *at)
    {
        let (before, from) = rest.split_at(at);
        let end = from.find(|c| !is_key(c)).unwrap_or(from.len());
        let starts_word = !before.chars().next_back().is_some_and(|c| c.is_ascii_alphanumeric());
        let (run, after) = from.split_at(end);
        out.push_str(before);
        out.push_str(if starts_word && run.len() >= mark.len() + 8 { REDACTED } else { run });
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpt_is_short_single_line_and_keyless() {
        let body = format!("<html>\n\n<b>sk-{}</b> {}", "a".repeat(40), "x".repeat(5000));
        let text = excerpt(body.as_bytes());
        assert!(text.starts_with("<html> <b>[redacted]</b> xx"), "{text}");
        assert!(text.chars().count() <= 201 && !text.contains('\n'));
    }

    #[test]
    fn secrets_are_cut_out_whole_and_cut_off() {
        let secrets = ["tgp_v1_0123456789".to_owned()];
        let without = |message: &str| Error::invalid(message).without(&secrets).message().to_owned();
        assert_eq!(without("bad key tgp_v1_0123456789: tgp_v1_0123456789"), "bad key [redacted]: [redacted]");
        assert_eq!(without("got: x tgp_v1_0123…"), "got: x [redacted]…");
        assert_eq!(without("got: x tgp_v…"), "got: x tgp_v…");
        assert_eq!(without("tgp_v1_0123"), "tgp_v1_0123");
        let body = format!("{}tgp_v1_0123456789{}", "a ".repeat(95), "b".repeat(2000));
        for start in 0..30 {
            let error = Error::invalid(excerpt(&body.as_bytes()[start..])).without(&secrets);
            assert!(!error.message().contains("tgp_v1"), "{error}");
        }
        let spaced = format!("a{}tgp_v1_0123456789", " ".repeat(790));
        let error = Error::invalid(excerpt(spaced.as_bytes())).without(&secrets);
        assert_eq!(error.message(), "a [redacted]…");
        assert_eq!(
            Error::invalid("").with_code("tgp_v1_0123456789".to_owned()).without(&secrets).code(),
            Some("[redacted]")
        );
    }

    #[test]
    fn redact_keeps_ordinary_words() {
        assert_eq!(redact("risk-averse task-oriented-planning sk-ip"), "risk-averse task-oriented-planning sk-ip");
        assert_eq!(redact("key AIzaSyD-1234567890abc."), "key [redacted]");
    }
}
