//! A service account: what its key file says, and what is signed in its name.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use crate::remote::config::ConfigError;

/// What a token may be used for.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// How long an assertion may be used, the longest that Google allows.
const LIFE: Duration = Duration::from_secs(3600);

/// A service account that can sign.
pub(super) struct ServiceAccount {
    email: String,
    key_id: Option<String>,
    key: RsaKeyPair,
    /// Where a token is given for an assertion.
    pub(super) token_uri: String,
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccount").field("email", &self.email).finish_non_exhaustive()
    }
}

/// The members of a key file that are read.
#[derive(Deserialize)]
struct KeyFile {
    #[serde(rename = "type")]
    kind: Option<String>,
    client_email: Option<String>,
    private_key_id: Option<String>,
    private_key: Option<SecretString>,
    token_uri: Option<String>,
}

impl ServiceAccount {
    /// Reads a key file.
    ///
    /// # Errors
    /// [`ConfigError::ServiceAccount`] says what is wrong with it, and nothing of what it says.
    pub(super) fn read(text: &str) -> Result<Self, ConfigError> {
        // What serde says of it could repeat a part of it.
        let file: KeyFile = serde_json::from_str(text).map_err(|_| wrong("it is not a key file in JSON"))?;
        if file.kind.as_deref() != Some("service_account") {
            return Err(wrong("its `type` is not `service_account`"));
        }
        let email = file.client_email.ok_or_else(|| wrong("it has no `client_email`"))?;
        let pem = file.private_key.ok_or_else(|| wrong("it has no `private_key`"))?;
        let unreadable = || wrong("its `private_key` is no RSA key in PKCS #8");
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.expose_secret().as_bytes()).map_err(|_| unreadable())?;
        let key = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| unreadable())?;
        let token_uri = file.token_uri.unwrap_or_else(|| "https://oauth2.googleapis.com/token".to_owned());
        Ok(Self { email, key_id: file.private_key_id, key, token_uri })
    }

    /// An assertion that this is the account, made at `now` (the time since 1970): a JWT by RFC 7523, signed by RS256.
    pub(super) fn assertion(&self, now: Duration) -> String {
        let head = match &self.key_id {
            Some(id) => json!({ "alg": "RS256", "typ": "JWT", "kid": id }),
            None => json!({ "alg": "RS256", "typ": "JWT" }),
        };
        let claims = json!({
            "iss": self.email, "scope": SCOPE, "aud": self.token_uri,
            "iat": now.as_secs(), "exp": (now + LIFE).as_secs(),
        });
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let mut assertion = format!("{}.{}", part(head), part(claims));
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), assertion.as_bytes(), &mut signature)
            .expect("the signature is as long as the modulus");
        assertion.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut assertion);
        assertion
    }
}

const fn wrong(what: &'static str) -> ConfigError {
    ConfigError::ServiceAccount(what)
}

#[cfg(test)]
mod tests {
    use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    use super::*;

    const FILE: &str = include_str!("../../../tests/data/service_account.json");

    #[test]
    fn an_assertion_says_who_asks_for_what_and_is_signed() {
        let account = ServiceAccount::read(FILE).unwrap();
        let assertion = account.assertion(Duration::from_secs(1_700_000_000));
        let (signed, signature) = assertion.rsplit_once('.').unwrap();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, account.key.public());
        public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        let parts = signed.split('.').map(|part| String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap());
        let parts: Vec<serde_json::Value> = parts.map(|part| serde_json::from_str(&part).unwrap()).collect();
        assert_eq!(parts[0], json!({"alg": "RS256", "typ": "JWT", "kid": "0123456789abcdef"}));
        let email = "gateway@example-project.iam.gserviceaccount.com";
        assert_eq!(
            parts[1],
            json!({"iss": email, "scope": SCOPE, "aud": "https://oauth2.googleapis.com/token",
                "iat": 1_700_000_000, "exp": 1_700_003_600})
        );
    }

    #[test]
    fn what_is_no_key_file_is_said_without_repeating_it() {
        let broken = FILE.replace("PRIVATE KEY", "PUBLIC KEY");
        for (text, what) in [
            ("\"a-secret\"", "not a key file in JSON"),
            ("{\"type\": \"authorized_user\", \"refresh_token\": \"a-secret\"}", "`type` is not `service_account`"),
            ("{\"type\": \"service_account\", \"private_key\": \"a-secret\"}", "no `client_email`"),
            (&broken, "no RSA key"),
        ] {
            let error = ServiceAccount::read(text).unwrap_err().to_string();
            assert!(error.contains(what) && !error.contains("a-secret"), "{error}");
        }
    }
}
