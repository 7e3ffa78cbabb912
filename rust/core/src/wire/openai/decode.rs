//! Reads whole answers and the chunks of streamed ones, which have nearly the same shape.

use serde::Deserialize;

use super::{
    error,
    raw::{Few, Raw, utf8},
};
use crate::{
    error::Error,
    model::{Assembly, Part, Response, ToolSlot, Usage},
    wire::body::malformed,
};

/// A whole answer, or one chunk of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Answer<'a> {
    #[serde(borrow)]
    pub(super) id: Raw<'a>,
    pub(super) model: Raw<'a>,
    pub(super) choices: Option<Few<Choice<'a>>>,
    pub(super) usage: Raw<'a>,
    pub(super) error: Raw<'a>,
    /// `error` in old servers' error bodies.
    pub(super) object: Raw<'a>,
    x_groq: Option<GroqExtra<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GroqExtra<'a> {
    #[serde(borrow)]
    usage: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Choice<'a> {
    #[serde(borrow)]
    index: Raw<'a>,
    pub(super) delta: Option<Said<'a>>,
    pub(super) message: Option<Said<'a>>,
    pub(super) finish_reason: Raw<'a>,
    /// Moonshot counts here.
    usage: Raw<'a>,
    /// OpenRouter puts the error of the provider behind it here.
    error: Raw<'a>,
}

/// A message, or a piece of one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Said<'a> {
    #[serde(borrow)]
    content: Raw<'a>,
    reasoning_content: Raw<'a>,
    reasoning: Raw<'a>,
    reasoning_details: Raw<'a>,
    refusal: Raw<'a>,
    tool_calls: Few<Call<'a>>,
    /// The form before `tool_calls`.
    function_call: Option<Function<'a>>,
    audio: Raw<'a>,
    images: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Call<'a> {
    #[serde(borrow)]
    index: Raw<'a>,
    id: Raw<'a>,
    function: Option<Function<'a>>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
struct Function<'a> {
    #[serde(borrow)]
    name: Raw<'a>,
    arguments: Raw<'a>,
}

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

impl<'a> Answer<'a> {
    /// The error that stands in place of an answer, at the top or in a choice.
    pub(super) fn error(&self) -> Option<Raw<'a>> {
        let choices = self.choices.as_ref().into_iter().flat_map(Few::iter);
        [self.error].into_iter().chain(choices.map(|choice| choice.error)).find(|error| error::is_one(*error))
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
        let in_choice = self.choices.as_ref().and_then(|choices| choices.iter().map(|choice| choice.usage).next());
        let in_groq = self.x_groq.as_ref().map(|extra| extra.usage);
        let given = self.usage.or(in_choice.unwrap_or_default()).or(in_groq.unwrap_or_default());
        if given.is_some()
            && let Some(usage) = given.read::<Tokens<'_>>().and_then(|tokens| tokens.usage())
        {
            answer.usage(usage);
        }
    }

    /// The pieces of the first choice; its index is often missing.
    pub(super) fn first_choice(&self) -> impl Iterator<Item = &Choice<'a>> {
        let choices = self.choices.as_ref().into_iter().flat_map(Few::iter);
        choices
            .enumerate()
            .filter(|(n, choice)| choice.index.count().unwrap_or(*n as u64) == 0)
            .map(|(_, choice)| choice)
    }
}

impl Said<'_> {
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
        answer.refusal(self.refusal.text_in(scratch));
        for call in self.tool_calls.iter() {
            call.tell(whole, scratch, answer);
        }
        if let Some(function) = self.function_call {
            Call { function: Some(function), ..Call::default() }.tell(whole, scratch, answer);
        }
        if let Some(audio) = self.audio.read::<serde_json::Map<_, _>>() {
            let mut part = serde_json::Map::from_iter([("type".to_owned(), "audio".into())]);
            part.extend(audio);
            answer.part(Part::Raw(part.into()));
        }
        if self.images.is_some() {
            for image in self.images.read::<Vec<serde_json::Value>>().unwrap_or_default() {
                answer.part(Part::Raw(image));
            }
        }
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
        let function = self.function.unwrap_or_default();
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

