//! What the simulator remembers of the answers of OpenAI's Responses API, so that a conversation can go on from them; and
//! what that API refuses of a conversation.

use std::collections::{HashMap, VecDeque};

use serde_json::Value;

use super::{
    answer::Answer,
    dialect::{Problem, call_id},
    history::is_forged,
    respond::Asked,
};

/// More answers than this are not remembered; the oldest goes.
const MOST: usize = 10_000;

/// What a conversation that goes on has behind it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Turn {
    /// All its tokens.
    pub(crate) tokens: u64,
    /// The ids of calls that have no result yet.
    calls: Vec<String>,
}

/// What is remembered.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    turns: HashMap<String, Turn>,
    order: VecDeque<String>,
}

impl Stored {
    /// Remembers an answer, unless it was asked not to.
    pub(crate) fn keep(&mut self, asked: &Asked<'_>, answer: &Answer) {
        if !asked.store {
            return;
        }
        let tokens = answer.prompt_tokens + answer.completion_tokens();
        let calls = (0..answer.calls.len()).map(|n| call_id(answer, n)).collect();
        let id = format!("resp_{}", answer.id);
        self.turns.insert(id.clone(), Turn { tokens, calls });
        self.order.push_back(id);
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.turns.remove(&oldest);
        }
    }

    /// What the request goes on from, once its conversation is found to be one that OpenAI takes.
    pub(crate) fn before(&self, asked: &Asked<'_>) -> Result<Turn, Problem> {
        let before = match &asked.previous {
            None => Turn::default(),
            Some(id) => self.turns.get(id).cloned().ok_or_else(|| {
                let (code, param) = (Some("previous_response_not_found".to_owned()), Some("previous_response_id"));
                Problem { code, param, ..Problem::new(400, format!("Previous response with id '{id}' not found.")) }
            })?,
        };
        check(asked.input, before.calls.clone())?;
        Ok(before)
    }
}

/// Each call has its result behind it, each result its call before it, and thinking is as it came.
fn check(input: &str, mut open: Vec<String>) -> Result<(), Problem> {
    let refuse = |message: String| Err(Problem { param: Some("input"), ..Problem::new(400, message) });
    let items: Vec<Value> = serde_json::from_str(input).unwrap_or_default();
    for item in &items {
        let text = |key: &str| item.get(key).and_then(Value::as_str).unwrap_or_default();
        match text("type") {
            "function_call" => open.push(text("call_id").to_owned()),
            "function_call_output" => match open.iter().position(|id| id == text("call_id")) {
                Some(at) => drop(open.remove(at)),
                None => {
                    let id = text("call_id");
                    return refuse(format!("No tool call found for function call output with call_id {id}."));
                }
            },
            "reasoning" => {
                let summary = item.get("summary").and_then(Value::as_array).into_iter().flatten();
                let thought: String = summary.filter_map(|part| part.get("text")?.as_str()).collect();
                if !thought.is_empty() && is_forged(text("encrypted_content"), &thought) {
                    let code = Some("invalid_encrypted_content".to_owned());
                    let message = "The encrypted content of a reasoning item could not be verified.";
                    return Err(Problem { code, param: Some("input"), ..Problem::new(400, message) });
                }
            }
            _ => {}
        }
    }
    match open.first() {
        Some(id) => refuse(format!("No tool output found for function call {id}.")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::history::signature;
    use serde_json::json;

    #[test]
    fn calls_and_results_belong_together() {
        let call = json!({"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"});
        let result = json!({"type": "function_call_output", "call_id": "a", "output": "1"});
        let checked = |items: &[&Value], open: &[&str]| {
            let open = open.iter().map(|id| (*id).to_owned()).collect();
            check(&json!(items).to_string(), open).map_err(|problem| problem.message)
        };
        assert_eq!(checked(&[&call, &result], &[]), Ok(()));
        assert_eq!(checked(&[&result], &["a"]), Ok(()));
        assert!(checked(&[&result], &[]).unwrap_err().contains("No tool call found"));
        assert!(checked(&[&result, &call], &[]).is_err());
        assert!(checked(&[&call], &[]).unwrap_err().contains("No tool output found for function call a"));
        assert!(checked(&[&result], &["a", "b"]).unwrap_err().contains("function call b"));
        assert_eq!(check("\"just a text\"", Vec::new()).map_err(|problem| problem.message), Ok(()));
    }

    #[test]
    fn thinking_comes_back_as_it_was() {
        let sent = |summary: &str, encrypted: &str| {
            let summary = json!([{"type": "summary_text", "text": summary}]);
            let item = json!([{"type": "reasoning", "summary": summary, "encrypted_content": encrypted}]);
            check(&item.to_string(), Vec::new()).map_err(|problem| problem.code)
        };
        assert_eq!(sent("hm", &signature("hm")), Ok(()));
        assert_eq!(sent("hmm", &signature("hm")), Err(Some("invalid_encrypted_content".to_owned())));
        assert_eq!(sent("hmm", "of a real model"), Ok(()));
    }
}
