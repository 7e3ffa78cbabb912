//! What a cache of a language model's answers holds: which requests it takes, how answers are kept small, what they weigh.

use std::{
    any::Any,
    mem::{self, size_of},
    sync::{Arc, Mutex},
    time::Duration,
};

use http::Version;
use serde_json::Value;

use super::{Cache, CacheConfig, CacheStats, Clock, Flying, Key, Lookup, Saving, Savings, Ttl};
use crate::{
    call::{Completed, Meta, Tape},
    http::lock,
    metrics::Metrics,
    model::{Citation, Embeddings, FinishReason, Media, Options, Part, Response, Usage},
};

/// What an [`LlmCache`] takes and for how long it keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LlmCacheConfig {
    /// Limits on entries, bytes and time.
    pub limits: CacheConfig,
    /// Whether answers to chat calls are kept.
    pub completions: bool,
    /// Whether vectors are kept.
    pub embeddings: bool,
    /// Whether answers are kept that were asked for with a temperature above 0.
    pub nonzero_temperature: bool,
}

impl Default for LlmCacheConfig {
    fn default() -> Self {
        Self { limits: CacheConfig::default(), completions: true, embeddings: true, nonzero_temperature: false }
    }
}

/// An answer as it is kept: without the body as it came, the headers and the times.
#[derive(Debug)]
pub struct Answer {
    response: Response,
    version: Version,
    provider: &'static str,
}

impl Answer {
    /// Keeps an answer of `provider`; every text at its exact size.
    pub(crate) fn new(completed: &Completed<Response>, provider: &'static str) -> Self {
        let response = Response { raw: bytes::Bytes::new(), ..completed.value.clone() };
        Self { response, version: completed.meta.version, provider }
    }

    /// The answer's text, tool calls and so on.
    pub fn response(&self) -> &Response {
        &self.response
    }

    /// The provider's name.
    pub fn provider(&self) -> &'static str {
        self.provider
    }

    /// The answer as a call gives it: no request was sent for it, and it took `elapsed`.
    pub fn recall(&self, elapsed: Duration) -> Completed<Response> {
        let mut metrics = Metrics::default();
        metrics.record_first_token(elapsed);
        if let Some(usage) = &self.response.usage {
            metrics.set_tokens(usage.prompt_tokens(), usage.completion_tokens());
        }
        metrics.finish(elapsed);
        let meta = Meta { attempts: 0, cached: true, version: self.version, metrics, ..Meta::default() };
        Completed { value: self.response.clone(), meta }
    }

    /// The bytes that the answer takes, to a few.
    fn size(&self) -> usize {
        let Response { id, model, parts, citations, finish_reason: _, raw_finish_reason, usage: _, raw: _ } =
            &self.response;
        ARC + size_of::<Self>()
            + heap(id)
            + heap(model)
            + raw_finish_reason.as_deref().map_or(0, heap)
            + ALLOCATION
            + citations.iter().map(citation_size).sum::<usize>()
            + parts.iter().map(part_size).sum::<usize>()
    }
}

/// What the allocator keeps for itself beside each piece of memory.
const ALLOCATION: usize = 16;
/// The two counts of an `Arc`, and its allocation.
const ARC: usize = 2 * size_of::<usize>() + ALLOCATION;

fn heap(text: &str) -> usize {
    if text.is_empty() { 0 } else { text.len() + ALLOCATION }
}

fn part_size(part: &Part) -> usize {
    let media = |media: &Media| match media {
        Media::Url(text) | Media::FileId(text) => heap(text),
        Media::Base64 { media_type, data } => heap(media_type) + heap(data),
    };
    let optional = |text: &Option<String>| text.as_deref().map_or(0, heap);
    size_of::<Part>()
        + match part {
            Part::Text { text, cache: _, citations } => heap(text) + citations.iter().map(value_size).sum::<usize>(),
            Part::Refusal { text } => heap(text),
            Part::Thinking { text, signature } => heap(text) + optional(signature),
            Part::RedactedThinking { data } => heap(data),
            Part::Image { media: of, detail } => media(of) + optional(detail),
            Part::Document { media: of, name } => media(of) + optional(name),
            Part::Audio { media: of } => media(of),
            Part::ToolCall(call) => {
                heap(&call.id) + heap(&call.name) + heap(&call.arguments) + optional(&call.signature)
            }
            Part::ToolResult { id, name, content, is_error: _ } => {
                heap(id) + optional(name) + content.iter().map(part_size).sum::<usize>()
            }
            Part::Raw(value) => value_size(value),
        }
}

fn citation_size(citation: &Citation) -> usize {
    let Citation { start: _, end: _, url, title, cited_text, raw } = citation;
    let texts = [url, title, cited_text].into_iter().flatten();
    size_of::<Citation>() + texts.map(|text| heap(text)).sum::<usize>() + value_size(raw)
}

fn value_size(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => heap(text),
            Value::Array(items) => ALLOCATION + items.iter().map(value_size).sum::<usize>(),
            Value::Object(object) => {
                // An entry has its key, its hash and its place in the index.
                let entry = size_of::<String>() + 2 * size_of::<usize>();
                ALLOCATION + object.iter().map(|(key, value)| entry + heap(key) + value_size(value)).sum::<usize>()
            }
        }
}

