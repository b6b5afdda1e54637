//! Which provider keeps which response, so that whoever goes on from one is sent there.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use llm_core::sync::Mutex;
use llm_core::{
    AboutAnswer, CallBody, Dialect, Envelope, Error, ErrorKind, Frames, ModelId, ProviderId, TenantId, Tick,
};
use llm_providers::wire::read_about;
use llm_providers::wire::responses::{is_stored, previous_response};

use crate::request::{Reply, Request};
use crate::routes::{Route, Routes};
use crate::upstream::{AskedBy, Target};

/// Responses that are known at most; the oldest make room.
const MOST: usize = 50_000;
/// How long one is known: as long as OpenAI keeps it.
const LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Frames of a stream that are looked at for its response's id.
const LOOKED_AT: usize = 4;
/// A longer id is not remembered.
const LONGEST_ID: usize = 256;

/// Who keeps the latest responses. A tenant's are known to it alone.
#[derive(Default)]
pub(crate) struct Pins(Mutex<Known>);

#[derive(Default)]
struct Known {
    pins: HashMap<Name, Pin>,
    /// In the order of arrival, in which they are forgotten, too.
    arrivals: VecDeque<Name>,
}

type Name = (TenantId, Box<str>);

/// Where a response was made.
#[derive(Clone)]
struct Pin {
    provider: ProviderId,
    model: ModelId,
    /// The name of the key.
    key: Box<str>,
    until: Tick,
}

impl Pins {
    /// `route`, but where the request is about a response that is known: then the one target and key that made it.
    ///
    /// # Errors
    /// `NotFound` when whoever made it is no longer there, or nobody here has made it and it must be known;
    /// `InvalidRequest` when the model asked for is not at the provider that keeps it.
    pub(crate) fn narrow(&self, routes: &Routes, request: &Request, route: Arc<Route>) -> Result<Arc<Route>, Error> {
        let (id, own) = match &request.body {
            CallBody::Wire(envelope) if envelope.dialect == Dialect::OpenAiResponses => {
                let Some(id) = previous_response(&envelope.body) else { return Ok(route) };
                (id, false)
            }
            CallBody::Forward(forward) => match &forward.response {
                Some(response) => (response.id.to_string(), response.own),
                None => return Ok(route),
            },
            _ => return Ok(route),
        };
        let Some(pin) = self.find(&request.caller.tenant, &id, request.received) else {
            return if own { Err(unknown(&id)) } else { Ok(route) };
        };
        let upstream = routes.upstream(pin.provider.as_str());
        let key = upstream.and_then(|upstream| upstream.keys.iter().position(|key| key.name == pin.key));
        let (Some(upstream), Some(key)) = (upstream, key) else {
            let message = format!("the response {id} is kept by {pin}, which is no longer configured");
            return Err(Error::new(ErrorKind::NotFound, message).with_param("previous_response_id"));
        };
        let mut pinned = match &request.body {
            CallBody::Forward(forward) => routes.direct(upstream, forward.family).narrowed(|_| AskedBy::Only(key)),
            _ => pin.of(&route, key, &id)?,
        };
        pinned.pinned = Some(format!("the response {id} is kept by {pin}: nobody else can be asked").into());
        Ok(Arc::new(pinned))
    }

    fn find(&self, tenant: &TenantId, id: &str, now: Tick) -> Option<Pin> {
        let known = self.0.lock();
        known.pins.get(&(tenant.clone(), id.into())).filter(|pin| now < pin.until).cloned()
    }

    /// Remembers who has made the response in `reply`, if it is one that is kept.
    pub(crate) fn noted(
        self: &Arc<Self>,
        request: &Request,
        target: &Target,
        key: usize,
        reply: Reply,
        now: Tick,
    ) -> Reply {
        let CallBody::Wire(envelope) = &request.body else { return reply };
        if !is_kept(envelope, target, key) {
            return reply;
        }
        let pin = Pin {
            provider: target.provider().clone(),
            model: target.model.clone(),
            key: target.upstream.keys[key].name.clone(),
            until: now.after(LIFE),
        };
        let tenant = request.caller.tenant.clone();
        match reply {
            Reply::Whole(whole) => {
                if let Some(id) = id_in(&whole.bytes) {
                    self.remember((tenant, id), pin, now);
                }
                Reply::Whole(whole)
            }
            Reply::Frames { headers, frames } => {
                Reply::Frames { headers, frames: self.clone().listening(frames, tenant, pin, now) }
            }
            other => other,
        }
    }

