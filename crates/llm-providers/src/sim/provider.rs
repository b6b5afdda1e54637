//! The simulated provider in the process.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use llm_core::{
    Answer, BoxFuture, Call, Dialect, Error, ErrorKind, Frame, Operation, Provider, ProviderId, StreamEvent,
    WireAnswer, WireBody,
};
use tokio::time::sleep;

use super::SimStats;
use super::ledger::InFlight;
use super::refusal::IN_BAND;
use super::script::SimScript;
use super::show::{Last, Marker, Show, Step, is_token};
use super::simulator::{CREATED, SimConfig, Simulator, Target};
use crate::exchange::{self, Asked, Chat, FrameWriter};
use crate::vector;
use crate::wire::codec;

/// A simulated provider: its answers depend on its seed, its script and the requests so far, on nothing else.
///
/// Latency passes in tokio's time. Where a script breaks the connection, the caller gets the error that a transport
/// makes of it.
#[derive(Clone, Debug)]
pub struct SimProvider {
    id: ProviderId,
    simulator: Arc<Simulator>,
}

impl SimProvider {
    /// A provider configured as `id`.
    pub fn new(id: impl Into<ProviderId>, config: SimConfig) -> Self {
        Self { id: id.into(), simulator: Arc::new(Simulator::new(config)) }
    }

    /// What was asked so far.
    #[must_use]
    pub fn stats(&self) -> SimStats {
        self.simulator.ledger.stats()
    }

    /// Forgets what was asked: counts, failures and the sequence of requests start again.
    pub fn reset(&self) {
        self.simulator.reset();
    }

    async fn answer(&self, mut call: Call) -> Result<Answer, Error> {
        let target = self.simulator.target(call.model.as_str(), None);
        let target = target.inspect_err(|_| self.simulator.begin_other().fail())?;
        let (mut in_flight, ordinal) = match call.body.operation() {
            Operation::Models => (self.simulator.begin_other(), 0),
            _ => self.simulator.begin(&target),
        };
        call.model = target.model.as_str().into();
        let asked = Asked::read(call).inspect_err(|_| in_flight.fail())?;
        self.open(&target, ordinal).await.inspect_err(|_| in_flight.fail())?;
        match asked {
            Asked::Embeddings(request, format) => {
                let response = vector::embed(&request).inspect_err(|_| in_flight.fail())?;
                in_flight.tokens(response.usage.map_or(0, |usage| usage.input), 0);
                hold(&target.script, 0, &mut in_flight).await?;
                Ok(exchange::embeddings(response, format))
            }
            Asked::Chat(chat) => match chat.wire {
                Some(wire) if target.fixed && wire.dialect == Dialect::OpenAi => {
                    self.fixed(target, chat.stream, wire.usage, in_flight).await
                }
                _ => self.chat(&target, chat, in_flight, ordinal).await,
            },
            Asked::Count(request, dialect) => {
                let answer = exchange::count(&request, dialect).inspect_err(|_| in_flight.fail())?;
                in_flight.complete();
                Ok(answer)
            }
            Asked::Models { wire } => {
                in_flight.complete();
                Ok(exchange::models(self.simulator.models(), wire))
            }
        }
    }

    async fn chat(&self, target: &Target, chat: Chat, mut in_flight: InFlight, ordinal: u64) -> Result<Answer, Error> {
        let mut reply = self.simulator.reply(target, &chat.request, ordinal);
        if chat.wire.is_none() {
            reply.stop_for_calls();
        }
        in_flight.tokens(crate::prompt::input_tokens(&chat.request.messages), 0);
        if !chat.stream {
            hold(&target.script, reply.tokens(), &mut in_flight).await?;
            return Ok(chat.answer(reply.whole()));
        }
        let show = Show::new(reply.events(), &target.script);
        Ok(match chat.wire {
            Some(wire) => {
                let mut writer = FrameWriter::new(wire, CREATED);
                streamed(perform(show, in_flight, move |event| {
                    Some(match event {
                        Some(event) => writer.frame(&event),
                        None => writer.done(),
                    })
                }))
            }
            None => Answer::Events(Box::pin(perform(show, in_flight, |event| event))),
        })
    }

