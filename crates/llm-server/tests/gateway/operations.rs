//! The routes beside the data plane.

use crate::process::{Gateway, Upstream, chat_body};
use crate::wire::{get, post};

const MODELS: &str = "[[models]]\nname = \"fast\"\ntargets = [{ provider = \"up\", model = \"sim\", price = { input = \"1\", output = \"2\" } }]\n";

#[test]
fn models_are_listed_and_looked_up() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, MODELS);
    let list = get(gateway.addr(), "/v1/models", &[]).json();
    let names: Vec<_> = list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!((list["object"].as_str(), names), (Some("list"), vec!["fast", "auto"]));
    assert_eq!(get(gateway.addr(), "/v1/models/fast", &[]).json()["object"], "model");
    assert_eq!(get(gateway.addr(), "/v1/models/up/org/model%3A8b", &[]).json()["id"], "up/org/model:8b");
    let unknown = get(gateway.addr(), "/v1/models/slow", &[]);
    assert_eq!((unknown.status, unknown.error()["code"].as_str()), (404, Some("model_not_found")));
    let unknown = gateway.chat("slow", "x");
    assert_eq!((unknown.status, unknown.error()["code"].as_str()), (404, Some("model_not_found")));
    assert_eq!(gateway.chat("auto", "x").status, 200);
}

#[test]
fn embeddings_pass_as_they_are() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    let body = br#"{"model":"up/sim","input":["a","b"],"encoding_format":"base64"}"#;
    let answer = post(gateway.addr(), "/v1/embeddings", &[], body).json();
    assert!(answer["data"][1]["embedding"].is_string() && answer["usage"]["total_tokens"].is_number(), "{answer}");
    let refused = post(gateway.addr(), "/v1/embeddings", &[], br#"{"model":"up/sim"}"#);
    assert_eq!((refused.status, refused.error()["param"].as_str()), (400, Some("input")));
}

#[test]
fn unknown_paths_and_methods_are_told_in_openais_shape() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    let unknown = get(gateway.addr(), "/v2/anything", &[]);
    assert_eq!((unknown.status, unknown.error()["code"].as_str()), (404, Some("unknown_url")));
    for path in ["/v1/chat/completions", "/v1/embeddings"] {
        let wrong = get(gateway.addr(), path, &[]);
        assert_eq!((wrong.status, wrong.error()["code"].as_str()), (405, Some("method_not_supported")), "{path}");
    }
    assert_eq!(post(gateway.addr(), "/v1/models", &[], b"").status, 405);
}

#[test]
fn a_request_keeps_its_name_or_is_given_one() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    let named = gateway.chat_with("up/sim", "x", &[("x-request-id", "mine-1")]);
    assert_eq!(named.header("x-request-id"), Some("mine-1"));
    assert!(upstream.last().to_string().contains("mine-1"));
    assert_eq!(named.header("x-upstream-request-id"), Some("sim-1"));
    let long = "x".repeat(129);
    for bad in ["", "with space", long.as_str()] {
        let given = gateway.chat_with("up/sim", "x", &[("x-request-id", bad)]);
        assert!(given.header("x-request-id").unwrap().starts_with("req_"), "{bad}");
    }
    for header in ["x-llmkit-provider", "x-llmkit-attempts", "x-llmkit-cache", "x-llmkit-overhead-us"] {
        assert!(named.header(header).is_some(), "{header}");
    }
}

#[test]
fn metrics_count_what_happened() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, &format!("{MODELS}[resilience]\nretry_attempts = 0\n"));
    assert_eq!(gateway.chat("fast", "hello").status, 200);
    let stream = chat_body("fast", "again", ",\"stream\":true");
    assert!(post(gateway.addr(), "/v1/chat/completions", &[], stream.as_bytes()).whole);
    assert_eq!(gateway.chat("up/sim?status=500", "x").status, 502);
    let metrics = get(gateway.addr(), "/metrics", &[]);
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = metrics.text();
    for line in [
        "llmkit_request_duration_seconds_count{provider=\"up\",model=\"fast\"} 2",
        "llmkit_time_to_first_token_seconds_count{provider=\"up\",model=\"fast\"} 1",
        "llmkit_request_active{provider=\"up\"} 0",
        "llmkit_provider_errors_total{provider=\"up\",error_type=\"server_error\"} 1",
        "llmkit_requests_total{operation=\"chat\",outcome=\"ok\"} 2",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    let tokens = text
        .lines()
        .find_map(|line| line.strip_prefix("llmkit_request_tokens_total{provider=\"up\",direction=\"output\"} "));
    assert_eq!(tokens.unwrap().parse::<u64>().unwrap(), upstream.count("output_tokens"));
    assert!(text.contains("llmkit_request_cost_total{provider=\"up\",model=\"fast\"} 0.0"), "{text}");
    let open = get(gateway.addr(), "/metrics", &[("accept", "application/openmetrics-text; version=1.0.0")]);
    assert!(open.text().ends_with("# EOF\n"));
}

#[test]
fn a_metrics_key_closes_the_metrics_and_nothing_else() {
    let gateway = Gateway::without_file(&[("METRICS_API_KEY", "scrape")]);
    assert_eq!(get(gateway.addr(), "/metrics", &[]).status, 401);
    assert_eq!(get(gateway.addr(), "/metrics", &[("authorization", "Bearer scrap")]).status, 401);
    assert_eq!(get(gateway.addr(), "/metrics", &[("authorization", "Bearer scrape")]).status, 200);
    assert_eq!(gateway.chat("echo", "x").status, 200);
}

#[test]
fn the_metrics_key_may_stand_in_the_file_and_the_environments_goes_before_it() {
    const FILE: &str = "[observability]\nmetrics_api_key = \"env:SCRAPE\"\n";
    let show = |gateway: &Gateway, key: &str| {
        get(gateway.addr(), "/metrics", &[("authorization", &format!("Bearer {key}"))]).status
    };
    let gateway = Gateway::start(FILE, &[("SCRAPE", "of the file")]);
    assert_eq!((show(&gateway, "of the file"), get(gateway.addr(), "/metrics", &[]).status), (200, 401));
    let gateway = Gateway::start(FILE, &[("SCRAPE", "of the file"), ("METRICS_API_KEY", "scrape")]);
    assert_eq!((show(&gateway, "of the file"), show(&gateway, "scrape")), (401, 200));
}