    /// `frames`, with an ear on the id that is told at their beginning.
    fn listening(self: Arc<Self>, frames: Frames, tenant: TenantId, pin: Pin, now: Tick) -> Frames {
        let mut wanted = Some((tenant, pin));
        let mut left = LOOKED_AT;
        Box::pin(frames.inspect(move |frame| {
            let (Some(_), Ok(frame)) = (&wanted, frame) else { return };
            let id = id_in(&frame.bytes);
            left -= 1;
            if (id.is_some() || left == 0)
                && let Some((tenant, pin)) = wanted.take()
                && let Some(id) = id
            {
                self.remember((tenant, id), pin, now);
            }
        }))
    }

    fn remember(&self, name: Name, pin: Pin, now: Tick) {
        let mut known = self.0.lock();
        while known.arrivals.len() >= MOST || known.oldest().is_some_and(|oldest| oldest.until <= now) {
            known.forget_oldest();
        }
        if known.pins.insert(name.clone(), pin).is_none() {
            known.arrivals.push_back(name);
        }
    }
}

impl Known {
    fn oldest(&self) -> Option<&Pin> {
        self.pins.get(self.arrivals.front()?)
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.arrivals.pop_front() {
            self.pins.remove(&oldest);
        }
    }
}

impl Pin {
    /// The target of `route` that made the response, by its key `key`; where it is not among them, those of the same
    /// provider.
    fn of(&self, route: &Arc<Route>, key: usize, id: &str) -> Result<Route, Error> {
        let same = |target: &Target| *target.provider() == self.provider;
        let very_same = |target: &Target| same(target) && target.model == self.model;
        let targets = &route.targets;
        if !targets.iter().any(same) {
            let message = format!("the response {id} is kept by {self}, where the model asked for has no target");
            let error = Error::new(ErrorKind::InvalidRequest, message).with_param("previous_response_id");
            return Err(error.with_code("invalid_value"));
        }
        let narrow = |fits: &dyn Fn(&Target) -> bool| {
            route.narrowed(|target| if fits(target) { AskedBy::Only(key) } else { AskedBy::None })
        };
        Ok(if targets.iter().any(very_same) { narrow(&very_same) } else { narrow(&same) })
    }
}

impl std::fmt::Display for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the provider {} (key {})", self.provider, self.key)
    }
}

/// Whether the answer is a response that its provider keeps: one that passes through.
fn is_kept(envelope: &Envelope, target: &Target, key: usize) -> bool {
    envelope.dialect == Dialect::OpenAiResponses
        && target.upstream.keys[key].provider.speaks(envelope.dialect)
        && is_stored(&envelope.body)
}

/// The id of the response that a whole answer is, or that events of a stream tell.
fn id_in(bytes: &[u8]) -> Option<Box<str>> {
    let mut about = AboutAnswer::default();
    read_about(Dialect::OpenAiResponses, bytes, &mut about);
    about.id.filter(|id| id.len() <= LONGEST_ID).map(Box::from)
}

fn unknown(id: &str) -> Error {
    let message = format!("no response with the id `{id}` is known to you here");
    Error::new(ErrorKind::NotFound, message).with_param("response_id").with_code("response_not_found")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(until: Tick) -> Pin {
        Pin { provider: ProviderId::from("p"), model: ModelId::from("m"), key: "p/key".into(), until }
    }

    fn name(tenant: &str, id: usize) -> Name {
        (TenantId::from(tenant), id.to_string().into())
    }

    #[test]
    fn a_tenants_responses_are_known_to_it_alone_and_for_a_while() {
        let pins = Pins::default();
        let until = Tick::ZERO.after(LIFE);
        pins.remember(name("a", 1), pin(until), Tick::ZERO);
        let found = |tenant: &str, now| pins.find(&TenantId::from(tenant), "1", now).is_some();
        assert!(found("a", Tick::ZERO) && !found("b", Tick::ZERO) && !found("a", until));
        pins.remember(name("a", 2), pin(until.after(LIFE)), until);
        assert_eq!(pins.0.lock().pins.len(), 1);
    }

    #[test]
    fn the_oldest_make_room() {
        let pins = Pins::default();
        for id in 0..MOST + 10 {
            pins.remember(name("a", id), pin(Tick::ZERO.after(LIFE)), Tick::ZERO);
        }
        let known = pins.0.lock();
        assert_eq!((known.pins.len(), known.arrivals.len()), (MOST, MOST));
        assert!(!known.pins.contains_key(&name("a", 9)) && known.pins.contains_key(&name("a", 10)));
    }
}
