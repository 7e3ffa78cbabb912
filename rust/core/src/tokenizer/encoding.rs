//! The encodings by name: which vocabulary and which way of cutting text each one has, loaded at the first use.

use std::sync::OnceLock;

use super::{
    merge::{Scratch, Sink},
    pieces::{Cl100k, Gpt2, O200k, Pattern},
    special::Specials,
    vocabulary::Vocabulary,
};

/// One of OpenAI's encodings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// GPT-4o and every newer model.
    O200kBase,
    /// The same with the special tokens of the gpt-oss models.
    O200kHarmony,
    /// GPT-4, GPT-3.5 and the embedding models.
    Cl100kBase,
    /// Codex and the last completion models.
    P50kBase,
    /// The edit models.
    P50kEdit,
    /// GPT-3 and GPT-2.
    R50kBase,
}

static O200K: OnceLock<Vocabulary> = OnceLock::new();
static CL100K: OnceLock<Vocabulary> = OnceLock::new();
static P50K: OnceLock<Vocabulary> = OnceLock::new();
static R50K: OnceLock<Vocabulary> = OnceLock::new();

/// The packed vocabularies, made by the build script.
macro_rules! packed {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".vocabulary"))
    };
}

impl Encoding {
    /// Every encoding.
    pub const ALL: [Self; 6] =
        [Self::O200kBase, Self::O200kHarmony, Self::Cl100kBase, Self::P50kBase, Self::P50kEdit, Self::R50kBase];

    /// Its name, as `o200k_base`.
    pub fn name(self) -> &'static str {
        match self {
            Self::O200kBase => "o200k_base",
            Self::O200kHarmony => "o200k_harmony",
            Self::Cl100kBase => "cl100k_base",
            Self::P50kBase => "p50k_base",
            Self::P50kEdit => "p50k_edit",
            Self::R50kBase => "r50k_base",
        }
    }

    /// The encoding of that name. `gpt2` is another name of `r50k_base`.
    pub fn parse(name: &str) -> Option<Self> {
        if name == "gpt2" {
            return Some(Self::R50kBase);
        }
        Self::ALL.into_iter().find(|encoding| encoding.name() == name)
    }

    pub(super) fn specials(self) -> Specials {
        Specials::of(self)
    }

    fn cell(self) -> &'static OnceLock<Vocabulary> {
        match self {
            Self::O200kBase | Self::O200kHarmony => &O200K,
            Self::Cl100kBase => &CL100K,
            Self::P50kBase | Self::P50kEdit => &P50K,
            Self::R50kBase => &R50K,
        }
    }

    /// Whether its vocabulary is unpacked already, so that the next count begins at once.
    pub fn is_loaded(self) -> bool {
        self.cell().get().is_some()
    }

    /// Unpacks its vocabulary now, if nobody has yet: some 20 ms of work and 5 to 11 MiB.
    pub fn load(self) {
        self.vocabulary();
    }

    /// Its vocabulary, unpacked by the first caller. Nobody waits for another who is at it, so that a process forked in
    /// the midst of it has nothing to wait for either; two first callers at once do the work twice.
    pub(super) fn vocabulary(self) -> &'static Vocabulary {
        let cell = self.cell();
        if let Some(loaded) = cell.get() {
            return loaded;
        }
        let (packed, count): (&[u8], _) = match self {
            Self::O200kBase | Self::O200kHarmony => (packed!("o200k"), 199_998),
            Self::Cl100kBase => (packed!("cl100k"), 100_256),
            Self::P50kBase | Self::P50kEdit => (packed!("p50k"), 50_281),
            // The first tokens of p50k.
            Self::R50kBase => (packed!("p50k"), 50_256),
        };
        let fresh = Vocabulary::unpack(packed, count);
        cell.get_or_init(|| fresh)
    }

    /// Encodes text without looking for special tokens.
    pub(super) fn encode_ordinary(self, text: &str, sink: &mut impl Sink) {
        let vocabulary = self.vocabulary();
        match self {
            Self::O200kBase | Self::O200kHarmony => encode::<O200k>(vocabulary, text.as_bytes(), sink),
            Self::Cl100kBase => encode::<Cl100k>(vocabulary, text.as_bytes(), sink),
            Self::P50kBase | Self::P50kEdit | Self::R50kBase => encode::<Gpt2>(vocabulary, text.as_bytes(), sink),
        }
    }
}

fn encode<P: Pattern>(vocabulary: &Vocabulary, text: &[u8], sink: &mut impl Sink) {
    let mut scratch = Scratch::default();
    let mut start = 0;
    while start < text.len() && !sink.is_full() {
        let end = P::end(text, start);
        match vocabulary.find(text, start, end) {
            Some(id) => sink.push(id),
            None => vocabulary.merge(text.get(start..end).unwrap_or_default(), &mut scratch, sink),
        }
        start = end;
    }
}
