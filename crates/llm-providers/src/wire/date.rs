//! Dates as RFC 3339 has them.

use std::time::Duration;

/// A time since 1970 as RFC 3339 has it, rounded up to the second: `2026-11-22T10:00:01Z`.
#[must_use]
pub fn rfc3339(since: Duration) -> String {
    let seconds = since.as_secs() + u64::from(since.subsec_nanos() > 0);
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    // Eras of 400 years from a year that begins in March: the leap day comes last.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = (400 * era + year + u64::from(month >= 10), if month < 10 { month + 3 } else { month - 9 });
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", time / 3600, time / 60 % 60, time % 60)
}

/// The time since 1970 of a date such as `2026-11-22T10:00:01Z`; fractions of a second and offsets are read too.
pub(crate) fn read(text: &str) -> Option<Duration> {
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let zone = time.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = time.split_at(zone);
    let mut time = time.splitn(3, ':');
    let (hour, minute): (i64, i64) = (time.next()?.parse().ok()?, time.next()?.parse().ok()?);
    let second: f64 = time.next()?.parse().ok()?;
    let offset = match zone.as_bytes() {
        [b'Z' | b'z'] => 0,
        [sign, rest @ ..] => {
            let (hours, minutes) = std::str::from_utf8(rest).ok()?.split_once(':')?;
            let minutes = hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        [] => return None,
    };
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Howard Hinnant's days from civil: years begin in March, so that the leap day is the last.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, month) = (year / 400, (month + 9) % 12);
    let year = year % 400;
    let days = era * 146_097 + year * 365 + year / 4 - year / 100 + (153 * month + 2) / 5 + day - 1 - 719_468;
    let minutes = u64::try_from((days * 24 + hour) * 60 + minute - offset).ok()?;
    Some(Duration::from_secs(minutes.checked_mul(60)?).saturating_add(Duration::try_from_secs_f64(second).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_read_as_seconds_since_1970() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", Some(0.0)),
            ("2000-02-29T12:00:00Z", Some(951_825_600.0)),
            ("2023-11-14T22:13:20Z", Some(1_700_000_000.0)),
            ("2023-11-14T22:13:20.5z", Some(1_700_000_000.5)),
            ("2023-11-15T00:13:20+02:00", Some(1_700_000_000.0)),
            ("2023-11-14T22:13:20", None),
            ("2023-13-14T22:13:20Z", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(read(text).map(|time| time.as_secs_f64()), seconds, "{text}");
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_763_805_601, "2025-11-22T10:00:01Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(Duration::from_secs(seconds)), text);
        }
        assert_eq!(rfc3339(Duration::from_millis(1)), "1970-01-01T00:00:01Z");
    }
}
