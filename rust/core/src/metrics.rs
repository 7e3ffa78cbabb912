//! What one inference took: time to first token, tokens a second, gaps between tokens.
//!
//! Time is a parameter: every method takes the time since the call began, so nothing here reads a clock.

use std::time::Duration;

/// The times of one call. All durations count from its start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    first_token: Option<Duration>,
    last_token: Option<Duration>,
    finished: Option<Duration>,
    /// Microseconds between one piece of the answer and the next: four bytes a token, so that percentiles are exact.
    gaps: Vec<u32>,
    output_tokens: u64,
    input_tokens: u64,
}

impl Metrics {
    /// The first token has come. Only the first call counts.
    pub fn record_first_token(&mut self, now: Duration) {
        self.first_token.get_or_insert(now);
        self.last_token.get_or_insert(now);
    }

    /// A piece of the answer has come: the first one sets the time to first token, each later one a gap.
    pub fn record_piece(&mut self, now: Duration) {
        if let Some(last) = self.last_token {
            let gap = now.saturating_sub(last).as_micros();
            self.gaps.push(u32::try_from(gap).unwrap_or(u32::MAX));
        }
        self.first_token.get_or_insert(now);
        self.last_token = Some(now);
    }

    /// `tokens` more have come, as one piece.
    pub fn add_output_tokens(&mut self, tokens: u64, now: Duration) {
        self.record_piece(now);
        self.output_tokens = self.output_tokens.saturating_add(tokens);
    }

    /// The counts that the provider gave; they replace what was counted on the way.
    pub fn set_tokens(&mut self, input: u64, output: u64) {
        self.input_tokens = input;
        self.output_tokens = output;
    }

    /// The answer is over: from now on nothing depends on the time.
    pub fn finish(&mut self, now: Duration) {
        self.finished.get_or_insert(now);
    }

    /// Whether [`Metrics::finish`] was called.
    pub fn is_finished(&self) -> bool {
        self.finished.is_some()
    }

    /// Tokens produced so far.
    pub fn output_tokens(&self) -> u64 {
        self.output_tokens
    }

    /// Tokens of the prompt, once known.
    pub fn input_tokens(&self) -> u64 {
        self.input_tokens
    }

    /// Time to first token.
    pub fn ttft(&self) -> Option<Duration> {
        self.first_token
    }

    /// The whole time, or the time so far.
    pub fn total(&self, now: Duration) -> Duration {
        self.finished.unwrap_or(now)
    }

    /// Tokens a second: output tokens ÷ the time from the first token to the last one.
    ///
    /// Where all came at once there is no such time; then it is output tokens ÷ the whole time. It never falls after the
    /// end, because it does not depend on `now` once [`Metrics::finish`] was called.
    pub fn tokens_per_second(&self, now: Duration) -> f64 {
        if self.output_tokens == 0 {
            return 0.0;
        }
        let spent = match (self.first_token, self.last_token) {
            (Some(first), Some(last)) if last > first => last.saturating_sub(first),
            _ => self.total(now),
        };
        if spent.is_zero() { 0.0 } else { self.output_tokens as f64 / spent.as_secs_f64() }
    }

    /// The gap between pieces that a share `q` (0 to 1) of all gaps does not exceed (nearest rank); `None` without gaps.
    pub fn inter_token(&self, q: f64) -> Option<Duration> {
        let mut gaps = self.gaps.clone();
        if gaps.is_empty() {
            return None;
        }
        let rank = ((q.clamp(0.0, 1.0) * gaps.len() as f64).ceil() as usize).clamp(1, gaps.len());
        let (_, gap, _) = gaps.select_nth_unstable(rank - 1);
        Some(Duration::from_micros(u64::from(*gap)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_rate_does_not_fall_after_the_end() {
        let mut metrics = Metrics::default();
        for n in 0..=10 {
            metrics.add_output_tokens(5, ms(100 + n * 100));
        }
        metrics.finish(ms(1100));
        assert_eq!(metrics.ttft(), Some(ms(100)));
        assert!((metrics.tokens_per_second(ms(1100)) - 55.0).abs() < 1e-9);
        assert_eq!(metrics.tokens_per_second(ms(99_999)), metrics.tokens_per_second(ms(1100)));
        assert_eq!(metrics.total(ms(99_999)), ms(1100));
    }

    #[test]
    fn one_burst_has_a_rate_too() {
        let mut metrics = Metrics::default();
        metrics.add_output_tokens(20, ms(200));
        assert!((metrics.tokens_per_second(ms(400)) - 50.0).abs() < 1e-9);
        assert_eq!(metrics.inter_token(0.5), None);
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let mut metrics = Metrics::default();
        let mut now = ms(0);
        metrics.record_first_token(now);
        for gap in 1..=100 {
            now += ms(gap);
            metrics.record_piece(now);
        }
        assert_eq!(metrics.inter_token(0.5), Some(ms(50)));
        assert_eq!(metrics.inter_token(0.99), Some(ms(99)));
        assert_eq!(metrics.inter_token(1.0), Some(ms(100)));
    }
}
