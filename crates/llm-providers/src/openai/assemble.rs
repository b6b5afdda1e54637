//! Whole answers from events and events from whole answers, for providers that answer in the other form.

use bytes::Bytes;
use llm_core::{
    Choice, CompletionResponse, Error, Message, Part, Reasoning, Role, StopReason, StreamEvent, ToolCall, Usage,
};

use super::live::too_long;
use crate::wire::openai::ChunkDecoder;
use crate::wire::sse::Framer;

/// The answer that a stream, received whole, makes up.
pub(crate) fn collected(body: Bytes, limit: usize) -> Result<CompletionResponse, Error> {
    let (mut framer, mut decoder, mut events) = (Framer::new(limit), ChunkDecoder::new(), Vec::new());
    framer.push(body);
    framer.push(Bytes::from_static(b"\n\n"));
    while let Some(event) = framer.next_event().map_err(too_long)? {
        if let Some(data) = event.fields().data {
            decoder.decode(&data, &mut events)?;
        }
    }
    decoder.finish(&mut events)?;
    Ok(assembled(events))
}

fn assembled(events: Vec<StreamEvent>) -> CompletionResponse {
    let mut response = CompletionResponse {
        id: String::new(),
        model: String::new(),
        created: None,
        choices: Vec::new(),
        usage: None,
        latency: None,
        extra: Vec::new(),
    };
    for event in events {
        match event {
            StreamEvent::Start { id, model, created } => {
                (response.id, response.model, response.created) = (id, model, created);
            }
            StreamEvent::Text { choice, text } => match parts(&mut response, choice).last_mut() {
                Some(Part::Text(so_far)) => so_far.push_str(&text),
                _ => parts(&mut response, choice).push(Part::Text(text)),
            },
            StreamEvent::Refusal { choice, text } => match parts(&mut response, choice).last_mut() {
                Some(Part::Refusal(so_far)) => so_far.push_str(&text),
                _ => parts(&mut response, choice).push(Part::Refusal(text)),
            },
            StreamEvent::Reasoning { choice, text, signature } => match parts(&mut response, choice).last_mut() {
                Some(Part::Reasoning(so_far)) => {
                    so_far.text.push_str(&text);
                    so_far.signature = signature.or(so_far.signature.take());
                }
                _ => parts(&mut response, choice).push(Part::Reasoning(Reasoning { text, signature })),
            },
            StreamEvent::ToolCall { choice, id, name, .. } => {
                parts(&mut response, choice).push(Part::ToolCall(ToolCall { id, name, arguments: String::new() }));
            }
            StreamEvent::ToolArguments { choice, index, fragment } => {
                let mut calls = parts(&mut response, choice).iter_mut().filter_map(|part| match part {
                    Part::ToolCall(call) => Some(call),
                    _ => None,
                });
                if let Some(call) = calls.nth(index as usize) {
                    call.arguments.push_str(&fragment);
                }
            }
            StreamEvent::Stop { choice, reason } => at(&mut response, choice).stop = Some(reason),
            StreamEvent::Usage(usage) => response.usage = Some(usage),
            _ => {}
        }
    }
    response.choices.sort_by_key(|choice| choice.index);
    response
}

fn parts(response: &mut CompletionResponse, index: u32) -> &mut Vec<Part> {
    &mut at(response, index).message.parts
}

fn at(response: &mut CompletionResponse, index: u32) -> &mut Choice {
    let known = response.choices.iter().position(|choice| choice.index == index);
    let place = known.unwrap_or_else(|| {
        let message = Message::new(Role::Assistant, Vec::new());
        response.choices.push(Choice { index, message, stop: None, logprobs: None });
        response.choices.len() - 1
    });
    &mut response.choices[place]
}

/// The events that say what `response` says.
pub(crate) fn events(response: CompletionResponse) -> Vec<StreamEvent> {
    let CompletionResponse { id, model, created, choices, usage, .. } = response;
    let mut events = vec![StreamEvent::Start { id, model, created }];
    for Choice { index: choice, message, stop, .. } in choices {
        let mut calls = 0;
        for part in message.parts {
            match part {
                Part::Text(text) => events.push(StreamEvent::Text { choice, text }),
                Part::Refusal(text) => events.push(StreamEvent::Refusal { choice, text }),
                Part::Reasoning(Reasoning { text, signature }) => {
                    events.push(StreamEvent::Reasoning { choice, text, signature });
                }
                Part::ToolCall(ToolCall { id, name, arguments }) => {
                    events.push(StreamEvent::ToolCall { choice, index: calls, id, name });
                    events.push(StreamEvent::ToolArguments { choice, index: calls, fragment: arguments });
                    calls += 1;
                }
                _ => {}
            }
        }
        events.push(StreamEvent::Stop { choice, reason: stop.unwrap_or(StopReason::Stop) });
    }
    events.extend(usage.map(|usage: Usage| StreamEvent::Usage(usage)));
    events
}
