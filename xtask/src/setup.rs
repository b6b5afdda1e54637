//! What the tests and the benches need beside Rust: Debian packages, and a local Python and Node environment.

use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::process::{self, find, program, succeeds};

/// The official SDKs, unchanged, in one version each.
const PYTHON_PACKAGES: &[&str] = &["openai==3.54.0", "anthropic==2.14.0", "google-genai==3.6.1"];
const NODE_PACKAGES: &[&str] = &["openai@6.49.0", "@anthropic-ai/sdk@1.14.0", "@google/genai@2.32.0"];

/// What the set-up is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Tests,
    /// The gateway's, beside nginx.
    Bench,
    /// Those that count instructions.
    Counts,
    Everything,
}

/// Where the tests find their tools.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    pub(crate) python: PathBuf,
    pub(crate) node_folder: PathBuf,
}

/// A program that a Debian package brings.
struct Package {
    name: &'static str,
    need: Need,
    is_there: fn() -> bool,
}

const PACKAGES: &[Package] = &[
    Package { name: "g++", need: Need::Tests, is_there: || find("c++").is_some() },
    Package { name: "python3", need: Need::Tests, is_there: || find("python3").is_some() },
    Package { name: "python3-venv", need: Need::Tests, is_there: python_makes_environments },
    Package { name: "nodejs", need: Need::Tests, is_there: || find("node").is_some() },
    Package { name: "npm", need: Need::Tests, is_there: || find("npm").is_some() },
    Package {
        name: "prometheus",
        need: Need::Tests,
        is_there: || ["prometheus", "promtool"].iter().all(|it| find(it).is_some()),
    },
    Package { name: "chromium", need: Need::Tests, is_there: || find("chromium").is_some() },
    Package { name: "tmux", need: Need::Tests, is_there: || find("tmux").is_some() },
    Package { name: "valgrind", need: Need::Counts, is_there: || find("valgrind").is_some() },
    Package { name: "nginx", need: Need::Bench, is_there: || find("nginx").is_some() },
];

/// Installs what is missing for `need`, and says what it does.
pub(crate) fn run(need: Need) -> Outcome<Tools> {
    packages(need)?;
    let folder = process::root().join("target").join("tools");
    let tools = Tools { python: folder.join("python/bin/python"), node_folder: folder.join("node") };
    if matches!(need, Need::Tests | Need::Everything) {
        python(&folder.join("python"), &tools.python)?;
        node(&tools.node_folder)?;
    }
    Ok(tools)
}

fn packages(need: Need) -> Outcome {
    let wanted = PACKAGES.iter().filter(|package| need == Need::Everything || need == package.need);
    let missing: Vec<&str> = wanted.filter(|package| !(package.is_there)()).map(|package| package.name).collect();
    if missing.is_empty() {
        println!("setup: no Debian package is missing");
        return Ok(());
    }
    let names = missing.join(" ");
    if find("apt-get").is_none() {
        return Err(format!("setup: this system has no apt-get; install what Debian calls: {names}"));
    }
    if process::output(&mut program("id", ["-u"]))?.trim() != "0" {
        return Err(format!("setup: packages are missing, and only root installs them: apt-get install {names}"));
    }
    println!("setup: installing the Debian packages {names}");
    let _no_daemons = NoDaemons::declare();
    process::run(program("apt-get", ["update", "-qq"]).env("DEBIAN_FRONTEND", "noninteractive"))?;
    let mut install = program("apt-get", ["install", "-qq", "-y", "--no-install-recommends", "-o", "Dpkg::Use-Pty=0"]);
    process::run(install.args(&missing).env("DEBIAN_FRONTEND", "noninteractive"))
}

fn python(folder: &Path, python: &Path) -> Outcome {
    let stamp = Stamp { file: folder.join("llmkit-packages"), wanted: PYTHON_PACKAGES };
    if python.exists() && stamp.is_there() {
        println!("setup: {} are in {}", PYTHON_PACKAGES.join(" "), folder.display());
        return Ok(());
    }
    println!("setup: installing {} into {}", PYTHON_PACKAGES.join(" "), folder.display());
    process::run(program("python3", ["-m", "venv", "--clear"]).arg(folder))?;
    process::run(
        program(python, ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PYTHON_PACKAGES),
    )?;
    stamp.write()
}

fn node(folder: &Path) -> Outcome {
    let stamp = Stamp { file: folder.join("llmkit-packages"), wanted: NODE_PACKAGES };
    if stamp.is_there() {
        println!("setup: {} are in {}", NODE_PACKAGES.join(" "), folder.display());
        return Ok(());
    }
    println!("setup: installing {} into {}", NODE_PACKAGES.join(" "), folder.display());
    let at = |error| format!("{}: {error}", folder.display());
    std::fs::create_dir_all(folder).map_err(at)?;
    std::fs::write(folder.join("package.json"), "{ \"private\": true, \"type\": \"module\" }\n").map_err(at)?;
    let mut install =
        program("npm", ["install", "--no-audit", "--no-fund", "--loglevel=error", "--save-exact", "--prefix"]);
    process::run(install.arg(folder).args(NODE_PACKAGES))?;
    stamp.write()
}

/// Debian ships Python without the part that makes an environment.
fn python_makes_environments() -> bool {
    succeeds(&mut program("python3", ["-c", "import venv, ensurepip"]))
}

/// Written last, so that a broken-off installation is done again.
struct Stamp {
    file: PathBuf,
    wanted: &'static [&'static str],
}

impl Stamp {
    fn is_there(&self) -> bool {
        std::fs::read_to_string(&self.file).is_ok_and(|text| text == self.text())
    }

    fn write(&self) -> Outcome {
        std::fs::write(&self.file, self.text()).map_err(|error| format!("{}: {error}", self.file.display()))
    }

    fn text(&self) -> String {
        self.wanted.join("\n")
    }
}

/// While it lives, an installed daemon is not started: the benches start their own nginx, on a port of their own.
struct NoDaemons {
    is_ours: bool,
}

/// Debian's packages ask this program whether they may start what they bring.
const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoDaemons {
    fn declare() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let is_ours = !Path::new(POLICY).exists() && std::fs::write(POLICY, "#!/bin/sh\nexit 101\n").is_ok();
        if is_ours {
            // Left without the bit, the answer is not asked for and the daemon starts: no harm beyond that.
            drop(std::fs::set_permissions(POLICY, std::fs::Permissions::from_mode(0o755)));
        }
        Self { is_ours }
    }
}

impl Drop for NoDaemons {
    fn drop(&mut self) {
        if self.is_ours {
            drop(std::fs::remove_file(POLICY));
        }
    }
}
