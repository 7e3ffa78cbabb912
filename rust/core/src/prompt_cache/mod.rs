//! Where a prompt gets its cache marks, for providers that cache only what is marked (Anthropic, and OpenRouter before it).
//!
//! Pure: a config and a request go in, the request with marks comes out. The provider reads a prompt in the order tools,
//! system, messages, and a mark covers everything before it; so the best places are behind what stays the same longest:
//! the tools, the system prompt, and the last turns of the user's side.

mod minimum;

pub use minimum::minimum_tokens;

use std::sync::Arc;

use crate::{
    error::Error,
    model::{CacheControl, ChatRequest, JsonObject, Message, Options, Part, Role, Tool},
};

/// A prompt may have this many marks (Anthropic: "You can define up to 4 cache breakpoints").
pub const MAX_MARKS: usize = 4;

/// Fewer bytes than this a token are not to be expected, in no language. A prefix below the model's minimum by this measure
/// is not marked; marking one that turns out too short costs nothing, because the provider then ignores the mark.
const BYTES_A_TOKEN: usize = 2;

/// What an image or a document comes to at least, in bytes of text, where its size is not known.
const MEDIA: usize = 2 * 4096;

/// How long the provider keeps what is marked. Every hit starts the time anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ttl {
    /// Five minutes. Writing costs 1.25 times the input price.
    #[default]
    FiveMinutes,
    /// One hour. Writing costs twice the input price.
    OneHour,
}

impl Ttl {
    /// The lifetime of that name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "5m" => Some(Self::FiveMinutes),
            "1h" => Some(Self::OneHour),
            _ => None,
        }
    }

    /// The lifetime of a mark; one that says nothing has the provider's default, five minutes.
    fn of(mark: &CacheControl) -> Self {
        mark.ttl.as_deref().and_then(Self::parse).unwrap_or_default()
    }

    /// The mark. Five minutes are the default and are not said.
    fn mark(self) -> CacheControl {
        CacheControl { ttl: (self == Self::OneHour).then(|| "1h".to_owned()) }
    }
}

/// What to mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptCache {
    /// Behind the system prompt, which covers the tools too.
    pub system: bool,
    /// Behind the tools, for when the system prompt changes and they do not.
    pub tools: bool,
    /// Behind so many last turns of the user's side: the last one writes what the next call reads.
    pub last_turns: usize,
    /// How long tools and system prompt are kept.
    pub ttl: Ttl,
    /// How long the turns are kept; at most as long as what stands before them.
    pub turns_ttl: Ttl,
    /// Shorter prefixes are not marked; `None` is the model's own minimum.
    pub min_tokens: Option<u32>,
    /// OpenAI's `prompt_cache_key`: calls of equal keys go to the machine that knows their prefix.
    pub key: Option<String>,
}

impl Default for PromptCache {
    fn default() -> Self {
        Self {
            system: true,
            tools: true,
            last_turns: 2,
            ttl: Ttl::FiveMinutes,
            turns_ttl: Ttl::FiveMinutes,
            min_tokens: None,
            key: None,
        }
    }
}

/// A place for a mark, in the order in which a prompt is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Tools,
    /// Behind this message.
    Message(usize),
}

