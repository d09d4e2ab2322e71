//! Session tickets (RFC 8446 §4.6.1, RFC 5077): sealed with AES-256-GCM under keys that change by themselves and can be handed
//! to another process.
//!
//! Our own, since rustls's do not give their keys away, and since a ticket must be worth something only under the client rule
//! that it was given under.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand,
};
use rustls::{Error, server::ProducesTickets};

use crate::peer::RuleId;

const NAME_LEN: usize = 16;
const SECRET_LEN: usize = 32;
const EXPORTED_KEY_LEN: usize = NAME_LEN + SECRET_LEN + 8;
/// Begins what is exported; the last byte is the version of the format.
const MAGIC: [u8; 4] = *b"EVT\x01";

/// Keys of tickets: the one that seals, and the one before it, which still opens.
pub(crate) struct TicketKeys {
    ring: ArcSwap<Ring>,
    /// Seconds to add to the clock. Only tests turn it.
    ahead: AtomicU64,
}

struct Ring {
    current: Arc<Key>,
    previous: Option<Arc<Key>>,
}

struct Key {
    name: [u8; NAME_LEN],
    secret: [u8; SECRET_LEN],
    /// When it began to seal, in seconds since 1970.
    since: u64,
    cipher: LessSafeKey,
}

/// Why exported keys cannot be taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these are no ticket keys of a version that is known here")]
pub struct ImportError;

impl TicketKeys {
    /// With a new key.
    pub(crate) fn new() -> Result<TicketKeys, Error> {
        let current = Arc::new(Key::random(seconds_now()).ok_or(Error::FailedToGetRandomBytes)?);
        let ring = ArcSwap::from_pointee(Ring { current, previous: None });
        Ok(TicketKeys { ring, ahead: AtomicU64::new(0) })
    }

    /// The keys as bytes. Secret: who has them can read recorded sessions that were resumed without a new exchange of keys.
    pub(crate) fn export(&self) -> Vec<u8> {
        let ring = self.ring.load();
        let mut bytes = MAGIC.to_vec();
        for key in [Some(&ring.current), ring.previous.as_ref()].into_iter().flatten() {
            bytes.extend_from_slice(&key.name);
            bytes.extend_from_slice(&key.secret);
            bytes.extend_from_slice(&key.since.to_be_bytes());
        }
        bytes
    }

    /// Takes exported keys over instead of its own.
    pub(crate) fn import(&self, bytes: &[u8]) -> Result<(), ImportError> {
        let keys = bytes.strip_prefix(&MAGIC).ok_or(ImportError)?;
        let (keys, []) = keys.as_chunks::<EXPORTED_KEY_LEN>() else { return Err(ImportError) };
        let (current, previous) = match keys {
            [current] => (current, None),
            [current, previous] => (current, Some(previous)),
            _ => return Err(ImportError),
        };
        let read = |key: &[u8; EXPORTED_KEY_LEN]| Key::imported(key).map(Arc::new).ok_or(ImportError);
        let (current, previous) = (read(current)?, previous.map(read).transpose()?);
        self.ring.store(Arc::new(Ring { current, previous }));
        Ok(())
    }

    /// The keys at this time; the next one begins with its first use.
    fn ring(&self, rotate: u64) -> Option<Arc<Ring>> {
        let ring = self.ring.load();
        let now = seconds_now() + self.ahead.load(Ordering::Relaxed);
        if ring.current.since.abs_diff(now) < rotate {
            return Some(Arc::clone(&ring));
        }
        let next = Arc::new(ring.after(now, rotate)?);
        // Another worker may have been faster; then its key is the one.
        self.ring.compare_and_swap(&ring, next);
        Some(self.ring.load_full())
    }
}

impl Ring {
    /// With a new key. The old one opens until twice its time is over, however late somebody looks.
    fn after(&self, now: u64, rotate: u64) -> Option<Ring> {
        let age = now.saturating_sub(self.current.since);
        let still_opens = (rotate..2 * rotate).contains(&age);
        let since = if still_opens { self.current.since + rotate } else { now };
        let previous = still_opens.then(|| Arc::clone(&self.current));
        Some(Ring { current: Arc::new(Key::random(since)?), previous })
    }

