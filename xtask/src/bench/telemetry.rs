//! What telemetry costs: the gateway with it, beside the same gateway with it compiled out.
//!
//! Instructions are counted by callgrind, from a request that finds everything warm to the last. CPU time is taken from the
//! operating system's accounts, in turns of a few seconds.

mod client;

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use self::client::{Ask, Collector, drive};
use super::gateway::Pace;
use super::gateway::accounts::Accounts;
use super::gateway::load::{Load, SMALL};
use super::gateway::running::{Running, free_address};
use crate::setup::{self, Need};
use crate::workspace::{Metadata, Reach};
use crate::{Outcome, process};

/// Requests before it counts, and requests that count.
const WARM_UP: u32 = 200;
const COUNTED: u32 = 2000;

/// Pairs of processes whose CPU time is compared, and the turns of each: two processes of one program differ by more than
/// telemetry costs, by where their memory comes to lie.
const PAIRS: usize = 10;
const TURNS: usize = 4;

/// A way to run the gateway.
struct Variant {
    title: &'static str,
    telemetry: bool,
    /// Further lines of `[observability]`.
    settings: &'static str,
    traced: bool,
}

const VARIANTS: &[Variant] = &[
    Variant { title: "compiled out", telemetry: false, settings: "", traced: false },
    Variant { title: "metrics (the default)", telemetry: true, settings: "", traced: false },
    Variant {
        title: "metrics, traces on, the request not traced",
        telemetry: true,
        settings: "traces_per_second = 0",
        traced: true,
    },
    Variant { title: "metrics, the request traced", telemetry: true, settings: "trace_ratio = 1", traced: true },
    Variant { title: "metrics, a line in the log", telemetry: true, settings: "log_requests = true", traced: false },
];

/// Builds both, measures, reports.
pub(crate) fn run() -> Outcome {
    setup::run(Need::Counts)?;
    let programs = Programs::build()?;
    let upstream =
        Running::start("sim", &programs.scratch, &programs.with, &["sim", "--listen", "127.0.0.1:0"].map(OsStr::new));
    let mut upstream = upstream?;
    let upstream_at = upstream.told_address()?;
    let collector = Collector::start()?;

    println!("\n| | instructions a 1 KB request | | instructions a 50-chunk stream | |\n|---|---:|---:|---:|---:|");
    let mut base = [0; 2];
    for variant in VARIANTS {
        let mut cells = String::new();
        for (at, ask) in [Ask::Whole, Ask::Stream].into_iter().enumerate() {
            let each = programs.counted(variant, upstream_at, collector.addr, ask)? / u64::from(COUNTED);
            if !variant.telemetry {
                base[at] = each;
            }
            let more = 100.0 * (each as f64 / base[at] as f64 - 1.0);
            cells.push_str(&format!(" {each} | {more:+.2} % |"));
        }
        println!("| {} |{cells}", variant.title);
    }

    let ratios = (0..PAIRS).map(|_| programs.paired(upstream_at)).collect::<Outcome<Vec<f64>>>()?;
    let mean = ratios.iter().sum::<f64>() / PAIRS as f64;
    let spread = ratios.iter().map(|ratio| (ratio - mean).powi(2)).sum::<f64>() / (PAIRS - 1) as f64;
    let error = (spread / PAIRS as f64).sqrt();
    println!(
        "\nCPU of a 1 KB request at 32 connections, with metrics : compiled out, mean of {PAIRS} pairs of processes: \
         {mean:.3}× (standard error {error:.3})"
    );
    Ok(())
}

struct Programs {
    with: PathBuf,
    without: PathBuf,
    scratch: PathBuf,
    loadgen: PathBuf,
}

impl Programs {
    fn build() -> Outcome<Self> {
        println!("bench: building in release mode, with telemetry and without");
        let target = Metadata::read(Reach::Members)?.target_directory;
        let scratch = target.join("bench-telemetry");
        std::fs::create_dir_all(&scratch).map_err(|error| format!("{}: {error}", scratch.display()))?;
        let built = |package: &str, program: &str, features: &[&str], name: &str| {
            let arguments = ["build", "--quiet", "--release", "--package", package, "--bin", program];
            process::run(process::cargo(arguments).args(features))?;
            let copy = scratch.join(name);
            let made = target.join("release").join(program);
            std::fs::copy(&made, &copy).map_err(|error| format!("{}: {error}", made.display()))?;
            Ok::<_, String>(copy)
        };
        Ok(Self {
            without: built("llm-server", "llmkit", &["--no-default-features"], "llmkit-without")?,
            with: built("llm-server", "llmkit", &[], "llmkit-with")?,
            loadgen: built("benches", "loadgen", &[], "loadgen")?,
            scratch: scratch.clone(),
        })
    }

