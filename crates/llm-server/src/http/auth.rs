//! Who calls: keys, their tenants and what they may do.

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, header};
use llm_core::{Error, ErrorKind};
use llm_pipeline::Caller;
use sha2::{Digest, Sha256};

use crate::config::Scope;

/// What a key stands for.
#[derive(Clone, Debug)]
pub(crate) struct Credential {
    pub(crate) caller: Arc<Caller>,
    inference: bool,
    admin: bool,
}

impl Credential {
    pub(crate) fn new(caller: Caller, inference: bool, admin: bool) -> Self {
        Self { caller: Arc::new(caller), inference, admin }
    }

    pub(crate) const fn may(&self, scope: Scope) -> bool {
        match scope {
            Scope::Inference => self.inference,
            Scope::Admin => self.admin,
        }
    }
}

/// The keys, by their SHA-256: looking one up takes no longer for a better guess.
#[derive(Debug)]
pub(crate) enum Keys {
    /// No keys: everybody is the tenant `default`.
    Open(Credential),
    /// Only these.
    Known(HashMap<[u8; 32], Credential>),
}

/// The SHA-256 of a key.
pub(crate) fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

impl Keys {
    /// The tenant of whoever calls without keys being configured.
    pub(crate) fn open() -> Self {
        Self::Open(Credential::new(Caller::new("default"), true, true))
    }

    /// Whether all callers are of one tenant.
    pub(crate) fn is_one_tenants(&self) -> bool {
        match self {
            Self::Open(_) => true,
            Self::Known(credentials) => {
                let mut tenants = credentials.values().map(|credential| &credential.caller.tenant);
                let first = tenants.next();
                tenants.all(|tenant| Some(tenant) == first)
            }
        }
    }

    /// The caller behind the key in `headers`: `x-api-key` goes before `x-goog-api-key` and `Authorization: Bearer`.
    pub(crate) fn authenticate(&self, headers: &HeaderMap, scope: Scope) -> Result<&Credential, Error> {
        self.authenticate_by(headers, None, scope)
    }

    /// The same, of a request whose query may hold the key.
    pub(crate) fn authenticate_by(
        &self,
        headers: &HeaderMap,
        query: Option<&str>,
        scope: Scope,
    ) -> Result<&Credential, Error> {
        let credential = match self {
            Self::Open(credential) => credential,
            Self::Known(credentials) => {
                let key = presented(headers).or(query).ok_or_else(|| {
                    unauthenticated("no API key was given: send `Authorization: Bearer KEY` or `x-api-key: KEY`")
                })?;
                credentials.get(&digest(key)).ok_or_else(|| unauthenticated("the API key is not known here"))?
            }
        };
        if credential.may(scope) {
            return Ok(credential);
        }
        Err(Error::new(ErrorKind::Forbidden, "the API key lacks the scope for this route").with_code("missing_scope"))
    }
}

/// What a key is called: `key-` and the first 8 hex digits of its hash.
pub(crate) fn name(hash: &[u8; 32]) -> String {
    let hex = |byte: &u8| [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0'));
    "key-".chars().chain(hash[..4].iter().flat_map(hex)).collect()
}

/// The key that a request presents.
pub(crate) fn presented(headers: &HeaderMap) -> Option<&str> {
    if let Some(key) = headers.get(X_API_KEY).or_else(|| headers.get(X_GOOG_API_KEY)) {
        return key.to_str().ok().map(str::trim);
    }
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
pub(super) const X_GOOG_API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");

fn unauthenticated(message: &str) -> Error {
    Error::new(ErrorKind::Unauthenticated, message).with_code("invalid_api_key")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn keys() -> Keys {
        let credentials = [("a", true, false), ("b", false, true)].map(|(key, inference, admin)| {
            (digest(key), Credential::new(Caller::new(format!("tenant-{key}")), inference, admin))
        });
        Keys::Known(credentials.into())
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (http::HeaderName::from_static(k), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn x_api_key_goes_before_the_bearer() {
        let headers = headers(&[("authorization", "Bearer b"), ("x-api-key", "a")]);
        assert_eq!(keys().authenticate(&headers, Scope::Inference).unwrap().caller.tenant, "tenant-a");
    }

    #[test]
    fn an_unknown_key_and_none_are_refused() {
        for pairs in [&[][..], &[("authorization", "Bearer c")], &[("authorization", "Basic a")]] {
            let error = keys().authenticate(&headers(pairs), Scope::Inference).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        }
    }

    #[test]
    fn a_scope_that_is_missing_is_a_403() {
        let error = keys().authenticate(&headers(&[("authorization", "bearer b")]), Scope::Inference).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forbidden);
    }
}