/// Token counts as compatible servers give them. All totals are inclusive.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Tokens<'a> {
    #[serde(borrow)]
    prompt_tokens: Raw<'a>,
    completion_tokens: Raw<'a>,
    total_tokens: Raw<'a>,
    prompt_tokens_details: Option<PromptDetails<'a>>,
    completion_tokens_details: Option<CompletionDetails<'a>>,
    /// DeepSeek.
    prompt_cache_hit_tokens: Raw<'a>,
    /// Moonshot.
    cached_tokens: Raw<'a>,
    /// Gateways before Anthropic's models.
    cache_read_input_tokens: Raw<'a>,
    cache_creation_input_tokens: Raw<'a>,
    /// Perplexity, Copilot.
    reasoning_tokens: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PromptDetails<'a> {
    #[serde(borrow)]
    cached_tokens: Raw<'a>,
    cache_write_tokens: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CompletionDetails<'a> {
    #[serde(borrow)]
    reasoning_tokens: Raw<'a>,
}

/// The first count that is given and not zero.
fn first_of(given: &[Raw<'_>]) -> u64 {
    given.iter().filter_map(|raw| raw.count()).find(|count| *count > 0).unwrap_or(0)
}

impl Tokens<'_> {
    /// The counts; `None` if there are none.
    pub(super) fn usage(&self) -> Option<Usage> {
        let (prompt, completion) = (self.prompt_tokens.count(), self.completion_tokens.count());
        if prompt.is_none() && completion.is_none() {
            return None;
        }
        let (prompt, completion) = (prompt.unwrap_or(0), completion.unwrap_or(0));
        let (read, written) =
            self.prompt_tokens_details.as_ref().map(|d| (d.cached_tokens, d.cache_write_tokens)).unwrap_or_default();
        let thought = self.completion_tokens_details.as_ref().map(|d| d.reasoning_tokens).unwrap_or_default();
        let read = first_of(&[read, self.prompt_cache_hit_tokens, self.cached_tokens, self.cache_read_input_tokens]);
        let written = first_of(&[written, self.cache_creation_input_tokens]);
        let reasoning = first_of(&[thought, self.reasoning_tokens]);
        // xAI counts reasoning beside the completion, all others within it; only the total tells.
        let beside = reasoning > 0 && self.total_tokens.count() == Some(prompt + completion + reasoning);
        let completion = if beside { completion + reasoning } else { completion };
        // Some servers estimate the reasoning by themselves and come out above the completion that holds it.
        Some(Usage::from_inclusive(prompt, read, written, completion, reasoning.min(completion)))
    }
}

/// Reads a whole answer.
pub(super) fn chat(provider: &'static str, body: &[u8]) -> Result<Response, Error> {
    let text = utf8(body);
    let parsed: Answer<'_> = match serde_json::from_str(&text) {
        Ok(parsed) => parsed,
        Err(_) => return Err(error::instead_of_answer(provider, "the answer is not a chat completion", body)),
    };
    if let Some(error) = parsed.error() {
        return Err(error::inside(provider, error.json().as_bytes()));
    }
    let Some(choice) = parsed.first_choice().next() else {
        return Err(error::instead_of_answer(provider, "the answer has no choices", body));
    };
    if choice.message.is_none() {
        return Err(malformed(provider, "the answer's first choice has no message", body));
    }
    let (mut answer, mut scratch) = (Assembly::new(), String::new());
    parsed.tell_meta(&mut answer);
    for choice in parsed.first_choice() {
        if let Some(message) = &choice.message {
            message.tell(true, &mut scratch, &mut answer);
        }
    }
    for choice in parsed.first_choice() {
        answer.finish(&choice.finish_reason.text());
    }
    parsed.tell_usage(&mut answer);
    answer.end();
    Ok(answer.into_response())
}
