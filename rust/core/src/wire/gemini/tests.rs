//! Gemini's format against small bodies of our own.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::{
    error::ErrorKind,
    model::{
        Assembly, Event, FinishReason, JsonObject, Media, Message, Options, Part, Reasoning, ResponseFormat, Role,
        Tool, ToolCall, ToolChoice, Usage,
    },
    stream::Frame,
    wire::common::tests::{ask, call, conversation, object, parts, result},
};

/// The body of a request with these options, without its contents.
fn body(options: Options) -> Value {
    let encoded = Gemini.encode_chat(&ask(options)).unwrap();
    let mut body: Value = serde_json::from_slice(&encoded.body).unwrap();
    body.as_object_mut().unwrap().remove("contents");
    body
}

/// The body of a request of these messages.
fn sent(messages: Vec<Message>) -> Value {
    let encoded = Gemini.encode_chat(&conversation(messages, Options::default())).unwrap();
    serde_json::from_slice(&encoded.body).unwrap()
}

fn refused(messages: Vec<Message>) -> ErrorKind {
    Gemini.encode_chat(&conversation(messages, Options::default())).unwrap_err().kind()
}

fn tool(parameters: Value) -> Tool {
    Tool { name: "f".into(), parameters: object(parameters), ..Tool::default() }
}

fn stream(chunks: &[&str]) -> Result<Assembly, Error> {
    let mut decoder = Gemini.stream_decoder();
    let mut answer = Assembly::new();
    for chunk in chunks {
        decoder.frame(Frame::new("", chunk.as_bytes()), &mut answer)?;
    }
    Ok(answer)
}

fn signed(signature: &str) -> Part {
    Part::Thinking { text: String::new(), signature: Some(signature.into()) }
}

