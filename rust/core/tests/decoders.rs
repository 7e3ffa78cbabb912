//! The stream decoders on streams that no server sends: nothing panics, no cut changes anything, and reading frames by
//! template gives what parsing each of them does.
// clippy.toml allows these in tests, but does not reach functions outside of `#[test]`.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

use edgequake_core::{
    Error, ErrorKind,
    model::{Assembly, Event, Response},
    stream::{Framing, Parser},
    wire::{
        StreamDecoder, Wire, anthropic::Anthropic, bedrock::Bedrock, gemini::Gemini, ollama::Ollama, openai::OpenAi,
        template,
    },
};
use proptest::prelude::*;

/// All that a stream came to: its events, the answer, and the kind of the error that ended it.
type Outcome = (Vec<Event>, Response, Option<ErrorKind>);

fn run<'a>(wire: &dyn Wire, mut decoder: impl StreamDecoder, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let (mut parser, mut answer) = (Parser::new(wire.framing()), Assembly::new());
    let mut fed: Result<(), Error> = Ok(());
    for piece in pieces {
        fed = fed.and_then(|()| parser.feed(piece, |frame| decoder.frame(frame, &mut answer)));
    }
    let fed = fed.and_then(|()| parser.finish(|frame| decoder.frame(frame, &mut answer)));
    (answer.events().collect(), answer.into_response(), fed.err().map(|error| error.kind()))
}

struct Plain(Box<dyn StreamDecoder>);

impl StreamDecoder for Plain {
    fn frame(&mut self, frame: edgequake_core::stream::Frame<'_>, answer: &mut Assembly) -> Result<(), Error> {
        self.0.frame(frame, answer)
    }
}

fn wires() -> [Box<dyn Wire>; 5] {
    [Box::new(OpenAi::default()), Box::new(Anthropic), Box::new(Gemini), Box::new(Ollama), Box::new(Bedrock)]
}

/// Frames of each wire with a hole for a text, in the order of [`wires`].
const FRAMES: [&[&str]; 5] = [
    &[
        r#"{"id":"c","choices":[{"index":0,"delta":{"content":"@"},"finish_reason":null}]}"#,
        r#"{"id":"c","choices":[{"index":0,"delta":{"reasoning_content":"@"}}]}"#,
        r#"{"id":"c","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"@","function":{"name":"f","arguments":"@"}}]}}]}"#,
        r#"{"id":"c","choices":[{"index":1,"delta":{"content":"@"}}]}"#,
        r#"{"id":"@","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#,
        r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
        "[DONE]",
    ],
    &[
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"@"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"@"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"@"}   }"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"@","input":{}}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"@"}}"#,
        r#"{"type":"content_block_stop","index":1}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":3}}"#,
        r#"{"type":"ping"}"#,
        r#"{"type":"message_stop"}"#,
    ],
    &[
        r#"{"candidates":[{"content":{"parts":[{"text":"@"}]},"index":0}],"responseId":"r"}"#,
        r#"{"candidates":[{"content":{"parts":[{"text":"@","thought":true}]}}]}"#,
        r#"{"candidates":[{"content":{"parts":[{"text":"@","thoughtSignature":"s"},{"functionCall":{"name":"@","args":{}}}]}}]}"#,
        r#"{"candidates":[{"content":{"parts":[]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":1}}"#,
    ],
    &[
        r#"{"model":"m","message":{"role":"assistant","content":"@"},"done":false}"#,
        r#"{"model":"m","message":{"content":"@","thinking":"@"},"done":false}"#,
        r#"{"message":{"content":"","tool_calls":[{"function":{"name":"@","arguments":{"a":"@"}}}]},"done":false}"#,
        r#"{"message":{"content":"@"},"done":true,"done_reason":"stop","eval_count":1}"#,
    ],
    &[
        r#"{"contentBlockIndex":0,"delta":{"text":"@"},"p":"abc"}"#,
        r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"@"}}}"#,
        r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"signature":"@","redactedContent":"@"}}}"#,
        r#"{"contentBlockIndex":1,"start":{"toolUse":{"toolUseId":"t","name":"@"}}}"#,
        r#"{"contentBlockIndex":1,"delta":{"toolUse":{"input":"@"}}}"#,
        r#"{"contentBlockIndex":2,"start":{"toolResult":{"toolUseId":"@"}},"delta":{"citation":{"title":"@"}}}"#,
        r#"{"contentBlockIndex":2,"delta":{"toolResult":[{"text":"@"}]},"stopReason":"end_turn"}"#,
        r#"{"usage":{"inputTokens":1,"outputTokens":2},"message":"@"}"#,
        r#"{"output":{"message":{"content":[{"text":"@"},{"toolUse":{"name":"@","input":{"a":"@"}}}]}}}"#,
    ],
];

