//! Amazon Bedrock: signatures and keys, paths, and what goes wrong before a stream and in it.

use serde_json::{Value, json};

use crate::process::{Gateway, Upstream};
use crate::wire::post;

/// The configuration of a provider of the kind `bedrock` before `upstream`, with further keys.
pub(crate) fn bedrock(upstream: &Upstream, name: &str, more: &str) -> String {
    let base = upstream.0.addr;
    format!(
        "[[providers]]\nname = \"{name}\"\nkind = \"bedrock\"\nbase_url = \"http://{base}\"\nregion = \"eu-west-1\"\n{more}\n"
    )
}

const SIGNS: &str = "access_key_id = \"AKID\"\nsecret_access_key = \"se/cr+et\"\nsession_token = \"token==\"";

fn header<'a>(request: &'a Value, name: &str) -> Option<&'a str> {
    let headers = request["headers"].as_array().expect("headers");
    headers.iter().find(|header| header[0] == name).and_then(|header| header[1].as_str())
}

fn sent(upstream: &Upstream) -> Value {
    serde_json::from_str(upstream.last()["body"].as_str().expect("a body")).expect("JSON")
}

#[test]
fn requests_are_signed_by_the_secret_whatever_the_path_and_the_body() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&bedrock(&upstream, "b", SIGNS), &[]);
    let model = "eu.anthropic.claude-x-v1:0?auth=AKID:se/cr+et,reply=good morning";
    let answer = gateway.chat(&format!("b/{model}"), "grüß dich");
    assert_eq!(
        (answer.status, answer.json()["choices"][0]["message"]["content"].as_str()),
        (200, Some("good morning"))
    );
    assert_eq!(answer.json()["model"], model, "the service names none");
    let last = upstream.last();
    let path = last["path"].as_str().unwrap();
    assert!(
        path.starts_with("/model/eu.anthropic.claude-x-v1%3A0%3Fauth%3DAKID%3Ase%2Fcr") && path.ends_with("/converse")
    );
    assert_eq!(header(&last, "x-amz-security-token"), Some("token=="));
    let authorization = header(&last, "authorization").unwrap();
    assert!(authorization.contains("/eu-west-1/bedrock/aws4_request") && !authorization.contains("se/cr+et"));
    assert_eq!(sent(&upstream), json!({"messages": [{"role": "user", "content": [{"text": "grüß dich"}]}]}));
}

#[test]
fn another_secret_is_a_key_refused_and_the_caller_is_not_to_blame() {
    let upstream = Upstream::start();
    let more = format!("{SIGNS}\napi_keys = [{{ key = \"bearer\" }}]");
    let gateway = Gateway::start(&bedrock(&upstream, "b", &more), &[]);
    let refused = gateway.chat("b/sim?auth=AKID:other", "1");
    assert_eq!(
        (refused.status, refused.error()["code"].as_str()),
        (502, Some("upstream_auth_error")),
        "{}",
        refused.text()
    );
    // The other one goes on.
    let gateway = Gateway::start(&bedrock(&upstream, "b", &more), &[]);
    let answer = gateway.chat("b/sim?auth=bearer", "1");
    assert_eq!((answer.status, header(&upstream.last(), "authorization")), (200, Some("Bearer bearer")));
    assert_eq!(answer.header("x-llmkit-attempts"), Some("2"));
}

#[test]
fn credentials_and_region_may_be_those_of_the_environment() {
    let upstream = Upstream::start();
    let config = bedrock(&upstream, "b", "").replace("region = \"eu-west-1\"\n", "");
    let region = ("AWS_REGION", "us-west-2");
    let gateway = Gateway::start(&config, &[region, ("AWS_BEARER_TOKEN_BEDROCK", "bearer")]);
    assert_eq!(gateway.chat("b/sim?auth=bearer", "1").status, 200);
    let gateway = Gateway::start(&config, &[region, ("AWS_ACCESS_KEY_ID", "AKID"), ("AWS_SECRET_ACCESS_KEY", "s")]);
    assert_eq!(gateway.chat("b/sim?auth=AKID:s", "1").status, 200);
    assert!(header(&upstream.last(), "authorization").unwrap().contains("/us-west-2/"));
}

#[test]
fn a_stream_that_fails_says_so_and_one_that_fails_before_its_beginning_is_tried_again() {
    let upstream = Upstream::start();
    let more = "[resilience]\nretry_base_ms = 1\n";
    let gateway = Gateway::start(&format!("{}{more}", bedrock(&upstream, "b", SIGNS)), &[]);
    let ask = |script: &str| {
        let body = json!({"model": format!("b/sim?{script}"), "stream": true,
            "messages": [{"role": "user", "content": "x"}]});
        post(gateway.addr(), "/v1/chat/completions", &[], body.to_string().as_bytes())
    };
    for broken in
        ["tokens=5,error_event=2", "tokens=5,cut_after=2", "tokens=5,no_done", "tokens=5,cut_after=2,cut_clean"]
    {
        let text = ask(broken).text();
        assert!(text.contains("data: {\"error\":") && !text.contains("[DONE]"), "{broken}: {text}");
    }
    let answer = ask("fail_first=1,status=429,tokens=3");
    assert_eq!((answer.status, answer.header("x-llmkit-attempts")), (200, Some("2")), "{}", answer.text());
    assert!(answer.text().ends_with("data: [DONE]\n\n"));
    let late = ask("status=400");
    assert_eq!((late.status, late.error()["type"].as_str()), (400, Some("invalid_request_error")));
}

#[test]
fn what_has_no_equal_is_refused_or_left_out_and_listed() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&bedrock(&upstream, "b", SIGNS), &[]);
    let ask = |more: &str| {
        let body = format!(r#"{{"model":"b/anthropic.claude","messages":[{{"role":"user","content":"x"}}],{more}}}"#);
        post(gateway.addr(), "/v1/chat/completions", &[], body.as_bytes())
    };
    for (more, param) in [
        (r#""n":2"#, "n"),
        (r#""logprobs":true"#, "logprobs"),
        (r#""temperature":1.5"#, "temperature"),
        (r#""response_format":{"type":"json_object"}"#, "response_format"),
    ] {
        let refused = ask(more);
        assert_eq!((refused.status, refused.error()["param"].as_str()), (400, Some(param)), "{}", refused.text());
    }
    let answer = ask(r#""seed":7,"user":"ann","max_tokens":9,"stop":["END"],"reasoning_effort":"low""#);
    assert_eq!((answer.status, answer.header("x-llmkit-dropped")), (200, Some("seed,user")), "{}", answer.text());
    assert_eq!(
        sent(&upstream),
        json!({
            "messages": [{"role": "user", "content": [{"text": "x"}]}],
            "inferenceConfig": {"maxTokens": 9, "stopSequences": ["END"]},
            "additionalModelRequestFields": {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
            "additionalModelResponseFieldPaths": ["/stop_sequence"],
        })
    );
}