    fn named(&self, name: &[u8]) -> Option<&Key> {
        [Some(&self.current), self.previous.as_ref()]
            .into_iter()
            .flatten()
            .find(|key| key.name == name)
            .map(|key| &**key)
    }
}

impl Key {
    /// `None` if the system gives no random numbers.
    fn random(since: u64) -> Option<Key> {
        let (mut name, mut secret) = ([0; NAME_LEN], [0; SECRET_LEN]);
        rand::fill(&mut name).ok()?;
        rand::fill(&mut secret).ok()?;
        Key::new(name, secret, since)
    }

    fn new(name: [u8; NAME_LEN], secret: [u8; SECRET_LEN], since: u64) -> Option<Key> {
        let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &secret).ok()?);
        Some(Key { name, secret, since, cipher })
    }

    fn imported(bytes: &[u8; EXPORTED_KEY_LEN]) -> Option<Key> {
        let (name, rest) = bytes.split_first_chunk()?;
        let (secret, rest) = rest.split_first_chunk()?;
        Key::new(*name, *secret, u64::from_be_bytes(*rest.first_chunk()?))
    }
}

/// Tickets as one configuration makes and takes them.
pub(crate) struct Tickets {
    pub(crate) keys: Arc<TicketKeys>,
    /// A key is used for so long.
    pub(crate) rotate: Duration,
    /// Who clients must be. A ticket that was given under another rule is worth nothing: it would let in whoever did not have to
    /// show a certificate, or had one that is revoked by now.
    pub(crate) rule: RuleId,
}

impl Tickets {
    fn context(&self, key: &Key) -> Aad<[u8; NAME_LEN + size_of::<RuleId>()]> {
        let mut context = [0; NAME_LEN + size_of::<RuleId>()];
        let (name, rule) = context.split_at_mut(NAME_LEN);
        name.copy_from_slice(&key.name);
        rule.copy_from_slice(&self.rule);
        Aad::from(context)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    /// For so long a ticket is good at least. Seven days at most (RFC 8446 §4.6.1), as the document allows.
    fn lifetime(&self) -> u32 {
        u32::try_from(self.rotate.as_secs()).unwrap_or(u32::MAX)
    }

    /// Name of the key, nonce, what is sealed, tag.
    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let ring = self.keys.ring(self.rotate.as_secs())?;
        let key = &ring.current;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        let context = self.context(key);
        key.cipher
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), context, &mut sealed)
            .ok()?;
        Some([&key.name[..], &nonce, &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME_LEN>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let ring = self.keys.ring(self.rotate.as_secs())?;
        let key = ring.named(name)?;
        let mut opened = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = key.cipher.open_in_place(nonce, self.context(key), &mut opened).ok()?.len();
        opened.truncate(length);
        Some(opened)
    }
}

