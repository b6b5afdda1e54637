//! Prometheus' classic text from OpenMetrics' text, line by line.

use std::collections::HashMap;

/// Moves the suffix of counters and infos from the samples' names to the families' and leaves out what the
/// classic format has not. There are no exemplars.
pub(crate) fn rewritten(open: &str) -> String {
    let kinds: HashMap<&str, &str> =
        open.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let mut text = String::with_capacity(open.len());
    for line in open.lines() {
        let comment = line.strip_prefix("# ").and_then(|rest| rest.split_once(' '));
        match comment {
            Some((word @ ("TYPE" | "HELP"), rest)) => {
                let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                let (suffix, kind) = match kinds.get(name) {
                    Some(&"counter") => ("_total", "counter"),
                    Some(&"info") => ("_info", "gauge"),
                    Some(&"unknown") => ("", "untyped"),
                    other => ("", other.copied().unwrap_or("untyped")),
                };
                let rest = if word == "TYPE" { kind } else { rest };
                text.extend(["# ", word, " ", name, suffix, " ", rest, "\n"]);
            }
            Some(_) => {}
            None if line.starts_with('#') => {}
            None => text.extend([line, "\n"]),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_their_samples_names() {
        let open = "# HELP a Help.\n# TYPE a counter\n# UNIT a seconds\na_total{b=\"x # y\"} 1\n\
                    # HELP c More.\n# TYPE c info\nc_info{v=\"1\"} 1\n# TYPE d unknown\nd 2\n# EOF\n";
        let classic = "# HELP a_total Help.\n# TYPE a_total counter\na_total{b=\"x # y\"} 1\n\
                       # HELP c_info More.\n# TYPE c_info gauge\nc_info{v=\"1\"} 1\n# TYPE d untyped\nd 2\n";
        assert_eq!(rewritten(open), classic);
    }
}
