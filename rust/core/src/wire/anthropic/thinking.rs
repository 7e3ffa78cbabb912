//! How much a model thinks, in the way that it takes: by an effort, or by a budget of tokens.

use super::traits::traits;
use crate::{
    error::Error,
    model::{Options, Reasoning},
    wire::{
        body::{ObjectWriter, unsupported},
        common::{budget_of, effort_of},
    },
};

/// The smallest budget that Anthropic takes.
const LEAST_BUDGET: u32 = 1_024;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::wire) enum Thinking<'a> {
    /// Nothing.
    Unsaid,
    /// No thinking.
    Off,
    /// At most so many tokens, and an effort for the whole answer beside it where the model takes one.
    Budget { tokens: u32, effort: Option<&'a str> },
    /// As much as the model sees fit, with this effort if one is given. `shown`: the model hides its thinking unless asked.
    Adaptive { effort: Option<&'a str>, shown: bool },
}

/// What to ask this model for, of `provider`.
pub(in crate::wire) fn plan<'a>(
    provider: &'static str,
    model: &str,
    options: &'a Options,
) -> Result<Thinking<'a>, Error> {
    let traits = traits(model);
    let no_thinking = || unsupported(provider, "reasoning", &format!("{model} does not think; leave it out"));
    Ok(match &options.reasoning {
        None => Thinking::Unsaid,
        Some(reasoning) if is_off(reasoning) && traits.off => Thinking::Off,
        Some(reasoning) if is_off(reasoning) => {
            let instead = format!("{model} always thinks; the nearest is reasoning=\"low\"");
            return Err(unsupported(provider, "reasoning=false", &instead));
        }
        Some(Reasoning::Budget(tokens)) if traits.budget => {
            if let Some(most) = options.max_tokens.filter(|most| most <= tokens) {
                let message = format!(
                    "max_tokens ({most}) must be above the reasoning budget ({tokens}), which counts towards it"
                );
                return Err(Error::invalid(message).with_provider(provider).with_param("max_tokens".to_owned()));
            }
            Thinking::Budget { tokens: *tokens, effort: None }
        }
        Some(Reasoning::Budget(tokens)) if traits.adaptive => {
            let instead = format!("{model} takes an effort; the nearest is reasoning=\"{}\"", effort_of(*tokens));
            return Err(unsupported(provider, "a reasoning budget", &instead).with_param("reasoning".to_owned()));
        }
        Some(Reasoning::Effort(name)) if name == "minimal" && traits.effort => {
            return Err(unsupported(provider, "reasoning=\"minimal\"", "the nearest is reasoning=\"low\""));
        }
        Some(Reasoning::On) if traits.adaptive => Thinking::Adaptive { effort: None, shown: !traits.budget },
        Some(Reasoning::Effort(effort)) if traits.adaptive => {
            Thinking::Adaptive { effort: Some(effort), shown: !traits.budget }
        }
        Some(reasoning @ (Reasoning::Effort(_) | Reasoning::On)) if traits.budget => {
            let name = match reasoning {
                Reasoning::Effort(name) => name,
                _ => "medium",
            };
            let Some(budget) = budget_of(name) else {
                let instead = "give none, minimal, low, medium, high, or a budget of tokens";
                return Err(unsupported(provider, &format!("reasoning={name:?}"), instead));
            };
            let room = options.max_tokens.unwrap_or(u32::MAX);
            if room <= LEAST_BUDGET {
                let message = format!("max_tokens must be above {LEAST_BUDGET} for {model} to think, not {room}");
                return Err(Error::invalid(message).with_provider(provider).with_param("max_tokens".to_owned()));
            }
            // A quarter is left for the answer.
            let tokens = budget.min(room - room / 4).max(LEAST_BUDGET);
            Thinking::Budget { tokens, effort: traits.effort.then_some(name) }
        }
        Some(_) => return Err(no_thinking()),
    })
}

fn is_off(reasoning: &Reasoning) -> bool {
    match reasoning {
        Reasoning::Budget(tokens) => *tokens == 0,
        Reasoning::Effort(name) => name == "none",
        Reasoning::On => false,
    }
}

