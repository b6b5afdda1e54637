//! What a translation leaves out, and whether it may.

use llm_core::{CompletionRequest, Dialect, Error, ErrorKind, Json};

use super::Strictness;
use super::names::{Names, Param};

/// Why most fields are not translated.
pub(crate) const NO_EQUAL: &str = "it has no equal in the provider's dialect";

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
        match fate {
            Fate::Neutral => Ok(()),
            Fate::Hint => {
                self.hint(path);
                Ok(())
            }
            Fate::Reject => self.reject(path, NO_EQUAL),
            Fate::Refuse => Err(refuse(&path.into(), NO_EQUAL)),
        }
    }

    /// Judges the members without a neutral form of what stands at `path`, which came in `dialect`.
    ///
    /// # Errors
    /// When one may not be left out.
    pub(crate) fn members(
        &mut self,
        path: &str,
        dialect: Option<Dialect>,
        level: Level,
        extra: &[(String, Json)],
    ) -> Result<(), Error> {
        extra
            .iter()
            .try_for_each(|(name, value)| self.extra(format!("{path}.{name}"), fate(dialect, level, name, value)))
    }

    /// Judges the members without a neutral form of `request` and of its messages, which came in `dialect`.
    ///
    /// # Errors
    /// When one may not be left out.
    pub(crate) fn extras(
        &mut self,
        names: Names<'_>,
        dialect: Option<Dialect>,
        request: &CompletionRequest,
    ) -> Result<(), Error> {
        for (name, value) in &request.extra {
            self.extra(name, fate(dialect, Level::Request, name, value))?;
        }
        let messages = request.messages.iter().enumerate().filter(|(_, message)| !message.extra.is_empty());
        messages
            .map(|(at, message)| (names.message(at), &message.extra))
            .try_for_each(|(path, extra)| self.members(&path, dialect, Level::Message, extra))
    }

    /// Judges several answers, probabilities and penalties, where the provider's dialect has none of them.
    ///
    /// # Errors
    /// When one is asked for that may not be left out.
    pub(crate) fn sampling(&mut self, names: Names<'_>, request: &CompletionRequest) -> Result<(), Error> {
        if request.n.is_some_and(|n| n > 1) {
            return Err(refuse(names.param(Param::N), "the provider gives one answer"));
        }
        if request.logprobs == Some(true) {
            return Err(refuse(names.param(Param::Logprobs), "the provider does not tell probabilities"));
        }
        if request.top_logprobs.is_some_and(|count| count > 0) {
            return Err(refuse(names.param(Param::TopLogprobs), "the provider does not tell probabilities"));
        }
        for (param, penalty) in
            [(Param::PresencePenalty, request.presence_penalty), (Param::FrequencyPenalty, request.frequency_penalty)]
        {
            if penalty.is_some_and(|penalty| penalty != 0.0) {
                self.reject(names.param(param), NO_EQUAL)?;
            }
        }
        Ok(())
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
