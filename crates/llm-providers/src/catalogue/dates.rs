//! Days, as entries have them and as names of models end with them.

/// Whether `text` is a day, such as `2026-11-22`.
pub(super) fn is_day(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let mut part = || parts.next().unwrap_or_default();
    let (year, month, day) = (part(), part(), part());
    year.len() == 4 && is_number(year) && is_within(month, 12) && is_within(day, 31)
}

/// A model's name without the day at its end: `-YYYY-MM-DD`, else `-YYYYMMDD`. None where there is no day.
pub(super) fn without_day(model: &str) -> Option<&str> {
    let dashed = || {
        let (name, day) = model.split_at_checked(model.len().checked_sub("-YYYY-MM-DD".len())?)?;
        is_day(day.strip_prefix('-')?).then_some(name)
    };
    let plain = || {
        let (name, day) = model.rsplit_once('-')?;
        let (year, rest) = day.split_at_checked(4)?;
        let (month, day) = rest.split_at_checked(2)?;
        (is_number(year) && is_within(month, 12) && is_within(day, 31)).then_some(name)
    };
    dashed().or_else(plain)
}

fn is_number(digits: &str) -> bool {
    digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether these are two digits, from 01 to `most`.
fn is_within(digits: &str, most: u8) -> bool {
    digits.len() == 2 && is_number(digits) && digits.parse().is_ok_and(|number| (1..=most).contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_day_is_taken_off_a_name() {
        assert_eq!(without_day("a-2026-11-22"), Some("a"));
        assert_eq!(without_day("a-b-20261122"), Some("a-b"));
        assert_eq!(without_day("-20261122"), Some(""));
        for whole in
            ["a", "a-", "a-2026-11-2", "a-20261132", "a-20261301", "a-2508", "20261122", "a-202611220", "é-2026-1é-22"]
        {
            assert_eq!(without_day(whole), None, "{whole}");
        }
    }

    #[test]
    fn a_day_has_a_month_and_a_day_of_it() {
        assert!(is_day("2026-11-22"));
        for wrong in [
            "",
            "2026-11",
            "2026-13-01",
            "2026-00-01",
            "2026-01-32",
            "26-01-01",
            "2026-1-01",
            "2026-01-01-",
            "20260101",
        ] {
            assert!(!is_day(wrong), "{wrong}");
        }
    }
}
