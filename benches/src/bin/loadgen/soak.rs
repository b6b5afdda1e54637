//! Mixed load at an even pace, for a long time: what a day brings, in minutes.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::StatusCode;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::ask::{Asked, Connection};
use crate::drive::{connect_all, next_line};
use crate::measured::now;
use crate::options::Options;

/// From an answer to the next request of its connection.
const PAUSE: Duration = Duration::from_millis(15);

/// Prompts that many ask for, keys by which they are asked, and users: so many that all have come after a few minutes.
const POPULAR: u64 = 64;
const KEYS: u64 = 8;
const USERS: u64 = 20_000;

/// What a request is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Small,
    /// One of the popular prompts, by nobody's chance: its answer may be kept.
    Popular,
    /// As no other, and its answer may be kept.
    Kept,
    /// As `Kept`, named by its caller.
    Named,
    Large,
    Stream,
    PopularStream,
    /// A stream whose caller leaves in its midst.
    Left,
    /// To an upstream that fails.
    Failing,
    NoSuchModel,
    Malformed,
}

/// Of a hundred requests, so many are of each kind.
const SHARES: [(Kind, u64); 11] = [
    (Kind::Small, 24),
    (Kind::Popular, 15),
    (Kind::Kept, 12),
    (Kind::Named, 8),
    (Kind::Large, 10),
    (Kind::Stream, 14),
    (Kind::PopularStream, 5),
    (Kind::Left, 5),
    (Kind::Failing, 4),
    (Kind::NoSuchModel, 2),
    (Kind::Malformed, 1),
];

/// Connects, waits for the word, loads, reports what was answered as one line of JSON, and waits again.
pub(crate) async fn run(options: Options) -> Result<(), String> {
    let connections = connect_all(&options).await?;
    println!("ready");
    next_line().await?;
    let started = now();
    let mut tasks = JoinSet::new();
    let every = options.connections as u64;
    for (first, mut connection) in connections.into_iter().enumerate() {
        let options = options.clone();
        tasks.spawn(async move {
            let mut seen = Seen::default();
            let mut number = options.seed + first as u64;
            while started.elapsed() < options.duration {
                seen.note(one(&mut connection, &options, number).await?);
                number += every;
                sleep(PAUSE).await;
            }
            Ok::<_, String>(seen)
        });
    }
    let mut all = Seen::default();
    while let Some(ended) = tasks.join_next().await {
        all.add(ended.map_err(|error| error.to_string())??);
    }
    println!("{}", all.line());
    next_line().await
}

/// How many answers there were of each status; 0 stands for a caller who left.
#[derive(Debug, Default)]
struct Seen(BTreeMap<u16, u64>);

impl Seen {
    fn note(&mut self, status: u16) {
        *self.0.entry(status).or_default() += 1;
    }

    fn add(&mut self, other: Self) {
        other.0.into_iter().for_each(|(status, count)| *self.0.entry(status).or_default() += count);
    }

    fn line(&self) -> String {
        let members: Vec<String> = self.0.iter().map(|(status, count)| format!("\"{status}\":{count}")).collect();
        format!("{{{}}}", members.join(","))
    }
}

/// Asks the `number`-th request and takes its answer, or leaves.
async fn one(connection: &mut Connection, options: &Options, number: u64) -> Result<u16, String> {
    let chance = mixed(number);
    let kind = kind(chance % 100);
    let (key, named) = (format!("key-{}", mixed(chance) % KEYS), format!("name-{number}"));
    let asked = Asked { key: &key, name: (kind == Kind::Named).then_some(&*named), body: body(kind, number, chance) };
    let mut answer = connection.request(asked).await?;
    let status = answer.status();
    if kind == Kind::Left && status == StatusCode::OK {
        // It is an event into the stream when its connection closes.
        let _ = answer.body_mut().frame().await;
        drop(answer);
        *connection = Connection::open(options.target, false).await?;
        return Ok(0);
    }
    answer.into_body().collect().await.map_err(|error| format!("{kind:?}: the answer broke off: {error}"))?;
    let expected = match kind {
        Kind::Failing => status.is_server_error() || status.is_client_error(),
        Kind::NoSuchModel => status == StatusCode::NOT_FOUND,
        Kind::Malformed => status == StatusCode::BAD_REQUEST,
        _ => status == StatusCode::OK || status == StatusCode::TOO_MANY_REQUESTS,
    };
    if expected { Ok(status.as_u16()) } else { Err(format!("{kind:?}: the answer is a {status}")) }
}

fn kind(mut share: u64) -> Kind {
    for (kind, of_a_hundred) in SHARES {
        if share < of_a_hundred {
            return kind;
        }
        share -= of_a_hundred;
    }
    Kind::Small
}

fn body(kind: Kind, number: u64, chance: u64) -> Bytes {
    let (mut model, mut stream, mut temperature, mut words) = ("fixed".to_owned(), false, "0.7", 30);
    let (mut prompt, user) = (number, mixed(chance) % USERS);
    match kind {
        Kind::Small => {}
        Kind::Popular => (prompt, temperature) = (chance % POPULAR, "0"),
        Kind::Kept | Kind::Named => temperature = "0",
        Kind::Large => words = 1300,
        Kind::Stream => stream = true,
        Kind::PopularStream => (prompt, stream, model) = (chance % POPULAR, true, "paced".to_owned()),
        Kind::Left => (stream, model) = (true, "paced".to_owned()),
        Kind::Failing => model = "failing".to_owned(),
        Kind::NoSuchModel => model = format!("none-{number}"),
        Kind::Malformed => return Bytes::from(format!("{{\"model\":\"fixed\",\"messages\":[{number}")),
    }
    let filling = "a word of a prompt, and ".repeat(words);
    Bytes::from(format!(
        r#"{{"model":"{model}","user":"user-{user}","stream":{stream},"temperature":{temperature},"messages":[{{"role":"user","content":"{prompt:019} {filling}"}}]}}"#
    ))
}

/// As good as chance, and the same in every run (splitmix64).
const fn mixed(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_of_a_hundred_and_each_kind_comes_up() {
        assert_eq!(SHARES.iter().map(|(_, share)| share).sum::<u64>(), 100);
        let mut counts = BTreeMap::new();
        (0..10_000).for_each(|number| *counts.entry(kind(mixed(number) % 100)).or_insert(0u64) += 1);
        for (kind, share) in SHARES {
            assert!(counts[&kind].abs_diff(share * 100) < 120, "{kind:?}: {counts:?}");
        }
    }

    #[test]
    fn popular_prompts_are_asked_again_and_others_are_not() {
        let bodies = |kind| {
            let bodies = (0..1000).map(|number| body(kind, number, mixed(number)));
            let prompts = bodies.map(|body| String::from_utf8_lossy(&body).split("content").nth(1).map(str::to_owned));
            prompts.collect::<std::collections::BTreeSet<_>>().len() as u64
        };
        assert_eq!((bodies(Kind::Popular), bodies(Kind::Small)), (POPULAR, 1000));
    }

    #[test]
    fn what_was_answered_adds_up_by_status() {
        let (mut all, mut one) = (Seen::default(), Seen::default());
        [200, 0, 200].into_iter().for_each(|status| all.note(status));
        one.note(429);
        all.add(one);
        assert_eq!(all.line(), r#"{"0":1,"200":2,"429":1}"#);
    }
}
