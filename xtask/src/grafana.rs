//! The Grafana dashboard, made from the list of families that the telemetry can show: it names no series that is gone.

mod panels;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use self::panels::{Panel, overview, panels};
use crate::{Outcome, process};

/// A family of series, as `llm-telemetry` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Family {
    name: String,
    kind: Kind,
    labels: Vec<String>,
    unit: String,
    topic: String,
    help: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// What is done with the dashboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Write,
    Check,
}

/// Makes the dashboard from a list that is built for it.
pub(crate) fn run(act: Act) -> Outcome {
    let mut list = process::cargo(["run", "--quiet", "--package", "llm-telemetry", "--example", "families"]);
    dashboard(&process::output(&mut list)?, act)
}

/// As [`run`], with the built program that prints the list.
pub(crate) fn check_with(families: &Path) -> Outcome {
    dashboard(&process::output(&mut process::program(families, [""; 0]))?, Act::Check)
}

fn dashboard(list: &str, act: Act) -> Outcome {
    let families = read(list)?;
    let made = made(&families)?;
    let file = file();
    let at = |error: std::io::Error| format!("{}: {error}", file.display());
    match act {
        Act::Write => {
            std::fs::create_dir_all(file.parent().unwrap_or(&file)).map_err(at)?;
            std::fs::write(&file, made).map_err(at)?;
            println!("grafana: wrote {}", file.display());
        }
        Act::Check if std::fs::read_to_string(&file).map_err(at)? != made => {
            return Err(format!("grafana: {} is not what the series make: cargo xtask grafana", file.display()));
        }
        Act::Check => println!("grafana: {} shows all {} families", file.display(), families.len()),
    }
    Ok(())
}

fn file() -> PathBuf {
    process::root().join("deploy/grafana/llmkit.json")
}

fn read(list: &str) -> Outcome<Vec<Family>> {
    let family = |line: &str| {
        let value: Value = serde_json::from_str(line).map_err(|error| format!("no family: {line}: {error}"))?;
        let text = |member: &str| value[member].as_str().map(str::to_owned).ok_or(format!("no {member}: {line}"));
        let kind = match text("kind")?.as_str() {
            "counter" => Kind::Counter,
            "gauge" => Kind::Gauge,
            "histogram" => Kind::Histogram,
            other => return Err(format!("no kind of series: {other}")),
        };
        let labels = value["labels"].as_array().into_iter().flatten();
        let labels = labels.filter_map(Value::as_str).map(str::to_owned).collect();
        Ok(Family {
            name: text("name")?,
            kind,
            labels,
            unit: text("unit")?,
            topic: text("topic")?,
            help: text("help")?,
        })
    };
    list.lines().map(family).collect()
}

/// The dashboard as JSON.
fn made(families: &[Family]) -> Outcome<String> {
    let mut rows = vec![("Overview".to_owned(), overview())];
    for family in families {
        if !rows.iter().any(|(topic, _)| *topic == family.topic) {
            rows.push((family.topic.clone(), Vec::new()));
        }
        let row = rows.iter_mut().find(|(topic, _)| *topic == family.topic);
        row.into_iter().for_each(|(_, row)| row.extend(panels(family)));
    }
    let unknown = rows.iter().flat_map(|(_, panels)| panels).flat_map(|panel| unknown(panel, families));
    let unknown: Vec<String> = unknown.collect();
    if !unknown.is_empty() {
        return Err(format!("grafana: there are no series {}", unknown.join(", ")));
    }
    let dashboard = json!({
        "uid": "llmkit",
        "title": "llmkit",
        "description": "Made by `cargo xtask grafana`.",
        "tags": ["llmkit", "llm"],
        "timezone": "browser",
        "schemaVersion": 39,
        "version": 1,
        "refresh": "10s",
        "time": { "from": "now-1h", "to": "now" },
        "templating": { "list": [
            { "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus" },
            {
                "name": "provider", "label": "Provider", "type": "query", "datasource": SOURCE.clone(),
                "query": { "query": "label_values(llmkit_request_active, provider)", "refId": "provider" },
                "refresh": 2, "multi": true, "includeAll": true, "allValue": ".*",
                "current": { "text": "All", "value": "$__all" },
            },
        ] },
        "panels": placed(rows),
    });
    let text = serde_json::to_string_pretty(&dashboard).map_err(|error| error.to_string())?;
    Ok(text + "\n")
}

