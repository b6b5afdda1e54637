//! Figures in words: with their units, in few characters.

use super::history::Quantile;

/// What stands where nothing is known.
const NONE: &str = "-";

pub(super) fn seconds(value: f64) -> String {
    match value {
        value if value < 0.001 => format!("{:.0} µs", value * 1e6),
        value if value < 0.9995 => format!("{:.0} ms", value * 1e3),
        value if value < 99.95 => format!("{value:.1} s"),
        value => span(value),
    }
}

pub(super) fn quantile(found: Option<Quantile>) -> String {
    match found {
        None => NONE.to_owned(),
        Some(Quantile::About(value)) => seconds(value),
        Some(Quantile::Under(value)) => format!("<{}", seconds(value)),
        Some(Quantile::Over(value)) => format!(">{}", seconds(value)),
    }
}

pub(super) fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        ..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3600),
    }
}

pub(super) fn per_second(rate: Option<f64>) -> String {
    rate.map_or_else(|| NONE.to_owned(), |rate| format!("{}/s", plain(rate)))
}

pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or_else(
        || NONE.to_owned(),
        |share| format!("{:.*} %", usize::from(share > 0.0 && share < 0.1), share * 100.0),
    )
}

pub(super) fn dollars(value: f64) -> String {
    match value {
        0.0 => "$0".to_owned(),
        value if value >= 0.1 => format!("${value:.2}"),
        value if value >= 0.0001 => format!("${value:.4}"),
        value => format!("${value:.1e}"),
    }
}

/// A large number, in thousands, millions or billions.
pub(super) fn short(value: f64) -> String {
    for (size, letter) in [(1e9, 'B'), (1e6, 'M'), (1e3, 'k')] {
        if value >= size * 0.9995 {
            return format!("{} {letter}", plain(value / size));
        }
    }
    plain(value)
}

fn plain(value: f64) -> String {
    match value {
        value if value.fract() == 0.0 || value >= 99.5 => format!("{value:.0}"),
        value if value >= 9.95 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

/// The time of day of so many milliseconds since the Unix epoch, in UTC.
pub(super) fn time_of_day(at_ms: u64) -> String {
    let second = at_ms / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}", second / 3600, second % 3600 / 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_their_units() {
        assert_eq!([0.000_05, 0.25, 1.5, 130.0].map(seconds), ["50 µs", "250 ms", "1.5 s", "2 min 10 s"]);
        assert_eq!(quantile(Some(Quantile::Under(0.01))), "<10 ms");
        assert_eq!([0.0, 0.004, 0.0412, 12.5].map(dollars), ["$0", "$0.0040", "$0.0412", "$12.50"]);
        assert_eq!([7.0, 1_000.0, 1_234_567.0].map(short), ["7", "1 k", "1.23 M"]);
        assert_eq!([Some(0.005), Some(0.5), None].map(percent), ["0.5 %", "50 %", "-"]);
        assert_eq!(time_of_day(1_764_343_880_123), "15:31:20");
        assert_eq!(span(90_000.0), "1 d 1 h");
    }
}
