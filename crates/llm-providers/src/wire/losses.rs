//! What a translation leaves out, and whether it may.

use llm_core::{Dialect, Error, ErrorKind, Json};

use super::Strictness;

/// The fields that are left out.
#[derive(Debug)]
pub(crate) struct Losses {
    strictness: Strictness,
    dropped: Vec<String>,
}

impl Losses {
    pub(crate) const fn new(strictness: Strictness) -> Self {
        Self { strictness, dropped: Vec::new() }
    }

    /// Leaves out a hint.
    pub(crate) fn hint(&mut self, path: impl Into<String>) {
        let path = path.into();
        if self.dropped.last() != Some(&path) {
            self.dropped.push(path);
        }
    }

    /// Leaves out what has no equal.
    ///
    /// # Errors
    /// In strict translation, naming the field and saying `why`.
    pub(crate) fn reject(&mut self, path: impl Into<String>, why: &str) -> Result<(), Error> {
        let path = path.into();
        match self.strictness {
            Strictness::Strict => Err(refuse(&path, why)),
            Strictness::Lenient => {
                self.hint(path);
                Ok(())
            }
        }
    }

    /// Leaves out a member that only its dialect knows, as far as its `fate` allows.
    ///
    /// # Errors
    /// When it may not be left out.
    pub(crate) fn extra(&mut self, path: impl Into<String>, fate: Fate) -> Result<(), Error> {
        const WHY: &str = "it has no equal in the provider's dialect";
        match fate {
            Fate::Neutral => Ok(()),
            Fate::Hint => {
                self.hint(path);
                Ok(())
            }
            Fate::Reject => self.reject(path, WHY),
            Fate::Refuse => Err(refuse(&path.into(), WHY)),
        }
    }

    pub(crate) fn into_dropped(self) -> Vec<String> {
        self.dropped
    }
}

/// The error for a field without which the request would mean something else: refused however lenient translation is.
pub(crate) fn refuse(path: &str, why: &str) -> Error {
    Error::new(ErrorKind::InvalidRequest, format!("'{path}' cannot be translated for this model: {why}"))
        .with_param(path)
        .with_code("unsupported_parameter")
}

/// What becomes of a member without a neutral form when its request goes to a provider of another dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It says what holds without it.
    Neutral,
    /// A hint: left out and listed.
    Hint,
    /// Refused in strict translation, else left out and listed.
    Reject,
    /// Refused always: without it the request would mean something else.
    Refuse,
}

/// Where a member without a neutral form stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// At the top of the request.
    Request,
    /// In a message.
    Message,
    /// In a part of a message.
    Part,
    /// In a tool.
    Tool,
}

/// The fate of `name` of a request that was read from `dialect`; of one that was made here, `Refuse`.
pub(crate) fn fate(dialect: Option<Dialect>, level: Level, name: &str, value: &Json) -> Fate {
    if value.as_str() == "null" {
        return Fate::Neutral;
    }
    dialect.and_then(super::codec).map_or(Fate::Refuse, |codec| codec.fate(level, name, value))
}
