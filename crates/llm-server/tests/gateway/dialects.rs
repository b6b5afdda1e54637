//! Callers of each format before providers of each format: the same answer, whichever way it takes.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::canned::Canned;
use crate::process::{Gateway, Upstream};
use crate::wire::{Answer, get, post};

/// A gateway before one upstream that providers reach, each in its own format.
fn gateway(upstream: &Upstream, more: &str) -> Gateway {
    let base = format!("http://{}", upstream.0.addr);
    let providers = [("chat", "openai", "/v1"), ("claude", "anthropic", ""), ("gem", "gemini", "/v1beta/")];
    let mut config = String::new();
    for (name, kind, path) in providers {
        config.push_str(&format!(
            "[[providers]]\nname = \"{name}\"\nkind = \"{kind}\"\nbase_url = \"{base}{path}\"\napi_key = \"provider-secret\"\n"
        ));
    }
    #[cfg(feature = "vertex")]
    {
        config.push_str(&crate::clouds::vertex(upstream, "vertex", ""));
        let claude = crate::clouds::vertex(upstream, "vertex-claude", "");
        config.push_str(&claude.replace("project =", "publisher = \"anthropic\"\nproject ="));
    }
    #[cfg(feature = "bedrock")]
    config.push_str(&crate::clouds::bedrock(
        upstream,
        "bedrock",
        "access_key_id = \"AKID\"\nsecret_access_key = \"s\"",
    ));
    Gateway::start(&format!("{config}{more}"), &[])
}

const PROVIDERS: &[&str] = &[
    "chat",
    "claude",
    "gem",
    #[cfg(feature = "vertex")]
    "vertex",
    #[cfg(feature = "vertex")]
    "vertex-claude",
    #[cfg(feature = "bedrock")]
    "bedrock",
];

/// What an answer says, whatever its format.
#[derive(Clone, Debug, Default, PartialEq)]
struct Told {
    text: String,
    calls: Vec<(String, String)>,
    stop: String,
    input: u64,
    output: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Front {
    Chat,
    Responses,
    Messages,
    Gemini,
}

const FRONTS: [Front; 4] = [Front::Chat, Front::Responses, Front::Messages, Front::Gemini];

impl Front {
    fn ask(self, gateway: SocketAddr, model: &str, stream: bool, tool: bool) -> Answer {
        let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
        let mut body = match self {
            Self::Chat => json!({"model": model, "max_completion_tokens": 50, "stream": stream,
                "messages": [{"role": "user", "content": "hello there"}]}),
            Self::Responses => json!({"model": model, "max_output_tokens": 50, "stream": stream, "store": false,
                "input": "hello there"}),
            Self::Messages => json!({"model": model, "max_tokens": 50, "stream": stream,
                "messages": [{"role": "user", "content": "hello there"}]}),
            Self::Gemini => json!({"contents": [{"role": "user", "parts": [{"text": "hello there"}]}],
                "generationConfig": {"maxOutputTokens": 50}}),
        };
        if self == Self::Chat && stream {
            body["stream_options"] = json!({"include_usage": true});
        }
        if tool {
            body["tools"] = match self {
                Self::Chat => json!([{"type": "function", "function": {"name": "weather", "parameters": schema}}]),
                Self::Responses => {
                    json!([{"type": "function", "name": "weather", "parameters": schema, "strict": false}])
                }
                Self::Messages => json!([{"name": "weather", "input_schema": schema}]),
                Self::Gemini => {
                    json!([{"functionDeclarations": [{"name": "weather", "parametersJsonSchema": schema}]}])
                }
            };
        }
        post(gateway, &self.path(model, stream), &[], body.to_string().as_bytes())
    }

    fn path(self, model: &str, stream: bool) -> String {
        match self {
            Self::Chat => "/v1/chat/completions".to_owned(),
            Self::Responses => "/v1/responses".to_owned(),
            Self::Messages => "/v1/messages".to_owned(),
            Self::Gemini => {
                let model = model.replace('?', "%3F").replace(' ', "%20");
                let verb = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
                format!("/v1beta/models/{model}:{verb}")
            }
        }
    }

