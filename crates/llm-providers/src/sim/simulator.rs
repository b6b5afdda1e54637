//! The simulated model itself: which script holds for a request, whether it fails, and what is answered.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use llm_core::sync::Mutex;
use llm_core::{
    CompletionRequest, Content, Error, ErrorKind, HashKey, Json, Model, Part, ResponseFormat, Role, StopReason,
    ToolCall, ToolChoice, ToolKind, Usage, hash128,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::fixed::Encoded;
use super::instance::instance;
use super::ledger::{Counts, InFlight, Ledger};
use super::refusal::Refusal;
use super::script::{HEADER, ScriptError, SimScript};
#[cfg(feature = "sim-server")]
use super::server::served::Served;
use crate::prompt::{input_tokens, texts};
use crate::reply::{Reply, Said, Spoken};

/// The model that is always there.
const MODEL: &str = "sim";

/// When every answer says that it was made, in unix seconds.
pub(crate) const CREATED: u64 = 1_700_000_000;

/// Words in an answer when its script does not say.
const TOKENS: u32 = 16;

/// The most choices that are given, as with OpenAI.
const MOST_CHOICES: u32 = 128;

/// The most scripts and failure counts that are remembered; at the bound all are forgotten.
const MOST_REMEMBERED: usize = 4096;

/// What an answer is made of.
const WORDS: [&str; 64] = [
    "a", "about", "after", "again", "all", "and", "answer", "are", "as", "at", "before", "between", "both", "but",
    "by", "can", "clear", "day", "each", "early", "even", "first", "for", "found", "from", "good", "has", "here", "in",
    "is", "it", "large", "last", "light", "little", "long", "made", "many", "more", "most", "name", "near", "no", "of",
    "old", "on", "one", "open", "or", "other", "part", "place", "right", "same", "small", "so", "still", "that", "the",
    "then", "to", "two", "water", "with",
];

/// How a simulated provider is set up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimConfig {
    /// What all randomness is drawn from. Default 0.
    pub seed: u64,
    /// What models do, by name. They are listed as models, with `sim`, which is always there. A name may be asked for
    /// with a script of its own after a question mark, which goes over the one here: `sim?tokens=5&gap=20ms`.
    pub models: BTreeMap<String, SimScript>,
    /// What every model does where its script says nothing.
    pub default: SimScript,
}

/// A simulated provider without a way to reach it.
#[derive(Debug)]
pub(crate) struct Simulator {
    config: SimConfig,
    pub(crate) ledger: Arc<Ledger>,
    /// Requests so far.
    ordinal: AtomicU64,
    /// By the model's name and the request's own script, as they were written.
    targets: Mutex<HashMap<Written, Arc<Target>>>,
    /// Failures so far of each script that fails first.
    failures: Mutex<HashMap<String, u32>>,
}

type Written = (String, Option<Vec<u8>>);

/// A model and its script: what a request asks for.
#[derive(Debug)]
pub(crate) struct Target {
    /// The model's name, without a script.
    pub(crate) model: String,
    pub(crate) script: SimScript,
    /// Whether every request gets the same answer and none a fault.
    pub(crate) fixed: bool,
    /// What failures are counted by.
    key: String,
    counts: Arc<Counts>,
    /// The answer of a fixed model, encoded.
    encoded: OnceLock<Encoded>,
    /// The same as the served process sends it.
    #[cfg(feature = "sim-server")]
    served: OnceLock<Served>,
}

impl Simulator {
    pub(crate) fn new(config: SimConfig) -> Self {
        Self {
            config,
            ledger: Arc::default(),
            ordinal: AtomicU64::new(0),
            targets: Mutex::default(),
            failures: Mutex::default(),
        }
    }

    /// The models, `sim` among them.
    pub(crate) fn models(&self) -> Vec<Model> {
        let ours = (!self.config.models.contains_key(MODEL)).then_some(MODEL);
        let names = self.config.models.keys().map(String::as_str).chain(ours);
        names.map(|id| Model { id: id.into(), created: CREATED, owned_by: "llmkit".into() }).collect()
    }

