//! What the operating system has on record for a process and those it started.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::{Outcome, process};

/// Reads `/proc`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accounts {
    ticks_per_second: u32,
}

impl Accounts {
    pub(crate) fn open() -> Outcome<Self> {
        if !Path::new("/proc/self/smaps_rollup").exists() {
            return Err("the accounts are read from /proc, which this system does not have".to_owned());
        }
        let told = process::output(&mut process::program("getconf", ["CLK_TCK"]))?;
        let ticks_per_second = told.trim().parse().map_err(|_| format!("getconf CLK_TCK says `{told}`"))?;
        Ok(Self { ticks_per_second })
    }

    /// Time spent running, in user and kernel mode, by the process and its children.
    pub(crate) fn cpu(&self, id: u32) -> Outcome<Duration> {
        let all = processes()?;
        let ticks: u64 = family(&all, id).iter().filter_map(|id| all.get(id)).map(|process| process.ticks).sum();
        Ok(Duration::from_secs_f64(ticks as f64 / f64::from(self.ticks_per_second)))
    }

    /// Bytes in memory, those shared with others divided among them, of the process and its children.
    pub(crate) fn memory(&self, id: u32) -> Outcome<u64> {
        let mut bytes = 0;
        for id in family(&processes()?, id) {
            let file = format!("/proc/{id}/smaps_rollup");
            let text = std::fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
            bytes += proportional_bytes(&text).ok_or_else(|| format!("{file} names no Pss"))?;
        }
        Ok(bytes)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    parent: u32,
    ticks: u64,
}

fn processes() -> Outcome<BTreeMap<u32, Process>> {
    let entries = std::fs::read_dir("/proc").map_err(|error| format!("/proc: {error}"))?;
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    // One that ends while this runs is left out.
    Ok(ids.filter_map(|id| Some((id, stat(&std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?)?))).collect())
}

/// Reads `/proc/ID/stat`: `id (name) state parent …`, time in user mode the 14th field and in kernel mode the 15th.
fn stat(text: &str) -> Option<Process> {
    // The name may hold blanks and brackets.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Process { parent: u32::try_from(number(4)?).ok()?, ticks: number(14)? + number(15)? })
}

/// The process and all below it.
fn family(all: &BTreeMap<u32, Process>, id: u32) -> Vec<u32> {
    let mut members = vec![id];
    let mut at = 0;
    while let Some(&parent) = members.get(at) {
        members.extend(all.iter().filter(|(_, process)| process.parent == parent).map(|(&id, _)| id));
        at += 1;
    }
    members
}

fn proportional_bytes(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_whatever_the_name_is() {
        let text = "42 (a) b (c) S 7 42 42 0 -1 4194560 100 0 0 0 25 17 3 4 20 0 1 0 12345 1000 10";
        assert_eq!(stat(text), Some(Process { parent: 7, ticks: 42 }));
        assert_eq!(stat("42"), None);
    }

    #[test]
    fn a_family_is_the_process_with_children_and_grandchildren() {
        let process = |parent| Process { parent, ticks: 1 };
        let all = BTreeMap::from([
            (1, process(0)),
            (2, process(1)),
            (3, process(2)),
            (4, process(2)),
            (5, process(4)),
            (6, process(1)),
        ]);
        assert_eq!(family(&all, 2), [2, 3, 4, 5]);
    }

    #[test]
    fn shared_memory_is_counted_in_proportion() {
        let text = "55d0-7ffe ---p 00000000 00:00 0 [rollup]\nRss:            9000 kB\nPss:            1234 kB\nPss_Anon:  1 kB\n";
        assert_eq!(proportional_bytes(text), Some(1234 * 1024));
    }
}
