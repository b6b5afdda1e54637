//! The load: closed loop, open loop, or streams held open.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::ask::Connection;
use crate::measured::{Measured, now};
use crate::options::{Options, Schedule};
use crate::prompt::Prompts;

/// Beyond the asked duration: a last stream, and a slow machine.
const GRACE: Duration = Duration::from_secs(30);

/// Numbers that one connection has for its prompts.
const PROMPTS_EACH: u64 = 1 << 32;

/// Connects, waits for the word, loads, reports, and waits again.
pub(crate) async fn run(options: Options) -> Result<(), String> {
    let connections =
        timeout(GRACE, connect_all(&options)).await.map_err(|_| "the target does not take connections")??;
    if options.schedule == Schedule::Hold {
        return hold(&options, connections).await;
    }
    println!("ready");
    next_line().await?;
    let started = now();
    let load = async {
        match options.schedule {
            Schedule::Open { per_second } => open(&options, connections, per_second).await,
            _ => closed(&options, connections).await,
        }
    };
    let (measured, connections) =
        timeout(options.duration + GRACE, load).await.map_err(|_| "the load did not end")??;
    println!("{}", measured.line(started.elapsed()));
    next_line().await?;
    drop(connections);
    Ok(())
}

/// As many connections as asked.
pub(crate) async fn connect_all(options: &Options) -> Result<Vec<Connection>, String> {
    let mut connections = Vec::with_capacity(options.connections);
    for _ in 0..options.connections {
        connections.push(Connection::open(options.target, options.stream).await?);
    }
    Ok(connections)
}

/// Each connection for itself, until the time is over; what has begun is finished.
async fn closed(options: &Options, connections: Vec<Connection>) -> Result<(Measured, Vec<Connection>), String> {
    let started = now();
    let mut tasks = JoinSet::new();
    let every = u32::try_from(options.connections).unwrap_or(u32::MAX);
    for (number, mut connection) in connections.into_iter().enumerate() {
        let mut prompts = prompts(options, number);
        let duration = options.duration;
        let wait = options.stagger * u32::try_from(number).unwrap_or(u32::MAX) / every;
        tasks.spawn(async move {
            sleep(wait).await;
            let mut measured = Measured::default();
            while started.elapsed() < duration {
                measured.note(connection.ask(prompts.body()).await?);
            }
            Ok::<_, String>((measured, connection))
        });
    }
    let mut all = Measured::default();
    let mut connections = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        let (measured, connection) = ended.map_err(|error| error.to_string())??;
        all.add(measured);
        connections.push(connection);
    }
    Ok((all, connections))
}

/// A request at each moment that is due, on whichever connection is idle. Latency does not count from that moment: at the
/// low rates this is for, none waits for another.
async fn open(
    options: &Options,
    mut idle: Vec<Connection>,
    per_second: u32,
) -> Result<(Measured, Vec<Connection>), String> {
    let mut prompts = prompts(options, 0);
    let mut due = moments(per_second);
    let mut asked = JoinSet::new();
    let mut all = Measured::default();
    let started = now();
    while started.elapsed() < options.duration || !asked.is_empty() {
        tokio::select! {
            Some(()) = due.recv(), if started.elapsed() < options.duration => {
                let mut connection = match idle.pop() {
                    Some(connection) => connection,
                    None => Connection::open(options.target, options.stream).await?,
                };
                let body = prompts.body();
                asked.spawn(async move {
                    let answered = connection.ask(body).await?;
                    Ok::<_, String>((answered, connection))
                });
            }
            Some(ended) = asked.join_next() => {
                let (answered, connection) = ended.map_err(|error| error.to_string())??;
                all.note(answered);
                idle.push(connection);
            }
        }
    }
    Ok((all, idle))
}

/// When requests are due: at random, `per_second` of them on average, whatever came before (a Poisson process), the same
/// in every run. At even distances an answer that takes some of them would come just as the next request goes out, each
/// time. They are told by a thread, since the runtime's timer would have all of them at whole milliseconds.
fn moments(per_second: u32) -> mpsc::Receiver<()> {
    let (teller, told) = mpsc::channel(1024);
    std::thread::spawn(move || {
        let mut random = fastrand::Rng::with_seed(0);
        let mut due = now();
        loop {
            due += pause(random.f64(), per_second);
            #[expect(clippy::disallowed_methods, reason = "a load generator takes real time")]
            std::thread::sleep(due.saturating_duration_since(now()));
            if teller.blocking_send(()).is_err() {
                break;
            }
        }
    });
    told
}

/// The time between two moments of a Poisson process, by a draw from 0 to below 1.
fn pause(draw: f64, per_second: u32) -> Duration {
    Duration::from_secs_f64(-(1.0 - draw).ln() / f64::from(per_second))
}

/// One stream a connection; says `ready` when each has brought something, and reads on until the next line.
async fn hold(options: &Options, connections: Vec<Connection>) -> Result<(), String> {
    let mut tasks = JoinSet::new();
    let arrivals = Arc::new(Semaphore::new(0));
    for (number, mut connection) in connections.into_iter().enumerate() {
        let body = prompts(options, number).body();
        let arrivals = Arc::clone(&arrivals);
        tasks.spawn(async move {
            let mut answer = connection.send(body).await?;
            let mut is_first = true;
            while let Some(frame) = answer.body_mut().frame().await {
                frame.map_err(|error| format!("a held stream broke off: {error}"))?;
                if std::mem::take(&mut is_first) {
                    arrivals.add_permits(1);
                }
            }
            Err::<(), _>("a held stream ended too early".to_owned())
        });
    }
    let every = u32::try_from(options.connections).map_err(|_| "that is too many streams")?;
    tokio::select! {
        _ = arrivals.acquire_many(every) => println!("ready"),
        Some(ended) = tasks.join_next() => ended.map_err(|error| error.to_string())??,
        () = sleep(options.duration + GRACE) => return Err("the held streams did not all begin".to_owned()),
    }
    tokio::select! {
        told = next_line() => told,
        Some(ended) = tasks.join_next() => ended.map_err(|error| error.to_string())?,
    }
}

/// The prompts of one connection, apart from those of all others.
fn prompts(options: &Options, connection: usize) -> Prompts {
    let seed = options.seed + PROMPTS_EACH * connection as u64;
    Prompts::new(&options.model, options.body_bytes, options.stream, seed)
}

/// Waits for a line, or the end, of the standard input.
pub(crate) async fn next_line() -> Result<(), String> {
    let line = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    line.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_those_of_a_poisson_process() {
        let mut random = fastrand::Rng::with_seed(1);
        let pauses: Vec<f64> = (0..100_000).map(|_| pause(random.f64(), 200).as_secs_f64()).collect();
        let mean = pauses.iter().sum::<f64>() / pauses.len() as f64;
        assert!((0.0049..0.0051).contains(&mean), "{mean}");
        // The share above `x` means is the exponential's: e to the power of minus `x`.
        for means in [0.5, 1.0, 3.0] {
            let share = pauses.iter().filter(|pause| **pause > 0.005 * means).count() as f64 / pauses.len() as f64;
            assert!((share - (-means).exp()).abs() < 0.01, "{means}: {share}");
        }
    }
}
