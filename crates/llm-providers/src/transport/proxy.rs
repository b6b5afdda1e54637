//! Proxies on the way to a provider, as the usual variables name them.

use std::fmt;

use http::uri::Scheme;
use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use llm_core::{Error, ErrorKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Endpoint;
use super::socket::Socket;

/// Which proxy is used for which address. This machine is never reached through one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ProxyConfig {
    /// For `http` addresses.
    pub http: Option<String>,
    /// For `https` addresses.
    pub https: Option<String>,
    /// For both, where they have none of their own.
    pub all: Option<String>,
    /// Hosts, domains and networks that are reached without a proxy, separated by commas; `*` for all.
    pub no: Option<String>,
}

impl ProxyConfig {
    /// No proxy for anything.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// What the process's variables say: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`, in lower case too,
    /// which wins. `HTTP_PROXY` is left alone where a web server may have set it from a request's header.
    #[must_use]
    pub fn from_env() -> Self {
        Self::from_vars(|name| std::env::var(name).ok())
    }

    /// As [`from_env`](Self::from_env), with the variables that `var` tells.
    #[must_use]
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| var(name).filter(|value| !value.trim().is_empty());
        let either = |lower: &str| set(lower).or_else(|| set(&lower.to_ascii_uppercase()));
        let is_cgi = var("REQUEST_METHOD").is_some();
        Self {
            http: if is_cgi { set("http_proxy") } else { either("http_proxy") },
            https: either("https_proxy"),
            all: either("all_proxy"),
            no: either("no_proxy"),
        }
    }

    /// The proxy on the way to `endpoint`.
    pub(super) fn of(&self, endpoint: &Endpoint) -> Result<Option<Proxy>, ProxyError> {
        if endpoint.is_loopback() {
            return Ok(None);
        }
        let own = if endpoint.is_tls() { &self.https } else { &self.http };
        let Some(address) = own.as_ref().or(self.all.as_ref()) else {
            return Ok(None);
        };
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let matcher = Matcher::builder().all(address.trim()).no(text(&self.no)).build();
        let uri =
            Uri::builder().scheme(endpoint.scheme.clone()).authority(endpoint.authority.clone()).path_and_query("/");
        let Some(found) = matcher.intercept(&uri.build().map_err(|_| ProxyError)?) else {
            // Either the host is an exception, or the address could not be read.
            let any = Matcher::builder().all(address.trim()).build();
            let readable = any.intercept(&Uri::from_static("http://host/")).is_some();
            return if readable { Ok(None) } else { Err(ProxyError) };
        };
        let is_tls = found.uri().scheme() == Some(&Scheme::HTTPS);
        if !is_tls && found.uri().scheme() != Some(&Scheme::HTTP) {
            return Err(ProxyError);
        }
        let host = found.uri().host().ok_or(ProxyError)?;
        Ok(Some(Proxy {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: found.uri().port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            is_tls,
            authorization: found.basic_auth().cloned(),
        }))
    }
}

/// Addresses of proxies hold passwords.
impl fmt::Debug for ProxyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = |value: &Option<String>| value.as_ref().map(|_| "set");
        f.debug_struct("ProxyConfig")
            .field("http", &set(&self.http))
            .field("https", &set(&self.https))
            .field("all", &set(&self.all))
            .field("no", &self.no)
            .finish()
    }
}

/// A proxy's address cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the proxy's address must be that of an http:// or https:// proxy")]
pub struct ProxyError;

/// A proxy.
#[derive(Clone, Debug)]
pub(super) struct Proxy {
    pub(super) host: String,
    pub(super) port: u16,
    /// Whether the connection to the proxy itself is encrypted.
    pub(super) is_tls: bool,
    /// What it is told about who asks.
    pub(super) authorization: Option<HeaderValue>,
}

