//! A pool of workers: who is asked, and what counts as under way.

use std::sync::Arc;

use futures_util::StreamExt;
use llmkit::{ClientBuilder, CompletionRequest, LoadBalancedWorker, Message, Provider, SimConfig, SimProvider};

fn workers() -> [Arc<SimProvider>; 3] {
    ["a", "b", "c"].map(|name| Arc::new(SimProvider::new(name, SimConfig::default())))
}

fn pooled(workers: &[Arc<SimProvider>]) -> impl Iterator<Item = Arc<dyn Provider>> {
    workers.iter().map(|worker| worker.clone() as Arc<dyn Provider>)
}

fn asked(workers: &[Arc<SimProvider>]) -> Vec<u64> {
    workers.iter().map(|worker| worker.stats().total.requests).collect()
}

fn request() -> CompletionRequest {
    CompletionRequest::new("sim?tokens=2", vec![Message::user("x")])
}

#[tokio::test]
async fn by_turns_each_worker_is_asked_as_often() {
    let workers = workers();
    let pool = LoadBalancedWorker::round_robin("pool", pooled(&workers));
    let client = ClientBuilder::new().with_provider(Arc::new(pool)).build().unwrap();
    for _ in 0..9 {
        client.complete(request()).await.unwrap();
    }
    assert_eq!(asked(&workers), [3, 3, 3]);
}

#[tokio::test]
async fn the_least_loaded_is_asked_and_a_stream_counts_to_its_end() {
    let workers = workers();
    let pool = Arc::new(LoadBalancedWorker::least_loaded("pool", pooled(&workers)));
    let client = ClientBuilder::new().with_provider(pool.clone()).build().unwrap();
    let mut first = client.stream(request()).await.unwrap();
    let second = client.stream(request()).await.unwrap();
    assert_eq!(pool.under_way(), [1, 1, 0]);
    for _ in 0..5 {
        client.complete(request()).await.unwrap();
    }
    assert_eq!(asked(&workers), [1, 1, 5], "the others were at work");
    while first.next().await.is_some() {}
    assert_eq!(pool.under_way(), [0, 1, 0]);
    drop(second);
    assert_eq!(pool.under_way(), [0, 0, 0]);
    // At rest it goes by turns.
    for _ in 0..6 {
        client.complete(request()).await.unwrap();
    }
    assert_eq!(asked(&workers), [3, 3, 7]);
}

#[test]
#[should_panic(expected = "a pool needs a worker")]
fn a_pool_of_nobody_panics() {
    let _ = LoadBalancedWorker::round_robin("pool", []);
}
