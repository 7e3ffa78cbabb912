//! Servers that speak OpenAI's format, by name: where they are, how they are set up, and how they differ. One table.
//!
//! Only what has to be *sent* otherwise stands here. What they answer otherwise is read from everyone: usage in the last
//! chunk or in each, no `[DONE]`, `reasoning` or `reasoning_content`, comments that keep a connection open, errors inside
//! streams of status 200, rate limits in their own headers.

use super::{MaxTokensField, OpenAi};
use crate::wire::{EmbedLimits, KeyHeader};

/// A server that speaks OpenAI's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// Its name, in settings, messages and telemetry.
    pub name: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// Where it is; empty if each customer has an address of their own.
    pub base_url: &'static str,
    /// Environment variables that hold another address.
    pub base_url_variables: &'static [&'static str],
    /// Environment variables that people keep its key in.
    pub key_variables: &'static [&'static str],
    /// Whether it does not answer without a key.
    pub key_required: bool,
    /// How it differs from OpenAI.
    pub wire: &'static OpenAi,
}

/// A hosted service with chat and no embeddings, which most of them are.
const SERVICE: OpenAi = OpenAi {
    max_tokens_field: MaxTokensField::MaxTokens,
    base64_embeddings: false,
    embed_limits: None,
    media: None,
    metadata: false,
    ..OpenAi::OPENAI
};

/// A server on one's own machine. It sets no limit to a request; 512 texts keep the answer small.
const LOCAL: OpenAi = OpenAi {
    max_tokens_field: MaxTokensField::MaxTokens,
    base64_embeddings: false,
    embed_limits: Some(EmbedLimits { texts: 512, bytes: 4_000_000 }),
    media: None,
    metadata: false,
    ..OpenAi::OPENAI
};

/// Azure's deployments have names of the customer's own, which do not tell the model; it takes this field for all.
const AZURE: OpenAi = OpenAi {
    name: "azure",
    media: None,
    max_tokens_field: MaxTokensField::MaxCompletionTokens,
    key_header: KeyHeader { name: "api-key", prefix: "" },
    ..OpenAi::OPENAI
};

/// The same with the deployment in the path and `api-version` in the base URL's query.
pub const AZURE_DEPLOYMENTS: OpenAi = OpenAi { deployments: true, ..AZURE };

/// Services that rank documents. Of this format they have the key's header, and errors that its reader understands.
pub const RERANKERS: [OpenAi; 2] = [OpenAi { name: "cohere", ..SERVICE }, OpenAi { name: "jina", ..SERVICE }];

