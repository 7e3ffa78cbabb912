//! The keys of requests: whatever can change an answer changes the key, and nothing else does.
// clippy.toml allows these in tests, but does not reach functions outside of `#[test]`.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

use std::sync::Arc;

use edgequake_core::{
    cache::{Key, KeyBuilder, chat_key, embed_key, embed_keys},
    model::*,
};
use proptest::prelude::*;
use serde_json::{Value, json};

proptest! {
    /// Integers, floats of the same value, key order: one key. Another value: another key.
    #[test]
    fn json_keys_are_canonical(number in any::<i64>(), other in any::<i64>(), names in prop::collection::btree_set("[a-z]{1,4}", 0..6)) {
        let json_key = |value: &Value| KeyBuilder::new("test").json(value).finish();
        let small = number >> 11;
        prop_assert_eq!(json_key(&json!(small)), json_key(&json!(small as f64)), "53 bits fit a float");
        prop_assert_eq!(json_key(&json!(number)) == json_key(&json!(other)), number == other);
        let forth: JsonObject = names.iter().map(|n| (n.clone(), json!(n.len()))).collect();
        let back: JsonObject = names.iter().rev().map(|n| (n.clone(), json!(n.len() as f64))).collect();
        prop_assert_eq!(json_key(&Value::Object(forth)), json_key(&Value::Object(back)));
    }

    /// However a sequence of texts is cut, the key tells the pieces apart; also across the border at which hashing starts.
    #[test]
    fn pieces_are_told_apart(pieces in prop::collection::vec(0usize..40_000, 1..5), at in 0usize..40_000) {
        let all = "x".repeat(pieces.iter().sum());
        let hash = |cuts: &[usize]| {
            let mut builder = KeyBuilder::new("test");
            let mut rest = all.as_str();
            for cut in cuts {
                let (piece, after) = rest.split_at(*cut);
                builder.text(piece);
                rest = after;
            }
            builder.finish()
        };
        prop_assert_eq!(hash(&pieces), hash(&pieces));
        let mut moved = pieces.clone();
        let at = at.min(moved[0]);
        moved[0] -= at;
        moved.insert(1, at);
        prop_assert_ne!(hash(&pieces), hash(&moved));
    }
}

#[test]
fn numbers_that_are_equal_and_numbers_that_are_not() {
    let of = |text: &str| KeyBuilder::new("test").json(&serde_json::from_str(text).unwrap()).finish();
    for same in [["1", "1.0"], ["0", "-0.0"], ["100", "1e2"], ["-5", "-5.0"], ["0.5", "5e-1"]] {
        assert_eq!(of(same[0]), of(same[1]), "{same:?}");
    }
    let different = [
        "1",
        "2",
        "-1",
        "0",
        "0.1",
        "0.10000000000000002",
        "9007199254740993",
        "9007199254740992",
        "18446744073709551615",
        "18446744073709551614",
        "1e300",
        "1e301",
        "null",
        "true",
        "false",
        "\"1\"",
        "\"\"",
        "[]",
        "{}",
        "[1]",
        "[[1]]",
        "[1,2]",
        "[2,1]",
        "{\"a\":1}",
        "{\"a\":\"1\"}",
        "{\"a\":null}",
        "{\"b\":1}",
        "{\"a\":1,\"b\":2}",
        "{\"a\":2,\"b\":1}",
        "[\"a\",1]",
    ];
    for (n, left) in different.iter().enumerate() {
        for right in &different[n + 1..] {
            assert_ne!(of(left), of(right), "{left} and {right}");
        }
    }
}

#[test]
fn domains_and_kinds_do_not_mix() {
    let keys = [
        KeyBuilder::new("a").finish(),
        KeyBuilder::new("b").finish(),
        KeyBuilder::new("a").text("").finish(),
        KeyBuilder::new("a").list(0).finish(),
        KeyBuilder::new("a").integer(0).finish(),
        KeyBuilder::new("a").variant(0).finish(),
        KeyBuilder::new("a").flag(false).finish(),
        KeyBuilder::new("a").optional(None::<u32>, |_, _| ()).finish(),
        KeyBuilder::new("a").float(f64::NAN).finish(),
        KeyBuilder::new("a").float(f64::INFINITY).finish(),
    ];
    for (n, left) in keys.iter().enumerate() {
        assert!(!keys[n + 1..].contains(left), "{n}");
        assert_eq!(Key::from_bytes(left.to_bytes()), *left);
    }
}

