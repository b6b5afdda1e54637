//! Vertex AI: where its models are, and service accounts, by whose tokens they are reached.

mod account;
mod tokens;

pub(super) use tokens::Tokens;

use super::api::segment;
use super::config::ConfigError;

/// Whether `text` is a service account's key file.
///
/// # Errors
/// What is wrong with it.
pub fn check_service_account(text: &str) -> Result<(), ConfigError> {
    account::ServiceAccount::read(text).map(drop)
}

/// The base URL of the models that `project` has at `location`; `host` is in the place of Google's own.
pub(super) fn base_url(host: Option<&str>, project: &str, location: &str) -> Result<String, ConfigError> {
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !plain(location) {
        return Err(ConfigError::Location);
    }
    if project.is_empty() || project.contains('/') {
        return Err(ConfigError::Project);
    }
    let host = match (host, location) {
        (Some(host), _) => {
            let host = host.trim().trim_end_matches('/');
            ["/v1", "/v1beta1"].iter().find_map(|version| host.strip_suffix(version)).unwrap_or(host).to_owned()
        }
        (None, "global") => "https://aiplatform.googleapis.com".to_owned(),
        (None, location) => format!("https://{location}-aiplatform.googleapis.com"),
    };
    Ok(format!("{host}/v1/projects/{}/locations/{location}", segment(project)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_has_a_host_of_its_own_and_global_has_none() {
        let of = |host, location| base_url(host, "p-1", location).unwrap();
        assert_eq!(
            of(None, "europe-west4"),
            "https://europe-west4-aiplatform.googleapis.com/v1/projects/p-1/locations/europe-west4"
        );
        assert_eq!(of(None, "global"), "https://aiplatform.googleapis.com/v1/projects/p-1/locations/global");
        assert_eq!(of(Some("http://h:1/v1/"), "us-x"), "http://h:1/v1/projects/p-1/locations/us-x");
    }

    #[test]
    fn names_cannot_leave_their_places() {
        assert_eq!(base_url(None, "p", "evil.example/x"), Err(ConfigError::Location));
        assert_eq!(base_url(None, "p/q", "global"), Err(ConfigError::Project));
        assert!(base_url(None, "example.com:p", "global").unwrap().contains("/projects/example.com%3Ap/"));
    }
}