    /// What is asked for by `model`, a name that may carry a script, when the request's own script is `header`.
    ///
    /// # Errors
    /// `InvalidRequest`, when a script is none.
    pub(crate) fn target(&self, model: &str, header: Option<&[u8]>) -> Result<Arc<Target>, Error> {
        let asked = (model.to_owned(), header.map(<[u8]>::to_vec));
        if let Some(target) = self.targets.lock().get(&asked) {
            return Ok(target.clone());
        }
        let own = header.map(SimScript::from_bytes).transpose().map_err(|error| bad_script(&error, HEADER))?;
        let target = self.read(model, own.unwrap_or_default()).map_err(|error| bad_script(&error, "model"))?;
        let target = Arc::new(target);
        let mut targets = self.targets.lock();
        if targets.len() >= MOST_REMEMBERED {
            targets.clear();
        }
        Ok(targets.entry(asked).or_insert(target).clone())
    }

    fn read(&self, model: &str, own: SimScript) -> Result<Target, ScriptError> {
        let (name, named) = model.split_once('?').unwrap_or((model, ""));
        let name = if name.is_empty() { MODEL } else { name };
        let configured = self.config.models.get(name).cloned().unwrap_or_default().over(&self.config.default);
        let script = named.parse::<SimScript>()?.over(&configured);
        let script = own.over(&script);
        Ok(Target {
            model: name.into(),
            fixed: script.fixed == Some(true) && !script.has_fault(),
            key: script.key.clone().unwrap_or_else(|| format!("{name} {script}")),
            counts: self.ledger.counts(name),
            encoded: OnceLock::new(),
            #[cfg(feature = "sim-server")]
            served: OnceLock::new(),
            script,
        })
    }

    /// Begins a request: counts it, and numbers it.
    pub(crate) fn begin(&self, target: &Target) -> (InFlight, u64) {
        // Relaxed: a number, which publishes nothing.
        let ordinal = self.ordinal.fetch_add(1, Ordering::Relaxed);
        (InFlight::begin(&self.ledger, &target.counts), ordinal)
    }

    /// Counts a request that asks for no model.
    pub(crate) fn begin_other(&self) -> InFlight {
        InFlight::begin(&self.ledger, &self.ledger.counts("(none)"))
    }

    /// The error with which the request is answered, if it is answered with one.
    pub(crate) fn refusal(&self, target: &Target, ordinal: u64) -> Option<Refusal> {
        let script = &target.script;
        let first = script.fail_first.is_some_and(|most| self.fails_first(&target.key, most));
        let drawn = || fastrand::Rng::with_seed(self.hash(&[b"error", &ordinal.to_le_bytes()])).f64();
        let rate = script.failure_rate();
        let page = || (script.html == Some(true) && !script.has_errors()).then(|| Refusal::page(200));
        if first || rate > 0.0 && drawn() < rate { Some(Refusal::scripted(script)) } else { page() }
    }

    fn fails_first(&self, key: &str, most: u32) -> bool {
        let mut failures = self.failures.lock();
        if failures.len() >= MOST_REMEMBERED && !failures.contains_key(key) {
            failures.clear();
        }
        let count = failures.entry(key.into()).or_default();
        let fails = *count < most;
        *count += u32::from(fails);
        fails
    }

    /// The answer of a fixed `target`, encoded when it is first asked for.
    pub(crate) fn encoded<'a>(&self, target: &'a Target) -> &'a Encoded {
        let asked = || CompletionRequest::new(target.model.as_str(), Vec::new());
        target.encoded.get_or_init(|| Encoded::new(self.reply(target, &asked(), 0)))
    }

    /// The same as the served process sends it.
    #[cfg(feature = "sim-server")]
    pub(crate) fn served<'a>(&self, target: &'a Target) -> &'a Served {
        target.served.get_or_init(|| Served::new(self.encoded(target)))
    }

    /// What is answered to `request`. The text depends on the request, the id on its number.
    pub(crate) fn reply(&self, target: &Target, request: &CompletionRequest, ordinal: u64) -> Reply {
        let mut hashed = vec![b"text".as_slice(), target.model.as_bytes()];
        hashed.extend(texts(&request.messages).into_iter().map(str::as_bytes));
        let mut random = fastrand::Rng::with_seed(self.hash(&hashed));
        let id = self.hash(&[b"id", &ordinal.to_le_bytes()]);
        let count = request.n.unwrap_or(1).clamp(1, MOST_CHOICES);
        let choices: Vec<_> = (0..count)
            .map(|index| choice(&target.script, request, &format!("{id:016x}{index}"), &mut random))
            .collect();
        let usage = (target.script.usage != Some(false)).then(|| Usage {
            input: input_tokens(&request.messages),
            output: choices.iter().map(|choice| choice.said.pieces()).sum(),
            ..Usage::default()
        });
        let id = format!("chatcmpl-sim-{id:016x}");
        Reply { id, model: target.model.clone(), created: CREATED, choices, usage }
    }

    fn hash(&self, parts: &[&[u8]]) -> u64 {
        hash128(HashKey::fixed(self.config.seed), parts) as u64
    }

    /// Forgets all requests: counts, numbers and failures start again.
    pub(crate) fn reset(&self) {
        self.failures.lock().clear();
        // Relaxed: a number, which publishes nothing.
        self.ordinal.store(0, Ordering::Relaxed);
        self.ledger.reset();
    }
}

