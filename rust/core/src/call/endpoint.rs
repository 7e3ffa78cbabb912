//! Where a provider's calls go and what they carry: base URL, key, headers, limits. Holds no connection, so it survives
//! event loops, threads and forks.

use std::{borrow::Cow, fmt, str::FromStr, sync::Arc, time::SystemTime};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri, header,
    uri::{PathAndQuery, Scheme},
};

use super::{RetryPolicy, Timeouts};
use crate::{
    error::{Error, ErrorKind},
    http::{ACCEPT_ENCODING, HttpSettings, Origin, Outgoing},
    model::ChatRequest,
    prompt_cache::PromptCache,
    sigv4::{self, Credentials, Signer},
    wire::{Ask, Encoded, Wire, encode_chat},
};

/// What an [`Endpoint`] is made from.
#[derive(Clone)]
pub struct EndpointConfig {
    /// The provider's wire format.
    pub wire: Arc<dyn Wire>,
    /// The base URL, as `https://api.openai.com/v1`.
    pub base_url: String,
    /// The key; `None` sends none.
    pub api_key: Option<String>,
    /// What each request is signed with, instead of a key.
    pub credentials: Option<Credentials>,
    /// Further headers; they win over ours.
    pub headers: Vec<(String, String)>,
    /// How connections are made.
    pub settings: HttpSettings,
    /// The limits on a call's time.
    pub timeouts: Timeouts,
    /// When failed calls are tried again.
    pub retry: RetryPolicy,
    /// What of each prompt is marked to be cached by the provider, where it wants marks.
    pub prompt_cache: Option<PromptCache>,
}

/// A provider's address, ready for calls.
#[derive(Clone)]
pub struct Endpoint {
    /// The provider's wire format.
    pub wire: Arc<dyn Wire>,
    /// How connections are made.
    pub settings: HttpSettings,
    /// The limits on a call's time.
    pub timeouts: Timeouts,
    /// When failed calls are tried again.
    pub retry: RetryPolicy,
    prompt_cache: Option<PromptCache>,
    pub(super) origin: Origin,
    base_url: String,
    prefix: String,
    query: Option<String>,
    headers: Arc<HeaderMap>,
    signer: Option<Arc<Signer>>,
    /// What must not show in an error, even where the server echoes it.
    secrets: Vec<String>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The headers hold the key.
        f.debug_struct("Endpoint").field("wire", &self.wire.name()).field("base_url", &self.base_url).finish()
    }
}

fn configuration(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Configuration, message)
}

/// A base URL without a password before its host and without its query, which may hold a key.
fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}{}{host}{path}", if scheme.is_empty() { "" } else { "://" })
}

/// The secrets in a header, by its name.
fn secrets_in<'a>(name: &str, value: &'a str) -> impl Iterator<Item = String> + 'a {
    /// A shorter one would cut ordinary words out of messages, and no real key is that short.
    const SHORTEST: usize = 10;
    let name = name.to_ascii_lowercase();
    let secret = ["auth", "key", "token", "secret", "cookie"].iter().any(|word| name.contains(word));
    let words = value.split_whitespace().filter(move |word| secret && word.len() >= SHORTEST);
    words.map(str::to_owned)
}

