//! An attempt of a request that is followed: its span.

use std::sync::Arc;

use http::HeaderMap;
use llm_core::{
    AboutAnswer, AttemptBegun, AttemptObserver, AttemptRecord, CallBody, Dialect, ModelId, Money, Piece, ProviderId,
    Tick,
};

use super::{Followed, Trace};
use crate::context::{SpanId, hand_on};
use crate::facts::{self, AboutRequest};
use crate::hub::ProviderFacts;
use crate::names;
use crate::span::{Attributes, Span, SpanKind, clipped};

/// An attempt of a request that is followed.
pub(super) struct FollowedAttempt {
    followed: Arc<Followed>,
    traced: Option<Box<Traced>>,
}

/// What an attempt's span will say.
struct Traced {
    span_id: SpanId,
    provider: ProviderId,
    facts: Arc<ProviderFacts>,
    model: ModelId,
    number: u32,
    started: Tick,
    dialect: Option<Dialect>,
    asked: AboutRequest,
    answer: AboutAnswer,
}

impl FollowedAttempt {
    pub(super) fn begin(followed: Arc<Followed>, attempt: &AttemptBegun<'_>) -> Self {
        let AttemptBegun { provider, number, call, at } = *attempt;
        let traced = followed.trace.is_some().then(|| {
            Box::new(Traced {
                span_id: SpanId::random(),
                provider: provider.clone(),
                facts: followed.hub.provider(provider),
                model: call.model.clone(),
                number,
                started: at,
                dialect: match &call.body {
                    CallBody::Wire(envelope) => Some(envelope.dialect),
                    _ => None,
                },
                asked: AboutRequest::of(&call.body, followed.hub.reader()),
                answer: AboutAnswer::default(),
            })
        });
        Self { followed, traced }
    }
}

impl AttemptObserver for FollowedAttempt {
    fn sends(&self, headers: &mut HeaderMap) {
        let followed = &*self.followed;
        if !followed.hub.propagates() {
            return;
        }
        match (&followed.trace, &self.traced, &followed.passed_on) {
            (Some(trace), Some(traced), _) => hand_on(trace.trace_id, traced.span_id, trace.state.as_ref(), headers),
            (_, _, Some(remote)) => remote.pass_on(headers),
            _ => {}
        }
    }

    fn hears(&mut self, piece: Piece<'_>) {
        if let Some(traced) = &mut self.traced {
            let dialect = traced.dialect.unwrap_or(Dialect::OpenAi);
            facts::hear(&mut traced.answer, piece, dialect, self.followed.hub.reader());
        }
    }

    fn attempt_ended(&mut self, record: &AttemptRecord) {
        let followed = &*self.followed;
        {
            let mut state = followed.state.lock();
            state.first_token = record.first_token.or(state.first_token);
            state.usage = record.usage.or(state.usage);
            state.cost = match (state.cost, record.cost) {
                (Some(sum), Some(cost)) => Some(sum.plus(cost)),
                (sum, cost) => sum.or(cost),
            };
        }
        if let (Some(trace), Some(traced)) = (&followed.trace, self.traced.take()) {
            followed.hub.end(traced.span(followed, trace, record));
        }
    }
}

impl Traced {
    fn span(self, followed: &Followed, trace: &Trace, record: &AttemptRecord) -> Span {
        let operation = record.operation.as_str();
        let mut attributes = Attributes::with_capacity(24);
        attributes.put(names::OPERATION_NAME, operation);
        attributes.put(names::PROVIDER_NAME, self.facts.system.to_string());
        attributes.put(names::REQUEST_MODEL, self.model.as_str().to_owned());
        attributes.know(names::SERVER_ADDRESS, self.facts.address.as_deref().map(str::to_owned));
        attributes.know(names::SERVER_PORT, self.facts.port);
        attributes.put(names::PROVIDER, self.provider.to_string());
        attributes.put(names::ATTEMPT, self.number);
        self.asked.write(&mut attributes);
        facts::tell(self.answer, &mut attributes);
        attributes.know(names::RESPONSE_FIRST_CHUNK, record.first_token.map(|first| first.as_secs_f64()));
        if let Some(usage) = &record.usage {
            attributes.put(names::USAGE_INPUT, usage.input_total());
            attributes.put(names::USAGE_OUTPUT, usage.output_total());
            attributes.know(names::USAGE_CACHE_READ, usage.cache_read);
            attributes.know(names::USAGE_CACHE_CREATION, usage.cache_write);
            attributes.know(names::USAGE_REASONING, usage.reasoning);
        }
        attributes.know(names::COST, record.cost.map(Money::as_dollars));
        attributes.know(names::HTTP_STATUS, record.upstream_status);
        attributes.error(record.error);
        let start = followed.epoch_at(self.started);
        Span {
            trace_id: trace.trace_id,
            span_id: self.span_id,
            parent: Some(trace.logical),
            parent_is_remote: false,
            state: trace.state.clone(),
            name: format!("{operation} {}", clipped(self.model.as_str())).into(),
            kind: SpanKind::Client,
            start,
            end: start + record.duration,
            attributes: attributes.into_inner(),
            failed: record.error.is_some(),
        }
    }
}
