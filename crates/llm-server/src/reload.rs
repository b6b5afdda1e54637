//! When the configuration is read again: one of its files has changed, or SIGHUP has come.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use sha2::{Digest, Sha256};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::{Duration, timeout};

/// Tells when to read the configuration again.
pub(crate) struct Changes {
    hangup: Signal,
    watched: Watched,
}

struct Watched {
    files: Vec<Seen>,
    touched: Receiver<()>,
    watcher: RecommendedWatcher,
}

/// A file, and what was in it last; none when it could not be read.
struct Seen {
    file: PathBuf,
    digest: Option<[u8; 32]>,
}

/// Of what is in `file`, which may be a secret.
fn digest(file: &Path) -> Option<[u8; 32]> {
    Some(Sha256::digest(std::fs::read(file).ok()?).into())
}

/// An editor writes a file in several steps: this long after the last of them, it is read.
const SETTLE: Duration = Duration::from_millis(100);

impl Changes {
    /// Watches `files`.
    pub(crate) fn of<'a>(files: impl Iterator<Item = &'a Path>) -> std::io::Result<Self> {
        let hangup = signal(SignalKind::hangup())?;
        let mut watched = Watched::new().map_err(std::io::Error::other)?;
        watched.turn_to(files)?;
        Ok(Self { hangup, watched })
    }

    /// Watches `files` from here on, and no others; whether there are some that were not watched before.
    pub(crate) fn watch<'a>(&mut self, files: impl Iterator<Item = &'a Path>) -> std::io::Result<bool> {
        self.watched.turn_to(files)
    }

    /// Waits for the next change.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.hangup.recv() => {}
            () = self.watched.changed() => {}
        }
    }
}

impl Watched {
    fn new() -> notify::Result<Self> {
        let (tell, touched) = channel(1);
        let seen = move |event: notify::Result<notify::Event>| {
            // A full channel holds the same news already.
            if event.is_ok_and(|event| !event.kind.is_access()) {
                let _ = tell.try_send(());
            }
        };
        Ok(Self { files: Vec::new(), touched, watcher: notify::recommended_watcher(seen)? })
    }

    /// Watches the folders of `files`, in fact: editors rename, and orchestrators swap links.
    fn turn_to<'a>(&mut self, files: impl Iterator<Item = &'a Path>) -> std::io::Result<bool> {
        let files = files.map(std::path::absolute).collect::<Result<Vec<_>, _>>()?;
        let before: HashSet<PathBuf> = self.files.iter().map(|seen| folder(&seen.file)).collect();
        let after: HashSet<PathBuf> = files.iter().map(|file| folder(file)).collect();
        for folder in after.difference(&before) {
            self.watcher.watch(folder, RecursiveMode::NonRecursive).map_err(std::io::Error::other)?;
        }
        for folder in before.difference(&after) {
            // One that is gone watches itself no longer.
            let _ = self.watcher.unwatch(folder);
        }
        let mut known = std::mem::take(&mut self.files);
        let mut joined = false;
        for file in files {
            let seen = known.iter().position(|seen| seen.file == file).map(|place| known.swap_remove(place));
            joined |= seen.is_none();
            self.files.push(seen.unwrap_or_else(|| Seen { digest: digest(&file), file }));
        }
        Ok(joined)
    }

    /// Waits until there is something else in a file: what happens to its neighbours, a log for one, is no change.
    async fn changed(&mut self) {
        loop {
            if self.touched.recv().await.is_none() {
                return std::future::pending().await;
            }
            let settled =
                async { while timeout(SETTLE, self.touched.recv()).await.is_ok_and(|more| more.is_some()) {} };
            // A neighbour that is written all the time does not hold the news up.
            let _ = timeout(10 * SETTLE, settled).await;
            let mut changed = false;
            for seen in &mut self.files {
                let now = digest(&seen.file);
                // One that is away for a while has not changed.
                if now.is_some() && now != seen.digest {
                    seen.digest = now;
                    changed = true;
                }
            }
            if changed {
                return;
            }
        }
    }
}

fn folder(file: &Path) -> PathBuf {
    file.parent().unwrap_or(file).to_owned()
}
