//! Encodes chat requests: everything but the messages.

use std::borrow::Cow;

use serde_json::Value;

use super::{MaxTokensField, OpenAi, messages};
use crate::{
    error::Error,
    model::{ChatRequest, Options, Reasoning, ResponseFormat, Tool, ToolChoice, fit},
    wire::{
        Encoded,
        body::{ObjectWriter, unsupported, write},
        common::effort_of,
    },
};

/// Encodes one call.
pub(super) fn chat(wire: &OpenAi, request: &ChatRequest) -> Result<Encoded, Error> {
    let options = &request.options;
    check(wire, options)?;
    if let Some(limits) = &wire.media {
        limits.check(wire.name, &request.messages)?;
    }
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
    body.optional(wire.seed_field, options.seed);
    body.optional("presence_penalty", options.presence_penalty);
    body.optional("frequency_penalty", options.frequency_penalty);
    if let Some(field) = wire.user_field {
        body.optional(field, options.user.as_ref());
    }
    body.labels("metadata", &options.metadata);
    body.optional("prompt_cache_key", options.prompt_cache_key.as_ref());
    if let Some(Reasoning::Effort(effort)) = &options.reasoning {
        body.field("reasoning_effort", effort);
    }
    if let Some(format) = &options.response_format {
        body.object("response_format", |o| match format {
            ResponseFormat::Schema { schema, .. } if wire.bare_schemas => {
                o.field("type", "json_object");
                o.field("schema", schema);
            }
            format => write_format(o, format, Shape::Nested),
        });
    }
    write_tools(&mut body, options, Shape::Nested)?;
    body.close();
    Ok(Encoded { path: wire.path(&request.model, "chat/completions"), body: out.into() })
}

/// Refuses options that this format has no field for.
fn check(wire: &OpenAi, options: &Options) -> Result<(), Error> {
    if let Some(top_k) = options.top_k {
        let instead = format!("if this server takes it, send extra={{\"top_k\": {top_k}}}");
        return Err(unsupported(wire.name, "top_k", &instead));
    }
    if options.user.is_some() && wire.user_field.is_none() {
        return Err(unsupported(wire.name, "user", "leave it out: the server refuses requests that have it"));
    }
    check_common(wire, options)
}

/// Refuses what neither OpenAI's chat format nor its Responses API has a field for.
pub(super) fn check_common(wire: &OpenAi, options: &Options) -> Result<(), Error> {
    if !options.metadata.is_empty() && !wire.metadata {
        let instead = "if this server takes it, send extra={\"metadata\": {...}}; a header goes into extra_headers";
        return Err(unsupported(wire.name, "metadata", instead));
    }
    if options.cached_content.is_some() {
        let instead = "equal beginnings of prompts are cached by themselves; prompt_cache_key helps";
        return Err(unsupported(wire.name, "cached_content", instead));
    }
    if let Some(Reasoning::Budget(budget)) = options.reasoning {
        let nearest = effort_of(budget);
        let instead = format!("give an effort; the nearest is reasoning=\"{nearest}\"");
        let error = unsupported(wire.name, "a reasoning budget in tokens", &instead);
        return Err(error.with_param("reasoning".to_owned()));
    }
    if options.reasoning == Some(Reasoning::On) {
        let instead = "give an effort such as \"medium\"; a server with a switch of its own takes it in extra";
        return Err(unsupported(wire.name, "reasoning=true", instead).with_param("reasoning".to_owned()));
    }
    let has_tools = !options.tools.is_empty() || options.extra.contains_key("tools");
    if options.tool_choice == Some(ToolChoice::Required) && !has_tools {
        return Err(Error::invalid("tool_choice is \"required\", but there are no tools").with_provider(wire.name));
    }
    Ok(())
}

/// Where the fields of a function or a schema stand: OpenAI's two formats differ in nothing else there.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// In an object of their own, beside the type (chat completions).
    Nested,
    /// Beside the type (Responses).
    Flat,
}

impl Shape {
    fn write(self, object: &mut ObjectWriter<'_>, key: &str, fill: impl FnOnce(&mut ObjectWriter<'_>)) {
        match self {
            Self::Nested => object.object(key, fill),
            Self::Flat => fill(object),
        }
    }
}

