//! What a request will use, guessed before it is sent, to be reserved with the limiters and settled by the real usage later.
//! [`super::counting`] counts the prompt instead, where it can.
//!
//! Four bytes of text are a token: OpenAI's rule of thumb is four characters of English, and text in scripts whose letters
//! take two or three bytes has more tokens a letter. It is the size of things that counts here, not the last token.

use serde_json::Value;

use crate::model::{ChatRequest, Media, Message, Part};

/// What the roles and separators of a message come to.
const MESSAGE: u64 = 4;
/// A picture of usual size: OpenAI 765 to 1,105, Anthropic up to 1,600, Gemini 258 a tile.
const IMAGE: u64 = 1_000;
/// A document or sound that is not here to be measured.
const ELSEWHERE: u64 = 1_000;
/// A page of a PDF is some 100 kB and 2,500 tokens, text and picture: base64 characters for each token.
const DOCUMENT: usize = 50;
/// A second of sound is some 16 kB and 32 tokens (Gemini): base64 characters for each token.
const SOUND: usize = 650;
/// The answer where no longest one is asked for.
const ANSWER: u64 = 512;

/// The tokens to reserve for a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Estimate {
    /// For the prompt.
    pub(super) prompt: u64,
    /// For the answer.
    pub(super) answer: u64,
}

impl Estimate {
    /// Of a chat request. `capacity` is what the smallest bucket holds: where no longest answer is asked for, the guess at it
    /// takes no more than a tenth of that.
    pub(super) fn chat(request: &ChatRequest, capacity: Option<u64>) -> Self {
        let options = &request.options;
        let extra = |name: &str| options.extra.get(name).and_then(Value::as_u64);
        let tools = options.tools.iter().map(|tool| {
            let fields: usize =
                tool.parameters.iter().chain(&tool.extra).map(|(name, value)| name.len() + 4 + json(value)).sum();
            let description = tool.description.as_deref().map_or(0, str::len);
            tokens(tool.name.len() + description + fields + tool.raw.as_ref().map_or(0, json)) + MESSAGE
        });
        let prompt = request.messages.iter().map(|message| self::message(message)).sum::<u64>() + tools.sum::<u64>();
        let longest = ["max_completion_tokens", "max_tokens", "max_output_tokens"].into_iter().find_map(extra);
        let answer = longest
            .or(options.max_tokens.map(u64::from))
            .unwrap_or_else(|| capacity.map_or(ANSWER, |capacity| ANSWER.min(capacity / 10)));
        Self { prompt, answer: answer.saturating_mul(extra("n").unwrap_or(1).max(1)) }
    }

    /// Of texts to embed.
    pub(super) fn texts(texts: &[String]) -> Self {
        Self { prompt: texts.iter().map(|text| tokens(text.len()).max(1)).sum(), answer: 0 }
    }

    /// Prompt and answer together.
    pub(super) fn total(self) -> u64 {
        self.prompt.saturating_add(self.answer)
    }
}

/// The tokens of what no tokenizer counts, by their size: documents and sounds.
pub(super) fn files(content: &[Part]) -> u64 {
    let of = |part: &Part| match part {
        Part::Document { .. } | Part::Audio { .. } => self::part(part),
        Part::ToolResult { content, .. } => files(content),
        _ => 0,
    };
    content.iter().map(of).sum()
}

fn tokens(bytes: usize) -> u64 {
    bytes.div_ceil(4) as u64
}

fn message(message: &Message) -> u64 {
    message.content.iter().map(part).sum::<u64>() + MESSAGE
}

fn media(media: &Media, characters_for_a_token: usize) -> u64 {
    match media {
        Media::Base64 { data, .. } => (data.len() / characters_for_a_token) as u64,
        Media::Url(_) | Media::FileId(_) => ELSEWHERE,
    }
}

