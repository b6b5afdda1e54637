//! What the terminal shows.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table, Wrap};

use super::gateway::Silent;
use super::history::{History, Point, Quantile, between, per_second, quantile};
use super::words;
use crate::http::overview::{CircuitOf, Limit, Overview, Provider};

/// All that there is to draw.
#[derive(Debug)]
pub(super) struct Screen {
    url: String,
    history: History,
    /// Why there are no figures at the moment.
    silent: Option<Silent>,
    /// Lines of the log above the first that is shown.
    scrolled: usize,
}

/// Columns of a terminal from which on there is room for everything.
const WIDE: u16 = 110;

/// A plot: its title, what it shows of a point, and how that is written.
struct Plot {
    title: &'static str,
    of: fn(&Point) -> Option<f64>,
    spelled: fn(&Point) -> String,
    color: Color,
}

const PLOTS: [Plot; 5] = [
    Plot { title: "requests", of: |it| it.rate, spelled: |it| words::per_second(it.rate), color: Color::Blue },
    Plot {
        title: "p50",
        of: |it| it.p50.map(Quantile::seconds),
        spelled: |it| words::quantile(it.p50),
        color: Color::Cyan,
    },
    Plot {
        title: "p95",
        of: |it| it.p95.map(Quantile::seconds),
        spelled: |it| words::quantile(it.p95),
        color: Color::Cyan,
    },
    Plot {
        title: "p99",
        of: |it| it.p99.map(Quantile::seconds),
        spelled: |it| words::quantile(it.p99),
        color: Color::Cyan,
    },
    Plot { title: "shared", of: |it| it.shared, spelled: |it| words::percent(it.shared), color: Color::Green },
];

impl Screen {
    pub(super) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), history: History::default(), silent: None, scrolled: 0 }
    }

    /// Takes in what came of asking.
    pub(super) fn hear(&mut self, answer: Result<Overview, Silent>) {
        match answer {
            Ok(answer) => {
                self.silent = None;
                self.history.add(answer);
            }
            Err(silent) => self.silent = Some(silent),
        }
    }

    /// Moves the log by so many lines.
    pub(super) fn scroll(&mut self, lines: i32) {
        let step = usize::try_from(lines.unsigned_abs()).unwrap_or(usize::MAX);
        let last = self.history.latest().map_or(0, |latest| latest.circuit_changes.len().saturating_sub(1));
        self.scrolled =
            if lines < 0 { self.scrolled.saturating_sub(step) } else { self.scrolled.saturating_add(step) }.min(last);
    }

    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(frame.area());
        frame.render_widget(self.head(), head);
        let Some(latest) = self.history.latest() else {
            let text = match &self.silent {
                Some(silent) => format!("{}: {silent}\n\nAsked again every second; q leaves.", self.url),
                None => format!("asking {} …", self.url),
            };
            frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), body);
            return;
        };
        let providers = provider_rows(latest, self.history.earlier());
        let narrow = body.width < WIDE;
        let limits = latest.limits.tightest.iter().take(6).map(|limit| limit_row(limit, narrow)).collect::<Vec<_>>();
        let lines = |rows: usize| Constraint::Length(u16::try_from(rows).unwrap_or(u16::MAX));
        let [plots, sums, table, limit, log] = Layout::vertical([
            Constraint::Length(6),
            lines(if narrow { 4 } else { 2 }),
            lines(providers.len() + 3),
            lines(if limits.is_empty() { 0 } else { limits.len() + 2 }),
            Constraint::Min(3),
        ])
        .areas(body);
        self.plots(frame, plots);
        frame.render_widget(Paragraph::new(sums_of(latest, &self.history.point())).wrap(Wrap { trim: true }), sums);
        frame.render_widget(provider_table(providers, narrow), table);
        frame.render_widget(limit_table(limits, narrow), limit);
        frame.render_widget(self.log(latest), log);
    }

    fn head(&self) -> Line<'_> {
        let mut line = vec!["llmkit ".bold()];
        match (&self.silent, self.history.latest()) {
            (Some(silent), Some(latest)) => {
                let since = words::time_of_day(latest.at_ms);
                line.push(format!("last heard of at {since} UTC; {silent}  ").red().bold());
            }
            (None, Some(latest)) => {
                let style = if latest.status == "ok" { Color::Green } else { Color::Yellow };
                line.push(format!("{}  ", latest.version).into());
                line.push(Span::styled(format!("{}  ", latest.status), style));
                line.push(format!("up {}  ", words::span(latest.uptime_s)).into());
            }
            (_, None) => {}
        }
        line.extend([format!("{}  ", self.url).into(), "q leaves".dim()]);
        Line::from(line)
    }

    fn plots(&self, frame: &mut Frame<'_>, area: Rect) {
        // Narrow plots say nothing: the last ones are left out first.
        let shown = usize::from(area.width / 18).clamp(1, PLOTS.len());
        let areas = Layout::horizontal(vec![Constraint::Fill(1); shown]).split(area);
        let point = self.history.point();
        for (plot, area) in PLOTS.iter().zip(areas.iter()) {
            let width = usize::from(area.width.saturating_sub(2));
            let values = self.history.points(width).map(|point| (plot.of)(point).unwrap_or_default());
            let values: Vec<f64> = values.collect();
            let most = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
            let bars = values.iter().map(|value| (value / most * 1000.0) as u64);
            let title = format!(" {} {} ", plot.title, (plot.spelled)(&point));
            let block = Block::bordered().title(title).border_style(Style::new().dim());
            frame.render_widget(
                Sparkline::default().data(bars.collect::<Vec<_>>()).max(1000).style(plot.color).block(block),
                *area,
            );
        }
    }

    fn log<'a>(&self, latest: &'a Overview) -> Paragraph<'a> {
        let lines = latest.circuit_changes.iter().skip(self.scrolled).map(|change| {
            Line::from(vec![
                format!("{} UTC  ", words::time_of_day(change.at_ms)).dim(),
                format!("{}/{}  ", change.provider, change.model).into(),
                Span::styled(format!("{} → {}", change.from, change.to), color(&change.to)),
                format!("  {}", change.reason).into(),
            ])
        });
        let mut lines: Vec<_> = lines.collect();
        if lines.is_empty() {
            lines.push("No circuit has changed since the start.".dim().into());
        }
        let title = format!(" circuit changes ({}), the latest first ", latest.circuit_changes.len());
        Paragraph::new(lines).block(Block::bordered().title(title).border_style(Style::new().dim()))
    }
}

