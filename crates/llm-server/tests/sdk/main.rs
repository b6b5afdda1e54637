//! The official SDKs, unchanged, against the gateway as a process with a second process as its upstream.
//!
//! `cargo xtask setup` brings the SDKs; two variables say where they are. What is checked stands in the scripts.

#[path = "../gateway/process.rs"]
#[expect(dead_code, reason = "the scripts speak to the processes; here they are only started")]
mod process;
#[path = "../gateway/wire.rs"]
#[expect(dead_code, reason = "the SDKs bring their own HTTP")]
mod wire;

use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use process::{Gateway, Upstream, config};

/// The longest that a script may take: a fail-safe, not a measure.
const LIMIT: Duration = Duration::from_secs(120);

/// One further attempt, so that the gateway's retries and the SDK's are both seen; circuits never open.
const RESILIENCE: &str = "[resilience]\nretry_attempts = 1\nretry_base_ms = 1\ncircuit_breaker_threshold = 1000\n";

#[test]
fn the_python_sdk_works() {
    python("sync");
}

#[test]
fn the_asynchronous_python_sdk_works() {
    python("async");
}

#[test]
fn the_javascript_sdk_works() {
    javascript("checks.mjs", run);
}

#[test]
fn the_python_sdks_of_each_vendor_work_before_providers_of_each() {
    let Some(interpreter) = needed("LLMKIT_TEST_PYTHON") else { return };
    let mut python = Command::new(interpreter);
    python.args(["-I", "-X", "utf8", &script_file("vendors.py")]);
    run_before_each(python);
}

#[test]
fn the_javascript_sdks_of_each_vendor_work_before_providers_of_each() {
    javascript("vendors.mjs", run_before_each);
}

fn javascript(name: &str, run: fn(Command)) {
    let Some(folder) = needed("LLMKIT_TEST_NODE_DIR") else { return };
    // Node looks for packages beside the script.
    let copy = tempfile::tempdir().expect("a folder");
    let script = copy.path().join(name);
    std::fs::copy(script_file(name), &script).expect("a copy");
    std::os::unix::fs::symlink(Path::new(&folder).join("node_modules"), copy.path().join("node_modules"))
        .expect("a link");
    let mut node = Command::new("node");
    node.arg(script);
    run(node);
}

fn python(flavour: &str) {
    let Some(interpreter) = needed("LLMKIT_TEST_PYTHON") else { return };
    let mut python = Command::new(interpreter);
    python.args(["-I", "-X", "utf8", &script_file("checks.py"), flavour]);
    run(python);
}

fn script_file(name: &str) -> String {
    format!("{}/tests/sdk/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// The value of a variable that `cargo xtask test` sets. Without it the test is skipped, unless that is forbidden.
fn needed(variable: &str) -> Option<String> {
    let value = std::env::var(variable).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        let required = std::env::var("LLMKIT_TEST_REQUIRE").is_ok_and(|value| value == "1");
        assert!(!required, "{variable} is not set, and LLMKIT_TEST_REQUIRE is");
        println!("skipped: {variable} is not set; `cargo xtask test` sets it");
    }
    value
}

/// Runs a script against a gateway before one upstream, which three providers reach, each in its own format.
fn run_before_each(script: Command) {
    let upstream = Upstream::start();
    let base = format!("http://{}", upstream.0.addr);
    let mut config = "[server]\napi_keys = [\"sesame\"]\n[resilience]\nretry_attempts = 0\n\
                      circuit_breaker_threshold = 1000\n"
        .to_owned();
    for (name, kind, path) in [("chat", "openai", "/v1"), ("claude", "anthropic", ""), ("gem", "gemini", "")] {
        config.push_str(&format!(
            "[[providers]]\nname = \"{name}\"\nkind = \"{kind}\"\nbase_url = \"{base}{path}\"\napi_key = \"k\"\n"
        ));
    }
    config.push_str("[[models]]\nname = \"fast\"\ntargets = [{ provider = \"chat\", model = \"sim\" }]\n");
    let gateway = Gateway::start(&config, &[]);
    finished(script, &[gateway.addr(), upstream.0.addr]);
}

/// Runs a script against two gateways before one upstream; its output is the failure's text.
fn run(script: Command) {
    let upstream = Upstream::start();
    let keys = "[server]\nmax_body_bytes = 1000000\n\
                api_keys = [\"sesame\", { key = \"operator\", scopes = [\"admin\"] }]\n";
    let hasty = format!(
        "[[providers]]\nname = \"hasty\"\nkind = \"openai_compatible\"\nbase_url = \"http://{}/v1\"\n\
         first_token_timeout = \"50ms\"\ntotal_timeout = \"100ms\"\n",
        upstream.0.addr
    );
    let models = "[[models]]\nname = \"fast\"\ntargets = [{ provider = \"up\", model = \"sim?reply=told by name\" }]\n\
                  [[models]]\nname = \"vectors\"\ntargets = [{ provider = \"up\", model = \"sim\" }]\n";
    let gateway = Gateway::before(&upstream, &format!("{hasty}{models}{keys}{RESILIENCE}"));
    // A bucket that is not refilled while the test runs.
    let limits = "[rate_limits]\nrequests_per_second = 0.02\nburst_capacity = 1\n";
    let limited = Gateway::start(&config(upstream.0.addr, &format!("{keys}{limits}")), &[]);

    finished(script, &[gateway.addr(), limited.addr(), upstream.0.addr]);
}

/// Runs a script with `addresses` to its end, which must be a good one.
fn finished(mut script: Command, addresses: &[SocketAddr]) {
    // What would send the SDKs elsewhere, or through a proxy.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy().to_ascii_lowercase();
        let of_a_vendor =
            ["openai_", "anthropic_", "google_", "gemini_", "node_"].iter().any(|it| text.starts_with(it));
        if of_a_vendor || text.ends_with("_proxy") {
            script.env_remove(&name);
        }
    }
    script.args(addresses.iter().map(|addr| format!("http://{addr}")));
    let said = ended(script.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    assert!(said.success, "the script failed:\n{}", said.text);
    print!("{}", said.text);
}

/// What a script printed, and whether it ended well.
struct Said {
    success: bool,
    text: String,
}

/// Waits for a script to end, and ends it when it does not.
fn ended(script: &mut Command) -> Said {
    let mut child = script.spawn().unwrap_or_else(|error| panic!("{script:?}: {error}"));
    let (done, waiting) = channel::<()>();
    let stdout = reader(child.stdout.take().expect("piped"), done.clone());
    let stderr = reader(child.stderr.take().expect("piped"), done);
    // Each reader drops its end of the channel when there is nothing more to read.
    let in_time = matches!(waiting.recv_timeout(LIMIT), Err(RecvTimeoutError::Disconnected));
    let success = finish(&mut child, in_time);
    let mut text = stdout.join().expect("a reader") + &stderr.join().expect("a reader");
    if !in_time {
        text.push_str(&format!("\nit did not end in {} s\n", LIMIT.as_secs()));
    }
    Said { success, text }
}

fn reader(mut from: impl Read + Send + 'static, done: Sender<()>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let _done = done;
        let mut bytes = Vec::new();
        // What was read before an error is what there is to show.
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn finish(child: &mut Child, in_time: bool) -> bool {
    if !in_time {
        child.kill().expect("it was started");
    }
    child.wait().expect("it was started").success() && in_time
}
