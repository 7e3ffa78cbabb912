//! The tokenizer against `tiktoken-rs`, whose regular expressions and merging are tiktoken's own code.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::HashSet;

use edgequake_core::tokenizer::{
    Encoding, Tokenizer,
    special::SpecialTokens::{All, These},
};
use proptest::prelude::*;
use tiktoken_rs::CoreBPE;

fn oracle(encoding: Encoding) -> &'static CoreBPE {
    match encoding {
        Encoding::O200kBase => tiktoken_rs::o200k_base_singleton(),
        Encoding::O200kHarmony => tiktoken_rs::o200k_harmony_singleton(),
        Encoding::Cl100kBase => tiktoken_rs::cl100k_base_singleton(),
        Encoding::P50kBase => tiktoken_rs::p50k_base_singleton(),
        Encoding::P50kEdit => tiktoken_rs::p50k_edit_singleton(),
        Encoding::R50kBase => tiktoken_rs::r50k_base_singleton(),
    }
}

fn check(text: &str) {
    for encoding in Encoding::ALL {
        let ours = Tokenizer::from(encoding);
        let tokens = ours.encode(text, &These(HashSet::new()), &These(HashSet::new())).unwrap();
        assert_eq!(tokens, oracle(encoding).encode_ordinary(text), "{encoding:?} {text:?}");
        assert_eq!(ours.count(text, None), tokens.len());
        assert_eq!(ours.decode(&tokens).unwrap(), text.as_bytes());
        let special = ours.encode(text, &All, &All).unwrap();
        assert_eq!(special, oracle(encoding).encode_with_special_tokens(text), "{encoding:?} {text:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_text(text in "\\PC{0,80}") {
        check(&text);
    }

    #[test]
    fn what_decides_where_a_piece_ends(text in "[aAzéÉſʰǅ漢あ\u{301}\u{903} ٣½\t\n\r\u{a0}\u{2028}'’sStTlLvVeErRdDmM019!/.<|>🙂]{0,60}") {
        check(&text);
    }

    #[test]
    fn special_tokens_and_their_likes(text in "(<\\|endoftext\\|>|<\\|start\\|>|<\\|fim_prefix\\|>|<\\||\\|>|end|é| ){0,12}") {
        check(&text);
    }

    #[test]
    fn pieces_longer_than_a_window(text in "([ab]{60,300}|[漢字é]{40,120}|[ \n]{60,200})") {
        check(&text);
    }
}

#[test]
fn windows_are_joined_where_they_agree() {
    for run in ["a", "ab", "é", "漢", "=", " ", "\u{301}", "abc漢"] {
        check(&run.repeat(3000));
        check(&format!("x{}y", run.repeat(777)));
    }
}

#[test]
fn chunks_of_a_batch_and_limits() {
    let tokenizer = Tokenizer::for_model("gpt-4o-mini").unwrap();
    let text = "The quick brown fox. ".repeat(5000);
    let texts = [text.as_str(), "", "a", &text];
    let counts: Vec<usize> = texts.iter().map(|text| tokenizer.count(text, None)).collect();
    assert_eq!(tokenizer.count_batch(&texts, Some(3)), counts);
    assert_eq!(tokenizer.count(&text, Some(10)), 11);
    let chunks = tokenizer.split(&text, 100, 0).unwrap();
    assert_eq!(chunks.concat(), text);
    assert!(tokenizer.split(&text, 100, 100).unwrap_err().message().contains("overlap"));
    assert!(Tokenizer::estimate().is_estimate());
}
