//! Every format, unary and streamed: parses as JSON and carries the right text, calls, usage, errors and headers.

use std::time::SystemTime;

use base64::Engine as _;
use edgequake_core::{
    simulator::{Reply, SimulatorConfig},
    wire::RateLimits,
};
use http::StatusCode;
use serde_json::{Value, json};

use crate::client::{Answer, BOTH, Client, Wire, plain, post, start, wires};

/// The text, the reason of the end and the tokens of prompt and answer, out of a unary answer.
fn unary(wire: &Wire, answer: &Answer) -> (String, String, [u64; 2]) {
    let json = answer.json();
    let (text, finish, prompt, completion) = match wire.name {
        "openai" => (
            &json["choices"][0]["message"]["content"],
            &json["choices"][0]["finish_reason"],
            &json["usage"]["prompt_tokens"],
            &json["usage"]["completion_tokens"],
        ),
        "anthropic" => (
            &json["content"][0]["text"],
            &json["stop_reason"],
            &json["usage"]["input_tokens"],
            &json["usage"]["output_tokens"],
        ),
        "gemini" => (
            &json["candidates"][0]["content"]["parts"][0]["text"],
            &json["candidates"][0]["finishReason"],
            &json["usageMetadata"]["promptTokenCount"],
            &json["usageMetadata"]["candidatesTokenCount"],
        ),
        _ => (&json["message"]["content"], &json["done_reason"], &json["prompt_eval_count"], &json["eval_count"]),
    };
    let name = json.get("model").or_else(|| json.get("modelVersion")).unwrap();
    assert_eq!(name, "m-1", "{json}");
    (
        text.as_str().unwrap().to_owned(),
        finish.as_str().unwrap().to_owned(),
        [prompt, completion].map(|count| count.as_u64().unwrap()),
    )
}

/// The same, out of a stream.
fn streamed(wire: &Wire, answer: &Answer) -> (String, String, [u64; 2]) {
    let (mut text, mut finish, mut usage) = (String::new(), String::new(), [0, 0]);
    let mut note = |delta: &Value, end: &Value, counts: [&Value; 2]| {
        text.push_str(delta.as_str().unwrap_or_default());
        if let Some(end) = end.as_str() {
            assert_eq!(finish, "", "two ends");
            finish = end.to_owned();
        }
        for (kept, count) in usage.iter_mut().zip(counts) {
            *kept = count.as_u64().unwrap_or(*kept);
        }
    };
    for event in answer.events() {
        match wire.name {
            "openai" => {
                let choice = &event["choices"][0];
                let counts = [&event["usage"]["prompt_tokens"], &event["usage"]["completion_tokens"]];
                note(&choice["delta"]["content"], &choice["finish_reason"], counts);
            }
            "anthropic" => {
                let usage = if event["type"] == "message_start" { &event["message"]["usage"] } else { &event["usage"] };
                let counts = [&usage["input_tokens"], &usage["output_tokens"]];
                note(&event["delta"]["text"], &event["delta"]["stop_reason"], counts);
            }
            "gemini" => {
                let candidate = &event["candidates"][0];
                let usage = &event["usageMetadata"];
                let counts = [&usage["promptTokenCount"], &usage["candidatesTokenCount"]];
                note(&candidate["content"]["parts"][0]["text"], &candidate["finishReason"], counts);
            }
            _ => {
                let counts = [&event["prompt_eval_count"], &event["eval_count"]];
                note(&event["message"]["content"], &event["done_reason"], counts);
            }
        }
    }
    (text, finish, usage)
}

fn with_usage(wire: &Wire) -> Value {
    let mut body = wire.body(true);
    if wire.name == "openai" {
        body["stream_options"] = json!({"include_usage": true});
    }
    body
}

