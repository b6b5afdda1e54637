//! A provider of a kind that is documented and not in this build: it answers every call with that.

use llm_core::{Answer, BoxFuture, Call, Dialect, Error, ErrorKind, Provider, ProviderId};

use crate::config::Kind;

pub(crate) struct Unbuilt {
    id: ProviderId,
    kind: Kind,
}

impl Unbuilt {
    pub(crate) fn new(name: &str, kind: Kind) -> Self {
        Self { id: ProviderId::from(name), kind }
    }
}

impl Provider for Unbuilt {
    fn id(&self) -> &ProviderId {
        &self.id
    }

    fn speaks(&self, _: Dialect) -> bool {
        false
    }

    fn send(&self, _: Call) -> BoxFuture<'_, Result<Answer, Error>> {
        let message = format!("providers of the kind `{}` are not supported by this build", self.kind.as_str());
        Box::pin(async { Err(Error::new(ErrorKind::Unsupported, message)) })
    }
}
