//! What a request asks for, read leniently from its body: only what decides the answer.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    history, respond,
    route::{Dialect, Operation},
    sample,
};

/// The parts of a request that decide the answer.
#[derive(Debug, Default)]
pub(crate) struct Ask<'a> {
    pub(crate) model: String,
    pub(crate) stream: bool,
    /// OpenAI: the last chunk carries the usage.
    pub(crate) include_usage: bool,
    /// Gemini: server-sent events, rather than a JSON array sent bit by bit.
    pub(crate) sse: bool,
    pub(crate) max_tokens: Option<usize>,
    /// The schema that the answer's text must fit.
    pub(crate) schema: Option<Value>,
    pub(crate) tool_choice: ToolChoice,
    /// Whether the model thinks first, and shows it.
    pub(crate) thinks: bool,
    pub(crate) tools: Option<&'a RawValue>,
    /// What only the Responses API has.
    pub(crate) respond: Option<respond::Asked<'a>>,
    /// OpenAI's `prompt_cache_key`, with the messages that it is for.
    pub(crate) cache_key: Option<(String, &'a str)>,
    /// The stored prompt that Gemini puts in front.
    pub(crate) cached_content: Option<String>,
    /// The texts to embed.
    pub(crate) inputs: Vec<String>,
    /// Whether Gemini asked for one vector outside of a list.
    pub(crate) single: bool,
    pub(crate) dims: Option<usize>,
    pub(crate) base64: bool,
}

/// Whether the model must call a function.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum ToolChoice {
    #[default]
    Free,
    Any,
    Named(String),
}

impl Ask<'_> {
    /// A tool of the request with its parameters' schema: the one of this name, or the first.
    pub(crate) fn tool(&self, name: Option<&str>) -> Option<(String, Value)> {
        let tools: Vec<Value> = serde_json::from_str(self.tools?.get()).ok()?;
        tools.iter().flat_map(declarations).find(|(found, _)| name.is_none_or(|name| name == found))
    }
}

/// The functions in one entry of `tools`, in any provider's shape.
fn declarations(tool: &Value) -> Vec<(String, Value)> {
    let one = |tool: &Value| {
        let name = tool.get("name")?.as_str()?.to_owned();
        let schema = ["parameters", "parametersJsonSchema", "input_schema"].iter().find_map(|key| field(tool, key));
        Some((name, schema.cloned().unwrap_or(Value::Null)))
    };
    match field(tool, "functionDeclarations").and_then(Value::as_array) {
        Some(list) => list.iter().filter_map(one).collect(),
        None => one(tool.get("function").unwrap_or(tool)).into_iter().collect(),
    }
}

/// A field of Gemini's in either of its spellings: its API takes both, and its own clients mix them.
pub(super) fn field<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object.get(name).or_else(|| {
        let mut other = String::with_capacity(name.len() + 4);
        for letter in name.chars() {
            if letter.is_ascii_uppercase() {
                other.push('_');
            }
            other.push(letter.to_ascii_lowercase());
        }
        object.get(&other)
    })
}

/// Reads a request, or says what is wrong with it as a provider would.
pub(crate) fn read<'a>(dialect: Dialect, operation: &Operation, body: &'a [u8]) -> Result<Ask<'a>, String> {
    let problem = |error: serde_json::Error| format!("We could not parse the JSON body of your request: {error}");
    match operation {
        Operation::Models | Operation::Count | Operation::Cached { .. } | Operation::Rerank => Ok(Ask::default()),
        Operation::Chat if dialect == Dialect::Responses => respond::read(body).map_err(problem),
        Operation::Chat => chat(dialect, serde_json::from_slice(body).map_err(problem)?),
        Operation::Generate { model, stream, sse } => {
            let mut ask = generate(serde_json::from_slice(body).map_err(problem)?)?;
            (ask.model, ask.stream, ask.sse) = (model.clone(), *stream, *sse);
            Ok(ask)
        }
        Operation::Embed => embed(dialect, serde_json::from_slice(body).map_err(problem)?),
        Operation::EmbedContent { batch: false } => {
            let one: EmbedContent = serde_json::from_slice(body).map_err(problem)?;
            Ok(Ask {
                single: true,
                dims: one.output_dimensionality,
                inputs: vec![one.content.text()],
                ..Ask::default()
            })
        }
        Operation::EmbedContent { batch: true } => {
            let EmbedBatch { requests } = serde_json::from_slice(body).map_err(problem)?;
            if requests.len() > 100 {
                return Err("BatchEmbedContentsRequest.requests: at most 100 requests can be in one batch".to_owned());
            }
            let dims = requests.first().and_then(|request| request.output_dimensionality);
            let inputs = requests.iter().map(|request| request.content.text()).collect();
            Ok(Ask { dims, inputs, ..Ask::default() })
        }
    }
}

