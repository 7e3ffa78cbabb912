//! Messages, tools and options in the JSON shapes that people write them in.
//!
//! OpenAI's shapes are the common tongue and the canonical form; Anthropic's content blocks are understood too. What has
//! a `type` that is not known here is kept as it is and passed through to the provider.

use serde_json::{Value, json};

use super::{
    CacheControl, JsonObject, Media, Message, Part, Reasoning, ResponseFormat, Role, Tool, ToolCall, ToolChoice,
};
use crate::error::Error;

fn text_of<'a>(object: &'a JsonObject, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

fn string_of(object: &JsonObject, key: &str) -> String {
    text_of(object, key).unwrap_or_default().to_owned()
}

/// A message from its JSON form.
///
/// # Errors
/// [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest) naming what is wrong with it.
pub fn message_from_json(object: &JsonObject) -> Result<Message, Error> {
    let role = text_of(object, "role").ok_or_else(|| Error::invalid("a message needs a role"))?;
    let role = parse_role(role)?;
    let name = text_of(object, "name").map(str::to_owned);
    let mut message = Message { role, content: Vec::new(), name, as_parts: false, cache: cache_of(object) };
    if let Some(thinking) = text_of(object, "reasoning_content").or_else(|| text_of(object, "thinking")) {
        message.content.push(Part::Thinking { text: thinking.to_owned(), signature: None });
    }
    if let Some(Value::Array(details)) = object.get("reasoning_details") {
        message.content.extend(details.iter().cloned().map(Part::Raw));
    }
    let content = match object.get("content") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(text)) => vec![Part::text(text.as_str())],
        Some(Value::Array(parts)) => {
            message.as_parts = true;
            if let Some(Value::Object(last)) = parts.last()
                && text_of(last, "type") != Some("text")
            {
                // A mark behind the last part is one behind the message.
                message.cache = message.cache.or_else(|| cache_of(last));
            }
            parts.iter().map(part_from_json).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(Error::invalid("a message's content is a text or a list of parts")),
    };
    if role == Role::Tool {
        let id = text_of(object, "tool_call_id").unwrap_or_default().to_owned();
        let name = text_of(object, "name").or_else(|| text_of(object, "tool_name")).map(str::to_owned);
        let is_error = object.get("is_error").and_then(Value::as_bool).unwrap_or(false);
        message.content.push(Part::ToolResult { id, name, content, is_error });
        message.name = None;
        return Ok(message.normal());
    }
    message.content.extend(content);
    if let Some(refusal) = text_of(object, "refusal") {
        message.content.push(Part::Refusal { text: refusal.to_owned() });
    }
    if let Some(Value::Array(calls)) = object.get("tool_calls") {
        for call in calls {
            message.content.push(Part::ToolCall(tool_call_from_json(call)?));
        }
    }
    if message.content.is_empty() && role != Role::Assistant {
        return Err(Error::invalid(format!("the {} message has no content", role.as_str())));
    }
    Ok(message.normal())
}

/// The role of that name.
///
/// # Errors
/// [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest) listing the roles that there are.
pub fn parse_role(name: &str) -> Result<Role, Error> {
    Role::parse(name).ok_or_else(|| {
        Error::invalid(format!("{name:?} is not a role; use system, developer, user, assistant or tool"))
    })
}

