//! The client before models of Vertex AI.

use std::net::Ipv4Addr;
use std::sync::Arc;

use llm_providers::SimServer;
use llmkit::{ClientBuilder, CompletionRequest, ErrorKind, HttpConfig, HttpProvider, Message, RetryPolicy, SimConfig};

/// A key file whose key nobody but these tests knows.
const ACCOUNT: &str = include_str!("../../llm-providers/tests/data/service_account.json");

#[tokio::test]
async fn a_client_shows_whose_account_it_has() {
    let server = SimServer::bind((Ipv4Addr::LOCALHOST, 0).into(), SimConfig::default()).await.unwrap();
    let base = format!("http://{}", server.local_addr().unwrap());
    tokio::spawn(server.serve(std::future::pending::<()>()));
    let client = |query: &str| {
        let account = ACCOUNT.replace("https://oauth2.googleapis.com/token", &format!("{base}/token?{query}"));
        let config = HttpConfig {
            api_key: Some(account.into()),
            ..HttpConfig::vertex_ai(Some(&base), "example", "europe-west4").unwrap()
        };
        let provider = HttpProvider::try_new("vertex", config).unwrap();
        let retry = RetryPolicy { attempts: 0, ..RetryPolicy::default() };
        ClientBuilder::new().with_provider(Arc::new(provider)).with_retry(retry).build().unwrap()
    };
    let ask = || CompletionRequest::new("sim?reply=four", vec![Message::user("What is 2+2?")]);
    let response = client("").complete(ask()).await.unwrap();
    assert_eq!(response.text_content(), "four");
    let refused = client("status=400").complete(ask()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::UpstreamAuth);
}