/// The form of the answer.
pub(super) fn write_format(format: &mut ObjectWriter<'_>, wanted: &ResponseFormat, shape: Shape) {
    match wanted {
        ResponseFormat::Text => format.field("type", "text"),
        ResponseFormat::Json => format.field("type", "json_object"),
        ResponseFormat::Schema { name, schema, strict, fit } => {
            let fitted = fitted(schema, *fit && *strict != Some(false));
            format.field("type", "json_schema");
            shape.write(format, "json_schema", |o| {
                o.field("name", &schema_name(name));
                o.field("schema", fitted.as_ref().unwrap_or(schema));
                o.optional("strict", fitted.as_ref().map(|_| true).or(*strict));
            });
        }
    }
}

/// The tools and how to use them. Without tools the other two mean nothing and are refused by OpenAI.
pub(super) fn write_tools(body: &mut ObjectWriter<'_>, options: &Options, shape: Shape) -> Result<(), Error> {
    if options.tools.is_empty() && !options.extra.contains_key("tools") {
        return Ok(());
    }
    if !options.tools.is_empty() {
        body.array("tools", &options.tools, |out, tool| {
            write_tool(out, tool, shape);
            Ok(())
        })?;
    }
    match &options.tool_choice {
        Some(ToolChoice::Auto) => body.field("tool_choice", "auto"),
        Some(ToolChoice::None) => body.field("tool_choice", "none"),
        Some(ToolChoice::Required) => body.field("tool_choice", "required"),
        Some(ToolChoice::Named(name)) => body.object("tool_choice", |o| {
            o.field("type", "function");
            shape.write(o, "function", |o| o.field("name", name));
        }),
        None => {}
    }
    body.optional("parallel_tool_calls", options.parallel_tool_calls);
    Ok(())
}

/// The schema as strict mode takes it, if it may be changed and can be.
fn fitted(schema: &Value, may: bool) -> Option<Value> {
    if may { fit::fit(schema, fit::Dialect::OpenAi) } else { None }
}

/// A schema's name as OpenAI takes it: at most 64 letters, digits, `_` and `-`.
fn schema_name(name: &str) -> Cow<'_, str> {
    let takes = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if (1..=64).contains(&name.len()) && name.chars().all(takes) {
        return name.into();
    }
    let plain: String = name.chars().take(64).map(|c| if takes(c) { c } else { '_' }).collect();
    if plain.is_empty() { "response".into() } else { plain.into() }
}

fn write_tool(out: &mut Vec<u8>, tool: &Tool, shape: Shape) {
    if let Some(raw) = &tool.raw {
        return write(out, raw);
    }
    let mut item = ObjectWriter::new(out);
    item.field("type", "function");
    shape.write(&mut item, "function", |o| {
        o.field("name", &tool.name);
        o.optional("description", tool.description.as_ref());
        // A tool without parameters says so by having none.
        let strict = tool.fit && tool.strict == Some(true);
        let fitted = strict.then(|| fitted(&Value::Object(tool.parameters.clone()), true)).flatten();
        match fitted {
            Some(fitted) => o.field("parameters", &fitted),
            None => o.optional("parameters", (!tool.parameters.is_empty()).then_some(&tool.parameters)),
        }
        o.optional("strict", tool.strict);
    });
    tool.extra.iter().for_each(|(key, value)| item.field(key, value));
    item.close();
}

/// Whether this is one of OpenAI's reasoning models: o1, o3, o4, gpt-5 and their kin.
pub(super) fn thinks(model: &str) -> bool {
    let model = model.strip_prefix("openai/").unwrap_or(model);
    let family = |name: &str| model.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    model.starts_with("gpt-5") || ["o1", "o3", "o4"].into_iter().any(family)
}

impl MaxTokensField {
    /// The field's name for this model.
    fn name(self, model: &str) -> &'static str {
        match self {
            Self::ByModel if thinks(model) => "max_completion_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
            Self::ByModel | Self::MaxTokens => "max_tokens",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        error::ErrorKind,
        model::{JsonObject, Message, Role},
    };
    use serde_json::json;

    fn request(options: Options) -> ChatRequest {
        let messages = vec![Message::text(Role::User, "Hi").into()];
        ChatRequest { model: "gpt-4o".to_owned(), messages, options, stream: false }
    }

    fn object(value: Value) -> JsonObject {
        value.as_object().cloned().unwrap()
    }

