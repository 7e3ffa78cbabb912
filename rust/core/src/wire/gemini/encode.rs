//! Messages and options as Gemini's request body.

use serde_json::{Value, value::RawValue};

use super::{NAME, resource};
use crate::{
    error::Error,
    model::{
        ChatRequest, JsonObject, Media, Message, Options, Part, Reasoning, ResponseFormat, Role, Tool, ToolChoice,
    },
    wire::{
        body::{ObjectWriter, unsupported, write},
        common::{
            Source, arguments_object, both_bring_results, budget_of, check_tool_message, is_empty_text, is_made_up,
            is_reasoning_detail, object_schema, system_parts, tool_name, turns,
        },
        media,
    },
};

/// Where uploaded files are; the API names them by their whole address, `files/x` is short for it.
const FILES: &str = "https://generativelanguage.googleapis.com/v1beta/files/";

/// The body of a chat request.
pub(super) fn chat(request: &ChatRequest) -> Result<Vec<u8>, Error> {
    let options = &request.options;
    refuse(&request.model, options)?;
    media::GEMINI.check(NAME, &request.messages)?;
    let mut out = Vec::with_capacity(1024);
    let mut body = ObjectWriter::with_extra(&mut out, &options.extra);
    prompt(&mut body, request)?;
    body.optional("cachedContent", options.cached_content.as_ref());
    body.merged("generationConfig", |config| generation_config(config, &request.model, options));
    body.close();
    Ok(out)
}

/// The body of a request to count tokens: a whole request for an answer, which also counts instructions and tools.
pub(super) fn count(request: &ChatRequest) -> Result<Vec<u8>, Error> {
    refuse(&request.model, &request.options)?;
    let mut out = Vec::with_capacity(1024);
    let mut body = ObjectWriter::new(&mut out);
    if let Some(mut inner) = body.open("generateContentRequest") {
        inner.field("model", &resource(&request.model));
        prompt(&mut inner, request)?;
        inner.optional("cachedContent", request.options.cached_content.as_ref());
        inner.close();
    }
    body.close();
    Ok(out)
}

/// The body of a request to store a prompt.
pub(super) fn store(request: &ChatRequest, ttl_seconds: f64, title: Option<&str>) -> Result<Vec<u8>, Error> {
    refuse(&request.model, &request.options)?;
    let mut out = Vec::with_capacity(1024);
    let mut body = ObjectWriter::with_extra(&mut out, &request.options.extra);
    body.field("model", &resource(&request.model));
    body.optional("displayName", title);
    body.field("ttl", &format!("{ttl_seconds}s"));
    prompt(&mut body, request)?;
    body.close();
    Ok(out)
}

/// System prompt, turns, tools.
fn prompt(body: &mut ObjectWriter<'_>, request: &ChatRequest) -> Result<(), Error> {
    let options = &request.options;
    let turns = turns(&request.messages);
    let system = system_parts(NAME, &request.messages)?;
    if !system.is_empty() && options.cached_content.is_some() {
        let message = "a request with cached_content cannot have a system message of its own: put it into the cache";
        return Err(Error::invalid(message).with_provider(NAME).with_param("messages".to_owned()));
    }
    if !system.is_empty()
        && let Some(mut instruction) = body.open("systemInstruction")
    {
        instruction.array("parts", system, |out, item| part(out, item, None, None))?;
        instruction.close();
    }
    let groups = turns.chunk_by(both_bring_results).filter(|group| !is_silent(group));
    if !turns.is_empty() {
        body.array("contents", groups, |out, group| content(out, group, &turns))?;
    }
    if !options.tools.is_empty() {
        let own = options.tools.iter().filter_map(|tool| tool.raw.as_ref().map(ToolEntry::Own));
        let functions: Vec<&Tool> = options.tools.iter().filter(|tool| tool.raw.is_none()).collect();
        let declared = (!functions.is_empty()).then_some(ToolEntry::Functions(&functions));
        body.array("tools", declared.into_iter().chain(own), |out, entry| match entry {
            ToolEntry::Own(raw) => {
                write(out, raw);
                Ok(())
            }
            ToolEntry::Functions(tools) => {
                let mut declarations = ObjectWriter::new(out);
                declarations.array("functionDeclarations", tools, |out, tool| {
                    declaration(out, tool);
                    Ok(())
                })?;
                declarations.close();
                Ok(())
            }
        })?;
    }
    tool_config(body, options);
    Ok(())
}

/// Whether the model takes a level of thinking (Gemini 3 and later) and not a budget (2.5). One whose name says nothing
/// is taken for a new one. Source: Google's guide "Gemini thinking".
fn takes_level(model: &str) -> bool {
    let version = model.rsplit('/').next().and_then(|name| name.strip_prefix("gemini-"));
    !version.is_some_and(|version| version.starts_with("2.") || version.starts_with("1."))
}