    fn whole(self, answer: &Answer) -> Told {
        let body = answer.json();
        let mut told = Told::default();
        match self {
            Self::Chat => {
                let choice = &body["choices"][0];
                told.text = choice["message"]["content"].as_str().unwrap_or_default().to_owned();
                for call in choice["message"]["tool_calls"].as_array().into_iter().flatten() {
                    told.calls.push((text(&call["function"]["name"]), text(&call["function"]["arguments"])));
                }
                told.stop = text(&choice["finish_reason"]);
                told.usage(&body["usage"], "prompt_tokens", "completion_tokens");
            }
            Self::Responses => told.response(&body),
            Self::Messages => {
                for block in body["content"].as_array().expect("a list") {
                    match block["type"].as_str().expect("text") {
                        "text" => told.text.push_str(block["text"].as_str().expect("text")),
                        _ => told.calls.push((text(&block["name"]), block["input"].to_string())),
                    }
                }
                told.stop = text(&body["stop_reason"]);
                told.usage(&body["usage"], "input_tokens", "output_tokens");
            }
            Self::Gemini => {
                told.parts(&body["candidates"][0]["content"]["parts"]);
                told.stop = text(&body["candidates"][0]["finishReason"]);
                told.usage(&body["usageMetadata"], "promptTokenCount", "candidatesTokenCount");
            }
        }
        told.plain()
    }

    fn ended(response: &Value) -> Told {
        let mut told = Told::default();
        told.response(response);
        told
    }

    fn streamed(self, answer: &Answer) -> Told {
        let body = answer.text().replace("\r\n", "\n");
        let data = body.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
        let events: Vec<Value> = data.map(|data| serde_json::from_str(data).expect("JSON")).collect();
        let mut told = Told::default();
        for event in &events {
            assert!(event.get("error").is_none(), "{event}");
            match self {
                Self::Chat => {
                    for choice in event["choices"].as_array().expect("a list") {
                        told.text.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
                        for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
                            if let Some(name) = call["function"]["name"].as_str() {
                                told.calls.push((name.to_owned(), String::new()));
                            }
                            let piece = call["function"]["arguments"].as_str().unwrap_or_default();
                            told.calls[call["index"].as_u64().expect("a number") as usize].1.push_str(piece);
                        }
                        if let Some(reason) = choice["finish_reason"].as_str() {
                            told.stop = reason.to_owned();
                        }
                    }
                    if event["usage"].is_object() {
                        told.usage(&event["usage"], "prompt_tokens", "completion_tokens");
                    }
                }
                Self::Responses => match event["type"].as_str().expect("text") {
                    "response.output_text.delta" => told.text.push_str(event["delta"].as_str().expect("text")),
                    "response.output_item.added" if event["item"]["type"] == "function_call" => {
                        told.calls.push((text(&event["item"]["name"]), String::new()));
                    }
                    "response.function_call_arguments.delta" => {
                        told.calls.last_mut().expect("a call").1.push_str(event["delta"].as_str().expect("text"));
                    }
                    "response.completed" | "response.incomplete" => {
                        let mut whole = Self::ended(&event["response"]);
                        assert_eq!((&whole.text, &whole.calls), (&told.text, &told.calls));
                        std::mem::swap(&mut told, &mut whole);
                    }
                    _ => {}
                },
                Self::Messages => match event["type"].as_str().expect("text") {
                    "content_block_start" if event["content_block"]["type"] == "tool_use" => {
                        told.calls.push((text(&event["content_block"]["name"]), String::new()));
                    }
                    "content_block_delta" => {
                        told.text.push_str(event["delta"]["text"].as_str().unwrap_or_default());
                        if let Some(piece) = event["delta"]["partial_json"].as_str() {
                            told.calls.last_mut().expect("a call").1.push_str(piece);
                        }
                    }
                    "message_delta" => {
                        told.stop = text(&event["delta"]["stop_reason"]);
                        told.usage(&event["usage"], "input_tokens", "output_tokens");
                    }
                    _ => {}
                },
                Self::Gemini => {
                    let candidate = &event["candidates"][0];
                    told.parts(&candidate["content"]["parts"]);
                    if let Some(reason) = candidate["finishReason"].as_str() {
                        told.stop = reason.to_owned();
                    }
                    if event["usageMetadata"].is_object() {
                        told.usage(&event["usageMetadata"], "promptTokenCount", "candidatesTokenCount");
                    }
                }
            }
        }
        told.plain()
    }
}

