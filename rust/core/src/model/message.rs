//! Messages and the parts that their content is made of.

use serde_json::Value;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Instructions for the whole conversation.
    System,
    /// OpenAI's newer name for [`Role::System`]; the same to every other provider.
    Developer,
    /// The person or program asking.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call.
    Tool,
}

impl Role {
    /// The role as the field spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Developer => "developer",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }

    /// The role of that name, `None` for a name that no provider knows.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "system" => Self::System,
            "developer" => Self::Developer,
            "user" => Self::User,
            "assistant" | "model" => Self::Assistant,
            "tool" | "function" => Self::Tool,
            _ => return None,
        })
    }

    /// Whether the message instructs the model for the whole conversation.
    pub fn is_system(self) -> bool {
        matches!(self, Self::System | Self::Developer)
    }
}

/// A mark where the provider may cache the prompt up to here (Anthropic's `cache_control`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CacheControl {
    /// `5m` or `1h`; `None` is the provider's default.
    pub ttl: Option<String>,
}

/// Where the bytes of an image, document or sound are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Media {
    /// At this address; the provider fetches it.
    Url(String),
    /// Here, base64-encoded.
    Base64 {
        /// The MIME type, as `image/png`.
        media_type: String,
        /// The bytes in standard base64.
        data: String,
    },
    /// Uploaded to the provider before, under this id.
    FileId(String),
}

/// A call of a tool that the model asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ToolCall {
    /// The call's id; results refer to it. Made by us where a provider has none.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The arguments, as JSON text. Empty arguments are `{}`.
    pub arguments: String,
    /// Gemini's thought signature, sent back untouched.
    pub signature: Option<String>,
}

/// One piece of a message's content.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Plain text.
    Text {
        /// The text.
        text: String,
        /// Whether the prompt may be cached up to here.
        cache: Option<CacheControl>,
        /// What the text rests on, as the provider said it of its own answer; sent back untouched (Anthropic).
        citations: Vec<Value>,
    },
    /// A picture.
    Image {
        /// Where it is.
        media: Media,
        /// OpenAI's `detail`: `low`, `high` or `auto`.
        detail: Option<String>,
    },
    /// A document, as a PDF.
    Document {
        /// Where it is.
        media: Media,
        /// Its file name or title.
        name: Option<String>,
    },
    /// A sound.
    Audio {
        /// Where it is.
        media: Media,
    },
    /// What the model thought before it answered.
    Thinking {
        /// The text; may be empty where the provider hides it.
        text: String,
        /// The provider's signature or encrypted form, sent back untouched.
        signature: Option<String>,
    },
    /// Thinking that the provider hides, sent back untouched.
    RedactedThinking {
        /// The opaque data.
        data: String,
    },
    /// The model refused, and says why.
    Refusal {
        /// The text of the refusal.
        text: String,
    },
    /// The model calls a tool.
    ToolCall(ToolCall),
    /// What a tool answered.
    ToolResult {
        /// The id of the call that this answers.
        id: String,
        /// The tool's name, where known; Gemini and Ollama want it.
        name: Option<String>,
        /// What the tool said: text, or parts.
        content: Vec<Part>,
        /// Whether the tool failed.
        is_error: bool,
    },
    /// A part of the provider's own kind, passed through untouched.
    Raw(Value),
}

impl Part {
    /// A text part with no cache mark.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into(), cache: None, citations: Vec::new() }
    }
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order. A message given as one string has one text part.
    pub content: Vec<Part>,
    /// The speaker's name, where several share a role.
    pub name: Option<String>,
    /// Whether the content was given as a list of parts; providers that tell the two apart then get a list.
    pub as_parts: bool,
    /// Whether the prompt may be cached up to the end of this message.
    pub cache: Option<CacheControl>,
}

impl Message {
    /// A message of one text.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self { role, content: vec![Part::text(text)], name: None, as_parts: false, cache: None }
    }

    /// Marks content that is no plain text as parts, which it is in JSON: a message is equal to itself read back.
    #[must_use]
    pub fn normal(mut self) -> Self {
        let is_text =
            |parts: &[Part]| matches!(parts, [Part::Text { cache: None, citations, .. }] if citations.is_empty());
        self.as_parts |= match self.content.as_slice() {
            [Part::ToolResult { content, .. }] if self.role == Role::Tool => !is_text(content),
            parts => !is_text(parts),
        };
        self
    }

    /// The text if the message is one plain text and nothing else.
    pub fn as_plain_text(&self) -> Option<&str> {
        match self.content.as_slice() {
            [Part::Text { text, cache: None, citations }]
                if citations.is_empty() && !self.as_parts && self.cache.is_none() =>
            {
                Some(text)
            }
            _ => None,
        }
    }

    /// Whether it says nothing: no part but text, and that empty or white space.
    pub fn is_blank(&self) -> bool {
        self.content.iter().all(|part| matches!(part, Part::Text { text, .. } if text.trim().is_empty()))
    }

    /// Roughly how many bytes its content holds.
    pub fn size(&self) -> usize {
        fn of(part: &Part) -> usize {
            match part {
                Part::Text { text, .. } | Part::Thinking { text, .. } | Part::Refusal { text } => text.len(),
                Part::Image { media, .. } | Part::Document { media, .. } | Part::Audio { media } => match media {
                    Media::Base64 { data, .. } => data.len(),
                    Media::Url(_) | Media::FileId(_) => 0,
                },
                Part::RedactedThinking { data } => data.len(),
                Part::ToolCall(call) => call.arguments.len(),
                Part::ToolResult { content, .. } => content.iter().map(of).sum(),
                Part::Raw(_) => 256,
            }
        }
        self.content.iter().map(of).sum()
    }

    /// All text parts joined.
    pub fn joined_text(&self) -> String {
        let texts = self.content.iter().filter_map(|part| match part {
            Part::Text { text, .. } => Some(text.as_str()),
            _ => None,
        });
        texts.collect()
    }
}
