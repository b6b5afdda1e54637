//! Chat completions and Google's `generateContent`, translated into each other: each row of the table of rules.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use llm_core::{Dialect, Error, ErrorKind, Json, Usage};
use llm_providers::wire::gemini::ArrayEvents;
use llm_providers::wire::sse::DEFAULT_LIMIT;
use llm_providers::wire::{
    AnswerOptions, Capabilities, Codec, Encoded, Strictness, Target, ThinkingStyle, Translator, codec,
};
use proptest::prelude::*;

fn chat() -> &'static dyn Codec {
    codec(Dialect::OpenAi).unwrap()
}

fn gemini() -> &'static dyn Codec {
    codec(Dialect::Gemini).unwrap()
}

type Pair<'a> = (&'a dyn Codec, &'a dyn Codec);

fn translate(
    (from, to): Pair<'_>,
    body: &str,
    capabilities: &Capabilities,
    strictness: Strictness,
) -> Result<Encoded, Error> {
    let asked = from.decode_request(body.as_bytes())?;
    to.encode_request(
        &asked.request,
        &Target { model: "m", capabilities, max_output: None, stream: asked.stream },
        strictness,
    )
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// What a rule does to a field.
#[derive(Debug)]
enum Becomes {
    /// These members are sent, among others; an empty text: nothing is sent, and nothing is said about it.
    Sent(&'static str),
    /// These members are sent, if any, and something is listed under this name.
    Dropped(&'static str, &'static str),
    /// It is refused under this name; leniently it is left out and listed.
    Rejected(&'static str),
    /// It is refused under this name, also leniently.
    Refused(&'static str),
}
use Becomes::{Dropped, Refused, Rejected, Sent};

/// Checks a table: what members added to a plain request become.
fn check(pair: Pair<'_>, capabilities: &Capabilities, plain: &str, table: &[(&str, Becomes)]) {
    let bare = translate(pair, &format!("{{{plain}}}"), capabilities, Strictness::Strict).unwrap();
    for (members, becomes) in table {
        let body = format!("{{{plain},{members}}}");
        let strict = translate(pair, &body, capabilities, Strictness::Strict);
        let lenient = translate(pair, &body, capabilities, Strictness::Lenient);
        assert_eq!(format!("{strict:?}"), format!("{:?}", translate(pair, &body, capabilities, Strictness::Strict)));
        let refused = |result: &Result<Encoded, Error>, param: &str| {
            let error = result.as_ref().expect_err(members);
            assert_eq!((error.kind(), error.param()), (ErrorKind::InvalidRequest, Some(param)), "{members}");
        };
        let sent = |result: &Result<Encoded, Error>, part: &str, dropped: &[&str]| {
            let sent = result.as_ref().unwrap_or_else(|error| panic!("{members}: {error}"));
            if part.is_empty() {
                assert_eq!(text(&sent.body), text(&bare.body), "{members}");
            } else {
                assert!(text(&sent.body).contains(part), "{members}: {}", text(&sent.body));
            }
            assert_eq!(sent.dropped, dropped, "{members}");
        };
        match *becomes {
            Sent(part) => [&strict, &lenient].into_iter().for_each(|result| sent(result, part, &[])),
            Dropped(part, name) => [&strict, &lenient].into_iter().for_each(|result| sent(result, part, &[name])),
            Rejected(name) => {
                refused(&strict, name);
                assert!(lenient.unwrap().dropped.iter().any(|dropped| dropped == name), "{members}");
            }
            Refused(name) => [&strict, &lenient].into_iter().for_each(|result| refused(result, name)),
        }
    }
}

const CHAT: &str = r#""model":"x","messages":[{"role":"user","content":"hi"}]"#;
const GEMINI: &str = r#""contents":[{"role":"user","parts":[{"text":"hi"}]}]"#;

fn to_gemini(table: &[(&str, Becomes)]) {
    check((chat(), gemini()), &Capabilities::default(), CHAT, table);
}

#[test]
fn each_parameter_of_chat_becomes_what_the_table_says() {
    to_gemini(&[
        (r#""max_completion_tokens":7,"max_tokens":9"#, Sent(r#""generationConfig":{"maxOutputTokens":7}"#)),
        (r#""max_tokens":9"#, Sent(r#"{"maxOutputTokens":9}"#)),
        (r#""temperature":1.5,"top_p":0.5"#, Sent(r#"{"temperature":1.5,"topP":0.5}"#)),
        (r#""stop":"END""#, Sent(r#"{"stopSequences":["END"]}"#)),
        (r#""stop":[]"#, Sent("")),
        (r#""stop":["1","2","3","4","5"]"#, Sent(r#"["1","2","3","4","5"]"#)),
        (r#""stop":["1","2","3","4","5","6"]"#, Rejected("stop")),
        (r#""n":2"#, Sent(r#"{"candidateCount":2}"#)),
        (
            r#""presence_penalty":0.5,"frequency_penalty":-1"#,
            Sent(r#"{"presencePenalty":0.5,"frequencyPenalty":-1.0}"#),
        ),
        (r#""logit_bias":{}"#, Sent("")),
        (r#""logit_bias":{"5":1}"#, Rejected("logit_bias")),
        (r#""logprobs":false,"top_logprobs":0"#, Sent("")),
        (r#""logprobs":true,"top_logprobs":3"#, Sent(r#"{"responseLogprobs":true,"logprobs":3}"#)),
        (r#""seed":-7"#, Sent(r#"{"seed":-7}"#)),
        (r#""seed":2147483648"#, Rejected("seed")),
        (r#""user":"u""#, Dropped("", "user")),
        (r#""safety_identifier":"u""#, Dropped("", "safety_identifier")),
        (r#""metadata":{"a":"b"}"#, Dropped("", "metadata")),
        (r#""store":true"#, Dropped("", "store")),
        (r#""prompt_cache_key":"k""#, Dropped("", "prompt_cache_key")),
        (r#""prompt_cache_retention":"24h""#, Dropped("", "prompt_cache_retention")),
        (r#""prompt_cache_options":{"a":1}"#, Dropped("", "prompt_cache_options")),
        (r#""prediction":{"type":"content","content":"x"}"#, Dropped("", "prediction")),
        (r#""verbosity":"low""#, Dropped("", "verbosity")),
        (r#""service_tier":"auto""#, Sent("")),
        (r#""service_tier":"default""#, Sent(r#""serviceTier":"standard""#)),
        (r#""service_tier":"flex""#, Sent(r#""serviceTier":"flex""#)),
        (r#""service_tier":"priority""#, Sent(r#""serviceTier":"priority""#)),
        (r#""service_tier":"scale""#, Rejected("service_tier")),
        (r#""response_format":{"type":"text"}"#, Sent("")),
        (r#""response_format":{"type":"json_object"}"#, Sent(r#"{"responseMimeType":"application/json"}"#)),
        (
            r#""response_format":{"type":"json_schema","json_schema":{"name":"s","strict":true,"schema":{"b":1.0,"a":1e2}}}"#,
            Sent(r#"{"responseMimeType":"application/json","responseJsonSchema":{"b":1.0,"a":1e2}}"#),
        ),
        (
            r#""response_format":{"type":"json_schema","json_schema":{"name":"s","description":"d","schema":{}}}"#,
            Dropped(r#""responseJsonSchema":{}"#, "response_format.json_schema.description"),
        ),
        (r#""parallel_tool_calls":true"#, Sent("")),
        (r#""parallel_tool_calls":false"#, Rejected("parallel_tool_calls")),
        (r#""functions":[{"name":"f"}]"#, Rejected("functions")),
        (r#""function_call":"auto""#, Rejected("function_call")),
        (r#""modalities":["text"]"#, Sent("")),
        (r#""modalities":["text","audio"]"#, Refused("modalities")),
        (r#""audio":{"voice":"v"}"#, Refused("audio")),
        (r#""web_search_options":{}"#, Refused("web_search_options")),
        (r#""moderation":{"a":1}"#, Refused("moderation")),
        (r#""stream":true,"stream_options":{"include_usage":true}"#, Sent("")),
        (r#""unheard_of":1"#, Refused("unheard_of")),
        (r#""top_k":40"#, Sent(r#"{"topK":40}"#)),
    ]);
}

#[test]
fn no_tier_is_named_where_the_body_has_no_place_for_one() {
    let none = Capabilities { service_tier: false, ..Capabilities::default() };
    let table = &[
        (r#""service_tier":"auto""#, Sent("")),
        (r#""service_tier":"default""#, Sent("")),
        (r#""service_tier":"flex""#, Rejected("service_tier")),
        (r#""service_tier":"priority""#, Rejected("service_tier")),
    ];
    check((chat(), gemini()), &none, CHAT, table);
    check((chat(), codec(Dialect::Anthropic).unwrap()), &none, CHAT, table);
    // What is left out is not there under another name.
    let lenient =
        translate((chat(), gemini()), &format!(r#"{{{CHAT},"service_tier":"flex"}}"#), &none, Strictness::Lenient);
    assert!(!text(&lenient.unwrap().body).to_lowercase().contains("tier"));
}

#[test]
fn tools_and_their_choice_become_declarations_and_a_mode() {
    const TOOLS: &str = r#""tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object","x":9007199254740993}}},{"type":"function","function":{"name":"g"}}]"#;
    let config = |choice: &str, expected: &str| {
        let body = format!(r#"{{{CHAT},{TOOLS},"tool_choice":{choice}}}"#);
        let sent = translate((chat(), gemini()), &body, &Capabilities::default(), Strictness::Strict).unwrap();
        let expected = format!(r#""toolConfig":{{"functionCallingConfig":{{{expected}}}}}"#);
        assert!(text(&sent.body).contains(&expected), "{choice}: {}", text(&sent.body));
    };
    config(r#""none""#, r#""mode":"NONE""#);
    config(r#""auto""#, r#""mode":"AUTO""#);
    config(r#""required""#, r#""mode":"ANY""#);
    let named = r#"{"type":"function","function":{"name":"f"}}"#;
    config(named, r#""mode":"ANY","allowedFunctionNames":["f"]"#);
    for (mode, expected) in [("auto", "VALIDATED"), ("required", "ANY")] {
        let allowed = format!(r#"{{"type":"allowed_tools","allowed_tools":{{"mode":"{mode}","tools":[{named}]}}}}"#);
        config(&allowed, &format!(r#""mode":"{expected}","allowedFunctionNames":["f"]"#));
    }
    to_gemini(&[
        (
            TOOLS,
            Sent(
                r#""tools":[{"functionDeclarations":[{"name":"f","description":"d","parametersJsonSchema":{"type":"object","x":9007199254740993}},{"name":"g"}]}]"#,
            ),
        ),
        (
            r#""tools":[{"type":"function","function":{"name":"f","strict":true}}]"#,
            Dropped(r#"[{"name":"f"}]"#, "tools[0].function.strict"),
        ),
        (r#""tools":[{"type":"custom","custom":{"name":"f"}}]"#, Refused("tools[0]")),
        (r#""tools":[{"type":"web_search"}]"#, Refused("tools[0]")),
        (r#""tool_choice":{"type":"custom","custom":{"name":"f"}}"#, Refused("tool_choice")),
    ]);
}

#[test]
fn effort_becomes_a_level_or_a_budget() {
    to_gemini(&[
        (r#""reasoning_effort":"none""#, Sent(r#""thinkingConfig":{"thinkingBudget":0}"#)),
        (r#""reasoning_effort":"minimal""#, Sent(r#""thinkingConfig":{"thinkingLevel":"MINIMAL"}"#)),
        (r#""reasoning_effort":"low""#, Sent(r#"{"thinkingLevel":"LOW"}"#)),
        (r#""reasoning_effort":"medium""#, Sent(r#"{"thinkingLevel":"MEDIUM"}"#)),
        (r#""reasoning_effort":"high""#, Sent(r#"{"thinkingLevel":"HIGH"}"#)),
        (r#""reasoning_effort":"xhigh""#, Sent(r#"{"thinkingLevel":"XHIGH"}"#)),
        (r#""reasoning_effort":"max""#, Sent(r#"{"thinkingLevel":"XHIGH"}"#)),
        (r#""reasoning_effort":"much""#, Rejected("reasoning_effort")),
    ]);
    let always = Capabilities { thinking_off: false, xhigh: false, ..Capabilities::default() };
    let table = [
        (r#""reasoning_effort":"none""#, Rejected("reasoning_effort")),
        (r#""reasoning_effort":"xhigh""#, Dropped(r#"{"thinkingLevel":"HIGH"}"#, "reasoning_effort")),
        (r#""reasoning_effort":"max""#, Dropped(r#"{"thinkingLevel":"HIGH"}"#, "reasoning_effort")),
    ];
    check((chat(), gemini()), &always, CHAT, &table);
    let budgets = Capabilities { thinking: ThinkingStyle::Budget, ..Capabilities::default() };
    let table = [
        (r#""reasoning_effort":"none""#, Sent(r#"{"thinkingBudget":0}"#)),
        (r#""reasoning_effort":"minimal""#, Sent(r#"{"thinkingBudget":1024}"#)),
        (r#""reasoning_effort":"low""#, Sent(r#"{"thinkingBudget":1024}"#)),
        (r#""reasoning_effort":"medium""#, Sent(r#"{"thinkingBudget":8192}"#)),
        (r#""reasoning_effort":"high""#, Sent(r#"{"thinkingBudget":24576}"#)),
        (r#""reasoning_effort":"xhigh""#, Sent(r#"{"thinkingBudget":24576}"#)),
        (r#""reasoning_effort":"max""#, Sent(r#"{"thinkingBudget":24576}"#)),
    ];
    check((chat(), gemini()), &budgets, CHAT, &table);
    let pro = Capabilities { thinking_off: false, ..budgets };
    check((chat(), gemini()), &pro, CHAT, &[(r#""reasoning_effort":"none""#, Rejected("reasoning_effort"))]);
    let none = Capabilities { thinking: ThinkingStyle::None, ..Capabilities::default() };
    let table =
        [(r#""reasoning_effort":"none""#, Sent("")), (r#""reasoning_effort":"low""#, Rejected("reasoning_effort"))];
    check((chat(), gemini()), &none, CHAT, &table);
}

#[test]
fn each_parameter_of_gemini_becomes_what_the_table_says() {
    let table = [
        (r#""generationConfig":{"maxOutputTokens":"7"}"#, Sent(r#""max_completion_tokens":7"#)),
        (r#""generation_config":{"temperature":1,"top_p":0.5}"#, Sent(r#""temperature":1.0,"top_p":0.5"#)),
        (r#""generationConfig":{"topK":40}"#, Rejected("generationConfig.topK")),
        (r#""generationConfig":{"stopSequences":["a"]}"#, Sent(r#""stop":["a"]"#)),
        (r#""generationConfig":{"stopSequences":["1","2","3","4","5"]}"#, Rejected("generationConfig.stopSequences")),
        (r#""generationConfig":{"candidateCount":2,"seed":7}"#, Sent(r#""n":2,"seed":7"#)),
        (r#""generationConfig":{"responseLogprobs":true,"logprobs":3}"#, Sent(r#""logprobs":true,"top_logprobs":3"#)),
        (r#""generationConfig":{"responseMimeType":"application/json"}"#, Sent(r#"{"type":"json_object"}"#)),
        (
            r#""generationConfig":{"responseMimeType":"application/json","responseSchema":{"type":"STRING","nullable":true}}"#,
            Sent(r#""json_schema":{"name":"response","schema":{"type":["string","null"]},"strict":true}"#),
        ),
        (
            r#""generationConfig":{"responseMimeType":"application/json","responseJsonSchema":{"x":1.0}}"#,
            Sent(r#""schema":{"x":1.0}"#),
        ),
        (r#""generationConfig":{"responseMimeType":"text/x.enum"}"#, Refused("generationConfig.responseMimeType")),
        (r#""generationConfig":{"responseModalities":["TEXT"]}"#, Sent("")),
        (
            r#""generationConfig":{"responseModalities":["TEXT","IMAGE"]}"#,
            Refused("generationConfig.responseModalities"),
        ),
        (r#""generationConfig":{"thinkingConfig":{"thinkingLevel":"LOW"}}"#, Sent(r#""reasoning_effort":"low""#)),
        (r#""generationConfig":{"thinking_config":{"thinking_budget":0}}"#, Sent(r#""reasoning_effort":"none""#)),
        (r#""generationConfig":{"thinkingConfig":{"thinkingBudget":-1}}"#, Sent("")),
        (r#""generationConfig":{"thinkingConfig":{"thinkingBudget":8192}}"#, Sent(r#""reasoning_effort":"medium""#)),
        (
            r#""generationConfig":{"thinkingConfig":{"thinkingBudget":8192,"thinkingLevel":"LOW"}}"#,
            Refused("generationConfig.thinkingConfig"),
        ),
        (
            r#""generationConfig":{"thinkingConfig":{"includeThoughts":true}}"#,
            Dropped("", "generationConfig.thinkingConfig.includeThoughts"),
        ),
        (r#""safetySettings":[{"category":"c","threshold":"OFF"}]"#, Dropped("", "safetySettings")),
        (r#""cachedContent":"cachedContents/1""#, Refused("cachedContent")),
        (r#""labels":{"a":"b"}"#, Dropped("", "labels")),
        (r#""store":false"#, Dropped("", "store")),
        (r#""serviceTier":"standard""#, Sent(r#""service_tier":"default""#)),
        (r#""serviceTier":"flex""#, Sent(r#""service_tier":"flex""#)),
        (r#""tools":[{"googleSearch":{}}]"#, Refused("tools.functionDeclarations[0]")),
        (
            r#""tools":[{"functionDeclarations":[{"name":"f","description":"d","parameters":{"type":"OBJECT","properties":{"a":{"type":"INTEGER"}}}}]}],"toolConfig":{"functionCallingConfig":{"mode":"ANY"}}"#,
            Sent(
                r#""tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object","properties":{"a":{"type":"integer"}}}}}],"tool_choice":"required""#,
            ),
        ),
        (
            r#""tools":[{"functionDeclarations":[{"name":"f"}]}],"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["f"]}}"#,
            Sent(r#""tool_choice":{"type":"function","function":{"name":"f"}}"#),
        ),
        (
            r#""tools":[{"functionDeclarations":[{"name":"f"}]}],"toolConfig":{"functionCallingConfig":{"mode":"VALIDATED"}}"#,
            Sent(r#""tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto""#),
        ),
        (r#""unheardOf":1"#, Refused("unheardOf")),
        (r#""system_instruction":{"role":"user","parts":[{"text":"s"}]}"#, Sent(r#"{"role":"system","content":"s"}"#)),
    ];
    check((gemini(), chat()), &Capabilities::default(), GEMINI, &table);
}

/// The contents (or messages) that are sent for these, and what is left out.
fn turns(pair: Pair<'_>, messages: &str) -> Result<(String, Vec<String>), Error> {
    let key = if pair.0.dialect() == Dialect::Gemini { "contents" } else { "messages" };
    let body = format!(r#"{{"model":"x","{key}":[{messages}]}}"#);
    let sent = translate(pair, &body, &Capabilities::default(), Strictness::Strict)?;
    Ok((text(&sent.body).to_owned(), sent.dropped))
}

fn contents(messages: &str) -> String {
    let (sent, dropped) = turns((chat(), gemini()), messages).unwrap();
    assert!(dropped.is_empty(), "{dropped:?}");
    sent
}

fn fault(pair: Pair<'_>, messages: &str) -> String {
    turns(pair, messages).unwrap_err().param().unwrap().to_owned()
}

const USER: &str = r#"{"role":"user","content":"u"}"#;
const CALLS: &str = r#"{"role":"assistant","content":"A","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{\"a\": 9007199254740993, \"b\":1.0}"}},{"id":"2","type":"function","function":{"name":"g","arguments":" "}}]}"#;

#[test]
fn messages_become_contents() {
    for (messages, expected) in [
        // Instructions.
        (
            r#"{"role":"system","content":"a"},{"role":"developer","content":[{"type":"text","text":"b"},{"type":"text","text":"c"}]},{"role":"user","content":"u"}"#,
            r#"{"systemInstruction":{"parts":[{"text":"a"},{"text":"b"},{"text":"c"}]},"contents":[{"role":"user","parts":[{"text":"u"}]}]}"#,
        ),
        // Neighbours are merged, empty texts left out.
        (
            r#"{"role":"user","content":[{"type":"text","text":""},{"type":"text","text":"a"}]},{"role":"user","content":"b"},{"role":"assistant","content":"c"},{"role":"user","content":"d"}"#,
            r#"{"contents":[{"role":"user","parts":[{"text":"a"},{"text":"b"}]},{"role":"model","parts":[{"text":"c"}]},{"role":"user","parts":[{"text":"d"}]}]}"#,
        ),
        // Calls and results, in the order of the calls, alone.
        (
            &format!(
                r#"{USER},{CALLS},{{"role":"tool","tool_call_id":"2","content":"two"}},{{"role":"tool","tool_call_id":"1","content":"{{\"x\": 1}}"}},{USER}"#
            ),
            r#"{"contents":[{"role":"user","parts":[{"text":"u"}]},{"role":"model","parts":[{"text":"A"},{"functionCall":{"id":"1","name":"f","args":{"a": 9007199254740993, "b":1.0}},"thoughtSignature":"skip_thought_signature_validator"},{"functionCall":{"id":"2","name":"g","args":{}}}]},{"role":"user","parts":[{"functionResponse":{"id":"1","name":"f","response":{"x": 1}}},{"functionResponse":{"id":"2","name":"g","response":{"result":"two"}}}]},{"role":"user","parts":[{"text":"u"}]}]}"#,
        ),
    ] {
        assert_eq!(contents(messages), expected);
    }
}

#[test]
fn seals_come_back_unchanged_and_take_the_place_of_the_placeholder() {
    let sealed = CALLS.replace(
        r#""id":"1","type""#,
        r#""id":"1","extra_content":{"google":{"thought_signature":"c2VhbA=="}},"type""#,
    );
    let results =
        r#"{"role":"tool","tool_call_id":"1","content":"x"},{"role":"tool","tool_call_id":"2","content":"y"}"#;
    let sent = contents(&format!("{USER},{sealed},{results}"));
    assert_eq!(sent.matches("thoughtSignature").count(), 1);
    assert!(sent.contains(r#""b":1.0}},"thoughtSignature":"c2VhbA=="}"#), "{sent}");
    // Models before the third have no use for one.
    let budgets = Capabilities { thinking: ThinkingStyle::Budget, ..Capabilities::default() };
    let body = format!(r#"{{"model":"x","messages":[{USER},{CALLS},{results}]}}"#);
    let sent = translate((chat(), gemini()), &body, &budgets, Strictness::Strict).unwrap();
    assert!(!text(&sent.body).contains("thoughtSignature"));
}

#[test]
fn what_cannot_be_said_of_messages_is_refused_or_listed() {
    let pair = (chat(), gemini());
    for (messages, dropped) in [
        (r#"{"role":"user","name":"ann","content":"a"}"#, "messages[0].name"),
        (r#"{"role":"user","content":"a"},{"role":"system","content":"late"}"#, "messages[1].role"),
        (
            r#"{"role":"user","content":"a"},{"role":"assistant","content":"b","reasoning_content":"r"}"#,
            "messages[1].reasoning_content",
        ),
        (
            r#"{"role":"user","content":[{"type":"text","text":"a","prompt_cache_breakpoint":{"mode":"explicit"}}]}"#,
            "messages[0].content[0].prompt_cache_breakpoint",
        ),
    ] {
        assert_eq!(turns(pair, messages).unwrap().1, [dropped], "{messages}");
    }
    let call = |arguments: &str| CALLS.replace(r#"" ""#, arguments);
    let one = r#"{"role":"tool","tool_call_id":"1","content":"x"}"#;
    for (messages, param) in [
        (r#"{"role":"system","content":"alone"}"#.to_owned(), "messages"),
        (format!(r#"{{"role":"assistant","content":"a"}},{USER}"#), "messages[0].role"),
        (r#"{"role":"user","content":""}"#.to_owned(), "messages[0].content"),
        (format!("{USER},{}", call(r#""[]""#)), "messages[1]"),
        (format!("{USER},{CALLS},{one}"), "messages[1]"),
        (format!("{USER},{one}"), "messages[1]"),
    ] {
        assert_eq!(fault(pair, &messages), param, "{messages}");
    }
    let both = format!(r#"{one},{{"role":"tool","tool_call_id":"2","content":"y"}}"#);
    for bad in [r#""[]""#, r#""7""#, r#""null""#, r#""{""#, r#""\"s\"""#] {
        let messages = format!("{USER},{},{both}", call(bad));
        assert_eq!(fault(pair, &messages), "messages[1].tool_calls[1].function.arguments", "{bad}");
    }
}

#[test]
fn pictures_sounds_and_documents_become_inline_data() {
    let part = |part: &str| turns((chat(), gemini()), &format!(r#"{{"role":"user","content":[{part}]}}"#));
    for (given, expected) in [
        (
            r#"{"type":"image_url","image_url":{"url":"DATA:image/jpg;charset=x;BASE64,QUJD"}}"#,
            r#"{"inlineData":{"mimeType":"image/jpeg","data":"QUJD"}}"#,
        ),
        (
            r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,QUJD","detail":"low"}}"#,
            r#"{"inlineData":{"mimeType":"image/png","data":"QUJD"},"mediaResolution":{"level":"MEDIA_RESOLUTION_LOW"}}"#,
        ),
        (
            r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,QUJD","detail":"auto"}}"#,
            r#"{"inlineData":{"mimeType":"image/png","data":"QUJD"}}"#,
        ),
        (
            r#"{"type":"input_audio","input_audio":{"data":"UklG","format":"wav"}}"#,
            r#"{"inlineData":{"mimeType":"audio/wav","data":"UklG"}}"#,
        ),
        (
            r#"{"type":"input_audio","input_audio":{"data":"UklG","format":"mp3"}}"#,
            r#"{"inlineData":{"mimeType":"audio/mpeg","data":"UklG"}}"#,
        ),
        (
            r#"{"type":"file","file":{"file_data":"data:application/pdf;base64,JVBE"}}"#,
            r#"{"inlineData":{"mimeType":"application/pdf","data":"JVBE"}}"#,
        ),
        (
            r#"{"type":"file","file":{"file_data":"data:text/csv;base64,YSxi"}}"#,
            r#"{"inlineData":{"mimeType":"text/csv","data":"YSxi"}}"#,
        ),
    ] {
        let (sent, dropped) = part(given).unwrap();
        assert_eq!(sent, format!(r#"{{"contents":[{{"role":"user","parts":[{expected}]}}]}}"#));
        assert!(dropped.is_empty(), "{given}");
    }
    let original = r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,QUJD","detail":"original"}}"#;
    assert_eq!(part(original).unwrap().1, ["messages[0].content[0].image_url.detail"]);
    let named = r#"{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,JVBE"}}"#;
    assert_eq!(part(named).unwrap().1, ["messages[0].content[0].file.filename"]);
    for refused in [
        r#"{"type":"image_url","image_url":{"url":"https://a/b.png"}}"#,
        r#"{"type":"image_url","image_url":{"url":"http://a/b.png"}}"#,
        r#"{"type":"image_url","image_url":{"url":"file:///b.png"}}"#,
        r#"{"type":"image_url","image_url":{"url":"data:image/png,QUJD"}}"#,
        r#"{"type":"image_url","image_url":{"url":"data:;base64,QUJD"}}"#,
        r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,Q\"D"}}"#,
        r#"{"type":"file","file":{"file_id":"file-1"}}"#,
        r#"{"type":"video","video":{}}"#,
    ] {
        assert_eq!(part(refused).unwrap_err().param(), Some("messages[0].content[0]"), "{refused}");
    }
}

#[test]
fn contents_become_messages() {
    let pair = (gemini(), chat());
    let sent = |contents: &str| turns(pair, contents).unwrap();
    let (body, dropped) = sent(
        r#"{"parts":[{"text":"a"},{"inline_data":{"mime_type":"image/png","data":"QUJD"}},{"inlineData":{"mimeType":"audio/mpeg","data":"UklG"}}]},
           {"role":"model","parts":[{"text":"A"},{"functionCall":{"name":"f","args":{"n": 9007199254740993}},"thoughtSignature":"s"},{"functionCall":{"name":"f"}}]},
           {"role":"user","parts":[{"functionResponse":{"name":"f","response":{"result":"one"}}},{"functionResponse":{"name":"f","response":{"x": [1, 2], "y": "a \" b"}}}]},
           {"role":"model","parts":[{"text":"B"}]},{"parts":[{"text":"c"}]}"#,
    );
    assert_eq!(dropped, ["contents[1].parts[1].signature"]);
    assert_eq!(
        body,
        r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"data:image/png;base64,QUJD"}},{"type":"input_audio","input_audio":{"data":"UklG","format":"mp3"}}]},"#
            .to_owned()
            + r#"{"role":"assistant","content":"A","tool_calls":[{"id":"call_0","type":"function","function":{"name":"f","arguments":"{\"n\": 9007199254740993}"}},{"id":"call_1","type":"function","function":{"name":"f","arguments":"{}"}}]},"#
            + r#"{"role":"tool","tool_call_id":"call_0","content":"one"},{"role":"tool","tool_call_id":"call_1","content":"{\"x\":[1,2],\"y\":\"a \\\" b\"}"},"#
            + r#"{"role":"assistant","content":"B"},{"role":"user","content":"c"}]}"#
    );
    for (contents, param) in [
        (
            r#"{"parts":[{"fileData":{"mimeType":"image/png","fileUri":"https://generativelanguage.googleapis.com/v1beta/files/1"}}]}"#,
            "contents[0].parts[0]",
        ),
        (r#"{"parts":[{"fileData":{"mimeType":"application/pdf","fileUri":"gs://b/o"}}]}"#, "contents[0].parts[0]"),
        (
            r#"{"parts":[{"text":"a"}]},{"role":"model","parts":[{"executableCode":{"code":"1"}}]}"#,
            "contents[1].parts[0]",
        ),
        (r#"{"parts":[{"text":"a","videoMetadata":{"fps":1}}]}"#, "contents[0].parts[0].videoMetadata"),
        (r#"{"role":"assistant","parts":[{"text":"a"}]}"#, "contents[0].role"),
        (r#"{"role":"user","parts":[{"functionCall":{"name":"f"}}]}"#, "contents[0].parts[0]"),
        (r#"{"parts":[{"text":7}]}"#, "contents[0].parts[0].text"),
        (r#"{"parts":[{"text":"\ud83d"}]}"#, "contents[0].parts[0].text"),
        (r#"{"parts":7}"#, "contents[0].parts"),
        ("", "contents"),
    ] {
        assert_eq!(fault(pair, contents), param, "{contents}");
    }
    let (body, _) = sent(r#"{"parts":[{"fileData":{"mimeType":"image/png","fileUri":"https://a.example/b.png"}}]}"#);
    assert!(body.contains(r#"{"url":"https://a.example/b.png"}"#), "{body}");
}

#[test]
fn an_answer_of_tools_that_is_an_error_or_a_picture_is_told() {
    let call = r#"{"parts":[{"text":"a"}]},{"role":"model","parts":[{"functionCall":{"name":"f"}}]}"#;
    let (body, dropped) = turns(
        (gemini(), chat()),
        &format!(r#"{call},{{"parts":[{{"functionResponse":{{"name":"f","response":{{"error":"no"}},"parts":[{{"inlineData":{{"mimeType":"image/png","data":"QUJD"}}}}]}}}}]}}"#),
    )
    .unwrap();
    assert_eq!(dropped, ["contents[2].parts[0].is_error"]);
    assert!(
        body.contains(
            r#"{"role":"tool","tool_call_id":"call_0","content":"no"},{"role":"user","content":[{"type":"image_url""#
        ),
        "{body}"
    );

    let anthropic = codec(Dialect::Anthropic).unwrap();
    let body = r#"{"model":"x","max_tokens":9,"messages":[{"role":"user","content":"u"},{"role":"assistant","content":[{"type":"tool_use","id":"1","name":"f","input":{}}]},
        {"role":"user","content":[{"type":"tool_result","tool_use_id":"1","is_error":true,"content":[{"type":"text","text":"no"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"QUJD"}}]},{"type":"text","text":"so?"}]}]}"#;
    let sent = translate((anthropic, gemini()), body, &Capabilities::default(), Strictness::Strict).unwrap();
    let expected = r#"{"role":"user","parts":[{"functionResponse":{"id":"1","name":"f","response":{"error":"no"}}}]},{"role":"user","parts":[{"inlineData":{"mimeType":"image/png","data":"QUJD"}},{"text":"so?"}]}"#;
    assert!(text(&sent.body).contains(expected), "{}", text(&sent.body));
}

#[test]
fn a_request_that_stays_in_its_dialect_says_the_same() {
    let body = r#"{"systemInstruction":{"parts":[{"text":"s"}]},"contents":[{"role":"user","parts":[{"text":"a"},{"fileData":{"mimeType":"image/png","fileUri":"https://a.example/b.png"}},{"executableCode":{"code":"1"}}]},{"role":"model","parts":[{"functionCall":{"name":"f","args":{}},"thoughtSignature":"s"},{"text":"","thoughtSignature":"t"}]},{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"result":"x"}}}]}],"tools":[{"functionDeclarations":[{"name":"f","parametersJsonSchema":{"a":1.0},"behavior":"BLOCKING"}]},{"googleSearch":{}}],"toolConfig":{"functionCallingConfig":{"mode":"VALIDATED","allowedFunctionNames":["f"]},"retrievalConfig":{}},"generationConfig":{"topK":3,"thinkingConfig":{"includeThoughts":true,"thinkingBudget":-1},"mediaResolution":"LOW"},"serviceTier":"flex","safetySettings":[],"cachedContent":"c"}"#;
    let sent = translate((gemini(), gemini()), body, &Capabilities::default(), Strictness::Strict).unwrap();
    assert_eq!(text(&sent.body), body);
    assert!(sent.dropped.is_empty());
}

#[test]
fn keys_that_count_must_not_come_twice() {
    for (body, param) in [
        (format!("{{{GEMINI},{GEMINI}}}"), "contents"),
        (format!(r#"{{{GEMINI},"tools":[],"tools":[]}}"#), "tools"),
        (
            format!(r#"{{{GEMINI},"generationConfig":{{"maxOutputTokens":1,"max_output_tokens":2}}}}"#),
            "generationConfig.maxOutputTokens",
        ),
        (format!(r#"{{{GEMINI},"generationConfig":{{"temperature":"1"}}}}"#), "generationConfig.temperature"),
    ] {
        assert_eq!(gemini().decode_request(body.as_bytes()).unwrap_err().param(), Some(param), "{body}");
    }
}

#[test]
fn tokens_are_counted_by_a_question_of_their_own() {
    let asked = gemini().decode_count_request(format!("{{{GEMINI}}}").as_bytes()).unwrap();
    let capabilities = Capabilities::default();
    let target = Target { model: "g", capabilities: &capabilities, max_output: None, stream: false };
    let sent = gemini().encode_count_request(&asked, &target, Strictness::Strict).unwrap();
    let expected =
        r#"{"generateContentRequest":{"model":"models/g","contents":[{"role":"user","parts":[{"text":"hi"}]}]}}"#;
    assert_eq!(text(&sent.body), expected);
    let again = gemini().decode_count_request(&sent.body).unwrap();
    assert_eq!((again.model.as_str(), &again.messages), ("g", &asked.messages));
    assert_eq!(gemini().decode_count(br#"{"totalTokens":31,"x":1}"#).unwrap(), 31);
    assert_eq!(gemini().encode_count(31).unwrap(), r#"{"totalTokens":31}"#);
    assert_eq!(gemini().decode_count(b"{}").unwrap_err().kind(), ErrorKind::BadAnswer);
}

fn answer((from, to): Pair<'_>, body: &str, thoughts: bool) -> Result<String, Error> {
    let options =
        AnswerOptions { from: Some(from.dialect()), id: "own", created: 7, thoughts, ..AnswerOptions::default() };
    let written = to.encode_response(&from.decode_response(body.as_bytes())?, &options);
    Ok(text(&written).to_owned())
}

#[test]
fn an_answer_of_gemini_becomes_one_of_chat() {
    let body = r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"thought","thought":true},{"text":"a"},{"text":"b"},
        {"functionCall":{"name":"f","args":{"x": 1.0}},"thoughtSignature":"s"},{"functionCall":{"id":"i","name":"g"}}]},"finishReason":"STOP","safetyRatings":[]}],
        "usageMetadata":{"promptTokenCount":5,"cachedContentTokenCount":2,"candidatesTokenCount":3,"thoughtsTokenCount":4,"toolUsePromptTokenCount":1,"totalTokenCount":13},
        "modelVersion":"g-3","responseId":"r"}"#;
    let calls = r#""tool_calls":[{"id":"call_r_0","type":"function","function":{"name":"f","arguments":"{\"x\": 1.0}"},"extra_content":{"google":{"thought_signature":"s"}}},{"id":"i","type":"function","function":{"name":"g","arguments":"{}"}}]"#;
    let usage = r#""usage":{"prompt_tokens":6,"completion_tokens":7,"total_tokens":13,"prompt_tokens_details":{"cached_tokens":2},"completion_tokens_details":{"reasoning_tokens":4}}"#;
    let expected = |thoughts: &str| {
        format!(
            r#"{{"id":"r","object":"chat.completion","created":7,"model":"g-3","choices":[{{"index":0,"message":{{"role":"assistant","content":"ab","refusal":null,{thoughts}{calls}}},"logprobs":null,"finish_reason":"tool_calls"}}],{usage}}}"#
        )
    };
    assert_eq!(answer((gemini(), chat()), body, false).unwrap(), expected(""));
    assert_eq!(answer((gemini(), chat()), body, true).unwrap(), expected(r#""reasoning_content":"thought","#));
}

#[test]
fn an_answer_of_chat_becomes_one_of_gemini() {
    let body = r#"{"id":"c","model":"gpt","choices":[{"index":0,"message":{"role":"assistant","content":"a","reasoning_content":"t","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{\"x\": 1.0}"}},{"id":"2","type":"function","function":{"name":"g","arguments":""}}]},"finish_reason":"tool_calls"},
        {"index":1,"message":{"role":"assistant","content":null,"refusal":"no"},"finish_reason":"content_filter"}],
        "usage":{"prompt_tokens":9,"completion_tokens":8,"total_tokens":17,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":3}}}"#;
    let expected = |thought: &str| {
        format!(
            r#"{{"candidates":[{{"index":0,"content":{{"role":"model","parts":[{thought}{{"text":"a"}},{{"functionCall":{{"id":"1","name":"f","args":{{"x": 1.0}}}}}},{{"functionCall":{{"id":"2","name":"g","args":{{}}}}}}]}},"finishReason":"STOP"}},{{"index":1,"content":{{"role":"model","parts":[{{"text":"no"}}]}},"finishReason":"SAFETY"}}],"usageMetadata":{{"promptTokenCount":9,"cachedContentTokenCount":4,"candidatesTokenCount":5,"thoughtsTokenCount":3,"totalTokenCount":17}},"modelVersion":"gpt","responseId":"c"}}"#
        )
    };
    assert_eq!(answer((chat(), gemini()), body, false).unwrap(), expected(""));
    assert_eq!(answer((chat(), gemini()), body, true).unwrap(), expected(r#"{"text":"t","thought":true},"#));
    // What the model wrote for arguments may be no object.
    let broken = body.replace(r#""{\"x\": 1.0}""#, r#""{\"x""#);
    let written = answer((chat(), gemini()), &broken, false).unwrap();
    assert!(written.contains(r#""finishReason":"MALFORMED_FUNCTION_CALL","finishMessage":"#), "{written}");
    assert!(!written.contains(r#""name":"f""#));
}

#[test]
fn reasons_to_stop_become_each_other() {
    let of_gemini = |reason: &str, parts: &str| {
        let body = format!(r#"{{"candidates":[{{"content":{{"parts":[{parts}]}},"finishReason":"{reason}"}}]}}"#);
        answer((gemini(), chat()), &body, false)
    };
    const TEXT: &str = r#"{"text":"a"}"#;
    const CALL: &str = r#"{"functionCall":{"name":"f"}}"#;
    for (reason, parts, expected) in [
        ("STOP", TEXT, "stop"),
        ("STOP", CALL, "tool_calls"),
        ("OTHER", TEXT, "stop"),
        ("NEVER_HEARD_OF", TEXT, "stop"),
        ("MAX_TOKENS", "", "length"),
        ("SAFETY", "", "content_filter"),
        ("RECITATION", TEXT, "content_filter"),
        ("BLOCKLIST", TEXT, "content_filter"),
        ("PROHIBITED_CONTENT", TEXT, "content_filter"),
        ("SPII", TEXT, "content_filter"),
        ("LANGUAGE", TEXT, "content_filter"),
        ("MODEL_ARMOR", TEXT, "content_filter"),
        ("IMAGE_SAFETY", TEXT, "content_filter"),
        ("IMAGE_RECITATION", TEXT, "content_filter"),
    ] {
        let written = of_gemini(reason, parts).unwrap();
        assert!(written.contains(&format!(r#""finish_reason":"{expected}""#)), "{reason}: {written}");
    }
    for reason in [
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "MALFORMED_RESPONSE",
        "MISSING_THOUGHT_SIGNATURE",
        "TOO_MANY_TOOL_CALLS",
    ] {
        let error = of_gemini(reason, TEXT).unwrap_err();
        assert_eq!(chat().encode_error(&error, None).0, 502, "{reason}");
    }
    for (reason, expected) in [
        ("stop", "STOP"),
        ("length", "MAX_TOKENS"),
        ("tool_calls", "STOP"),
        ("function_call", "STOP"),
        ("content_filter", "SAFETY"),
        ("odd", "STOP"),
    ] {
        let body =
            format!(r#"{{"id":"c","choices":[{{"index":0,"message":{{"content":"a"}},"finish_reason":"{reason}"}}]}}"#);
        let written = answer((chat(), gemini()), &body, false).unwrap();
        assert!(written.contains(&format!(r#""finishReason":"{expected}""#)), "{reason}: {written}");
    }
}

#[test]
fn a_blocked_prompt_is_a_refusal_and_rubbish_is_an_error() {
    let written = answer((gemini(), chat()), r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#, false).unwrap();
    assert!(written.contains(r#""content":null,"refusal":"the prompt was blocked: SAFETY""#), "{written}");
    assert!(written.contains(r#""finish_reason":"content_filter""#));
    for rubbish in ["", "<html>", "{}", "7", "[]", r#"{"candidates":[]}"#, r#"{"usageMetadata":{}}"#] {
        assert_eq!(gemini().decode_response(rubbish.as_bytes()).unwrap_err().kind(), ErrorKind::BadAnswer, "{rubbish}");
    }
    let error =
        gemini().decode_response(br#"[{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}]"#).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Overloaded, "m"));
}

#[test]
fn citations_probabilities_and_unknown_usage_are_told() {
    let body = r#"{"candidates":[{"content":{"parts":[{"text":"é one"},{"text":" two"}]},"finishReason":"STOP",
        "groundingMetadata":{"groundingChunks":[{"web":{"uri":"https://a","title":"A"}},{"web":{"uri":"https://b","title":"B"}}],
          "groundingSupports":[{"segment":{"startIndex":3,"endIndex":6,"text":"one"},"groundingChunkIndices":[0]},{"segment":{"partIndex":1,"startIndex":1,"endIndex":4},"groundingChunkIndices":[1]}]},
        "logprobsResult":{"chosenCandidates":[{"token":"a","logProbability":-0.5}],"topCandidates":[{"candidates":[{"token":"a","logProbability":-0.5},{"token":"b","logProbability":-1.25}]}]}}]}"#;
    let written = answer((gemini(), chat()), body, false).unwrap();
    assert!(
        written.contains(r#""url_citation":{"start_index":2,"end_index":5,"title":"A","url":"https://a"}"#),
        "{written}"
    );
    assert!(
        written.contains(r#""url_citation":{"start_index":6,"end_index":9,"title":"B","url":"https://b"}"#),
        "{written}"
    );
    assert!(written.contains(r#""logprobs":{"content":[{"token":"a","logprob":-0.5,"bytes":null,"top_logprobs":[{"token":"a","logprob":-0.5,"bytes":null},{"token":"b","logprob":-1.25,"bytes":null}]}]}"#), "{written}");
    assert!(!written.contains("usage"));
    let back = answer((chat(), gemini()), &written, false).unwrap();
    assert!(back.contains(r#"{"startIndex":3,"endIndex":6,"uri":"https://a","title":"A"}"#), "{back}");
    assert!(back.contains(r#""chosenCandidates":[{"token":"a","logProbability":-0.5}]"#), "{back}");
}

/// The frames of a stream that comes in `pieces`, and the error that ended it.
fn stream_of(
    pair: Pair<'_>,
    pieces: &[&[u8]],
    options: AnswerOptions<'_>,
) -> (String, Option<ErrorKind>, Option<Usage>) {
    let options = AnswerOptions { from: Some(pair.0.dialect()), include_usage: true, id: "own", ..options };
    let mut translator = Translator::new(pair.0.stream_decoder(), pair.1.stream_encoder(&options), DEFAULT_LIMIT);
    let (mut out, mut failed) = (Vec::new(), None);
    let mut take = |translator: &mut Translator| {
        while let Some(frame) = translator.next_frame() {
            match frame {
                Ok(frame) => out.extend_from_slice(&frame.bytes),
                Err(error) => {
                    out.extend_from_slice(&translator.fail(&error));
                    failed = Some(error.kind());
                }
            }
        }
    };
    for piece in pieces {
        translator.push(Bytes::copy_from_slice(piece));
        take(&mut translator);
    }
    translator.end();
    take(&mut translator);
    (String::from_utf8(out).unwrap(), failed, translator.usage())
}

fn stream(pair: Pair<'_>, upstream: &str) -> (String, Option<ErrorKind>) {
    let (out, failed, _) =
        stream_of(pair, &[upstream.as_bytes()], AnswerOptions { thoughts: true, ..AnswerOptions::default() });
    (out, failed)
}

const STREAM: &str = concat!(
    "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"hm\",\"thought\":true}],\"role\":\"model\"}}],\"usageMetadata\":{\"promptTokenCount\":5},\"modelVersion\":\"g\",\"responseId\":\"r\"}\r\n\r\n",
    "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\\u00e9\\n\"}]}}],\"responseId\":\"r\"}\r\n\r\n",
    "data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"name\":\"f\",\"args\":{\"x\": 1.0}},\"thoughtSignature\":\"s\"},{\"functionCall\":{\"id\":\"i\",\"name\":\"g\"}}]}}]}\r\n\r\n",
    "data: {\"candidates\":[{\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":5,\"candidatesTokenCount\":3,\"thoughtsTokenCount\":4}}\r\n\r\n",
);

const CHAT_STREAM: &str = concat!(
    "data: {\"id\":\"c\",\"model\":\"gpt\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n",
    "data: {\"id\":\"c\",\"model\":\"gpt\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\\u00e9\"},\"finish_reason\":null}]}\n\n",
    "data: {\"id\":\"c\",\"model\":\"gpt\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"1\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]},\"finish_reason\":null}]}\n\n",
    "data: {\"id\":\"c\",\"model\":\"gpt\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":1,\"id\":\"2\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]},\"finish_reason\":null}]}\n\n",
    "data: {\"id\":\"c\",\"model\":\"gpt\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"x\\\":\\n1.0}\"}}]},\"finish_reason\":null}]}\n\n",
    "data: {\"id\":\"c\",\"model\":\"gpt\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n",
    "data: {\"id\":\"c\",\"model\":\"gpt\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":5}}\n\n",
    "data: [DONE]\n\n",
);

#[test]
fn a_stream_of_gemini_becomes_one_of_chat() {
    let (out, failed) = stream((gemini(), chat()), STREAM);
    assert_eq!(failed, None);
    for part in [
        r#""delta":{"role":"assistant","content":"""#,
        r#""delta":{"reasoning_content":"hm"}"#,
        r#""delta":{"content":"a\u00e9\n"}"#,
        r#"{"index":0,"id":"call_r_0","type":"function","function":{"name":"f","arguments":""}}"#,
        r#"{"index":0,"extra_content":{"google":{"thought_signature":"s"}}}"#,
        r#"{"index":0,"function":{"arguments":"{\"x\": 1.0}"}}"#,
        r#"{"index":1,"id":"i","type":"function","function":{"name":"g","arguments":""}}"#,
        r#"{"index":1,"function":{"arguments":"{}"}}"#,
        r#""finish_reason":"tool_calls""#,
        r#""usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12,"completion_tokens_details":{"reasoning_tokens":4}}"#,
    ] {
        assert_eq!(out.matches(part).count(), 1, "{part} in {out}");
    }
    assert!(out.ends_with("data: [DONE]\n\n"));
}

#[test]
fn a_stream_of_chat_becomes_one_of_gemini() {
    let (out, failed) = stream((chat(), gemini()), CHAT_STREAM);
    assert_eq!(failed, None);
    let tail = r#","modelVersion":"gpt","responseId":"c"}"#;
    let part = |part: &str| {
        format!(
            "data: {{\"candidates\":[{{\"index\":0,\"content\":{{\"role\":\"model\",\"parts\":[{part}]}}}}]{tail}\r\n\r\n"
        )
    };
    let expected = part(r#"{"text":"a\u00e9"}"#)
        + &part(r#"{"functionCall":{"id":"1","name":"f","args":{"x": 1.0}}}"#)
        + &part(r#"{"functionCall":{"id":"2","name":"g","args":{}}}"#)
        + r#"data: {"candidates":[{"index":0,"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":5,"totalTokenCount":8}"#
        + tail
        + "\r\n\r\n";
    assert_eq!(out, expected);
    // An upstream that gives no reason has come to its end all the same.
    let silent = CHAT_STREAM.replace("\"finish_reason\":\"tool_calls\"", "\"finish_reason\":null");
    assert_eq!(stream((chat(), gemini()), &silent), (expected.clone(), None));
    let array = AnswerOptions { array: true, ..AnswerOptions::default() };
    let (array, failed, _) = stream_of((chat(), gemini()), &[CHAT_STREAM.as_bytes()], array);
    assert_eq!(failed, None);
    let items: Vec<_> = expected.split_terminator("\r\n\r\n").map(|item| &item["data: ".len()..]).collect();
    assert_eq!(array, format!("[{}]", items.join("\n,\n")));
    assert!(Json::parse(array).is_ok());
}

#[test]
fn an_array_is_a_stream_too() {
    let items: Vec<_> = STREAM.split_terminator("\r\n\r\n").map(|item| &item["data: ".len()..]).collect();
    let array = format!("[{}\n]\n", items.join("\r\n,\r\n"));
    let expected = stream((gemini(), chat()), STREAM);
    for cut in 0..=array.len() {
        let mut events = ArrayEvents::new();
        let pieces = [events.push(&array.as_bytes()[..cut]), events.push(&array.as_bytes()[cut..])];
        assert_eq!(stream((gemini(), chat()), text(&pieces.concat())), expected, "{cut}");
    }
}

#[test]
fn a_stream_says_the_same_wherever_it_is_cut() {
    for (pair, upstream) in [
        ((gemini(), chat()), STREAM),
        ((chat(), gemini()), CHAT_STREAM),
        ((gemini(), codec(Dialect::Anthropic).unwrap()), STREAM),
        ((gemini(), gemini()), STREAM),
    ] {
        for array in [false, true] {
            let options = || AnswerOptions { thoughts: true, array, ..AnswerOptions::default() };
            let whole = stream_of(pair, &[upstream.as_bytes()], options());
            assert_eq!(whole.1, None);
            assert_eq!(stream_of(pair, &[upstream.as_bytes()], options()), whole, "it is the same each time");
            for cut in 0..=upstream.len() {
                let (head, tail) = upstream.as_bytes().split_at(cut);
                assert_eq!(stream_of(pair, &[head, tail], options()), whole, "{cut}");
            }
        }
    }
}

#[test]
fn a_stream_that_fails_says_so_in_its_own_way() {
    let cut = STREAM.split_inclusive("\r\n\r\n").take(2).collect::<String>();
    let error = "data: {\"error\":{\"code\":429,\"message\":\"slow\",\"status\":\"RESOURCE_EXHAUSTED\"}}\r\n\r\n";
    let malformed =
        "data: {\"candidates\":[{\"finishReason\":\"MALFORMED_FUNCTION_CALL\",\"finishMessage\":\"why\"}]}\r\n\r\n";
    for (upstream, kind) in [
        (cut.clone(), ErrorKind::StreamInterrupted),
        (format!("{cut}{error}"), ErrorKind::RateLimited),
        (format!("{cut}{malformed}"), ErrorKind::BadAnswer),
        (format!("{cut}data: nope\n\n"), ErrorKind::BadAnswer),
    ] {
        let (out, failed) = stream((gemini(), chat()), &upstream);
        assert_eq!(failed, Some(kind), "{upstream}");
        assert!(out.contains(r#""content":"a\u00e9\n""#) && out.contains(r#"data: {"error":{"#), "{out}");
        assert!(!out.contains("[DONE]") && !out.contains(r#""finish_reason":"stop""#));
    }
    for rubbish in ["", "\n\n", "data: {}\n\n", "<html>\n\n", ": only comments\n\n"] {
        assert!(stream((gemini(), chat()), rubbish).1.is_some(), "{rubbish:?}");
    }
    let cut = CHAT_STREAM.split_inclusive("\n\n").take(2).collect::<String>();
    let (out, failed) = stream((chat(), gemini()), &cut);
    assert_eq!(failed, Some(ErrorKind::StreamInterrupted));
    assert!(
        out.ends_with("\"status\":\"INTERNAL\"}}\r\n\r\n") && out.contains(r#"data: {"error":{"code":502,"#),
        "{out}"
    );
    let array = AnswerOptions { array: true, ..AnswerOptions::default() };
    let (out, ..) = stream_of((chat(), gemini()), &[cut.as_bytes()], array);
    assert!(Json::parse(out.clone()).is_ok(), "{out}");
    let (out, _) =
        stream((gemini(), chat()), "data: {\"promptFeedback\":{\"blockReason\":\"SPII\"},\"responseId\":\"r\"}\n\n");
    assert!(out.contains(r#""delta":{"refusal":"#) && out.contains(r#""finish_reason":"content_filter""#), "{out}");
}

#[test]
fn errors_of_gemini_are_told_in_chat() {
    let detail =
        |kind: &str, members: &str| format!(r#"{{"@type":"type.googleapis.com/google.rpc.{kind}",{members}}}"#);
    let key = detail("ErrorInfo", r#""reason":"API_KEY_INVALID""#);
    let day = detail("QuotaFailure", r#""violations":[{"quotaId":"GenerateRequestsPerDayPerProject"}]"#);
    for (status, message, details, kind, told, code) in [
        (400, "bad", String::new(), ErrorKind::InvalidRequest, 400, ""),
        (
            400,
            "The input token count (9) exceeds the maximum number of tokens allowed (8).",
            String::new(),
            ErrorKind::ContextLength,
            400,
            "context_length_exceeded",
        ),
        (400, "API key not valid", key, ErrorKind::UpstreamAuth, 502, "upstream_auth_error"),
        (401, "m", String::new(), ErrorKind::UpstreamAuth, 502, "upstream_auth_error"),
        (403, "m", String::new(), ErrorKind::Forbidden, 403, ""),
        (404, "m", String::new(), ErrorKind::NotFound, 404, ""),
        (413, "m", String::new(), ErrorKind::TooLarge, 413, "request_too_large"),
        (429, "m", String::new(), ErrorKind::RateLimited, 429, "rate_limit_exceeded"),
        (429, "m", day, ErrorKind::QuotaExhausted, 429, "insufficient_quota"),
        (500, "m", String::new(), ErrorKind::Upstream, 502, "upstream_error"),
        (503, "m", String::new(), ErrorKind::Overloaded, 503, "server_is_overloaded"),
        (504, "m", String::new(), ErrorKind::Timeout, 504, "timeout"),
    ] {
        for form in [
            format!(r#"{{"error":{{"code":{status},"message":"{message}","status":"S","details":[{details}]}}}}"#),
            format!(r#"[{{"error":{{"code":{status},"message":"{message}","status":"S","details":[{details}]}}}}]"#),
        ] {
            let error = gemini().decode_error(status, &HeaderMap::new(), form.as_bytes(), Duration::ZERO);
            assert_eq!((error.kind(), error.message()), (kind, message), "{form}");
            let (shown, body) = chat().encode_error(&error, None);
            assert_eq!(shown, told, "{form}");
            assert!(code.is_empty() || text(&body).contains(&format!(r#""code":"{code}""#)), "{}", text(&body));
            assert!(!text(&body).contains("\"S\""));
        }
    }
    let html = gemini().decode_error(502, &HeaderMap::new(), b"<html>", Duration::ZERO);
    assert_eq!((html.kind(), html.message()), (ErrorKind::Upstream, "upstream returned HTTP 502"));
    let wait = detail("RetryInfo", r#""retryDelay":"27.5s""#);
    let body = format!(r#"{{"error":{{"code":429,"message":"m","details":[{wait}]}}}}"#);
    let mut headers = HeaderMap::new();
    let waits =
        |headers: &HeaderMap| gemini().decode_error(429, headers, body.as_bytes(), Duration::ZERO).retry_after();
    assert_eq!(waits(&headers), Some(Duration::from_millis(27_500)));
    headers.insert("retry-after", "3".parse().unwrap());
    assert_eq!(waits(&headers), Some(Duration::from_secs(3)));
}

#[test]
fn errors_are_told_in_gemini() {
    for (kind, status, word) in [
        (ErrorKind::InvalidRequest, 400, "INVALID_ARGUMENT"),
        (ErrorKind::ContextLength, 400, "INVALID_ARGUMENT"),
        (ErrorKind::Unauthenticated, 401, "UNAUTHENTICATED"),
        (ErrorKind::UpstreamAuth, 502, "INTERNAL"),
        (ErrorKind::QuotaExhausted, 429, "RESOURCE_EXHAUSTED"),
        (ErrorKind::Forbidden, 403, "PERMISSION_DENIED"),
        (ErrorKind::NotFound, 404, "NOT_FOUND"),
        (ErrorKind::TooLarge, 413, "INVALID_ARGUMENT"),
        (ErrorKind::RateLimited, 429, "RESOURCE_EXHAUSTED"),
        (ErrorKind::Overloaded, 503, "UNAVAILABLE"),
        (ErrorKind::Upstream, 502, "INTERNAL"),
        (ErrorKind::Timeout, 504, "DEADLINE_EXCEEDED"),
    ] {
        let (told, body) = gemini().encode_error(&Error::new(kind, "m"), None);
        assert_eq!(told, status);
        assert_eq!(text(&body), format!(r#"{{"error":{{"code":{status},"message":"m","status":"{word}"}}}}"#));
    }
    let error =
        Error::new(ErrorKind::RateLimited, "m").with_param("contents").with_retry_after(Duration::from_millis(1_500));
    let (_, body) = gemini().encode_error(&error, Some(&Json::parse(r#"{"id":1}"#).unwrap()));
    assert!(text(&body).contains(r#""fieldViolations":[{"field":"contents","description":"m"}]"#));
    assert!(text(&body).contains(r#""retryDelay":"1.500s""#) && text(&body).ends_with(r#","llmkit":{"id":1}}"#));
}

/// A JSON object's text.
fn object() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<bool>().prop_map(|value| value.to_string()),
        ".{0,12}".prop_map(|text: String| serde_json::to_string(&text).unwrap()),
        Just("1.0".to_owned()),
        Just("null".to_owned()),
    ];
    prop::collection::vec(("[a-z]{1,4}", scalar), 0..5).prop_map(|members| {
        let members: Vec<_> = members.into_iter().map(|(key, value)| format!(r#""{key}": {value}"#)).collect();
        format!("{{{}}}", members.join(", "))
    })
}

proptest! {
    #[test]
    fn streamed_arguments_joined_are_the_whole_ones(args in object(), cuts in prop::collection::vec(0_usize..64, 0..6)) {
        // From Gemini.
        let content = format!(r#""content":{{"parts":[{{"functionCall":{{"name":"f","args":{args}}}}}]}},"finishReason":"STOP""#);
        let body = format!(r#"{{"candidates":[{{{content}}}],"responseId":"r"}}"#);
        let whole = gemini().decode_response(body.as_bytes()).unwrap();
        let call = whole.tool_calls().next().unwrap();
        prop_assert_eq!(&call.arguments, &args);
        let streamed = llm_providers::wire::replay(Dialect::Gemini, body.as_bytes()).unwrap();
        let streamed: Vec<u8> = streamed.iter().flat_map(|frame| frame.bytes.to_vec()).collect();
        let (out, failed) = stream((gemini(), chat()), text(&streamed));
        prop_assert_eq!(failed, None);
        let mut assembler = llm_providers::wire::Assembler::new(Dialect::OpenAi, DEFAULT_LIMIT).unwrap();
        assembler.push(out.into()).unwrap();
        let collected = chat().decode_response(&assembler.finish().unwrap()).unwrap();
        prop_assert_eq!(collected.tool_calls().next().unwrap(), call);

        // From Chat, in pieces.
        let mut ends: Vec<_> = cuts.into_iter().map(|cut| args.floor_char_boundary(cut)).chain([0, args.len()]).collect();
        ends.sort_unstable();
        let mut upstream = String::new();
        for (number, ends) in ends.windows(2).enumerate() {
            let piece = serde_json::to_string(&args[ends[0]..ends[1]]).unwrap();
            let head = if number == 0 { r#""id":"1","# } else { "" };
            let name = if number == 0 { r#""name":"f","# } else { "" };
            upstream += &format!("data: {{\"id\":\"c\",\"choices\":[{{\"index\":0,\"delta\":{{\"tool_calls\":[{{\"index\":0,{head}\"function\":{{{name}\"arguments\":{piece}}}}}]}}}}]}}\n\n");
        }
        upstream += "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n";
        let (out, failed) = stream((chat(), gemini()), &upstream);
        prop_assert_eq!(failed, None);
        let expected = format!(r#"{{"functionCall":{{"id":"1","name":"f","args":{args}}}}}"#);
        prop_assert!(out.contains(&expected), "{}", out);
    }
}
