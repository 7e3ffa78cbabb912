//! The parser of AWS's event stream against an encoder and a reader that were written apart from it, at every cut.
// clippy.toml allows these in tests, but does not reach functions outside of `#[test]`.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

use edgequake_core::{
    Error, ErrorKind,
    stream::{Frame, Framing, Parser, eventstream::EventStreamParser},
};
use proptest::prelude::*;

/// An event's name, its data, and whether it is an error.
type Seen = (String, Vec<u8>, bool);

/// CRC-32 bit by bit, as ISO-HDLC has it.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 })
    })
}

#[derive(Debug, Clone)]
enum Value {
    Bool(bool),
    Fixed(u8, Vec<u8>),
    Bytes(Vec<u8>),
    Text(String),
}

fn encode(headers: &[(String, Value)], payload: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(u8::try_from(name.len()).unwrap());
        block.extend(name.as_bytes());
        let sized = |kind: u8, bytes: &[u8]| {
            [&[kind], u16::try_from(bytes.len()).unwrap().to_be_bytes().as_slice(), bytes].concat()
        };
        block.extend(match value {
            Value::Bool(value) => vec![u8::from(!value)],
            Value::Fixed(kind, bytes) => [&[*kind], bytes.as_slice()].concat(),
            Value::Bytes(bytes) => sized(6, bytes),
            Value::Text(text) => sized(7, text.as_bytes()),
        });
    }
    let total = u32::try_from(16 + block.len() + payload.len()).unwrap();
    let mut message = [total.to_be_bytes(), u32::try_from(block.len()).unwrap().to_be_bytes()].concat();
    message.extend(crc(&message).to_be_bytes());
    message.extend(block);
    message.extend(payload);
    message.extend(crc(&message).to_be_bytes());
    message
}

fn texts(headers: &[(&str, &str)]) -> Vec<(String, Value)> {
    headers.iter().map(|(name, value)| ((*name).to_owned(), Value::Text((*value).to_owned()))).collect()
}

fn event(name: &str, payload: &[u8]) -> Vec<u8> {
    let headers = [(":event-type", name), (":content-type", "application/json"), (":message-type", "event")];
    encode(&texts(&headers), payload)
}

/// What the parser makes of the pieces, and the error at the end, if any.
fn run<'a>(mut parser: Parser, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Seen>, Option<Error>) {
    let mut seen = Vec::new();
    let mut push = |frame: Frame<'_>| {
        seen.push((frame.event.to_owned(), frame.data.to_vec(), frame.fault));
        Ok(())
    };
    let fed = pieces.into_iter().try_for_each(|piece| parser.feed(piece, &mut push));
    let error = fed.and_then(|()| parser.finish(&mut push)).err();
    (seen, error)
}

fn parser(max: usize) -> Parser {
    Parser::EventStream(EventStreamParser::new(max))
}

#[test]
fn the_checksum_of_the_tests_is_the_one_that_is_meant() {
    assert_eq!(crc(b"123456789"), 0xCBF4_3926);
}

