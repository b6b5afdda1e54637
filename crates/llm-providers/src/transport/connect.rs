//! How connections are made: names to addresses, addresses to sockets, and the proxy in between.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use llm_core::{Error, ErrorKind, format_duration};
use rustls::client::ClientConfig;
use tokio::net::{TcpStream, lookup_host};
use url::Host;

use super::Endpoint;
use super::proxy::{Proxy, ProxyConfig, ProxyError};
use super::socket::Socket;
use super::tls::{Peer, Tls};

/// How connections are made.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// How long it may take until a request can be sent, encryption included. Default 10 s.
    pub timeout: Duration,
    /// The proxies. Default: what the process's variables say.
    pub proxy: Option<ProxyConfig>,
    /// How to encrypt. Default: with ring, trusting the machine's roots.
    pub tls: Option<Arc<ClientConfig>>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10), proxy: None, tls: None }
    }
}

/// Makes connections to one endpoint.
#[derive(Debug)]
pub(super) struct Dialer {
    endpoint: Endpoint,
    /// The host as a resolver and a certificate know it.
    host: String,
    proxy: Option<Proxy>,
    tls: Tls,
    timeout: Duration,
}

impl Dialer {
    pub(super) fn new(endpoint: Endpoint, options: ConnectOptions) -> Result<Self, ProxyError> {
        let proxy = options.proxy.unwrap_or_else(ProxyConfig::from_env).of(&endpoint)?;
        let host = match &endpoint.host {
            Host::Domain(name) => name.clone(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        Ok(Self { endpoint, host, proxy, tls: Tls::new(options.tls), timeout: options.timeout })
    }

    pub(super) const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The proxy that is to be asked for the endpoint by name, since nothing is encrypted.
    pub(super) fn forwarder(&self) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|_| !self.endpoint.is_tls())
    }

    /// Runs `open`, which makes a connection, for as long as that may take.
    pub(super) async fn within_timeout<T>(&self, open: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::time::timeout(self.timeout, open).await.unwrap_or_else(|_| {
            let waited = format_duration(self.timeout);
            Err(Error::new(
                ErrorKind::Timeout,
                format!("no connection to the provider within connect_timeout ({waited})"),
            ))
        })
    }

    /// A socket to the endpoint.
    pub(super) async fn dial(&self) -> Result<Socket, Error> {
        let socket = match &self.proxy {
            None => Socket::Plain(reach(&self.host, self.endpoint.port).await?),
            Some(proxy) => self.dial_through(proxy).await?,
        };
        if self.endpoint.is_tls() { self.tls.wrap(socket, &self.host, Peer::Provider).await } else { Ok(socket) }
    }

    async fn dial_through(&self, proxy: &Proxy) -> Result<Socket, Error> {
        let mut socket = Socket::Plain(reach(&proxy.host, proxy.port).await?);
        if proxy.is_tls {
            socket = self.tls.wrap(socket, &proxy.host, Peer::Proxy).await?;
        }
        if self.endpoint.is_tls() {
            proxy.tunnel(&mut socket, &self.endpoint).await?;
        }
        Ok(socket)
    }
}

/// A socket to the first address of `host` that answers.
async fn reach(host: &str, port: u16) -> Result<TcpStream, Error> {
    let found = lookup_host((host, port)).await.map_err(|error| failed("its name cannot be resolved", &error))?;
    let socket = race(in_turn(found.collect())).await.map_err(|error| failed("it cannot be reached", &error))?;
    socket.set_nodelay(true).map_err(|error| failed("its socket failed", &error))?;
    Ok(socket)
}

/// The addresses with both families in turn, beginning with the resolver's choice.
fn in_turn(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, others): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == first);
    let (mut preferred, mut others) = (preferred.into_iter(), others.into_iter());
    let mut ordered = Vec::new();
    loop {
        let pair = [preferred.next(), others.next()];
        if pair == [None, None] {
            return ordered;
        }
        ordered.extend(pair.into_iter().flatten());
    }
}

/// How long an address is tried alone before the next one is tried beside it (RFC 8305, section 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Tries the addresses in order, each a head start after the one before, or at once when none is being tried.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut untried = addresses.into_iter();
    let mut tried = FuturesUnordered::new();
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    loop {
        if let Some(address) = untried.next() {
            tried.push(TcpStream::connect(address));
        }
        let ended = if untried.len() == 0 {
            tried.next().await
        } else {
            match select(tried.next(), Box::pin(tokio::time::sleep(HEAD_START))).await {
                Either::Left((ended, _)) => ended,
                Either::Right(_) => continue,
            }
        };
        match ended {
            Some(Ok(socket)) => return Ok(socket),
            Some(Err(error)) => failure = error,
            None => return Err(failure),
        }
    }
}

/// The kind of what the system said: its own words may name hosts.
fn failed(what: &str, error: &io::Error) -> Error {
    Error::new(ErrorKind::Connection, format!("no connection to the provider: {what}: {}", error.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(addresses: &[&str]) -> Vec<String> {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        in_turn(addresses).iter().map(SocketAddr::to_string).collect()
    }

    #[test]
    fn families_take_turns_and_the_resolvers_first_stays_first() {
        assert_eq!(
            order(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"]),
            ["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]
        );
        assert_eq!(order(&["1.1.1.1:1", "[::1]:1"]), ["1.1.1.1:1", "[::1]:1"]);
        assert!(order(&[]).is_empty());
    }

    #[tokio::test]
    async fn an_address_that_refuses_is_followed_by_the_next() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (open, refusing) = (listener.local_addr().unwrap(), closed.local_addr().unwrap());
        drop(closed);
        let socket = race(vec![refusing, refusing, open]).await.unwrap();
        assert_eq!(socket.peer_addr().unwrap(), open);
        assert_eq!(race(vec![refusing]).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