fn tool_call_from_json(value: &Value) -> Result<ToolCall, Error> {
    let object = value.as_object().ok_or_else(|| Error::invalid("a tool call is an object"))?;
    let function = object.get("function").and_then(Value::as_object).unwrap_or(object);
    let arguments = match function.get("arguments") {
        None | Some(Value::Null) => "{}".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let name = text_of(function, "name").ok_or_else(|| Error::invalid("a tool call needs a name"))?;
    let signature = text_of(object, "signature").map(str::to_owned);
    Ok(ToolCall { id: string_of(object, "id"), name: name.to_owned(), arguments, signature })
}

fn cache_of(object: &JsonObject) -> Option<CacheControl> {
    let cache = object.get("cache_control")?.as_object()?;
    Some(CacheControl { ttl: text_of(cache, "ttl").map(str::to_owned) })
}

fn cache_to_json(cache: &CacheControl) -> Value {
    match &cache.ttl {
        Some(ttl) => json!({"type": "ephemeral", "ttl": ttl}),
        None => json!({"type": "ephemeral"}),
    }
}

/// A URL as it is, or the data of a `data:` URL.
pub fn media_from_url(url: &str) -> Media {
    let data = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
    match data {
        Some((media_type, data)) => Media::Base64 { media_type: media_type.to_owned(), data: data.to_owned() },
        None => Media::Url(url.to_owned()),
    }
}

/// Anthropic's `source` object.
fn media_from_source(source: &JsonObject) -> Option<Media> {
    Some(match text_of(source, "type")? {
        "url" => media_from_url(text_of(source, "url")?),
        "base64" => Media::Base64 { media_type: string_of(source, "media_type"), data: string_of(source, "data") },
        "file" => Media::FileId(string_of(source, "file_id")),
        _ => return None,
    })
}

/// Fields of parts that have a type. One of these without a type is a part whose type was forgotten.
const FORMS: [&str; 9] =
    ["type", "text", "image_url", "input_audio", "file", "source", "thinking", "input", "tool_use_id"];

fn part_from_json(value: &Value) -> Result<Part, Error> {
    let object = match value {
        Value::String(text) => return Ok(Part::text(text.as_str())),
        Value::Object(object) => object,
        _ => return Err(Error::invalid("a content part is a text or an object with a type")),
    };
    let raw = || Ok(Part::Raw(value.clone()));
    let inner = |key: &str| object.get(key).and_then(Value::as_object);
    match text_of(object, "type").unwrap_or_default() {
        "text" | "input_text" | "output_text" => {
            let citations = object.get("citations").and_then(Value::as_array).cloned().unwrap_or_default();
            Ok(Part::Text { text: string_of(object, "text"), cache: cache_of(object), citations })
        }
        "image_url" => {
            let url =
                inner("image_url").and_then(|image| text_of(image, "url")).or_else(|| text_of(object, "image_url"));
            let Some(url) = url else { return Err(Error::invalid("an image_url part needs a url")) };
            let detail = inner("image_url").and_then(|image| text_of(image, "detail")).map(str::to_owned);
            Ok(Part::Image { media: media_from_url(url), detail })
        }
        "image" => match inner("source").and_then(media_from_source) {
            Some(media) if cache_of(object).is_none() => Ok(Part::Image { media, detail: None }),
            _ => raw(),
        },
        "document" => match inner("source").and_then(media_from_source) {
            Some(media) if object.keys().all(|key| matches!(key.as_str(), "type" | "source" | "title")) => {
                Ok(Part::Document { media, name: text_of(object, "title").map(str::to_owned) })
            }
            _ => raw(),
        },
        "input_audio" => match inner("input_audio") {
            Some(audio) => Ok(Part::Audio {
                media: Media::Base64 {
                    media_type: format!("audio/{}", text_of(audio, "format").unwrap_or("wav")),
                    data: string_of(audio, "data"),
                },
            }),
            None => raw(),
        },
        // OpenAI's own sounds, of earlier answers, have an id and no source.
        "audio" => match inner("source").and_then(media_from_source) {
            Some(media) => Ok(Part::Audio { media }),
            None => raw(),
        },
        "file" => match inner("file") {
            Some(file) => {
                let media = match (text_of(file, "file_id"), text_of(file, "file_data")) {
                    (Some(id), _) => Media::FileId(id.to_owned()),
                    (None, Some(data)) => media_from_url(data),
                    (None, None) => return raw(),
                };
                Ok(Part::Document { media, name: text_of(file, "filename").map(str::to_owned) })
            }
            None => raw(),
        },
        // Mistral's is a list of parts.
        "thinking" if object.get("thinking").is_some_and(Value::is_array) => raw(),
        "thinking" => Ok(Part::Thinking {
            text: string_of(object, "thinking"),
            signature: text_of(object, "signature").map(str::to_owned),
        }),
        "redacted_thinking" => Ok(Part::RedactedThinking { data: string_of(object, "data") }),
        "refusal" => Ok(Part::Refusal { text: string_of(object, "refusal") }),
        "tool_use" => Ok(Part::ToolCall(ToolCall {
            id: string_of(object, "id"),
            name: string_of(object, "name"),
            arguments: match text_of(object, "arguments") {
                Some(arguments) => arguments.to_owned(),
                None => object.get("input").map_or_else(|| "{}".to_owned(), Value::to_string),
            },
            signature: text_of(object, "signature").map(str::to_owned),
        })),
        "tool_result" if cache_of(object).is_none() => {
            let content = match object.get("content") {
                Some(Value::String(text)) => vec![Part::text(text.as_str())],
                Some(Value::Array(parts)) => parts.iter().map(part_from_json).collect::<Result<_, _>>()?,
                _ => Vec::new(),
            };
            Ok(Part::ToolResult {
                id: string_of(object, "tool_use_id"),
                name: text_of(object, "name").map(str::to_owned),
                content,
                is_error: object.get("is_error").and_then(Value::as_bool).unwrap_or(false),
            })
        }
        // Gemini's own parts have no type: code that it ran, and what came of it.
        "" if !object.is_empty() && !object.keys().any(|key| FORMS.contains(&key.as_str())) => raw(),
        "" => Err(Error::invalid("a content part needs a type, as text or image_url")),
        _ => raw(),
    }
}

/// A message in its JSON form; [`message_from_json`] reads it back to an equal message.
pub fn message_to_json(message: &Message) -> JsonObject {
    let mut object = JsonObject::new();
    object.insert("role".into(), message.role.as_str().into());
    if let Some(name) = &message.name {
        object.insert("name".into(), name.as_str().into());
    }
    if let Some(cache) = &message.cache {
        object.insert("cache_control".into(), cache_to_json(cache));
    }
    if let (Role::Tool, [Part::ToolResult { id, name, content, is_error }]) = (message.role, message.content.as_slice())
    {
        object.insert("tool_call_id".into(), id.as_str().into());
        if let Some(name) = name {
            object.insert("name".into(), name.as_str().into());
        }
        if *is_error {
            object.insert("is_error".into(), true.into());
        }
        let content = match content.as_slice() {
            [Part::Text { text, cache: None, .. }] if !message.as_parts => text.as_str().into(),
            parts => parts_to_json(parts),
        };
        object.insert("content".into(), content);
        return object;
    }
    if message.as_parts || !write_fields(message, &mut object) {
        object.insert("content".into(), parts_to_json(&message.content));
    }
    object
}

/// Writes a message in OpenAI's fields: `reasoning_content`, a text as `content`, `refusal`, `tool_calls`. Says whether that
/// is possible: they have one order, and no place for signatures, marks and citations.
fn write_fields(message: &Message, object: &mut JsonObject) -> bool {
    let mut rest = message.content.as_slice();
    let (mut thinking, mut content, mut refusal) = (None, Value::Null, None);
    if let [Part::Thinking { text, signature: None }, after @ ..] = rest {
        (thinking, rest) = (Some(text.as_str()), after);
    }
    if let [Part::Text { text, cache: None, citations }, after @ ..] = rest
        && citations.is_empty()
    {
        (content, rest) = (text.as_str().into(), after);
    }
    if let [Part::Refusal { text }, after @ ..] = rest {
        (refusal, rest) = (Some(text.as_str()), after);
    }
    let calls: Vec<Value> = rest.iter().map_while(call_to_json).collect();
    if calls.len() != rest.len() {
        return false;
    }
    object.insert("content".into(), content);
    for (key, text) in [("reasoning_content", thinking), ("refusal", refusal)] {
        if let Some(text) = text {
            object.insert(key.into(), text.into());
        }
    }
    if !calls.is_empty() {
        object.insert("tool_calls".into(), calls.into());
    }
    true
}

/// A tool call in OpenAI's form; `None` for any other part.
fn call_to_json(part: &Part) -> Option<Value> {
    let Part::ToolCall(call) = part else { return None };
    let function = json!({"name": call.name, "arguments": call.arguments});
    let mut value = json!({"id": call.id, "type": "function", "function": function});
    if let (Some(signature), Some(object)) = (&call.signature, value.as_object_mut()) {
        object.insert("signature".into(), signature.as_str().into());
    }
    Some(value)
}

fn parts_to_json(parts: &[Part]) -> Value {
    Value::Array(parts.iter().map(part_to_json).collect())
}

fn source_to_json(media: &Media) -> Value {
    match media {
        Media::Url(url) => json!({"type": "url", "url": url}),
        Media::Base64 { media_type, data } => json!({"type": "base64", "media_type": media_type, "data": data}),
        Media::FileId(id) => json!({"type": "file", "file_id": id}),
    }
}

/// A media's URL; a `data:` URL where the bytes are here.
pub fn media_to_url(media: &Media) -> String {
    match media {
        Media::Url(url) => url.clone(),
        Media::Base64 { media_type, data } => format!("data:{media_type};base64,{data}"),
        Media::FileId(id) => id.clone(),
    }
}

/// A content part in its JSON form.
pub fn part_to_json(part: &Part) -> Value {
    let mut value = match part {
        Part::Text { text, cache, citations } => {
            let citations = (!citations.is_empty()).then_some(citations);
            let mut value = json!({"type": "text", "text": text, "citations": citations});
            if let (Some(cache), Some(object)) = (cache, value.as_object_mut()) {
                object.insert("cache_control".into(), cache_to_json(cache));
            }
            value
        }
        Part::Image { media: media @ Media::FileId(_), .. } => {
            json!({"type": "image", "source": source_to_json(media)})
        }
        Part::Image { media, detail } => {
            json!({"type": "image_url", "image_url": {"url": media_to_url(media), "detail": detail}})
        }
        Part::Document { media, name } => json!({"type": "document", "source": source_to_json(media), "title": name}),
        Part::Audio { media } => match media {
            Media::Base64 { media_type, data } => json!({"type": "input_audio", "input_audio": {
                "data": data, "format": media_type.strip_prefix("audio/").unwrap_or(media_type)}}),
            other => json!({"type": "audio", "source": source_to_json(other)}),
        },
        Part::Thinking { text, signature } => json!({"type": "thinking", "thinking": text, "signature": signature}),
        Part::RedactedThinking { data } => json!({"type": "redacted_thinking", "data": data}),
        Part::Refusal { text } => json!({"type": "refusal", "refusal": text}),
        Part::ToolCall(call) => {
            let input = serde_json::from_str(&call.arguments).unwrap_or(Value::Null);
            // The model's own spelling, where the value alone would not bring it back to the letter.
            let exact = !input.is_null() && serde_json::to_string(&input).is_ok_and(|text| text == call.arguments);
            let arguments = (!exact).then_some(&call.arguments);
            json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input, "arguments": arguments,
                "signature": call.signature})
        }
        Part::ToolResult { id, name, content, is_error } => json!({"type": "tool_result", "tool_use_id": id,
            "name": name, "content": parts_to_json(content), "is_error": is_error}),
        Part::Raw(value) => return value.clone(),
    };
    if let Some(object) = value.as_object_mut() {
        object.retain(|_, value| !value.is_null());
        if let Some(image) = object.get_mut("image_url").and_then(Value::as_object_mut) {
            image.retain(|_, value| !value.is_null());
        }
    }
    value
}

