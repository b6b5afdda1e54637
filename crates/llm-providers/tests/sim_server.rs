//! The simulated provider as a process of its own, met by a raw client over loopback.
#![cfg(feature = "sim-server")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::SocketAddr;

use futures_util::future::join;
use llm_core::StreamEvent;
use llm_providers::wire::openai::{ChunkDecoder, decode_chat_response, decode_embedding_response, decode_models};
use llm_providers::wire::sse::{DEFAULT_LIMIT, Framer};
use llm_providers::{SimConfig, SimServer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A served simulation. Dropped, it ends.
struct Served {
    addr: SocketAddr,
    end: Option<oneshot::Sender<()>>,
    task: JoinHandle<std::io::Result<()>>,
}

async fn serve(config: SimConfig) -> Served {
    let server = SimServer::bind("127.0.0.1:0".parse().unwrap(), config).await.unwrap();
    let addr = server.local_addr().unwrap();
    let (end, ended) = oneshot::channel();
    let task = tokio::spawn(server.serve(ended));
    Served { addr, end: Some(end), task }
}

impl Served {
    async fn client(&self) -> Client {
        let stream = TcpStream::connect(self.addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, received: Vec::new() }
    }

    /// Asks on a connection of its own.
    async fn get(&self, path: &str) -> Value {
        let answer = self.client().await.ask("GET", path, "", "").await;
        assert_eq!(answer.status, 200, "{path}");
        answer.json()
    }

    async fn chat(&self, model: &str) -> Answer {
        self.client().await.chat(model, "").await
    }

    async fn stream(&self, model: &str) -> Answer {
        self.client().await.chat(model, STREAM).await
    }
}

const STREAM: &str = r#","stream":true,"stream_options":{"include_usage":true}"#;

fn chat_body(model: &str, rest: &str) -> String {
    format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"What is 2+2?"}}]{rest}}}"#)
}

struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

/// An answer as it came.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    /// Without chunks.
    body: Vec<u8>,
    /// The chunks, one by one.
    chunks: Vec<Vec<u8>>,
    /// Whether the body came to the end that was announced.
    whole: bool,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn text(&self) -> String {
        decode_chat_response(&self.body).unwrap().text_content()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            (found == name).then_some(value)
        })
    }

    fn error(&self) -> Value {
        let error = self.json()["error"].clone();
        let keys: Vec<_> = error.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["code", "message", "param", "type"]);
        error
    }

    /// The text of a stream, and whether it came to its marker.
    fn streamed(&self) -> (String, bool) {
        let (mut framer, mut decoder) = (Framer::new(DEFAULT_LIMIT), ChunkDecoder::new());
        framer.push(self.body.clone().into());
        let mut events = Vec::new();
        while let Some(event) = framer.next_event().unwrap() {
            if decoder.decode(&event.fields().data.unwrap(), &mut events).is_err() {
                break;
            }
        }
        let texts = events.iter().filter_map(|event| match event {
            StreamEvent::Text { text, .. } => Some(text.as_str()),
            _ => None,
        });
        (texts.collect(), decoder.is_done())
    }
}

impl Client {
    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    async fn ask(&mut self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        self.send(request(method, path, headers, body)).await;
        self.answer().await
    }

    async fn chat(&mut self, model: &str, rest: &str) -> Answer {
        self.ask("POST", "/v1/chat/completions", "", &chat_body(model, rest)).await
    }

    /// Receives more; false at the end.
    async fn more(&mut self) -> bool {
        // A connection that was reset is at its end too.
        matches!(self.stream.read_buf(&mut self.received).await, Ok(1..))
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.received.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.received.drain(..end + 2).collect();
                return Some(String::from_utf8(line).unwrap().trim_end().into());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// So many bytes, or fewer at the end.
    async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.received.len() < count && self.more().await {}
        self.received.drain(..count.min(self.received.len())).collect()
    }

    async fn head(&mut self) -> Option<String> {
        let mut head = String::new();
        loop {
            match self.line().await? {
                line if line.is_empty() => return Some(head),
                line => head = head + &line + "\n",
            }
        }
    }