impl PromptCache {
    /// Refuses what no provider would take.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration).
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |message: &str| Err(Error::new(crate::ErrorKind::Configuration, message));
        if self.turns_ttl > self.ttl && (self.system || self.tools) {
            return wrong("the turns cannot be kept for 1h behind a system prompt kept for 5m: give ttl=\"1h\" too");
        }
        if self.last_turns > MAX_MARKS {
            return wrong("a prompt has at most 4 cache marks: the last 4 turns are the most that can be marked");
        }
        Ok(())
    }

    /// Marks a request.
    pub fn apply(&self, request: &mut ChatRequest) {
        let options = &request.options;
        let marked = tool_ttls(options);
        let before = tools_size(&options.tools);
        let tools = (marked.is_empty() && !options.tools.is_empty()).then_some(before);
        let places = self.places(Some(&request.model), &request.messages, tools, before, &marked);
        for (place, mark) in places {
            match place {
                Place::Tools => request.options.cache_tools = Some(mark),
                Place::Message(at) => set(&mut request.messages, at, mark),
            }
        }
    }

    /// Marks messages alone. Without a model's name the smallest minimum of any model holds.
    pub fn apply_to_messages(&self, model: Option<&str>, messages: &mut [Arc<Message>]) {
        for (place, mark) in self.places(model, messages, None, 0, &[]) {
            if let Place::Message(at) = place {
                set(messages, at, mark);
            }
        }
    }

    /// The marks to add: as many as the marks that are there leave room for, the most useful first.
    fn places(
        &self,
        model: Option<&str>,
        messages: &[Arc<Message>],
        tools: Option<usize>,
        tools_size: usize,
        tool_marks: &[Ttl],
    ) -> Vec<(Place, CacheControl)> {
        let there: usize = tool_marks.len() + messages.iter().map(|message| marks(message)).sum::<usize>();
        let room = MAX_MARKS.saturating_sub(there);
        let minimum = self.min_tokens.unwrap_or_else(|| minimum_tokens(model));
        let long_enough = |bytes: usize| bytes >= minimum as usize * BYTES_A_TOKEN;
        // All that is read before and with each message. The system messages come first, wherever they stand.
        let system: usize = messages.iter().filter(|m| m.role.is_system()).map(|m| size(m)).sum();
        let mut read = tools_size + system;
        let mut sizes = Vec::with_capacity(messages.len());
        for message in messages {
            if !message.role.is_system() {
                read += size(message);
            }
            sizes.push(read);
        }
        let last_system = messages.iter().rposition(|message| message.role.is_system());
        let turns = turn_ends(messages);
        // The last turn covers all there is, the system prompt is what other conversations share.
        let mut wanted: Vec<(Place, usize, Ttl)> = Vec::new();
        if let Some(at) = last_system.filter(|_| self.system) {
            wanted.push((Place::Message(at), tools_size + system, self.ttl));
        }
        let mut last = turns.iter().rev().take(self.last_turns).map(|at| {
            let bytes = sizes.get(*at).copied().unwrap_or(0);
            (Place::Message(*at), bytes, self.turns_ttl)
        });
        wanted.extend(last.next());
        if let Some(bytes) = tools.filter(|_| self.tools) {
            wanted.push((Place::Tools, bytes, self.ttl));
        }
        wanted.extend(last);
        let mut chosen: Vec<(Place, Ttl)> = wanted
            .into_iter()
            .filter(|(place, bytes, _)| long_enough(*bytes) && !is_marked(messages, *place))
            .take(room)
            .map(|(place, _, ttl)| (place, ttl.min(shortest_before(messages, place))))
            .collect();
        // One hour must stand before five minutes: what is marked before a mark of one hour is kept as long.
        let longest_after = |place: Place, chosen: &[(Place, Ttl)]| {
            let ours = chosen.iter().filter(|(other, _)| order(messages, *other) > order(messages, place));
            let theirs = messages
                .iter()
                .enumerate()
                .filter(|(at, _)| order(messages, Place::Message(*at)) > order(messages, place));
            ours.map(|(_, ttl)| *ttl).chain(theirs.flat_map(|(_, message)| ttls(message))).max()
        };
        chosen.sort_by_key(|(place, _)| std::cmp::Reverse(order(messages, *place)));
        for n in 0..chosen.len() {
            let Some((place, ttl)) = chosen.get(n).copied() else { break };
            let longest = longest_after(place, &chosen).map_or(ttl, |after| after.max(ttl));
            if let Some(slot) = chosen.get_mut(n) {
                slot.1 = longest;
            }
        }
        chosen.into_iter().map(|(place, ttl)| (place, ttl.mark())).collect()
    }
}

/// The place's number in the order in which a prompt is read.
fn order(messages: &[Arc<Message>], place: Place) -> (u8, usize) {
    match place {
        Place::Tools => (0, 0),
        Place::Message(at) if messages.get(at).is_some_and(|message| message.role.is_system()) => (1, at),
        Place::Message(at) => (2, at),
    }
}

/// The shortest lifetime of the marks that stand before a place already; what stands behind them cannot be kept longer.
fn shortest_before(messages: &[Arc<Message>], place: Place) -> Ttl {
    let before =
        messages.iter().enumerate().filter(|(at, _)| order(messages, Place::Message(*at)) <= order(messages, place));
    before.flat_map(|(_, message)| ttls(message)).min().unwrap_or(Ttl::OneHour)
}

