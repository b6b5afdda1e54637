//! Fuzzing with libFuzzer on the stable toolchain.
//!
//! `cargo fuzz` wants nightly for its sanitizers. The workspace forbids `unsafe`, so what is looked for here is a panic, an
//! overflow or a failed assertion, and for these the coverage instrumentation that stable LLVM has is enough.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::workspace::{Metadata, Reach};
use crate::{Outcome, process};

pub(crate) const MANIFEST: &str = "fuzz/Cargo.toml";

const SECONDS: u32 = 60;

/// What libFuzzer reads: edges as eight-bit counters with their addresses, and the operands of comparisons.
const INSTRUMENTATION: &[&str] = &[
    "--cfg",
    "fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
];

/// How long each target runs when everything is checked.
const SECONDS_OF_A_CHECK: u32 = 30;

/// Where the inputs of a check begin: a tree that passed finds the same inputs again. Other runs search anew each time.
const SEED_OF_A_CHECK: &str = "-seed=1";

/// Builds all targets, then runs each, or those named.
pub(crate) fn run(words: &[&str]) -> Outcome {
    let request = Request::read(words)?;
    let targets = request.of(&targets()?)?;
    let programs = build()?;
    for (number, target) in targets.iter().enumerate() {
        println!("fuzz: {target} ({} of {}) for {} s", number + 1, targets.len(), request.seconds);
        ended(target, process::run(&mut fuzzer(&programs, target, request.seconds)?))?;
    }
    Ok(())
}

/// Runs each target for half a minute, as many at once as there are cores. What a target says is shown when it has
/// found something.
pub(crate) fn check() -> Outcome {
    let (targets, programs) = (targets()?, build()?);
    let next = AtomicUsize::new(0);
    let runner = || {
        let mut found = Vec::new();
        // Relaxed: the number alone is shared.
        while let Some(target) = targets.get(next.fetch_add(1, Relaxed)) {
            println!("fuzz: {target} for {SECONDS_OF_A_CHECK} s");
            let fuzzer = fuzzer(&programs, target, SECONDS_OF_A_CHECK);
            let outcome = fuzzer.and_then(|mut fuzzer| quiet(fuzzer.arg(SEED_OF_A_CHECK)));
            found.extend(ended(target, outcome).err());
        }
        found
    };
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let found: Vec<String> = std::thread::scope(|threads| {
        let runners: Vec<_> = (0..cores).map(|_| threads.spawn(runner)).collect();
        runners.into_iter().flat_map(|runner| runner.join().expect("a runner does not panic")).collect()
    });
    if found.is_empty() { Ok(()) } else { Err(found.join("\n")) }
}

fn quiet(fuzzer: &mut Command) -> Outcome {
    let output = fuzzer.output().map_err(|error| format!("cannot start it: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{said}\n  it failed ({})", output.status))
}

/// The programs that `fuzz/Cargo.toml` lists.
pub(crate) fn targets() -> Outcome<Vec<String>> {
    let metadata = Metadata::of(&["--manifest-path", MANIFEST], Reach::Members)?;
    let names: Vec<String> =
        metadata.members().flat_map(|package| package.targets_of("bin")).map(str::to_owned).collect();
    if names.is_empty() { Err(format!("fuzz: {MANIFEST} lists no target")) } else { Ok(names) }
}

#[derive(Debug, PartialEq, Eq)]
struct Request<'a> {
    seconds: u32,
    /// None named means all.
    names: Vec<&'a str>,
}

impl<'a> Request<'a> {
    fn read(words: &[&'a str]) -> Outcome<Self> {
        let mut request = Self { seconds: SECONDS, names: Vec::new() };
        let mut words = words.iter();
        while let Some(&word) = words.next() {
            if word == "--seconds" {
                let number = words.next().and_then(|number| number.parse().ok()).filter(|&seconds| seconds > 0);
                request.seconds = number.ok_or("fuzz: --seconds takes a whole number above 0")?;
            } else if word.starts_with('-') {
                return Err(format!("fuzz: no such option: {word}"));
            } else {
                request.names.push(word);
            }
        }
        Ok(request)
    }

    fn of(&self, targets: &[String]) -> Outcome<Vec<String>> {
        if let Some(unknown) = self.names.iter().find(|name| !targets.iter().any(|target| target == *name)) {
            return Err(format!("fuzz: no target `{unknown}`; there are {}", targets.join(", ")));
        }
        let is_asked = |target: &&String| self.names.is_empty() || self.names.contains(&target.as_str());
        Ok(targets.iter().filter(is_asked).cloned().collect())
    }
}

/// Returns the folder of the programs.
fn build() -> Outcome<PathBuf> {
    if process::find("c++").is_none() {
        return Err("fuzz: libFuzzer is C++ and there is no `c++`; Debian's package is g++".to_owned());
    }
    let host = process::host()?;
    let target = Metadata::read(Reach::Members)?.target_directory.join("fuzz");
    println!("fuzz: building the targets");
    process::run(
        process::cargo(["build", "--quiet", "--release", "--bins", "--manifest-path", MANIFEST, "--target-dir"])
            .arg(&target)
            // With a target named, the flags leave build scripts and macros alone.
            .args(["--target", &host])
            .env("RUSTFLAGS", INSTRUMENTATION.join(" ")),
    )?;
    Ok(target.join(host).join("release"))
}

fn fuzzer(programs: &Path, target: &str, seconds: u32) -> Outcome<Command> {
    let folder = process::root().join("fuzz");
    let corpus = folder.join("corpus").join(target);
    let artifacts = artifacts(target);
    for made in [&corpus, &artifacts] {
        std::fs::create_dir_all(made).map_err(|error| format!("{}: {error}", made.display()))?;
    }
    let mut command = process::program(programs.join(target), [format!("-max_total_time={seconds}")]);
    command.args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1", "-verbosity=0"]);
    // What was found before is tried first: a run fails until it is mended.
    command.arg(format!("-artifact_prefix={}/", artifacts.display())).arg(&corpus).arg(&artifacts);
    let seeds = folder.join("seeds").join(target);
    if seeds.is_dir() {
        command.arg(seeds);
    }
    Ok(command)
}

/// Where the inputs are kept that a target found.
fn artifacts(target: &str) -> PathBuf {
    process::root().join("fuzz/artifacts").join(target)
}

fn ended(target: &str, outcome: Outcome) -> Outcome {
    outcome.map_err(|why| format!("fuzz: {target} found an input, kept in {}\n  {why}", artifacts(target).display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_a_time_and_names() {
        assert_eq!(Request::read(&[]), Ok(Request { seconds: SECONDS, names: vec![] }));
        assert_eq!(Request::read(&["a", "--seconds", "5", "b"]), Ok(Request { seconds: 5, names: vec!["a", "b"] }));
    }

    #[test]
    fn a_time_that_is_no_number_and_an_unknown_option_are_refused() {
        for words in [&["--seconds"][..], &["--seconds", "x"], &["--seconds", "0"], &["--jobs"]] {
            assert!(Request::read(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn no_name_asks_for_all_and_an_unknown_name_for_an_error() {
        let all = ["a".to_owned(), "b".to_owned()];
        assert_eq!(Request { seconds: 1, names: vec![] }.of(&all), Ok(all.to_vec()));
        assert_eq!(Request { seconds: 1, names: vec!["b"] }.of(&all), Ok(vec!["b".to_owned()]));
        assert!(Request { seconds: 1, names: vec!["c"] }.of(&all).is_err());
    }
}
