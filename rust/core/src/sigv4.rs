//! AWS's signatures of requests, version 4: what Bedrock wants where there is no API key.
//!
//! Source: AWS IAM's guide "Create a signed AWS API request". Pure: the time is a parameter.

use std::{
    fmt::{self, Write as _},
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, header, uri::PathAndQuery};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use ring::{digest, hmac};

use crate::error::{Error, ErrorKind};

/// The header with the body's hash. Set before [`Signer::sign`]; it is signed as all `x-amz-` headers are.
pub const CONTENT_HASH: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const SESSION_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// All that is written as it is in a URL; anything else as `%XX`.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// The same in a path, whose slashes stay.
const PATH: &AsciiSet = &UNRESERVED.remove(b'/');

/// Whose requests they are, and for which service.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The id of the access key, as `AKIA…`.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// What comes beside a key that is for a while only.
    pub session_token: Option<String>,
    /// The region, as `us-east-1`.
    pub region: String,
    /// The service's name in signatures, as `bedrock`.
    pub service: &'static str,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("region", &self.region).field("service", &self.service).finish()
    }
}

impl Credentials {
    /// What must not be shown.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        [&self.access_key_id, &self.secret_access_key].into_iter().chain(&self.session_token).map(String::as_str)
    }
}

/// Signs requests.
#[derive(Debug)]
pub struct Signer {
    credentials: Credentials,
    session_token: Option<HeaderValue>,
}

fn configuration(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Configuration, message)
}

/// A header's value that does not show when it is printed.
fn secret(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl Signer {
    /// Checks the credentials as far as that goes without a request.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for one that is empty or cannot be sent in a header.
    pub fn new(credentials: Credentials) -> Result<Self, Error> {
        let named =
            [("access key id", &credentials.access_key_id), ("secret access key", &credentials.secret_access_key)];
        let named = named.into_iter().chain(credentials.session_token.iter().map(|token| ("session token", token)));
        for (name, value) in named {
            if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
                let message =
                    format!("the {name} is empty, or has a space, a line break or a character that AWS has none of");
                return Err(configuration(message));
            }
        }
        let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if credentials.region.is_empty() || !credentials.region.bytes().all(word) {
            return Err(configuration(format!("{:?} is not a region; they look like us-east-1", credentials.region)));
        }
        let session_token = credentials.session_token.as_deref().and_then(secret);
        Ok(Self { credentials, session_token })
    }

    /// Adds the date, the session token and the signature to the headers of a request to `host`. Signed are the host, the
    /// content type and all `x-amz-` headers; others may be changed on the way.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for a time before 1970 or after 9999.
    pub fn sign(
        &self,
        method: &Method,
        host: &str,
        path: &PathAndQuery,
        headers: &mut HeaderMap,
        now: SystemTime,
    ) -> Result<(), Error> {
        let unusable = || configuration("the clock of this machine is out of order: AWS wants the time in a signature");
        let time = timestamp(now).ok_or_else(unusable)?;
        headers.insert(DATE, HeaderValue::from_str(&time).map_err(|_| unusable())?);
        if let Some(token) = &self.session_token {
            headers.insert(SESSION_TOKEN, token.clone());
        }
        let mut signed: Vec<(&str, String)> = headers
            .keys()
            .filter(|name| **name == header::CONTENT_TYPE || name.as_str().starts_with("x-amz-"))
            .map(|name| (name.as_str(), canonical_value(headers, name)))
            .collect();
        let host = match headers.get(header::HOST) {
            Some(_) => canonical_value(headers, &header::HOST),
            None => host.to_owned(),
        };
        signed.push(("host", host));
        signed.sort_unstable();
        let body = headers.get(CONTENT_HASH).and_then(|hash| hash.to_str().ok()).map(str::to_owned);
        let body = body.unwrap_or_else(|| hex(digest::digest(&digest::SHA256, b"").as_ref()));
        let request = canonical(method.as_str(), path.path(), path.query().unwrap_or(""), &signed, &body);
        let authorization = secret(&self.authorization(&time, &signed, &request)).ok_or_else(unusable)?;
        headers.insert(header::AUTHORIZATION, authorization);
        Ok(())
    }

    /// The value of the `authorization` header for a canonical request.
    fn authorization(&self, time: &str, signed: &[(&str, String)], request: &str) -> String {
        let Credentials { access_key_id, secret_access_key, region, service, .. } = &self.credentials;
        let date = time.split('T').next().unwrap_or_default();
        let scope = format!("{date}/{region}/{service}/aws4_request");
        let request = hex(digest::digest(&digest::SHA256, request.as_bytes()).as_ref());
        let mut key = mac(format!("AWS4{secret_access_key}").as_bytes(), date);
        for part in [region.as_str(), service, "aws4_request"] {
            key = mac(key.as_ref(), part);
        }
        let signature = hex(mac(key.as_ref(), &format!("{ALGORITHM}\n{time}\n{scope}\n{request}")).as_ref());
        let names = names(signed);
        format!("{ALGORITHM} Credential={access_key_id}/{scope}, SignedHeaders={names}, Signature={signature}")
    }
}

