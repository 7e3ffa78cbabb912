//! What the simulator remembers of prompts: the prefixes that were marked to be cached, and the prompts that were stored.
//!
//! Counted in the simulator's own rough tokens of four bytes. Nothing is forgotten with time, except stored prompts.

use std::{
    collections::{BTreeMap, HashSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};

use super::{dialect::Problem, route::Verb, times::Rfc3339};
use crate::prompt_cache::{MAX_MARKS, Ttl, minimum_tokens};

/// More prefixes than this are not remembered.
const MOST: usize = 100_000;
/// Anthropic looks for a known prefix in so many blocks before a mark.
const LOOKBACK: usize = 20;
/// OpenAI caches prompts from 1,024 tokens on, in steps of 128.
const OPENAI_MINIMUM: usize = 1024;
const OPENAI_STEP: usize = 128;
/// Gemini stores prompts from 1,024 tokens on.
const GEMINI_MINIMUM: usize = 1024;

/// How many tokens of a prompt came from a cache and how many went into one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CacheCounts {
    pub(crate) read: u64,
    pub(crate) write_5m: u64,
    pub(crate) write_1h: u64,
}

#[derive(Debug)]
struct Stored {
    model: Value,
    title: Value,
    tokens: u64,
    created: SystemTime,
    expires: SystemTime,
}

/// What is remembered.
#[derive(Debug, Default)]
pub(crate) struct Prompts {
    prefixes: HashSet<u64>,
    stored: BTreeMap<String, Stored>,
}

/// One block of a prompt: its bytes' hash with all before it, all tokens up to its end, and its mark.
struct Block {
    hash: u64,
    tokens: u64,
    mark: Option<Ttl>,
}

impl Prompts {
    fn remember(&mut self, hash: u64) {
        if self.prefixes.len() >= MOST {
            self.prefixes.clear();
        }
        self.prefixes.insert(hash);
    }

    /// An Anthropic request. Does nothing without marks; more than four are refused.
    pub(crate) fn anthropic(&mut self, body: &[u8]) -> Result<CacheCounts, String> {
        let mut counts = CacheCounts::default();
        let marked = body.windows(b"\"cache_control\"".len()).any(|window| window == b"\"cache_control\"");
        let Some(value) = marked.then(|| serde_json::from_slice::<Value>(body).ok()).flatten() else {
            return Ok(counts);
        };
        let model = value.get("model").and_then(Value::as_str).unwrap_or_default();
        let blocks = blocks(model, &value);
        let marks = blocks.iter().filter(|block| block.mark.is_some()).count();
        if marks > MAX_MARKS {
            return Err(format!("A maximum of 4 blocks with cache_control may be provided. Found {marks}."));
        }
        let ttls: Vec<Ttl> = blocks.iter().filter_map(|block| block.mark).collect();
        if !ttls.is_sorted_by(|before, after| before >= after) {
            return Err("cache_control: a ttl='1h' block must not come after a ttl='5m' block".to_owned());
        }
        let minimum = u64::from(minimum_tokens(Some(model)));
        let places: Vec<usize> = (0..blocks.len())
            .filter(|at| blocks.get(*at).is_some_and(|block| block.mark.is_some() && block.tokens >= minimum))
            .collect();
        let near = places.iter().flat_map(|at| at.saturating_sub(LOOKBACK)..=*at);
        let known = near.filter_map(|at| blocks.get(at)).filter(|block| self.prefixes.contains(&block.hash));
        counts.read = known.map(|block| block.tokens).max().unwrap_or(0);
        let mut from = counts.read;
        for block in places.iter().filter_map(|at| blocks.get(*at)) {
            let written = block.tokens.saturating_sub(from);
            from = from.max(block.tokens);
            match block.mark {
                Some(Ttl::OneHour) => counts.write_1h += written,
                _ => counts.write_5m += written,
            }
            self.remember(block.hash);
        }
        Ok(counts)
    }

    /// An OpenAI request with a `prompt_cache_key`: the same beginning of the messages under the same key is known.
    pub(crate) fn openai(&mut self, key: &str, messages: &str) -> CacheCounts {
        let mut hasher = DefaultHasher::new();
        ("openai", key).hash(&mut hasher);
        let mut read = 0;
        for (n, chunk) in messages.as_bytes().chunks_exact(4 * OPENAI_STEP).enumerate() {
            hasher.write(chunk);
            let tokens = (n + 1) * OPENAI_STEP;
            let hash = hasher.finish();
            if tokens >= OPENAI_MINIMUM {
                if self.prefixes.contains(&hash) {
                    read = tokens;
                }
                self.remember(hash);
            }
        }
        CacheCounts { read: read as u64, ..CacheCounts::default() }
    }

    /// A Gemini request in front of which a stored prompt stands.
    pub(crate) fn gemini(&self, name: &str, now: SystemTime) -> Result<CacheCounts, Problem> {
        let stored = self.alive(name, now)?;
        Ok(CacheCounts { read: stored.tokens, ..CacheCounts::default() })
    }

