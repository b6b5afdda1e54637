//! Where values come from: defaults, under the file, under the environment, under the flags.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use llm_providers::Catalogue;
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::amazon;
use super::check::{self, Problem};
use super::environment::Environment;
use super::file::{Config, Kind, Model, Provider, Target};
use super::pending;
#[cfg(test)]
use super::span::Span;

/// What a configuration is made from.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The file; none for what the environment gives.
    pub file: Option<PathBuf>,
    /// The variables.
    pub environment: Environment,
    /// `--listen`.
    pub listen: Option<SocketAddr>,
}

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is ignored.
    pub warnings: Vec<String>,
    /// Where names go that are no model and no provider: the one provider that the environment gives.
    pub default_provider: Option<String>,
    /// Where secrets come from.
    pub environment: Environment,
    /// What is known of models: the file of `[prices]` over the table that llmkit comes with.
    pub prices: Arc<Catalogue>,
}

impl Loaded {
    /// Files that the configuration names, and that it is read again for when they change.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        let Config { prices, server, .. } = &self.config;
        [&prices.file, &server.tls_cert, &server.tls_key].into_iter().filter_map(|file| file.as_deref())
    }
}

/// Why a configuration cannot be used: one entry for each thing that is wrong, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError(pub Vec<String>);

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for LoadError {}

impl Source {
    /// Reads all layers and checks the result.
    ///
    /// # Errors
    /// [`LoadError`] shows every key that is unknown or wrong, with its place.
    pub fn load(&self) -> Result<Loaded, LoadError> {
        let (name, text) = match &self.file {
            Some(path) => {
                let text = std::fs::read_to_string(path);
                let text = text.map_err(|why| LoadError(vec![format!("{}: {why}", path.display())]))?;
                (path.display().to_string(), text)
            }
            None => ("environment".to_owned(), String::new()),
        };
        let mut loaded = self.read(&name, &text)?;
        if let Some(listen) = self.listen {
            loaded.config.server.listen = listen;
        }
        if self.file.is_none() {
            self.offer_what_is_there(&mut loaded);
        }
        let mut problems = check::problems(&loaded.config, &self.environment);
        if let Some(file) = &loaded.config.prices.file {
            match prices(file) {
                Ok(own) => loaded.prices = Arc::new(Catalogue::built_in().under(own)),
                Err(what) => problems.push(Problem { key: "prices.file".to_owned(), what }),
            }
        }
        if problems.is_empty() {
            Ok(loaded)
        } else {
            Err(LoadError(problems.iter().map(|problem| format!("{name}: {problem}")).collect()))
        }
    }

    fn read(&self, name: &str, text: &str) -> Result<Loaded, LoadError> {
        let placed = |mut error: toml::de::Error| {
            error.set_input(Some(text));
            LoadError(vec![format!("{name}: {error}")])
        };
        let mut table = DeTable::parse(text).map_err(placed)?;
        let mut overridden = Vec::new();
        for (variable, path, value) in self.environment.keys() {
            insert(table.get_mut(), &path, value)
                .map_err(|why| LoadError(vec![format!("the environment variable {variable}: {why}")]))?;
            overridden.push(variable);
        }
        if let Some(format) = self.environment.get("RUST_LOG_FORMAT") {
            let path = ["observability".to_owned(), "log_format".to_owned()];
            insert(table.get_mut(), &path, format).map_err(|why| LoadError(vec![format!("RUST_LOG_FORMAT: {why}")]))?;
            overridden.push("RUST_LOG_FORMAT");
        }
        if self.environment.get(METRICS_API_KEY).is_some_and(|key| !key.is_empty()) {
            let path = ["observability".to_owned(), "metrics_api_key".to_owned()];
            let place = "env:METRICS_API_KEY";
            insert(table.get_mut(), &path, place)
                .map_err(|why| LoadError(vec![format!("{METRICS_API_KEY}: {why}")]))?;
            overridden.push(METRICS_API_KEY);
        }
        let warnings = pending::take(table.get_mut());
        let mut config = Config::deserialize(toml::de::Deserializer::from(table)).map_err(|mut error| {
            let from_variable = error.span().is_none_or(|span| span.is_empty()) && !overridden.is_empty();
            if from_variable {
                error.set_input(None);
                return LoadError(vec![format!("environment ({}): {error}", overridden.join(", "))]);
            }
            placed(error)
        })?;
        config.providers.iter_mut().for_each(|provider| amazon::fill(provider, &self.environment));
        let warnings = warnings.into_iter().chain(unbuilt(&config)).collect();
        let prices = Arc::new(Catalogue::built_in().clone());
        Ok(Loaded { config, warnings, default_provider: None, environment: self.environment.clone(), prices })
    }

