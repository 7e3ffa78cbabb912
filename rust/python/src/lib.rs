//! PyO3 bindings of edgequake-core, and the bridge from its I/O thread to asyncio. Nothing here decides anything that is
//! not about Python.

mod bridge;
mod embeddings;
mod errors;
mod event;
mod json;
mod message;
mod metrics;
mod options;
mod provider;
mod response;
mod simulator;
mod stream;
mod tools;
mod wires;

/// The native part of `edgequake_llm`.
#[pyo3::pymodule(gil_used = false)]
mod _core {
    #[pymodule_export]
    use super::embeddings::Embeddings;
    #[pymodule_export]
    use super::event::{
        FinishEvent, PartEvent, RefusalDelta, TextDelta, ThinkingDelta, ToolCallDelta, ToolCallStart, UsageEvent,
    };
    #[pymodule_export]
    use super::message::ChatMessage;
    #[pymodule_export]
    use super::metrics::InferenceMetrics;
    #[pymodule_export]
    use super::provider::Provider;
    #[pymodule_export]
    use super::response::{LlmResponse, RateLimits, ToolCall, Usage};
    #[pymodule_export]
    use super::simulator::Simulator;
    #[pymodule_export]
    use super::stream::{EventStream, SyncEventStream, SyncTextStream, TextStream};
    #[pymodule_export]
    use super::tools::ToolDefinition;
    #[pymodule_export]
    use super::wires::{decode_chat, decode_embed, decode_events, read_frames};

    /// The version of the package.
    #[allow(non_upper_case_globals)]
    #[pymodule_export]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
