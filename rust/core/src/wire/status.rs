//! What error answers and response headers say, alike for all providers: the error's kind, how long to wait, rate limits.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

use crate::error::{Error, ErrorKind, redact};

/// What a provider's error body says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatusError {
    /// The human-readable message.
    pub message: String,
    /// The machine-readable code, as `insufficient_quota`.
    pub code: Option<String>,
    /// The error's type, as `overloaded_error`.
    pub error_type: Option<String>,
    /// The request field it complains of.
    pub param: Option<String>,
    /// How long to wait, where the body says it.
    pub retry_after: Option<Duration>,
    /// Whether the message says that the prompt is too long, in words that the format's servers are known to use.
    pub too_long: bool,
}

/// Codes and types that mean "no money or quota left": waiting a minute does not help, so a 429 of these is not retried.
const SPENT: [&str; 8] = [
    "insufficient_quota",
    "credit_balance_exhausted",
    "enforced_spend_limit_reached",
    "billing_error",
    "billing_hard_limit_reached",
    "billing_not_active",
    "quota_exceeded_per_day",
    "insufficient_credits",
];

/// Codes that mean "the prompt is too long".
const TOO_LONG: [&str; 4] = [
    "context_length_exceeded",
    "model_context_window_exceeded",
    "exceed_context_size_error", // llama.cpp
    "too_many_prompt_tokens",    // Perplexity
];

/// OpenAI's code for a text of too many characters. It means the prompt where it names one of these fields: a `user` of
/// more than 64 is a mistake of another kind.
const LONG_STRING: &str = "string_above_max_length";
const PROMPT: [&str; 4] = ["messages", "input", "instructions", "prompt"];

impl StatusError {
    /// The error's kind, from status, code and type; never from the text of the message, but for what
    /// [`too_long`](super::too_long) knows.
    pub fn kind(&self, status: u16) -> ErrorKind {
        let named = |names: &[&str]| {
            [&self.code, &self.error_type].into_iter().flatten().any(|given| names.contains(&given.as_str()))
        };
        if named(&["overloaded_error"]) {
            return ErrorKind::Overloaded;
        }
        match status {
            400 | 413 | 422 if self.too_long || named(&TOO_LONG) => ErrorKind::ContextLength,
            400 if named(&[LONG_STRING]) && self.is_of_the_prompt() => ErrorKind::ContextLength,
            402 => ErrorKind::Quota,
            403 | 429 if named(&SPENT) => ErrorKind::Quota,
            // Gemini answers a wrong key with 400 INVALID_ARGUMENT and the reason API_KEY_INVALID.
            400 if named(&["API_KEY_INVALID"]) => ErrorKind::Authentication,
            400 | 422 => ErrorKind::InvalidRequest,
            401 => ErrorKind::Authentication,
            403 => ErrorKind::PermissionDenied,
            404 => ErrorKind::NotFound,
            409 => ErrorKind::Conflict,
            413 => ErrorKind::RequestTooLarge,
            429 => ErrorKind::RateLimit,
            503 | 529 => ErrorKind::Overloaded,
            500..=599 => ErrorKind::Server,
            _ => ErrorKind::Api,
        }
    }

    /// Whether it complains of a part of the prompt.
    fn is_of_the_prompt(&self) -> bool {
        let field = self.param.as_deref().and_then(|param| param.split(['.', '[']).next());
        field.is_some_and(|field| PROMPT.contains(&field))
    }

    /// The error for an answer of this status. 408 is worth another try, and so is whatever its kind says.
    pub fn into_error(self, provider: &'static str, status: u16) -> Error {
        let kind = self.kind(status);
        let message = match self.message.trim() {
            "" => format!("status {status} without a message"),
            text => redact(text),
        };
        let hint = match kind {
            ErrorKind::Authentication => " (check the API key)",
            ErrorKind::Quota => " (the account's quota is used up: check plan and billing; waiting will not help)",
            ErrorKind::NotFound => " (check the model's name and the base URL)",
            _ => "",
        };
        let error = Error::new(kind, format!("{message}{hint}"));
        // 501: this server has no such feature, and will not have it in a second either.
        let retryable = (error.retryable() || status == 408) && status != 501;
        error
            .with_retryable(retryable)
            .with_provider(provider)
            .with_status(status)
            .with_code(self.code)
            .with_error_type(self.error_type)
            .with_param(self.param)
            .with_retry_after(self.retry_after)
    }
}

