//! What the wire formats share: media, tool calls, and which messages belong together.

use std::{borrow::Cow, sync::Arc};

use serde_json::{Value, value::RawValue};

use crate::{
    error::{Error, ErrorKind},
    model::{Assembly, Embeddings, JsonObject, Media, Message, Part, Role, ToolCall},
};

/// A tool call's arguments for providers that want a JSON object in the body.
pub(super) fn arguments_object(call: &ToolCall) -> Result<Box<RawValue>, Error> {
    let text = if call.arguments.trim().is_empty() { "{}" } else { call.arguments.as_str() };
    let raw = RawValue::from_string(text.to_owned()).ok().filter(|raw| raw.get().starts_with('{'));
    raw.ok_or_else(|| {
        let message = format!(
            "the arguments of the tool call {:?} are not a JSON object; leave the call out of the conversation or repair it",
            call.name
        );
        Error::invalid(message).with_param("messages".to_owned())
    })
}

/// The tokens that an effort comes to where a provider wants a budget, as Google maps them in its OpenAI-compatible API
/// (1,024, 8,192 and 24,576); `None` for a name that is none of these.
pub(super) fn budget_of(effort: &str) -> Option<u32> {
    Some(match effort {
        "none" => 0,
        "minimal" | "low" => 1_024,
        "medium" => 8_192,
        "high" | "xhigh" | "max" => 24_576,
        _ => return None,
    })
}

/// The effort nearest to a budget, for providers that have no budgets.
pub(super) fn effort_of(budget: u32) -> &'static str {
    match budget {
        0 => "none",
        1..=2_048 => "low",
        2_049..=12_288 => "medium",
        _ => "high",
    }
}

/// A tool's schema with the `type` that providers ask for.
pub(super) fn object_schema(schema: &JsonObject) -> Cow<'_, JsonObject> {
    if schema.contains_key("type") {
        return Cow::Borrowed(schema);
    }
    let kind = ("type".to_owned(), Value::from("object"));
    Cow::Owned(std::iter::once(kind).chain(schema.iter().map(|(k, v)| (k.clone(), v.clone()))).collect())
}

/// Where media are, with `data:` URLs taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source<'a> {
    /// At this address.
    Url(&'a str),
    /// Here, in base64.
    Base64 { media_type: &'a str, data: &'a str },
    /// At the provider, under this id.
    File(&'a str),
}

impl<'a> From<&'a Media> for Source<'a> {
    fn from(media: &'a Media) -> Self {
        match media {
            Media::Url(url) => data_url(url).unwrap_or(Self::Url(url)),
            Media::Base64 { media_type, data } => Self::Base64 { media_type, data },
            Media::FileId(id) => Self::File(id),
        }
    }
}

/// `data:image/png;base64,…`
fn data_url(url: &str) -> Option<Source<'_>> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    let head = head.strip_suffix(";base64")?;
    let media_type = head.split_once(';').map_or(head, |(media_type, _)| media_type);
    Some(Source::Base64 { media_type, data })
}

/// The conversation without its system messages.
pub(super) fn turns(messages: &[Arc<Message>]) -> Vec<&Message> {
    messages.iter().map(Arc::as_ref).filter(|message| !message.role.is_system()).collect()
}

/// The parts of all system messages, in order. Only text can instruct.
pub(super) fn system_parts<'a>(provider: &'static str, messages: &'a [Arc<Message>]) -> Result<Vec<&'a Part>, Error> {
    let parts: Vec<_> = messages.iter().filter(|m| m.role.is_system()).flat_map(|m| &m.content).collect();
    if parts.iter().any(|part| !matches!(part, Part::Text { .. } | Part::Raw(_))) {
        return Err(Error::invalid("a system message may hold only text").with_provider(provider));
    }
    Ok(parts.into_iter().filter(|part| !is_empty_text(part)).collect())
}

/// Whether the part is a text without a character; some providers refuse those.
pub(super) fn is_empty_text(part: &Part) -> bool {
    matches!(part, Part::Text { text, .. } | Part::Refusal { text } if text.is_empty())
}

/// Whether the part is a piece of OpenRouter's `reasoning_details`: signed or encrypted thinking, for OpenRouter alone.
pub(super) fn is_reasoning_detail(part: &Part) -> bool {
    let Part::Raw(value) = part else { return false };
    value.get("type").and_then(Value::as_str).is_some_and(|kind| kind.starts_with("reasoning."))
}

/// Whether both messages bring tool results. Providers want the results of one turn in one message.
pub(super) fn both_bring_results(a: &&Message, b: &&Message) -> bool {
    let brings = |m: &Message| m.role == Role::Tool || m.content.iter().any(|p| matches!(p, Part::ToolResult { .. }));
    brings(a) && brings(b)
}

/// Refuses a tool message that says not which call it answers.
pub(super) fn check_tool_message(message: &Message) -> Result<(), Error> {
    if message.role == Role::Tool && !message.content.iter().any(|part| matches!(part, Part::ToolResult { .. })) {
        let message = "a tool message must hold a tool result with the id of the call that it answers";
        return Err(Error::invalid(message).with_param("messages".to_owned()));
    }
    Ok(())
}

/// The name of the tool whose call the result in `turns[at]` answers: the nearest call of that id before it.
pub(super) fn tool_name<'a>(turns: &[&'a Message], result: &Message, id: &str) -> Option<&'a str> {
    let at = turns.iter().position(|message| std::ptr::eq(*message, result))?;
    let calls = turns.get(..at)?.iter().rev().flat_map(|message| message.content.iter().rev());
    calls.into_iter().find_map(|part| match part {
        Part::ToolCall(call) if call.id == id => Some(call.name.as_str()),
        _ => None,
    })
}