    /// Without a file: the providers whose keys are in the environment, and always `echo` and `sim`.
    fn offer_what_is_there(&self, loaded: &mut Loaded) {
        let config = &mut loaded.config;
        let set = |name: &str| self.environment.get(name).filter(|value| !value.trim().is_empty());
        for (name, kind, key, base_url) in VENDORS {
            if set(key).is_some() {
                let mut vendor = Provider::new(name, kind);
                vendor.api_key = Some(format!("env:{key}").into());
                vendor.base_url = set(base_url).map(str::to_owned);
                config.providers.push(vendor);
            }
        }
        for (name, kind, base_url) in SERVERS {
            if let Some(base_url) = set(base_url) {
                let mut server = Provider::new(name, kind);
                server.base_url = Some(base_url.to_owned());
                config.providers.push(server);
            }
        }
        if let [only] = config.providers.as_slice() {
            loaded.default_provider = Some(only.name.clone());
        }
        for (name, kind) in [("echo", Kind::Echo), ("sim", Kind::Sim)] {
            config.providers.push(Provider::new(name, kind));
            let target = Target {
                provider: name.to_owned(),
                model: name.to_owned(),
                weight: 1,
                price: None,
                max_output_tokens: None,
            };
            config.models.push(Model {
                name: name.to_owned(),
                targets: vec![target],
                strategy: Default::default(),
                sla: None,
                translation: Default::default(),
                reasoning_content: false,
            });
        }
    }
}

/// Whose key in the environment offers them without a file, and the variable that moves them.
const VENDORS: [(&str, Kind, &str, &str); 3] = [
    ("openai", Kind::OpenAi, "OPENAI_API_KEY", "OPENAI_BASE_URL"),
    ("anthropic", Kind::Anthropic, "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"),
    ("gemini", Kind::Gemini, "GEMINI_API_KEY", "GEMINI_BASE_URL"),
];

/// Whose address in the environment offers them without a file.
const SERVERS: [(&str, Kind, &str); 3] = [
    ("llama_cpp", Kind::LlamaCpp, "LLAMA_CPP_URL"),
    ("vllm", Kind::Vllm, "VLLM_URL"),
    ("ollama", Kind::Ollama, "OLLAMA_URL"),
];

/// The table in `file`.
fn prices(file: &Path) -> Result<Catalogue, String> {
    let at = |why: &dyn fmt::Display| format!("{}: {why}", file.display());
    let text = std::fs::read_to_string(file).map_err(|why| at(&why))?;
    Catalogue::parse(&text).map_err(|why| at(&why))
}

/// Kinds in use that are not built.
fn unbuilt(config: &Config) -> impl Iterator<Item = String> {
    config.providers.iter().filter(|provider| !provider.kind.is_built()).map(|provider| {
        let (name, kind) = (&provider.name, provider.kind.as_str());
        format!("provider `{name}`: the kind `{kind}` is not in this build; calls to its models are a 501")
    })
}

/// Puts `value` at `path`, in the place of what is there. A value that is no TOML is text.
/// The key of the metrics, as the specification calls it in the environment.
const METRICS_API_KEY: &str = "METRICS_API_KEY";

