//! The simulated provider as an upstream process of its own: OpenAI's wire format over plain sockets.

mod answer;
mod asked;
mod body;
mod connection;
mod form;
mod grant;
mod head;
mod inspect;
mod log;
mod objects;
mod other;
mod request;
pub(super) mod served;
mod shared;
mod wait;
mod writer;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::connection::Connection;
use self::shared::Shared;
use super::simulator::{SimConfig, Simulator};

/// The pause after a connection could not be accepted, which is mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A simulated provider on a socket of its own, speaking HTTP/1.1 in the clear.
///
/// `POST /v1/chat/completions`, `POST /v1/embeddings`, `GET /v1/models` and `GET /v1/models/{id}`, all without `/v1`
/// too, are OpenAI's; so are moderations, images and audio, and files, uploads, batches and responses, which are kept in memory. A
/// request's header `x-llmkit-sim` holds a [`SimScript`](super::SimScript) that goes over all
/// others.
///
/// `POST /token` gives tokens to service accounts, good for so many seconds as `?expires_in=` says; other members of its
/// query are the script of what is counted as the model `token`. Models of Vertex AI, below
/// `/v1/projects/{project}/locations/{location}/publishers/google/models/`, are for those who bring one.
///
/// With the feature `bedrock` there are `POST /model/{model}/converse` and `…/converse-stream`. A script's `auth` that is
/// `KEY_ID:SECRET` asks for requests that are signed so.
///
/// What was asked is shown by `GET /sim/stats` ([`SimStats`](super::SimStats); with `?cancelled=1` and the like it is
/// shown once that many have been counted, `active` exactly), `GET /sim/last` and `GET /sim/requests` (headers and
/// bodies of the last and of the last 64 requests), and forgotten by `POST /sim/reset`, with which tokens are worthless.
#[derive(Debug)]
pub struct SimServer {
    listener: TcpListener,
    shared: Arc<Shared>,
}

impl SimServer {
    /// Listens on `addr`.
    ///
    /// # Errors
    /// As the operating system says.
    pub async fn bind(addr: SocketAddr, config: SimConfig) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let shared = Shared {
            simulator: Simulator::new(config),
            log: Default::default(),
            grants: Default::default(),
            objects: Default::default(),
        };
        Ok(Self { listener, shared: Arc::new(shared) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown` is ready; then all connections are dropped.
    ///
    /// # Errors
    /// None but those that end a listening socket.
    pub async fn serve(self, shutdown: impl Future) -> io::Result<()> {
        let mut connections = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let connection = Connection::new(stream, self.shared.clone());
                        connections.spawn(connection.run());
                    }
                    Err(_) => sleep(ACCEPT_PAUSE).await,
                },
                Some(_) = connections.join_next() => {}
                _ = &mut shutdown => return Ok(()),
            }
        }
    }
}
