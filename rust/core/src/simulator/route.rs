//! Which provider's format a path belongs to. Any prefix is fine, as compatible servers have all kinds.

use http::Method;

/// A provider's way of speaking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    OpenAi,
    /// OpenAI's Responses API. Whatever else OpenAI has is [`Dialect::OpenAi`].
    Responses,
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
    /// The list of models.
    Models,
    /// The count of a prompt's tokens.
    Count,
    /// Gemini's `cachedContents`, or one of them.
    Cached {
        verb: Verb,
        name: Option<String>,
    },
    /// A ranking of documents.
    Rerank,
}

/// What is done to a stored prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Post,
    Patch,
    Delete,
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
    if let Some(found) = cached(method, path) {
        return (Dialect::Gemini, found);
    }
    let (dialect, operation) = if let Some(found) = gemini(path, query) {
        (Dialect::Gemini, found)
    } else if path.ends_with("/chat/completions") {
        (Dialect::OpenAi, Some(Operation::Chat))
    } else if path.ends_with("/responses") {
        (Dialect::Responses, Some(Operation::Chat))
    } else if path.ends_with("/embeddings") {
        (Dialect::OpenAi, Some(Operation::Embed))
    } else if path.ends_with("/messages") {
        (Dialect::Anthropic, Some(Operation::Chat))
    } else if path.ends_with("/api/chat") {
        (Dialect::Ollama, Some(Operation::Chat))
    } else if path.ends_with("/api/embed") {
        (Dialect::Ollama, Some(Operation::Embed))
    } else if path.ends_with("/messages/count_tokens") {
        (Dialect::Anthropic, Some(Operation::Count))
    } else if path.ends_with("/rerank") {
        (Dialect::OpenAi, Some(Operation::Rerank))
    } else if path.ends_with("/api/tags") {
        (Dialect::Ollama, Some(Operation::Models))
    } else if path.ends_with("/v1beta/models") {
        (Dialect::Gemini, Some(Operation::Models))
    } else if path.ends_with("/models") {
        (Dialect::OpenAi, Some(Operation::Models))
    } else {
        (Dialect::OpenAi, None)
    };
    let Some(operation) = operation else { return (dialect, Err(NoRoute::Path)) };
    let wanted = if operation == Operation::Models { Method::GET } else { Method::POST };
    (dialect, if *method == wanted { Ok(operation) } else { Err(NoRoute::Method) })
}

/// `…/cachedContents` and what is below it.
fn cached(method: &Method, path: &str) -> Option<Result<Operation, NoRoute>> {
    let at = path.rfind("/cachedContents")?;
    let rest = path.get(at + 1..)?;
    let name = match rest.strip_prefix("cachedContents")? {
        "" => None,
        below if below.starts_with('/') && below.len() > 1 => Some(rest.to_owned()),
        _ => return None,
    };
    let verb = match (method, &name) {
        (&Method::GET, _) => Verb::Get,
        (&Method::POST, None) => Verb::Post,
        (&Method::PATCH, Some(_)) => Verb::Patch,
        (&Method::DELETE, Some(_)) => Verb::Delete,
        _ => return Some(Err(NoRoute::Method)),
    };
    Some(Ok(Operation::Cached { verb, name }))
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
        "countTokens" => Some(Operation::Count),
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
            ("/v1/responses", Dialect::Responses, Operation::Chat),
            ("/openai/v1/responses/", Dialect::Responses, Operation::Chat),
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
        for (path, dialect) in
            [("/v1/models", Dialect::OpenAi), ("/v1beta/models", Dialect::Gemini), ("/api/tags", Dialect::Ollama)]
        {
            assert_eq!(route(&Method::GET, path, None), (dialect, Ok(Operation::Models)));
        }
    }

    #[test]
    fn stored_prompts() {
        let cached = |verb, name: Option<&str>| Ok(Operation::Cached { verb, name: name.map(str::to_owned) });
        for (method, path, expected) in [
            (Method::POST, "/v1beta/cachedContents", cached(Verb::Post, None)),
            (Method::GET, "/v1beta/cachedContents", cached(Verb::Get, None)),
            (Method::PATCH, "/v1beta/cachedContents/a1", cached(Verb::Patch, Some("cachedContents/a1"))),
            (Method::DELETE, "/p/cachedContents/a1", cached(Verb::Delete, Some("cachedContents/a1"))),
            (Method::POST, "/v1beta/cachedContents/a1", Err(NoRoute::Method)),
        ] {
            assert_eq!(route(&method, path, None), (Dialect::Gemini, expected), "{method} {path}");
        }
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
