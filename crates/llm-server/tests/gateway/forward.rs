//! The routes that are passed on as they are: moderations, images, audio, files, uploads and batches.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{StreamExt, stream};
use hyper::body::Bytes;
use serde_json::{Value, json};

use crate::caller::{Caller, in_pieces, text};
use crate::canned::Canned;
use crate::process::{Gateway, Upstream, config};
use crate::wire::{Answer, Connection, get, post};

const FAST: &str = "[[models]]\nname = \"fast\"\ntargets = [{ provider = \"up\", model = \"sim?tokens=2\" }]\n";

/// What the upstream got last.
fn sent(upstream: &Upstream) -> Vec<u8> {
    STANDARD.decode(upstream.last()["body_base64"].as_str().expect("it is there")).expect("it is there")
}

fn sent_header(upstream: &Upstream, name: &str) -> Option<String> {
    let last = upstream.last();
    let headers = last["headers"].as_array().expect("it is there");
    headers.iter().find(|header| header[0] == name).map(|header| header[1].as_str().expect("it is there").to_owned())
}

fn ask(gateway: &Gateway, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut connection = Connection::open(gateway.addr());
    connection.request(method, path, headers, body);
    connection.answer().expect("an answer")
}

const JSON: (&str, &str) = ("content-type", "application/json");
const FORM: (&str, &str) = ("content-type", "multipart/form-data; boundary=edge");

/// A form of these fields; the name of a file's is followed by what else is said of it.
fn form(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut form = Vec::new();
    for (name, value) in fields {
        form.extend(format!("--edge\r\ncontent-disposition: form-data; name={name}\r\n\r\n").bytes());
        form.extend(*value);
        form.extend(b"\r\n");
    }
    form.extend(b"--edge--\r\n");
    form
}

/// Bytes of every kind, boundaries that are none among them.
fn noise(length: usize) -> Vec<u8> {
    let mut noise: Vec<u8> = (0..length).map(|at| (at * 7 + at / 251) as u8).collect();
    noise[..9].copy_from_slice(b"\r\n--edge1");
    noise
}

fn add_file(gateway: &Gateway, headers: &[(&str, &str)], content: &[u8]) -> Answer {
    let body = form(&[("\"purpose\"", b"batch"), ("\"file\"; filename=\"in.jsonl\"", content)]);
    ask(gateway, "POST", "/v1/files", &[&[FORM][..], headers].concat(), &body)
}

#[test]
fn bodies_pass_but_for_the_models_name_and_answers_as_they_are() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, FAST);
    for (path, body) in [
        ("/v1/moderations", "{ \"input\" : [\"a\", \"harmful\"],\t\"model\":\"fast\", \"x\":1.0 }"),
        ("/v1/images/generations", "{\"prompt\":\"a cat\",\"model\":\"up/sim?tokens=2\",\"n\":1}"),
        ("/v1/images/generations", "{\"prompt\":\"a cat\",\"model\":\"fast\",\"stream\":true}"),
        ("/v1/audio/speech", "{\"input\":\"say it\",\"voice\":\"alloy\",\"model\":\"fast\"}"),
        ("/v1/audio/speech", "{\"input\":\"say it\",\"voice\":\"alloy\",\"model\":\"fast\",\"stream_format\":\"sse\"}"),
    ] {
        let direct = post(upstream.0.addr, path, &[], body.replace("fast", "sim").replace("up/", "").as_bytes());
        let answer = post(gateway.addr(), path, &[JSON, ("x-request-id", "mine")], body.as_bytes());
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let spliced = body.replace("\"fast\"", "\"sim?tokens=2\"").replace("up/", "");
        assert_eq!(String::from_utf8(sent(&upstream)).unwrap(), spliced);
        // It says which model it is.
        if path != "/v1/moderations" {
            assert!(answer.body == direct.body && answer.whole, "{path}");
            assert_eq!(answer.header("content-length"), direct.header("content-length"));
        }
        let header = |name| answer.header(name);
        assert!(header("content-type").unwrap().starts_with(direct.header("content-type").unwrap()));
        assert_eq!((header("x-request-id"), header("x-llmkit-provider")), (Some("mine"), Some("up")));
        assert_eq!((header("x-llmkit-attempts"), header("x-llmkit-cache")), (Some("1"), Some("bypass")));
        assert_eq!(sent_header(&upstream, "authorization").as_deref(), Some("Bearer provider-secret"));
        assert_eq!(sent_header(&upstream, "content-type").as_deref(), Some("application/json"));
        assert_eq!(sent_header(&upstream, "x-request-id").as_deref(), Some("mine"));
    }
    // Without a model the provider has its own.
    let answer = post(gateway.addr(), "/v1/moderations", &[], b"{\"input\":\"harmful\"}");
    assert_eq!(answer.json()["results"][0]["flagged"], true);
    assert_eq!(sent(&upstream), b"{\"input\":\"harmful\"}");
}

