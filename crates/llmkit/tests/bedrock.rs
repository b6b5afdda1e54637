//! The client before models of Amazon Bedrock.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::Ipv4Addr;
use std::sync::Arc;

use futures_util::StreamExt;
use llm_providers::SimServer;
use llmkit::{
    AwsCredentials, Client, ClientBuilder, CompletionRequest, ErrorKind, HttpConfig, HttpProvider, Message,
    RetryPolicy, SimConfig, StopReason, StreamEvent,
};

async fn client(secret: &str) -> Client {
    let server = SimServer::bind((Ipv4Addr::LOCALHOST, 0).into(), SimConfig::default()).await.unwrap();
    let base = format!("http://{}", server.local_addr().unwrap());
    tokio::spawn(server.serve(std::future::pending::<()>()));
    let config = HttpConfig { base_url: Some(base), ..HttpConfig::bedrock("us-east-1").unwrap() };
    let credentials = AwsCredentials {
        region: "us-east-1".to_owned(),
        access_key_id: "AKID".to_owned(),
        secret_access_key: secret.to_owned().into(),
        session_token: None,
    };
    let provider = HttpProvider::try_new("bedrock", config).unwrap().with_aws_credentials(credentials).unwrap();
    let retry = RetryPolicy { attempts: 0, ..RetryPolicy::default() };
    ClientBuilder::new().with_provider(Arc::new(provider)).with_retry(retry).build().unwrap()
}

fn ask() -> CompletionRequest {
    CompletionRequest::new("sim?auth=AKID:right,reply=four I think", vec![Message::user("What is 2+2?")])
}

#[tokio::test]
async fn a_client_signs_and_reads_whole_answers_and_streams() {
    let client = client("right").await;
    let response = client.complete(ask()).await.unwrap();
    assert_eq!(response.text_content(), "four I think");
    assert_eq!(response.choices[0].stop, Some(StopReason::Stop));
    assert!(response.usage.is_some_and(|usage| usage.input > 0 && usage.output == 3), "{:?}", response.usage);
    assert!(response.model.starts_with("sim"));
    let mut events = client.stream(ask()).await.unwrap();
    let (mut text, mut ends) = (String::new(), 0);
    while let Some(event) = events.next().await {
        match event.unwrap() {
            StreamEvent::Start { model, .. } => assert!(model.starts_with("sim")),
            StreamEvent::Text { text: piece, .. } => text.push_str(&piece),
            StreamEvent::Stop { reason, .. } => ends += usize::from(reason == StopReason::Stop),
            _ => {}
        }
    }
    assert_eq!((text.as_str(), ends), ("four I think", 1));
}

#[tokio::test]
async fn another_secret_is_a_key_refused() {
    let refused = client("wrong").await.complete(ask()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::UpstreamAuth);
}
