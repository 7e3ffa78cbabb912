//! PyO3 bindings of edgequake-core, and the bridge from its I/O thread to asyncio. Nothing here decides anything that is
//! not about Python.

mod bridge;
mod cache;
mod embeddings;
mod errors;
mod event;
mod json;
mod limiter;
mod limiter_state;
mod message;
mod metrics;
mod models;
mod options;
mod pause;
mod preset;
mod prompt_cache;
mod provider;
mod response;
mod simulator;
mod stream;
mod structured;
mod tokenizer;
mod tokenizer_file;
mod tools;
mod wires;

/// The native part of `edgequake_llm`.
#[pyo3::pymodule(gil_used = false)]
mod _core {
    use pyo3::{prelude::*, types::PyDict};

    #[pymodule_export]
    use super::cache::{CacheKey, CacheSaving, CacheStats, LlmCache};
    #[pymodule_export]
    use super::embeddings::Embeddings;
    #[pymodule_export]
    use super::event::{
        CitationEvent, FinishEvent, PartEvent, RefusalDelta, TextDelta, ThinkingDelta, ToolCallDelta, ToolCallStart,
        UsageEvent,
    };
    #[pymodule_export]
    use super::limiter::{
        Permit, RateLimiter, RateLimiterStatus, SyncPermit, SyncRateLimiter, rate_limit_preset, rate_limit_presets,
    };
    #[pymodule_export]
    use super::limiter_state::LimiterState;
    #[pymodule_export]
    use super::message::ChatMessage;
    #[pymodule_export]
    use super::metrics::InferenceMetrics;
    #[pymodule_export]
    use super::models::ModelInfo;
    #[pymodule_export]
    use super::preset::{Preset, preset, preset_names};
    #[pymodule_export]
    use super::prompt_cache::mark_messages;
    #[pymodule_export]
    use super::provider::Provider;
    #[pymodule_export]
    use super::response::{Citation, LlmResponse, RateLimits, ToolCall, Usage};
    #[pymodule_export]
    use super::simulator::Simulator;
    #[pymodule_export]
    use super::stream::{EventStream, SyncEventStream, SyncTextStream, TextStream};
    #[pymodule_export]
    use super::tokenizer::{Tokenizer, count_tokens_if_needed, estimate_tokens};
    #[pymodule_export]
    use super::tools::ToolDefinition;
    #[pymodule_export]
    use super::wires::{decode_chat, decode_embed, decode_events, read_frames};

    /// Whoever forks says so in the child, before anything else happens there.
    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        let hooks = PyDict::new(py);
        hooks.set_item("after_in_child", wrap_pyfunction!(super::bridge::after_fork, module)?)?;
        py.import("os")?.getattr("register_at_fork")?.call((), Some(&hooks))?;
        Ok(())
    }

    /// The version of the package.
    #[allow(non_upper_case_globals)]
    #[pymodule_export]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
