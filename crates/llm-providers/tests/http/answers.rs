//! What is sent, and what is made of the answers.

use std::time::Duration;

use async_compression::tokio::write::{BrotliEncoder, GzipEncoder, ZstdEncoder};
use http::HeaderMap;
use llm_core::{Call, CallBody, CompletionRequest, ErrorKind, Message, Provider, RequestId, WireBody};
use llm_providers::{Api, HttpConfig, HttpProvider};
use tokio::io::AsyncWriteExt;

use crate::upstream::{
    END, FIRST, LAST, STREAM, Then, Upstream, WHOLE, answer, body, call, config, frames, json, provider, streaming,
    whole, wire,
};

#[tokio::test]
async fn a_request_is_its_callers_body_and_our_headers() {
    let upstream = Upstream::always(whole()).await;
    let mut call = call(r#", "temperature" : 1.0 ,"new_field":[1e2]"#);
    call.model = "gpt-x".into();
    call.request_id = Some(RequestId::from("req-1"));
    call.headers.insert("openai-beta", "x".parse().unwrap());
    wire(&upstream.provider(), call).await.unwrap();
    let asked = upstream.next().await;
    assert_eq!(asked.line(), "POST /v1/chat/completions HTTP/1.1");
    let expected =
        r#"{"model":"gpt-x","messages":[{"role":"user","content":"2+2?"}], "temperature" : 1.0 ,"new_field":[1e2]}"#;
    assert_eq!(String::from_utf8(asked.body.clone()).unwrap(), expected);
    for (name, value) in [
        ("host", upstream.address.as_str()),
        ("authorization", "Bearer sk-test"),
        ("content-type", "application/json"),
        ("accept-encoding", "identity"),
        ("content-length", &expected.len().to_string()),
        ("x-request-id", "req-1"),
        ("openai-beta", "x"),
    ] {
        assert_eq!(asked.header(name), [value], "{name}");
    }
    assert_eq!(asked.header("transfer-encoding"), [""; 0]);
}

#[tokio::test]
async fn a_large_body_is_sent_whole() {
    let upstream = Upstream::always(whole()).await;
    let text = "x".repeat(3 << 20);
    wire(&upstream.provider(), call(&format!(r#","padding":"{text}""#))).await.unwrap();
    let sent = upstream.next().await.body;
    assert!(sent.ends_with(format!(r#","padding":"{text}"}}"#).as_bytes()));
}

#[tokio::test]
async fn a_stream_asks_for_its_usage_once() {
    let upstream = Upstream::always(Then::Answer([&streaming(&[FIRST, LAST]), END].concat())).await;
    frames(&upstream.provider()).await.unwrap();
    let sent = String::from_utf8(upstream.next().await.body).unwrap();
    assert_eq!(sent.matches(r#""stream_options":{"include_usage":true}"#).count(), 1, "{sent}");
}

#[tokio::test]
async fn the_base_url_may_have_a_path_and_a_slash() {
    let upstream = Upstream::always(Then::Answer(json(r#"{"object":"list","data":[]}"#))).await;
    for (base, path) in [("", "/models"), ("/", "/models"), ("/a/v2", "/a/v2/models"), ("/a/v2/", "/a/v2/models")] {
        let provider = provider(&format!("http://{}{base}", upstream.address));
        assert!(provider.models().await.unwrap().is_empty());
        assert_eq!(upstream.next().await.line(), format!("GET {path} HTTP/1.1"));
    }
}

#[tokio::test]
async fn without_a_key_nothing_is_said_of_one() {
    let upstream = Upstream::always(whole()).await;
    let config = HttpConfig { api_key: None, ..config(&format!("http://{}", upstream.address)) };
    body(&HttpProvider::try_new("up", config).unwrap()).await.unwrap();
    assert_eq!(upstream.next().await.header("authorization"), [""; 0]);
}

#[tokio::test]
async fn neutral_requests_go_the_same_way() {
    let upstream = Upstream::always(whole()).await;
    let request = CompletionRequest::new("m", vec![Message::user("2+2?")]);
    let response = upstream.provider().complete(request).await.unwrap();
    assert_eq!(response.text_content(), "Four.");
    assert_eq!(response.usage.unwrap().output, 2);
}

#[tokio::test]
async fn the_caller_sees_the_headers_that_are_meant_for_it() {
    let headers = "content-type: application/json\r\nx-ratelimit-remaining-requests: 7\r\nx-request-id: up-1\r\n\
        openai-organization: secret\r\nopenai-version: 2020\r\nset-cookie: a=b\r\n";
    let upstream = Upstream::always(Then::Answer(answer("200 OK", headers, WHOLE))).await;
    let seen = wire(&upstream.provider(), call("")).await.unwrap().headers;
    let mut expected = HeaderMap::new();
    for (name, value) in [
        ("content-type", "application/json"),
        ("x-ratelimit-remaining-requests", "7"),
        ("x-upstream-request-id", "up-1"),
        ("openai-version", "2020"),
    ] {
        expected.insert(name, value.parse().unwrap());
    }
    assert_eq!(seen, expected);
}

async fn encoded(coding: &str, plain: &str) -> Vec<u8> {
    macro_rules! encode {
        ($encoder:ty) => {{
            let mut encoder = <$encoder>::new(Vec::new());
            encoder.write_all(plain.as_bytes()).await.unwrap();
            encoder.shutdown().await.unwrap();
            encoder.into_inner()
        }};
    }
    match coding {
        "gzip" => encode!(GzipEncoder<Vec<u8>>),
        "br" => encode!(BrotliEncoder<Vec<u8>>),
        "zstd" => encode!(ZstdEncoder<Vec<u8>>),
        _ => plain.as_bytes().to_vec(),
    }
}

#[tokio::test]
async fn an_answer_that_comes_encoded_all_the_same_is_read() {
    for coding in ["gzip", "br", "zstd", "identity"] {
        let headers = format!("content-type: application/json\r\ncontent-encoding: {coding}\r\n");
        let upstream = Upstream::always(Then::Answer(answer("200 OK", &headers, encoded(coding, WHOLE).await))).await;
        let answer = wire(&upstream.provider(), call("")).await.unwrap();
        let WireBody::Whole { bytes, usage } = answer.body else { panic!("no stream") };
        assert_eq!((bytes.as_ref(), usage.unwrap().input), (WHOLE.as_bytes(), 5), "{coding}");
        assert!(!answer.headers.contains_key("content-encoding"));

        let headers = format!("content-type: text/event-stream\r\ncontent-encoding: {coding}\r\n");
        let stream = encoded(coding, &[FIRST, LAST].concat()).await;
        let upstream = Upstream::always(Then::Answer(answer_bytes(&headers, &stream))).await;
        let frames = frames(&upstream.provider()).await.unwrap();
        let bytes: Vec<u8> = frames.into_iter().flat_map(|frame| frame.unwrap().bytes).collect();
        assert_eq!(String::from_utf8(bytes).unwrap(), [FIRST, LAST].concat(), "{coding}");
    }
}

fn answer_bytes(headers: &str, body: &[u8]) -> Vec<u8> {
    answer("200 OK", headers, body)
}

#[tokio::test]
async fn encodings_that_lie_are_bad_answers() {
    for (coding, content) in [("compress", WHOLE), ("gzip", WHOLE), ("gzip,gzip,gzip,gzip,gzip", WHOLE)] {
        let headers = format!("content-type: application/json\r\ncontent-encoding: {coding}\r\n");
        let upstream = Upstream::always(Then::Answer(answer("200 OK", &headers, content))).await;
        let error = body(&upstream.provider()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadAnswer, "{coding}");
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_understood_is_a_bad_answer() {
    for bytes in [
        json("<html>502</html>"),
        json(""),
        json(r#"{"choices":"#),
        json("[]"),
        answer("302 Found", "location: http://127.0.0.1:1/\r\n", ""),
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec(),
        [b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'x'; 200 << 10]].concat(),
    ] {
        let upstream = Upstream::always(Then::Close(bytes.clone())).await;
        let error = body(&upstream.provider()).await.unwrap_err();
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        assert_eq!(error.kind(), ErrorKind::BadAnswer, "{text}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_as_good_as_none() {
    let cut = json(WHOLE)[..200].to_vec();
    let upstream = Upstream::always(Then::Close(cut)).await;
    assert_eq!(body(&upstream.provider()).await.unwrap_err().kind(), ErrorKind::Connection);
}

#[tokio::test]
async fn an_answer_larger_than_allowed_is_not_read_to_its_end() {
    let upstream = Upstream::new(|asked| {
        let json = json(format!("{WHOLE}{}", " ".repeat(if asked.at.0 == 0 { 64 } else { 1 << 20 })));
        Then::Answer(json)
    })
    .await;
    for _ in 0..2 {
        let config =
            HttpConfig { max_answer_bytes: WHOLE.len() + 10, ..config(&format!("http://{}", upstream.address)) };
        let error = body(&HttpProvider::try_new("up", config).unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadAnswer);
        assert!(error.message().contains("larger"), "{}", error.message());
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_says_so_after_what_came() {
    let upstream = Upstream::always(Then::Close(streaming(&[FIRST]))).await;
    let frames = frames(&upstream.provider()).await.unwrap();
    assert_eq!(frames[0].as_ref().unwrap().bytes, FIRST);
    assert_eq!(frames[1].as_ref().unwrap_err().kind(), ErrorKind::StreamInterrupted);
    assert_eq!(frames.len(), 2);
}

#[tokio::test]
async fn forms_that_were_not_asked_for_are_put_right() {
    // A stream where a whole answer was asked for.
    let upstream = Upstream::always(Then::Answer([&streaming(&[FIRST, LAST]), END].concat())).await;
    let whole = body(&upstream.provider()).await.unwrap();
    let value: serde_json::Value = serde_json::from_slice(&whole).unwrap();
    assert_eq!(value["choices"][0]["message"]["content"], "Four.");
    assert_eq!(value["object"], "chat.completion");
    // A whole answer where a stream was asked for.
    let upstream = Upstream::always(self::whole()).await;
    let frames = frames(&upstream.provider()).await.unwrap();
    let frames: Vec<_> = frames.into_iter().map(Result::unwrap).collect();
    let last = frames.last().unwrap();
    assert!(last.last && last.bytes.ends_with(b"data: [DONE]\n\n"));
    let usage = frames.iter().find(|frame| frame.usage.is_some()).unwrap();
    // Nobody asked to be told of it.
    assert_eq!((usage.usage.as_ref().unwrap().output, usage.usage_only, usage.bytes.len()), (2, true, 0));
}

#[tokio::test]
async fn errors_are_what_status_and_body_say() {
    let openai = |kind: &str, code: &str| {
        format!(r#"{{"error":{{"message":"it says so","type":"{kind}","param":null,"code":"{code}"}}}}"#)
    };
    for (status, headers, text, kind, wait) in [
        ("429 X", "retry-after: 7\r\n", openai("requests", "rate_limit_exceeded"), ErrorKind::RateLimited, Some(7000)),
        (
            "429 X",
            "retry-after-ms: 1500\r\nretry-after: 7\r\n",
            openai("tokens", "rate_limit_exceeded"),
            ErrorKind::RateLimited,
            Some(1500),
        ),
        ("429 X", "", openai("insufficient_quota", "insufficient_quota"), ErrorKind::QuotaExhausted, None),
        ("400 X", "", openai("invalid_request_error", "context_length_exceeded"), ErrorKind::ContextLength, None),
        ("401 X", "", openai("invalid_request_error", "invalid_api_key"), ErrorKind::UpstreamAuth, None),
        ("404 X", "", openai("invalid_request_error", "model_not_found"), ErrorKind::NotFound, None),
        ("500 X", "", "oops".into(), ErrorKind::Upstream, None),
        ("502 X", "content-type: text/html\r\n", "<html>".into(), ErrorKind::Upstream, None),
        ("503 X", "retry-after: 2\r\n", String::new(), ErrorKind::Overloaded, Some(2000)),
    ] {
        for stream in ["", STREAM] {
            let upstream = Upstream::always(Then::Answer(answer(status, headers, &text))).await;
            let error = wire(&upstream.provider(), call(stream)).await.unwrap_err();
            let told = (error.kind(), error.retry_after(), error.upstream_status());
            let status = status[..3].parse().ok();
            assert_eq!(told, (kind, wait.map(Duration::from_millis), status), "{text}");
        }
    }
}

#[tokio::test]
async fn vectors_come_in_the_form_that_was_asked_for() {
    const FLOATS: &str = r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1.5,-2.0]}],"model":"e","usage":{"prompt_tokens":1,"total_tokens":1}, "x":1}"#;
    const BASE64: &str = r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":"AADAPwAAAMA="}],"model":"e","usage":{"prompt_tokens":1,"total_tokens":1}, "x":1}"#;
    for (sent, asked, vector) in [
        (FLOATS, "", "[1.5,-2"),
        (FLOATS, r#","encoding_format":"base64""#, "\"AADAPwAAAMA=\""),
        (BASE64, r#","encoding_format":"float""#, "[1.5,-2"),
        (BASE64, r#","encoding_format":"base64""#, "\"AADAPwAAAMA=\""),
    ] {
        let upstream = Upstream::always(Then::Answer(json(sent))).await;
        let body = format!(r#"{{"model":"e","input":"x"{asked}}}"#);
        let envelope = llm_providers::wire::openai::read_embeddings(body.into()).unwrap();
        let answer = wire(&upstream.provider(), Call::new("e".into(), CallBody::from(envelope))).await.unwrap();
        let WireBody::Whole { bytes, usage } = answer.body else { panic!("it is whole") };
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        assert!(text.contains(vector), "{asked}: {text}");
        assert_eq!(usage.unwrap().input, 1);
        // What has the form already is left alone.
        assert_eq!(text.contains("\"x\":1"), text == sent, "{text}");
    }
}

#[tokio::test]
async fn the_models_of_each_api_are_listed() {
    for (api, path, body, key) in [
        (
            Api::Anthropic,
            "GET /v1/models?limit=1000 HTTP/1.1",
            r#"{"data":[{"type":"model","id":"claude","created_at":"1970-01-01T00:00:07Z"}],"has_more":false}"#,
            "x-api-key",
        ),
        (
            Api::Gemini,
            "GET /v1beta/models?pageSize=1000 HTTP/1.1",
            r#"{"models":[{"name":"models/gemini"}]}"#,
            "x-goog-api-key",
        ),
    ] {
        let upstream = Upstream::always(Then::Answer(json(body))).await;
        let base = config(&format!("http://{}", upstream.address));
        let provider = HttpProvider::try_new("up", HttpConfig { api, ..base }).unwrap();
        let models = provider.models().await.unwrap();
        assert_eq!(models.len(), 1);
        assert!(["claude", "gemini"].contains(&models[0].id.as_str()));
        let asked = upstream.next().await;
        assert_eq!((asked.line(), asked.header(key)), (path, vec!["sk-test"]));
    }
}