fn sums_of<'a>(latest: &Overview, point: &Point) -> Vec<Line<'a>> {
    let Overview { usage, sharing, .. } = latest;
    let ended: u64 = latest.requests.outcomes.values().sum();
    let failed = ended - latest.requests.outcomes.get("ok").copied().unwrap_or_default();
    let flying: i64 = latest.providers.iter().map(|provider| provider.in_flight).sum();
    let measured = if latest.measured { "" } else { "  (this build counts no requests)" };
    vec![
        Line::from(format!(
            "requests {ended}, failed {failed} ({} now)   in flight {flying}   shared {} of {} (hits {}, joined {}; {} \
             in flight){measured}",
            words::percent(point.failed),
            sharing.hits + sharing.joined,
            sharing.asked,
            sharing.hits,
            sharing.joined,
            sharing.in_flight,
        )),
        Line::from(format!(
            "cost {} ({}/h now), saved {}   tokens {} in, {} out",
            words::dollars(usage.cost_usd),
            words::dollars(point.spending.unwrap_or_default()),
            words::dollars(usage.saved_usd),
            words::short(usage.input_tokens as f64),
            words::short(usage.output_tokens as f64),
        )),
    ]
}

fn color(state: &str) -> Color {
    match state {
        "closed" => Color::Green,
        "half-open" => Color::Yellow,
        "open" => Color::Red,
        _ => Color::Reset,
    }
}

fn provider_rows<'a>(latest: &Overview, earlier: Option<&Overview>) -> Vec<Row<'a>> {
    let mut rows = Vec::new();
    for provider in &latest.providers {
        let was = earlier.map(|earlier| earlier.providers.iter().find(|it| it.name == provider.name));
        rows.push(provider_row(provider, was.flatten(), earlier.map(|earlier| (earlier, latest))));
        let troubled = provider.circuits.iter().filter(|it| it.state != "closed" || it.failure_count > 0);
        rows.extend(troubled.map(circuit_row));
    }
    rows
}