    async fn answer(&mut self) -> Answer {
        let head = self.head().await.expect("an answer");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { status, head, body: Vec::new(), chunks: Vec::new(), whole: false };
        if let Some(length) = answer.header("content-length") {
            let length = length.parse().unwrap();
            answer.body = self.exactly(length).await;
            answer.whole = answer.body.len() == length;
        } else if answer.header("transfer-encoding") == Some("chunked") {
            while let Some(size) = self.line().await {
                let size = usize::from_str_radix(&size, 16).unwrap();
                let chunk = self.exactly(size).await;
                answer.body.extend(&chunk);
                answer.whole = size == 0;
                if size > 0 {
                    answer.chunks.push(chunk);
                }
                if self.line().await.is_none() || answer.whole {
                    break;
                }
            }
        } else {
            assert_eq!(answer.header("connection"), Some("close"));
            while self.more().await {}
            answer.body = std::mem::take(&mut self.received);
            answer.whole = true;
        }
        answer
    }

    async fn at_end(&mut self) -> bool {
        self.received.is_empty() && !self.more().await
    }
}

fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: sim\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn whole_and_streamed_answers_say_the_same() {
    let sim = serve(SimConfig::default()).await;
    let mut client = sim.client().await;
    let whole = client.chat("sim?tokens=7", "").await;
    assert_eq!((whole.status, whole.header("content-type")), (200, Some("application/json")));
    let response = decode_chat_response(&whole.body).unwrap();
    assert_eq!((response.model.as_str(), response.usage.unwrap().output), ("sim", 7));
    assert_eq!(response.usage.unwrap().input, 3);

    let streamed = client.chat("sim?tokens=7", STREAM).await;
    assert_eq!(streamed.header("content-type"), Some("text/event-stream"));
    assert_eq!(streamed.streamed(), (response.text_content(), true));
    assert!(streamed.whole);
    // Role, seven words, the end, the usage, the marker: one chunk each.
    assert_eq!(streamed.chunks.len(), 11);
    assert!(streamed.chunks.iter().all(|chunk| chunk.starts_with(b"data: ") && chunk.ends_with(b"\n\n")));
    assert_eq!(streamed.chunks[10], b"data: [DONE]\n\n");

    // Without the option no chunk speaks of usage.
    let silent = client.chat("sim?tokens=7", r#","stream":true"#).await;
    assert_eq!(silent.chunks.len(), 10);
    assert!(!String::from_utf8(silent.body).unwrap().contains("usage"));
}

#[tokio::test]
async fn the_same_seed_and_sequence_give_the_same_bytes() {
    let play = async |seed| {
        let sim = serve(SimConfig { seed, ..SimConfig::default() }).await;
        let mut client = sim.client().await;
        let mut heard = Vec::new();
        for rest in ["", STREAM, "", r#","n":3"#] {
            let answer = client.chat("sim?error_rate=0.5", rest).await;
            heard.push((answer.status, answer.body));
        }
        client.ask("POST", "/sim/reset", "", "").await;
        let again = client.chat("sim?error_rate=0.5", "").await;
        assert_eq!((again.status, &again.body), (heard[0].0, &heard[0].1), "a reset starts the sequence again");
        heard
    };
    assert_eq!(play(1).await, play(1).await);
    assert_ne!(play(1).await, play(2).await);
}

#[tokio::test]
async fn errors_have_openais_shape_and_the_scripted_status() {
    let sim = serve(SimConfig::default()).await;
    let limited = sim.chat("sim?status=429,retry_after=1500ms").await;
    assert_eq!((limited.status, limited.header("retry-after")), (429, Some("2")));
    assert_eq!(limited.header("retry-after-ms"), Some("1500"));
    assert_eq!(
        (&limited.error()["type"], &limited.error()["code"]),
        (&json!("requests"), &json!("rate_limit_exceeded"))
    );
    for (status, code) in [
        (400, json!(null)),
        (401, json!("invalid_api_key")),
        (403, json!("unsupported_country_region_territory")),
        (404, json!("model_not_found")),
        (409, json!(null)),
        (422, json!(null)),
        (500, json!(null)),
        (503, json!("server_is_overloaded")),
        (529, json!("server_is_overloaded")),
    ] {
        for rest in ["", STREAM] {
            let answer = sim.client().await.chat(&format!("sim?status={status}"), rest).await;
            assert_eq!((answer.status, &answer.error()["code"]), (status, &code));
            assert_eq!(answer.header("content-type"), Some("application/json"));
        }
    }
    assert_eq!(sim.chat("sim?status=429,code=insufficient_quota").await.error()["type"], "insufficient_quota");
    assert_eq!(sim.chat("sim?error_rate=1").await.status, 500);
    assert_eq!(sim.chat("sim?error_rate=0,status=500").await.status, 200);
    let model = "sim?fail_first=2,status=503";
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(sim.chat(model).await.status);
    }
    assert_eq!(statuses, [503, 503, 200]);
    let page = sim.chat("sim?html").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html")));
    assert!(page.body.starts_with(b"<html>"));
    assert_eq!(sim.chat("sim?html,status=502").await.status, 502);
}

