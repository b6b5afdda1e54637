//! The gateway beside nginx and the bare floor, driven in turn with the same load.
//!
//! What counts is the CPU time of a system per request, from the operating system's accounts. The load generator and the upstream
//! share the machine with the system under test, so requests per second say more about the machine than about the system.

pub(super) mod accounts;
pub(super) mod dist;
pub(super) mod flame;
pub(super) mod load;
mod report;
pub(super) mod running;
pub(super) mod soak;
mod systems;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::setup::{self, Need};
use crate::stopwatch::{Stopwatch, wait_for};
use crate::workspace::{Metadata, Reach};
use crate::{Outcome, process};

use accounts::Accounts;
use load::{LARGE, LATENT, LOW, LOW_AT_ONCE, LOW_AWAKE, LOW_STREAM, Load, PACED, SLOW, SMALL, STREAM, Scenario};
use report::{Report, Sample};
use running::Running;
use systems::{Programs, System};

/// How long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// About eight minutes.
    Full,
    /// About a minute, for a first look.
    Quick,
}

/// What is asked of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice<'a> {
    pub(crate) pace: Pace,
    /// Only the loads whose title has this in it.
    pub(crate) only: Option<&'a str>,
    /// The gateway as it is shipped, not as `cargo build --release` makes it.
    pub(crate) shipped: bool,
}

impl<'a> Choice<'a> {
    /// Reads `--dist`, `--quick` and `--only TEXT`.
    pub(crate) fn read(words: &[&'a str]) -> Outcome<Self> {
        let mut choice = Self { pace: Pace::Full, only: None, shipped: false };
        let mut words = words.iter();
        while let Some(&word) = words.next() {
            match word {
                "--dist" => choice.shipped = true,
                "--quick" => choice.pace = Pace::Quick,
                "--only" => choice.only = Some(words.next().ok_or("`bench gateway --only` takes a part of a title")?),
                other => return Err(format!("`bench gateway` does not know `{other}`")),
            }
        }
        let titles = SCENARIOS.iter().map(|scenario| scenario.title).chain([SLOW.title]);
        if titles.clone().any(|title| choice.takes(title)) {
            return Ok(choice);
        }
        Err(format!("`bench gateway --only`: the titles are\n  {}", titles.collect::<Vec<_>>().join("\n  ")))
    }

    fn takes(self, title: &str) -> bool {
        self.only.is_none_or(|only| title.contains(only))
    }
}

/// What each round drives at each system.
const SCENARIOS: &[Scenario] = &[SMALL, LARGE, STREAM, PACED, LOW, LOW_STREAM, LOW_AT_ONCE, LOW_AWAKE];

/// Connections have been accepted, and idle memory has been reached, after this.
const SETTLED: Duration = Duration::from_millis(100);

/// Builds, starts, drives, reports, and ends what it started.
pub(crate) fn run(choice: Choice<'_>) -> Outcome {
    setup::run(Need::Bench)?;
    let mut programs = build()?;
    if choice.shipped {
        programs.llmkit = dist::shipped(&programs.scratch);
        if !programs.llmkit.exists() {
            return Err("there is no shipped gateway: `cargo xtask dist` makes it".to_owned());
        }
    }
    let watch = Stopwatch::start();
    let accounts = Accounts::open()?;
    let upstream = systems::upstream(&programs)?;
    let systems = [
        systems::nginx(&programs, upstream.address)?,
        systems::floor(&programs, upstream.address)?,
        systems::gateway(&programs, upstream.address)?,
        systems::translating(&programs, upstream.address)?,
    ];
    let bench = Bench { programs, accounts, choice, seed: 0 };
    let report = bench.measure(upstream.address, &systems)?;
    drop(systems);
    drop(upstream);
    println!("\n{report}\nMeasured in {:.0} s.", watch.elapsed().as_secs_f64());
    Ok(())
}

fn build() -> Outcome<Programs> {
    println!("bench: building in release mode");
    // One at a time: together, the generator's features would become the gateway's.
    for (package, program) in [("llm-server", "llmkit"), ("benches", "loadgen")] {
        process::run(&mut process::cargo(["build", "--quiet", "--release", "--package", package, "--bin", program]))?;
    }
    let target = Metadata::read(Reach::Members)?.target_directory;
    let scratch: PathBuf = target.join("bench-gateway");
    std::fs::create_dir_all(&scratch).map_err(|error| format!("{}: {error}", scratch.display()))?;
    Ok(Programs { llmkit: target.join("release/llmkit"), loadgen: target.join("release/loadgen"), scratch })
}

struct Bench<'a> {
    programs: Programs,
    accounts: Accounts,
    choice: Choice<'a>,
    seed: u64,
}

