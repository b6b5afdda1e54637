//! The plot of the gateway's benchmark, drawn from the table in `docs/benchmarks.md`: it shows no figure that is not there.

use std::fmt::Write as _;

use crate::markdown::{self, Table};
use crate::{Outcome, process};

const PAGE: &str = "docs/benchmarks.md";
const PLOT: &str = "docs/benchmarks.svg";

/// The table's heading, and the columns that are drawn: ratios to nginx.
const HEADING: &str = "The gateway beside a plain reverse proxy";
const SERIES: [(&str, &str); 3] = [
    ("floor : nginx", "floor: hyper to hyper, nothing between"),
    ("llmkit : nginx", "llmkit, everything on"),
    ("translating : nginx", "llmkit, translating to another format"),
];

/// Only figures of which less is better: the others would be read the wrong way round.
const MORE_IS_BETTER: &str = "per second";

const WIDTH: usize = 900;
const LABELS: usize = 376;
const TOP: usize = 96;
const BAR: usize = 14;
const GAP: usize = 16;

/// Draws the plot anew.
pub(crate) fn run() -> Outcome {
    let file = process::root().join(PLOT);
    std::fs::write(&file, drawn(&page()?)?).map_err(|error| format!("{PLOT}: {error}"))?;
    println!("bench: wrote {PLOT}");
    Ok(())
}

/// Whether the plot is that of the table.
pub(crate) fn complaints() -> Outcome<Vec<String>> {
    let there = std::fs::read_to_string(process::root().join(PLOT)).unwrap_or_default();
    let is_of_the_table = there == drawn(&page()?)?;
    Ok(if is_of_the_table {
        Vec::new()
    } else {
        vec![format!("{PLOT} is not what the table in {PAGE} makes: cargo xtask bench plot")]
    })
}

fn page() -> Outcome<String> {
    std::fs::read_to_string(process::root().join(PAGE)).map_err(|error| format!("{PAGE}: {error}"))
}

/// A figure, and how each series stands beside nginx.
struct Figure {
    load: String,
    what: String,
    ratios: [f64; SERIES.len()],
}

fn figures(table: &Table) -> Outcome<Vec<Figure>> {
    let place = |name: &str| {
        let at = table.columns.iter().position(|column| column == name);
        at.ok_or_else(|| format!("{PAGE}: the table under `{HEADING}` has no column `{name}`"))
    };
    let name_at = place("figure")?;
    let mut places = [0; SERIES.len()];
    for (at, (column, _)) in places.iter_mut().zip(SERIES) {
        *at = place(column)?;
    }
    let figure = |row: &Vec<String>| {
        let name = row.get(name_at).filter(|name| !name.contains(MORE_IS_BETTER))?;
        let (load, what) = name.split_once(": ")?;
        let mut ratios = [0.0; SERIES.len()];
        for (ratio, at) in ratios.iter_mut().zip(places) {
            // A difference is no ratio, and is not drawn beside them.
            *ratio = row.get(at)?.strip_suffix('×')?.parse().ok()?;
        }
        Some(Figure { load: load.to_owned(), what: what.to_owned(), ratios })
    };
    let figures: Vec<Figure> = table.rows.iter().filter_map(figure).collect();
    if figures.is_empty() { Err(format!("{PAGE}: no ratios under `{HEADING}`")) } else { Ok(figures) }
}

