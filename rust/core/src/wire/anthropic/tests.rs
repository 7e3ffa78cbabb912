//! Anthropic's format against small bodies of our own.

use serde_json::{Value, json};

use super::*;
use crate::{
    error::ErrorKind,
    model::{
        Assembly, CacheControl, EmbedRequest, Event, FinishReason, Media, Message, Options, Part, Reasoning,
        ResponseFormat, Role, Tool, ToolChoice, Usage,
    },
    stream::Frame,
    wire::{
        claude::JSON_TOOL,
        common::tests::{ask, call, conversation, object, parts, result},
    },
};

/// The body of a request with these options, without its messages.
fn body(options: Options) -> Value {
    let encoded = Anthropic.encode_chat(&ask(options)).unwrap();
    let mut body: Value = serde_json::from_slice(&encoded.body).unwrap();
    body.as_object_mut().unwrap().remove("messages");
    body
}

/// The body of a request of these messages.
fn sent(messages: Vec<Message>) -> Value {
    let encoded = Anthropic.encode_chat(&conversation(messages, Options::default())).unwrap();
    serde_json::from_slice(&encoded.body).unwrap()
}

fn stream(events: &[&str]) -> Result<Assembly, Error> {
    let mut decoder = Anthropic.stream_decoder();
    let mut answer = Assembly::new();
    for event in events {
        decoder.frame(Frame::new("", event.as_bytes()), &mut answer)?;
    }
    Ok(answer)
}

fn weather() -> Tool {
    let parameters = object(json!({"type": "object", "properties": {"city": {"type": "string"}}}));
    Tool { name: "weather".into(), description: Some("d".into()), parameters, strict: Some(true), ..Tool::default() }
}

#[test]
fn a_plain_request() {
    let mut request = ask(Options::default());
    request.stream = true;
    let encoded = Anthropic.encode_chat(&request).unwrap();
    assert_eq!(encoded.path, "/v1/messages");
    let want = r#"{"model":"m","max_tokens":4096,"stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    assert_eq!(encoded.body, want);
    assert_eq!(Anthropic.headers(), [("anthropic-version", "2023-06-01")]);
}

