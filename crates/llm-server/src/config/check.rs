//! What the types do not say: names that fit together, values within their bounds.

use std::collections::HashSet;
use std::fmt;

use llm_core::Money;
use llm_providers::KnownServer;
use llm_providers::SimScript;
use llm_ratelimit::ConfigError;
use llm_telemetry::{OtlpConfig, SamplingError};
use secrecy::ExposeSecret;

use super::environment::Environment;
use super::file::{ApiKey, Breaker, Config, Kind, Model, Provider, Resilience, Strategy};
use super::limits::Level;
use crate::http::auth::digest;
use crate::http::cors::Cors;
use crate::http::tls::Certificate;

/// Something wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, such as `models.fast.targets`.
    pub key: String,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.what)
    }
}

/// All that is wrong with `config`.
pub(crate) fn problems(config: &Config, environment: &Environment) -> Vec<Problem> {
    let mut problems = Problems(Vec::new());
    server(config, environment, &mut problems);
    providers(config, environment, &mut problems);
    models(config, &mut problems);
    let resilience = &config.resilience;
    problems.unless(resilience.retry_attempts <= 100, "resilience.retry_attempts", "at most 100");
    let keys = ["circuit_breaker_threshold", "circuit_breaker_timeout_s", "circuit_breaker_success_rate"];
    circuits(resilience, keys.map(|key| format!("resilience.{key}")), &mut problems);
    if let Some(limits) = &config.rate_limits {
        let quota = llm_ratelimit::TokenBucketConfig::new(limits.requests_per_second, limits.burst_capacity);
        if let Err(error) = llm_ratelimit::RateLimiter::try_new(quota) {
            let text = error.to_string();
            let text = text.replace("rate_per_second", "requests_per_second").replace("burst:", "burst_capacity:");
            problems.add("rate_limits", text);
        }
    }
    limits(config, &mut problems);
    problems.unless(config.deduplication.max_entries > 0, "deduplication.max_entries", "at least 1");
    problems.unless(config.deduplication.max_bytes > 0, "deduplication.max_bytes", "at least 1");
    if let Some(similar) = &config.semantic_dedup {
        problems.unless(similar.similarity_threshold <= 6, "semantic_dedup.similarity_threshold", "0 to 6");
        problems.unless(similar.window_secs > 0, "semantic_dedup.window_secs", "at least 1");
    }
    traces(config, &mut problems);
    problems.0
}

/// Settings of circuits, whose keys are called `keys` where they stand.
fn circuits(settings: &Resilience, keys: [String; 3], problems: &mut Problems) {
    let [threshold, timeout, share] = keys;
    problems.unless(settings.circuit_breaker_threshold > 0, threshold, "at least 1");
    let wait = settings.circuit_breaker_timeout_s;
    problems.unless(wait.is_none_or(|wait| (1..=31_536_000).contains(&wait)), timeout, "1 to 31536000");
    let rate = settings.circuit_breaker_success_rate;
    problems.unless(rate > 0.0 && rate <= 1.0, share, "above 0 and at most 1");
}

struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, key: impl Into<String>, what: impl Into<String>) {
        self.0.push(Problem { key: key.into(), what: what.into() });
    }

    fn unless(&mut self, fine: bool, key: impl Into<String>, bound: &str) {
        if !fine {
            self.add(key, format!("must be {bound}"));
        }
    }
}

