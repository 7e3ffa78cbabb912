//! Reads whole answers and the chunks of streamed ones, which have nearly the same shape.

use serde::{Deserialize, de::MapAccess};
use serde_json::Value;

use super::{
    error,
    fill::{Few, Fields, Fill, Seed, fields, skip},
    raw::{Raw, utf8},
    usage::Tokens,
};
use crate::{
    error::Error,
    model::{Assembly, Citation, JsonObject, Part, Response, ToolSlot},
};

/// A whole answer, or one chunk of it. What was said stands under `message` if `WHOLE`, else under `delta`.
#[derive(Debug, Default)]
pub(super) struct Answer<'a, const WHOLE: bool> {
    id: Raw<'a>,
    model: Raw<'a>,
    choices: Few<Choice<'a, WHOLE>>,
    usage: Raw<'a>,
    error: Raw<'a>,
    object: Raw<'a>,
    groq: GroqExtra<'a>,
}

impl<'de, const WHOLE: bool> Fields<'de> for Answer<'de, WHOLE> {
    fn field<A: MapAccess<'de>>(&mut self, key: &str, value: &mut A) -> Result<(), A::Error> {
        match key {
            "id" => value.next_value_seed(Seed(&mut self.id)),
            "model" => value.next_value_seed(Seed(&mut self.model)),
            "choices" => value.next_value_seed(Seed(&mut self.choices)),
            "usage" => value.next_value_seed(Seed(&mut self.usage)),
            "error" => value.next_value_seed(Seed(&mut self.error)),
            "object" => value.next_value_seed(Seed(&mut self.object)),
            "x_groq" => value.next_value_seed(Seed(&mut self.groq)),
            _ => skip(value),
        }
    }
}

#[derive(Debug, Default)]
struct GroqExtra<'a> {
    usage: Raw<'a>,
}

fields!(GroqExtra { "usage" => usage });

#[derive(Debug, Default)]
pub(super) struct Choice<'a, const WHOLE: bool> {
    index: Raw<'a>,
    pub(super) said: Said<'a>,
    /// A whole message where a piece is wanted.
    pub(super) message: Raw<'a>,
    pub(super) finish_reason: Raw<'a>,
    /// Moonshot counts here.
    usage: Raw<'a>,
    /// OpenRouter puts the error of the provider behind it here.
    error: Raw<'a>,
}

impl<'de, const WHOLE: bool> Fields<'de> for Choice<'de, WHOLE> {
    fn field<A: MapAccess<'de>>(&mut self, key: &str, value: &mut A) -> Result<(), A::Error> {
        match key {
            "delta" if !WHOLE => value.next_value_seed(Seed(&mut self.said)),
            "message" if WHOLE => value.next_value_seed(Seed(&mut self.said)),
            "message" => value.next_value_seed(Seed(&mut self.message)),
            "index" => value.next_value_seed(Seed(&mut self.index)),
            "finish_reason" => value.next_value_seed(Seed(&mut self.finish_reason)),
            "usage" => value.next_value_seed(Seed(&mut self.usage)),
            "error" => value.next_value_seed(Seed(&mut self.error)),
            _ => skip(value),
        }
    }
}

/// A message, or a piece of one.
#[derive(Debug, Default)]
pub(super) struct Said<'a> {
    content: Raw<'a>,
    reasoning_content: Raw<'a>,
    reasoning: Raw<'a>,
    reasoning_details: Raw<'a>,
    refusal: Raw<'a>,
    tool_calls: Few<Call<'a>>,
    /// The form before `tool_calls`.
    function_call: Function<'a>,
    audio: Raw<'a>,
    images: Raw<'a>,
    annotations: Raw<'a>,
}

fields!(Said {
    "content" => content,
    "reasoning_content" => reasoning_content,
    "reasoning" => reasoning,
    "reasoning_details" => reasoning_details,
    "refusal" => refusal,
    "tool_calls" => tool_calls,
    "function_call" => function_call,
    "audio" => audio,
    "images" => images,
    "annotations" => annotations,
});

#[derive(Debug, Default)]
struct Call<'a> {
    index: Raw<'a>,
    id: Raw<'a>,
    function: Function<'a>,
}

fields!(Call { "index" => index, "id" => id, "function" => function });

#[derive(Debug, Default, Clone, Copy)]
struct Function<'a> {
    name: Raw<'a>,
    arguments: Raw<'a>,
}

fields!(Function { "name" => name, "arguments" => arguments });

/// A piece of content or of `reasoning_details`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Piece<'a> {
    #[serde(borrow, rename = "type")]
    kind: Raw<'a>,
    text: Raw<'a>,
    thinking: Raw<'a>,
    summary: Raw<'a>,
    refusal: Raw<'a>,
}

