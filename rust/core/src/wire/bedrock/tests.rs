//! Converse against small bodies of our own.

use serde_json::json;

use super::*;
use crate::{
    model::{
        Assembly, CacheControl, FinishReason, Media, Message, Options, Part, Reasoning, ResponseFormat, Role, Tool,
        ToolChoice,
    },
    stream::Frame,
    wire::common::tests::{ask, call, conversation, object, parts, result},
};

const CLAUDE: &str = "us.anthropic.claude-haiku-4-5-20251001-v1:0";

/// The body of a request to this model with these options, without its messages.
fn body(model: &str, options: Options) -> Result<Value, Error> {
    let encoded = Bedrock.encode_chat(&ChatRequest { model: model.into(), ..ask(options) })?;
    let mut body: Value = serde_json::from_slice(&encoded.body).unwrap();
    body.as_object_mut().unwrap().remove("messages");
    Ok(body)
}

/// The messages of a request, as they are sent.
fn sent(messages: Vec<Message>) -> Value {
    let encoded = Bedrock.encode_chat(&conversation(messages, Options::default())).unwrap();
    serde_json::from_slice(&encoded.body).unwrap()
}

fn stream(events: &[(&str, &str)]) -> Result<Assembly, Error> {
    let (mut decoder, mut answer) = (Bedrock.stream_decoder(), Assembly::new());
    for (event, data) in events {
        let fault = event.ends_with("Exception");
        decoder.frame(Frame { event, data: data.as_bytes(), fault }, &mut answer)?;
    }
    Ok(answer)
}

#[test]
fn a_plain_request() {
    let mut request = ask(Options::default());
    assert_eq!(Bedrock.encode_chat(&request).unwrap().path, "/model/m/converse");
    "arn:aws:bedrock:us-east-1:1:inference-profile/us.a-b_c~d".clone_into(&mut request.model);
    request.stream = true;
    let encoded = Bedrock.encode_chat(&request).unwrap();
    let id = "arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.a-b_c~d";
    assert_eq!(encoded.path, format!("/model/{id}/converse-stream"));
    assert_eq!(encoded.body, r#"{"messages":[{"role":"user","content":[{"text":"hi"}]}]}"#);
    for nowhere in ["", ".", ".."] {
        nowhere.clone_into(&mut request.model);
        assert_eq!(Bedrock.encode_chat(&request).unwrap_err().kind(), ErrorKind::InvalidRequest);
    }
}

#[test]
fn every_option() {
    let mark = CacheControl { ttl: Some("1h".into()) };
    let tool = Tool { name: "f".into(), parameters: object(json!({"x": 1})), strict: Some(true), ..Tool::default() };
    let options = Options {
        max_tokens: Some(3_000),
        temperature: Some(0.5),
        top_p: Some(0.9),
        top_k: Some(40),
        stop: vec!["END".into()],
        metadata: vec![("team".into(), "a".into())],
        tools: vec![tool, Tool { raw: Some(json!({"systemTool": {"name": "s"}})), ..Tool::default() }],
        tool_choice: Some(ToolChoice::Required),
        reasoning: Some(Reasoning::Budget(2_000)),
        cache_tools: Some(mark),
        extra: object(json!({"inferenceConfig": {"topP": 0.1}, "serviceTier": {"type": "flex"}})),
        ..Options::default()
    };
    assert_eq!(
        body(CLAUDE, options).unwrap(),
        json!({
            "toolConfig": {
                "tools": [
                    {"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object", "x": 1}}, "strict": true}},
                    {"systemTool": {"name": "s"}},
                    {"cachePoint": {"type": "default", "ttl": "1h"}},
                ],
                "toolChoice": {"any": {}},
            },
            "inferenceConfig": {"maxTokens": 3000, "temperature": 0.5, "topP": 0.1, "stopSequences": ["END"]},
            "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 2000}, "top_k": 40},
            "requestMetadata": {"team": "a"},
            "serviceTier": {"type": "flex"},
        })
    );
}