#[test]
fn a_forms_model_is_found_and_replaced_wherever_it_stands() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, FAST);
    let file = ("\"file\"; filename=\"a.mp3\"", &noise(300_000)[..]);
    for fields in [[("\"model\"", &b"fast"[..]), file], [file, ("\"model\"", b"fast")]] {
        let body = form(&fields);
        let answer = post(gateway.addr(), "/v1/audio/transcriptions", &[FORM], &body);
        assert_eq!(answer.json()["text"], "a.mp3 of 300000 bytes");
        let spliced = form(&fields.map(|(name, value)| (name, if value == b"fast" { b"sim?tokens=2" } else { value })));
        assert!(sent(&upstream) == spliced);
        assert_eq!(sent_header(&upstream, "content-length"), Some(spliced.len().to_string()));
        assert_eq!(sent_header(&upstream, "content-type").as_deref(), Some(FORM.1));
    }
    let text = form(&[file, ("\"model\"", b"up/sim"), ("\"response_format\"", b"text")]);
    let answer = post(gateway.addr(), "/v1/audio/translations", &[FORM], &text);
    assert_eq!(
        (answer.text(), answer.header("content-type")),
        ("a.mp3 of 300000 bytes\n".into(), Some("text/plain; charset=utf-8"))
    );
    let edit = form(&[("\"image\"; filename=\"i.png\"", b"x"), ("\"model\"", b"fast"), ("\"prompt\"", b"a cat")]);
    assert!(post(gateway.addr(), "/v1/images/edits", &[FORM], &edit).json()["data"][0]["b64_json"].is_string());
    assert!(post(gateway.addr(), "/v1/images/variations", &[FORM], &edit).json()["data"][0]["b64_json"].is_string());

    let count = upstream.count("requests");
    let long = noise(200_000);
    let twice = form(&[("\"model\"", b"fast"), ("\"file\"; filename=\"a\"", &long), ("\"model\"", b"up/sim")]);
    for (body, kind) in [(twice, FORM.1), (b"x".to_vec(), "multipart/form-data")] {
        let refused = post(gateway.addr(), "/v1/audio/transcriptions", &[("content-type", kind)], &body);
        assert_eq!((refused.status, refused.error()["type"].as_str()), (400, Some("invalid_request_error")));
    }
    assert_eq!(upstream.stats("active=0")["completed"], count);
}

