//! The lists of models, in every dialect by one reader: what one server says does not harm another's list.
//!
//! Servers tell much or little. What they do not tell is `None` or empty, never a guess.

use serde_json::Value;

use super::body::malformed;
use crate::error::Error;

/// What a server tells about one of its models.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelInfo {
    /// The name that calls use.
    pub id: String,
    /// The name for people.
    pub name: Option<String>,
    /// When it was made or published, in seconds since 1970.
    pub created: Option<i64>,
    /// Who made it.
    pub owner: Option<String>,
    /// Tokens of prompt and answer together, or of the prompt where the server counts it apart.
    pub context_window: Option<u64>,
    /// The longest answer in tokens.
    pub max_output_tokens: Option<u64>,
    /// What it can do, in common words: `chat`, `embeddings`, `tools`, `vision`, `audio`, `reasoning`, `json`.
    pub capabilities: Vec<&'static str>,
    /// The entry as it came.
    pub raw: Value,
}

/// One page of a list.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelPage {
    /// The models, in the server's order.
    pub models: Vec<ModelInfo>,
    /// What names the next page; `None` on the last one.
    pub next: Option<String>,
}

/// The servers' words for what a model can do, and the common ones.
const WORDS: [(&str, &str); 25] = [
    ("completion", "chat"),
    ("completion_chat", "chat"),
    ("chat", "chat"),
    ("text-generation", "chat"),
    ("generateContent", "chat"),
    ("llm", "chat"),
    ("language", "chat"),
    ("embedding", "embeddings"),
    ("embeddings", "embeddings"),
    ("embedContent", "embeddings"),
    ("tools", "tools"),
    ("tool_use", "tools"),
    ("function_calling", "tools"),
    ("vision", "vision"),
    ("image", "vision"),
    ("image_input", "vision"),
    ("vlm", "vision"),
    ("audio", "audio"),
    ("reasoning", "reasoning"),
    ("thinking", "reasoning"),
    ("effort", "reasoning"),
    ("response_format", "json"),
    ("structured_outputs", "json"),
    ("structured_output", "json"),
    ("json_mode", "json"),
];

/// Where servers name what a model can do: a word, a list of words, or an object of flags.
const CAPABILITIES: [&str; 7] = [
    "/capabilities",
    "/supportedGenerationMethods",
    "/supported_parameters",
    "/architecture/input_modalities",
    "/input_modalities",
    "/type",
    "/thinking",
];

fn text(value: &Value, places: &[&str]) -> Option<String> {
    let found = places.iter().filter_map(|place| value.pointer(place)).find_map(Value::as_str);
    found.filter(|text| !text.is_empty()).map(str::to_owned)
}

fn number(value: &Value, places: &[&str]) -> Option<u64> {
    places.iter().filter_map(|place| value.pointer(place)).find_map(Value::as_u64).filter(|number| *number > 0)
}

/// Reads a page of a list.
///
/// # Errors
/// [`ErrorKind::Malformed`](crate::ErrorKind::Malformed) if the answer is no list of models.
pub fn decode(provider: &'static str, body: &[u8]) -> Result<ModelPage, Error> {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let list = [value.get("data"), value.get("models"), Some(&value)];
    let Some(list) = list.into_iter().flatten().find_map(Value::as_array) else {
        return Err(malformed(provider, "the answer is no list of models", body));
    };
    let more = value.get("has_more").and_then(Value::as_bool) == Some(true);
    let next = text(&value, &["/nextPageToken"]).or_else(|| text(&value, &["/last_id"]).filter(|_| more));
    Ok(ModelPage { models: list.iter().filter_map(model).collect(), next })
}

/// One entry; `None` if it has no name.
fn model(entry: &Value) -> Option<ModelInfo> {
    let id = text(entry, &["/id", "/name", "/model"])?;
    let created = entry.get("created").or_else(|| entry.get("created_at"));
    let moment = text(entry, &["/created_at", "/modified_at"]);
    Some(ModelInfo {
        // Gemini's names stand below a folder that calls leave out.
        id: id.strip_prefix("models/").map_or(id.clone(), str::to_owned),
        name: text(entry, &["/display_name", "/displayName", "/name"]).filter(|name| *name != id),
        created: created.and_then(Value::as_i64).filter(|at| *at > 0).or_else(|| moment.as_deref().and_then(seconds)),
        owner: text(entry, &["/owned_by", "/organization", "/publisher"]),
        context_window: number(
            entry,
            &[
                "/context_window",
                "/context_length",
                "/max_context_length",
                "/inputTokenLimit",
                "/max_input_tokens",
                "/max_model_len",
                "/meta/n_ctx_train",
            ],
        ),
        max_output_tokens: number(
            entry,
            &[
                "/max_completion_tokens",
                "/top_provider/max_completion_tokens",
                "/outputTokenLimit",
                "/max_output_tokens",
                "/max_tokens",
            ],
        ),
        capabilities: capabilities(entry),
        raw: entry.clone(),
    })
}

