//! The prompt's tokens counted before it is sent, for the limiters, where the model's tokenizer is known.
//!
//! Counting takes some 20 ns a byte, so anything long is counted away from the I/O thread. So is the vocabulary unpacked, by
//! the first call that needs it; those that come meanwhile wait for the same one.

use std::{future::Future, pin::Pin};

use super::estimate::{Estimate, files};
use crate::{
    model::{ChatRequest, Message, Tool},
    runtime::generation,
    tokenizer::Tokenizer,
};

/// So many tokens are counted in some 100 µs: more are worth a trip to another thread.
const LONG: u64 = 1 << 10;

/// The tokenizer of a model, if its counts are exact.
pub(super) fn tokenizer(model: &str) -> Option<Tokenizer> {
    Tokenizer::for_model(model).ok().filter(|tokenizer| !tokenizer.is_estimate())
}

/// An estimate, or one under way. It holds nothing of the request, and little room in the call's future.
pub(super) enum Counting {
    Done(Estimate),
    Elsewhere(Pin<Box<dyn Future<Output = Estimate> + Send>>),
}

impl Counting {
    /// Waits for it.
    pub(super) async fn done(self) -> Estimate {
        match self {
            Self::Done(estimate) => estimate,
            Self::Elsewhere(counting) => counting.await,
        }
    }

    /// The estimate with the prompt's tokens counted away from here, as soon as the vocabulary is there.
    fn elsewhere(tokenizer: Tokenizer, estimate: Estimate, count: impl FnOnce() -> u64 + Send + 'static) -> Self {
        Self::Elsewhere(Box::pin(async move {
            let counted = match loaded(tokenizer).await {
                Some(()) => tokio::task::spawn_blocking(count).await.ok(),
                None => None,
            };
            Estimate { prompt: counted.unwrap_or(estimate.prompt), ..estimate }
        }))
    }
}

/// Whether so much is counted here and now.
fn is_short(tokenizer: Tokenizer, estimate: Estimate) -> bool {
    estimate.prompt < LONG && tokenizer.encoding().is_some_and(|encoding| encoding.is_loaded())
}

/// Counts the prompt of a chat request, for which `estimate` was estimated.
pub(super) fn chat(tokenizer: Tokenizer, request: &ChatRequest, estimate: Estimate) -> Counting {
    let tools = &request.options.tools;
    if is_short(tokenizer, estimate) {
        return Counting::Done(Estimate { prompt: prompt(tokenizer, &request.messages, tools), ..estimate });
    }
    let (messages, tools) = (request.messages.clone(), tools.clone());
    Counting::elsewhere(tokenizer, estimate, move || prompt(tokenizer, &messages, &tools))
}

fn prompt(tokenizer: Tokenizer, messages: &[impl AsRef<Message>], tools: &[Tool]) -> u64 {
    let files = messages.iter().map(|message| files(&message.as_ref().content)).sum::<u64>();
    tokenizer.count_messages(messages, tools) as u64 + files
}

/// As [`chat`], of texts to embed.
pub(super) fn texts(tokenizer: Tokenizer, texts: &[String], estimate: Estimate) -> Counting {
    let count = move |texts: &[String]| texts.iter().map(|text| tokenizer.count(text, None) as u64).sum();
    if is_short(tokenizer, estimate) {
        return Counting::Done(Estimate { prompt: count(texts), ..estimate });
    }
    let texts = texts.to_vec();
    Counting::elsewhere(tokenizer, estimate, move || count(&texts))
}

/// Has the vocabulary unpacked, once for all who ask at the same time.
async fn loaded(tokenizer: Tokenizer) -> Option<()> {
    let encoding = tokenizer.encoding()?;
    if encoding.is_loaded() {
        return Some(());
    }
    let generation = generation().ok()?;
    let _alone = generation.loading().lock().await;
    if !encoding.is_loaded() {
        tokio::task::spawn_blocking(move || encoding.load()).await.ok()?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{Media, Options, Part, Role};

    fn request(text: &str, extra: Vec<Part>) -> ChatRequest {
        let mut message = Message::text(Role::User, text.to_owned());
        message.content.extend(extra);
        let tool = Tool { name: "weather".into(), description: Some("Tells the weather".into()), ..Tool::default() };
        let options = Options { tools: vec![tool], ..Options::default() };
        let messages = vec![Arc::new(Message::text(Role::System, "Be brief.")), Arc::new(message)];
        ChatRequest { model: "gpt-4o".into(), messages, options, stream: false }
    }

    #[tokio::test]
    async fn short_and_long_prompts_are_counted_alike() {
        for (text, estimate) in [("hi", 10), ("hi", LONG), (&"some words ".repeat(5_000), LONG)] {
            let request = request(text, Vec::new());
            let tokenizer = tokenizer(&request.model).unwrap();
            let estimate = Estimate { prompt: estimate, answer: 7 };
            let counted = chat(tokenizer, &request, estimate).done().await;
            assert_eq!(counted.answer, 7);
            assert_eq!(counted.prompt, tokenizer.count_messages(&request.messages, &request.options.tools) as u64);
            let all = [text.to_owned(), "é".into()];
            let each = all.iter().map(|text| tokenizer.count(text, None) as u64).sum::<u64>();
            assert_eq!(texts(tokenizer, &all, estimate).done().await, Estimate { prompt: each, answer: 7 });
        }
    }

    #[tokio::test]
    async fn files_are_added_by_their_size() {
        let data = "A".repeat(1_000_000);
        let page = Part::Document { media: Media::Base64 { media_type: "application/pdf".into(), data }, name: None };
        let sound = Part::Audio { media: Media::Url("https://x/y.mp3".into()) };
        let result = Part::ToolResult { id: "1".into(), name: None, content: vec![sound], is_error: false };
        let (plain, with) = (request("hi", Vec::new()), request("hi", vec![page, result]));
        let tokenizer = tokenizer("gpt-4o").unwrap();
        let (with, plain) = (chat(tokenizer, &with, Estimate::default()), chat(tokenizer, &plain, Estimate::default()));
        assert_eq!(with.done().await.prompt - plain.done().await.prompt, 20_000 + 1_000);
    }

    #[test]
    fn only_exact_tokenizers_count() {
        assert!(tokenizer("ft:gpt-4o-mini:acme::1").is_some() && tokenizer("text-embedding-3-small").is_some());
        for model in ["claude-sonnet-4-5", "gemini-2.5-pro", "llama3.2", "unheard-of", ""] {
            assert!(tokenizer(model).is_none(), "{model}");
        }
    }
}