fn provider_row<'a>(provider: &Provider, was: Option<&Provider>, span: Option<(&Overview, &Overview)>) -> Row<'a> {
    let took = span.map(|_| between(was.map(|was| &was.duration), &provider.duration)).unwrap_or_default();
    let calls: u64 = took.counts.iter().sum();
    let all = |provider: &Provider| provider.errors.values().sum::<u64>();
    let failed = all(provider).saturating_sub(was.map_or(0, all));
    let state = provider.circuit.as_deref().unwrap_or("not configured");
    let state_text = match provider.not_closed {
        0 => state.to_owned(),
        some if some < provider.circuit_count => format!("{some} of {} not closed", provider.circuit_count),
        _ => state.to_owned(),
    };
    Row::new([
        Cell::from(provider.name.clone()),
        Cell::from(Span::styled(state_text, color(state))),
        Cell::from(words::per_second(span.and_then(|(old, new)| per_second(calls as f64, old, new)))),
        Cell::from(words::percent((calls > 0).then(|| failed as f64 / calls as f64))),
        Cell::from(words::quantile(quantile(&took, 0.95))),
        Cell::from(provider.in_flight.to_string()),
        Cell::from(words::quantile(quantile(&took, 0.5))),
        Cell::from(words::quantile(quantile(&took, 0.99))),
        Cell::from(words::dollars(provider.cost_usd)),
    ])
}

/// A circuit that is not as it should be.
fn circuit_row<'a>(circuit: &CircuitOf) -> Row<'a> {
    let key = circuit.key.as_ref().map(|key| format!(" by {key}")).unwrap_or_default();
    let probe = circuit.next_probe_in_s.map(|wait| format!(", try in {}", words::span(wait))).unwrap_or_default();
    let failures = format!("{} {} failed{probe}", circuit.state, circuit.failure_count);
    Row::new([
        Cell::from(format!("  {}{key}", circuit.model)).style(Style::new().dim()),
        Cell::from(Span::styled(failures, color(&circuit.state))),
    ])
}

