//! What makes two calls the same.

use std::hash::{BuildHasherDefault, Hash, Hasher};

use bytes::Bytes;
use llm_core::{HashKey, TenantId, hash128};
use quick_cache::Equivalent;

/// The hash of a call, keyed per process. Finds candidates; equality is always checked in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u128);

impl Fingerprint {
    /// The hash of a call in these parts.
    pub(crate) fn of(parts: &[&[u8]]) -> Self {
        Self(hash128(HashKey::process(), parts))
    }

    /// For a table.
    pub(crate) const fn low(self) -> u64 {
        self.0 as u64
    }

    /// For the choice among tables: nothing of it is in [`low`](Self::low).
    pub(crate) const fn high(self) -> u64 {
        (self.0 >> 64) as u64
    }
}

impl Hash for Fingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.low());
    }
}

/// Says whether two bodies mean the same.
type Same = fn(&[u8], &[u8]) -> bool;

/// A call, in all that can change its answer.
#[derive(Clone, Debug)]
pub struct RequestKey {
    fingerprint: Fingerprint,
    tenant: TenantId,
    route: Bytes,
    body: Bytes,
    /// Whether bodies of one digest are the same although their bytes differ.
    same: Option<Same>,
}

impl RequestKey {
    /// The key of a call of `tenant`'s whose body counts byte by byte. `route` is everything beside the body that
    /// changes the answer: the operation, the dialect, the headers that are sent on. Keys that share its memory are
    /// compared a little faster.
    #[must_use]
    pub fn new(tenant: TenantId, route: impl Into<Bytes>, body: impl Into<Bytes>) -> Self {
        let (route, body) = (route.into(), body.into());
        let fingerprint = Fingerprint::of(&[tenant.as_str().as_bytes(), &route, &body]);
        Self { fingerprint, tenant, route, body, same: None }
    }

    /// The key of a call whose body counts by its meaning: `digest` is the same for all bodies that mean the same, and
    /// should differ for all others; it is to be keyed, or callers could aim for equal ones. `same` says whether two
    /// bodies of one digest do mean the same; it is asked only where their bytes differ, and must be reflexive,
    /// symmetric and transitive, and one function for all keys that meet.
    #[must_use]
    pub fn canonical(
        tenant: TenantId,
        route: impl Into<Bytes>,
        body: impl Into<Bytes>,
        digest: u128,
        same: fn(&[u8], &[u8]) -> bool,
    ) -> Self {
        let (route, body) = (route.into(), body.into());
        // Four parts, so that no body is a digest.
        let fingerprint = Fingerprint::of(&[tenant.as_str().as_bytes(), &route, &digest.to_le_bytes(), b"canonical"]);
        Self { fingerprint, tenant, route, body, same: Some(same) }
    }

    /// The call's hash.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Whose call it is.
    #[must_use]
    pub const fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The call's body.
    #[must_use]
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// The key as it is kept.
    pub(crate) fn kept(&self) -> KeptKey {
        KeptKey {
            fingerprint: self.fingerprint,
            tenant: self.tenant.clone(),
            bytes: [&self.body[..], &self.route[..]].concat().into(),
            body: self.body.len(),
            same: self.same,
        }
    }

    #[cfg(test)]
    pub(crate) fn colliding(body: &'static str) -> Self {
        let body = Bytes::from_static(body.as_bytes());
        Self { fingerprint: Fingerprint(7), tenant: TenantId::from("t"), route: Bytes::new(), body, same: None }
    }
}

/// Whether both are equal: most of them are one piece of memory.
#[inline]
fn is_one(one: &[u8], other: &[u8]) -> bool {
    std::ptr::eq(one, other) || one == other
}

impl PartialEq for RequestKey {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        let meant = || self.same.zip(other.same).is_some_and(|(same, _)| same(&self.body, &other.body));
        self.fingerprint == other.fingerprint
            && is_one(self.tenant.as_str().as_bytes(), other.tenant.as_str().as_bytes())
            && is_one(&self.route, &other.route)
            && self.same.is_some() == other.same.is_some()
            && (self.body == other.body || meant())
    }
}

impl Eq for RequestKey {}

impl Hash for RequestKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

/// A key in bytes of its own: what is kept would else keep the whole buffer that the call was read into.
pub(crate) struct KeptKey {
    fingerprint: Fingerprint,
    tenant: TenantId,
    /// The body, of so many bytes, and the route.
    bytes: Box<[u8]>,
    body: usize,
    same: Option<Same>,
}