impl<'a, const WHOLE: bool> Answer<'a, WHOLE> {
    /// Reads an object of JSON; `None` if it is none, or of another shape.
    pub(super) fn read(json: &'a str) -> Option<Self> {
        let mut answer = Self::default();
        let mut from = serde_json::Deserializer::from_str(json);
        let read = answer.fill(&mut from).and_then(|()| from.end());
        read.is_ok().then_some(answer)
    }

    /// The error that stands in place of an answer, at the top or in a choice.
    pub(super) fn error(&self) -> Option<Raw<'a>> {
        let in_choices = self.choices.iter().map(|choice| choice.error);
        [self.error].into_iter().chain(in_choices).find(|error| error::is_one(*error))
    }

    /// Whether there is a list of choices, be it an empty one.
    pub(super) fn has_choices(&self) -> bool {
        self.choices.is_given()
    }

    /// Whether this says of itself that it is an error, as old servers' bodies do.
    pub(super) fn is_named_error(&self) -> bool {
        self.object.json() == "\"error\""
    }

    /// Tells the answer whatever holds for all choices.
    pub(super) fn tell_meta(&self, answer: &mut Assembly) {
        let so_far = answer.so_far();
        if so_far.id.is_empty() || so_far.model.is_empty() {
            answer.meta(&self.id.text(), &self.model.text());
        }
    }

    /// Token counts, wherever this server puts them.
    pub(super) fn tell_usage(&self, answer: &mut Assembly) {
        let in_choice = self.choices.iter().map(|choice| choice.usage).next().unwrap_or_default();
        let given = self.usage.or(in_choice).or(self.groq.usage);
        if given.is_some()
            && let Some(usage) = given.read::<Tokens<'_>>().and_then(|tokens| tokens.usage())
        {
            answer.usage(usage);
        }
    }

    /// The choice that is read into the answer, of number 0. Some servers give no numbers; some (Copilot) spread one
    /// answer over several choices of that number.
    pub(super) fn first_choice(&self) -> impl Iterator<Item = &Choice<'a, WHOLE>> {
        let numbered = self.choices.iter().enumerate();
        numbered.filter(|(n, choice)| choice.index.count().unwrap_or(*n as u64) == 0).map(|(_, choice)| choice)
    }
}

impl<'a> Said<'a> {
    /// Reads a message that was left raw.
    pub(super) fn read(raw: Raw<'a>) -> Option<Self> {
        let mut said = Self::default();
        said.fill(&mut serde_json::Deserializer::from_str(raw.json())).ok()?;
        Some(said)
    }

    /// Adds OpenRouter's `reasoning_details` to those that came before. A piece of a stream goes on with the one of its
    /// number and type.
    pub(super) fn add_details(&self, details: &mut Vec<JsonObject>) {
        if !self.reasoning_details.is_some() {
            return;
        }
        for piece in self.reasoning_details.read::<Vec<JsonObject>>().unwrap_or_default() {
            let same = |other: &&mut JsonObject| {
                let number = piece.get("index").filter(|index| !index.is_null());
                number.is_some() && other.get("index") == number && other.get("type") == piece.get("type")
            };
            match details.iter_mut().rev().find(same) {
                Some(open) => go_on(open, piece),
                None => details.push(piece),
            }
        }
    }

    /// Tells the answer what was said. `whole`: this is a message and not a piece of one, so that each tool call in it
    /// is one of its own.
    pub(super) fn tell(&self, whole: bool, scratch: &mut String, answer: &mut Assembly) {
        // Three names for the same text; some servers send two of them at once.
        if let Some(thinking) = [self.reasoning_content, self.reasoning].into_iter().find(|raw| !raw.is_empty()) {
            answer.thinking(thinking.text_in(scratch));
        } else if self.reasoning_details.is_some() {
            for detail in self.reasoning_details.read::<Vec<Piece<'_>>>().unwrap_or_default() {
                answer.thinking(detail.text.or(detail.summary).text_in(scratch));
            }
        }
        if self.content.is_list() {
            tell_pieces(self.content, scratch, answer);
        } else {
            answer.text(self.content.text_in(scratch));
        }
        if self.annotations.is_list() {
            for annotation in self.annotations.read::<Vec<serde_json::Value>>().unwrap_or_default() {
                tell_annotation(&annotation, answer);
            }
        }
        answer.refusal(self.refusal.text_in(scratch));
        let mut told = false;
        for call in self.tool_calls.iter() {
            call.tell(whole, scratch, answer);
            told = true;
        }
        // The older form; llama-cpp-python tells the same call in both.
        if !told && (self.function_call.name.is_some() || self.function_call.arguments.is_some()) {
            Call { function: self.function_call, ..Call::default() }.tell(whole, scratch, answer);
        }
        if let Some(audio) = self.audio.read::<serde_json::Map<_, _>>() {
            let mut part = serde_json::Map::from_iter([("type".to_owned(), "audio".into())]);
            part.extend(audio);
            answer.part(Part::Raw(part.into()));
        }
        if self.images.is_some() {
            for image in self.images.read::<Vec<Value>>().unwrap_or_default() {
                answer.part(Part::Raw(image));
            }
        }
    }
}

