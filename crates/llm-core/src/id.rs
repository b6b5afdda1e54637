//! Names that must not be swapped for one another.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps `name`.
            pub fn new(name: impl Into<Arc<str>>) -> Self {
                Self(name.into())
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        /// Lets a map be asked by text.
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self::new(name)
            }
        }

        impl From<String> for $name {
            fn from(name: String) -> Self {
                Self::new(name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.as_str().into()
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                &*self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                &*self.0 == *other
            }
        }
    };
}

name! {
    /// The configured name of a provider, such as `openai`.
    ProviderId
}
name! {
    /// The name of a model, as its provider spells it or as the configuration lists it.
    ModelId
}
name! {
    /// Who is charged and who is kept apart: nothing crosses from one tenant to another.
    TenantId
}
name! {
    /// The name of a conversation, within its tenant.
    ConversationId
}
name! {
    /// The name of one request in logs and headers: at most 128 visible ASCII characters.
    RequestId
}

impl RequestId {
    /// A name for a request that came without one, from 128 random bits.
    #[must_use]
    pub fn from_random(bits: u128) -> Self {
        let mut name = *b"req_00000000000000000000000000000000";
        for (digit, place) in name[4..].iter_mut().zip((0..32).rev()) {
            *digit = b"0123456789abcdef"[(bits >> (4 * place)) as usize & 15];
        }
        Self::new(std::str::from_utf8(&name).expect("it is ASCII"))
    }
}

/// Which of `shards` places a conversation belongs to, 0 to `shards` − 1: the 64-bit FNV-1a hash of its name modulo `shards`.
/// It is the same everywhere and in every release, so that whoever shards agrees. With another number of shards most
/// conversations move.
///
/// # Example
/// ```
/// use llm_core::{ConversationId, shard_session};
///
/// let conversation = ConversationId::new("session-42");
/// assert_eq!(shard_session(&conversation, 8), shard_session(&conversation, 8));
/// assert_eq!(shard_session(&conversation, 0), 0);
/// ```
#[must_use]
pub fn shard_session(conversation: &ConversationId, shards: usize) -> usize {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = conversation.as_str().bytes().fold(0xcbf2_9ce4_8422_2325, step);
    // Less than `shards`, and one shard where there is none.
    (hash % shards.max(1) as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published vectors of FNV-1a, 64 bits: `""`, `"a"`, `"foobar"`.
    #[test]
    fn a_conversations_shard_is_its_published_hash() {
        for (name, hash) in
            [("", 0xcbf2_9ce4_8422_2325_u64), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)]
        {
            for shards in [1_usize, 2, 7, 1 << 16] {
                assert_eq!(shard_session(&name.into(), shards), (hash % shards as u64) as usize, "{name} {shards}");
            }
        }
    }

    #[test]
    fn conversations_spread_evenly_over_the_shards() {
        let mut counts = [0_u32; 16];
        for number in 0..16_000 {
            counts[shard_session(&format!("session-{number}").into(), 16)] += 1;
        }
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    }
}