fn server(config: &Config, environment: &Environment, problems: &mut Problems) {
    let server = &config.server;
    if !server.listen.ip().is_loopback() && server.api_keys.is_empty() {
        problems.add(
            "server.listen",
            format!("{} is open to others: set server.api_keys, or listen on 127.0.0.1", server.listen),
        );
    }
    for (number, key) in server.api_keys.iter().enumerate() {
        let place = format!("server.api_keys[{number}]");
        let (secret, table) = match key {
            ApiKey::Plain(secret) => (secret, None),
            ApiKey::Table(table) => (&table.key, Some(table)),
        };
        if let Err(error) = secret.resolve(environment) {
            problems.add(&place, error.to_string());
        }
        if let Some(table) = table {
            problems.unless(
                !table.scopes.is_empty(),
                format!("{place}.scopes"),
                "at least one of \"inference\", \"admin\"",
            );
            for (key, name) in [("tenant", &table.tenant), ("org", &table.org), ("team", &table.team)] {
                problems.unless(name.as_deref() != Some(""), format!("{place}.{key}"), "a name");
            }
        }
    }
    if let Err(error) = Certificate::of(server) {
        problems.add(error.key, error.what);
    }
    if let Err((number, error)) = Cors::of(&server.cors_origins) {
        problems.add(format!("server.cors_origins[{number}]"), error.to_string());
    }
    problems.unless(
        server.max_body_bytes > 0 && server.max_body_bytes < u32::MAX as usize,
        "server.max_body_bytes",
        "1 to 4294967294",
    );
    for (key, span) in [("header_timeout", server.header_timeout), ("body_idle_timeout", server.body_idle_timeout)] {
        problems.unless(!span.0.is_zero(), format!("server.{key}"), "longer than zero");
    }
    let metrics = config.observability.metrics_port;
    problems.unless(
        metrics.is_none_or(|port| port != server.listen.port()),
        "observability.metrics_port",
        "another than server.listen's",
    );
    if let Some(Err(error)) = config.observability.metrics_api_key.as_ref().map(|key| key.resolve(environment)) {
        problems.add("observability.metrics_api_key", error.to_string());
    }
}

fn traces(config: &Config, problems: &mut Problems) {
    let observability = &config.observability;
    let collector = observability.tracing_endpoint.as_ref().map(OtlpConfig::new);
    if let Some(Err(error)) = collector.map(|collector| collector.check()) {
        problems.add("observability.tracing_endpoint", error.to_string());
    }
    match observability.sampling().check() {
        Err(SamplingError::Ratio) => problems.add("observability.trace_ratio", "must be 0 to 1"),
        Err(_) => problems.add("observability.traces_per_second", "must be 0 or more"),
        Ok(()) => {}
    }
}

fn limits(config: &Config, problems: &mut Problems) {
    let mut names = HashSet::new();
    for (number, limit) in config.limits.iter().enumerate() {
        let place = format!("limits[{number}]");
        problems.unless(!limit.name.is_empty(), format!("{place}.name"), "a name, or `*`");
        if !names.insert((limit.level, &limit.name)) {
            problems.add(&place, "another table is for the same level and name");
        }
        let nobodys = limit.level == Level::User && limit.name != "*" && !limit.name.contains('/');
        problems.unless(
            !nobodys || config.server.api_keys.is_empty(),
            format!("{place}.name"),
            "`tenant/user`, since users of different tenants are different",
        );
        match limit.table() {
            Err(ConfigError::Value { key, what }) => problems.add(format!("{place}.{key}"), what),
            Err(error) => problems.add(&place, error.to_string()),
            Ok(_) => {}
        }
    }
}

fn providers(config: &Config, environment: &Environment, problems: &mut Problems) {
    let mut names = HashSet::new();
    for provider in &config.providers {
        let place = format!("providers.{}", provider.name);
        problems.unless(!provider.name.is_empty() && !provider.name.contains('/'), &place, "a name without `/`");
        if !names.insert(&provider.name) {
            problems.add(&place, "another provider has this name");
        }
        keys(provider, &place, environment, problems);
        let spans = [
            ("connect_timeout", provider.connect_timeout),
            ("first_token_timeout", provider.first_token_timeout),
            ("token_gap_timeout", provider.token_gap_timeout),
            ("total_timeout", provider.total_timeout),
        ];
        for (key, span) in spans {
            problems.unless(!span.0.is_zero(), format!("{place}.{key}"), "longer than zero");
        }
        if provider.breaker != Breaker::default() {
            let keys = ["threshold", "timeout_s", "success_rate"].map(|key| format!("{place}.breaker.{key}"));
            circuits(&config.resilience.with(&provider.breaker), keys, problems);
        }
        base_url(config, provider, &place, problems);
        vertex_ai(provider, &place, environment, problems);
        bedrock(provider, &place, environment, problems);
        for (model, script) in &provider.scripts {
            if let Err(error) = script.parse::<SimScript>() {
                problems.add(format!("{place}.scripts.{model}"), error.to_string());
            }
        }
        let scripted = provider.scripts.is_empty() && provider.seed == 0;
        problems.unless(
            scripted || provider.kind == Kind::Sim,
            format!("{place}.scripts"),
            "left to the kind `sim`, as `seed` is",
        );
    }
}