    /// The instructions of all requests that count.
    fn counted(&self, variant: &Variant, upstream: SocketAddr, collector: SocketAddr, ask: Ask) -> Outcome<u64> {
        let traces =
            if variant.traced { format!("tracing_endpoint = \"http://{collector}\"\n") } else { String::new() };
        let (address, file) = self.configured(&format!("{traces}{}", variant.settings), upstream)?;
        let program = if variant.telemetry { &self.with } else { &self.without };
        let counts = self.scratch.join("callgrind.out");
        let out = format!("--callgrind-out-file={}", counts.display());
        // One thread to serve: which of several takes a request would be chance.
        let arguments = ["TOKIO_WORKER_THREADS=1", "valgrind", "--tool=callgrind", "--quiet", &out].map(OsStr::new);
        let served = [program.as_os_str(), OsStr::new("serve"), OsStr::new("--config"), file.as_os_str()];
        let arguments: Vec<&OsStr> = arguments.into_iter().chain(served).collect();
        let mut gateway = Running::start("llmkit", &self.scratch, Path::new("env"), &arguments)?;
        gateway.listens_on(address)?;
        let control = |what: &str| {
            let told = process::succeeds(&mut process::program("callgrind_control", [what, &gateway.id().to_string()]));
            if told { Ok(()) } else { Err(format!("callgrind_control {what} has failed")) }
        };
        drive(address, ask, WARM_UP)?;
        control("--zero")?;
        drive(address, ask, COUNTED)?;
        control("--dump")?;
        let counts = self.scratch.join("callgrind.out.1");
        let text = std::fs::read_to_string(&counts).map_err(|error| format!("{}: {error}", counts.display()))?;
        total(&text).ok_or_else(|| format!("{} has no total", counts.display()))
    }

    /// How the CPU time of a request with telemetry relates to that without, in two processes of their own.
    fn paired(&self, upstream: SocketAddr) -> Outcome<f64> {
        let accounts = Accounts::open()?;
        let start = |program: &PathBuf, name: &str| {
            let (address, file) = self.configured("", upstream)?;
            let arguments = [OsStr::new("serve"), OsStr::new("--config"), file.as_os_str()];
            let mut gateway = Running::start(name, &self.scratch, program, &arguments)?;
            gateway.listens_on(address)?;
            Ok::<_, String>((gateway, address))
        };
        let systems = [start(&self.without, "llmkit-without")?, start(&self.with, "llmkit-with")?];
        let mut cost = [0.0; 2];
        for turn in 0..TURNS {
            for place in 0..2 {
                let at = (turn + place) % 2;
                let (gateway, address) = &systems[at];
                let seed = ((2 * turn + place) as u64) << 48;
                let mut load = Load::start(&self.loadgen, &SMALL, Pace::Full, *address, "fixed", seed)?;
                let before = accounts.cpu(gateway.id())?;
                let seen = load.go()?;
                cost[at] += (accounts.cpu(gateway.id())? - before).as_secs_f64() / seen.requests;
            }
        }
        Ok(cost[1] / cost[0])
    }

    fn configured(&self, observability: &str, upstream: SocketAddr) -> Outcome<(SocketAddr, PathBuf)> {
        let address = free_address()?;
        let file = self.scratch.join(format!("llmkit-{}.toml", address.port()));
        let text = format!(
            "\
[server]
listen = \"{address}\"
api_keys = [\"bench\"]

[[providers]]
name = \"upstream\"
kind = \"openai_compatible\"
base_url = \"http://{upstream}/v1\"
api_key = \"bench\"

[[models]]
name = \"fixed\"
targets = [{{ provider = \"upstream\", model = \"sim?fixed&tokens=50\", price = {{ input = \"1\", output = \"2\" }} }}]

[rate_limits]
requests_per_second = 1000000
burst_capacity = 1000000

[observability]
{observability}
"
        );
        std::fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok((address, file))
    }
}

/// The instructions that a profile adds up to.
pub(super) fn total(profile: &str) -> Option<u64> {
    profile
        .lines()
        .find_map(|line| line.strip_prefix("summary: ").or(line.strip_prefix("totals: ")))?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profiles_total_is_read() {
        assert_eq!(total("version: 1\nsummary: 12345\nfn=x\n"), Some(12345));
        assert_eq!(total("events: Ir\ntotals: 7\n"), Some(7));
        assert_eq!(total("events: Ir\n"), None);
    }
}