/// Every preset, by name in alphabetical order.
pub const PRESETS: [Preset; 15] = [
    Preset {
        name: "azure",
        title: "Azure OpenAI",
        base_url: "",
        base_url_variables: &["AZURE_OPENAI_ENDPOINT"],
        key_variables: &["AZURE_OPENAI_API_KEY"],
        key_required: true,
        wire: &AZURE,
    },
    Preset {
        name: "deepseek",
        title: "DeepSeek",
        base_url: "https://api.deepseek.com",
        base_url_variables: &["DEEPSEEK_BASE_URL", "DEEPSEEK_API_BASE"],
        key_variables: &["DEEPSEEK_API_KEY"],
        key_required: true,
        // Thinking goes back between tool calls; without it the server answers 400. It wants a `content`, too.
        wire: &OpenAi { name: "deepseek", send_thinking: true, empty_content: true, ..SERVICE },
    },
    Preset {
        name: "fireworks",
        title: "Fireworks",
        base_url: "https://api.fireworks.ai/inference/v1",
        base_url_variables: &["FIREWORKS_BASE_URL", "FIREWORKS_API_BASE"],
        key_variables: &["FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY"],
        key_required: true,
        wire: &OpenAi { name: "fireworks", embed_limits: Some(EmbedLimits { texts: 256, bytes: 300_000 }), ..SERVICE },
    },
    Preset {
        name: "groq",
        title: "Groq",
        base_url: "https://api.groq.com/openai/v1",
        base_url_variables: &["GROQ_BASE_URL", "GROQ_API_BASE"],
        key_variables: &["GROQ_API_KEY"],
        key_required: true,
        wire: &OpenAi { name: "groq", max_tokens_field: MaxTokensField::MaxCompletionTokens, ..SERVICE },
    },
    Preset {
        name: "huggingface",
        title: "Hugging Face router",
        base_url: "https://router.huggingface.co/v1",
        base_url_variables: &["HUGGINGFACE_BASE_URL", "HUGGINGFACE_API_BASE"],
        key_variables: &["HF_TOKEN", "HUGGINGFACE_API_KEY"],
        key_required: true,
        wire: &OpenAi { name: "huggingface", ..SERVICE },
    },
    Preset {
        name: "llama-cpp-python",
        title: "llama-cpp-python",
        base_url: "http://localhost:8000/v1",
        base_url_variables: &["LLAMA_CPP_PYTHON_BASE_URL"],
        key_variables: &["LLAMA_CPP_PYTHON_API_KEY"],
        key_required: false,
        wire: &OpenAi { name: "llama-cpp-python", bare_schemas: true, empty_content: true, ..LOCAL },
    },
    Preset {
        name: "llamacpp",
        title: "llama.cpp",
        base_url: "http://localhost:8080/v1",
        base_url_variables: &["LLAMACPP_BASE_URL", "LLAMA_CPP_BASE_URL"],
        key_variables: &["LLAMACPP_API_KEY", "LLAMA_API_KEY"],
        key_required: false,
        // As with vLLM, earlier thinking goes back.
        wire: &OpenAi { name: "llamacpp", base64_embeddings: true, send_thinking: true, ..LOCAL },
    },
    Preset {
        name: "lmstudio",
        title: "LM Studio",
        base_url: "http://localhost:1234/v1",
        base_url_variables: &["LMSTUDIO_BASE_URL", "LM_STUDIO_API_BASE"],
        key_variables: &["LMSTUDIO_API_KEY", "LM_STUDIO_API_KEY"],
        key_required: false,
        wire: &OpenAi { name: "lmstudio", ..LOCAL },
    },
    Preset {
        name: "mistral",
        title: "Mistral",
        base_url: "https://api.mistral.ai/v1",
        base_url_variables: &["MISTRAL_BASE_URL", "MISTRAL_API_BASE"],
        key_variables: &["MISTRAL_API_KEY"],
        key_required: true,
        // Its last chunk has the usage unasked. Unknown fields are refused (422), `user` among them. A batch of embeddings
        // may have 16,384 tokens in all.
        wire: &OpenAi {
            name: "mistral",
            stream_usage: false,
            seed_field: "random_seed",
            user_field: None,
            metadata: true,
            dimensions_field: "output_dimension",
            embed_limits: Some(EmbedLimits { texts: 256, bytes: 16_384 }),
            ..SERVICE
        },
    },
    Preset {
        name: "nvidia",
        title: "NVIDIA NIM",
        base_url: "https://integrate.api.nvidia.com/v1",
        base_url_variables: &["NVIDIA_BASE_URL", "NVIDIA_API_BASE"],
        key_variables: &["NVIDIA_API_KEY", "NVIDIA_NIM_API_KEY"],
        key_required: true,
        // Its retrieval models want to know what a text is: `query` or `passage`.
        wire: &OpenAi {
            name: "nvidia",
            task_field: Some("input_type"),
            embed_limits: Some(EmbedLimits { texts: 64, bytes: 300_000 }),
            ..SERVICE
        },
    },
    Preset {
        name: "openrouter",
        title: "OpenRouter",
        base_url: "https://openrouter.ai/api/v1",
        base_url_variables: &["OPENROUTER_BASE_URL", "OPENROUTER_API_BASE"],
        key_variables: &["OPENROUTER_API_KEY"],
        key_required: true,
        wire: &OpenAi {
            name: "openrouter",
            cache_marks: true,
            metadata: true,
            embed_limits: Some(EmbedLimits { texts: 256, bytes: 300_000 }),
            ..SERVICE
        },
    },
    Preset {
        name: "perplexity",
        title: "Perplexity",
        base_url: "https://api.perplexity.ai",
        base_url_variables: &["PERPLEXITY_BASE_URL", "PERPLEXITY_API_BASE"],
        key_variables: &["PERPLEXITY_API_KEY", "PERPLEXITYAI_API_KEY", "PPLX_API_KEY"],
        key_required: true,
        // Every chunk has the usage unasked. A batch of embeddings may have 512 texts and 120,000 tokens.
        wire: &OpenAi {
            name: "perplexity",
            stream_usage: false,
            int8_embeddings: true,
            embed_limits: Some(EmbedLimits { texts: 512, bytes: 120_000 }),
            ..SERVICE
        },
    },
    Preset {
        name: "together",
        title: "Together",
        base_url: "https://api.together.xyz/v1",
        base_url_variables: &["TOGETHER_BASE_URL", "TOGETHER_API_BASE"],
        key_variables: &["TOGETHER_API_KEY", "TOGETHERAI_API_KEY"],
        key_required: true,
        wire: &OpenAi { name: "together", embed_limits: Some(EmbedLimits { texts: 128, bytes: 300_000 }), ..SERVICE },
    },
    Preset {
        name: "vllm",
        title: "vLLM",
        base_url: "http://localhost:8000/v1",
        base_url_variables: &["VLLM_BASE_URL", "VLLM_API_BASE", "HOSTED_VLLM_API_BASE"],
        key_variables: &["VLLM_API_KEY", "HOSTED_VLLM_API_KEY"],
        key_required: false,
        // Models that think between tool calls (Qwen3, gpt-oss) want to see again what they thought.
        wire: &OpenAi { name: "vllm", base64_embeddings: true, send_thinking: true, ..LOCAL },
    },
    Preset {
        name: "xai",
        title: "xAI",
        base_url: "https://api.x.ai/v1",
        base_url_variables: &["XAI_BASE_URL", "XAI_API_BASE"],
        key_variables: &["XAI_API_KEY"],
        key_required: true,
        wire: &OpenAi { name: "xai", max_tokens_field: MaxTokensField::MaxCompletionTokens, ..SERVICE },
    },
];

