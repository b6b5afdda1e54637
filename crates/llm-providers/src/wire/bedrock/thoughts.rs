//! How a model at Bedrock is told what its own API has and `Converse` has not: how much to think, among how many of the
//! likeliest tokens to draw. These fields are the model's, not the service's.

use llm_core::Error;

use super::translate::Translation;
use crate::wire::effort::{self, Wanted};
use crate::wire::json::Writer;
use crate::wire::names::Param;
use crate::wire::turns::Turns;
use crate::wire::{Target, ThinkingStyle};

/// Whose model it is, as far as that makes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Claude,
    Nova,
    /// OpenAI's open models.
    Gpt,
    Other,
}

impl Family {
    /// The family of `model`: an id, a profile's or an ARN, which mostly name it.
    pub(super) fn of(model: &str) -> Self {
        let has = |name: &str| model.contains(name);
        match () {
            () if has("anthropic") || has("claude") => Self::Claude,
            () if has("amazon.nova") => Self::Nova,
            () if has("openai.gpt") => Self::Gpt,
            () => Self::Other,
        }
    }

    /// Whether its prompts can be marked for caching.
    pub(super) const fn caches(self) -> bool {
        matches!(self, Self::Claude | Self::Nova)
    }
}

/// How the model is told how much to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thoughts<'a> {
    Unsaid,
    Off,
    Adaptive(Option<&'a str>),
    Budget(u64),
    /// By a word alone.
    Effort(&'a str),
}

/// The least budget of thoughts.
const MIN_BUDGET: u64 = 1024;

impl<'a> Translation<'a> {
    /// What the request says of thinking, as far as the model can be told.
    pub(super) fn thoughts(&mut self, turns: &Turns<'_>) -> Result<Thoughts<'a>, Error> {
        let by_effort = self.request.reasoning_effort.is_some();
        let param = self.names.param(if by_effort { Param::ReasoningEffort } else { Param::Thinking });
        let wanted = Wanted::by(self.request);
        if wanted == Wanted::Unsaid {
            return Ok(Thoughts::Unsaid);
        }
        let thoughts = match self.family {
            Family::Claude => self.of_claude(wanted, param)?,
            Family::Nova | Family::Gpt => self.by_word(wanted, param)?,
            Family::Other if wanted == Wanted::Off => Thoughts::Unsaid,
            Family::Other => {
                self.losses.reject(param, "it is not known how the model is told to think")?;
                Thoughts::Unsaid
            }
        };
        let on = matches!(thoughts, Thoughts::Adaptive(_) | Thoughts::Budget(_));
        if on && turns.is_unsealed_loop() {
            // The model wants the thoughts before a call back with its result, and the caller has none.
            self.losses.hint(param);
            return Ok(Thoughts::Unsaid);
        }
        Ok(thoughts)
    }

    fn of_claude(&mut self, wanted: Wanted<'a>, param: &'static str) -> Result<Thoughts<'a>, Error> {
        let Target { capabilities, .. } = self.target;
        Ok(match (wanted, capabilities.thinking) {
            (Wanted::Unsaid, _) | (Wanted::Off, ThinkingStyle::None) => Thoughts::Unsaid,
            (_, ThinkingStyle::None) => {
                self.losses.reject(param, "the model does not think")?;
                Thoughts::Unsaid
            }
            (Wanted::Off, _) => Thoughts::Off,
            (Wanted::Adaptive, ThinkingStyle::Effort) => Thoughts::Adaptive(None),
            (Wanted::Adaptive, ThinkingStyle::Budget) => {
                self.losses.hint(param);
                Thoughts::Unsaid
            }
            (Wanted::Effort(word), ThinkingStyle::Effort) => match word {
                "minimal" => Thoughts::Adaptive(Some("low")),
                "xhigh" if !capabilities.xhigh => {
                    self.losses.hint(param);
                    Thoughts::Adaptive(Some("high"))
                }
                "low" | "medium" | "high" | "xhigh" | "max" => Thoughts::Adaptive(Some(word)),
                _ => self.unknown(param)?,
            },
            (Wanted::Budget(tokens), ThinkingStyle::Effort) => Thoughts::Adaptive(Some(effort::word(tokens))),
            (Wanted::Effort(word), ThinkingStyle::Budget) => match effort::budget(word) {
                Some(tokens) => self.budget(tokens, param)?,
                None => self.unknown(param)?,
            },
            (Wanted::Budget(tokens), ThinkingStyle::Budget) => self.budget(tokens, param)?,
        })
    }

    fn budget(&mut self, tokens: u64, param: &'static str) -> Result<Thoughts<'a>, Error> {
        let cap = self.request.max_tokens.or(self.target.max_output).unwrap_or(u64::MAX);
        if cap <= MIN_BUDGET {
            self.losses.reject(param, "the cap on tokens leaves no room for thoughts")?;
            return Ok(Thoughts::Unsaid);
        }
        Ok(Thoughts::Budget(tokens.clamp(MIN_BUDGET, cap - 1)))
    }

    /// For models that know the words `low`, `medium` and `high`.
    fn by_word(&mut self, wanted: Wanted<'a>, param: &'static str) -> Result<Thoughts<'a>, Error> {
        Ok(match wanted {
            Wanted::Unsaid | Wanted::Adaptive => Thoughts::Unsaid,
            Wanted::Off if self.family == Family::Nova => Thoughts::Off,
            Wanted::Off => {
                self.losses.reject(param, "the model always thinks")?;
                Thoughts::Unsaid
            }
            Wanted::Effort(word @ ("low" | "medium" | "high")) => Thoughts::Effort(word),
            Wanted::Effort("minimal") => Thoughts::Effort("low"),
            Wanted::Effort("xhigh" | "max") => {
                self.losses.hint(param);
                Thoughts::Effort("high")
            }
            Wanted::Effort(_) => self.unknown(param)?,
            Wanted::Budget(tokens) => Thoughts::Effort(effort::word(tokens)),
        })
    }

    fn unknown(&mut self, param: &'static str) -> Result<Thoughts<'a>, Error> {
        self.losses.reject(param, "no such effort is known")?;
        Ok(Thoughts::Unsaid)
    }

    /// From how many tokens to draw, where the model can be told.
    pub(super) fn top_k(&mut self) -> Result<Option<u64>, Error> {
        let taken = self.target.capabilities.top_k.unwrap_or(matches!(self.family, Family::Claude | Family::Nova));
        match self.request.top_k {
            Some(top_k) if taken => Ok(Some(top_k)),
            Some(_) => {
                self.losses.reject(self.names.param(Param::TopK), "it is not known how the model is told")?;
                Ok(None)
            }
            None => Ok(None),
        }
    }

    /// Writes the fields of the model's own.
    pub(super) fn additional(&self, writer: &mut Writer, thoughts: Thoughts<'_>, top_k: Option<u64>) {
        let nova = self.family == Family::Nova;
        let extra = if self.own { &self.request.extra[..] } else { &[] };
        if thoughts == Thoughts::Unsaid && top_k.is_none() && extra.is_empty() {
            return;
        }
        writer.key("additionalModelRequestFields").object(|writer| {
            if let Some(top_k) = top_k {
                match nova {
                    true => writer.key("inferenceConfig").object(|writer| writer.key("topK").integer(top_k)),
                    false => writer.key("top_k").integer(top_k),
                }
            }
            match thoughts {
                Thoughts::Unsaid => {}
                Thoughts::Off if nova => {
                    writer.key("reasoningConfig").object(|writer| writer.key("type").string("disabled"));
                }
                Thoughts::Off => writer.key("thinking").object(|writer| writer.key("type").string("disabled")),
                Thoughts::Adaptive(word) => {
                    writer.key("thinking").object(|writer| writer.key("type").string("adaptive"));
                    if let Some(word) = word {
                        writer.key("output_config").object(|writer| writer.key("effort").string(word));
                    }
                }
                Thoughts::Budget(tokens) => writer.key("thinking").object(|writer| {
                    writer.key("type").string("enabled");
                    writer.key("budget_tokens").integer(tokens);
                }),
                Thoughts::Effort(word) if nova => writer.key("reasoningConfig").object(|writer| {
                    writer.key("type").string("enabled");
                    writer.key("maxReasoningEffort").string(word);
                }),
                Thoughts::Effort(word) => writer.key("reasoning_effort").string(word),
            }
            extra.iter().for_each(|(key, value)| writer.key(key).json(value));
        });
    }
}
