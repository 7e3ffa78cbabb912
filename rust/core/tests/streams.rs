//! The stream parsers against a second, naive reading of the same text, at every cut and at random ones.

use edgequake_core::{
    Error, ErrorKind,
    stream::{Frame, Framing, Parser, ndjson::NdJsonParser, sse::SseParser},
};
use proptest::prelude::*;

type Frames = Vec<(String, Vec<u8>)>;

/// What the parser makes of the pieces, and whether all went well.
fn run<'a>(mut parser: Parser, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Frames, bool) {
    let mut frames = Frames::new();
    let mut push = |frame: Frame<'_>| {
        frames.push((frame.event.to_owned(), frame.data.to_vec()));
        Ok(())
    };
    let fed = pieces.into_iter().try_for_each(|piece| parser.feed(piece, &mut push));
    let all = fed.and_then(|()| parser.finish(&mut push));
    (frames, all.is_ok())
}

/// The frames of the pieces, where nothing may fail.
fn parse<'a>(framing: Framing, pieces: impl IntoIterator<Item = &'a [u8]>) -> Frames {
    let (frames, ok) = run(Parser::new(framing), pieces);
    assert!(ok);
    frames
}

/// Cuts the bytes at these places, given as fractions of 65,536.
fn cut<'a>(bytes: &'a [u8], places: &[u16]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = places.iter().map(|place| usize::from(*place) * (bytes.len() + 1) / 65_536).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.iter().zip(at.iter().skip(1)).filter_map(|(from, to)| bytes.get(*from..*to)).collect()
}

