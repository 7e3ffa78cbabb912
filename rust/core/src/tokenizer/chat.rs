//! What a conversation costs in tokens beyond its texts, by OpenAI's published formula.
//!
//! The formula is that of the OpenAI Cookbook, *How to count tokens with tiktoken* (sections 6 and 7): three tokens for
//! each message, the role, the content and the name with one more, and three for the beginning of the answer; for tools
//! the constants below. OpenAI calls it an estimate for models that came later. What it says nothing of is approximated
//! here, and said so at the place; where a constant was fitted, it was to recorded exchanges with their billed tokens.

use serde_json::Value;

use super::encoding::Encoding;
use crate::model::{JsonObject, Message, Part, Tool};

const PER_MESSAGE: usize = 3;
const PER_NAME: usize = 1;
const ANSWER: usize = 3;
/// Reasoning models bill one token less (fitted).
const ANSWER_OF_REASONING: usize = 2;
/// The system message that servers put in front for gpt-oss models (fitted).
const HARMONY_SYSTEM: usize = 60;

/// For each function: 7 with `o200k_base`, 10 with `cl100k_base`.
const PER_FUNCTION: usize = 7;
const PER_FUNCTION_CL100K: usize = 10;
/// For having properties at all, and for each.
const PROPERTIES: usize = 3;
const PER_PROPERTY: usize = 3;
/// For an `enum` three tokens less, and three more for each of its values.
const ENUM_LESS: usize = 3;
const PER_ENUM_VALUE: usize = 3;
/// After the last function.
const FUNCTIONS_END: usize = 12;

/// A call of a tool in the history, and several in one message (fitted).
const PER_CALL: usize = 7;
const SEVERAL_CALLS: usize = 17;
/// An image with `detail: low` (OpenAI's vision guide, for GPT-4o).
const IMAGE_LOW: usize = 85;
/// Any other image, taken for one of 1024 × 1024: 85 and four tiles of 170. An approximation, as its size is not known.
const IMAGE: usize = 765;

/// What a model adds to a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overheads {
    around: usize,
    per_function: usize,
}

impl Overheads {
    /// Those of a chat model.
    pub const CHAT: Self = Self { around: ANSWER, per_function: PER_FUNCTION };

    /// Those of a model with this encoding, which may be a reasoning model.
    pub(super) fn of(encoding: Encoding, reasons: bool) -> Self {
        match encoding {
            Encoding::O200kHarmony => Self { around: HARMONY_SYSTEM + ANSWER, ..Self::CHAT },
            Encoding::Cl100kBase => Self { per_function: PER_FUNCTION_CL100K, ..Self::CHAT },
            _ if reasons => Self { around: ANSWER_OF_REASONING, ..Self::CHAT },
            _ => Self::CHAT,
        }
    }
}

/// The tokens of a whole prompt; `count` counts those of a text.
pub fn count<E>(
    overheads: Overheads,
    messages: &[impl AsRef<Message>],
    tools: &[Tool],
    mut count: impl FnMut(&str) -> Result<usize, E>,
) -> Result<usize, E> {
    let mut total = overheads.around;
    for message in messages {
        let message = message.as_ref();
        total += PER_MESSAGE + count(message.role.as_str())?;
        if let Some(name) = &message.name {
            total += PER_NAME + count(name)?;
        }
        for part in &message.content {
            total += self::part(part, &mut count)?;
        }
        let calls = message.content.iter().filter(|part| matches!(part, Part::ToolCall(_))).count();
        total += if calls > 1 { SEVERAL_CALLS } else { 0 };
    }
    for tool in tools {
        total += overheads.per_function + self::tool(tool, &mut count)?;
    }
    Ok(total + if tools.is_empty() { 0 } else { FUNCTIONS_END })
}

fn part<E>(part: &Part, count: &mut impl FnMut(&str) -> Result<usize, E>) -> Result<usize, E> {
    Ok(match part {
        Part::Text { text, .. } | Part::Refusal { text } => count(text)?,
        Part::ToolCall(call) => PER_CALL + count(&call.name)? + count(&call.arguments)?,
        Part::ToolResult { content, .. } => {
            let mut total = 0;
            for inner in content {
                total += self::part(inner, count)?;
            }
            total
        }
        Part::Image { detail, .. } if detail.as_deref() == Some("low") => IMAGE_LOW,
        Part::Image { .. } => IMAGE,
        // Their size in tokens cannot be told from here, and thoughts are not billed again.
        Part::Document { .. } | Part::Audio { .. } | Part::Thinking { .. } | Part::RedactedThinking { .. } => 0,
        Part::Raw(value) => count(&value.to_string())?,
    })
}

fn tool<E>(tool: &Tool, count: &mut impl FnMut(&str) -> Result<usize, E>) -> Result<usize, E> {
    if let Some(raw) = &tool.raw {
        return count(&raw.to_string());
    }
    let mut total = count(&format!("{}:{}", tool.name, sentence(tool.description.as_deref().unwrap_or_default())))?;
    let Some(properties) = tool.parameters.get("properties").and_then(Value::as_object).filter(|all| !all.is_empty())
    else {
        return Ok(total);
    };
    total += PROPERTIES;
    for (name, property) in properties {
        total += PER_PROPERTY;
        let empty = JsonObject::new();
        let property = property.as_object().unwrap_or(&empty);
        if let Some(values) = property.get("enum").and_then(Value::as_array) {
            for value in values {
                total += PER_ENUM_VALUE + count(&plain(value))?;
            }
            total = total.saturating_sub(ENUM_LESS);
        }
        let kind = property.get("type").map(plain).unwrap_or_default();
        let description = property.get("description").map(plain).unwrap_or_default();
        total += count(&format!("{name}:{kind}:{}", sentence(&description)))?;
    }
    Ok(total)
}

/// A description without its last full stop.
fn sentence(text: &str) -> &str {
    text.strip_suffix('.').unwrap_or(text)
}

/// A text as it is, any other value as JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