    /// The body without model and messages.
    fn body(wire: &OpenAi, request: &ChatRequest) -> Value {
        let encoded = chat(wire, request).unwrap();
        assert_eq!(encoded.path, "/chat/completions");
        let mut body: Value = serde_json::from_slice(&encoded.body).unwrap();
        assert_eq!(body["model"].take(), request.model.as_str());
        assert_eq!(body["messages"].take(), json!([{"role": "user", "content": "Hi"}]));
        let fields = body.as_object().unwrap().iter().filter(|(_, value)| !value.is_null());
        fields.map(|(key, value)| (key.clone(), value.clone())).collect::<JsonObject>().into()
    }

    #[test]
    fn nothing_is_sent_that_was_not_asked_for() {
        let encoded = chat(&OpenAi::default(), &request(Options::default())).unwrap();
        let expected = br#"{"model":"gpt-4o","messages":[{"role":"user","content":"Hi"}]}"#;
        assert_eq!(encoded.body, expected.as_slice());
    }

    #[test]
    fn every_option() {
        let tool = Tool {
            name: "f".to_owned(),
            description: Some("does".to_owned()),
            parameters: object(json!({"type": "object"})),
            strict: Some(true),
            ..Tool::default()
        };
        let bare = Tool { name: "g".to_owned(), ..Tool::default() };
        let options = Options {
            max_tokens: Some(10),
            temperature: Some(0.0),
            top_p: Some(0.5),
            stop: vec!["END".to_owned()],
            seed: Some(-1),
            presence_penalty: Some(1.0),
            frequency_penalty: Some(-1.5),
            user: Some("u".to_owned()),
            tools: vec![tool, bare],
            tool_choice: Some(ToolChoice::Required),
            parallel_tool_calls: Some(false),
            response_format: Some(ResponseFormat::Json),
            reasoning: Some(Reasoning::Effort("low".to_owned())),
            ..Options::default()
        };
        assert_eq!(
            body(&OpenAi::default(), &request(options)),
            json!({
                "max_tokens": 10, "temperature": 0.0, "top_p": 0.5, "stop": ["END"], "seed": -1,
                "presence_penalty": 1.0, "frequency_penalty": -1.5, "user": "u", "reasoning_effort": "low",
                "response_format": {"type": "json_object"},
                "tools": [
                    {"type": "function", "function": {
                        "name": "f", "description": "does", "parameters": {"type": "object"}, "strict": true}},
                    {"type": "function", "function": {"name": "g"}},
                ],
                "tool_choice": "required", "parallel_tool_calls": false,
            })
        );
    }

