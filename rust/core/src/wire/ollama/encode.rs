//! Messages and options as Ollama's request body.

use super::NAME;
use crate::{
    error::Error,
    model::{ChatRequest, Media, Message, Options, Part, Reasoning, ResponseFormat, Role, Tool, ToolChoice},
    wire::{
        body::{ObjectWriter, unsupported, write},
        common::{
            Source, arguments_object, check_tool_message, effort_of, is_reasoning_detail, object_schema, tool_name,
        },
        media,
    },
};

/// The body of a chat request.
pub(super) fn chat(request: &ChatRequest) -> Result<Vec<u8>, Error> {
    let options = &request.options;
    refuse(options)?;
    media::OLLAMA.check(NAME, &request.messages)?;
    let mut out = Vec::with_capacity(1024);
    let mut body = ObjectWriter::with_extra(&mut out, &options.extra);
    body.field("model", &request.model);
    // Ollama streams unless told not to.
    body.field("stream", &request.stream);
    let turns: Vec<&Message> = request.messages.iter().map(AsRef::as_ref).collect();
    let messages = turns.iter().flat_map(|message| split(message));
    body.array("messages", messages, |out, (message, result)| match result {
        Some(result) => tool_message(out, message, result, &turns),
        None => plain_message(out, message),
    })?;
    if !options.tools.is_empty() && options.tool_choice != Some(ToolChoice::None) {
        body.array("tools", &options.tools, |out, item| {
            tool(out, item);
            Ok(())
        })?;
    }
    match &options.response_format {
        Some(ResponseFormat::Json) => body.field("format", "json"),
        Some(ResponseFormat::Schema { schema, .. }) => body.field("format", schema),
        Some(ResponseFormat::Text) | None => {}
    }
    match &options.reasoning {
        // Only gpt-oss tells efforts apart; other models think, or do not. Source: Ollama's guide "Thinking".
        Some(Reasoning::Effort(name)) if name != "none" && request.model.contains("gpt-oss") => {
            body.field("think", name);
        }
        Some(Reasoning::Effort(name)) => body.field("think", &(name != "none")),
        Some(Reasoning::Budget(budget)) => body.field("think", &(*budget > 0)),
        Some(Reasoning::On) => body.field("think", &true),
        None => {}
    }
    body.merged("options", |inner| sampling(inner, options));
    body.close();
    Ok(out)
}

fn refuse(options: &Options) -> Result<(), Error> {
    let forced = matches!(options.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)));
    if let Some(Reasoning::Budget(budget @ 1..)) = options.reasoning {
        let instead = format!("give an effort; the nearest is reasoning=\"{}\"", effort_of(budget));
        return Err(unsupported(NAME, "a reasoning budget", &instead).with_param("reasoning".to_owned()));
    }
    let strict = options.tools.iter().any(|tool| tool.strict == Some(true));
    let instead = if forced {
        ("tool_choice", "it decides by itself: ask for the call in the prompt, or give a schema as response_format")
    } else if options.parallel_tool_calls == Some(false) {
        ("parallel_tool_calls=false", "take the first of the tool calls that come")
    } else if strict {
        ("strict", "leave it out; the arguments are checked before a tool of a typed function is called")
    } else if options.prompt_cache_key.is_some() {
        ("prompt_cache_key", "leave it out: it keeps the last prompts' beginnings by itself")
    } else if options.cached_content.is_some() {
        ("cached_content", "leave it out: it keeps the last prompts' beginnings by itself")
    } else if options.user.is_some() {
        ("user", "leave it out")
    } else if !options.metadata.is_empty() {
        ("metadata", "leave it out; a header for a proxy in front of it goes into extra_headers")
    } else {
        return Ok(());
    };
    Err(unsupported(NAME, instead.0, instead.1))
}

fn sampling(body: &mut ObjectWriter<'_>, options: &Options) {
    body.optional("num_predict", options.max_tokens);
    body.optional("temperature", options.temperature);
    body.optional("top_p", options.top_p);
    body.optional("top_k", options.top_k);
    body.optional("seed", options.seed);
    if !options.stop.is_empty() {
        body.field("stop", &options.stop);
    }
    body.optional("presence_penalty", options.presence_penalty);
    body.optional("frequency_penalty", options.frequency_penalty);
}