    /// Answers in the bytes that are always the same.
    async fn fixed(
        &self,
        target: Arc<Target>,
        stream: bool,
        usage: bool,
        mut in_flight: InFlight,
    ) -> Result<Answer, Error> {
        let encoded = self.simulator.encoded(&target);
        in_flight.tokens(encoded.usage.map_or(0, |usage| usage.input), 0);
        if !stream {
            hold(&target.script, encoded.tokens, &mut in_flight).await?;
            return Ok(exchange::whole(encoded.body.clone(), encoded.usage));
        }
        let frames = encoded.frames(usage).to_vec().into_iter();
        let gap = target.script.gap.unwrap_or_default();
        let state = (frames, in_flight, Duration::ZERO);
        Ok(streamed(stream::unfold(state, move |(mut frames, mut in_flight, before)| async move {
            let frame = frames.next()?;
            let mut after = before;
            if frame.content {
                pass(before).await;
                in_flight.tokens(0, 1);
                after = gap;
            }
            if frame.last {
                in_flight.complete();
            }
            Some((Ok(frame), (frames, in_flight, after)))
        })))
    }

    /// Lets the time before the answer's first byte pass.
    ///
    /// # Errors
    /// What is answered, when that is an error.
    async fn open(&self, target: &Target, ordinal: u64) -> Result<(), Error> {
        let script = &target.script;
        if script.stall == Some(true) {
            std::future::pending::<()>().await;
        }
        pass(script.ttft.unwrap_or_default()).await;
        if script.hangup == Some(true) {
            return Err(Error::new(ErrorKind::Connection, "the connection was closed before an answer"));
        }
        self.simulator.refusal(target, ordinal).map_or(Ok(()), |refusal| Err(refusal.into_error()))
    }
}

impl Provider for SimProvider {
    fn id(&self) -> &ProviderId {
        &self.id
    }

    fn speaks(&self, dialect: Dialect) -> bool {
        codec(dialect).is_some()
    }

    fn send(&self, call: Call) -> BoxFuture<'_, Result<Answer, Error>> {
        Box::pin(async { self.answer(call).await.map_err(|error| error.with_provider(self.id.clone())) })
    }
}

/// Lets the time pass that a whole answer of `tokens` tokens takes after its first byte, and counts them.
///
/// # Errors
/// When the answer is cut off.
async fn hold(script: &SimScript, tokens: u64, in_flight: &mut InFlight) -> Result<(), Error> {
    if script.stall_after.is_some() {
        std::future::pending::<()>().await;
    }
    pass(script.gap.unwrap_or_default().saturating_mul(u32::try_from(tokens).unwrap_or(u32::MAX).saturating_sub(1)))
        .await;
    if script.cut_after.is_some() || script.truncate == Some(true) {
        in_flight.fail();
        return Err(interrupted());
    }
    in_flight.tokens(0, tokens);
    in_flight.complete();
    Ok(())
}

async fn pass(span: Duration) {
    if !span.is_zero() {
        sleep(span).await;
    }
}

fn streamed(frames: impl Stream<Item = Result<Frame, Error>> + Send + 'static) -> Answer {
    let body = WireBody::Frames(Box::pin(frames));
    Answer::from(WireAnswer { headers: exchange::headers("text/event-stream"), body })
}

/// The stream of what `show` says. `put` is given each event, and none for the terminal marker.
fn perform<T, F>(show: Show, in_flight: InFlight, put: F) -> impl Stream<Item = Result<T, Error>>
where
    F: FnMut(Option<StreamEvent>) -> Option<T>,
{
    stream::unfold((show, in_flight, put), |(mut show, mut in_flight, mut put)| async move {
        loop {
            let item = match show.next()? {
                Step::Wait(gap) => {
                    pass(gap).await;
                    continue;
                }
                Step::Stall => std::future::pending().await,
                Step::Say(event, last) => {
                    in_flight.tokens(0, u64::from(is_token(&event)));
                    if last == Last::Yes {
                        in_flight.complete();
                    }
                    Ok(put(Some(event))?)
                }
                Step::End(Marker::Whole) => Ok(put(None)?),
                Step::End(Marker::Absent) => {
                    in_flight.complete();
                    return None;
                }
                Step::Fail => {
                    in_flight.fail();
                    Err(Error::new(ErrorKind::Upstream, IN_BAND.message))
                }
                Step::Cut(_) | Step::End(Marker::CutInTwo) => {
                    in_flight.fail();
                    Err(interrupted())
                }
            };
            return Some((item, (show, in_flight, put)));
        }
    })
}

fn interrupted() -> Error {
    Error::new(ErrorKind::StreamInterrupted, "the answer broke off")
}
