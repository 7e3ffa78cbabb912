//! How the providers write times: Go durations and RFC 3339 moments.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

/// A duration as Go prints it, to the millisecond: `6m0s`, `8.64s`, `12ms`, `0s`.
pub(crate) struct GoDuration(pub(crate) Duration);

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let (minutes, rest) = (millis / 60_000, millis % 60_000);
        match (minutes, rest) {
            (0, 0) => return f.write_str("0s"),
            (0, 1..1000) => return write!(f, "{rest}ms"),
            (0, _) => {}
            (minutes @ 60.., _) => write!(f, "{}h{}m", minutes / 60, minutes % 60)?,
            (minutes, _) => write!(f, "{minutes}m")?,
        }
        match rest % 1000 {
            0 => write!(f, "{}s", rest / 1000),
            fraction => {
                let fraction = format!("{fraction:03}");
                write!(f, "{}.{}s", rest / 1000, fraction.trim_end_matches('0'))
            }
        }
    }
}

/// A moment as `2026-11-24T03:34:35Z`.
pub(crate) struct Rfc3339(pub(crate) SystemTime);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = unix_seconds(self.0);
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        // Civil date from days since 1970-01-01 (H. Hinnant, "civil_from_days"), for dates after it.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// Seconds since 1970.
pub(crate) fn unix_seconds(moment: SystemTime) -> u64 {
    moment.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Whole seconds, rounded up and at least one, for a `retry-after`.
pub(crate) fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_go_prints_them() {
        for (millis, text) in [
            (0, "0s"),
            (12, "12ms"),
            (1_000, "1s"),
            (8_640, "8.64s"),
            (17_563, "17.563s"),
            (360_000, "6m0s"),
            (1_252_666, "20m52.666s"),
            (3_603_000, "1h0m3s"),
        ] {
            let duration = Duration::from_millis(millis);
            assert_eq!(GoDuration(duration).to_string(), text);
            assert_eq!(crate::wire::status::parse_go_duration(text), Some(duration), "what we write, we read");
        }
    }

    #[test]
    fn moments() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (1_795_491_275, "2026-11-24T03:34:35Z"),
        ] {
            assert_eq!(Rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).to_string(), text);
        }
    }

    #[test]
    fn waits_round_up() {
        let rounded = [0, 1, 1000, 1001].map(|millis| whole_seconds(Duration::from_millis(millis)));
        assert_eq!(rounded, [1, 1, 1, 2]);
    }
}
