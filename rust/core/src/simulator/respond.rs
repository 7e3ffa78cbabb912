//! What a request to OpenAI's Responses API asks for. An answer repeats most of its request, as the real ones do.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::ask::{self, Ask};

/// The fields of a request that its answer repeats, with what stands there unless the request says otherwise.
const REPEATED: [(&str, &str); 21] = [
    ("background", "false"),
    ("frequency_penalty", "0.0"),
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("presence_penalty", "0.0"),
    ("previous_response_id", "null"),
    ("prompt_cache_key", "null"),
    ("reasoning", "{\"effort\":null,\"summary\":null}"),
    ("safety_identifier", "null"),
    ("store", "true"),
    ("temperature", "1.0"),
    ("text", "{\"format\":{\"type\":\"text\"},\"verbosity\":\"medium\"}"),
    ("tool_choice", "\"auto\""),
    ("tools", "[]"),
    ("top_logprobs", "0"),
    ("top_p", "1.0"),
    ("truncation", "\"disabled\""),
    ("user", "null"),
];

/// What only the Responses API has.
#[derive(Debug, Default)]
pub(crate) struct Asked<'a> {
    /// The new part of the conversation: a text or a list of items.
    pub(crate) input: &'a str,
    /// The stored answer that the conversation goes on from.
    pub(crate) previous: Option<String>,
    /// Whether the answer is to be stored.
    pub(crate) store: bool,
    /// Whether the model is to show what it thinks.
    pub(crate) summary: bool,
    /// Whether its thinking comes in encrypted form too.
    pub(crate) encrypted: bool,
    /// The fields that the answer repeats, from the first key to the last value.
    pub(crate) repeated: String,
}

#[derive(Deserialize)]
struct Respond<'a> {
    model: String,
    #[serde(borrow)]
    input: &'a RawValue,
    stream: Option<bool>,
    max_output_tokens: Option<usize>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    tool_choice: Option<Value>,
    text: Option<Value>,
    reasoning: Option<Reasoning>,
    include: Option<Vec<String>>,
    store: Option<bool>,
    previous_response_id: Option<String>,
    prompt_cache_key: Option<String>,
}

#[derive(Deserialize)]
struct Reasoning {
    effort: Option<String>,
    summary: Option<String>,
}

/// Reads a request.
pub(crate) fn read(body: &[u8]) -> Result<Ask<'_>, serde_json::Error> {
    let given: Respond<'_> = serde_json::from_slice(body)?;
    let summary = given.reasoning.as_ref().is_some_and(|reasoning| reasoning.summary.is_some());
    let effort = given.reasoning.and_then(|reasoning| reasoning.effort).is_some_and(|effort| effort != "none");
    let wants = |what: &str| given.include.iter().flatten().any(|wanted| wanted == what);
    let input = given.input.get();
    Ok(Ask {
        model: given.model,
        stream: given.stream.unwrap_or(false),
        max_tokens: given.max_output_tokens,
        schema: given.text.and_then(|text| ask::schema(text.get("format")?)),
        tool_choice: given.tool_choice.map(|choice| ask::choice(&choice)).unwrap_or_default(),
        thinks: effort || summary,
        tools: given.tools,
        cache_key: given.prompt_cache_key.map(|key| (key, input)),
        respond: Some(Asked {
            input,
            previous: given.previous_response_id,
            store: given.store.unwrap_or(true),
            summary,
            encrypted: wants("reasoning.encrypted_content"),
            repeated: repeated(&serde_json::from_slice(body)?),
        }),
        ..Ask::default()
    })
}

fn repeated(given: &BTreeMap<String, &RawValue>) -> String {
    let said = |key: &str| given.get(key).map(|raw| raw.get()).filter(|raw| *raw != "null");
    let fields = REPEATED.iter().map(|(key, unsaid)| format!("\"{key}\":{}", said(key).unwrap_or(unsaid)));
    fields.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::ask::ToolChoice;
    use serde_json::json;

    #[test]
    fn everything_that_decides_the_answer() {
        let schema = json!({"type": "object"});
        let body = json!({
            "model": "m", "input": "hi", "stream": true, "max_output_tokens": 7, "store": false,
            "tools": [{"type": "web_search"}, {"type": "function", "name": "f", "parameters": schema}],
            "tool_choice": {"type": "function", "name": "f"}, "reasoning": {"effort": "low", "summary": "auto"},
            "include": ["reasoning.encrypted_content"], "previous_response_id": "resp_1", "prompt_cache_key": "k",
            "text": {"format": {"type": "json_schema", "name": "n", "schema": schema}},
        })
        .to_string();
        let ask = read(body.as_bytes()).unwrap();
        assert_eq!((ask.model.as_str(), ask.stream, ask.max_tokens, ask.thinks), ("m", true, Some(7), true));
        assert_eq!(ask.tool(None), Some(("f".to_owned(), schema.clone())));
        assert_eq!((ask.tool_choice, ask.schema), (ToolChoice::Named("f".to_owned()), Some(schema)));
        assert_eq!(ask.cache_key, Some(("k".to_owned(), "\"hi\"")));
        let asked = ask.respond.unwrap();
        assert_eq!((asked.previous.as_deref(), asked.store), (Some("resp_1"), false));
        assert!(asked.summary && asked.encrypted);
        let repeated: Value = serde_json::from_str(&format!("{{{}}}", asked.repeated)).unwrap();
        assert_eq!(repeated["max_output_tokens"], 7);
        assert_eq!(repeated["previous_response_id"], "resp_1");
        assert_eq!(repeated["truncation"], "disabled");
    }

    #[test]
    fn nothing_is_assumed() {
        let ask = read(br#"{"model":"m","input":[],"reasoning":{"effort":"none"},"text":{"format":{"type":"text"}}}"#);
        let ask = ask.unwrap();
        assert_eq!((ask.stream, ask.thinks, ask.schema), (false, false, None));
        let asked = ask.respond.unwrap();
        assert!(asked.store && !asked.summary && !asked.encrypted);
        for body in ["{", r#"{"model":"m"}"#, r#"{"input":"hi"}"#, r#"{"model":"m","input":"hi","stream":"x"}"#] {
            assert!(read(body.as_bytes()).is_err(), "{body}");
        }
    }
}