#[tokio::test]
async fn connections_break_where_scripted() {
    let sim = serve(SimConfig::default()).await;
    let whole = sim.stream("sim?tokens=5").await;
    let words = |count: usize| whole.streamed().0.split(' ').take(count).collect::<Vec<_>>().join(" ");

    let cut = sim.stream("sim?tokens=5,cut_after=2").await;
    assert!(!cut.whole);
    assert_eq!(cut.streamed(), (words(2), false));
    assert!(!cut.body.ends_with(b"\n\n"), "it is cut in the middle of an event");
    let clean = sim.stream("sim?tokens=5,cut_after=2,cut_clean").await;
    assert!(!clean.whole && clean.body.ends_with(b"\n\n"));
    assert_eq!(clean.streamed(), (words(2), false));
    for model in ["sim?cut_after=1", "sim?truncate"] {
        let mut client = sim.client().await;
        let half = client.chat(model, "").await;
        assert!(half.status == 200 && !half.whole && !half.body.is_empty(), "{half:?}");
        assert!(client.at_end().await);
    }
    let truncated = sim.stream("sim?tokens=5,truncate").await;
    assert!(!truncated.whole && !truncated.streamed().1);
    assert_eq!(truncated.streamed().0, words(5));

    let unmarked = sim.stream("sim?tokens=5,no_done").await;
    assert!(unmarked.whole);
    assert_eq!(unmarked.streamed(), (words(5), false));
    let failed = sim.stream("sim?tokens=5,error_event=2").await;
    assert!(failed.whole);
    let last: Value = serde_json::from_slice(&failed.chunks.last().unwrap()[6..]).unwrap();
    assert_eq!(last["error"]["type"], "server_error");
    assert_eq!(failed.chunks.len(), 4);

    let mut client = sim.client().await;
    client.send(request("POST", "/v1/chat/completions", "", &chat_body("sim?hangup", ""))).await;
    assert!(client.at_end().await);
    let stats = sim.get("/sim/stats").await;
    assert_eq!((&stats["requests"], &stats["completed"], &stats["failed"]), (&json!(9), &json!(2), &json!(7)));
}

#[tokio::test]
async fn a_connection_may_close_in_each_direction_by_itself() {
    let sim = serve(SimConfig::default()).await;
    for rest in ["", STREAM] {
        // Closed after an answer that did not say so.
        let mut client = sim.client().await;
        let answer = client.chat("sim?close", rest).await;
        assert!(answer.whole && answer.header("connection").is_none());
        assert!(client.at_end().await);
    }
    let mut client = sim.client().await;
    let whole = client.chat("sim?half_close,reply=hi", "").await;
    assert_eq!((whole.header("content-length"), whole.text().as_str()), (None, "hi"));
    let mut client = sim.client().await;
    let streamed = client.chat("sim?half_close,reply=hi", STREAM).await;
    assert_eq!(streamed.streamed(), ("hi".into(), true));
    assert!(!streamed.whole, "the terminating chunk is missing");
    // The server still reads: what it reads does not reset the connection.
    client.send(vec![b'x'; 1000]).await;
    sim.get("/sim/stats").await;
    client.send("x").await;
    assert!(client.at_end().await);
}

#[tokio::test]
async fn a_client_that_leaves_is_seen_whatever_is_going_on() {
    let sim = serve(SimConfig::default()).await;
    let leaving = [
        ("sim?stall", ""),
        ("sim?stall", STREAM),
        ("sim?stall_after=2", ""),
        ("sim?stall_after=2", STREAM),
        ("sim?ttft=10d", STREAM),
        ("sim?gap=10d", ""),
        ("sim?gap=10d", STREAM),
        ("sim?fixed,ttft=10d", ""),
        ("sim?fixed,gap=10d", ""),
        ("sim?fixed,gap=10d", STREAM),
        // More than the sockets hold.
        ("sim?tokens=1000000", STREAM),
        ("sim?tokens=1000000", ""),
    ];
    for (count, (model, rest)) in (1..).zip(leaving) {
        let mut client = sim.client().await;
        client.send(request("POST", "/v1/chat/completions", "", &chat_body(model, rest))).await;
        sim.get("/sim/stats?active=1").await;
        drop(client);
        let stats = sim.get(&format!("/sim/stats?cancelled={count}&active=0")).await;
        assert_eq!((&stats["completed"], &stats["failed"]), (&json!(0), &json!(0)), "{model} {rest}");
    }
}