/// A tool from OpenAI's form (`{"type": "function", "function": {…}}`) or a plain one with `name`, `description` and
/// `parameters` or `input_schema`. A tool of another type, or an object with neither (Gemini's `{"google_search": {}}`),
/// is the provider's own and stays as it is.
///
/// # Errors
/// [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest) naming what is missing.
pub fn tool_from_json(value: &Value) -> Result<Tool, Error> {
    let object = value.as_object().ok_or_else(|| Error::invalid("a tool is an object with name and parameters"))?;
    let function = object.get("function").and_then(Value::as_object);
    if is_own_tool(object, function.is_some()) {
        let name = string_of(object, "name");
        return Ok(Tool { name, raw: Some(value.clone()), ..Tool::default() });
    }
    let function = function.unwrap_or(object);
    let name = text_of(function, "name").ok_or_else(|| Error::invalid("a tool needs a name"))?;
    let parameters = match function.get("parameters").or_else(|| function.get("input_schema")) {
        None | Some(Value::Null) => JsonObject::new(),
        Some(Value::Object(schema)) => schema.clone(),
        Some(_) => return Err(Error::invalid(format!("the parameters of the tool {name:?} are a JSON schema object"))),
    };
    let known = |key: &str| {
        matches!(key, "type" | "function" | "name" | "description" | "parameters" | "input_schema" | "strict")
    };
    let others = object.iter().chain(function).filter(|(key, _)| !known(key));
    Ok(Tool {
        name: name.to_owned(),
        description: text_of(function, "description").map(str::to_owned),
        parameters,
        strict: function.get("strict").and_then(Value::as_bool),
        extra: others.map(|(key, value)| (key.clone(), value.clone())).collect(),
        ..Tool::default()
    })
}

