//! The members of a request that are known by name, and whether they can change its answer.

/// A member at the top of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Model,
    Messages,
    Input,
    Stream,
    StreamOptions,
    Temperature,
    MaxTokens,
    MaxCompletionTokens,
    Choices,
    User,
    SafetyIdentifier,
    CacheKey,
    Metadata,
    Store,
    Other,
}

impl Field {
    pub(super) fn named(name: &[u8]) -> Self {
        match name {
            b"model" => Self::Model,
            b"messages" => Self::Messages,
            b"input" => Self::Input,
            b"stream" => Self::Stream,
            b"stream_options" => Self::StreamOptions,
            b"temperature" => Self::Temperature,
            b"max_tokens" => Self::MaxTokens,
            b"max_completion_tokens" => Self::MaxCompletionTokens,
            b"n" => Self::Choices,
            b"user" => Self::User,
            b"safety_identifier" => Self::SafetyIdentifier,
            b"prompt_cache_key" => Self::CacheKey,
            b"metadata" => Self::Metadata,
            b"store" => Self::Store,
            _ => Self::Other,
        }
    }

    /// Whether it is read here, so that a second one would leave open which of them is meant.
    pub(super) const fn only_once(self) -> bool {
        !matches!(self, Self::CacheKey | Self::Metadata | Self::Store | Self::Other)
    }

    /// Whether it can change the answer. What cannot:
    /// - `stream`, `stream_options`: how the answer travels. Each caller gets the form it asked for.
    /// - `user`, `safety_identifier`: for whom it is.
    /// - `prompt_cache_key`: where the provider looks for what it has read before; often a user's name too.
    /// - `metadata`: labels for the provider's own lists, unless the answer is stored with them: [`labels`](Self::labels).
    ///
    /// These do, though their names may not say so: `model`, which the way of a request does not name yet; `store`, since
    /// the answer can be fetched later only if it was kept; `service_tier`, which the answer repeats; the other
    /// `prompt_cache_` members, which say how long the prompt is kept, and at what price.
    pub(super) const fn counts(self) -> bool {
        !matches!(
            self,
            Self::Stream | Self::StreamOptions | Self::User | Self::SafetyIdentifier | Self::CacheKey | Self::Metadata
        )
    }

    /// Whether it counts where the answer is stored (`store` is true), although it does not elsewhere: an answer is
    /// fetched later by the labels that it was asked with.
    pub(super) const fn labels(self) -> bool {
        matches!(self, Self::Metadata)
    }
}