    fn alive(&self, name: &str, now: SystemTime) -> Result<&Stored, Problem> {
        let found = self.stored.get(name).filter(|stored| stored.expires > now);
        found.ok_or_else(|| Problem::new(403, "CachedContent not found (or permission denied)"))
    }

    /// Gemini's `cachedContents`: `name` is that of one, or `None` for all.
    pub(crate) fn store(
        &mut self,
        verb: Verb,
        name: Option<&str>,
        body: &[u8],
        id: &str,
        now: SystemTime,
    ) -> Result<Value, Problem> {
        let given: Value = serde_json::from_slice(body).unwrap_or_default();
        match (verb, name) {
            (Verb::Post, _) => {
                let tokens = body.len() / 4;
                if tokens < GEMINI_MINIMUM {
                    let counts = format!("total_token_count={tokens}, min_total_token_count={GEMINI_MINIMUM}");
                    return Err(Problem::new(400, format!("Cached content is too small. {counts}")));
                }
                let stored = Stored {
                    model: given.get("model").cloned().unwrap_or_default(),
                    title: given.get("displayName").cloned().unwrap_or_else(|| "".into()),
                    tokens: tokens as u64,
                    created: now,
                    expires: now + ttl(&given)?.unwrap_or(Duration::from_secs(3600)),
                };
                let name = format!("cachedContents/{id}");
                let shown = show(&name, &stored);
                self.stored.insert(name, stored);
                Ok(shown)
            }
            (_, None) => {
                let all = self.stored.iter().filter(|(_, stored)| stored.expires > now);
                Ok(json!({"cachedContents": all.map(|(name, stored)| show(name, stored)).collect::<Vec<_>>()}))
            }
            (Verb::Get, Some(name)) => Ok(show(name, self.alive(name, now)?)),
            (Verb::Patch, Some(name)) => {
                self.alive(name, now)?;
                let until = ttl(&given)?.ok_or_else(|| Problem::new(400, "nothing to update: give ttl"))?;
                let Some(stored) = self.stored.get_mut(name) else { return Ok(Value::Null) };
                stored.expires = now + until;
                Ok(show(name, stored))
            }
            (Verb::Delete, Some(name)) => {
                self.alive(name, now)?;
                self.stored.remove(name);
                Ok(json!({}))
            }
        }
    }
}

fn show(name: &str, stored: &Stored) -> Value {
    json!({
        "name": name,
        "model": stored.model,
        "displayName": stored.title,
        "createTime": Rfc3339(stored.created).to_string(),
        "updateTime": Rfc3339(stored.created).to_string(),
        "expireTime": Rfc3339(stored.expires).to_string(),
        "usageMetadata": {"totalTokenCount": stored.tokens},
    })
}

/// The lifetime in a request, as `300s`.
fn ttl(given: &Value) -> Result<Option<Duration>, Problem> {
    let Some(text) = given.get("ttl") else { return Ok(None) };
    let seconds = text.as_str().and_then(|text| text.strip_suffix('s')).and_then(|number| number.parse::<f64>().ok());
    let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let duration = duration.filter(|duration| !duration.is_zero());
    duration.map(Some).ok_or_else(|| Problem::new(400, "Invalid value at 'ttl'"))
}

/// The blocks of an Anthropic prompt in the order in which it is read.
fn blocks(model: &str, body: &Value) -> Vec<Block> {
    let mut all: Vec<(&str, Value)> = Vec::new();
    let mut add = |kind: &'static str, content: Option<&Value>| match content {
        Some(Value::Array(items)) => all.extend(items.iter().map(|item| (kind, item.clone()))),
        // A text is a block of text: said either way, it is the same prompt.
        Some(Value::String(text)) => all.push((kind, json!({"type": "text", "text": text}))),
        Some(other) => all.push((kind, other.clone())),
        None => {}
    };
    add("tools", body.get("tools"));
    add("system", body.get("system"));
    for message in body.get("messages").and_then(Value::as_array).into_iter().flatten() {
        let by_model = message.get("role").is_some_and(|role| role == "assistant");
        add(if by_model { "assistant" } else { "user" }, message.get("content"));
    }
    let mut hasher = DefaultHasher::new();
    model.hash(&mut hasher);
    let mut bytes = 0;
    let mut blocks = Vec::with_capacity(all.len());
    for (kind, mut item) in all {
        let mark = take_mark(&mut item);
        let text = item.to_string();
        (kind, &text).hash(&mut hasher);
        bytes += text.len() as u64;
        blocks.push(Block { hash: hasher.finish(), tokens: bytes / 4, mark });
    }
    blocks
}

fn take_mark(item: &mut Value) -> Option<Ttl> {
    let mark = item.as_object_mut()?.remove("cache_control")?;
    Some(mark.get("ttl").and_then(Value::as_str).and_then(Ttl::parse).unwrap_or_default())
}