#[test]
fn a_plain_request_and_its_paths() {
    let mut request = ask(Options::default());
    let encoded = Gemini.encode_chat(&request).unwrap();
    assert_eq!(encoded.path, "/models/m:generateContent");
    assert_eq!(encoded.body, r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#);
    request.stream = true;
    for (model, path) in [
        ("models/x-1.5@2", "/models/x-1.5@2:streamGenerateContent?alt=sse"),
        ("tunedModels/x", "/tunedModels/x:streamGenerateContent?alt=sse"),
        ("a?b#c d", "/models/a%3Fb%23c%20d:streamGenerateContent?alt=sse"),
    ] {
        request.model = model.into();
        assert_eq!(Gemini.encode_chat(&request).unwrap().path, path);
    }
}

#[test]
fn every_option() {
    let options = Options {
        max_tokens: Some(9),
        temperature: Some(0.5),
        top_p: Some(0.9),
        top_k: Some(3),
        stop: vec!["END".into()],
        seed: Some(-7),
        presence_penalty: Some(1.0),
        frequency_penalty: Some(-1.0),
        parallel_tool_calls: Some(true),
        response_format: Some(ResponseFormat::Schema {
            name: "n".into(),
            schema: json!({"$ref": "#/$defs/a"}),
            strict: None,
            fit: false,
        }),
        reasoning: Some(Reasoning::Budget(64)),
        extra: object(json!({
            "cachedContent": "cachedContents/1",
            "generationConfig": {"topK": 40, "candidateCount": 1, "thinkingConfig": {"includeThoughts": false}},
        })),
        ..Options::default()
    };
    let want = json!({
        "cachedContent": "cachedContents/1",
        "generationConfig": {
            "maxOutputTokens": 9, "temperature": 0.5, "topP": 0.9, "topK": 40, "stopSequences": ["END"], "seed": -7,
            "presencePenalty": 1.0, "frequencyPenalty": -1.0, "responseMimeType": "application/json",
            "responseJsonSchema": {"$ref": "#/$defs/a"}, "candidateCount": 1,
            "thinkingConfig": {"thinkingBudget": 64, "includeThoughts": false},
        },
    });
    assert_eq!(body(options), want);
}

#[test]
fn thinking_and_formats() {
    let config = |options| body(options)["generationConfig"].clone();
    let thinking =
        |reasoning| config(Options { reasoning: Some(reasoning), ..Options::default() })["thinkingConfig"].clone();
    assert_eq!(thinking(Reasoning::Effort("low".into())), json!({"includeThoughts": true, "thinkingLevel": "low"}));
    let by_model = |model: &str, effort: &str| {
        let mut request = ask(Options { reasoning: Some(Reasoning::Effort(effort.into())), ..Options::default() });
        request.model = model.into();
        let encoded = Gemini.encode_chat(&request).map_err(|error| error.message().to_owned())?;
        let body: Value = serde_json::from_slice(&encoded.body).unwrap();
        Ok::<_, String>(body["generationConfig"]["thinkingConfig"].clone())
    };
    for (effort, budget) in [("low", 1_024), ("medium", 8_192), ("high", 24_576)] {
        let expected = json!({"includeThoughts": true, "thinkingBudget": budget});
        assert_eq!(by_model("gemini-2.5-flash", effort), Ok(expected.clone()));
        assert_eq!(by_model("models/gemini-2.5-pro", effort), Ok(expected));
        assert_eq!(by_model("gemini-3-pro-preview", effort).unwrap()["thinkingLevel"], effort);
    }
    assert_eq!(by_model("gemini-2.5-flash", "none"), Ok(json!({"thinkingBudget": 0})));
    for (model, effort, nearest) in
        [("gemini-3-pro", "none", "minimal"), ("gemini-3-flash", "max", "high"), ("gemini-2.5-pro", "huge", "medium")]
    {
        assert!(by_model(model, effort).unwrap_err().contains(nearest), "{model} {effort}");
    }
    assert_eq!(thinking(Reasoning::On), json!({"includeThoughts": true}));
    for off in [Reasoning::Budget(0), Reasoning::Effort("none".into())] {
        assert_eq!(thinking(off), json!({"thinkingBudget": 0}));
    }
    let format = |format| config(Options { response_format: Some(format), ..Options::default() });
    assert_eq!(format(ResponseFormat::Json), json!({"responseMimeType": "application/json"}));
    assert_eq!(format(ResponseFormat::Text), json!({"responseMimeType": "text/plain"}));
}

#[test]
fn what_gemini_has_not_is_refused() {
    for (param, options) in [
        ("user", Options { user: Some("u".into()), ..Options::default() }),
        ("parallel_tool_calls", Options { parallel_tool_calls: Some(false), ..Options::default() }),
    ] {
        let error = Gemini.encode_chat(&ask(options)).unwrap_err();
        assert_eq!((error.kind(), error.param()), (ErrorKind::Unsupported, Some(param)));
    }
}

#[test]
fn schemas_go_where_they_are_taken() {
    let declared = |parameters| {
        let tools = body(Options { tools: vec![tool(parameters)], ..Options::default() })["tools"].clone();
        tools[0]["functionDeclarations"][0].clone()
    };
    let plain = json!({"type": "object", "required": ["a"], "properties": {
        "a": {"type": "string", "enum": ["x"], "description": "d", "nullable": true},
        "type": {"type": "array", "items": {"type": "integer", "format": "int32"}},
    }});
    assert_eq!(declared(plain.clone()), json!({"name": "f", "parameters": plain}));
    assert_eq!(declared(json!({})), json!({"name": "f", "parameters": {"type": "object"}}));
    for full in [
        json!({"type": "object", "additionalProperties": false}),
        json!({"type": "object", "properties": {"a": {"type": "string", "format": "uri"}}}),
        json!({"type": "object", "properties": {"a": {"type": ["string", "null"]}}}),
        json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"type": "string"}}}),
        json!({"type": "object", "properties": {"a": {"type": "integer", "enum": [1]}}}),
        json!({"type": "object", "properties": {"a": {"type": "array", "items": {"anyOf": []}}}}),
        json!({"type": "object", "properties": {"a": true}}),
    ] {
        assert_eq!(declared(full.clone()), json!({"name": "f", "parametersJsonSchema": full}));
    }
}

