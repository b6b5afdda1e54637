//! The command line.

use std::net::SocketAddr;
use std::time::Duration;

/// What to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// A proxy with nothing in it.
    Floor,
    /// The load.
    Drive,
    /// A mixed load.
    Soak,
}

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Schedule {
    /// Each connection sends its next request when it has its answer.
    Closed,
    /// So many a second, whatever the answers do.
    Open { per_second: u32 },
    /// One stream a connection, read until the generator is told to end.
    Hold,
}

/// Everything that a command needs; unused by the other ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) command: Command,
    /// Where `floor` listens.
    pub(crate) listen: SocketAddr,
    /// The upstream of `floor`, the target of the others.
    pub(crate) target: SocketAddr,
    pub(crate) model: String,
    /// The first of the numbers that make prompts distinct.
    pub(crate) seed: u64,
    pub(crate) body_bytes: usize,
    pub(crate) connections: usize,
    pub(crate) duration: Duration,
    /// The connections begin one after the other over this time.
    pub(crate) stagger: Duration,
    pub(crate) stream: bool,
    pub(crate) schedule: Schedule,
}

impl Options {
    /// Reads `floor | drive | soak` and its options.
    pub(crate) fn read(words: &[String]) -> Result<Self, String> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (command, words) = words.split_first().ok_or("loadgen floor | drive | soak OPTIONS")?;
        let mut options = Self {
            command: match command.as_str() {
                "floor" => Command::Floor,
                "drive" => Command::Drive,
                "soak" => Command::Soak,
                other => return Err(format!("no such command: {other}")),
            },
            listen: any,
            target: any,
            model: String::new(),
            seed: 0,
            body_bytes: 1024,
            connections: 1,
            duration: Duration::from_secs(1),
            stagger: Duration::ZERO,
            stream: false,
            schedule: Schedule::Closed,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} takes a value"));
            match word.as_str() {
                "--listen" => options.listen = parse(word, value()?)?,
                "--target" => options.target = parse(word, value()?)?,
                "--model" => options.model = value()?.clone(),
                "--seed" => options.seed = parse(word, value()?)?,
                "--body-bytes" => options.body_bytes = parse(word, value()?)?,
                "--connections" => options.connections = parse(word, value()?)?,
                "--milliseconds" => options.duration = Duration::from_millis(parse(word, value()?)?),
                "--stagger-milliseconds" => options.stagger = Duration::from_millis(parse(word, value()?)?),
                "--rate" => options.schedule = Schedule::Open { per_second: parse(word, value()?)? },
                "--stream" => options.stream = true,
                "--hold" => options.schedule = Schedule::Hold,
                other => return Err(format!("no such option: {other}")),
            }
        }
        if options.schedule == (Schedule::Open { per_second: 0 }) || options.connections == 0 {
            return Err("--rate and --connections are at least 1".to_owned());
        }
        Ok(options)
    }
}

fn parse<T: std::str::FromStr>(option: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{option} cannot be {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, String> {
        Options::read(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_command_line_is_read_whole() {
        let options =
            read("drive --target 127.0.0.1:9 --model m --connections 32 --milliseconds 1500 --stream --rate 200");
        let options = options.expect("valid");
        assert_eq!((options.command, options.model.as_str(), options.connections), (Command::Drive, "m", 32));
        assert_eq!((options.duration, options.stream), (Duration::from_millis(1500), true));
        assert_eq!(options.schedule, Schedule::Open { per_second: 200 });
    }

    #[test]
    fn what_is_not_known_or_not_complete_is_refused() {
        for line in ["", "fly", "drive --fast", "drive --target", "drive --connections many", "drive --rate 0"] {
            assert!(read(line).is_err(), "{line:?}");
        }
    }
}
