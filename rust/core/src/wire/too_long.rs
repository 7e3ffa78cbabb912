//! What servers say of a prompt that does not fit into the model's context window, where they say it in words alone.
//!
//! OpenAI and a few others have a code for it ([`status`](super::status) knows them). The rest answer 400 with the type of
//! any bad request, and a caller who wants to shorten the prompt and try again has nothing to go by but the sentence. So
//! here, and only here, an error's text decides: by whole sentences from their beginning, with a number wherever they
//! have one, of a server that speaks the format, and only for statuses and types of bad requests. A sentence that a
//! server rewords is a plain bad request again.

use super::status::StatusError;

/// How a server's sentence begins, `#` for each number in it.
pub(super) struct Sentence {
    /// The error type that comes with it, where the server has one for bad requests.
    error_type: Option<&'static str>,
    begins: &'static str,
}

const fn of_type(error_type: &'static str, begins: &'static str) -> Sentence {
    Sentence { error_type: Some(error_type), begins }
}

const fn any(begins: &'static str) -> Sentence {
    Sentence { error_type: None, begins }
}

/// Source of the first: a recorded answer (`crmne/ruby_llm`, "anthropic … context length exceeded"). Of the second: the
/// clients that read its three numbers to choose a smaller `max_tokens` (Claude Code, Cline).
pub(super) const ANTHROPIC: [Sentence; 2] = [
    of_type("invalid_request_error", "prompt is too long: # tokens > # maximum"),
    of_type("invalid_request_error", "input length and `max_tokens` exceed context limit: # + # > #"),
];

/// Source of the first: a recorded answer of Vertex AI (`crmne/ruby_llm`). The second is its older wording, in many logs.
pub(super) const GEMINI: [Sentence; 2] = [
    of_type("INVALID_ARGUMENT", "The input token count (#) exceeds the maximum number of tokens allowed (#)"),
    of_type("INVALID_ARGUMENT", "The input token count exceeds the maximum number of tokens allowed #"),
];

/// Source: `server/routes.go` of Ollama, for embeddings with `truncate` off. A chat's prompt is cut to fit.
pub(super) const OLLAMA: [Sentence; 1] = [any("the input length exceeds the context length")];

/// Source: answers of Bedrock's in issues (`aws-samples/bedrock-chat` 95, `daisuke-awaji/moca` 254). Some models' own errors
/// come with words before them.
pub(super) const BEDROCK: [Sentence; 3] = [
    any("Input is too long for requested model"),
    any("The model returned the following errors: Input is too long for requested model"),
    any("The model returned the following errors: prompt is too long: # tokens > # maximum"),
];

/// Servers of OpenAI's format that have no code for it.
pub(super) const OPENAI: [Sentence; 11] = [
    // DeepSeek, as recorded (`crmne/ruby_llm`); vLLM (`serving_engine.py`), whose words go on in two ways.
    any("This model's maximum context length is # tokens. However, you requested # "),
    any("This model's maximum context length is # tokens. However, your messages resulted in # tokens"),
    // vLLM (`processor.py`).
    any("The decoder prompt (length #) is longer than the maximum model length of #"),
    // OpenRouter, as recorded (`crmne/ruby_llm`).
    any("This endpoint's maximum context length is # tokens. However, you requested about # tokens"),
    // Ollama under `/v1`, as recorded (`crmne/ruby_llm`).
    any("prompt too long; exceeded max context length by # tokens"),
    // xAI, as its users quote it in issues.
    any("This model's maximum prompt length is # but the request contains # tokens"),
    // Fireworks, the same.
    any("The prompt is too long: #, model maximum context length: #"),
    // Mistral, the same, with and without speculative decoding.
    any("Prompt contains # tokens, too large for model with # maximum context length"),
    any("Prompt contains # tokens and # draft tokens, too large for model with # maximum context length"),
    // Text Generation Inference (`validation.rs`), and so Hugging Face's router and Together.
    any("Input validation error: `inputs` tokens + `max_new_tokens` must be <= #. Given: # `inputs` tokens"),
    // SGLang (`tokenizer_manager.py`).
    any("The input (# tokens) is longer than the model's context length (# tokens)"),
];