impl Thinking<'_> {
    /// Whether the model thinks because of this.
    pub(in crate::wire) fn is_on(&self) -> bool {
        matches!(self, Self::Budget { .. } | Self::Adaptive { .. })
    }

    /// The effort for `output_config`.
    pub(in crate::wire) fn effort(&self) -> Option<&str> {
        match self {
            Self::Budget { effort, .. } | Self::Adaptive { effort, .. } => *effort,
            Self::Unsaid | Self::Off => None,
        }
    }

    /// `max_tokens` as the caller gives it, or else `default`. Thinking counts towards it, so that a budget comes on top.
    pub(in crate::wire) fn max_tokens(&self, given: Option<u32>, default: u32) -> u32 {
        let thinking = match self {
            Self::Budget { tokens, .. } => *tokens,
            Self::Unsaid | Self::Off | Self::Adaptive { .. } => 0,
        };
        given.unwrap_or(default.saturating_add(thinking))
    }

    /// Writes the field `thinking`.
    pub(in crate::wire) fn write(&self, body: &mut ObjectWriter<'_>) {
        match self {
            Self::Unsaid => {}
            Self::Off => body.object("thinking", |thinking| thinking.field("type", "disabled")),
            Self::Budget { tokens, .. } => body.object("thinking", |thinking| {
                thinking.field("type", "enabled");
                thinking.field("budget_tokens", tokens);
            }),
            Self::Adaptive { shown, .. } => body.object("thinking", |thinking| {
                thinking.field("type", "adaptive");
                if *shown {
                    thinking.field("display", "summarized");
                }
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(model: &str, reasoning: Reasoning, max_tokens: Option<u32>) -> Result<String, String> {
        let options = Options { reasoning: Some(reasoning), max_tokens, ..Options::default() };
        plan("p", model, &options).map(|plan| format!("{plan:?}")).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn efforts_by_generation() {
        let effort = |model: &str, name: &str| planned(model, Reasoning::Effort(name.into()), None);
        let budget = |tokens: u32, effort: Option<&str>| Ok(format!("{:?}", Thinking::Budget { tokens, effort }));
        assert_eq!(effort("claude-haiku-4-5", "medium"), budget(8_192, None));
        assert_eq!(effort("claude-opus-4-5", "high"), budget(24_576, Some("high")));
        let adaptive = |effort, shown| Ok(format!("{:?}", Thinking::Adaptive { effort, shown }));
        assert_eq!(effort("claude-sonnet-4-6", "max"), adaptive(Some("max"), false));
        assert_eq!(effort("claude-opus-4-7", "low"), adaptive(Some("low"), true));
        assert_eq!(planned("claude-opus-4-7", Reasoning::On, None), adaptive(None, true));
        assert_eq!(planned("claude-haiku-4-5", Reasoning::On, None), budget(8_192, None));
        assert!(planned("claude-3-5-haiku-latest", Reasoning::On, None).unwrap_err().contains("does not think"));
        assert_eq!(effort("claude-3-7-sonnet-latest", "none"), Ok("Off".to_owned()));
        assert_eq!(effort("claude-opus-5", "none"), Ok("Off".to_owned()));
        for model in ["claude-fable-5", "claude-opus-5-5", "claude-sonnet-5-5", "claude-mythos-preview"] {
            for off in [Reasoning::Effort("none".into()), Reasoning::Budget(0)] {
                let refused = planned(model, off, None).unwrap_err();
                assert!(refused.contains("always thinks; the nearest is reasoning=\"low\""), "{refused}");
            }
            assert_eq!(effort(model, "low"), adaptive(Some("low"), true));
        }
        assert!(effort("claude-3-5-haiku-latest", "low").unwrap_err().contains("does not think"));
        assert!(effort("claude-sonnet-4-6", "minimal").unwrap_err().contains("nearest is reasoning=\"low\""));
        assert!(effort("claude-haiku-4-5", "huge").unwrap_err().contains("reasoning=\"huge\""));
    }

    #[test]
    fn budgets_fit_into_max_tokens() {
        let low = || Reasoning::Effort("high".into());
        let budget = |tokens| Ok(format!("{:?}", Thinking::Budget { tokens, effort: None }));
        assert_eq!(planned("claude-haiku-4-5", low(), Some(4_000)), budget(3_000));
        assert_eq!(planned("claude-haiku-4-5", low(), Some(1_100)), budget(1_024));
        assert!(planned("claude-haiku-4-5", low(), Some(1_024)).unwrap_err().contains("above 1024"));
        assert_eq!(planned("claude-haiku-4-5", Reasoning::Budget(2_000), Some(3_000)), budget(2_000));
        assert!(
            planned("claude-haiku-4-5", Reasoning::Budget(2_000), Some(2_000)).unwrap_err().contains("must be above")
        );
        let refused = planned("claude-opus-4-7", Reasoning::Budget(9_000), None).unwrap_err();
        assert!(refused.contains("nearest is reasoning=\"medium\""), "{refused}");
    }
}
