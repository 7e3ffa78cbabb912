//! Real 429s, and failures by chance that are the same every time.

use std::time::{Duration, SystemTime};

use edgequake_core::{
    simulator::{Reply, SimulatorConfig},
    wire::RateLimits,
};
use serde_json::json;

use crate::client::{Client, Speak, eventually, post, start, wires};

/// Long enough that nothing comes back during a test.
const LONG: Duration = Duration::from_secs(10_000);

#[tokio::test]
async fn requests_beyond_the_limit_are_answered_429() {
    for wire in wires() {
        let config = SimulatorConfig { requests_per_minute: Some(3), limit_window: LONG, ..SimulatorConfig::default() };
        let simulator = start(config);
        for left in [2, 1, 0] {
            let answer = post(&simulator, wire.stream, &wire.body(true), "").await;
            assert_eq!(answer.status, 200);
            if let Some(limits) = RateLimits::from_headers(&answer.headers, SystemTime::now()) {
                assert_eq!((limits.limit_requests, limits.remaining_requests), (Some(3), Some(left)));
            }
        }
        let answer = post(&simulator, wire.stream, &wire.body(true), "").await;
        assert_eq!(answer.status, 429, "{}", wire.name);
        assert!(answer.text().contains("requests per minute"), "{}", answer.text());
        let wait = answer.headers.get("retry-after").map(|value| value.to_str().unwrap().parse::<u64>().unwrap());
        match wire.name {
            "gemini" => {
                let json = answer.json();
                let details = json["error"]["details"].as_array().unwrap();
                let delay = details.iter().find_map(|detail| detail["retryDelay"].as_str()).unwrap();
                assert!(delay.starts_with("33") && delay.ends_with('s'), "{delay}");
            }
            _ => assert!(wait.is_some_and(|wait| (3000..=3334).contains(&wait)), "{wait:?}"),
        }
        assert_eq!(simulator.stats().rate_limited, 1);
    }
}

#[tokio::test]
async fn tokens_beyond_the_limit_are_answered_429() {
    let config = SimulatorConfig { tokens_per_minute: Some(100), limit_window: LONG, ..SimulatorConfig::default() };
    let simulator = start(config);
    let [openai, ..] = wires();
    let post = |control: &'static str| post(&simulator, openai.unary, &openai.body, control);
    let answer = post("tokens=60").await;
    assert_eq!(answer.status, 200);
    let usage = answer.json()["usage"]["total_tokens"].as_u64().unwrap();
    let limits = RateLimits::from_headers(&answer.headers, SystemTime::now()).unwrap();
    assert_eq!((limits.limit_tokens, limits.remaining_tokens), (Some(100), Some(100 - usage)));
    let answer = post("tokens=60").await;
    assert_eq!((answer.status.as_u16(), &answer.json()["error"]["type"]), (429, &json!("tokens")));
}

#[tokio::test]
async fn requests_at_once_beyond_the_limit_are_answered_429() {
    let simulator = start(SimulatorConfig { max_concurrent: Some(2), ..SimulatorConfig::default() });
    let [openai, ..] = wires();
    let mut client = Client::new(&simulator, Speak::H2).await;
    let stalled = crate::client::request(openai.stream, &openai.body(true), "stall_after=1");
    let first = client.send(stalled.clone()).await.unwrap();
    let _second = client.send(stalled).await.unwrap();
    for _ in 0..3 {
        let answer = client.post(openai.unary, &openai.body, "").await;
        assert_eq!(answer.status, 429);
        assert!(answer.text().contains("requests at once"));
    }
    drop(first);
    eventually(&simulator, |stats| stats.aborted == 1).await;
    assert_eq!(client.post(openai.unary, &openai.body, "").await.status, 200);
    assert_eq!(simulator.stats().max_in_flight, 3);
}

#[tokio::test]
async fn limits_fill_up_again() {
    let config = SimulatorConfig {
        requests_per_minute: Some(1),
        limit_window: Duration::from_millis(50),
        ..SimulatorConfig::default()
    };
    let simulator = start(config);
    let [openai, ..] = wires();
    while post(&simulator, openai.unary, &openai.body, "").await.status != 429 {}
    while post(&simulator, openai.unary, &openai.body, "").await.status != 200 {}
}

#[tokio::test]
async fn scripted_replies_pass_the_limits() {
    let config = SimulatorConfig { requests_per_minute: Some(1), limit_window: LONG, ..SimulatorConfig::default() };
    let simulator = start(config);
    let [openai, ..] = wires();
    for _ in 0..3 {
        simulator.push(Reply::text("scripted")).unwrap();
        assert_eq!(post(&simulator, openai.unary, &openai.body, "").await.status, 200);
    }
    assert_eq!(post(&simulator, openai.unary, &openai.body, "").await.status, 200);
    assert_eq!(post(&simulator, openai.unary, &openai.body, "").await.status, 429);
}

#[tokio::test]
async fn chance_is_repeatable() {
    let [openai, ..] = wires();
    let mut patterns = Vec::new();
    for seed in [1, 1, 2] {
        let config = SimulatorConfig { failure_rate: 0.5, failure_status: 503, seed, ..SimulatorConfig::default() };
        let simulator = start(config);
        let mut client = Client::new(&simulator, Speak::H1).await;
        let mut pattern = Vec::new();
        for _ in 0..40 {
            pattern.push(client.post(openai.unary, &openai.body, "").await.status.as_u16());
        }
        assert!(pattern.contains(&200) && pattern.contains(&503), "{pattern:?}");
        patterns.push(pattern);
    }
    assert_eq!(patterns[0], patterns[1]);
    assert_ne!(patterns[0], patterns[2]);
}
