//! What is drawn: for each family what its kind asks for, and above all of it an overview.

use serde_json::{Value, json};

use super::{Family, Kind};

/// Something drawn over time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Panel {
    title: String,
    description: String,
    unit: String,
    /// Queries with their legends.
    pub(super) targets: Vec<(String, String)>,
}

impl Panel {
    pub(super) fn new(title: &str, unit: &str, targets: Vec<(String, String)>) -> Self {
        Self { title: title.to_owned(), description: String::new(), unit: unit.to_owned(), targets }
    }

    pub(super) fn show(self, id: usize, place: Value, source: &Value) -> Value {
        let target = |(at, (query, legend)): (usize, (String, String))| {
            let name = char::from(b'A' + u8::try_from(at).unwrap_or(25).min(25)).to_string();
            json!({ "refId": name, "datasource": source.clone(), "expr": query, "legendFormat": legend, "range": true })
        };
        json!({
            "id": id,
            "type": "timeseries",
            "title": self.title,
            "description": self.description,
            "datasource": source.clone(),
            "gridPos": place,
            "fieldConfig": {
                "defaults": {
                    "unit": self.unit, "min": 0,
                    "custom": { "drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never" },
                },
                "overrides": [],
            },
            "options": {
                "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true },
                "tooltip": { "mode": "multi", "sort": "desc" },
            },
            "targets": self.targets.into_iter().enumerate().map(target).collect::<Vec<_>>(),
        })
    }
}

/// The range of a rate: Grafana takes one that holds several scrapes.
const RANGE: &str = "$__rate_interval";

/// The panels of one family.
pub(super) fn panels(family: &Family) -> Vec<Panel> {
    let Family { name, kind, labels, unit, help, .. } = family;
    let chosen = if labels.iter().any(|label| label == "provider") { "{provider=~\"$provider\"}" } else { "" };
    let by = by(labels);
    let legend = if labels.is_empty() { help.clone() } else { legend(labels) };
    let panel = |unit: &str, targets| Panel {
        title: help.clone(),
        description: format!("`{name}`"),
        unit: unit.to_owned(),
        targets,
    };
    match (kind, unit.as_str()) {
        (Kind::Counter, "currencyUSD") => {
            let query = format!("sum{by} (increase({name}{chosen}[1h]))");
            vec![Panel { title: format!("{help}, in the hour before"), ..panel(unit, vec![(query, legend)]) }]
        }
        (Kind::Counter, _) => {
            let query = format!("sum{by} (rate({name}{chosen}[{RANGE}]))");
            vec![Panel { title: format!("{help}, a second"), ..panel("cps", vec![(query, legend)]) }]
        }
        (Kind::Gauge, _) => vec![panel(unit, vec![(format!("sum{by} ({name}{chosen})"), legend)])],
        (Kind::Histogram, _) => {
            let quantiles = [("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99")];
            let targets = quantiles.map(|(share, legend)| (quantile(share, name, chosen, &[]), legend.to_owned()));
            let mut panels = vec![panel(unit, targets.to_vec())];
            if !labels.is_empty() {
                let each = vec![(quantile("0.95", name, chosen, labels), legend)];
                panels.push(Panel { title: format!("{help}: p95 of each"), ..panel(unit, each) });
            }
            panels
        }
    }
}

fn quantile(share: &str, name: &str, chosen: &str, labels: &[String]) -> String {
    let labels: Vec<&str> = labels.iter().map(String::as_str).chain(["le"]).collect();
    let by = labels.join(", ");
    format!("histogram_quantile({share}, sum by ({by}) (rate({name}_bucket{chosen}[{RANGE}])))")
}

fn by(labels: &[String]) -> String {
    if labels.is_empty() { String::new() } else { format!(" by ({})", labels.join(", ")) }
}

fn legend(labels: &[String]) -> String {
    labels.iter().map(|label| format!("{{{{{label}}}}}")).collect::<Vec<_>>().join(" ")
}

/// What is looked at first.
pub(super) fn overview() -> Vec<Panel> {
    let one = |title: &str, unit: &str, query: &str| {
        Panel::new(title, unit, vec![(query.replace("$RANGE", RANGE), title.to_owned())])
    };
    vec![
        one("Requests a second", "reqps", "sum(rate(llmkit_requests_total[$RANGE]))"),
        one(
            "Share of requests that fail",
            "percentunit",
            "sum(rate(llmkit_requests_total{outcome!=\"ok\"}[$RANGE])) / sum(rate(llmkit_requests_total[$RANGE]))",
        ),
        one(
            "Requests: p95",
            "s",
            "histogram_quantile(0.95, sum by (le) (rate(gen_ai_server_request_duration_seconds_bucket[$RANGE])))",
        ),
        one("Dollars an hour", "currencyUSD", "sum(rate(llmkit_request_cost_total[$RANGE])) * 3600"),
        one("Tokens a second", "cps", "sum(rate(llmkit_request_tokens_total[$RANGE]))"),
        one(
            "Share of requests that another's call answered",
            "percentunit",
            "sum(rate(llmkit_shared_requests_total{sharing=\"joined\"}[$RANGE])) / sum(rate(llmkit_shared_requests_total[$RANGE]))",
        ),
    ]
}
