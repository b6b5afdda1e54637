//! A pool of workers that answer alike, as one provider.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

use futures_core::Stream;
use llm_core::{Answer, BoxFuture, BoxStream, Call, Dialect, Error, Provider, ProviderId, WireBody};

/// Providers that answer alike, such as the replicas of one server, as one [`Provider`]. Each call goes to one of them:
/// by turns, or to the one with the fewest calls under way, streams to their end included. One that fails is not asked
/// less: that is for the circuits and retries of a [`Client`](crate::Client), or for a model with several targets.
///
/// # Example
/// ```
/// # #[cfg(feature = "sim")] {
/// use std::sync::Arc;
///
/// use llmkit::{ClientBuilder, EchoProvider, LoadBalancedWorker, Provider};
///
/// let workers = ["one", "two"].map(|name| Arc::new(EchoProvider::new(name)) as Arc<dyn Provider>);
/// let pool = LoadBalancedWorker::least_loaded("pool", workers);
/// let client = ClientBuilder::new().with_provider(Arc::new(pool)).build();
/// # assert!(client.is_ok());
/// # }
/// ```
pub struct LoadBalancedWorker {
    id: ProviderId,
    workers: Box<[Worker]>,
    choice: Choice,
    turn: AtomicUsize,
}

struct Worker {
    provider: Arc<dyn Provider>,
    /// Those who hold it are the calls under way, and the pool.
    under_way: Arc<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    RoundRobin,
    LeastLoaded,
}

impl LoadBalancedWorker {
    /// A pool called `id` whose workers take turns.
    ///
    /// # Panics
    /// When there are no workers.
    pub fn round_robin(id: impl Into<ProviderId>, workers: impl IntoIterator<Item = Arc<dyn Provider>>) -> Self {
        Self::new(id.into(), workers.into_iter(), Choice::RoundRobin)
    }

    /// A pool called `id` that asks the worker with the fewest calls under way; of several, the next in turn.
    ///
    /// # Panics
    /// When there are no workers.
    pub fn least_loaded(id: impl Into<ProviderId>, workers: impl IntoIterator<Item = Arc<dyn Provider>>) -> Self {
        Self::new(id.into(), workers.into_iter(), Choice::LeastLoaded)
    }

    fn new(id: ProviderId, workers: impl Iterator<Item = Arc<dyn Provider>>, choice: Choice) -> Self {
        let workers: Box<[_]> = workers.map(|provider| Worker { provider, under_way: Arc::default() }).collect();
        assert!(!workers.is_empty(), "a pool needs a worker");
        Self { id, workers, choice, turn: AtomicUsize::new(0) }
    }

    /// The calls under way, by worker.
    #[must_use]
    pub fn under_way(&self) -> Vec<usize> {
        self.workers.iter().map(Worker::load).collect()
    }

    fn choose(&self) -> &Worker {
        // Relaxed: a place in the rotation publishes nothing.
        let turn = self.turn.fetch_add(1, Relaxed) % self.workers.len();
        let (before, from) = self.workers.split_at(turn);
        let mut in_turn = from.iter().chain(before);
        let chosen = match self.choice {
            Choice::RoundRobin => in_turn.next(),
            Choice::LeastLoaded => in_turn.min_by_key(|worker| worker.load()),
        };
        chosen.expect("a pool has a worker")
    }
}

impl Worker {
    /// Two that choose at once may see the same.
    fn load(&self) -> usize {
        Arc::strong_count(&self.under_way) - 1
    }
}

impl Provider for LoadBalancedWorker {
    fn id(&self) -> &ProviderId {
        &self.id
    }

    fn speaks(&self, dialect: Dialect) -> bool {
        self.workers.iter().all(|worker| worker.provider.speaks(dialect))
    }

    fn send(&self, call: Call) -> BoxFuture<'_, Result<Answer, Error>> {
        let worker = self.choose();
        let held = worker.under_way.clone();
        Box::pin(async move {
            Ok(match worker.provider.send(call).await? {
                Answer::Events(events) => Answer::Events(Held::to_the_end(events, held)),
                Answer::Wire(mut answer) => {
                    answer.body = match answer.body {
                        WireBody::Frames(frames) => WireBody::Frames(Held::to_the_end(frames, held)),
                        whole @ WireBody::Whole { .. } => whole,
                    };
                    Answer::Wire(answer)
                }
                whole => whole,
            })
        })
    }
}

impl fmt::Debug for LoadBalancedWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let workers: Vec<_> = self.workers.iter().map(|worker| worker.provider.id()).collect();
        f.debug_struct("LoadBalancedWorker")
            .field("id", &self.id)
            .field("choice", &self.choice)
            .field("workers", &workers)
            .finish_non_exhaustive()
    }
}

/// A stream that counts as a call under way until it ends or is dropped.
struct Held<T> {
    stream: BoxStream<T>,
    held: Option<Arc<()>>,
}

impl<T: 'static> Held<T> {
    fn to_the_end(stream: BoxStream<T>, held: Arc<()>) -> BoxStream<T> {
        Box::pin(Self { stream, held: Some(held) })
    }
}

impl<T> Stream for Held<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let item = self.stream.as_mut().poll_next(cx);
        if matches!(item, Poll::Ready(None)) {
            self.held = None;
        }
        item
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.stream.size_hint()
    }
}
