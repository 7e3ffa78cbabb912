//! Whether a conversation sends thinking back as the real providers want it: between a tool call and its result, untouched.

use serde_json::Value;

use super::ask::field;

/// What the simulator's signatures begin with.
const PREFIX: &str = "c2ln";

/// The signature of a thought: the same for the same text.
pub(crate) fn signature(thought: &str) -> String {
    let hash = blake3::hash(thought.as_bytes());
    format!("{PREFIX}{}", hash.to_hex().get(..32).unwrap_or_default())
}

/// Whether a signature is one of ours, and not that of this thought.
pub(crate) fn is_forged(given: &str, thought: &str) -> bool {
    given.starts_with(PREFIX) && given != signature(thought)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    field(value, key).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    field(value, key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Anthropic refuses thinking that was changed, and a tool result whose call has lost the thinking before it.
pub(crate) fn check_anthropic(messages: &str, thinks: bool) -> Result<(), String> {
    if !messages.contains("\"tool_result\"") && !messages.contains("\"thinking\"") {
        return Ok(());
    }
    let messages: Vec<Value> = serde_json::from_str(messages).unwrap_or_default();
    let mut last_turn = None;
    for (n, message) in messages.iter().enumerate() {
        let content = list(message, "content");
        for block in content.iter().filter(|block| text(block, "type") == "thinking") {
            if is_forged(text(block, "signature"), text(block, "thinking")) {
                return Err(format!("messages.{n}.content.0: Invalid `signature` in `thinking` block"));
            }
        }
        if text(message, "role") == "assistant" {
            last_turn = Some((n, content));
        }
    }
    let ends_with_result = messages
        .last()
        .is_some_and(|last| list(last, "content").iter().any(|block| text(block, "type") == "tool_result"));
    match last_turn {
        Some((n, [first, ..])) if thinks && ends_with_result => match text(first, "type") {
            "thinking" | "redacted_thinking" => Ok(()),
            other => Err(format!(
                "messages.{n}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{other}`. When \
                 `thinking` is enabled, a final `assistant` message must start with a thinking block"
            )),
        },
        _ => Ok(()),
    }
}

/// Gemini wants the signature of the first call of each step back.
pub(crate) fn check_gemini(contents: &str, thinks: bool) -> Result<(), String> {
    if !thinks || !(contents.contains("\"functionResponse\"") || contents.contains("\"function_response\"")) {
        return Ok(());
    }
    let contents: Vec<Value> = serde_json::from_str(contents).unwrap_or_default();
    for (n, content) in contents.iter().enumerate().filter(|(_, content)| text(content, "role") == "model") {
        let first = list(content, "parts").iter().find(|part| field(part, "functionCall").is_some());
        if first.is_some_and(|part| text(part, "thoughtSignature").is_empty()) {
            return Err(format!(
                "Function call is missing a thought_signature in functionCall parts. Please refer to contents[{n}]"
            ));
        }
        let thought: String = list(content, "parts")
            .iter()
            .filter(|part| part.get("thought") == Some(&Value::Bool(true)))
            .map(|part| text(part, "text"))
            .collect();
        let forged = |part: &Value| !thought.is_empty() && is_forged(text(part, "thoughtSignature"), &thought);
        if list(content, "parts").iter().any(forged) {
            return Err(format!("Thought signature is not valid in contents[{n}]"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn thinking_must_come_back_before_its_calls() {
        let call = json!({"type": "tool_use", "id": "t", "name": "f", "input": {}});
        let thought = json!({"type": "thinking", "thinking": "hm", "signature": signature("hm")});
        let of = |content: &[&Value]| {
            let result = json!([{"type": "tool_result", "tool_use_id": "t", "content": "1"}]);
            json!([{"role": "user", "content": "hi"}, {"role": "assistant", "content": content},
                {"role": "user", "content": result}])
            .to_string()
        };
        assert_eq!(check_anthropic(&of(&[&thought, &call]), true), Ok(()));
        assert_eq!(check_anthropic(&of(&[&call]), false), Ok(()));
        assert!(check_anthropic(&of(&[&call]), true).unwrap_err().contains("found `tool_use`"));
        let mut forged = thought;
        forged["thinking"] = "hmm".into();
        assert!(check_anthropic(&of(&[&forged, &call]), true).unwrap_err().contains("Invalid `signature`"));
        forged["signature"] = "of a real model".into();
        assert_eq!(check_anthropic(&of(&[&forged, &call]), true), Ok(()));
    }

    #[test]
    fn calls_must_keep_their_signature() {
        let of = |call: Value| {
            json!([{"role": "model", "parts": [{"text": "hm", "thought": true}, call]},
                {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]}])
            .to_string()
        };
        let call = json!({"functionCall": {"name": "f", "args": {}}});
        assert!(check_gemini(&of(call.clone()), true).unwrap_err().contains("missing a thought_signature"));
        assert_eq!(check_gemini(&of(call.clone()), false), Ok(()));
        let other =
            of(call.clone()).replace("functionCall", "function_call").replace("functionResponse", "function_response");
        assert!(check_gemini(&other, true).is_err());
        let mut signed = call;
        signed["thoughtSignature"] = signature("hm").into();
        assert_eq!(check_gemini(&of(signed.clone()), true), Ok(()));
        signed["thoughtSignature"] = signature("other").into();
        assert!(check_gemini(&of(signed), true).is_err());
    }
}