#[test]
fn tool_choices() {
    let with = |tool_choice, tools| {
        body(Options { tool_choice, tools, ..Options::default() })["toolConfig"]["functionCallingConfig"].clone()
    };
    let tools = || vec![tool(json!({}))];
    assert_eq!(with(None, tools()), Value::Null);
    assert_eq!(with(Some(ToolChoice::Auto), tools()), json!({"mode": "AUTO"}));
    assert_eq!(with(Some(ToolChoice::Auto), vec![]), Value::Null);
    assert_eq!(with(Some(ToolChoice::None), tools()), json!({"mode": "NONE"}));
    assert_eq!(with(Some(ToolChoice::Required), tools()), json!({"mode": "ANY"}));
    let named = Some(ToolChoice::Named("f".into()));
    assert_eq!(with(named, tools()), json!({"mode": "ANY", "allowedFunctionNames": ["f"]}));
    let strict = || vec![Tool { strict: Some(true), ..tool(json!({})) }];
    assert_eq!(with(None, strict()), json!({"mode": "VALIDATED"}));
    assert_eq!(with(Some(ToolChoice::Required), strict()), json!({"mode": "ANY"}));
}

#[test]
fn a_conversation_with_tools() {
    let calls = vec![
        Part::Thinking { text: "hm".into(), signature: None },
        Part::ToolCall(ToolCall { signature: Some("sig".into()), ..call("call_966934", "f", r#"{"n": 1}"#) }),
        Part::ToolCall(call("call_1", "g", "")),
    ];
    let failed = Part::ToolResult {
        id: "call_1".into(),
        name: None,
        content: vec![Part::text("x"), Part::text("y")],
        is_error: true,
    };
    let messages = vec![
        Message::text(Role::System, "a"),
        Message::text(Role::User, "u"),
        Message::text(Role::Developer, "b"),
        parts(Role::Assistant, calls),
        result("call_966934", "12345678901234567890"),
        parts(Role::Tool, vec![failed]),
        parts(Role::Assistant, vec![Part::RedactedThinking { data: "x".into() }, Part::text("")]),
        Message::text(Role::User, "go on"),
    ];
    let want = json!({
        "systemInstruction": {"parts": [{"text": "a"}, {"text": "b"}]},
        "contents": [
            {"role": "user", "parts": [{"text": "u"}]},
            {"role": "model", "parts": [
                {"text": "hm", "thought": true},
                {"functionCall": {"id": "call_966934", "name": "f", "args": {"n": 1}}, "thoughtSignature": "sig"},
                {"functionCall": {"name": "g", "args": {}}},
            ]},
            {"role": "user", "parts": [
                {"functionResponse": {"id": "call_966934", "name": "f", "response": {"result": "12345678901234567890"}}},
                {"functionResponse": {"name": "g", "response": {"error": "x\ny"}}},
            ]},
            {"role": "user", "parts": [{"text": "go on"}]},
        ],
    });
    assert_eq!(sent(messages), want);
    assert_eq!(refused(vec![result("nowhere", "x")]), ErrorKind::InvalidRequest);
    assert_eq!(refused(vec![Message::text(Role::Tool, "no id")]), ErrorKind::InvalidRequest);
    assert_eq!(
        refused(vec![parts(Role::Assistant, vec![Part::ToolCall(call("", "f", "[1]"))])]),
        ErrorKind::InvalidRequest
    );
    assert_eq!(
        sent(vec![Message::text(Role::User, "")])["contents"],
        json!([{"role": "user", "parts": [{"text": ""}]}])
    );
}

#[test]
fn media() {
    let base64 = |media_type: &str| Media::Base64 { media_type: media_type.into(), data: "AA".into() };
    let image = |media| Part::Image { media, detail: None };
    let looked = Part::ToolResult {
        id: "1".into(),
        name: Some("look".into()),
        content: vec![image(base64("image/png"))],
        is_error: false,
    };
    let content = vec![
        image(Media::Url("data:image/png;base64,BB".into())),
        image(Media::Url("https://x/y.JPG?w=1.5".into())),
        Part::Document { media: Media::FileId("files/abc".into()), name: None },
        Part::Audio { media: base64("audio/wav") },
        looked,
    ];
    let want = json!([
        {"inlineData": {"mimeType": "image/png", "data": "BB"}},
        {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://x/y.JPG?w=1.5"}},
        {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc"}},
        {"inlineData": {"mimeType": "audio/wav", "data": "AA"}},
        {"functionResponse": {"id": "1", "name": "look", "response": {"result": ""},
            "parts": [{"inlineData": {"mimeType": "image/png", "data": "AA"}}]}},
    ]);
    assert_eq!(sent(vec![parts(Role::User, content)])["contents"][0]["parts"], want);
}

#[test]
fn results_that_are_json_stay_json() {
    for (text, response) in [
        ("{\"roll\": 1}", json!({"roll": 1})),
        (" {\"result\": {\"a\": []}}\n", json!({"result": {"a": []}})),
        ("[1, 2]", json!({"result": [1, 2]})),
        ("5", json!({"result": 5})),
        ("-0.5", json!({"result": -0.5})),
        ("true", json!({"result": true})),
        ("null", json!({"result": null})),
        ("1.10", json!({"result": "1.10"})),
        ("007", json!({"result": "007"})),
        ("1234567890123456", json!({"result": "1234567890123456"})),
        ("\"quoted\"", json!({"result": "\"quoted\""})),
        ("{roll}", json!({"result": "{roll}"})),
        ("", json!({"result": ""})),
    ] {
        let call = parts(Role::Assistant, vec![Part::ToolCall(call("1", "f", "{}"))]);
        let sent = sent(vec![Message::text(Role::User, "hi"), call, result("1", text)]);
        assert_eq!(sent["contents"][2]["parts"][0]["functionResponse"]["response"], response, "{text}");
    }
}

/// What a model sends is what it gets back, signature by signature.
#[test]
fn signatures_return_to_their_parts() {
    let said = json!([
        {"text": "thoughts", "thought": true},
        {"text": "Hi", "thoughtSignature": "on-text"},
        {"inlineData": {"mimeType": "image/png", "data": "AA"}, "thoughtSignature": "on-image"},
        {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "on-call"},
        {"executableCode": {"code": "1", "language": "PYTHON"}, "thoughtSignature": "on-code"},
        {"text": "", "thoughtSignature": "on-nothing"},
    ]);
    let body = json!({"candidates": [{"content": {"parts": said, "role": "model"}, "finishReason": "STOP"}]});
    let whole = Gemini.decode_chat(body.to_string().as_bytes()).unwrap();
    let streamed = stream(&[&body.to_string()]).unwrap().into_response();
    assert_eq!(whole, streamed);
    assert_eq!((whole.text(), whole.thinking()), ("Hi".into(), "thoughts".into()));
    assert_eq!((&whole.parts[1], whole.parts.last()), (&signed("on-text"), Some(&signed("on-nothing"))));
    assert_eq!(sent(vec![parts(Role::Assistant, whole.parts)])["contents"][0]["parts"], said);
}

#[test]
fn a_whole_answer() {
    let response = Gemini
        .decode_chat(
            br#"{"candidates": [
                {"index": 1, "content": {"parts": [{"text": "another"}]}},
                {"index": 0, "content": {"parts": [{"text": "see", "thought": false},
                    {"functionCall": {"id": "x1", "name": "f", "args": {"n": 1.0}}}, {"functionCall": {"name": "g"}},
                    {"thoughtSignature": "bare"}, {}], "role": "model"}, "finishReason": "STOP"}],
                "usageMetadata": {"promptTokenCount": 10, "cachedContentTokenCount": 4, "candidatesTokenCount": "5",
                    "thoughtsTokenCount": 6.0, "toolUsePromptTokenCount": 3, "totalTokenCount": 24},
                "modelVersion": "gemini-x", "responseId": "r1"}"#,
        )
        .unwrap();
    assert_eq!((response.id.as_str(), response.model.as_str(), response.text()), ("r1", "gemini-x", "see".into()));
    let calls: Vec<_> = response.tool_calls().map(|c| (c.id.as_str(), c.name.as_str(), c.arguments.as_str())).collect();
    assert_eq!(calls, [("x1", "f", r#"{"n":1.0}"#), ("call_1", "g", "{}")]);
    assert_eq!(response.parts.last(), Some(&signed("bare")));
    assert_eq!(response.finish_reason, Some(FinishReason::ToolCalls));
    let usage = response.usage.unwrap();
    assert_eq!(usage, Usage { input: 9, cache_read: 4, output: 5, reasoning: 6, ..Usage::default() });
    assert_eq!((usage.prompt_tokens(), usage.completion_tokens()), (13, 11));
}

#[test]
fn an_answer_cut_anywhere_is_malformed() {
    let body = r#" {"candidates": [{"content": {"parts": [{"text": "Hé\n"}, {"functionCall": {"args": {"a": [1]}}}]}}], "usageMetadata": {}}"#;
    assert!(Gemini.decode_chat(body.as_bytes()).is_ok());
    for cut in 0..body.len() {
        let error = Gemini.decode_chat(&body.as_bytes()[..cut]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "cut at {cut}");
    }
}

#[test]
fn generated_media() {
    let part = |media_type: &str| json!({"inlineData": {"mimeType": media_type, "data": "AA"}});
    let body = json!({"candidates": [{"content": {"parts": [part("image/png"), part("audio/L16;rate=24000"), part("application/pdf")]}}]});
    let mut answer = stream(&[&body.to_string()]).unwrap();
    assert!(answer.events().all(|event| matches!(event, Event::Part(_))));
    let made = answer.into_response().parts;
    assert!(matches!(made.as_slice(), [Part::Image { .. }, Part::Audio { .. }, Part::Document { .. }]), "{made:?}");
}

#[test]
fn a_stream() {
    let mut answer = stream(&[
        r#"{"candidates": [{"content": {"parts": [{"text": "**Think**", "thought": true}], "role": "model"}, "index": 0}],
            "usageMetadata": {"promptTokenCount": 8, "thoughtsTokenCount": 2, "totalTokenCount": 10}, "responseId": "r"}"#,
        r#"{"candidates": [{"content": {"parts": [{"text": "Hel"}], "role": "model"}, "index": 0}]}"#,
        r#"{"candidates": [{"content": {"role": "model"}}], "usageMetadata": {"trafficType": "ON_DEMAND"}}"#,
        " ",
        r#"{"candidates": [{"content": {"parts": [{"text": "lo", "thoughtSignature": "s"}]}, "finishReason": "MAX_TOKENS"}],
            "usageMetadata": {"promptTokenCount": 8, "candidatesTokenCount": 4, "thoughtsTokenCount": 2}}"#,
    ])
    .unwrap();
    let texts = answer.events().filter(|event| matches!(event, Event::Text(_))).count();
    assert_eq!((texts, answer.is_complete()), (2, true));
    let response = answer.into_response();
    assert_eq!((response.text(), response.thinking()), ("Hello".into(), "**Think**".into()));
    assert_eq!(response.finish_reason, Some(FinishReason::Length));
    assert_eq!(response.usage, Some(Usage { input: 8, output: 4, reasoning: 2, ..Usage::default() }));
}

#[test]
fn code_that_gemini_runs_is_not_the_end() {
    let code =
        r#"{"candidates": [{"content": {"parts": [{"executableCode": {"code": "1"}}]}, "finishReason": "STOP"}]}"#;
    let more = r#"{"candidates": [{"content": {"parts": [{"text": "cut"}]}, "finishReason": "MAX_TOKENS"}]}"#;
    assert!(!stream(&[code]).unwrap().is_complete());
    assert_eq!(stream(&[code, more]).unwrap().into_response().finish_reason, Some(FinishReason::Length));
    assert_eq!(Gemini.decode_chat(code.as_bytes()).unwrap().finish_reason, Some(FinishReason::Stop));
}

#[test]
fn finish_reasons_as_numbers() {
    for (number, reason) in [(1, "stop"), (2, "length"), (3, "content_filter"), (9, "malformed_function_call")] {
        let body = json!({"candidates": [{"content": {"role": "model"}, "finishReason": number}]});
        let response = Gemini.decode_chat(body.to_string().as_bytes()).unwrap();
        assert_eq!(response.finish_reason.unwrap().as_str(), reason);
    }
}

#[test]
fn blocked_prompts() {
    for reason in ["SAFETY", "OTHER", "BLOCKLIST", "OF_THE_FUTURE"] {
        let body =
            json!({"promptFeedback": {"blockReason": reason}, "usageMetadata": {"promptTokenCount": 3}}).to_string();
        let whole = Gemini.decode_chat(body.as_bytes()).unwrap();
        assert_eq!((whole.finish_reason.as_ref(), whole.text()), (Some(&FinishReason::ContentFilter), String::new()));
        assert_eq!(whole.usage.unwrap().prompt_tokens(), 3);
        assert_eq!(stream(&[&body]).unwrap().into_response().finish_reason, Some(FinishReason::ContentFilter));
    }
}

#[test]
fn bodies_that_are_no_answer() {
    let error = |body: &str| Gemini.decode_chat(body.as_bytes()).unwrap_err();
    for body in [
        "",
        "<html>no</html>",
        "null",
        "[]",
        "{}",
        r#"{"candidates": []}"#,
        r#"{"candidates": [7]}"#,
        r#"{"promptFeedback": {}}"#,
        r#"{"candidates": [{"content": {"parts": [{"text": {}}]}}]}"#,
        r#"{"candidates": [{"#,
    ] {
        let error = error(body);
        assert_eq!((error.kind(), error.provider()), (ErrorKind::Malformed, Some("gemini")), "{body}");
    }
    for body in [
        r#"{"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}"#,
        r#"[{"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}]"#,
    ] {
        for error in [error(body), stream(&[body]).unwrap_err()] {
            assert_eq!((error.kind(), error.status(), error.message()), (ErrorKind::Overloaded, Some(503), "busy"));
            assert_eq!((error.error_type(), error.retryable()), (Some("UNAVAILABLE"), true));
        }
    }
    for broken in ["hello", "[1]", "{\"candidates\":"] {
        assert_eq!(stream(&[broken]).unwrap_err().kind(), ErrorKind::Malformed, "{broken}");
    }
}

/// A 429 with a quota and a wait.
fn exhausted(quota: &str, wait: &str) -> Error {
    let body = json!({"error": {"code": 429, "message": "You exceeded your current quota", "status": "RESOURCE_EXHAUSTED",
    "details": [
        {"@type": "type.googleapis.com/google.rpc.Help", "links": []},
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "x"}, {"quotaId": quota}]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": wait},
    ]}});
    Gemini.decode_error(429, &HeaderMap::new(), body.to_string().as_bytes())
}

#[test]
fn quotas() {
    let minute = exhausted("InputTokensPerModelPerMinute", "48.9s");
    assert_eq!((minute.kind(), minute.retryable()), (ErrorKind::RateLimit, true));
    assert_eq!(minute.retry_after(), Some(Duration::from_millis(48_900)));
    assert_eq!(exhausted("PerMinute", "48s").retry_after(), Some(Duration::from_secs(48)));
    assert_eq!(exhausted("PerMinute", "soon").retry_after(), None);
    let day = exhausted("RequestsPerDayPerProjectPerModel-FreeTier", "48s");
    assert_eq!((day.kind(), day.retryable()), (ErrorKind::Quota, false));
}

#[test]
fn error_bodies() {
    let error = |status, body: &str| Gemini.decode_error(status, &HeaderMap::new(), body.as_bytes());
    let key = json!({"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT", "details": [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]}});
    let key = error(400, &key.to_string());
    assert_eq!(
        (key.kind(), key.code(), key.error_type()),
        (ErrorKind::Authentication, Some("API_KEY_INVALID"), Some("INVALID_ARGUMENT"))
    );
    let missing = error(404, r#"{"error": {"code": 404, "message": "models/x is not found", "status": "NOT_FOUND"}}"#);
    assert_eq!((missing.kind(), missing.status()), (ErrorKind::NotFound, Some(404)));
    assert_eq!(error(502, "<html>Bad gateway</html>").message(), "<html>Bad gateway</html>");
    assert_eq!(error(500, "").message(), "status 500 without a message");
    assert_eq!(error(429, "{}").kind(), ErrorKind::RateLimit);
}

fn embed(extra: JsonObject) -> EmbedRequest {
    EmbedRequest {
        model: "e-1".into(),
        inputs: vec!["a".into(), "b".into()],
        dimensions: Some(2),
        task_type: Some("RETRIEVAL_QUERY".into()),
        extra,
    }
}

#[test]
fn embeddings() {
    let encoded =
        Gemini.encode_embed(&embed(object(json!({"taskType": "CLUSTERING", "autoTruncate": false})))).unwrap();
    assert_eq!(encoded.path, "/models/e-1:batchEmbedContents");
    let item = |text| {
        json!({"model": "models/e-1", "content": {"parts": [{"text": text}]}, "taskType": "CLUSTERING",
            "outputDimensionality": 2, "autoTruncate": false})
    };
    let body: Value = serde_json::from_slice(&encoded.body).unwrap();
    assert_eq!(body, json!({"requests": [item("a"), item("b")]}));
    assert_eq!(Gemini.embed_limits().unwrap().texts, 100);

    let body = br#"{"embeddings": [{"values": [0.5, 1]}, {"values": [-1e-3, 2.0]}], "usageMetadata": {"promptTokenCount": 7}}"#;
    let vectors = Gemini.decode_embed(body, 2).unwrap();
    assert_eq!((vectors.dims, vectors.values), (2, vec![0.5, 1.0, -0.001, 2.0]));
    assert_eq!(vectors.usage, Some(Usage { input: 7, ..Usage::default() }));
}

#[test]
fn embeddings_that_are_none() {
    let kind = |body: &str, count| Gemini.decode_embed(body.as_bytes(), count).unwrap_err().kind();
    for body in [
        "",
        "<html>",
        "{}",
        r#"{"embeddings": [{"values": [1]}]}"#,
        r#"{"embeddings": [{"values": [1]}, {"values": [1, 2]}]}"#,
        r#"{"embeddings": [{"values": []}, {"values": []}]}"#,
        r#"{"embeddings": [{"values": ["x"]}]}"#,
    ] {
        assert_eq!(kind(body, 2), ErrorKind::Malformed, "{body}");
    }
    assert_eq!(kind(r#"{"error": {"code": 429, "message": "m"}}"#, 1), ErrorKind::RateLimit);
    assert_eq!(kind(r#"{"embeddings": [{"values": [1]}, {"values": [2]}]}"#, 1), ErrorKind::Malformed);
}
