//! The workspace as cargo sees it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use crate::{Outcome, process};

/// Members outside the layers: tools that may use every crate, and that no crate may use.
pub(crate) const OUTSIDE: &[&str] = &["xtask", "benches"];

/// Whether the packages that the members depend on are listed too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    Members,
    Everything,
}

/// What `cargo metadata` says, as far as a chore asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) target_directory: PathBuf,
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// The SPDX expression.
    pub(crate) license: Option<String>,
    /// The folder of its `Cargo.toml`.
    pub(crate) folder: PathBuf,
    pub(crate) is_member: bool,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) features: BTreeMap<String, Vec<String>>,
    pub(crate) targets: Vec<Target>,
}

/// One line of a dependency table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) is_dev: bool,
}

/// One thing that a package builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) kinds: Vec<String>,
}

impl Metadata {
    /// Asks cargo about the workspace.
    pub(crate) fn read(reach: Reach) -> Outcome<Self> {
        Self::of(&["--all-features"], reach)
    }

    /// Asks cargo about the workspace of another manifest.
    pub(crate) fn of(arguments: &[&str], reach: Reach) -> Outcome<Self> {
        let mut command = process::cargo(["metadata", "--format-version", "1"]);
        command.args(arguments);
        if reach == Reach::Members {
            command.arg("--no-deps");
        }
        Self::parse(&process::output(&mut command)?)
    }

    /// Reads what `cargo metadata --format-version 1` printed.
    pub(crate) fn parse(text: &str) -> Outcome<Self> {
        let value: Value =
            serde_json::from_str(text).map_err(|error| format!("cargo metadata is not JSON: {error}"))?;
        let members = texts(&value["workspace_members"]);
        let packages = list(&value["packages"]).iter().map(|package| Package::from(package, &members)).collect();
        Ok(Self { packages, target_directory: text_of(&value["target_directory"]).into() })
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.is_member)
    }

    pub(crate) fn member(&self, name: &str) -> Option<&Package> {
        self.members().find(|package| package.name == name)
    }
}

impl Package {
    fn from(value: &Value, members: &[String]) -> Self {
        let manifest = PathBuf::from(text_of(&value["manifest_path"]));
        let id = text_of(&value["id"]);
        Self {
            name: text_of(&value["name"]),
            version: text_of(&value["version"]),
            license: value["license"].as_str().map(str::to_owned),
            folder: manifest.parent().map(PathBuf::from).unwrap_or_default(),
            is_member: members.contains(&id),
            dependencies: list(&value["dependencies"])
                .iter()
                .map(|line| Dependency { name: text_of(&line["name"]), is_dev: line["kind"] == "dev" })
                .collect(),
            features: value["features"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, enables)| (name.clone(), texts(enables)))
                .collect(),
            targets: list(&value["targets"])
                .iter()
                .map(|target| Target { name: text_of(&target["name"]), kinds: texts(&target["kind"]) })
                .collect(),
        }
    }

    /// The names of the targets of this kind (`"lib"`, `"bin"`, `"example"`, …).
    pub(crate) fn targets_of(&self, kind: &str) -> impl Iterator<Item = &str> {
        self.targets
            .iter()
            .filter(move |target| target.kinds.iter().any(|one| one == kind))
            .map(|target| target.name.as_str())
    }
}

/// The programs of this kind that cargo says it has built, in JSON.
pub(crate) fn executables(messages: &str, kind: &str) -> Vec<PathBuf> {
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_kind = |artifact: &Value| list(&artifact["target"]["kind"]).iter().any(|one| one == kind);
    artifacts.filter(of_kind).filter_map(|artifact| artifact["executable"].as_str().map(PathBuf::from)).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn texts(value: &Value) -> Vec<String> {
    list(value).iter().map(text_of).collect()
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