/// The value of [`CONTENT_HASH`] for a body.
pub fn content_hash(body: &[u8]) -> HeaderValue {
    let hash = hex(digest::digest(&digest::SHA256, body).as_ref());
    HeaderValue::from_str(&hash).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn mac(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to memory cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn names(signed: &[(&str, String)]) -> String {
    signed.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";")
}

/// All values of a header, as they are signed: one behind the other, without needless spaces.
fn canonical_value(headers: &HeaderMap, name: &HeaderName) -> String {
    let values = headers.get_all(name).iter().map(|value| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        value.split_whitespace().collect::<Vec<_>>().join(" ")
    });
    values.collect::<Vec<_>>().join(",")
}

/// The text that stands for a request. `path` and `query` are those that are sent: what is written as `%3A` there becomes
/// `%253A` in the path, as every service but S3 has it, and stays in the query.
fn canonical(method: &str, path: &str, query: &str, signed: &[(&str, String)], body: &str) -> String {
    let word = |text: &str| {
        let plain: Vec<u8> = percent_decode_str(text).collect();
        percent_encoding::percent_encode(&plain, UNRESERVED).to_string()
    };
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (word(name), word(value)))
        .collect();
    pairs.sort_unstable();
    let query: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    let path = utf8_percent_encode(if path.is_empty() { "/" } else { path }, PATH);
    let headers: String = signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    format!("{method}\n{path}\n{}\n{headers}\n{}\n{body}", query.join("&"), names(signed))
}

