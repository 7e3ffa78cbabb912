//! Lists of models, counts of tokens and rankings, as each provider answers them.

use serde_json::{Value, json};

use super::{dialect::text_tokens, route::Dialect};

/// Names of all four providers.
const NAMES: [&str; 5] = ["gpt-4o-mini", "claude-haiku-4-5", "gemini-2.5-flash", "llama3.2", "text-embedding-3-small"];

/// The list of models, in one page.
pub(super) fn models(dialect: Dialect) -> String {
    let of = |prefix: &'static str| NAMES.iter().copied().filter(move |name| name.starts_with(prefix));
    let list = match dialect {
        Dialect::OpenAi | Dialect::Responses => {
            let model = |id: &&str| json!({"id": id, "object": "model", "created": 1_700_000_000, "owned_by": "edgequake-llm-simulator"});
            json!({"object": "list", "data": NAMES.iter().map(model).collect::<Vec<_>>()})
        }
        Dialect::Anthropic => {
            let model = |id: &str| {
                json!({"type": "model", "id": id, "display_name": "Claude (simulated)", "max_input_tokens": 200_000,
                    "max_tokens": 64_000, "created_at": "2025-10-15T00:00:00Z"})
            };
            let models: Vec<Value> = of("claude").map(model).collect();
            let (first, last) = (models.first().and_then(|m| m.get("id")), models.last().and_then(|m| m.get("id")));
            json!({"data": models, "has_more": false, "first_id": first, "last_id": last})
        }
        Dialect::Gemini => {
            let model = |id: &str| {
                json!({"name": format!("models/{id}"), "version": "001", "displayName": "Gemini (simulated)",
                    "inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536,
                    "supportedGenerationMethods": ["generateContent", "countTokens", "createCachedContent"]})
            };
            json!({"models": of("gemini").map(model).collect::<Vec<_>>()})
        }
        Dialect::Ollama => {
            let model = |id: &str| {
                let name = format!("{id}:latest");
                json!({"name": name, "model": name, "modified_at": "2025-05-04T17:37:44.706015396-07:00",
                    "size": 2_019_393_189_u64, "digest": "a80c4f17acd5", "details": {"format": "gguf", "family": "llama",
                    "families": ["llama"], "parameter_size": "3.2B", "quantization_level": "Q4_K_M"}})
            };
            json!({"models": of("llama").map(model).collect::<Vec<_>>()})
        }
    };
    list.to_string()
}

/// The count of a prompt's tokens.
pub(super) fn count(dialect: Dialect, body: &[u8]) -> String {
    let tokens = (body.len() as u64).div_ceil(4);
    match dialect {
        Dialect::Gemini => {
            json!({"totalTokens": tokens, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens}]})
        }
        _ => json!({"input_tokens": tokens}),
    }
    .to_string()
}

/// A ranking as Cohere and Jina give it: a document's score is the share of the query's words that it has.
///
/// # Errors
/// What a provider would complain of.
pub(super) fn rerank(body: &[u8], id: &str) -> Result<String, String> {
    let given: Value = serde_json::from_slice(body).map_err(|error| format!("invalid JSON: {error}"))?;
    let query = given.get("query").and_then(Value::as_str).ok_or("query: Field required")?;
    let documents = given.get("documents").and_then(Value::as_array).ok_or("documents: Field required")?;
    if documents.is_empty() {
        return Err("documents: at least one is required".to_owned());
    }
    let texts: Vec<&str> =
        documents.iter().map(|d| d.as_str().or_else(|| d.get("text")?.as_str()).unwrap_or_default()).collect();
    let words: Vec<String> = query.split_whitespace().map(str::to_lowercase).collect();
    let score = |text: &str| {
        let text = text.to_lowercase();
        let found = words.iter().filter(|word| text.split_whitespace().any(|other| other == word.as_str())).count();
        found as f64 / words.len().max(1) as f64
    };
    let mut ranked: Vec<(usize, f64)> = texts.iter().map(|text| score(text)).enumerate().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    let top = given.get("top_n").and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok()).unwrap_or(ranked.len());
    let results = ranked.iter().take(top).map(|(index, score)| json!({"index": index, "relevance_score": score}));
    let tokens: u64 = texts.iter().map(|text| text_tokens(text) + text_tokens(query)).sum();
    Ok(json!({
        "id": id, "model": given.get("model"), "results": results.collect::<Vec<_>>(), "usage": {"total_tokens": tokens},
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
    })
    .to_string())
}