fn refuse(model: &str, options: &Options) -> Result<(), Error> {
    match &options.reasoning {
        Some(Reasoning::Effort(name)) if takes_level(model) => {
            let nearest = match name.as_str() {
                "minimal" | "low" | "medium" | "high" => None,
                // A model of another name may well be one that can be told not to think.
                "none" => model.contains("gemini-").then_some("minimal"),
                "xhigh" | "max" => Some("high"),
                _ => Some("medium"),
            };
            if let Some(nearest) = nearest {
                let instead = format!("the nearest that {model} takes is reasoning=\"{nearest}\"");
                return Err(unsupported(NAME, &format!("reasoning={name:?}"), &instead));
            }
        }
        Some(Reasoning::Effort(name)) if budget_of(name).is_none() => {
            let instead = "give none, minimal, low, medium, high, or a budget of tokens";
            return Err(unsupported(NAME, &format!("reasoning={name:?}"), instead));
        }
        _ => {}
    }
    if options.user.is_some() {
        return Err(unsupported(NAME, "user", "leave it out; on Vertex AI give labels in extra"));
    }
    if !options.metadata.is_empty() {
        let instead = "only Vertex AI has labels, in extra={\"labels\": {...}}; a header goes into extra_headers";
        return Err(unsupported(NAME, "metadata", instead));
    }
    if options.prompt_cache_key.is_some() {
        let instead =
            "equal beginnings of prompts are cached by themselves; provider.caches stores a long one for sure";
        return Err(unsupported(NAME, "prompt_cache_key", instead));
    }
    if options.cached_content.is_some() && (!options.tools.is_empty() || options.tool_choice.is_some()) {
        let message = "a request with cached_content cannot have tools of its own: put them into the cache";
        return Err(Error::invalid(message).with_provider(NAME).with_param("tools".to_owned()));
    }
    if options.parallel_tool_calls == Some(false) {
        return Err(unsupported(NAME, "parallel_tool_calls=false", "take the first of the tool calls that come"));
    }
    Ok(())
}

fn generation_config(config: &mut ObjectWriter<'_>, model: &str, options: &Options) {
    config.optional("maxOutputTokens", options.max_tokens);
    config.optional("temperature", options.temperature);
    config.optional("topP", options.top_p);
    config.optional("topK", options.top_k);
    if !options.stop.is_empty() {
        config.field("stopSequences", &options.stop);
    }
    config.optional("seed", options.seed);
    config.optional("presencePenalty", options.presence_penalty);
    config.optional("frequencyPenalty", options.frequency_penalty);
    match &options.response_format {
        Some(ResponseFormat::Text) => config.field("responseMimeType", "text/plain"),
        Some(ResponseFormat::Json) => config.field("responseMimeType", "application/json"),
        Some(ResponseFormat::Schema { schema, .. }) => {
            config.field("responseMimeType", "application/json");
            config.field("responseJsonSchema", schema);
        }
        None => {}
    }
    // Who asks for thinking wants to see it, as with the other providers.
    config.merged("thinkingConfig", |thinking| {
        let budget = match &options.reasoning {
            Some(Reasoning::Effort(name)) if takes_level(model) && name != "none" => {
                thinking.field("includeThoughts", &true);
                thinking.field("thinkingLevel", name);
                return;
            }
            Some(Reasoning::Effort(name)) => budget_of(name),
            Some(Reasoning::Budget(budget)) => Some(*budget),
            Some(Reasoning::On) => {
                // Without a budget the models think as they see fit.
                thinking.field("includeThoughts", &true);
                return;
            }
            None => None,
        };
        match budget {
            Some(0) => thinking.field("thinkingBudget", &0),
            Some(budget) => {
                thinking.field("includeThoughts", &true);
                thinking.field("thinkingBudget", &budget);
            }
            None => {}
        }
    });
}

/// An entry of `tools`: all functions stand in one, each tool of Gemini's own in one of its own.
enum ToolEntry<'a> {
    Functions(&'a [&'a Tool]),
    Own(&'a Value),
}

/// A tool. `parameters` is what every version of the API takes, but only for a subset of JSON Schema;
/// `parametersJsonSchema` takes the rest.
fn declaration(out: &mut Vec<u8>, tool: &Tool) {
    let schema = object_schema(&tool.parameters);
    let mut body = ObjectWriter::new(out);
    body.field("name", &tool.name);
    body.optional("description", tool.description.as_ref());
    body.field(if is_plain(&schema) { "parameters" } else { "parametersJsonSchema" }, &*schema);
    tool.extra.iter().for_each(|(key, value)| body.field(key, value));
    body.close();
}

