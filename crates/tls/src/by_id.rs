//! Sessions that are remembered here, for clients that take no tickets (TLS 1.2 session ids, RFC 5246 §7.3).
//!
//! Our own, since rustls's cannot be handed to another process, and since a session must be worth something only under the
//! client rule that it began under. Locked for one look at a table, by handshakes of TLS 1.2 alone.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustls::server::StoresServerSessions;

use crate::{peer::RuleId, tickets::seconds_now};

/// So many are remembered, about 200 bytes each.
const SESSIONS_MAX: usize = 4096;

type Key = (RuleId, Box<[u8]>);

/// Sessions by the rule that their clients were let in under, and their id.
#[derive(Default)]
pub(crate) struct Remembered {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    known: HashMap<Key, Session>,
    /// The oldest first.
    order: VecDeque<Key>,
}

/// A session that is remembered.
#[derive(Clone)]
pub(crate) struct Session {
    /// When it began, in seconds since 1970.
    pub(crate) since: u64,
    /// What rustls makes of it. Secret.
    pub(crate) value: Arc<[u8]>,
}

impl Remembered {
    /// Adds one; the oldest goes where there are too many.
    pub(crate) fn add(&self, rule: RuleId, id: &[u8], session: Session) {
        let mut table = self.table();
        if table.order.len() >= SESSIONS_MAX
            && let Some(oldest) = table.order.pop_front()
        {
            table.known.remove(&oldest);
        }
        let key: Key = (rule, id.into());
        if table.known.insert(key.clone(), session).is_none() {
            table.order.push_back(key);
        }
    }

    /// All of them, the oldest first.
    pub(crate) fn all(&self) -> Vec<(Key, Session)> {
        let table = self.table();
        let known = |key: &Key| Some((key.clone(), table.known.get(key)?.clone()));
        table.order.iter().filter_map(known).collect()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sessions as one configuration remembers and takes them.
pub(crate) struct ById {
    pub(crate) remembered: Arc<Remembered>,
    /// Twice as long a session can be resumed at most: as long as by a ticket.
    pub(crate) rotate: Duration,
    /// Who clients must be.
    pub(crate) rule: RuleId,
}

impl ById {
    fn key(&self, id: &[u8]) -> Key {
        (self.rule, id.into())
    }

    fn is_good(&self, session: &Session) -> bool {
        session.since.abs_diff(seconds_now()) < 2 * self.rotate.as_secs()
    }
}

impl StoresServerSessions for ById {
    fn put(&self, id: Vec<u8>, value: Vec<u8>) -> bool {
        self.remembered.add(self.rule, &id, Session { since: seconds_now(), value: value.into() });
        true
    }

    fn get(&self, id: &[u8]) -> Option<Vec<u8>> {
        let session = self.remembered.table().known.get(&self.key(id)).cloned()?;
        self.is_good(&session).then(|| session.value.to_vec())
    }

    fn take(&self, id: &[u8]) -> Option<Vec<u8>> {
        let key = self.key(id);
        let mut table = self.remembered.table();
        table.order.retain(|other| *other != key);
        let session = table.known.remove(&key)?;
        self.is_good(&session).then(|| session.value.to_vec())
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// Without what is secret.
impl fmt::Debug for ById {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ById").field("rotate", &self.rotate).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    fn by_id(remembered: &Arc<Remembered>, rule: u8) -> ById {
        ById { remembered: Arc::clone(remembered), rotate: Duration::from_secs(HOUR), rule: [rule; 32] }
    }

    #[test]
    fn a_session_is_known_under_its_rule_only() {
        let remembered = Arc::default();
        let (here, elsewhere) = (by_id(&remembered, 1), by_id(&remembered, 2));
        assert!(here.can_cache() && here.put(b"id".to_vec(), b"x".to_vec()));
        assert_eq!((here.get(b"id").as_deref(), elsewhere.get(b"id")), (Some(&b"x"[..]), None));
        assert!(here.put(b"id".to_vec(), b"y".to_vec()), "the newest counts");
        assert_eq!((elsewhere.take(b"id"), here.take(b"id").as_deref()), (None, Some(&b"y"[..])));
        assert_eq!((here.take(b"id"), here.get(b"id"), remembered.all().len()), (None, None, 0));
    }

    #[test]
    fn a_session_is_good_for_as_long_as_a_ticket() {
        let remembered = Arc::default();
        let here = by_id(&remembered, 0);
        let shorter = ById { rotate: Duration::from_secs(HOUR / 2), ..by_id(&remembered, 0) };
        for (age, known, known_shorter) in
            [(HOUR - 10, true, true), (HOUR + 10, true, false), (2 * HOUR, false, false)]
        {
            let session = Session { since: seconds_now() - age, value: b"x"[..].into() };
            remembered.add([0; 32], b"id", session);
            assert_eq!((here.get(b"id").is_some(), shorter.get(b"id").is_some()), (known, known_shorter));
        }
    }

    #[test]
    fn of_too_many_the_oldest_go() {
        let remembered = Arc::default();
        let here = by_id(&remembered, 0);
        let id = |n: usize| n.to_be_bytes().to_vec();
        for n in 0..SESSIONS_MAX + 10 {
            here.put(id(n), vec![7]);
        }
        assert!((0..10).all(|n| here.get(&id(n)).is_none()) && here.get(&id(10)).is_some());
        let all = remembered.all();
        assert_eq!((all.len(), &*all[0].0.1), (SESSIONS_MAX, &id(10)[..]));
        assert_eq!(remembered.table().known.len(), SESSIONS_MAX);
    }

    #[test]
    fn secrets_are_not_shown() {
        let here = by_id(&Arc::default(), 0);
        here.put(b"id".to_vec(), b"secret".to_vec());
        assert_eq!(format!("{here:?}"), "ById { rotate: 3600s, .. }");
    }
}