#[tokio::test]
async fn what_was_said_before_a_client_left_is_counted() {
    let sim = serve(SimConfig::default()).await;
    let mut client = sim.client().await;
    client.send(request("POST", "/v1/chat/completions", "", &chat_body("sim?stall_after=3", STREAM))).await;
    let head = client.head().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\n"), "{head}");
    let stats = sim.get("/sim/stats?output_tokens=3").await;
    assert_eq!((&stats["active"], &stats["input_tokens"]), (&json!(1), &json!(3)));
    drop(client);
    let stats = sim.get("/sim/stats?cancelled=1").await;
    assert_eq!(stats["models"]["sim"]["output_tokens"], 3);
}

#[tokio::test]
async fn a_key_is_asked_for_when_scripted() {
    let sim = serve(SimConfig { default: "auth=s%2C1".parse().unwrap(), ..SimConfig::default() }).await;
    let refused = sim.chat("sim").await;
    assert_eq!((refused.status, &refused.error()["code"]), (401, &json!("invalid_api_key")));
    let mut client = sim.client().await;
    let with = |key: &str| format!("authorization: Bearer {key}\r\n");
    for (key, status) in [("s,1", 200), ("s", 401), ("s,12", 401)] {
        let path = "/v1/chat/completions";
        assert_eq!(client.ask("POST", path, &with(key), &chat_body("sim", "")).await.status, status);
        assert_eq!(client.ask("GET", "/v1/models", &with(key), "").await.status, status);
    }
}