fn insert<'i>(table: &mut DeTable<'i>, path: &[String], value: &'i str) -> Result<(), String> {
    let (last, sections) = path.split_last().ok_or("names no key")?;
    let mut inner = table;
    for section in sections {
        let key = Spanned::new(0..0, section.clone().into());
        let entry = inner.entry(key).or_insert_with(|| Spanned::new(0..0, DeValue::Table(DeTable::new())));
        inner = match entry.get_mut() {
            DeValue::Table(table) => table,
            _ => return Err(format!("`{section}` is no section")),
        };
    }
    let value = match DeValue::parse(value) {
        Ok(parsed) => parsed.into_inner(),
        Err(_) => DeValue::String(value.into()),
    };
    inner.insert(Spanned::new(0..0, last.clone().into()), Spanned::new(0..0, value));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn load(text: &str, environment: &[(&str, &str)]) -> Result<Loaded, LoadError> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("it is written");
        let environment = Environment::from_iter(environment.iter().copied());
        Source { file: Some(file.path().to_owned()), environment, listen: None }.load()
    }

    fn error(text: &str) -> String {
        load(text, &[]).unwrap_err().to_string()
    }

    #[test]
    fn every_default_is_as_documented() {
        let config = load("", &[]).unwrap().config;
        let server = &config.server;
        assert_eq!(server.listen.to_string(), "127.0.0.1:8080");
        assert_eq!((server.max_body_bytes, server.api_keys.len()), (33_554_432, 0));
        assert_eq!((&server.tls_cert, &server.tls_key, server.cors_origins.len()), (&None, &None, 0));
        assert_eq!(server.header_timeout.0, Duration::from_secs(10));
        assert_eq!(
            (server.body_idle_timeout.0, server.drain_timeout.0),
            (Duration::from_secs(30), Duration::from_secs(30))
        );
        let resilience = &config.resilience;
        assert_eq!((resilience.retry_attempts, resilience.retry_base_ms, resilience.retry_max_ms), (3, 100, 5000));
        assert_eq!((resilience.circuit_breaker_threshold, resilience.circuit_breaker_timeout_s), (5, None));
        assert!((resilience.circuit_breaker_success_rate - 0.8).abs() < f64::EPSILON && !resilience.breaker_shadow);
        assert!(config.rate_limits.is_none());
        let dedup = &config.deduplication;
        assert_eq!((dedup.enabled, dedup.share_sampled, dedup.max_entries), (true, true, 10_000));
        assert_eq!((dedup.window_s, dedup.max_bytes), (300, 64 << 20));
        let observability = &config.observability;
        assert_eq!((observability.metrics_port, &observability.tracing_endpoint), (None, &None));
        assert_eq!((observability.log_requests, observability.trace_propagation), (false, true));
        let section = load("[rate_limits]", &[]).unwrap().config.rate_limits.unwrap();
        assert_eq!((section.enabled, section.requests_per_second, section.burst_capacity), (true, 100.0, 20));
        let provider = load("[[providers]]\nname = \"e\"\nkind = \"echo\"", &[]).unwrap().config.providers.remove(0);
        let spans = [
            provider.connect_timeout,
            provider.first_token_timeout,
            provider.token_gap_timeout,
            provider.total_timeout,
        ];
        assert_eq!(spans.map(|span| span.0.as_secs()), [10, 120, 60, 600]);
        assert!(!provider.comments_reset_timeouts);
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_place() {
        let text = error("[server]\nlisten_on = \"x\"\n");
        assert!(
            text.contains("line 2") && text.contains("listen_on") && text.contains('^') && text.contains("`listen`"),
            "{text}"
        );
        let text = error("[[models]]\nname = \"m\"\ntargets = [{ provider = \"p\", model = \"x\", wight = 2 }]\n");
        assert!(text.contains("line 3") && text.contains("wight"), "{text}");
    }

    #[test]
    fn a_value_of_another_type_is_refused_with_its_place() {
        for (text, place) in [
            ("[server]\nheader_timeout = \"10 parsecs\"", "line 2"),
            ("[server]\nheader_timeout = 10", "line 2"),
            ("\n\n[resilience]\nretry_attempts = -1", "line 4"),
            ("[server", "line 1"),
        ] {
            assert!(error(text).contains(place), "{}", error(text));
        }
    }

    #[test]
    fn the_environment_goes_over_the_file() {
        let variables = [
            ("LLMKIT_SERVER__LISTEN", "127.0.0.1:9"),
            ("LLMKIT_RESILIENCE__RETRY_ATTEMPTS", "7"),
            ("LLMKIT_SERVER__HEADER_TIMEOUT", "3s"),
            ("RUST_LOG_FORMAT", "json"),
        ];
        let text = "[server]\nlisten = \"127.0.0.1:1\"\n[observability]\nlog_format = \"pretty\"\n";
        let config = load(text, &variables).unwrap().config;
        assert_eq!((config.server.listen.port(), config.resilience.retry_attempts), (9, 7));
        assert_eq!(config.server.header_timeout, Span::secs(3));
        assert_eq!(config.observability.log_format, llm_telemetry::log::LogFormat::Json);
        let wrong = load("", &[("LLMKIT_SERVER__LISTEN_ON", "x")]).unwrap_err().to_string();
        assert!(wrong.contains("LLMKIT_SERVER__LISTEN_ON") && wrong.contains("listen_on"), "{wrong}");
    }

    #[test]
    fn a_share_of_traces_takes_the_place_of_their_rate() {
        let sampling = |text: &str| {
            let config = load(&format!("[observability]\n{text}"), &[]).unwrap().config;
            let sampling = config.observability.sampling();
            (sampling.ratio, sampling.per_second)
        };
        assert_eq!(sampling(""), (1.0, Some(10.0)));
        assert_eq!(sampling("trace_ratio = 0.01"), (0.01, None));
        assert_eq!(sampling("traces_per_second = 0.5"), (1.0, Some(0.5)));
        assert_eq!(sampling("trace_ratio = 0.01\ntraces_per_second = 100"), (0.01, Some(100.0)));
    }

    #[test]
    fn what_is_not_built_yet_warns_and_is_not_read() {
        let text = "[pipeline]\nname = \"x\"\n[stages.rag]\nenabled = true\n[guard]\nx = 1\n\
                    [[providers]]\nname = \"a\"\nkind = \"bedrock\"\napi_key = \"k\"\nregion = \"r\"\n\
                    [[models]]\nname = \"m\"\nstrategy = \"tournament\"\ntargets = [{ provider = \"a\", model = \"x\" }]\n";
        let warnings = load(text, &[]).unwrap().warnings;
        assert_eq!(cfg!(feature = "bedrock"), !warnings.iter().any(|warning| warning.contains("`bedrock`")));
        for part in ["pipeline", "stages", "guard", "tournament"] {
            assert!(warnings.iter().any(|warning| warning.contains(part)), "{part}: {warnings:?}");
        }
    }

    #[test]
    fn the_file_of_prices_goes_over_the_table_and_a_bad_one_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let read = |prices: &str| {
            std::fs::write(path, prices).unwrap();
            load("", &[("LLMKIT_PRICES__FILE", path)])
        };
        let own =
            read(r#"{"version":1,"models":[{"provider":"up","model":"mine","input":"1","output":"2"}]}"#).unwrap();
        assert!(own.prices.find("up", "mine").is_some() && own.prices.find("openai", "gpt-4o").is_some());
        assert_eq!(own.files().collect::<Vec<_>>(), [file.path()]);
        let bad = read(r#"{"version":1,"models":[{"provider":"up","model":"mine","input":"-1","output":"2"}]}"#);
        let told = bad.unwrap_err().to_string();
        assert!(told.contains("prices.file: ") && told.contains("models[0] (`up/mine`): input: `-1`"), "{told}");
        let none = load("[prices]\nfile = \"/nowhere/prices.json\"\n", &[]).unwrap_err().to_string();
        assert!(none.contains("prices.file: /nowhere/prices.json: "), "{none}");
        assert_eq!(*load("", &[]).unwrap().prices, *Catalogue::built_in());
    }

    #[test]
    fn without_a_file_echo_and_sim_are_there_and_keys_bring_their_providers() {
        let bare = Source::default().load().unwrap();
        let names: Vec<_> = bare.config.models.iter().map(|model| model.name.as_str()).collect();
        assert_eq!((names, bare.default_provider), (vec!["echo", "sim"], None));
        let environment = Environment::from_iter([("OPENAI_API_KEY", "k")]);
        let keyed = Source { environment, ..Source::default() }.load().unwrap();
        assert_eq!(keyed.default_provider.as_deref(), Some("openai"));
        assert!(!format!("{:?}", keyed.config).contains("\"k\""));
    }
}