impl KeptKey {
    pub(crate) const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    pub(crate) const fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The bytes that it holds.
    pub(crate) const fn weight(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it is the key of a call in these parts, whose body counts byte by byte.
    fn is(&self, tenant: &str, route: &[u8], body: &[u8]) -> bool {
        let (own_body, own_route) = self.bytes.split_at(self.body);
        self.same.is_none() && self.tenant == *tenant && own_route == route && own_body == body
    }
}

impl PartialEq for KeptKey {
    fn eq(&self, other: &Self) -> bool {
        let (body, route) = self.bytes.split_at(self.body);
        let (other_body, other_route) = other.bytes.split_at(other.body);
        let meant = || self.same.zip(other.same).is_some_and(|(same, _)| same(body, other_body));
        self.fingerprint == other.fingerprint
            && self.tenant == other.tenant
            && route == other_route
            && self.same.is_some() == other.same.is_some()
            && (body == other_body || meant())
    }
}

impl Eq for KeptKey {}

impl Hash for KeptKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

impl Equivalent<KeptKey> for RequestKey {
    #[inline]
    fn equivalent(&self, kept: &KeptKey) -> bool {
        let (body, route) = kept.bytes.split_at(kept.body);
        let meant = || self.same.zip(kept.same).is_some_and(|(same, _)| same(&self.body, body));
        self.fingerprint == kept.fingerprint
            && self.tenant == kept.tenant
            && self.route == route
            && self.same.is_some() == kept.same.is_some()
            && (self.body == body || meant())
    }
}

/// The key of a text by model and prompt, which belongs to nobody: as a [`RequestKey`] of these would be.
pub(crate) struct TextKey<'a> {
    fingerprint: Fingerprint,
    model: &'a [u8],
    prompt: &'a [u8],
}

const NOBODY: &str = "";

impl<'a> TextKey<'a> {
    pub(crate) fn new(model: &'a str, prompt: &'a str) -> Self {
        let (model, prompt) = (model.as_bytes(), prompt.as_bytes());
        Self { fingerprint: Fingerprint::of(&[NOBODY.as_bytes(), model, prompt]), model, prompt }
    }

    pub(crate) const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The key as it is kept.
    pub(crate) fn kept(&self) -> KeptKey {
        KeptKey {
            fingerprint: self.fingerprint,
            tenant: TenantId::from(NOBODY),
            bytes: [self.prompt, self.model].concat().into(),
            body: self.prompt.len(),
            same: None,
        }
    }
}

impl Hash for TextKey<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

impl Equivalent<KeptKey> for TextKey<'_> {
    fn equivalent(&self, kept: &KeptKey) -> bool {
        self.fingerprint == kept.fingerprint && kept.is(NOBODY, self.model, self.prompt)
    }
}

/// Takes a [`Fingerprint`] as it is: it is a keyed hash already.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AsIs(u64);

/// Makes [`AsIs`].
pub(crate) type ByFingerprint = BuildHasherDefault<AsIs>;

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

    #[test]
    fn of_one_digest_are_the_same_by_what_they_mean_and_only_those() {
        fn folded(one: &[u8], other: &[u8]) -> bool {
            one.eq_ignore_ascii_case(other)
        }
        let canonical = |tenant: &str, body: &'static str, digest| {
            RequestKey::canonical(TenantId::from(tenant), "r", body, digest, folded)
        };
        assert_eq!(canonical("a", "Text", 1), canonical("a", "tEXT", 1));
        assert_ne!(canonical("a", "text", 1), canonical("a", "test", 1));
        assert_ne!(canonical("a", "text", 1), canonical("a", "text", 2));
        assert_ne!(canonical("a", "text", 1), canonical("b", "text", 1));
        let digest = 1u128.to_le_bytes();
        assert_ne!(canonical("a", "text", 1).fingerprint(), key("a", b"r", &digest).fingerprint());
    }

    #[test]
    fn a_key_that_is_kept_is_the_same_key_in_bytes_of_its_own() {
        let buffer = Bytes::from(vec![b'x'; 1000]);
        let key = RequestKey::new(TenantId::from("t"), buffer.slice(1..3), buffer.slice(5..10));
        assert!(key.equivalent(&key.kept()) && key.kept() == key.kept());
        assert_ne!(key.kept().bytes.as_ptr(), key.route.as_ptr());
        let others = [
            RequestKey::new(TenantId::from("u"), "xx", "xxxxx"),
            RequestKey::new(TenantId::from("t"), "xxx", "xxxx"),
            RequestKey::new(TenantId::from("t"), "xx", "xxxxy"),
            RequestKey::canonical(TenantId::from("t"), "xx", "xxxxx", 7, |_, _| true),
        ];
        for other in others {
            assert!(!other.equivalent(&key.kept()) && other.kept() != key.kept());
        }
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