fn seconds(moment: &str) -> Option<i64> {
    let since = super::status::parse_rfc3339(moment)?.duration_since(std::time::SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

fn capabilities(entry: &Value) -> Vec<&'static str> {
    let mut found = Vec::new();
    let mut add = |word: &str| {
        let common = WORDS.iter().find(|(theirs, _)| *theirs == word).map(|(_, common)| *common);
        if let Some(common) = common
            && !found.contains(&common)
        {
            found.push(common);
        }
    };
    for place in CAPABILITIES {
        match entry.pointer(place) {
            Some(Value::String(word)) => add(word),
            Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).for_each(&mut add),
            Some(Value::Object(flags)) => {
                flags.iter().filter(|(_, flag)| says_yes(flag)).for_each(|(word, _)| add(word))
            }
            Some(Value::Bool(true)) => add(place.trim_start_matches('/')),
            _ => {}
        }
    }
    found
}

/// `true`, or Anthropic's `{"supported": true, …}`.
fn says_yes(flag: &Value) -> bool {
    flag.as_bool().or_else(|| flag.get("supported")?.as_bool()) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn one(value: Value) -> ModelInfo {
        decode("x", value.to_string().as_bytes()).unwrap().models.remove(0)
    }

    #[test]
    fn entries_of_every_dialect() {
        let openai = one(
            json!({"object": "list", "data": [{"id": "gpt-4o", "object": "model", "created": 1715367049, "owned_by": "system"}]}),
        );
        assert_eq!(
            (openai.id.as_str(), openai.created, openai.owner.as_deref()),
            ("gpt-4o", Some(1_715_367_049), Some("system"))
        );
        assert_eq!((openai.context_window, openai.capabilities.len()), (None, 0));
        let anthropic = one(json!({"data": [{"type": "model", "id": "claude-x", "display_name": "Claude X",
            "created_at": "2025-02-19T00:00:00Z", "max_input_tokens": 200_000, "max_tokens": 64_000,
            "capabilities": {"image_input": {"supported": true}, "thinking": {"supported": false}}}], "has_more": false}));
        assert_eq!((anthropic.name.as_deref(), anthropic.created), (Some("Claude X"), Some(1_739_923_200)));
        assert_eq!((anthropic.context_window, anthropic.max_output_tokens), (Some(200_000), Some(64_000)));
        assert_eq!(anthropic.capabilities, ["vision"]);
        let gemini = one(
            json!({"models": [{"name": "models/gemini-x", "displayName": "Gemini X", "inputTokenLimit": 1_048_576,
            "outputTokenLimit": 65_536, "supportedGenerationMethods": ["generateContent", "countTokens"], "thinking": true}]}),
        );
        assert_eq!((gemini.id.as_str(), gemini.context_window), ("gemini-x", Some(1_048_576)));
        assert_eq!(gemini.capabilities, ["chat", "reasoning"]);
        let ollama = one(json!({"models": [{"name": "llama3.2:latest", "model": "llama3.2:latest",
            "modified_at": "2025-05-04T17:37:44.706015396-07:00", "details": {"family": "llama"}}]}));
        assert_eq!((ollama.id.as_str(), ollama.name, ollama.created), ("llama3.2:latest", None, Some(1_746_405_464)));
        let openrouter = one(json!({"data": [{"id": "a/b", "name": "A: B", "context_length": 8192,
            "architecture": {"input_modalities": ["text", "image"]}, "top_provider": {"max_completion_tokens": 1024},
            "supported_parameters": ["tools", "reasoning", "temperature"]}]}));
        assert_eq!((openrouter.context_window, openrouter.max_output_tokens), (Some(8192), Some(1024)));
        assert_eq!(openrouter.capabilities, ["tools", "reasoning", "vision"]);
        let together = one(
            json!([{"id": "m", "type": "chat", "display_name": "M", "organization": "Meta", "context_length": 4096}]),
        );
        assert_eq!((together.capabilities, together.owner.as_deref()), (vec!["chat"], Some("Meta")));
        let mistral = one(json!({"data": [{"id": "m", "max_context_length": 32768,
            "capabilities": {"completion_chat": true, "function_calling": true, "vision": false}}]}));
        assert_eq!((mistral.context_window, mistral.capabilities), (Some(32_768), vec!["chat", "tools"]));
        let llama = one(json!({"data": [{"id": "m", "meta": {"n_ctx_train": 2048}}]}));
        assert_eq!(llama.context_window, Some(2048));
    }

    #[test]
    fn pages_and_what_is_no_list() {
        let page = |value: Value| decode("x", value.to_string().as_bytes());
        assert_eq!(page(json!({"models": [], "nextPageToken": "t"})).unwrap().next.as_deref(), Some("t"));
        assert_eq!(page(json!({"data": [], "has_more": true, "last_id": "a"})).unwrap().next.as_deref(), Some("a"));
        assert_eq!(page(json!({"data": [], "has_more": false, "last_id": "a"})).unwrap().next, None);
        assert_eq!(page(json!({"data": [{"object": "model"}, 3]})).unwrap().models, []);
        for value in [json!({"error": "x"}), json!("x"), json!(null)] {
            assert_eq!(page(value).unwrap_err().kind(), crate::ErrorKind::Malformed);
        }
    }
}