#[test]
fn files_uploads_and_batches_are_the_accounts() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    let content = noise(5000);
    let file = add_file(&gateway, &[], &content).json();
    let id = file["id"].as_str().unwrap();
    assert_eq!(
        (&file["bytes"], &file["filename"], &file["purpose"]),
        (&json!(5000), &json!("in.jsonl"), &json!("batch"))
    );
    let path = format!("/v1/files/{id}");
    assert_eq!(get(gateway.addr(), &path, &[]).json(), file);
    assert_eq!(sent_header(&upstream, "content-type"), None);
    assert_eq!(get(gateway.addr(), "/v1/files?limit=3&after=x", &[]).json()["data"], json!([file]));
    assert_eq!(upstream.last()["path"], "/v1/files?limit=3&after=x");
    let stored = get(gateway.addr(), &format!("{path}/content"), &[]);
    assert!(stored.body == content && stored.header("content-type") == Some("application/octet-stream"));

    let batch = json!({ "input_file_id": id, "endpoint": "/v1/chat/completions", "completion_window": "24h" });
    let made = post(gateway.addr(), "/v1/batches", &[JSON], batch.to_string().as_bytes()).json();
    let batch = format!("/v1/batches/{}", made["id"].as_str().unwrap());
    assert_eq!(get(gateway.addr(), &batch, &[]).json(), made);
    assert_eq!(get(gateway.addr(), "/v1/batches", &[]).json()["data"], json!([made]));
    assert_eq!(post(gateway.addr(), &format!("{batch}/cancel"), &[], b"").json()["status"], "cancelling");

    let upload = json!({ "bytes": 7, "filename": "f", "purpose": "batch", "mime_type": "text/plain" });
    let upload = post(gateway.addr(), "/v1/uploads", &[JSON], upload.to_string().as_bytes()).json();
    let place = format!("/v1/uploads/{}", upload["id"].as_str().unwrap());
    let parts = [&b"abc"[..], b"defg"].map(|data| {
        let part = form(&[("\"data\"; filename=\"p\"", data)]);
        post(gateway.addr(), &format!("{place}/parts"), &[FORM], &part).json()["id"].clone()
    });
    let order = json!({ "part_ids": parts }).to_string();
    let complete = post(gateway.addr(), &format!("{place}/complete"), &[JSON], order.as_bytes()).json();
    let joined = format!("/v1/files/{}/content", complete["file"]["id"].as_str().unwrap());
    assert_eq!(get(gateway.addr(), &joined, &[]).text(), "abcdefg");
    assert_eq!(post(gateway.addr(), &format!("{place}/cancel"), &[], b"").json()["status"], "cancelled");

    assert_eq!(ask(&gateway, "DELETE", &path, &[], b"").json()["deleted"], true);
    let gone = get(gateway.addr(), &path, &[]);
    assert_eq!((gone.status, gone.error()["type"].as_str()), (404, Some("invalid_request_error")));
    assert_eq!(ask(&gateway, "PUT", &path, &[], b"").status, 405);
    assert_eq!(get(gateway.addr(), "/v1/files/../models", &[]).status, 404);
}

