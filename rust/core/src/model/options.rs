//! Everything that shapes an answer, and the checks that bad values fail before anything is sent.

use serde_json::Value;

use super::{CacheControl, JsonObject};
use crate::error::Error;

/// A tool that the model may call.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tool {
    /// The tool's name.
    pub name: String,
    /// What it does, for the model.
    pub description: Option<String>,
    /// The JSON schema of its arguments, an object.
    pub parameters: JsonObject,
    /// OpenAI's and Anthropic's strict mode.
    pub strict: Option<bool>,
    /// Whether the schema may be changed to what the provider's strict mode takes, as for [`ResponseFormat::Schema`].
    pub fit: bool,
    /// Fields of the provider's own at the tool's top level, as Anthropic's `input_examples`.
    pub extra: JsonObject,
    /// A tool of the provider's own kind (its web search, its code runner), sent untouched in place of all the above.
    pub raw: Option<Value>,
}

/// Whether and which tool the model must call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice {
    /// The model decides.
    Auto,
    /// No tool.
    None,
    /// Some tool.
    Required,
    /// This tool.
    Named(String),
}

/// The form that the answer must have.
#[derive(Debug, Clone, PartialEq)]
pub enum ResponseFormat {
    /// Plain text, said explicitly.
    Text,
    /// Any JSON value.
    Json,
    /// JSON that fits a schema.
    Schema {
        /// A name for the schema; OpenAI wants one.
        name: String,
        /// The JSON schema.
        schema: Value,
        /// Whether the provider must enforce it to the letter.
        strict: Option<bool>,
        /// Whether the schema may be changed to what the provider's strict mode takes ([`fit`](super::fit)). Where it
        /// cannot be, the provider enforces it as far as it can. Off for a schema that was written for the provider.
        fit: bool,
    },
}

/// How much the model thinks first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reasoning {
    /// As much as the provider thinks right.
    On,
    /// By name: `none`, `minimal`, `low`, `medium`, `high`, …, as the provider takes them.
    Effort(String),
    /// By a budget of tokens; 0 turns thinking off.
    Budget(u32),
}

/// Everything that shapes an answer. `None` leaves the choice to the provider and sends nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// At most this many tokens in the answer.
    pub max_tokens: Option<u32>,
    /// Randomness, 0 to 2 (Anthropic: 0 to 1).
    pub temperature: Option<f64>,
    /// Nucleus sampling, 0 to 1.
    pub top_p: Option<f64>,
    /// Sample from this many best tokens.
    pub top_k: Option<u32>,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// For repeatable sampling.
    pub seed: Option<i64>,
    /// −2 to 2.
    pub presence_penalty: Option<f64>,
    /// −2 to 2.
    pub frequency_penalty: Option<f64>,
    /// An id of the end user, for the provider's abuse checks.
    pub user: Option<String>,
    /// Labels of the request, for the provider's records; they change nothing about the answer.
    pub metadata: Vec<(String, String)>,
    /// Tools the model may call. An empty list is not sent.
    pub tools: Vec<Tool>,
    /// Whether and which tool it must call.
    pub tool_choice: Option<ToolChoice>,
    /// Whether it may call several tools at once.
    pub parallel_tool_calls: Option<bool>,
    /// The form of the answer.
    pub response_format: Option<ResponseFormat>,
    /// How much it thinks first.
    pub reasoning: Option<Reasoning>,
    /// Whether the prompt may be cached up to the end of the tools (Anthropic).
    pub cache_tools: Option<CacheControl>,
    /// Calls of equal keys go to the machine that knows their prefix (OpenAI).
    pub prompt_cache_key: Option<String>,
    /// A prompt that was stored at the provider before and stands in front of this one, by its name (Gemini).
    pub cached_content: Option<String>,
    /// Fields that go into the request body as they are; they win over the ones above.
    pub extra: JsonObject,
    /// Whether to go on without an option that the provider does not have, instead of refusing it.
    pub drop_unsupported: bool,
}

fn in_range(name: &str, value: Option<f64>, low: f64, high: f64) -> Result<(), Error> {
    match value {
        Some(v) if !(low..=high).contains(&v) => {
            Err(Error::invalid(format!("{name} must be a number from {low} to {high}, not {v}")))
        }
        _ => Ok(()),
    }
}

impl Options {
    /// Leaves an option to the provider; `false` if it was left already, or if there is none of that name.
    pub fn unset(&mut self, name: &str) -> bool {
        match name {
            "max_tokens" => self.max_tokens.take().is_some(),
            "temperature" => self.temperature.take().is_some(),
            "top_p" => self.top_p.take().is_some(),
            "top_k" => self.top_k.take().is_some(),
            "stop" => !std::mem::take(&mut self.stop).is_empty(),
            "seed" => self.seed.take().is_some(),
            "presence_penalty" => self.presence_penalty.take().is_some(),
            "frequency_penalty" => self.frequency_penalty.take().is_some(),
            "user" => self.user.take().is_some(),
            "metadata" => !std::mem::take(&mut self.metadata).is_empty(),
            "tools" => !std::mem::take(&mut self.tools).is_empty(),
            "tool_choice" => self.tool_choice.take().is_some(),
            "parallel_tool_calls" => self.parallel_tool_calls.take().is_some(),
            "response_format" => self.response_format.take().is_some(),
            "reasoning" => self.reasoning.take().is_some(),
            "prompt_cache_key" => self.prompt_cache_key.take().is_some(),
            "strict" => self.tools.iter_mut().filter_map(|tool| tool.strict.take()).count() > 0,
            _ => false,
        }
    }

    /// Refuses what no provider takes: NaN, numbers out of range, empty stop texts, a zero `max_tokens`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest) with the option's name and its range.
    pub fn check(&self) -> Result<(), Error> {
        in_range("temperature", self.temperature, 0.0, 2.0)?;
        in_range("top_p", self.top_p, 0.0, 1.0)?;
        in_range("presence_penalty", self.presence_penalty, -2.0, 2.0)?;
        in_range("frequency_penalty", self.frequency_penalty, -2.0, 2.0)?;
        if self.max_tokens == Some(0) {
            return Err(Error::invalid("max_tokens must be at least 1"));
        }
        if self.stop.iter().any(String::is_empty) {
            return Err(Error::invalid("stop must hold no empty text: it would end every answer at once"));
        }
        for tool in &self.tools {
            if tool.name.is_empty() && tool.raw.is_none() {
                return Err(Error::invalid("a tool needs a name"));
            }
        }
        if let Some(ToolChoice::Named(name)) = &self.tool_choice
            && !self.tools.iter().any(|tool| tool.name == *name)
        {
            return Err(Error::invalid(format!("tool_choice names {name:?}, which is not among the tools")));
        }
        Ok(())
    }
}
