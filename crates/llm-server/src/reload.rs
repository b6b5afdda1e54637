//! When to read something again: the configuration or a certificate has changed, or SIGHUP has come.

use std::io;
use std::path::{Path, PathBuf};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use sha2::{Digest, Sha256};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Duration, timeout};

/// What is to be read again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    /// All of it, the certificate that the configuration names included.
    pub(crate) configuration: bool,
    /// The certificate, even while there is a mistake in the configuration's file.
    pub(crate) certificate: bool,
}

/// What a watched file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Configuration,
    Certificate,
}

/// A file, and what was in it when it was read.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    path: PathBuf,
    /// None when it could not be read.
    digest: Option<[u8; 32]>,
}

impl Seen {
    /// Reads `path`.
    pub(crate) fn read(path: &Path) -> io::Result<(Self, Vec<u8>)> {
        let content = std::fs::read(path)?;
        let digest = Some(Sha256::digest(&content).into());
        Ok((Self { path: path.to_owned(), digest }, content))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is something else in it by now. A file that is away for a while has not changed.
    fn changed(&mut self) -> bool {
        let Ok((now, _)) = Self::read(&self.path) else { return false };
        let changed = now.digest != self.digest;
        *self = now;
        changed
    }
}

/// Tells when to read something again.
pub(crate) struct Changes {
    hangup: Signal,
    files: Vec<(Holds, Seen)>,
    tell: Sender<()>,
    touched: Receiver<()>,
    /// Watches as long as it lives.
    watcher: Option<RecommendedWatcher>,
}

/// An editor writes a file in several steps: this long after the last of them, it is read.
const SETTLE: Duration = Duration::from_millis(100);

impl Changes {
    /// Watches the configuration's file.
    pub(crate) fn of(configuration: Option<&Path>) -> io::Result<Self> {
        let (tell, touched) = channel(1);
        let hangup = signal(SignalKind::hangup())?;
        let mut changes = Self { hangup, files: Vec::new(), tell, touched, watcher: None };
        if let Some(path) = configuration {
            let seen = Seen::read(path).map(|(seen, _)| seen);
            let seen = seen.unwrap_or_else(|_| Seen { path: path.to_owned(), digest: None });
            changes.files.push((Holds::Configuration, seen));
            changes.watch()?;
        }
        Ok(changes)
    }

    /// Watches the files of a certificate, and no longer those of another one.
    pub(crate) fn follow<'a>(&mut self, certificate: impl Iterator<Item = &'a Seen>) -> io::Result<()> {
        let paths = |files: &[(Holds, Seen)]| files.iter().map(|(_, seen)| seen.path.clone()).collect::<Vec<_>>();
        let before = paths(&self.files);
        self.files.retain(|(holds, _)| *holds != Holds::Certificate);
        self.files.extend(certificate.map(|seen| (Holds::Certificate, seen.clone())));
        if paths(&self.files) == before { Ok(()) } else { self.watch() }
    }

    /// Watches the files' folders: editors rename, and orchestrators swap links.
    fn watch(&mut self) -> io::Result<()> {
        let tell = self.tell.clone();
        let seen = move |event: notify::Result<notify::Event>| {
            // A full channel holds the same news already.
            if event.is_ok_and(|event| !event.kind.is_access()) {
                let _ = tell.try_send(());
            }
        };
        let mut watcher = notify::recommended_watcher(seen).map_err(io::Error::other)?;
        let mut folders = Vec::new();
        for (_, file) in &self.files {
            let path = std::path::absolute(&file.path)?;
            folders.push(path.parent().unwrap_or(&path).to_owned());
        }
        folders.sort();
        folders.dedup();
        for folder in &folders {
            watcher.watch(folder, RecursiveMode::NonRecursive).map_err(io::Error::other)?;
        }
        self.watcher = Some(watcher);
        // What happened since the files were read is found by looking once.
        let _ = self.tell.try_send(());
        Ok(())
    }

    /// Waits for the next change.
    pub(crate) async fn next(&mut self) -> Changed {
        loop {
            let hung_up = tokio::select! {
                _ = self.hangup.recv() => true,
                _ = self.touched.recv() => false,
            };
            if !hung_up {
                let settled =
                    async { while timeout(SETTLE, self.touched.recv()).await.is_ok_and(|more| more.is_some()) {} };
                // A neighbour that is written all the time does not hold the news up.
                let _ = timeout(10 * SETTLE, settled).await;
            }
            let mut changed = Changed { configuration: hung_up, certificate: hung_up };
            // What happens to a file's neighbours, a log for one, is no change.
            for (holds, seen) in &mut self.files {
                let news = seen.changed();
                match holds {
                    Holds::Configuration => changed.configuration |= news,
                    Holds::Certificate => changed.certificate |= news,
                }
            }
            if changed != Changed::default() {
                return changed;
            }
        }
    }
}
