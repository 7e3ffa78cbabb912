//! The typed events of a stream.

use edgequake_core::model::{self, json::part_to_json};
use pyo3::{IntoPyObjectExt, prelude::*};

use crate::{
    json::loads,
    response::{Citation, Usage},
};

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $ty:ty),* })*) => {
        $(
            $(#[$doc])*
            #[pyclass(module = "edgequake_llm", frozen, get_all)]
            pub(crate) struct $name { $($(#[$field_doc])* $field: $ty),* }

            #[pymethods]
            impl $name {
                #[classattr]
                fn __match_args__() -> ($(events!(@str $field),)*) {
                    ($(stringify!($field),)*)
                }

                fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
                    let fields: Vec<String> = vec![
                        $(format!("{}={}", stringify!($field), slf.getattr(stringify!($field))?.repr()?)),*
                    ];
                    Ok(format!("{}({})", stringify!($name), fields.join(", ")))
                }
            }
        )*
    };
    (@str $field:ident) => { &'static str };
}

events! {
    /// A piece of the answer's text.
    TextDelta {
        /// The piece.
        text: Py<PyAny>
    }
    /// A piece of the model's thinking.
    ThinkingDelta {
        /// The piece.
        text: Py<PyAny>
    }
    /// A piece of a refusal.
    RefusalDelta {
        /// The piece.
        text: Py<PyAny>
    }
    /// A tool call begins.
    ToolCallStart {
        /// Which call of this answer, from 0.
        index: u32,
        /// The call's id.
        id: Py<PyAny>,
        /// The tool's name.
        name: Py<PyAny>
    }
    /// A piece of a tool call's arguments.
    ToolCallDelta {
        /// Which call of this answer, from 0.
        index: u32,
        /// The piece, JSON text.
        arguments: Py<PyAny>
    }
    /// A whole part that does not come in pieces: an image, hidden thinking, a block of the provider's own.
    PartEvent {
        /// The part in its JSON form.
        part: Py<PyAny>
    }
    /// A source of the text so far.
    CitationEvent {
        /// The source, and the place in the text.
        citation: Py<PyAny>
    }
    /// Token counts so far; the last one holds.
    UsageEvent {
        /// The counts.
        usage: Py<PyAny>
    }
    /// Why the model stopped. Comes once.
    FinishEvent {
        /// The reason, as `LLMResponse.finish_reason`.
        finish_reason: Py<PyAny>
    }
}

/// The Python object for an event.
pub(crate) fn to_py(py: Python<'_>, event: model::Event) -> PyResult<Py<PyAny>> {
    match event {
        model::Event::Text(text) => TextDelta { text: text.as_str().into_py_any(py)? }.into_py_any(py),
        model::Event::Thinking(text) => ThinkingDelta { text: text.as_str().into_py_any(py)? }.into_py_any(py),
        model::Event::Refusal(text) => RefusalDelta { text: text.as_str().into_py_any(py)? }.into_py_any(py),
        model::Event::ToolCallStart { index, id, name } => {
            ToolCallStart { index, id: id.as_str().into_py_any(py)?, name: name.as_str().into_py_any(py)? }
                .into_py_any(py)
        }
        model::Event::ToolCallDelta { index, arguments } => {
            ToolCallDelta { index, arguments: arguments.as_str().into_py_any(py)? }.into_py_any(py)
        }
        model::Event::Part(part) => {
            let part = loads(py, &part_to_json(&part).to_string())?.unbind();
            PartEvent { part }.into_py_any(py)
        }
        model::Event::Citation(citation) => {
            CitationEvent { citation: Citation::of(py, &citation)?.into_py_any(py)? }.into_py_any(py)
        }
        model::Event::Usage(usage) => UsageEvent { usage: Usage::from(usage).into_py_any(py)? }.into_py_any(py),
        model::Event::Finish(reason) => FinishEvent { finish_reason: reason.as_str().into_py_any(py)? }.into_py_any(py),
    }
}