#[test]
fn what_there_is_not_is_refused() {
    let none = Options::default;
    let tools = || vec![Tool { name: "f".into(), ..Tool::default() }];
    for (options, names) in [
        (Options { seed: Some(1), ..none() }, "seed"),
        (Options { user: Some("u".into()), ..none() }, "user"),
        (Options { frequency_penalty: Some(1.0), ..none() }, "frequency_penalty"),
        (Options { top_k: Some(1), ..none() }, "top_k"),
        (Options { reasoning: Some(Reasoning::On), ..none() }, "reasoning"),
        (Options { response_format: Some(ResponseFormat::Json), ..none() }, "response_format"),
        (Options { parallel_tool_calls: Some(false), ..none() }, "parallel_tool_calls"),
        (Options { tools: tools(), tool_choice: Some(ToolChoice::None), ..none() }, "tool_choice"),
    ] {
        let error = body("meta.llama3-1-8b-instruct-v1:0", options).unwrap_err();
        assert_eq!((error.kind(), error.param(), error.provider()), (ErrorKind::Unsupported, Some(names), Some(NAME)));
    }
    let most = Options { max_tokens: Some(2_000), reasoning: Some(Reasoning::Budget(2_000)), ..none() };
    let error = body(CLAUDE, most).unwrap_err();
    assert_eq!((error.kind(), error.provider()), (ErrorKind::InvalidRequest, Some(NAME)), "{error}");
}

