//! When the configuration is read again: the file has changed, or SIGHUP has come.

use std::path::{Path, PathBuf};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::{Duration, timeout};

/// Tells when to read the configuration again.
pub(crate) struct Changes {
    hangup: Signal,
    watched: Option<Watched>,
}

struct Watched {
    file: PathBuf,
    /// What was in it last.
    content: Option<Vec<u8>>,
    touched: Receiver<()>,
    /// Watches as long as it lives.
    _watcher: RecommendedWatcher,
}

/// An editor writes a file in several steps: this long after the last of them, it is read.
const SETTLE: Duration = Duration::from_millis(100);

impl Changes {
    /// Watches `file`; its folder, in fact: editors rename, and orchestrators swap links.
    pub(crate) fn of(file: Option<&Path>) -> std::io::Result<Self> {
        let hangup = signal(SignalKind::hangup())?;
        let watched = file.map(Watched::new).transpose().map_err(std::io::Error::other)?;
        Ok(Self { hangup, watched })
    }

    /// Waits for the next change.
    pub(crate) async fn next(&mut self) {
        let Some(watched) = &mut self.watched else {
            self.hangup.recv().await;
            return;
        };
        tokio::select! {
            _ = self.hangup.recv() => {}
            () = watched.changed() => {}
        }
    }
}

impl Watched {
    fn new(file: &Path) -> notify::Result<Self> {
        let file = std::path::absolute(file)?;
        let folder = file.parent().unwrap_or(&file).to_owned();
        let (tell, touched) = channel(1);
        let seen = move |event: notify::Result<notify::Event>| {
            // A full channel holds the same news already.
            if event.is_ok_and(|event| !event.kind.is_access()) {
                let _ = tell.try_send(());
            }
        };
        let mut watcher = notify::recommended_watcher(seen)?;
        watcher.watch(&folder, RecursiveMode::NonRecursive)?;
        let content = std::fs::read(&file).ok();
        Ok(Self { file, content, touched, _watcher: watcher })
    }

    /// Waits until there is something else in the file: what happens to its neighbours, a log for one, is no change.
    async fn changed(&mut self) {
        loop {
            if self.touched.recv().await.is_none() {
                return std::future::pending().await;
            }
            let settled =
                async { while timeout(SETTLE, self.touched.recv()).await.is_ok_and(|more| more.is_some()) {} };
            // A neighbour that is written all the time does not hold the news up.
            let _ = timeout(10 * SETTLE, settled).await;
            let content = std::fs::read(&self.file).ok();
            if content.is_some() && content != self.content {
                self.content = content;
                return;
            }
        }
    }
}
