//! Encodes chat requests as lists of items.

use std::sync::Arc;

use crate::{
    error::Error,
    model::{ChatRequest, Media, Message, Options, Part, Reasoning, Role},
    wire::{
        Encoded,
        body::{ObjectWriter, unsupported, write},
        openai::{
            OpenAi,
            encode::{Shape, check_common, thinks, write_format, write_tools},
            messages::{Address, estimate, write_sound},
        },
    },
};

/// Encodes one call.
pub(super) fn chat(wire: &OpenAi, request: &ChatRequest) -> Result<Encoded, Error> {
    let options = &request.options;
    check(wire, options)?;
    if let Some(limits) = &wire.media {
        limits.check(wire.name, &request.messages)?;
    }
    let mut out = Vec::with_capacity(estimate(&request.messages) + 512);
    let mut body = ObjectWriter::with_extra(&mut out, &options.extra);
    body.field("model", &request.model);
    write_input(wire, &mut body, &request.messages)?;
    if request.stream {
        body.field("stream", &true);
    }
    body.optional("max_output_tokens", options.max_tokens);
    body.optional("temperature", options.temperature);
    body.optional("top_p", options.top_p);
    body.optional("user", options.user.as_ref());
    body.labels("metadata", &options.metadata);
    body.optional("prompt_cache_key", options.prompt_cache_key.as_ref());
    if let Some(Reasoning::Effort(effort)) = &options.reasoning {
        body.merged("reasoning", |o| o.field("effort", effort));
    }
    // Without it a conversation that is not stored cannot be gone on with. Models that do not think refuse the field.
    let stored = options.extra.contains_key("previous_response_id") || options.extra.contains_key("conversation");
    if !stored && (options.reasoning.is_some() || options.extra.contains_key("reasoning") || thinks(&request.model)) {
        body.field("include", &["reasoning.encrypted_content"]);
    }
    if let Some(format) = &options.response_format {
        body.merged("text", |text| text.object("format", |o| write_format(o, format, Shape::Flat)));
    }
    write_tools(&mut body, options, Shape::Flat)?;
    body.close();
    Ok(Encoded { path: "/responses".to_owned(), body: out.into() })
}

/// Refuses options that this format has no field for.
fn check(wire: &OpenAi, options: &Options) -> Result<(), Error> {
    let chat = "the chat completions API has it: api=\"chat\"";
    let refused = |option: &str, instead: &str| Err(unsupported(wire.name, option, instead));
    if options.top_k.is_some() {
        return refused("top_k", "top_p comes nearest");
    }
    if !options.stop.is_empty() {
        return refused("stop", chat);
    }
    if options.seed.is_some() {
        return refused("seed", chat);
    }
    if options.presence_penalty.is_some() {
        return refused("presence_penalty", chat);
    }
    if options.frequency_penalty.is_some() {
        return refused("frequency_penalty", chat);
    }
    check_common(wire, options)
}

/// Writes the field `input`.
fn write_input(wire: &OpenAi, body: &mut ObjectWriter<'_>, messages: &[Arc<Message>]) -> Result<(), Error> {
    let items = messages.iter().flat_map(|message| items(message));
    body.array("input", items, |out, item| write_item(wire, out, &item))
}

/// One entry of `input`.
enum Item<'a> {
    /// Parts of a message, one after another.
    Said { message: &'a Message, parts: &'a [Part] },
    /// A part that is an item of its own.
    Own(&'a Part),
}

/// A message as items, in the order of its parts. One without parts is an item all the same.
fn items(message: &Message) -> impl Iterator<Item = Item<'_>> {
    let empty = message.content.is_empty() && message.role != Role::Tool;
    let runs =
        message.content.chunk_by(|a, b| !is_item(message, a) && !is_item(message, b)).flat_map(|run| match run {
            [part] if is_item(message, part) => is_sent(part).then_some(Item::Own(part)),
            parts => Some(Item::Said { message, parts }),
        });
    runs.chain(empty.then_some(Item::Said { message, parts: &[] }))
}

/// Thinking that no encrypted form came with means nothing to the model.
fn is_sent(part: &Part) -> bool {
    !matches!(part, Part::Thinking { signature: None, .. })
}

fn is_item(message: &Message, part: &Part) -> bool {
    match part {
        Part::ToolCall(_) | Part::ToolResult { .. } | Part::Thinking { .. } | Part::RedactedThinking { .. } => true,
        Part::Raw(_) => message.role == Role::Assistant,
        _ => false,
    }
}