fn keys(provider: &Provider, place: &str, environment: &Environment, problems: &mut Problems) {
    let list = format!("{place}.api_keys");
    let mut known = HashSet::new();
    for (at, key) in provider.keys().enumerate() {
        let place = match (&provider.api_key, &provider.credentials) {
            (Some(_), _) if at == 0 => format!("{place}.api_key"),
            (None, Some(_)) if at == 0 => format!("{place}.credentials"),
            _ => list.clone(),
        };
        match key.key.resolve(environment) {
            Ok(secret) => problems.unless(known.insert(digest(secret.expose_secret())), &place, "a key of its own"),
            Err(error) => problems.add(&place, error.to_string()),
        }
        match key.limit("key".to_owned()).map(|limit| limit.table()) {
            Some(Err(ConfigError::Value { key, what })) => problems.add(format!("{place}.{key}"), what),
            Some(Err(error)) => problems.add(&place, error.to_string()),
            _ => {}
        }
    }
    problems.unless(provider.keys().count() <= 64, &list, "64 keys at most");
    let spares = provider.keys().count() > 1 && provider.keys().all(|key| key.weight == 0);
    problems.unless(!spares, format!("{list}.weight"), "above 0 for one of the keys");
    let needless = matches!(provider.kind, Kind::Echo | Kind::Sim) && !provider.api_keys.is_empty();
    problems.unless(!needless, list, "left to kinds that send keys");
}

fn base_url(config: &Config, provider: &Provider, place: &str, problems: &mut Problems) {
    let key = format!("{place}.base_url");
    if let Some(preset) = &provider.preset {
        let named = format!("{place}.preset");
        problems.unless(provider.kind == Kind::OpenAiCompatible, &named, "left to the kind `openai_compatible`");
        if KnownServer::named(preset).is_none() {
            let known: Vec<_> = KnownServer::names().collect();
            problems.add(named, format!("`{preset}` is none; there are {}", known.join(", ")));
        }
    }
    match (&provider.base_url, provider.kind) {
        (None, Kind::OpenAiCompatible) if provider.preset.is_none() => {
            problems.add(key, "is needed for the kind `openai_compatible` without a `preset`");
        }
        (None, Kind::AzureOpenAi) => problems.add(key, "is needed for the kind `azure_openai`"),
        (Some(_), Kind::Echo | Kind::Sim) => problems.add(key, "has no meaning for this kind"),
        (Some(url), _) => {
            if let Err(error) = llm_providers::check_base_url(url) {
                problems.add(key, error.to_string());
            } else if url.contains(&format!("//{}/", config.server.listen))
                || url.ends_with(&format!("//{}", config.server.listen))
            {
                problems.add(key, "is this gateway's own address: it would call itself");
            }
        }
        (None, _) => {}
    }
}

