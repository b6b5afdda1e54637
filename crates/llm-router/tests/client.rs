//! Calls through the router.
#![cfg(feature = "client")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use llm_core::{
    Answer, BoxFuture, Call, Clock, CompletionRequest, CompletionResponse, Dialect, Error, ErrorKind, ManualClock,
    Message, Provider, ProviderId,
};
use llm_router::{Optimization, SmartRouter};

/// Answers, or fails in one way, and counts its calls.
struct Scripted {
    id: ProviderId,
    fails: Option<ErrorKind>,
    calls: AtomicU32,
}

impl Scripted {
    fn new(id: &str, fails: Option<ErrorKind>) -> Arc<Self> {
        Arc::new(Self { id: id.into(), fails, calls: AtomicU32::new(0) })
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }
}

impl Provider for Scripted {
    fn id(&self) -> &ProviderId {
        &self.id
    }

    fn speaks(&self, _: Dialect) -> bool {
        false
    }

    fn send(&self, call: Call) -> BoxFuture<'_, Result<Answer, Error>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            match self.fails {
                Some(kind) => Err(Error::new(kind, "as scripted")),
                None => Ok(Answer::Completion(Box::new(answer(call.model.as_str())))),
            }
        })
    }
}

fn answer(model: &str) -> CompletionResponse {
    CompletionResponse::new("1", model)
}

fn router() -> SmartRouter {
    let builder = SmartRouter::builder().add_provider("cheap", 0.001).add_provider("dear", 0.003);
    builder.optimize_for(Optimization::Cost).clock(ManualClock::new()).build()
}

fn request() -> CompletionRequest {
    CompletionRequest::new("fast", vec![Message::user("Hello")])
}

#[tokio::test]
async fn a_failed_provider_is_followed_by_the_next() {
    let (cheap, dear) = (Scripted::new("cheap", Some(ErrorKind::Upstream)), Scripted::new("dear", None));
    let router = router().with_providers([cheap.clone() as Arc<dyn Provider>, dear.clone()]);
    assert_eq!(router.complete(&request()).await.unwrap().model, "fast");
    assert_eq!((cheap.calls(), dear.calls()), (1, 1));
    let health = router.health(ManualClock::new().now());
    assert_eq!((health[0].consecutive_failures, health[0].success_rate), (1, Some(0.0)));
    assert_eq!((health[1].consecutive_failures, health[1].success_rate), (0, Some(1.0)));
    assert!(health.iter().all(|target| target.in_flight == 0));
}

#[tokio::test]
async fn a_wrong_request_is_nobodys_failure_and_asked_once() {
    let (cheap, dear) = (Scripted::new("cheap", Some(ErrorKind::InvalidRequest)), Scripted::new("dear", None));
    let router = router().with_providers([cheap.clone() as Arc<dyn Provider>, dear.clone()]);
    let error = router.complete(&request()).await.unwrap_err();
    assert_eq!((error.kind(), dear.calls()), (ErrorKind::InvalidRequest, 0));
    assert_eq!(router.health(ManualClock::new().now())[0].success_rate, None);
}

#[tokio::test]
async fn when_all_fail_the_last_error_names_its_provider() {
    let failing = |id| Scripted::new(id, Some(ErrorKind::Timeout)) as Arc<dyn Provider>;
    let error = router().with_providers([failing("cheap"), failing("dear")]).complete(&request()).await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::Timeout, 2));
    assert_eq!(error.provider().map(ProviderId::as_str), Some("dear"));
}

#[tokio::test]
async fn a_name_without_a_provider_is_an_error() {
    let error = router().complete(&request()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.message().contains("cheap"), "{}", error.message());
}
