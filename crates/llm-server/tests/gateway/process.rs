//! Processes under test: started on free ports, ended by their ids.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use tempfile::TempDir;

use crate::wire::{Answer, get, post};

/// The longest that anything is waited for: a fail-safe, not a measure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Variables that would change what a process does.
const UNSET: &[&str] = &[
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "GEMINI_API_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "LLAMA_CPP_URL",
    "VLLM_URL",
    "OLLAMA_URL",
    "LLMKIT_CONFIG",
    "METRICS_API_KEY",
    "RUST_LOG",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_SERVICE_NAME",
    "JAEGER_ENDPOINT",
];

/// A process that listens.
pub(crate) struct Running {
    child: Child,
    pub(crate) addr: SocketAddr,
    /// Its standard error, line by line.
    lines: Receiver<String>,
}

impl Running {
    fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_llmkit"));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in UNSET {
            command.env_remove(name);
        }
        let mut child = command.envs(environment.iter().copied()).spawn().expect("the binary starts");
        let stdout = child.stdout.take().expect("piped");
        let stderr = child.stderr.take().expect("piped");
        let (said, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if said.send(line).is_err() {
                    break;
                }
            }
        });
        let mut stdout = BufReader::new(stdout);
        let addr = loop {
            let mut line = String::new();
            if stdout.read_line(&mut line).expect("text") == 0 {
                let status = child.wait().expect("it was started");
                panic!("{arguments:?} ended with {status}: {:?}", lines.iter().collect::<Vec<_>>());
            }
            if let Some((_, rest)) = line.split_once("listening on ") {
                let (_, address) = rest.split_once("://").expect("a scheme");
                break address.trim().parse().expect("an address");
            }
        };
        // Whatever else it prints is read, so that it never waits for a reader.
        std::thread::spawn(move || drop(stdout.read_to_end(&mut Vec::new())));
        Self { child, addr, lines }
    }

    /// The id of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, by its name without `SIG`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.id().to_string()]).status().expect("kill runs");
        assert!(status.success());
    }

    /// Waits for a line on standard error that contains `text`.
    pub(crate) fn wait_for_line(&self, text: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no line with {text:?}"));
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Waits for the process to end by itself, and gives what it logged.
    pub(crate) fn wait(mut self) -> (ExitStatus, Vec<String>) {
        let mut lines = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => lines.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end: {lines:?}"),
            }
        }
        (self.child.wait().expect("it was started"), lines)
    }

    /// Memory in use, in kilobytes.
    pub(crate) fn resident_kb(&self) -> u64 {
        self.status_kb("VmRSS:")
    }

    /// The most memory that was in use so far, in kilobytes.
    pub(crate) fn peak_kb(&self) -> u64 {
        self.status_kb("VmHWM:")
    }

    fn status_kb(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("the process is there");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A simulated upstream.
pub(crate) struct Upstream(pub(crate) Running);

impl Upstream {
    pub(crate) fn start() -> Self {
        Self::scripted("")
    }

    /// One that does what `script` says, unless a model's name or a request says otherwise.
    pub(crate) fn scripted(script: &str) -> Self {
        Self(Running::start(&["sim", "--listen", "127.0.0.1:0", "--script", script], &[]))
    }

    /// One whose randomness begins at `seed`: its answers have other names.
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(Running::start(&["sim", "--listen", "127.0.0.1:0", "--seed", &seed.to_string()], &[]))
    }

    /// The counts, once they are as `query` says.
    pub(crate) fn stats(&self, query: &str) -> serde_json::Value {
        get(self.0.addr, &format!("/sim/stats?{query}"), &[]).json()
    }

    pub(crate) fn count(&self, name: &str) -> u64 {
        self.stats("")[name].as_u64().expect("a count")
    }

    /// The latest request.
    pub(crate) fn last(&self) -> serde_json::Value {
        get(self.0.addr, "/sim/last", &[]).json()
    }
}

/// A gateway and the folder of its configuration.
pub(crate) struct Gateway {
    pub(crate) process: Running,
    pub(crate) folder: TempDir,
}

impl Gateway {
    /// A gateway before `upstream`, with further lines in its configuration. Models are addressed as `up/NAME`.
    pub(crate) fn before(upstream: &Upstream, more: &str) -> Self {
        Self::start(&config(upstream.0.addr, more), &[])
    }

    pub(crate) fn start(config: &str, environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("llmkit.toml");
        std::fs::write(&file, config).expect("a file");
        let file = file.to_str().expect("text");
        let process = Running::start(&["serve", "--config", file, "--listen", "127.0.0.1:0"], environment);
        Self { process, folder }
    }

    pub(crate) fn without_file(environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { process: Running::start(&["--listen", "127.0.0.1:0"], environment), folder }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("llmkit.toml")
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.process.addr
    }

    /// Asks for a completion.
    pub(crate) fn chat(&self, model: &str, text: &str) -> Answer {
        self.chat_with(model, text, &[])
    }

    pub(crate) fn chat_with(&self, model: &str, text: &str, headers: &[(&str, &str)]) -> Answer {
        post(self.addr(), "/v1/chat/completions", headers, chat_body(model, text, "").as_bytes())
    }
}

/// A configuration with one provider, `up`, at `upstream`.
pub(crate) fn config(upstream: SocketAddr, more: &str) -> String {
    format!(
        "[[providers]]\nname = \"up\"\nkind = \"openai_compatible\"\nbase_url = \"http://{upstream}/v1\"\n\
         api_key = \"provider-secret\"\n{more}\n"
    )
}

/// A body that asks `model` about `text`, with further members (each with a comma in front).
pub(crate) fn chat_body(model: &str, text: &str, more: &str) -> String {
    format!("{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"{text}\"}}]{more}}}")
}

/// Open files that this process may have.
pub(crate) fn most_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("the process's limits");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("a line");
    line.split_whitespace().next().and_then(|soft| soft.parse().ok()).unwrap_or(usize::MAX)
}
