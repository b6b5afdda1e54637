//! Requests for completions of a prompt.

use llm_core::{CompletionRequest, Content, Dialect, Error, Json, Message, Origin, Part, Role};

use crate::wire::effort::Wanted;
use crate::wire::json::{Kind, Raw, Writer};
use crate::wire::losses::{Losses, NO_EQUAL, refuse};
use crate::wire::names::{Names, Param};
use crate::wire::read::{self, Seen, boolean, duplicate, keep, not_whole, number, small, string, whole, wrong_type};
use crate::wire::{DecodedRequest, Encoded, Fate, Level, Strictness, Target};

/// How many tokens an answer has at most where nobody says.
const DEFAULT_CAP: u64 = 16;

/// So many texts may end an answer.
const MAX_STOPS: usize = 4;

/// The parameters that have a place of their own.
const KNOWN: [&str; 14] = [
    "model",
    "prompt",
    "max_tokens",
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "stop",
    "n",
    "seed",
    "logprobs",
    "user",
    "stream",
    "stream_options",
];

/// Reads a request body. Parameters without a neutral form are kept in `extra`; a prompt without one, as the one part of
/// the one message. A cap that is left out is the 16 tokens that it means here.
pub(super) fn decode_request(body: &[u8]) -> Result<DecodedRequest, Error> {
    let raw = read::object(body)?;
    let mut request = CompletionRequest::new("", Vec::new());
    let (mut stream, mut include_usage, mut prompt) = (false, false, None);
    let mut seen = Seen::default();
    for (key, value) in raw.members() {
        let name = key.as_ref();
        seen.note(&KNOWN, name)?;
        if value.is_null() && name != "model" {
            continue;
        }
        match name {
            "model" => request.model = read::model(value)?,
            "prompt" => prompt = Some(read_prompt(value)?),
            "max_tokens" => request.max_tokens = Some(whole(value, name)?),
            "temperature" => request.temperature = Some(number(value, name)?),
            "top_p" => request.top_p = Some(number(value, name)?),
            "presence_penalty" => request.presence_penalty = Some(number(value, name)?),
            "frequency_penalty" => request.frequency_penalty = Some(number(value, name)?),
            "stop" => match value.kind() {
                Kind::String => request.stop = vec![string(value, name)?],
                Kind::Array => {
                    let texts = value.items().enumerate().map(|(at, text)| string(text, &format!("stop[{at}]")));
                    request.stop = texts.collect::<Result<_, _>>()?;
                }
                kind => return Err(wrong_type(name, "a string or an array of strings", kind)),
            },
            "n" => request.n = Some(small(value, name)?),
            "seed" => request.seed = Some(value.i64().ok_or_else(|| not_whole(value, name))?),
            "logprobs" => (request.logprobs, request.top_logprobs) = (Some(true), Some(small(value, name)?)),
            "user" => request.user = Some(string(value, name)?),
            "stream" => stream = boolean(value, name)?,
            "stream_options" => include_usage = read_include_usage(value)?,
            _ => keep(&mut request.extra, name, value),
        }
    }
    seen.require(&KNOWN, "model")?;
    let absent = || other(Json::parse("null").expect("it is JSON"));
    request.messages.push(Message::new(Role::User, vec![prompt.unwrap_or_else(absent)]));
    request.max_tokens = request.max_tokens.or(Some(DEFAULT_CAP));
    request.origin = Some(Origin { dialect: Dialect::OpenAiCompletions, leading: false });
    Ok(DecodedRequest { request, stream, include_usage: include_usage && stream })
}

fn other(json: Json) -> Part {
    Content::Other { dialect: Dialect::OpenAiCompletions, json }.into()
}

fn read_prompt(raw: Raw<'_>) -> Result<Part, Error> {
    match raw.kind() {
        Kind::String => Ok(Part::text(string(raw, "prompt")?)),
        Kind::Array => {
            let mut items = raw.items();
            match (items.next(), items.next()) {
                (Some(only), None) if only.kind() == Kind::String => Ok(Part::text(string(only, "prompt[0]")?)),
                _ => Ok(other(raw.json())),
            }
        }
        kind => Err(wrong_type("prompt", "a string or an array", kind)),
    }
}

fn read_include_usage(raw: Raw<'_>) -> Result<bool, Error> {
    if raw.kind() != Kind::Object {
        return Err(wrong_type("stream_options", "an object", raw.kind()));
    }
    let mut values = raw.members().filter(|(key, _)| key == "include_usage").map(|(_, value)| value);
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(duplicate("stream_options.include_usage")),
        (Some(value), None) if !value.is_null() => boolean(value, "stream_options.include_usage"),
        _ => Ok(false),
    }
}

/// What becomes of a member that only this dialect knows.
pub(super) fn fate(level: Level, name: &str, value: &Json) -> Fate {
    match (level, name, value.as_str()) {
        (Level::Request, "echo", "false") | (Level::Request, "best_of", "1") => Fate::Neutral,
        (Level::Request, "suffix", "\"\"") | (Level::Request, "logit_bias", "{}") => Fate::Neutral,
        (Level::Request, "logit_bias" | "best_of", _) => Fate::Reject,
        (Level::Request, "metadata" | "store" | "prompt_cache_key", _) => Fate::Hint,
        _ => Fate::Refuse,
    }
}

