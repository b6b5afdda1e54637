//! The client before models of Vertex AI.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use llm_core::ManualClock;
use llm_providers::SimServer;
use llmkit::{
    Client, ClientBuilder, CompletionRequest, ErrorKind, HttpConfig, HttpProvider, Message, RetryPolicy, SimConfig,
};

/// A key file whose key nobody but these tests knows.
const ACCOUNT: &str = include_str!("../../llm-providers/tests/data/service_account.json");

/// A simulated upstream: where it is, and what ends it.
async fn upstream() -> (String, tokio::task::JoinHandle<()>) {
    let server = SimServer::bind((Ipv4Addr::LOCALHOST, 0).into(), SimConfig::default()).await.unwrap();
    let base = format!("http://{}", server.local_addr().unwrap());
    let serving = async move { server.serve(std::future::pending::<()>()).await.unwrap() };
    (base, tokio::spawn(serving))
}

/// A client of models at `base` whose account gets its tokens at `token_uri`.
fn client(base: &str, token_uri: &str, clock: &ManualClock) -> Client {
    let account = ACCOUNT.replace("https://oauth2.googleapis.com/token", token_uri);
    let config = HttpConfig {
        api_key: Some(account.into()),
        ..HttpConfig::vertex_ai(Some(base), "example", "europe-west4").unwrap()
    };
    let provider = HttpProvider::try_new("vertex", config).unwrap().with_clock(Arc::new(clock.clone()));
    let retry = RetryPolicy { attempts: 0, ..RetryPolicy::default() };
    ClientBuilder::new().with_provider(Arc::new(provider)).with_retry(retry).build().unwrap()
}

fn ask() -> CompletionRequest {
    CompletionRequest::new("sim?reply=four", vec![Message::user("What is 2+2?")])
}

#[tokio::test]
async fn a_client_shows_whose_account_it_has() {
    let (base, _serving) = upstream().await;
    let clock = ManualClock::default();
    let response = client(&base, &format!("{base}/token"), &clock).complete(ask()).await.unwrap();
    assert_eq!(response.text_content(), "four");
    let refused = client(&base, &format!("{base}/token?status=400"), &clock).complete(ask()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::UpstreamAuth);
}

/// Five minutes before its end another is looked for; where there is none, it is used as long as it may be.
#[tokio::test]
async fn a_token_is_used_to_its_end_where_no_other_is_given() {
    let (base, _serving) = upstream().await;
    let (tokens, giving) = upstream().await;
    let clock = ManualClock::default();
    // The first tokens of both are the same, so that what the one gives is good for the other.
    client(&base, &format!("{base}/token"), &clock).complete(ask()).await.unwrap();
    let client = client(&base, &format!("{tokens}/token?expires_in=3600"), &clock);
    client.complete(ask()).await.unwrap();
    giving.abort();
    let _ = giving.await;
    for (later, answered) in [(3280, true), (20, true), (280, true), (20, false)] {
        clock.advance(Duration::from_secs(later));
        let answer = client.complete(ask()).await;
        assert_eq!(answer.is_ok(), answered, "{later} s later: {answer:?}");
    }
}