fn write_item(wire: &OpenAi, out: &mut Vec<u8>, item: &Item<'_>) -> Result<(), Error> {
    match item {
        Item::Own(Part::Raw(value)) => write(out, value),
        Item::Own(part) => return write_own(wire, out, part),
        Item::Said { message, .. } if message.role == Role::Tool => {
            let message = "a message of the role tool must hold only tool results, with the ids of their calls";
            return Err(Error::invalid(message).with_provider(wire.name));
        }
        Item::Said { message, parts } => {
            let mut body = ObjectWriter::new(out);
            body.field("role", message.role.as_str());
            let by_model = message.role == Role::Assistant;
            match parts {
                [] => body.field("content", ""),
                [Part::Text { text, .. }] if !message.as_parts || by_model => body.field("content", text),
                parts => body.array("content", *parts, |out, part| write_part(wire, out, part, by_model))?,
            }
            body.close();
        }
    }
    Ok(())
}

fn write_own(wire: &OpenAi, out: &mut Vec<u8>, part: &Part) -> Result<(), Error> {
    let mut item = ObjectWriter::new(out);
    match part {
        Part::ToolCall(call) => {
            item.field("type", "function_call");
            item.field("call_id", &call.id);
            item.field("name", &call.name);
            item.field("arguments", if call.arguments.is_empty() { "{}" } else { &call.arguments });
        }
        Part::ToolResult { id, content, .. } => {
            item.field("type", "function_call_output");
            item.field("call_id", id);
            match content.as_slice() {
                [] => item.field("output", ""),
                [Part::Text { text, .. }] => item.field("output", text),
                parts => item.array("output", parts, |out, part| write_part(wire, out, part, false))?,
            }
        }
        Part::Thinking { text, signature } => {
            item.field("type", "reasoning");
            let summary = [serde_json::json!({"type": "summary_text", "text": text})];
            item.field("summary", if text.is_empty() { &[][..] } else { &summary[..] });
            item.optional("encrypted_content", signature.as_ref());
        }
        Part::RedactedThinking { data } => {
            item.field("type", "reasoning");
            item.field::<[&str]>("summary", &[]);
            item.field("encrypted_content", data);
        }
        _ => {}
    }
    item.close();
    Ok(())
}