impl Told {
    fn response(&mut self, body: &Value) {
        for item in body["output"].as_array().into_iter().flatten() {
            match item["type"].as_str().expect("text") {
                "message" => {
                    for part in item["content"].as_array().into_iter().flatten() {
                        self.text.push_str(part["text"].as_str().unwrap_or_default());
                    }
                }
                "function_call" => self.calls.push((text(&item["name"]), text(&item["arguments"]))),
                other => panic!("{other}"),
            }
        }
        self.stop = match text(&body["status"]).as_str() {
            "completed" if self.calls.is_empty() => "stop".to_owned(),
            "completed" => "tool_calls".to_owned(),
            _ => text(&body["incomplete_details"]["reason"]).replace("max_output_tokens", "length"),
        };
        self.usage(&body["usage"], "input_tokens", "output_tokens");
    }

    fn usage(&mut self, usage: &Value, input: &str, output: &str) {
        self.input = usage[input].as_u64().unwrap_or(self.input);
        self.output = usage[output].as_u64().unwrap_or(self.output);
    }

    fn parts(&mut self, parts: &Value) {
        for part in parts.as_array().into_iter().flatten() {
            self.text.push_str(part["text"].as_str().unwrap_or_default());
            if part["functionCall"].is_object() {
                self.calls.push((text(&part["functionCall"]["name"]), part["functionCall"]["args"].to_string()));
            }
        }
    }