/// Whether this is a tool that the provider itself runs or defines.
fn is_own_tool(object: &JsonObject, has_function: bool) -> bool {
    match text_of(object, "type") {
        Some("function" | "custom") => object.contains_key("custom"),
        Some(_) => true,
        None => {
            let lone = object.len() == 1 && object.values().all(Value::is_object);
            lone && !has_function
        }
    }
}

/// `"auto"`, `"none"`, `"required"` (or `"any"`), a tool's name, or OpenAI's and Anthropic's objects for a named one.
///
/// # Errors
/// [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest) for anything else.
pub fn tool_choice_from_json(value: &Value) -> Result<ToolChoice, Error> {
    let by_name = |name: &str| match name {
        "auto" => ToolChoice::Auto,
        "none" => ToolChoice::None,
        "required" | "any" => ToolChoice::Required,
        other => ToolChoice::Named(other.to_owned()),
    };
    let wrong = || Error::invalid("tool_choice is auto, none, required, or the name of a tool");
    match value {
        Value::String(name) => Ok(by_name(name)),
        Value::Object(object) => {
            let function = object.get("function").and_then(Value::as_object).unwrap_or(object);
            match (text_of(function, "name"), text_of(object, "type")) {
                (Some(name), _) => Ok(ToolChoice::Named(name.to_owned())),
                (None, Some(kind)) if kind != "function" && kind != "tool" => Ok(by_name(kind)),
                _ => Err(wrong()),
            }
        }
        _ => Err(wrong()),
    }
}