/// Writes `request` for `target`, if it is one text of the user's.
pub(super) fn encode_request(
    request: &CompletionRequest,
    target: &Target<'_>,
    strictness: Strictness,
) -> Result<Encoded, Error> {
    let names = Names::of(request);
    let dialect = request.origin.map(|origin| origin.dialect);
    let own = dialect.is_none_or(|dialect| dialect == Dialect::OpenAiCompletions);
    let mut losses = Losses::new(strictness);
    let prompt = prompt(request, &names)?;
    judge(request, own, &names, &mut losses)?;
    let most = target.capabilities.max_stops.unwrap_or(MAX_STOPS);
    if request.stop.len() > most && !own {
        losses.reject(names.param(Param::Stop), &format!("the model takes {most} at most"))?;
    }
    let mut writer = Writer::default();
    writer.object(|writer| {
        writer.key("model").string(target.model);
        match &prompt.content {
            Content::Other { json, .. } => writer.key("prompt").json(json),
            _ => writer.key("prompt").string(prompt.as_text().unwrap_or_default()),
        }
        // Elsewhere no cap means none, here it would mean a few words.
        let native = dialect == Some(Dialect::OpenAiCompletions);
        if let Some(cap) = request.max_tokens.or((!native).then_some(target.capabilities.default_max_tokens)) {
            writer.key("max_tokens").integer(cap);
        }
        for (key, number) in [
            ("temperature", request.temperature),
            ("top_p", request.top_p),
            ("presence_penalty", request.presence_penalty),
            ("frequency_penalty", request.frequency_penalty),
        ] {
            if let Some(number) = number {
                writer.key(key).f64(number);
            }
        }
        let stops = if own { &request.stop[..] } else { &request.stop[..request.stop.len().min(most)] };
        if !stops.is_empty() {
            writer.key("stop").array(|writer| stops.iter().for_each(|text| writer.string(text)));
        }
        if let Some(n) = request.n {
            writer.key("n").integer(n);
        }
        if let Some(seed) = request.seed {
            writer.key("seed").integer(seed);
        }
        if request.logprobs == Some(true) {
            writer.key("logprobs").integer(request.top_logprobs.unwrap_or(0));
        }
        if let Some(user) = request.safety_identifier.as_ref().or(request.user.as_ref()) {
            writer.key("user").string(user);
        }
        if own {
            request.extra.iter().for_each(|(key, value)| writer.key(key).json(value));
        }
        if target.stream {
            writer.key("stream").bool(true);
            if target.capabilities.include_usage {
                writer.key("stream_options").object(|writer| writer.key("include_usage").bool(true));
            }
        }
    });
    Ok(Encoded { body: writer.into_bytes(), dropped: losses.into_dropped() })
}

/// The prompt that a request is.
fn prompt<'a>(request: &'a CompletionRequest, names: &Names<'_>) -> Result<&'a Part, Error> {
    const WHY: &str = "the provider completes one text, and knows no conversation";
    let own = |part: &Part| match &part.content {
        Content::Text(_) => true,
        Content::Other { dialect, .. } => *dialect == Dialect::OpenAiCompletions,
        _ => false,
    };
    match request.messages.as_slice() {
        [Message { role: Role::User, parts, .. }] => match parts.as_slice() {
            [part] if own(part) => Ok(part),
            _ => Err(refuse(&names.content(0), WHY)),
        },
        _ => Err(refuse(names.param(Param::Messages), WHY)),
    }
}

fn judge(request: &CompletionRequest, own: bool, names: &Names<'_>, losses: &mut Losses) -> Result<(), Error> {
    if !request.tools.is_empty() {
        return Err(refuse(names.param(Param::Tools), NO_EQUAL));
    }
    for (param, given) in [
        (Param::TopK, request.top_k.is_some()),
        (Param::ResponseFormat, !matches!(request.response_format, None | Some(llm_core::ResponseFormat::Text))),
        (Param::ReasoningEffort, !matches!(Wanted::by(request), Wanted::Unsaid | Wanted::Off)),
        (Param::ServiceTier, request.service_tier.as_deref().is_some_and(|tier| tier != "auto")),
    ] {
        if given {
            losses.reject(names.param(param), NO_EQUAL)?;
        }
    }
    if own {
        return Ok(());
    }
    let message = &request.messages[0];
    if message.name.is_some() {
        losses.hint(format!("{}.name", names.message(0)));
    }
    let dialect = request.origin.map(|origin| origin.dialect);
    let part = &message.parts[0];
    if part.cache.is_some() {
        losses.hint(format!("{}.{}", names.part(0, 0), names.cache()));
    }
    losses.extras(*names, dialect, request)?;
    losses.members(&names.part(0, 0), dialect, Level::Part, &part.extra)
}
