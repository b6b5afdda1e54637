//! Tokens for assertions of service accounts, as Google gives them. Signatures are not checked: no account is known here.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::sim::refusal::Refusal;

/// Tokens that are good at once; older ones are forgotten.
const MOST: usize = 256;

/// Seconds that a token is good for when the question does not say.
const LIFE: u64 = 3600;

/// The tokens that were given.
#[derive(Debug, Default)]
pub(super) struct Grants {
    given: u64,
    good: VecDeque<String>,
}

impl Grants {
    /// Gives another token.
    fn give(&mut self) -> String {
        self.given += 1;
        let token = format!("sim-token-{}", self.given);
        if self.good.len() >= MOST {
            self.good.pop_front();
        }
        self.good.push_back(token.clone());
        token
    }

    /// Whether `token` is one that was given.
    pub(super) fn knows(&self, token: &[u8]) -> bool {
        self.good.iter().any(|good| good.as_bytes() == token)
    }

    /// Makes all tokens worthless.
    pub(super) fn revoke(&mut self) {
        self.good.clear();
    }

    /// The answer to a form that asks for a token which is good for `life` seconds.
    pub(super) fn answer(&mut self, form: &[u8], life: Option<u64>) -> Result<Bytes, &'static str> {
        read(form)?;
        let (token, life) = (self.give(), life.unwrap_or(LIFE));
        Ok(json!({ "access_token": token, "expires_in": life, "token_type": "Bearer" }).to_string().into())
    }
}

/// An error in the words of OAuth.
pub(super) fn refused(status: u16, what: &str) -> Refusal {
    let body = json!({ "error": "invalid_grant", "error_description": what }).to_string();
    Refusal { body: body.into(), ..Refusal::page(status) }
}

/// Whether `form` asks for a token as a service account does.
fn read(form: &[u8]) -> Result<(), &'static str> {
    let form = std::str::from_utf8(form).unwrap_or_default();
    let field = |name: &str| form.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    if field("grant_type") != Some("urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer") {
        return Err("the grant_type is not that of assertions");
    }
    let mut parts = field("assertion").unwrap_or_default().split('.');
    let (head, claims) = (decoded(parts.next()), decoded(parts.next()));
    if head["alg"] != "RS256" || parts.next().is_none_or(str::is_empty) {
        return Err("the assertion is not signed by RS256");
    }
    let (from, to) = (claims["iat"].as_u64().unwrap_or_default(), claims["exp"].as_u64().unwrap_or_default());
    if !(1..=3600).contains(&to.saturating_sub(from)) {
        return Err("the assertion is good for longer than an hour, or not at all");
    }
    let told = ["iss", "scope", "aud"].iter().all(|name| claims[name].as_str().is_some_and(|text| !text.is_empty()));
    if told { Ok(()) } else { Err("the assertion does not say whose it is, for what and for whom") }
}

fn decoded(part: Option<&str>) -> Value {
    let text = part.and_then(|part| URL_SAFE_NO_PAD.decode(part).ok()).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}
