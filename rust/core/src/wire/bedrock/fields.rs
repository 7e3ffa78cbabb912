//! What Converse has no field of its own for, as each maker's models take it in `additionalModelRequestFields`.
//!
//! Sources: AWS's guides "Anthropic Claude models", "Using the Converse API" of Amazon Nova 2, "OpenAI models".

use super::NAME;
use crate::{
    error::Error,
    model::{Options, Reasoning},
    wire::{
        anthropic::{
            thinking::{self, Thinking},
            traits::traits,
        },
        body::{ObjectWriter, unsupported},
        common::effort_of,
    },
};

/// Whose model it is, as far as that matters here. An ARN without a name in it tells nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Claude,
    Nova,
    GptOss,
    Other,
}

impl Family {
    pub(super) fn of(model: &str) -> Self {
        if model.contains("claude") {
            Self::Claude
        } else if model.contains("amazon.nova") {
            Self::Nova
        } else if model.contains("gpt-oss") {
            Self::GptOss
        } else {
            Self::Other
        }
    }

    /// Whether its prompts may hold cache marks.
    pub(super) fn takes_marks(self) -> bool {
        matches!(self, Self::Claude | Self::Nova)
    }

    /// Whether it can be made to call one tool, which can stand for the form of an answer.
    pub(super) fn calls_a_tool(self, model: &str) -> bool {
        match self {
            Self::Claude => traits(model).forced,
            Self::Nova => true,
            Self::GptOss | Self::Other => false,
        }
    }

    /// Whether the model answers in JSON that fits a schema (`outputConfig.textFormat`).
    pub(super) fn is_structured(self, model: &str) -> bool {
        match self {
            Self::Claude => traits(model).structured,
            Self::Nova => false,
            Self::GptOss | Self::Other => true,
        }
    }
}

/// What a request asks of its model besides Converse's own fields.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    family: Family,
    thinking: Thinking<'a>,
    effort: Option<&'a str>,
    top_k: Option<u32>,
}

/// What to ask this model for.
pub(super) fn plan<'a>(model: &str, options: &'a Options) -> Result<Fields<'a>, Error> {
    let family = Family::of(model);
    let own = "extra={\"additionalModelRequestFields\": {...}} takes what the model calls it";
    if options.top_k.is_some() && !matches!(family, Family::Claude | Family::Nova) {
        return Err(unsupported(NAME, "top_k", own));
    }
    let (mut thinking, mut effort) = (Thinking::Unsaid, None);
    match (family, &options.reasoning) {
        (_, None) => {}
        (Family::Claude, Some(_)) => thinking = thinking::plan(NAME, model, options)?,
        (Family::Nova, Some(_)) if !model.contains("nova-2") => {
            return Err(unsupported(NAME, "reasoning", &format!("{model} does not think; leave it out")));
        }
        (Family::Nova | Family::GptOss, Some(reasoning)) => effort = Some(by_effort(family, reasoning)?),
        (Family::Other, Some(_)) => return Err(unsupported(NAME, "reasoning", own)),
    }
    Ok(Fields { family, thinking, effort, top_k: options.top_k })
}

/// The effort for models that take no budget.
fn by_effort(family: Family, reasoning: &Reasoning) -> Result<&str, Error> {
    let off = matches!(reasoning, Reasoning::Budget(0)) || *reasoning == Reasoning::Effort("none".to_owned());
    match reasoning {
        _ if off && family == Family::GptOss => {
            Err(unsupported(NAME, "reasoning=none", "gpt-oss always thinks; the nearest is reasoning=\"low\""))
        }
        Reasoning::On => Ok("medium"),
        Reasoning::Effort(name) if matches!(name.as_str(), "none" | "low" | "medium" | "high") => Ok(name),
        Reasoning::Effort(name) => {
            Err(unsupported(NAME, &format!("reasoning={name:?}"), "give none, low, medium or high"))
        }
        Reasoning::Budget(0) => Ok("none"),
        Reasoning::Budget(tokens) => {
            let instead = format!("this model takes an effort; the nearest is reasoning=\"{}\"", effort_of(*tokens));
            Err(unsupported(NAME, "a reasoning budget", &instead).with_param("reasoning".to_owned()))
        }
    }
}

impl Fields<'_> {
    /// Whether the model thinks because of this.
    pub(super) fn thinks(&self) -> bool {
        self.thinking.is_on() || self.effort.is_some_and(|effort| effort != "none")
    }

    /// The effort for `outputConfig`.
    pub(super) fn effort(&self) -> Option<&str> {
        self.thinking.effort()
    }

    /// Writes `additionalModelRequestFields`, if there are any.
    pub(super) fn write(&self, body: &mut ObjectWriter<'_>) {
        body.merged("additionalModelRequestFields", |fields| {
            self.thinking.write(fields);
            match (self.family, self.top_k) {
                (Family::Nova, Some(top_k)) => {
                    fields.merged("inferenceConfig", |config| config.field("topK", &top_k));
                }
                (_, top_k) => fields.optional("top_k", top_k),
            }
            match (self.family, self.effort) {
                (_, None) => {}
                (Family::Nova, Some("none")) => {
                    fields.object("reasoningConfig", |config| config.field("type", "disabled"));
                }
                (Family::Nova, Some(effort)) => fields.object("reasoningConfig", |config| {
                    config.field("type", "enabled");
                    config.field("maxReasoningEffort", effort);
                }),
                (_, Some(effort)) => fields.field("reasoning_effort", effort),
            }
        });
    }
}