#[tokio::test]
async fn requests_may_arrive_in_any_pieces() {
    let sim = serve(SimConfig::default()).await;
    let body = chat_body("sim?reply=hi", "");
    let plain = request("POST", "/chat/completions", "", &body);
    let (first, second) = body.split_at(20);
    let chunked = format!(
        "POST /v1/chat/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n\
         {:x}\r\n{first}\r\n{:x};a=b\r\n{second}\r\n0\r\nx-trailer: 1\r\n\r\n",
        first.len(),
        second.len(),
    );
    let mut client = sim.client().await;
    for wire in [&plain, &chunked] {
        for byte in wire.bytes() {
            client.send([byte]).await;
        }
        assert_eq!(client.answer().await.text(), "hi");
    }
    // Pipelined: answered in order.
    client.send(format!("{plain}{chunked}{}", request("GET", "/v1/models", "", ""))).await;
    assert_eq!(client.answer().await.text(), "hi");
    assert_eq!(client.answer().await.text(), "hi");
    assert_eq!(client.answer().await.json()["object"], "list");

    // The body is waited for.
    let (head, body) = plain.split_at(plain.len() - body.len());
    client.send(head.replace("host: sim", "expect: 100-continue")).await;
    assert_eq!(client.head().await.unwrap(), "HTTP/1.1 100 Continue\n");
    client.send(body).await;
    assert_eq!(client.answer().await.text(), "hi");

    let mut client = sim.client().await;
    client.send(plain.replace("HTTP/1.1", "HTTP/1.0")).await;
    let answer = client.answer().await;
    assert_eq!((answer.header("connection"), answer.text().as_str()), (Some("close"), "hi"));
    assert!(client.at_end().await);
    let mut client = sim.client().await;
    client
        .send(request("POST", "/chat/completions", "", &chat_body("sim?reply=hi", STREAM)).replace("1.1", "1.0"))
        .await;
    assert_eq!(client.answer().await.streamed(), ("hi".into(), true));
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_in_openais_shape() {
    let sim = serve(SimConfig::default()).await;
    let mut client = sim.client().await;
    let cases = [
        ("GET", "/v1/chat/completions", "", 405, json!("method_not_supported")),
        ("POST", "/v1/models", "", 405, json!("method_not_supported")),
        ("POST", "/v1/nothing", "{}", 404, json!("unknown_url")),
        ("GET", "/v1/models/none", "", 404, json!("model_not_found")),
        ("POST", "/v1/chat/completions", "{\"model\":", 400, json!(null)),
        ("POST", "/v1/embeddings", r#"{"model":"sim","input":""}"#, 400, json!("invalid_value")),
        ("POST", "/v1/chat/completions", r#"{"model":"sim?x=1","messages":[{}]}"#, 400, json!("invalid_value")),
        ("GET", "/sim/nothing", "", 404, json!("unknown_url")),
        ("GET", "/sim/stats?mood=1", "", 400, json!(null)),
    ];
    for (method, path, body, status, code) in cases {
        let answer = client.ask(method, path, "", body).await;
        assert_eq!((answer.status, &answer.error()["code"]), (status, &code), "{method} {path} {body}");
    }
    let answer = client.ask("POST", "/v1/chat/completions", "x-llmkit-sim: tokens=x\r\n", &chat_body("sim", "")).await;
    assert_eq!((answer.status, &answer.error()["param"]), (400, &json!("x-llmkit-sim")));
    client.send("nonsense\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 400);
    assert!(client.at_end().await);
    let mut client = sim.client().await;
    client.send("POST / HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 413);
}

#[tokio::test]
async fn a_later_place_goes_over_an_earlier_one_key_by_key() {
    let config = SimConfig {
        seed: 0,
        default: "reply=default,status=503".parse().unwrap(),
        models: [("m".into(), "status=200,usage=off".parse().unwrap())].into(),
    };
    let sim = serve(config).await;
    let mut client = sim.client().await;
    let mut ask = async |model: &str, header: &str| {
        let header = format!("X-LLMkit-Sim: {header}\r\n");
        client.ask("POST", "/v1/chat/completions", &header, &chat_body(model, "")).await
    };
    assert_eq!(ask("other", "").await.status, 503);
    let configured = ask("m", "").await;
    assert_eq!((configured.text().as_str(), configured.json().get("usage")), ("default", None));
    assert_eq!(ask("m?reply=named", "").await.text(), "named");
    let all = ask("m?reply=named", "reply=headed, usage").await;
    assert_eq!(all.text(), "headed");
    assert_eq!(all.json()["usage"]["completion_tokens"], 1);
}

#[tokio::test]
async fn models_and_embeddings_are_served() {
    let config = SimConfig { models: [("a/b:c".into(), Default::default())].into(), ..SimConfig::default() };
    let sim = serve(config).await;
    let mut client = sim.client().await;
    let models = decode_models(&client.ask("GET", "/v1/models", "", "").await.body).unwrap();
    assert_eq!(models.iter().map(|model| model.id.as_str()).collect::<Vec<_>>(), ["a/b:c", "sim"]);
    assert_eq!(client.ask("GET", "/v1/models/a%2Fb:c?x=y", "", "").await.json()["id"], "a/b:c");
    assert_eq!(client.ask("GET", "/models/sim", "", "").await.json()["object"], "model");

    let floats = client.ask("POST", "/v1/embeddings", "", r#"{"model":"sim","input":["a","b"],"dimensions":5}"#).await;
    let floats = decode_embedding_response(&floats.body).unwrap();
    assert_eq!((floats.data.len(), floats.data[0].vector.len()), (2, 5));
    let body = r#"{"model":"sim","input":["a","b"],"dimensions":5,"encoding_format":"base64"}"#;
    let base64 = client.ask("POST", "/v1/embeddings", "", body).await;
    assert!(base64.json()["data"][0]["embedding"].is_string());
    assert_eq!(decode_embedding_response(&base64.body).unwrap().data, floats.data);
    let refused = client.ask("POST", "/v1/embeddings", "", r#"{"model":"sim?status=500","input":"a"}"#).await;
    assert_eq!(refused.status, 500);
}

#[tokio::test]
async fn tools_and_structured_output_are_streamed() {
    let sim = serve(SimConfig::default()).await;
    let parameters = r#"{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}"#;
    let tools = format!(
        r#","tools":[{{"type":"function","function":{{"name":"f","parameters":{parameters}}}}},{{"type":"function","function":{{"name":"g"}}}}]"#
    );
    let answer = sim.client().await.chat("sim?tool", &(STREAM.to_owned() + &tools)).await;
    let mut arguments = vec![String::new(); 2];
    let mut reason = Value::Null;
    for chunk in &answer.chunks[..answer.chunks.len() - 1] {
        let chunk: Value = serde_json::from_slice(&chunk[6..]).unwrap();
        for call in chunk["choices"][0]["delta"]["tool_calls"].as_array().into_iter().flatten() {
            let text = call["function"]["arguments"].as_str().unwrap();
            arguments[call["index"].as_u64().unwrap() as usize].push_str(text);
        }
        if chunk["choices"][0]["finish_reason"].is_string() {
            reason = chunk["choices"][0]["finish_reason"].clone();
        }
    }
    assert_eq!(
        (arguments[0].as_str(), arguments[1].as_str(), reason),
        (r#"{"city":"sim"}"#, "{}", json!("tool_calls"))
    );

    let format =
        format!(r#","response_format":{{"type":"json_schema","json_schema":{{"name":"n","schema":{parameters}}}}}"#);
    let answer = sim.client().await.chat("sim", &format).await;
    assert_eq!(answer.text(), r#"{"city":"sim"}"#);
}

#[tokio::test]
async fn what_was_asked_can_be_seen_byte_for_byte() {
    let sim = serve(SimConfig::default()).await;
    let mut client = sim.client().await;
    assert_eq!(client.ask("GET", "/sim/last", "", "").await.status, 404);
    let body = chat_body("sim", r#" , "odd":1.0,"big" : 9007199254740993,"t":"\u00fc""#);
    client.ask("POST", "/v1/chat/completions?q=1", "Authorization: Bearer k\r\nX-Odd:  a: b\r\n", &body).await;
    let last = sim.get("/sim/last").await;
    assert_eq!((&last["body"], &last["path"]), (&json!(body), &json!("/v1/chat/completions?q=1")));
    let headers = last["headers"].as_array().unwrap();
    assert!(headers.contains(&json!(["Authorization", "Bearer k"])) && headers.contains(&json!(["X-Odd", "a: b"])));

    for number in 0..70 {
        client.chat(&format!("sim?key={number}"), "").await;
    }
    let requests = sim.get("/sim/requests").await;
    let bodies: Vec<_> = requests.as_array().unwrap().iter().map(|entry| entry["body"].as_str().unwrap()).collect();
    assert_eq!(bodies.len(), 64);
    assert_eq!((bodies[0], bodies[63]), (chat_body("sim?key=6", "").as_str(), chat_body("sim?key=69", "").as_str()));
    assert_eq!(sim.get("/sim/stats").await["requests"], 71);
    client.ask("POST", "/sim/reset", "", "").await;
    assert_eq!(sim.get("/sim/requests").await, json!([]));
    let stats = sim.get("/sim/stats").await;
    assert_eq!((&stats["requests"], &stats["models"]), (&json!(0), &json!({})));
}

#[tokio::test]
async fn fixed_answers_are_all_the_same_and_counted() {
    let sim = serve(SimConfig::default()).await;
    let mut client = sim.client().await;
    let model = "sim?fixed,tokens=50";
    let first = client.chat(model, "").await;
    let second = client.chat(model, r#","user":"someone""#).await;
    assert_eq!((&first.head, &first.body), (&second.head, &second.body));
    let text = first.text();
    assert_eq!(text.split(' ').count(), 50);
    let streamed = client.chat(model, STREAM).await;
    assert_eq!((streamed.streamed(), streamed.whole), ((text.clone(), true), true));
    assert_eq!(streamed.chunks.len(), 54);
    let silent = client.chat(model, r#","stream":true"#).await;
    assert_eq!((silent.streamed(), silent.chunks.len()), ((text, true), 53));
    let stats = sim.get("/sim/stats").await;
    assert_eq!((&stats["completed"], &stats["output_tokens"]), (&json!(4), &json!(200)));
    assert_eq!(sim.get("/sim/requests").await, json!([]));
    // A fault is played all the same.
    assert_eq!(client.chat("sim?fixed,status=503", "").await.status, 503);
}

#[tokio::test]
async fn streams_do_not_hold_each_other_up() {
    let sim = serve(SimConfig::default()).await;
    let mut stalled = sim.client().await;
    stalled.send(request("POST", "/v1/chat/completions", "", &chat_body("sim?stall", STREAM))).await;
    let (first, second) = join(sim.stream("sim?tokens=3"), sim.stream("sim?tokens=4")).await;
    assert!(first.whole && second.whole);
    assert_eq!(sim.get("/sim/stats?completed=2").await["active"], 1);
}

#[tokio::test]
async fn serving_ends_when_told_and_drops_what_is_open() {
    let mut sim = serve(SimConfig::default()).await;
    let mut client = sim.client().await;
    client.send(request("POST", "/v1/chat/completions", "", &chat_body("sim?stall", ""))).await;
    sim.get("/sim/stats?active=1").await;
    sim.end.take().unwrap().send(()).unwrap();
    (&mut sim.task).await.unwrap().unwrap();
    assert!(client.at_end().await);
    assert!(TcpStream::connect(sim.addr).await.is_err());
}
