//! Log probabilities, between lists side by side (here) and chat's list of tokens, which is the neutral form.

use llm_core::Json;

use crate::wire::json::{Kind, Raw, Writer};

/// Chat's `logprobs` from a choice's.
pub(super) fn read(raw: Raw<'_>) -> Option<Json> {
    let tokens = raw.member("tokens").filter(|tokens| tokens.kind() == Kind::Array)?;
    let mut numbers = raw.member("token_logprobs").into_iter().flat_map(Raw::items);
    let mut others = raw.member("top_logprobs").into_iter().flat_map(Raw::items);
    let mut writer = Writer::default();
    writer.object(|writer| {
        writer.key("content").array(|writer| {
            for token in tokens.items() {
                let (number, others) = (numbers.next(), others.next());
                writer.object(|writer| {
                    write_token(writer, &token.string().unwrap_or_default(), number);
                    writer.key("top_logprobs").array(|writer| {
                        for (token, number) in others.into_iter().flat_map(Raw::members) {
                            writer.object(|writer| write_token(writer, &token, Some(number)));
                        }
                    });
                });
            }
        });
        writer.key("refusal").null();
    });
    Json::parse(String::from_utf8(writer.into_bytes().to_vec()).ok()?).ok()
}

fn write_token(writer: &mut Writer, token: &str, number: Option<Raw<'_>>) {
    writer.key("token").string(token);
    writer.key("logprob").text(number.filter(|number| number.kind() == Kind::Number).map_or("null", Raw::text));
    writer.key("bytes").array(|writer| token.bytes().for_each(|byte| writer.integer(byte)));
}

/// Writes chat's `logprobs` as a choice's; the first token stands `offset` characters after the text's beginning. The
/// characters of all.
pub(super) fn write(writer: &mut Writer, logprobs: &Json, offset: usize) -> usize {
    let Ok(raw) = Raw::parse(logprobs.as_str().as_bytes()) else {
        writer.null();
        return 0;
    };
    let tokens = || raw.member("content").into_iter().flat_map(Raw::items);
    let text = |token: Raw<'_>| token.member("token").and_then(Raw::string).unwrap_or_default().into_owned();
    let number = |token: Raw<'_>| token.member("logprob").map_or("null".to_owned(), |number| number.text().to_owned());
    let mut at = offset;
    writer.object(|writer| {
        writer.key("tokens").array(|writer| tokens().for_each(|token| writer.string(&text(token))));
        writer.key("token_logprobs").array(|writer| tokens().for_each(|token| writer.text(&number(token))));
        writer.key("top_logprobs").array(|writer| {
            for token in tokens() {
                let others = token.member("top_logprobs").into_iter().flat_map(Raw::items);
                writer.object(|writer| others.for_each(|other| writer.key(&text(other)).text(&number(other))));
            }
        });
        writer.key("text_offset").array(|writer| {
            for token in tokens() {
                writer.integer(at);
                at += text(token).chars().count();
            }
        });
    });
    at - offset
}