#[test]
fn keys_are_the_same_in_every_process_and_release() {
    // If this fails, what older versions stored elsewhere is no longer found, or worse, found by another request.
    let value = json!({"b": [1, -2.5, true, null, "é"], "a": {"x": 18_446_744_073_709_551_615_u64}});
    let key = KeyBuilder::new("stable").json(&value).variant(3).flag(false).text("").finish();
    assert_eq!(key.to_string(), "dea177fa9cee244f700f5e7c065df345");
}

// ---- Every field of a request. ----

fn request() -> ChatRequest {
    let call = ToolCall { id: "c1".into(), name: "f".into(), arguments: "{}".into(), signature: Some("s".into()) };
    let media = Media::Base64 { media_type: "image/png".into(), data: "AAAA".into() };
    let parts = vec![
        Part::Text {
            text: "hi".into(),
            cache: Some(CacheControl { ttl: Some("5m".into()) }),
            citations: vec![json!({"c": 1})],
        },
        Part::Image { media: media.clone(), detail: Some("low".into()) },
        Part::Document { media: Media::FileId("file-1".into()), name: Some("a.pdf".into()) },
        Part::Audio { media: Media::Url("https://example.com/a.wav".into()) },
        Part::Thinking { text: "hm".into(), signature: Some("s".into()) },
        Part::RedactedThinking { data: "xx".into() },
        Part::Refusal { text: "no".into() },
        Part::ToolCall(call),
        Part::ToolResult { id: "c1".into(), name: Some("f".into()), content: vec![Part::text("42")], is_error: false },
        Part::Raw(json!({"type": "x"})),
    ];
    let tool = Tool {
        name: "f".into(),
        description: Some("does".into()),
        parameters: json!({"type": "object", "properties": {"a": {"minimum": 1}}}).as_object().unwrap().clone(),
        strict: Some(true),
        fit: true,
        extra: json!({"eager": true}).as_object().unwrap().clone(),
        raw: Some(json!({"type": "own"})),
    };
    ChatRequest {
        model: "m".into(),
        messages: vec![
            Arc::new(Message::text(Role::System, "be kind")),
            Arc::new(Message {
                role: Role::User,
                content: parts,
                name: Some("ann".into()),
                as_parts: true,
                cache: None,
            }),
        ],
        options: Options {
            max_tokens: Some(10),
            temperature: Some(0.5),
            top_p: Some(0.9),
            top_k: Some(5),
            stop: vec!["END".into()],
            seed: Some(7),
            presence_penalty: Some(0.1),
            frequency_penalty: Some(0.2),
            user: Some("u".into()),
            metadata: vec![("team".into(), "a".into())],
            tools: vec![tool],
            tool_choice: Some(ToolChoice::Named("f".into())),
            parallel_tool_calls: Some(false),
            response_format: Some(ResponseFormat::Schema {
                name: "n".into(),
                schema: json!({"type": "object"}),
                strict: Some(true),
                fit: true,
            }),
            reasoning: Some(Reasoning::Effort("low".into())),
            cache_tools: Some(CacheControl { ttl: None }),
            prompt_cache_key: Some("k".into()),
            cached_content: Some("cachedContents/a".into()),
            extra: json!({"logprobs": true}).as_object().unwrap().clone(),
            drop_unsupported: false,
        },
        stream: false,
    }
}

