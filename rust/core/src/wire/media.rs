//! Which pictures, documents and sounds a provider takes, of which types and up to which size: checked before sending.

use std::sync::Arc;

use super::common::Source;
use crate::{
    error::Error,
    model::{Media, Message, Part},
};

/// A megabyte as providers count it.
const MB: usize = 1 << 20;

/// What a provider takes of one kind, given as bytes; what it fetches from an address itself is its own business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaKind {
    /// The MIME types; one that ends in `/` stands for all that begin with it.
    pub types: &'static [&'static str],
    /// The largest file, in bytes before base64.
    pub bytes: usize,
}

/// What a provider takes; `None` for a kind that it does not take, which is refused elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaLimits {
    /// Pictures.
    pub image: Option<MediaKind>,
    /// Documents.
    pub document: Option<MediaKind>,
    /// Sounds.
    pub audio: Option<MediaKind>,
    /// All files of a request together, in bytes of base64.
    pub request: usize,
}

/// OpenAI. Source: its guides "Images and vision" (types, 50 MB a request), "File inputs" (50 MB a file and a request) and
/// "Audio and speech" (WAV and MP3 in chat completions).
pub const OPENAI: MediaLimits = MediaLimits {
    image: Some(MediaKind { types: &["image/png", "image/jpeg", "image/webp", "image/gif"], bytes: 50 * MB }),
    document: Some(MediaKind { types: &["application/", "text/"], bytes: 50 * MB }),
    audio: Some(MediaKind { types: &["audio/wav", "audio/mpeg"], bytes: 50 * MB }),
    request: 70 * MB,
};

/// Anthropic. Source: its guides "Vision" (types, 10 MB an image) and "PDF support" (32 MB a request).
pub const ANTHROPIC: MediaLimits = MediaLimits {
    image: Some(MediaKind { types: &["image/png", "image/jpeg", "image/webp", "image/gif"], bytes: 10 * MB }),
    document: Some(MediaKind { types: &["application/pdf", "text/"], bytes: 32 * MB }),
    audio: None,
    request: 32 * MB,
};

/// Gemini. Source: its guides "File input methods" (100 MB a request, 50 MB a PDF), "Image understanding" and "Audio
/// understanding" (types).
pub const GEMINI: MediaLimits = MediaLimits {
    image: Some(MediaKind {
        types: &["image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"],
        bytes: 100 * MB,
    }),
    document: Some(MediaKind { types: &["application/", "text/", "video/"], bytes: 50 * MB }),
    audio: Some(MediaKind { types: &["audio/"], bytes: 100 * MB }),
    request: 100 * MB,
};

/// Ollama. Source: its guide "Vision"; it names no sizes.
pub const OLLAMA: MediaLimits = MediaLimits {
    image: Some(MediaKind { types: &["image/png", "image/jpeg", "image/webp"], bytes: usize::MAX }),
    document: None,
    audio: None,
    request: usize::MAX,
};

/// Bedrock. Source: the API reference of Converse, "Message" (3.75 MB an image, 4.5 MB a document) and the blocks' formats.
pub const BEDROCK: MediaLimits = MediaLimits {
    image: Some(MediaKind { types: &["image/png", "image/jpeg", "image/webp", "image/gif"], bytes: 15 * MB / 4 }),
    document: Some(MediaKind {
        types: &[
            "application/pdf",
            "application/msword",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            "application/vnd.ms-excel",
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            "text/csv",
            "text/html",
            "text/markdown",
            "text/plain",
        ],
        bytes: 9 * MB / 2,
    }),
    audio: Some(MediaKind {
        types: &["audio/mpeg", "audio/wav", "audio/aac", "audio/flac", "audio/ogg", "audio/mp4"],
        bytes: usize::MAX,
    }),
    request: usize::MAX,
};

/// One name for types that have several.
fn canonical(media_type: &str) -> &str {
    match media_type {
        "image/jpg" => "image/jpeg",
        "audio/x-wav" | "audio/wave" | "audio/vnd.wave" => "audio/wav",
        "audio/mp3" | "audio/mpeg3" | "audio/x-mpeg-3" => "audio/mpeg",
        other => other,
    }
}

impl MediaKind {
    fn takes(&self, media_type: &str) -> bool {
        let media_type = canonical(media_type);
        self.types.iter().any(|one| if one.ends_with('/') { media_type.starts_with(one) } else { *one == media_type })
    }
}