/// A source of the text. Places are in characters here, too.
pub(super) fn tell_annotation(annotation: &serde_json::Value, answer: &mut Assembly) {
    let inner = annotation.get("url_citation").unwrap_or(annotation);
    let all = answer.so_far().text_chars();
    let place = |name| inner.get(name).and_then(serde_json::Value::as_u64).and_then(|n| usize::try_from(n).ok());
    let end = place("end_index").unwrap_or(all);
    let mut citation = Citation::read(inner, place("start_index").unwrap_or(0).min(end), end);
    citation.raw = annotation.clone();
    answer.citation(citation);
}

/// Texts are continued, whatever else comes replaces what was there.
fn go_on(open: &mut JsonObject, piece: JsonObject) {
    for (key, value) in piece {
        match (open.get_mut(&key), &value) {
            (_, Value::Null) => {}
            (Some(Value::String(text)), Value::String(more)) if key == "text" || key == "summary" => {
                text.push_str(more)
            }
            _ => {
                open.insert(key, value);
            }
        }
    }
}

/// Tells the answer of `reasoning_details` if they are signed or encrypted: then they must be sent back as they came. Else
/// they hold nothing but the thinking that it has already.
pub(super) fn tell_details(details: Vec<JsonObject>, answer: &mut Assembly) {
    let is_given = |detail: &JsonObject, key: &str| detail.get(key).is_some_and(Value::is_string);
    if details.iter().any(|detail| is_given(detail, "signature") || is_given(detail, "data")) {
        details.into_iter().for_each(|detail| answer.part(Part::Raw(detail.into())));
    }
}

/// Content as a list of parts (Mistral). Parts of an unknown kind are kept as they are.
fn tell_pieces(content: Raw<'_>, scratch: &mut String, answer: &mut Assembly) {
    for raw in content.read::<Vec<Raw<'_>>>().unwrap_or_default() {
        let Some(piece) = raw.read::<Piece<'_>>() else {
            answer.text(raw.text_in(scratch));
            continue;
        };
        match piece.kind.text().as_ref() {
            "text" | "output_text" | "" => answer.text(piece.text.text_in(scratch)),
            "refusal" => answer.refusal(piece.refusal.text_in(scratch)),
            "thinking" if piece.thinking.is_list() => {
                for thought in piece.thinking.read::<Vec<Piece<'_>>>().unwrap_or_default() {
                    answer.thinking(thought.text.text_in(scratch));
                }
            }
            "thinking" => answer.thinking(piece.thinking.text_in(scratch)),
            _ => answer.part(Part::Raw(raw.read().unwrap_or_default())),
        }
    }
}

impl Call<'_> {
    fn tell(&self, whole: bool, scratch: &mut String, answer: &mut Assembly) {
        let function = self.function;
        let slot = match self.index.count() {
            Some(index) if !whole => ToolSlot::Index(index),
            _ => ToolSlot::Last,
        };
        let (id, name) = (self.id.text(), function.name.text());
        if whole || opens(answer, slot, &id, &name) {
            answer.tool_start(slot, &id, &name, None);
        }
        answer.tool_arguments(slot, function.arguments.text_in(scratch));
    }
}

/// Whether a piece with this id and name begins a call, or goes on with the one in its slot.
///
/// Servers number parallel calls 0, 1, 2; or call all of them 0; or do not number them. Some repeat id and name in each
/// piece, some make up a new id for each piece but give the name only once.
fn opens(answer: &Assembly, slot: ToolSlot, id: &str, name: &str) -> bool {
    let Some(open) = answer.tool(slot) else { return !(id.is_empty() && name.is_empty()) };
    match slot {
        ToolSlot::Index(_) if name.is_empty() => false,
        ToolSlot::Index(_) if id.is_empty() => name != open.name || is_json(&open.arguments),
        ToolSlot::Last if id.is_empty() => !name.is_empty(),
        _ => id != open.id,
    }
}

