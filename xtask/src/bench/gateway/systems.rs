//! The systems that are compared, and the upstream behind them.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::load::Model;
use super::running::{Running, free_address};
use crate::stopwatch::Stopwatch;
use crate::{Outcome, process};

/// What the bench starts, and where it may write.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) llmkit: PathBuf,
    pub(crate) loadgen: PathBuf,
    pub(crate) scratch: PathBuf,
}

/// One of the compared.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) name: &'static str,
    pub(crate) process: Running,
    pub(crate) address: SocketAddr,
    /// What a caller names to get this model of the upstream.
    pub(crate) model: fn(Model) -> String,
    /// From the start of the process to the first connection taken.
    pub(crate) started_in: Duration,
}

/// The simulated provider, as a process of its own.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    _process: Running,
}

/// The simulated provider takes its script from the name.
pub(crate) fn upstream_model(model: Model) -> String {
    match model {
        Model::Fixed => "sim?fixed&tokens=50",
        Model::Delayed => "sim?fixed&tokens=50&ttft=20ms",
        Model::Spoken => "sim?fixed&tokens=2&ttft=20ms&gap=20ms",
        Model::Paced => "sim?fixed&tokens=50&gap=20ms",
        Model::Slow => "sim?fixed&tokens=600&gap=1s",
    }
    .to_owned()
}

fn gateway_model(model: Model) -> String {
    match model {
        Model::Fixed => "fixed",
        Model::Delayed => "delayed",
        Model::Spoken => "spoken",
        Model::Paced => "paced",
        Model::Slow => "slow",
    }
    .to_owned()
}

/// Starts the upstream.
pub(crate) fn upstream(programs: &Programs) -> Outcome<Upstream> {
    let arguments = ["sim", "--listen", "127.0.0.1:0"].map(OsStr::new);
    let mut process = Running::start("sim", &programs.scratch, &programs.llmkit, &arguments)?;
    Ok(Upstream { address: process.told_address()?, _process: process })
}

/// A plain reverse proxy: no buffering of answers, kept connections, a worker a core.
pub(crate) fn nginx(programs: &Programs, upstream: SocketAddr) -> Outcome<System> {
    let nginx = process::find("nginx").ok_or("set-up has not brought nginx")?;
    let address = free_address()?;
    let file = programs.scratch.join("nginx.conf");
    let user = if process::output(&mut process::program("id", ["-u"]))?.trim() == "0" { "user root root;" } else { "" };
    let text = nginx_configuration(address, upstream, user, cores());
    std::fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
    // Its own folder is the prefix of every path in the file.
    let arguments = [OsStr::new("-p"), programs.scratch.as_os_str(), OsStr::new("-c"), file.as_os_str()];
    let watch = Stopwatch::start();
    let mut process = Running::start("nginx", &programs.scratch, &nginx, &arguments)?;
    process.listens_on(address)?;
    Ok(System { name: "nginx", process, address, model: upstream_model, started_in: watch.elapsed() })
}

/// hyper on both sides and nothing between.
pub(crate) fn floor(programs: &Programs, upstream: SocketAddr) -> Outcome<System> {
    let target = upstream.to_string();
    let arguments = ["floor", "--target", &target].map(OsStr::new);
    let watch = Stopwatch::start();
    let mut process = Running::start("floor", &programs.scratch, &programs.loadgen, &arguments)?;
    let address = process.told_address()?;
    Ok(System { name: "floor", process, address, model: upstream_model, started_in: watch.elapsed() })
}

/// The gateway as it comes, with a key and a limit too high to deny, before a provider of its callers' format.
pub(crate) fn gateway(programs: &Programs, upstream: SocketAddr) -> Outcome<System> {
    started("llmkit", programs, &format!("kind = \"openai_compatible\"\nbase_url = \"http://{upstream}/v1\""))
}

/// The same before a provider of another format: every request and answer is translated.
pub(crate) fn translating(programs: &Programs, upstream: SocketAddr) -> Outcome<System> {
    started("translating", programs, &format!("kind = \"anthropic\"\nbase_url = \"http://{upstream}\""))
}

fn started(name: &'static str, programs: &Programs, provider: &str) -> Outcome<System> {
    let address = free_address()?;
    let file = programs.scratch.join(format!("{name}.toml"));
    std::fs::write(&file, gateway_configuration(address, provider))
        .map_err(|error| format!("{}: {error}", file.display()))?;
    let arguments = [OsStr::new("serve"), OsStr::new("--config"), file.as_os_str()];
    let watch = Stopwatch::start();
    let mut process = Running::start(name, &programs.scratch, &programs.llmkit, &arguments)?;
    process.listens_on(address)?;
    Ok(System { name, process, address, model: gateway_model, started_in: watch.elapsed() })
}

/// As many as the runtimes of the gateway and the floor have threads.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn nginx_configuration(address: SocketAddr, upstream: SocketAddr, user: &str, workers: usize) -> String {
    format!(
        "\
{user}
daemon off;
worker_processes {workers};
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    client_max_body_size 32m;
    client_body_buffer_size 64k;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
    upstream sim {{
        server {upstream};
        keepalive 1024;
        keepalive_requests 1000000000;
        keepalive_timeout 300s;
    }}
    server {{
        listen {address} backlog=4096;
        location / {{
            proxy_pass http://sim;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_buffering off;
            proxy_read_timeout 600s;
        }}
    }}
}}
"
    )
}

fn gateway_configuration(address: SocketAddr, provider: &str) -> String {
    let models: String = [Model::Fixed, Model::Delayed, Model::Spoken, Model::Paced, Model::Slow]
        .map(|model| {
            let (name, at) = (gateway_model(model), upstream_model(model));
            format!("[[models]]\nname = \"{name}\"\ntargets = [{{ provider = \"upstream\", model = \"{at}\" }}]\n\n")
        })
        .concat();
    format!(
        "\
[server]
listen = \"{address}\"
api_keys = [\"bench\"]

[[providers]]
name = \"upstream\"
{provider}
api_key = \"bench\"

{models}\
[rate_limits]
requests_per_second = 1000000
burst_capacity = 1000000
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_of_the_gateway_is_whole() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let table: toml::Table =
            gateway_configuration(at(1), "kind = \"anthropic\"\nbase_url = \"http://x\"").parse().expect("toml");
        assert_eq!(table["server"]["listen"].as_str(), Some("127.0.0.1:1"));
        assert_eq!(table["providers"][0]["base_url"].as_str(), Some("http://x"));
        assert_eq!(table["models"].as_array().map(Vec::len), Some(5));
    }
}
