//! `/sim/…`: what was asked of the simulated provider.

use bytes::Bytes;
use llm_core::{Error, ErrorKind};
use serde_json::Value;

use super::head::Method;
use super::log::Entry;
use super::shared::Shared;
use crate::sim::{SimCounts, SimStats};

/// Answers a request to `path`, which follows `/sim/`.
///
/// # Errors
/// `InvalidRequest` or `NotFound`.
pub(super) async fn answer(shared: &Shared, method: Method, path: &str, query: &str) -> Result<Bytes, Error> {
    let shown = match (method, path) {
        (Method::Get, "stats") => {
            let expected = Expected::read(query)?;
            let stats = shared.simulator.ledger.wait(|stats| expected.met(stats)).await;
            serde_json::to_value(&stats).expect("counts can be written as JSON")
        }
        (Method::Get, "last") => match shared.log.lock().entries().next_back() {
            Some(entry) => entry.show(),
            None => return Err(Error::new(ErrorKind::NotFound, "there was no request")),
        },
        (Method::Get, "requests") => {
            let entries: Vec<Entry> = shared.log.lock().entries().cloned().collect();
            entries.iter().map(Entry::show).collect()
        }
        (Method::Post, "reset") => {
            shared.simulator.reset();
            shared.log.lock().clear();
            shared.grants.lock().revoke();
            shared.objects.lock().clear();
            Value::Object(Default::default())
        }
        _ => return Err(Error::new(ErrorKind::NotFound, format!("there is no /sim/{path}")).with_code("unknown_url")),
    };
    Ok(shown.to_string().into())
}

/// Counts to wait for.
#[derive(Debug)]
struct Expected(Vec<(Read, Bound)>);

type Read = fn(&SimCounts) -> u64;

#[derive(Debug)]
enum Bound {
    AtLeast(u64),
    Exactly(u64),
}

impl Expected {
    fn read(query: &str) -> Result<Self, Error> {
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, count) = pair.split_once('=').unwrap_or((pair, ""));
            let wrong = || Error::new(ErrorKind::InvalidRequest, format!("`{pair}` is no count to wait for"));
            let count = count.parse().map_err(|_| wrong())?;
            let read: Read = match name {
                "requests" => |counts| counts.requests,
                "active" => |counts| counts.active,
                "completed" => |counts| counts.completed,
                "failed" => |counts| counts.failed,
                "cancelled" => |counts| counts.cancelled,
                "output_tokens" => |counts| counts.output_tokens,
                _ => return Err(wrong()),
            };
            let bound = if name == "active" { Bound::Exactly(count) } else { Bound::AtLeast(count) };
            Ok((read, bound))
        });
        pairs.collect::<Result<_, _>>().map(Self)
    }

    fn met(&self, stats: &SimStats) -> bool {
        self.0.iter().all(|(read, bound)| match bound {
            Bound::AtLeast(count) => read(&stats.total) >= *count,
            Bound::Exactly(count) => read(&stats.total) == *count,
        })
    }
}
