//! Each feature alone and every pair of features compiles, for each crate on its own.

use crate::workspace::{Metadata, OUTSIDE, Package, Reach};
use crate::{Outcome, process};

/// Up to this many features of a crate, every subset is checked.
const POWERSET_UP_TO: usize = 3;

/// Checks every crate's combinations. Clippy, for it alone makes a warning an error without building the dependencies anew.
pub(crate) fn run() -> Outcome {
    let metadata = Metadata::read(Reach::Members)?;
    let crates: Vec<&Package> = metadata
        .members()
        .filter(|package| {
            !OUTSIDE.contains(&package.name.as_str()) && package.features.keys().any(|name| name != "default")
        })
        .collect();
    for package in crates {
        let names: Vec<&str> = package.features.keys().map(String::as_str).filter(|name| *name != "default").collect();
        let combinations = combinations(&names);
        println!("features: {} in {} combinations", package.name, combinations.len());
        for features in combinations {
            process::run(&mut process::cargo([
                "clippy",
                "--quiet",
                "--package",
                &package.name,
                "--no-default-features",
                "--features",
                &features.join(","),
                "--",
                "-D",
                "warnings",
            ]))?;
        }
    }
    Ok(())
}

/// No feature, each alone, every pair; every subset where the features are few.
fn combinations<'a>(names: &[&'a str]) -> Vec<Vec<&'a str>> {
    let largest = if names.len() <= POWERSET_UP_TO { names.len() } else { 2 };
    let mut all = vec![Vec::new()];
    let mut last = all.clone();
    for _ in 0..largest {
        // Each combination grows only by names after its last one, so none is made twice.
        last = last
            .iter()
            .flat_map(|combination: &Vec<&str>| {
                let from = combination
                    .last()
                    .map_or(0, |name| names.iter().position(|one| one == name).map_or(0, |at| at + 1));
                names[from..].iter().map(|name| [combination.as_slice(), &[*name]].concat())
            })
            .collect();
        all.extend(last.iter().cloned());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_features_are_checked_in_every_subset() {
        let expected: [&[&str]; 8] =
            [&[], &["a"], &["b"], &["c"], &["a", "b"], &["a", "c"], &["b", "c"], &["a", "b", "c"]];
        assert_eq!(combinations(&["a", "b", "c"]), expected);
    }

    #[test]
    fn many_features_are_checked_alone_and_in_pairs() {
        let names = ["a", "b", "c", "d", "e"];
        assert_eq!(combinations(&names).len(), 1 + 5 + 10);
    }
}
