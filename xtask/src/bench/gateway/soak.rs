//! Mixed load for a long time, and what becomes of the gateway's memory.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::accounts::Accounts;
use super::load::Load;
use super::running::{Running, free_address};
use super::systems::{self, Programs};
use crate::stopwatch::{Stopwatch, wait_for};
use crate::{Outcome, process};

/// Minutes, where none are named.
pub(crate) const MINUTES: u32 = 10;

/// How many parts the time is told in.
const PARTS: usize = 10;

/// What memory may grow by from the first part of the second half to the last, in percent.
const PLATEAU: f64 = 5.0;

const CONNECTIONS: &str = "32";
const BETWEEN_SAMPLES: Duration = Duration::from_secs(2);

/// Builds, starts, drives for so many minutes, reports.
///
/// # Errors
/// Where memory has no plateau, an answer is not what was asked for, or a program does not start.
pub(crate) fn run(minutes: u32) -> Outcome {
    let programs = super::build()?;
    let accounts = Accounts::open()?;
    let upstream = systems::upstream(&programs)?;
    let time = Duration::from_secs(60) * minutes;
    let (gateway, mut load) = start(&programs, upstream.address, time)?;
    let (idle, watch) = (accounts.memory(gateway.id())?, Stopwatch::start());
    load.begin()?;
    println!("bench: {minutes} minutes of mixed load");
    let mut parts = vec![Vec::new(); PARTS];
    while watch.elapsed() < time {
        let _: Option<()> = wait_for(BETWEEN_SAMPLES, || None);
        let part = (watch.elapsed().as_secs_f64() / time.as_secs_f64() * PARTS as f64) as usize;
        parts[part.min(PARTS - 1)].push(accounts.memory(gateway.id())?);
    }
    let answered = load.answer()?;
    let answered =
        serde_json::from_str(&answered).map_err(|error| format!("the load generator says {answered}: {error}"))?;
    let soaked = Soaked { minutes, idle, parts, answered };
    println!("\n{soaked}");
    match soaked.growth() {
        Some(growth) if growth <= PLATEAU => Ok(()),
        _ => Err("memory has no plateau".to_owned()),
    }
}

/// A gateway, and its mixed load for so long, which waits for the word.
pub(super) fn start(programs: &Programs, upstream: SocketAddr, time: Duration) -> Outcome<(Running, Load)> {
    let address = free_address()?;
    let file = programs.scratch.join("soak.toml");
    std::fs::write(&file, configuration(address, upstream)).map_err(|error| format!("{}: {error}", file.display()))?;
    let arguments = [OsStr::new("serve"), OsStr::new("--config"), file.as_os_str()];
    let mut gateway = Running::start("soak", &programs.scratch, &programs.llmkit, &arguments)?;
    gateway.listens_on(address)?;
    let mut command = process::program(&programs.loadgen, ["soak", "--connections", CONNECTIONS]);
    command.args(["--target", &address.to_string(), "--milliseconds", &time.as_millis().to_string()]);
    Ok((gateway, Load::connected(command, "soak")?))
}

/// Eight tenants, limits by user and by tenant, an upstream that answers and one that fails.
fn configuration(address: SocketAddr, upstream: SocketAddr) -> String {
    let keys: Vec<String> =
        (0..8).map(|number| format!("{{ key = \"key-{number}\", tenant = \"tenant-{number}\" }}")).collect();
    format!(
        "\
[server]
listen = \"{address}\"
api_keys = [{}]

[[providers]]
name = \"upstream\"
kind = \"openai_compatible\"
base_url = \"http://{upstream}/v1\"
api_key = \"bench\"

[[models]]
name = \"fixed\"
targets = [{{ provider = \"upstream\", model = \"sim?fixed&tokens=50\" }}]

[[models]]
name = \"paced\"
targets = [{{ provider = \"upstream\", model = \"sim?fixed&tokens=50&gap=20ms\" }}]

[[models]]
name = \"failing\"
targets = [{{ provider = \"upstream\", model = \"sim?status=500\" }}]

[rate_limits]
requests_per_second = 150
burst_capacity = 150

[[limits]]
level = \"user\"
name = \"*\"
requests = {{ rate = 10, per = \"1s\" }}
",
        keys.join(", ")
    )
}

/// What a soak has shown.
#[derive(Debug)]
struct Soaked {
    minutes: u32,
    /// Bytes before the load.
    idle: u64,
    /// Bytes at each look, by part of the time.
    parts: Vec<Vec<u64>>,
    /// Answers by status; 0 for callers who left.
    answered: BTreeMap<String, u64>,
}

impl Soaked {
    /// By how many percent memory grew over the second half.
    fn growth(&self) -> Option<f64> {
        let (before, after) = (middle(&self.parts[self.parts.len() / 2])?, middle(self.parts.last()?)?);
        Some(100.0 * (after as f64 / before as f64 - 1.0))
    }
}

impl fmt::Display for Soaked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let of_a_part = f64::from(self.minutes) / self.parts.len() as f64;
        writeln!(f, "| minutes | memory, MB |\n|---:|---:|\n| 0 | {:.1} |", megabytes(self.idle))?;
        for (at, part) in self.parts.iter().enumerate() {
            let until = of_a_part * (at + 1) as f64;
            match middle(part) {
                Some(bytes) => writeln!(f, "| {until:.1} | {:.1} |", megabytes(bytes))?,
                None => writeln!(f, "| {until:.1} | |")?,
            }
        }
        let asked: u64 = self.answered.values().sum();
        write!(f, "\n{asked} requests:")?;
        for (status, count) in &self.answered {
            match status.as_str() {
                "0" => write!(f, " {count} callers left in midst of a stream;")?,
                _ => write!(f, " {count} answers of {status};")?,
            }
        }
        let growth = self.growth().unwrap_or(f64::NAN);
        write!(f, "\nMemory changed by {growth:+.1} % over the second half; up to {PLATEAU} % is a plateau.")
    }
}

fn middle(bytes: &[u64]) -> Option<u64> {
    let mut bytes = bytes.to_vec();
    bytes.sort_unstable();
    bytes.get(bytes.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soaked(megabytes: [u64; 4]) -> Soaked {
        let parts = megabytes.map(|each| vec![(each - 1) << 20, each << 20, (each + 9) << 20]);
        let answered = [("0", 3), ("200", 90)].map(|(status, count)| (status.to_owned(), count));
        Soaked { minutes: 10, idle: 20 << 20, parts: parts.to_vec(), answered: answered.into() }
    }

    #[test]
    fn growth_is_told_of_the_second_half_alone() {
        assert_eq!(soaked([10, 20, 40, 42]).growth().map(f64::round), Some(5.0));
        assert_eq!(soaked([40, 40, 50, 100]).growth(), Some(100.0));
    }

    #[test]
    fn the_table_has_a_row_a_part_and_says_what_was_answered() {
        let text = soaked([10, 20, 40, 42]).to_string();
        for line in ["| 0 | 20.0 |", "| 7.5 | 40.0 |", "| 10.0 | 42.0 |", "93 requests:", "+5.0 % over the second half"]
        {
            assert!(text.contains(line), "{line}: {text}");
        }
    }

    #[test]
    fn the_configuration_is_whole() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let table: toml::Table = configuration(at(1), at(2)).parse().expect("toml");
        assert_eq!(table["server"]["api_keys"].as_array().map(Vec::len), Some(8));
        assert_eq!(table["models"].as_array().map(Vec::len), Some(3));
    }
}
