//! Messages and options as Converse's request body.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::{
    NAME,
    fields::{self, Family, Fields},
    media::{self, Names},
};
use crate::{
    error::Error,
    model::{
        CacheControl, ChatRequest, JsonObject, Message, Options, Part, ResponseFormat, Role, Tool, ToolChoice, fit,
    },
    wire::{
        body::{ObjectWriter, unsupported, write},
        claude::{self, JSON_TOOL},
        common::{arguments_object, check_tool_message, object_schema, system_parts, turns},
        marks,
        media::BEDROCK,
    },
};

/// The body of a chat request.
pub(super) fn chat(request: &ChatRequest) -> Result<Vec<u8>, Error> {
    let options = &request.options;
    refuse(options)?;
    let forced = matches!(options.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)));
    let family = Family::of(&request.model);
    if forced && family == Family::Claude && !family.calls_a_tool(&request.model) {
        let instead = format!("{} decides by itself: ask for the call in the prompt", request.model);
        return Err(unsupported(NAME, "tool_choice", &instead));
    }
    let fields = fields::plan(&request.model, options)?;
    let form = form(&request.model, options, &fields)?;
    let mut out = Vec::with_capacity(1024);
    let mut body = ObjectWriter::with_extra(&mut out, &options.extra);
    prompt(&mut body, request, &form)?;
    body.merged("inferenceConfig", |config| {
        config.optional("maxTokens", options.max_tokens);
        config.optional("temperature", options.temperature);
        config.optional("topP", options.top_p);
        if !options.stop.is_empty() {
            config.field("stopSequences", &options.stop);
        }
    });
    fields.write(&mut body);
    body.merged("outputConfig", |config| {
        config.optional("effort", fields.effort());
        if let Form::Schema { name, schema } = &form {
            config.object("textFormat", |format| {
                format.field("type", "json_schema");
                format.object("structure", |structure| {
                    structure.object("jsonSchema", |json_schema| {
                        // A text that holds JSON.
                        json_schema.field("schema", &schema.to_string());
                        json_schema.field("name", name);
                    });
                });
            });
        }
    });
    body.labels("requestMetadata", &options.metadata);
    body.close();
    Ok(out)
}