#[test]
fn messages_at_every_cut() {
    let exception = [(":exception-type", "throttlingException"), (":message-type", "exception")];
    let error = [(":error-code", "InternalFailure"), (":error-message", "it broke"), (":message-type", "error")];
    let bytes = [
        event("messageStart", br#"{"role":"assistant"}"#),
        event("contentBlockDelta", "{\"delta\":{\"text\":\"é\"}}".as_bytes()),
        encode(&[], b""),
        encode(&texts(&exception), br#"{"message":"slow down"}"#),
        encode(&texts(&error), b""),
    ]
    .concat();
    let named = |event: &str, data: &str, fault| (event.to_owned(), data.as_bytes().to_vec(), fault);
    let whole = [
        named("messageStart", r#"{"role":"assistant"}"#, false),
        named("contentBlockDelta", r#"{"delta":{"text":"é"}}"#, false),
        named("", "", false),
        named("throttlingException", r#"{"message":"slow down"}"#, true),
        named("InternalFailure", "it broke", true),
    ];
    let read = |pieces: Vec<&[u8]>| {
        let (seen, error) = run(Parser::new(Framing::EventStream), pieces);
        assert!(error.is_none(), "{error:?}");
        seen
    };
    assert_eq!(read(bytes.chunks(1).collect()), whole);
    for first in 0..=bytes.len() {
        let (head, rest) = bytes.split_at(first);
        assert_eq!(read(vec![head, rest]), whole, "cut at {first}");
        let (middle, last) = rest.split_at(rest.len() / 2);
        assert_eq!(read(vec![head, middle, last]), whole, "cut at {first}");
    }
}

#[test]
fn a_whole_message_is_not_copied() {
    let bytes = event("a", b"payload");
    let range = bytes.as_ptr_range();
    let mut seen = 0;
    let mut parser = parser(1000);
    let count = |frame: Frame<'_>| {
        assert!(range.contains(&frame.data.as_ptr()));
        seen += 1;
        Ok(())
    };
    parser.feed(&bytes, count).unwrap();
    assert_eq!(seen, 1);
}

#[test]
fn every_byte_out_of_order_is_noticed() {
    let bytes = event("messageStop", br#"{"stopReason":"end_turn"}"#);
    for at in 0..bytes.len() {
        for flip in [1, 0x80] {
            let mut broken = bytes.clone();
            broken[at] ^= flip;
            let (seen, error) = run(parser(1 << 20), [broken.as_slice()]);
            let error = error.unwrap_or_else(|| panic!("byte {at} was taken"));
            assert!(seen.is_empty() && error.kind() == ErrorKind::Malformed, "{at}: {error}");
        }
    }
}

#[test]
fn what_is_wrong_is_said() {
    let says = |bytes: &[u8], max: usize| run(parser(max), [bytes]).1.map(|error| error.message().to_owned()).unwrap();
    let good = event("a", b"{}");
    assert!(says(&good[..good.len() - 1], 1000).contains("in the middle of a message"));
    assert!(says(&good[..5], 1000).contains("in the middle of a message"));
    assert!(says(b"<html><body>Bad gateway</body></html>", 1000).contains("do not fit their checksum"));
    assert!(says(&good, 20).contains("larger than 20"));
    let mut broken = good.clone();
    *broken.last_mut().unwrap() ^= 1;
    assert!(says(&broken, 1000).contains("does not fit its checksum"));
    // Lengths that contradict each other, under a right checksum.
    for (total, headers) in [(15_u32, 0_u32), (20, 5), (0, 0), (16, u32::MAX)] {
        let mut prelude = [total.to_be_bytes(), headers.to_be_bytes()].concat();
        prelude.extend(crc(&prelude).to_be_bytes());
        prelude.extend([0; 8]);
        assert!(says(&prelude, 1000).contains("do not add up"), "{total} {headers}");
    }
    // Headers that end in the middle, of an unknown kind, and of text that is none.
    for block in [&b"\x05abc"[..], b"\x01a\x07\x00\x09b", b"\x01a\x63", b"\x01a", b"\x01a\x07\x00\x01\xff"] {
        let total = u32::try_from(16 + block.len()).unwrap();
        let mut message = [total.to_be_bytes(), u32::try_from(block.len()).unwrap().to_be_bytes()].concat();
        message.extend(crc(&message).to_be_bytes());
        message.extend(block);
        message.extend(crc(&message).to_be_bytes());
        assert!(says(&message, 1000).contains("headers cannot be read"), "{block:?}");
    }
}

#[test]
fn an_error_of_the_reader_comes_back_and_stops_it() {
    let bytes = [event("a", b"1"), event("b", b"2")].concat();
    for pieces in [vec![bytes.as_slice()], bytes.chunks(7).collect()] {
        let (mut parser, mut calls) = (parser(1000), 0);
        let refused = pieces.into_iter().try_for_each(|piece| {
            parser.feed(piece, |_| {
                calls += 1;
                Err(Error::new(ErrorKind::Api, "no"))
            })
        });
        assert_eq!((refused.unwrap_err().kind(), calls), (ErrorKind::Api, 1));
    }
}

#[test]
fn two_megabytes_in_one_message() {
    let payload = vec![b'z'; 2 << 20];
    let bytes = event("big", &payload);
    for size in [1 << 10, 1 << 16, 4 << 20] {
        let (seen, error) = run(Parser::new(Framing::EventStream), bytes.chunks(size));
        assert!(error.is_none() && seen == [("big".to_owned(), payload.clone(), false)]);
    }
}

fn value() -> impl Strategy<Value = Value> {
    let fixed = prop::sample::select(vec![(2, 1), (3, 2), (4, 4), (5, 8), (8, 8), (9, 16)]);
    prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        fixed.prop_flat_map(|(kind, size)| {
            prop::collection::vec(any::<u8>(), size).prop_map(move |bytes| Value::Fixed(kind, bytes))
        }),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Value::Bytes),
        "[a-z]{0,9}".prop_map(Value::Text),
    ]
}

type Message = (u8, String, Vec<(String, Value)>, Vec<u8>);

fn message() -> impl Strategy<Value = Message> {
    let others = prop::collection::vec(("x[a-z-]{0,9}", value()), 0..5);
    (0_u8..3, "[a-zA-Z]{0,12}", others, prop::collection::vec(any::<u8>(), 0..60))
}

/// The bytes of a message and what must be seen of it.
fn laid_out((kind, name, others, payload): &Message) -> (Vec<u8>, Seen) {
    let (of, names) =
        [("event", ":event-type"), ("exception", ":exception-type"), ("error", ":error-code")][usize::from(*kind)];
    let mut headers = texts(&[(":message-type", of), (names, name.as_str())]);
    // The order of headers means nothing.
    headers.splice(1..1, others.iter().cloned());
    let data = if *kind == 2 {
        headers.extend(texts(&[(":error-message", "text")]));
        b"text".to_vec()
    } else {
        payload.clone()
    };
    (encode(&headers, payload), (name.clone(), data, *kind > 0))
}

fn cut<'a>(bytes: &'a [u8], places: &[u16]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = places.iter().map(|place| usize::from(*place) * (bytes.len() + 1) / 65_536).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.iter().zip(at.iter().skip(1)).filter_map(|(from, to)| bytes.get(*from..*to)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_messages_at_random_cuts(
        messages in prop::collection::vec(message(), 0..6),
        cuts in prop::collection::vec(any::<u16>(), 0..8),
    ) {
        let (bytes, expected): (Vec<_>, Vec<_>) = messages.iter().map(laid_out).unzip();
        let bytes = bytes.concat();
        let (seen, error) = run(parser(1 << 20), cut(&bytes, &cuts));
        prop_assert!(error.is_none());
        prop_assert_eq!(seen, expected);
    }

    #[test]
    fn any_fault_is_the_same_at_any_cut(
        messages in prop::collection::vec(message(), 1..5),
        cuts in prop::collection::vec(any::<u16>(), 0..8),
        (place, byte) in any::<(u16, u8)>(),
        keep in any::<u16>(),
        limit in 16_usize..200,
    ) {
        let mut bytes: Vec<u8> = messages.iter().flat_map(|message| laid_out(message).0).collect();
        let at = usize::from(place) * bytes.len() / 65_536;
        bytes[at] = byte;
        bytes.truncate(usize::from(keep) * (bytes.len() + 1) / 65_536);
        for limit in [limit, 1 << 20] {
            let (seen, error) = run(parser(limit), [bytes.as_slice()]);
            prop_assert!(seen.iter().all(|(_, data, _)| data.len() <= limit));
            let (again, other) = run(parser(limit), cut(&bytes, &cuts));
            prop_assert_eq!(seen, again);
            prop_assert_eq!(error.is_some(), other.is_some());
        }
    }

    #[test]
    fn any_bytes_are_no_reason_to_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = run(parser(1 << 20), [bytes.as_slice()]);
    }
}