#[test]
fn turns_and_their_blocks() {
    let thought = Part::Thinking { text: "hm".into(), signature: Some("sig".into()) };
    let unsigned = Part::Thinking { text: "hm".into(), signature: None };
    let document = |name: Option<&str>| Part::Document {
        media: Media::Base64 { media_type: "text/plain".into(), data: "aGk=".into() },
        name: name.map(str::to_owned),
    };
    let mut marked = Message::text(Role::User, "more");
    marked.cache = Some(CacheControl { ttl: None });
    let body = sent(vec![
        Message::text(Role::System, "a"),
        parts(Role::User, vec![document(None), document(None), Part::text(""), Part::text("see")]),
        parts(
            Role::Assistant,
            vec![
                thought,
                unsigned,
                Part::RedactedThinking { data: "ZGF0YQ==".into() },
                Part::ToolCall(call("t1", "f", "{\"a\": 1}")),
                Part::ToolCall(call("t2", "g", "")),
            ],
        ),
        result("t1", "one"),
        result("t2", "two"),
        marked,
        Message::text(Role::Developer, "b"),
    ]);
    let document = |name| json!({"document": {"format": "txt", "name": name, "source": {"bytes": "aGk="}}});
    let answered = |id, text| json!({"toolResult": {"toolUseId": id, "content": [{"text": text}]}});
    assert_eq!(
        body,
        json!({
            "system": [{"text": "a"}, {"text": "b"}],
            "messages": [
                {"role": "user", "content": [document("document"), document("document (2)"), {"text": "see"}]},
                {"role": "assistant", "content": [
                    {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
                    {"reasoningContent": {"redactedContent": "ZGF0YQ=="}},
                    {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": 1}}},
                    {"toolUse": {"toolUseId": "t2", "name": "g", "input": {}}},
                ]},
                {"role": "user", "content": [
                    answered("t1", "one"),
                    answered("t2", "two"),
                    {"text": "more"},
                    {"cachePoint": {"type": "default"}},
                ]},
            ],
        })
    );
}

#[test]
fn marks_that_are_too_many_name_the_provider() {
    let marked = |_| {
        let mut message = Message::text(Role::User, "x");
        message.cache = Some(CacheControl { ttl: None });
        message
    };
    let error = Bedrock.encode_chat(&conversation((0..5).map(marked).collect(), Options::default())).unwrap_err();
    assert_eq!((error.param(), error.provider()), (Some("cache_control"), Some(NAME)));
}

#[test]
fn a_count_asks_for_the_prompt_alone() {
    let extra = object(json!({"guardrailConfig": {}, "system": [{"text": "s"}]}));
    let request = ask(Options { max_tokens: Some(5), temperature: Some(0.1), extra, ..Options::default() });
    let asked = Bedrock.count_tokens(&request).unwrap();
    assert_eq!(asked.path, "/model/m/count-tokens");
    let want =
        r#"{"input":{"converse":{"messages":[{"role":"user","content":[{"text":"hi"}]}],"system":[{"text":"s"}]}}}"#;
    assert_eq!(asked.body, want);
    assert_eq!(Bedrock.decode_count(b"{\"inputTokens\":7}").unwrap(), 7);
}

#[test]
fn hidden_thinking_keeps_its_own_signature() {
    let piece = |index: u8, delta: &str| {
        ("contentBlockDelta", format!(r#"{{"contentBlockIndex":{index},"delta":{{"reasoningContent":{delta}}}}}"#))
    };
    let events = [
        piece(0, r#"{"text":"hm"}"#),
        piece(0, r#"{"signature":"a"}"#),
        piece(0, r#"{"signature":"b"}"#),
        piece(1, r#"{"signature":"c"}"#),
        piece(1, r#"{"signature":"d"}"#),
    ];
    let events: Vec<_> = events.iter().map(|(event, data)| (*event, data.as_str())).collect();
    let thinking =
        |text: &str, signature: &str| Part::Thinking { text: text.into(), signature: Some(signature.into()) };
    assert_eq!(stream(&events).unwrap().into_response().parts, [thinking("hm", "ab"), thinking("", "cd")]);
}

#[test]
fn ends_of_streams() {
    let stop = ("messageStop", r#"{"stopReason":"max_tokens"}"#);
    let usage = ("metadata", r#"{"usage":{"inputTokens":1,"outputTokens":2}}"#);
    let answer = stream(&[stop]).unwrap();
    assert!(answer.is_complete() && !answer.is_ended());
    let answer = stream(&[stop, usage]).unwrap();
    assert!(answer.is_ended());
    assert_eq!(answer.into_response().finish_reason, Some(FinishReason::Length));
    assert!(!stream(&[usage]).unwrap().is_complete(), "usage alone is no end");
}

#[test]
fn events_that_are_none() {
    for (event, data) in [
        ("contentBlockDelta", "{\"delta\":"),
        ("contentBlockDelta", "[]"),
        ("contentBlockDelta", r#"{"delta":7}"#),
        ("contentBlockStart", r#"{"start":{"toolUse":7}}"#),
        ("metadata", ""),
    ] {
        assert_eq!(stream(&[(event, data)]).unwrap_err().kind(), ErrorKind::Malformed, "{event} {data}");
    }
    for (event, data) in [("initial-response", "{}"), ("newEvent", "no JSON"), ("contentBlockDelta", "{}")] {
        assert!(stream(&[(event, data)]).is_ok(), "{event} {data}");
    }
}

#[test]
fn pictures_in_pieces_are_passed_through() {
    let events = [
        ("contentBlockStart", r#"{"contentBlockIndex":0,"start":{"image":{"format":"png"}}}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"image":{"source":{"bytes":"aGk="}}}}"#),
        ("messageStop", r#"{"stopReason":"end_turn"}"#),
    ];
    let whole = json!({"image": {"format": "png", "source": {"bytes": "aGk="}}});
    assert_eq!(stream(&events).unwrap().into_response().parts, [Part::Raw(whole)]);
}

#[test]
fn exceptions_by_name() {
    for (name, kind, status, retryable) in [
        ("validationException", ErrorKind::InvalidRequest, 400, false),
        ("accessDeniedException", ErrorKind::PermissionDenied, 403, false),
        ("resourceNotFoundException", ErrorKind::NotFound, 404, false),
        ("modelTimeoutException", ErrorKind::Api, 408, true),
        ("modelStreamErrorException", ErrorKind::Server, 424, true),
        ("modelErrorException", ErrorKind::Server, 424, false),
        ("throttlingException", ErrorKind::RateLimit, 429, true),
        ("internalServerException", ErrorKind::Server, 500, true),
        ("serviceUnavailableException", ErrorKind::Overloaded, 503, true),
    ] {
        let error = stream(&[(name, r#"{"message":"m"}"#)]).unwrap_err();
        assert_eq!((error.kind(), error.status(), error.retryable()), (kind, Some(status), retryable), "{name}");
        assert_eq!(error.error_type(), Some(name));
    }
}
