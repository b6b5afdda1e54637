//! Every family of series that `/metrics` can show, as one JSON object a line.

use llm_telemetry::{FAMILIES, Family};

fn main() {
    for Family { name, kind, labels, unit, topic, help } in FAMILIES {
        // Names, labels and helps are plain ASCII, whose escapes are JSON's.
        let (kind, topic) = (kind.as_str(), topic.as_str());
        println!(
            "{{\"name\":{name:?},\"kind\":{kind:?},\"labels\":{labels:?},\"unit\":{unit:?},\"topic\":{topic:?},\"help\":{help:?}}}"
        );
    }
}