/// `"text"`, `"json"` (or `"json_object"`), OpenAI's objects, or a bare JSON schema.
///
/// # Errors
/// [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest) for anything else.
pub fn response_format_from_json(value: &Value) -> Result<ResponseFormat, Error> {
    let wrong = || Error::invalid("response_format is text, json, a JSON schema, or a type");
    let named = |name: &str| match name {
        "text" => Ok(ResponseFormat::Text),
        "json" | "json_object" => Ok(ResponseFormat::Json),
        _ => Err(wrong()),
    };
    let object = match value {
        Value::String(name) => return named(name),
        Value::Object(object) => object,
        _ => return Err(wrong()),
    };
    match text_of(object, "type") {
        Some("json_schema") => {
            let inner = object.get("json_schema").and_then(Value::as_object).unwrap_or(object);
            Ok(ResponseFormat::Schema {
                name: text_of(inner, "name").unwrap_or("response").to_owned(),
                schema: inner.get("schema").cloned().ok_or_else(wrong)?,
                strict: inner.get("strict").and_then(Value::as_bool),
                fit: false,
            })
        }
        Some(name @ ("text" | "json_object")) => named(name),
        _ => Ok(ResponseFormat::Schema {
            name: text_of(object, "title").unwrap_or("response").to_owned(),
            schema: value.clone(),
            strict: None,
            fit: true,
        }),
    }
}