    /// With the words of one format for why it ended, and arguments in one spelling.
    fn plain(mut self) -> Self {
        self.stop = match self.stop.as_str() {
            "end_turn" | "STOP" if self.calls.is_empty() => "stop",
            "tool_use" | "STOP" => "tool_calls",
            "max_tokens" | "MAX_TOKENS" => "length",
            other => other,
        }
        .to_owned();
        for (_, arguments) in &mut self.calls {
            *arguments = serde_json::from_str::<Value>(arguments).expect("JSON").to_string();
        }
        self
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[test]
fn every_caller_gets_the_same_answer_from_every_provider_in_either_form() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    for (script, tool, stop) in
        [("reply=one two three", false, "stop"), ("tokens=80", false, "length"), ("tool", true, "tool_calls")]
    {
        let mut known: Option<Told> = None;
        for provider in PROVIDERS {
            for front in FRONTS {
                let model = format!("{provider}/sim?{script}");
                let whole = front.ask(gateway.addr(), &model, false, tool);
                assert_eq!(whole.status, 200, "{front:?} {model}: {}", whole.text());
                let whole = front.whole(&whole);
                let streamed = front.ask(gateway.addr(), &model, true, tool);
                assert_eq!(streamed.status, 200, "{front:?} {model}: {}", streamed.text());
                assert_eq!(front.streamed(&streamed), whole, "{front:?} {model}: {}", streamed.text());
                assert_eq!((whole.stop.as_str(), whole.calls.len()), (stop, usize::from(tool)), "{front:?} {model}");
                let known = known.get_or_insert_with(|| whole.clone());
                assert_eq!(*known, whole, "{front:?} {model}");
            }
        }
    }
}

#[test]
fn a_body_for_a_provider_of_its_own_format_passes_through_byte_for_byte() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    let claude = br#"{ "max_tokens":5e0, "x":1.0, "model":"sim", "messages":[{"role":"user","content":"hi"}] }"#;
    let sent = std::str::from_utf8(claude).unwrap().replace("\"sim\"", "\"claude/sim\"");
    let head = [("anthropic-version", "2026-10-21"), ("anthropic-beta", "a,b"), ("openai-beta", "x")];
    let answer = post(gateway.addr(), "/v1/messages", &head, sent.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("request-id"), answer.header("x-request-id"));
    let last = upstream.last();
    assert_eq!(last["body"], std::str::from_utf8(claude).unwrap());
    let said = last.to_string().to_ascii_lowercase();
    for (name, value) in
        [("x-api-key", "provider-secret"), ("anthropic-version", "2026-10-21"), ("anthropic-beta", "a,b")]
    {
        assert!(said.contains(&format!("[\"{name}\",\"{value}\"]")), "{name}: {said}");
    }
    assert!(said.contains("\"/v1/messages\""), "{said}");
    assert!(!said.contains("openai-beta") && !said.contains("authorization"), "{said}");
    let gemini = r#"{"contents":[{"parts":[{"text":"hi"}]}],"labels":{"a":"b"},"generation_config":{"x":1.0}}"#;
    let answer = post(gateway.addr(), "/v1/models/gem%2Fsim:generateContent", &[], gemini.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let last = upstream.last();
    assert_eq!(last["body"], gemini);
    let said = last.to_string().to_ascii_lowercase();
    assert!(
        said.contains("/v1beta/models/sim:generatecontent")
            && said.contains("[\"x-goog-api-key\",\"provider-secret\"]"),
        "{said}"
    );
}

#[test]
fn a_large_image_takes_less_than_six_times_its_size_whoever_is_asked() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    let image = "iVBORw0KGgoAAAANSUhEUgAA".repeat((10 << 20) / 24);
    let url = format!("data:image/png;base64,{image}");
    let ask = |provider: &str, url: &str| {
        let content =
            json!([{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": url}}]);
        let body = json!({"model": format!("{provider}/sim"), "max_completion_tokens": 9,
            "messages": [{"role": "user", "content": content}]});
        let answer = post(gateway.addr(), "/v1/chat/completions", &[], body.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{provider}: {}", answer.text());
    };
    PROVIDERS.iter().for_each(|provider| ask(provider, "data:image/png;base64,iVBORw0KGgo="));
    let before = gateway.process.resident_kb();
    for provider in PROVIDERS {
        ask(provider, &url);
        let grown = gateway.process.peak_kb() - before;
        assert!(grown < 6 * (10 << 10), "{provider}: {grown} kB");
    }
}

#[test]
fn prompts_are_completed_by_every_provider_in_either_form() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    for provider in PROVIDERS {
        for stream in [false, true] {
            let body = json!({"model": format!("{provider}/sim?reply=one two three"), "prompt": "hello there", "stream": stream});
            let answer = post(gateway.addr(), "/v1/completions", &[], body.to_string().as_bytes());
            assert_eq!(answer.status, 200, "{provider}: {}", answer.text());
            let (mut told, mut stop) = (String::new(), Value::Null);
            let chunks = if stream {
                let events = answer.events();
                assert_eq!(events.last().map(|event| event.trim()), Some("[DONE]"));
                events[..events.len() - 1].iter().map(|event| serde_json::from_str(event).unwrap()).collect()
            } else {
                assert_eq!(answer.json()["usage"]["completion_tokens"], 3);
                vec![answer.json()]
            };
            for chunk in &chunks {
                assert!(!stream || chunk["usage"].is_null(), "nobody asked for it: {chunk}");
                for choice in chunk["choices"].as_array().unwrap() {
                    told.push_str(choice["text"].as_str().unwrap());
                    stop = if choice["finish_reason"].is_null() { stop } else { choice["finish_reason"].clone() };
                }
            }
            assert_eq!((told.as_str(), stop.as_str()), ("one two three", Some("stop")), "{provider} {stream}");
        }
    }
    // What a provider of the format has itself is asked there, and metered although nobody asked.
    let metrics = get(gateway.addr(), "/metrics", &[]).text();
    assert!(upstream.last()["path"] != "/v1/completions");
    let output = "llmkit_request_tokens_total{provider=\"chat\",direction=\"output\"} 6";
    assert!(metrics.contains(output), "{metrics}");
}

#[test]
fn responses_pass_through_where_the_provider_has_them_and_what_acts_is_not_shared() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    let body = r#"{ "model":"sim","input":"hi", "new":[1e2], "temperature":0, "conversation":"c1" }"#;
    let asked = body.replace("\"sim\"", "\"chat/sim\"");
    for _ in 0..2 {
        let answer = post(gateway.addr(), "/v1/responses", &[], asked.as_bytes());
        assert_eq!((answer.status, answer.header("x-llmkit-cache")), (200, Some("bypass")), "{}", answer.text());
    }
    let last = upstream.last();
    assert_eq!((&last["path"], &last["body"]), (&json!("/v1/responses"), &json!(body)));
    assert_eq!(upstream.count("requests"), 2);
    let refused = post(gateway.addr(), "/v1/responses", &[], asked.replace("chat/", "claude/").as_bytes());
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert!(refused.error()["param"].is_string());
}

#[test]
fn a_version_is_sent_where_the_caller_names_none() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    Front::Chat.ask(gateway.addr(), "claude/sim", false, false);
    assert!(upstream.last().to_string().contains("[\"anthropic-version\",\"2023-06-01\"]"));
}

#[test]
fn errors_are_told_in_the_callers_format_before_the_stream_and_in_it() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "[resilience]\nretry_attempts = 0\n");
    for provider in PROVIDERS {
        for front in FRONTS {
            let refused = front.ask(gateway.addr(), &format!("{provider}/sim?status=400"), false, false);
            assert_eq!(refused.status, 400, "{front:?} {provider}: {}", refused.text());
            let error = refused.json()["error"].clone();
            match front {
                Front::Chat | Front::Responses => assert_eq!(error["type"], "invalid_request_error"),
                Front::Messages => {
                    assert_eq!(
                        (&refused.json()["type"], &error["type"]),
                        (&json!("error"), &json!("invalid_request_error"))
                    );
                }
                Front::Gemini => {
                    assert_eq!((&error["code"], &error["status"]), (&json!(400), &json!("INVALID_ARGUMENT")))
                }
            }
            let broken = front.ask(gateway.addr(), &format!("{provider}/sim?tokens=9,cut_after=2"), true, false);
            assert_eq!(broken.status, 200, "{front:?} {provider}");
            let text = broken.text();
            let (error, end) = match front {
                Front::Chat => ("data: {\"error\":", "[DONE]"),
                Front::Responses => ("event: error", "response.completed"),
                Front::Messages => ("event: error", "message_stop"),
                Front::Gemini => ("\"error\":", "finishReason"),
            };
            assert!(text.contains(error) && !text.contains(end), "{front:?} {provider}: {text}");
        }
    }
    let unknown = Front::Messages.ask(gateway.addr(), "nobody/x", false, false);
    assert_eq!((unknown.status, &unknown.json()["error"]["type"]), (404, &json!("not_found_error")));
    let wrong = get(gateway.addr(), "/v1/messages", &[]);
    assert_eq!((wrong.status, &wrong.json()["type"]), (405, &json!("error")));
}

