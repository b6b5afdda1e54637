//! One table: medians over the rounds, and the ratio to nginx in the same round.

use std::fmt;
use std::time::Duration;

use super::load::{LARGE, LATENT, PACED, SMALL, STREAM, Scenario, Seen};
use super::systems::{System, cores};

/// One load on one system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// What the system spent on it.
    pub(crate) cpu: Duration,
    pub(crate) seen: Seen,
}

/// All samples of a run. Systems are told apart by their place; the first is the yardstick.
#[derive(Debug)]
pub(crate) struct Report {
    names: Vec<&'static str>,
    started_in: Vec<Duration>,
    pub(crate) idle_bytes: Vec<u64>,
    pub(crate) stream_bytes: Vec<u64>,
    samples: Vec<(&'static str, usize, Sample)>,
    direct: Vec<(&'static str, Seen)>,
}

type Latency = fn(&Seen) -> Duration;

/// Of latencies, what is told.
const QUANTILES: [(&str, Latency); 2] = [("p50", |seen| seen.p50), ("p99", |seen| seen.p99)];

/// How a figure stands beside the yardstick's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    Ratio,
    Difference,
}

impl Report {
    pub(crate) fn new(systems: &[System]) -> Self {
        Self {
            names: systems.iter().map(|system| system.name).collect(),
            started_in: systems.iter().map(|system| system.started_in).collect(),
            idle_bytes: vec![0; systems.len()],
            stream_bytes: vec![0; systems.len()],
            samples: Vec::new(),
            direct: Vec::new(),
        }
    }

    pub(crate) fn note(&mut self, scenario: &Scenario, system: usize, sample: Sample) {
        self.samples.push((scenario.title, system, sample));
    }

    /// Without a system between: what latency is added to.
    pub(crate) fn note_direct(&mut self, scenario: &Scenario, seen: Seen) {
        self.direct.push((scenario.title, seen));
    }

    /// The figure of each system in each round.
    fn of(&self, scenario: &Scenario, figure: impl Fn(&Sample) -> f64) -> Vec<Vec<f64>> {
        let of_system =
            |at| self.samples.iter().filter(move |(title, system, _)| *title == scenario.title && *system == at);
        (0..self.names.len()).map(|at| of_system(at).map(|(_, _, sample)| figure(sample)).collect()).collect()
    }

    /// The latency of each system in each round, less that of a direct call in the same round.
    fn added(&self, scenario: &Scenario, latency: Latency) -> Vec<Vec<f64>> {
        let direct = self.direct(scenario, latency);
        let mut rounds = self.of(scenario, |sample| micros(latency(&sample.seen)));
        for system in &mut rounds {
            for (value, direct) in system.iter_mut().zip(&direct) {
                *value -= direct;
            }
        }
        rounds
    }

