//! Encodes the messages of a chat request.

use std::{borrow::Cow, sync::Arc};

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::OpenAi;
use crate::{
    error::Error,
    model::{Media, Message, Part, Role, ToolCall},
    wire::body::{ObjectWriter, write as write_json},
};

/// Roughly how many bytes the messages take, so that a long history is not copied while the body grows.
pub(super) fn estimate(messages: &[Arc<Message>]) -> usize {
    let part = |part: &Part| match part {
        Part::Text { text, .. } | Part::Thinking { text, .. } | Part::Refusal { text } => text.len() + text.len() / 16,
        Part::Image { media, .. } | Part::Document { media, .. } | Part::Audio { media } => match media {
            Media::Url(text) | Media::FileId(text) => text.len(),
            Media::Base64 { data, .. } => data.len(),
        },
        Part::ToolCall(call) => call.arguments.len() + call.arguments.len() / 4,
        Part::ToolResult { .. } | Part::RedactedThinking { .. } | Part::Raw(_) => 256,
    };
    let message = |message: &Arc<Message>| 64 + message.content.iter().map(|p| 64 + part(p)).sum::<usize>();
    messages.iter().map(message).sum()
}

/// Writes the field `messages`.
pub(super) fn write(wire: &OpenAi, body: &mut ObjectWriter<'_>, messages: &[Arc<Message>]) -> Result<(), Error> {
    body.array("messages", messages.iter().flat_map(|message| items(message)), |out, item| item.write(wire, out))
}

/// One entry of `messages`.
enum Item<'a> {
    /// A message, without its tool results.
    Message(&'a Message),
    /// One tool result, which is a message of its own here. There is no field that says whether the tool failed.
    Result { id: &'a str, content: &'a [Part] },
    /// A message of the role `tool` that answers no call.
    Stray,
}

/// A message as this format has it. Tool results come first, as they must follow their calls at once.
fn items(message: &Message) -> impl Iterator<Item = Item<'_>> {
    let results = message.content.iter().filter_map(|part| match part {
        Part::ToolResult { id, content, .. } => Some(Item::Result { id, content }),
        _ => None,
    });
    let is_result = |part: &Part| matches!(part, Part::ToolResult { .. });
    let rest = match message.role {
        _ if !message.content.is_empty() && message.content.iter().all(is_result) => None,
        Role::Tool => Some(Item::Stray),
        _ => Some(Item::Message(message)),
    };
    results.chain(rest)
}

impl Item<'_> {
    fn write(self, wire: &OpenAi, out: &mut Vec<u8>) -> Result<(), Error> {
        let mut item = ObjectWriter::new(out);
        match self {
            Self::Result { id, content } => {
                item.field("role", "tool");
                item.field("tool_call_id", id);
                write_content(wire, &mut item, content, false)?;
            }
            Self::Message(message) => {
                item.field("role", message.role.as_str());
                item.optional("name", message.name.as_ref());
                if message.role == Role::Assistant {
                    write_assistant(wire, &mut item, message)?;
                } else {
                    write_content(wire, &mut item, &message.content, message.as_parts)?;
                }
            }
            Self::Stray => {
                let message = "a message of the role tool must hold only tool results, with the ids of their calls";
                return Err(Error::invalid(message).with_provider(wire.name));
            }
        }
        item.close();
        Ok(())
    }
}

/// Content that the model did not write: a text stays a text, parts become a list.
fn write_content(wire: &OpenAi, item: &mut ObjectWriter<'_>, parts: &[Part], as_parts: bool) -> Result<(), Error> {
    match parts {
        [] => item.field("content", ""),
        [Part::Text { text, cache }] if !as_parts && (cache.is_none() || !wire.cache_marks) => {
            item.field("content", text);
        }
        _ => {
            let parts = parts.iter().filter(|part| !matches!(part, Part::ToolResult { .. }));
            item.array("content", parts, |out, part| write_part(wire, out, part))?;
        }
    }
    Ok(())
}

/// What the model said before. Its text is one string, which every server takes; its thinking is left out, unless the
/// server wants it back.
fn write_assistant(wire: &OpenAi, item: &mut ObjectWriter<'_>, message: &Message) -> Result<(), Error> {
    let text = joined(message, |part| match part {
        Part::Text { text, .. } => Some(text),
        _ => None,
    });
    let refusal = joined(message, |part| match part {
        Part::Refusal { text } => Some(text),
        _ => None,
    });
    let thinking = joined(message, |part| match part {
        Part::Thinking { text, .. } if !text.is_empty() => Some(text),
        _ => None,
    });
    let mut calls = message
        .content
        .iter()
        .filter_map(|part| match part {
            Part::ToolCall(call) => Some(call),
            _ => None,
        })
        .peekable();
    let audio = message.content.iter().find_map(audio_id);
    // What has a field of its own is not content.
    let is_content = |part: &&Part| match part {
        Part::Raw(value) => value.get("type").is_none_or(|kind| kind != "audio"),
        part => matches!(part, Part::Text { .. } | Part::Image { .. } | Part::Document { .. } | Part::Audio { .. }),
    };
    let content = || message.content.iter().filter(is_content);
    if content().any(|part| !matches!(part, Part::Text { .. })) {
        item.array("content", content(), |out, part| write_part(wire, out, part))?;
    } else if let Some(text) = text {
        item.field("content", &text);
    } else if calls.peek().is_none() && refusal.is_none() && audio.is_none() {
        item.field("content", "");
    }
    if let Some(id) = audio {
        item.object("audio", |o| o.field("id", id));
    }
    item.optional("refusal", refusal);
    item.optional("reasoning_content", thinking.filter(|_| wire.send_thinking));
    if calls.peek().is_some() {
        item.array("tool_calls", calls, |out, call| {
            write_call(out, call);
            Ok(())
        })?;
    }
    Ok(())
}

