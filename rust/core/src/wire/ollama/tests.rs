//! Ollama's format against small bodies of our own.

use serde_json::{Value, json};

use super::*;
use crate::{
    error::ErrorKind,
    model::{
        Assembly, Event, FinishReason, Media, Message, Options, Part, Reasoning, ResponseFormat, Role, Tool,
        ToolChoice, Usage,
    },
    stream::Frame,
    wire::common::tests::{ask, call, conversation, object, parts, result},
};

/// The body of a request with these options, without its messages.
fn body(options: Options) -> Value {
    let encoded = Ollama.encode_chat(&ask(options)).unwrap();
    let mut body: Value = serde_json::from_slice(&encoded.body).unwrap();
    body.as_object_mut().unwrap().remove("messages");
    body
}

/// The messages of a request.
fn sent(messages: Vec<Message>) -> Value {
    let encoded = Ollama.encode_chat(&conversation(messages, Options::default())).unwrap();
    serde_json::from_slice::<Value>(&encoded.body).unwrap()["messages"].take()
}

fn stream(lines: &[&str]) -> Result<Assembly, Error> {
    let mut decoder = Ollama.stream_decoder();
    let mut answer = Assembly::new();
    for line in lines {
        decoder.frame(Frame::new("", line.as_bytes()), &mut answer)?;
    }
    Ok(answer)
}

fn tool() -> Tool {
    Tool { name: "f".into(), description: Some("d".into()), parameters: object(json!({})), ..Tool::default() }
}