#[test]
fn what_has_no_equal_is_refused_or_left_out_and_listed() {
    let upstream = Upstream::start();
    let models = "[[models]]\nname = \"strict\"\ntargets = [{ provider = \"claude\", model = \"sim\" }]\n\
                  [[models]]\nname = \"lenient\"\ntranslation = \"lenient\"\ntargets = [{ provider = \"claude\", model = \"sim\" }]\n";
    let gateway = gateway(&upstream, models);
    let ask = |model: &str| {
        let body =
            json!({"model": model, "frequency_penalty": 1, "seed": 7, "messages": [{"role": "user", "content": "hi"}]});
        post(gateway.addr(), "/v1/chat/completions", &[], body.to_string().as_bytes())
    };
    let refused = ask("strict");
    assert_eq!(
        (refused.status, refused.error()["param"].as_str()),
        (400, Some("frequency_penalty")),
        "{}",
        refused.text()
    );
    assert_eq!(upstream.count("requests"), 0);
    let answered = ask("lenient");
    assert_eq!(answered.status, 200, "{}", answered.text());
    assert_eq!(answered.header("x-llmkit-dropped"), Some("frequency_penalty,seed"));
    // The dialect needs a cap: nobody knows this model's.
    let sent: Value = serde_json::from_str(upstream.last()["body"].as_str().unwrap()).unwrap();
    assert_eq!(sent["max_tokens"], 4096);
}

