//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// An OpenAI-compatible gateway in front of any model provider.
#[derive(Debug, Parser)]
#[command(name = "llmkit", version, about, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the gateway; also what happens without a command.
    Serve(ServeArgs),
    /// Check a configuration file, or print its JSON Schema.
    Check(CheckArgs),
    /// List the models of a configuration with their prices and limits.
    Models(ModelsArgs),
    /// Serve a simulated upstream that speaks OpenAI's format.
    Sim(SimArgs),
    /// Watch a running gateway in the terminal.
    #[cfg(feature = "tui")]
    Top(TopArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The configuration file. Without one: the providers whose keys are in the environment, and always `echo` and
    /// `sim`.
    #[arg(long, env = "LLMKIT_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Address and port to listen on; goes before the file's `server.listen`.
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The configuration file.
    #[arg(required_unless_present = "schema", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Print the JSON Schema of the configuration.
    #[arg(long, conflicts_with = "file")]
    pub(crate) schema: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ModelsArgs {
    /// The configuration file. Without one: as `serve` does without one.
    #[arg(long, env = "LLMKIT_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// All models whose prices or limits are known, configured or not.
    #[arg(long)]
    pub(crate) all: bool,
    /// As JSON; with `--all` in the form that `[prices] file` takes.
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(feature = "tui")]
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Where the gateway is.
    #[arg(long, env = "LLMKIT_URL", default_value = "http://127.0.0.1:8080", value_name = "URL")]
    pub(crate) url: String,
    /// The key with the scope `admin`, where the gateway has keys: `env:NAME`, `file:PATH`, or the key itself.
    #[arg(long, value_name = "KEY")]
    pub(crate) api_key: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SimArgs {
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:9000", value_name = "ADDR")]
    pub(crate) listen: SocketAddr,
    /// Where the randomness begins: the same seed and requests give the same answers.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// What every model does unless its name or a request's header says otherwise, such as `ttft=50ms,tokens=20`.
    #[arg(long, default_value = "", value_name = "SCRIPT")]
    pub(crate) script: String,
}
