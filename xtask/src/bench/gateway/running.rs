//! Processes of the bench's own, ended with it.

use std::ffi::OsStr;
use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::Outcome;
use crate::process::{find, program, succeeds};
use crate::stopwatch::wait_for;

const START: Duration = Duration::from_secs(30);
const END: Duration = Duration::from_secs(5);

/// A process that is told to end when this is dropped, and made to end when it does not listen.
#[derive(Debug)]
pub(crate) struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts it with as many open files as the system allows; what it says goes to `NAME.log` in `folder`.
    pub(crate) fn start(name: &str, folder: &Path, command: &Path, arguments: &[&OsStr]) -> Outcome<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let errors = file.try_clone().map_err(|error| error.to_string())?;
        let child = with_many_files(command, arguments)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .map_err(|error| format!("{name}: {error}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it says where it listens.
    pub(crate) fn told_address(&mut self) -> Outcome<SocketAddr> {
        let log = self.log.clone();
        self.started(|| address_in(&std::fs::read_to_string(&log).ok()?))
    }

    /// Waits until a connection to `address` is taken.
    pub(crate) fn listens_on(&mut self, address: SocketAddr) -> Outcome {
        self.started(|| TcpStream::connect(address).ok().map(drop))
    }

    fn started<T>(&mut self, mut ready: impl FnMut() -> Option<T>) -> Outcome<T> {
        let outcome = wait_for(START, || match self.child.try_wait() {
            Ok(None) => ready().map(Some),
            _ended => Some(None),
        });
        outcome.flatten().ok_or_else(|| {
            let said = std::fs::read_to_string(&self.log).unwrap_or_default();
            format!("{} did not start:\n{said}", self.name)
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        succeeds(&mut program("kill", ["-TERM".to_owned(), self.id().to_string()]));
        let ended = wait_for(END, || self.child.try_wait().transpose());
        if ended.is_none() {
            // Already told; a process that ends just now is as good as ended.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Tasks that run wherever nothing else does: until they are dropped no core halts.
pub(crate) fn wakers(folder: &Path, cores: usize) -> Outcome<Vec<Running>> {
    let waker = |core: usize| {
        let chrt = find("chrt").ok_or("cores are kept awake by util-linux' chrt and taskset, which are missing")?;
        let core = core.to_string();
        let arguments = ["--idle", "0", "taskset", "--cpu-list", &core, "sh", "-c", "while :; do :; done"];
        Running::start(&format!("waker-{core}"), folder, &chrt, &arguments.map(OsStr::new))
    };
    (0..cores).map(waker).collect()
}

/// A thousand streams take more open files than most shells allow at first.
pub(crate) fn with_many_files(command: &Path, arguments: &[&OsStr]) -> Command {
    let mut shell = program("sh", ["-c", "ulimit -n \"$(ulimit -H -n)\"; exec \"$0\" \"$@\""]);
    shell.arg(command).args(arguments);
    shell
}

/// A port that nobody listens on at this moment.
pub(crate) fn free_address() -> Outcome<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(|error| format!("no free port: {error}"))?;
    listener.local_addr().map_err(|error| error.to_string())
}

fn address_in(said: &str) -> Option<SocketAddr> {
    let (_, rest) = said.split_once("listening on http://")?;
    // Only a whole line holds the whole address.
    let (address, _) = rest.split_once('\n')?;
    address.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_from_a_whole_line() {
        let address = SocketAddr::from(([127, 0, 0, 1], 8123));
        assert_eq!(address_in("hello\nlistening on http://127.0.0.1:8123\nmore"), Some(address));
        assert_eq!(address_in("listening on http://127.0.0.1:81"), None);
        assert_eq!(address_in("nothing\n"), None);
    }
}
