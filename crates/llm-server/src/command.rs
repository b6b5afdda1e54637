//! What each command does.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use llm_providers::{SimConfig, SimServer};
use tokio::runtime::Builder;

use crate::cli::{Cli, Command, ModelsArgs, SimArgs};
use crate::config::{Config, Environment, Source};
use crate::{models, serve};

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => {
            let environment = Environment::of_the_process();
            serve(Source { file: args.config, environment, listen: args.listen })
        }
        Command::Check(args) if args.schema => schema(),
        Command::Check(args) => args.file.map_or(Ok(()), |file| check(&file)),
        Command::Models(args) => models(&args),
        Command::Sim(args) => sim(&args),
        #[cfg(feature = "tui")]
        Command::Top(args) => crate::top::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("llmkit: {error}");
            ExitCode::FAILURE
        }
    }
}

type Done = Result<(), Box<dyn std::error::Error>>;

fn serve(source: Source) -> Done {
    let loaded = source.load()?;
    let filter = source.environment.get("RUST_LOG").filter(|filter| !filter.is_empty()).unwrap_or("info");
    llm_telemetry::log::init(loaded.config.observability.log_format, filter);
    loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(serve::run(source, loaded));
    // What has outlasted the drain is not waited for.
    runtime.shutdown_background();
    done
}

fn check(file: &Path) -> Done {
    let source = Source { file: Some(file.to_owned()), environment: Environment::of_the_process(), listen: None };
    let loaded = source.load()?;
    let mut out = std::io::stdout().lock();
    for warning in &loaded.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    let (providers, models) = (loaded.config.providers.len(), loaded.config.models.len());
    writeln!(out, "{}: ok ({providers} providers, {models} models)", file.display())?;
    Ok(())
}

fn models(args: &ModelsArgs) -> Done {
    let environment = Environment::of_the_process();
    let loaded = Source { file: args.config.clone(), environment, listen: None }.load()?;
    models::show(&loaded, args, &mut std::io::stdout().lock())
}

fn schema() -> Done {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string_pretty(&schemars::schema_for!(Config))?)?;
    Ok(())
}

fn sim(args: &SimArgs) -> Done {
    let config = SimConfig { seed: args.seed, default: args.script.parse()?, ..SimConfig::default() };
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = SimServer::bind(args.listen, config).await?;
        let mut out = std::io::stdout();
        writeln!(out, "listening on http://{}", server.local_addr()?)?;
        out.flush()?;
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        server
            .serve(async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = tokio::signal::ctrl_c() => {}
                }
            })
            .await?;
        Ok(())
    })
}