/// Other names that people know them by.
const ALIASES: [(&str, &str); 13] = [
    ("azure_openai", "azure"),
    ("azure-openai", "azure"),
    ("fireworks_ai", "fireworks"),
    ("hf", "huggingface"),
    ("hugging_face", "huggingface"),
    ("llama.cpp", "llamacpp"),
    ("llama_cpp", "llamacpp"),
    ("llama_cpp_python", "llama-cpp-python"),
    ("lm_studio", "lmstudio"),
    ("lm-studio", "lmstudio"),
    ("together_ai", "together"),
    ("nvidia_nim", "nvidia"),
    ("x-ai", "xai"),
];

/// The preset of that name, in any case.
pub fn preset(name: &str) -> Option<&'static Preset> {
    let name = name.trim().to_ascii_lowercase();
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name.as_str(), |(_, real)| real);
    PRESETS.iter().find(|preset| preset.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{ChatRequest, EmbedRequest, JsonObject, Message, Options, ResponseFormat, Role},
        wire::Wire,
    };
    use serde_json::{Value, json};

    #[test]
    fn the_table_is_in_order_and_consistent() {
        assert!(PRESETS.is_sorted_by_key(|preset| preset.name));
        for preset in PRESETS {
            assert_eq!(preset.wire.name(), preset.name);
            assert_eq!(super::preset(&preset.name.to_uppercase()), Some(&preset));
            assert!(!preset.key_variables.is_empty() && !preset.base_url_variables.is_empty(), "{}", preset.name);
            assert!(preset.base_url.is_empty() || preset.base_url.starts_with("http"), "{}", preset.name);
        }
        for (alias, name) in ALIASES {
            assert_eq!(super::preset(alias).map(|preset| preset.name), Some(name));
        }
        assert_eq!(super::preset("openai"), None);
    }

    fn sent(wire: &OpenAi, options: Options) -> (String, Value) {
        let messages = vec![Message::text(Role::User, "Hi").into()];
        let request = ChatRequest { model: "my model".into(), messages, options, stream: true };
        let encoded = wire.encode_chat(&request).unwrap();
        let mut body: Value = serde_json::from_slice(&encoded.body).unwrap();
        for name in ["model", "messages", "stream"] {
            body.as_object_mut().unwrap().remove(name);
        }
        (encoded.path, body)
    }

    #[test]
    fn what_is_sent_otherwise() {
        let options = || Options { max_tokens: Some(5), seed: Some(1), ..Options::default() };
        let of = |name: &str| sent(preset(name).unwrap().wire, options());
        let path = "/chat/completions".to_owned();
        assert_eq!(of("mistral"), (path.clone(), json!({"max_tokens": 5, "random_seed": 1})));
        let usage = json!({"include_usage": true});
        assert_eq!(of("groq"), (path.clone(), json!({"max_completion_tokens": 5, "seed": 1, "stream_options": usage})));
        assert_eq!(of("vllm"), (path, json!({"max_tokens": 5, "seed": 1, "stream_options": usage})));
        let (path, _) = sent(&AZURE_DEPLOYMENTS, options());
        assert_eq!(path, "/deployments/my%20model/chat/completions");
        let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
        let format = ResponseFormat::Schema { name: "n".into(), schema: schema.clone(), strict: None, fit: true };
        let (_, body) = sent(
            preset("llama-cpp-python").unwrap().wire,
            Options { response_format: Some(format), ..Options::default() },
        );
        assert_eq!(body["response_format"], json!({"type": "json_object", "schema": schema}));
        let user = Options { user: Some("u".into()), ..Options::default() };
        let messages = vec![Message::text(Role::User, "Hi").into()];
        let request = ChatRequest { model: "m".into(), messages, options: user, stream: false };
        let refused = preset("mistral").unwrap().wire.encode_chat(&request).unwrap_err();
        assert_eq!(refused.kind(), crate::ErrorKind::Unsupported);
    }

    #[test]
    fn embeddings_that_are_asked_for_otherwise() {
        let request = EmbedRequest {
            model: "m".into(),
            inputs: vec!["a".into()],
            dimensions: Some(8),
            task_type: None,
            extra: JsonObject::new(),
        };
        let body = |name: &str, request: &EmbedRequest| -> Value {
            serde_json::from_slice(&preset(name).unwrap().wire.encode_embed(request).unwrap().body).unwrap()
        };
        assert_eq!(body("mistral", &request), json!({"model": "m", "input": ["a"], "output_dimension": 8}));
        let task = EmbedRequest { task_type: Some("query".into()), dimensions: None, ..request };
        assert_eq!(body("nvidia", &task), json!({"model": "m", "input": ["a"], "input_type": "query"}));
        assert!(preset("together").unwrap().wire.encode_embed(&task).is_err());
    }
}
