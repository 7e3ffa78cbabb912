//! Pictures, documents and sounds as Converse's blocks: each has a format by name, and each document a name of its own.

use crate::{
    error::Error,
    model::Media,
    wire::{
        body::{ObjectWriter, unsupported},
        common::Source,
    },
};

use super::NAME;

/// MIME types, the name of the format, and endings of file names.
const FORMATS: [(&str, &str, &[&str]); 22] = [
    ("image/png", "png", &["png"]),
    ("image/jpeg", "jpeg", &["jpg", "jpeg"]),
    ("image/jpg", "jpeg", &[]),
    ("image/gif", "gif", &["gif"]),
    ("image/webp", "webp", &["webp"]),
    ("application/pdf", "pdf", &["pdf"]),
    ("text/csv", "csv", &["csv"]),
    ("application/msword", "doc", &["doc"]),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx", &["docx"]),
    ("application/vnd.ms-excel", "xls", &["xls"]),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx", &["xlsx"]),
    ("text/html", "html", &["html", "htm"]),
    ("text/plain", "txt", &["txt"]),
    ("text/markdown", "md", &["md"]),
    ("audio/mpeg", "mp3", &["mp3"]),
    ("audio/mp3", "mp3", &[]),
    ("audio/wav", "wav", &["wav"]),
    ("audio/x-wav", "wav", &[]),
    ("audio/aac", "aac", &["aac"]),
    ("audio/flac", "flac", &["flac"]),
    ("audio/ogg", "ogg", &["ogg"]),
    ("audio/mp4", "mp4", &["m4a"]),
];

fn by_type(media_type: &str) -> Option<&'static str> {
    FORMATS.iter().find(|(name, ..)| *name == media_type).map(|(_, format, _)| *format)
}

fn by_ending(uri: &str) -> Option<&'static str> {
    let (_, ending) = uri.rsplit_once('.')?;
    let ending = ending.to_ascii_lowercase();
    FORMATS.iter().find(|(.., endings)| endings.contains(&ending.as_str())).map(|(_, format, _)| *format)
}

/// The names of the documents of one request, each of which must be another.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<String>);

impl Names {
    /// The longest name.
    const MOST: usize = 200;

    /// A name that is taken: letters, digits, single spaces, hyphens, parentheses and brackets, and none given before.
    fn take(&mut self, given: Option<&str>) -> String {
        let allowed = |c: char| if c.is_ascii_alphanumeric() || "-()[]".contains(c) { c } else { ' ' };
        let name: String = given.unwrap_or_default().chars().map(allowed).collect();
        let words: Vec<&str> = name.split_whitespace().collect();
        let name: String = words.join(" ").chars().take(Self::MOST - 8).collect();
        let name = if name.is_empty() { "document" } else { name.trim_end() };
        let numbered = (1..).map(|n| if n == 1 { name.to_owned() } else { format!("{name} ({n})") });
        let name = numbered.into_iter().find(|name| !self.0.contains(name)).unwrap_or_default();
        self.0.push(name.clone());
        name
    }
}

/// Writes the block of a picture (`image`), a document or a sound (`audio`); documents have names.
pub(super) fn block(
    body: &mut ObjectWriter<'_>,
    kind: &'static str,
    media: &Media,
    named: Option<(&mut Names, Option<&str>)>,
) -> Result<(), Error> {
    let source = Source::from(media);
    let format = match source {
        Source::Base64 { media_type, .. } => by_type(media_type),
        Source::Url(uri) if uri.starts_with("s3://") => by_ending(uri),
        Source::Url(_) => {
            let instead = "Bedrock fetches from s3://bucket/key alone: read the file and pass its bytes";
            return Err(unsupported(NAME, &format!("a URL of {}", article(kind)), instead));
        }
        Source::File(_) => {
            let instead = "there are no uploaded files: pass the bytes, or an address of s3://bucket/key";
            return Err(unsupported(NAME, &format!("a file id of {}", article(kind)), instead));
        }
    };
    let Some(format) = format else {
        let message = format!("the type of {} is not known: Bedrock wants it by name", article(kind));
        return Err(Error::invalid(message).with_provider(NAME).with_param("messages".to_owned()));
    };
    body.object(kind, |block| {
        block.field("format", format);
        if let Some((names, name)) = named {
            block.field("name", &names.take(name));
        }
        block.object("source", |place| match source {
            Source::Base64 { data, .. } => place.field("bytes", data),
            Source::Url(uri) | Source::File(uri) => place.object("s3Location", |s3| s3.field("uri", uri)),
        });
    });
    Ok(())
}

fn article(kind: &str) -> &'static str {
    match kind {
        "image" => "an image",
        "audio" => "a sound",
        _ => "a document",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_to_fit_and_never_given_twice() {
        let mut names = Names::default();
        for (given, taken) in [
            (None, "document"),
            (None, "document (2)"),
            (Some("Annual_report 2024.pdf"), "Annual report 2024 pdf"),
            (Some("Annual report  2024 pdf"), "Annual report 2024 pdf (2)"),
            (Some("é/\n"), "document (3)"),
            (Some("a-(b)[c]"), "a-(b)[c]"),
        ] {
            assert_eq!(names.take(given), taken);
        }
        assert_eq!(names.take(Some(&"x".repeat(500))).len(), Names::MOST - 8);
    }

    #[test]
    fn formats() {
        assert_eq!((by_type("image/jpg"), by_type("image/tiff")), (Some("jpeg"), None));
        assert_eq!((by_ending("s3://b/a.JPG"), by_ending("s3://b/a")), (Some("jpeg"), None));
    }
}