    #[test]
    fn forms_of_the_answer_and_choices_of_tools() {
        let schema = |strict| {
            let (name, schema) = ("n".to_owned(), json!({"type": "array"}));
            ResponseFormat::Schema { name, schema, strict, fit: false }
        };
        for (format, expected) in [
            (ResponseFormat::Text, json!({"type": "text"})),
            (
                schema(Some(true)),
                json!({"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "array"}, "strict": true}}),
            ),
            (schema(None), json!({"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "array"}}})),
        ] {
            let options = Options { response_format: Some(format), ..Options::default() };
            assert_eq!(body(&OpenAi::default(), &request(options)), json!({"response_format": expected}));
        }
        let tool = Tool { name: "f".to_owned(), ..Tool::default() };
        for (choice, expected) in [
            (ToolChoice::Auto, json!("auto")),
            (ToolChoice::None, json!("none")),
            (ToolChoice::Named("f".to_owned()), json!({"type": "function", "function": {"name": "f"}})),
        ] {
            let options =
                Options { tools: vec![tool.clone()], tool_choice: Some(choice.clone()), ..Options::default() };
            assert_eq!(body(&OpenAi::default(), &request(options))["tool_choice"], expected);
            // Without tools there is nothing to choose from; OpenAI refuses the field then.
            let options = Options { tool_choice: Some(choice), parallel_tool_calls: Some(true), ..Options::default() };
            assert_eq!(body(&OpenAi::default(), &request(options)), json!({}));
        }
    }

    #[test]
    fn schemas_are_made_strict_where_they_may_be_and_can_be() {
        let open = json!({"type": "object", "additionalProperties": {"type": "integer"}});
        let closed = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
        let sent = |schema: &Value, strict| {
            let format =
                ResponseFormat::Schema { name: "My Type[int]".to_owned(), schema: schema.clone(), strict, fit: true };
            let options = Options { response_format: Some(format), ..Options::default() };
            body(&OpenAi::default(), &request(options))["response_format"]["json_schema"].take()
        };
        assert_eq!(
            sent(&closed, None),
            json!({"name": "My_Type_int_", "strict": true, "schema": {
                "type": "object", "properties": {"a": {"anyOf": [{"type": "integer"}, {"type": "null"}]}},
                "required": ["a"], "additionalProperties": false}})
        );
        assert_eq!(sent(&closed, Some(false)), json!({"name": "My_Type_int_", "strict": false, "schema": closed}));
        assert_eq!(sent(&open, None), json!({"name": "My_Type_int_", "schema": open}));
        let tool = |fit| Tool {
            name: "f".to_owned(),
            parameters: object(closed.clone()),
            strict: Some(true),
            fit,
            ..Tool::default()
        };
        let options = Options { tools: vec![tool(true), tool(false)], ..Options::default() };
        let tools = body(&OpenAi::default(), &request(options))["tools"].take();
        assert_eq!(tools[0]["function"]["parameters"]["required"], json!(["a"]));
        assert_eq!(tools[1]["function"]["parameters"], closed);
    }

    #[test]
    fn streams_ask_for_usage_where_they_may() {
        let streamed = ChatRequest { stream: true, ..request(Options::default()) };
        assert_eq!(
            body(&OpenAi::default(), &streamed),
            json!({"stream": true, "stream_options": {"include_usage": true}})
        );
        let wire = OpenAi { stream_usage: false, ..OpenAi::default() };
        assert_eq!(body(&wire, &streamed), json!({"stream": true}));
    }

    #[test]
    fn the_name_of_max_tokens() {
        for (model, expected) in [
            ("gpt-4o", "max_tokens"),
            ("o1", "max_completion_tokens"),
            ("o1-mini-2024", "max_completion_tokens"),
            ("openai/o3", "max_completion_tokens"),
            ("o4-mini", "max_completion_tokens"),
            ("gpt-5", "max_completion_tokens"),
            ("openai/gpt-5.2-chat", "max_completion_tokens"),
            ("o1ga", "max_tokens"),
            ("phi-o1-mini", "max_tokens"),
            ("gpt-4-o3", "max_tokens"),
        ] {
            assert_eq!(MaxTokensField::ByModel.name(model), expected, "{model}");
            assert_eq!(MaxTokensField::MaxTokens.name(model), "max_tokens");
            assert_eq!(MaxTokensField::MaxCompletionTokens.name(model), "max_completion_tokens");
        }
    }

    #[test]
    fn extra_wins() {
        let extra = object(json!({"temperature": 1, "max_completion_tokens": 7, "top_k": 3, "tools": []}));
        let options = Options {
            temperature: Some(0.5),
            max_tokens: Some(9),
            tool_choice: Some(ToolChoice::Auto),
            extra,
            ..Options::default()
        };
        assert_eq!(
            body(&OpenAi::default(), &request(options)),
            json!({"temperature": 1, "max_completion_tokens": 7, "top_k": 3, "tools": [], "tool_choice": "auto"})
        );
    }

    #[test]
    fn what_this_format_has_no_field_for() {
        for (options, kind, message) in [
            (
                Options { top_k: Some(40), ..Options::default() },
                ErrorKind::Unsupported,
                "top_k is not supported by openai; if this server takes it, send extra={\"top_k\": 40}",
            ),
            (
                Options { reasoning: Some(Reasoning::Budget(0)), ..Options::default() },
                ErrorKind::Unsupported,
                "a reasoning budget in tokens is not supported by openai; give an effort; the nearest is reasoning=\"none\"",
            ),
            (
                Options { reasoning: Some(Reasoning::On), ..Options::default() },
                ErrorKind::Unsupported,
                "reasoning=true is not supported by openai; give an effort such as \"medium\"; a server with a switch of its own takes it in extra",
            ),
            (
                Options { tool_choice: Some(ToolChoice::Required), ..Options::default() },
                ErrorKind::InvalidRequest,
                "tool_choice is \"required\", but there are no tools",
            ),
        ] {
            let error = chat(&OpenAi::default(), &request(options)).unwrap_err();
            assert_eq!((error.kind(), error.message()), (kind, message));
        }
    }
}