/// What is of the kind `vertex_ai` alone.
#[cfg_attr(not(feature = "vertex"), expect(unused_variables, reason = "what is not built is not looked into"))]
fn vertex_ai(provider: &Provider, place: &str, environment: &Environment, problems: &mut Problems) {
    let Provider { project, location, credentials, .. } = provider;
    let given =
        [("project", project.is_some()), ("location", location.is_some()), ("credentials", credentials.is_some())];
    if provider.kind != Kind::VertexAi {
        let publisher = ("publisher", provider.publisher.is_some());
        for (key, _) in given.into_iter().chain([publisher]).filter(|(_, given)| *given) {
            problems.add(format!("{place}.{key}"), "must be left to the kind `vertex_ai`");
        }
        return;
    }
    if !provider.kind.is_built() {
        return;
    }
    problems.unless(provider.api_key.is_none(), format!("{place}.api_key"), "left out: `credentials` are what is sent");
    for (key, given) in given {
        let elsewhere = key == "credentials" && !provider.api_keys.is_empty();
        problems.unless(given || elsewhere, format!("{place}.{key}"), "given for the kind `vertex_ai`");
    }
    #[cfg(feature = "vertex")]
    {
        if let (Some(project), Some(location)) = (project, location)
            && let Err(error) = llm_providers::HttpConfig::vertex_ai(None, project, location)
        {
            let key = if error == llm_providers::ConfigError::Project { "project" } else { "location" };
            problems.add(format!("{place}.{key}"), error.to_string());
        }
        for key in provider.keys() {
            // One that cannot be had is told of elsewhere.
            if let Ok(secret) = key.key.resolve(environment)
                && let Err(error) = llm_providers::check_service_account(secret.expose_secret())
            {
                problems.add(format!("{place}.credentials"), error.to_string());
            }
        }
    }
}

/// What is of the kind `bedrock` alone.
fn bedrock(provider: &Provider, place: &str, environment: &Environment, problems: &mut Problems) {
    let secrets = [
        ("access_key_id", &provider.access_key_id),
        ("secret_access_key", &provider.secret_access_key),
        ("session_token", &provider.session_token),
    ];
    if provider.kind != Kind::Bedrock {
        let region = provider.region.as_ref().map(|_| "region");
        for key in region.into_iter().chain(secrets.into_iter().filter(|(_, it)| it.is_some()).map(|(key, _)| key)) {
            problems.add(format!("{place}.{key}"), "must be left to the kind `bedrock`");
        }
        return;
    }
    if !provider.kind.is_built() {
        return;
    }
    match provider.region.as_deref() {
        None => problems.add(format!("{place}.region"), "must be given for the kind `bedrock`, or by AWS_REGION"),
        #[cfg(feature = "bedrock")]
        Some(region) => {
            if let Err(error) = llm_providers::HttpConfig::bedrock(region) {
                problems.add(format!("{place}.region"), error.to_string());
            }
        }
        #[cfg(not(feature = "bedrock"))]
        Some(_) => {}
    }
    let signs = secrets.iter().any(|(_, secret)| secret.is_some());
    if !signs && provider.keys().next().is_none() {
        let what = "must be given for the kind `bedrock`, as `api_key` or the variables of Amazon's tools may be";
        problems.add(format!("{place}.access_key_id"), what);
    }
    for (key, secret) in secrets {
        match secret.as_ref().map(|secret| secret.resolve(environment)) {
            Some(Err(error)) => problems.add(format!("{place}.{key}"), error.to_string()),
            None if signs && key != "session_token" => {
                problems.add(format!("{place}.{key}"), "must be given beside the other");
            }
            _ => {}
        }
    }
}

fn models(config: &Config, problems: &mut Problems) {
    let mut names = HashSet::new();
    for model in &config.models {
        let place = format!("models.{}", model.name);
        problems.unless(!model.name.is_empty(), &place, "a name");
        if !names.insert(&model.name) {
            problems.add(&place, "another model has this name");
        }
        problems.unless(
            model.sla.is_none_or(|sla| !sla.0.is_zero() && model.strategy == Strategy::Arbitrage),
            format!("{place}.sla"),
            "longer than zero, and of the strategy `arbitrage`",
        );
        targets(config, model, &place, problems);
    }
}

