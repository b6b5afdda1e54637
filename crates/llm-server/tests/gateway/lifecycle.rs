//! Start without a file, reload, drain.

use std::fs;

use crate::process::{Gateway, Upstream, chat_body, config};
use crate::wire::{Connection, get, post};

#[test]
fn without_a_file_echo_and_sim_answer() {
    let gateway = Gateway::without_file(&[]);
    let answer = gateway.chat("echo", "hello there");
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "hello there");
    assert!(answer.json()["usage"]["total_tokens"].as_u64().unwrap() > 0);
    assert_eq!(gateway.chat("sim", "x").status, 200);
    let body = chat_body("echo", "one two three", ",\"stream\":true");
    let stream = post(gateway.addr(), "/v1/chat/completions", &[], body.as_bytes());
    let text: String = stream
        .events()
        .iter()
        .filter_map(|event| {
            let event: serde_json::Value = serde_json::from_str(event).ok()?;
            Some(event["choices"][0]["delta"]["content"].as_str()?.to_owned())
        })
        .collect();
    assert_eq!(text, "one two three");
    assert!(stream.events().len() >= 5, "word by word");
}

#[test]
fn a_key_in_the_environment_brings_its_provider_and_bare_names_go_there() {
    let upstream = Upstream::start();
    let base = format!("http://{}/v1", upstream.0.addr);
    let gateway = Gateway::without_file(&[("OPENAI_API_KEY", "k"), ("OPENAI_BASE_URL", &base)]);
    assert_eq!(gateway.chat("gpt-anything", "x").header("x-llmkit-provider"), Some("openai"));
    assert_eq!(gateway.chat("openai/gpt-anything", "y").status, 200);
    assert_eq!(upstream.count("requests"), 2);
}

#[test]
fn each_vendors_key_and_each_servers_address_brings_its_provider() {
    let upstream = Upstream::start();
    let base = format!("http://{}", upstream.0.addr);
    for (variables, provider, path) in [
        (&[("ANTHROPIC_API_KEY", "k"), ("ANTHROPIC_BASE_URL", &*base)][..], "anthropic", "/v1/messages"),
        (&[("GEMINI_API_KEY", "k"), ("GEMINI_BASE_URL", &base)], "gemini", "/v1beta/models/m:generateContent"),
        (&[("LLAMA_CPP_URL", &base)], "llama_cpp", "/v1/chat/completions"),
        (&[("VLLM_URL", &base)], "vllm", "/v1/chat/completions"),
        (&[("OLLAMA_URL", &base)], "ollama", "/v1/chat/completions"),
    ] {
        let gateway = Gateway::without_file(variables);
        let answer = gateway.chat("m", "x");
        assert_eq!(answer.header("x-llmkit-provider"), Some(provider), "{}", answer.text());
        assert_eq!(upstream.last()["path"], path);
    }
}

#[test]
fn a_changed_file_is_taken_up_and_a_bad_one_is_not() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    assert_eq!(gateway.chat("fast", "x").status, 404);
    let model = "[[models]]\nname = \"fast\"\ntargets = [{ provider = \"up\", model = \"sim\" }]\n";
    fs::write(gateway.file(), config(upstream.0.addr, model)).unwrap();
    gateway.process.wait_for_line("configuration reloaded");
    assert_eq!(gateway.chat("fast", "x").status, 200);
    fs::write(gateway.file(), "[server]\nlisten_on = 1\n").unwrap();
    gateway.process.wait_for_line("listen_on");
    assert_eq!(gateway.chat("fast", "y").status, 200);
    fs::write(gateway.file(), config(upstream.0.addr, "")).unwrap();
    gateway.process.signal("HUP");
    gateway.process.wait_for_line("configuration reloaded");
    assert_eq!(gateway.chat("fast", "z").status, 404);
}

#[test]
fn an_idle_process_ends_at_once() {
    let gateway = Gateway::without_file(&[("LLMKIT_SERVER__DRAIN_TIMEOUT", "10m")]);
    let mut idle = Connection::open(gateway.addr());
    idle.request("GET", "/livez", &[], b"");
    assert_eq!(idle.answer().unwrap().status, 200);
    gateway.process.signal("TERM");
    let (status, _) = gateway.process.wait();
    assert!(status.success(), "{status}");
    assert!(idle.is_closed());
}

#[test]
fn a_stream_under_way_is_finished_before_the_end() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    let mut connection = Connection::open(gateway.addr());
    let body = chat_body("up/sim?tokens=20,gap=20ms", "x", ",\"stream\":true");
    connection.request("POST", "/v1/chat/completions", &[], body.as_bytes());
    assert_eq!(connection.head().unwrap().status, 200);
    gateway.process.signal("TERM");
    gateway.process.wait_for_line("draining");
    let mut text = Vec::new();
    while let Some(data) = connection.chunk().filter(|data| !data.is_empty()) {
        text.extend(data);
    }
    assert!(String::from_utf8(text).unwrap().ends_with("data: [DONE]\n\n"));
    assert!(gateway.process.wait().0.success());
}

#[test]
fn what_outlasts_the_drain_is_cut_off() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(upstream.0.addr, "[server]\ndrain_timeout = \"100ms\"\n"), &[]);
    let mut connection = Connection::open(gateway.addr());
    connection.request("POST", "/v1/chat/completions", &[], chat_body("up/sim?stall", "x", "").as_bytes());
    upstream.stats("requests=1");
    gateway.process.signal("TERM");
    assert!(gateway.process.wait().0.success());
    assert_eq!(upstream.stats("cancelled=1")["active"], 0);
}

#[cfg(not(feature = "bedrock"))]
#[test]
fn a_kind_that_is_not_built_is_a_501() {
    let more = "[[providers]]\nname = \"claude\"\nkind = \"bedrock\"\napi_key = \"k\"\n\
                [[models]]\nname = \"smart\"\ntargets = [{ provider = \"claude\", model = \"x\" }]\n";
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, more);
    for model in ["smart", "claude/y"] {
        let answer = gateway.chat(model, "x");
        assert_eq!(
            (answer.status, answer.error()["code"].as_str()),
            (501, Some("not_implemented")),
            "{}",
            answer.text()
        );
    }
    assert_eq!(get(gateway.addr(), "/readyz", &[]).status, 200);
}

#[test]
fn metrics_have_a_port_of_their_own_when_asked() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = Gateway::start(&format!("[observability]\nmetrics_port = {}\n", free.port()), &[]);
    assert_eq!(get(free, "/metrics", &[]).status, 200);
    assert_eq!(get(free, "/v1/models", &[]).status, 404);
    assert_eq!(get(gateway.addr(), "/metrics", &[]).status, 200);
}
