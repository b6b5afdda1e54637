//! What calls cost by the table of prices alone, and how the configuration goes before it.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::process::{Gateway, Upstream, chat_body};
use crate::wire::{Answer, get, post};

/// A gateway whose providers `cloud` (OpenAI) and `groq` are the upstream.
fn gateway(upstream: &Upstream, more: &str) -> Gateway {
    Gateway::start(&config(upstream, more), &[])
}

fn config(upstream: &Upstream, more: &str) -> String {
    let provider = |name: &str, kind: &str| {
        let addr = upstream.0.addr;
        format!("[[providers]]\nname = \"{name}\"\nkind = \"{kind}\"\nbase_url = \"http://{addr}/v1\"\n")
    };
    format!("{}{}{more}", provider("cloud", "openai"), provider("groq", "openai_compatible"))
}

const BUDGET: &str = "[[limits]]\nlevel = \"key\"\nname = \"*\"\n";

/// The tokens that an answer says it used, in and out.
fn tokens(answer: &Answer) -> (u64, u64) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let usage = answer.json()["usage"].clone();
    let count = |name: &str| usage[name].as_u64().expect("a count");
    (count("prompt_tokens"), count("completion_tokens"))
}

/// The value of a series, by its name and labels; none where it is not there.
fn series(gateway: &Gateway, name: &str, provider: &str, model: &str) -> Option<f64> {
    let text = get(gateway.addr(), "/metrics", &[]).text();
    let head = format!("{name}{{provider=\"{provider}\",model=\"{model}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&head)).map(|value| value.parse().expect("a number"))
}

fn cost(gateway: &Gateway, provider: &str, model: &str) -> Option<f64> {
    series(gateway, "llmkit_request_cost_total", provider, model)
}

fn unpriced(gateway: &Gateway, provider: &str, model: &str) -> Option<f64> {
    series(gateway, "llmkit_unpriced_requests_total", provider, model)
}

/// Whether `dollars` is what `units` of 10⁻¹² dollar are.
fn is(dollars: Option<f64>, units: u64) -> bool {
    dollars.is_some_and(|dollars| (dollars * 1e12 - units as f64).abs() < 1.0)
}

fn left(gateway: &Gateway) -> u64 {
    let stats = get(gateway.addr(), "/api/v1/rate-limiter/stats", &[]).json();
    let limits = stats["limits"].as_array().expect("a list");
    let money = limits.iter().find(|limit| limit["resource"] == "money").expect("a budget");
    money["remaining"].as_u64().expect("an amount")
}

#[test]
fn the_cost_metric_knows_the_tables_prices_of_targets_and_of_names_addressed_directly() {
    let upstream = Upstream::start();
    let gateway = gateway(
        &upstream,
        "[[models]]\nname = \"fast\"\ntargets = [{ provider = \"cloud\", model = \"gpt-4o\" }]\n\
         [[models]]\nname = \"own\"\n\
         targets = [{ provider = \"cloud\", model = \"gpt-4o\", price = { input = \"1\", output = \"0.5\" } }]\n\
         [[models]]\nname = \"odd\"\ntargets = [{ provider = \"cloud\", model = \"gpt-unheard-of\" }]\n",
    );
    let (input, output) = tokens(&gateway.chat("fast", "a question"));
    assert!(is(cost(&gateway, "cloud", "fast"), input * 2_500_000 + output * 10_000_000));
    let (input, output) = tokens(&gateway.chat("own", "a question"));
    assert!(is(cost(&gateway, "cloud", "own"), input * 1_000_000 + output * 500_000));
    let (input, output) = tokens(&gateway.chat("cloud/gpt-4o-mini-2024-07-18", "a question"));
    assert!(is(cost(&gateway, "cloud", "other"), input * 150_000 + output * 600_000));
    let (input, output) = tokens(&gateway.chat("groq/openai/gpt-oss-20b", "a question"));
    assert!(is(cost(&gateway, "groq", "other"), input * 75_000 + output * 300_000));
    // What has no price is counted, and costs nothing that anybody claims to know.
    let before = cost(&gateway, "groq", "other");
    tokens(&gateway.chat("odd", "a question"));
    tokens(&gateway.chat("groq/unheard-of", "a question"));
    assert_eq!((unpriced(&gateway, "cloud", "odd"), cost(&gateway, "cloud", "odd")), (Some(1.0), None));
    assert_eq!((unpriced(&gateway, "groq", "other"), cost(&gateway, "groq", "other")), (Some(1.0), before));
    assert_eq!(unpriced(&gateway, "cloud", "fast"), Some(0.0));
}

#[test]
fn a_key_in_the_environment_is_enough_to_know_what_calls_cost() {
    let upstream = Upstream::start();
    let base = format!("http://{}/v1", upstream.0.addr);
    let gateway = Gateway::without_file(&[("OPENAI_API_KEY", "k"), ("OPENAI_BASE_URL", &base)]);
    let (input, output) = tokens(&gateway.chat("gpt-4.1", "a question"));
    assert!(is(cost(&gateway, "openai", "other"), input * 2_000_000 + output * 8_000_000));
}

#[test]
fn a_hard_budget_holds_by_the_tables_prices_and_bounds() {
    let upstream = Upstream::start();
    let cap = 10_000_000_000; // A cent; the longest answer of gpt-4o-mini costs $0.0098.
    let budget = format!("{BUDGET}money = {{ cap = \"0.01\", per = \"1d\" }}\n");
    let gateway = gateway(
        &upstream,
        &format!(
            "{budget}[[models]]\nname = \"fast\"\ntargets = [{{ provider = \"cloud\", model = \"gpt-4o-mini\" }}]\n"
        ),
    );
    let (mut spent, mut answered) = (0, 0);
    loop {
        let name = if answered % 2 == 0 { "fast" } else { "cloud/gpt-4o-mini" };
        let answer = gateway.chat(name, &format!("question {answered}"));
        if answer.status != 200 {
            assert_eq!((answer.status, answer.error()["code"].as_str()), (429, Some("insufficient_quota")));
            break;
        }
        let (input, output) = tokens(&answer);
        spent += input * 150_000 + output * 600_000;
        answered += 1;
        assert_eq!(left(&gateway), cap - spent);
    }
    assert!(answered > 2 && cap - spent < 16_384 * 600_000 + 100 * 150_000, "{answered} {spent}");
    // A bound of its own is cheaper than the table's, and fits.
    let body = chat_body("fast", "short", ",\"max_completion_tokens\":20");
    assert_eq!(post(gateway.addr(), "/v1/chat/completions", &[], body.as_bytes()).status, 200);
    let unknown = gateway.chat("cloud/unheard-of", "x");
    assert_eq!((unknown.status, unknown.error()["code"].as_str()), (429, Some("unbounded_cost")));
    assert!(unknown.error()["message"].as_str().unwrap().contains("no price"), "{}", unknown.text());
}

#[test]
fn cost_and_auto_go_by_the_tables_prices_and_explain_shows_them() {
    let upstream = Upstream::start();
    let gateway = gateway(
        &upstream,
        "[[models]]\nname = \"fast\"\nstrategy = \"cost\"\ntargets = [\n\
         { provider = \"cloud\", model = \"gpt-4o\", weight = 100 },\n\
         { provider = \"groq\", model = \"openai/gpt-oss-20b\" }]\n",
    );
    for (name, number) in ["fast", "auto", "fast", "auto", "auto", "auto"].into_iter().zip(0..) {
        let id = format!("asked-{number}");
        let answer = gateway.chat_with(name, &id, &[("x-request-id", &id)]);
        assert_eq!(answer.header("x-llmkit-provider"), Some("groq"), "{name}");
        let told = get(gateway.addr(), &format!("/api/v1/explain/{id}"), &[]).json();
        let candidates = told["candidates"].as_array().unwrap();
        let costs: Vec<_> = candidates.iter().map(|seen| seen["predicted_cost_usd"].as_f64().unwrap()).collect();
        assert!(costs.len() == 2 && 0.0 < costs[0] && costs[0] < costs[1], "{told}");
    }
}

#[test]
fn auto_goes_by_weight_where_a_price_is_unknown() {
    let upstream = Upstream::start();
    let gateway = gateway(
        &upstream,
        "[[models]]\nname = \"fast\"\nstrategy = \"cost\"\ntargets = [\n\
         { provider = \"cloud\", model = \"gpt-4o\" }, { provider = \"groq\", model = \"unheard-of\" }]\n",
    );
    let asked = |number: u32| gateway.chat("auto", &number.to_string()).header("x-llmkit-provider").unwrap().to_owned();
    let asked: Vec<_> = (0..6).map(asked).collect();
    assert!(["cloud", "groq"].iter().all(|name| asked.iter().any(|one| one == name)), "{asked:?}");
}

/// A file of prices with one model.
fn write_prices(file: &Path, input: &str) {
    let own = json!({ "version": 1, "models": [
        { "provider": "cloud-only", "model": "x", "input": "1", "output": "1" },
        { "provider": "groq", "model": "mine", "aliases": ["mine-*"], "input": input, "output": "1", "max_output": 50 },
    ] });
    fs::write(file, own.to_string()).expect("a file");
}

#[test]
fn ones_own_file_of_prices_goes_before_the_table_and_is_taken_up_when_it_changes() {
    let upstream = Upstream::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prices.json");
    write_prices(&file, "3");
    let gateway = gateway(&upstream, &format!("[prices]\nfile = \"{}\"\n", file.display()));
    let mut spent = 0;
    let mut ask = |price: u64| {
        let (input, output) = tokens(&gateway.chat("groq/mine-7b", &format!("question {price} {spent}")));
        spent += input * price * 1_000_000 + output * 1_000_000;
        assert!(is(cost(&gateway, "groq", "other"), spent), "{price}");
    };
    ask(3);
    write_prices(&file, "5");
    gateway.process.wait_for_line("configuration reloaded");
    ask(5);
    write_prices(&file, "-7");
    let told = gateway.process.wait_for_line("prices.file");
    assert!(told.contains("models[1] (`groq/mine`): input: `-7`"), "{told}");
    ask(5);
    fs::write(&file, "{").unwrap();
    gateway.process.wait_for_line("prices.file");
    ask(5);
    write_prices(&file, "9");
    gateway.process.wait_for_line("configuration reloaded");
    ask(9);
    // Another file is watched from the reload on that names it.
    let other = folder.path().join("other.json");
    write_prices(&other, "2");
    fs::write(gateway.file(), config(&upstream, &format!("[prices]\nfile = \"{}\"\n", other.display()))).unwrap();
    gateway.process.wait_for_line("configuration reloaded");
    ask(2);
    write_prices(&other, "4");
    gateway.process.wait_for_line("configuration reloaded");
    ask(4);
}

/// What `llmkit models` says.
fn models(arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llmkit"));
    for name in ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "LLMKIT_CONFIG"] {
        command.env_remove(name);
    }
    let output = command.arg("models").args(arguments).output().expect("the binary starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

#[test]
fn the_models_of_a_configuration_are_listed_with_what_is_known_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let (file, prices) = (folder.path().join("llmkit.toml"), folder.path().join("prices.json"));
    write_prices(&prices, "0.25");
    let providers = "[[providers]]\nname = \"cloud\"\nkind = \"openai\"\n\
                     [[providers]]\nname = \"groq\"\nkind = \"openai_compatible\"\nbase_url = \"http://127.0.0.1:9\"\n";
    let models_of = "[[models]]\nname = \"fast\"\nstrategy = \"fallback\"\ntargets = [\n\
                     { provider = \"cloud\", model = \"gpt-4o\" },\n\
                     { provider = \"cloud\", model = \"gpt-4o\", price = { input = \"1\", output = \"0.5\" }, max_output_tokens = 9 },\n\
                     { provider = \"groq\", model = \"mine\" },\n{ provider = \"groq\", model = \"unheard-of\" }]\n";
    let text = format!("{providers}{models_of}[prices]\nfile = \"{}\"\n", prices.display());
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let table = models(&["--config", file]).unwrap();
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1], ["fast", "cloud", "gpt-4o", "$2.5", "$1.25", "$10", "128000", "16384", "table"]);
    assert_eq!(rows[2], ["cloud", "gpt-4o", "$1", "-", "$0.5", "128000", "9", "target"]);
    assert_eq!(rows[3], ["groq", "mine", "$0.25", "-", "$1", "-", "50", "table"]);
    assert_eq!(rows[4], ["groq", "unheard-of", "-", "-", "-", "-", "-", "unknown"]);
    let listed: Value = serde_json::from_str(&models(&["--config", file, "--json"]).unwrap()).unwrap();
    let model = &listed["models"][0];
    assert_eq!((&model["name"], &model["strategy"]), (&"fast".into(), &"fallback".into()));
    assert_eq!(
        model["targets"][0],
        json!({
            "provider": "cloud", "model": "gpt-4o", "weight": 1, "price_from": "table",
            "price": { "input": "2.5", "cached_input": "1.25", "cache_write": null, "output": "10" },
            "max_input": 128_000, "max_output": 16_384
        })
    );
    let unknown = &model["targets"][3];
    assert_eq!((&unknown["price"], &unknown["price_from"]), (&Value::Null, &"unknown".into()));
}

#[test]
fn all_that_is_known_is_listed_and_reads_back() {
    let all = models(&["--all"]).unwrap();
    let haiku = all.lines().find(|line| line.contains("claude-haiku-5-5")).unwrap();
    assert!(haiku.contains("prompts over 100000: $0.5 in, $2.5 out"), "{haiku}");
    let embedding = all.lines().find(|line| line.contains("text-embedding-3-small")).unwrap();
    assert!(!embedding.contains("$0 "), "{embedding}");
    let json = models(&["--all", "--json"]).unwrap();
    let read = llm_providers::Catalogue::parse(&json).unwrap();
    assert_eq!(read, *llm_providers::Catalogue::built_in());
    assert!(models(&["--config", "/nowhere"]).unwrap_err().contains("/nowhere"));
}
