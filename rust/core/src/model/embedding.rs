//! Embedding requests and their vectors.

use super::{JsonObject, Usage};
use crate::error::{Error, ErrorKind};

/// One embedding call, already within the provider's batch limit.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbedRequest {
    /// The model's name.
    pub model: String,
    /// The texts, in order.
    pub inputs: Vec<String>,
    /// A shorter vector, where the model can.
    pub dimensions: Option<u32>,
    /// What the vectors are for (Gemini's `taskType`).
    pub task_type: Option<String>,
    /// Fields that go into the request body as they are; they win over the ones above.
    pub extra: JsonObject,
}

/// Vectors in the order of their texts, in one flat buffer of `len × dims` 32-bit floats.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Embeddings {
    /// The model that answered.
    pub model: String,
    /// Numbers in a vector; 0 before the first one.
    pub dims: usize,
    /// The vectors, one after another.
    pub values: Vec<f32>,
    /// Token counts, where the provider gave any.
    pub usage: Option<Usage>,
}

impl Embeddings {
    /// How many vectors there are.
    pub fn len(&self) -> usize {
        self.values.len().checked_div(self.dims).unwrap_or(0)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Adds a vector.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] when its length differs from the others' or is 0.
    pub fn push(&mut self, vector: &[f32]) -> Result<(), Error> {
        if vector.is_empty() || (self.dims != 0 && vector.len() != self.dims) {
            let message = format!("vectors of {} and {} numbers in one answer", self.dims, vector.len());
            return Err(Error::new(ErrorKind::Malformed, message));
        }
        self.dims = vector.len();
        self.values.extend_from_slice(vector);
        Ok(())
    }

    /// Adds another batch behind this one.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] when the batches' vectors differ in length.
    pub fn append(&mut self, mut batch: Self) -> Result<(), Error> {
        if self.dims != 0 && batch.dims != 0 && self.dims != batch.dims {
            let message = format!("batches with vectors of {} and {} numbers", self.dims, batch.dims);
            return Err(Error::new(ErrorKind::Malformed, message));
        }
        self.dims = self.dims.max(batch.dims);
        self.values.append(&mut batch.values);
        if self.model.is_empty() {
            self.model = batch.model;
        }
        self.usage = match (self.usage, batch.usage) {
            (Some(a), Some(b)) => Some(Usage { input: a.input + b.input, ..a }),
            (a, b) => a.or(b),
        };
        Ok(())
    }
}
