//! The bare floor: hyper on both sides, a stack of idle upstream connections, and nothing between.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::SendRequest;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::ask::connect;
use crate::options::Options;

/// Serves until the process is ended; prints where.
pub(crate) async fn run(options: Options) -> Result<(), String> {
    let listener = TcpListener::bind(options.listen).await.map_err(|error| format!("{}: {error}", options.listen))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    println!("listening on http://{address}");
    let upstream = Arc::new(Upstream { address: options.target, idle: Mutex::default() });
    loop {
        let (socket, _) = listener.accept().await.map_err(|error| error.to_string())?;
        let upstream = Arc::clone(&upstream);
        tokio::spawn(async move {
            drop(socket.set_nodelay(true));
            let service = service_fn(move |request| {
                let upstream = Arc::clone(&upstream);
                async move { Ok::<_, Infallible>(upstream.forward(request).await) }
            });
            // A client that leaves ends its own connection only.
            drop(http1::Builder::new().serve_connection(TokioIo::new(socket), service).await);
        });
    }
}

struct Upstream {
    address: SocketAddr,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

impl Upstream {
    async fn forward(self: Arc<Self>, request: Request<Incoming>) -> Response<Either<Returning, Full<Bytes>>> {
        match self.answer(request).await {
            Ok(response) => response.map(Either::Left),
            Err(why) => {
                let mut response = Response::new(Either::Right(Full::from(why)));
                *response.status_mut() = StatusCode::BAD_GATEWAY;
                response
            }
        }
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Returning>, String> {
        let (mut head, body) = request.into_parts();
        let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
        let host = self.address.to_string().parse().map_err(|_| "no host")?;
        head.headers.insert(header::HOST, host);
        let mut sender = self.connection().await?;
        let request = Request::from_parts(head, Full::new(body));
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        Ok(response.map(|body| Returning { body, sender: Some(sender), upstream: self }))
    }

    async fn connection(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        loop {
            let idle = self.stack().pop();
            let Some(mut sender) = idle else { return connect(self.address).await };
            if sender.ready().await.is_ok() {
                return Ok(sender);
            }
        }
    }

    fn stack(&self) -> std::sync::MutexGuard<'_, Vec<SendRequest<Full<Bytes>>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer that puts its connection back when it has been read.
struct Returning {
    body: Incoming,
    sender: Option<SendRequest<Full<Bytes>>>,
    upstream: Arc<Upstream>,
}

impl Body for Returning {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Returning {
    fn drop(&mut self) {
        // A connection whose answer was not read to its end is closed by then, and found so when it is taken.
        if let Some(sender) = self.sender.take() {
            self.upstream.stack().push(sender);
        }
    }
}
