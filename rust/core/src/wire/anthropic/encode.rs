//! Messages and options as Anthropic's request body.

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_STANDARD};

use super::NAME;
use crate::{
    error::Error,
    model::{
        CacheControl, ChatRequest, Media, Message, Options, Part, Reasoning, ResponseFormat, Role, Tool, ToolChoice,
    },
    wire::{
        body::{ObjectWriter, unsupported, write},
        common::{
            Source, arguments_object, both_bring_results, check_tool_message, is_empty_text, object_schema,
            system_parts, turns,
        },
    },
};

/// `max_tokens` where the caller gives none: Anthropic requires it. A thinking budget comes on top.
pub const DEFAULT_MAX_TOKENS: u32 = 4096;

/// The body of a chat request.
pub(super) fn chat(request: &ChatRequest) -> Result<Vec<u8>, Error> {
    let options = &request.options;
    refuse(options)?;
    let mut out = Vec::with_capacity(1024);
    let mut body = ObjectWriter::with_extra(&mut out, &options.extra);
    body.field("model", &request.model);
    body.field("max_tokens", &max_tokens(options));
    if request.stream {
        body.field("stream", &true);
    }
    match system_parts(NAME, &request.messages)?.as_slice() {
        [] => {}
        [Part::Text { text, cache: None }] => body.field("system", text),
        parts => body.array("system", parts.iter().copied(), block)?,
    }
    let turns = turns(&request.messages);
    let groups = turns.chunk_by(both_bring_results).filter(|group| !is_silent(group));
    body.array("messages", groups, message)?;
    if !options.tools.is_empty() {
        body.array("tools", &options.tools, |out, item| {
            tool(out, item);
            Ok(())
        })?;
    }
    tool_choice(&mut body, options);
    sampling(&mut body, options);
    body.close();
    Ok(out)
}

fn refuse(options: &Options) -> Result<(), Error> {
    if options.seed.is_some() {
        return Err(unsupported(NAME, "seed", "temperature=0 comes nearest to repeatable answers"));
    }
    for (name, given) in
        [("presence_penalty", options.presence_penalty), ("frequency_penalty", options.frequency_penalty)]
    {
        if given.is_some() {
            return Err(unsupported(NAME, name, "temperature and top_p are what shapes the wording there"));
        }
    }
    if options.response_format == Some(ResponseFormat::Json) {
        let instead = "give a JSON schema as response_format, or ask for JSON in the prompt";
        return Err(unsupported(NAME, "response_format=json", instead));
    }
    match options.temperature {
        Some(given) if given > 1.0 => Err(Error::invalid(format!("temperature must be from 0 to 1, not {given}"))
            .with_provider(NAME)
            .with_param("temperature".to_owned())),
        _ => Ok(()),
    }
}

/// Thinking counts towards `max_tokens`, which must be above the budget.
fn max_tokens(options: &Options) -> u32 {
    let thinking = match options.reasoning {
        Some(Reasoning::Budget(budget)) => budget,
        _ => 0,
    };
    options.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS.saturating_add(thinking))
}

fn sampling(body: &mut ObjectWriter<'_>, options: &Options) {
    body.optional("temperature", options.temperature);
    body.optional("top_p", options.top_p);
    body.optional("top_k", options.top_k);
    if !options.stop.is_empty() {
        body.field("stop_sequences", &options.stop);
    }
    if let Some(user) = &options.user {
        body.merged("metadata", |metadata| metadata.field("user_id", user));
    }
    let mut effort = None;
    match &options.reasoning {
        Some(Reasoning::Budget(budget @ 1..)) => body.object("thinking", |thinking| {
            thinking.field("type", "enabled");
            thinking.field("budget_tokens", budget);
        }),
        Some(Reasoning::Effort(name)) if name != "none" => effort = Some(name),
        Some(_) => body.object("thinking", |thinking| thinking.field("type", "disabled")),
        None => {}
    }
    body.merged("output_config", |config| {
        config.optional("effort", effort);
        if let Some(ResponseFormat::Schema { schema, .. }) = &options.response_format {
            config.object("format", |format| {
                format.field("type", "json_schema");
                format.field("schema", schema);
            });
        }
    });
}

fn tool(out: &mut Vec<u8>, tool: &Tool) {
    if let Some(raw) = &tool.raw {
        return write(out, raw);
    }
    let mut body = ObjectWriter::new(out);
    body.field("name", &tool.name);
    body.optional("description", tool.description.as_ref());
    body.field("input_schema", &*object_schema(&tool.parameters));
    body.optional("strict", tool.strict);
    tool.extra.iter().for_each(|(key, value)| body.field(key, value));
    body.close();
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

/// Whether the part can be sent: Anthropic refuses empty texts, and thinking that it has not signed.
fn is_sent(part: &&Part) -> bool {
    !is_empty_text(part) && !matches!(part, Part::Thinking { signature: None, .. })
}

/// Whether a turn of the model has nothing left to send. Anthropic refuses empty ones.
fn is_silent(group: &[&Message]) -> bool {
    group.iter().all(|message| message.role == Role::Assistant && !message.content.iter().any(|part| is_sent(&part)))
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
            let parts = group.iter().flat_map(|message| &message.content).filter(is_sent);
            body.array("content", parts, block)?;
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

fn block(out: &mut Vec<u8>, part: &Part) -> Result<(), Error> {
    if let Part::Raw(value) = part {
        write(out, value);
        return Ok(());
    }
    let mut body = ObjectWriter::new(out);
    match part {
        Part::Text { text, cache } => {
            body.field("type", "text");
            body.field("text", text);
            cache_control(&mut body, cache.as_ref());
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
                [Part::Text { text, cache: None }] => body.field("content", text),
                parts => body.array("content", parts.iter().filter(is_sent), block)?,
            }
            if *is_error {
                body.field("is_error", &true);
            }
        }
        Part::Raw(_) => {}
    }
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
