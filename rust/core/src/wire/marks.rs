//! Cache marks in a prompt on their way to a provider that wants them, and the parts that cannot be sent there at all:
//! Anthropic's rules, which hold for its models wherever they run.

use crate::{
    error::Error,
    model::{CacheControl, ChatRequest, Message, Part, Role},
    prompt_cache::{self, MAX_MARKS},
};

use super::common::{is_empty_text, is_reasoning_detail};

/// Whether the part can be sent: empty texts are refused, and so is thinking that the provider has not signed.
pub(super) fn is_sent(part: &&Part) -> bool {
    let unsigned = matches!(part, Part::Thinking { signature: None, .. });
    !(unsigned || is_empty_text(part) || is_reasoning_detail(part))
}

/// Whether a turn of the model has nothing left to send. Empty ones are refused.
pub(super) fn is_silent(group: &[&Message]) -> bool {
    group.iter().all(|message| message.role == Role::Assistant && !message.content.iter().any(|part| is_sent(&part)))
}

/// Refuses more cache marks than are taken, and long-lived ones behind short-lived ones, in the order in which a prompt is
/// read: tools, system, messages.
pub(super) fn check(provider: &'static str, request: &ChatRequest) -> Result<(), Error> {
    let mut ttls = prompt_cache::tool_ttls(&request.options);
    for system in [true, false] {
        let messages = request.messages.iter().filter(|message| message.role.is_system() == system);
        ttls.extend(messages.flat_map(|message| prompt_cache::ttls(message)));
    }
    let problem = if ttls.len() > MAX_MARKS {
        format!("the prompt has {} cache marks, and {MAX_MARKS} are allowed: take some cache_control out", ttls.len())
    } else if !ttls.is_sorted_by(|before, after| before >= after) {
        "a cache mark of 1h stands behind one of 5m: give those before it ttl=\"1h\" too".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::invalid(problem).with_provider(provider).with_param("cache_control".to_owned()))
}

/// The parts of a message that are sent, with the message's cache mark at the last one that can carry it: thinking cannot.
pub(super) fn marked(message: &Message) -> impl Iterator<Item = (&Part, Option<&CacheControl>)> {
    let parts: Vec<&Part> = message.content.iter().filter(is_sent).collect();
    let takes = |part: &&Part| !matches!(part, Part::Thinking { .. } | Part::RedactedThinking { .. } | Part::Raw(_));
    let place = parts.iter().rposition(takes).filter(|_| message.cache.is_some());
    parts.into_iter().enumerate().map(move |(n, part)| (part, message.cache.as_ref().filter(|_| place == Some(n))))
}