/// Any one of several headers, as text.
fn header<'a>(headers: &'a HeaderMap, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| headers.get(*name)).and_then(|value| value.to_str().ok()).map(str::trim)
}

/// The provider's id of a request.
pub fn request_id(headers: &HeaderMap) -> Option<&str> {
    header(headers, &["x-request-id", "request-id", "apim-request-id", "x-amzn-requestid", "cf-ray"])
}

/// How long the provider asks to wait: `retry-after-ms`, or `retry-after` in seconds or as a date. `now` is for the date.
///
/// A zero is not trusted (Azure sends `retry-after-ms: 0` beside `retry-after: 1`).
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let number = |name| header(headers, &[name]).and_then(|text| text.parse::<f64>().ok());
    let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).ok().filter(|wait| !wait.is_zero());
    if let Some(wait) = number("retry-after-ms").and_then(|ms| seconds(ms / 1000.0)) {
        return Some(wait);
    }
    if let Some(given) = number("retry-after") {
        return seconds(given);
    }
    let date = httpdate::parse_http_date(header(headers, &["retry-after"])?).ok()?;
    date.duration_since(now).ok().filter(|wait| !wait.is_zero())
}

/// A Go-style duration: `12ms`, `17.5s`, `20m52.666s`, `1h0m3s`; also plain seconds.
pub fn parse_go_duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let (unit, next) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let scale = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * scale;
        rest = next;
    }
    Duration::try_from_secs_f64(seconds).ok()
}

/// What is left of the provider's allowances, from the headers of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RateLimits {
    /// Requests allowed in the provider's window.
    pub limit_requests: Option<u64>,
    /// Requests left in it.
    pub remaining_requests: Option<u64>,
    /// Until the requests are full again.
    pub reset_requests: Option<Duration>,
    /// Tokens allowed in the window.
    pub limit_tokens: Option<u64>,
    /// Tokens left in it.
    pub remaining_tokens: Option<u64>,
    /// Until the tokens are full again.
    pub reset_tokens: Option<Duration>,
}

impl RateLimits {
    /// Reads the dialects of OpenAI (and Groq, xAI, Azure), Anthropic and Mistral; `None` if there is no such header.
    ///
    /// `now` is for resets given as a moment in time (Anthropic).
    pub fn from_headers(headers: &HeaderMap, now: SystemTime) -> Option<Self> {
        let number = |names: &[&str]| header(headers, names).and_then(|text| text.parse::<u64>().ok());
        let reset = |names: &[&str]| header(headers, names).and_then(|text| parse_reset(text, now));
        let limits = Self {
            limit_requests: number(&[
                "x-ratelimit-limit-requests",
                "anthropic-ratelimit-requests-limit",
                "x-ratelimit-limit-req-minute",
                "x-ratelimit-limit",
            ]),
            remaining_requests: number(&[
                "x-ratelimit-remaining-requests",
                "anthropic-ratelimit-requests-remaining",
                "x-ratelimit-remaining-req-minute",
                "x-ratelimit-remaining",
            ]),
            reset_requests: reset(&[
                "x-ratelimit-reset-requests",
                "anthropic-ratelimit-requests-reset",
                "x-ratelimit-reset",
            ]),
            limit_tokens: number(&[
                "x-ratelimit-limit-tokens",
                "anthropic-ratelimit-tokens-limit",
                "x-ratelimit-limit-tokens-minute",
            ]),
            remaining_tokens: number(&[
                "x-ratelimit-remaining-tokens",
                "anthropic-ratelimit-tokens-remaining",
                "x-ratelimit-remaining-tokens-minute",
            ]),
            reset_tokens: reset(&["x-ratelimit-reset-tokens", "anthropic-ratelimit-tokens-reset"]),
        };
        (limits != Self::default()).then_some(limits)
    }
}

/// A reset as a Go duration, as seconds, or as a moment in RFC 3339 (UTC) relative to `now`.
fn parse_reset(text: &str, now: SystemTime) -> Option<Duration> {
    if let Some(wait) = parse_go_duration(text) {
        return Some(wait);
    }
    let moment = parse_rfc3339(text)?;
    Some(moment.duration_since(now).unwrap_or_default())
}

