//! Encodes the messages of a chat request.

use std::{borrow::Cow, sync::Arc};

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::OpenAi;
use crate::{
    error::Error,
    model::{CacheControl, Media, Message, Part, Role, ToolCall},
    wire::{
        body::{ObjectWriter, write as write_json},
        common::is_reasoning_detail,
    },
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

/// A message as this format has it. Tool results must follow their calls at once: they come before what the user says
/// besides, and behind the model's own message.
fn items(message: &Message) -> impl Iterator<Item = Item<'_>> {
    let results = message.content.iter().filter_map(|part| match part {
        Part::ToolResult { id, content, .. } => Some(Item::Result { id, content }),
        _ => None,
    });
    let rest = match message.role {
        _ if !message.content.is_empty() && message.content.iter().all(is_result) => None,
        Role::Tool => Some(Item::Stray),
        _ => Some(Item::Message(message)),
    };
    let (before, after) = if message.role == Role::Assistant { (rest, None) } else { (None, rest) };
    before.into_iter().chain(results).chain(after)
}

fn is_result(part: &Part) -> bool {
    matches!(part, Part::ToolResult { .. })
}

impl Item<'_> {
    fn write(self, wire: &OpenAi, out: &mut Vec<u8>) -> Result<(), Error> {
        let mut item = ObjectWriter::new(out);
        match self {
            Self::Result { id, content } => {
                item.field("role", "tool");
                item.field("tool_call_id", id);
                write_content(wire, &mut item, content, false, None)?;
            }
            Self::Message(message) => {
                item.field("role", message.role.as_str());
                item.optional("name", message.name.as_ref());
                if message.role == Role::Assistant {
                    write_assistant(wire, &mut item, message)?;
                } else if message.content.iter().any(is_result) {
                    let rest = message.content.iter().filter(|part| !is_result(part));
                    item.array("content", rest, |out, part| write_part(wire, out, part, None))?;
                } else {
                    let mark = message.cache.as_ref().filter(|_| wire.cache_marks);
                    write_content(wire, &mut item, &message.content, message.as_parts, mark)?;
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

/// Content that the model did not write: a text stays a text, parts become a list. A mark stands at the last text.
fn write_content(
    wire: &OpenAi,
    item: &mut ObjectWriter<'_>,
    parts: &[Part],
    as_parts: bool,
    mark: Option<&CacheControl>,
) -> Result<(), Error> {
    let place = parts.iter().rposition(|part| matches!(part, Part::Text { .. }));
    match parts {
        [] => item.field("content", ""),
        [Part::Text { text, cache, .. }] if !as_parts && mark.is_none() && (cache.is_none() || !wire.cache_marks) => {
            item.field("content", text);
        }
        parts => item.array("content", parts.iter().enumerate(), |out, (n, part)| {
            write_part(wire, out, part, mark.filter(|_| place == Some(n)))
        })?,
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
    let is_content = |part: &&Part| match *part {
        Part::Raw(value) => !is_reasoning_detail(part) && value.get("type").is_none_or(|kind| kind != "audio"),
        part => matches!(part, Part::Text { .. } | Part::Image { .. } | Part::Document { .. } | Part::Audio { .. }),
    };
    let content = || message.content.iter().filter(is_content);
    if content().any(|part| !matches!(part, Part::Text { .. })) {
        item.array("content", content(), |out, part| write_part(wire, out, part, None))?;
    } else if let Some(text) = text {
        item.field("content", &text);
    } else if wire.empty_content || calls.peek().is_none() && refusal.is_none() && audio.is_none() {
        item.field("content", "");
    }
    if let Some(id) = audio {
        item.object("audio", |o| o.field("id", id));
    }
    item.optional("refusal", refusal);
    item.optional("reasoning_content", thinking.filter(|_| wire.send_thinking));
    let mut details = message.content.iter().filter(|part| is_reasoning_detail(part)).peekable();
    if details.peek().is_some() {
        item.array("reasoning_details", details, |out, part| write_part(wire, out, part, None))?;
    }
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

fn write_part(wire: &OpenAi, out: &mut Vec<u8>, part: &Part, mark: Option<&CacheControl>) -> Result<(), Error> {
    if let Part::Raw(value) = part {
        write_json(out, value);
        return Ok(());
    }
    let refuse = |what: &str| Err(Error::invalid(format!("{} takes no {what}", wire.name)).with_provider(wire.name));
    let mut item = ObjectWriter::new(out);
    match part {
        Part::Text { text, cache, .. } => {
            item.field("type", "text");
            item.field("text", text);
            if let Some(cache) = mark.or(cache.as_ref()).filter(|_| wire.cache_marks) {
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
        Part::Audio { media: Media::Base64 { media_type, data } } => write_sound(&mut item, media_type, data),
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

/// A sound whose bytes are here.
pub(super) fn write_sound(item: &mut ObjectWriter<'_>, media_type: &str, data: &str) {
    item.field("type", "input_audio");
    item.object("input_audio", |o| {
        o.field("data", data);
        o.field("format", audio_format(media_type));
    });
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
pub(super) struct Address<'a>(pub(super) &'a Media);

impl Serialize for Address<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Media::Url(text) | Media::FileId(text) => to.serialize_str(text),
            Media::Base64 { media_type, data } => to.collect_str(&format_args!("data:{media_type};base64,{data}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use serde_json::json;

    fn try_encode(wire: &OpenAi, messages: Vec<Message>) -> Result<Value, Error> {
        let messages: Vec<Arc<Message>> = messages.into_iter().map(Arc::new).collect();
        let mut out = Vec::new();
        let mut body = ObjectWriter::new(&mut out);
        write(wire, &mut body, &messages)?;
        body.close();
        Ok(serde_json::from_slice::<Value>(&out).unwrap()["messages"].take())
    }

    fn encode(messages: Vec<Message>) -> Value {
        try_encode(&OpenAi::default(), messages).unwrap()
    }

    fn parts(role: Role, content: Vec<Part>) -> Message {
        Message { role, content, name: None, as_parts: true, cache: None }
    }

    fn result(id: &str, content: Vec<Part>) -> Part {
        Part::ToolResult { id: id.to_owned(), name: None, content, is_error: false }
    }

    fn call(id: &str, arguments: &str) -> Part {
        let (id, name) = (id.to_owned(), "f".to_owned());
        Part::ToolCall(ToolCall { id, name, arguments: arguments.to_owned(), signature: None })
    }

    fn base64(media_type: &str) -> Media {
        Media::Base64 { media_type: media_type.to_owned(), data: "AAEC".to_owned() }
    }

    fn url() -> Media {
        Media::Url("https://x/y".to_owned())
    }

    fn thinking(text: &str) -> Part {
        Part::Thinking { text: text.to_owned(), signature: Some("s".to_owned()) }
    }

    #[test]
    fn texts_stay_texts_and_several_system_messages_stay() {
        let named = Message { name: Some("Ann".to_owned()), ..Message::text(Role::User, "Hi") };
        let messages = vec![
            Message::text(Role::System, "A"),
            Message::text(Role::Developer, "B"),
            named,
            Message::text(Role::Assistant, "Yes?"),
            Message::text(Role::System, "C\n\"é\""),
        ];
        assert_eq!(
            encode(messages),
            json!([
                {"role": "system", "content": "A"},
                {"role": "developer", "content": "B"},
                {"role": "user", "name": "Ann", "content": "Hi"},
                {"role": "assistant", "content": "Yes?"},
                {"role": "system", "content": "C\n\"é\""},
            ])
        );
    }

    #[test]
    fn parts_become_a_list() {
        let content = vec![
            Part::text("see"),
            Part::Image { media: url(), detail: Some("low".to_owned()) },
            Part::Image { media: base64("image/png"), detail: None },
            Part::Audio { media: base64("audio/mpeg") },
            Part::Audio { media: base64("audio/x-wav") },
            Part::Document { media: base64("application/pdf"), name: Some("a.pdf".to_owned()) },
            Part::Document { media: base64("application/pdf"), name: None },
            Part::Document { media: Media::FileId("file-1".to_owned()), name: None },
            Part::Raw(json!({"type": "video_url", "video_url": {"url": "v"}})),
        ];
        assert_eq!(
            encode(vec![parts(Role::User, content), parts(Role::System, vec![Part::text("only")])]),
            json!([
                {"role": "user", "content": [
                    {"type": "text", "text": "see"},
                    {"type": "image_url", "image_url": {"url": "https://x/y", "detail": "low"}},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAEC"}},
                    {"type": "input_audio", "input_audio": {"data": "AAEC", "format": "mp3"}},
                    {"type": "input_audio", "input_audio": {"data": "AAEC", "format": "wav"}},
                    {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAEC"}},
                    {"type": "file", "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,AAEC"}},
                    {"type": "file", "file": {"file_id": "file-1"}},
                    {"type": "video_url", "video_url": {"url": "v"}},
                ]},
                {"role": "system", "content": [{"type": "text", "text": "only"}]},
            ])
        );
    }

    #[test]
    fn tool_calls_and_their_results() {
        let messages = vec![
            parts(
                Role::Assistant,
                vec![thinking("hm"), Part::text("One"), Part::text(" moment"), call("a", "{\"x\": 1}"), call("b", "")],
            ),
            parts(Role::Tool, vec![result("a", vec![Part::text("1")]), result("b", vec![])]),
            parts(Role::Assistant, vec![result("c", vec![Part::text("early")]), call("c", "{}")]),
            parts(Role::User, vec![Part::text("and now?"), result("c", vec![Part::text("x"), Part::text("y")])]),
        ];
        let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}});
        assert_eq!(
            encode(messages),
            json!([
                {"role": "assistant", "content": "One moment", "tool_calls": [call("a", "{\"x\": 1}"), call("b", "{}")]},
                {"role": "tool", "tool_call_id": "a", "content": "1"},
                {"role": "tool", "tool_call_id": "b", "content": ""},
                {"role": "assistant", "tool_calls": [call("c", "{}")]},
                {"role": "tool", "tool_call_id": "c", "content": "early"},
                {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]},
                {"role": "user", "content": [{"type": "text", "text": "and now?"}]},
            ])
        );
    }

    #[test]
    fn an_empty_content_only_where_the_server_fails_without() {
        let wire = OpenAi { empty_content: true, ..OpenAi::default() };
        let sent = try_encode(
            &wire,
            vec![parts(Role::Assistant, vec![call("a", "{}")]), Message::text(Role::Assistant, "said")],
        )
        .unwrap();
        assert_eq!((sent[0].get("content"), &sent[1]["content"]), (Some(&json!("")), &json!("said")));
        assert_eq!(encode(vec![parts(Role::Assistant, vec![call("a", "{}")])])[0].get("content"), None);
    }

    #[test]
    fn what_the_model_said_before() {
        let messages = vec![
            parts(Role::Assistant, vec![thinking("hm"), Part::RedactedThinking { data: "?".to_owned() }]),
            parts(Role::Assistant, vec![Part::Refusal { text: "No".to_owned() }]),
            parts(Role::Assistant, vec![Part::Raw(json!({"type": "audio", "id": "a1", "data": "UklG"}))]),
            parts(
                Role::Assistant,
                vec![Part::Raw(json!({"type": "reasoning.encrypted", "data": "?", "id": null})), Part::text("so")],
            ),
            parts(Role::Assistant, vec![Part::text("so"), Part::Raw(json!({"type": "x"}))]),
            parts(Role::Assistant, vec![]),
        ];
        assert_eq!(
            encode(messages),
            json!([
                {"role": "assistant", "content": ""},
                {"role": "assistant", "refusal": "No"},
                {"role": "assistant", "audio": {"id": "a1"}},
                {"role": "assistant", "content": "so", "reasoning_details": [
                    {"type": "reasoning.encrypted", "data": "?", "id": null}]},
                {"role": "assistant", "content": [{"type": "text", "text": "so"}, {"type": "x"}]},
                {"role": "assistant", "content": ""},
            ])
        );
    }

    #[test]
    fn thinking_and_cache_marks_only_where_the_server_wants_them() {
        let marked = |ttl: Option<&str>| Part::Text {
            text: "long".to_owned(),
            cache: Some(CacheControl { ttl: ttl.map(str::to_owned) }),
            citations: Vec::new(),
        };
        let messages = || {
            let system = Message { as_parts: false, ..parts(Role::System, vec![marked(None)]) };
            vec![
                system,
                parts(Role::User, vec![marked(Some("1h"))]),
                parts(Role::Assistant, vec![thinking("a"), thinking(""), thinking("b"), Part::text("so")]),
            ]
        };
        assert_eq!(
            encode(messages()),
            json!([
                {"role": "system", "content": "long"},
                {"role": "user", "content": [{"type": "text", "text": "long"}]},
                {"role": "assistant", "content": "so"},
            ])
        );
        let wire = OpenAi { cache_marks: true, send_thinking: true, ..OpenAi::default() };
        assert_eq!(
            try_encode(&wire, messages()).unwrap(),
            json!([
                {"role": "system", "content": [{"type": "text", "text": "long", "cache_control": {"type": "ephemeral"}}]},
                {"role": "user", "content": [{"type": "text", "text": "long", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]},
                {"role": "assistant", "content": "so", "reasoning_content": "ab"},
            ])
        );
    }

    #[test]
    fn what_cannot_be_carried() {
        for (role, part, what) in [
            (Role::User, Part::Document { media: url(), name: None }, "document by URL"),
            (Role::User, Part::Image { media: Media::FileId("f".to_owned()), detail: None }, "image by file id"),
            (Role::User, Part::Audio { media: url() }, "sound by URL"),
            (Role::User, call("a", "{}"), "tool call outside"),
            (Role::User, thinking("x"), "thinking outside"),
            (Role::User, result("a", vec![result("b", vec![])]), "tool result inside"),
            (Role::Tool, Part::text("x"), "must hold only tool results"),
        ] {
            let error = try_encode(&OpenAi::default(), vec![parts(role, vec![part])]).unwrap_err();
            assert_eq!((error.kind(), error.provider()), (ErrorKind::InvalidRequest, Some("openai")));
            assert!(error.message().contains(what), "{error}");
        }
        assert!(try_encode(&OpenAi::default(), vec![parts(Role::Tool, vec![])]).is_err());
    }

    #[test]
    fn the_estimate_is_near_the_truth() {
        let text = "word ".repeat(2_000);
        let messages: Vec<Arc<Message>> = (0..50).map(|_| Arc::new(Message::text(Role::User, text.as_str()))).collect();
        let mut out = Vec::new();
        let mut body = ObjectWriter::new(&mut out);
        write(&OpenAi::default(), &mut body, &messages).unwrap();
        body.close();
        let estimate = estimate(&messages);
        assert!(estimate >= out.len() && estimate < out.len() * 5 / 4, "{estimate} for {}", out.len());
    }
}
