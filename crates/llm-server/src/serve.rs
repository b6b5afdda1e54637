//! `llmkit serve`: start, reload, drain.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::config::{LoadError, Loaded, Source};
use crate::http::listener::{MAX_CONNECTIONS, Terms, listen};
use crate::http::tls::{Certificate, Tls};
use crate::http::{operations, service};
use crate::process::Process;
use crate::reload::Changes;
use crate::telemetry::Telemetry;

/// Serves until the process is asked to end.
pub(crate) async fn run(source: Source, loaded: Loaded) -> Result<(), Box<dyn std::error::Error>> {
    let mut changes = Changes::of(files(&source, &loaded))?;
    let telemetry = Telemetry::start(&loaded)?;
    telemetry.describe(&loaded.config.providers);
    let app = App::new(&loaded, telemetry.observer(), None)?;
    let metrics_key = loaded.config.observability.metrics_api_key.as_ref();
    let metrics_key = metrics_key.map(|key| key.resolve(&loaded.environment)).transpose()?;
    let server = &loaded.config.server;
    let certificate = Certificate::of(server)?;
    let process = Arc::new(Process::new(app, Tls::new(certificate), telemetry.clone(), metrics_key));
    let routes = operations::routes(process.clone());
    let stop = CancellationToken::new();
    let terms = Terms {
        most: MAX_CONNECTIONS,
        header_timeout: server.header_timeout.0,
        tls: process.tls.clone(),
        stop: stop.clone(),
    };
    let listener = bind(server.listen)?;
    let address = listener.local_addr()?;
    let data = listen(listener, terms.clone(), {
        let process = process.clone();
        move |exchange, request| service::serve(process.clone(), routes.clone(), exchange, request)
    });
    let data = tokio::spawn(data);
    if let Some(port) = loaded.config.observability.metrics_port {
        let listener = bind(SocketAddr::new(server.listen.ip(), port))?;
        let routes = operations::metrics_only(process.clone());
        let serve = move |exchange, request| service::serve_routes(routes.clone(), exchange, request);
        tokio::spawn(listen(listener, terms, serve));
    }
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    greet(address, &process);
    loop {
        tokio::select! {
            () = changes.next() => {
                renew(&process);
                reload(&source, &mut changes, &process, address);
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    process.drain();
    stop.cancel();
    let patience = loaded.config.server.drain_timeout.0;
    tracing::info!("draining for at most {patience:?}");
    if tokio::time::timeout(patience, data).await.is_err() {
        tracing::warn!("requests that outlasted drain_timeout are cut off");
    }
    telemetry.close(FLUSH).await;
    Ok(())
}

/// How long the collector of traces may take for what is left of them.
const FLUSH: Duration = Duration::from_secs(5);

/// Connections that wait to be accepted at most: a burst of callers is not to be turned away, since a caller that
/// was tries again only a second later. The system's own bound (`somaxconn`) holds, too.
const BACKLOG: u32 = 4096;

fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    // A restart does not wait for the connections of its predecessor to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    listener(address).map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))
}

/// What a person sees at the start, on standard output.
fn greet(address: SocketAddr, process: &Process) {
    let models = process.app.load().pipeline.models();
    let names: Vec<_> = models.iter().map(|model| model.id.as_str()).collect();
    let scheme = if process.tls.certificate().is_some() { "https" } else { "http" };
    println!("llmkit {} listening on {scheme}://{address}", env!("CARGO_PKG_VERSION"));
    println!("models: {}", names.join(", "));
    if let Some(first) = names.first() {
        println!(
            "try:\n  curl {scheme}://{address}/v1/chat/completions -H 'content-type: application/json' \
             -d '{{\"model\":\"{first}\",\"messages\":[{{\"role\":\"user\",\"content\":\"Hello!\"}}]}}'"
        );
    }
}

/// The file of the configuration, and those that it names.
fn files<'a>(source: &'a Source, loaded: &'a Loaded) -> impl Iterator<Item = &'a Path> {
    source.file.as_deref().into_iter().chain(loaded.files())
}

/// Reads the configuration. Each of its files is watched before it is read for the last time: no change is missed.
fn read(source: &Source, changes: &mut Changes) -> Result<Loaded, LoadError> {
    loop {
        let loaded = source.load()?;
        let joined = changes.watch(files(source, &loaded)).unwrap_or_else(|error| {
            tracing::error!("changes of the configuration's files are not seen: {error}");
            false
        });
        if !joined {
            return Ok(loaded);
        }
    }
}

/// Swaps the configuration in one step, or keeps the old one.
fn reload(source: &Source, changes: &mut Changes, process: &Process, address: SocketAddr) {
    let loaded = match read(source, changes) {
        Ok(loaded) => loaded,
        Err(error) => {
            tracing::error!("the configuration is kept, the new one is refused:\n{error}");
            return;
        }
    };
    let old = process.app.load_full();
    process.telemetry.describe(&loaded.config.providers);
    let app = App::new(&loaded, process.telemetry.observer(), Some(&old)).map_err(|error| error.to_string());
    let certificate = Certificate::of(&loaded.config.server).map_err(|error| error.to_string());
    match app.and_then(|app| Ok((app, certificate?))) {
        Ok((app, certificate)) => {
            process.app.store(Arc::new(app));
            process.tls.show(certificate);
            loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            let listen = loaded.config.server.listen;
            if listen.port() != 0 && source.listen.is_none() && listen != address {
                tracing::warn!("server.listen has changed to {listen}: a restart is needed for it");
            }
            tracing::info!("configuration reloaded");
        }
        Err(error) => tracing::error!("the configuration is kept, the new one is refused: {error}"),
    }
}

/// Shows what is in the certificate's files by now, or what was in them before: a mistake elsewhere in the configuration
/// does not let a certificate expire.
fn renew(process: &Process) {
    let Some(certificate) = process.tls.certificate() else { return };
    match certificate.renewed() {
        Ok(None) => {}
        Ok(certificate) => process.tls.show(certificate),
        Err(error) => tracing::error!("the certificate is kept, the new one is refused: {error}"),
    }
}
