//! Prometheus itself reads the series: its checker accepts every line, and a server of it scrapes both listeners.
//!
//! `cargo xtask setup` brings it, from Debian's package. Without it the tests are skipped.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

use crate::process::{Gateway, PATIENCE, Upstream, chat_body, config};
use crate::wire::{get, post};

const MODELS: &str = "[[models]]\nname = \"fast\"\nstrategy = \"fallback\"\ntargets = [\
    { provider = \"up\", model = \"sim?fail_first=1,status=503,tokens=9\" }, \
    { provider = \"up\", model = \"sim?tokens=9\", price = { input = \"1\", output = \"2\" } }]\n\
    [[limits]]\nlevel = \"key\"\nname = \"*\"\nrequests = { cap = 7, per = \"1d\" }\n\
    [resilience]\nretry_base_ms = 1\ncircuit_breaker_threshold = 3\n";

/// Whether `program` is there. Without it the test is skipped, unless that is forbidden.
fn is_there(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        let required = std::env::var("LLMKIT_TEST_REQUIRE").is_ok_and(|value| value == "1");
        assert!(!required, "{program} is not there, and LLMKIT_TEST_REQUIRE is set");
        println!("skipped: {program} is not there; `cargo xtask setup` brings it");
    }
    found
}

/// Makes as many series as a few requests can: successes, retries, streams, errors, an open circuit, a denial.
fn use_it(gateway: &Gateway) {
    let stream = chat_body("fast", "stream", ",\"stream\":true");
    assert!(post(gateway.addr(), "/v1/chat/completions", &[], stream.as_bytes()).whole);
    assert_eq!(gateway.chat("fast", "whole").status, 200);
    let embed = br#"{"model":"up/sim","input":"a"}"#;
    assert_eq!(post(gateway.addr(), "/v1/embeddings", &[], embed).status, 200);
    // Its circuit opens between the attempts.
    assert_eq!(gateway.chat("up/sim?status=500", "x").status, 502);
    assert_eq!(gateway.chat("up/sim?status=400", "x").status, 400);
    let mut last = 200;
    for number in 0..4 {
        last = gateway.chat("fast", &number.to_string()).status;
    }
    assert_eq!(last, 429);
}

/// What `promtool check metrics` says of `text`; nothing where all is well.
fn complaints(text: &str) -> String {
    let mut checker = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it was there");
    checker.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
    let said = checker.wait_with_output().expect("it was started");
    let text = [said.stdout, said.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    if said.status.success() { text } else { format!("{}\n{text}", said.status) }
}

#[test]
fn the_checker_of_prometheus_accepts_every_line() {
    if !is_there("promtool") {
        return;
    }
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(upstream.0.addr, MODELS), &[]);
    for busy in [false, true] {
        if busy {
            use_it(&gateway);
        }
        let text = get(gateway.addr(), "/metrics", &[]).text();
        assert_eq!(complaints(&text), "", "{text}");
    }
    // The checker is awake.
    assert_ne!(complaints("# HELP a b\n# TYPE a counter\na 1\na 1\n"), "");
}

/// A Prometheus server, ended by its id.
struct Prometheus {
    child: Child,
    addr: SocketAddr,
    /// Its log, line by line.
    lines: Receiver<String>,
}

