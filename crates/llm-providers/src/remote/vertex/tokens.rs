//! Tokens: got for an assertion, kept until shortly before they end, one exchange for all who wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, StatusCode};
use llm_core::{BoxFuture, Clock, Error, ErrorKind, Tick};
use parking_lot::Mutex;
use serde::Deserialize;

use super::account::ServiceAccount;
use crate::remote::answer;
use crate::remote::authorizer::Authorizer;
use crate::remote::config::ConfigError;
use crate::transport::{ConnectOptions, Endpoint, HttpRequest, HttpTransport, RequestBody, Transport, decoded};
use crate::wire::told::{clean, retry_after};

/// How long an exchange may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A token is used no longer than until this long before its end, for clocks differ and requests travel.
const MARGIN: Duration = Duration::from_secs(10);

/// So long before that, the next one is got while this one is still used.
const AHEAD: Duration = Duration::from_secs(300);

/// The tokens of a service account.
pub(crate) struct Tokens {
    account: ServiceAccount,
    transport: Arc<dyn Transport>,
    target: PathAndQuery,
    headers: Arc<HeaderMap>,
    held: Mutex<Option<Token>>,
    /// Held by who makes an exchange; what the last one gave.
    turn: tokio::sync::Mutex<Option<Result<Token, Error>>>,
    /// Exchanges that have ended. Written under `turn`, after its result.
    ended: AtomicU64,
}

#[derive(Clone)]
struct Token {
    authorization: HeaderValue,
    /// Until when nobody looks for another.
    fresh_until: Tick,
    /// Until when it may be used.
    until: Tick,
}

impl Tokens {
    /// The tokens of the account whose key file is `text`.
    ///
    /// # Errors
    /// [`ConfigError`] when it is none, or names no address at which tokens are given.
    pub(crate) fn of(text: &str, options: ConnectOptions) -> Result<Self, ConfigError> {
        let account = ServiceAccount::read(text)?;
        let (address, query) = match account.token_uri.split_once('?') {
            Some((address, query)) => (address, format!("?{query}")),
            None => (account.token_uri.as_str(), String::new()),
        };
        let bad = || ConfigError::ServiceAccount("its `token_uri` is not an address");
        let endpoint = Endpoint::parse(address).map_err(|_| bad())?;
        let target = format!("{}{query}", endpoint.join("")).parse().map_err(|_| bad())?;
        let transport = Arc::new(HttpTransport::to(endpoint, options)?);
        let headers = HeaderMap::from_iter([
            (header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded")),
            (header::ACCEPT_ENCODING, HeaderValue::from_static("identity")),
        ]);
        Ok(Self {
            account,
            transport,
            target,
            headers: Arc::new(headers),
            held: Mutex::new(None),
            turn: tokio::sync::Mutex::new(None),
            ended: AtomicU64::new(0),
        })
    }

    /// The header that carries a token which is still good.
    async fn authorization(&self, clock: &dyn Clock) -> Result<HeaderValue, Error> {
        // Acquire: with the count comes what was held when it was written.
        let seen = self.ended.load(Acquire);
        let now = clock.now();
        let held = self.held.lock().clone().filter(|token| now < token.until);
        let mut turn = match &held {
            Some(token) if now < token.fresh_until => return Ok(token.authorization.clone()),
            // One goes for the next, the others go on with this one.
            Some(token) => match self.turn.try_lock() {
                Ok(turn) => turn,
                Err(_) => return Ok(token.authorization.clone()),
            },
            None => self.turn.lock().await,
        };
        // Acquire: as above. What ended meanwhile is the answer to all who waited for it, a failure too.
        if self.ended.load(Acquire) != seen
            && let Some(last) = &*turn
        {
            return last.clone().map(|token| token.authorization);
        }
        let result = self.exchange(clock).await;
        if let Ok(token) = &result {
            *self.held.lock() = Some(token.clone());
        }
        *turn = Some(result.clone());
        // Release: what is held goes before the count.
        self.ended.fetch_add(1, Release);
        match (result, held) {
            (Err(_), Some(still_good)) => Ok(still_good.authorization),
            (result, _) => result.map(|token| token.authorization),
        }
    }

    async fn exchange(&self, clock: &dyn Clock) -> Result<Token, Error> {
        let late = |_| Err(Error::new(ErrorKind::Timeout, "the token endpoint did not answer in time"));
        let exchange = tokio::time::timeout(PATIENCE, self.ask(clock)).await.unwrap_or_else(late);
        // Whatever it is, the request itself was not sent.
        exchange.map_err(Error::unsent)
    }

    async fn ask(&self, clock: &dyn Clock) -> Result<Token, Error> {
        let (asked_at, now_unix) = (clock.now(), clock.unix_time());
        let assertion = self.account.assertion(now_unix);
        let form = format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}");
        let request = HttpRequest {
            method: Method::POST,
            target: self.target.clone(),
            common: self.headers.clone(),
            headers: HeaderMap::new(),
            body: RequestBody::from(bytes::Bytes::from(form)),
        };
        let answer = decoded(self.transport.send(Box::new(request)).await?)?;
        let (status, headers) = (answer.status, answer.headers);
        let body = answer::error_body(answer.chunks).await;
        let told: Told = serde_json::from_slice(&body).unwrap_or_default();
        if !status.is_success() {
            return Err(told.into_error(status, &headers, now_unix));
        }
        let token = told.access_token.filter(|token| !token.is_empty());
        let bearer = token.and_then(|token| HeaderValue::from_str(&format!("Bearer {token}")).ok());
        let mut authorization =
            bearer.ok_or_else(|| Error::new(ErrorKind::BadAnswer, "the token endpoint's answer has no token"))?;
        authorization.set_sensitive(true);
        let life = Duration::from_secs(told.expires_in.unwrap_or(3600));
        let usable = life.saturating_sub(MARGIN.min(life / 10));
        let fresh = usable.saturating_sub(AHEAD.min(usable / 2));
        Ok(Token { authorization, fresh_until: asked_at.after(fresh), until: asked_at.after(usable) })
    }
}