fn targets(config: &Config, model: &Model, place: &str, problems: &mut Problems) {
    let place = format!("{place}.targets");
    problems.unless((1..=64).contains(&model.targets.len()), &place, "1 to 64 targets");
    let weighted = model.strategy == Strategy::Weighted;
    let silent = weighted && model.targets.iter().all(|target| target.weight == 0);
    problems.unless(!silent || model.targets.is_empty(), &place, "given a weight above 0 at least once");
    for target in &model.targets {
        if !config.providers.iter().any(|provider| provider.name == target.provider) {
            problems.add(&place, format!("there is no provider `{}`", target.provider));
        }
        problems.unless(!target.model.is_empty(), &place, "given a model each");
        for (key, amount) in target.price.iter().flat_map(|price| [("input", &price.input), ("output", &price.output)])
        {
            match amount.parse::<Money>() {
                Err(error) => problems.add(format!("{place}.price.{key}"), error.to_string()),
                Ok(amount) => problems.unless(
                    amount.divided_by(1_000_000).is_some(),
                    format!("{place}.price.{key}"),
                    "dollars with at most 6 decimals",
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<String> {
        let config: Config = toml::from_str(text).unwrap();
        problems(&config, &Environment::default()).into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn each_rule_names_its_key() {
        for (text, key) in [
            ("[server]\nlisten = \"0.0.0.0:80\"", "server.listen"),
            ("[server]\napi_keys = [\"env:NOT_SET\"]", "server.api_keys[0]"),
            ("[server]\napi_keys = [{ key = \"k\", scopes = [] }]", "server.api_keys[0].scopes"),
            ("[server]\ntls_cert = \"cert.pem\"", "server.tls_key"),
            ("[server]\ntls_key = \"key.pem\"", "server.tls_cert"),
            ("[server]\ntls_cert = \"/nonexistent/cert\"\ntls_key = \"/nonexistent/key\"", "server.tls_cert"),
            ("[server]\ncors_origins = [\"https://a\", \"https://b/\"]", "server.cors_origins[1]"),
            ("[server]\nmax_body_bytes = 0", "server.max_body_bytes"),
            ("[server]\nheader_timeout = \"0s\"", "server.header_timeout"),
            ("[observability]\nmetrics_port = 8080", "observability.metrics_port"),
            ("[observability]\ntracing_endpoint = \"jaeger:4318\"", "observability.tracing_endpoint"),
            ("[observability]\ntrace_ratio = 1.5", "observability.trace_ratio"),
            ("[observability]\ntraces_per_second = -1", "observability.traces_per_second"),
            ("[resilience]\ncircuit_breaker_threshold = 0", "resilience.circuit_breaker_threshold"),
            ("[resilience]\ncircuit_breaker_success_rate = 0.0", "resilience.circuit_breaker_success_rate"),
            ("[resilience]\ncircuit_breaker_timeout_s = 0", "resilience.circuit_breaker_timeout_s"),
            ("[rate_limits]\nrequests_per_second = 0.0", "rate_limits"),
            ("[rate_limits]\nburst_capacity = 0", "rate_limits"),
            ("[deduplication]\nmax_entries = 0", "deduplication.max_entries"),
            ("[[limits]]\nlevel = \"key\"\nname = \"*\"", "limits[0].level"),
            ("[[limits]]\nlevel = \"key\"\nname = \"\"\nconcurrency = 1", "limits[0].name"),
            ("[[limits]]\nlevel = \"key\"\nname = \"*\"\nconcurrency = 0", "limits[0].concurrency"),
            (
                "[[limits]]\nlevel = \"key\"\nname = \"*\"\nrequests = { rate = 0, per = \"1s\" }",
                "limits[0].requests.rate",
            ),
            ("[[limits]]\nlevel = \"key\"\nname = \"*\"\ntokens = { cap = 0, per = \"1s\" }", "limits[0].tokens.cap"),
            (
                "[[limits]]\nlevel = \"key\"\nname = \"*\"\nmoney = { cap = \"5 USD\", per = \"1d\" }",
                "limits[0].money.cap",
            ),
            ("[[limits]]\nlevel = \"key\"\nname = \"*\"\nmoney = { cap = \"0\", per = \"1d\" }", "limits[0].money.cap"),
            (
                "server.api_keys = [\"k\"]\n[[limits]]\nlevel = \"user\"\nname = \"ann\"\nconcurrency = 1",
                "limits[0].name",
            ),
            ("[[providers]]\nname = \"a/b\"\nkind = \"echo\"", "providers.a/b"),
            ("[[providers]]\nname = \"a\"\nkind = \"openai_compatible\"", "providers.a.base_url"),
            ("[[providers]]\nname = \"a\"\nkind = \"openai\"\nbase_url = \"nowhere\"", "providers.a.base_url"),
            (
                "[[providers]]\nname = \"a\"\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:8080/v1\"",
                "providers.a.base_url",
            ),
            ("[[providers]]\nname = \"a\"\nkind = \"openai\"\napi_key = \"env:NOT_SET\"", "providers.a.api_key"),
            ("[[providers]]\nname = \"a\"\nkind = \"sim\"\nscripts = { m = \"speed=9\" }", "providers.a.scripts.m"),
            ("[[providers]]\nname = \"a\"\nkind = \"echo\"\nscripts = { m = \"tokens=9\" }", "providers.a.scripts"),
            (
                "[[providers]]\nname = \"a\"\nkind = \"echo\"\nbreaker = { threshold = 0 }",
                "providers.a.breaker.threshold",
            ),
            ("[[providers]]\nname = \"a\"\nkind = \"openai\"\nproject = \"p\"", "providers.a.project"),
            ("[[providers]]\nname = \"a\"\nkind = \"openai\"\nregion = \"r\"", "providers.a.region"),
            ("[[models]]\nname = \"m\"\ntargets = []", "models.m.targets"),
            (
                "[[providers]]\nname = \"e\"\nkind = \"echo\"\n[[models]]\nname = \"m\"\ntargets = \
                 [{ provider = \"e\", model = \"x\", price = { input = \"0.0000001\", output = \"1\" } }]",
                "models.m.targets.price.input",
            ),
            ("[[models]]\nname = \"m\"\ntargets = [{ provider = \"none\", model = \"x\" }]", "models.m.targets"),
        ] {
            assert_eq!(keys(text), [key], "{text}");
        }
        let vertex = |more: &str| keys(&format!("[[providers]]\nname = \"v\"\nkind = \"vertex_ai\"\n{more}"));
        #[cfg(not(feature = "vertex"))]
        assert_eq!(vertex(""), Vec::<String>::new());
        #[cfg(feature = "vertex")]
        for (more, wrong) in [
            ("", ["project", "location", "credentials"].as_slice()),
            ("project = \"p\"\nlocation = \"a.b/\"\ncredentials = \"{}\"", &["location", "credentials"]),
            ("project = \"p/q\"\nlocation = \"global\"\ncredentials = \"env:NONE\"", &["credentials", "project"]),
            ("project = \"p\"\nlocation = \"l\"\ncredentials = \"{}\"\napi_key = \"{}\"", &["api_key", "credentials"]),
        ] {
            let wrong: Vec<_> = wrong.iter().map(|key| format!("providers.v.{key}")).collect();
            assert_eq!(vertex(more), wrong, "{more}");
        }
        let bedrock = |more: &str| keys(&format!("[[providers]]\nname = \"b\"\nkind = \"bedrock\"\n{more}"));
        #[cfg(feature = "bedrock")]
        for (more, wrong) in [
            ("", ["region", "access_key_id"].as_slice()),
            ("region = \"r/\"\napi_key = \"k\"", &["region"]),
            ("region = \"r\"\naccess_key_id = \"i\"", &["secret_access_key"]),
            ("region = \"r\"\nsecret_access_key = \"env:NONE\"", &["access_key_id", "secret_access_key"]),
            ("region = \"r\"\napi_key = \"k\"", &[]),
        ] {
            let wrong: Vec<_> = wrong.iter().map(|key| format!("providers.b.{key}")).collect();
            assert_eq!(bedrock(more), wrong, "{more}");
        }
        #[cfg(not(feature = "bedrock"))]
        assert_eq!(bedrock(""), Vec::<String>::new());
        let twice = "[[providers]]\nname = \"a\"\nkind = \"echo\"\n[[providers]]\nname = \"a\"\nkind = \"sim\"";
        assert_eq!(keys(twice), ["providers.a"]);
        assert_eq!(keys("[[providers]]\nname = \"a\"\nkind = \"echo\""), Vec::<String>::new());
    }
}
