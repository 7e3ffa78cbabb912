//! The request header `x-simulator`: overrides for whoever has no hold of the simulator itself.
//!
//! `x-simulator: tokens=1000; ttft_ms=50; gap_ms=2.5; cut_after=5`

use std::time::Duration;

use super::script::{After, Fault, Overrides, ToolCall};

/// The header's name.
pub(crate) const HEADER: &str = "x-simulator";

const KEYS: &str = "tokens, text, tool, thinking, delay_ms, ttft_ms, gap_ms, jitter, chunk_events, status, error, \
    retry_after_ms, gzip, close_before_headers, cut_after, cut_after_bytes, close_after, end_after, stall_after, \
    keep_alive_ms, error_after, error_status";

/// Reads the header's value. Nothing is ignored: what is not understood is an error that says so.
pub(crate) fn parse(value: &str) -> Result<Overrides, String> {
    let mut out = Overrides::default();
    let mut keep_alive = None;
    let mut error_status = None;
    for pair in value.split(';').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (key, given) = pair.split_once('=').map_or((pair, "1"), |(key, given)| (key.trim(), given.trim()));
        let number = || given.parse::<usize>().map_err(|_| format!("x-simulator: {key}={given} is no whole number"));
        let status = || given.parse::<u16>().map_err(|_| format!("x-simulator: {key}={given} is no status"));
        let millis = || {
            let millis = given.parse::<f64>().ok().and_then(|ms| Duration::try_from_secs_f64(ms / 1000.0).ok());
            millis.ok_or_else(|| format!("x-simulator: {key}={given} is no time in milliseconds"))
        };
        let mut fault = |fault| match out.fault.replace(fault) {
            None => Ok(()),
            Some(_) => Err("x-simulator: one fault at a time".to_owned()),
        };
        match key {
            "tokens" => out.tokens = Some(number()?),
            "text" => out.text = Some(given.to_owned()),
            "thinking" => out.thinking = Some(given.to_owned()),
            "tool" => out.tool_calls = Some(vec![ToolCall { name: given.to_owned(), arguments: String::new() }]),
            "delay_ms" => out.delay = Some(millis()?),
            "ttft_ms" => out.ttft = Some(millis()?),
            "gap_ms" => out.gap = Some(millis()?),
            "jitter" => {
                out.jitter =
                    Some(given.parse().map_err(|_| format!("x-simulator: jitter={given} is no share from 0 to 1"))?);
            }
            "chunk_events" => out.chunk_events = Some(number()?),
            "status" => out.status = Some(status()?),
            "error" => out.error = Some(given.to_owned()),
            "retry_after_ms" => out.retry_after = Some(millis()?),
            "gzip" => out.gzip = Some(number()? != 0),
            "close_before_headers" => fault(Fault::CloseBeforeHeaders)?,
            "cut_after" => fault(Fault::CutAfter(After::Events(number()?)))?,
            "cut_after_bytes" => fault(Fault::CutAfter(After::Bytes(number()? as u64)))?,
            "close_after" => fault(Fault::CloseAfter(After::Events(number()?)))?,
            "end_after" => fault(Fault::EndAfter(After::Events(number()?)))?,
            "stall_after" => fault(Fault::StallAfter { after: After::Events(number()?), keep_alive: None })?,
            "keep_alive_ms" => keep_alive = Some(millis()?),
            "error_after" => fault(Fault::ErrorAfter { events: number()?, status: 529 })?,
            "error_status" => error_status = Some(status()?),
            _ => return Err(format!("x-simulator: unknown key {key:?}; there are: {KEYS}")),
        }
    }
    match (&mut out.fault, keep_alive, error_status) {
        (_, None, None) => {}
        (Some(Fault::StallAfter { keep_alive, .. }), given @ Some(_), None) => *keep_alive = given,
        (Some(Fault::ErrorAfter { status, .. }), None, Some(given)) => *status = given,
        _ => return Err("x-simulator: keep_alive_ms goes with stall_after, error_status with error_after".to_owned()),
    }
    out.check().map_err(|error| format!("x-simulator: {}", error.message()))?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_become_overrides() {
        let given = parse("tokens=1000; ttft_ms=50;gap_ms=0.5 ;; status=429;chunk_events=8; gzip").unwrap();
        let expected = Overrides {
            tokens: Some(1000),
            ttft: Some(Duration::from_millis(50)),
            gap: Some(Duration::from_micros(500)),
            status: Some(429),
            chunk_events: Some(8),
            gzip: Some(true),
            ..Overrides::default()
        };
        assert_eq!(given, expected);
        assert_eq!(parse("").unwrap(), Overrides::default());
        let stall = parse("keep_alive_ms=20; stall_after=3").unwrap().fault;
        let keep_alive = Some(Duration::from_millis(20));
        assert_eq!(stall, Some(Fault::StallAfter { after: After::Events(3), keep_alive }));
        let error = parse("error_after=0; error_status=503").unwrap().fault;
        assert_eq!(error, Some(Fault::ErrorAfter { events: 0, status: 503 }));
    }

    #[test]
    fn nothing_is_silently_ignored() {
        for (value, word) in [
            ("tokens=many", "whole number"),
            ("speed=9", "unknown key"),
            ("gap_ms=-1", "milliseconds"),
            ("chunk_events=0", "at least 1"),
            ("status=7", "status"),
            ("keep_alive_ms=5", "stall_after"),
            ("jitter=2", "jitter"),
            ("cut_after=1; end_after=1", "one fault"),
        ] {
            let message = parse(value).unwrap_err();
            assert!(message.contains(word), "{message}");
        }
    }
}