/// What Anthropic and Gemini say who think first, whole and streamed.
fn thinkers() -> Canned {
    let (json, events) = ("application/json", "text/event-stream");
    let claude = r#"{"id":"m","type":"message","role":"assistant","model":"c","content":[{"type":"thinking","thinking":"hm, well","signature":"seal"},{"type":"text","text":"yes"}],"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":5}}"#;
    let pieces = [
        r#"{"type":"message_start","message":{"id":"m","model":"c","usage":{"input_tokens":3,"output_tokens":1}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm, "}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"well"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"seal"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"yes"}}"#,
        r#"{"type":"content_block_stop","index":1}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":5}}"#,
        r#"{"type":"message_stop"}"#,
    ];
    let gemini = r#"{"candidates":[{"content":{"parts":[{"text":"hm, well","thought":true},{"text":"yes"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":5}}"#;
    let stream = |data: &str| format!("data: {data}\n\n");
    Canned::start(vec![
        (":streamGenerateContent", events, stream(gemini)),
        (":generateContent", json, gemini.to_owned()),
        ("\"stream\":true", events, pieces.into_iter().map(stream).collect()),
        ("", json, claude.to_owned()),
    ])
}

#[test]
fn chats_are_told_the_thoughts_of_models_that_are_set_so() {
    let upstream = thinkers();
    let addr = upstream.addr;
    let mut config = String::new();
    for (name, kind, path) in [("claude", "anthropic", ""), ("gem", "gemini", "/v1beta/")] {
        config.push_str(&format!(
            "[[providers]]\nname = \"{name}\"\nkind = \"{kind}\"\nbase_url = \"http://{addr}{path}\"\napi_key = \"k\"\n\
             [[models]]\nname = \"open-{name}\"\nreasoning_content = true\ntargets = [{{ provider = \"{name}\", model = \"x\" }}]\n\
             [[models]]\nname = \"plain-{name}\"\ntargets = [{{ provider = \"{name}\", model = \"x\" }}]\n"
        ));
    }
    let gateway = Gateway::start(&config, &[]);
    let ask = |model: &str, stream: bool| {
        let body = json!({"model": model, "reasoning_effort": "low", "stream": stream, "messages": [{"role": "user", "content": "hi"}]});
        let answer = post(gateway.addr(), "/v1/chat/completions", &[], body.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(!answer.text().contains("seal"), "{}", answer.text());
        if !stream {
            let message = answer.json()["choices"][0]["message"].clone();
            return (text(&message["content"]), message["reasoning_content"].as_str().map(str::to_owned));
        }
        let (mut said, mut thought) = (String::new(), None);
        for chunk in answer.events().iter().filter_map(|data| serde_json::from_str::<Value>(data).ok()) {
            let delta = &chunk["choices"][0]["delta"];
            said.push_str(delta["content"].as_str().unwrap_or_default());
            if let Some(piece) = delta["reasoning_content"].as_str() {
                thought.get_or_insert_with(String::new).push_str(piece);
            }
        }
        (said, thought)
    };
    for provider in ["claude", "gem"] {
        for stream in [false, true] {
            let (said, thought) = ask(&format!("open-{provider}"), stream);
            assert_eq!((&*said, thought.as_deref()), ("yes", Some("hm, well")), "{provider} {stream}");
            assert_eq!(ask(&format!("plain-{provider}"), stream), ("yes".to_owned(), None), "{provider} {stream}");
        }
    }
    // Who is to tell its thoughts is asked to.
    let shown = [r#""display":"summarized""#, r#""includeThoughts":true"#];
    let told = upstream.asked().iter().map(|asked| shown.iter().any(|word| asked.contains(word))).collect::<Vec<_>>();
    assert_eq!(told, [true, false, true, false, true, false, true, false]);
    // Others have a place for them, and say themselves whether they want them.
    let body = json!({"contents": [{"parts": [{"text": "hi"}]}]});
    let answer = post(gateway.addr(), "/v1beta/models/open-claude:generateContent", &[], body.to_string().as_bytes());
    assert!(answer.status == 200 && !answer.text().contains("hm"), "{}", answer.text());
}

#[test]
fn thoughts_that_came_apart_are_told_apart() {
    let thought = |text: &str| json!({"type": "thinking", "thinking": text, "signature": ""});
    let whole = json!({"id": "m", "model": "c", "content": [thought("one"), thought("two")], "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 5}});
    let mut events = vec![json!({"type": "message_start", "message": {"id": "m", "model": "c"}})];
    for text in ["one", "two"] {
        let delta = json!({"type": "thinking_delta", "thinking": text});
        events.push(json!({"type": "content_block_start", "index": 0, "content_block": thought("")}));
        events.push(json!({"type": "content_block_delta", "index": 0, "delta": delta}));
        events.push(json!({"type": "content_block_stop", "index": 0}));
    }
    events.push(json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}}));
    events.push(json!({"type": "message_stop"}));
    let stream = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    let upstream = Canned::start(vec![
        ("\"stream\":true", "text/event-stream", stream),
        ("", "application/json", whole.to_string()),
    ]);
    let config = format!(
        "[[providers]]\nname = \"claude\"\nkind = \"anthropic\"\nbase_url = \"http://{}\"\napi_key = \"k\"\n",
        upstream.addr
    );
    let gateway = Gateway::start(&config, &[]);
    let whole = Front::Responses.ask(gateway.addr(), "claude/x", false, false).json();
    let summary = json!([{"type": "summary_text", "text": "one"}, {"type": "summary_text", "text": "two"}]);
    assert_eq!(whole["output"][0]["summary"], summary);
    let text = Front::Responses.ask(gateway.addr(), "claude/x", true, false).text();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let events: Vec<Value> = data.map(|data| serde_json::from_str(data).unwrap()).collect();
    assert_eq!(events.last().unwrap()["response"]["output"][0]["summary"], summary);
    let told = events.iter().filter(|event| event["type"] == "response.reasoning_summary_text.delta");
    let told: Vec<_> = told.map(|event| (event["summary_index"].as_u64(), event["delta"].as_str())).collect();
    assert_eq!(told, [(Some(0), Some("one")), (Some(1), Some("two"))]);
}

#[test]
fn tokens_are_counted_by_the_provider_or_estimated() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    let (mut counted, body) = (Vec::new(), r#""messages":[{"role":"user","content":"twelve bytes"}]"#);
    for provider in PROVIDERS {
        let asked = format!("{{\"model\":\"{provider}/sim\",{body}}}");
        let answer = post(gateway.addr(), "/v1/messages/count_tokens", &[], asked.as_bytes());
        assert_eq!(answer.status, 200, "{provider}: {}", answer.text());
        assert_eq!(answer.header("x-llmkit-estimated"), ["chat", "bedrock"].contains(provider).then_some("true"));
        counted.push(answer.json()["input_tokens"].as_u64().unwrap());
        let contents = br#"{"contents":[{"parts":[{"text":"twelve bytes"}]}]}"#;
        let path = format!("/v1beta/models/{provider}%2Fsim:countTokens");
        let answer = post(gateway.addr(), &path, &[], contents);
        counted.push(answer.json()["totalTokens"].as_u64().unwrap());
    }
    assert_eq!(counted, vec![3; 2 * PROVIDERS.len()]);
}

#[test]
fn models_are_listed_in_the_callers_format() {
    let upstream = Upstream::start();
    let models = "[[models]]\nname = \"fast\"\ntargets = [{ provider = \"chat\", model = \"sim\" }]\n";
    let gateway = gateway(&upstream, models);
    let list = |path: &str, headers: &[(&str, &str)]| get(gateway.addr(), path, headers).json();
    assert_eq!(list("/v1/models", &[])["object"], "list");
    let anthropic = list("/v1/models", &[("anthropic-version", "2023-06-01")]);
    assert_eq!((&anthropic["data"][0]["id"], &anthropic["has_more"]), (&json!("fast"), &json!(false)));
    assert_eq!(list("/v1beta/models", &[])["models"][0]["name"], "models/fast");
    assert_eq!(list("/v1beta/models/fast", &[])["displayName"], "fast");
}

#[test]
fn gemini_without_events_is_one_array_and_its_key_may_stand_in_the_query() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "[server]\napi_keys = [\"ses ame\"]\n");
    let body = br#"{"contents":[{"parts":[{"text":"hi"}]}]}"#;
    for provider in PROVIDERS {
        let path = format!("/v1beta/models/{provider}%2Fsim%3Freply=one%20two:streamGenerateContent");
        assert_eq!(post(gateway.addr(), &path, &[], body).status, 401);
        let answer = post(gateway.addr(), &format!("{path}?key=ses%20ame"), &[], body);
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, Some("application/json")),
            "{}",
            answer.text()
        );
        let mut told = Told::default();
        for item in answer.json().as_array().unwrap() {
            told.parts(&item["candidates"][0]["content"]["parts"]);
        }
        assert_eq!(told.text, "one two");
    }
    let goog = post(gateway.addr(), "/v1beta/models/gem%2Fsim:generateContent", &[("x-goog-api-key", "ses ame")], body);
    assert_eq!(goog.status, 200);
}