/// A header from outside; the message names the header and never its value, which may be a secret.
fn header_pair(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Error> {
    let name = HeaderName::from_str(name).map_err(|_| configuration(format!("{name:?} is not a valid header name")))?;
    let value = HeaderValue::from_str(value).map_err(|_| {
        configuration(format!("the value of the header {name} has a line break or a character that cannot be sent"))
    })?;
    Ok((name, value))
}

impl Endpoint {
    /// Checks everything that can be checked without a connection.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for a base URL, key or header that cannot be used.
    pub fn new(config: EndpointConfig) -> Result<Self, Error> {
        let EndpointConfig {
            wire,
            base_url,
            api_key,
            credentials,
            headers: extra,
            settings,
            timeouts,
            retry,
            prompt_cache,
        } = config;
        prompt_cache.as_ref().map_or(Ok(()), PromptCache::check)?;
        let wrong = |what: &str| configuration(format!("{:?} {what}", shown(&base_url)));
        let begins = "is not a base URL: it begins with https:// or http://";
        let uri: Uri = match base_url.parse() {
            Ok(uri) => uri,
            Err(_) if base_url.contains("://") => return Err(wrong("is not a valid base URL")),
            Err(_) => return Err(wrong(begins)),
        };
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(wrong(begins)),
        };
        let authority = uri.authority().cloned().ok_or_else(|| configuration("the base URL has no host"))?;
        if authority.as_str().contains('@') {
            return Err(configuration("the base URL must not hold a user or password; pass them as a header"));
        }

        let mut headers = HeaderMap::with_capacity(8 + extra.len());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(ACCEPT_ENCODING));
        let agent = concat!("edgequake-llm/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        for (name, value) in wire.headers() {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let mut secrets = Vec::new();
        if let Some(key) = api_key {
            let key_header = wire.key_header();
            let value = HeaderValue::from_str(&format!("{}{key}", key_header.prefix)).ok().filter(|_| key.is_ascii());
            let mut value = value.ok_or_else(|| {
                configuration("the API key has a line break or a character that cannot be sent in a header; strip it")
            })?;
            secrets.extend(secrets_in("key", &key));
            value.set_sensitive(true);
            headers.insert(HeaderName::from_static(key_header.name), value);
        }
        let signer = credentials.map(|credentials| {
            secrets.extend(credentials.secrets().flat_map(|secret| secrets_in("secret", secret)));
            Signer::new(credentials)
        });
        for (name, value) in &extra {
            secrets.extend(secrets_in(name, value));
            let (name, value) = header_pair(name, value)?;
            headers.insert(name, value);
        }
        Ok(Self {
            wire,
            settings,
            timeouts,
            retry,
            prompt_cache,
            origin: Origin { tls, authority },
            prefix: uri.path().trim_end_matches('/').to_owned(),
            query: uri.query().map(str::to_owned),
            base_url,
            headers: Arc::new(headers),
            signer: signer.transpose()?.map(Arc::new),
            secrets,
        })
    }

    /// The base URL as given.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The same endpoint with other limits on a call's time.
    #[must_use]
    pub fn with_timeouts(&self, timeouts: Timeouts) -> Self {
        Self { timeouts, ..self.clone() }
    }

    /// The same endpoint with further headers for one call.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for a header that cannot be sent.
    pub fn with_headers(&self, extra: &[(String, String)]) -> Result<Self, Error> {
        let mut endpoint = self.clone();
        for (name, value) in extra {
            endpoint.secrets.extend(secrets_in(name, value));
            let (name, value) = header_pair(name, value)?;
            Arc::make_mut(&mut endpoint.headers).insert(name, value);
        }
        Ok(endpoint)
    }

    /// An error of a call as the caller may see it: with the provider's name and without secrets.
    pub(super) fn named(&self, error: Error) -> Error {
        error.with_provider(self.wire.name()).without(&self.secrets)
    }

    /// Encodes a chat request, with cache marks where this provider was told to set them.
    ///
    /// # Errors
    /// As [`Wire::encode_chat`].
    pub fn encode_chat(&self, mut request: ChatRequest) -> Result<Encoded, Error> {
        if let Some(config) = &self.prompt_cache {
            self.wire.mark(config, &mut request);
        }
        encode_chat(self.wire.as_ref(), request)
    }

    /// A `POST` of an encoded request. A stream asks for no compression: compressors hold tokens back.
    pub(super) fn post(&self, encoded: Encoded, stream: bool) -> Result<Outgoing, Error> {
        self.send(Ask { method: Method::POST, path: encoded.path, body: encoded.body }, stream)
    }

    /// Any request below the base URL.
    pub(super) fn send(&self, ask: Ask, stream: bool) -> Result<Outgoing, Error> {
        let mut path = format!("{}{}", self.prefix, ask.path);
        if let Some(query) = &self.query {
            path.push(if path.contains('?') { '&' } else { '?' });
            path.push_str(query);
        }
        let path: PathAndQuery = path
            .parse()
            .map_err(|_| Error::invalid("the model's name or the base URL gives a path that cannot be sent"))?;
        let mut headers = self.headers.clone();
        if stream {
            Arc::make_mut(&mut headers).insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if ask.body.is_empty() {
            Arc::make_mut(&mut headers).remove(header::CONTENT_TYPE);
        }
        if self.signer.is_some() {
            // Once for all tries, and here, where large bodies are off the I/O thread.
            Arc::make_mut(&mut headers).insert(sigv4::CONTENT_HASH, sigv4::content_hash(&ask.body));
        }
        Ok(Outgoing { method: ask.method, path, headers, body: ask.body })
    }

    /// The request as it is sent `now`: signed, where this provider wants that. A signature holds for some minutes, so each
    /// try has its own. Whoever gives an `authorization` header has seen to it already.
    pub(super) fn signed<'a>(&self, outgoing: &'a Outgoing, now: SystemTime) -> Result<Cow<'a, Outgoing>, Error> {
        match &self.signer {
            Some(signer) if !outgoing.headers.contains_key(header::AUTHORIZATION) => {
                let mut signed = outgoing.clone();
                let headers = Arc::make_mut(&mut signed.headers);
                signer.sign(&outgoing.method, self.origin.authority.as_str(), &outgoing.path, headers, now)?;
                Ok(Cow::Owned(signed))
            }
            _ => Ok(Cow::Borrowed(outgoing)),
        }
    }
}
