//! No package that `deny.toml` bans is in the lock.

use toml::{Table, Value};

use crate::Outcome;
use crate::workspace::Metadata;

/// One entry of `bans.deny`: every version, or those below one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ban {
    name: String,
    below: Option<[u64; 3]>,
}

/// Banned packages, by name and version.
pub(crate) fn complaints(deny: &Table, metadata: &Metadata) -> Outcome<Vec<String>> {
    let list = deny.get("bans").and_then(|table| table.get("deny")).and_then(Value::as_array);
    let bans = list.ok_or("deny.toml: no list bans.deny")?.iter().map(Ban::read).collect::<Outcome<Vec<_>>>()?;
    let banned = |name: &str, version: &str| bans.iter().any(|ban| ban.name == name && ban.covers(version));
    Ok(metadata
        .packages
        .iter()
        .filter(|package| banned(&package.name, &package.version))
        .map(|package| format!("{} {} is banned", package.name, package.version))
        .collect())
}

impl Ban {
    /// Reads cargo-deny's `{ crate = "name" }` or `{ crate = "name@<1.2.3" }`.
    fn read(entry: &Value) -> Outcome<Self> {
        let unreadable =
            || format!("deny.toml: tidy reads `{{ crate = \"name\" }}` and `\"name@<1.2.3\"`, not `{entry}`");
        let text = entry.get("crate").and_then(Value::as_str).ok_or_else(unreadable)?;
        let Some((name, range)) = text.split_once('@') else {
            return Ok(Self { name: text.to_owned(), below: None });
        };
        let below = range.strip_prefix('<').and_then(triple).ok_or_else(unreadable)?;
        Ok(Self { name: name.to_owned(), below: Some(below) })
    }

    fn covers(&self, version: &str) -> bool {
        // A version that cannot be compared is covered: a ban errs on the safe side.
        self.below.is_none_or(|below| triple(version).is_none_or(|version| version < below))
    }
}

/// `1.2.3`; what follows a `-` or `+` does not matter to a ban.
fn triple(version: &str) -> Option<[u64; 3]> {
    let numbers = version.split(['-', '+']).next()?;
    let mut parts = numbers.split('.').map(|part| part.parse().ok());
    let triple = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(triple)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(list: &str, name: &str, version: &str) -> Outcome<Vec<String>> {
        let deny: Table = format!("[bans]\ndeny = [{list}]\n").parse().expect("toml");
        let json = format!(r#"{{"packages":[{{"name":"{name}","version":"{version}","id":"x"}}]}}"#);
        complaints(&deny, &Metadata::parse(&json).expect("metadata"))
    }

    #[test]
    fn a_banned_name_is_reported_in_every_version() {
        let list = r#"{ crate = "paste" }, { crate = "rsa" }"#;
        assert_eq!(found(list, "rsa", "0.9.8"), Ok(vec!["rsa 0.9.8 is banned".to_owned()]));
        assert_eq!(found(list, "rsa2", "0.9.8"), Ok(vec![]));
    }

    #[test]
    fn a_ban_below_a_version_spares_that_version() {
        let list = r#"{ crate = "lru@<0.18.2" }"#;
        assert_eq!(found(list, "lru", "0.18.1"), Ok(vec!["lru 0.18.1 is banned".to_owned()]));
        assert_eq!(found(list, "lru", "0.9.0"), Ok(vec!["lru 0.9.0 is banned".to_owned()]), "numbers, not text");
        assert_eq!(found(list, "lru", "0.18.2"), Ok(vec![]));
        assert_eq!(found(list, "lru", "1.0.0"), Ok(vec![]));
    }

    #[test]
    fn an_entry_that_cannot_be_checked_is_an_error() {
        assert!(found(r#"{ crate = "lru@^0.18" }"#, "lru", "0.18.1").is_err());
        assert!(found(r#""lru""#, "lru", "0.18.1").is_err());
    }
}