/// Server-sent events read the slow way: the whole text at once, one character for each byte, so that nothing is lost
/// by decoding; all line ends made alike; lines and then paragraphs split off.
fn naive_sse(bytes: &[u8]) -> Frames {
    let text: String = bytes.iter().copied().map(char::from).collect();
    let text = text.strip_prefix("\u{EF}\u{BB}\u{BF}").unwrap_or(&text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let to_bytes = |text: &str| text.chars().map(|c| c as u8).collect::<Vec<u8>>();
    let lines: Vec<&str> = text.split('\n').collect();
    let mut frames = Frames::new();
    for paragraph in lines.split(|line| line.is_empty()) {
        let fields: Vec<(&str, &str)> = paragraph
            .iter()
            .map(|line| line.split_once(':').unwrap_or((line, "")))
            .map(|(name, value)| (name, value.strip_prefix(' ').unwrap_or(value)))
            .collect();
        let of = |wanted| fields.iter().filter(move |(name, _)| *name == wanted).map(|(_, value)| *value);
        let data: Vec<&str> = of("data").collect();
        if !data.is_empty() {
            let event = String::from_utf8_lossy(&to_bytes(of("event").next_back().unwrap_or_default())).into_owned();
            frames.push((event, to_bytes(&data.join("\n"))));
        }
    }
    frames
}

/// NDJSON read the slow way, byte by byte.
fn naive_ndjson(bytes: &[u8]) -> Frames {
    let (mut lines, mut line) = (Vec::new(), Vec::new());
    for byte in bytes.iter().chain(b"\n") {
        if *byte == b'\n' {
            lines.push(std::mem::take(&mut line));
        } else {
            line.push(*byte);
        }
    }
    let blank = |byte: &u8| b" \t\r\x0C".contains(byte);
    for line in &mut lines {
        while line.last().is_some_and(blank) {
            line.pop();
        }
        while line.first().is_some_and(blank) {
            line.remove(0);
        }
    }
    lines.into_iter().filter(|line| !line.is_empty()).map(|line| (String::new(), line)).collect()
}

fn naive(framing: Framing, bytes: &[u8]) -> Frames {
    match framing {
        Framing::Sse => naive_sse(bytes),
        Framing::NdJson => naive_ndjson(bytes),
        Framing::EventStream => unreachable!("it has a test of its own"),
    }
}

/// Streams as servers send them, and as none should.
const CORPUS: [&[u8]; 14] = [
    b"data: {\"a\":1}\n\ndata: [DONE]\n\n",
    b"\xEF\xBB\xBFdata: with a mark\r\n\r\nevent: delta\r\ndata: x\r\n\r\n",
    b"\xEF\xBBdata: half a mark\n\ndata: next\n\n",
    b"data: one\rdata: two\r\revent: e\rdata:three\r\r",
    b"data: mixed\n\r\ndata: ends\r\n\ndata: here\r\r\n",
    ": OPENROUTER PROCESSING\n\n: again\n\ndata: caf\u{e9} \u{1F600}\n\n".as_bytes(),
    b"event: only a name\n\ndata: the name is forgotten\n\n",
    b"data\n\ndata\ndata\n\ndata:\n\ndata: \n\ndata:  two spaces\n\n",
    b"id: 7\nretry: 10\nevent: a\nevent: b\ndata: x\nfoo: bar\ndata:y\n\n",
    b"data: the last one lacks its blank line\n",
    b"data: the last one lacks even its line end",
    b"event: message_stop\ndata: {\"type\": \"message_stop\"  }",
    b"datax: no\n data: no\ndata : no\nDATA: no\nevents: no\n\ndata: yes\n\n",
    b"{\"message\":{\"content\":\"\xC3\xA9\"}}\r\n\n  {\"done\":true} \n{\"cut\":",
];

#[test]
fn every_corpus_at_every_cut() {
    for bytes in CORPUS {
        for framing in [Framing::Sse, Framing::NdJson] {
            let whole = naive(framing, bytes);
            let shown = String::from_utf8_lossy(bytes);
            assert_eq!(parse(framing, [bytes]), whole, "{framing:?} {shown}");
            assert_eq!(parse(framing, bytes.chunks(1)), whole, "{framing:?} byte by byte: {shown}");
            for first in 0..=bytes.len() {
                let (head, rest) = bytes.split_at(first);
                assert_eq!(parse(framing, [head, rest]), whole, "{framing:?} cut at {first}: {shown}");
                let (middle, last) = rest.split_at(rest.len() / 2);
                assert_eq!(parse(framing, [head, middle, last]), whole, "{framing:?} cut at {first}: {shown}");
            }
        }
    }
}

/// The naive reading shares the author with the parser; these are worked out by hand from the event-stream text.
#[test]
fn what_the_event_stream_text_says() {
    let of = |bytes: &[u8]| parse(Framing::Sse, [bytes]);
    let frame = |event: &str, data: &[u8]| (event.to_owned(), data.to_vec());
    assert_eq!(of(CORPUS[0]), [frame("", b"{\"a\":1}"), frame("", b"[DONE]")]);
    assert_eq!(of(CORPUS[1]), [frame("", b"with a mark"), frame("delta", b"x")]);
    assert_eq!(of(CORPUS[2]), [frame("", b"next")]);
    assert_eq!(of(CORPUS[3]), [frame("", b"one\ntwo"), frame("e", b"three")]);
    assert_eq!(of(CORPUS[6]), [frame("", b"the name is forgotten")]);
    assert_eq!(
        of(CORPUS[7]),
        [frame("", b""), frame("", b"\n"), frame("", b""), frame("", b""), frame("", b" two spaces")]
    );
    assert_eq!(of(CORPUS[8]), [frame("b", b"x\ny")]);
    assert_eq!(of(CORPUS[10]), [frame("", b"the last one lacks even its line end")]);
    assert_eq!(of(CORPUS[12]), [frame("", b"yes")]);
    assert_eq!(of(b"event: \xFF\ndata: \xFF\xFE\n\n"), [frame("\u{FFFD}", b"\xFF\xFE")]);
    let lines = parse(Framing::NdJson, [CORPUS[13]]);
    assert_eq!(lines[1..], [frame("", b"{\"done\":true}"), frame("", b"{\"cut\":")]);
}

#[test]
fn a_chunk_that_ends_in_cr_delays_nothing() {
    let mut parser = Parser::new(Framing::Sse);
    let mut seen = Vec::new();
    for piece in [b"data: x\r".as_slice(), b"\n\r", b"\ndata: y\r", b"\r"] {
        let mut now = 0;
        parser
            .feed(piece, |_| {
                now += 1;
                Ok(())
            })
            .unwrap();
        seen.push(now);
    }
    assert_eq!(seen, [0, 1, 0, 1]);
}

#[test]
fn two_megabytes_on_one_line() {
    let payload = vec![b'z'; 2 << 20];
    let sse = [b"data: ".as_slice(), &payload, b"\n\n"].concat();
    let lines = [payload.as_slice(), b"\n"].concat();
    for size in [1 << 10, 1 << 16, 4 << 20] {
        assert_eq!(parse(Framing::Sse, sse.chunks(size)), [(String::new(), payload.clone())]);
        assert_eq!(parse(Framing::NdJson, lines.chunks(size)), [(String::new(), payload.clone())]);
    }
}

#[test]
fn an_error_of_the_reader_comes_back() {
    for (framing, bytes) in [(Framing::Sse, b"data: 1\n\ndata: 2".as_slice()), (Framing::NdJson, b"1\n2")] {
        let refuse = |_: Frame<'_>| Err(Error::new(ErrorKind::Api, "no"));
        let mut parser = Parser::new(framing);
        assert_eq!(parser.feed(bytes, refuse).unwrap_err().kind(), ErrorKind::Api);
        let mut parser = Parser::new(framing);
        parser.feed(bytes, |_| Ok(())).unwrap();
        assert_eq!(parser.finish(refuse).unwrap_err().kind(), ErrorKind::Api, "{framing:?}");
    }
}

/// Pieces that streams are made of, the dangerous ones among them.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let fixed = "data:|data: |data|data:{\"a\":\"b\"}|event:|event: delta|:|: ping|id: 1|retry: 5|x| \
                 |\n|\n|\n\n|\r|\r\n|\r\n\r\n|\u{FEFF}|\u{e9}|\u{1F600}";
    let fixed: Vec<&str> = fixed.split('|').collect();
    prop_oneof![
        9 => prop::sample::select(fixed).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..4),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_streams_at_random_cuts(
        pieces in prop::collection::vec(piece(), 0..40),
        cuts in prop::collection::vec(any::<u16>(), 0..8),
    ) {
        let bytes = pieces.concat();
        for framing in [Framing::Sse, Framing::NdJson] {
            let whole = naive(framing, &bytes);
            prop_assert_eq!(&parse(framing, [bytes.as_slice()]), &whole);
            prop_assert_eq!(&parse(framing, cut(&bytes, &cuts)), &whole);
        }
    }

    #[test]
    fn any_bytes_at_any_cut(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        cuts in prop::collection::vec(any::<u16>(), 0..20),
    ) {
        for framing in [Framing::Sse, Framing::NdJson] {
            prop_assert_eq!(parse(framing, cut(&bytes, &cuts)), parse(framing, [bytes.as_slice()]));
        }
    }

    #[test]
    fn the_limit_holds_at_any_cut(
        pieces in prop::collection::vec(piece(), 0..40),
        cuts in prop::collection::vec(any::<u16>(), 0..8),
        limit in 1_usize..30,
    ) {
        let bytes = pieces.concat();
        let parsers: [fn(usize) -> Parser; 2] =
            [|max| Parser::Sse(SseParser::new(max)), |max| Parser::NdJson(NdJsonParser::new(max))];
        for parser in parsers {
            let (frames, ok) = run(parser(limit), [bytes.as_slice()]);
            prop_assert!(frames.iter().all(|(_, data)| data.len() <= limit));
            prop_assert_eq!(run(parser(limit), cut(&bytes, &cuts)), (frames, ok));
        }
    }
}
