//! The load generator, started once a load.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::Pace;
use super::running::with_many_files;
use crate::Outcome;

/// What the upstream is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Model {
    /// The same answer at once; streamed, 50 chunks at full speed.
    Fixed,
    /// The same after 20 ms.
    Delayed,
    /// Two tokens, the first after 20 ms, the second 20 ms later.
    Spoken,
    /// 50 chunks, one every 20 ms.
    Paced,
    /// One chunk a second.
    Slow,
}

/// What the generator does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scenario {
    /// As the report names it.
    pub(crate) title: &'static str,
    pub(crate) model: Model,
    pub(crate) connections: u32,
    pub(crate) full_ms: u64,
    pub(crate) quick_ms: u64,
    /// How often it is driven in a round.
    pub(crate) turns: usize,
    /// Further options of the generator.
    pub(crate) options: &'static [&'static str],
    /// Streams are counted by their events.
    pub(crate) is_stream: bool,
    /// Whether no core may halt meanwhile.
    pub(crate) awake: bool,
}

pub(crate) const SMALL: Scenario = Scenario {
    title: "1 KB request, 32 connections",
    model: Model::Fixed,
    connections: 32,
    full_ms: 1200,
    quick_ms: 600,
    turns: 1,
    options: &["--body-bytes", "1024"],
    is_stream: false,
    awake: false,
};

pub(crate) const LARGE: Scenario =
    Scenario { title: "32 KB request, 32 connections", options: &["--body-bytes", "32768"], ..SMALL };

pub(crate) const STREAM: Scenario =
    Scenario { title: "50-chunk stream, full speed, 32 connections", options: &["--stream"], is_stream: true, ..SMALL };

/// Enough streams at once that the accounts, which are kept in hundredths of a second, show them.
pub(crate) const PACED: Scenario = Scenario {
    title: "50-chunk stream, a chunk every 20 ms, 400 connections",
    model: Model::Paced,
    connections: 400,
    full_ms: 2000,
    quick_ms: 1000,
    turns: 1,
    // Streams that began together would send together: a wave every 20 ms.
    options: &["--stream", "--stagger-milliseconds", "1000"],
    is_stream: true,
    awake: false,
};

pub(crate) const LOW: Scenario = Scenario {
    title: "200 requests a second, answered after 20 ms",
    model: Model::Delayed,
    connections: 8,
    full_ms: 1000,
    quick_ms: 1000,
    // Short and often: a neighbour's second is one of many, and hits all of them.
    turns: 3,
    options: &["--rate", "200"],
    ..SMALL
};

pub(crate) const LOW_STREAM: Scenario = Scenario {
    title: "200 streams a second, begun after 20 ms",
    model: Model::Spoken,
    options: &["--rate", "200", "--stream"],
    is_stream: true,
    ..LOW
};

/// Nothing is waited for: whatever a system does for a request is in its caller's way.
pub(crate) const LOW_AT_ONCE: Scenario =
    Scenario { title: "200 requests a second, answered at once", model: Model::Fixed, ..LOW };

/// A virtual core that halts between two requests finds its caches empty; this one does not.
pub(crate) const LOW_AWAKE: Scenario =
    Scenario { title: "200 requests a second, answered at once, cores awake", awake: true, ..LOW_AT_ONCE };

/// Those whose latency counts; it is compared with that of a direct call.
pub(crate) const LATENT: &[Scenario] = &[LOW, LOW_STREAM, LOW_AT_ONCE, LOW_AWAKE];

pub(crate) const SLOW: Scenario = Scenario {
    title: "1,000 slow streams",
    model: Model::Slow,
    connections: 1000,
    options: &["--stream", "--hold"],
    ..STREAM
};

/// What the generator saw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Seen {
    pub(crate) requests: f64,
    pub(crate) events: f64,
    pub(crate) seconds: f64,
    /// To an answer's end, or to a stream's beginning.
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

/// A generator that has connected and waits for the word.
#[derive(Debug)]
pub(crate) struct Load {
    child: Child,
    output: BufReader<ChildStdout>,
    title: &'static str,
}

impl Load {
    /// Returns once it is connected (with `--hold`: once every stream has begun). The generator bounds its own time.
    pub(crate) fn start(
        loadgen: &Path,
        scenario: &Scenario,
        pace: Pace,
        target: SocketAddr,
        model: &str,
        seed: u64,
    ) -> Outcome<Self> {
        let milliseconds = if pace == Pace::Full { scenario.full_ms } else { scenario.quick_ms };
        let numbers = [
            ("--target", target.to_string()),
            ("--model", model.to_owned()),
            ("--connections", scenario.connections.to_string()),
            ("--milliseconds", milliseconds.to_string()),
            ("--seed", seed.to_string()),
        ];
        let mut command = with_many_files(loadgen, &["drive".as_ref()]);
        command.args(numbers.iter().flat_map(|(option, value)| [*option, value])).args(scenario.options);
        Self::connected(command, scenario.title)
    }

    /// Starts a generator and returns once it says that it is ready.
    pub(crate) fn connected(mut command: Command, title: &'static str) -> Outcome<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("the load generator: {error}"))?;
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut load = Self { child, output, title };
        load.answer().and_then(|line| if line == "ready" { Ok(load) } else { Err(format!("not ready: {line}")) })
    }

    /// Says the word and returns what was seen; the connections stay until this is dropped.
    pub(crate) fn go(&mut self) -> Outcome<Seen> {
        self.begin()?;
        let line = self.answer()?;
        Seen::read(&line).ok_or_else(|| format!("{}: the load generator says `{line}`", self.title))
    }

    /// Says the word.
    pub(crate) fn begin(&mut self) -> Outcome {
        let input = self.child.stdin.as_mut().expect("piped");
        writeln!(input).map_err(|error| format!("{}: {error}", self.title))
    }

    /// Waits for what was seen.
    pub(crate) fn answer(&mut self) -> Outcome<String> {
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(|error| format!("{}: {error}", self.title))?;
        if line.is_empty() {
            return Err(format!("{}: the load generator gave up", self.title));
        }
        Ok(line.trim().to_owned())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // The end of its input is the generator's sign to leave.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

impl Seen {
    fn read(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let micros = |name: &str| value[name].as_u64().map(Duration::from_micros);
        let seen = Self {
            requests: value["requests"].as_f64()?,
            events: value["events"].as_f64()?,
            seconds: value["seconds"].as_f64()?,
            p50: micros("p50_us")?,
            p99: micros("p99_us")?,
        };
        (seen.requests > 0.0).then_some(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_generator_is_read() {
        let seen =
            Seen::read(r#"{"requests":200,"events":10200,"seconds":1.5,"p50_us":120,"p99_us":900}"#).expect("a line");
        assert_eq!((seen.requests, seen.events, seen.seconds), (200.0, 10200.0, 1.5));
        assert_eq!((seen.p50, seen.p99), (Duration::from_micros(120), Duration::from_micros(900)));
    }

    #[test]
    fn a_load_without_an_answer_is_no_measurement() {
        assert_eq!(Seen::read(r#"{"requests":0,"events":0,"seconds":1.5,"p50_us":0,"p99_us":0}"#), None);
        assert_eq!(Seen::read("no"), None);
    }
}
