//! `llmkit top` at a terminal, which tmux plays: what it shows, and how it leaves.
//!
//! `cargo xtask setup` brings tmux, from Debian's package. Without it the tests are skipped.

use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::dashboard::{KEYS, SETUP, use_it};
use crate::process::{Gateway, PATIENCE, Upstream, config};

/// A terminal in which a command runs, in a tmux server of its own.
struct Terminal {
    folder: tempfile::TempDir,
}

impl Terminal {
    /// One of 120 columns and 40 rows in which `llmkit top` runs with `arguments`. When it has left, it is said how, and
    /// whether the terminal is as it was. None where there is no tmux and it may be missing.
    fn top(arguments: &str) -> Option<Self> {
        if Command::new("tmux").arg("-V").stdout(Stdio::null()).status().is_err() {
            let required = std::env::var("LLMKIT_TEST_REQUIRE").is_ok_and(|value| value == "1");
            assert!(!required, "tmux is not there, and LLMKIT_TEST_REQUIRE is set");
            println!("skipped: tmux is not there; `cargo xtask setup` brings it");
            return None;
        }
        let terminal = Self { folder: tempfile::tempdir().expect("a folder") };
        let script = format!(
            "before=$(stty -g); {} top {arguments}; echo \"left with $?\"; \
             [ \"$before\" = \"$(stty -g)\" ] && echo as it was; exec cat",
            env!("CARGO_BIN_EXE_llmkit")
        );
        terminal.tmux(&["new-session", "-d", "-x", "120", "-y", "40", "sh", "-c", &script]);
        Some(terminal)
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let socket = self.folder.path().join("tmux");
        let mut command = Command::new("tmux");
        command.args(["-u", "-f", "/dev/null", "-S"]).arg(socket).args(arguments);
        for name in ["TMUX", "LLMKIT_URL", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env_remove(name);
        }
        let done = command.env("LC_ALL", "C.UTF-8").env("BOSS", "boss").output().expect("tmux runs");
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("text")
    }

    /// What it shows, once it shows all `parts`.
    fn wait(&self, parts: &[&str]) -> String {
        let (_nobody, pause) = channel::<()>();
        let mut shown = String::new();
        for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
            shown = self.tmux(&["capture-pane", "-p"]);
            if parts.iter().all(|part| shown.contains(part)) {
                return shown;
            }
            let _ = pause.recv_timeout(PAUSE);
        }
        panic!("{parts:?} do not come to stand on\n{shown}");
    }

    fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }
}

const PAUSE: Duration = Duration::from_millis(50);

impl Drop for Terminal {
    fn drop(&mut self) {
        let socket = self.folder.path().join("tmux");
        // The server of this socket alone.
        let _ = Command::new("tmux").arg("-S").arg(socket).arg("kill-server").stderr(Stdio::null()).status();
    }
}

#[test]
fn it_shows_the_gateway_and_leaves_the_terminal_as_it_was() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, SETUP);
    let Some(terminal) = Terminal::top(&format!("--url http://{}", gateway.addr())) else { return };
    terminal.wait(&["llmkit", " ok ", "No circuit has changed"]);
    use_it(&gateway);
    let shown = terminal.wait(&["degraded", "broken?status=500", "open 3 failed, try in", "closed → open"]);
    for part in ["requests 9, failed 3", "shared 2 of 9", "33 of 40", "spare", "1 of 2 not closed", "$0.00", "p95 "] {
        assert!(shown.contains(part), "{part} is missing in\n{shown}");
    }
    terminal.tmux(&["resize-window", "-x", "80", "-y", "24"]);
    let shown = terminal.wait(&["degraded", "p50 ", "spare", "33 of 40"]);
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    drop(gateway);
    terminal.wait(&["not reachable", "last heard of at", "spare"]);
    terminal.press("q");
    let left = terminal.wait(&["left with 0", "as it was"]);
    assert!(!left.contains("not reachable"), "{left}");
}

#[test]
fn it_says_that_nobody_answers_and_control_c_leaves() {
    let Some(terminal) = Terminal::top("--url http://127.0.0.1:1") else { return };
    terminal.wait(&["http://127.0.0.1:1: not reachable: no connection to the gateway", "Asked again every second"]);
    terminal.press("C-c");
    terminal.wait(&["left with 0", "as it was"]);
}

#[test]
fn it_asks_with_the_key_that_the_environment_holds() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(upstream.0.addr, KEYS), &[]);
    let url = format!("--url http://{}", gateway.addr());
    let Some(terminal) = Terminal::top(&url) else { return };
    terminal.wait(&["wants a key with the scope `admin`: give it with --api-key env:NAME"]);
    let terminal = Terminal::top(&format!("{url} --api-key plain")).expect("it was there");
    terminal.wait(&["the key lacks the scope `admin`"]);
    let terminal = Terminal::top(&format!("{url} --api-key env:BOSS")).expect("it was there");
    terminal.wait(&["up ", "No circuit has changed"]);
    let terminal = Terminal::top(&format!("{url} --api-key env:NOBODY")).expect("it was there");
    terminal.wait(&["--api-key: the environment variable NOBODY is not set", "left with 1", "as it was"]);
}