/// A chat request of OpenAI, Anthropic or Ollama; their fields do not collide.
#[derive(Deserialize)]
struct Chat<'a> {
    model: String,
    #[serde(borrow)]
    messages: &'a RawValue,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<usize>,
    max_completion_tokens: Option<usize>,
    options: Option<OllamaOptions>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    tool_choice: Option<Value>,
    prompt_cache_key: Option<String>,
    response_format: Option<Value>,
    output_config: Option<Value>,
    /// The same form in Anthropic's beta of 2025-11-13, which clients still send.
    output_format: Option<Value>,
    format: Option<Value>,
    thinking: Option<Value>,
    think: Option<Value>,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Deserialize)]
struct OllamaOptions {
    num_predict: Option<i64>,
}

fn chat(dialect: Dialect, body: Chat<'_>) -> Result<Ask<'_>, String> {
    if !body.messages.get().starts_with('[') {
        return Err("messages: expected an array of messages".to_owned());
    }
    if dialect == Dialect::Anthropic && body.max_tokens.is_none() {
        return Err("max_tokens: Field required".to_owned());
    }
    let thinks = match (&body.thinking, &body.think) {
        (Some(thinking), _) => thinking.get("type").is_some_and(|kind| kind == "enabled" || kind == "adaptive"),
        (None, Some(think)) => *think != Value::Bool(false) && !think.is_null(),
        (None, None) => false,
    };
    if dialect == Dialect::Anthropic {
        history::check_anthropic(body.messages.get(), thinks)?;
    }
    let num_predict = body.options.and_then(|options| usize::try_from(options.num_predict?).ok());
    Ok(Ask {
        model: body.model,
        stream: body.stream.unwrap_or(dialect == Dialect::Ollama),
        include_usage: body.stream_options.is_some_and(|options| options.include_usage),
        max_tokens: body.max_completion_tokens.or(body.max_tokens).or(num_predict),
        schema: [body.response_format, body.output_config, body.output_format, body.format]
            .into_iter()
            .flatten()
            .find_map(|given| schema(&given)),
        tool_choice: body.tool_choice.map(|given| choice(&given)).unwrap_or_default(),
        tools: body.tools,
        thinks,
        cache_key: body.prompt_cache_key.map(|key| (key, body.messages.get())),
        ..Ask::default()
    })
}

/// The schema in a `response_format` or `text` (OpenAI), an `output_config` (Anthropic) or a `format` (Ollama).
pub(super) fn schema(given: &Value) -> Option<Value> {
    let given = given.get("format").unwrap_or(given);
    if given == "json" {
        return Some(sample::any_object());
    }
    match given.get("type").and_then(Value::as_str)? {
        "json_object" => Some(sample::any_object()),
        "json_schema" => given.get("schema").or_else(|| given.get("json_schema")?.get("schema")).cloned(),
        "text" => None,
        _ => Some(given.clone()),
    }
}

pub(super) fn choice(given: &Value) -> ToolChoice {
    let name = given.get("name").or_else(|| given.get("function")?.get("name")).and_then(Value::as_str);
    match (given.as_str().or_else(|| given.get("type")?.as_str()), name) {
        (Some("required" | "any"), _) => ToolChoice::Any,
        (Some("function" | "tool"), Some(name)) => ToolChoice::Named(name.to_owned()),
        _ => ToolChoice::Free,
    }
}

/// Gemini's fields have two spellings, as [`field`] knows.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Generate<'a> {
    #[serde(borrow)]
    contents: &'a RawValue,
    #[serde(alias = "generation_config")]
    generation_config: Option<GenerationConfig>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(alias = "tool_config")]
    tool_config: Option<Value>,
    #[serde(alias = "cached_content")]
    cached_content: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GenerationConfig {
    #[serde(alias = "max_output_tokens")]
    max_output_tokens: Option<usize>,
    #[serde(alias = "response_mime_type")]
    response_mime_type: Option<String>,
    #[serde(alias = "response_schema")]
    response_schema: Option<Value>,
    #[serde(alias = "response_json_schema")]
    response_json_schema: Option<Value>,
    #[serde(alias = "thinking_config")]
    thinking_config: Option<Value>,
}