#[test]
fn a_plain_request_says_whether_to_stream() {
    let mut request = ask(Options::default());
    let encoded = Ollama.encode_chat(&request).unwrap();
    assert_eq!(encoded.path, "/api/chat");
    assert_eq!(encoded.body, r#"{"model":"m","stream":false,"messages":[{"role":"user","content":"hi"}]}"#);
    request.stream = true;
    assert!(Ollama.encode_chat(&request).unwrap().body.starts_with(br#"{"model":"m","stream":true"#));
}

#[test]
fn every_option() {
    let options = Options {
        max_tokens: Some(9),
        temperature: Some(0.5),
        top_p: Some(0.9),
        top_k: Some(3),
        stop: vec!["END".into()],
        seed: Some(7),
        presence_penalty: Some(1.0),
        frequency_penalty: Some(-1.0),
        tools: vec![tool()],
        tool_choice: Some(ToolChoice::Auto),
        parallel_tool_calls: Some(true),
        response_format: Some(ResponseFormat::Schema {
            name: "n".into(),
            schema: json!({"type": "object"}),
            strict: None,
            fit: false,
        }),
        reasoning: Some(Reasoning::Effort("low".into())),
        extra: object(json!({"keep_alive": "5m", "options": {"num_ctx": 8192, "top_k": 40}})),
        ..Options::default()
    };
    let want = json!({
        "model": "m", "stream": false, "format": {"type": "object"}, "think": true, "keep_alive": "5m",
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}],
        "options": {"num_predict": 9, "temperature": 0.5, "top_p": 0.9, "top_k": 40, "seed": 7, "stop": ["END"],
            "presence_penalty": 1.0, "frequency_penalty": -1.0, "num_ctx": 8192},
    });
    assert_eq!(body(options), want);
}

#[test]
fn formats_thinking_and_no_tools() {
    let json = body(Options { response_format: Some(ResponseFormat::Json), ..Options::default() });
    assert_eq!(json, json!({"model": "m", "stream": false, "format": "json"}));
    assert_eq!(body(Options { reasoning: Some(Reasoning::On), ..Options::default() })["think"], true);
    for off in [Reasoning::Budget(0), Reasoning::Effort("none".into())] {
        assert_eq!(body(Options { reasoning: Some(off), ..Options::default() })["think"], false);
    }
    let mut request = ask(Options { reasoning: Some(Reasoning::Effort("low".into())), ..Options::default() });
    request.model = "gpt-oss:20b".into();
    let sent: Value = serde_json::from_slice(&Ollama.encode_chat(&request).unwrap().body).unwrap();
    assert_eq!(sent["think"], "low");
    let none = Options { tools: vec![tool()], tool_choice: Some(ToolChoice::None), ..Options::default() };
    assert_eq!(body(none), json!({"model": "m", "stream": false}));
}

#[test]
fn what_ollama_has_not_is_refused() {
    let strict = Tool { strict: Some(true), ..tool() };
    for options in [
        Options { tool_choice: Some(ToolChoice::Required), ..Options::default() },
        Options { tool_choice: Some(ToolChoice::Named("f".into())), ..Options::default() },
        Options { parallel_tool_calls: Some(false), ..Options::default() },
        Options { tools: vec![strict], ..Options::default() },
        Options { reasoning: Some(Reasoning::Budget(10)), ..Options::default() },
        Options { user: Some("u".into()), ..Options::default() },
    ] {
        let error = Ollama.encode_chat(&ask(options)).unwrap_err();
        assert_eq!((error.kind(), error.provider()), (ErrorKind::Unsupported, Some("ollama")));
    }
}

#[test]
fn a_conversation() {
    let image = |media| Part::Image { media, detail: None };
    let base64 = Media::Base64 { media_type: "image/png".into(), data: "AA".into() };
    let look = vec![
        Part::text("see"),
        image(base64.clone()),
        Part::text("this"),
        image(Media::Url("data:image/png;base64,BB".into())),
    ];
    let answer = vec![
        Part::Thinking { text: "hm".into(), signature: None },
        Part::text("on"),
        Part::Thinking { text: "!".into(), signature: None },
        Part::text("ly"),
        Part::ToolCall(call("call_0", "f", r#"{"n": 1}"#)),
        Part::ToolCall(call("", "g", "")),
    ];
    let pictures =
        Part::ToolResult { id: String::new(), name: Some("g".into()), content: vec![image(base64)], is_error: false };
    let mixed = parts(Role::User, vec![pictures, Part::text("and?")]);
    let messages = vec![
        Message::text(Role::Developer, "a"),
        parts(Role::User, look),
        parts(Role::Assistant, answer),
        result("call_0", "1"),
        mixed,
        Message::text(Role::System, "b"),
    ];
    let want = json!([
        {"role": "system", "content": "a"},
        {"role": "user", "content": "see\nthis", "images": ["AA", "BB"]},
        {"role": "assistant", "content": "only", "thinking": "hm!", "tool_calls": [
            {"id": "call_0", "function": {"name": "f", "arguments": {"n": 1}}},
            {"function": {"name": "g", "arguments": {}}},
        ]},
        {"role": "tool", "content": "1", "tool_name": "f", "tool_call_id": "call_0"},
        {"role": "tool", "content": "", "images": ["AA"], "tool_name": "g"},
        {"role": "user", "content": "and?"},
        {"role": "system", "content": "b"},
    ]);
    assert_eq!(sent(messages), want);
}

#[test]
fn messages_that_cannot_be_carried() {
    let refused = |role, part| {
        let request = conversation(vec![parts(role, vec![part])], Options::default());
        Ollama.encode_chat(&request).unwrap_err().kind()
    };
    let there = || Media::Url("https://x/y.png".into());
    assert_eq!(refused(Role::User, Part::Image { media: there(), detail: None }), ErrorKind::Unsupported);
    assert_eq!(refused(Role::User, Part::Document { media: there(), name: None }), ErrorKind::Unsupported);
    assert_eq!(refused(Role::User, Part::Audio { media: there() }), ErrorKind::Unsupported);
    assert_eq!(refused(Role::User, Part::Raw(json!({}))), ErrorKind::Unsupported);
    assert_eq!(refused(Role::Tool, Part::text("no id")), ErrorKind::InvalidRequest);
    assert_eq!(refused(Role::Assistant, Part::ToolCall(call("", "f", "{"))), ErrorKind::InvalidRequest);
}

#[test]
fn a_stream() {
    let mut answer = stream(&[
        r#"{"model":"m1","created_at":"2026","message":{"role":"assistant","content":"","thinking":"hm"},"done":false}"#,
        r#"{"model":"m1","message":{"role":"assistant","content":"Hé"},"done":false}"#,
        "",
        r#"{"model":"m1","message":{"role":"assistant","content":"llo\n"},"done":false}"#,
        r#"{"model":"m1","message":{"role":"assistant","content":"","tool_calls":[
            {"function":{"name":"f","arguments":{"a": 1}}},{"id":"x","function":{"index":1,"name":"g","arguments":"{\"b\":2}"}}]},"done":false}"#,
        r#"{"model":"m1","message":{"role":"assistant","content":"","tool_calls":[{"function":{"name":"h"}}]},"done":false}"#,
        r#"{"model":"m1","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","total_duration":9,"eval_count":5}"#,
    ])
    .unwrap();
    assert!(answer.is_ended());
    assert_eq!(answer.events().filter(|event| matches!(event, Event::Text(_))).count(), 2);
    let response = answer.into_response();
    assert_eq!((response.model.as_str(), response.text(), response.thinking()), ("m1", "Héllo\n".into(), "hm".into()));
    let calls: Vec<_> = response.tool_calls().map(|c| (c.id.as_str(), c.name.as_str(), c.arguments.as_str())).collect();
    assert_eq!(calls, [("call_0", "f", r#"{"a":1}"#), ("x", "g", r#"{"b":2}"#), ("call_2", "h", "{}")]);
    assert_eq!(response.finish_reason, Some(FinishReason::ToolCalls));
    assert_eq!(response.usage, Some(Usage { input: 0, output: 5, ..Usage::default() }));
}

#[test]
fn a_whole_answer() {
    let body = br#"{"model":"m1","message":{"role":"assistant","content":"Hi","thinking":null,"tool_calls":null},
        "done":true,"done_reason":"length","prompt_eval_count":3,"eval_count":"4"}"#;
    let response = Ollama.decode_chat(body).unwrap();
    assert_eq!((response.text(), response.finish_reason), ("Hi".into(), Some(FinishReason::Length)));
    assert_eq!(response.usage, Some(Usage { input: 3, output: 4, ..Usage::default() }));
    let old = Ollama.decode_chat(br#"{"message":{"content":"Hi"},"done":true}"#).unwrap();
    assert_eq!((old.finish_reason, old.usage), (Some(FinishReason::Stop), None));
}

#[test]
fn an_answer_cut_anywhere_is_malformed() {
    let body =
        r#" {"message":{"content":"Hé\n","tool_calls":[{"function":{"name":"f","arguments":{"a":[1]}}}]},"done":true}"#;
    assert!(Ollama.decode_chat(body.as_bytes()).is_ok());
    for cut in 0..body.len() {
        let error = Ollama.decode_chat(&body.as_bytes()[..cut]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "cut at {cut}");
    }
}

#[test]
fn bodies_that_are_no_answer() {
    for body in [
        "",
        "<html>",
        "null",
        "[]",
        "{}",
        r#"{"message":"text"}"#,
        r#"{"message":{"content":"cut"#,
        r#"{"message":{"tool_calls":[{}]}}"#,
    ] {
        let error = Ollama.decode_chat(body.as_bytes()).unwrap_err();
        assert_eq!((error.kind(), error.provider()), (ErrorKind::Malformed, Some("ollama")), "{body}");
    }
    let error = Ollama.decode_chat(br#"{"error":"model 'x' not found"}"#).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Server, "model 'x' not found"));
}

#[test]
fn errors_in_mid_stream() {
    let line = r#"{"message":{"role":"assistant","content":"Hi"},"done":false}"#;
    let error = stream(&[line, r#"{"error":"an error was encountered while running the model"}"#]).unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::Server, Some(500)));
    assert_eq!(stream(&[r#"{"error":"busy","status":503}"#]).unwrap_err().kind(), ErrorKind::Overloaded);
    assert_eq!(stream(&[line, "{\"message\":"]).unwrap_err().kind(), ErrorKind::Malformed);
    assert!(!stream(&[line]).unwrap().is_complete());
}

#[test]
fn error_bodies() {
    let error = |status, body: &str| Ollama.decode_error(status, &HeaderMap::new(), body.as_bytes());
    let missing = error(404, r#"{"error":"model 'x' not found"}"#);
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(missing.message().starts_with("model 'x' not found"), "{missing}");
    assert_eq!(error(503, r#"{"error":"server busy, please try again"}"#).kind(), ErrorKind::Overloaded);
    assert_eq!(error(400, r#"{"error":{"message":"from a proxy"}}"#).message(), "from a proxy");
    assert_eq!(error(404, "404 page not found").kind(), ErrorKind::NotFound);
}

#[test]
fn embeddings() {
    let mut request = EmbedRequest {
        model: "e".into(),
        inputs: vec!["a".into(), "b".into()],
        dimensions: Some(2),
        task_type: None,
        extra: object(json!({"truncate": false})),
    };
    let encoded = Ollama.encode_embed(&request).unwrap();
    assert_eq!(encoded.path, "/api/embed");
    assert_eq!(encoded.body, r#"{"model":"e","input":["a","b"],"dimensions":2,"truncate":false}"#);
    request.task_type = Some("x".into());
    assert_eq!(Ollama.encode_embed(&request).unwrap_err().kind(), ErrorKind::Unsupported);

    let vectors =
        Ollama.decode_embed(br#"{"model":"e1","embeddings":[[0.5,1],[2,-1e-3]],"prompt_eval_count":7}"#, 2).unwrap();
    assert_eq!((vectors.model.as_str(), vectors.dims, vectors.values), ("e1", 2, vec![0.5, 1.0, 2.0, -0.001]));
    assert_eq!(vectors.usage, Some(Usage { input: 7, ..Usage::default() }));
    for body in ["", "{}", r#"{"embeddings":[[1]]}"#, r#"{"embeddings":[[1],[1,2]]}"#, r#"{"embeddings":[1,2]}"#] {
        assert_eq!(Ollama.decode_embed(body.as_bytes(), 2).unwrap_err().kind(), ErrorKind::Malformed, "{body}");
    }
    assert_eq!(Ollama.decode_embed(br#"{"error":"no"}"#, 2).unwrap_err().kind(), ErrorKind::Server);
}