fn tool(out: &mut Vec<u8>, tool: &Tool) {
    if let Some(raw) = &tool.raw {
        return write(out, raw);
    }
    let mut body = ObjectWriter::new(out);
    body.field("type", "function");
    body.object("function", |function| {
        function.field("name", &tool.name);
        function.optional("description", tool.description.as_ref());
        function.field("parameters", &*object_schema(&tool.parameters));
    });
    tool.extra.iter().for_each(|(key, value)| body.field(key, value));
    body.close();
}

/// A message for each tool result in it, and one for the rest.
fn split(message: &Message) -> impl Iterator<Item = (&Message, Option<&Part>)> {
    let is_result = |part: &&Part| matches!(part, Part::ToolResult { .. });
    let has_rest = message.content.is_empty() || message.content.iter().any(|part| !is_result(&part));
    let results = message.content.iter().filter(is_result).map(move |part| (message, Some(part)));
    results.chain(has_rest.then_some((message, None)))
}

fn tool_message(out: &mut Vec<u8>, message: &Message, result: &Part, turns: &[&Message]) -> Result<(), Error> {
    let Part::ToolResult { id, name, content, .. } = result else { return Ok(()) };
    let mut body = ObjectWriter::new(out);
    body.field("role", "tool");
    said(&mut body, content, "\n")?;
    body.optional("tool_name", name.as_deref().or_else(|| tool_name(turns, message, id)));
    if !id.is_empty() {
        body.field("tool_call_id", id);
    }
    body.close();
    Ok(())
}

fn plain_message(out: &mut Vec<u8>, message: &Message) -> Result<(), Error> {
    check_tool_message(message)?;
    let mut body = ObjectWriter::new(out);
    let (role, joint) = match message.role {
        Role::System | Role::Developer => ("system", "\n"),
        Role::User | Role::Tool => ("user", "\n"),
        // The pieces of one answer, which thinking or calls stood between.
        Role::Assistant => ("assistant", ""),
    };
    body.field("role", role);
    said(&mut body, &message.content, joint)?;
    let thoughts = message.content.iter().filter_map(|part| match part {
        Part::Thinking { text, .. } => Some(text.as_str()),
        _ => None,
    });
    let thinking: String = thoughts.collect();
    if !thinking.is_empty() {
        body.field("thinking", &thinking);
    }
    let calls: Vec<_> = message
        .content
        .iter()
        .filter_map(|part| match part {
            Part::ToolCall(call) => Some(call),
            _ => None,
        })
        .collect();
    if !calls.is_empty() {
        body.array("tool_calls", calls, |out, call| {
            let arguments = arguments_object(call)?;
            let mut item = ObjectWriter::new(out);
            if !call.id.is_empty() {
                item.field("id", &call.id);
            }
            item.object("function", |function| {
                function.field("name", &call.name);
                function.field("arguments", &arguments);
            });
            item.close();
            Ok(())
        })?;
    }
    body.close();
    Ok(())
}

/// The texts as `content` and the pictures as `images`. Ollama has nowhere to put other parts.
fn said(body: &mut ObjectWriter<'_>, content: &[Part], joint: &str) -> Result<(), Error> {
    let mut texts: Vec<&str> = Vec::new();
    let mut images: Vec<&str> = Vec::new();
    for part in content {
        match part {
            Part::Text { text, .. } | Part::Refusal { text } => texts.push(text),
            Part::Image { media, .. } => images.push(picture(media)?),
            Part::Document { .. } => {
                return Err(unsupported(NAME, "document", "send its text, or its pages as images"));
            }
            Part::Audio { .. } => return Err(unsupported(NAME, "audio", "send a transcript as text")),
            Part::Raw(_) if is_reasoning_detail(part) => {}
            Part::Raw(_) => return Err(unsupported(NAME, "a raw part", "send text and images")),
            Part::Thinking { .. } | Part::RedactedThinking { .. } | Part::ToolCall(_) | Part::ToolResult { .. } => {}
        }
    }
    match texts.as_slice() {
        [only] => body.field("content", only),
        texts => body.field("content", &texts.join(joint)),
    }
    if !images.is_empty() {
        body.field("images", &images);
    }
    Ok(())
}

fn picture(media: &Media) -> Result<&str, Error> {
    match Source::from(media) {
        Source::Base64 { data, .. } => Ok(data),
        Source::Url(_) | Source::File(_) => {
            Err(unsupported(NAME, "an image by address", "fetch it and send it in base64"))
        }
    }
}
