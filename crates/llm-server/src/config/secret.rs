//! Secrets: where they are, and never what they are.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::SecretString;
use serde::{Deserialize, Serialize, Serializer};

use super::environment::Environment;

/// A secret, or where it is: `"env:NAME"`, `"file:PATH"`, or itself.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(SecretString);

/// Why a secret cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The variable is not set.
    #[error("the environment variable {0} is not set")]
    Variable(String),
    /// The file cannot be read.
    #[error("the file {path} cannot be read: {why}")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        why: String,
    },
    /// There is nothing in it.
    #[error("the secret is empty")]
    Empty,
}

impl Secret {
    /// The secret itself.
    ///
    /// # Errors
    /// [`SecretError`] says what is missing.
    pub fn resolve(&self, environment: &Environment) -> Result<SecretString, SecretError> {
        use secrecy::ExposeSecret;
        let text = self.0.expose_secret();
        let found = if let Some(name) = text.strip_prefix("env:") {
            environment.get(name).ok_or_else(|| SecretError::Variable(name.to_owned()))?.to_owned()
        } else if let Some(path) = text.strip_prefix("file:") {
            std::fs::read_to_string(path)
                .map_err(|why| SecretError::File { path: path.to_owned(), why: why.to_string() })?
        } else {
            text.to_owned()
        };
        let found = found.trim();
        if found.is_empty() { Err(SecretError::Empty) } else { Ok(found.to_owned().into()) }
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// For the schema's defaults, which hold no secret.
impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(secret)")
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn resolve(text: &str) -> Result<String, SecretError> {
        let environment = Environment::from_iter([("KEY", "from env"), ("BLANK", " ")]);
        Secret::from(text.to_owned()).resolve(&environment).map(|secret| secret.expose_secret().to_owned())
    }

    #[test]
    fn a_secret_is_found_where_it_is_said_to_be() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "from file\n").unwrap();
        assert_eq!(resolve("env:KEY").unwrap(), "from env");
        assert_eq!(resolve(&format!("file:{}", file.path().display())).unwrap(), "from file");
        assert_eq!(resolve("itself").unwrap(), "itself");
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(resolve("env:NONE"), Err(SecretError::Variable("NONE".into())));
        assert_eq!(resolve("env:BLANK"), Err(SecretError::Empty));
        assert!(matches!(resolve("file:/nonexistent"), Err(SecretError::File { .. })));
    }

    #[test]
    fn a_secret_is_never_shown() {
        assert_eq!(format!("{:?}", Secret::from("hush".to_owned())), "Secret(..)");
    }
}
