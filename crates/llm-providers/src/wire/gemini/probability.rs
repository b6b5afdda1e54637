//! Log probabilities, between Google's two lists and OpenAI's one, which is the neutral form.

use llm_core::Json;

use super::member::member;
use crate::wire::json::{Kind, Raw, Writer};

/// OpenAI's `logprobs` from a candidate's `logprobsResult`.
pub(super) fn read(raw: Raw<'_>) -> Option<Json> {
    let chosen = member(raw, "chosenCandidates").filter(|chosen| chosen.kind() == Kind::Array)?;
    let mut others = member(raw, "topCandidates").into_iter().flat_map(Raw::items);
    let mut writer = Writer::default();
    writer.object(|writer| {
        writer.key("content").array(|writer| {
            for token in chosen.items() {
                let others = others.next().and_then(|top| member(top, "candidates"));
                writer.object(|writer| {
                    write_token(writer, token);
                    writer.key("top_logprobs").array(|writer| {
                        for other in others.into_iter().flat_map(Raw::items) {
                            writer.object(|writer| write_token(writer, other));
                        }
                    });
                });
            }
        });
    });
    Json::parse(String::from_utf8(writer.into_bytes().to_vec()).ok()?).ok()
}

fn write_token(writer: &mut Writer, raw: Raw<'_>) {
    let text = member(raw, "token").and_then(Raw::string).unwrap_or_default();
    writer.key("token").string(&text);
    writer.key("logprob").text(number(member(raw, "logProbability")));
    writer.key("bytes").null();
}

/// Writes OpenAI's `logprobs` as a candidate's `logprobsResult`.
pub(super) fn write(writer: &mut Writer, logprobs: &Json) {
    let Ok(raw) = Raw::parse(logprobs.as_str().as_bytes()) else { return writer.object(|_| {}) };
    let tokens = || raw.member("content").into_iter().flat_map(Raw::items);
    let token = |writer: &mut Writer, raw: Raw<'_>| {
        writer.object(|writer| {
            writer.key("token").string(&raw.member("token").and_then(Raw::string).unwrap_or_default());
            writer.key("logProbability").text(number(raw.member("logprob")));
        });
    };
    writer.object(|writer| {
        writer.key("topCandidates").array(|writer| {
            for top in tokens() {
                let others = top.member("top_logprobs").into_iter().flat_map(Raw::items);
                writer.object(|writer| {
                    writer.key("candidates").array(|writer| others.for_each(|other| token(writer, other)));
                });
            }
        });
        writer.key("chosenCandidates").array(|writer| tokens().for_each(|chosen| token(writer, chosen)));
    });
}

/// The number as it is spelled; a zero, which Google leaves out, if there is none.
fn number(raw: Option<Raw<'_>>) -> &str {
    raw.filter(|raw| raw.kind() == Kind::Number).map_or("0", Raw::text)
}
