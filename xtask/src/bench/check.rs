//! The instructions of the hot paths beside those on record, so that what makes one dearer is seen at once.
//!
//! Unlike time, a count is the same on a busy machine. It depends on the compiler and on what the processor offers, so
//! the record names both.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::telemetry::total;
use crate::setup::{self, Need};
use crate::workspace::{Metadata, Reach, executables};
use crate::{Outcome, process};

/// What to do with the counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// Fail where one has grown.
    Compare,
    /// Put them on record.
    Bless,
}

/// Where they are on record.
const RECORD: &str = "benches/instructions.toml";

/// What a count may grow by, in percent.
const TOLERANCE: u64 = 5;

/// What callgrind counts: the function of `benches/benches/counts.rs` that does the work.
const COUNTED: &str = "counts::repeated";

/// Counts, then compares or records.
pub(crate) fn run(act: Act) -> Outcome {
    setup::run(Need::Counts)?;
    let counts = counted()?;
    let file = process::root().join(RECORD);
    let at = |error: std::io::Error| format!("{RECORD}: {error}");
    if act == Act::Bless {
        std::fs::write(&file, Record { made_by: made_by()?, counts }.to_string()).map_err(at)?;
        println!("bench: {RECORD} is written");
        return Ok(());
    }
    let record = Record::read(&std::fs::read_to_string(&file).map_err(at)?)?;
    let here = made_by()?;
    if record.made_by != here {
        let then = &record.made_by;
        return Err(format!("{RECORD} was made by {then}, and this is {here}: `cargo xtask bench check --bless`"));
    }
    let (table, complaints) = record.beside(&counts);
    println!("\n{table}");
    if complaints.is_empty() {
        return Ok(());
    }
    Err(format!(
        "\n  {}\n  what is meant to cost that: `cargo xtask bench check --bless`, and commit {RECORD}",
        complaints.join("\n  ")
    ))
}

/// Each row's instructions, in the order in which the program does them.
fn counted() -> Outcome<Vec<(String, u64)>> {
    println!("bench: building in release mode");
    let build = ["bench", "--quiet", "--no-run", "--package", "benches", "--bench", "counts"];
    let messages = process::output(process::cargo(build).args(["--message-format", "json-render-diagnostics"]))?;
    let program = executables(&messages, "bench").pop().ok_or("cargo names no program `counts`")?;
    let folder = Metadata::read(Reach::Members)?.target_directory.join("bench-check");
    let at = |error: std::io::Error| format!("{}: {error}", folder.display());
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(at)?;
    }
    std::fs::create_dir_all(&folder).map_err(at)?;
    let profiles = folder.join("profile");
    println!("bench: counting");
    let mut callgrind = process::program("valgrind", ["--tool=callgrind", "--quiet", "--dump-instr=no"]);
    callgrind.arg(format!("--callgrind-out-file={}", profiles.display()));
    callgrind.args([format!("--toggle-collect={COUNTED}"), format!("--dump-after={COUNTED}")]).arg(program);
    let told = process::output(&mut callgrind)?;
    told.lines().enumerate().map(|(at, line)| row(line, &numbered(&profiles, at + 1))).collect()
}

fn numbered(profiles: &Path, number: usize) -> PathBuf {
    profiles.with_added_extension(number.to_string())
}

/// Reads what the program says of a row, and what callgrind counted of it.
fn row(line: &str, profile: &Path) -> Outcome<(String, u64)> {
    let told = line.split_once('\t').and_then(|(times, what)| Some((times.parse::<u64>().ok()?, what)));
    let (times, what) = told.ok_or_else(|| format!("the counted program says `{line}`"))?;
    let text = std::fs::read_to_string(profile).map_err(|error| format!("{}: {error}", profile.display()))?;
    match total(&text) {
        Some(all) if all > 0 => Ok((what.to_owned(), all / times)),
        _ => Err(format!("{what}: callgrind has counted nothing")),
    }
}

