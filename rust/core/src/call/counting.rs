//! The prompt's tokens counted before it is sent, for the limiters, where the model's tokenizer is known.
//!
//! Counting takes some 20 ns a byte, so anything long is counted away from the I/O thread. So is the vocabulary unpacked, by
//! the first call that needs it; those that come meanwhile wait for the same one.

use super::estimate::files;
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

/// The tokens of a chat request's prompt, which are about `estimate`; `None` if they cannot be counted now.
pub(super) async fn chat(tokenizer: Tokenizer, request: &ChatRequest, estimate: u64) -> Option<u64> {
    let tools = &request.options.tools;
    loaded(tokenizer).await?;
    if estimate < LONG {
        return Some(prompt(tokenizer, &request.messages, tools));
    }
    let (messages, tools) = (request.messages.clone(), tools.clone());
    tokio::task::spawn_blocking(move || prompt(tokenizer, &messages, &tools)).await.ok()
}

fn prompt(tokenizer: Tokenizer, messages: &[impl AsRef<Message>], tools: &[Tool]) -> u64 {
    let files = messages.iter().map(|message| files(&message.as_ref().content)).sum::<u64>();
    tokenizer.count_messages(messages, tools) as u64 + files
}

/// As [`chat`], of texts to embed.
pub(super) async fn texts(tokenizer: Tokenizer, texts: &[String], estimate: u64) -> Option<u64> {
    let count = move |texts: &[String]| texts.iter().map(|text| tokenizer.count(text, None) as u64).sum();
    loaded(tokenizer).await?;
    if estimate < LONG {
        return Some(count(texts));
    }
    let texts = texts.to_vec();
    tokio::task::spawn_blocking(move || count(&texts)).await.ok()
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
            let counted = chat(tokenizer, &request, estimate).await.unwrap();
            assert_eq!(counted, tokenizer.count_messages(&request.messages, &request.options.tools) as u64);
            let all = [text.to_owned(), "é".into()];
            let each = all.iter().map(|text| tokenizer.count(text, None) as u64).sum::<u64>();
            assert_eq!(texts(tokenizer, &all, estimate).await, Some(each));
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
        let difference = chat(tokenizer, &with, 0).await.unwrap() - chat(tokenizer, &plain, 0).await.unwrap();
        assert_eq!(difference, 20_000 + 1_000);
    }

    #[test]
    fn only_exact_tokenizers_count() {
        assert!(tokenizer("ft:gpt-4o-mini:acme::1").is_some() && tokenizer("text-embedding-3-small").is_some());
        for model in ["claude-sonnet-4-5", "gemini-2.5-pro", "llama3.2", "unheard-of", ""] {
            assert!(tokenizer(model).is_none(), "{model}");
        }
    }
}