/// What the token endpoint says.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Told {
    access_token: Option<String>,
    /// Seconds.
    expires_in: Option<u64>,
    error: Option<String>,
    error_description: Option<String>,
}

impl Told {
    fn into_error(self, status: StatusCode, headers: &HeaderMap, now_unix: Duration) -> Error {
        let kind = match status.as_u16() {
            400 | 401 | 403 => ErrorKind::UpstreamAuth,
            408 | 504 => ErrorKind::Timeout,
            429 => ErrorKind::RateLimited,
            500.. => ErrorKind::Upstream,
            _ => ErrorKind::BadAnswer,
        };
        let said = [self.error, self.error_description].into_iter().flatten().collect::<Vec<_>>().join(": ");
        let message = match said.is_empty() {
            true => format!("the token endpoint returned HTTP {}", status.as_u16()),
            false => format!("the token endpoint gives no token: {}", clean(&said)),
        };
        let error = Error::new(kind, message).with_upstream(status.as_u16(), None);
        match retry_after(kind, headers, now_unix) {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        }
    }
}

impl Authorizer for Tokens {
    fn authorize<'a>(&'a self, request: &'a mut HttpRequest, clock: &'a dyn Clock) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let authorization = self.authorization(clock).await?;
            request.headers.insert(header::AUTHORIZATION, authorization);
            Ok(())
        })
    }

    fn refused(&self, request: &HttpRequest) -> bool {
        let used = request.headers.get(header::AUTHORIZATION);
        self.held.lock().take_if(|token| Some(&token.authorization) == used);
        true
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::{FutureExt, stream};
    use llm_core::ManualClock;

    use super::*;
    use crate::transport::HttpAnswer;

    const FILE: &str = include_str!("../../../tests/data/service_account.json");

    /// Gives tokens that are good for an hour, by their numbers; the second only when it is let.
    struct Given {
        asked: AtomicU64,
        second: tokio::sync::Semaphore,
    }

    impl Transport for Given {
        fn send(&self, _: Box<HttpRequest>) -> BoxFuture<'_, Result<HttpAnswer, Error>> {
            Box::pin(async {
                let number = self.asked.fetch_add(1, Release) + 1;
                if number == 2 {
                    self.second.acquire().await.expect("it stays open").forget();
                }
                let body = format!(r#"{{"access_token":"t{number}","expires_in":3600}}"#);
                let chunks = Box::pin(stream::iter([Ok(Bytes::from(body))]));
                Ok(HttpAnswer { status: StatusCode::OK, headers: HeaderMap::new(), chunks })
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn before_a_token_ends_one_call_gets_the_next_and_the_others_go_on() {
        let given = Arc::new(Given { asked: AtomicU64::new(0), second: tokio::sync::Semaphore::new(0) });
        let tokens = Tokens { transport: given.clone(), ..Tokens::of(FILE, ConnectOptions::default()).unwrap() };
        let clock = ManualClock::new();
        let token = async || tokens.authorization(&clock).await.unwrap().to_str().unwrap().to_owned();
        assert_eq!(token().await, "Bearer t1");
        clock.advance(Duration::from_secs(3600 - 10 - 300 - 1));
        assert_eq!((token().await.as_str(), given.asked.load(Acquire)), ("Bearer t1", 1));
        clock.advance(Duration::from_secs(1));
        let mut next = Box::pin(token());
        assert_eq!((&mut next).now_or_never(), None, "it waits for the second");
        assert_eq!((token().await.as_str(), given.asked.load(Acquire)), ("Bearer t1", 2));
        given.second.add_permits(1);
        assert_eq!(next.await, "Bearer t2");
        assert_eq!((token().await.as_str(), given.asked.load(Acquire)), ("Bearer t2", 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_was_refused_is_not_used_again() {
        let given = Arc::new(Given { asked: AtomicU64::new(0), second: tokio::sync::Semaphore::new(1) });
        let tokens = Tokens { transport: given.clone(), ..Tokens::of(FILE, ConnectOptions::default()).unwrap() };
        let clock = ManualClock::new();
        let target = PathAndQuery::from_static("/");
        let (common, body) = (Arc::default(), RequestBody::default());
        let mut request = HttpRequest { method: Method::POST, target, common, headers: HeaderMap::new(), body };
        tokens.authorize(&mut request, &clock).await.unwrap();
        assert!(tokens.refused(&request));
        assert_eq!(tokens.authorization(&clock).await.unwrap(), "Bearer t2");
        // What was replaced meanwhile is no news.
        assert!(tokens.refused(&request));
        assert_eq!(tokens.authorization(&clock).await.unwrap(), "Bearer t2");
    }
}