#[tokio::test]
async fn the_same_answer_unary_and_streamed_over_both_versions() {
    let simulator = plain();
    for wire in wires() {
        for speak in BOTH {
            let mut client = Client::new(&simulator, speak).await;
            let answer = client.post(wire.unary, &wire.body(false), "").await;
            let (text, finish, [prompt, completion]) = unary(&wire, &answer);
            assert!(text.contains("simulated") && !text.contains("secret"), "{text}");
            assert!(["stop", "end_turn", "STOP"].contains(&finish.as_str()), "{finish}");
            assert_eq!(completion, 24);
            assert_eq!(prompt, (wire.body(false).to_string().len() as u64).div_ceil(4));
            assert_eq!(answer.header("content-length"), answer.body.len().to_string());

            let body = with_usage(&wire);
            let answer = client.post(wire.stream, &body, "").await;
            let prompt = (body.to_string().len() as u64).div_ceil(4);
            assert_eq!(streamed(&wire, &answer), (text, finish, [prompt, 24]), "{}", wire.name);
        }
    }
}

#[tokio::test]
async fn text_and_tokens_as_told() {
    let config = SimulatorConfig { text: Some("Grüße, \"Welt\"\n\u{1F600}!".into()), ..SimulatorConfig::default() };
    let (simulator, plain) = (start(config), plain());
    for wire in wires() {
        for stream in [false, true] {
            let path = if stream { wire.stream } else { wire.unary };
            let read = if stream { streamed } else { unary };
            let answer = post(&simulator, path, &wire.body(stream), "").await;
            assert_eq!(read(&wire, &answer).0, "Grüße, \"Welt\"\n\u{1F600}!");
            let answer = post(&plain, path, &wire.body(stream), "tokens=100; text=one two three").await;
            let text = read(&wire, &answer).0;
            assert_eq!(text.split_whitespace().count(), 100);
            assert!(text.starts_with("one two three one two three one"), "{text}");
            let answer = post(&plain, path, &wire.body(stream), "tokens=0").await;
            assert_eq!(read(&wire, &answer).0, "");
        }
    }
}

#[tokio::test]
async fn max_tokens_cut_the_text() {
    let simulator = plain();
    for (wire, reason) in wires().into_iter().zip(["length", "max_tokens", "MAX_TOKENS", "length"]) {
        let mut body = wire.body(false);
        body["max_tokens"] = json!(3);
        body["options"] = json!({"num_predict": 3});
        body["generationConfig"] = json!({"maxOutputTokens": 3});
        let (text, finish, [_, completion]) = unary(&wire, &post(&simulator, wire.unary, &body, "").await);
        assert_eq!((text.as_str(), finish.as_str(), completion), ("This is a", reason, 3));
    }
}

#[tokio::test]
async fn openai_streams_usage_only_when_asked_and_ends_with_done() {
    let simulator = plain();
    let [wire, ..] = wires();
    let answer = post(&simulator, wire.stream, &wire.body(true), "").await;
    assert_eq!(answer.header("content-type"), "text/event-stream; charset=utf-8");
    assert_eq!(answer.frames().last(), Some(&"data: [DONE]"));
    assert!(answer.events().iter().all(|event| event.get("usage").is_none() && event["choices"][0].is_object()));
    let answer = post(&simulator, wire.stream, &with_usage(&wire), "").await;
    let events = answer.events();
    let (last, others) = events.split_last().unwrap();
    assert!(others.iter().all(|event| event["usage"].is_null() && event.get("usage").is_some()));
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], 24);
}

