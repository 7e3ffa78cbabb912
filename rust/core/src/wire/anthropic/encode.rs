//! Messages and options as Anthropic's request body.

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_STANDARD};

use serde_json::{Value, json};

use super::{
    NAME,
    thinking::{self, Thinking},
    traits::traits,
};
use crate::{
    error::Error,
    model::{CacheControl, ChatRequest, Media, Message, Options, Part, ResponseFormat, Role, Tool, ToolChoice, fit},
    wire::{
        body::{ObjectWriter, unsupported, write},
        claude::{self, JSON_TOOL},
        common::{
            Source, arguments_object, both_bring_results, check_tool_message, object_schema, system_parts, turns,
        },
        marks, media,
    },
};

/// `max_tokens` where the caller gives none: Anthropic requires it. A thinking budget comes on top.
pub const DEFAULT_MAX_TOKENS: u32 = 4096;

/// The body of a chat request.
pub(super) fn chat(request: &ChatRequest) -> Result<Vec<u8>, Error> {
    let options = &request.options;
    refuse(options)?;
    media::ANTHROPIC.check(NAME, &request.messages)?;
    let thinking = thinking::plan(NAME, &request.model, options)?;
    let form = form(&request.model, options, &thinking)?;
    let mut out = Vec::with_capacity(1024);
    let mut body = ObjectWriter::with_extra(&mut out, &options.extra);
    body.field("model", &request.model);
    body.field("max_tokens", &thinking.max_tokens(options.max_tokens, DEFAULT_MAX_TOKENS));
    if request.stream {
        body.field("stream", &true);
    }
    prompt(&mut body, request, &form)?;
    sampling(&mut body, options);
    thinking.write(&mut body);
    body.merged("output_config", |config| {
        config.optional("effort", thinking.effort());
        if let Form::Schema(schema) = &form {
            config.object("format", |format| {
                format.field("type", "json_schema");
                format.field("schema", &**schema);
            });
        }
    });
    body.close();
    Ok(out)
}

/// The body of a request to count tokens: what makes up the prompt, and nothing of how the answer is made.
pub(super) fn count(request: &ChatRequest) -> Result<Vec<u8>, Error> {
    let options = &request.options;
    let thinking = thinking::plan(NAME, &request.model, options)?;
    let form = form(&request.model, options, &thinking)?;
    let mut out = Vec::with_capacity(1024);
    let mut body = ObjectWriter::with_extra(&mut out, &options.extra);
    body.field("model", &request.model);
    prompt(&mut body, request, &form)?;
    thinking.write(&mut body);
    body.close();
    Ok(out)
}

/// System prompt, messages, tools, or the tool that stands for the answer's form.
fn prompt(body: &mut ObjectWriter<'_>, request: &ChatRequest, form: &Form<'_>) -> Result<(), Error> {
    let options = &request.options;
    let forced = matches!(options.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)));
    if forced && !traits(&request.model).forced {
        let instead = format!("{} decides by itself: ask for the call in the prompt", request.model);
        return Err(unsupported(NAME, "tool_choice", &instead));
    }
    marks::check(NAME, request)?;
    system_parts(NAME, &request.messages)?;
    let system: Vec<_> =
        request.messages.iter().filter(|message| message.role.is_system()).flat_map(|m| marks::marked(m)).collect();
    match system.as_slice() {
        [] => {}
        [(Part::Text { text, cache: None, .. }, None)] => body.field("system", text),
        parts => body.array("system", parts.iter().copied(), marked_block)?,
    }
    let turns = turns(&request.messages);
    let groups = turns.chunk_by(both_bring_results).filter(|group| !marks::is_silent(group));
    body.array("messages", groups, message)?;
    if let Form::Tool(answer) = form {
        body.field("tools", &[answer]);
        body.field("tool_choice", &json!({"type": "tool", "name": JSON_TOOL}));
        return Ok(());
    }
    if !options.tools.is_empty() {
        let last = options.tools.len() - 1;
        body.array("tools", options.tools.iter().enumerate(), |out, (n, item)| {
            tool(out, item, options.cache_tools.as_ref().filter(|_| n == last));
            Ok(())
        })?;
    }
    tool_choice(body, options);
    Ok(())
}

fn refuse(options: &Options) -> Result<(), Error> {
    claude::no_other_sampling(NAME, options)?;
    claude::no_named_caches(NAME, options)?;
    if options.metadata.iter().any(|(name, _)| name != "user_id") {
        let instead = "it takes a user_id and nothing else: give user=...; a header goes into extra_headers";
        return Err(unsupported(NAME, "metadata", instead));
    }
    claude::low_temperature(NAME, options)
}