/// Whether [`Assembly::tool_start`] made the id up because the provider gave none: `call_` and one or two digits.
pub(super) fn is_made_up(id: &str) -> bool {
    id.strip_prefix("call_").is_some_and(|n| (1..=2).contains(&n.len()) && n.bytes().all(|b| b.is_ascii_digit()))
}

/// Puts a batch's vectors into one buffer, and checks that there is one for each text.
pub(super) fn check_vectors<'a>(
    provider: &'static str,
    vectors: impl Iterator<Item = &'a [f32]>,
    count: usize,
) -> Result<Embeddings, Error> {
    let mut embeddings = Embeddings::default();
    for vector in vectors {
        embeddings.push(vector).map_err(|error| error.with_provider(provider))?;
    }
    if embeddings.len() != count {
        let message = format!("{} vectors came for {count} texts", embeddings.len());
        return Err(Error::new(ErrorKind::Malformed, message).with_provider(provider));
    }
    Ok(embeddings)
}

/// Adds a signature that stands for itself, not for thinking that came before it. It makes a [`Part::Thinking`] without
/// text; no event tells of it where that can be helped.
pub(super) fn own_signature(answer: &mut Assembly, signature: &str) {
    if signature.is_empty() {
        return;
    }
    if matches!(answer.so_far().parts.last(), Some(Part::Thinking { .. })) {
        answer.part(Part::Thinking { text: String::new(), signature: Some(signature.to_owned()) });
    } else {
        answer.signature(signature);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::{Event, ToolSlot};
    use serde_json::json;

    /// A request of one user message with these options.
    pub(in crate::wire) fn ask(options: crate::model::Options) -> crate::model::ChatRequest {
        conversation(vec![Message::text(Role::User, "hi")], options)
    }

    /// A request of these messages.
    pub(in crate::wire) fn conversation(
        messages: Vec<Message>,
        options: crate::model::Options,
    ) -> crate::model::ChatRequest {
        let messages = messages.into_iter().map(Arc::new).collect();
        crate::model::ChatRequest { model: "m".into(), messages, options, stream: false }
    }

    /// A message of these parts.
    pub(in crate::wire) fn parts(role: Role, content: Vec<Part>) -> Message {
        Message { role, content, name: None, as_parts: true, cache: None }
    }

    /// A tool call.
    pub(in crate::wire) fn call(id: &str, name: &str, arguments: &str) -> ToolCall {
        ToolCall { id: id.into(), name: name.into(), arguments: arguments.into(), signature: None }
    }

    /// A tool message with a text result.
    pub(in crate::wire) fn result(id: &str, text: &str) -> Message {
        let content = vec![Part::text(text)];
        parts(Role::Tool, vec![Part::ToolResult { id: id.into(), name: None, content, is_error: false }])
    }

    /// A JSON object.
    pub(in crate::wire) fn object(value: Value) -> JsonObject {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn arguments_must_be_an_object() {
        assert_eq!(arguments_object(&call("", "f", " ")).unwrap().get(), "{}");
        assert_eq!(arguments_object(&call("", "f", " {\"a\":1} ")).unwrap().get(), "{\"a\":1}");
        for broken in ["{\"a\":", "[1]", "3", "{} x"] {
            assert!(arguments_object(&call("", "f", broken)).is_err(), "{broken}");
        }
    }

    #[test]
    fn data_urls() {
        let want = Source::Base64 { media_type: "image/png", data: "AAAA" };
        for url in ["data:image/png;base64,AAAA", "data:image/png;name=a;base64,AAAA"] {
            assert_eq!(Source::from(&Media::Url(url.into())), want);
        }
        let text = "data:text/plain,hi";
        assert_eq!(Source::from(&Media::Url(text.into())), Source::Url(text));
    }

    #[test]
    fn made_up_ids_are_those_of_the_assembly() {
        let mut answer = Assembly::new();
        answer.tool_start(ToolSlot::Last, "", "f", None);
        let Some(Event::ToolCallStart { id, .. }) = answer.events().next() else { panic!() };
        assert!(is_made_up(&id), "{id}");
        for id in ["call_966934", "call_320", "call_", "call_a", "toolu_1", ""] {
            assert!(!is_made_up(id), "{id}");
        }
    }

    #[test]
    fn a_name_is_that_of_the_nearest_call() {
        let turn = |name| parts(Role::Assistant, vec![Part::ToolCall(call("call_0", name, "{}"))]);
        let messages = [turn("old"), result("call_0", "1"), turn("new"), result("call_0", "2")];
        let turns: Vec<&Message> = messages.iter().collect();
        assert_eq!(tool_name(&turns, turns[1], "call_0"), Some("old"));
        assert_eq!(tool_name(&turns, turns[3], "call_0"), Some("new"));
        assert_eq!(tool_name(&turns, turns[3], "other"), None);
    }

    #[test]
    fn own_signatures_stay_apart_from_earlier_thinking() {
        let mut answer = Assembly::new();
        answer.thinking("hm");
        own_signature(&mut answer, "one");
        own_signature(&mut answer, "two");
        own_signature(&mut answer, "");
        let signatures: Vec<_> = answer
            .into_response()
            .parts
            .into_iter()
            .map(|part| match part {
                Part::Thinking { text, signature } => (text, signature),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            signatures,
            [("hm".into(), None), (String::new(), Some("one".into())), (String::new(), Some("two".into()))]
        );
    }

    #[test]
    fn schemas_get_a_type() {
        let schema = object(json!({"properties": {}}));
        assert_eq!(serde_json::to_string(&*object_schema(&schema)).unwrap(), r#"{"type":"object","properties":{}}"#);
    }
}
