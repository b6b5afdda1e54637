//! Streams whose callers may come back for the rest.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use llm_core::sync::Mutex;
use llm_core::{Clock, TenantId, Tick};

/// The name of one caller's place in a stream, which nobody else can guess: 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ResumeToken(u128);

impl ResumeToken {
    /// A name from 128 bits of the operating system's randomness.
    #[must_use]
    pub const fn from_random(bits: u128) -> Self {
        Self(bits)
    }
}

impl fmt::Display for ResumeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Who knows a token can take the place.
impl fmt::Debug for ResumeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResumeToken(..)")
    }
}

/// A text is not the name of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not 32 hexadecimal digits")]
pub struct NotAToken;

impl FromStr for ResumeToken {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<Self, NotAToken> {
        let is_token = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let bits = is_token.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        bits.map(Self).ok_or(NotAToken)
    }
}

/// The places of callers who may come back to their streams, at most so many. Clones share them.
///
/// `S` is what keeps a stream alive and lets it be read: a [`Broadcast`](crate::Broadcast) and a place in its flight,
/// behind an `Arc`. A place is open as long as its [`Place`] is held, and for a grace time after that was dropped;
/// in that time [`resume`](Self::resume) gives it back, and
/// [`listen_from`](crate::Broadcast::listen_from) what the caller has missed. So the upstream call of one who comes
/// back is made and charged once.
///
/// Meanwhile nobody need drive the stream: then its source is held, by its own back-pressure, until somebody comes back.
/// To have it read on, poll [`poll_fill`](crate::Listener::poll_fill) of a listener that stands where its caller left.
/// It keeps what comes from there on, up to the log's bound;
/// [`keep_behind`](crate::Broadcast::keep_behind) keeps what was sent before and may not have arrived.
pub struct Resumes<S>(Arc<Shared<S>>);

struct Shared<S> {
    places: Mutex<Places<S>>,
    max: usize,
    grace: Duration,
    clock: Arc<dyn Clock>,
}

struct Places<S> {
    open: HashMap<ResumeToken, Open<S>>,
    /// Those who left, in order, with the count of their holders when they did. Who came back since has another.
    left: VecDeque<(Tick, ResumeToken, u64)>,
    holders: u64,
}

struct Open<S> {
    tenant: TenantId,
    stream: S,
    /// Who holds it, or held it last.
    holder: u64,
    held: bool,
}

impl<S> Clone for Resumes<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S> fmt::Debug for Resumes<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resumes").field("grace", &self.0.grace).finish_non_exhaustive()
    }
}

impl<S: Clone> Resumes<S> {
    /// At most `max` places, open for `grace` after their caller left.
    #[must_use]
    pub fn new(max: usize, grace: Duration, clock: Arc<dyn Clock>) -> Self {
        let places = Places { open: HashMap::new(), left: VecDeque::new(), holders: 0 };
        Self(Arc::new(Shared { places: Mutex::new(places), max, grace, clock }))
    }

    /// A place of `tenant`'s in `stream`, called `token`. None when all places are held: then the caller cannot come
    /// back. Where one is open whose caller has left, the oldest of those makes room.
    #[must_use]
    pub fn open(&self, tenant: TenantId, token: ResumeToken, stream: S) -> Option<Place<S>> {
        let now = self.0.clock.now();
        let mut places = self.0.places.lock();
        let mut gone = places.expire(now);
        if places.open.len() >= self.0.max {
            gone.extend(places.pop_left());
        }
        let opened = (places.open.len() < self.0.max && !places.open.contains_key(&token)).then(|| {
            places.holders += 1;
            let holder = places.holders;
            places.open.insert(token, Open { tenant, stream, holder, held: true });
            Place { resumes: self.clone(), token, holder }
        });
        drop(places);
        // What keeps a stream alive ends when no lock is held.
        drop(gone);
        opened
    }

    /// The place called `token`, if it is `tenant`'s and open, and its stream. Whoever still holds it holds it no
    /// longer: its caller is here.
    #[must_use]
    pub fn resume(&self, tenant: &TenantId, token: ResumeToken) -> Option<(Place<S>, S)> {
        let now = self.0.clock.now();
        let mut places = self.0.places.lock();
        let gone = places.expire(now);
        let holder = places.holders + 1;
        let found = places.open.get_mut(&token).filter(|open| open.tenant == *tenant).map(|open| {
            (open.holder, open.held) = (holder, true);
            (Place { resumes: self.clone(), token, holder }, open.stream.clone())
        });
        places.holders = holder;
        drop(places);
        drop(gone);
        found
    }

    /// Lets go of the places whose grace time is over; how many there were. [`open`](Self::open) and
    /// [`resume`](Self::resume) do it, too: this is for times when nobody comes.
    pub fn expire(&self) -> usize {
        let now = self.0.clock.now();
        let gone = self.0.places.lock().expire(now);
        gone.len()
    }