fn write_part(wire: &OpenAi, out: &mut Vec<u8>, part: &Part, by_model: bool) -> Result<(), Error> {
    if let Part::Raw(value) = part {
        write(out, value);
        return Ok(());
    }
    let refuse = |what: &str| Err(Error::invalid(format!("{} takes no {what}", wire.name)).with_provider(wire.name));
    let mut item = ObjectWriter::new(out);
    match part {
        Part::Text { text, .. } => {
            item.field("type", if by_model { "output_text" } else { "input_text" });
            item.field("text", text);
        }
        Part::Refusal { text } => {
            item.field("type", "refusal");
            item.field("refusal", text);
        }
        Part::Image { media, detail } => {
            item.field("type", "input_image");
            match media {
                Media::FileId(id) => item.field("file_id", id),
                media => item.field("image_url", &Address(media)),
            }
            item.optional("detail", detail.as_ref());
        }
        Part::Document { media, name } => {
            item.field("type", "input_file");
            match media {
                Media::FileId(id) => item.field("file_id", id),
                Media::Url(url) => item.field("file_url", url),
                media => {
                    item.field("filename", name.as_deref().unwrap_or("document.pdf"));
                    item.field("file_data", &Address(media));
                }
            }
        }
        Part::Audio { media: Media::Base64 { media_type, data } } => write_sound(&mut item, media_type, data),
        Part::Audio { .. } => return refuse("sound by URL or file id; give its bytes"),
        Part::ToolResult { .. } => return refuse("tool result inside a tool result"),
        _ => return refuse("tool call or thinking inside a tool result"),
    }
    item.close();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        error::ErrorKind,
        model::{ResponseFormat, Tool, ToolCall, ToolChoice},
        wire::common::tests::{ask, call, conversation, object, parts, result},
    };
    use serde_json::{Value, json};

    fn body(request: &ChatRequest) -> Value {
        let encoded = chat(&OpenAi::default(), request).unwrap();
        assert_eq!(encoded.path, "/responses");
        serde_json::from_slice(&encoded.body).unwrap()
    }

    #[test]
    fn nothing_is_sent_that_was_not_asked_for() {
        let encoded = chat(&OpenAi::default(), &ask(Options::default())).unwrap();
        assert_eq!(encoded.body, br#"{"model":"m","input":[{"role":"user","content":"hi"}]}"#.as_slice());
    }

    #[test]
    fn every_option() {
        let tool = Tool {
            name: "f".to_owned(),
            description: Some("does".to_owned()),
            parameters: object(json!({"type": "object"})),
            strict: Some(false),
            ..Tool::default()
        };
        let search = Tool { raw: Some(json!({"type": "web_search"})), ..Tool::default() };
        let format =
            ResponseFormat::Schema { name: "n".to_owned(), schema: json!({"type": "array"}), strict: None, fit: false };
        let options = Options {
            max_tokens: Some(10),
            temperature: Some(0.5),
            top_p: Some(0.5),
            user: Some("u".to_owned()),
            tools: vec![tool, search],
            tool_choice: Some(ToolChoice::Named("f".to_owned())),
            parallel_tool_calls: Some(false),
            response_format: Some(format),
            reasoning: Some(Reasoning::Effort("low".to_owned())),
            extra: object(json!({"text": {"verbosity": "low"}, "reasoning": {"summary": "auto"}, "store": false})),
            ..Options::default()
        };
        let mut sent = body(&ChatRequest { stream: true, ..ask(options) });
        sent.as_object_mut().unwrap().remove("input");
        assert_eq!(
            sent,
            json!({
                "model": "m", "stream": true, "max_output_tokens": 10, "temperature": 0.5, "top_p": 0.5, "user": "u",
                "reasoning": {"effort": "low", "summary": "auto"}, "include": ["reasoning.encrypted_content"],
                "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "array"}}, "verbosity": "low"},
                "tools": [
                    {"type": "function", "name": "f", "description": "does", "parameters": {"type": "object"}, "strict": false},
                    {"type": "web_search"},
                ],
                "tool_choice": {"type": "function", "name": "f"}, "parallel_tool_calls": false, "store": false,
            })
        );
    }

    #[test]
    fn a_turn_goes_back_as_it_came() {
        let thinking = Part::Thinking { text: "hm".to_owned(), signature: Some("enc".to_owned()) };
        let hidden = Part::RedactedThinking { data: "enc2".to_owned() };
        let open = Part::Thinking { text: "shown by another server".to_owned(), signature: None };
        let call = Part::ToolCall(ToolCall { arguments: String::new(), ..call("c", "f", "") });
        let searched = Part::Raw(json!({"type": "web_search_call", "id": "ws_1"}));
        let messages = vec![
            Message::text(Role::System, "Be brief."),
            parts(Role::Assistant, vec![thinking, hidden, open, searched, Part::text("One moment."), call]),
            result("c", "42"),
            parts(
                Role::User,
                vec![Part::text("see"), Part::Image { media: Media::Url("https://x/y".into()), detail: None }],
            ),
        ];
        let sent = body(&conversation(messages, Options::default()));
        assert_eq!(
            sent["input"],
            json!([
                {"role": "system", "content": "Be brief."},
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "enc"},
                {"type": "reasoning", "summary": [], "encrypted_content": "enc2"},
                {"type": "web_search_call", "id": "ws_1"},
                {"role": "assistant", "content": "One moment."},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "42"},
                {"role": "user", "content": [{"type": "input_text", "text": "see"}, {"type": "input_image", "image_url": "https://x/y"}]},
            ])
        );
    }

    #[test]
    fn encrypted_thinking_is_asked_for_where_it_may_come_and_is_needed() {
        let include = |model: &str, extra: Value| {
            let options = Options { extra: object(extra), ..Options::default() };
            body(&ChatRequest { model: model.to_owned(), ..ask(options) })["include"].clone()
        };
        assert_eq!(include("gpt-5-mini", json!({})), json!(["reasoning.encrypted_content"]));
        assert_eq!(include("gpt-4o", json!({})), Value::Null);
        assert_eq!(include("gpt-5", json!({"previous_response_id": "resp_1"})), Value::Null);
        assert_eq!(include("gpt-5", json!({"include": []})), json!([]));
    }

    #[test]
    fn what_cannot_be_carried() {
        for options in [
            Options { seed: Some(1), ..Options::default() },
            Options { stop: vec!["x".to_owned()], ..Options::default() },
            Options { top_k: Some(1), ..Options::default() },
            Options { presence_penalty: Some(1.0), ..Options::default() },
            Options { frequency_penalty: Some(1.0), ..Options::default() },
            Options { reasoning: Some(Reasoning::Budget(100)), ..Options::default() },
            Options { reasoning: Some(Reasoning::On), ..Options::default() },
        ] {
            let error = chat(&OpenAi::default(), &ask(options)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
        }
        let stray = conversation(vec![parts(Role::Tool, vec![Part::text("x")])], Options::default());
        assert_eq!(chat(&OpenAi::default(), &stray).unwrap_err().kind(), ErrorKind::InvalidRequest);
    }
}