impl StatusError {
    /// The same error, known to be about a prompt that is too long if one of these sentences says so.
    pub(super) fn read_by(mut self, sentences: &[Sentence]) -> Self {
        let says = |sentence: &Sentence| {
            let of_its_type = sentence.error_type.is_none_or(|wanted| self.error_type.as_deref() == Some(wanted));
            of_its_type && begins(self.message.trim_start(), sentence.begins)
        };
        self.too_long = sentences.iter().any(says);
        self
    }
}

/// Whether a text begins as the template says, with a number for each `#`.
fn begins(text: &str, template: &str) -> bool {
    let mut rest = text;
    for (n, piece) in template.split('#').enumerate() {
        if n > 0 {
            let number = rest.find(|c: char| !c.is_ascii_digit() && c != ',').unwrap_or(rest.len());
            // A comma behind a number is the sentence's own.
            let digits = rest.get(..number).unwrap_or_default().trim_end_matches(',');
            if !digits.starts_with(|c: char| c.is_ascii_digit()) {
                return false;
            }
            rest = rest.get(digits.len()..).unwrap_or_default();
        }
        let Some(after) = rest.strip_prefix(piece) else { return false };
        rest = after;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn kind(sentences: &[Sentence], status: u16, error_type: Option<&str>, message: &str) -> ErrorKind {
        let error_type = error_type.map(str::to_owned);
        let said = StatusError { message: message.to_owned(), error_type, ..StatusError::default() };
        said.read_by(sentences).kind(status)
    }

    #[test]
    fn each_sentence_is_read_with_its_numbers() {
        for (sentences, status) in
            [(&ANTHROPIC[..], 400), (&GEMINI[..], 400), (&OLLAMA[..], 413), (&OPENAI[..], 422), (&BEDROCK[..], 400)]
        {
            for sentence in sentences {
                let of = |message: &str| kind(sentences, status, sentence.error_type, message);
                let said = sentence.begins.replace('#', "1,234");
                assert_eq!(of(&said), ErrorKind::ContextLength, "{said}");
                assert_eq!(of(&format!("{said} and more")), ErrorKind::ContextLength, "{said}");
                assert_ne!(of(&format!("A tool said: {said}")), ErrorKind::ContextLength, "{said}");
                let cut: String = said.chars().take(said.len() - 12).collect();
                assert_ne!(of(&cut), ErrorKind::ContextLength, "{cut}");
                if sentence.begins.contains('#') {
                    assert_ne!(of(&sentence.begins.replace('#', "many")), ErrorKind::ContextLength, "{said}");
                }
                assert_ne!(kind(sentences, 500, sentence.error_type, &said), ErrorKind::ContextLength, "{said}");
                assert_ne!(kind(sentences, 429, sentence.error_type, &said), ErrorKind::ContextLength, "{said}");
                if sentence.error_type.is_some() {
                    assert_eq!(kind(sentences, 400, Some("api_error"), &said), ErrorKind::InvalidRequest, "{said}");
                    assert_eq!(kind(sentences, 400, None, &said), ErrorKind::InvalidRequest, "{said}");
                }
            }
        }
    }

    #[test]
    fn what_is_alike_is_not_the_same() {
        let invalid = Some("invalid_request_error");
        for message in [
            "max_tokens: 9000 > 8192, which is the maximum allowed number of output tokens for claude-x",
            "messages.0.content: prompt is too long for this endpoint",
            "prompt is too long",
            "'max_tokens' or 'max_completion_tokens' is too large: 9000. This model's maximum context length is 4096 \
             tokens and your request has 100 input tokens",
            "This model's maximum context length is 4096 tokens.",
            "Too many tokens requested this minute",
            "Input validation error: `max_new_tokens` must be <= 4096. Given: 5000",
        ] {
            assert_eq!(kind(&ANTHROPIC, 400, invalid, message), ErrorKind::InvalidRequest, "{message}");
            assert_eq!(kind(&OPENAI, 400, invalid, message), ErrorKind::InvalidRequest, "{message}");
        }
        let small = "Cached content is too small. total_token_count=97, min_total_token_count=1024";
        assert_eq!(kind(&GEMINI, 400, Some("INVALID_ARGUMENT"), small), ErrorKind::InvalidRequest);
    }
}