    /// How many places are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.places.lock().open.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<S> Places<S> {
    fn expire(&mut self, now: Tick) -> Vec<Open<S>> {
        let mut gone = Vec::new();
        while self.left.front().is_some_and(|(until, ..)| *until <= now) {
            gone.extend(self.pop());
        }
        gone
    }

    /// The one who has been away the longest.
    fn pop_left(&mut self) -> Option<Open<S>> {
        while !self.left.is_empty() {
            if let Some(open) = self.pop() {
                return Some(open);
            }
        }
        None
    }

    /// The first who left, unless the place was taken again.
    fn pop(&mut self) -> Option<Open<S>> {
        let (_, token, holder) = self.left.pop_front()?;
        let is_away = self.open.get(&token).is_some_and(|open| open.is_away(holder));
        if is_away { self.open.remove(&token) } else { None }
    }

    fn push(&mut self, until: Tick, token: ResumeToken, holder: u64) {
        // Who comes and goes leaves an entry each time: of one place one counts.
        if self.left.len() >= 2 * self.open.len() + 16 {
            self.left.retain(|(_, token, holder)| self.open.get(token).is_some_and(|open| open.is_away(*holder)));
        }
        self.left.push_back((until, token, holder));
    }
}

impl<S> Open<S> {
    /// Whether `holder` was its last and has left.
    const fn is_away(&self, holder: u64) -> bool {
        self.holder == holder && !self.held
    }
}

/// A caller's place. Dropping it is leaving for a while; [`leave`](Self::leave) is leaving for good.
#[must_use = "a place that is dropped stays open for the grace time"]
pub struct Place<S> {
    resumes: Resumes<S>,
    token: ResumeToken,
    holder: u64,
}

impl<S> Place<S> {
    /// Its name.
    #[must_use]
    pub const fn token(&self) -> ResumeToken {
        self.token
    }

    /// The caller has got everything, or does not want the rest.
    pub fn leave(self) {
        let gone = {
            let mut places = self.resumes.0.places.lock();
            let is_own = places.open.get(&self.token).is_some_and(|open| open.holder == self.holder);
            is_own.then(|| places.open.remove(&self.token))
        };
        drop(gone);
    }
}

impl<S> Drop for Place<S> {
    fn drop(&mut self) {
        let shared = &*self.resumes.0;
        let until = shared.clock.now().after(shared.grace);
        let mut places = shared.places.lock();
        let own = places.open.get_mut(&self.token).filter(|open| open.holder == self.holder);
        let Some(open) = own else { return };
        open.held = false;
        places.push(until, self.token, self.holder);
    }
}

impl<S> fmt::Debug for Place<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place(..)")
    }
}

#[cfg(test)]
#[cfg(not(llm_loom))]
mod tests {
    use llm_core::ManualClock;
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn tenant(name: &str) -> TenantId {
        TenantId::from(name)
    }

    fn resumes(max: usize) -> (Resumes<Arc<u32>>, ManualClock) {
        let clock = ManualClock::new();
        (Resumes::new(max, 30 * SECOND, Arc::new(clock.clone())), clock)
    }

    fn token(bits: u128) -> ResumeToken {
        ResumeToken::from_random(bits)
    }

    #[test]
    fn a_token_is_32_digits_and_is_read_back() {
        let text = token(0xab).to_string();
        assert_eq!(text, "000000000000000000000000000000ab");
        assert_eq!(text.parse(), Ok(token(0xab)));
        for text in ["", "ab", "+00000000000000000000000000000ab", "000000000000000000000000000000abc"] {
            assert_eq!(text.parse::<ResumeToken>(), Err(NotAToken));
        }
    }

    #[test]
    fn who_left_may_come_back_within_the_grace_time_and_not_later() {
        let (resumes, clock) = resumes(10);
        let stream = Arc::new(7);
        let place = resumes.open(tenant("t"), token(1), stream.clone()).unwrap();
        clock.advance(1000 * SECOND);
        drop(place);
        clock.advance(29 * SECOND);
        let (place, again) = resumes.resume(&tenant("t"), token(1)).unwrap();
        assert_eq!((*again, place.token()), (7, token(1)));
        drop((place, again));
        clock.advance(29 * SECOND);
        assert_eq!((resumes.expire(), resumes.len()), (0, 1));
        clock.advance(SECOND);
        assert!(resumes.resume(&tenant("t"), token(1)).is_none());
        assert_eq!((resumes.len(), Arc::strong_count(&stream)), (0, 1));
    }

    #[test]
    fn who_leaves_for_good_keeps_nothing_alive() {
        let (resumes, _) = resumes(10);
        let stream = Arc::new(7);
        resumes.open(tenant("t"), token(1), stream.clone()).unwrap().leave();
        assert_eq!((resumes.len(), Arc::strong_count(&stream)), (0, 1));
    }