/// How the form of the answer is asked for.
enum Form<'a> {
    /// Not at all.
    Free,
    /// By the schema of the answer.
    Schema(Cow<'a, Value>),
    /// By a tool that must be called, whose arguments are the answer: for models that have no such schema, and for what
    /// it cannot say. [`decode`](super::decode) makes the answer's text of them again.
    Tool(Value),
}

fn form<'a>(model: &str, options: &'a Options, thinking: &Thinking) -> Result<Form<'a>, Error> {
    let open = json!({"type": "object"});
    let (schema, says) = match &options.response_format {
        None | Some(ResponseFormat::Text) => return Ok(Form::Free),
        Some(ResponseFormat::Json) => (&open, "response_format=json"),
        Some(ResponseFormat::Schema { schema, fit, .. }) if traits(model).structured => {
            let as_given = || Some(Cow::Borrowed(schema));
            let fitted = if *fit { fit::fit(schema, fit::Dialect::Anthropic).map(Cow::Owned) } else { as_given() };
            match fitted {
                Some(fitted) => return Ok(Form::Schema(fitted)),
                None => (schema, "response_format=(a schema of open objects, or one that contains itself)"),
            }
        }
        Some(ResponseFormat::Schema { schema, .. }) => (schema, "response_format"),
    };
    if !options.tools.is_empty() || options.extra.contains_key("tools") || thinking.is_on() {
        let instead = "a schema of closed objects and a model of Claude 4.5 or later go with both";
        return Err(unsupported(NAME, &format!("{says} together with tools or reasoning"), instead)
            .with_param("response_format".to_owned()));
    }
    if !traits(model).forced {
        let instead = format!("{model} cannot be told to call a tool, which is how; a schema of closed objects works");
        return Err(unsupported(NAME, says, &instead).with_param("response_format".to_owned()));
    }
    let about = "Give the answer by calling this tool, and say nothing else.";
    Ok(Form::Tool(json!({"name": JSON_TOOL, "description": about, "input_schema": schema})))
}

fn sampling(body: &mut ObjectWriter<'_>, options: &Options) {
    body.optional("temperature", options.temperature);
    body.optional("top_p", options.top_p);
    body.optional("top_k", options.top_k);
    if !options.stop.is_empty() {
        body.field("stop_sequences", &options.stop);
    }
    let labelled = options.metadata.iter().find(|(name, _)| name == "user_id").map(|(_, id)| id);
    if let Some(user) = options.user.as_ref().or(labelled) {
        body.merged("metadata", |metadata| metadata.field("user_id", user));
    }
}

fn tool(out: &mut Vec<u8>, tool: &Tool, cache: Option<&CacheControl>) {
    if let Some(raw) = &tool.raw {
        return raw_tool(out, raw, cache);
    }
    let mut body = ObjectWriter::new(out);
    body.field("name", &tool.name);
    body.optional("description", tool.description.as_ref());
    let strict = tool.fit && tool.strict == Some(true);
    let schema = object_schema(&tool.parameters);
    match strict.then(|| fit::fit(&Value::Object(schema.clone().into_owned()), fit::Dialect::Anthropic)).flatten() {
        Some(fitted) => body.field("input_schema", &fitted),
        None => body.field("input_schema", &*schema),
    }
    body.optional("strict", tool.strict);
    tool.extra.iter().for_each(|(key, value)| body.field(key, value));
    cache_control(&mut body, cache.filter(|_| !tool.extra.contains_key("cache_control")));
    body.close();
}

/// A tool of the provider's own kind, untouched but for a mark behind it.
fn raw_tool(out: &mut Vec<u8>, raw: &Value, cache: Option<&CacheControl>) {
    match (raw.as_object(), cache) {
        (Some(fields), Some(_)) if !fields.contains_key("cache_control") => {
            let mut body = ObjectWriter::new(out);
            fields.iter().for_each(|(key, value)| body.field(key, value));
            cache_control(&mut body, cache);
            body.close();
        }
        _ => write(out, raw),
    }
}

/// Anthropic refuses a choice without tools; `auto` and `none` say nothing then and are left out.
fn tool_choice(body: &mut ObjectWriter<'_>, options: &Options) {
    let have_tools = !options.tools.is_empty() || options.extra.contains_key("tools");
    let one_at_a_time = options.parallel_tool_calls == Some(false);
    let choice = match &options.tool_choice {
        Some(ToolChoice::Auto | ToolChoice::None) | None if !have_tools => return,
        None if !one_at_a_time => return,
        choice => choice.as_ref().unwrap_or(&ToolChoice::Auto),
    };
    body.object("tool_choice", |object| {
        object.field(
            "type",
            match choice {
                ToolChoice::Auto => "auto",
                ToolChoice::None => "none",
                ToolChoice::Required => "any",
                ToolChoice::Named(_) => "tool",
            },
        );
        if let ToolChoice::Named(name) = choice {
            object.field("name", name);
        }
        if one_at_a_time && *choice != ToolChoice::None {
            object.field("disable_parallel_tool_use", &true);
        }
    });
}