fn set(messages: &mut [Arc<Message>], at: usize, mark: CacheControl) {
    if let Some(message) = messages.get_mut(at) {
        Arc::make_mut(message).cache = Some(mark);
    }
}

/// The marks within a part.
fn part_ttls(part: &Part) -> Vec<Ttl> {
    match part {
        Part::Text { cache: Some(mark), .. } => vec![Ttl::of(mark)],
        Part::ToolResult { content, .. } => content.iter().flat_map(part_ttls).collect(),
        Part::Raw(value) => raw_ttl(value.as_object()).into_iter().collect(),
        _ => Vec::new(),
    }
}

fn raw_ttl(object: Option<&JsonObject>) -> Option<Ttl> {
    let mark = object?.get("cache_control").filter(|mark| mark.is_object())?;
    Some(mark.get("ttl").and_then(|ttl| ttl.as_str()).and_then(Ttl::parse).unwrap_or_default())
}

/// The lifetimes of the tools' marks, in order.
pub fn tool_ttls(options: &Options) -> Vec<Ttl> {
    let own = |tool: &Tool| raw_ttl(tool.raw.as_ref().map_or(Some(&tool.extra), |raw| raw.as_object()));
    let mut all: Vec<Ttl> = options.tools.iter().filter_map(own).collect();
    let last = options.tools.last().filter(|tool| own(tool).is_none());
    all.extend(options.cache_tools.iter().filter(|_| last.is_some()).map(Ttl::of));
    all
}

/// The lifetimes of a message's marks, in order.
pub fn ttls(message: &Message) -> Vec<Ttl> {
    let parts = message.content.iter().flat_map(part_ttls);
    let mut all: Vec<Ttl> = parts.collect();
    if let Some(mark) = &message.cache {
        // One place has one mark, though it may be given twice.
        if matches!(message.content.last(), Some(Part::Text { cache: Some(_), .. })) {
            all.pop();
        }
        all.push(Ttl::of(mark));
    }
    all
}

fn marks(message: &Message) -> usize {
    ttls(message).len()
}

fn is_marked(messages: &[Arc<Message>], place: Place) -> bool {
    match place {
        Place::Tools => false,
        Place::Message(at) => messages.get(at).is_some_and(|message| {
            message.cache.is_some() || message.content.last().is_some_and(|part| !part_ttls(part).is_empty())
        }),
    }
}

/// Where each turn of the user's side ends: behind a user's message, or behind the last of the tool results in a row.
fn turn_ends(messages: &[Arc<Message>]) -> Vec<usize> {
    let users = |message: &Message| matches!(message.role, Role::User | Role::Tool) && !message.content.is_empty();
    let turns: Vec<usize> =
        (0..messages.len()).filter(|at| messages.get(*at).is_some_and(|message| !message.role.is_system())).collect();
    let mut ends = Vec::new();
    for (n, at) in turns.iter().enumerate() {
        let next = turns.get(n + 1).and_then(|next| messages.get(*next));
        if messages.get(*at).is_some_and(|message| users(message)) && !next.is_some_and(|next| users(next)) {
            ends.push(*at);
        }
    }
    ends
}

/// Roughly how many bytes of text a message comes to; never too few.
fn size(message: &Message) -> usize {
    let media = |part: &Part| match part {
        Part::Image { .. } | Part::Document { .. } | Part::Audio { .. } | Part::Raw(_) => MEDIA,
        Part::ToolResult { content, .. } => {
            MEDIA * content.iter().filter(|part| !matches!(part, Part::Text { .. })).count()
        }
        _ => 0,
    };
    message.size() + message.content.iter().map(media).sum::<usize>()
}

fn tools_size(tools: &[Tool]) -> usize {
    let of = |tool: &Tool| {
        let schema = serde_json::to_string(&tool.parameters).map_or(0, |text| text.len());
        tool.name.len() + tool.description.as_ref().map_or(0, String::len) + schema
    };
    tools.iter().map(of).sum()
}

#[cfg(test)]
mod tests;