/// Seconds since 1970.
pub(crate) fn seconds_now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Without what is secret.
impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("rotate", &self.rotate).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    fn tickets(keys: &Arc<TicketKeys>, rule: u8) -> Tickets {
        Tickets { keys: Arc::clone(keys), rotate: Duration::from_secs(HOUR), rule: [rule; 32] }
    }

    fn keys() -> Arc<TicketKeys> {
        Arc::new(TicketKeys::new().unwrap())
    }

    fn sleep(keys: &TicketKeys, seconds: u64) {
        keys.ahead.fetch_add(seconds, Ordering::Relaxed);
    }

    #[test]
    fn what_is_sealed_is_opened() {
        let keys = keys();
        let tickets = tickets(&keys, 0);
        for plain in [&b""[..], b"x", &[7; 1000]] {
            let ticket = tickets.encrypt(plain).unwrap();
            assert_eq!(tickets.decrypt(&ticket).as_deref(), Some(plain));
            assert_ne!(tickets.encrypt(plain).unwrap(), ticket, "each with its own nonce");
        }
        assert_eq!(tickets.lifetime(), 3600);
    }

    #[test]
    fn every_changed_bit_and_every_cut_is_refused() {
        let tickets = tickets(&keys(), 0);
        let ticket = tickets.encrypt(b"session").unwrap();
        for bit in 0..ticket.len() * 8 {
            let mut bad = ticket.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(tickets.decrypt(&bad), None, "bit {bit}");
        }
        assert!((0..ticket.len()).all(|cut| tickets.decrypt(&ticket[..cut]).is_none()));
    }

    #[test]
    fn a_ticket_is_worth_nothing_under_another_rule() {
        let keys = keys();
        let ticket = tickets(&keys, 1).encrypt(b"x").unwrap();
        assert!(tickets(&keys, 1).decrypt(&ticket).is_some());
        assert!(tickets(&keys, 2).decrypt(&ticket).is_none());
    }

    #[test]
    fn keys_change_by_themselves_and_the_one_before_still_opens() {
        let keys = keys();
        let tickets = tickets(&keys, 0);
        let ticket = tickets.encrypt(b"x").unwrap();
        let name = |ticket: &[u8]| ticket[..NAME_LEN].to_vec();
        sleep(&keys, HOUR - 10);
        assert_eq!(name(&tickets.encrypt(b"x").unwrap()), name(&ticket));
        sleep(&keys, 20);
        assert_ne!(name(&tickets.encrypt(b"x").unwrap()), name(&ticket));
        assert!(tickets.decrypt(&ticket).is_some(), "by the key before");
        sleep(&keys, HOUR - 20);
        assert!(tickets.decrypt(&ticket).is_some(), "ten seconds before twice the time");
        sleep(&keys, 20);
        assert!(tickets.decrypt(&ticket).is_none());
    }

    #[test]
    fn a_key_that_nobody_used_for_long_opens_no_longer_than_others() {
        let keys = keys();
        let tickets = tickets(&keys, 0);
        let ticket = tickets.encrypt(b"x").unwrap();
        sleep(&keys, HOUR + HOUR / 2);
        assert!(
            tickets.decrypt(&ticket).is_some(),
            "the next key begins now, as if it had an hour after the first"
        );
        sleep(&keys, HOUR / 2 + 1);
        assert!(tickets.decrypt(&ticket).is_none());
        let ticket = tickets.encrypt(b"x").unwrap();
        sleep(&keys, 5 * HOUR);
        assert!(tickets.decrypt(&ticket).is_none());
    }

    #[test]
    fn a_shorter_time_counts_at_once() {
        let keys = keys();
        let long = tickets(&keys, 0);
        let short = Tickets { rotate: Duration::from_secs(60), ..tickets(&keys, 0) };
        let ticket = long.encrypt(b"x").unwrap();
        sleep(&keys, 90);
        assert!(short.decrypt(&ticket).is_some(), "the key stays, with a new one beside it");
        assert_ne!(short.encrypt(b"x").unwrap()[..NAME_LEN], ticket[..NAME_LEN]);
        sleep(&keys, 60);
        assert!(short.decrypt(&ticket).is_none());
    }

    #[test]
    fn keys_are_handed_on() {
        let (old, new) = (keys(), keys());
        let first = tickets(&old, 0).encrypt(b"first").unwrap();
        for keys in [&old, &new] {
            sleep(keys, HOUR);
        }
        let second = tickets(&old, 0).encrypt(b"second").unwrap();
        assert!(tickets(&new, 0).decrypt(&second).is_none());
        new.import(&old.export()).unwrap();
        for ticket in [&first, &second] {
            assert!(tickets(&new, 0).decrypt(ticket).is_some());
        }
        let exported = new.export();
        for bad in [
            &b""[..],
            b"EVT\x02",
            &exported[..exported.len() - 1],
            &[&exported[..], &[0; 56]].concat(),
            &MAGIC,
        ] {
            assert_eq!(new.import(bad), Err(ImportError));
        }
        assert_eq!(new.export(), exported, "what is refused changes nothing");
    }

    #[test]
    fn workers_agree_on_the_next_key() {
        let keys = keys();
        sleep(&keys, HOUR);
        let names: Vec<_> = std::thread::scope(|scope| {
            let seal = || tickets(&keys, 0).encrypt(b"x").unwrap()[..NAME_LEN].to_vec();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(seal)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(names.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn secrets_are_not_shown() {
        let keys = keys();
        let secret = keys.ring.load().current.secret;
        let shown = format!("{:?}", tickets(&keys, 0));
        assert!(!shown.contains(&format!("{secret:?}")) && shown.contains("rotate"));
    }
}