/// One message; several that bring tool results become one.
fn message(out: &mut Vec<u8>, group: &[&Message]) -> Result<(), Error> {
    for message in group {
        check_tool_message(message)?;
    }
    let by_model = group.iter().any(|message| message.role == Role::Assistant);
    let mut body = ObjectWriter::new(out);
    body.field("role", if by_model { "assistant" } else { "user" });
    let plain = if let [only] = group { only.as_plain_text() } else { None };
    match plain {
        Some(text) => body.field("content", text),
        None => {
            body.array("content", group.iter().flat_map(|message| marks::marked(message)), marked_block)?;
        }
    }
    body.close();
    Ok(())
}

fn cache_control(body: &mut ObjectWriter<'_>, cache: Option<&CacheControl>) {
    if let Some(cache) = cache {
        body.object("cache_control", |mark| {
            mark.field("type", "ephemeral");
            mark.optional("ttl", cache.ttl.as_ref());
        });
    }
}

fn marked_block(out: &mut Vec<u8>, (part, mark): (&Part, Option<&CacheControl>)) -> Result<(), Error> {
    block(out, part, mark)
}

fn block(out: &mut Vec<u8>, part: &Part, mark: Option<&CacheControl>) -> Result<(), Error> {
    if let Part::Raw(value) = part {
        write(out, value);
        return Ok(());
    }
    let mut body = ObjectWriter::new(out);
    let mut mark = mark;
    match part {
        Part::Text { text, cache, citations } => {
            body.field("type", "text");
            body.field("text", text);
            if !citations.is_empty() {
                body.field("citations", citations);
            }
            mark = mark.or(cache.as_ref());
        }
        Part::Refusal { text } => {
            body.field("type", "text");
            body.field("text", text);
        }
        Part::Image { media, .. } => {
            body.field("type", "image");
            source(&mut body, media)?;
        }
        Part::Document { media, name } => {
            body.field("type", "document");
            source(&mut body, media)?;
            body.optional("title", name.as_ref());
        }
        Part::Audio { .. } => return Err(unsupported(NAME, "audio", "send a transcript as text")),
        Part::Thinking { text, signature } => {
            body.field("type", "thinking");
            body.field("thinking", text);
            body.optional("signature", signature.as_ref());
        }
        Part::RedactedThinking { data } => {
            body.field("type", "redacted_thinking");
            body.field("data", data);
        }
        Part::ToolCall(call) => {
            body.field("type", "tool_use");
            body.field("id", &call.id);
            body.field("name", &call.name);
            body.field("input", &arguments_object(call)?);
        }
        Part::ToolResult { id, content, is_error, .. } => {
            body.field("type", "tool_result");
            body.field("tool_use_id", id);
            match content.as_slice() {
                [] => {}
                [Part::Text { text, cache: None, .. }] => body.field("content", text),
                parts => {
                    body.array("content", parts.iter().filter(marks::is_sent), |out, part| block(out, part, None))?;
                }
            }
            if *is_error {
                body.field("is_error", &true);
            }
        }
        Part::Raw(_) => {}
    }
    cache_control(&mut body, mark);
    body.close();
    Ok(())
}

/// Where an image or document is. A document of text is sent as the text itself.
fn source(body: &mut ObjectWriter<'_>, media: &Media) -> Result<(), Error> {
    let fields: Vec<(&str, Cow<'_, str>)> = match Source::from(media) {
        Source::Url(url) => vec![("type", "url".into()), ("url", url.into())],
        Source::File(id) => vec![("type", "file".into()), ("file_id", id.into())],
        Source::Base64 { media_type, data } if media_type.starts_with("text/") => {
            let text = BASE64_STANDARD.decode(data).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let text =
                text.ok_or_else(|| Error::invalid(format!("a document of {media_type} is not UTF-8 in base64")))?;
            vec![("type", "text".into()), ("media_type", "text/plain".into()), ("data", text.into())]
        }
        Source::Base64 { media_type, data } => {
            vec![("type", "base64".into()), ("media_type", media_type.into()), ("data", data.into())]
        }
    };
    body.object("source", |object| fields.iter().for_each(|(key, value)| object.field(key, value)));
    Ok(())
}
