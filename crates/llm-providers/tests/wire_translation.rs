//! Chat completions and Anthropic's messages, translated into each other: each row of the table of rules.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use llm_core::{Dialect, Error, ErrorKind};
use llm_providers::wire::{
    AnswerOptions, Capabilities, Codec, Encoded, MaxTokensField, Strictness, Target, ThinkingStyle, codec,
};

fn chat() -> &'static dyn Codec {
    codec(Dialect::OpenAi).unwrap()
}

fn anthropic() -> &'static dyn Codec {
    codec(Dialect::Anthropic).unwrap()
}

fn translate(
    (from, to): (&dyn Codec, &dyn Codec),
    body: &str,
    capabilities: &Capabilities,
    strictness: Strictness,
) -> Result<Encoded, Error> {
    let asked = from.decode_request(body.as_bytes())?;
    let target = Target { model: "m", capabilities, max_output: None, stream: asked.stream };
    to.encode_request(&asked.request, &target, strictness)
}

/// What a rule does to a field.
#[derive(Debug)]
enum Becomes {
    /// Nothing is sent, and nothing is said about it.
    Nothing,
    /// These members are sent, among others.
    Members(&'static str),
    /// It is left out, and listed under this name.
    Dropped(&'static str),
    /// It is sent as these members, and something of it is listed under this name.
    Partly(&'static str, &'static str),
    /// It is refused under this name; leniently it is left out.
    Rejected(&'static str),
    /// It is refused under this name, also leniently.
    Refused(&'static str),
}
use Becomes::{Dropped, Members, Nothing, Partly, Refused, Rejected};

fn text(encoded: &Encoded) -> &str {
    std::str::from_utf8(&encoded.body).unwrap()
}

/// Checks a table: what members added to a plain request become.
fn check(pair: (&dyn Codec, &dyn Codec), capabilities: &Capabilities, plain: &str, table: &[(&str, Becomes)]) {
    let bare = translate(pair, &format!("{{{plain}}}"), capabilities, Strictness::Strict).unwrap();
    for (members, becomes) in table {
        let body = format!("{{{plain},{members}}}");
        let strict = translate(pair, &body, capabilities, Strictness::Strict);
        let lenient = translate(pair, &body, capabilities, Strictness::Lenient);
        let refused = |result: &Result<Encoded, Error>, param: &str| {
            let error = result.as_ref().expect_err(members);
            assert_eq!((error.kind(), error.param()), (ErrorKind::InvalidRequest, Some(param)), "{members}");
        };
        let sent = |result: &Result<Encoded, Error>, part: &str, dropped: &[&str]| {
            let sent = result.as_ref().unwrap_or_else(|error| panic!("{members}: {error}"));
            if part.is_empty() {
                assert_eq!(text(sent), text(&bare), "{members}");
            } else {
                assert!(text(sent).contains(part), "{members}: {}", text(sent));
            }
            assert_eq!(sent.dropped, dropped, "{members}");
        };
        match *becomes {
            Nothing => {
                sent(&strict, "", &[]);
                sent(&lenient, "", &[]);
            }
            Members(part) => {
                sent(&strict, part, &[]);
                sent(&lenient, part, &[]);
            }
            Dropped(name) => {
                sent(&strict, "", &[name]);
                sent(&lenient, "", &[name]);
            }
            Partly(part, name) => {
                sent(&strict, part, &[name]);
                sent(&lenient, part, &[name]);
            }
            Rejected(name) => {
                refused(&strict, name);
                sent(&lenient, "", &[name]);
            }
            Refused(name) => {
                refused(&strict, name);
                refused(&lenient, name);
            }
        }
    }
}

const USER: &str = r#""model":"alias","messages":[{"role":"user","content":"hi"}]"#;
const TOOL: &str = r#""model":"alias","messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}},{"type":"function","function":{"name":"g","parameters":{"type":"object"}}}]"#;

#[test]
fn parameters_of_chat_become_those_of_anthropic() {
    check(
        (chat(), anthropic()),
        &Capabilities::default(),
        USER,
        &[
            (r#""max_completion_tokens":7"#, Members(r#""max_tokens":7,"#)),
            (r#""max_tokens":7"#, Members(r#""max_tokens":7,"#)),
            (r#""max_tokens":7,"max_completion_tokens":8"#, Members(r#""max_tokens":8,"#)),
            (r#""max_completion_tokens":0"#, Refused("max_completion_tokens")),
            (r#""temperature":0.25"#, Members(r#""temperature":0.25"#)),
            (r#""temperature":1"#, Members(r#""temperature":1.0"#)),
            (r#""temperature":1.5"#, Rejected("temperature")),
            (r#""top_p":0.5"#, Members(r#""top_p":0.5"#)),
            (r#""stop":"a""#, Members(r#""stop_sequences":["a"]"#)),
            (r#""stop":["a","b","c","d","e"]"#, Members(r#""stop_sequences":["a","b","c","d","e"]"#)),
            (r#""stop":[" \n"]"#, Rejected("stop[0]")),
            (r#""stop":[]"#, Nothing),
            (r#""stop":null"#, Nothing),
            (r#""n":1"#, Nothing),
            (r#""n":2"#, Refused("n")),
            (r#""presence_penalty":0,"frequency_penalty":0.0"#, Nothing),
            (r#""presence_penalty":0.5"#, Rejected("presence_penalty")),
            (r#""frequency_penalty":-1"#, Rejected("frequency_penalty")),
            (r#""logit_bias":{}"#, Nothing),
            (r#""logit_bias":null"#, Nothing),
            (r#""logit_bias":{"5":1}"#, Rejected("logit_bias")),
            (r#""logprobs":false,"top_logprobs":0"#, Nothing),
            (r#""logprobs":true"#, Refused("logprobs")),
            (r#""top_logprobs":1"#, Refused("top_logprobs")),
            (r#""seed":7"#, Dropped("seed")),
            (r#""user":"u""#, Members(r#""metadata":{"user_id":"u"}"#)),
            (r#""safety_identifier":"s""#, Members(r#""metadata":{"user_id":"s"}"#)),
            (r#""user":"u","safety_identifier":"s""#, Partly(r#""metadata":{"user_id":"s"}"#, "user")),
            (r#""metadata":{"a":"b"}"#, Dropped("metadata")),
            (r#""store":true"#, Dropped("store")),
            (r#""prompt_cache_key":"k""#, Dropped("prompt_cache_key")),
            (r#""prompt_cache_retention":"24h""#, Dropped("prompt_cache_retention")),
            (r#""prompt_cache_options":{}"#, Dropped("prompt_cache_options")),
            (r#""prediction":{"type":"content","content":"x"}"#, Dropped("prediction")),
            (r#""verbosity":"low""#, Dropped("verbosity")),
            (r#""service_tier":"auto""#, Members(r#""service_tier":"auto""#)),
            (r#""service_tier":"default""#, Members(r#""service_tier":"standard_only""#)),
            (r#""service_tier":"flex""#, Rejected("service_tier")),
            (r#""response_format":{"type":"text"}"#, Nothing),
            (r#""response_format":{"type":"json_object"}"#, Rejected("response_format")),
            (
                r#""response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"b":1e2,"a":1.0}}}"#,
                Partly(
                    r#""output_config":{"format":{"type":"json_schema","schema":{"b":1e2,"a":1.0}}}"#,
                    "response_format.json_schema.name",
                ),
            ),
            (r#""response_format":{"type":"grammar"}"#, Rejected("response_format")),
            (r#""tools":[]"#, Nothing),
            (r#""tools":[{"type":"custom","custom":{"name":"c"}}]"#, Refused("tools[0]")),
            (r#""tools":[{"type":"function","function":{"name":"f","x":1}}]"#, Refused("tools[0]")),
            (
                r#""tools":[{"type":"function","function":{"name":"f"}}]"#,
                Members(r#""tools":[{"name":"f","input_schema":{"type":"object","properties":{}}}]"#),
            ),
            (
                r#""tools":[{"type":"function","function":{"name":"f","parameters":{}}}]"#,
                Members(r#""input_schema":{"type":"object"}"#),
            ),
            (
                r#""tools":[{"type":"function","function":{"name":"f","parameters":{ "properties":{"a":{"const":9007199254740993}}},"strict":null}}]"#,
                Members(r#""input_schema":{"type":"object","properties":{"a":{"const":9007199254740993}}}}]"#),
            ),
            (
                r#""tools":[{"type":"function","function":{"name":"f","parameters":{"type":"string"}}}]"#,
                Rejected("tools[0].function.parameters"),
            ),
            (r#""functions":[{"name":"f"}]"#, Rejected("functions")),
            (r#""function_call":"auto""#, Rejected("function_call")),
            (r#""modalities":["text"]"#, Nothing),
            (r#""modalities":["text","audio"]"#, Refused("modalities")),
            (r#""audio":{"format":"wav","voice":"v"}"#, Refused("audio")),
            (r#""web_search_options":{}"#, Refused("web_search_options")),
            (r#""moderation":{"model":"m"}"#, Refused("moderation")),
            (r#""tool_choice":"auto""#, Nothing),
            (r#""tool_choice":"none""#, Nothing),
            (r#""parallel_tool_calls":false"#, Nothing),
            (r#""made_up":1"#, Refused("made_up")),
            (r#""made_up":null"#, Nothing),
            (r#""stream":true,"stream_options":{"include_usage":true}"#, Members(r#""stream":true"#)),
            (r#""top_k":5"#, Members(r#""top_k":5"#)),
        ],
    );
}

#[test]
fn choices_of_chats_tools_become_anthropics() {
    check(
        (chat(), anthropic()),
        &Capabilities::default(),
        TOOL,
        &[
            (r#""tool_choice":"none""#, Members(r#""tool_choice":{"type":"none"}"#)),
            (r#""tool_choice":"auto""#, Members(r#""tool_choice":{"type":"auto"}"#)),
            (r#""tool_choice":"required""#, Members(r#""tool_choice":{"type":"any"}"#)),
            (
                r#""tool_choice":{"type":"function","function":{"name":"f"}}"#,
                Members(r#""tool_choice":{"type":"tool","name":"f"}"#),
            ),
            (
                r#""tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[{"type":"function","function":{"name":"g"}}]}}"#,
                Members(r#""tools":[{"name":"g","input_schema":{"type":"object"}}],"tool_choice":{"type":"any"}"#),
            ),
            (
                r#""tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"type":"function","function":{"name":"g"}}]}}"#,
                Members(r#""tools":[{"name":"g","input_schema":{"type":"object"}}],"tool_choice":{"type":"auto"}"#),
            ),
            (r#""tool_choice":{"type":"custom","custom":{"name":"c"}}"#, Refused("tool_choice")),
            (r#""parallel_tool_calls":true"#, Nothing),
            (
                r#""parallel_tool_calls":false"#,
                Members(r#""tool_choice":{"type":"auto","disable_parallel_tool_use":true}"#),
            ),
            (
                r#""parallel_tool_calls":false,"tool_choice":"required""#,
                Members(r#""tool_choice":{"type":"any","disable_parallel_tool_use":true}"#),
            ),
            (
                r#""parallel_tool_calls":false,"tool_choice":{"type":"function","function":{"name":"f"}}"#,
                Members(r#""tool_choice":{"type":"tool","name":"f","disable_parallel_tool_use":true}"#),
            ),
            (r#""parallel_tool_calls":false,"tool_choice":"none""#, Members(r#""tool_choice":{"type":"none"}"#)),
        ],
    );
}

#[test]
fn a_model_without_sampling_takes_only_what_changes_nothing() {
    let capabilities =
        Capabilities { sampling: false, json_schema: false, max_stops: Some(1), ..Capabilities::default() };
    check(
        (chat(), anthropic()),
        &capabilities,
        USER,
        &[
            (r#""temperature":1,"top_p":1.0"#, Nothing),
            (r#""temperature":0.5"#, Rejected("temperature")),
            (r#""top_p":0.5"#, Rejected("top_p")),
            (r#""top_k":5"#, Rejected("top_k")),
            (
                r#""response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{}}}"#,
                Rejected("response_format"),
            ),
        ],
    );
    let none_given = Capabilities { default_max_tokens: 64_000, ..Capabilities::default() };
    let sent = translate((chat(), anthropic()), &format!("{{{USER}}}"), &none_given, Strictness::Strict).unwrap();
    assert!(text(&sent).contains(r#""max_tokens":64000"#));
}

#[test]
fn efforts_become_anthropics_thinking() {
    let cap = format!(r#"{USER},"max_completion_tokens":40000"#);
    let with = |thinking, xhigh| Capabilities { thinking, xhigh, ..Capabilities::default() };
    let adaptive = |effort| match effort {
        "low" => Members(r#""thinking":{"type":"adaptive"},"output_config":{"effort":"low"}"#),
        "medium" => Members(r#""thinking":{"type":"adaptive"},"output_config":{"effort":"medium"}"#),
        "high" => Members(r#""thinking":{"type":"adaptive"},"output_config":{"effort":"high"}"#),
        "xhigh" => Members(r#""thinking":{"type":"adaptive"},"output_config":{"effort":"xhigh"}"#),
        _ => Members(r#""thinking":{"type":"adaptive"},"output_config":{"effort":"max"}"#),
    };
    check(
        (chat(), anthropic()),
        &with(ThinkingStyle::Effort, true),
        &cap,
        &[
            (r#""reasoning_effort":"none""#, Members(r#""thinking":{"type":"disabled"}"#)),
            (r#""reasoning_effort":"minimal""#, adaptive("low")),
            (r#""reasoning_effort":"low""#, adaptive("low")),
            (r#""reasoning_effort":"medium""#, adaptive("medium")),
            (r#""reasoning_effort":"high""#, adaptive("high")),
            (r#""reasoning_effort":"xhigh""#, adaptive("xhigh")),
            (r#""reasoning_effort":"max""#, adaptive("max")),
            (r#""reasoning_effort":"wild""#, Rejected("reasoning_effort")),
        ],
    );
    let budget = |tokens: &'static str| Members(tokens);
    check(
        (chat(), anthropic()),
        &with(ThinkingStyle::Budget, true),
        &cap,
        &[
            (r#""reasoning_effort":"none""#, Members(r#""thinking":{"type":"disabled"}"#)),
            (r#""reasoning_effort":"minimal""#, budget(r#""thinking":{"type":"enabled","budget_tokens":1024}"#)),
            (r#""reasoning_effort":"low""#, budget(r#""budget_tokens":1024}"#)),
            (r#""reasoning_effort":"medium""#, budget(r#""budget_tokens":8192}"#)),
            (r#""reasoning_effort":"high""#, budget(r#""budget_tokens":24576}"#)),
            (r#""reasoning_effort":"xhigh""#, budget(r#""budget_tokens":32768}"#)),
            (r#""reasoning_effort":"max""#, budget(r#""budget_tokens":32768}"#)),
            (r#""reasoning_effort":"wild""#, Rejected("reasoning_effort")),
        ],
    );
    let lacks_xhigh = with(ThinkingStyle::Effort, false);
    let high = r#""thinking":{"type":"adaptive"},"output_config":{"effort":"high"}"#;
    check(
        (chat(), anthropic()),
        &lacks_xhigh,
        &cap,
        &[(r#""reasoning_effort":"xhigh""#, Partly(high, "reasoning_effort"))],
    );
    let thoughtless = with(ThinkingStyle::None, true);
    check(
        (chat(), anthropic()),
        &thoughtless,
        &cap,
        &[(r#""reasoning_effort":"none""#, Nothing), (r#""reasoning_effort":"low""#, Rejected("reasoning_effort"))],
    );
    let always = Capabilities { thinking_off: false, ..Capabilities::default() };
    check((chat(), anthropic()), &always, &cap, &[(r#""reasoning_effort":"none""#, Rejected("reasoning_effort"))]);
}

#[test]
fn a_budget_of_thoughts_stays_below_the_cap_and_allows_no_draw_and_no_force() {
    let older = Capabilities { thinking: ThinkingStyle::Budget, ..Capabilities::default() };
    check(
        (chat(), anthropic()),
        &older,
        USER,
        &[
            (r#""reasoning_effort":"high","max_completion_tokens":2000"#, Members(r#""budget_tokens":1999"#)),
            (r#""reasoning_effort":"high","temperature":1,"max_tokens":2000"#, Members(r#""budget_tokens":1999"#)),
        ],
    );
    let short = format!(r#"{USER},"max_completion_tokens":1024"#);
    check((chat(), anthropic()), &older, &short, &[(r#""reasoning_effort":"low""#, Rejected("reasoning_effort"))]);
    for (plain, member, param) in [
        (USER, r#""temperature":0.5"#, "temperature"),
        (TOOL, r#""tool_choice":"required""#, "tool_choice"),
        (TOOL, r#""tool_choice":{"type":"function","function":{"name":"f"}}"#, "tool_choice"),
    ] {
        let body = format!(r#"{{{plain},"reasoning_effort":"low",{member}}}"#);
        let error = translate((chat(), anthropic()), &body, &older, Strictness::Strict).unwrap_err();
        assert_eq!(error.param(), Some(param), "{member}");
        let lenient = translate((chat(), anthropic()), &body, &older, Strictness::Lenient).unwrap();
        assert_eq!(lenient.dropped, [param]);
    }
}

#[test]
fn a_caller_without_the_thoughts_of_a_tool_loop_is_not_made_to_think() {
    let call =
        r#"{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]}"#;
    let sealed = r#"{"role":"assistant","reasoning_details":[{"type":"reasoning.text","text":"t","signature":"s","format":"anthropic-claude-v1"}],"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]}"#;
    let body = |turn: &str, more: &str| {
        format!(
            r#"{{"model":"a","reasoning_effort":"low","messages":[{{"role":"user","content":"hi"}},{turn},{{"role":"tool","tool_call_id":"c","content":"r"}}{more}]}}"#
        )
    };
    let send =
        |body: &str| translate((chat(), anthropic()), body, &Capabilities::default(), Strictness::Strict).unwrap();
    let sent = send(&body(call, ""));
    assert_eq!(sent.dropped, ["reasoning_effort"]);
    assert!(!text(&sent).contains("thinking"));
    for turn_and_more in
        [(sealed, ""), (call, r#",{"role":"assistant","content":"done"},{"role":"user","content":"go on"}"#)]
    {
        let sent = send(&body(turn_and_more.0, turn_and_more.1));
        assert!(
            sent.dropped.is_empty() && text(&sent).contains(r#""thinking":{"type":"adaptive"}"#),
            "{}",
            text(&sent)
        );
    }
}

const ASK: &str = r#""model":"alias","max_tokens":100,"messages":[{"role":"user","content":"hi"}]"#;
const ASK_TOOL: &str = r#""model":"alias","max_tokens":100,"messages":[{"role":"user","content":"hi"}],"tools":[{"name":"f","input_schema":{"type":"object"}}]"#;

#[test]
fn parameters_of_anthropic_become_those_of_chat() {
    check(
        (anthropic(), chat()),
        &Capabilities::default(),
        ASK,
        &[
            (r#""system":"s""#, Members(r#""messages":[{"role":"system","content":"s"},{"role":"user""#)),
            (
                r#""system":[{"type":"text","text":"a"},{"type":"text","text":"b"}]"#,
                Members(r#"{"role":"system","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#),
            ),
            (r#""temperature":0.5,"top_p":0.25"#, Members(r#""temperature":0.5,"top_p":0.25"#)),
            (r#""top_k":5"#, Rejected("top_k")),
            (r#""stop_sequences":["a","b"]"#, Members(r#""stop":["a","b"]"#)),
            (
                r#""tools":[{"name":"f","description":"d","input_schema":{"type":"object","n":1.0},"strict":true,"type":"custom"}]"#,
                Members(
                    r#""tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object","n":1.0},"strict":true}}]"#,
                ),
            ),
            (r#""tools":[{"type":"web_search_20250305","name":"web_search"}]"#, Refused("tools[0]")),
            (r#""mcp_servers":[{"url":"u"}]"#, Refused("mcp_servers")),
            (r#""mcp_servers":[]"#, Nothing),
            (r#""container":"c""#, Refused("container")),
            (r#""inference_geo":"eu""#, Refused("inference_geo")),
            (r#""thinking":{"type":"disabled"}"#, Members(r#""reasoning_effort":"none""#)),
            (r#""thinking":{"type":"adaptive"}"#, Nothing),
            (r#""thinking":{"type":"enabled","budget_tokens":1024}"#, Members(r#""reasoning_effort":"low""#)),
            (r#""thinking":{"type":"enabled","budget_tokens":4095}"#, Members(r#""reasoning_effort":"low""#)),
            (r#""thinking":{"type":"enabled","budget_tokens":4096}"#, Members(r#""reasoning_effort":"medium""#)),
            (r#""thinking":{"type":"enabled","budget_tokens":16383}"#, Members(r#""reasoning_effort":"medium""#)),
            (r#""thinking":{"type":"enabled","budget_tokens":16384}"#, Members(r#""reasoning_effort":"high""#)),
            (r#""thinking":{"type":"between_tools"}"#, Dropped("thinking")),
            (r#""thinking":{"type":"adaptive","display":"summarized"}"#, Dropped("thinking.display")),
            (r#""thinking":{"type":"adaptive","display":"omitted"}"#, Nothing),
            (r#""thinking":{"type":"made_up"}"#, Rejected("thinking")),
            (r#""output_config":{"effort":"xhigh"}"#, Members(r#""reasoning_effort":"xhigh""#)),
            (
                r#""output_config":{"format":{"type":"json_schema","schema":{"b":1.0}}}"#,
                Members(
                    r#""response_format":{"type":"json_schema","json_schema":{"name":"response","schema":{"b":1.0},"strict":true}}"#,
                ),
            ),
            (r#""output_config":{"made_up":1}"#, Rejected("output_config")),
            (r#""metadata":{"user_id":"u"}"#, Members(r#""safety_identifier":"u""#)),
            (r#""metadata":{"user_id":null}"#, Nothing),
            (r#""cache_control":{"type":"ephemeral"}"#, Dropped("cache_control")),
            (r#""service_tier":"auto""#, Members(r#""service_tier":"auto""#)),
            (r#""service_tier":"standard_only""#, Members(r#""service_tier":"default""#)),
            (r#""speed":"standard""#, Nothing),
            (r#""speed":"fast""#, Rejected("speed")),
            (r#""made_up":{}"#, Refused("made_up")),
        ],
    );
    check(
        (anthropic(), chat()),
        &Capabilities::default(),
        ASK_TOOL,
        &[
            (r#""tool_choice":{"type":"auto"}"#, Members(r#""tool_choice":"auto""#)),
            (r#""tool_choice":{"type":"any"}"#, Members(r#""tool_choice":"required""#)),
            (
                r#""tool_choice":{"type":"tool","name":"f"}"#,
                Members(r#""tool_choice":{"type":"function","function":{"name":"f"}}"#),
            ),
            (r#""tool_choice":{"type":"none"}"#, Members(r#""tool_choice":"none""#)),
            (r#""tool_choice":{"type":"made_up"}"#, Refused("tool_choice")),
            (
                r#""tool_choice":{"type":"auto","disable_parallel_tool_use":true}"#,
                Members(r#""tool_choice":"auto","parallel_tool_calls":false"#),
            ),
        ],
    );
}

#[test]
fn what_a_provider_of_chat_takes_is_data() {
    let ollama = Capabilities {
        max_tokens_field: MaxTokensField::MaxTokens,
        top_k: Some(true),
        include_usage: false,
        max_stops: Some(1),
        cache_marks: true,
        fast_tier: Some("fast".to_owned()),
        thoughts_field: Some("reasoning".to_owned()),
        json_schema: false,
        ..Capabilities::default()
    };
    check(
        (anthropic(), chat()),
        &ollama,
        ASK,
        &[
            (r#""stream":true"#, Members(r#""max_tokens":100,"stream":true}"#)),
            (r#""top_k":5"#, Members(r#""top_k":5"#)),
            (r#""speed":"fast""#, Members(r#""service_tier":"fast""#)),
            (r#""output_config":{"format":{"type":"json_schema","schema":{}}}"#, Rejected("output_config.format")),
            (
                r#""system":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}},{"type":"text","text":"b","cache_control":{"type":"ephemeral","ttl":"1h"}}]"#,
                Members(
                    r#"[{"type":"text","text":"a","prompt_cache_breakpoint":{"mode":"explicit"}},{"type":"text","text":"b","prompt_cache_breakpoint":{"mode":"explicit","ttl":"12h"}}]"#,
                ),
            ),
        ],
    );
    let many = format!(r#"{{{ASK},"stop_sequences":["a","b"]}}"#);
    let error = translate((anthropic(), chat()), &many, &ollama, Strictness::Strict).unwrap_err();
    assert_eq!(error.param(), Some("stop_sequences"));
    let openai = Capabilities::default();
    let five = format!(r#"{{{ASK},"stop_sequences":["a","b","c","d","e"]}}"#);
    assert_eq!(
        translate((anthropic(), chat()), &five, &openai, Strictness::Strict).unwrap_err().param(),
        Some("stop_sequences")
    );
    let thoughts = r#"{"model":"a","max_tokens":9,"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"b"}]},{"role":"user","content":"c"}]}"#;
    let sent = translate((anthropic(), chat()), thoughts, &ollama, Strictness::Strict).unwrap();
    assert!(text(&sent).contains(r#"{"role":"assistant","content":"b","reasoning":"hm"}"#), "{}", text(&sent));
}

/// The messages that these become, or the field at fault.
fn messages(pair: (&dyn Codec, &dyn Codec), list: &str) -> Result<(String, Vec<String>), String> {
    messages_for(pair, list, &Capabilities::default(), Strictness::Strict)
}

fn messages_for(
    pair: (&dyn Codec, &dyn Codec),
    list: &str,
    capabilities: &Capabilities,
    strictness: Strictness,
) -> Result<(String, Vec<String>), String> {
    let body = format!(r#"{{"model":"a","max_tokens":9,"messages":[{list}]}}"#);
    let sent = translate(pair, &body, capabilities, strictness)
        .map_err(|error| error.param().unwrap_or_default().to_owned())?;
    let body = text(&sent);
    let from = body.find(r#""system":"#).or_else(|| body.find(r#""messages":"#)).unwrap();
    let to = body[from..].rfind(']').unwrap();
    Ok((body[from..=from + to].to_owned(), sent.dropped))
}

fn to_anthropic(list: &str) -> Result<(String, Vec<String>), String> {
    messages((chat(), anthropic()), list)
}

fn to_chat(list: &str) -> Result<(String, Vec<String>), String> {
    messages((anthropic(), chat()), list)
}

#[test]
fn instructions_go_where_the_provider_reads_them() {
    for (list, expected, dropped) in [
        (
            r#"{"role":"system","content":"s"},{"role":"user","content":"u"}"#,
            r#""system":"s","messages":[{"role":"user","content":"u"}]"#,
            vec![],
        ),
        (
            r#"{"role":"system","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},{"role":"developer","content":"c"},{"role":"user","content":"u"}"#,
            r#""system":[{"type":"text","text":"a"},{"type":"text","text":"b"},{"type":"text","text":"c"}],"messages":[{"role":"user","content":"u"}]"#,
            vec![],
        ),
        (
            r#"{"role":"system","content":"s"},{"role":"user","content":"u"},{"role":"assistant","content":"v"},{"role":"system","content":"t"},{"role":"user","content":"w"}"#,
            r#""system":[{"type":"text","text":"s"},{"type":"text","text":"t"}],"messages":[{"role":"user","content":"u"},{"role":"assistant","content":"v"},{"role":"user","content":"w"}]"#,
            vec!["messages[3].role"],
        ),
        (
            r#"{"role":"system","name":"n","content":"s"},{"role":"user","name":"m","content":"u"}"#,
            r#""system":"s","messages":[{"role":"user","content":"u"}]"#,
            vec!["messages[0].name", "messages[1].name"],
        ),
    ] {
        let (sent, left_out) = to_anthropic(list).unwrap();
        assert_eq!((sent.as_str(), left_out), (expected, dropped.into_iter().map(str::to_owned).collect()), "{list}");
    }
    let late = Capabilities { late_system: true, ..Capabilities::default() };
    let list = r#"{"role":"user","content":"u"},{"role":"system","content":"t"},{"role":"assistant","content":"v"},{"role":"system","content":"x"},{"role":"user","content":"w"}"#;
    let (sent, left_out) = messages_for((chat(), anthropic()), list, &late, Strictness::Strict).unwrap();
    assert_eq!(
        sent,
        r#""system":"x","messages":[{"role":"user","content":"u"},{"role":"system","content":"t"},{"role":"assistant","content":"v"},{"role":"user","content":"w"}]"#
    );
    assert_eq!(left_out, ["messages[3].role"]);
    let list = r#"{"role":"user","content":"u"},{"role":"system","content":"t"}"#;
    assert_eq!(
        to_chat(list).unwrap().0,
        r#""messages":[{"role":"user","content":"u"},{"role":"system","content":"t"}]"#
    );
}

#[test]
fn turns_alternate_and_the_user_begins() {
    let list = r#"{"role":"user","content":"a"},{"role":"user","content":"b"},{"role":"assistant","content":"c"},{"role":"assistant","content":"d"},{"role":"user","content":"e"}"#;
    assert_eq!(
        to_anthropic(list).unwrap().0,
        r#""messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},{"role":"assistant","content":[{"type":"text","text":"c"},{"type":"text","text":"d"}]},{"role":"user","content":"e"}]"#
    );
    assert_eq!(to_anthropic(r#"{"role":"assistant","content":"a"}"#).unwrap_err(), "messages[0].role");
    assert_eq!(
        to_anthropic(r#"{"role":"system","content":"s"},{"role":"assistant","content":"a"}"#).unwrap_err(),
        "messages[1].role"
    );
    assert_eq!(to_anthropic(r#"{"role":"system","content":"s"}"#).unwrap_err(), "messages");
}

#[test]
fn empty_texts_are_left_out_and_empty_messages_refused() {
    let list = r#"{"role":"user","content":[{"type":"text","text":""},{"type":"text","text":"a"}]}"#;
    assert_eq!(to_anthropic(list).unwrap().0, r#""messages":[{"role":"user","content":"a"}]"#);
    let empty = r#"{"role":"user","content":"a"},{"role":"user","content":""}"#;
    assert_eq!(to_anthropic(empty).unwrap_err(), "messages[1].content");
    let (sent, left_out) =
        messages_for((chat(), anthropic()), empty, &Capabilities::default(), Strictness::Lenient).unwrap();
    assert_eq!(
        (sent.as_str(), left_out),
        (r#""messages":[{"role":"user","content":"a"}]"#, vec!["messages[1].content".to_owned()])
    );
    let kept = r#"{"role":"user","content":[{"type":"text","text":""}]}"#;
    assert_eq!(to_chat(kept).unwrap().0, r#""messages":[{"role":"user","content":""}]"#);
}

const CALL: &str = r#"{"role":"user","content":"u"},{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"ARGS"}}]},{"role":"tool","tool_call_id":"a","content":"r"}"#;

#[test]
fn arguments_become_objects_and_keep_their_text() {
    for (arguments, input) in [
        ("", "{}"),
        (" \\n", "{}"),
        ("{}", "{}"),
        (
            r#"{\"a\": 9007199254740993, \"b\":1.0,\"c\":\"\\u00e9\"}"#,
            r#"{"a": 9007199254740993, "b":1.0,"c":"\u00e9"}"#,
        ),
    ] {
        let (sent, _) = to_anthropic(&CALL.replace("ARGS", arguments)).unwrap();
        assert!(sent.contains(&format!(r#""input":{input}}}"#)), "{sent}");
    }
    for arguments in ["{", "[]", "1", "null", r#"\"{}\""#, "{} {}"] {
        let field = "messages[1].tool_calls[0].function.arguments";
        assert_eq!(to_anthropic(&CALL.replace("ARGS", arguments)).unwrap_err(), field, "{arguments}");
    }
}

#[test]
fn an_assistants_text_stands_before_its_calls() {
    for content in ["null", r#""""#] {
        let list = CALL.replace("ARGS", "{}").replace(r#""content":null"#, &format!(r#""content":{content}"#));
        let (sent, _) = to_anthropic(&list).unwrap();
        assert!(
            sent.contains(r#"{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]}"#)
        );
    }
    let list = CALL.replace("ARGS", "{}").replace(r#""content":null"#, r#""content":"A""#);
    let (sent, _) = to_anthropic(&list).unwrap();
    assert!(sent.contains(r#""content":[{"type":"text","text":"A"},{"type":"tool_use","#));
    let absent = CALL.replace("ARGS", "{}").replace(r#""content":null,"#, "");
    assert!(to_anthropic(&absent).is_ok());
    let back = r#"{"role":"user","content":"u"},{"role":"assistant","content":[{"type":"text","text":"A"},{"type":"tool_use","id":"a","name":"f","input":{"x": 1.0}},{"type":"text","text":"B"}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"a"}]}"#;
    let (sent, _) = to_chat(back).unwrap();
    assert!(sent.contains(
        r#"{"role":"assistant","content":"AB","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\": 1.0}"}}]},{"role":"tool","tool_call_id":"a","content":""}"#
    ));
}

#[test]
fn an_id_that_anthropic_would_refuse_is_rewritten_in_call_and_result_alike() {
    let list = CALL.replace("ARGS", "{}").replace(r#""a""#, r#""f:0 é""#);
    let (sent, _) = to_anthropic(&list).unwrap();
    let id = sent.split(r#""type":"tool_use","id":""#).nth(1).unwrap().split('"').next().unwrap().to_owned();
    assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'), "{id}");
    assert!(sent.contains(&format!(r#""tool_use_id":"{id}""#)));
    assert_eq!(to_anthropic(&list).unwrap().0, sent);
}

#[test]
fn results_answer_the_calls_directly_before_them() {
    let call = |id: &str| format!(r#"{{"id":"{id}","type":"function","function":{{"name":"f","arguments":"{{}}"}}}}"#);
    let calls = |ids: &[&str]| {
        let calls: Vec<_> = ids.iter().map(|id| call(id)).collect();
        format!(r#"{{"role":"assistant","tool_calls":[{}]}}"#, calls.join(","))
    };
    let result = |id: &str| format!(r#"{{"role":"tool","tool_call_id":"{id}","content":"r"}}"#);
    let user = r#"{"role":"user","content":"u"}"#.to_owned();
    let list = |items: &[String]| items.join(",");
    let fault = |items: &[String]| to_anthropic(&list(items)).unwrap_err();
    assert!(to_anthropic(&list(&[user.clone(), calls(&["a", "b"]), result("b"), result("a")])).is_ok());
    assert_eq!(fault(&[user.clone(), calls(&["a"])]), "messages[1]");
    assert_eq!(fault(&[user.clone(), calls(&["a", "b"]), result("a"), user.clone()]), "messages[1]");
    assert_eq!(fault(&[user.clone(), result("a")]), "messages[1]");
    assert_eq!(fault(&[user.clone(), calls(&["a"]), result("a"), result("a")]), "messages[3]");
    assert_eq!(fault(&[user.clone(), calls(&["a"]), user.clone(), result("a")]), "messages[1]");
    assert_eq!(fault(&[user.clone(), calls(&["a"]), result("a"), calls(&["a"]), result("a")]), "messages[3]");
    let not_adjacent = r#"{"role":"user","content":"u"},{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]},{"role":"user","content":"x"},{"role":"user","content":[{"type":"tool_result","tool_use_id":"a"}]}"#;
    assert_eq!(to_chat(not_adjacent).unwrap_err(), "messages[1]");
}

#[test]
fn results_come_first_and_together() {
    let list = r#"{"role":"user","content":"u"},{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":""}},{"id":"b","type":"function","function":{"name":"g","arguments":""}}]},{"role":"tool","tool_call_id":"b","content":"1"},{"role":"tool","tool_call_id":"a","content":[{"type":"text","text":"2"}]},{"role":"user","content":"next"}"#;
    let (sent, _) = to_anthropic(list).unwrap();
    assert!(sent.ends_with(
        r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"b","content":"1"},{"type":"tool_result","tool_use_id":"a","content":"2"},{"type":"text","text":"next"}]}]"#
    ));
    let calls = r#"{"role":"user","content":"u"},{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]}"#;
    let after = format!(
        r#"{calls},{{"role":"user","content":[{{"type":"text","text":"next"}},{{"type":"tool_result","tool_use_id":"a","content":"r"}}]}}"#
    );
    let (sent, _) = to_chat(&after).unwrap();
    assert!(sent.ends_with(r#"{"role":"tool","tool_call_id":"a","content":"r"},{"role":"user","content":"next"}]"#));
}

#[test]
fn pictures_in_results_go_to_the_user_and_documents_nowhere() {
    let with = |content: &str| {
        format!(
            r#"{{"role":"user","content":"u"}},{{"role":"assistant","content":[{{"type":"tool_use","id":"a","name":"f","input":{{}}}}]}},{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"a","content":[{content}]}}]}}"#
        )
    };
    let image = r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA=="}}"#;
    let (sent, _) = to_chat(&with(image)).unwrap();
    assert!(sent.ends_with(
        r#"{"role":"tool","tool_call_id":"a","content":"[image]"},{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}}]}]"#
    ));
    let document = r#"{"type":"document","source":{"type":"text","media_type":"text/plain","data":"d"}}"#;
    let several = format!(r#"{{"type":"text","text":"t"}},{document}"#);
    assert_eq!(to_chat(&with(&several)).unwrap_err(), "messages[2].content[0].content[1]");
    let failed =
        with(r#"{"type":"text","text":"t"}"#).replace(r#""tool_use_id":"a""#, r#""tool_use_id":"a","is_error":true"#);
    let (sent, left_out) = to_chat(&failed).unwrap();
    assert!(sent.ends_with(r#"{"role":"tool","tool_call_id":"a","content":"t"}]"#));
    assert_eq!(left_out, ["messages[2].content[0].is_error"]);
}

#[test]
fn pictures_and_files_of_chat_become_blocks() {
    let part = |part: &str| to_anthropic(&format!(r#"{{"role":"user","content":[{part}]}}"#));
    let url = |url: &str| part(&format!(r#"{{"type":"image_url","image_url":{{"url":"{url}"}}}}"#));
    let file = |file: &str| part(&format!(r#"{{"type":"file","file":{{{file}}}}}"#));
    let block = |sent: Result<(String, Vec<String>), String>| {
        let (sent, dropped) = sent?;
        let block = sent.strip_prefix(r#""messages":[{"role":"user","content":["#).unwrap().strip_suffix("]}]");
        Ok::<_, String>((block.unwrap_or(&sent).to_owned(), dropped))
    };
    let is = |sent, expected: &str| assert_eq!(block(sent), Ok((expected.to_owned(), vec![])));
    is(url("https://x/y.png"), r#"{"type":"image","source":{"type":"url","url":"https://x/y.png"}}"#);
    is(
        url("DATA:image/jpg;charset=x;BASE64,AA=="),
        r#"{"type":"image","source":{"type":"base64","media_type":"image/jpeg","data":"AA=="}}"#,
    );
    for refused in [
        "http://x/y.png",
        "file:///etc/passwd",
        "data:image/png,AA",
        "data:;base64,AA",
        "data:image/bmp;base64,AA",
        "x",
    ] {
        assert_eq!(url(refused).unwrap_err(), "messages[0].content[0]", "{refused}");
    }
    let detailed = part(r#"{"type":"image_url","image_url":{"url":"https://x/","detail":"low"}}"#).unwrap();
    assert_eq!(detailed.1, ["messages[0].content[0].image_url.detail"]);
    assert_eq!(
        part(r#"{"type":"input_audio","input_audio":{"data":"AA","format":"wav"}}"#).unwrap_err(),
        "messages[0].content[0]"
    );
    is(
        file(r#""filename":"a.pdf","file_data":"data:application/pdf;base64,JVBE""#),
        r#"{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBE"},"title":"a.pdf"}"#,
    );
    is(
        file(r#""file_data":"data:text/csv;base64,YSxi""#),
        r#"{"type":"document","source":{"type":"text","media_type":"text/plain","data":"a,b"}}"#,
    );
    for refused in [
        r#""file_id":"file-1""#,
        r#""file_data":"data:text/plain;base64,/w==""#,
        r#""file_data":"data:text/plain;base64,?""#,
        r#""file_data":"data:application/zip;base64,AA==""#,
    ] {
        assert_eq!(file(refused).unwrap_err(), "messages[0].content[0]", "{refused}");
    }
    assert_eq!(part(r#"{"type":"made_up","made_up":1}"#).unwrap_err(), "messages[0].content[0]");
}

#[test]
fn blocks_that_chat_has_no_place_for_are_named() {
    let block = |block: &str| to_chat(&format!(r#"{{"role":"user","content":[{block}]}}"#));
    for refused in [
        r#"{"type":"image","source":{"type":"file","file_id":"f"}}"#,
        r#"{"type":"document","source":{"type":"url","url":"https://x/a.pdf"}}"#,
        r#"{"type":"document","source":{"type":"content","content":"x"}}"#,
        r#"{"type":"search_result","source":"s","title":"t","content":[]}"#,
        r#"{"type":"text","text":"\ud83d"}"#,
    ] {
        assert_eq!(block(refused).unwrap_err(), "messages[0].content[0]", "{refused}");
    }
    let (_, left_out) =
        block(r#"{"type":"text","text":"a","citations":[{"type":"char_location","cited_text":"c"}]}"#).unwrap();
    assert_eq!(left_out, ["messages[0].content[0].citations"]);
    assert_eq!(block(r#"{"type":"text","text":"a","made_up":1}"#).unwrap_err(), "messages[0].content[0].made_up");
    let server = r#"{"role":"user","content":"u"},{"role":"assistant","content":[{"type":"server_tool_use","id":"s","name":"web_search","input":{}}]}"#;
    assert_eq!(to_chat(server).unwrap_err(), "messages[1].content[0]");
}

#[test]
fn marks_for_caching_become_anthropics_and_only_the_last_four_count() {
    let part = |ttl: &str| {
        let ttl = if ttl.is_empty() { String::new() } else { format!(r#","ttl":"{ttl}""#) };
        format!(r#"{{"type":"text","text":"t","prompt_cache_breakpoint":{{"mode":"explicit"{ttl}}}}}"#)
    };
    let parts: Vec<_> = ["", "30m", "12h", "", "", ""].into_iter().map(part).collect();
    let (sent, left_out) = to_anthropic(&format!(r#"{{"role":"user","content":[{}]}}"#, parts.join(","))).unwrap();
    let bare = r#"{"type":"text","text":"t"}"#;
    let long = r#"{"type":"text","text":"t","cache_control":{"type":"ephemeral","ttl":"1h"}}"#;
    let short = r#"{"type":"text","text":"t","cache_control":{"type":"ephemeral"}}"#;
    assert_eq!(
        sent,
        format!(r#""messages":[{{"role":"user","content":[{bare},{bare},{long},{short},{short},{short}]}}]"#)
    );
    assert_eq!(
        left_out,
        ["messages[0].content[0].prompt_cache_breakpoint", "messages[0].content[1].prompt_cache_breakpoint"]
    );
}

#[test]
fn members_that_a_message_has_of_its_own_are_named() {
    let list = |members: &str| {
        format!(
            r#"{{"role":"user","content":"u"}},{{"role":"assistant","content":"a"{members}}},{{"role":"user","content":"v"}}"#
        )
    };
    assert_eq!(to_anthropic(&list(r#","audio":{"id":"x"}"#)).unwrap_err(), "messages[1].audio");
    assert_eq!(
        to_anthropic(&list(r#","function_call":{"name":"f","arguments":""}"#)).unwrap_err(),
        "messages[1].function_call"
    );
    assert!(to_anthropic(&list(r#","audio":null,"annotations":[]"#)).unwrap().1.is_empty());
    let (sent, left_out) = to_anthropic(&list(r#","refusal":"no","reasoning_content":"hm""#)).unwrap();
    assert!(sent.contains(r#"[{"type":"text","text":"a"},{"type":"text","text":"no"}]"#));
    assert_eq!(left_out, ["messages[1].reasoning_content"]);
}

#[test]
fn a_translation_says_nothing_of_what_is_as_it_was() {
    for strictness in [Strictness::Strict, Strictness::Lenient] {
        let body = format!("{{{USER}}}");
        let sent = translate((chat(), anthropic()), &body, &Capabilities::default(), strictness).unwrap();
        assert_eq!(sent.dropped_header(), None);
    }
    let many: Vec<_> = (0..999).map(|at| format!(r#"{{"role":"user","name":"n","content":"{at}"}}"#)).collect();
    let body = format!(r#"{{"model":"a","messages":[{}],"seed":1}}"#, many.join(","));
    let sent = translate((chat(), anthropic()), &body, &Capabilities::default(), Strictness::Strict).unwrap();
    assert_eq!(sent.dropped.len(), 1000);
    let header = sent.dropped_header().unwrap();
    assert!(header.len() < 4200 && header.to_str().unwrap().starts_with("messages[0].name,messages[1].name,"));
}

/// The caller's whole answer for one of the provider's.
fn answer(pair: (&dyn Codec, &dyn Codec), body: &str, options: &AnswerOptions<'_>) -> String {
    let (front, back) = pair;
    let response = back.decode_response(body.as_bytes()).unwrap();
    String::from_utf8(front.encode_response(&response, options).to_vec()).unwrap()
}

#[test]
fn stop_reasons_are_told_in_the_callers_words() {
    let options = AnswerOptions { from: Some(Dialect::Anthropic), ..AnswerOptions::default() };
    for (reason, expected) in [
        (r#""end_turn""#, r#""stop""#),
        (r#""stop_sequence""#, r#""stop""#),
        (r#""pause_turn""#, r#""stop""#),
        (r#""max_tokens""#, r#""length""#),
        (r#""model_context_window_exceeded""#, r#""length""#),
        (r#""tool_use""#, r#""tool_calls""#),
        (r#""refusal""#, r#""content_filter""#),
        (r#""made_up""#, r#""stop""#),
        ("null", "null"),
    ] {
        let body = format!(r#"{{"content":[],"stop_reason":{reason},"stop_sequence":"x"}}"#);
        let told = answer((chat(), anthropic()), &body, &options);
        assert!(told.contains(&format!(r#""finish_reason":{expected}"#)), "{reason}: {told}");
        assert!(told.contains(r#""content":"","refusal":null"#), "an answer of nothing is an empty one");
    }
    let options = AnswerOptions { from: Some(Dialect::OpenAi), ..AnswerOptions::default() };
    let called = r#""tool_calls":[{"id":"c","function":{"name":"f","arguments":""}}]"#;
    for (reason, message, expected) in [
        ("stop", r#""content":"a""#, "end_turn"),
        ("length", r#""content":"a""#, "max_tokens"),
        ("tool_calls", called, "tool_use"),
        ("function_call", called, "tool_use"),
        ("content_filter", r#""content":"a""#, "refusal"),
        ("stop", called, "tool_use"),
        ("stop", r#""refusal":"no""#, "refusal"),
        ("eos", r#""content":"a""#, "end_turn"),
    ] {
        let body = format!(r#"{{"choices":[{{"message":{{{message}}},"finish_reason":"{reason}"}}]}}"#);
        let told = answer((anthropic(), chat()), &body, &options);
        assert!(told.contains(&format!(r#""stop_reason":"{expected}","stop_sequence":null"#)), "{reason}: {told}");
    }
}

#[test]
fn usage_is_told_in_the_callers_classes() {
    let options = AnswerOptions { from: Some(Dialect::Anthropic), ..AnswerOptions::default() };
    let usage = |usage: &str| {
        let told = answer((chat(), anthropic()), &format!(r#"{{"content":[],"usage":{usage}}}"#), &options);
        told.split_once(r#","usage":"#).map(|(_, usage)| usage.strip_suffix('}').unwrap().to_owned())
    };
    assert_eq!(
        usage(r#"{"input_tokens":3,"cache_creation_input_tokens":10,"cache_read_input_tokens":5,"output_tokens":9,"output_tokens_details":{"thinking_tokens":7}}"#).unwrap(),
        r#"{"prompt_tokens":18,"completion_tokens":9,"total_tokens":27,"prompt_tokens_details":{"cached_tokens":5,"cache_write_tokens":10},"completion_tokens_details":{"reasoning_tokens":7}}"#
    );
    assert_eq!(
        usage(r#"{"input_tokens":3,"output_tokens":9}"#).unwrap(),
        r#"{"prompt_tokens":3,"completion_tokens":9,"total_tokens":12}"#
    );
    assert_eq!(usage("{}"), None);
    let options = AnswerOptions { from: Some(Dialect::OpenAi), ..AnswerOptions::default() };
    let usage = |usage: &str| {
        let told = answer((anthropic(), chat()), &format!(r#"{{"choices":[],"usage":{usage}}}"#), &options);
        told.split_once(r#","usage":"#).map(|(_, usage)| usage.strip_suffix('}').unwrap().to_owned()).unwrap()
    };
    assert_eq!(
        usage(
            r#"{"prompt_tokens":18,"completion_tokens":9,"prompt_tokens_details":{"cached_tokens":5,"cache_write_tokens":10,"audio_tokens":1},"completion_tokens_details":{"reasoning_tokens":7,"audio_tokens":1}}"#
        ),
        r#"{"input_tokens":3,"cache_creation_input_tokens":10,"cache_read_input_tokens":5,"output_tokens":9,"output_tokens_details":{"thinking_tokens":7}}"#
    );
    assert_eq!(
        usage(r#"{"prompt_tokens":4,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":9}}"#),
        r#"{"input_tokens":0,"cache_read_input_tokens":4,"output_tokens":1}"#
    );
    assert_eq!(usage("null"), r#"{"input_tokens":0,"output_tokens":0}"#);
}

#[test]
fn thoughts_are_told_to_a_chat_caller_only_if_wanted() {
    let body =
        r#"{"id":"i","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"a"}]}"#;
    let mut options = AnswerOptions { from: Some(Dialect::Anthropic), ..AnswerOptions::default() };
    assert!(!answer((chat(), anthropic()), body, &options).contains("reasoning"));
    options.thoughts = true;
    let told = answer((chat(), anthropic()), body, &options);
    assert!(told.contains(r#""reasoning_content":"hm"},"#) && !told.contains("reasoning_details"), "{told}");
    // Of thoughts that are held back or said nothing there is nothing to tell.
    let nothing = body.replace("hm", "").replace('[', r#"[{"type":"redacted_thinking","data":"d"},"#);
    assert!(!answer((chat(), anthropic()), &nothing, &options).contains("reasoning"));
    options.seals = true;
    let told = answer((chat(), anthropic()), body, &options);
    let expected = r#""reasoning_content":"hm","reasoning_details":[{"type":"reasoning.text","text":"hm","signature":"s","format":"anthropic-claude-v1","index":0}]"#;
    assert!(told.contains(expected), "{told}");
}

#[test]
fn an_answer_names_what_the_options_say() {
    let options = AnswerOptions {
        from: Some(Dialect::Anthropic),
        created: 7,
        id: "own",
        model: Some("alias"),
        ..AnswerOptions::default()
    };
    let told = answer((chat(), anthropic()), r#"{"content":[],"model":"claude"}"#, &options);
    assert!(told.starts_with(r#"{"id":"own","object":"chat.completion","created":7,"model":"alias""#));
    let told = answer((anthropic(), chat()), r#"{"id":"theirs","choices":[],"model":"gpt"}"#, &options);
    assert!(told.starts_with(r#"{"id":"theirs","type":"message","role":"assistant","model":"alias","content":[]"#));
}

#[test]
fn a_call_whose_arguments_are_no_object_is_told_as_it_stands() {
    let options = AnswerOptions { from: Some(Dialect::OpenAi), ..AnswerOptions::default() };
    let input = |arguments: &str| {
        let body = format!(
            r#"{{"choices":[{{"message":{{"tool_calls":[{{"id":"c","function":{{"name":"f","arguments":"{arguments}"}}}}]}}}}]}}"#
        );
        let told = answer((anthropic(), chat()), &body, &options);
        told.split_once(r#""input":"#).unwrap().1.split_once("}],").unwrap().0.to_owned()
    };
    assert_eq!(input(""), "{}");
    assert_eq!(input(r#"{\"a\": 1e2}"#), r#"{"a": 1e2}"#);
    assert_eq!(input(r#"{\"a\""#), r#""{\"a\"""#);
}

#[test]
fn what_is_no_answer_is_an_error_for_either() {
    for body in ["", "<html>", "[]", "{}", r#"{"content":"a"}"#, r#"{"content":null}"#, r#"{"content":[]} x"#] {
        assert_eq!(anthropic().decode_response(body.as_bytes()).unwrap_err().kind(), ErrorKind::BadAnswer, "{body}");
    }
    let failed = br#"{"type":"error","error":{"type":"overloaded_error","message":"busy"}}"#;
    assert_eq!(anthropic().decode_response(failed).unwrap_err().kind(), ErrorKind::Overloaded);
}

#[test]
fn errors_are_told_in_the_callers_words() {
    use ErrorKind::{
        BadAnswer, Conflict, ContextLength, Denied, Forbidden, InvalidRequest, NotFound, Overloaded, QuotaExhausted,
        RateLimited, Shed, Timeout, TooLarge, Unauthenticated, Upstream, UpstreamAuth,
    };
    for (kind, chat_status, chat_words, anthropic_status, anthropic_type) in [
        (InvalidRequest, 400, r#""type":"invalid_request_error""#, 400, "invalid_request_error"),
        (ContextLength, 400, r#""code":"context_length_exceeded""#, 400, "invalid_request_error"),
        (Unauthenticated, 401, r#""code":"invalid_api_key""#, 401, "authentication_error"),
        (UpstreamAuth, 502, r#""code":"upstream_auth_error""#, 502, "api_error"),
        (QuotaExhausted, 429, r#""type":"insufficient_quota""#, 402, "billing_error"),
        (Forbidden, 403, r#""type":"invalid_request_error""#, 403, "permission_error"),
        (NotFound, 404, r#""type":"invalid_request_error""#, 404, "not_found_error"),
        (Conflict, 409, r#""type":"invalid_request_error""#, 409, "conflict_error"),
        (TooLarge, 413, r#""type":"invalid_request_error""#, 413, "request_too_large"),
        (RateLimited, 429, r#""code":"rate_limit_exceeded""#, 429, "rate_limit_error"),
        (Denied, 429, r#""code":"rate_limit_exceeded""#, 429, "rate_limit_error"),
        (Overloaded, 503, r#""code":"server_is_overloaded""#, 529, "overloaded_error"),
        (Shed, 503, r#""code":"server_is_overloaded""#, 529, "overloaded_error"),
        (Upstream, 502, r#""type":"server_error""#, 502, "api_error"),
        (BadAnswer, 502, r#""type":"server_error""#, 502, "api_error"),
        (Timeout, 504, r#""code":"timeout""#, 504, "timeout_error"),
    ] {
        let error = Error::new(kind, "as it is");
        let (status, body) = chat().encode_error(&error, None);
        assert_eq!(status, chat_status, "{kind:?}");
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(body.contains(chat_words) && body.contains(r#""message":"as it is""#), "{body}");
        let (status, body) = anthropic().encode_error(&error, None);
        assert_eq!(status, anthropic_status, "{kind:?}");
        let body = String::from_utf8(body.to_vec()).unwrap();
        let start = format!(r#"{{"type":"error","error":{{"type":"{anthropic_type}","message":""#);
        assert!(body.starts_with(&start) && body.contains("as it is"), "{body}");
    }
    let too_long = anthropic().encode_error(&Error::new(ContextLength, "200001 tokens"), None).1;
    assert!(String::from_utf8(too_long.to_vec()).unwrap().contains("prompt is too long: 200001 tokens"));
}

#[test]
fn anthropics_errors_are_read_by_status_and_type() {
    use std::time::Duration;
    let read = |status, body: &str, headers: &[(&'static str, &'static str)]| {
        let mut map = http::HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, http::HeaderValue::from_static(value));
        }
        anthropic().decode_error(status, &map, body.as_bytes(), Duration::from_secs(1_700_000_000))
    };
    let typed =
        |kind: &str| format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"m"}},"request_id":"r"}}"#);
    for (status, kind, expected) in [
        (400, "invalid_request_error", ErrorKind::InvalidRequest),
        (400, "billing_error", ErrorKind::QuotaExhausted),
        (401, "authentication_error", ErrorKind::UpstreamAuth),
        (402, "billing_error", ErrorKind::QuotaExhausted),
        (403, "permission_error", ErrorKind::Forbidden),
        (404, "not_found_error", ErrorKind::NotFound),
        (408, "", ErrorKind::Timeout),
        (409, "conflict_error", ErrorKind::Conflict),
        (413, "request_too_large", ErrorKind::TooLarge),
        (422, "", ErrorKind::Unprocessable),
        (429, "rate_limit_error", ErrorKind::RateLimited),
        (500, "api_error", ErrorKind::Upstream),
        (500, "overloaded_error", ErrorKind::Overloaded),
        (503, "", ErrorKind::Overloaded),
        (504, "timeout_error", ErrorKind::Timeout),
        (529, "overloaded_error", ErrorKind::Overloaded),
        (302, "", ErrorKind::BadAnswer),
    ] {
        let error = read(status, &typed(kind), &[]);
        assert_eq!(
            (error.kind(), error.message(), error.upstream_status()),
            (expected, "m", Some(status)),
            "{status} {kind}"
        );
        assert_eq!(read(status, "<html>", &[]).message(), format!("upstream returned HTTP {status}"));
    }
    let long = r#"{"error":{"type":"invalid_request_error","message":"prompt is too long: 9 tokens > 8 maximum"}}"#;
    assert_eq!(read(400, long, &[]).kind(), ErrorKind::ContextLength);
    let wait = |headers: &[(&'static str, &'static str)]| read(429, &typed("rate_limit_error"), headers).retry_after();
    assert_eq!(wait(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
    let resets = [
        ("anthropic-ratelimit-requests-remaining", "3"),
        ("anthropic-ratelimit-requests-reset", "2023-11-14T22:20:00Z"),
        ("anthropic-ratelimit-input-tokens-remaining", "0"),
        ("anthropic-ratelimit-input-tokens-reset", "2023-11-14T22:13:50Z"),
    ];
    assert_eq!(wait(&resets), Some(Duration::from_secs(30)));
    assert_eq!(wait(&[("anthropic-ratelimit-tokens-reset", "2023-11-14T22:13:00Z")]), Some(Duration::ZERO));
    assert_eq!(wait(&[]), None);
    assert_eq!(read(500, "", &[("request-id", "req_7")]).upstream_request_id(), Some("req_7"));
}
