//! Who is asked what is passed on as it is.

use std::sync::Arc;

use llm_core::{CallBody, Error, ErrorKind, Forward};

use super::{Route, Routes, Tally};
use crate::upstream::{AskedBy, Target, Upstream};

impl Routes {
    /// The candidates for what `body` asks.
    pub(crate) fn of(&self, body: &CallBody) -> Result<Arc<Route>, Error> {
        match body {
            CallBody::Wire(envelope) => self.resolve(envelope.model_name()),
            CallBody::Completion(request) | CallBody::Stream(request) => self.resolve(request.model.as_str()),
            CallBody::Embedding(request) => self.resolve(request.model.as_str()),
            CallBody::Models => self.resolve(""),
            CallBody::Forward(forward) => self.passing(forward),
        }
    }

    /// As for every body that names a model, those left out that have no such routes. What names none goes to the one
    /// provider that the configuration says, by its first key where that is about what the account keeps.
    fn passing(&self, forward: &Forward) -> Result<Arc<Route>, Error> {
        let Some(model) = &forward.model else {
            let upstream = self.forward_to.as_ref().filter(|upstream| forwards(upstream));
            let upstream = upstream.ok_or_else(|| {
                let message = "no provider is configured that has this route: it needs one that speaks OpenAI's format";
                Error::new(ErrorKind::Unsupported, message)
            })?;
            let route = self.direct(upstream, forward.family);
            let keys = if forward.stored { AskedBy::Only(0) } else { AskedBy::Any };
            return Ok(Arc::new(route.narrowed(|_| keys)));
        };
        let route = self.resolve(model)?;
        if route.targets.iter().all(|target| forwards(&target.upstream)) {
            return Ok(route);
        }
        if !route.targets.iter().any(|target| forwards(&target.upstream)) {
            let message =
                format!("the provider of the model `{model}` has no such route: it does not speak OpenAI's format");
            return Err(Error::new(ErrorKind::Unsupported, message).with_param("model"));
        }
        let keys = |target: &Target| if forwards(&target.upstream) { AskedBy::Any } else { AskedBy::None };
        Ok(Arc::new(route.narrowed(keys)))
    }
}

/// Whether the provider passes requests on. All of its keys are of one kind.
fn forwards(upstream: &Upstream) -> bool {
    upstream.keys.iter().any(|key| key.provider.forwards())
}

impl Route {
    /// The same route, its targets asked by no other keys than `keys` says.
    pub(crate) fn narrowed(self: &Arc<Self>, keys: impl Fn(&Target) -> AskedBy) -> Self {
        Self {
            name: self.name.clone(),
            targets: self.targets.iter().map(|target| target.asked_by(keys(target))).collect(),
            router: self.router.clone(),
            made_of: self.made_of.clone(),
            tally: Tally::of_part(self.clone()),
            pinned: None,
        }
    }
}
