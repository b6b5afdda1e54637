//! Everything that must hold before a change is taken, in one command.
//!
//! The steps share one target folder and stand in an order that lets each use what the one before it built: cheap checks first,
//! then all that needs only type checks, then all that runs.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use crate::process::{self, cargo, output, program, run as check};
use crate::setup::{Need, Tools};
use crate::stopwatch::{Stopwatch, wait_for};
use crate::workspace::executables;
use crate::{Outcome, features, fuzz, grafana, layers, loom, setup, tidy};

/// What every build below agrees on: other flags would be another build.
const WHOLE: [&str; 2] = ["--workspace", "--all-features"];

/// An example that takes longer than this waits for something that is not there.
const EXAMPLE_LIMIT: Duration = Duration::from_secs(60);

/// Runs all steps; the first that fails is the last.
pub(crate) fn run() -> Outcome {
    let whole = Stopwatch::start();
    let mut took = Vec::new();
    let mut step = |name: &'static str, work: &mut dyn FnMut() -> Outcome| {
        println!("\n=== {name}");
        let watch = Stopwatch::start();
        let outcome = work().map_err(|why| format!("{name}: {why}"));
        took.push((name, watch.elapsed()));
        println!("--- {name}: {:.1} s", watch.elapsed().as_secs_f64());
        outcome
    };

    let mut tools = None;
    step("set-up", &mut || setup::run(Need::Tests).map(|found| tools = Some(found)))?;
    let tools = tools.expect("the step ended well");
    step("format", &mut || check(&mut cargo(["fmt", "--all", "--check"])))?;
    step("layers", &mut layers::run)?;
    step("tidy", &mut tidy::run)?;
    step("lints", &mut || check(cargo(["clippy", "--all-targets"]).args(WHOLE).args(["--", "-D", "warnings"])))?;
    step("features", &mut features::run)?;
    step("pages", &mut || check(cargo(["doc", "--no-deps"]).args(WHOLE).env("RUSTDOCFLAGS", "-D warnings")))?;
    step("tests", &mut || tests(&tools))?;
    step("examples", &mut examples)?;
    step("configuration", &mut configuration)?;
    step("dashboard", &mut dashboard)?;
    step("models", &mut loom::run)?;
    step("fuzz targets", &mut fuzz::check)?;

    println!();
    for (name, time) in took {
        println!("{:>8.1} s  {name}", time.as_secs_f64());
    }
    println!("{:>8.1} s  all of it: every check and every test passed", whole.elapsed().as_secs_f64());
    Ok(())
}

/// All tests of all crates, the documentation's examples and the official SDKs among them.
fn tests(tools: &Tools) -> Outcome {
    check(
        cargo(["test"])
            .args(WHOLE)
            .env("LLMKIT_TEST_PYTHON", &tools.python)
            .env("LLMKIT_TEST_NODE_DIR", &tools.node_folder)
            // What a test would skip for want of a tool is a failure here: set-up has brought the tools.
            .env("LLMKIT_TEST_REQUIRE", "1"),
    )
}

/// Examples need no network and no key.
fn examples() -> Outcome {
    for example in built("example")? {
        let name = example.file_name().unwrap_or_default().to_string_lossy().into_owned();
        println!("example {name}");
        let mut command = program(&example, [""; 0]);
        for key in ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"] {
            command.env_remove(key);
        }
        let mut child = command.stdin(Stdio::null()).spawn().map_err(|error| format!("{name}: {error}"))?;
        let status = wait_for(EXAMPLE_LIMIT, || child.try_wait().transpose());
        match status {
            Some(Ok(status)) if status.success() => {}
            Some(Ok(status)) => return Err(format!("{name} failed ({status})")),
            Some(Err(error)) => return Err(format!("{name}: {error}")),
            None => {
                drop(child.kill());
                return Err(format!("{name} did not end in {} s", EXAMPLE_LIMIT.as_secs()));
            }
        }
    }
    Ok(())
}

/// The dashboard shows the series that there are.
fn dashboard() -> Outcome {
    let list = built("example")?.into_iter().find(|file| file.ends_with("families"));
    grafana::check_with(&list.ok_or("there is no example `families`")?)
}

/// The page about the configuration and the configuration that the binary reads are the same.
fn configuration() -> Outcome {
    let gateway =
        built("bin")?.into_iter().find(|file| file.ends_with("llmkit")).ok_or("there is no binary `llmkit`")?;
    let schema = output(&mut program(gateway, ["check", "--schema"]))?;
    let page = std::fs::read_to_string(process::root().join("docs/configuration.md"))
        .map_err(|error| format!("docs/configuration.md: {error}"))?;
    let complaints = tidy::undocumented_or_unread(&schema, &page)?;
    if complaints.is_empty() { Ok(()) } else { Err(format!("\n  {}", complaints.join("\n  "))) }
}

/// The programs of this kind that the workspace builds, as the tests have built them already.
fn built(kind: &str) -> Outcome<Vec<PathBuf>> {
    let messages =
        output(cargo(["build", "--bins", "--examples", "--message-format", "json-render-diagnostics"]).args(WHOLE))?;
    Ok(executables(&messages, kind))
}