/// Whether the schema keeps to the part of JSON Schema that `parameters` is known to take: one type each, no
/// references, unions, bounds or `additionalProperties`.
fn is_plain(schema: &JsonObject) -> bool {
    let plain = |value: &Value| value.as_object().is_some_and(is_plain);
    schema.iter().all(|(key, value)| match key.as_str() {
        "type" | "description" => value.is_string(),
        "nullable" => value.is_boolean(),
        "format" => matches!(value.as_str(), Some("int32" | "int64" | "float" | "double")),
        "required" | "propertyOrdering" | "enum" => {
            value.as_array().is_some_and(|names| names.iter().all(Value::is_string))
        }
        "properties" => value.as_object().is_some_and(|properties| properties.values().all(plain)),
        "items" => plain(value),
        _ => false,
    })
}

/// Gemini has no strict mode for one tool; `VALIDATED` is it for all, and `ANY` always keeps to the schemas.
fn tool_config(body: &mut ObjectWriter<'_>, options: &Options) {
    let strict = options.tools.iter().any(|tool| tool.strict == Some(true));
    let have_tools = !options.tools.is_empty() || options.extra.contains_key("tools");
    let mode = match &options.tool_choice {
        None | Some(ToolChoice::Auto) if strict => "VALIDATED",
        None => return,
        Some(ToolChoice::Auto | ToolChoice::None) if !have_tools => return,
        Some(ToolChoice::Auto) => "AUTO",
        Some(ToolChoice::None) => "NONE",
        Some(ToolChoice::Required | ToolChoice::Named(_)) => "ANY",
    };
    body.merged("toolConfig", |config| {
        config.merged("functionCallingConfig", |calling| {
            calling.field("mode", mode);
            if let Some(ToolChoice::Named(name)) = &options.tool_choice {
                calling.field("allowedFunctionNames", &[name]);
            }
        });
    });
}

/// Whether the part says anything to Gemini. Hidden thinking is another provider's.
fn is_sent(part: &Part) -> bool {
    match part {
        Part::Thinking { text, signature } => !text.is_empty() || signature.is_some(),
        Part::RedactedThinking { .. } => false,
        _ => !(is_empty_text(part) || is_reasoning_detail(part)),
    }
}

/// Whether a turn of the model has nothing to send. Gemini refuses empty ones.
fn is_silent(group: &[&Message]) -> bool {
    group.iter().all(|message| message.role == Role::Assistant && !message.content.iter().any(is_sent))
}

/// One content; several messages that bring tool results become one.
fn content(out: &mut Vec<u8>, group: &[&Message], turns: &[&Message]) -> Result<(), Error> {
    for message in group {
        check_tool_message(message)?;
    }
    let by_model = group.iter().any(|message| message.role == Role::Assistant);
    let mut body = ObjectWriter::new(out);
    body.field("role", if by_model { "model" } else { "user" });
    let all = || group.iter().flat_map(|message| &message.content);
    let mut parts: Vec<_> = all().filter(|part| is_sent(part)).collect();
    if parts.is_empty() {
        // A list without a part is refused more obscurely than an empty text.
        parts.extend(all().take(1));
    }
    let name = |id: &str| group.first().and_then(|message| tool_name(turns, message, id));
    let mut at = 0;
    body.array("parts", std::iter::from_fn(|| next(&parts, &mut at)), |out, (item, signature)| {
        part(out, item, signature, Some(&name))
    })?;
    body.close();
    Ok(())
}

/// The next part to send. A signature without thinking belongs to the text or picture that follows it.
fn next<'a>(parts: &[&'a Part], at: &mut usize) -> Option<(&'a Part, Option<&'a str>)> {
    let part = *parts.get(*at)?;
    *at += 1;
    if let Part::Thinking { text, signature: Some(signature) } = part
        && text.is_empty()
        && let Some(signed) = parts.get(*at)
        && matches!(signed, Part::Text { .. } | Part::Image { .. } | Part::Audio { .. } | Part::Document { .. })
    {
        *at += 1;
        return Some((signed, Some(signature)));
    }
    Some((part, None))
}

/// Finds the name of the tool that a call of this id went to.
type NameOf<'a> = &'a dyn Fn(&str) -> Option<&'a str>;

