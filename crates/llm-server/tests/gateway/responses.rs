//! Responses that providers keep: whoever goes on from one is sent to whoever made it.

use serde_json::{Value, json};

use crate::canned::Canned;
use crate::process::{Gateway, Upstream};
use crate::wire::{Answer, Connection, get, post};

/// Two accounts of one provider's kind, which answer by turns; the second by two keys.
struct Accounts {
    upstreams: [Upstream; 2],
    gateway: Gateway,
}

impl Accounts {
    fn new(more: &str) -> Self {
        let upstreams = [Upstream::seeded(1), Upstream::seeded(2)];
        let [one, two] = upstreams.each_ref().map(|upstream| upstream.0.addr);
        let config = format!(
            "[[providers]]\nname = \"one\"\nkind = \"openai\"\nbase_url = \"http://{one}/v1\"\napi_key = \"k1\"\n\
             [[providers]]\nname = \"two\"\nkind = \"openai\"\nbase_url = \"http://{two}/v1\"\n\
             api_keys = [{{ key = \"k2\" }}, {{ key = \"k3\" }}]\n\
             [[models]]\nname = \"fast\"\ntargets = [{{ provider = \"one\", model = \"sim\" }}, {{ provider = \"two\", model = \"sim\" }}]\n\
             [resilience]\nretry_base_ms = 1\n{more}\n"
        );
        Self { upstreams, gateway: Gateway::start(&config, &[]) }
    }

    fn ask(&self, more: Value, headers: &[(&str, &str)]) -> Answer {
        let mut body = json!({ "model": "fast", "input": "x" });
        body.as_object_mut().expect("it is there").extend(more.as_object().expect("it is there").clone());
        post(self.gateway.addr(), "/v1/responses", headers, body.to_string().as_bytes())
    }

    /// The key by which `answer` was got.
    fn key_of(&self, answer: &Answer) -> String {
        let at = usize::from(answer.header("x-llmkit-provider") == Some("two"));
        let last = self.upstreams[at].last();
        let header = last["headers"]
            .as_array()
            .expect("it is there")
            .iter()
            .find(|header| header[0] == "authorization")
            .cloned();
        header.expect("it is there")[1].as_str().expect("it is there").to_owned()
    }
}

fn id_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.text();
    match answer.header("content-type") {
        Some("application/json") => answer.json()["id"].as_str().expect("it is there").to_owned(),
        _ => text.split("\"id\":\"").nth(1).expect("it is there").split('"').next().expect("it is there").to_owned(),
    }
}

fn ask(accounts: &Accounts, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut connection = Connection::open(accounts.gateway.addr());
    connection.request(method, path, headers, b"");
    connection.answer().expect("an answer")
}