    #[test]
    fn another_tenant_does_not_get_the_place() {
        let (resumes, _) = resumes(10);
        drop(resumes.open(tenant("t"), token(1), Arc::new(7)));
        assert!(resumes.resume(&tenant("other"), token(1)).is_none());
        assert!(resumes.resume(&tenant("t"), token(2)).is_none());
        assert!(resumes.resume(&tenant("t"), token(1)).is_some());
    }

    #[test]
    fn who_comes_back_takes_the_place_from_a_connection_that_is_not_known_to_be_dead() {
        let (resumes, clock) = resumes(10);
        let old = resumes.open(tenant("t"), token(1), Arc::new(7)).unwrap();
        let (new, _) = resumes.resume(&tenant("t"), token(1)).unwrap();
        drop(old);
        clock.advance(60 * SECOND);
        assert_eq!((resumes.expire(), resumes.len()), (0, 1));
        drop(new);
        clock.advance(60 * SECOND);
        assert_eq!((resumes.expire(), resumes.len()), (1, 0));
    }

    #[test]
    fn who_has_been_away_the_longest_makes_room() {
        let (resumes, _) = resumes(2);
        let first = resumes.open(tenant("t"), token(1), Arc::new(1)).unwrap();
        let second = resumes.open(tenant("t"), token(2), Arc::new(2)).unwrap();
        assert!(resumes.open(tenant("t"), token(3), Arc::new(3)).is_none());
        drop(second);
        drop(first);
        let _third = resumes.open(tenant("t"), token(3), Arc::new(3)).unwrap();
        assert!(resumes.resume(&tenant("t"), token(2)).is_none());
        assert!(resumes.resume(&tenant("t"), token(1)).is_some());
    }

    #[test]
    fn who_comes_and_goes_leaves_no_trail() {
        let (resumes, _) = resumes(2);
        let mut place = resumes.open(tenant("t"), token(1), Arc::new(1)).unwrap();
        for _ in 0..1000 {
            drop(place);
            place = resumes.resume(&tenant("t"), token(1)).unwrap().0;
        }
        assert!(resumes.0.places.lock().left.len() < 20);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Open(u8),
        Resume(u8),
        Drop(usize),
        Leave(usize),
        Wait(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0u8..6).prop_map(Step::Open),
            3 => (0u8..6).prop_map(Step::Resume),
            3 => any::<usize>().prop_map(Step::Drop),
            1 => any::<usize>().prop_map(Step::Leave),
            2 => (1u8..40).prop_map(Step::Wait),
        ];
        proptest::collection::vec(step, 1..100)
    }

    proptest! {
        /// Beside a naive model: a list of tokens, who holds them, and until when those who left are waited for.
        #[test]
        fn a_place_is_open_as_a_list_would_say(steps in steps()) {
            let (resumes, clock) = resumes(100);
            // Token, holder's number, until when: none while held.
            let mut model: Vec<(u8, usize, Option<Tick>)> = Vec::new();
            let mut places: Vec<(u8, usize, Place<Arc<u32>>)> = Vec::new();
            let mut holders = 0;
            for step in steps {
                let now = clock.now();
                model.retain(|(.., until)| until.is_none_or(|until| until > now));
                match step {
                    Step::Open(name) => {
                        let known = model.iter().any(|(token, ..)| *token == name);
                        let opened = resumes.open(tenant("t"), token(name.into()), Arc::new(0));
                        prop_assert_eq!(opened.is_some(), !known);
                        if let Some(place) = opened {
                            holders += 1;
                            model.push((name, holders, None));
                            places.push((name, holders, place));
                        }
                    }
                    Step::Resume(name) => {
                        let resumed = resumes.resume(&tenant("t"), token(name.into()));
                        let known = model.iter_mut().find(|(token, ..)| *token == name);
                        prop_assert_eq!(resumed.is_some(), known.is_some());
                        if let (Some((place, _)), Some(known)) = (resumed, known) {
                            holders += 1;
                            *known = (name, holders, None);
                            places.push((name, holders, place));
                        }
                    }
                    Step::Drop(at) if !places.is_empty() => {
                        let (name, holder, place) = places.swap_remove(at % places.len());
                        drop(place);
                        if let Some(known) = model.iter_mut().find(|known| (known.0, known.1) == (name, holder)) {
                            known.2 = Some(now.after(30 * SECOND));
                        }
                    }
                    Step::Leave(at) if !places.is_empty() => {
                        let (name, holder, place) = places.swap_remove(at % places.len());
                        place.leave();
                        model.retain(|known| (known.0, known.1) != (name, holder));
                    }
                    Step::Wait(seconds) => clock.advance(u32::from(seconds) * SECOND),
                    Step::Drop(_) | Step::Leave(_) => {}
                }
                let now = clock.now();
                model.retain(|(.., until)| until.is_none_or(|until| until > now));
                resumes.expire();
                prop_assert_eq!(resumes.len(), model.len());
            }
        }
    }
}