fn provider_table(rows: Vec<Row<'_>>, narrow: bool) -> Table<'_> {
    // The name and the state of circuits, then figures; those of a narrow table are its first.
    let figures = [("calls", 7), ("errors", 6), ("p95", 7), ("in flight", 9), ("p50", 7), ("p99", 7), ("cost", 9)];
    let shown = if narrow { &figures[..3] } else { &figures };
    let widths = [Constraint::Fill(1), Constraint::Length(31)].into_iter();
    let widths = widths.chain(shown.iter().map(|(_, width)| Constraint::Length(*width)));
    let head = ["provider", "circuit"].into_iter().chain(shown.iter().map(|(name, _)| *name));
    Table::new(rows, widths).header(Row::new(head).style(Style::new().dim())).block(
        Block::bordered()
            .title(" providers, over the last 10 s; cost since the start ")
            .border_style(Style::new().dim()),
    )
}

fn limit_row<'a>(limit: &Limit, narrow: bool) -> Row<'a> {
    let width = if narrow { 10 } else { 20 };
    let share = if limit.limit > 0.0 { limit.remaining / limit.limit } else { 0.0 };
    let filled = ((share * width as f64).round() as usize).min(width);
    let style = match share {
        share if share < 0.1 => Color::Red,
        share if share < 0.3 => Color::Yellow,
        _ => Color::Green,
    };
    let spelled = |value| if limit.resource == "money" { words::dollars(value) } else { words::short(value) };
    let again = if limit.reset_ms == 0 { String::new() } else { words::span(limit.reset_ms as f64 / 1000.0) };
    Row::new([
        Cell::from(format!("{} {}", limit.level, limit.name)),
        Cell::from(limit.resource.clone()),
        Cell::from(Line::from(vec![
            Span::styled("█".repeat(filled), style),
            "░".repeat(width - filled).dim(),
            format!(" {} of {}", spelled(limit.remaining), spelled(limit.limit)).into(),
        ])),
        Cell::from(again),
    ])
}

fn limit_table(rows: Vec<Row<'_>>, narrow: bool) -> Table<'_> {
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(11),
        Constraint::Length(if narrow { 30 } else { 44 }),
        Constraint::Length(12),
    ];
    let title = " limits with the least left; whole again in ";
    Table::new(rows, widths).block(Block::bordered().title(title).border_style(Style::new().dim()))
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::http::overview::{CircuitChange, Distribution};

    /// The text on a terminal of this size.
    fn text(screen: &Screen, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        let cells = terminal.backend().buffer().content().chunks(usize::from(width));
        cells.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>() + "\n").collect()
    }

    fn answer(second: u64) -> Overview {
        let spread =
            |count| Distribution { bounds_s: vec![0.01, 0.02, 0.04], counts: vec![0, 0, count, 0], sum_s: 0.0 };
        let circuit = CircuitOf {
            model: "large".into(),
            state: "open".into(),
            failure_count: 5,
            next_probe_in_s: Some(42.0),
            ..CircuitOf::default()
        };
        let mut answer = Overview {
            version: "1.2.3".into(),
            status: "degraded".into(),
            at_ms: second * 1000,
            uptime_s: second as f64,
            measured: true,
            ..Overview::default()
        };
        answer.requests.outcomes = [("ok".to_owned(), 10 * second)].into();
        answer.requests.duration = spread(10 * second);
        (answer.sharing.asked, answer.sharing.hits) = (10 * second, 5 * second);
        answer.providers.push(Provider {
            name: "up".into(),
            circuit: Some("open".into()),
            circuit_count: 2,
            not_closed: 1,
            circuits: vec![circuit],
            duration: spread(5 * second),
            cost_usd: 1.25,
            ..Provider::default()
        });
        answer.limits.tightest.push(Limit {
            level: "key".into(),
            name: "k".into(),
            resource: "requests".into(),
            limit: 100.0,
            remaining: 25.0,
            reset_ms: 30_000,
        });
        let change = CircuitChange {
            at_ms: 3_600_000,
            provider: "up".into(),
            model: "large".into(),
            from: "closed".into(),
            to: "open".into(),
            reason: "5 failures in a row".into(),
        };
        answer.circuit_changes = vec![CircuitChange { reason: "later".into(), ..change.clone() }, change];
        answer
    }

    fn screen() -> Screen {
        let mut screen = Screen::new("http://gateway:8080");
        (1..=2).for_each(|second| screen.hear(Ok(answer(second))));
        screen
    }

    #[test]
    fn it_shows_rates_percentiles_circuits_limits_and_changes() {
        let text = text(&screen(), 130, 40);
        for part in [
            "llmkit 1.2.3  degraded  up 2 s  http://gateway:8080",
            "requests 10/s",
            "p50 30 ms",
            "p99 40 ms",
            "shared 50 %",
            "1 of 2 not closed",
            "5/s",
            "open 5 failed, try in 42 s",
            "$1.25",
            "key k",
            "█████░░░░░░░░░░░░░░░ 25 of 100",
            "30 s",
            "01:00:00 UTC  up/large  closed → open  5 failures in a row",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }

    #[test]
    fn it_says_that_the_gateway_is_silent_and_keeps_what_it_knew() {
        let mut screen = screen();
        screen.hear(Err(Silent::Unreachable("connection refused".into())));
        let shown = text(&screen, 130, 40);
        assert!(shown.contains("last heard of at 00:00:02 UTC; not reachable: connection refused"), "{shown}");
        assert!(shown.contains("1 of 2 not closed"));
        let mut fresh = Screen::new("http://gateway:8080");
        fresh.hear(Err(Silent::Keyless));
        assert!(text(&fresh, 100, 10).contains("wants a key with the scope `admin`"));
    }

    #[test]
    fn any_size_is_drawn() {
        let (screen, empty) = (screen(), Screen::new("u"));
        for (width, height) in [(1, 1), (10, 3), (40, 12), (80, 24), (300, 100)] {
            text(&screen, width, height);
            text(&empty, width, height);
        }
    }

    #[test]
    fn the_log_scrolls_within_its_ends() {
        let mut screen = screen();
        screen.scroll(5);
        assert_eq!(screen.scrolled, 1);
        assert!(!text(&screen, 130, 40).contains("later"));
        screen.scroll(i32::MIN);
        assert_eq!(screen.scrolled, 0);
    }
}
