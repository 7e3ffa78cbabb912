//! Which encoding a model's name stands for.

use super::encoding::Encoding;
use crate::error::Error;

/// What is known about a model's tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// This encoding.
    Exact {
        /// The encoding.
        encoding: Encoding,
        /// Whether the model reasons, which changes what is billed around a prompt.
        reasons: bool,
    },
    /// None that is public, or none that is carried here.
    Estimate,
}

use Encoding::{Cl100kBase, O200kBase, O200kHarmony, P50kBase, P50kEdit, R50kBase};

/// Families of OpenAI's models (`tiktoken/model.py`, and newer ones). A name is in a family if it is the family's, or
/// goes on after it with `-`, `.` or `:`: so `gpt-4.1-mini` is no `gpt-4`, and `proto1` no `o1`.
const FAMILIES: [(&str, Encoding); 41] = [
    ("gpt-4.1", O200kBase),
    ("gpt-4.5", O200kBase),
    ("gpt-4o", O200kBase),
    ("chatgpt-4o", O200kBase),
    ("gpt-5", O200kBase),
    ("gpt-oss", O200kHarmony),
    ("o1", O200kBase),
    ("o3", O200kBase),
    ("o4-mini", O200kBase),
    ("codex-mini", O200kBase),
    ("computer-use-preview", O200kBase),
    ("gpt-4", Cl100kBase),
    ("gpt-3.5", Cl100kBase),
    ("gpt-35", Cl100kBase), // Azure's spelling
    ("davinci-002", Cl100kBase),
    ("babbage-002", Cl100kBase),
    ("text-embedding-ada-002", Cl100kBase),
    ("text-embedding-3-small", Cl100kBase),
    ("text-embedding-3-large", Cl100kBase),
    ("text-davinci-003", P50kBase),
    ("text-davinci-002", P50kBase),
    ("text-davinci-edit-001", P50kEdit),
    ("code-davinci-edit-001", P50kEdit),
    ("code-davinci-002", P50kBase),
    ("code-davinci-001", P50kBase),
    ("code-cushman-002", P50kBase),
    ("code-cushman-001", P50kBase),
    ("davinci-codex", P50kBase),
    ("cushman-codex", P50kBase),
    ("text-davinci-001", R50kBase),
    ("text-curie-001", R50kBase),
    ("text-babbage-001", R50kBase),
    ("text-ada-001", R50kBase),
    ("text-similarity", R50kBase),
    ("text-search", R50kBase),
    ("code-search", R50kBase),
    ("davinci", R50kBase),
    ("curie", R50kBase),
    ("babbage", R50kBase),
    ("ada", R50kBase),
    ("gpt2", R50kBase),
];

/// Those among them that reason.
const REASONING: [&str; 5] = ["gpt-5", "o1", "o3", "o4-mini", "codex-mini"];

/// The beginnings of other makers' models. Claude and Gemini have no public tokenizer; the others have one as a file.
const OTHERS: [&str; 32] = [
    "claude",
    "gemini",
    "gemma",
    "llama",
    "codellama",
    "meta-llama",
    "mistral",
    "mixtral",
    "ministral",
    "magistral",
    "devstral",
    "codestral",
    "pixtral",
    "open-mistral",
    "open-mixtral",
    "qwen",
    "qwq",
    "deepseek",
    "grok",
    "command",
    "phi",
    "nemotron",
    "kimi",
    "moonshot",
    "glm",
    "sonar",
    "nova",
    "titan",
    "jamba",
    "granite",
    "minimax",
    "voyage",
];

/// What is known of the model called `name`. A fine-tuned model (`ft:gpt-4o:…`) has the tokenizer of its base; what a
/// router puts in front (`openai/gpt-4o`) does not matter.
pub(super) fn look_up(name: &str) -> Result<Known, Error> {
    let lower = name.trim().to_ascii_lowercase();
    let base = match lower.split_once("ft:") {
        Some((router, base)) if router.is_empty() || router.ends_with('/') => base.split(':').next().unwrap_or(base),
        _ => lower.rsplit('/').next().unwrap_or(&lower),
    };
    let is_of = |family: &str| {
        let rest = base.strip_prefix(family);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.', ':', '@']))
    };
    if base == "gpt-2" {
        return Ok(Known::Exact { encoding: R50kBase, reasons: false });
    }
    if let Some((_, encoding)) = FAMILIES.into_iter().find(|(family, _)| is_of(family)) {
        return Ok(Known::Exact { encoding, reasons: REASONING.into_iter().any(is_of) });
    }
    // Bedrock's names put region and maker in front (`us.anthropic.claude-…`).
    let starts = |maker: &&str| base.split('.').any(|part| part.starts_with(*maker)) || base.starts_with(*maker);
    if OTHERS.iter().any(starts) {
        return Ok(Known::Estimate);
    }
    Err(Error::invalid(format!(
        "the tokenizer of the model {name:?} is not known; use Tokenizer.for_encoding(\"o200k_base\") for a newer model of \
         OpenAI, Tokenizer.from_file(\"tokenizer.json\") for one that has such a file, or Tokenizer.estimate()"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_form() {
        for (name, encoding) in [
            ("gpt-4o", O200kBase),
            ("gpt-4o-mini-2024-07-18", O200kBase),
            ("gpt-4.1-nano", O200kBase),
            ("gpt-5.1-codex", O200kBase),
            ("o1-preview", O200kBase),
            ("o3", O200kBase),
            ("o4-mini-2025-04-16", O200kBase),
            ("ft:gpt-4o-mini-2024-07-18:acme::AbC", O200kBase),
            ("ft:gpt-4.1-2025-04-14:acme", O200kBase),
            ("ft:gpt-3.5-turbo:acme:x:1", Cl100kBase),
            ("ft:gpt-4o:a/b:c", O200kBase),
            ("openai/ft:gpt-4o-mini:acme", O200kBase),
            ("openai/gpt-4o", O200kBase),
            ("OpenAI/GPT-4", Cl100kBase),
            ("gpt-4-0613", Cl100kBase),
            ("gpt-35-turbo-16k", Cl100kBase),
            ("openai/gpt-oss-120b", O200kHarmony),
            ("gpt-oss:20b", O200kHarmony),
            ("text-embedding-3-small", Cl100kBase),
            ("text-davinci-003", P50kBase),
            ("code-davinci-edit-001", P50kEdit),
            ("davinci", R50kBase),
            ("gpt-2", R50kBase),
        ] {
            let Known::Exact { encoding: found, reasons } = look_up(name).unwrap() else { panic!("{name}") };
            assert_eq!(found, encoding, "{name}");
            assert_eq!(reasons, ["gpt-5", "o1", "o3", "o4"].iter().any(|family| name.contains(family)), "{name}");
        }
        for name in ["claude-sonnet-4-5", "gemini-2.5-pro", "llama3.2:1b", "us.anthropic.claude-opus-4-v1:0"] {
            assert_eq!(look_up(name).unwrap(), Known::Estimate, "{name}");
        }
    }

    #[test]
    fn a_name_within_another_is_not_that_name() {
        for name in ["proto1", "foo-o1", "o1x", "gpt-6", "gpt-40", "o4", "", "canada"] {
            let error = look_up(name).unwrap_err();
            assert!(error.message().contains("Tokenizer.for_encoding"), "{name}");
        }
    }
}
