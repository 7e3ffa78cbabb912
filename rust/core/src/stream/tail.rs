//! What the parsers keep of a line or message whose end has not come yet, and the bound on its size.

use crate::error::{Error, ErrorKind};

/// The beginning of a line or message that goes on in the next chunk.
#[derive(Debug)]
pub(super) struct Tail {
    bytes: Vec<u8>,
    max: usize,
}

impl Tail {
    pub(super) fn new(max: usize) -> Self {
        Self { bytes: Vec::new(), max }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What is kept.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Refuses what is larger than a frame may be.
    pub(super) fn check(&self, len: usize) -> Result<(), Error> {
        if len <= self.max { Ok(()) } else { Err(too_large(self.max)) }
    }

    /// Keeps more of the line.
    pub(super) fn hold(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.check(self.bytes.len().saturating_add(bytes.len()))?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Takes the kept line out; [`Tail::reuse`] gives its memory back.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Keeps the memory of a line that is done with.
    pub(super) fn reuse(&mut self, mut line: Vec<u8>) {
        line.clear();
        self.bytes = line;
    }
}

#[cold]
fn too_large(max: usize) -> Error {
    Error::new(ErrorKind::Malformed, format!("a frame of the stream is larger than {max} bytes"))
}