/// An effort's name, a budget of tokens, `true` (as much as the provider thinks right) or `false` (as the effort `none`),
/// or `{"effort": …}` / `{"budget_tokens": …}`.
///
/// # Errors
/// [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest) for anything else.
pub fn reasoning_from_json(value: &Value) -> Result<Reasoning, Error> {
    let wrong =
        || Error::invalid("reasoning is an effort, as \"low\", or a budget of tokens, as 2048, or true or false");
    let budget = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok()).map(Reasoning::Budget);
    match value {
        Value::Bool(true) => Ok(Reasoning::On),
        Value::Bool(false) => Ok(Reasoning::Effort("none".to_owned())),
        Value::String(effort) if !effort.is_empty() => Ok(Reasoning::Effort(effort.clone())),
        Value::Number(_) => budget(value).ok_or_else(wrong),
        Value::Object(object) => text_of(object, "effort")
            .map(|effort| Reasoning::Effort(effort.to_owned()))
            .or_else(|| object.get("budget_tokens").and_then(budget))
            .ok_or_else(wrong),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(value: Value) -> Result<Message, Error> {
        message_from_json(value.as_object().unwrap())
    }

    #[test]
    fn messages_survive_the_way_there_and_back() {
        for value in [
            json!({"role": "user", "content": "hi", "name": "ann"}),
            json!({"role": "system", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]}),
            json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                {"type": "video", "id": 1}]}),
            json!({"role": "assistant", "content": null, "tool_calls": [{"id": "a", "type": "function",
                "function": {"name": "f", "arguments": "{\"x\":1}"}}]}),
            json!({"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "redacted_thinking", "data": "d"}, {"type": "tool_use", "id": "a", "name": "f", "input": {}}]}),
            json!({"role": "assistant", "content": "x", "tool_calls": [
                {"id": "a", "function": {"name": "f", "arguments": "{ \"b\": 1.0, \"a\": 2 }"}},
                {"id": "b", "function": {"name": "g", "arguments": "{\"cut"}},
                {"id": "c", "function": {"name": "h", "arguments": "\"text\""}}]}),
            json!({"role": "assistant", "content": null}),
            json!({"role": "assistant", "content": "", "reasoning_content": "hm", "refusal": "no", "tool_calls": [
                {"id": "a", "function": {"name": "f", "arguments": "{}"}, "signature": "s"}]}),
            json!({"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}},
                {"type": "text", "text": "after"},
                {"type": "tool_use", "id": "b", "name": "f", "arguments": "{\"n\": 12345678901234567890123}"}]}),
            json!({"role": "tool", "tool_call_id": "a", "content": "42"}),
            json!({"role": "user", "content": [{"type": "audio", "source": {"type": "url", "url": "https://x/a.wav"}},
                {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}]}),
            json!({"role": "user", "content": "x", "cache_control": {"type": "ephemeral"}}),
            json!({"role": "assistant", "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}),
            json!({"role": "assistant", "content": [{"executableCode": {"language": "PYTHON", "code": "1"}}, {"type": "text", "text": "1"}]}),
        ] {
            let first = message(value.clone()).unwrap();
            assert_eq!(message_from_json(&message_to_json(&first)).unwrap(), first, "{value}");
        }
    }

    #[test]
    fn bad_messages_say_what_is_wrong() {
        for (value, says) in [
            (json!({"content": "x"}), "needs a role"),
            (json!({"role": "bot", "content": "x"}), "\"bot\" is not a role"),
            (json!({"role": "user"}), "no content"),
            (json!({"role": "user", "content": 5}), "a text or a list"),
            (json!({"role": "user", "content": [{"text": "x"}]}), "needs a type"),
        ] {
            let error = message(value).unwrap_err();
            assert!(error.message().contains(says), "{error}");
        }
    }

    #[test]
    fn choices_and_formats() {
        let choice = |value: Value| tool_choice_from_json(&value).unwrap();
        assert_eq!(choice(json!("required")), ToolChoice::Required);
        assert_eq!(choice(json!({"type": "any"})), ToolChoice::Required);
        assert_eq!(choice(json!({"type": "function", "function": {"name": "f"}})), ToolChoice::Named("f".into()));
        assert!(tool_choice_from_json(&json!(1)).is_err());
        assert!(matches!(response_format_from_json(&json!({"type": "object"})), Ok(ResponseFormat::Schema { .. })));
        assert_eq!(reasoning_from_json(&json!(0)).unwrap(), Reasoning::Budget(0));
        assert_eq!(reasoning_from_json(&json!(true)).unwrap(), Reasoning::On);
        assert_eq!(reasoning_from_json(&json!(false)).unwrap(), Reasoning::Effort("none".into()));
        assert!(reasoning_from_json(&json!(-1)).is_err());
    }

    #[test]
    fn a_forgotten_type_is_told() {
        for part in [json!({"text": "hi"}), json!({"image_url": {"url": "x"}}), json!({"type": ""}), json!({})] {
            let error = message(json!({"role": "user", "content": [part]})).unwrap_err();
            assert!(error.message().contains("needs a type"), "{error}");
        }
    }

    #[test]
    fn tools_of_every_form() {
        let tool = |value: Value| tool_from_json(&value).unwrap();
        let plain = tool(json!({"name": "f", "input_schema": {"type": "object"}, "input_examples": [{"x": 1}]}));
        assert_eq!((plain.name.as_str(), plain.raw.clone()), ("f", None));
        assert_eq!(Value::Object(plain.extra), json!({"input_examples": [{"x": 1}]}));
        let wrapped = tool(json!({"type": "function", "function": {"name": "f", "strict": true, "x": 1}, "y": 2}));
        assert_eq!((wrapped.strict, Value::Object(wrapped.extra)), (Some(true), json!({"y": 2, "x": 1})));
        assert_eq!(tool(json!({"type": "custom", "name": "f"})).raw, None);
        for own in [
            json!({"type": "web_search_20250305", "name": "web_search", "max_uses": 3}),
            json!({"google_search": {}}),
            json!({"type": "custom", "custom": {"name": "grammar"}}),
        ] {
            assert_eq!(tool(own.clone()).raw, Some(own));
        }
        assert!(tool_from_json(&json!({"nmae": "f"})).is_err());
    }
}
