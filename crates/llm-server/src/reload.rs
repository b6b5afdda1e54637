//! When the configuration is read again: the file has changed, or SIGHUP has come.

use std::path::Path;

use notify::{RecursiveMode, Watcher};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::{Duration, timeout};

/// Tells when to read the configuration again.
pub(crate) struct Changes {
    hangup: Signal,
    written: Option<Receiver<()>>,
    /// Watches as long as it lives.
    _watcher: Option<notify::RecommendedWatcher>,
}

/// An editor writes a file in several steps: this long after the last of them, it is read.
const SETTLE: Duration = Duration::from_millis(100);

impl Changes {
    /// Watches `file`; its folder, in fact: editors rename, and orchestrators swap links.
    pub(crate) fn of(file: Option<&Path>) -> std::io::Result<Self> {
        let hangup = signal(SignalKind::hangup())?;
        let Some(file) = file else { return Ok(Self { hangup, written: None, _watcher: None }) };
        let file = std::path::absolute(file)?;
        let folder = file.parent().unwrap_or(&file).to_owned();
        let (tell, written) = channel(1);
        let changed = move |event: notify::Result<notify::Event>| {
            // A full channel holds the same news already.
            if event.is_ok_and(|event| !event.kind.is_access()) {
                let _ = tell.try_send(());
            }
        };
        let mut watcher = notify::recommended_watcher(changed).map_err(std::io::Error::other)?;
        watcher.watch(&folder, RecursiveMode::NonRecursive).map_err(std::io::Error::other)?;
        Ok(Self { hangup, written: Some(written), _watcher: Some(watcher) })
    }

    /// Waits for the next change.
    pub(crate) async fn next(&mut self) {
        let Some(written) = &mut self.written else {
            self.hangup.recv().await;
            return;
        };
        tokio::select! {
            _ = self.hangup.recv() => {}
            _ = written.recv() => {
                while timeout(SETTLE, written.recv()).await.is_ok_and(|more| more.is_some()) {}
            }
        }
    }
}
