//! Vertex AI: tokens for service accounts, and what becomes of calls when there are none.

use serde_json::{Value, json};

use crate::process::{Gateway, Upstream, chat_body};
use crate::wire::post;

/// A key file whose key nobody but these tests knows.
const ACCOUNT: &str = include_str!("../../../../llm-providers/tests/data/service_account.json");

/// The key file of an account that gets its tokens from `upstream`, whose answers `query` scripts.
fn account(upstream: &Upstream, query: &str) -> String {
    let mut account: Value = serde_json::from_str(ACCOUNT).expect("JSON");
    account["token_uri"] = json!(format!("http://{}/token?{query}", upstream.0.addr));
    account.to_string()
}

/// The configuration of a provider of the kind `vertex_ai` before `upstream`.
pub(crate) fn vertex(upstream: &Upstream, name: &str, query: &str) -> String {
    format!(
        "[[providers]]\nname = \"{name}\"\nkind = \"vertex_ai\"\nbase_url = \"http://{}\"\nproject = \"example\"\n\
         location = \"europe-west4\"\ncredentials = '''{}'''\n",
        upstream.0.addr,
        account(upstream, query),
    )
}

/// How often a token was asked for.
fn exchanges(upstream: &Upstream) -> u64 {
    upstream.stats("")["models"]["token"]["requests"].as_u64().unwrap_or_default()
}

fn authorization(request: &Value) -> &str {
    let headers = request["headers"].as_array().expect("headers");
    let header = headers.iter().find(|header| header[0] == "authorization").expect("a header");
    header[1].as_str().expect("text")
}

#[test]
fn a_token_is_got_once_and_kept() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&vertex(&upstream, "v", ""), &[]);
    let contents = r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}],"labels":{"a":"b"}}"#;
    for verb in ["generateContent", "streamGenerateContent?alt=sse"] {
        let answer = post(gateway.addr(), &format!("/v1beta/models/v%2Fsim:{verb}"), &[], contents.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        let last = upstream.last();
        let at = "/v1/projects/example/locations/europe-west4/publishers/google/models/sim";
        assert_eq!(last["path"], format!("{at}:{verb}"));
        assert_eq!((&last["body"], authorization(&last)), (&json!(contents), "Bearer sim-token-1"));
    }
    assert_eq!(exchanges(&upstream), 1);
}