#[test]
fn translated_calls_are_shared_and_each_caller_gets_its_form() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    let addr = gateway.addr();
    let ask =
        |stream| std::thread::spawn(move || Front::Chat.ask(addr, "claude/sim?tokens=5,ttft=300ms", stream, false));
    let streams: Vec<_> = (0..4).map(|_| ask(true)).collect();
    let whole: Vec<_> = (0..4).map(|_| ask(false)).collect();
    let mut told: Vec<Told> = streams.into_iter().map(|answer| Front::Chat.streamed(&answer.join().unwrap())).collect();
    told.extend(whole.into_iter().map(|answer| Front::Chat.whole(&answer.join().unwrap())));
    assert!(told.iter().all(|each| *each == told[0] && each.output == 5), "{told:?}");
    assert_eq!(upstream.count("requests"), 1);
}

#[test]
fn what_a_server_takes_and_where_its_key_stands_goes_by_its_kind_and_preset() {
    let upstream = Upstream::start();
    let base = format!("http://{}", upstream.0.addr);
    for (kind, path, cap, key) in [
        ("kind = \"openai\"", "/v1", "max_completion_tokens", "authorization"),
        ("kind = \"azure_openai\"", "/v1", "max_completion_tokens", "api-key"),
        ("kind = \"ollama\"", "", "max_tokens", "authorization"),
        ("kind = \"openai_compatible\"\npreset = \"groq\"", "/v1", "max_completion_tokens", "authorization"),
        ("kind = \"openai_compatible\"\npreset = \"deepseek\"", "/v1", "max_tokens", "authorization"),
    ] {
        let config =
            format!("[[providers]]\nname = \"p\"\n{kind}\nbase_url = \"{base}{path}\"\napi_key = \"secret\"\n");
        let gateway = Gateway::start(&config, &[]);
        let answer = Front::Messages.ask(gateway.addr(), "p/sim", false, false);
        assert_eq!(answer.status, 200, "{kind}: {}", answer.text());
        let last = upstream.last();
        let body: Value = serde_json::from_str(last["body"].as_str().unwrap()).unwrap();
        assert_eq!((&last["path"], &body[cap]), (&json!("/v1/chat/completions"), &json!(50)), "{kind}: {body}");
        let keys: Vec<_> = last["headers"].as_array().unwrap().iter().filter(|header| header[0] == key).collect();
        assert!(keys.len() == 1 && keys[0][1].as_str().unwrap().ends_with("secret"), "{kind}: {last}");
    }
}