type Mutation = (&'static str, Box<dyn Fn(&mut ChatRequest)>);

fn content(request: &mut ChatRequest) -> &mut Vec<Part> {
    &mut Arc::make_mut(&mut request.messages[1]).content
}

/// Each changes one field of [`request`], or one kind into another of the same text.
fn mutations() -> Vec<Mutation> {
    let mut all: Vec<Mutation> = Vec::new();
    macro_rules! change {
        ($($name:literal: |$r:ident| $body:expr;)*) => { $( all.push(($name, Box::new(|$r: &mut ChatRequest| { $body; }))); )* };
    }
    macro_rules! option {
        ($($field:ident = $value:expr;)*) => { $(
            all.push((stringify!($field), Box::new(|r: &mut ChatRequest| r.options.$field = $value)));
            all.push((concat!(stringify!($field), " absent"), Box::new(|r: &mut ChatRequest| r.options.$field = Default::default())));
        )* };
    }
    macro_rules! part {
        ($($name:literal: $at:literal = $part:expr;)*) => { $( all.push(($name, Box::new(|r: &mut ChatRequest| content(r)[$at] = $part))); )* };
    }
    option! {
        max_tokens = Some(11);
        temperature = Some(0.6);
        top_p = Some(0.8);
        top_k = Some(6);
        stop = vec!["EN".into(), "D".into()];
        seed = Some(-7);
        presence_penalty = Some(-0.1);
        frequency_penalty = Some(0.1);
        user = Some("v".into());
        tool_choice = Some(ToolChoice::Required);
        parallel_tool_calls = Some(true);
        response_format = Some(ResponseFormat::Json);
        reasoning = Some(Reasoning::Budget(5));
        cache_tools = Some(CacheControl { ttl: Some("1h".into()) });
        prompt_cache_key = Some("l".into());
        cached_content = Some("cachedContents/b".into());
        extra = json!({"logprobs": false}).as_object().unwrap().clone();
    }
    change! {
        "model": |r| r.model = "m2".into();
        "role": |r| Arc::make_mut(&mut r.messages[0]).role = Role::Developer;
        "message gone": |r| r.messages.pop();
        "messages swapped": |r| r.messages.swap(0, 1);
        "message twice": |r| r.messages.push(r.messages[0].clone());
        "system text": |r| Arc::make_mut(&mut r.messages[0]).content = vec![Part::text("be rude")];
        "name": |r| Arc::make_mut(&mut r.messages[1]).name = None;
        "as_parts": |r| Arc::make_mut(&mut r.messages[1]).as_parts = false;
        "message mark": |r| Arc::make_mut(&mut r.messages[1]).cache = Some(CacheControl { ttl: None });
        "parts swapped": |r| content(r).swap(0, 1);
        "part gone": |r| content(r).pop();
        "tool name": |r| r.options.tools[0].name = "g".into();
        "tool description": |r| r.options.tools[0].description = None;
        "tool strict": |r| r.options.tools[0].strict = None;
        "tool not strict": |r| r.options.tools[0].strict = Some(false);
        "tool parameters": |r| r.options.tools[0].parameters["properties"]["a"]["minimum"] = json!(2);
        "tool fit": |r| r.options.tools[0].fit = false;
        "dropping": |r| r.options.drop_unsupported = true;
        "tool extra": |r| r.options.tools[0].extra.clear();
        "tool raw": |r| r.options.tools[0].raw = None;
        "no tools": |r| r.options.tools.clear();
        "two tools": |r| r.options.tools.push(r.options.tools[0].clone());
        "tool choice auto": |r| r.options.tool_choice = Some(ToolChoice::Auto);
        "tool choice none": |r| r.options.tool_choice = Some(ToolChoice::None);
        "tool choice named": |r| r.options.tool_choice = Some(ToolChoice::Named("required".into()));
        "format text": |r| r.options.response_format = Some(ResponseFormat::Text);
        "schema name": |r| r.options.response_format = Some(ResponseFormat::Schema { name: "o".into(), schema: json!({"type": "object"}), strict: Some(true), fit: true });
        "schema": |r| r.options.response_format = Some(ResponseFormat::Schema { name: "n".into(), schema: json!({"type": "array"}), strict: Some(true), fit: true });
        "schema fit": |r| r.options.response_format = Some(ResponseFormat::Schema { name: "n".into(), schema: json!({"type": "object"}), strict: Some(true), fit: false });
        "schema strict": |r| r.options.response_format = Some(ResponseFormat::Schema { name: "n".into(), schema: json!({"type": "object"}), strict: None, fit: true });
        "effort": |r| r.options.reasoning = Some(Reasoning::Effort("high".into()));
        "reasoning on": |r| r.options.reasoning = Some(Reasoning::On);
        "extra more": |r| r.options.extra.insert("a".into(), Value::Null);
    }
    part! {
        "text": 0 = Part::Text { text: "ho".into(), cache: Some(CacheControl { ttl: Some("5m".into()) }), citations: vec![json!({"c": 1})] };
        "citation": 0 = Part::Text { text: "hi".into(), cache: Some(CacheControl { ttl: Some("5m".into()) }), citations: vec![json!({"c": 2})] };
        "no citation": 0 = Part::Text { text: "hi".into(), cache: Some(CacheControl { ttl: Some("5m".into()) }), citations: Vec::new() };
        "cache mark": 0 = Part::text("hi");
        "cache default": 0 = Part::Text { text: "hi".into(), cache: Some(CacheControl { ttl: None }), citations: vec![json!({"c": 1})] };
        "cache ttl": 0 = Part::Text { text: "hi".into(), cache: Some(CacheControl { ttl: Some("1h".into()) }), citations: vec![json!({"c": 1})] };
        "media type": 1 = Part::Image { media: Media::Base64 { media_type: "image/gif".into(), data: "AAAA".into() }, detail: Some("low".into()) };
        "media data": 1 = Part::Image { media: Media::Base64 { media_type: "image/png".into(), data: "AAAB".into() }, detail: Some("low".into()) };
        "media kind": 1 = Part::Image { media: Media::Url("AAAA".into()), detail: Some("low".into()) };
        "detail": 1 = Part::Image { media: Media::Base64 { media_type: "image/png".into(), data: "AAAA".into() }, detail: None };
        "file id": 2 = Part::Document { media: Media::FileId("file-2".into()), name: Some("a.pdf".into()) };
        "file url": 2 = Part::Document { media: Media::Url("file-1".into()), name: Some("a.pdf".into()) };
        "document name": 2 = Part::Document { media: Media::FileId("file-1".into()), name: None };
        "audio": 3 = Part::Audio { media: Media::Url("https://example.com/b.wav".into()) };
        "thinking": 4 = Part::Thinking { text: "hmm".into(), signature: Some("s".into()) };
        "signature": 4 = Part::Thinking { text: "hm".into(), signature: None };
        "redacted": 5 = Part::RedactedThinking { data: "xy".into() };
        "refusal": 6 = Part::Refusal { text: "never".into() };
        "refusal as text": 6 = Part::text("no");
        "call id": 7 = Part::ToolCall(ToolCall { id: "c2".into(), name: "f".into(), arguments: "{}".into(), signature: Some("s".into()) });
        "call name": 7 = Part::ToolCall(ToolCall { id: "c1".into(), name: "g".into(), arguments: "{}".into(), signature: Some("s".into()) });
        "call arguments": 7 = Part::ToolCall(ToolCall { id: "c1".into(), name: "f".into(), arguments: "{ }".into(), signature: Some("s".into()) });
        "call signature": 7 = Part::ToolCall(ToolCall { id: "c1".into(), name: "f".into(), arguments: "{}".into(), signature: None });
        "result id": 8 = Part::ToolResult { id: "c2".into(), name: Some("f".into()), content: vec![Part::text("42")], is_error: false };
        "result name": 8 = Part::ToolResult { id: "c1".into(), name: None, content: vec![Part::text("42")], is_error: false };
        "result content": 8 = Part::ToolResult { id: "c1".into(), name: Some("f".into()), content: vec![Part::text("43")], is_error: false };
        "result error": 8 = Part::ToolResult { id: "c1".into(), name: Some("f".into()), content: vec![Part::text("42")], is_error: true };
        "raw": 9 = Part::Raw(json!({"type": "y"}));
    }
    all
}

#[test]
fn every_field_of_a_request_changes_the_key() {
    let of = |request: &ChatRequest| chat_key("openai", "https://a/v1", request);
    let original = of(&request());
    let mut seen = vec![("original", original)];
    for (name, mutate) in mutations() {
        let mut changed = request();
        mutate(&mut changed);
        assert_ne!(changed, request(), "{name} changes nothing");
        let key = of(&changed);
        if let Some((other, _)) = seen.iter().find(|(_, k)| *k == key) {
            panic!("{name} has the key of {other}");
        }
        seen.push((name, key));
    }
    assert_ne!(chat_key("azure", "https://a/v1", &request()), original);
    assert_ne!(chat_key("openai", "https://b/v1", &request()), original);
    assert_ne!(chat_key("openai", "http://a/v1", &request()), original);
    assert_ne!(chat_key("openai", "https://a/v2", &request()), original);
}

#[test]
fn what_cannot_change_the_answer_does_not_change_the_key() {
    let of = |request: &ChatRequest| chat_key("openai", "https://a/v1", request);
    let original = of(&request());
    assert_eq!(of(&request()), original);
    assert_eq!(of(&ChatRequest { stream: true, ..request() }), original, "a stream is replayed from a whole answer");
    let mut same = request();
    same.options.metadata = vec![("team".into(), "b".into())];
    assert_eq!(of(&same), original, "labels");
    same.options.tools[0].parameters =
        serde_json::from_str(r#"{"properties": {"a": {"minimum": 1.0}}, "type": "object"}"#).unwrap();
    assert_eq!(of(&same), original, "key order and 1.0");
    same.options.temperature = Some(0.0);
    let zero = of(&same);
    same.options.temperature = Some(-0.0);
    assert_eq!(of(&same), zero);
    assert_eq!(chat_key("openai", "https://a/v1/", &request()), original, "a slash at the end");
    assert_eq!(chat_key("openai", "https://ann:secret@a/v1", &request()), original, "secrets are not in it");
    assert_eq!(chat_key("openai", "https://a/v1/?api-key=secret&token=t", &request()), original, "nor from the query");
    let version = chat_key("openai", "https://a/v1?api-version=2", &request());
    assert_ne!(version, original, "what is no secret is");
    assert_eq!(chat_key("openai", "https://a/v1?subscription-key=s&api-version=2", &request()), version);
}

fn embed(base_url: &str, text: &str) -> Key {
    embed_key("openai", base_url, "m", Some(256), Some("query"), &JsonObject::new(), text)
}

#[test]
fn every_field_of_an_embedding_changes_the_key() {
    let none = JsonObject::new();
    let some = json!({"a": 1}).as_object().unwrap().clone();
    let keys = [
        embed("https://a", "t"),
        embed("https://b", "t"),
        embed("https://a", "u"),
        embed_key("gemini", "https://a", "m", Some(256), Some("query"), &none, "t"),
        embed_key("openai", "https://a", "n", Some(256), Some("query"), &none, "t"),
        embed_key("openai", "https://a", "m", Some(512), Some("query"), &none, "t"),
        embed_key("openai", "https://a", "m", None, Some("query"), &none, "t"),
        embed_key("openai", "https://a", "m", Some(256), Some("document"), &none, "t"),
        embed_key("openai", "https://a", "m", Some(256), None, &none, "t"),
        embed_key("openai", "https://a", "m", Some(256), Some("query"), &some, "t"),
    ];
    for (n, left) in keys.iter().enumerate() {
        assert!(!keys[n + 1..].contains(left), "{n}");
    }
    let request = EmbedRequest {
        model: "m".into(),
        inputs: vec!["t".into(), "u".into(), "t".into()],
        dimensions: Some(256),
        task_type: Some("query".into()),
        extra: none,
    };
    assert_eq!(embed_keys("openai", "https://a", &request), [keys[0], keys[2], keys[0]]);
}