#[test]
fn tokens_are_counted_of_contents_alone() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&vertex(&upstream, "v", ""), &[]);
    let contents = r#"[{"role":"user","parts":[{"text":"one two three"}]}]"#;
    let bare = format!(r#"{{"contents":{contents}}}"#);
    let whole = format!(r#"{{"generateContentRequest":{{"model":"models/x","contents":{contents}}}}}"#);
    for asked in [&bare, &whole] {
        let answer = post(gateway.addr(), "/v1beta/models/v%2Fsim:countTokens", &[], asked.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(upstream.last()["body"], bare.as_str());
    }
    let message = r#"{"model":"v/sim","messages":[{"role":"user","content":"one two three"}]}"#;
    let answer = post(gateway.addr(), "/v1/messages/count_tokens", &[], message.as_bytes());
    assert!(answer.json()["input_tokens"].as_u64().unwrap() > 0, "{}", answer.text());
    assert_eq!(upstream.last()["body"], bare.as_str());
}

#[test]
fn a_tier_has_no_place_in_the_body() {
    let upstream = Upstream::start();
    let lenient = "[[models]]\nname = \"lenient\"\ntranslation = \"lenient\"\ntargets = [{ provider = \"v\", model = \"sim\" }]\n";
    let gateway = Gateway::start(&format!("{}{lenient}", vertex(&upstream, "v", "")), &[]);
    let ask = |model: &str, tier: &str| {
        let body = chat_body(model, tier, &format!(",\"service_tier\":\"{tier}\""));
        post(gateway.addr(), "/v1/chat/completions", &[], body.as_bytes())
    };
    let refused = ask("v/sim", "flex");
    assert_eq!((refused.status, &refused.error()["param"]), (400, &json!("service_tier")));
    for (model, tier, dropped) in [("v/sim", "default", None), ("lenient", "flex", Some("service_tier"))] {
        let answer = ask(model, tier);
        assert_eq!((answer.status, answer.header("x-llmkit-dropped")), (200, dropped), "{}", answer.text());
        let sent = upstream.last()["body"].to_string().to_lowercase();
        assert!(!sent.contains("tier"), "{sent}");
    }
}

/// Of the bytes only the model's name, which the path has, makes room for the version.
#[test]
fn messages_for_claude_keep_their_bytes() {
    let upstream = Upstream::start();
    let config = vertex(&upstream, "v", "").replace("project =", "publisher = \"anthropic\"\nproject =");
    let gateway = Gateway::start(&config, &[]);
    let body =
        r#"{ "max_tokens":50, "model":"v/claude@1", "messages":[{"role":"user","content":"one two three"}]STREAM }"#;
    for (stream, verb) in [("", "rawPredict"), (r#", "stream":true"#, "streamRawPredict")] {
        let body = body.replace("STREAM", stream);
        let answer = post(gateway.addr(), "/v1/messages", &[], body.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        let last = upstream.last();
        let at = "/v1/projects/example/locations/europe-west4/publishers/anthropic/models/claude@1";
        assert_eq!(last["path"], format!("{at}:{verb}"));
        let sent = body.replace(r#""model":"v/claude@1""#, r#""anthropic_version":"vertex-2023-10-16""#);
        assert_eq!(last["body"], sent);
    }
    let body = body.replace("STREAM", "").replace(r#""max_tokens":50, "#, "");
    let answer = post(gateway.addr(), "/v1/messages/count_tokens", &[], body.as_bytes());
    assert!(answer.json()["input_tokens"].as_u64().unwrap() > 0, "{}", answer.text());
    assert!(upstream.last()["path"].as_str().unwrap().ends_with("/models/count-tokens:rawPredict"));
    assert!(upstream.last()["body"].as_str().unwrap().contains(r#""model":"claude@1""#));
}

#[test]
fn a_token_that_ends_is_followed_by_the_next() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&vertex(&upstream, "v", "expires_in=0"), &[]);
    for number in 1..=3 {
        assert_eq!(gateway.chat("v/sim", &number.to_string()).status, 200);
        assert_eq!(authorization(&upstream.last()), format!("Bearer sim-token-{number}"));
    }
    assert_eq!(exchanges(&upstream), 3);
}

#[test]
fn all_who_wait_for_a_token_wait_for_one_exchange() {
    for (script, status) in [("ttft=300ms", 200), ("ttft=300ms,status=401", 502)] {
        let upstream = Upstream::start();
        let more = "[resilience]\nretry_attempts = 0\n";
        let gateway = Gateway::start(&format!("{}{more}", vertex(&upstream, "v", script)), &[]);
        let addr = gateway.addr();
        let ask = |number: u32| {
            let body = chat_body("v/sim", &number.to_string(), "");
            std::thread::spawn(move || post(addr, "/v1/chat/completions", &[], body.as_bytes()).status)
        };
        let asked: Vec<_> = (0..8).map(ask).collect();
        assert!(asked.into_iter().all(|answer| answer.join().unwrap() == status), "{script}");
        assert_eq!(exchanges(&upstream), 1, "{script}");
    }
}

#[test]
fn a_token_that_is_refused_before_its_end_is_replaced_without_another_attempt() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&vertex(&upstream, "v", ""), &[]);
    assert_eq!(gateway.chat("v/sim", "1").status, 200);
    post(upstream.0.addr, "/sim/reset", &[], b"");
    let answer = gateway.chat("v/sim", "2");
    assert_eq!((answer.status, answer.header("x-llmkit-attempts")), (200, Some("1")), "{}", answer.text());
    assert_eq!((exchanges(&upstream), authorization(&upstream.last())), (1, "Bearer sim-token-2"));
}

#[test]
fn an_account_that_is_refused_is_left_out_and_the_next_one_answers() {
    let upstream = Upstream::start();
    let good = account(&upstream, "");
    let more = format!("api_keys = [{{ key = '''{good}''' }}]\n");
    let gateway = Gateway::start(&format!("{}{more}", vertex(&upstream, "v", "status=401")), &[]);
    let first = gateway.chat("v/sim", "1");
    assert_eq!((first.status, first.header("x-llmkit-attempts")), (200, Some("2")), "{}", first.text());
    let next = gateway.chat("v/sim", "2");
    assert_eq!((next.status, next.header("x-llmkit-attempts")), (200, Some("1")), "{}", next.text());
    assert_eq!(exchanges(&upstream), 2);
}

#[test]
fn without_a_token_the_caller_is_not_to_blame() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&vertex(&upstream, "v", "status=400"), &[]);
    let refused = gateway.chat("v/sim", "1");
    assert_eq!((refused.status, refused.error()["code"].as_str()), (502, Some("upstream_auth_error")));
    let message = refused.error()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("invalid_grant"), "{message}");
    assert!(upstream.stats("")["models"]["sim"].is_null(), "the model was not asked");
}

#[test]
fn an_endpoint_that_fails_is_asked_again_as_a_provider_is() {
    let upstream = Upstream::start();
    let more = "[resilience]\nretry_base_ms = 1\n";
    let gateway = Gateway::start(&format!("{}{more}", vertex(&upstream, "v", "fail_first=1,status=503")), &[]);
    let answer = gateway.chat("v/sim", "1");
    assert_eq!((answer.status, answer.header("x-llmkit-attempts")), (200, Some("2")), "{}", answer.text());
    assert_eq!(exchanges(&upstream), 2);
}