/// The compiler and the processor's extensions that code looks for when it runs.
fn made_by() -> Outcome<String> {
    let told = process::output(&mut process::program("rustc", ["-vV"]))?;
    let of = |name: &str| told.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("?").to_owned();
    let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has_avx2 = flags.lines().any(|line| line.starts_with("flags") && line.split(' ').any(|flag| flag == "avx2"));
    let extensions = if has_avx2 { " with AVX2" } else { "" };
    Ok(format!("Rust {} for {}{extensions}", of("release: "), of("host: ")))
}

/// What is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    made_by: String,
    counts: Vec<(String, u64)>,
}

impl Record {
    fn read(text: &str) -> Outcome<Self> {
        let table: toml::Table = text.parse().map_err(|error| format!("{RECORD}: {error}"))?;
        let of = |name: &str| table.get(name).ok_or_else(|| format!("{RECORD} has no `{name}`"));
        let counts = of("instructions")?.as_table().into_iter().flatten();
        let counts = counts.map(|(what, count)| {
            let count = count.as_integer().and_then(|count| u64::try_from(count).ok());
            Ok((what.clone(), count.ok_or_else(|| format!("{RECORD}: `{what}` is no count"))?))
        });
        let counts = counts.collect::<Outcome<_>>()?;
        Ok(Self { made_by: of("made_by")?.as_str().unwrap_or_default().to_owned(), counts })
    }

    /// A table of both, and what to complain about.
    fn beside(&self, counts: &[(String, u64)]) -> (String, Vec<String>) {
        let mut table = "| instructions | on record | here | change |\n|---|---:|---:|---:|\n".to_owned();
        let mut complaints = Vec::new();
        let mut known: BTreeMap<&str, u64> = self.counts.iter().map(|(what, count)| (what.as_str(), *count)).collect();
        for (what, here) in counts {
            let Some(then) = known.remove(what.as_str()) else {
                complaints.push(format!("{what}: not on record"));
                continue;
            };
            let change = 100.0 * (*here as f64 / then as f64 - 1.0);
            // Writing to a string does not fail.
            let _ = writeln!(table, "| {what} | {then} | {here} | {change:+.1} % |");
            if here * 100 > then * (100 + TOLERANCE) {
                complaints.push(format!("{what}: {here} instructions, {then} on record ({change:+.1} %)"));
            }
        }
        complaints.extend(known.keys().map(|what| format!("{what}: on record, and not counted")));
        (table, complaints)
    }
}

impl std::fmt::Display for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { made_by, counts } = self;
        writeln!(f, "# Instructions each time, counted by callgrind. Made by `cargo xtask bench check --bless`.")?;
        writeln!(f, "made_by = {}\n\n[instructions]", Value::from(made_by.as_str()))?;
        counts.iter().try_for_each(|(what, count)| writeln!(f, "{} = {count}", Value::from(what.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let counts = [("a: first", 100), ("b", 2000)].map(|(what, count)| (what.to_owned(), count)).to_vec();
        Record { made_by: "Rust 1 for x".to_owned(), counts }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        assert_eq!(Record::read(&record().to_string()), Ok(record()));
    }

    #[test]
    fn more_than_the_tolerance_is_a_complaint_and_less_is_none() {
        let here = |a, b| vec![("a: first".to_owned(), a), ("b".to_owned(), b)];
        let (table, complaints) = record().beside(&here(105, 500));
        assert_eq!(complaints, Vec::<String>::new());
        assert!(table.contains("| b | 2000 | 500 | -75.0 % |"), "{table}");
        let (_, complaints) = record().beside(&here(106, 2000));
        assert_eq!(complaints, ["a: first: 106 instructions, 100 on record (+6.0 %)"]);
    }

    #[test]
    fn a_row_that_one_side_does_not_have_is_a_complaint() {
        let (_, complaints) = record().beside(&[("a: first".to_owned(), 100), ("c".to_owned(), 1)]);
        assert_eq!(complaints, ["c: not on record", "b: on record, and not counted"]);
    }
}
