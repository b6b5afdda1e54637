//! Amazon's signatures, version 4: how a request is shown to come from who has a secret.

use std::fmt::Write as _;
#[cfg(any(feature = "http", test))]
use std::time::Duration;

use ring::{digest, hmac};

#[cfg(any(feature = "http", test))]
use crate::wire::rfc3339;

/// A request that is signed, or whose signature is checked. It has no query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a str,
    /// As it is sent, percent-encoded.
    pub(crate) path: &'a str,
    /// The headers that are signed, by their names in small letters, in order.
    pub(crate) headers: &'a [(&'a str, &'a str)],
    /// The body's SHA-256, in hex.
    pub(crate) payload: &'a str,
    /// When it is signed, as in `x-amz-date`.
    pub(crate) at: &'a str,
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
}

impl Signed<'_> {
    /// The signature by `secret`, in hex.
    pub(crate) fn signature(&self, secret: &str) -> String {
        let text =
            format!("{ALGORITHM}\n{}\n{}\n{}", self.at, self.scope(), hex(digest(&[self.canonical().as_bytes()])));
        let first = format!("AWS4{secret}");
        let steps = [self.day(), self.region, self.service, TERMINATOR];
        let key = steps.iter().fold(first.into_bytes(), |key, step| mac(&key, step.as_bytes()));
        hex(mac(&key, text.as_bytes()))
    }

    /// The value of the header `authorization` for who has `key_id` and `secret`.
    #[cfg(any(feature = "http", test))]
    pub(crate) fn authorization(&self, key_id: &str, secret: &str) -> String {
        let (scope, names, signature) = (self.scope(), self.names(), self.signature(secret));
        format!("{ALGORITHM} Credential={key_id}/{scope}, SignedHeaders={names}, Signature={signature}")
    }

    /// For what a signature is good.
    fn scope(&self) -> String {
        format!("{}/{}/{}/{TERMINATOR}", self.day(), self.region, self.service)
    }

    fn day(&self) -> &str {
        self.at.get(..8).unwrap_or(self.at)
    }

    fn names(&self) -> String {
        self.headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";")
    }

    fn canonical(&self) -> String {
        let mut text = format!("{}\n", self.method);
        // Once more than it is: so all services but one have it.
        for byte in self.path.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => text.push(byte.into()),
                _ => write!(text, "%{byte:02X}").expect("a text can be written to"),
            }
        }
        text.push_str("\n\n");
        for (name, value) in self.headers {
            text.push_str(name);
            text.push(':');
            text.push_str(&value.split_ascii_whitespace().collect::<Vec<_>>().join(" "));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.names());
        text.push('\n');
        text.push_str(self.payload);
        text
    }
}

pub(crate) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";

/// The SHA-256 of all of `pieces`, in hex.
pub(crate) fn sha256<B: AsRef<[u8]>>(pieces: &[B]) -> String {
    hex(digest(pieces))
}

/// The time since 1970 as the header `x-amz-date` has it.
#[cfg(any(feature = "http", test))]
pub(crate) fn amz_date(now: Duration) -> String {
    let mut date = rfc3339(Duration::from_secs(now.as_secs()));
    date.retain(|character| !matches!(character, '-' | ':'));
    date
}

fn digest<B: AsRef<[u8]>>(pieces: &[B]) -> digest::Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    pieces.iter().for_each(|piece| context.update(piece.as_ref()));
    context.finish()
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec()
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    let mut text = String::with_capacity(64);
    for byte in bytes.as_ref() {
        write!(text, "{byte:02x}").expect("a text can be written to");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: &str = "20150830T123600Z";
    const NOTHING: &[&[u8]] = &[];
    const TOKEN: &str = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";

    fn signed(method: &str, headers: &[(&str, &str)], body: &str) -> String {
        let payload = if body.is_empty() { sha256(NOTHING) } else { sha256(&[body]) };
        let signed =
            Signed { method, path: "/", headers, payload: &payload, at: AT, region: "us-east-1", service: "service" };
        signed.signature("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    }

    /// Requests of Amazon's own test suite, and what their signatures must be.
    #[test]
    fn published_requests_are_signed_as_published() {
        let host = ("host", "example.amazonaws.com");
        let date = ("x-amz-date", AT);
        let form = ("content-type", "application/x-www-form-urlencoded");
        let token = ("x-amz-security-token", TOKEN);
        for (method, headers, body, signature) in [
            ("GET", &[host, date][..], "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            ("POST", &[host, date], "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
            (
                "POST",
                &[form, host, date],
                "Param1=value1",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
            ("POST", &[host, date, token], "", "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"),
        ] {
            assert_eq!(signed(method, headers, body), signature, "{method} {headers:?}");
        }
    }

    #[test]
    fn a_path_is_signed_encoded_once_more() {
        let signed = Signed {
            method: "POST",
            path: "/model/a.b-1%3A0/converse",
            headers: &[("host", "h"), ("x", " a  b ")],
            payload: "p",
            at: AT,
            region: "r",
            service: "bedrock",
        };
        assert_eq!(signed.canonical(), "POST\n/model/a.b-1%253A0/converse\n\nhost:h\nx:a b\n\nhost;x\np");
        let authorization = signed.authorization("id", "secret");
        let begins = "AWS4-HMAC-SHA256 Credential=id/20150830/r/bedrock/aws4_request, SignedHeaders=host;x, Signature=";
        assert!(authorization.starts_with(begins), "{authorization}");
    }

    #[test]
    fn a_date_has_no_separators() {
        assert_eq!(amz_date(Duration::new(1_440_938_160, 5)), AT);
    }
}