/// One thing that is kept.
#[derive(Debug, Clone)]
pub enum Stored {
    /// An answer to a chat call.
    Answer(Arc<Answer>),
    /// The vector of one text, and the tokens that the text has, as far as the provider told.
    Vector(Arc<[f32]>, u32),
    /// Something of the caller's own.
    Other(Arc<dyn Any + Send + Sync>),
}

/// A cache of answers and vectors, and of whatever else its owner puts in. Shared by any number of providers.
#[derive(Debug)]
pub struct LlmCache {
    config: LlmCacheConfig,
    cache: Cache<Stored>,
    clock: Clock,
    savings: Mutex<Savings>,
    /// Chat calls under way.
    pub(crate) chats: Flying<Completed<Response>>,
    /// Streamed chat calls under way, with what has come of their answers.
    pub(crate) streams: Flying<Completed<Response>, Arc<Tape>>,
    /// Embedding calls under way.
    pub(crate) embeds: Flying<Completed<Embeddings>>,
}

impl LlmCache {
    /// An empty cache.
    pub fn new(config: LlmCacheConfig, clock: Clock) -> Self {
        let cache = Cache::new(config.limits);
        let (chats, streams, embeds) = Default::default();
        Self { config, cache, clock, savings: Mutex::default(), chats, streams, embeds }
    }

    /// How it was set up.
    pub fn config(&self) -> &LlmCacheConfig {
        &self.config
    }

    /// The time by the cache's clock.
    pub fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Tells a [`Clock::Told`] the time. It never goes back.
    pub fn tell(&self, now: Duration) {
        self.clock.tell(now);
    }

    /// Looks something up. See [`Cache::get`].
    pub fn get(&self, key: Key) -> Lookup<Stored> {
        self.cache.get(key, self.now())
    }

    /// As [`Cache::get_with`].
    pub fn get_with<R>(&self, key: Key, take: impl FnOnce(&Stored) -> R) -> Lookup<R> {
        self.cache.get_with(key, self.now(), take)
    }

    /// As [`Cache::peek`].
    pub fn peek(&self, key: Key) -> Option<Stored> {
        self.cache.peek(key, self.now())
    }

    /// As [`Cache::contains`].
    pub fn contains(&self, key: Key) -> bool {
        self.cache.contains(key, self.now())
    }

    /// Stores something that takes `bytes`, besides its entry. See [`Cache::insert`].
    pub fn insert(&self, key: Key, value: Stored, bytes: usize, ttl: Ttl) -> bool {
        self.cache.insert(key, value, (bytes + Cache::<Stored>::ENTRY_OVERHEAD) as u64, ttl, self.now())
    }

    /// As [`LlmCache::insert`], of a value of the caller's own. It takes the place of an older one without an allocation.
    pub fn insert_own<T: Any + Send + Sync>(&self, key: Key, value: T, bytes: usize, ttl: Ttl) -> bool {
        let swap = |stored: &mut Stored, new: T| match stored {
            Stored::Other(own) => match Arc::get_mut(own).and_then(|own| own.downcast_mut::<T>()) {
                Some(own) => Ok(mem::replace(own, new)),
                None => Err(new),
            },
            _ => Err(new),
        };
        let weight = (bytes + Cache::<Stored>::ENTRY_OVERHEAD) as u64;
        self.cache.insert_with(key, value, weight, ttl, self.now(), swap, |new| Stored::Other(Arc::new(new)))
    }

    /// As [`Cache::remove`].
    pub fn remove(&self, key: Key) -> Option<Stored> {
        self.cache.remove(key, self.now())
    }

    /// As [`Cache::clear`].
    pub fn clear(&self) {
        self.cache.clear();
    }

    /// As [`Cache::purge`].
    pub fn purge(&self) -> usize {
        self.cache.purge(self.now())
    }

    /// As [`Cache::refresh_failed`].
    pub fn refresh_failed(&self, key: Key) {
        self.cache.refresh_failed(key);
    }

    /// As [`Cache::len`].
    pub fn len(&self) -> usize {
        self.cache.len()
    }

    /// As [`Cache::is_empty`].
    pub fn is_empty(&self) -> bool {
        self.cache.is_empty()
    }

    /// As [`Cache::stats`].
    pub fn stats(&self) -> CacheStats {
        self.cache.stats()
    }

    /// What hits saved, by provider and model.
    pub fn savings(&self) -> Vec<Saving> {
        lock(&self.savings).list()
    }

    /// Counts an answer that needed no request. `asked` is the model that was asked for, where the answer names none.
    pub fn add_saved(&self, answer: &Answer, asked: &str) {
        // Where the provider told no tokens there is nothing to count.
        if let Some(usage) = answer.response.usage {
            let model = if answer.response.model.is_empty() { asked } else { &answer.response.model };
            self.cache.add_saved(usage.total_tokens());
            lock(&self.savings).add(answer.provider, model, 1, usage);
        }
    }

