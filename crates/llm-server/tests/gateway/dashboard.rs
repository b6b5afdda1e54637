//! The dashboard: its page, its data, and what a browser makes of them.

use serde_json::{Value, json};

use crate::chromium::Chromium;
use crate::process::{Gateway, Upstream, chat_body, config};
use crate::wire::{get, post};

pub(crate) const SETUP: &str = "[[models]]\nname = \"fast\"\nstrategy = \"latency\"\ntargets = [\
    { provider = \"up\", model = \"sim?ttft=25ms,tokens=40\", price = { input = \"1.5\", output = \"6\" } }, \
    { provider = \"spare\", model = \"sim?ttft=60ms,tokens=40\", price = { input = \"1\", output = \"4\" } }]\n\
    [[providers]]\nname = \"spare\"\nkind = \"sim\"\n\
    [[limits]]\nlevel = \"key\"\nname = \"*\"\nrequests = { cap = 40, per = \"1h\" }\ntokens = { cap = 100000, per = \"1d\" }\nmoney = { cap = \"20\", per = \"1d\", hard = false }\n\
    [[limits]]\nlevel = \"model\"\nname = \"fast\"\nconcurrency = 8\n\
    [resilience]\nretry_attempts = 0\ncircuit_breaker_threshold = 3\n";

pub(crate) const KEYS: &str = "[server]\napi_keys = [\"plain\", { key = \"boss\", scopes = [\"admin\"] }]\n";

/// Some of everything: answers, a stream, hits, failures until a circuit opens.
pub(crate) fn use_it(gateway: &Gateway) {
    for text in ["a", "b", "a", "a", "c"] {
        let body = chat_body("fast", text, ",\"temperature\":0");
        assert_eq!(post(gateway.addr(), "/v1/chat/completions", &[], body.as_bytes()).status, 200);
    }
    let stream = chat_body("fast", "stream", ",\"stream\":true");
    assert!(post(gateway.addr(), "/v1/chat/completions", &[], stream.as_bytes()).whole);
    for number in 0..3 {
        assert_eq!(gateway.chat("up/broken?status=500", &number.to_string()).status, 502);
    }
}

fn overview(gateway: &Gateway) -> Value {
    get(gateway.addr(), "/api/v1/overview", &[]).json()
}

#[test]
fn the_page_is_open_and_may_load_nothing_from_elsewhere() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(upstream.0.addr, KEYS), &[]);
    let page = get(gateway.addr(), "/", &[]);
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let text = page.text();
    let links = text.split(['"', '\'']).filter(|word| word.starts_with('/') || word.contains("//"));
    let links: Vec<_> = links.collect();
    assert!(links.contains(&"/dashboard/app.js") && links.contains(&"/dashboard/style.css"), "{links:?}");
    for path in links.into_iter().chain(["/dashboard/figures.js", "/dashboard/plot.js"]) {
        let part = get(gateway.addr(), path, &[]);
        assert_eq!(part.status, 200, "{path}");
        let policy = part.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{policy}");
        for word in ["unsafe", "data:", "http", "*"] {
            assert!(!policy.contains(word), "{policy}");
        }
        assert!(policy.contains("frame-ancestors 'none'") && policy.contains("form-action 'none'"), "{policy}");
        assert_eq!(part.header("x-content-type-options"), Some("nosniff"), "{path}");
    }
    assert!(!text.contains("style=") && !text.contains("<style") && !text.contains("onclick"), "nothing inline");
}

#[test]
fn its_data_needs_the_scope_admin() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(upstream.0.addr, KEYS), &[]);
    let ask = |key: &str| get(gateway.addr(), "/api/v1/overview", &[("authorization", &format!("Bearer {key}"))]);
    assert_eq!(get(gateway.addr(), "/api/v1/overview", &[]).status, 401);
    assert_eq!((ask("wrong").status, ask("plain").status, ask("boss").status), (401, 403, 200));
    // Without keys everybody is the one tenant, which has it.
    let open = Gateway::before(&upstream, "");
    assert_eq!(overview(&open)["status"], "ok");
}

