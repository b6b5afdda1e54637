//! Servers that speak OpenAI's format: where they are, and what their models take, as data.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;

use crate::wire::Capabilities;

/// A server that speaks OpenAI's format.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownServer {
    /// The base URL, with its version.
    pub base_url: String,
    /// What its models take.
    #[serde(default)]
    pub capabilities: Capabilities,
}

impl KnownServer {
    /// The server of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        servers().get(name)
    }

    /// All names, sorted.
    pub fn names() -> impl Iterator<Item = &'static str> {
        servers().keys().map(String::as_str)
    }
}

fn servers() -> &'static BTreeMap<String, KnownServer> {
    static SERVERS: OnceLock<BTreeMap<String, KnownServer>> = OnceLock::new();
    SERVERS.get_or_init(|| serde_json::from_str(include_str!("../data/servers.json")).expect("a test reads it"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::MaxTokensField;

    #[test]
    fn the_file_of_presets_can_be_read_and_names_no_key() {
        assert!(KnownServer::names().count() >= 12);
        for name in KnownServer::names() {
            let server = KnownServer::named(name).unwrap();
            assert!(server.base_url.starts_with("http"), "{name}");
            assert!(!server.base_url.ends_with('/'), "{name}");
        }
        // It reads no other name for the cap.
        let ollama = KnownServer::named("ollama").unwrap();
        assert_eq!(ollama.capabilities.max_tokens_field, MaxTokensField::MaxTokens);
    }
}
