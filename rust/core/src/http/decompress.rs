//! Undoes a response's content encoding piece by piece, so that a compressed stream is still a stream.

use std::io::Write;

use bytes::Bytes;

use crate::error::{Error, ErrorKind};

/// What `accept-encoding` offers for answers that come whole. Streams ask for none: compressors hold tokens back.
pub const ACCEPT_ENCODING: &str = "gzip, br, zstd";

/// A decoder for one response body.
pub struct Decompressor(Kind);

enum Kind {
    Gzip(Box<flate2::write::MultiGzDecoder<Vec<u8>>>),
    Deflate(Box<flate2::write::ZlibDecoder<Vec<u8>>>),
    Brotli(Box<brotli::DecompressorWriter<Vec<u8>>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Vec<u8>>>),
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decompressor")
    }
}

fn broken(error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Malformed, format!("the answer's compression is broken: {error}"))
}

impl Decompressor {
    /// A decoder for that `content-encoding`; `None` where nothing has to be undone.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] for an encoding that was not asked for and is not known.
    pub fn new(encoding: &str) -> Result<Option<Self>, Error> {
        Ok(Some(Self(match encoding.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => return Ok(None),
            "gzip" | "x-gzip" => Kind::Gzip(Box::new(flate2::write::MultiGzDecoder::new(Vec::new()))),
            "deflate" => Kind::Deflate(Box::new(flate2::write::ZlibDecoder::new(Vec::new()))),
            "br" => Kind::Brotli(Box::new(brotli::DecompressorWriter::new(Vec::new(), 8 << 10))),
            "zstd" => {
                Kind::Zstd(Box::new(zstd::stream::write::Decoder::new(Vec::new()).map_err(|error| broken(&error))?))
            }
            other => {
                let message = format!("the answer is encoded as {other:?}, which was not asked for");
                return Err(Error::new(ErrorKind::Malformed, message));
            }
        })))
    }

    /// Decodes the next piece; may be empty while the decoder needs more.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] for broken data.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Bytes, Error> {
        fn pass<W: Write>(writer: &mut W, bytes: &[u8], out: fn(&mut W) -> &mut Vec<u8>) -> std::io::Result<Vec<u8>> {
            writer.write_all(bytes)?;
            writer.flush()?;
            Ok(std::mem::take(out(writer)))
        }
        match &mut self.0 {
            Kind::Gzip(decoder) => pass(&mut **decoder, bytes, |d| d.get_mut()),
            Kind::Deflate(decoder) => pass(&mut **decoder, bytes, |d| d.get_mut()),
            Kind::Brotli(decoder) => pass(&mut **decoder, bytes, |d| d.get_mut()),
            Kind::Zstd(decoder) => pass(&mut **decoder, bytes, |d| d.get_mut()),
        }
        .map(Bytes::from)
        .map_err(|error| broken(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compress(encoding: &str, text: &[u8]) -> Vec<u8> {
        match encoding {
            "gzip" => {
                let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                writer.write_all(text).unwrap();
                writer.finish().unwrap()
            }
            "deflate" => {
                let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
                writer.write_all(text).unwrap();
                writer.finish().unwrap()
            }
            "br" => {
                let mut writer = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 20);
                writer.write_all(text).unwrap();
                writer.into_inner()
            }
            _ => zstd::encode_all(text, 3).unwrap(),
        }
    }

    #[test]
    fn every_encoding_cut_at_every_byte() {
        let text = "data: {\"é\": 1}\n\n".repeat(20);
        for encoding in ["gzip", "deflate", "br", "zstd"] {
            let packed = compress(encoding, text.as_bytes());
            for cut in 0..=packed.len() {
                let mut decoder = Decompressor::new(encoding).unwrap().unwrap();
                let mut out = decoder.feed(&packed[..cut]).unwrap().to_vec();
                out.extend_from_slice(&decoder.feed(&packed[cut..]).unwrap());
                assert_eq!(out, text.as_bytes(), "{encoding} cut at {cut}");
            }
            assert!(Decompressor::new(encoding).unwrap().unwrap().feed(b"<html>not compressed at all</html>").is_err());
        }
    }

    #[test]
    fn unknown_encodings_are_refused() {
        assert!(Decompressor::new("identity").unwrap().is_none());
        assert_eq!(Decompressor::new("lzma").unwrap_err().kind(), ErrorKind::Malformed);
    }
}
