//! Marks where they belong, never more than four, the long-lived ones first.

use super::*;
use crate::model::Options;

fn long(role: Role) -> Message {
    Message::text(role, "word ".repeat(2000))
}

fn request(messages: Vec<Message>, tools: usize) -> ChatRequest {
    let tool = Tool { name: "f".into(), description: Some("does ".repeat(2000)), ..Tool::default() };
    let options = Options { tools: vec![tool; tools], ..Options::default() };
    let messages = messages.into_iter().map(Arc::new).collect();
    ChatRequest { model: "claude-sonnet-4-5".into(), messages, options, stream: false }
}

/// The places that are marked: `t` for the tools, the numbers of the messages, each with `!` for one hour.
fn marked(request: &ChatRequest) -> Vec<String> {
    let show = |what: String, mark: &CacheControl| format!("{what}{}", if mark.ttl.is_some() { "!" } else { "" });
    let tools = request.options.cache_tools.iter().map(|mark| show("t".into(), mark));
    let messages = request.messages.iter().enumerate();
    let messages = messages.filter_map(|(n, m)| m.cache.as_ref().map(|mark| show(n.to_string(), mark)));
    tools.chain(messages).collect()
}

fn applied(config: &PromptCache, mut request: ChatRequest) -> Vec<String> {
    config.apply(&mut request);
    marked(&request)
}

const TALK: [Role; 6] = [Role::System, Role::User, Role::Assistant, Role::User, Role::Assistant, Role::User];

fn talk() -> Vec<Message> {
    TALK.into_iter().map(long).collect()
}

#[test]
fn tools_system_and_the_last_two_turns() {
    let config = PromptCache::default();
    assert_eq!(applied(&config, request(talk(), 2)), ["t", "0", "3", "5"]);
    assert_eq!(applied(&config, request(talk(), 0)), ["0", "3", "5"]);
    let only = PromptCache { tools: false, last_turns: 0, ..config.clone() };
    assert_eq!(applied(&only, request(talk(), 2)), ["0"]);
    let turns = PromptCache { system: false, tools: false, last_turns: 4, ..config };
    assert_eq!(applied(&turns, request(talk(), 2)), ["1", "3", "5"]);
}

#[test]
fn one_hour_stands_before_five_minutes() {
    let config = PromptCache { ttl: Ttl::OneHour, ..PromptCache::default() };
    assert_eq!(applied(&config, request(talk(), 1)), ["t!", "0!", "3", "5"]);
    let all = PromptCache { turns_ttl: Ttl::OneHour, ..config };
    assert_eq!(applied(&all, request(talk(), 1)), ["t!", "0!", "3!", "5!"]);
    // Behind the caller's own mark of five minutes nothing is kept longer.
    let mut own = talk();
    own[1].cache = Some(CacheControl { ttl: None });
    let hours = PromptCache { ttl: Ttl::OneHour, turns_ttl: Ttl::OneHour, ..PromptCache::default() };
    assert_eq!(applied(&hours, request(own, 1)), ["t!", "0!", "1", "5"]);
    // The caller's own mark of an hour pulls along what stands before it.
    let mut own = talk();
    own[3].cache = Some(CacheControl { ttl: Some("1h".into()) });
    assert_eq!(applied(&PromptCache::default(), request(own, 1)), ["t!", "0!", "3!", "5"]);
    assert!(PromptCache { turns_ttl: Ttl::OneHour, ..PromptCache::default() }.check().is_err());
    assert!(PromptCache { last_turns: 5, ..PromptCache::default() }.check().is_err());
}

#[test]
fn marks_that_are_there_count() {
    let five = || Some(CacheControl { ttl: None });
    let mut own = talk();
    for at in [1, 2, 3] {
        own[at].cache = five();
    }
    assert_eq!(applied(&PromptCache::default(), request(own.clone(), 1)), ["0", "1", "2", "3"]);
    own[4].content = vec![Part::Text { text: "x".into(), cache: five(), citations: Vec::new() }];
    assert_eq!(applied(&PromptCache::default(), request(own, 1)), ["1", "2", "3"], "no room");
    let mut twice = request(talk(), 1);
    PromptCache::default().apply(&mut twice);
    let once = marked(&twice);
    PromptCache::default().apply(&mut twice);
    assert_eq!(marked(&twice), once, "marking again changes nothing");
}

#[test]
fn what_is_surely_too_short_is_not_marked() {
    let short = |role| Message::text(role, "x".repeat(600));
    let messages = vec![short(Role::System), short(Role::User), short(Role::Assistant), long(Role::User)];
    assert_eq!(applied(&PromptCache::default(), request(messages.clone(), 0)), ["3"]);
    let from = PromptCache { min_tokens: Some(300), ..PromptCache::default() };
    assert_eq!(applied(&from, request(messages.clone(), 0)), ["0", "1", "3"]);
    // Tools are read first and count.
    assert_eq!(applied(&PromptCache::default(), request(messages, 1)), ["t", "0", "1", "3"]);
    let image = Part::Image { media: crate::model::Media::Url("https://x/y.png".into()), detail: None };
    let mut picture = Message::text(Role::User, "see");
    picture.content.push(image);
    assert_eq!(applied(&PromptCache::default(), request(vec![picture], 0)), ["0"]);
}

#[test]
fn tool_results_in_a_row_are_one_turn() {
    let result = |id: &str| {
        let content =
            vec![Part::ToolResult { id: id.into(), name: None, content: vec![Part::text("r")], is_error: false }];
        Message { role: Role::Tool, content, name: None, as_parts: false, cache: None }
    };
    let messages = vec![long(Role::System), long(Role::User), long(Role::Assistant), result("a"), result("b")];
    assert_eq!(applied(&PromptCache::default(), request(messages, 0)), ["0", "1", "4"]);
}

#[test]
fn never_more_than_four_and_always_in_order() {
    // Every way to mark six messages beforehand: what is there stays, what is added fits.
    for before in 0..3_usize.pow(6) {
        let mut messages = talk();
        let mut rest = before;
        for message in &mut messages {
            let mark = match rest % 3 {
                0 => None,
                1 => Some(CacheControl { ttl: None }),
                _ => Some(CacheControl { ttl: Some("1h".into()) }),
            };
            message.cache = mark;
            rest /= 3;
        }
        let given = messages.iter().filter(|message| message.cache.is_some()).count();
        let own: Vec<Ttl> = messages.iter().flat_map(ttls).collect();
        let mut request = request(messages, 1);
        let ttl = if before % 2 == 0 { Ttl::OneHour } else { Ttl::FiveMinutes };
        PromptCache { last_turns: 4, ttl, turns_ttl: ttl, ..PromptCache::default() }.apply(&mut request);
        let all: Vec<Ttl> = request
            .options
            .cache_tools
            .iter()
            .map(Ttl::of)
            .chain(request.messages.iter().flat_map(|m| ttls(m)))
            .collect();
        assert!(all.len() <= MAX_MARKS.max(given), "{before}: {all:?}");
        if own.is_sorted_by(|a, b| a >= b) {
            assert!(all.is_sorted_by(|a, b| a >= b), "{before}: {all:?}");
        }
    }
}