/// Whoever looks chooses where the series are.
static SOURCE: std::sync::LazyLock<Value> =
    std::sync::LazyLock::new(|| json!({ "type": "prometheus", "uid": "${datasource}" }));

/// The rows' panels with their places: three side by side on a grid of 24 columns.
fn placed(rows: Vec<(String, Vec<Panel>)>) -> Vec<Value> {
    const WIDTH: usize = 8;
    const HEIGHT: usize = 8;
    let (mut placed, mut y) = (Vec::new(), 0);
    for (title, panels) in rows {
        let row = json!({
            "id": placed.len() + 1, "type": "row", "title": title, "collapsed": false, "panels": [],
            "gridPos": { "x": 0, "y": y, "w": 24, "h": 1 },
        });
        placed.push(row);
        y += 1;
        let lines = panels.len().div_ceil(24 / WIDTH);
        for (at, panel) in panels.into_iter().enumerate() {
            let (x, line) = (at % (24 / WIDTH) * WIDTH, at / (24 / WIDTH));
            let place = json!({ "x": x, "y": y + line * HEIGHT, "w": WIDTH, "h": HEIGHT });
            placed.push(panel.show(placed.len() + 1, place, &SOURCE));
        }
        y += lines * HEIGHT;
    }
    placed
}

/// Words of the panel's queries that look like series or labels of ours and are neither.
fn unknown(panel: &Panel, families: &[Family]) -> Vec<String> {
    let is_known = |word: &str| {
        let stems = ["_bucket", "_count", "_sum"].iter().filter_map(|end| word.strip_suffix(end));
        let is_series = |name: &str, kind: Option<Kind>| {
            families.iter().any(|family| family.name == name && kind.is_none_or(|kind| family.kind == kind))
        };
        is_series(word, None)
            || stems.into_iter().any(|stem| is_series(stem, Some(Kind::Histogram)))
            || families.iter().any(|family| family.labels.iter().any(|label| label == word))
    };
    let words = panel.targets.iter().flat_map(|(query, _)| {
        query.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_')).map(str::to_owned)
    });
    let ours = words.filter(|word| word.starts_with("llmkit_") || word.starts_with("gen_ai_"));
    ours.filter(|word| !is_known(word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
{\"name\":\"llmkit_request_active\",\"kind\":\"gauge\",\"labels\":[\"provider\"],\"unit\":\"short\",\"topic\":\"Providers\",\"help\":\"Calls\"}
{\"name\":\"llmkit_time_seconds\",\"kind\":\"histogram\",\"labels\":[],\"unit\":\"s\",\"topic\":\"Requests\",\"help\":\"Time\"}";

    #[test]
    fn a_query_for_a_series_that_is_gone_is_named() {
        let families = read(LIST).expect("families");
        let panel = |query: &str| Panel::new("x", "short", vec![(query.to_owned(), String::new())]);
        let gone =
            "rate(llmkit_gone_total[5m]) + llmkit_request_active_sum + sum by (provider) (llmkit_time_seconds_sum)";
        assert_eq!(unknown(&panel(gone), &families), ["llmkit_gone_total", "llmkit_request_active_sum"]);
    }

    #[test]
    fn every_family_has_a_panel_in_the_row_of_its_topic() {
        let families = read(LIST).expect("families");
        for family in &families {
            let panels = panels(family);
            assert!(!panels.is_empty() && panels.iter().all(|panel| unknown(panel, &families).is_empty()));
            assert!(panels[0].targets.iter().all(|(query, _)| query.contains(&family.name)));
        }
        assert!(made(&families).unwrap_err().contains("llmkit_requests_total"), "the overview needs the others");
    }
}