fn part(out: &mut Vec<u8>, part: &Part, signature: Option<&str>, name_of: Option<NameOf<'_>>) -> Result<(), Error> {
    let mut signature = signature;
    let mut body = ObjectWriter::new(out);
    match part {
        Part::Text { text, .. } | Part::Refusal { text } => body.field("text", text),
        Part::Image { media, .. } | Part::Document { media, .. } | Part::Audio { media } => blob(&mut body, media),
        Part::Thinking { text, signature: own } => {
            body.field("text", text);
            if !text.is_empty() {
                body.field("thought", &true);
            }
            signature = own.as_deref();
        }
        Part::ToolCall(call) => {
            let args = arguments_object(call)?;
            body.object("functionCall", |object| {
                object.optional("id", own_id(&call.id));
                object.field("name", &call.name);
                object.field("args", &args);
            });
            signature = call.signature.as_deref();
        }
        Part::ToolResult { id, name, content, is_error } => {
            let name = name.as_deref().or_else(|| name_of?(id)).ok_or_else(|| {
                let message = format!("no tool call before it has the id {id:?}; give the tool result its tool's name");
                Error::invalid(message).with_provider(NAME).with_param("messages".to_owned())
            })?;
            if let Some(mut object) = body.open("functionResponse") {
                object.optional("id", own_id(id));
                object.field("name", name);
                response(&mut object, content, *is_error)?;
                object.close();
            }
        }
        Part::RedactedThinking { .. } => {}
        Part::Raw(value) => value.as_object().into_iter().flatten().for_each(|(key, value)| body.field(key, value)),
    }
    body.optional("thoughtSignature", signature);
    body.close();
    Ok(())
}

/// Gemini's own ids are sent back; those that were made up for it are not.
fn own_id(id: &str) -> Option<&str> {
    (!id.is_empty() && !is_made_up(id)).then_some(id)
}

/// A tool's answer: its text as text, lest numbers in it lose digits, and its pictures beside it.
fn response(object: &mut ObjectWriter<'_>, content: &[Part], is_error: bool) -> Result<(), Error> {
    let texts = content.iter().filter_map(|part| match part {
        Part::Text { text, .. } => Some(text.as_str()),
        _ => None,
    });
    let text = texts.collect::<Vec<_>>().join("\n");
    match json_result(&text).filter(|_| !is_error) {
        Some(json) if json.get().starts_with('{') => object.field("response", json),
        Some(json) => object.object("response", |response| response.field("result", json)),
        None => object.object("response", |response| response.field(if is_error { "error" } else { "result" }, &text)),
    }
    let media: Vec<_> = content
        .iter()
        .filter_map(|part| match part {
            Part::Image { media, .. } | Part::Document { media, .. } | Part::Audio { media } => Some(media),
            _ => None,
        })
        .collect();
    if media.is_empty() {
        return Ok(());
    }
    object.array("parts", media, |out, media| {
        let mut body = ObjectWriter::new(out);
        blob(&mut body, media);
        body.close();
        Ok(())
    })
}

/// A result that is JSON, as what a tool returns that is no text. Gemini takes an object as the response itself, as its own
/// SDK does with what a function returned, and any other value inside of one.
fn json_result(text: &str) -> Option<&RawValue> {
    let text = text.trim();
    let json = serde_json::from_str::<&RawValue>(text).ok()?;
    let same = match text.as_bytes().first()? {
        b'{' | b'[' => true,
        // A text in quotes is a text.
        b'"' => false,
        // A number that would not come back as it was written may be none: a version, as 1.10, or a long id.
        _ => {
            let written = serde_json::from_str::<Value>(text).and_then(|value| serde_json::to_string(&value));
            text.len() <= 15 && written.is_ok_and(|written| written == text)
        }
    };
    same.then_some(json)
}

/// Bytes here or elsewhere. Gemini guesses no media type, so it is taken from the address where that tells.
fn blob(body: &mut ObjectWriter<'_>, media: &Media) {
    match Source::from(media) {
        Source::Base64 { media_type, data } => body.object("inlineData", |blob| {
            blob.field("mimeType", media_type);
            blob.field("data", data);
        }),
        Source::Url(uri) | Source::File(uri) => body.object("fileData", |file| {
            file.optional("mimeType", media_type(uri));
            match uri.strip_prefix("files/") {
                Some(name) => file.field("fileUri", &format!("{FILES}{name}")),
                None => file.field("fileUri", uri),
            }
        }),
    }
}

/// The media type that an address's ending tells.
fn media_type(uri: &str) -> Option<&'static str> {
    let path = uri.split(['?', '#']).next()?;
    let (_, ending) = path.rsplit('/').next()?.rsplit_once('.')?;
    Some(match ending.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "heic" => "image/heic",
        "heif" => "image/heif",
        "pdf" => "application/pdf",
        "txt" => "text/plain",
        "mp3" => "audio/mp3",
        "wav" => "audio/wav",
        "ogg" => "audio/ogg",
        "flac" => "audio/flac",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        _ => return None,
    })
}
