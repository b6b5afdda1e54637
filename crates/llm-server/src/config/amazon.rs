//! Amazon's settings where the file leaves them out: from the variables that Amazon's own tools read.

use super::environment::Environment;
use super::file::{Kind, Provider};

/// Puts what `environment` says into a provider of the kind `bedrock` that the file says nothing of.
pub(crate) fn fill(provider: &mut Provider, environment: &Environment) {
    if provider.kind != Kind::Bedrock {
        return;
    }
    let set = |name: &str| environment.get(name).filter(|value| !value.trim().is_empty());
    let region = || set("AWS_REGION").or_else(|| set("AWS_DEFAULT_REGION")).map(str::to_owned);
    provider.region = provider.region.take().or_else(region);
    if provider.keys().next().is_some() || provider.access_key_id.is_some() || provider.secret_access_key.is_some() {
        return;
    }
    let from = |name: &str| set(name).map(|_| format!("env:{name}").into());
    if set("AWS_BEARER_TOKEN_BEDROCK").is_some() {
        provider.api_key = from("AWS_BEARER_TOKEN_BEDROCK");
    } else {
        provider.access_key_id = from("AWS_ACCESS_KEY_ID");
        provider.secret_access_key = from("AWS_SECRET_ACCESS_KEY");
        provider.session_token = from("AWS_SESSION_TOKEN");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(change: impl FnOnce(&mut Provider), variables: &[(&str, &str)]) -> Provider {
        let mut provider = Provider::new("a", Kind::Bedrock);
        change(&mut provider);
        fill(&mut provider, &Environment::from_iter(variables.iter().copied()));
        provider
    }

    #[test]
    fn variables_say_what_the_file_does_not() {
        let signed =
            [("AWS_DEFAULT_REGION", "d"), ("AWS_ACCESS_KEY_ID", "i"), ("AWS_SECRET_ACCESS_KEY", "s"), ("OTHER", "x")];
        let provider = filled(|_| {}, &signed);
        assert_eq!(provider.region.as_deref(), Some("d"));
        assert!(provider.access_key_id.is_some() && provider.secret_access_key.is_some());
        assert!(provider.session_token.is_none() && provider.api_key.is_none());
        let bearer = [signed.as_slice(), &[("AWS_BEARER_TOKEN_BEDROCK", "b"), ("AWS_REGION", "r")]].concat();
        let provider = filled(|_| {}, &bearer);
        assert!(provider.api_key.is_some() && provider.access_key_id.is_none());
        assert_eq!(provider.region.as_deref(), Some("r"));
        let provider = filled(|provider| provider.api_key = Some("k".to_owned().into()), &signed);
        assert!(provider.access_key_id.is_none());
    }
}
