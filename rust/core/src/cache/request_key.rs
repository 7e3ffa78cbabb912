//! The keys of requests: everything that can change the answer, and never a secret.
//!
//! The model's types are taken apart field by field without `..`, so a new field does not compile until it is in the key.
//! Only `stream` is left out: a stored answer can be replayed as a stream, and a finished stream is a stored answer.

use super::{Key, KeyBuilder};
use crate::model::{
    CacheControl, ChatRequest, EmbedRequest, JsonObject, Media, Message, Options, Part, Reasoning, ResponseFormat,
    Tool, ToolCall, ToolChoice,
};

/// The key of a chat call to `provider` at `base_url`.
pub fn chat_key(provider: &str, base_url: &str, request: &ChatRequest) -> Key {
    let ChatRequest { model, messages, options, stream: _ } = request;
    let mut key = KeyBuilder::new("edgequake/chat/1");
    endpoint(&mut key, provider, base_url);
    key.text(model).list(messages.len());
    messages.iter().for_each(|each| message(&mut key, each));
    options_of(&mut key, options);
    key.finish()
}

/// The key of one text's vector.
pub fn embed_key(
    provider: &str,
    base_url: &str,
    model: &str,
    dimensions: Option<u32>,
    task_type: Option<&str>,
    extra: &JsonObject,
    text: &str,
) -> Key {
    embed_prefix(provider, base_url, model, dimensions, task_type, extra).text(text).finish()
}

/// The keys of a request's texts, in their order: each as [`embed_key`] gives it, what they share hashed into all of them.
pub fn embed_keys(provider: &str, base_url: &str, request: &EmbedRequest) -> Vec<Key> {
    let EmbedRequest { model, inputs, dimensions, task_type, extra } = request;
    let prefix = embed_prefix(provider, base_url, model, *dimensions, task_type.as_deref(), extra);
    inputs.iter().map(|text| prefix.clone().text(text).finish()).collect()
}

fn embed_prefix(
    provider: &str,
    base_url: &str,
    model: &str,
    dimensions: Option<u32>,
    task_type: Option<&str>,
    extra: &JsonObject,
) -> KeyBuilder {
    let mut key = KeyBuilder::new("edgequake/embed/1");
    endpoint(&mut key, provider, base_url);
    key.text(model);
    integer(&mut key, dimensions);
    text(&mut key, task_type);
    key.object(extra);
    key
}

/// Who is asked. A slash at the end of the base URL means nothing; a password in it is a secret, and so is what its query
/// names as one.
fn endpoint(key: &mut KeyBuilder, provider: &str, base_url: &str) {
    let (url, query) = base_url.split_once('?').unwrap_or((base_url, ""));
    let url = url.trim_end_matches('/');
    key.text(provider);
    for field in query.split('&').filter(|field| !field.is_empty()) {
        let name = field.split('=').next().unwrap_or_default().to_ascii_lowercase();
        if !["key", "token", "secret", "sig", "auth", "password"].iter().any(|word| name.contains(word)) {
            key.variant(0).text(field);
        }
    }
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            key.text(scheme).text(host).text(path);
        }
        None => {
            key.text(url);
        }
    }
}

fn text(key: &mut KeyBuilder, value: Option<&str>) {
    key.optional(value, |key, text| {
        key.text(text);
    });
}

fn integer(key: &mut KeyBuilder, value: Option<impl Into<i128>>) {
    key.optional(value, |key, number| {
        key.integer(number);
    });
}

fn float(key: &mut KeyBuilder, value: Option<f64>) {
    key.optional(value, |key, number| {
        key.float(number);
    });
}

fn flag(key: &mut KeyBuilder, value: Option<bool>) {
    key.optional(value, |key, yes| {
        key.flag(yes);
    });
}

fn message(key: &mut KeyBuilder, message: &Message) {
    let Message { role, content, name, as_parts, cache } = message;
    key.text(role.as_str());
    parts(key, content);
    text(key, name.as_deref());
    key.flag(*as_parts);
    mark(key, cache.as_ref());
}

fn mark(key: &mut KeyBuilder, cache: Option<&CacheControl>) {
    key.optional(cache, |key, CacheControl { ttl }| {
        key.variant(0);
        text(key, ttl.as_deref());
    });
}

