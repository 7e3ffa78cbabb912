//! `Embeddings`: vectors that numpy reads without a copy.

use edgequake_core::{
    call::{Completed, Meta},
    model,
};
use pyo3::{
    exceptions::{PyIndexError, PyOverflowError},
    intern,
    prelude::*,
    types::{PyBytes, PyDict, PyList, PySlice},
};

use crate::{metrics::InferenceMetrics, response::Usage};

/// The vectors of some texts, in the order of the texts.
///
/// A sequence: `len(e)`, `e[i]` and iteration give each vector as a read-only `memoryview` of 32-bit floats, with
/// `tolist()`. `e.buffer` is all of them as one 2-dimensional view of shape (texts, dimensions);
/// `numpy.asarray(e.buffer)` or `numpy.asarray(e)` reads it without a copy. `e.tolist()` gives plain lists.
#[pyclass(name = "Embeddings", module = "edgequake_llm", frozen, sequence)]
pub(crate) struct Embeddings {
    buffer: Py<PyAny>,
    count: usize,
    dims: usize,
    model: String,
    usage: Option<model::Usage>,
    provider: &'static str,
    meta: Meta,
}

/// A view of `values` as rows of `dims` 32-bit floats in memory that Python owns.
fn view<'py>(py: Python<'py>, values: &[f32], count: usize, dims: usize) -> PyResult<Bound<'py, PyAny>> {
    let bytes = PyBytes::new(py, bytemuck::cast_slice(values));
    let memoryview = py.import("builtins")?.getattr(intern!(py, "memoryview"))?.call1((bytes,))?;
    if count == 0 || dims == 0 {
        // A view cannot have a side of length 0.
        return memoryview.call_method1(intern!(py, "cast"), ("f",));
    }
    memoryview.call_method1(intern!(py, "cast"), ("f", PyList::new(py, [count, dims])?))
}

/// A view of one vector.
pub(crate) fn row_view<'py>(py: Python<'py>, vector: &[f32]) -> PyResult<Bound<'py, PyAny>> {
    let bytes = PyBytes::new(py, bytemuck::cast_slice(vector));
    let memoryview = py.import("builtins")?.getattr(intern!(py, "memoryview"))?.call1((bytes,))?;
    memoryview.call_method1(intern!(py, "cast"), ("f",))
}

/// Vectors by the place of their text, for an error that tells what had come already.
pub(crate) fn vectors_by_place<'py>(
    py: Python<'py>,
    batches: &[(usize, model::Embeddings)],
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (start, batch) in batches {
        for (place, vector) in batch.values.chunks(batch.dims.max(1)).enumerate() {
            dict.set_item(start + place, row_view(py, vector)?)?;
        }
    }
    Ok(dict)
}

impl Embeddings {
    /// The vectors of a finished call.
    pub(crate) fn of(
        py: Python<'_>,
        completed: Completed<model::Embeddings>,
        provider: &'static str,
    ) -> PyResult<Self> {
        let Completed { value, meta } = completed;
        let (count, dims) = (value.len(), value.dims);
        let buffer = view(py, &value.values, count, dims)?.unbind();
        Ok(Self { buffer, count, dims, model: value.model, usage: value.usage, provider, meta })
    }

    /// Vectors that no call brought.
    pub(crate) fn by_hand(py: Python<'_>, value: model::Embeddings, provider: &'static str) -> PyResult<Self> {
        Self::of(py, Completed { value, meta: Meta::default() }, provider)
    }

    fn row<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Bound<'py, PyAny>> {
        // A 2-dimensional view has no rows of its own, so the row is cut out of the bytes below it: no copy either.
        let bytes = self.buffer.bind(py).call_method1(intern!(py, "cast"), ("B",))?;
        let width = self.dims * size_of::<f32>();
        let slice = PySlice::new(py, (index * width).cast_signed(), ((index + 1) * width).cast_signed(), 1);
        bytes.get_item(slice)?.call_method1(intern!(py, "cast"), ("f",))
    }
}

/// A place in a sequence, as lists take it: any whole number, and one that is too large is beyond the end.
fn place(index: &Bound<'_, PyAny>) -> PyResult<isize> {
    index.extract().map_err(|error: PyErr| match error.is_instance_of::<PyOverflowError>(index.py()) {
        true => PyIndexError::new_err("there are not so many vectors"),
        false => error,
    })
}

#[pymethods]
impl Embeddings {
    fn __len__(&self) -> usize {
        self.count
    }

    fn __getitem__<'py>(&self, py: Python<'py>, index: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let index = place(&index)?;
        let from_end = if index < 0 { self.count.cast_signed() } else { 0 };
        match usize::try_from(index.saturating_add(from_end)) {
            Ok(index) if index < self.count => self.row(py, index),
            _ => Err(PyIndexError::new_err(format!("there are {} vectors", self.count))),
        }
    }

    fn __iter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let builtins = py.import("builtins")?;
        let places = builtins.getattr(intern!(py, "range"))?.call1((slf.get().count,))?;
        builtins.getattr(intern!(py, "map"))?.call1((slf.getattr(intern!(py, "__getitem__"))?, places))
    }

    /// All vectors as one read-only view of 32-bit floats, of shape (texts, dimensions).
    #[getter]
    fn buffer<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.buffer.bind(py).clone()
    }

    /// For numpy: `numpy.asarray(embeddings)` shares the memory.
    #[pyo3(signature = (dtype=None, copy=None))]
    fn __array__<'py>(
        &self,
        py: Python<'py>,
        dtype: Option<Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let numpy = py.import("numpy")?;
        let arguments = PyDict::new(py);
        if let Some(dtype) = dtype {
            arguments.set_item("dtype", dtype)?;
        }
        // `asarray` copies where it must; `array` is told whether to, and raises where it must and may not.
        if let Some(copy) = copy {
            arguments.set_item("copy", copy)?;
        }
        let name = if copy.is_some() { "array" } else { "asarray" };
        numpy.getattr(name)?.call((self.buffer.bind(py),), Some(&arguments))
    }

    /// The vectors as lists of Python floats.
    fn tolist<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if self.count == 0 {
            return Ok(PyList::empty(py).into_any());
        }
        self.buffer.bind(py).call_method0(intern!(py, "tolist"))
    }

    /// Numbers in a vector.
    #[getter]
    fn dimensions(&self) -> usize {
        self.dims
    }

    /// The model that answered.
    #[getter]
    fn model(&self) -> &str {
        &self.model
    }

    /// The provider's name.
    #[getter]
    fn provider(&self) -> &'static str {
        self.provider
    }

    /// Token counts of all requests together; `None` where the provider gave none.
    #[getter]
    fn usage(&self) -> Option<Usage> {
        self.usage.map(Usage::from)
    }

    /// Requests sent, one for each batch and each retry; 0 when a cache had all vectors.
    #[getter]
    fn attempts(&self) -> u32 {
        self.meta.attempts
    }

    /// Whether all vectors came from a cache of this library or from an equal call, and cost nothing.
    #[getter]
    fn cached(&self) -> bool {
        self.meta.cached
    }

    /// What the whole call took: `total_ms` is until the last vectors had come.
    #[getter]
    fn metrics(&self) -> InferenceMetrics {
        let total = self.meta.metrics.total(std::time::Duration::ZERO);
        InferenceMetrics::of(self.meta.metrics.clone(), total)
    }

    fn __repr__(&self) -> String {
        format!("Embeddings(model={:?}, texts={}, dimensions={})", self.model, self.count, self.dims)
    }
}