fn part(part: &Part) -> u64 {
    match part {
        Part::Text { text, .. } | Part::Thinking { text, .. } | Part::Refusal { text } => tokens(text.len()),
        Part::Image { .. } => IMAGE,
        Part::Document { media, .. } => self::media(media, DOCUMENT),
        Part::Audio { media } => self::media(media, SOUND),
        Part::RedactedThinking { data } => tokens(data.len()),
        Part::ToolCall(call) => tokens(call.name.len() + call.arguments.len()),
        Part::ToolResult { content, .. } => content.iter().map(self::part).sum(),
        Part::Raw(value) => tokens(json(value)),
    }
}

/// About how long a value is as JSON.
fn json(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 4,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(|item| json(item) + 1).sum::<usize>() + 2,
        Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + 4 + json(value)).sum::<usize>() + 2,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::model::{Options, Role, Tool};

    fn request(messages: Vec<Message>, options: Options) -> ChatRequest {
        ChatRequest {
            model: "m".into(),
            messages: messages.into_iter().map(Arc::new).collect(),
            options,
            stream: false,
        }
    }

    fn parts(content: Vec<Part>) -> Message {
        Message { role: Role::User, content, name: None, as_parts: true, cache: None }
    }

    #[test]
    fn text_is_a_token_for_four_bytes_and_the_answer_is_what_was_asked_for() {
        let messages = vec![Message::text(Role::System, "x".repeat(400)), Message::text(Role::User, "語".repeat(400))];
        let options = Options { max_tokens: Some(50), ..Default::default() };
        let estimate = Estimate::chat(&request(messages, options), None);
        assert_eq!(estimate, Estimate { prompt: 100 + 300 + 2 * MESSAGE, answer: 50 });
        assert_eq!(estimate.total(), 458);
    }

    #[test]
    fn an_answer_of_unknown_length_takes_a_tenth_of_the_bucket_at_most() {
        let answer = |capacity| Estimate::chat(&request(vec![], Options::default()), capacity).answer;
        assert_eq!((answer(None), answer(Some(100_000)), answer(Some(1000)), answer(Some(5))), (512, 512, 100, 0));
    }

    #[test]
    fn fields_of_the_providers_own_win() {
        let extra = json!({"max_completion_tokens": 700, "n": 3}).as_object().unwrap().clone();
        let options = Options { max_tokens: Some(50), extra: extra.into_iter().collect(), ..Default::default() };
        assert_eq!(Estimate::chat(&request(vec![], options), None).answer, 2100);
    }

    #[test]
    fn pictures_and_files_are_not_taken_for_text() {
        let data = "A".repeat(1_000_000);
        let image =
            Part::Image { media: Media::Base64 { media_type: "image/png".into(), data: data.clone() }, detail: None };
        let page = Part::Document { media: Media::Base64 { media_type: "application/pdf".into(), data }, name: None };
        let result = Part::ToolResult { id: "1".into(), name: None, content: vec![image.clone()], is_error: false };
        let prompt =
            |part| Estimate::chat(&request(vec![parts(vec![part])], Options::default()), None).prompt - MESSAGE;
        assert_eq!((prompt(image), prompt(page), prompt(result)), (1000, 20_000, 1000));
        assert_eq!(prompt(Part::Audio { media: Media::Url("https://x/y.mp3".into()) }), 1000);
    }

    #[test]
    fn tools_are_part_of_the_prompt() {
        let schema =
            json!({"type": "object", "properties": {"city": {"type": "string", "description": "x".repeat(400)}}});
        let parameters = schema.as_object().unwrap().clone().into_iter().collect();
        let tool = Tool { name: "weather".into(), description: Some("y".repeat(400)), parameters, ..Tool::default() };
        let options = Options { tools: vec![tool], ..Default::default() };
        let prompt = Estimate::chat(&request(vec![], options), None).prompt;
        assert!((210..260).contains(&prompt), "{prompt}");
    }

    #[test]
    fn texts_to_embed_are_all_prompt() {
        let texts = ["a".repeat(40), String::new(), "b".into()];
        assert_eq!(Estimate::texts(&texts), Estimate { prompt: 12, answer: 0 });
    }
}