/// `20150830T123600Z`; `None` before 1970 and after 9999.
fn timestamp(now: SystemTime) -> Option<String> {
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since: Duration| since.as_secs())?;
    let (days, second) = (i64::try_from(seconds / 86_400).ok()?, seconds % 86_400);
    // The date of a day in the proleptic Gregorian calendar (H. Hinnant, "civil_from_days").
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    (year <= 9_999).then(|| format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(session_token: Option<&str>) -> Signer {
        Signer::new(Credentials {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session_token: session_token.map(str::to_owned),
            region: "us-east-1".into(),
            service: "service",
        })
        .unwrap()
    }

    /// 2015-08-30 12:36:00 UTC, the time of AWS's test suite.
    fn then() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160)
    }

    /// A request of AWS's test suite: name, method, path, query, further headers, body, expected signature.
    type Vector = (
        &'static str,
        &'static str,
        &'static str,
        &'static str,
        &'static [(&'static str, &'static str)],
        &'static str,
        &'static str,
    );

    /// From AWS's "Signature Version 4 test suite" (aws-sig-v4-test-suite.zip), by its names.
    const SUITE: [Vector; 13] = [
        ("get-vanilla", "GET", "/", "", &[], "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        (
            "get-vanilla-query-order-key-case",
            "GET",
            "/",
            "Param2=value2&Param1=value1",
            &[],
            "",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "get-vanilla-query-unreserved",
            "GET",
            "/",
            "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            &[],
            "",
            "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
        ),
        (
            "get-vanilla-empty-query-key",
            "GET",
            "/",
            "Param1=value1",
            &[],
            "",
            "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
        ),
        (
            "get-vanilla-utf8-query",
            "GET",
            "/",
            "%E1%88%B4=bar",
            &[],
            "",
            "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
        ),
        (
            "get-unreserved",
            "GET",
            "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            "",
            &[],
            "",
            "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
        ),
        (
            "get-utf8",
            "GET",
            "/\u{1234}",
            "",
            &[],
            "",
            "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
        ),
        (
            "get-header-key-duplicate",
            "GET",
            "/",
            "",
            &[("my-header1", "value2,value2,value1")],
            "",
            "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
        ),
        ("post-vanilla", "POST", "/", "", &[], "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            "post-vanilla-query",
            "POST",
            "/",
            "Param1=value1",
            &[],
            "",
            "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
        ),
        (
            "post-header-value-case",
            "POST",
            "/",
            "",
            &[("my-header1", "VALUE1")],
            "",
            "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
        ),
        (
            "post-sts-header-before",
            "POST",
            "/",
            "",
            &[("x-amz-security-token", TOKEN)],
            "",
            "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
        ),
        (
            "post-x-www-form-urlencoded",
            "POST",
            "/",
            "",
            &[("content-type", "application/x-www-form-urlencoded")],
            "Param1=value1",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
    ];

    const TOKEN: &str = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";

    #[test]
    fn the_test_suite_of_aws() {
        for (name, method, path, query, further, body, signature) in SUITE {
            let mut signed: Vec<(&str, String)> =
                vec![("host", "example.amazonaws.com".into()), ("x-amz-date", "20150830T123600Z".into())];
            signed.extend(further.iter().map(|(name, value)| (*name, (*value).to_owned())));
            signed.sort_unstable();
            let body = hex(digest::digest(&digest::SHA256, body.as_bytes()).as_ref());
            let request = canonical(method, path, query, &signed, &body);
            let authorization = signer(None).authorization("20150830T123600Z", &signed, &request);
            let scope = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request";
            let names = names(&signed);
            assert_eq!(authorization, format!("{scope}, SignedHeaders={names}, Signature={signature}"), "{name}");
        }
    }

    #[test]
    fn a_whole_request_of_the_suite() {
        let mut headers = HeaderMap::new();
        headers.insert("accept", HeaderValue::from_static("not signed"));
        let path = PathAndQuery::from_static("/");
        signer(Some(TOKEN)).sign(&Method::POST, "example.amazonaws.com", &path, &mut headers, then()).unwrap();
        assert_eq!(headers["x-amz-date"], "20150830T123600Z");
        assert_eq!(headers["x-amz-security-token"], TOKEN);
        let signature = "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead";
        assert!(
            headers["authorization"].to_str().unwrap().ends_with(signature),
            "{:?}",
            headers["authorization"].to_str()
        );
        let shown = format!("{headers:?} {:?}", signer(Some(TOKEN)));
        assert!(!shown.contains("wJal") && !shown.contains("AQoD") && !shown.contains(signature), "{shown}");
    }

    #[test]
    fn what_is_encoded_is_encoded_again_in_the_path_alone() {
        let request = canonical("GET", "/model/a%3A0/converse", "b=%3A&a=x/y&c", &[], "");
        assert!(request.starts_with("GET\n/model/a%253A0/converse\na=x%2Fy&b=%3A&c=\n"), "{request}");
    }

    #[test]
    fn values_lose_needless_spaces_and_stand_behind_each_other() {
        let mut headers = HeaderMap::new();
        headers.append("x-amz-a", HeaderValue::from_static("a   b  c"));
        headers.append("x-amz-a", HeaderValue::from_static("d"));
        assert_eq!(canonical_value(&headers, &HeaderName::from_static("x-amz-a")), "a b c,d");
    }

    #[test]
    fn timestamps() {
        for (seconds, expected) in [
            (0, Some("19700101T000000Z")),
            (951_782_399, Some("20000228T235959Z")),
            (951_782_400, Some("20000229T000000Z")),
            (1_440_938_160, Some("20150830T123600Z")),
            (4_107_542_399, Some("21000228T235959Z")),
            (4_107_542_400, Some("21000301T000000Z")),
            (253_402_300_799, Some("99991231T235959Z")),
            (253_402_300_800, None),
        ] {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(timestamp(now).as_deref(), expected, "{seconds}");
        }
        assert_eq!(timestamp(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), None);
    }

    #[test]
    fn credentials_that_cannot_be_sent() {
        let good = signer(None).credentials;
        for (broken, what) in [
            (Credentials { access_key_id: String::new(), ..good.clone() }, "access key id"),
            (Credentials { secret_access_key: "a\nb".into(), ..good.clone() }, "secret access key"),
            (Credentials { session_token: Some("é".into()), ..good.clone() }, "session token"),
            (Credentials { region: "us-east-1/x".into(), ..good.clone() }, "us-east-1/x"),
        ] {
            let error = Signer::new(broken).unwrap_err();
            assert!(error.kind() == ErrorKind::Configuration && error.message().contains(what), "{error}");
        }
    }
}