#[test]
fn its_data_says_what_the_metrics_and_the_other_routes_say() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, SETUP);
    let before = overview(&gateway);
    assert_eq!((&before["requests"]["outcomes"], &before["circuit_changes"]), (&json!({}), &json!([])));
    use_it(&gateway);
    let shown = overview(&gateway);
    assert!(shown["uptime_s"].as_f64() > before["uptime_s"].as_f64() && shown["measured"] == true);
    assert_eq!(shown["status"], "degraded");
    assert_eq!(shown["requests"]["outcomes"], json!({ "ok": 6, "server_error": 3 }));
    let counts = shown["requests"]["duration"]["counts"].as_array().unwrap();
    assert_eq!(counts.iter().map(|count| count.as_u64().unwrap()).sum::<u64>(), 9);
    assert_eq!(counts.len(), shown["requests"]["duration"]["bounds_s"].as_array().unwrap().len() + 1);
    let providers = shown["providers"].as_array().unwrap();
    let names: Vec<_> = providers.iter().map(|provider| provider["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["up", "spare"]);
    let up = &providers[0];
    assert_eq!(
        (&up["circuit"], &up["in_flight"], &up["errors"]["server_error"]),
        (&"open".into(), &0.into(), &3.into())
    );
    assert_eq!((&up["circuit_count"], &up["not_closed"]), (&2.into(), &1.into()), "one for each model that was called");
    let worst = &up["circuits"][0];
    assert_eq!((&worst["model"], &worst["failure_count"]), (&"broken?status=500".into(), &3.into()));
    assert!(worst["next_probe_in_s"].as_f64().unwrap() > 0.0);
    let change = &shown["circuit_changes"][0];
    assert_eq!((&change["from"], &change["to"], &change["provider"]), (&"closed".into(), &"open".into(), &"up".into()));
    let cache = get(gateway.addr(), "/api/v1/cache/stats", &[]).json();
    assert_eq!((&shown["sharing"]["hits"], &shown["sharing"]["entries"]), (&cache["hits"], &cache["entries"]));
    assert_eq!(shown["sharing"]["hits"], 2);
    let metrics = get(gateway.addr(), "/metrics", &[]).text();
    let metric = |line: &str| -> f64 {
        let values =
            metrics.lines().filter_map(|known| known.strip_prefix(line)?.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum()
    };
    let usage = &shown["usage"];
    assert_eq!(usage["saved_usd"].as_f64().unwrap(), metric("llmkit_saved_cost_total"));
    assert!((usage["cost_usd"].as_f64().unwrap() - metric("llmkit_request_cost_total")).abs() < 1e-12);
    assert!(usage["cost_usd"].as_f64().unwrap() > 0.0 && usage["saved_usd"].as_f64().unwrap() > 0.0);
    let tokens = usage["input_tokens"].as_f64().unwrap() + usage["output_tokens"].as_f64().unwrap();
    assert_eq!(tokens, metric("llmkit_request_tokens_total"));
    let limits = shown["limits"]["tightest"].as_array().unwrap();
    // Hits cost nothing.
    let requests = limits.iter().find(|limit| limit["level"] == "key" && limit["resource"] == "requests").unwrap();
    assert_eq!(
        (&requests["name"], &requests["limit"], &requests["remaining"]),
        (&"default".into(), &json!(40.0), &json!(33.0))
    );
    let money = limits.iter().find(|limit| limit["resource"] == "money").unwrap();
    assert_eq!(money["limit"], json!(20.0), "in dollars");
    assert_eq!(shown["models"][0]["targets"].as_array().unwrap().len(), 2);
}

/// The text of the tile called `title`.
fn tile(title: &str) -> String {
    format!("[...document.querySelectorAll('.tile')].find((it) => it.innerText.startsWith('{title}')).innerText")
}

/// No part of the page is refused, fails or throws; nothing is wider than the window.
fn is_sound(browser: &mut Chromium) {
    let wide = browser.run("document.documentElement.scrollWidth - document.documentElement.clientWidth");
    assert_eq!(wide, 0, "the page is wider than its window");
    let bad = |event: &&Value| {
        let level = event["params"]["entry"]["level"].as_str().unwrap_or_default();
        event["method"] == "Runtime.exceptionThrown" || level == "error"
    };
    assert_eq!(browser.events.iter().filter(bad).collect::<Vec<_>>(), Vec::<&Value>::new());
    let asked = browser.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
    let urls: Vec<_> =
        asked.map(|event| event["params"]["request"]["url"].as_str().expect("text").to_owned()).collect();
    assert!(urls.len() > 5 && urls.iter().all(|url| url.starts_with("http://127.0.0.1:")), "{urls:?}");
}

#[test]
fn a_browser_shows_it_in_either_theme_and_on_a_narrow_screen() {
    let Some(mut browser) = Chromium::start() else { return };
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, SETUP);
    browser.look(1280, 1500, "light");
    browser.open(&format!("http://{}/", gateway.addr()));
    browser.wait("!document.getElementById('figures').hidden");
    use_it(&gateway);
    browser.wait(&format!("{}.includes('9 since the start')", tile("Requests")));
    let failed = browser.wait(&tile("Failed"));
    assert!(failed.as_str().unwrap().contains("33 %") && failed.as_str().unwrap().contains("3 since"), "{failed}");
    let status = browser.run("document.getElementById('status').innerText");
    assert_eq!(status, "degraded: a circuit is not closed");
    let providers = browser.run("document.getElementById('providers').innerText");
    assert!(
        providers.as_str().unwrap().contains("broken?status=500: open, 3 failures in a row, next try in"),
        "{providers}"
    );
    let changes = browser.run("document.getElementById('changes').innerText");
    assert!(changes.as_str().unwrap().contains("closed → open"), "{changes}");
    browser.wait("document.querySelector('#plot-latency path.one').getAttribute('d').includes('L')");
    is_sound(&mut browser);
    let background = "getComputedStyle(document.body).backgroundColor";
    let light = browser.run(background);
    let bright = browser.picture("light.png");
    browser.look(1280, 1500, "dark");
    assert_ne!(browser.run(background), light);
    assert_ne!(browser.picture("dark.png"), bright);
    browser.look(390, 2600, "light");
    is_sound(&mut browser);
    browser.picture("narrow.png");
    // It says so when the gateway is gone, and what it knew stays.
    drop(gateway);
    browser.wait("document.getElementById('status').innerText.startsWith('not reachable since')");
    assert_eq!(browser.run("document.getElementById('figures').hidden"), false);
}

#[test]
fn a_browser_asks_for_a_key_where_one_is_needed() {
    let Some(mut browser) = Chromium::start() else { return };
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(upstream.0.addr, KEYS), &[]);
    browser.look(1000, 700, "light");
    browser.open(&format!("http://{}/", gateway.addr()));
    browser.wait("!document.getElementById('ask').hidden");
    browser.picture("key.png");
    let give = |browser: &mut Chromium, key: &str| {
        browser.run(&format!(
            "document.getElementById('key').value = '{key}'; document.querySelector('#ask button').click()"
        ));
    };
    give(&mut browser, "plain");
    browser.wait("document.getElementById('refused').innerText === 'This key lacks the scope admin.'");
    give(&mut browser, "wrong");
    browser.wait("document.getElementById('refused').innerText === 'The gateway does not know this key.'");
    assert_eq!(browser.run("document.getElementById('figures').hidden"), true);
    give(&mut browser, "boss");
    browser.wait("!document.getElementById('figures').hidden");
    let kept = "[sessionStorage.length, localStorage.length, document.cookie, location.href.includes('boss')]";
    assert_eq!(browser.run(kept), json!([1, 0, "", false]));
    browser.run("document.getElementById('forget').click()");
    browser.wait("!document.getElementById('ask').hidden && sessionStorage.length === 0");
}