fn choice(script: &SimScript, request: &CompletionRequest, id: &str, random: &mut fastrand::Rng) -> Spoken {
    if let Some((calls, stop)) = calls(script, request, id) {
        return Spoken { said: Said::Calls(calls), stop };
    }
    let said = match (&script.reply, &request.response_format) {
        (Some(reply), _) => Said::Text(reply.clone()),
        (None, Some(ResponseFormat::JsonSchema { schema, .. })) => {
            Said::Json(schema.as_ref().map_or_else(|| json!({}), follow).to_string())
        }
        (None, Some(ResponseFormat::JsonObject)) => Said::Json(json!({"answer": "sim"}).to_string()),
        (None, _) => {
            // One more than the cap is enough to see that it was met.
            let most = request.max_tokens.map_or(u64::MAX, |most| most.saturating_add(1));
            Said::Text(speech(u64::from(script.tokens.unwrap_or(TOKENS)).min(most), random))
        }
    };
    capped(said, request.max_tokens)
}

fn bad_script(error: &ScriptError, place: &str) -> Error {
    Error::new(ErrorKind::InvalidRequest, error.to_string()).with_param(place).with_code("invalid_value")
}

/// The calls that are made, and why the answer ends with them.
fn calls(script: &SimScript, request: &CompletionRequest, id: &str) -> Option<(Vec<ToolCall>, StopReason)> {
    let several = if request.parallel_tool_calls == Some(false) { 1 } else { 2 };
    let is_result = |part: &Part| matches!(part.content, Content::ToolResult { .. });
    let answered = request
        .messages
        .last()
        .is_some_and(|message| message.role == Role::Tool || message.parts.iter().any(is_result));
    let mut tools: Vec<_> = request.tools.iter().filter(|tool| tool.kind == ToolKind::Function).collect();
    let stop = match &request.tool_choice {
        Some(ToolChoice::None) => return None,
        // A call that was named ends with `stop`, as OpenAI's do.
        Some(ToolChoice::Function(name)) => {
            tools.retain(|tool| tool.name == *name);
            tools.truncate(1);
            StopReason::Stop
        }
        Some(ToolChoice::Required) => StopReason::ToolCalls,
        _ if script.tool == Some(true) && !answered => StopReason::ToolCalls,
        _ => return None,
    };
    let calls = (0..).zip(tools.iter().take(several)).map(|(index, tool)| {
        let arguments = tool.parameters.as_ref().map_or_else(|| json!({}), follow).to_string();
        ToolCall::function(format!("call_sim_{id}_{index}"), &tool.name, arguments)
    });
    let calls: Vec<_> = calls.collect();
    (!calls.is_empty()).then_some((calls, stop))
}

/// A value that `schema` accepts.
fn follow(schema: &Json) -> Value {
    serde_json::from_str(schema.as_str()).map_or(Value::Null, |schema| instance(&schema))
}

fn speech(count: u64, random: &mut fastrand::Rng) -> String {
    let mut text = String::new();
    for word in 0..count {
        if word > 0 {
            text.push(' ');
        }
        text.push_str(WORDS[random.usize(..WORDS.len())]);
    }
    text
}

/// At most `most` tokens of `said`.
fn capped(said: Said, most: Option<u64>) -> Spoken {
    let most = most.unwrap_or(u64::MAX);
    if said.pieces() <= most {
        return Spoken { said, stop: StopReason::Stop };
    }
    Spoken { said: said.first(most), stop: StopReason::Length }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_callers_make_up_are_remembered_up_to_a_bound() {
        let simulator = Simulator::new(SimConfig::default());
        for number in 0..MOST_REMEMBERED + 10 {
            simulator.target(&format!("sim?fail_first=1&key={number}"), None).expect("a script");
            assert!(simulator.fails_first(&number.to_string(), 1));
        }
        assert!(simulator.targets.lock().len() <= MOST_REMEMBERED);
        assert!(simulator.failures.lock().len() <= MOST_REMEMBERED);
    }
}
