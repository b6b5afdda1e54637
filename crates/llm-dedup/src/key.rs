//! What makes two calls the same.

use std::hash::{Hash, Hasher};

use bytes::Bytes;
use llm_core::{HashKey, TenantId, hash128};

/// The hash of a call, keyed per process. Finds candidates; equality is always checked in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(u128);

/// A call, in all that can change its answer.
#[derive(Clone, Debug)]
pub struct RequestKey {
    fingerprint: Fingerprint,
    tenant: TenantId,
    route: Bytes,
    body: Bytes,
}

impl RequestKey {
    /// The key of a call of `tenant`'s. `route` is everything beside the body that changes the answer: the
    /// operation, the dialect, the headers that are sent on.
    #[must_use]
    pub fn new(tenant: TenantId, route: impl Into<Bytes>, body: impl Into<Bytes>) -> Self {
        Self::with_hash(HashKey::process(), tenant, route.into(), body.into())
    }

    fn with_hash(key: HashKey, tenant: TenantId, route: Bytes, body: Bytes) -> Self {
        let fingerprint = Fingerprint(hash128(key, &[tenant.as_str().as_bytes(), &route, &body]));
        Self { fingerprint, tenant, route, body }
    }

    /// The call's hash.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    #[cfg(test)]
    pub(crate) fn colliding(body: &'static str) -> Self {
        let body = Bytes::from_static(body.as_bytes());
        Self { fingerprint: Fingerprint(7), tenant: TenantId::from("t"), route: Bytes::new(), body }
    }
}

impl PartialEq for RequestKey {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
            && self.tenant == other.tenant
            && self.route == other.route
            && self.body == other.body
    }
}

impl Eq for RequestKey {}

impl Hash for RequestKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.fingerprint.0 as u64);
    }
}

/// Takes a [`Fingerprint`] as it is: it is a keyed hash already.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(tenant: &str, route: &[u8], body: &[u8]) -> RequestKey {
        RequestKey::new(TenantId::from(tenant), route.to_vec(), body.to_vec())
    }

    #[test]
    fn the_tenant_and_the_route_count() {
        assert_ne!(key("a", b"r", b"b"), key("b", b"r", b"b"));
        assert_ne!(key("a", b"r", b"b"), key("a", b"s", b"b"));
        assert_ne!(key("a", b"rb", b""), key("a", b"r", b"b"));
    }

    #[test]
    fn a_collision_is_not_an_equality() {
        assert_ne!(RequestKey::colliding("one"), RequestKey::colliding("two"));
        assert_eq!(RequestKey::colliding("one"), RequestKey::colliding("one"));
    }

    proptest! {
        #[test]
        fn any_changed_byte_changes_the_key(body in proptest::collection::vec(any::<u8>(), 1..64), at: usize, by in 1u8..) {
            let mut other = body.clone();
            let at = at % other.len();
            other[at] = other[at].wrapping_add(by);
            prop_assert_ne!(key("t", b"", &body).fingerprint(), key("t", b"", &other).fingerprint());
            prop_assert_eq!(key("t", b"", &body), key("t", b"", &body));
        }
    }
}
