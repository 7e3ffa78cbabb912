//! Which provider's format a path belongs to. Any prefix is fine, as compatible servers have all kinds.

use http::Method;

/// A provider's way of speaking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    OpenAi,
    Anthropic,
    Gemini,
    Ollama,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    Chat,
    Embed,
    /// Gemini's `:generateContent`, `:streamGenerateContent`: model and streaming stand in the path.
    Generate {
        model: String,
        stream: bool,
        sse: bool,
    },
    /// Gemini's `:embedContent` and `:batchEmbedContents`.
    EmbedContent {
        batch: bool,
    },
    Models,
}

/// Why there is no route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRoute {
    Path,
    Method,
}

/// Finds the dialect, even for paths that lead nowhere, and the operation.
pub(crate) fn route(method: &Method, path: &str, query: Option<&str>) -> (Dialect, Result<Operation, NoRoute>) {
    let path = path.trim_end_matches('/');
    let (dialect, operation) = if let Some(found) = gemini(path, query) {
        (Dialect::Gemini, found)
    } else if path.ends_with("/chat/completions") {
        (Dialect::OpenAi, Some(Operation::Chat))
    } else if path.ends_with("/embeddings") {
        (Dialect::OpenAi, Some(Operation::Embed))
    } else if path.ends_with("/messages") {
        (Dialect::Anthropic, Some(Operation::Chat))
    } else if path.ends_with("/api/chat") {
        (Dialect::Ollama, Some(Operation::Chat))
    } else if path.ends_with("/api/embed") {
        (Dialect::Ollama, Some(Operation::Embed))
    } else if path.ends_with("/models") {
        (Dialect::OpenAi, Some(Operation::Models))
    } else {
        (Dialect::OpenAi, None)
    };
    let Some(operation) = operation else { return (dialect, Err(NoRoute::Path)) };
    let wanted = if operation == Operation::Models { Method::GET } else { Method::POST };
    (dialect, if *method == wanted { Ok(operation) } else { Err(NoRoute::Method) })
}

/// `…/models/{model}:{method}`. The inner `None` is an unknown method.
fn gemini(path: &str, query: Option<&str>) -> Option<Option<Operation>> {
    let (_, last) = path.rsplit_once("/models/")?;
    let (model, method) = last.rsplit_once(':')?;
    let model = percent_encoding::percent_decode_str(model).decode_utf8_lossy().into_owned();
    Some(match method {
        "generateContent" => Some(Operation::Generate { model, stream: false, sse: false }),
        "streamGenerateContent" => {
            let sse = query.is_some_and(|query| query.split('&').any(|pair| pair == "alt=sse"));
            Some(Operation::Generate { model, stream: true, sse })
        }
        "embedContent" => Some(Operation::EmbedContent { batch: false }),
        "batchEmbedContents" => Some(Operation::EmbedContent { batch: true }),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_any_prefix() {
        for (path, dialect, operation) in [
            ("/v1/chat/completions", Dialect::OpenAi, Operation::Chat),
            ("/chat/completions", Dialect::OpenAi, Operation::Chat),
            ("/openai/deployments/x/chat/completions", Dialect::OpenAi, Operation::Chat),
            ("/api/v1/embeddings", Dialect::OpenAi, Operation::Embed),
            ("/v1/messages", Dialect::Anthropic, Operation::Chat),
            ("/api/chat", Dialect::Ollama, Operation::Chat),
            ("/proxy/api/embed", Dialect::Ollama, Operation::Embed),
            (
                "/v1beta/models/gemini-2.5-flash:generateContent",
                Dialect::Gemini,
                Operation::Generate { model: "gemini-2.5-flash".into(), stream: false, sse: false },
            ),
            ("/v1beta/models/m:batchEmbedContents", Dialect::Gemini, Operation::EmbedContent { batch: true }),
            ("/models/m:embedContent", Dialect::Gemini, Operation::EmbedContent { batch: false }),
        ] {
            assert_eq!(route(&Method::POST, path, None), (dialect, Ok(operation)), "{path}");
        }
        assert_eq!(route(&Method::GET, "/v1/models", None), (Dialect::OpenAi, Ok(Operation::Models)));
    }

    #[test]
    fn gemini_streams_by_the_path_and_sse_by_the_query() {
        let path = "/v1beta/models/a%2Fb:streamGenerateContent";
        for (query, expected) in [(Some("key=x&alt=sse"), true), (Some("alt=json"), false), (None, false)] {
            let (_, operation) = route(&Method::POST, path, query);
            assert_eq!(operation, Ok(Operation::Generate { model: "a/b".into(), stream: true, sse: expected }));
        }
    }

    #[test]
    fn what_leads_nowhere() {
        assert_eq!(route(&Method::POST, "/v2/nothing", None), (Dialect::OpenAi, Err(NoRoute::Path)));
        assert_eq!(route(&Method::POST, "/models/m:explode", None), (Dialect::Gemini, Err(NoRoute::Path)));
        assert_eq!(route(&Method::GET, "/v1/messages", None), (Dialect::Anthropic, Err(NoRoute::Method)));
    }
}