/// Whether the arguments are all there.
fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// Reads a whole answer.
pub(super) fn chat(provider: &'static str, body: &[u8]) -> Result<Response, Error> {
    let text = utf8(body);
    let Some(parsed) = Answer::<'_, true>::read(&text) else {
        return Err(error::instead_of_answer(provider, "the answer is not a chat completion", body));
    };
    if let Some(error) = parsed.error() {
        return Err(error::inside(provider, error.json().as_bytes()));
    }
    if parsed.first_choice().next().is_none() {
        return Err(error::instead_of_answer(provider, "the answer has no choices", body));
    }
    let (mut answer, mut scratch) = (Assembly::new(), String::new());
    parsed.tell_meta(&mut answer);
    for choice in parsed.first_choice() {
        let mut details = Vec::new();
        choice.said.add_details(&mut details);
        choice.said.tell(true, &mut scratch, &mut answer);
        tell_details(details, &mut answer);
    }
    for choice in parsed.first_choice() {
        answer.finish(choice.finish_reason.text_in(&mut scratch));
    }
    parsed.tell_usage(&mut answer);
    answer.end();
    let response = answer.into_response();
    if response.parts.is_empty() && response.finish_reason.is_none() && response.usage.is_none() {
        return Err(error::instead_of_answer(provider, "the answer's choices hold nothing", body));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error::ErrorKind, model::FinishReason};

    #[test]
    fn a_call_told_in_both_forms_is_one() {
        let function = r#"{"name":"f","arguments":"{}"}"#;
        let body = format!(
            r#"{{"choices":[{{"message":{{"content":null,"function_call":{function},"tool_calls":[{{"id":"a","type":"function","function":{function}}}]}},"finish_reason":"tool_calls"}}]}}"#
        );
        let response = chat("test", body.as_bytes()).unwrap();
        assert_eq!(response.tool_calls().map(|call| call.id.as_str()).collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn a_whole_answer() {
        let body = r#" {"id":"c1","object":"chat.completion","created":1,"model":"m1","choices":[{"index":0,"logprobs":null,
            "message":{"role":"assistant","reasoning_content":"hm","content":"\u0048i","refusal":null,"annotations":[],
            "tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}},
            {"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]},"finish_reason":"stop"},
            {"index":1,"message":{"content":"other"},"finish_reason":"length"}],
            "usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}} "#;
        let response = chat("test", body.as_bytes()).unwrap();
        assert_eq!((response.id.as_str(), response.model.as_str()), ("c1", "m1"));
        assert_eq!((response.thinking().as_str(), response.text().as_str()), ("hm", "Hi"));
        let calls: Vec<_> = response.tool_calls().map(|call| (call.name.as_str(), call.arguments.as_str())).collect();
        assert_eq!(calls, [("f", "{\"x\":1}"), ("f", "{}")], "two calls stay two, whatever their ids");
        assert_eq!(response.finish_reason, Some(FinishReason::ToolCalls));
        assert_eq!(response.usage.map(|usage| usage.total_tokens()), Some(15));
    }

    #[test]
    fn one_answer_spread_over_two_choices() {
        let body = r#"{"choices":[{"index":0,"message":{"content":"Let me see."},"finish_reason":"tool_calls"},
            {"index":0,"message":{"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}"#;
        let response = chat("test", body.as_bytes()).unwrap();
        assert_eq!((response.text().as_str(), response.tool_calls().count()), ("Let me see.", 1));
    }

    #[test]
    fn what_is_no_answer() {
        for body in
            ["", "<html>busy</html>", "{}", "[]", "null", "{\"choices\":null}", "{\"choices\":[]}", "{\"choices\":[{"]
        {
            let error = chat("test", body.as_bytes()).unwrap_err();
            assert_eq!((error.kind(), error.provider()), (ErrorKind::Malformed, Some("test")), "{body}");
            assert!(body.is_empty() || error.message().contains(body), "{error}");
        }
    }

    #[test]
    fn an_error_in_place_of_an_answer() {
        for body in [
            r#"{"error":{"code":429,"message":"slow down"}}"#,
            r#"[{"error":{"code":429,"message":"slow down"}}]"#,
            r#"{"object":"error","message":"slow down","code":429}"#,
            r#"{"choices":[{"index":0,"message":{"content":""},"finish_reason":"error","error":{"code":429,"message":"slow down"}}]}"#,
        ] {
            let error = chat("test", body.as_bytes()).unwrap_err();
            assert_eq!((error.kind(), error.message()), (ErrorKind::RateLimit, "slow down"), "{body}");
        }
    }
}