fn parts(key: &mut KeyBuilder, content: &[Part]) {
    key.list(content.len());
    content.iter().for_each(|each| part(key, each));
}

fn part(key: &mut KeyBuilder, part: &Part) {
    match part {
        Part::Text { text, cache, citations } => {
            key.variant(0).text(text);
            mark(key, cache.as_ref());
            key.list(citations.len());
            citations.iter().for_each(|each| {
                key.json(each);
            });
        }
        Part::Image { media, detail } => {
            media_of(key.variant(1), media);
            text(key, detail.as_deref());
        }
        Part::Document { media, name } => {
            media_of(key.variant(2), media);
            text(key, name.as_deref());
        }
        Part::Audio { media } => media_of(key.variant(3), media),
        Part::Thinking { text, signature } => {
            key.variant(4).text(text);
            self::text(key, signature.as_deref());
        }
        Part::RedactedThinking { data } => {
            key.variant(5).text(data);
        }
        Part::Refusal { text } => {
            key.variant(6).text(text);
        }
        Part::ToolCall(ToolCall { id, name, arguments, signature }) => {
            key.variant(7).text(id).text(name).text(arguments);
            text(key, signature.as_deref());
        }
        Part::ToolResult { id, name, content, is_error } => {
            key.variant(8).text(id);
            text(key, name.as_deref());
            parts(key, content);
            key.flag(*is_error);
        }
        Part::Raw(value) => {
            key.variant(9).json(value);
        }
    }
}

fn media_of(key: &mut KeyBuilder, media: &Media) {
    match media {
        Media::Url(url) => key.variant(0).text(url),
        Media::Base64 { media_type, data } => key.variant(1).text(media_type).text(data),
        Media::FileId(id) => key.variant(2).text(id),
    };
}

fn options_of(key: &mut KeyBuilder, options: &Options) {
    let Options {
        max_tokens,
        temperature,
        top_p,
        top_k,
        stop,
        seed,
        presence_penalty,
        frequency_penalty,
        user,
        // Labels for the provider's records: the answer is the same without them.
        metadata: _,
        tools,
        tool_choice,
        parallel_tool_calls,
        response_format,
        reasoning,
        cache_tools,
        prompt_cache_key,
        cached_content,
        extra,
        drop_unsupported,
    } = options;
    integer(key, *max_tokens);
    float(key, *temperature);
    float(key, *top_p);
    integer(key, *top_k);
    key.list(stop.len());
    stop.iter().for_each(|each| text(key, Some(each)));
    integer(key, *seed);
    float(key, *presence_penalty);
    float(key, *frequency_penalty);
    text(key, user.as_deref());
    key.list(tools.len());
    tools.iter().for_each(|each| tool(key, each));
    key.optional(tool_choice.as_ref(), |key, choice| {
        match choice {
            ToolChoice::Auto => key.variant(0),
            ToolChoice::None => key.variant(1),
            ToolChoice::Required => key.variant(2),
            ToolChoice::Named(name) => key.variant(3).text(name),
        };
    });
    flag(key, *parallel_tool_calls);
    key.optional(response_format.as_ref(), |key, format| match format {
        ResponseFormat::Text => {
            key.variant(0);
        }
        ResponseFormat::Json => {
            key.variant(1);
        }
        ResponseFormat::Schema { name, schema, strict, fit } => {
            key.variant(2).text(name).json(schema).flag(*fit);
            flag(key, *strict);
        }
    });
    key.optional(reasoning.as_ref(), |key, reasoning| {
        match reasoning {
            Reasoning::Effort(name) => key.variant(0).text(name),
            Reasoning::Budget(tokens) => key.variant(1).integer(*tokens),
            Reasoning::On => key.variant(2),
        };
    });
    mark(key, cache_tools.as_ref());
    text(key, prompt_cache_key.as_deref());
    text(key, cached_content.as_deref());
    key.object(extra).flag(*drop_unsupported);
}

fn tool(key: &mut KeyBuilder, tool: &Tool) {
    let Tool { name, description, parameters, strict, fit, extra, raw } = tool;
    key.text(name);
    text(key, description.as_deref());
    key.object(parameters);
    flag(key, *strict);
    key.flag(*fit).object(extra);
    key.optional(raw.as_ref(), |key, raw| {
        key.json(raw);
    });
}