impl Bench<'_> {
    fn measure(mut self, upstream: SocketAddr, systems: &[System]) -> Outcome<Report> {
        let mut report = Report::new(systems);
        for (at, system) in systems.iter().enumerate() {
            println!("bench: memory of {}", system.name);
            self.warm_up(system)?;
            report.idle_bytes[at] = self.accounts.memory(system.process.id())?;
            if self.choice.takes(SLOW.title) {
                report.stream_bytes[at] = self.memory_of_a_stream(system)?;
            }
        }
        let choice = self.choice;
        let driven: Vec<&Scenario> = SCENARIOS.iter().filter(|scenario| choice.takes(scenario.title)).collect();
        let rounds = if choice.pace == Pace::Full { 5 } else { 2 };
        for round in 0..rounds {
            println!("bench: round {} of {rounds}", round + 1);
            for scenario in &driven {
                for turn in 0..scenario.turns {
                    // Another one begins each time, so that a drift of the machine hits all alike.
                    for place in 0..systems.len() {
                        let at = (round + turn + place) % systems.len();
                        let sample = self.sample(scenario, &systems[at])?;
                        report.note(scenario, at, sample);
                    }
                    if LATENT.contains(scenario) {
                        let _wakers = self.wakers(scenario)?;
                        let direct = self.load(scenario, upstream, systems::upstream_model(scenario.model))?.go()?;
                        report.note_direct(scenario, direct);
                    }
                }
            }
        }
        Ok(report)
    }

    fn warm_up(&mut self, system: &System) -> Outcome {
        let brief = Scenario { full_ms: 300, quick_ms: 300, ..SMALL };
        self.load(&brief, system.address, (system.model)(brief.model))?.go().map(drop)
    }

    fn sample(&mut self, scenario: &Scenario, system: &System) -> Outcome<Sample> {
        let _wakers = self.wakers(scenario)?;
        let mut load = self.load(scenario, system.address, (system.model)(scenario.model))?;
        settle();
        let before = self.accounts.cpu(system.process.id())?;
        let seen = load.go()?;
        let cpu = self.accounts.cpu(system.process.id())?.saturating_sub(before);
        Ok(Sample { cpu, seen })
    }

    fn wakers(&self, scenario: &Scenario) -> Outcome<Vec<Running>> {
        running::wakers(&self.programs.scratch, if scenario.awake { systems::cores() } else { 0 })
    }

    fn memory_of_a_stream(&mut self, system: &System) -> Outcome<u64> {
        let before = self.accounts.memory(system.process.id())?;
        let held = self.load(&SLOW, system.address, (system.model)(SLOW.model))?;
        settle();
        let grown = self.accounts.memory(system.process.id())?.saturating_sub(before);
        drop(held);
        Ok(grown / u64::from(SLOW.connections))
    }

    /// Each load has prompts of its own: an answer that is kept or shared would be no work.
    fn load(&mut self, scenario: &Scenario, target: SocketAddr, model: String) -> Outcome<Load> {
        self.seed += 1 << 48;
        Load::start(&self.programs.loadgen, scenario, self.choice.pace, target, &model, self.seed)
    }
}

fn settle() {
    let _: Option<()> = wait_for(SETTLED, || None);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_chosen_by_a_part_of_its_title() {
        let choice = Choice::read(&["--only", "32 KB", "--quick"]).expect("a title has it");
        assert_eq!((choice.pace, choice.shipped), (Pace::Quick, false));
        assert!(choice.takes(LARGE.title) && !choice.takes(SMALL.title));
        assert!(Choice::read(&[]).expect("all").takes(LOW.title));
    }

    #[test]
    fn what_no_title_has_and_what_is_no_option_are_refused() {
        for words in [&["--only", "33 KB"][..], &["--only"], &["--fast"]] {
            assert!(Choice::read(words).is_err(), "{words:?}");
        }
    }
}