#[test]
fn a_kept_response_is_streamed_with_all_that_it_holds() {
    let said = json!({
        "id": "resp_1", "object": "response", "created_at": 7, "status": "completed", "model": "m", "instructions": "be kind",
        "tools": [], "temperature": 0.0, "x_unknown": [1],
        "output": [{ "type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
                     "content": [{ "type": "output_text", "text": "hello", "annotations": [] }] }],
        "usage": { "input_tokens": 3, "output_tokens": 5, "total_tokens": 8 },
    });
    let upstream = Canned::start(vec![("", "application/json", said.to_string())]);
    let config = format!(
        "[[providers]]\nname = \"up\"\nkind = \"openai\"\nbase_url = \"http://{}/v1\"\napi_key = \"k\"\n",
        upstream.addr
    );
    let gateway = Gateway::start(&config, &[]);
    let ask = |stream: bool| {
        let body =
            json!({ "model": "up/m", "input": "hi", "instructions": "be kind", "temperature": 0, "stream": stream });
        let answer = post(gateway.addr(), "/v1/responses", &[], body.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer
    };
    assert_eq!(ask(false).json(), said);
    let text = ask(true).text();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let events: Vec<Value> = data.map(|data| serde_json::from_str(data).expect("JSON")).collect();
    let mut begun = said.clone();
    (begun["status"], begun["output"], begun["usage"]) = (json!("in_progress"), json!([]), Value::Null);
    assert_eq!(events[0], json!({ "type": "response.created", "sequence_number": 0, "response": begun }));
    assert_eq!(events.last().expect("an end")["response"], said);
    assert!(events.iter().any(|event| event["delta"] == "hello" && event["item_id"] == "msg_1"), "{text}");
    assert_eq!(upstream.asked().len(), 1);
}

#[test]
fn a_response_is_gone_on_from_where_it_was_made() {
    let accounts = Accounts::new("");
    let mut seen = Vec::new();
    for number in 0..12 {
        let stream = number % 2 == 1;
        let first = accounts.ask(json!({ "input": format!("{number}"), "stream": stream }), &[]);
        let (id, key) = (id_of(&first), accounts.key_of(&first));
        let mut previous = id.clone();
        for turn in 0..2 {
            let more =
                json!({ "input": format!("{number} {turn}"), "previous_response_id": previous, "stream": !stream });
            let next = accounts.ask(more, &[]);
            assert_eq!(
                (next.header("x-llmkit-provider"), accounts.key_of(&next)),
                (first.header("x-llmkit-provider"), key.clone())
            );
            previous = id_of(&next);
        }
        let path = format!("/v1/responses/{id}");
        assert_eq!(get(accounts.gateway.addr(), &path, &[]).json()["id"], id.as_str());
        assert_eq!(get(accounts.gateway.addr(), &format!("{path}/input_items?limit=1"), &[]).json()["object"], "list");
        assert_eq!(ask(&accounts, "POST", &format!("{path}/cancel"), &[]).json()["status"], "cancelled");
        assert_eq!(ask(&accounts, "DELETE", &path, &[]).json()["deleted"], true);
        seen.push(key);
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen, ["Bearer k1", "Bearer k2", "Bearer k3"]);
    // Somebody may have made it before this process.
    let unknown = accounts.ask(json!({ "previous_response_id": "resp_of_old" }), &[]);
    assert_eq!((unknown.status, unknown.error()["code"].as_str()), (400, Some("previous_response_not_found")));
    // What is not kept is not remembered.
    let passing = id_of(&accounts.ask(json!({ "store": false }), &[]));
    assert_eq!(get(accounts.gateway.addr(), &format!("/v1/responses/{passing}"), &[]).status, 404);
}

#[test]
fn nobody_else_is_asked_when_who_made_it_fails() {
    let accounts = Accounts::new("circuit_breaker_threshold = 2");
    let first = accounts.ask(json!({}), &[]);
    let (id, provider) = (id_of(&first), first.header("x-llmkit-provider").unwrap().to_owned());
    let other = &accounts.upstreams[usize::from(provider == "one")];
    let before = other.count("requests");
    // The model `bad` fails there.
    let more = json!({ "model": format!("{provider}/sim?status=500"), "previous_response_id": id });
    let failed = accounts.ask(more.clone(), &[]);
    assert_eq!(failed.status, 502, "{}", failed.text());
    let reasons = failed.json()["llmkit"]["reasons"].to_string();
    assert!(reasons.contains(&format!("kept by the provider {provider}")), "{reasons}");
    let open = accounts.ask(more, &[]);
    assert_eq!(open.status, 503, "{}", open.text());
    assert!(open.json()["llmkit"]["reasons"].to_string().contains(&id));
    assert_eq!(other.count("requests"), before);
    // Nor where the model asked for is somewhere else.
    let elsewhere = if provider == "one" { "two/sim" } else { "one/sim" };
    let refused = accounts.ask(json!({ "model": elsewhere, "previous_response_id": id }), &[]);
    assert_eq!((refused.status, refused.error()["param"].as_str()), (400, Some("previous_response_id")));
    assert_eq!(other.count("requests"), before);
}

#[test]
fn another_tenants_response_is_unknown() {
    let keys = "[server]\napi_keys = [\"one\", \"two\", { key = \"boss\", scopes = [\"inference\", \"admin\"] }]\n";
    let accounts = Accounts::new(keys);
    let key = |name: &'static str| [("x-api-key", name)];
    let id = id_of(&accounts.ask(json!({}), &key("one")));
    let path = format!("/v1/responses/{id}");
    let status = |name| ask(&accounts, "GET", &path, &key(name)).status;
    assert_eq!((status("one"), status("two")), (200, 404));
    let refused = ask(&accounts, "DELETE", &path, &key("two"));
    assert_eq!((refused.status, refused.error()["code"].as_str()), (404, Some("response_not_found")));
    // An operator has the account of whoever is asked what names no model.
    let theirs = id_of(&accounts.ask(json!({ "model": "one/sim" }), &key("one")));
    assert_eq!(ask(&accounts, "GET", &format!("/v1/responses/{theirs}"), &key("boss")).status, 200);
    assert_eq!(ask(&accounts, "DELETE", &path, &key("one")).status, 200);
}

#[test]
fn a_reload_forgets_no_response() {
    let accounts = Accounts::new("");
    let first = accounts.ask(json!({ "model": "two/sim" }), &[]);
    let (id, key) = (id_of(&first), accounts.key_of(&first));
    let file = accounts.gateway.file();
    let config = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, config.replace("retry_base_ms = 1", "retry_base_ms = 2")).unwrap();
    accounts.gateway.process.wait_for_line("configuration reloaded");
    let next = accounts.ask(json!({ "previous_response_id": id }), &[]);
    assert_eq!((next.status, accounts.key_of(&next)), (200, key));
    // Where its key is gone, so is the response.
    let config = config.replace("{ key = \"k2\" }, { key = \"k3\" }", "{ key = \"k4\" }");
    std::fs::write(&file, config).unwrap();
    accounts.gateway.process.wait_for_line("configuration reloaded");
    let gone = accounts.ask(json!({ "previous_response_id": id }), &[]);
    assert_eq!((gone.status, gone.error()["param"].as_str()), (404, Some("previous_response_id")), "{}", gone.text());
}