#[tokio::test]
async fn anthropic_names_every_event_and_pings() {
    let simulator = plain();
    let [_, wire, ..] = wires();
    let answer = post(&simulator, wire.stream, &wire.body(true), "tokens=1").await;
    let names: Vec<&str> = answer
        .frames()
        .iter()
        .zip(answer.events())
        .map(|(frame, event)| {
            let name = frame.lines().next().unwrap().strip_prefix("event: ").unwrap();
            assert_eq!(event["type"], name);
            name
        })
        .collect();
    let expected = [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(names, expected);
}

#[tokio::test]
async fn gemini_counts_on_in_crlf_frames_or_sends_an_array() {
    let simulator = plain();
    let [_, _, wire, _] = wires();
    let answer = post(&simulator, wire.stream, &wire.body(true), "tokens=3").await;
    assert!(!answer.text().replace("\r\n", "").contains('\n'), "{}", answer.text());
    let counts = |events: Vec<Value>| -> Vec<u64> {
        events.iter().map(|event| event["usageMetadata"]["candidatesTokenCount"].as_u64().unwrap()).collect()
    };
    assert_eq!(counts(answer.events()), [1, 2, 3, 3]);
    let path = wire.stream.strip_suffix("?alt=sse").unwrap();
    let answer = post(&simulator, path, &wire.body(true), "tokens=3").await;
    assert_eq!(answer.header("content-type"), "application/json; charset=UTF-8");
    assert_eq!(counts(answer.json().as_array().unwrap().clone()), [0, 1, 2, 3, 3]);
}

/// Name and arguments of every call in an answer, streamed or not.
fn calls(wire: &Wire, answer: &Answer) -> Vec<(String, Value)> {
    let events =
        if answer.header("content-type").contains("event-stream") || answer.header("content-type").contains("ndjson") {
            answer.events()
        } else {
            vec![answer.json()]
        };
    let mut found: Vec<(String, String)> = Vec::new();
    let mut add = |call: &Value, arguments: &Value| {
        let text = arguments.as_str().map_or_else(|| arguments.to_string(), str::to_owned);
        match (call["name"].as_str(), found.last_mut()) {
            (Some(name), _) => found.push((name.to_owned(), text)),
            (None, Some((_, kept))) => kept.push_str(&text),
            (None, None) => panic!("arguments without a call"),
        }
    };
    let items = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for event in events {
        match wire.name {
            "openai" => {
                let choice = &event["choices"][0];
                let message = choice.get("message").unwrap_or(&choice["delta"]);
                for call in items(&message["tool_calls"]) {
                    add(&call["function"], &call["function"]["arguments"]);
                }
            }
            "anthropic" => {
                for block in items(&event["content"]) {
                    add(&block, &block["input"]);
                }
                let block = &event["content_block"];
                if block["type"] == "tool_use" {
                    assert_eq!(block["input"], json!({}));
                    add(block, &json!(""));
                }
                if event["delta"]["type"] == "input_json_delta" {
                    add(&Value::Null, &event["delta"]["partial_json"]);
                }
            }
            "gemini" => {
                for part in items(&event["candidates"][0]["content"]["parts"]) {
                    if let Some(call) = part.get("functionCall") {
                        add(call, &call["args"]);
                    }
                }
            }
            _ => {
                for call in items(&event["message"]["tool_calls"]) {
                    add(&call["function"], &call["function"]["arguments"]);
                }
            }
        }
    }
    found.into_iter().map(|(name, text)| (name, serde_json::from_str(&text).unwrap())).collect()
}

#[tokio::test]
async fn scripted_calls_in_every_format() {
    let simulator = plain();
    let arguments = json!({"city": "Zürich \"HB\"", "days": [1, 2, 3]});
    for wire in wires() {
        for stream in [false, true] {
            let mut reply = Reply::tool_call("weather", arguments.to_string());
            let other = Reply::tool_call("time", "");
            reply.overrides.tool_calls.as_mut().unwrap().extend(other.overrides.tool_calls.unwrap());
            simulator.push(reply).unwrap();
            let path = if stream { wire.stream } else { wire.unary };
            let answer = post(&simulator, path, &wire.body(stream), "").await;
            let expected = [("weather".to_owned(), arguments.clone()), ("time".to_owned(), json!({}))];
            assert_eq!(calls(&wire, &answer), expected, "{} {stream}", wire.name);
            let reason = ["tool_calls", "tool_use", "STOP", "stop"].iter().find(|reason| {
                let text = answer.text();
                text.contains(&format!("reason\":\"{reason}\"")) || text.contains(&format!("Reason\":\"{reason}\""))
            });
            assert!(reason.is_some(), "{}", answer.text());
        }
    }
}

#[tokio::test]
async fn a_forced_tool_is_called_with_arguments_that_fit() {
    let simulator = plain();
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 5}}, "required": ["n"]});
    let [openai, anthropic, gemini, _] = wires();
    for (wire, extra) in [
        (
            openai,
            json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}],
                   "tool_choice": "required"}),
        ),
        (anthropic, json!({"tools": [{"name": "f", "input_schema": schema}], "tool_choice": {"type": "any"}})),
        (
            gemini,
            json!({"tools": [{"functionDeclarations": [{"name": "f", "parameters": schema}]}],
                   "toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}),
        ),
    ] {
        let mut body = wire.body(false);
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let answer = post(&simulator, wire.unary, &body, "").await;
        assert_eq!(calls(&wire, &answer), [("f".to_owned(), json!({"n": 5}))]);
    }
}