impl MediaLimits {
    /// Refuses what the provider would refuse.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest) with the type or size, and what is taken.
    pub fn check(&self, provider: &'static str, messages: &[Arc<Message>]) -> Result<(), Error> {
        let mut total = 0;
        for message in messages {
            self.parts(provider, &message.content, &mut total)?;
        }
        if total > self.request {
            let message = format!(
                "the files are {} in base64, more than the {} that {provider} takes in a request; upload them before and \
                 give their ids",
                megabytes(total),
                megabytes(self.request)
            );
            return Err(refusal(provider, message));
        }
        Ok(())
    }

    fn parts(&self, provider: &'static str, parts: &[Part], total: &mut usize) -> Result<(), Error> {
        for part in parts {
            match part {
                Part::Image { media, .. } => one(provider, "an image", media, self.image, total)?,
                Part::Document { media, .. } => one(provider, "a document", media, self.document, total)?,
                Part::Audio { media } => one(provider, "a sound", media, self.audio, total)?,
                Part::ToolResult { content, .. } => self.parts(provider, content, total)?,
                _ => {}
            }
        }
        Ok(())
    }
}

fn one(
    provider: &'static str,
    what: &str,
    media: &Media,
    kind: Option<MediaKind>,
    total: &mut usize,
) -> Result<(), Error> {
    let (Source::Base64 { media_type, data }, Some(kind)) = (Source::from(media), kind) else { return Ok(()) };
    if !kind.takes(media_type) {
        let types = kind.types.join(", ").replace("/,", "/*,");
        return Err(refusal(provider, format!("{provider} takes no {media_type} as {what}; it takes {types}")));
    }
    let bytes = data.len() / 4 * 3;
    if bytes > kind.bytes {
        let message = format!(
            "{what} of {} is larger than the {} that {provider} takes; make it smaller",
            megabytes(bytes),
            megabytes(kind.bytes)
        );
        return Err(refusal(provider, message));
    }
    *total += data.len();
    Ok(())
}

fn refusal(provider: &'static str, message: String) -> Error {
    Error::invalid(message).with_provider(provider).with_param("messages".to_owned())
}

fn megabytes(bytes: usize) -> String {
    format!("{:.1} MB", bytes as f64 / MB as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Role;

    fn check(limits: &MediaLimits, part: Part) -> Result<(), String> {
        let message = Message { role: Role::User, content: vec![part], name: None, as_parts: true, cache: None };
        limits.check("p", &[Arc::new(message)]).map_err(|error| error.message().to_owned())
    }

    fn base64(media_type: &str, length: usize) -> Media {
        Media::Base64 { media_type: media_type.to_owned(), data: "A".repeat(length) }
    }

    fn image(media: Media) -> Part {
        Part::Image { media, detail: None }
    }

    #[test]
    fn types() {
        assert_eq!(check(&ANTHROPIC, image(base64("image/jpg", 4))), Ok(()));
        assert_eq!(check(&GEMINI, image(base64("image/heic", 4))), Ok(()));
        let refused = check(&ANTHROPIC, image(base64("image/tiff", 4))).unwrap_err();
        assert_eq!(refused, "p takes no image/tiff as an image; it takes image/png, image/jpeg, image/webp, image/gif");
        let inside = Part::ToolResult {
            id: String::new(),
            name: None,
            content: vec![image(Media::Url("data:image/bmp;base64,AAAA".into()))],
            is_error: false,
        };
        assert!(check(&OPENAI, inside).unwrap_err().contains("image/bmp"));
        assert_eq!(check(&OPENAI, image(Media::Url("https://x/y.bmp".into()))), Ok(()));
        assert_eq!(check(&OPENAI, Part::Audio { media: base64("audio/x-wav", 4) }), Ok(()));
        assert!(check(&OPENAI, Part::Audio { media: base64("audio/ogg", 4) }).is_err());
    }

    #[test]
    fn sizes() {
        let most = 10 * MB / 3 * 4;
        assert_eq!(check(&ANTHROPIC, image(base64("image/png", most))), Ok(()));
        let refused = check(&ANTHROPIC, image(base64("image/png", most + 4 * MB))).unwrap_err();
        assert_eq!(refused, "an image of 13.0 MB is larger than the 10.0 MB that p takes; make it smaller");
        let document = Part::Document { media: base64("application/pdf", 33 * MB), name: None };
        assert!(check(&ANTHROPIC, document).unwrap_err().contains("33.0 MB in base64, more than the 32.0 MB"));
    }
}
