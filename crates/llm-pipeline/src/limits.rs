//! The tenants' request-rate limits.

use std::collections::HashMap;

use llm_core::{Error, ErrorKind, TenantId, Tick};
use llm_ratelimit::{Charge, Denied, RateLimiter, TokenBucketConfig};

/// One bucket a tenant, all with the same quota. Empty: no limit.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    buckets: HashMap<TenantId, RateLimiter>,
}

impl Limits {
    pub(crate) const fn new(buckets: HashMap<TenantId, RateLimiter>) -> Self {
        Self { buckets }
    }

    pub(crate) fn of(&self, tenant: &TenantId) -> Option<&RateLimiter> {
        self.buckets.get(tenant)
    }

    /// Takes one request from the tenant's bucket. What is not kept is given back.
    pub(crate) fn take(&self, tenant: &TenantId, now: Tick) -> Result<Option<Charge>, Error> {
        let Some(bucket) = self.of(tenant) else { return Ok(None) };
        bucket.take(1, now).map(Some).map_err(|denied| refusal(tenant, bucket.config(), denied))
    }
}

fn refusal(tenant: &TenantId, quota: TokenBucketConfig, denied: Denied) -> Error {
    let error = Error::new(ErrorKind::Denied, format!("rate limit of tenant {tenant} reached"))
        .with_code("rate_limit_exceeded")
        .because(format!(
            "rate_limits: {} requests per second, burst {}, for tenant {tenant}: {denied}",
            quota.rate_per_second, quota.burst
        ));
    match denied {
        Denied::Until { wait } => error.with_retry_after(wait),
        _ => error,
    }
}