fn drawn(page: &str) -> Outcome<String> {
    let tables = markdown::tables(page);
    let table = tables.iter().find(|table| table.heading == HEADING);
    let figures = figures(table.ok_or_else(|| format!("{PAGE}: no table under `{HEADING}`"))?)?;
    let most = figures.iter().flat_map(|figure| figure.ratios).fold(1.0, f64::max).ceil();
    let (group, room) = (SERIES.len() * BAR + GAP, (WIDTH - LABELS - 60) as f64);
    let (bottom, height) = (TOP + figures.len() * group, TOP + figures.len() * group + 34);
    let x = |ratio: f64| LABELS as f64 + ratio / most * room;

    let mut svg = head(height);
    for tick in 0..=most as u32 {
        let (at, class) = (x(f64::from(tick)), if tick == 1 { "one" } else { "tick" });
        line(&mut svg, &format!(r#"<path class="{class}" d="M{at:.1} {}V{bottom}"/>"#, TOP - 8));
        text(
            &mut svg,
            (at, bottom + 18),
            "tick-label",
            &if tick == 1 { "nginx".to_owned() } else { format!("{tick}×") },
        );
    }
    for (number, figure) in figures.iter().enumerate() {
        let y = TOP + number * group;
        text(&mut svg, (LABELS as f64 - 14.0, y + 18), "load", &figure.load);
        text(&mut svg, (LABELS as f64 - 14.0, y + 34), "what", &figure.what);
        for (series, ratio) in figure.ratios.into_iter().enumerate() {
            let (y, wide) = (y + series * BAR, x(ratio) - LABELS as f64);
            let bar = format!(
                r#"<rect class="s{series}" x="{LABELS}" y="{y}" width="{wide:.1}" height="{}" rx="2"/>"#,
                BAR - 2
            );
            line(&mut svg, &bar);
            text(&mut svg, (x(ratio) + 6.0, y + BAR - 4), "value", &format!("{ratio:.2}×"));
        }
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

fn head(height: usize) -> String {
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" aria-labelledby="title">
<title id="title">What the gateway costs beside nginx as a plain reverse proxy: ratios, less is better</title>
{STYLE}
<rect class="page" width="{WIDTH}" height="{height}" rx="8"/>
"#
    );
    text(&mut svg, (24.0, 32), "title", "What it costs beside nginx as a plain reverse proxy");
    text(
        &mut svg,
        (24.0, 52),
        "what-left",
        "A ratio within one run; less is better. The table with all figures: docs/benchmarks.md",
    );
    let mut at = 24;
    for (series, (_, name)) in SERIES.into_iter().enumerate() {
        line(&mut svg, &format!(r#"<rect class="s{series}" x="{at}" y="66" width="12" height="12" rx="2"/>"#));
        text(&mut svg, (at as f64 + 18.0, 76), "legend", name);
        at += 44 + name.len() * 6;
    }
    svg
}

fn line(svg: &mut String, element: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(svg, "{element}");
}

fn text(svg: &mut String, (x, y): (f64, usize), class: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    line(svg, &format!(r#"<text class="{class}" x="{x:.1}" y="{y}">{words}</text>"#));
}

/// A page of its own in both modes: a viewer's background need not be of the mode that it asks for.
const STYLE: &str = "\
<style>
text { font: 12px system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif; fill: #1f2328; }
.title { font-size: 16px; font-weight: 600; }
.load, .what { text-anchor: end; }
.what, .what-left, .tick-label { fill: #59636e; }
.tick-label { text-anchor: middle; }
.value { font-size: 11px; paint-order: stroke; stroke: #ffffff; stroke-width: 3px; }
.page { fill: #ffffff; stroke: #d1d9e0; }
.tick { stroke: #d1d9e0; }
.one { stroke: #59636e; stroke-dasharray: 4 3; }
.s0 { fill: #8c959f; }
.s1 { fill: #0969da; }
.s2 { fill: #bc4c00; }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc; }
.what, .what-left, .tick-label { fill: #9198a1; }
.page { fill: #0d1117; stroke: #3d444d; }
.value { stroke: #0d1117; }
.tick { stroke: #3d444d; }
.one { stroke: #9198a1; }
.s0 { fill: #6e7681; }
.s1 { fill: #4493f8; }
.s2 { fill: #f0883e; }
}
</style>";

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
## The gateway beside a plain reverse proxy
| figure | nginx | floor : nginx | llmkit : nginx | translating : nginx |
|---|---:|---:|---:|---:|
| 1 KB request: CPU µs per request | 20 | 0.91× | 1.94× | 2.76× |
| 1 KB request: requests per second | 20 | 1.08× | 0.64× | 0.46× |
| low rate: added latency, p50 µs | 96 | +73 | +227 | +349 |
";

    #[test]
    fn ratios_of_which_less_is_better_are_drawn_and_nothing_else() {
        let svg = drawn(TABLE).expect("a table");
        for there in ["0.91×", "1.94×", "2.76×", "1 KB request", "CPU µs per request"] {
            assert!(svg.contains(there), "{there}");
        }
        for not_there in ["0.64×", "+227", "low rate"] {
            assert!(!svg.contains(not_there), "{not_there}");
        }
    }

    #[test]
    fn a_bar_is_as_long_as_its_ratio() {
        let svg = drawn(TABLE).expect("a table");
        let widths: Vec<f64> = svg
            .lines()
            .filter(|line| line.starts_with("<rect class=\"s") && line.contains(&format!("x=\"{LABELS}\"")))
            .filter_map(|line| line.split_once("width=\"")?.1.split('"').next()?.parse().ok())
            .collect();
        assert!((widths[1] / widths[0] - 1.94 / 0.91).abs() < 0.01, "{widths:?}");
    }

    #[test]
    fn a_page_without_the_table_is_refused() {
        assert!(drawn("# Page\n").is_err() && drawn(&TABLE.replace("llmkit : nginx", "llmkit")).is_err());
    }
}
