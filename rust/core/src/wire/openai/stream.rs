//! Decodes a streamed chat answer, chunk by chunk.

use super::{
    decode::{Answer, Said, tell_details},
    error,
    raw::utf8,
};
use crate::{
    error::Error,
    model::{Assembly, JsonObject},
    stream::Frame,
    wire::StreamDecoder,
};

/// The decoder of one stream.
#[derive(Debug)]
pub(super) struct ChatStream {
    provider: &'static str,
    /// Where texts with escapes are written, again and again.
    scratch: String,
    /// OpenRouter's, until the end: only then is one complete.
    details: Vec<JsonObject>,
}

impl ChatStream {
    pub(super) fn new(provider: &'static str) -> Self {
        Self { provider, scratch: String::new(), details: Vec::new() }
    }
}

impl StreamDecoder for ChatStream {
    fn frame(&mut self, frame: Frame<'_>, answer: &mut Assembly) -> Result<(), Error> {
        let data = frame.data.trim_ascii();
        if data.is_empty() || answer.is_ended() {
            return Ok(());
        }
        if data == b"[DONE]" {
            tell_details(std::mem::take(&mut self.details), answer);
            answer.end();
            return Ok(());
        }
        if frame.event == "error" {
            return Err(error::inside(self.provider, data));
        }
        let text = utf8(data);
        let Some(chunk) = Answer::<'_, false>::read(&text) else {
            if !matches!(frame.event, "" | "message") {
                return Ok(()); // An event of a kind that is not known here.
            }
            return Err(error::instead_of_answer(self.provider, "a chunk of the stream cannot be read", data));
        };
        if let Some(error) = chunk.error() {
            return Err(error::inside(self.provider, error.json().as_bytes()));
        }
        if chunk.is_named_error() && !chunk.has_choices() {
            return Err(error::inside(self.provider, data));
        }
        chunk.tell_meta(answer);
        for choice in chunk.first_choice() {
            choice.said.add_details(&mut self.details);
            choice.said.tell(false, &mut self.scratch, answer);
            // A gateway that cannot stream sends the whole answer as one chunk. (Perplexity repeats the answer so far in
            // each chunk, beside the piece.)
            if choice.message.is_some()
                && answer.so_far().parts.is_empty()
                && let Some(message) = Said::read(choice.message)
            {
                message.tell(true, &mut self.scratch, answer);
            }
            if choice.finish_reason.is_some() {
                tell_details(std::mem::take(&mut self.details), answer);
            }
            answer.finish(choice.finish_reason.text_in(&mut self.scratch));
        }
        chunk.tell_usage(answer);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        error::ErrorKind,
        model::{Event, FinishReason, Part, Response, Usage},
    };

    /// Tells a decoder these events, given as name and data.
    fn run_named(frames: &[(&str, &str)]) -> Result<Assembly, Error> {
        let (mut decoder, mut answer) = (ChatStream::new("test"), Assembly::new());
        for (event, data) in frames {
            decoder.frame(Frame::new(event, data.as_bytes()), &mut answer)?;
        }
        Ok(answer)
    }

    fn run(frames: &[&str]) -> Result<Assembly, Error> {
        run_named(&frames.iter().map(|data| ("", *data)).collect::<Vec<_>>())
    }

    fn answer(frames: &[&str]) -> Response {
        run(frames).unwrap().into_response()
    }

    /// A chunk with this delta.
    fn chunk(delta: &str) -> String {
        format!(
            r#"{{"id":"c1","model":"m1","choices":[{{"index":0,"delta":{delta},"finish_reason":null}}],"usage":null}}"#
        )
    }

    /// What chunks with these deltas come to.
    fn said(deltas: &[&str]) -> Response {
        let chunks: Vec<String> = deltas.iter().map(|delta| chunk(delta)).collect();
        answer(&chunks.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Id, name and arguments of each tool call.
    fn calls(deltas: &[&str]) -> Vec<(String, String, String)> {
        said(deltas).tool_calls().map(|call| (call.id.clone(), call.name.clone(), call.arguments.clone())).collect()
    }

    fn call(id: &str, name: &str, arguments: &str) -> (String, String, String) {
        (id.to_owned(), name.to_owned(), arguments.to_owned())
    }

    #[test]
    fn an_ordinary_stream() {
        let mut answer = run(&[
            &chunk(r#"{"role":"assistant","content":""}"#),
            &chunk(r#"{"content":"Hé"}"#),
            &chunk(r#"{"content":"l\"lo\n😀"}"#),
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}"#,
            "[DONE]",
        ])
        .unwrap();
        assert!(answer.is_ended());
        let usage = Usage { input: 5, output: 7, ..Usage::default() };
        let events: Vec<Event> = answer.events().collect();
        assert_eq!(
            events,
            [
                Event::Text("Hé".into()),
                Event::Text("l\"lo\n😀".into()),
                Event::Finish(FinishReason::Stop),
                Event::Usage(usage)
            ]
        );
        let response = answer.into_response();
        assert_eq!((response.id.as_str(), response.model.as_str()), ("c1", "m1"));
        assert_eq!((response.text().as_str(), response.usage), ("Hél\"lo\n😀", Some(usage)));
        assert_eq!(response.raw_finish_reason.as_deref(), Some("stop"));
    }

    #[test]
    fn what_is_null_or_missing_does_no_harm() {
        let response = answer(&[
            "{}",
            "null",
            "",
            "  ",
            r#"{"id":null,"model":null,"choices":null,"usage":null,"error":null,"x_groq":null}"#,
            r#"{"choices":[]}"#,
            r#"{"choices":[{}]}"#,
            r#"{"choices":[{"delta":null,"index":null,"finish_reason":null,"message":null,"error":""}]}"#,
            &chunk("null"),
            &chunk(
                r#"{"content":null,"tool_calls":null,"refusal":null,"reasoning":null,"function_call":null,"audio":null}"#,
            ),
            &chunk(r#"{"tool_calls":[{"index":null,"id":null,"function":null}]}"#),
            r#"{"unknown":[{"deep":{}}],"choices":[{"delta":{"content":"x","new":1}}],"error":{}}"#,
        ]);
        assert_eq!((response.text().as_str(), response.parts.len(), response.finish_reason), ("x", 1, None));
    }

    #[test]
    fn only_the_first_choice_is_read() {
        let response = answer(&[
            r#"{"choices":[{"index":1,"delta":{"content":"no"},"finish_reason":"length"}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"yes"}},{"index":1,"delta":{"content":"no"}}]}"#,
            r#"{"choices":[{"delta":{"content":" and"}},{"delta":{"content":"no"}}]}"#,
        ]);
        assert_eq!((response.text().as_str(), response.finish_reason), ("yes and", None));
    }

    #[test]
    fn finish_reasons() {
        let response = answer(&[
            r#"{"choices":[{"delta":{"content":"the end"},"finish_reason":"length"}]}"#,
            r#"{"choices":[{"delta":{"content":"!"},"finish_reason":"stop"}]}"#,
        ]);
        assert_eq!((response.text().as_str(), response.finish_reason), ("the end!", Some(FinishReason::Length)));
        let no_done = run(&[r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#]).unwrap();
        assert!(no_done.is_complete() && !no_done.is_ended());
        assert!(run(&["  [DONE] \r"]).unwrap().is_ended());
        assert!(!run(&[&chunk(r#"{"content":"[DONE]"}"#)]).unwrap().is_complete());
        assert_eq!(answer(&["[DONE]", &chunk(r#"{"content":"late"}"#)]).text(), "");
    }

    #[test]
    fn usage_wherever_and_however_often_it_comes() {
        let count = |n: u64| format!(r#"{{"prompt_tokens":{n},"completion_tokens":1}}"#);
        let of = |frames: &[String]| {
            answer(&frames.iter().map(String::as_str).collect::<Vec<_>>()).usage.map(|usage| usage.input)
        };
        let top = |usage: &str| format!(r#"{{"choices":[],"usage":{usage}}}"#);
        assert_eq!(of(&[top(&count(3)), top(&count(4)), top("null"), "{}".to_owned()]), Some(4));
        assert_eq!(of(&[top(&count(3)), top("{}"), top("[]"), top("\"none\"")]), Some(3));
        assert_eq!(of(&[format!(r#"{{"choices":[{{"usage":{}}}]}}"#, count(5))]), Some(5));
        assert_eq!(of(&[format!(r#"{{"choices":[],"x_groq":{{"usage":{}}}}}"#, count(6))]), Some(6));
        assert_eq!(of(&[chunk(r#"{"content":"x"}"#)]), None);
    }

    #[test]
    fn thinking_under_each_of_its_names() {
        let response = said(&[
            r#"{"reasoning_content":"a"}"#,
            r#"{"reasoning":"b","reasoning_details":[{"type":"reasoning.text","text":"b"}]}"#,
            r#"{"reasoning_content":"c","reasoning":"c"}"#,
            r#"{"reasoning_content":"","reasoning":"d"}"#,
            r#"{"reasoning_details":[{"type":"reasoning.summary","summary":"e"},{"type":"reasoning.encrypted","data":"?"}]}"#,
            r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"f"}],"closed":true}]}"#,
            r#"{"content":[{"type":"thinking","thinking":"g"},{"type":"text","text":"so"}]}"#,
            r#"{"content":[]}"#,
            r#"{"content":"!"}"#,
        ]);
        assert_eq!((response.thinking().as_str(), response.text().as_str()), ("abcdefg", "so!"));
        assert_eq!(response.parts.len(), 2);
    }

    #[test]
    fn signed_and_encrypted_thinking_is_kept_as_it_came() {
        let details = |response: &Response| -> Vec<String> {
            let raw = response.parts.iter().filter_map(|part| match part {
                Part::Raw(value) => Some(value.to_string()),
                _ => None,
            });
            raw.collect()
        };
        let detail = |fields: &str| chunk(&format!(r#"{{"reasoning_details":[{{{fields}}}]}}"#));
        let pieces = [
            detail(r#""type":"reasoning.text","text":"One, ","index":0,"signature":null"#),
            detail(r#""type":"reasoning.text","text":"two.","index":0"#),
            detail(r#""type":"reasoning.text","text":"","index":0,"signature":"s""#),
            detail(r#""type":"reasoning.encrypted","data":"?","id":"r","index":1"#),
            r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#.to_owned(),
        ];
        let pieces: Vec<_> = pieces.iter().map(String::as_str).collect();
        let want = [
            r#"{"type":"reasoning.text","text":"One, two.","index":0,"signature":"s"}"#,
            r#"{"type":"reasoning.encrypted","data":"?","id":"r","index":1}"#,
        ];
        let response = answer(&pieces);
        assert_eq!((response.thinking().as_str(), details(&response)), ("One, two.", want.map(str::to_owned).to_vec()));
        let without_finish = [&pieces[..4], &["[DONE]"]].concat();
        assert_eq!(details(&answer(&without_finish)), want);
        // What is neither signed nor encrypted is the thinking over again.
        let unsigned = [pieces[0], pieces[1], "[DONE]"];
        assert!(details(&answer(&unsigned)).is_empty());
        let message = format!(r#"{{"content":"so","reasoning_details":[{}]}}"#, want.join(","));
        let whole = format!(r#"{{"choices":[{{"message":{message},"finish_reason":"stop"}}]}}"#);
        let response = super::super::decode::chat("test", whole.as_bytes()).unwrap();
        assert_eq!((response.text().as_str(), details(&response)), ("so", want.map(str::to_owned).to_vec()));
    }

    #[test]
    fn parts_of_other_kinds() {
        let response = said(&[
            r#"{"refusal":"I "}"#,
            r#"{"refusal":"won't"}"#,
            r#"{"content":[{"type":"reference","reference_ids":[1]},"plain"]}"#,
            r#"{"audio":{"id":"a1","data":"UklG"}}"#,
            r#"{"images":[{"type":"image_url","image_url":{"url":"data:x"}}]}"#,
        ]);
        let raw: Vec<String> = response
            .parts
            .iter()
            .filter_map(|part| match part {
                Part::Raw(value) => Some(value.to_string()),
                _ => None,
            })
            .collect();
        assert_eq!(
            raw,
            [
                r#"{"type":"reference","reference_ids":[1]}"#,
                r#"{"type":"audio","id":"a1","data":"UklG"}"#,
                r#"{"type":"image_url","image_url":{"url":"data:x"}}"#
            ]
        );
        assert_eq!((response.refusal().as_str(), response.text().as_str()), ("I won't", "plain"));
    }

    #[test]
    fn tool_calls_in_pieces() {
        let got = calls(&[
            r#"{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]}"#,
            r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\""}}]}"#,
            r#"{"tool_calls":[{"index":1,"id":"b","function":{"name":"g","arguments":"{"}},{"index":0,"function":{"arguments":":1}"}}]}"#,
            r#"{"tool_calls":[{"index":1,"id":null,"function":{"name":null,"arguments":"}"}}]}"#,
        ]);
        assert_eq!(got, [call("a", "f", "{\"x\":1}"), call("b", "g", "{}")]);
    }

    #[test]
    fn whole_tool_calls_in_one_piece() {
        let both = r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}},{"index":1,"id":"b","function":{"name":"f","arguments":{"k": [1.0, "v"]}}}]}"#;
        assert_eq!(calls(&[both]), [call("a", "f", "{}"), call("b", "f", r#"{"k": [1.0, "v"]}"#)]);
        assert_eq!(
            calls(&[r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f"}}]}"#]),
            [call("a", "f", "{}")]
        );
        assert_eq!(
            calls(&[r#"{"function_call":{"name":"f","arguments":"{"}}"#, r#"{"function_call":{"arguments":"}"}}"#]),
            [call("call_0", "f", "{}")]
        );
    }

    /// llama-cpp-python tells each piece of a call twice, in the older form too.
    #[test]
    fn calls_told_in_both_forms_are_told_once() {
        let piece = |arguments: &str| {
            let function = format!(r#"{{"name":"f","arguments":"{arguments}"}}"#);
            format!(
                r#"{{"role":null,"content":null,"function_call":{function},"tool_calls":[{{"index":0,"id":"a","type":"function","function":{function}}}]}}"#
            )
        };
        let got = calls(&[
            r#"{"role":"assistant","content":null,"function_call":null,"tool_calls":null}"#,
            &piece("{"),
            &piece("}"),
            &piece(""),
        ]);
        assert_eq!(got, [call("a", "f", "{}")]);
    }

    #[test]
    fn tool_calls_without_an_index() {
        for index in ["", r#""index":null,"#] {
            let piece = |rest: &str| format!(r#"{{"tool_calls":[{{{index}{rest}}}]}}"#);
            let got = calls(&[
                &piece(r#""id":"a","function":{"name":"f","arguments":"{"}"#),
                &piece(r#""function":{"arguments":"}"}"#),
                &piece(r#""id":"b","function":{"name":"f","arguments":"["}"#),
                &piece(r#""id":"b","function":{"name":"f","arguments":"]"}"#),
                &piece(r#""function":{"name":"g","arguments":"{}"}"#),
            ]);
            assert_eq!(got, [call("a", "f", "{}"), call("b", "f", "[]"), call("call_2", "g", "{}")]);
        }
    }

    #[test]
    fn parallel_calls_that_all_have_index_0() {
        let piece = |id: &str, name: &str, arguments: &str| {
            format!(
                r#"{{"tool_calls":[{{"index":0,"id":{id},"function":{{"name":{name},"arguments":{arguments}}}}}]}}"#
            )
        };
        let got = calls(&[&piece(r#""a""#, r#""f""#, r#""{}""#), &piece(r#""b""#, r#""f""#, r#""{}""#)]);
        assert_eq!(got, [call("a", "f", "{}"), call("b", "f", "{}")]);
        let got = calls(&[
            &piece(r#""""#, r#""f""#, r#""{\"n\":1}""#),
            &piece(r#""""#, r#""f""#, r#""{\"n\":2}""#),
            &piece(r#""""#, r#""g""#, r#""{}""#),
        ]);
        assert_eq!(
            got,
            [call("call_0", "f", "{\"n\":1}"), call("call_1", "f", "{\"n\":2}"), call("call_2", "g", "{}")]
        );
    }

    #[test]
    fn a_call_whose_pieces_repeat_or_change_their_id() {
        let repeated = r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"1"}}]}"#;
        assert_eq!(calls(&[repeated, repeated]), [call("a", "f", "11")]);
        let new_id = r#"{"tool_calls":[{"index":0,"id":"z","function":{"name":null,"arguments":"2"}}]}"#;
        assert_eq!(calls(&[repeated, new_id]), [call("a", "f", "12")]);
    }

    #[test]
    fn a_whole_answer_as_one_chunk() {
        let whole = r#"{"object":"chat.completion","choices":[{"message":{"content":"all","tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}"#;
        let response = answer(&[whole, "[DONE]"]);
        assert_eq!((response.text().as_str(), response.tool_calls().count()), ("all", 1));
        // Perplexity: the answer so far beside the piece.
        let response = answer(&[
            r#"{"choices":[{"delta":{"content":"a"},"message":{"content":"a"}}]}"#,
            r#"{"choices":[{"delta":{"content":"b"},"message":{"content":"ab"}}]}"#,
            r#"{"choices":[{"delta":{"content":""},"message":{"content":"ab"},"finish_reason":"stop"}]}"#,
        ]);
        assert_eq!(response.text(), "ab");
    }

    #[test]
    fn errors_inside_a_stream() {
        for (event, data, kind, status) in [
            ("", r#"{"error":{"code":429,"message":"m"}}"#, ErrorKind::RateLimit, 429),
            (
                "",
                r#"{"id":"x","error":{"code":"server_error","message":"m"},"choices":[{"delta":{"content":""},"finish_reason":"error"}]}"#,
                ErrorKind::Server,
                500,
            ),
            ("", r#"{"choices":[{"index":0,"delta":{},"error":{"code":502,"message":"m"}}]}"#, ErrorKind::Server, 502),
            ("", r#"{"error":"m"}"#, ErrorKind::Server, 500),
            ("", r#"[{"error":{"code":503,"message":"m"}}]"#, ErrorKind::Overloaded, 503),
            ("", r#"{"object":"error","message":"m","code":400}"#, ErrorKind::InvalidRequest, 400),
            ("error", r#"{"error":{"type":"overloaded_error","message":"m"}}"#, ErrorKind::Overloaded, 503),
            ("error", r#"{"message":"m","code":401}"#, ErrorKind::Authentication, 401),
            ("error", "m", ErrorKind::Server, 500),
        ] {
            let error = run_named(&[("", &chunk(r#"{"content":"some"}"#)), (event, data)]).unwrap_err();
            assert_eq!((error.kind(), error.status(), error.provider()), (kind, Some(status), Some("test")), "{data}");
            assert!(error.message().starts_with('m'), "{error}");
        }
    }

    #[test]
    fn what_is_no_chunk() {
        for data in ["<html>", "{\"choices\":[", "{} {}", "7", r#"{"choices":{}}"#, r#"{"choices":[7]}"#] {
            assert_eq!(run(&[data]).unwrap_err().kind(), ErrorKind::Malformed, "{data}");
            assert!(run_named(&[("ping", data)]).is_ok(), "an unknown event is none of our business: {data}");
        }
    }

    #[test]
    fn a_broken_character_does_not_cost_the_answer() {
        let (mut decoder, mut answer) = (ChatStream::new("test"), Assembly::new());
        let data = b"{\"choices\":[{\"delta\":{\"content\":\"a\xFFb\\ud83d\"}}]}";
        decoder.frame(Frame::new("", data), &mut answer).unwrap();
        assert_eq!(answer.into_response().text(), "a\u{FFFD}b\u{FFFD}");
    }
}