fn generate(body: Generate<'_>) -> Result<Ask<'_>, String> {
    let calling = body.tool_config.as_ref().and_then(|config| field(config, "functionCallingConfig"));
    let forced = calling.and_then(|calling| calling.get("mode")).is_some_and(|mode| mode == "ANY");
    let name = calling.and_then(|calling| field(calling, "allowedFunctionNames")?.get(0)?.as_str());
    let tool_choice = match (forced, name) {
        (false, _) => ToolChoice::Free,
        (true, None) => ToolChoice::Any,
        (true, Some(name)) => ToolChoice::Named(name.to_owned()),
    };
    let config = body.generation_config;
    let thinking = config.as_ref().and_then(|config| config.thinking_config.as_ref());
    let thinks = thinking.is_some_and(|thinking| field(thinking, "includeThoughts") == Some(&Value::Bool(true)));
    history::check_gemini(body.contents.get(), thinks)?;
    let max_tokens = config.as_ref().and_then(|config| config.max_output_tokens);
    let schema = config.filter(|config| config.response_mime_type.as_deref() == Some("application/json"));
    let schema =
        schema.map(|config| config.response_schema.or(config.response_json_schema).unwrap_or_else(sample::any_object));
    let cached_content = body.cached_content;
    Ok(Ask { max_tokens, schema, tool_choice, tools: body.tools, thinks, cached_content, ..Ask::default() })
}

#[derive(Deserialize)]
struct Embed<'a> {
    model: String,
    #[serde(borrow)]
    input: &'a RawValue,
    dimensions: Option<usize>,
    encoding_format: Option<String>,
}

