//! OpenAI's Responses API: the sequence of its events, what a stream repeats, and conversations that go on.

use edgequake_core::simulator::{Reply, Simulator, ToolCall};
use serde_json::{Value, json};

use crate::client::{Answer, BOTH, Client, plain, post};

const PATH: &str = "/v1/responses";

fn body(more: &Value) -> Value {
    let mut body = json!({"model": "m-1", "input": "secret words"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

async fn ask(simulator: &Simulator, more: Value) -> Answer {
    post(simulator, PATH, &body(&more), "").await
}

/// What says the same in a stream and in a whole answer: everything but ids and times.
fn told(mut response: Value) -> Value {
    let fields = response.as_object_mut().unwrap();
    fields.retain(|key, _| !["id", "created_at", "completed_at"].contains(&key.as_str()));
    for item in fields["output"].as_array_mut().unwrap() {
        item.as_object_mut().unwrap().retain(|key, _| !["id", "call_id"].contains(&key.as_str()));
    }
    // The one word that the two requests differ in.
    fields["usage"].as_object_mut().unwrap().retain(|key, _| !["input_tokens", "total_tokens"].contains(&key.as_str()));
    response
}

fn everything() -> Reply {
    let call = |name: &str, arguments: &str| ToolCall { name: name.into(), arguments: arguments.into() };
    let mut reply = Reply::text("Gr\u{fc}\u{df}e, \"Welt\"\n\u{1F600}!");
    reply.overrides.thinking = Some("hm \"hm\"".to_owned());
    reply.overrides.tool_calls = Some(vec![call("f", r#"{"a": "b c"}"#), call("g", "{}")]);
    reply
}

#[tokio::test]
async fn a_stream_ends_with_what_a_whole_answer_is() {
    let simulator = plain();
    for speak in BOTH {
        let mut client = Client::new(&simulator, speak).await;
        simulator.push(everything()).unwrap();
        let whole = client.post(PATH, &body(&json!({})), "").await.json();
        assert_eq!(
            (&whole["object"], &whole["status"], &whole["model"]),
            (&json!("response"), &json!("completed"), &json!("m-1"))
        );
        simulator.push(everything()).unwrap();
        let streamed = client.post(PATH, &body(&json!({"stream": true})), "").await;
        let last = streamed.events().pop().unwrap();
        assert_eq!(last["type"], "response.completed");
        assert_eq!(told(last["response"].clone()), told(whole));
    }
}

#[tokio::test]
async fn events_are_named_and_numbered_and_come_in_order() {
    let simulator = plain();
    simulator.push(everything()).unwrap();
    let answer = ask(&simulator, json!({"stream": true})).await;
    assert_eq!(answer.header("content-type"), "text/event-stream; charset=utf-8");
    let events = answer.events();
    for (n, (frame, event)) in answer.frames().iter().zip(&events).enumerate() {
        assert_eq!(frame.lines().next().unwrap().strip_prefix("event: "), event["type"].as_str());
        assert_eq!(event["sequence_number"], n);
    }
    let mut kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    kinds.dedup();
    let call = [
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
    ];
    let expected = [
        &["response.created", "response.in_progress", "response.output_item.added"][..],
        &["response.reasoning_summary_part.added", "response.reasoning_summary_text.delta"],
        &["response.reasoning_summary_text.done", "response.reasoning_summary_part.done"],
        &["response.output_item.done", "response.output_item.added", "response.content_part.added"],
        &["response.output_text.delta", "response.output_text.done", "response.content_part.done"],
        &["response.output_item.done"],
        &call,
        &call,
        &["response.completed"],
    ];
    assert_eq!(kinds, expected.concat());
    for kind in ["output_text", "reasoning_summary_text"] {
        let of = |end: &str| {
            let kind = format!("response.{kind}.{end}");
            events.iter().filter(move |event| event["type"] == kind.as_str()).collect::<Vec<_>>()
        };
        let pieces: String = of("delta").iter().map(|event| event["delta"].as_str().unwrap()).collect();
        assert_eq!(of("done")[0]["text"], pieces.as_str());
    }
}

#[tokio::test]
async fn thinking_is_shown_only_when_its_summary_is_asked_for() {
    let simulator = plain();
    for (reasoning, include, summaries, encrypted) in [
        (json!({"effort": "low"}), json!([]), 0, false),
        (json!({"effort": "low"}), json!(["reasoning.encrypted_content"]), 0, true),
        (json!({"effort": "low", "summary": "auto"}), json!(["reasoning.encrypted_content"]), 1, true),
    ] {
        let json = ask(&simulator, json!({"reasoning": reasoning, "include": include})).await.json();
        assert_eq!(json["output"][0]["summary"].as_array().unwrap().len(), summaries);
        assert_eq!(json["output"][0].get("encrypted_content").is_some(), encrypted);
        assert_eq!(json["usage"]["output_tokens_details"]["reasoning_tokens"], 11);
        assert_eq!(json["usage"]["output_tokens"], 24 + 11);
    }
    let json = ask(&simulator, json!({"reasoning": {"effort": "none"}})).await.json();
    assert_eq!(json["output"][0]["type"], "message");
}

#[tokio::test]
async fn a_limit_on_tokens_leaves_it_incomplete() {
    let simulator = plain();
    for stream in [false, true] {
        let answer = ask(&simulator, json!({"stream": stream, "max_output_tokens": 3})).await;
        let json = if stream { answer.events().pop().unwrap()["response"].take() } else { answer.json() };
        assert_eq!((&json["status"], &json["output"][0]["status"]), (&json!("incomplete"), &json!("incomplete")));
        assert_eq!(json["incomplete_details"], json!({"reason": "max_output_tokens"}));
        assert_eq!(json["output"][0]["content"][0]["text"], "This is a");
    }
}

#[tokio::test]
async fn a_conversation_goes_on_from_a_stored_answer() {
    let simulator = plain();
    simulator.push(Reply::tool_call("f", "{}")).unwrap();
    let first = ask(&simulator, json!({})).await.json();
    let (id, call) = (first["id"].clone(), first["output"][0]["call_id"].clone());
    let result = json!([{"type": "function_call_output", "call_id": call, "output": "1"}]);
    let second = ask(&simulator, json!({"previous_response_id": id, "input": result})).await;
    assert_eq!(second.status, 200, "{}", second.text());
    let tokens = |json: &Value| json["usage"]["input_tokens"].as_u64().unwrap();
    assert!(tokens(&second.json()) > first["usage"]["total_tokens"].as_u64().unwrap());
    for (more, code) in [
        (json!({"previous_response_id": "resp_0"}), json!("previous_response_not_found")),
        (json!({"previous_response_id": id}), json!(null)),
        (json!({"input": result}), json!(null)),
    ] {
        let refused = ask(&simulator, more).await;
        assert_eq!((refused.status.as_u16(), &refused.json()["error"]["code"]), (400, &code));
    }
    let unstored = ask(&simulator, json!({"store": false})).await.json();
    assert_eq!(ask(&simulator, json!({"previous_response_id": unstored["id"]})).await.status, 400);
}

#[tokio::test]
async fn errors_as_bodies_and_as_events() {
    let simulator = plain();
    let answer = post(&simulator, PATH, &body(&json!({})), "status=429;error=insufficient_quota").await;
    assert_eq!(answer.json()["error"]["type"], "insufficient_quota");
    let answer = post(&simulator, PATH, &body(&json!({"stream": true})), "error_after=3;error_status=500").await;
    let last = answer.events().pop().unwrap();
    assert_eq!((&last["type"], &last["code"]), (&json!("error"), &json!("server_error")));
    assert_eq!(answer.frames().last().unwrap().lines().next(), Some("event: error"));
}
