//! NDJSON.
use super::Frame;
use crate::error::Error;
/// placeholder
#[derive(Debug)]
pub struct NdJsonParser {}
impl NdJsonParser {
    /// placeholder
    pub fn new(_max: usize) -> Self {
        Self {}
    }
    /// placeholder
    pub fn feed(&mut self, _bytes: &[u8], _f: impl FnMut(Frame<'_>) -> Result<(), Error>) -> Result<(), Error> {
        Ok(())
    }
    /// placeholder
    pub fn finish(&mut self, _f: impl FnMut(Frame<'_>) -> Result<(), Error>) -> Result<(), Error> {
        Ok(())
    }
}