/// The id by which the model's own sound of an earlier answer is sent back.
fn audio_id(part: &Part) -> Option<&Value> {
    match part {
        Part::Raw(value) if value.get("type")? == "audio" => value.get("id"),
        _ => None,
    }
}

/// The texts that `pick` finds, as one; copied only if there are several.
fn joined<'a>(message: &'a Message, pick: impl Fn(&'a Part) -> Option<&'a String>) -> Option<Cow<'a, str>> {
    let mut texts = message.content.iter().filter_map(pick).map(String::as_str);
    let first = texts.next()?;
    let Some(second) = texts.next() else { return Some(first.into()) };
    let mut all = [first, second].concat();
    all.extend(texts);
    Some(all.into())
}

fn write_call(out: &mut Vec<u8>, call: &ToolCall) {
    let mut item = ObjectWriter::new(out);
    item.field("id", &call.id);
    item.field("type", "function");
    item.object("function", |o| {
        o.field("name", &call.name);
        o.field("arguments", if call.arguments.is_empty() { "{}" } else { &call.arguments });
    });
    item.close();
}

fn write_part(wire: &OpenAi, out: &mut Vec<u8>, part: &Part) -> Result<(), Error> {
    if let Part::Raw(value) = part {
        write_json(out, value);
        return Ok(());
    }
    let refuse = |what: &str| Err(Error::invalid(format!("{} takes no {what}", wire.name)).with_provider(wire.name));
    let mut item = ObjectWriter::new(out);
    match part {
        Part::Text { text, cache } => {
            item.field("type", "text");
            item.field("text", text);
            if let Some(cache) = cache.as_ref().filter(|_| wire.cache_marks) {
                item.object("cache_control", |o| {
                    o.field("type", "ephemeral");
                    o.optional("ttl", cache.ttl.as_ref());
                });
            }
        }
        Part::Image { media: Media::FileId(_), .. } => return refuse("image by file id; give its URL or its bytes"),
        Part::Image { media, detail } => {
            item.field("type", "image_url");
            item.object("image_url", |o| {
                o.field("url", &Address(media));
                o.optional("detail", detail.as_ref());
            });
        }
        Part::Document { media: Media::Url(_), .. } => return refuse("document by URL; give its bytes or a file id"),
        Part::Document { media, name } => {
            item.field("type", "file");
            item.object("file", |o| match media {
                Media::FileId(id) => o.field("file_id", id),
                _ => {
                    o.field("filename", name.as_deref().unwrap_or("document.pdf"));
                    o.field("file_data", &Address(media));
                }
            });
        }
        Part::Audio { media: Media::Base64 { media_type, data } } => {
            item.field("type", "input_audio");
            item.object("input_audio", |o| {
                o.field("data", data);
                o.field("format", audio_format(media_type));
            });
        }
        Part::Audio { .. } => return refuse("sound by URL or file id; give its bytes"),
        Part::Refusal { text } => {
            item.field("type", "refusal");
            item.field("refusal", text);
        }
        Part::Thinking { .. } | Part::RedactedThinking { .. } => return refuse("thinking outside assistant messages"),
        Part::ToolCall(_) => return refuse("tool call outside assistant messages"),
        Part::ToolResult { .. } => return refuse("tool result inside a tool result"),
        Part::Raw(_) => {}
    }
    item.close();
    Ok(())
}

/// `wav` for `audio/wav` and its other spellings, `mp3` for `audio/mpeg`.
fn audio_format(media_type: &str) -> &str {
    let subtype = media_type.rsplit('/').next().unwrap_or_default();
    match subtype.strip_prefix("x-").unwrap_or(subtype) {
        "mpeg" | "mpeg3" => "mp3",
        "wave" | "vnd.wave" | "pn-wav" => "wav",
        other => other,
    }
}

/// A medium as an address: its URL, or a `data:` URL of its bytes.
struct Address<'a>(&'a Media);

impl Serialize for Address<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Media::Url(text) | Media::FileId(text) => to.serialize_str(text),
            Media::Base64 { media_type, data } => to.collect_str(&format_args!("data:{media_type};base64,{data}")),
        }
    }
}
