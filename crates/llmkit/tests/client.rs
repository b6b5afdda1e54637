//! The client over the simulated provider, in the process and over TCP.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use llmkit::{
    Api, BuildError, CapConfig, CircuitBreaker, CircuitState, Client, ClientBuilder, CompletionRequest,
    EmbeddingRequest, ErrorKind, HttpConfig, HttpProvider, LimitConfig, Message, MeterConfig, RateLimiter, RetryPolicy,
    SimConfig, SimProvider, SmartRouter, StopReason, Strategy, StreamEvent, StreamingMultiplexer, TargetConfig,
    TokenBucketConfig,
};

fn sim(name: &str) -> Arc<SimProvider> {
    Arc::new(SimProvider::new(name, SimConfig::default()))
}

fn over(provider: &Arc<SimProvider>) -> ClientBuilder {
    ClientBuilder::new().with_provider(provider.clone())
}

fn ask(model: &str) -> CompletionRequest {
    CompletionRequest::new(model, vec![Message::user("What is 2+2?")])
}

fn target(provider: &str, model: &str) -> TargetConfig {
    TargetConfig { provider: provider.into(), model: model.into(), weight: 1, terms: Default::default() }
}

/// The texts of a stream joined, and its last stop reason.
async fn said(client: &Client, model: &str) -> (String, Option<StopReason>) {
    let mut events = client.stream(ask(model)).await.expect("it begins");
    let (mut text, mut stop) = (String::new(), None);
    while let Some(event) = events.next().await {
        match event.expect("it goes on") {
            StreamEvent::Text { text: piece, .. } => text.push_str(&piece),
            StreamEvent::Stop { reason, .. } => stop = Some(reason),
            _ => {}
        }
    }
    (text, stop)
}

