//! Encodes chat requests: everything but the messages.

use super::{MaxTokensField, OpenAi, messages};
use crate::{
    error::Error,
    model::{ChatRequest, Options, Reasoning, ResponseFormat, Tool, ToolChoice},
    wire::{
        Encoded,
        body::{ObjectWriter, unsupported},
    },
};

/// Encodes one call.
pub(super) fn chat(wire: &OpenAi, request: &ChatRequest) -> Result<Encoded, Error> {
    let options = &request.options;
    check(wire, options)?;
    let mut out = Vec::with_capacity(messages::estimate(&request.messages) + 512);
    let mut body = ObjectWriter::with_extra(&mut out, &options.extra);
    body.field("model", &request.model);
    messages::write(wire, &mut body, &request.messages)?;
    if request.stream {
        body.field("stream", &true);
        if wire.stream_usage {
            body.object("stream_options", |o| o.field("include_usage", &true));
        }
    }
    // The field has two names: the caller's own wins under either.
    if !["max_tokens", "max_completion_tokens"].iter().any(|name| options.extra.contains_key(*name)) {
        body.optional(wire.max_tokens_field.name(&request.model), options.max_tokens);
    }
    body.optional("temperature", options.temperature);
    body.optional("top_p", options.top_p);
    body.optional("stop", (!options.stop.is_empty()).then_some(&options.stop));
    body.optional("seed", options.seed);
    body.optional("presence_penalty", options.presence_penalty);
    body.optional("frequency_penalty", options.frequency_penalty);
    body.optional("user", options.user.as_ref());
    if let Some(Reasoning::Effort(effort)) = &options.reasoning {
        body.field("reasoning_effort", effort);
    }
    if let Some(format) = &options.response_format {
        body.object("response_format", |o| write_format(o, format));
    }
    write_tools(&mut body, options)?;
    body.close();
    Ok(Encoded { path: "/chat/completions".to_owned(), body: out.into() })
}

/// Refuses options that this format has no field for.
fn check(wire: &OpenAi, options: &Options) -> Result<(), Error> {
    if let Some(top_k) = options.top_k {
        let instead = format!("if this server takes it, send extra={{\"top_k\": {top_k}}}");
        return Err(unsupported(wire.name, "top_k", &instead));
    }
    if let Some(Reasoning::Budget(_)) = options.reasoning {
        let instead = "give an effort such as \"low\", \"medium\" or \"high\"";
        let error = unsupported(wire.name, "a reasoning budget in tokens", instead);
        return Err(error.with_param("reasoning".to_owned()));
    }
    let has_tools = !options.tools.is_empty() || options.extra.contains_key("tools");
    if options.tool_choice == Some(ToolChoice::Required) && !has_tools {
        return Err(Error::invalid("tool_choice is \"required\", but there are no tools").with_provider(wire.name));
    }
    Ok(())
}

fn write_format(format: &mut ObjectWriter<'_>, wanted: &ResponseFormat) {
    match wanted {
        ResponseFormat::Text => format.field("type", "text"),
        ResponseFormat::Json => format.field("type", "json_object"),
        ResponseFormat::Schema { name, schema, strict } => {
            format.field("type", "json_schema");
            format.object("json_schema", |o| {
                o.field("name", name);
                o.field("schema", schema);
                o.optional("strict", *strict);
            });
        }
    }
}

/// The tools and how to use them. Without tools the other two mean nothing and are refused by OpenAI.
fn write_tools(body: &mut ObjectWriter<'_>, options: &Options) -> Result<(), Error> {
    if options.tools.is_empty() && !options.extra.contains_key("tools") {
        return Ok(());
    }
    if !options.tools.is_empty() {
        body.array("tools", &options.tools, |out, tool| {
            write_tool(out, tool);
            Ok(())
        })?;
    }
    match &options.tool_choice {
        Some(ToolChoice::Auto) => body.field("tool_choice", "auto"),
        Some(ToolChoice::None) => body.field("tool_choice", "none"),
        Some(ToolChoice::Required) => body.field("tool_choice", "required"),
        Some(ToolChoice::Named(name)) => body.object("tool_choice", |o| {
            o.field("type", "function");
            o.object("function", |o| o.field("name", name));
        }),
        None => {}
    }
    body.optional("parallel_tool_calls", options.parallel_tool_calls);
    Ok(())
}

fn write_tool(out: &mut Vec<u8>, tool: &Tool) {
    let mut item = ObjectWriter::new(out);
    item.field("type", "function");
    item.object("function", |o| {
        o.field("name", &tool.name);
        o.optional("description", tool.description.as_ref());
        // A tool without parameters says so by having none.
        o.optional("parameters", (!tool.parameters.is_empty()).then_some(&tool.parameters));
        o.optional("strict", tool.strict);
    });
    item.close();
}

impl MaxTokensField {
    /// The field's name for this model.
    fn name(self, model: &str) -> &'static str {
        let model = model.strip_prefix("openai/").unwrap_or(model);
        let family = |name: &str| model.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
        match self {
            Self::ByModel if model.starts_with("gpt-5") || ["o1", "o3", "o4"].into_iter().any(family) => {
                "max_completion_tokens"
            }
            Self::MaxCompletionTokens => "max_completion_tokens",
            Self::ByModel | Self::MaxTokens => "max_tokens",
        }
    }
}