#[test]
fn a_large_upload_and_its_download_pass_in_bounded_memory() {
    const LENGTH: usize = 30 << 20;
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    let content = noise(LENGTH);
    // Whatever is allocated once is there.
    assert_eq!(add_file(&gateway, &[], &content[..100_000]).status, 200);
    let before = gateway.process.resident_kb();
    let grown = || gateway.process.resident_kb().saturating_sub(before);
    let file = add_file(&gateway, &[], &content).json();
    assert_eq!(file["bytes"], LENGTH);
    assert!(grown() < 8 << 10, "{} kB for an upload of {LENGTH} bytes", grown());
    let path = format!("/v1/files/{}/content", file["id"].as_str().unwrap());
    let stored = get(gateway.addr(), &path, &[]);
    assert!(stored.whole && stored.body == content);
    let speech = form(&[("\"model\"", b"up/sim"), ("\"file\"; filename=\"f\"", &content)]);
    assert_eq!(post(gateway.addr(), "/v1/audio/transcriptions", &[FORM], &speech).status, 200);
    // What the allocator keeps of each thread is in it.
    assert!(grown() < 14 << 10, "{} kB for three times {LENGTH} bytes", grown());

    // More than may come is refused, said or not.
    let limited = Gateway::start(&config(upstream.0.addr, "[server]\nmax_body_bytes = 200000\n"), &[]);
    let refused = add_file(&limited, &[], &content[..300_000]);
    assert_eq!((refused.status, add_file(&limited, &[], &content[..100_000]).status), (413, 200));
    let mut connection = Connection::open(limited.addr());
    connection.send(
        format!("POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-type: {}\r\ntransfer-encoding: chunked\r\n\r\n", FORM.1)
            .as_bytes(),
    );
    for piece in form(&[("\"file\"; filename=\"f\"", &content[..300_000])]).chunks(10_000) {
        connection.send(&[format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
    }
    connection.send(b"0\r\n\r\n");
    assert_eq!(connection.answer().unwrap().status, 413);
    // That is not the provider's fault.
    let circuits = get(limited.addr(), "/api/v1/circuit-breaker/stats", &[]).json()["circuits"].clone();
    assert_eq!((&circuits[0]["model"], &circuits[0]["error_count"]), (&json!("files"), &json!(0)), "{circuits}");
}

#[test]
fn an_account_is_not_shared_by_tenants_unless_they_are_meant_to() {
    let upstream = Upstream::start();
    let keys = "api_keys = [\"one\", { key = \"two\", tenant = \"acme\" }, { key = \"boss\", scopes = [\"admin\"] }]\n";
    let gateway = Gateway::start(&config(upstream.0.addr, &format!("[server]\n{keys}")), &[]);
    let statuses = |gateway: &Gateway, key| {
        let files = get(gateway.addr(), "/v1/files", &[("x-api-key", key)]).status;
        let batches = post(gateway.addr(), "/v1/batches", &[("x-api-key", key)], b"{}").status;
        let moderation = post(gateway.addr(), "/v1/moderations", &[("x-api-key", key)], b"{\"input\":\"x\"}").status;
        [files, batches, moderation]
    };
    assert_eq!(statuses(&gateway, "one"), [403, 403, 200]);
    assert_eq!(statuses(&gateway, "two"), [403, 403, 200]);
    assert_eq!(statuses(&gateway, "boss"), [200, 404, 403]);
    assert_eq!(statuses(&gateway, "nobody"), [401, 401, 401]);
    let told = get(gateway.addr(), "/v1/files", &[("x-api-key", "one")]);
    assert_eq!(told.error()["code"], "missing_scope");

    let shared = Gateway::start(&config(upstream.0.addr, &format!("[server]\nshared_account = true\n{keys}")), &[]);
    assert_eq!(statuses(&shared, "one"), [200, 404, 200]);
    let alone = "[server]\napi_keys = [{ key = \"one\", tenant = \"acme\" }, { key = \"two\", tenant = \"acme\" }]\n";
    let alone = Gateway::start(&config(upstream.0.addr, alone), &[]);
    assert_eq!(statuses(&alone, "two"), [200, 404, 200]);
}

#[test]
fn who_has_no_such_routes_is_not_asked() {
    let upstream = Upstream::start();
    let base = upstream.0.addr;
    let claude = format!(
        "[[providers]]\nname = \"claude\"\nkind = \"anthropic\"\nbase_url = \"http://{base}\"\napi_key = \"k\"\n"
    );
    let models = "[[models]]\nname = \"claude-only\"\ntargets = [{ provider = \"claude\", model = \"sim\" }]\n\
                  [[models]]\nname = \"mixed\"\nstrategy = \"fallback\"\n\
                  targets = [{ provider = \"claude\", model = \"c\" }, { provider = \"up\", model = \"o\" }]\n";
    let gateway = Gateway::before(&upstream, &format!("{claude}{models}"));
    let moderate = |model: &str| {
        let body = json!({ "model": model, "input": "x" }).to_string();
        post(gateway.addr(), "/v1/moderations", &[], body.as_bytes())
    };
    for model in ["claude-only", "claude/sim"] {
        let refused = moderate(model);
        assert_eq!((refused.status, refused.error()["param"].as_str()), (501, Some("model")), "{}", refused.text());
    }
    assert_eq!(moderate("nobody").error()["code"], "model_not_found");
    assert_eq!(upstream.count("requests"), 0);
    assert_eq!(moderate("mixed").json()["model"], "o");

    let without = Gateway::start(&format!("{claude}[[providers]]\nname = \"echo\"\nkind = \"echo\"\n"), &[]);
    assert_eq!(get(without.addr(), "/v1/files", &[]).status, 501);
    let echo = post(without.addr(), "/v1/audio/speech", &[], b"{\"model\":\"echo/x\",\"input\":\"x\"}");
    assert_eq!((echo.status, echo.error()["code"].as_str()), (501, Some("not_implemented")));
    // What names no model goes to OpenAI's own kind before others that speak its format.
    let other = Upstream::start();
    let openai = format!(
        "[[providers]]\nname = \"openai\"\nkind = \"openai\"\nbase_url = \"http://{}/v1\"\napi_key = \"k\"\n",
        other.0.addr
    );
    let both = Gateway::before(&upstream, &openai);
    assert_eq!(get(both.addr(), "/v1/files", &[]).header("x-llmkit-provider"), Some("openai"));
}

#[test]
fn failures_are_retried_elsewhere_only_while_the_body_is_all_there() {
    let (first, second) = (Upstream::scripted("status=500"), Upstream::start());
    let two = format!(
        "[[providers]]\nname = \"two\"\nkind = \"openai_compatible\"\nbase_url = \"http://{}/v1\"\n",
        second.0.addr
    );
    let model = "[[models]]\nname = \"fast\"\nstrategy = \"fallback\"\n\
                 targets = [{ provider = \"up\", model = \"a\" }, { provider = \"two\", model = \"b\" }]\n\
                 [resilience]\nretry_base_ms = 1\ncircuit_breaker_threshold = 1000\n";
    let gateway = Gateway::before(&first, &format!("{two}{model}"));
    let answer = post(gateway.addr(), "/v1/moderations", &[], b"{\"model\":\"fast\",\"input\":\"x\"}");
    assert_eq!((answer.json()["model"].as_str(), answer.header("x-llmkit-attempts")), (Some("b"), Some("2")));
    let short = form(&[("\"model\"", b"fast"), ("\"file\"; filename=\"f\"", b"x")]);
    let answer = post(gateway.addr(), "/v1/audio/transcriptions", &[FORM], &short);
    assert_eq!((answer.status, answer.header("x-llmkit-attempts")), (200, Some("2")));
    let long = form(&[("\"model\"", b"fast"), ("\"file\"; filename=\"f\"", &noise(500_000))]);
    let failed = post(gateway.addr(), "/v1/audio/transcriptions", &[FORM], &long);
    assert_eq!((failed.status, failed.header("x-llmkit-attempts")), (502, Some("1")));
    // To make a batch twice is not to make one; to ask for it twice is.
    let before = first.count("requests");
    assert_eq!(post(gateway.addr(), "/v1/batches", &[], b"{}").header("x-llmkit-attempts"), Some("1"));
    assert_eq!(get(gateway.addr(), "/v1/batches", &[]).header("x-llmkit-attempts"), Some("4"));
    assert_eq!(first.count("requests"), before + 5);
    // Nobody listens: a long body can go elsewhere.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = Gateway::start(&config(nobody, &format!("{two}{model}")), &[]);
    let answer = post(gateway.addr(), "/v1/audio/transcriptions", &[FORM], &long);
    assert_eq!((answer.status, answer.header("x-llmkit-attempts")), (200, Some("2")));
    assert_eq!(sent(&second).len(), long.len() - 3);
}

#[test]
fn circuits_limits_and_budgets_hold_for_these_routes_too() {
    let upstream = Upstream::start();
    let breaker = "[resilience]\nretry_attempts = 0\ncircuit_breaker_threshold = 2\n";
    let gateway = Gateway::before(&upstream, breaker);
    let speak = |gateway: &Gateway, model: &str| {
        let body = json!({ "model": model, "input": "x", "voice": "alloy" }).to_string();
        post(gateway.addr(), "/v1/audio/speech", &[], body.as_bytes())
    };
    let failing = "up/sim?status=503";
    assert_eq!([0, 1, 2].map(|_| speak(&gateway, failing).status), [503, 503, 503]);
    assert_eq!(upstream.count("requests"), 2);
    let metrics = get(gateway.addr(), "/metrics", &[]).text();
    assert!(metrics.contains("pass_through"), "{metrics}");

    let limits = "[[limits]]\nlevel = \"key\"\nname = \"*\"\nrequests = { cap = 2, per = \"1h\" }\n";
    let limited = Gateway::before(&upstream, limits);
    let answer = get(limited.addr(), "/v1/files", &[]);
    assert_eq!((answer.status, answer.header("x-ratelimit-remaining-requests")), (200, Some("1")));
    assert_eq!([speak(&limited, "up/sim").status, speak(&limited, "up/sim").status], [200, 429]);
    let upload = add_file(&limited, &[], &noise(500_000));
    assert_eq!((upload.status, upload.error()["code"].as_str()), (429, Some("rate_limit_exceeded")));

    let budget = "[[limits]]\nlevel = \"key\"\nname = \"*\"\nmoney = { cap = \"1.00\", per = \"1d\" }\n";
    let budgeted = Gateway::before(&upstream, budget);
    let refused = speak(&budgeted, "up/sim");
    assert_eq!((refused.status, refused.error()["code"].as_str()), (429, Some("unbounded_cost")), "{}", refused.text());
    assert_eq!(post(budgeted.addr(), "/v1/batches", &[], b"{}").error()["code"], "unbounded_cost");
    assert_eq!(post(budgeted.addr(), "/v1/moderations", &[], b"{\"input\":\"x\"}").status, 200);
    assert_eq!(add_file(&budgeted, &[], b"x").status, 200);
}

#[test]
fn what_the_account_keeps_is_asked_for_by_one_key() {
    let upstream = Upstream::start();
    let keys = "api_keys = [{ key = \"second\" }, { key = \"third\" }]\n";
    let gateway = Gateway::start(&config(upstream.0.addr, keys), &[]);
    let mut seen: Vec<String> = Vec::new();
    for _ in 0..6 {
        assert_eq!(get(gateway.addr(), "/v1/files", &[]).status, 200);
        assert_eq!(sent_header(&upstream, "authorization").as_deref(), Some("Bearer provider-secret"));
        post(gateway.addr(), "/v1/audio/speech", &[], b"{\"model\":\"up/sim\",\"input\":\"x\"}");
        seen.extend(sent_header(&upstream, "authorization"));
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 3, "{seen:?}");
}

#[test]
fn an_answer_that_breaks_off_is_not_taken_for_whole() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    let speak = |model: &str, more: Value| {
        let mut body = json!({ "model": model, "input": "x", "voice": "alloy" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut connection = Connection::open(gateway.addr());
        connection.request("POST", "/v1/audio/speech", &[], body.to_string().as_bytes());
        connection.answer()
    };
    // It may break off before anything of it was sent.
    assert!(speak("up/sim?truncate", json!({})).is_none_or(|cut| cut.status == 200 && !cut.whole));
    let events = speak("up/sim?cut_after=1", json!({ "stream_format": "sse" })).unwrap();
    assert!(events.whole && events.text().contains("speech.audio.delta"), "{}", events.text());
    let last = events.text();
    let last = last.trim_end().rsplit("\n\n").find(|event| event.contains("\"error\"")).map(str::to_owned);
    assert!(last.is_some(), "{}", events.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_over_http2_pass_and_one_that_stops_coming_is_its_callers_fault() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(upstream.0.addr, "[server]\nbody_idle_timeout = \"200ms\"\n"), &[]);
    let mut caller = Caller::plain(gateway.addr()).await;
    let body = form(&[("\"purpose\"", b"batch"), ("\"file\"; filename=\"f\"", &noise(3_000_000))]);
    let pieces: Vec<_> = body.chunks(100_000).map(Bytes::copy_from_slice).collect();
    let answer = caller.send("/v1/files", &[FORM], in_pieces(stream::iter(pieces.clone()))).await.unwrap();
    let file: Value = serde_json::from_str(&text(answer).await).unwrap();
    assert_eq!(file["bytes"], 3_000_000);
    assert!(sent(&upstream) == body);
    assert_eq!(sent_header(&upstream, "content-length"), None);

    let stuck = in_pieces(stream::iter(pieces.into_iter().take(5)).chain(stream::pending()));
    let answer = caller.send("/v1/files", &[FORM], stuck).await.unwrap();
    assert_eq!(answer.status(), 408);
    assert!(text(answer).await.contains("request_timeout"));
    let circuits = get(gateway.addr(), "/api/v1/circuit-breaker/stats", &[]).json()["circuits"].clone();
    assert_eq!((&circuits[0]["model"], &circuits[0]["error_count"]), (&json!("files"), &json!(0)), "{circuits}");
}

#[test]
fn a_deadline_and_a_total_time_hold_for_these_routes() {
    let upstream = Upstream::start();
    let hasty = format!(
        "[[providers]]\nname = \"hasty\"\nkind = \"openai_compatible\"\nbase_url = \"http://{}/v1\"\ntotal_timeout = \"50ms\"\n\
         [resilience]\nretry_attempts = 0\n",
        upstream.0.addr
    );
    let gateway = Gateway::before(&upstream, &hasty);
    let speak = |model: &str, headers: &[(&str, &str)]| {
        let body = json!({ "model": model, "input": "x", "voice": "alloy" }).to_string();
        post(gateway.addr(), "/v1/audio/speech", headers, body.as_bytes())
    };
    assert_eq!(speak("hasty/sim?stall", &[]).status, 504);
    assert_eq!(speak("up/sim?stall", &[("x-llmkit-deadline-ms", "50")]).status, 504);
    assert_eq!(speak("up/sim", &[("x-llmkit-deadline-ms", "soon")]).error()["param"], "x-llmkit-deadline-ms");
    // Who waits for nothing any more has left the upstream, too.
    assert_eq!(upstream.stats("cancelled=2&active=0")["cancelled"], 2);
}

#[test]
fn what_an_answer_says_it_used_is_counted_and_charged() {
    let picture = format!(
        r#"{{"created":7,"data":[{{"b64_json":"{}"}}],"usage":{{"input_tokens":50,"input_tokens_details":{{"image_tokens":40,"text_tokens":10}},"output_tokens":90}}}}"#,
        "A".repeat(300_000)
    );
    let heard = r#"{"text":"\"usage\"","usage":{"type":"tokens","input_tokens":14,"input_token_details":{"audio_tokens":10,"text_tokens":4},"output_tokens":6}}"#;
    let timed = r#"{"text":"x","usage":{"type":"duration","seconds":9}}"#;
    let streamed = "event: transcript.text.delta\ndata: {\"delta\":\"x\"}\n\nevent: transcript.text.done\n\
        data: {\"text\":\"x\",\"usage\":{\"type\":\"tokens\",\"input_tokens\":5,\"output_tokens\":5}}\n\n";
    let json = "application/json";
    let upstream = Canned::start(vec![
        ("/images/", json, picture),
        ("/batches", json, r#"{"id":"b","usage":{"input_tokens":700,"output_tokens":700}}"#.to_owned()),
        ("streamed", "text/event-stream", streamed.to_owned()),
        ("timed", json, timed.to_owned()),
        ("/transcriptions", json, heard.to_owned()),
    ]);
    let more = "[[models]]\nname = \"fast\"\ntargets = [{ provider = \"up\", model = \"m\", price = { input = \"10\", output = \"40\" } }]\n\
        [[limits]]\nlevel = \"key\"\nname = \"*\"\ntokens = { cap = 1000, per = \"1h\" }\n";
    let gateway = Gateway::start(&config(upstream.addr, more), &[]);
    let ask = |path: &str, body: &[u8]| {
        let kind = if path.contains("audio") { FORM } else { JSON };
        let answer = ask(&gateway, "POST", path, &[kind], body);
        assert_eq!((answer.status, answer.whole), (200, true), "{}", answer.text());
        answer
    };
    let recording = |said: &[u8]| form(&[("\"model\"", b"fast"), ("\"file\"; filename=\"a.wav\"", said)]);
    assert!(ask("/v1/images/generations", b"{\"model\":\"fast\",\"prompt\":\"x\"}").body.len() > 300_000);
    assert_eq!(ask("/v1/audio/transcriptions", &recording(b"sound")).text(), heard);
    assert_eq!(ask("/v1/audio/transcriptions", &recording(b"streamed")).text(), streamed);
    // Of seconds nobody knows the tokens, and those of a batch are charged when it is done.
    ask("/v1/audio/transcriptions", &recording(b"timed"));
    ask("/v1/batches", b"{}");
    let metrics = get(gateway.addr(), "/metrics", &[]).text();
    let series = |name: &str| -> f64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{name} in {metrics}")).parse().expect("a number")
    };
    let (input, output) = (50 + 14 + 5, 90 + 6 + 5);
    for (direction, tokens) in [("input", input), ("output", output)] {
        let name = format!("llmkit_request_tokens_total{{provider=\"up\",direction=\"{direction}\"}}");
        assert_eq!(series(&name), f64::from(tokens));
    }
    let dollars = f64::from(input * 10 + output * 40) / 1e6;
    let cost = series("llmkit_request_cost_total{provider=\"up\",model=\"fast\"}");
    assert!((cost - dollars).abs() < 1e-9, "{cost}");
    let left = post(gateway.addr(), "/v1/images/generations", &[], b"{\"model\":\"fast\",\"prompt\":\"x\"}");
    let left = left.header("x-ratelimit-remaining-tokens").expect("a limit").to_owned();
    assert_eq!(left, (1000 - input - output).to_string());
}