#[tokio::test(start_paused = true)]
async fn a_stream_says_what_the_whole_answer_says() {
    let client = over(&sim("sim")).build().unwrap();
    let response = client.complete(ask("sim?reply=four I think")).await.unwrap();
    assert_eq!(response.text_content(), "four I think");
    assert_eq!(response.choices[0].stop, Some(StopReason::Stop));
    assert!(response.usage.is_some_and(|usage| usage.input > 0 && usage.output == 3), "{:?}", response.usage);
    assert_eq!(said(&client, "sim?reply=four I think").await, ("four I think".to_owned(), Some(StopReason::Stop)));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_off_ends_with_its_error() {
    let client = over(&sim("sim")).build().unwrap();
    let mut events = client.stream(ask("sim?tokens=9&cut_after=3")).await.unwrap();
    let mut last = None;
    while let Some(event) = events.next().await {
        assert!(!matches!(event, Ok(StreamEvent::Stop { .. })), "a stop was made up");
        last = Some(event);
    }
    assert_eq!(last.unwrap().unwrap_err().kind(), ErrorKind::StreamInterrupted);
}

#[tokio::test(start_paused = true)]
async fn to_drop_a_stream_is_to_cancel_it() {
    let sim = sim("sim");
    let client = over(&sim).build().unwrap();
    let mut events = client.stream(ask("sim?tokens=100&gap=1s")).await.unwrap();
    events.next().await.unwrap().unwrap();
    drop(events);
    let counts = sim.stats().total;
    assert_eq!((counts.cancelled, counts.active), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn texts_become_vectors() {
    let client = over(&sim("sim")).build().unwrap();
    let request = EmbeddingRequest::new("sim", vec!["one".to_owned(), "two".to_owned()]);
    let response = client.embed(request).await.unwrap();
    assert_eq!(response.data.len(), 2);
    assert_ne!(response.data[0], response.data[1]);
}

#[tokio::test(start_paused = true)]
async fn a_request_above_the_limit_is_told_its_wait_and_not_sent() {
    let sim = sim("sim");
    let limiter = RateLimiter::new(TokenBucketConfig::new(1, 2));
    let client = over(&sim).with_rate_limiter(limiter.clone()).build().unwrap();
    client.complete(ask("sim")).await.unwrap();
    // The limiter stays its owner's, and one state.
    assert!(limiter.check_and_consume().is_ok());
    let refused = client.complete(ask("sim")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied);
    assert!(refused.retry_after().is_some_and(|wait| wait <= Duration::from_secs(1)), "{refused:?}");
    assert_eq!(sim.stats().total.requests, 1);
}

#[tokio::test(start_paused = true)]
async fn a_failing_provider_opens_the_circuit_and_is_left_alone() {
    let sim = sim("sim");
    let breaker = CircuitBreaker::builder().timeout_seconds(60).build();
    let never = RetryPolicy { attempts: 0, ..RetryPolicy::default() };
    let client = over(&sim).with_circuit_breaker(breaker.clone()).with_retry(never).build().unwrap();
    while breaker.state() == CircuitState::Closed {
        let error = client.complete(ask("sim?status=500")).await.unwrap_err();
        assert_eq!(error.upstream_status(), Some(500));
        assert!(sim.stats().total.requests < 100, "it never opens");
    }
    let asked = sim.stats().total.requests;
    let refused = client.complete(ask("sim")).await.unwrap_err();
    assert_eq!((refused.kind(), sim.stats().total.requests), (ErrorKind::CircuitOpen, asked));
    assert!(refused.retry_after().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_once_is_tried_again() {
    let sim = sim("sim");
    let client = over(&sim).build().unwrap();
    assert_eq!(client.complete(ask("sim?fail_first=1&reply=now")).await.unwrap().text_content(), "now");
    assert_eq!(sim.stats().total.requests, 2);
}

#[tokio::test(start_paused = true)]
async fn the_next_target_answers_for_one_that_cannot() {
    let (one, two) = (sim("one"), sim("two"));
    let targets = vec![target("one", "sim?status=503"), target("two", "sim?reply=second")];
    let client = ClientBuilder::new()
        .with_provider(one.clone())
        .with_provider(two.clone())
        .with_model("fast", Strategy::Fallback, targets)
        .build()
        .unwrap();
    assert_eq!(client.complete(ask("fast")).await.unwrap().text_content(), "second");
    assert_eq!((one.stats().total.requests, two.stats().total.requests), (1, 1));
    assert_eq!(client.complete(ask("two/sim?reply=direct")).await.unwrap().text_content(), "direct");
    assert_eq!(client.complete(ask("unknown")).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_router_chooses_the_provider_of_a_model_and_passes_over_one_that_fails() {
    let router = SmartRouter::builder().add_provider("dear", 0.003).add_provider("cheap", 0.0001).build();
    let (dear, cheap) = (sim("dear"), sim("cheap"));
    let client = ClientBuilder::new().with_provider(dear.clone()).with_provider(cheap.clone());
    let client = client.with_smart_router(router.clone()).build().unwrap();
    for _ in 0..4 {
        client.complete(ask("auto")).await.unwrap();
    }
    assert_eq!((dear.stats().total.requests, cheap.stats().total.requests), (0, 4));
    assert!(router.route(&ask("auto")).await.unwrap().predicted_latency_ms >= 0.0);
    // A model that fails at whoever is asked first.
    let answer = client.complete(ask("sim?fail_first=1,status=500")).await.unwrap();
    assert!(!answer.text_content().is_empty() && dear.stats().total.requests == 1);
    let stranger = SmartRouter::builder().add_provider("nobody", 0.001).build();
    let missing = ClientBuilder::new().with_provider(sim("somebody")).with_smart_router(stranger).build();
    assert!(missing.unwrap_err().to_string().contains("nobody"));
}

#[tokio::test]
async fn callers_who_ask_the_same_at_one_time_share_a_call_whatever_form_they_want() {
    let provider = sim("sim");
    let multiplexer = StreamingMultiplexer::new();
    let client = over(&provider).with_streaming_multiplexer(multiplexer.clone()).build().unwrap();
    let asked = ask("sim?tokens=6&ttft=20ms");
    let (one, two) = (client.complete(&asked), client.complete(&asked));
    let stream = client.stream(&asked).await.unwrap();
    assert_eq!(multiplexer.stats().await.total_subscribers, 1);
    let text = async {
        let pieces = stream.filter_map(|event| async move {
            match event.unwrap() {
                StreamEvent::Text { text, .. } => Some(text),
                _ => None,
            }
        });
        pieces.collect::<String>().await
    };
    let (one, two, text) = futures_util::join!(one, two, text);
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!((one.text_content(), two.text_content()), (text.clone(), text));
    assert!(one.usage.is_some() && one.latency.is_some() && one.choices[0].stop == Some(StopReason::Stop));
    assert_eq!(provider.stats().total.requests, 1);
    assert_eq!(multiplexer.stats().await.active_requests, 0);
}

#[test]
fn a_client_needs_somebody_to_ask() {
    assert!(matches!(ClientBuilder::new().build(), Err(BuildError::NoProvider)));
    let twice = over(&sim("sim")).with_provider(sim("sim")).build();
    assert!(matches!(twice, Err(BuildError::Config(_))), "{twice:?}");
}

#[tokio::test]
async fn the_same_client_speaks_to_a_server() {
    let server = llm_providers::SimServer::bind("127.0.0.1:0".parse().unwrap(), SimConfig::default()).await.unwrap();
    let base_url = format!("http://{}/v1", server.local_addr().unwrap());
    tokio::spawn(server.serve(std::future::pending::<()>()));
    let config = HttpConfig { base_url: Some(base_url), api_key: Some("k".into()), ..HttpConfig::default() };
    let provider = HttpProvider::try_new("remote", config).unwrap();
    let client = ClientBuilder::new().with_provider(Arc::new(provider)).build().unwrap();
    let response = client.complete(ask("sim?reply=over the wire")).await.unwrap();
    assert_eq!(response.text_content(), "over the wire");
    assert_eq!(said(&client, "sim?reply=over the wire").await.0, "over the wire");
    let vectors = client.embed(EmbeddingRequest::new("sim", vec!["one".to_owned()])).await.unwrap();
    assert_eq!(vectors.data.len(), 1);
    let error = client.complete(ask("sim?status=400&code=nope")).await.unwrap_err();
    assert_eq!((error.kind(), error.upstream_status()), (ErrorKind::InvalidRequest, Some(400)));
}

#[tokio::test]
async fn the_same_client_speaks_to_each_vendors_api() {
    let server = llm_providers::SimServer::bind("127.0.0.1:0".parse().unwrap(), SimConfig::default()).await.unwrap();
    let base_url = format!("http://{}", server.local_addr().unwrap());
    tokio::spawn(server.serve(std::future::pending::<()>()));
    for api in [Api::Anthropic, Api::Gemini] {
        let base_url = Some(base_url.clone());
        let config = HttpConfig { base_url, api_key: Some("k".into()), ..HttpConfig::new(api) };
        let provider = HttpProvider::try_new("remote", config).unwrap();
        let client = ClientBuilder::new().with_provider(Arc::new(provider)).build().unwrap();
        let response = client.complete(ask("sim?reply=over the wire")).await.unwrap();
        assert_eq!(response.text_content(), "over the wire");
        assert_eq!(response.usage.map(|usage| usage.output), Some(3), "{api:?}");
        assert_eq!(said(&client, "sim?reply=over the wire").await.0, "over the wire");
        let error = client.complete(ask("sim?status=400")).await.unwrap_err();
        assert_eq!((error.kind(), error.upstream_status()), (ErrorKind::InvalidRequest, Some(400)), "{api:?}");
        let vectors = client.embed(EmbeddingRequest::new("sim", vec!["one".to_owned()])).await.unwrap_err();
        assert_eq!(vectors.kind(), ErrorKind::Unsupported);
    }
}

#[tokio::test]
async fn limits_in_levels_hold_in_a_client() {
    let provider = sim("sim");
    let cap = CapConfig { cap: 40, per: Duration::from_secs(3600) };
    let users = LimitConfig {
        level: "user".to_owned(),
        name: "*".to_owned(),
        tokens: Some(MeterConfig::Cap(cap)),
        ..LimitConfig::default()
    };
    let client = over(&provider).with_limits(vec![users]).build().unwrap();
    let ask_as = async |user: &str| {
        let mut request = ask("sim?tokens=10");
        request.user = Some(user.to_owned());
        client.complete(request).await.map_err(|error| error.kind()).map(|response| response.usage.unwrap().total())
    };
    let mut used = 0;
    while let Ok(tokens) = ask_as("ann").await {
        used += tokens;
    }
    assert!((20..=40).contains(&used), "{used}");
    assert_eq!(ask_as("ann").await, Err(ErrorKind::Denied));
    assert!(ask_as("bob").await.is_ok());
    let table = LimitConfig { level: "user".to_owned(), name: "*".to_owned(), ..LimitConfig::default() };
    assert!(matches!(over(&provider).with_limits(vec![table]).build(), Err(BuildError::Config(_))));
}

#[tokio::test(start_paused = true)]
async fn a_response_knows_how_long_it_took() {
    let client = over(&sim("sim")).build().unwrap();
    let response = client.complete(ask("sim?tokens=1&ttft=50ms")).await.unwrap();
    assert!(response.latency.is_some());
}