impl Proxy {
    /// Has the proxy connect `socket` to the host and port of `endpoint`.
    pub(super) async fn tunnel(&self, socket: &mut Socket, endpoint: &Endpoint) -> Result<(), Error> {
        let to = format!("{}:{}", endpoint.host, endpoint.port);
        let mut head = format!("CONNECT {to} HTTP/1.1\r\nhost: {to}\r\n").into_bytes();
        if let Some(authorization) = &self.authorization {
            head.extend_from_slice(b"proxy-authorization: ");
            head.extend_from_slice(authorization.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        let broke = |_| refused("the proxy closed the connection");
        socket.write_all(&head).await.map_err(broke)?;
        socket.flush().await.map_err(broke)?;

        // What follows the head is the tunnel's, so no byte more is taken than the head has: the other side of
        // the tunnel does not speak first.
        const MOST: usize = 16 << 10;
        let mut answer = Vec::with_capacity(256);
        let mut piece = [0; 256];
        while !answer.ends_with(b"\r\n\r\n") {
            let count = socket.read(&mut piece).await.map_err(broke)?;
            answer.extend_from_slice(&piece[..count]);
            if count == 0 || answer.len() > MOST {
                return Err(refused("the proxy closed the connection"));
            }
        }
        match answer.get(..12) {
            Some(line) if line.starts_with(b"HTTP/1.") && line[9] == b'2' => Ok(()),
            Some(line) if line.starts_with(b"HTTP/1.") => {
                let status = String::from_utf8_lossy(&line[9..]);
                Err(refused(&format!("the proxy refused the connection with HTTP {status}")))
            }
            _ => Err(refused("the proxy does not speak HTTP")),
        }
    }
}

fn refused(message: &str) -> Error {
    Error::new(ErrorKind::Connection, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(vars: &[(&str, &str)]) -> ProxyConfig {
        let find = |name: &str| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        ProxyConfig::from_vars(find)
    }

    fn proxy(vars: &[(&str, &str)], base_url: &str) -> Result<Option<String>, ProxyError> {
        let endpoint = Endpoint::parse(base_url).unwrap();
        let found = config(vars).of(&endpoint)?;
        Ok(found.map(|proxy| format!("{}:{} {}", proxy.host, proxy.port, if proxy.is_tls { "tls" } else { "plain" })))
    }

    #[test]
    fn each_scheme_has_its_variable_in_both_cases() {
        let vars = [("HTTP_PROXY", "http://a:1"), ("https_proxy", "b:2"), ("HTTPS_PROXY", "http://c:3")];
        assert_eq!(proxy(&vars, "http://host/v1"), Ok(Some("a:1 plain".into())));
        assert_eq!(proxy(&vars, "https://host/v1"), Ok(Some("b:2 plain".into())));
        assert_eq!(proxy(&[("ALL_PROXY", "https://d")], "https://host"), Ok(Some("d:443 tls".into())));
        assert_eq!(proxy(&[("HTTP_PROXY", "http://a:1")], "https://host"), Ok(None));
        assert_eq!(proxy(&[("all_proxy", "http://[::1]:3128")], "http://host"), Ok(Some("::1:3128 plain".into())));
    }

    #[test]
    fn exceptions_and_this_machine_are_reached_directly() {
        let vars = [("ALL_PROXY", "http://p:1"), ("NO_PROXY", "example.com, 10.0.0.0/8,::2")];
        for base_url in
            ["http://api.example.com", "http://10.1.2.3:80", "http://[::2]", "http://localhost", "http://127.0.0.1"]
        {
            assert_eq!(proxy(&vars, base_url), Ok(None), "{base_url}");
        }
        assert_eq!(proxy(&vars, "http://notexample.com"), Ok(Some("p:1 plain".into())));
        assert_eq!(proxy(&[("ALL_PROXY", "http://p:1"), ("NO_PROXY", "*")], "http://host"), Ok(None));
    }

    #[test]
    fn a_proxy_of_another_kind_is_refused() {
        for address in ["socks5://p:1", "ftp://p:1", "http://"] {
            assert_eq!(proxy(&[("ALL_PROXY", address)], "http://host"), Err(ProxyError), "{address}");
        }
    }

    #[test]
    fn a_variable_that_a_request_may_have_set_is_not_believed() {
        assert_eq!(proxy(&[("HTTP_PROXY", "http://a:1"), ("REQUEST_METHOD", "GET")], "http://host"), Ok(None));
    }

    #[test]
    fn passwords_are_not_shown() {
        let config = config(&[("HTTP_PROXY", "http://user:secret@a:1"), ("HTTPS_PROXY", "http://user:secret@a:1")]);
        let proxy = config.of(&Endpoint::parse("http://host").unwrap()).unwrap();
        assert!(!format!("{config:?} {proxy:?}").contains("secret"));
        assert_eq!(proxy.unwrap().authorization.unwrap(), "Basic dXNlcjpzZWNyZXQ=");
    }
}