    /// The latency of a direct call in each round.
    fn direct(&self, scenario: &Scenario, latency: Latency) -> Vec<f64> {
        let calls = self.direct.iter().filter(|(title, _)| *title == scenario.title);
        calls.map(|(_, seen)| micros(latency(seen))).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let others = self.names[1..].iter().map(|name| format!("{name} : {}", self.names[0]));
        let columns: Vec<String> = self.names.iter().map(|name| (*name).to_owned()).chain(others).collect();
        writeln!(f, "| figure | {} |\n|---|{}", columns.join(" | "), "---:|".repeat(columns.len()))?;
        let is_driven = |scenario: &Scenario| self.samples.iter().any(|(title, _, _)| *title == scenario.title);
        for scenario in [SMALL, LARGE, STREAM, PACED].iter().filter(|scenario| is_driven(scenario)) {
            let (unit, count): (_, fn(&Seen) -> f64) =
                if scenario.is_stream { ("event", |seen| seen.events) } else { ("request", |seen| seen.requests) };
            let cpu = self.of(scenario, |sample| micros(sample.cpu) / count(&sample.seen));
            row(f, &format!("{}: CPU µs per {unit}", scenario.title), &cpu, Beside::Ratio)?;
            let speed = self.of(scenario, |sample| count(&sample.seen) / sample.seen.seconds);
            // A paced stream is as fast as it is paced.
            if *scenario != PACED {
                row(f, &format!("{}: {unit}s per second", scenario.title), &speed, Beside::Ratio)?;
            }
        }
        for scenario in LATENT.iter().filter(|scenario| is_driven(scenario)) {
            let what = if scenario.is_stream { "time to the first event" } else { "latency" };
            for (name, latency) in QUANTILES {
                let label = format!("{}: added {what}, {name} µs", scenario.title);
                row(f, &label, &self.added(scenario, latency), Beside::Difference)?;
            }
        }
        let once = |bytes: &[u64], unit: f64| bytes.iter().map(|&bytes| vec![bytes as f64 / unit]).collect::<Vec<_>>();
        if self.stream_bytes.iter().any(|&bytes| bytes > 0) {
            row(f, "1,000 slow streams: KB per stream", &once(&self.stream_bytes, 1024.0), Beside::Ratio)?;
        }
        row(f, "idle: MB", &once(&self.idle_bytes, 1024.0 * 1024.0), Beside::Ratio)?;
        let starts: Vec<Vec<f64>> = self.started_in.iter().map(|time| vec![time.as_secs_f64() * 1000.0]).collect();
        row(f, "start: ms to the first connection", &starts, Beside::Ratio)?;
        let cores = cores();
        write!(
            f,
            "
Medians of the rounds, in which the systems took turns; the ratio (of added latency: the difference) is taken within a round.
CPU is user and kernel time of the system's processes alone. Upstream, system and load generator share {cores} cores: CPU per request
is the honest figure, requests per second are not. Memory is proportional set size. nginx has as many workers as the others have
threads: {cores}.
"
        )?;
        for scenario in LATENT.iter().filter(|scenario| is_driven(scenario)) {
            let [p50, p99] = QUANTILES.map(|(_, latency)| median(self.direct(scenario, latency)));
            writeln!(f, "{}: a direct call takes {p50:.0} µs at p50 and {p99:.0} µs at p99.", scenario.title)?;
        }
        Ok(())
    }
}

/// One line: the median of each system, then how the others stand beside the first.
fn row(f: &mut fmt::Formatter<'_>, label: &str, systems: &[Vec<f64>], beside: Beside) -> fmt::Result {
    let medians = systems.iter().map(|rounds| number(median(rounds.clone())));
    let others = systems[1..].iter().map(|rounds| {
        let pairs = rounds.iter().zip(&systems[0]);
        match beside {
            Beside::Ratio => format!("{:.2}×", median(pairs.map(|(one, yardstick)| one / yardstick).collect())),
            Beside::Difference => format!("{:+.0}", median(pairs.map(|(one, yardstick)| one - yardstick).collect())),
        }
    });
    writeln!(f, "| {label} | {} |", medians.chain(others).collect::<Vec<_>>().join(" | "))
}

fn number(value: f64) -> String {
    match value.abs() {
        small if small < 10.0 => format!("{value:.2}"),
        middle if middle < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// The middle value, or the mean of the middle two; 0 of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let seen = |p50| Seen {
            requests: 100.0,
            events: 5000.0,
            seconds: 2.0,
            p50: Duration::from_micros(p50),
            p99: Duration::from_micros(10 * p50),
        };
        let mut report = Report {
            names: vec!["nginx", "llmkit"],
            started_in: vec![Duration::from_millis(10), Duration::from_millis(5)],
            idle_bytes: vec![1 << 20, 2 << 20],
            stream_bytes: vec![4096, 2048],
            samples: Vec::new(),
            direct: Vec::new(),
        };
        for micros in [1000, 3000, 2000] {
            for (at, factor) in [(0, 1), (1, 2)] {
                let sample = Sample { cpu: Duration::from_micros(micros * factor), seen: seen(100 + 50 * factor) };
                for scenario in [SMALL, LARGE, STREAM, PACED].iter().chain(LATENT) {
                    report.note(scenario, at, sample);
                }
            }
            for (scenario, micros) in LATENT.iter().zip([100, 90, 80, 70]) {
                report.note_direct(scenario, seen(micros));
            }
        }
        report
    }

    #[test]
    fn figures_are_medians_and_ratios_are_to_the_yardstick() {
        let text = report().to_string();
        let line = |label: &str| text.lines().find(|line| line.contains(label)).expect("a row").to_owned();
        assert_eq!(
            line("1 KB request, 32 connections: CPU"),
            "| 1 KB request, 32 connections: CPU µs per request | 20.0 | 40.0 | 2.00× |"
        );
        assert_eq!(
            line("1 KB request, 32 connections: requests"),
            "| 1 KB request, 32 connections: requests per second | 50.0 | 50.0 | 1.00× |"
        );
        assert!(line("full speed, 32 connections: CPU µs per event").ends_with("| 0.40 | 0.80 | 2.00× |"));
        assert!(line("KB per stream").ends_with("| 4.00 | 2.00 | 0.50× |"));
    }

    #[test]
    fn latency_is_what_is_added_to_a_direct_call() {
        let text = report().to_string();
        for row in [
            "answered after 20 ms: added latency, p50 µs | 50.0 | 100 | +50 |",
            "answered after 20 ms: added latency, p99 µs | 500 | 1000 | +500 |",
            "begun after 20 ms: added time to the first event, p50 µs | 60.0 | 110 | +50 |",
            "answered at once: added latency, p50 µs | 70.0 | 120 | +50 |",
            "answered at once: a direct call takes 80 µs at p50 and 800 µs at p99.",
        ] {
            assert!(text.contains(row), "{row}: {text}");
        }
    }

    #[test]
    fn what_was_not_driven_has_no_row() {
        let mut report = report();
        report.samples.retain(|(title, _, _)| *title == LARGE.title);
        report.direct.clear();
        let text = report.to_string();
        assert!(
            text.contains("32 KB") && !["1 KB", "50-chunk", "latency,", "direct"].iter().any(|row| text.contains(row)),
            "{text}"
        );
    }

    #[test]
    fn a_table_has_as_many_cells_in_each_row() {
        let text = report().to_string();
        let widths: Vec<usize> =
            text.lines().filter(|line| line.starts_with('|')).map(|line| line.matches('|').count()).collect();
        assert!(widths.iter().all(|&width| width == widths[0]), "{text}");
    }

    #[test]
    fn the_median_is_the_middle_value() {
        assert_eq!((median(vec![3.0, 1.0, 2.0]), median(vec![1.0, 2.0]), median(vec![])), (2.0, 1.5, 0.0));
    }
}