/// Texts as they stand in JSON, some of which must not be taken as they are.
const TEXTS: [&str; 14] =
    ["a", " word", "", "é", "😀", r"\n", r#"\""#, r"\u00e9", r"\ud83d\ude00", r"\ud83d", r"\\", "\"", "}", "\u{0}"];

#[derive(Debug, Clone)]
struct Piece {
    frame: usize,
    text: usize,
    event: bool,
    /// Where a byte is put out of order, as a fraction of 65,536, and what it becomes.
    fault: Option<(u16, u8)>,
}

fn piece() -> impl Strategy<Value = Piece> {
    let fault = prop_oneof![9 => Just(None), 1 => any::<(u16, u8)>().prop_map(Some)];
    // Mostly the first kinds of frames, so that many are alike.
    let frame = prop_oneof![3 => 0_usize..2, 1 => 0_usize..10];
    (frame, 0..TEXTS.len(), any::<bool>(), fault).prop_map(|(frame, text, event, fault)| Piece {
        frame,
        text,
        event,
        fault,
    })
}

/// A message of AWS's event stream.
fn message(event: &str, fault: bool, payload: &[u8]) -> Vec<u8> {
    let kind = if fault { "exception" } else { "event" };
    let mut headers = Vec::new();
    for (name, value) in [(":message-type", kind), (&*format!(":{kind}-type"), event)] {
        headers.extend([&[u8::try_from(name.len()).unwrap()], name.as_bytes(), &[7, 0]].concat());
        headers.extend([&[u8::try_from(value.len()).unwrap()], value.as_bytes()].concat());
    }
    let lengths = [16 + headers.len() + payload.len(), headers.len()];
    let mut message: Vec<u8> = lengths.iter().flat_map(|n| u32::try_from(*n).unwrap().to_be_bytes()).collect();
    message.extend(crc32fast::hash(&message).to_be_bytes());
    message.extend([&headers, payload].concat());
    message.extend(crc32fast::hash(&message).to_be_bytes());
    message
}

fn body(wire: usize, framing: Framing, pieces: &[Piece]) -> Vec<u8> {
    let mut body = Vec::new();
    for piece in pieces {
        let frames = FRAMES[wire];
        let mut json = frames[piece.frame % frames.len()].replace('@', TEXTS[piece.text]).into_bytes();
        if let Some((place, byte)) = piece.fault {
            let at = usize::from(place) * json.len() / 65_536;
            json[at] = byte;
        }
        match framing {
            Framing::EventStream => {
                let names = ["contentBlockDelta", "contentBlockStart", "contentBlockStop", "messageStop", "metadata"];
                body.extend(message(names[piece.text % names.len()], piece.event && piece.text == 0, &json));
            }
            Framing::NdJson => body.extend([json.as_slice(), b"\n"].concat()),
            Framing::Sse if piece.event => body.extend([b"event: e\ndata: ".as_slice(), &json, b"\n\n"].concat()),
            Framing::Sse => body.extend([b"data:".as_slice(), &json, b"\r\n\r\n"].concat()),
        }
    }
    body
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn templates_and_cuts_change_nothing(
        pieces in prop::collection::vec(piece(), 0..12),
        cuts in prop::collection::vec(any::<u16>(), 0..6),
    ) {
        for (n, wire) in wires().iter().enumerate() {
            let body = body(n, wire.framing(), &pieces);
            let whole = run(wire.as_ref(), Plain(wire.stream_decoder()), [body.as_slice()]);
            let mut at: Vec<usize> = cuts.iter().map(|cut| usize::from(*cut) * (body.len() + 1) / 65_536).collect();
            at.extend([0, body.len()]);
            at.sort_unstable();
            let cut = at.windows(2).map(|edge| &body[edge[0]..edge[1]]);
            prop_assert_eq!(run(wire.as_ref(), template::decoder(wire.as_ref()), cut), whole);
        }
    }

    #[test]
    fn whole_answers_of_any_bytes_are_answers_or_errors(
        frame in any::<u8>(),
        text in 0..TEXTS.len(),
        faults in prop::collection::vec(any::<(u16, u8)>(), 0..3),
        noise in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        for (n, wire) in wires().iter().enumerate() {
            let frames = FRAMES[n];
            let mut json = frames[usize::from(frame) % frames.len()].replace('@', TEXTS[text]).into_bytes();
            for (place, byte) in &faults {
                let at = usize::from(*place) * json.len() / 65_536;
                json[at] = *byte;
            }
            for body in [&json, &noise] {
                // Neither may panic; an error names its provider.
                if let Err(error) = wire.decode_chat(body) {
                    prop_assert_eq!(error.provider(), Some(wire.name()));
                }
                let error = wire.decode_error(500, &http::HeaderMap::new(), body);
                prop_assert_eq!((error.kind(), error.provider()), (ErrorKind::Server, Some(wire.name())));
                let _: Result<_, Error> = wire.decode_embed(body, 1);
            }
        }
    }
}