#[tokio::test]
async fn a_structured_answer_fits_its_schema() {
    let simulator = plain();
    let schema = json!({"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]});
    for wire in wires() {
        let mut body = wire.body(false);
        match wire.name {
            "openai" => body["response_format"] = json!({"type": "json_schema", "json_schema": {"schema": schema}}),
            "anthropic" => body["output_config"] = json!({"format": {"type": "json_schema", "schema": schema}}),
            "gemini" => {
                let kind = "application/json";
                body["generationConfig"] = json!({"responseMimeType": kind, "responseSchema": schema});
            }
            _ => body["format"] = schema.clone(),
        }
        let (text, ..) = unary(&wire, &post(&simulator, wire.unary, &body, "").await);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!({"ok": true}), "{}", wire.name);
    }
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

#[tokio::test]
async fn one_text_has_one_vector_everywhere() {
    let simulator = plain();
    let body = json!({"model": "e", "input": ["a", "b"], "dimensions": 8});
    let openai = post(&simulator, "/v1/embeddings", &body, "").await.json();
    let (a, b) = (floats(&openai["data"][0]["embedding"]), floats(&openai["data"][1]["embedding"]));
    assert_eq!((a.len(), openai["data"][1]["index"].as_u64(), a != b), (8, Some(1), true));
    assert!((a.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
    assert_eq!(openai["usage"]["total_tokens"], 2);

    let body = json!({"model": "e", "input": ["b", "a"], "dimensions": 8, "encoding_format": "base64"});
    let packed = post(&simulator, "/v1/embeddings", &body, "").await.json();
    let bytes = base64::engine::general_purpose::STANDARD.decode(packed["data"][1]["embedding"].as_str().unwrap());
    let unpacked: Vec<f32> =
        bytes.unwrap().chunks(4).map(|chunk| f32::from_le_bytes(chunk.try_into().unwrap())).collect();
    assert_eq!(unpacked, a);

    let body = json!({"model": "e", "input": "a", "dimensions": 8});
    assert_eq!(floats(&post(&simulator, "/api/embed", &body, "").await.json()["embeddings"][0]), a);
    let one = json!({"content": {"parts": [{"text": "a"}]}, "outputDimensionality": 8});
    let path = "/v1beta/models/e:embedContent";
    assert_eq!(floats(&post(&simulator, path, &one, "").await.json()["embedding"]["values"]), a);
    let batch = json!({"requests": [one, one]});
    let batch = post(&simulator, "/v1beta/models/e:batchEmbedContents", &batch, "").await.json();
    assert_eq!((batch["embeddings"].as_array().unwrap().len(), floats(&batch["embeddings"][1]["values"])), (2, a));
    let default = post(&simulator, "/v1/embeddings", &json!({"model": "e", "input": "a"}), "").await.json();
    assert_eq!(floats(&default["data"][0]["embedding"]).len(), 1536);
}

#[tokio::test]
async fn errors_in_every_format() {
    let simulator = plain();
    for wire in wires() {
        for (status, kinds) in [
            (401, ["invalid_api_key", "authentication_error", "UNAUTHENTICATED"]),
            (404, ["model_not_found", "not_found_error", "NOT_FOUND"]),
            (429, ["rate_limit_exceeded", "rate_limit_error", "RESOURCE_EXHAUSTED"]),
            (529, ["server_error", "overloaded_error", "UNAVAILABLE"]),
        ] {
            let answer = post(&simulator, wire.stream, &wire.body(true), &format!("status={status}")).await;
            assert_eq!(answer.status.as_u16(), status);
            let json = answer.json();
            let error = &json["error"];
            let (kind, message) = match wire.name {
                "openai" if status == 529 => (&error["type"], &error["message"]),
                "openai" => (&error["code"], &error["message"]),
                "anthropic" => (&error["type"], &error["message"]),
                "gemini" => (&error["status"], &error["message"]),
                _ => (&json["kind"], error),
            };
            assert!(message.as_str().unwrap().contains("simulated"), "{json}");
            assert!(wire.name == "ollama" || kinds.contains(&kind.as_str().unwrap()), "{json}");
        }
    }
}

#[tokio::test]
async fn an_error_of_choice_with_its_wait() {
    let simulator = plain();
    let control = "status=429; error=insufficient_quota; retry_after_ms=1500";
    let [openai, anthropic, gemini, _] = wires();
    let answer = post(&simulator, openai.unary, &openai.body(false), control).await;
    assert_eq!((answer.header("retry-after"), answer.header("retry-after-ms")), ("2", "1500"));
    assert_eq!(answer.json()["error"]["code"], "insufficient_quota");
    let answer = post(&simulator, anthropic.unary, &anthropic.body(false), "status=529; retry_after_ms=1500").await;
    assert_eq!(answer.header("retry-after"), "2");
    let answer = post(&simulator, gemini.unary, &gemini.body(false), "status=429; retry_after_ms=1500").await;
    assert!(answer.headers.get("retry-after").is_none());
    let json = answer.json();
    let details = json["error"]["details"].as_array().unwrap();
    assert!(details.iter().any(|detail| detail["retryDelay"] == "1.5s"), "{details:?}");
}

#[tokio::test]
async fn what_a_provider_would_refuse() {
    let simulator = plain();
    for wire in wires() {
        let answer = post(&simulator, wire.unary, &json!("no object"), "").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", wire.name);
        assert!(answer.json().get("error").is_some());
    }
    for (path, status) in [("/v1/nothing", 404), ("/v1/models", 405)] {
        let answer = post(&simulator, path, &json!({}), "").await;
        assert_eq!(
            (answer.status.as_u16(), answer.json()["error"]["type"].as_str()),
            (status, Some("invalid_request_error"))
        );
    }
    let [openai, ..] = wires();
    let answer = post(&simulator, openai.unary, &openai.body(false), "speed=11").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.text().contains("unknown key"), "{}", answer.text());
}

#[tokio::test]
async fn request_ids_and_limits_in_each_dialect() {
    let simulator = plain();
    for wire in wires() {
        let first = post(&simulator, wire.unary, &wire.body, "").await;
        let second = post(&simulator, wire.unary, &wire.body, "tokens=3").await;
        assert!(first.header("server").contains("simulator"));
        let limits = RateLimits::from_headers(&first.headers, SystemTime::now());
        let id = match wire.name {
            "openai" => "x-request-id",
            "anthropic" => "request-id",
            _ => {
                assert_eq!(limits, None, "{} sends none", wire.name);
                continue;
            }
        };
        assert!(first.header(id).starts_with("req_") && first.header(id) != second.header(id));
        assert_ne!(first.json()["id"], second.json()["id"]);
        let limits = limits.unwrap();
        assert_eq!((limits.limit_requests, limits.remaining_requests), (Some(10_000), Some(9_999)));
        assert!(limits.remaining_tokens < limits.limit_tokens && limits.reset_tokens.is_some());
    }
}

#[tokio::test]
async fn models_are_listed() {
    let simulator = plain();
    let mut client = Client::new(&simulator, BOTH[0]).await;
    let request = http::Request::builder().uri("/v1/models").header("host", "x").body(Default::default()).unwrap();
    let answer = Answer::read(client.send(request).await.unwrap()).await;
    assert_eq!(answer.json()["object"], "list");
    assert!(answer.json()["data"].as_array().unwrap().iter().all(|model| model["id"].is_string()));
}