fn embed(dialect: Dialect, body: Embed<'_>) -> Result<Ask<'_>, String> {
    let inputs = inputs(body.input.get()).ok_or("input: expected a text, a list of texts, or tokens")?;
    if dialect == Dialect::OpenAi {
        if inputs.is_empty() || inputs.len() > 2048 {
            return Err("Invalid 'input': expected from 1 to 2048 inputs".to_owned());
        }
        if inputs.iter().any(String::is_empty) {
            return Err("Invalid 'input': input cannot be an empty string".to_owned());
        }
    }
    Ok(Ask {
        model: body.model,
        inputs,
        dims: body.dimensions,
        base64: body.encoding_format.as_deref() == Some("base64"),
        ..Ask::default()
    })
}

/// A text, a list of texts, a list of tokens, or a list of lists of tokens. Tokens stand for themselves as text.
fn inputs(raw: &str) -> Option<Vec<String>> {
    if raw.starts_with('"') {
        return Some(vec![serde_json::from_str(raw).ok()?]);
    }
    let items: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
    match items.first().and_then(|item| item.get().chars().next()) {
        Some('0'..='9') => Some(vec![raw.to_owned()]),
        Some('[') => Some(items.iter().map(|item| item.get().to_owned()).collect()),
        _ => items.iter().map(|item| serde_json::from_str(item.get()).ok()).collect(),
    }
}

#[derive(Deserialize)]
struct EmbedBatch {
    requests: Vec<EmbedContent>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EmbedContent {
    content: Content,
    #[serde(alias = "output_dimensionality")]
    output_dimensionality: Option<usize>,
}

#[derive(Deserialize)]
struct Content {
    parts: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    text: String,
}

impl Content {
    fn text(&self) -> String {
        self.parts.iter().map(|part| part.text.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn asked<T>(dialect: Dialect, operation: &Operation, body: &Value, look: impl Fn(Ask<'_>) -> T) -> T {
        look(read(dialect, operation, body.to_string().as_bytes()).unwrap())
    }

    #[test]
    fn streaming_is_the_default_only_in_ollama() {
        let body = json!({"model": "m", "messages": [], "max_tokens": 5});
        for (dialect, expected) in [(Dialect::OpenAi, false), (Dialect::Anthropic, false), (Dialect::Ollama, true)] {
            assert_eq!(asked(dialect, &Operation::Chat, &body, |ask| ask.stream), expected);
        }
    }

    #[test]
    fn a_forced_tool_in_every_shape() {
        let schema = json!({"type": "object"});
        let generate = Operation::Generate { model: "m".into(), stream: false, sse: false };
        for (dialect, operation, rest, choice) in [
            (
                Dialect::OpenAi,
                &Operation::Chat,
                json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}],
                       "tool_choice": "required"}),
                ToolChoice::Any,
            ),
            (
                Dialect::OpenAi,
                &Operation::Chat,
                json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}],
                       "tool_choice": {"type": "function", "function": {"name": "f"}}}),
                ToolChoice::Named("f".into()),
            ),
            (
                Dialect::Anthropic,
                &Operation::Chat,
                json!({"max_tokens": 1, "tools": [{"name": "f", "input_schema": schema}],
                       "tool_choice": {"type": "tool", "name": "f"}}),
                ToolChoice::Named("f".into()),
            ),
            (
                Dialect::Gemini,
                &generate,
                json!({"tools": [{"functionDeclarations": [{"name": "f", "parameters": schema}]}],
                       "toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}),
                ToolChoice::Any,
            ),
        ] {
            let mut body = json!({"model": "m", "messages": [], "contents": []});
            body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            let (found, tool) = asked(dialect, operation, &body, |ask| (ask.tool(None), ask.tool_choice));
            assert_eq!(found, Some(("f".to_owned(), schema.clone())));
            assert_eq!(tool, choice);
        }
    }

    #[test]
    fn a_schema_in_every_shape() {
        let schema = json!({"type": "object", "properties": {}});
        for (dialect, key, given) in [
            (Dialect::OpenAi, "response_format", json!({"type": "json_schema", "json_schema": {"schema": schema}})),
            (Dialect::Anthropic, "output_config", json!({"format": {"type": "json_schema", "schema": schema}})),
            (Dialect::Anthropic, "output_format", json!({"type": "json_schema", "schema": schema})),
            (Dialect::Ollama, "format", schema.clone()),
        ] {
            let body = json!({"model": "m", "messages": [], "max_tokens": 1, key: given});
            assert_eq!(asked(dialect, &Operation::Chat, &body, |ask| ask.schema), Some(schema.clone()), "{key}");
        }
        let text = json!({"model": "m", "messages": [], "response_format": {"type": "text"}});
        assert_eq!(asked(Dialect::OpenAi, &Operation::Chat, &text, |ask| ask.schema), None);
    }

    #[test]
    fn gemini_takes_either_spelling() {
        let generate = Operation::Generate { model: "m".into(), stream: false, sse: false };
        let other = |name: &str| {
            let snake =
                name.chars().flat_map(|c| if c.is_uppercase() { vec!['_', c.to_ascii_lowercase()] } else { vec![c] });
            snake.collect::<String>()
        };
        for spell in [|name: &str| name.to_owned(), other] {
            let body = json!({
                "contents": [],
                spell("generationConfig"): {
                    spell("maxOutputTokens"): 3,
                    spell("responseMimeType"): "application/json",
                    spell("thinkingConfig"): {spell("includeThoughts"): true},
                },
                "tools": [{spell("functionDeclarations"): [{"name": "f", spell("parametersJsonSchema"): {"type": "object"}}]}],
                spell("toolConfig"): {
                    spell("functionCallingConfig"): {"mode": "ANY", spell("allowedFunctionNames"): ["f"]},
                },
            });
            asked(Dialect::Gemini, &generate, &body, |ask| {
                assert_eq!((ask.max_tokens, ask.schema.is_some(), ask.thinks), (Some(3), true, true), "{body}");
                assert_eq!(ask.tool(None), Some(("f".to_owned(), json!({"type": "object"}))));
                assert_eq!(ask.tool_choice, ToolChoice::Named("f".to_owned()));
            });
        }
    }

    #[test]
    fn inputs_of_all_kinds() {
        for (raw, expected) in [
            (r#""a\n""#, vec!["a\n"]),
            (r#"["a","b"]"#, vec!["a", "b"]),
            ("[1,2]", vec!["[1,2]"]),
            ("[[1],[2,3]]", vec!["[1]", "[2,3]"]),
            ("[]", vec![]),
        ] {
            assert_eq!(inputs(raw).unwrap(), expected, "{raw}");
        }
        assert_eq!(inputs("7"), None);
    }

    #[test]
    fn bad_requests_are_refused() {
        for (dialect, operation, body) in [
            (Dialect::OpenAi, &Operation::Chat, "{"),
            (Dialect::OpenAi, &Operation::Chat, r#"{"model":"m"}"#),
            (Dialect::OpenAi, &Operation::Chat, r#"{"model":"m","messages":{}}"#),
            (Dialect::Anthropic, &Operation::Chat, r#"{"model":"m","messages":[]}"#),
            (Dialect::OpenAi, &Operation::Embed, r#"{"model":"m","input":""}"#),
            (Dialect::Gemini, &Operation::EmbedContent { batch: true }, "{}"),
        ] {
            assert!(read(dialect, operation, body.as_bytes()).is_err(), "{body}");
        }
        let many = json!({"model": "m", "input": vec!["x"; 2049]}).to_string();
        assert!(read(Dialect::OpenAi, &Operation::Embed, many.as_bytes()).is_err());
        assert!(read(Dialect::Ollama, &Operation::Embed, many.as_bytes()).is_ok());
    }
}