/// `2026-11-24T03:34:35Z`, with optional fraction and offset.
pub(super) fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let rest = text.get(19..)?;
    let zone = rest.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset = match zone {
        "Z" | "z" => 0,
        _ => {
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            let part = |range: std::ops::Range<usize>| zone.get(range)?.parse::<i64>().ok();
            sign * (part(1..3)? * 3600 + part(4..6)? * 60)
        }
    };
    // Days since 1970-01-01 in the proleptic Gregorian calendar (H. Hinnant, "days_from_civil").
    let y = if month <= 2 { year - 1 } else { year };
    let (era, shifted) = (y.div_euclid(400), (month + 9) % 12);
    let year_of_era = y - era * 400;
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (http::HeaderName::from_static(k), HeaderValue::from_str(v).unwrap())).collect()
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn go_durations() {
        for (text, seconds) in
            [("12ms", 0.012), ("17.5s", 17.5), ("0s", 0.0), ("20m52.666s", 1252.666), ("1h0m3s", 3603.0), ("48", 48.0)]
        {
            assert_eq!(parse_go_duration(text), Some(Duration::from_secs_f64(seconds)), "{text}");
        }
        for text in ["s", "5 s", "-1s", "1d", "nan", "1e400"] {
            assert_eq!(parse_go_duration(text), None, "{text}");
        }
    }

    #[test]
    fn retry_after_in_every_spelling() {
        assert_eq!(retry_after(&headers(&[("retry-after", "2")]), at(0)), Some(Duration::from_secs(2)));
        let azure = headers(&[("retry-after", "1"), ("retry-after-ms", "0")]);
        assert_eq!(retry_after(&azure, at(0)), Some(Duration::from_secs(1)));
        assert_eq!(retry_after(&headers(&[("retry-after-ms", "250")]), at(0)), Some(Duration::from_millis(250)));
        let date = headers(&[("retry-after", "Thu, 01 Jan 1970 00:01:00 GMT")]);
        assert_eq!(retry_after(&date, at(50)), Some(Duration::from_secs(10)));
        assert_eq!(retry_after(&date, at(70)), None);
        assert_eq!(retry_after(&headers(&[("retry-after", "soon")]), at(0)), None);
    }

    #[test]
    fn rate_limits_of_openai_and_anthropic() {
        let openai = headers(&[("x-ratelimit-remaining-requests", "99"), ("x-ratelimit-reset-requests", "6m0s")]);
        let limits = RateLimits::from_headers(&openai, at(0)).unwrap();
        assert_eq!((limits.remaining_requests, limits.reset_requests), (Some(99), Some(Duration::from_secs(360))));
        let anthropic = headers(&[
            ("anthropic-ratelimit-tokens-limit", "80000"),
            ("anthropic-ratelimit-tokens-reset", "2026-11-24T03:34:35Z"),
        ]);
        let limits = RateLimits::from_headers(&anthropic, at(1_795_491_275 - 9)).unwrap();
        assert_eq!((limits.limit_tokens, limits.reset_tokens), (Some(80_000), Some(Duration::from_secs(9))));
        assert_eq!(RateLimits::from_headers(&HeaderMap::new(), at(0)), None);
    }

    #[test]
    fn a_spent_quota_is_not_retried_and_text_never_decides() {
        let spent = StatusError { code: Some("insufficient_quota".into()), ..Default::default() };
        let error = spent.into_error("openai", 429);
        assert_eq!((error.kind(), error.retryable()), (ErrorKind::Quota, false));
        for (param, kind) in [
            (Some("messages[1].content"), ErrorKind::ContextLength),
            (Some("input"), ErrorKind::ContextLength),
            (Some("user"), ErrorKind::InvalidRequest),
            (None, ErrorKind::InvalidRequest),
        ] {
            let code = Some(LONG_STRING.to_owned());
            let long = StatusError { code, param: param.map(str::to_owned), ..Default::default() };
            assert_eq!(long.kind(400), kind, "{param:?}");
        }
        let busy = StatusError { message: "context length service down".into(), ..Default::default() };
        assert_eq!(busy.kind(503), ErrorKind::Overloaded);
        assert!(StatusError::default().into_error("openai", 408).retryable());
    }
}