#[test]
fn every_option() {
    let options = Options {
        max_tokens: Some(9),
        temperature: Some(0.5),
        top_p: Some(0.9),
        top_k: Some(3),
        stop: vec!["END".into()],
        user: Some("u1".into()),
        tools: vec![weather()],
        tool_choice: Some(ToolChoice::Required),
        parallel_tool_calls: Some(false),
        response_format: Some(ResponseFormat::Schema {
            name: "n".into(),
            schema: json!({"type": "object"}),
            strict: None,
            fit: false,
        }),
        reasoning: Some(Reasoning::Effort("low".into())),
        extra: object(json!({"service_tier": "auto", "max_tokens": 10})),
        ..Options::default()
    };
    let want = json!({
        "model": "m", "max_tokens": 10, "temperature": 0.5, "top_p": 0.9, "top_k": 3, "stop_sequences": ["END"],
        "metadata": {"user_id": "u1"}, "service_tier": "auto",
        "tools": [{"name": "weather", "description": "d", "strict": true,
            "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
    });
    assert_eq!(body(options), want);
}

#[test]
fn thinking_and_its_budget() {
    let with =
        |reasoning, extra| body(Options { reasoning: Some(reasoning), extra: object(extra), ..Options::default() });
    let enabled = with(Reasoning::Budget(2000), json!({}));
    assert_eq!(enabled["thinking"], json!({"type": "enabled", "budget_tokens": 2000}));
    assert_eq!(enabled["max_tokens"], 6096);
    assert_eq!(with(Reasoning::On, json!({}))["thinking"], json!({"type": "adaptive"}));
    for off in [Reasoning::Budget(0), Reasoning::Effort("none".into())] {
        assert_eq!(with(off, json!({}))["thinking"], json!({"type": "disabled"}));
    }
    let adaptive = with(Reasoning::Effort("high".into()), json!({"output_config": {"effort": "max"}}));
    assert_eq!(
        (&adaptive["thinking"], &adaptive["output_config"]),
        (&json!({"type": "adaptive"}), &json!({"effort": "max"}))
    );
}

#[test]
fn forms_of_the_answer() {
    let closed = json!({"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}});
    let open = json!({"type": "object", "additionalProperties": {"type": "integer"}});
    let with = |model: &str, schema: &Value| {
        let format = ResponseFormat::Schema { name: "n".into(), schema: schema.clone(), strict: None, fit: true };
        let mut request = ask(Options { response_format: Some(format), ..Options::default() });
        request.model = model.into();
        serde_json::from_slice::<Value>(&Anthropic.encode_chat(&request).unwrap().body).unwrap()
    };
    let native = with("claude-haiku-4-5", &closed)["output_config"]["format"].clone();
    let fitted = json!({"type": "object", "additionalProperties": false,
        "properties": {"a": {"type": "integer", "description": "{minimum: 1}"}}});
    assert_eq!(native, json!({"type": "json_schema", "schema": fitted}));
    for (model, schema) in [("claude-haiku-4-5", &open), ("claude-sonnet-4-20250514", &closed)] {
        let by_tool = with(model, schema);
        assert_eq!(by_tool["tool_choice"], json!({"type": "tool", "name": JSON_TOOL}));
        assert_eq!((&by_tool["tools"][0]["input_schema"], by_tool.get("output_config")), (schema, None));
    }
    let any = body(Options { response_format: Some(ResponseFormat::Json), ..Options::default() });
    assert_eq!(any["tools"][0]["input_schema"], json!({"type": "object"}));
}

#[test]
fn an_answer_by_tool_is_text() {
    let block = |input: &str| format!(r#"{{"type":"tool_use","id":"t","name":"{JSON_TOOL}","input":{input}}}"#);
    let whole = format!(r#"{{"content":[{}],"stop_reason":"tool_use"}}"#, block(r#"{"a": 1}"#));
    let mut response = Anthropic.decode_chat(whole.as_bytes()).unwrap();
    assert_eq!((response.text().as_str(), response.tool_calls().count()), (r#"{"a":1}"#, 0));
    assert_eq!(response.finish_reason, Some(FinishReason::Stop));
    assert_eq!(response.raw_finish_reason.as_deref(), Some("tool_use"));
    for (pieces, expected) in [(&[r#"{\"a\":"#, " 1", "}"][..], r#"{"a": 1}"#), (&[], "{}")] {
        let mut frames = vec![format!(r#"{{"type":"content_block_start","index":0,"content_block":{}}}"#, block("{}"))];
        frames.extend(pieces.iter().map(|piece| {
            format!(r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"input_json_delta","partial_json":"{piece}"}}}}"#)
        }));
        frames.push(r#"{"type":"content_block_stop","index":0}"#.to_owned());
        frames.push(r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"}}"#.to_owned());
        let (mut decoder, mut answer) = (Anthropic.stream_decoder(), Assembly::new());
        for data in &frames {
            decoder.frame(Frame::new("", data.as_bytes()), &mut answer).unwrap();
        }
        response = answer.into_response();
        assert_eq!((response.text().as_str(), response.finish_reason), (expected, Some(FinishReason::Stop)));
    }
}

#[test]
fn tool_choices() {
    let with = |tool_choice, parallel_tool_calls, tools| {
        body(Options { tool_choice, parallel_tool_calls, tools, ..Options::default() })["tool_choice"].clone()
    };
    assert_eq!(with(None, None, vec![weather()]), Value::Null);
    assert_eq!(with(None, Some(true), vec![weather()]), Value::Null);
    assert_eq!(with(None, Some(false), vec![weather()]), json!({"type": "auto", "disable_parallel_tool_use": true}));
    assert_eq!(with(Some(ToolChoice::None), Some(false), vec![weather()]), json!({"type": "none"}));
    let named = Some(ToolChoice::Named("weather".into()));
    assert_eq!(with(named, None, vec![weather()]), json!({"type": "tool", "name": "weather"}));
    assert_eq!(with(Some(ToolChoice::Auto), Some(false), vec![]), Value::Null);
    assert_eq!(with(Some(ToolChoice::Required), None, vec![]), json!({"type": "any"}));
}

#[test]
fn models_that_cannot_be_told_to_call_a_tool() {
    let refused = |model: &str, options: Options| {
        let messages = vec![Message::text(Role::User, "hi").into()];
        let request = ChatRequest { model: model.into(), messages, options, stream: false };
        let outcomes = [Anthropic.encode_chat(&request).map(drop), Anthropic.count_tokens(&request).map(drop)];
        outcomes.map(|outcome| outcome.err().and_then(|error| error.param().map(str::to_owned)))
    };
    let choice = |choice| Options { tools: vec![weather()], tool_choice: Some(choice), ..Options::default() };
    let json = || Options { response_format: Some(ResponseFormat::Json), ..Options::default() };
    for model in ["claude-opus-5-5", "claude-sonnet-5-5", "claude-fable-5-1"] {
        for forced in [ToolChoice::Required, ToolChoice::Named("weather".into())] {
            assert_eq!(
                refused(model, choice(forced)),
                [Some("tool_choice".to_owned()), Some("tool_choice".to_owned())]
            );
        }
        assert_eq!(refused(model, choice(ToolChoice::Auto)), [None, None]);
        assert_eq!(refused(model, json())[0].as_deref(), Some("response_format"));
    }
    for model in ["claude-opus-5", "claude-fable-5", "claude-haiku-4-5", "a-model-of-tomorrow"] {
        assert_eq!(refused(model, choice(ToolChoice::Required)), [None, None], "{model}");
        assert_eq!(refused(model, json()), [None, None], "{model}");
    }
}

#[test]
fn what_anthropic_has_not_is_refused() {
    let refused = |options| Anthropic.encode_chat(&ask(options)).unwrap_err();
    for (param, options) in [
        ("seed", Options { seed: Some(1), ..Options::default() }),
        ("presence_penalty", Options { presence_penalty: Some(0.0), ..Options::default() }),
        ("frequency_penalty", Options { frequency_penalty: Some(0.0), ..Options::default() }),
        (
            "response_format",
            Options { response_format: Some(ResponseFormat::Json), tools: vec![weather()], ..Options::default() },
        ),
    ] {
        let error = refused(options);
        assert_eq!((error.kind(), error.param()), (ErrorKind::Unsupported, Some(param)));
    }
    let error = refused(Options { temperature: Some(1.5), ..Options::default() });
    assert_eq!((error.kind(), error.param()), (ErrorKind::InvalidRequest, Some("temperature")));
}

#[test]
fn all_system_messages_are_kept_in_order() {
    let system = |role, text| Message::text(role, text);
    let one = sent(vec![system(Role::System, "a"), Message::text(Role::User, "u")]);
    assert_eq!(one["system"], "a");
    let marked = parts(
        Role::Developer,
        vec![
            Part::Text {
                text: "b".into(),
                cache: Some(CacheControl { ttl: Some("1h".into()) }),
                citations: Vec::new(),
            },
            Part::text(""),
        ],
    );
    let several = sent(vec![system(Role::System, "a"), Message::text(Role::User, "u"), marked]);
    let mark = json!({"type": "ephemeral", "ttl": "1h"});
    assert_eq!(
        several["system"],
        json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": mark}])
    );
    assert_eq!(several["messages"].as_array().unwrap().len(), 1);
    let image = Part::Image { media: Media::FileId("f".into()), detail: None };
    let request = conversation(vec![parts(Role::System, vec![image])], Options::default());
    assert_eq!(Anthropic.encode_chat(&request).unwrap_err().kind(), ErrorKind::InvalidRequest);
}

#[test]
fn a_turn_with_tools_and_thinking_goes_back_untouched() {
    let model = parts(
        Role::Assistant,
        vec![
            Part::Thinking { text: "unsigned".into(), signature: None },
            Part::Thinking { text: "hm".into(), signature: Some("sig".into()) },
            Part::RedactedThinking { data: "xyz".into() },
            Part::text(""),
            Part::ToolCall(call("t1", "f", r#"{"n": 1.50}"#)),
            Part::ToolCall(call("t2", "g", "")),
            Part::Raw(json!({"type": "server_tool_use", "id": "s"})),
        ],
    );
    let failed = Part::ToolResult { id: "t2".into(), name: None, content: vec![], is_error: true };
    let messages = vec![
        Message::text(Role::User, "u"),
        model,
        result("t1", "one"),
        Message::text(Role::System, "between"),
        parts(Role::Tool, vec![failed]),
        Message::text(Role::Assistant, ""),
        Message::text(Role::User, "go on"),
    ];
    let encoded = Anthropic.encode_chat(&conversation(messages.clone(), Options::default())).unwrap();
    assert!(encoded.body.windows(10).any(|w| w == br#"{"n": 1.50"#), "arguments are sent as they are");
    let want = json!([
        {"role": "user", "content": "u"},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
            {"type": "redacted_thinking", "data": "xyz"},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"n": 1.5}},
            {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
            {"type": "server_tool_use", "id": "s"},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": "one"},
            {"type": "tool_result", "tool_use_id": "t2", "is_error": true},
        ]},
        {"role": "user", "content": "go on"},
    ]);
    assert_eq!(sent(messages)["messages"], want);
}

#[test]
fn media_in_messages_and_tool_results() {
    let image = |media| Part::Image { media, detail: Some("high".into()) };
    let document = |media| Part::Document { media, name: Some("t".into()) };
    let base64 = |media_type: &str, data: &str| Media::Base64 { media_type: media_type.into(), data: data.into() };
    let content = vec![
        image(Media::Url("https://x/y.png".into())),
        image(Media::Url("data:image/png;base64,AAAA".into())),
        document(Media::FileId("file_1".into())),
        document(base64("application/pdf", "BBBB")),
        document(base64("text/plain", "aMOp")),
        Part::ToolResult {
            id: "t".into(),
            name: None,
            content: vec![Part::text("see"), image(base64("image/gif", "CC"))],
            is_error: false,
        },
    ];
    let blocks = &sent(vec![parts(Role::User, content)])["messages"][0]["content"];
    let want = json!([
        {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}, "title": "t"},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "BBBB"}, "title": "t"},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hé"}, "title": "t"},
        {"type": "tool_result", "tool_use_id": "t", "content": [
            {"type": "text", "text": "see"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": "CC"}},
        ]},
    ]);
    assert_eq!(*blocks, want);
}

#[test]
fn messages_that_cannot_be_carried() {
    let refused = |message| Anthropic.encode_chat(&conversation(vec![message], Options::default())).unwrap_err().kind();
    assert_eq!(refused(Message::text(Role::Tool, "no id")), ErrorKind::InvalidRequest);
    let broken = Part::ToolCall(call("t", "f", "{\"a\":"));
    assert_eq!(refused(parts(Role::Assistant, vec![broken])), ErrorKind::InvalidRequest);
    let sound = Part::Audio { media: Media::FileId("f".into()) };
    assert_eq!(refused(parts(Role::User, vec![sound])), ErrorKind::Unsupported);
    let binary = Media::Base64 { media_type: "text/plain".into(), data: "/w==".into() };
    assert_eq!(
        refused(parts(Role::User, vec![Part::Document { media: binary, name: None }])),
        ErrorKind::InvalidRequest
    );
}

const START: &str = r#"{"type":"message_start","message":{"id":"msg_1","model":"claude-x","content":[],"stop_reason":null,
    "usage":{"input_tokens":10,"cache_creation_input_tokens":30,"cache_read_input_tokens":5,
    "cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20},"output_tokens":1}}           }"#;

#[test]
fn a_streamed_answer_of_every_kind() {
    let mut answer = stream(&[
        START,
        r#"{"type": "ping"}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"sig"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"xyz"}}"#,
        r#"{"type":"content_block_start","index":2,"content_block":{"type":"text","text":"","citations":null}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"Hé"}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"citations_delta","citation":{"type":"x"}}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"llo\n"}}"#,
        r#"{"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"t1","name":"f","input":{}}}"#,
        r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{\"a\""}}"#,
        r#"{"type":"content_block_start","index":4,"content_block":{"type":"tool_use","id":"t2","name":"g","input":{}}}"#,
        r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":": 1}"}}"#,
        r#"{"type":"brand_new_event","delta":"not an object","message":[1]}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},
            "usage":{"input_tokens":null,"output_tokens":"25","output_tokens_details":{"thinking_tokens":4.0}}}"#,
        r#"{"type":"message_stop"        }"#,
    ])
    .unwrap();
    assert!(answer.is_ended());
    let texts: Vec<_> = answer.events().filter(|event| matches!(event, Event::Text(_))).collect();
    assert_eq!(texts, [Event::Text("Hé".into()), Event::Text("llo\n".into())]);
    let response = answer.into_response();
    assert_eq!((response.id.as_str(), response.model.as_str()), ("msg_1", "claude-x"));
    assert_eq!(response.text(), "Héllo\n");
    assert_eq!(response.parts[0], Part::Thinking { text: "hm".into(), signature: Some("sig".into()) });
    assert_eq!(response.parts[1], Part::RedactedThinking { data: "xyz".into() });
    let calls: Vec<_> = response.tool_calls().map(|c| (c.id.as_str(), c.arguments.as_str())).collect();
    assert_eq!(calls, [("t1", "{\"a\": 1}"), ("t2", "{}")]);
    assert_eq!(response.finish_reason, Some(FinishReason::ToolCalls));
    let want = Usage { input: 10, cache_read: 5, cache_write: 10, cache_write_1h: 20, output: 21, reasoning: 4 };
    assert_eq!(response.usage, Some(want));
}

#[test]
fn blocks_without_a_common_form_are_kept_whole() {
    let answer = stream(&[
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"server_tool_use","id":"s","name":"web_search","input":{}}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"query\":"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":" \"x\"}"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"web_search_tool_result","content":[{"url":"u"}]}}"#,
        r#"{"type":"content_block_start","index":2,"content_block":{"type":"of_the_future","text":{"not":"a text"}}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"pause_turn"}}"#,
    ]);
    let response = answer.unwrap().into_response();
    let want = [
        json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}}),
        json!({"type": "web_search_tool_result", "content": [{"url": "u"}]}),
        json!({"type": "of_the_future", "text": {"not": "a text"}}),
    ];
    assert_eq!(response.parts, want.map(Part::Raw));
    assert_eq!((response.finish_reason, response.usage), (Some(FinishReason::Pause), None));
}

#[test]
fn hidden_thinking_keeps_each_signature_apart() {
    let block = |index| {
        format!(
            r#"{{"type":"content_block_start","index":{index},"content_block":{{"type":"thinking","thinking":""}}}}"#
        )
    };
    let sign = |index, text| {
        format!(
            r#"{{"type":"content_block_delta","index":{index},"delta":{{"type":"signature_delta","signature":"{text}"}}}}"#
        )
    };
    let events = [block(0), sign(0, "a"), sign(0, "b"), block(1), sign(1, "c")];
    let answer = stream(&events.each_ref().map(String::as_str)).unwrap();
    let hidden = |signature: &str| Part::Thinking { text: String::new(), signature: Some(signature.into()) };
    assert_eq!(answer.into_response().parts, [hidden("ab"), hidden("c")]);
}

#[test]
fn a_whole_answer() {
    let response = Anthropic
        .decode_chat(
            br#"{"id":"msg_2","type":"message","model":"claude-x","content":[
                {"type":"thinking","thinking":"hm","signature":"sig"},{"type":"thinking","thinking":"","signature":"hid"},
                {"type":"text","text":"Hi","citations":[{"type":"x"}]},
                {"type":"tool_use","id":"t","name":"f","input":{"a": [1, 2]}},{"type":"tool_use","id":"u","name":"g","input":{}},
                {"type":"web_search_tool_result","content":[]}],
                "stop_reason":"max_tokens","usage":{"input_tokens":3,"cache_creation":{"ephemeral_5m_input_tokens":2},
                "output_tokens":4,"server_tool_use":{"web_search_requests":1}}}"#,
        )
        .unwrap();
    assert_eq!((response.text(), response.thinking()), ("Hi".into(), "hm".into()));
    assert_eq!(response.parts[1], Part::Thinking { text: String::new(), signature: Some("hid".into()) });
    let calls: Vec<_> = response.tool_calls().map(|c| (c.name.as_str(), c.arguments.as_str())).collect();
    assert_eq!(calls, [("f", r#"{"a":[1,2]}"#), ("g", "{}")]);
    assert!(matches!(response.parts.last(), Some(Part::Raw(_))));
    assert_eq!(
        (response.finish_reason, response.raw_finish_reason.as_deref()),
        (Some(FinishReason::Length), Some("max_tokens"))
    );
    let want = Usage { input: 3, cache_write: 2, output: 4, ..Usage::default() };
    assert_eq!(response.usage, Some(want));
}

#[test]
fn an_answer_cut_anywhere_is_malformed() {
    let body = r#" {"id":"m","content":[{"type":"text","text":"Hé\n"},{"type":"tool_use","input":{"a":[1]}}],"usage":{"input_tokens":3}}"#;
    assert!(Anthropic.decode_chat(body.as_bytes()).is_ok());
    for cut in 0..body.len() {
        let error = Anthropic.decode_chat(&body.as_bytes()[..cut]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "cut at {cut}");
    }
}

#[test]
fn odd_usage_is_no_error() {
    for usage in [r#""n/a""#, "[]", "null", r#"{"output_tokens": {}, "cache_creation": 7}"#] {
        let body = format!(r#"{{"content":[],"stop_reason":"end_turn","usage":{usage}}}"#);
        let response = Anthropic.decode_chat(body.as_bytes()).unwrap();
        assert_eq!(response.usage.unwrap_or_default(), Usage::default(), "{usage}");
    }
}

#[test]
fn bodies_that_are_no_answer() {
    let kind = |body: &str| Anthropic.decode_chat(body.as_bytes()).unwrap_err();
    for body in [
        "",
        "<html>hello</html>",
        "null",
        "[]",
        "[{}]",
        "{}",
        r#"{"content":"text"}"#,
        r#"{"content":["text"]}"#,
        r#"{"content":[{"type":"text","text":{}}]}"#,
        r#"{"content":[{"type":"text","text":"cut"#,
    ] {
        let error = kind(body);
        assert_eq!((error.kind(), error.provider()), (ErrorKind::Malformed, Some("anthropic")), "{body}");
    }
    assert!(kind("<html>hello</html>").message().contains("<html>hello</html>"));
    assert!(kind("").message().contains("empty body"));
    let error = kind(r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#);
    assert_eq!((error.kind(), error.status(), error.retryable()), (ErrorKind::Overloaded, Some(529), true));
}

#[test]
fn errors_in_mid_stream() {
    for (error_type, kind, status) in [
        ("overloaded_error", ErrorKind::Overloaded, 529),
        ("rate_limit_error", ErrorKind::RateLimit, 429),
        ("api_error", ErrorKind::Server, 500),
        ("timeout_error", ErrorKind::Server, 504),
        ("invalid_request_error", ErrorKind::InvalidRequest, 400),
        ("of_the_future", ErrorKind::Server, 500),
    ] {
        let event = format!(r#"{{"type":"error","error":{{"type":"{error_type}","message":"m"}}}}"#);
        let error = stream(&[START, &event]).unwrap_err();
        assert_eq!((error.kind(), error.status(), error.message()), (kind, Some(status), "m"), "{error_type}");
        assert_eq!(error.error_type(), Some(error_type));
    }
    let error = stream(&[r#"{"type":"error","message":"plain","delta":1}"#]).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Server, "plain"));
    for broken in ["{\"type\":", "hello", r#"{"type":"content_block_delta","delta":7}"#, "[]", "\u{0}"] {
        assert_eq!(stream(&[broken]).unwrap_err().kind(), ErrorKind::Malformed, "{broken}");
    }
    let invalid = Frame::new("", b"{\"type\":\"content_block_delta\",\"delta\":{\"text\":\"\xff\"}}");
    assert!(Anthropic.stream_decoder().frame(invalid, &mut Assembly::new()).is_err());
}

#[test]
fn ends_of_streams() {
    let cut = stream(&[START]).unwrap();
    assert!(!cut.is_complete());
    assert!(stream(&["[DONE]", " "]).unwrap().is_ended());
    let event = Frame::new("message_stop", b"{}");
    let mut answer = Assembly::new();
    Anthropic.stream_decoder().frame(event, &mut answer).unwrap();
    assert!(answer.is_ended(), "the SSE event name counts where the data has no type");
}

fn mapped(status: u16, body: &str) -> Error {
    Anthropic.decode_error(status, &HeaderMap::new(), body.as_bytes())
}

#[test]
fn error_bodies() {
    let error = mapped(
        404,
        r#"{"type":"error","error":{"type":"not_found_error","message":"model: claude-x"},"request_id":"req_1"}"#,
    );
    assert_eq!((error.kind(), error.status(), error.request_id()), (ErrorKind::NotFound, Some(404), Some("req_1")));
    assert!(error.message().starts_with("model: claude-x"), "{error}");
    let error = mapped(529, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#);
    assert_eq!((error.kind(), error.retryable()), (ErrorKind::Overloaded, true));
    let spent = r#"{"error":{"type":"rate_limit_error","message":"m","details":{"error_code":"enforced_spend_limit_reached"}},
        "request_id":null}"#;
    let error = mapped(429, spent);
    assert_eq!((error.kind(), error.retryable(), error.request_id()), (ErrorKind::Quota, false, None));
    let error = mapped(429, r#"{"error":{"type":"rate_limit_error","message":"slow down"}}"#);
    assert_eq!((error.kind(), error.retryable()), (ErrorKind::RateLimit, true));
}

#[test]
fn error_bodies_that_are_none() {
    let error = mapped(502, "<html><h1>Bad gateway</h1></html>");
    assert_eq!((error.kind(), error.message()), (ErrorKind::Server, "<html><h1>Bad gateway</h1></html>"));
    assert_eq!(mapped(500, "").message(), "status 500 without a message");
    assert_eq!(mapped(500, r#"{"error":"plain"}"#).message(), "plain");
    assert_eq!(mapped(500, r#"[{"a":1}]"#).message(), r#"[{"a":1}]"#);
}

#[test]
fn embeddings_are_elsewhere() {
    let request = EmbedRequest {
        model: "m".into(),
        inputs: vec!["a".into()],
        dimensions: None,
        task_type: None,
        extra: Default::default(),
    };
    let error = Anthropic.encode_embed(&request).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("Gemini") && Anthropic.embed_limits().is_none());
    assert_eq!(Anthropic.decode_embed(b"{}", 1).unwrap_err().kind(), ErrorKind::Unsupported);
}
