//! The typed events of a stream.

use edgequake_core::model::{self, json::part_to_json};
use pyo3::{
    IntoPyObjectExt,
    prelude::*,
    types::{PyDict, PyString},
};

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
                #[new]
                fn new($($field: $ty),*) -> Self {
                    Self { $($field),* }
                }

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
        text: Py<PyString>
    }
    /// A piece of the model's thinking.
    ThinkingDelta {
        /// The piece.
        text: Py<PyString>
    }
    /// A piece of a refusal.
    RefusalDelta {
        /// The piece.
        text: Py<PyString>
    }
    /// A tool call begins.
    ToolCallStart {
        /// Which call of this answer, from 0.
        index: u32,
        /// The call's id.
        id: Py<PyString>,
        /// The tool's name.
        name: Py<PyString>
    }
    /// A piece of a tool call's arguments.
    ToolCallDelta {
        /// Which call of this answer, from 0.
        index: u32,
        /// The piece, JSON text.
        arguments: Py<PyString>
    }
    /// A whole part that does not come in pieces: an image, hidden thinking, a block of the provider's own.
    PartEvent {
        /// The part in its JSON form.
        part: Py<PyDict>
    }
    /// A source of the text so far.
    CitationEvent {
        /// The source, and the place in the text.
        citation: Py<Citation>
    }
    /// Token counts so far; the last one holds.
    UsageEvent {
        /// The counts.
        usage: Py<Usage>
    }
    /// Why the model stopped. Comes once.
    FinishEvent {
        /// The reason, as `LLMResponse.finish_reason`.
        finish_reason: Py<PyString>
    }
}

/// The Python object for an event.
pub(crate) fn to_py(py: Python<'_>, event: model::Event) -> PyResult<Py<PyAny>> {
    let text = |text: &str| PyString::new(py, text).unbind();
    match event {
        model::Event::Text(piece) => TextDelta { text: text(&piece) }.into_py_any(py),
        model::Event::Thinking(piece) => ThinkingDelta { text: text(&piece) }.into_py_any(py),
        model::Event::Refusal(piece) => RefusalDelta { text: text(&piece) }.into_py_any(py),
        model::Event::ToolCallStart { index, id, name } => {
            ToolCallStart { index, id: text(&id), name: text(&name) }.into_py_any(py)
        }
        model::Event::ToolCallDelta { index, arguments } => {
            ToolCallDelta { index, arguments: text(&arguments) }.into_py_any(py)
        }
        model::Event::Part(part) => {
            let part = loads(py, &part_to_json(&part).to_string())?.cast_into::<PyDict>()?.unbind();
            PartEvent { part }.into_py_any(py)
        }
        model::Event::Citation(citation) => {
            CitationEvent { citation: Py::new(py, Citation::of(py, &citation)?)? }.into_py_any(py)
        }
        model::Event::Usage(usage) => UsageEvent { usage: Py::new(py, Usage::from(usage))? }.into_py_any(py),
        model::Event::Finish(reason) => FinishEvent { finish_reason: text(reason.as_str()) }.into_py_any(py),
    }
}