    /// Counts texts of so many tokens whose vectors needed no request.
    pub fn add_saved_texts(&self, provider: &'static str, model: &str, tokens: u64) {
        if tokens > 0 {
            self.cache.add_saved(tokens);
            lock(&self.savings).add(provider, model, 0, Usage { input: tokens, ..Usage::default() });
        }
    }

    /// Counts a call that was answered by the request of an equal one.
    pub fn add_shared(&self) {
        self.cache.add_shared();
    }

    /// Whether the answer to a chat call with these options is kept here.
    pub fn takes_chat(&self, options: &Options) -> bool {
        self.config.completions && (self.config.nonzero_temperature || !samples(options))
    }

    /// Keeps an answer; returns it as it is kept. One that is not worth keeping only comes back.
    pub fn keep_answer(&self, key: Key, completed: &Completed<Response>, provider: &'static str) -> Arc<Answer> {
        let answer = Arc::new(Answer::new(completed, provider));
        self.keep(key, &answer);
        answer
    }

    /// Keeps an answer that another cache has.
    pub fn keep(&self, key: Key, answer: &Arc<Answer>) {
        // The provider failed in the middle of one, the other goes on when it is sent back.
        if !matches!(answer.response.finish_reason, Some(FinishReason::Error | FinishReason::Pause)) {
            self.insert(key, Stored::Answer(answer.clone()), answer.size(), Ttl::Default);
        }
    }

    /// Keeps one text's vector.
    pub fn keep_vector(&self, key: Key, vector: &Arc<[f32]>, tokens: u32) {
        let bytes = ARC + size_of_val::<[f32]>(vector);
        self.insert(key, Stored::Vector(vector.clone(), tokens), bytes, Ttl::Default);
    }
}

/// Whether the options ask for a temperature above 0: by the common option, or by the provider's own field in `extra`.
fn samples(options: &Options) -> bool {
    let above = |value: Option<&Value>| value.and_then(Value::as_f64).is_some_and(|temperature| temperature != 0.0);
    // Gemini and Ollama have it one level down.
    let nested = ["generationConfig", "generation_config", "options"];
    match options.extra.get("temperature") {
        Some(own) => above(Some(own)),
        None => {
            options.temperature.is_some_and(|temperature| temperature != 0.0)
                || nested
                    .iter()
                    .any(|name| above(options.extra.get(*name).and_then(|object| object.get("temperature"))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn temperature_counts_wherever_it_stands() {
        let with = |temperature: Option<f64>, extra: Value| {
            let extra = extra.as_object().cloned().unwrap_or_default();
            samples(&Options { temperature, extra, ..Options::default() })
        };
        assert!(!with(None, json!({})) && !with(Some(0.0), json!({})) && !with(Some(-0.0), json!({})));
        assert!(with(Some(0.1), json!({})) && with(None, json!({"temperature": 1})));
        assert!(!with(Some(0.7), json!({"temperature": 0})), "extra wins, as in the request");
        assert!(with(None, json!({"options": {"temperature": 0.5}})));
        assert!(with(None, json!({"generationConfig": {"temperature": 0.5}})));
        assert!(!with(None, json!({"options": {"temperature": 0.0}, "generationConfig": 3})));
    }

    #[test]
    fn an_answer_of_a_kilobyte_weighs_less_than_two() {
        let response = Response {
            id: "chatcmpl-0123456789abcdefghijklmnopq".into(),
            model: "gpt-4o-mini-2024-07-18".into(),
            parts: vec![Part::text("x".repeat(1024))],
            finish_reason: Some(FinishReason::Stop),
            raw_finish_reason: Some("stop".into()),
            usage: Some(crate::model::Usage::from_inclusive(10, 0, 0, 250, 0)),
            raw: bytes::Bytes::from(vec![b'x'; 5000]),
            citations: Vec::new(),
        };
        let cache = LlmCache::new(LlmCacheConfig::default(), Clock::system());
        let completed = Completed { value: response, meta: Meta::default() };
        let key = super::super::KeyBuilder::new("test").finish();
        let kept = cache.keep_answer(key, &completed, "openai");
        assert_eq!(kept.response().raw.len(), 0);
        cache.add_saved(&kept, "asked");
        let saved = cache.savings();
        assert_eq!((saved[0].model.as_str(), cache.stats().tokens_saved), ("gpt-4o-mini-2024-07-18", 260));
        assert!((1024..2000).contains(&cache.stats().bytes), "{}", cache.stats().bytes);
    }

    #[test]
    fn an_answer_that_is_not_whole_is_not_kept() {
        let cache = LlmCache::new(LlmCacheConfig::default(), Clock::told());
        let key = super::super::KeyBuilder::new("test").finish();
        for (reason, kept) in [
            (Some(FinishReason::Error), false),
            (Some(FinishReason::Pause), false),
            (Some(FinishReason::Length), true),
            (None, true),
        ] {
            let value = Response { finish_reason: reason.clone(), ..Response::default() };
            cache.clear();
            cache.keep_answer(key, &Completed { value, meta: Meta::default() }, "openai");
            assert_eq!(cache.contains(key), kept, "{reason:?}");
        }
    }
}