/// The body of a request to count tokens: what makes up the prompt, and nothing of how the answer is made.
pub(super) fn count(request: &ChatRequest) -> Result<Vec<u8>, Error> {
    let fields = fields::plan(&request.model, &request.options)?;
    let form = form(&request.model, &request.options, &fields)?;
    let taken = ["messages", "system", "toolConfig", "additionalModelRequestFields"];
    let extra: JsonObject =
        request.options.extra.clone().into_iter().filter(|(key, _)| taken.contains(&&**key)).collect();
    let mut converse = Vec::with_capacity(1024);
    let mut body = ObjectWriter::with_extra(&mut converse, &extra);
    prompt(&mut body, request, &form)?;
    fields.write(&mut body);
    body.close();
    Ok([br#"{"input":{"converse":"#.as_slice(), &converse, b"}}"].concat())
}

/// One block: a part, or the mark behind it.
enum Block<'a> {
    Part(&'a Part),
    Mark(&'a CacheControl),
}

fn blocks(message: &Message) -> impl Iterator<Item = Block<'_>> {
    marks::marked(message).flat_map(|(part, mark)| {
        let own = if let Part::Text { cache, .. } = part { cache.as_ref() } else { None };
        [Some(Block::Part(part)), mark.or(own).map(Block::Mark)].into_iter().flatten()
    })
}

/// System prompt, messages, tools, or the tool that stands for the answer's form.
fn prompt(body: &mut ObjectWriter<'_>, request: &ChatRequest, form: &Form<'_>) -> Result<(), Error> {
    BEDROCK.check(NAME, &request.messages)?;
    marks::check(NAME, request)?;
    let mut names = Names::default();
    if !system_parts(NAME, &request.messages)?.is_empty() {
        let system = request.messages.iter().filter(|message| message.role.is_system());
        body.array("system", system.flat_map(|message| blocks(message)), |out, item| block(out, item, &mut names))?;
    }
    let turns = turns(&request.messages);
    for message in &turns {
        check_tool_message(message)?;
    }
    // Turns must alternate, and the results of one turn's tools be together.
    let same_side = |a: &&Message, b: &&Message| (a.role == Role::Assistant) == (b.role == Role::Assistant);
    let groups = turns.chunk_by(same_side).filter(|group| !marks::is_silent(group));
    body.array("messages", groups, |out, group| {
        let by_model = group.iter().any(|message| message.role == Role::Assistant);
        let mut turn = ObjectWriter::new(out);
        turn.field("role", if by_model { "assistant" } else { "user" });
        let content = group.iter().flat_map(|message| blocks(message));
        turn.array("content", content, |out, item| block(out, item, &mut names))?;
        turn.close();
        Ok(())
    })?;
    tools(body, &request.options, form);
    Ok(())
}

fn refuse(options: &Options) -> Result<(), Error> {
    claude::no_other_sampling(NAME, options)?;
    if options.user.is_some() {
        return Err(unsupported(NAME, "user", "metadata={\"user\": ...} goes into the invocation logs"));
    }
    claude::no_named_caches(NAME, options)?;
    if options.tool_choice == Some(ToolChoice::None) && !options.tools.is_empty() {
        return Err(unsupported(NAME, "tool_choice=none", "leave the tools out"));
    }
    if options.parallel_tool_calls == Some(false) {
        return Err(unsupported(NAME, "parallel_tool_calls=false", "ask for one call at a time in the system prompt"));
    }
    claude::low_temperature(NAME, options)
}

/// How the form of the answer is asked for.
enum Form<'a> {
    /// Not at all.
    Free,
    /// By the schema of the answer.
    Schema { name: &'a str, schema: Cow<'a, Value> },
    /// By a tool that must be called, whose arguments are the answer, which [`decode`](super::decode) makes text again.
    Tool(Value),
}

fn form<'a>(model: &str, options: &'a Options, fields: &Fields<'_>) -> Result<Form<'a>, Error> {
    let family = Family::of(model);
    let open = json!({"type": "object"});
    let (schema, says) = match &options.response_format {
        None | Some(ResponseFormat::Text) => return Ok(Form::Free),
        Some(ResponseFormat::Json) => (&open, "response_format=json"),
        Some(ResponseFormat::Schema { name, schema, fit, .. }) if family.is_structured(model) => {
            // Bedrock's subset of JSON Schema is Anthropic's. Source: AWS's guide "Structured outputs".
            let fitted = if *fit { fit::fit(schema, fit::Dialect::Anthropic).map(Cow::Owned) } else { None };
            match fitted {
                Some(schema) => return Ok(Form::Schema { name, schema }),
                None if !*fit || !family.calls_a_tool(model) => {
                    return Ok(Form::Schema { name, schema: Cow::Borrowed(schema) });
                }
                None => (schema, "response_format=(a schema of open objects, or one that contains itself)"),
            }
        }
        Some(ResponseFormat::Schema { schema, .. }) => (schema, "response_format"),
    };
    let refused = |instead: &str| Err(unsupported(NAME, says, instead).with_param("response_format".to_owned()));
    if !family.calls_a_tool(model) {
        return refused("give a schema or a type: this model cannot be made to answer in any JSON");
    }
    if !options.tools.is_empty() || options.extra.contains_key("toolConfig") || fields.thinks() {
        let says = format!("{says} together with tools or reasoning");
        let instead = "a schema of closed objects and a model of Claude 4.5 or later go with both";
        return Err(unsupported(NAME, &says, instead).with_param("response_format".to_owned()));
    }
    let about = "Give the answer by calling this tool, and say nothing else.";
    Ok(Form::Tool(json!({"toolSpec": {"name": JSON_TOOL, "description": about, "inputSchema": {"json": schema}}})))
}

fn tools(body: &mut ObjectWriter<'_>, options: &Options, form: &Form<'_>) {
    if let Form::Tool(answer) = form {
        let choice = json!({"tool": {"name": JSON_TOOL}});
        return body.merged("toolConfig", |config| {
            config.field("tools", &[answer]);
            config.field("toolChoice", &choice);
        });
    }
    if options.tools.is_empty() {
        return;
    }
    body.merged("toolConfig", |config| {
        let mark = options.cache_tools.as_ref().map(Err);
        let items = options.tools.iter().map(Ok).chain(mark);
        // Writing a tool cannot fail.
        let _ = config.array("tools", items, |out, item| {
            match item {
                Ok(tool) => tool_spec(out, tool),
                Err(mark) => cache_point(out, mark),
            }
            Ok(())
        });
        match &options.tool_choice {
            None | Some(ToolChoice::None) => {}
            Some(ToolChoice::Auto) => config.field("toolChoice", &json!({"auto": {}})),
            Some(ToolChoice::Required) => config.field("toolChoice", &json!({"any": {}})),
            Some(ToolChoice::Named(name)) => config.field("toolChoice", &json!({"tool": {"name": name}})),
        }
    });
}

/// A tool; one of Bedrock's own kind goes as it is.
fn tool_spec(out: &mut Vec<u8>, tool: &Tool) {
    if let Some(raw) = &tool.raw {
        return write(out, raw);
    }
    let mut item = ObjectWriter::new(out);
    item.object("toolSpec", |spec| {
        spec.field("name", &tool.name);
        spec.optional("description", tool.description.as_ref().filter(|text| !text.is_empty()));
        let schema = object_schema(&tool.parameters);
        let strict = tool.fit && tool.strict == Some(true);
        let fitted = strict.then(|| fit::fit(&Value::Object(schema.clone().into_owned()), fit::Dialect::Anthropic));
        spec.object("inputSchema", |input| match fitted.flatten() {
            Some(fitted) => input.field("json", &fitted),
            None => input.field("json", &*schema),
        });
        spec.optional("strict", tool.strict);
        tool.extra.iter().for_each(|(key, value)| spec.field(key, value));
    });
    item.close();
}

fn cache_point(out: &mut Vec<u8>, mark: &CacheControl) {
    let mut item = ObjectWriter::new(out);
    item.object("cachePoint", |point| {
        point.field("type", "default");
        point.optional("ttl", mark.ttl.as_ref());
    });
    item.close();
}

fn block(out: &mut Vec<u8>, item: Block<'_>, names: &mut Names) -> Result<(), Error> {
    let part = match item {
        Block::Mark(mark) => {
            cache_point(out, mark);
            return Ok(());
        }
        Block::Part(Part::Raw(value)) => {
            write(out, value);
            return Ok(());
        }
        Block::Part(part) => part,
    };
    let mut body = ObjectWriter::new(out);
    match part {
        Part::Text { text, .. } | Part::Refusal { text } => body.field("text", text),
        Part::Image { media, .. } => media::block(&mut body, "image", media, None)?,
        Part::Document { media, name } => {
            media::block(&mut body, "document", media, Some((names, name.as_deref())))?;
        }
        Part::Audio { media } => media::block(&mut body, "audio", media, None)?,
        Part::Thinking { text, signature } => body.object("reasoningContent", |content| {
            content.object("reasoningText", |reasoning| {
                reasoning.field("text", text);
                reasoning.optional("signature", signature.as_ref());
            });
        }),
        Part::RedactedThinking { data } => {
            body.object("reasoningContent", |content| content.field("redactedContent", data));
        }
        Part::ToolCall(call) => {
            let input = arguments_object(call)?;
            body.object("toolUse", |tool| {
                tool.field("toolUseId", &call.id);
                tool.field("name", &call.name);
                tool.field("input", &input);
            });
        }
        Part::ToolResult { id, content, is_error, .. } => {
            if let Some(mut result) = body.open("toolResult") {
                result.field("toolUseId", id);
                let parts = content.iter().filter(marks::is_sent).map(Block::Part);
                result.array("content", parts, |out, item| block(out, item, names))?;
                if *is_error {
                    result.field("status", "error");
                }
                result.close();
            }
        }
        Part::Raw(_) => {}
    }
    body.close();
    Ok(())
}
