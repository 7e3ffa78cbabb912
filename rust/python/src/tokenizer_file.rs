//! A vocabulary from a `tokenizer.json` file, read by the `tokenizers` package where the user has it.
//!
//! The package's core is a Rust crate too; compiled in, it would make the wheel larger by half and come twice into any
//! program that uses `transformers`. So it is imported when the first file is opened.

use edgequake_core::tokenizer::{
    cut,
    special::{Segment, SpecialTokens, segments},
};
use pyo3::{
    exceptions::PyImportError,
    intern,
    prelude::*,
    types::{PyDict, PyString},
};

use crate::{errors::to_py, tokenizer::configuration};

/// A tokenizer of the `tokenizers` package.
pub(crate) struct FileTokenizer {
    inner: Py<PyAny>,
    path: String,
    special: Vec<(String, u32)>,
}

impl FileTokenizer {
    pub(crate) fn open(path: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = path.py();
        let path: String = py.import(intern!(py, "os"))?.call_method1(intern!(py, "fspath"), (path,))?.extract()?;
        let package = py.import(intern!(py, "tokenizers")).map_err(|error| {
            if error.is_instance_of::<PyImportError>(py) {
                let message = "Tokenizer.from_file needs the tokenizers package: pip install edgequake-llm[tokenizers]";
                return configuration(py, message.into());
            }
            error
        })?;
        let opened = package.getattr(intern!(py, "Tokenizer"))?.call_method1(intern!(py, "from_file"), (&path,));
        let inner =
            opened.map_err(|error| configuration(py, format!("{path} is no tokenizer file: {}", error.value(py))))?;
        inner.call_method0(intern!(py, "no_truncation"))?;
        inner.call_method0(intern!(py, "no_padding"))?;
        // What looks like a special token is text, unless the caller allows it.
        inner.setattr(intern!(py, "encode_special_tokens"), true)?;
        let mut special = Vec::new();
        let added = inner.call_method0(intern!(py, "get_added_tokens_decoder"))?;
        for (id, token) in added.cast_into::<PyDict>()?.iter() {
            if token.getattr(intern!(py, "special"))?.is_truthy()? {
                special.push((token.getattr(intern!(py, "content"))?.extract()?, id.extract()?));
            }
        }
        Ok(Self { inner: inner.unbind(), path, special })
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn special_tokens(&self) -> &[(String, u32)] {
        &self.special
    }

    fn encoding<'py>(&self, text: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = text.py();
        let keywords = PyDict::new(py);
        keywords.set_item(intern!(py, "add_special_tokens"), false)?;
        self.inner.bind(py).call_method(intern!(py, "encode"), (text,), Some(&keywords))
    }

    pub(crate) fn count(&self, text: &Bound<'_, PyAny>) -> PyResult<usize> {
        self.encoding(text)?.len()
    }

    pub(crate) fn encode(
        &self,
        py: Python<'_>,
        text: &str,
        allowed: &SpecialTokens,
        disallowed: &SpecialTokens,
    ) -> PyResult<Vec<u32>> {
        let find = |from: usize| {
            let found = self.special.iter().filter(|(name, _)| !name.is_empty()).filter_map(|(name, id)| {
                let start = from + text.get(from..)?.find(name)?;
                Some((start, start + name.len(), *id))
            });
            // Of two that begin together the longer one.
            found.min_by_key(|(start, end, _)| (*start, usize::MAX - end))
        };
        let mut tokens = Vec::new();
        for segment in segments(text, allowed, disallowed, find).map_err(|error| to_py(py, &error))? {
            match segment {
                Segment::Text(text) => {
                    let encoding = self.encoding(PyString::new(py, text).as_any())?;
                    tokens.extend(encoding.getattr(intern!(py, "ids"))?.extract::<Vec<u32>>()?);
                }
                Segment::Token(id) => tokens.push(id),
            }
        }
        Ok(tokens)
    }

    pub(crate) fn decode<'py>(&self, py: Python<'py>, tokens: Vec<u32>) -> PyResult<Bound<'py, PyAny>> {
        let keywords = PyDict::new(py);
        keywords.set_item(intern!(py, "skip_special_tokens"), false)?;
        self.inner.bind(py).call_method(intern!(py, "decode"), (tokens,), Some(&keywords))
    }

    /// What cutting text by its tokens needs.
    pub(crate) fn borders<'a, 'py>(&'a self, py: Python<'py>) -> FileBorders<'a, 'py> {
        FileBorders { file: self, py }
    }
}

/// The borders of the tokens that a file's vocabulary gives.
pub(crate) struct FileBorders<'a, 'py> {
    file: &'a FileTokenizer,
    py: Python<'py>,
}

/// An exception, made from an error of the core where the core finds one.
pub(crate) struct Raised(PyErr);

impl From<edgequake_core::Error> for Raised {
    fn from(error: edgequake_core::Error) -> Self {
        Self(Python::attach(|py| to_py(py, &error)))
    }
}

impl From<PyErr> for Raised {
    fn from(error: PyErr) -> Self {
        Self(error)
    }
}

impl From<Raised> for PyErr {
    fn from(raised: Raised) -> Self {
        raised.0
    }
}

impl cut::Borders for FileBorders<'_, '_> {
    type Error = Raised;

    fn ends(&self, text: &str, _: usize) -> Result<Vec<usize>, Raised> {
        let encoding = self.file.encoding(PyString::new(self.py, text).as_any())?;
        let offsets: Vec<(usize, usize)> = encoding.getattr(intern!(self.py, "offsets"))?.extract()?;
        // Offsets count characters; a token that ends within a character is said to end after it.
        let mut borders = text.char_indices().map(|(at, _)| at).chain([text.len()]).enumerate().peekable();
        let mut ends = Vec::with_capacity(offsets.len());
        let mut at = 0;
        for (_, end) in offsets {
            while let Some((_, border)) = borders.next_if(|(n, _)| *n <= end) {
                at = border;
            }
            ends.push(at);
        }
        // White space at the end may be in no token.
        if let Some(last) = ends.last_mut() {
            *last = text.len();
        }
        Ok(ends)
    }

    fn fits(&self, text: &str, limit: usize) -> Result<bool, Raised> {
        Ok(self.file.count(PyString::new(self.py, text).as_any())? <= limit)
    }
}
