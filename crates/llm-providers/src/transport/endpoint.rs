//! Where a provider is: what its base URL says.

use http::HeaderValue;
use http::uri::{Authority, PathAndQuery, Scheme};
use url::{Host, Url};

/// Why an address cannot be a provider's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It is no URL.
    #[error("it is not a URL: {0}")]
    NotAUrl(String),
    /// The scheme is neither `http` nor `https`, or there is no host.
    #[error("it must begin with http:// or https:// and name a host")]
    Scheme,
    /// It holds a user or a password.
    #[error("it must not hold a user or a password: the key has a place of its own")]
    Credentials,
    /// It has a query or a fragment.
    #[error("it must not have a query or a fragment")]
    Query,
}

/// A base URL, read.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) scheme: Scheme,
    /// Host and port as they stand in the `host` header: without the scheme's own port.
    pub(crate) authority: Authority,
    pub(crate) host_header: HeaderValue,
    pub(crate) host: Host<String>,
    pub(crate) port: u16,
    /// Without a slash at its end.
    path: String,
}

impl Endpoint {
    /// Reads a base URL; a slash at its end makes no difference.
    pub(crate) fn parse(base_url: &str) -> Result<Self, AddressError> {
        let url = Url::parse(base_url.trim()).map_err(|error| AddressError::NotAUrl(error.to_string()))?;
        let scheme = match url.scheme() {
            "http" => Scheme::HTTP,
            "https" => Scheme::HTTPS,
            _ => return Err(AddressError::Scheme),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(AddressError::Credentials);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(AddressError::Query);
        }
        let host = url.host().ok_or(AddressError::Scheme)?.to_owned();
        let name = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        Ok(Self {
            authority: name.parse().map_err(|_| AddressError::Scheme)?,
            host_header: HeaderValue::from_str(&name).map_err(|_| AddressError::Scheme)?,
            port: url.port_or_known_default().ok_or(AddressError::Scheme)?,
            path: url.path().trim_end_matches('/').to_owned(),
            scheme,
            host,
        })
    }

    /// The path of `route`, which begins with a slash, below the base URL.
    pub(crate) fn join(&self, route: &str) -> PathAndQuery {
        let path = format!("{}{route}", self.path);
        path.parse().expect("a URL's path is that of a request too")
    }

    /// Whether the connection is to be encrypted.
    pub(crate) fn is_tls(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// Whether the host is this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_joined_to_the_base_with_or_without_its_slash() {
        for (base, path) in [
            ("https://api.openai.com/v1", "/v1/chat/completions"),
            ("https://api.openai.com/v1/", "/v1/chat/completions"),
            ("http://127.0.0.1:8080", "/chat/completions"),
            ("http://host/a b/é/", "/a%20b/%C3%A9/chat/completions"),
        ] {
            assert_eq!(Endpoint::parse(base).unwrap().join("/chat/completions"), path, "{base}");
        }
    }

    #[test]
    fn the_schemes_own_port_is_not_named() {
        let of = |base| {
            let endpoint = Endpoint::parse(base).unwrap();
            (endpoint.host_header.to_str().unwrap().to_owned(), endpoint.port)
        };
        assert_eq!(of("https://api.openai.com:443/v1"), ("api.openai.com".into(), 443));
        assert_eq!(of("http://10.0.0.7:8000/v1"), ("10.0.0.7:8000".into(), 8000));
        assert_eq!(of("http://[::1]:8000"), ("[::1]:8000".into(), 8000));
        assert_eq!(of("http://EXAMPLE.com"), ("example.com".into(), 80));
    }

    #[test]
    fn what_cannot_be_an_address_is_said() {
        for (base, error) in [
            ("ftp://host/v1", AddressError::Scheme),
            ("https://user:key@host/v1", AddressError::Credentials),
            ("https://host/v1?key=x", AddressError::Query),
        ] {
            assert_eq!(Endpoint::parse(base).unwrap_err(), error, "{base}");
        }
        assert!(matches!(Endpoint::parse("host/v1"), Err(AddressError::NotAUrl(_))));
    }

    #[test]
    fn this_machine_is_told_from_others() {
        let of = |base| Endpoint::parse(base).unwrap().is_loopback();
        assert!(
            ["http://localhost:1", "http://127.8.0.1", "http://[::1]", "http://a.localhost"]
                .map(of)
                .iter()
                .all(|is| *is)
        );
        assert!(!of("http://10.0.0.1") && !of("http://notlocalhost"));
    }
}