impl Prometheus {
    /// One that scrapes `targets` five times a second with the bearer `key`.
    fn start(folder: &Path, targets: &[SocketAddr], key: &str) -> Self {
        let targets: Vec<_> = targets.iter().map(|target| format!("'{target}'")).collect();
        let file = folder.join("prometheus.yml");
        let text = format!(
            "scrape_configs:\n- job_name: llmkit\n  scrape_interval: 200ms\n  scrape_timeout: 200ms\n  \
             authorization: {{ credentials: {key} }}\n  static_configs: [{{ targets: [{}] }}]\n",
            targets.join(", ")
        );
        std::fs::write(&file, text).expect("a file");
        let addr = free_addr();
        let mut child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={addr}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it was there");
        let stderr = child.stderr.take().expect("piped");
        let (said, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if said.send(line).is_err() {
                    break;
                }
            }
        });
        let started = Self { child, addr, lines };
        loop {
            let line = started.lines.recv_timeout(PATIENCE).expect("it starts");
            assert!(!line.contains("level=error"), "{line}");
            if line.contains("ready to receive web requests") {
                return started;
            }
        }
    }

    fn ask(&self, path: &str) -> Value {
        get(self.addr, path, &[]).json()["data"].clone()
    }

    /// The values of `query` by instance, once there are `count` of them that are `fit`.
    fn wait(&self, query: &str, count: usize, fit: impl Fn(f64) -> bool) {
        let escaped = escaped(query);
        let mut seen = Value::Null;
        for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
            seen = self.ask(&format!("/api/v1/query?query={escaped}"));
            let values = seen["result"].as_array().into_iter().flatten();
            let values = values.filter_map(|sample| sample["value"][1].as_str()?.parse().ok());
            if values.filter(|value| fit(*value)).count() == count {
                return;
            }
            // Its log is all there is to wait for.
            let _ = self.lines.recv_timeout(PAUSE);
        }
        panic!("{query} is {seen}, and the targets are {}", self.ask("/api/v1/targets"));
    }
}

/// A query as it stands in a path.
fn escaped(query: &str) -> String {
    query.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

const PAUSE: Duration = Duration::from_millis(100);

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_addr() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port")
}

#[test]
fn prometheus_scrapes_the_main_port_and_the_port_of_the_metrics() {
    if !is_there("prometheus") {
        return;
    }
    let upstream = Upstream::start();
    let metrics = free_addr();
    let port = format!("[observability]\nmetrics_port = {}\n{MODELS}", metrics.port());
    let gateway = Gateway::start(&config(upstream.0.addr, &port), &[("METRICS_API_KEY", "scrape")]);
    use_it(&gateway);
    let folder = tempfile::tempdir().expect("a folder");
    let prometheus = Prometheus::start(folder.path(), &[gateway.addr(), metrics], "scrape");
    prometheus.wait("up", 2, |up| up == 1.0);
    let tokens = upstream.count("output_tokens") as f64;
    for (query, fit) in [
        (
            "llmkit_request_tokens_total{provider=\"up\",direction=\"output\"}",
            &(|value| value == tokens) as &dyn Fn(f64) -> bool,
        ),
        ("llmkit_request_active{provider=\"up\"}", &|value| value == 0.0),
        ("llmkit_provider_errors_total{provider=\"up\",error_type=\"invalid_request\"}", &|value| value == 1.0),
        ("sum by (instance) (llmkit_request_cost_total{provider=\"up\",model=\"fast\"})", &|value| value > 0.0),
        (
            "histogram_quantile(0.5, sum by (instance, le) (llmkit_request_duration_seconds_bucket{model=\"fast\"}))",
            &|value| value > 0.0 && value < 10.0,
        ),
        ("gen_ai_client_operation_duration_seconds_count{gen_ai_operation_name=\"embeddings\"}", &|value| value == 1.0),
        ("llmkit_circuits{state=\"open\"}", &|value| value >= 1.0),
        ("sum by (instance) (llmkit_limit_denials_total{level=\"key\"})", &|value| value >= 1.0),
        ("llmkit_overhead_seconds_count", &|value| value >= 3.0),
    ] {
        prometheus.wait(query, 2, fit);
    }
    let dashboard = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/grafana/llmkit.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(dashboard).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let queries = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let queries: Vec<_> = queries.map(|target| target["expr"].as_str().unwrap()).collect();
    assert!(queries.len() > 50);
    for query in queries {
        // What Grafana puts in.
        let query = query.replace("$__rate_interval", "1m").replace("$provider", ".*");
        let answer = get(prometheus.addr, &format!("/api/v1/query?query={}", escaped(&query)), &[]).json();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
    }
    let targets = prometheus.ask("/api/v1/targets");
    for target in targets["activeTargets"].as_array().unwrap() {
        assert_eq!((&target["health"], &target["lastError"]), (&"up".into(), &"".into()), "{target}");
    }
}
