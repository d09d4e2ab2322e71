//! Which process a QUIC packet belongs to, while an old one finishes its connections beside a new one.
//!
//! Both have the same UDP socket, and each reads packets of the other. Connection ids say whose they are: a byte for
//! the generation of the process, random ones, and a mark under a secret that generations share, so that nobody can
//! send us about. Clients choose the id of their first packets themselves; these belong to who reads them, or to the
//! successor of a process that takes no new connections. If both take up packets of one beginning, the client goes
//! on with the first that answers: its next packets have that one's id (RFC 9000 §7.2).

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};

use aws_lc_rs::{hmac, rand};
use quinn::{ConnectionId, ConnectionIdGenerator};

const RANDOM: usize = 7;
const MARK: usize = 4;
/// Bytes of our connection ids.
pub(super) const ID_LENGTH: usize = 1 + RANDOM + MARK;
/// Processes after the successor that may be alive while it has ended: with more, one waits for the client's next packet.
const LATER_MAX: u8 = 64;
/// No generation.
const NONE: u16 = u16::MAX;

/// What a process knows of itself and of others that serve the same sockets.
pub(crate) struct Steering {
    generation: u8,
    secret: [u8; 32],
    /// Others may be there.
    together: bool,
    successor: AtomicU16,
    marks: hmac::Key,
    parcels: hmac::Key,
    resets: hmac::Key,
    tokens: [u8; 32],
    /// Begins the names of the sockets over which packets are handed to a generation.
    street: String,
}

/// A process that a packet belongs to, other than this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Other {
    /// Which.
    pub generation: u8,
    /// A client that begins: any process after that one will do as well.
    pub begins: bool,
}

/// Makes connection ids.
pub(super) struct Ids {
    steering: Arc<Steering>,
    made: u64,
}

/// Random bytes cannot be had.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the system gives no random numbers")]
pub(crate) struct NoRandomness;

impl Steering {
    /// A process that shares its sockets with nobody.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub(crate) fn alone() -> Result<Steering, NoRandomness> {
        let mut secret = [0; 32];
        rand::fill(&mut secret).map_err(|_| NoRandomness)?;
        Ok(Steering { together: false, ..Steering::new(0, &secret) })
    }

    /// A process beside others that serve the same sockets: the one after that which [`Steering::save`]d, or a first one.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub(crate) fn beside(saved: Option<&str>) -> Result<Steering, NoRandomness> {
        if let Some((before, secret)) = saved.and_then(parse) {
            return Ok(Steering::new(before.wrapping_add(1), &secret));
        }
        Ok(Steering { together: true, ..Steering::alone()? })
    }

    /// What the next process needs to know.
    #[must_use]
    pub(crate) fn save(&self) -> String {
        let hex: String = self.secret.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{} {hex}", self.generation)
    }

    /// The generation of the process that takes over from this one.
    #[must_use]
    pub(crate) fn successor(&self) -> u8 {
        self.generation.wrapping_add(1)
    }

    /// A process beside others that have the same secret and other generations.
    #[must_use]
    pub(crate) fn new(generation: u8, secret: &[u8; 32]) -> Steering {
        let bytes = *secret;
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derived = |what: &str| {
            let mut bytes = [0; 32];
            bytes.copy_from_slice(hmac::sign(&secret, what.as_bytes()).as_ref());
            bytes
        };
        let key = |what: &str| hmac::Key::new(hmac::HMAC_SHA256, &derived(what));
        let [a, b, c, d, e, f, g, h, ..] = derived("street");
        Steering {
            generation,
            secret: bytes,
            together: true,
            successor: AtomicU16::new(NONE),
            marks: key("marks"),
            parcels: key("parcels"),
            resets: key("resets"),
            tokens: derived("tokens"),
            street: format!("evergate-quic-{:016x}", u64::from_be_bytes([a, b, c, d, e, f, g, h])),
        }
    }

    /// Packets of new connections go to that generation from now on. Those of our own go on coming here.
    pub(crate) fn hand_over(&self, generation: u8) {
        self.successor.store(generation.into(), Ordering::Relaxed);
    }

    pub(super) fn is_together(&self) -> bool {
        self.together
    }

    pub(super) fn generation(&self) -> u8 {
        self.generation
    }

    pub(super) fn parcels(&self) -> &hmac::Key {
        &self.parcels
    }

    /// Signs what makes a client believe that its connection is gone (RFC 9000 §10.3).
    pub(super) fn resets(&self) -> hmac::Key {
        self.resets.clone()
    }

    pub(super) fn tokens(&self) -> &[u8] {
        &self.tokens
    }

    pub(super) fn ids(self: Arc<Self>) -> Ids {
        Ids { steering: self, made: 0 }
    }

    /// The name of the socket at which that generation takes packets of the UDP socket at `local`.
    pub(super) fn house(&self, generation: u8, local: std::net::SocketAddr) -> String {
        format!("{}-{generation}-{local}", self.street)
    }

    /// Finds a process that takes clients who begin: the successor, or one after it where that has ended already.
    pub(super) fn reach(&self, first: u8, lives: impl Fn(u8) -> bool) -> Option<u8> {
        let found =
            (0..=LATER_MAX).map(|step| first.wrapping_add(step)).find(|generation| lives(*generation))?;
        if found != first {
            self.hand_over(found);
        }
        Some(found)
    }

    /// The generation that a packet belongs to, if that is another one.
    pub(super) fn other(&self, packet: &[u8]) -> Option<Other> {
        let (id, chosen_by_client) = addressee(packet)?;
        if let [generation, .., _, _, _, _] = id
            && id.len() == ID_LENGTH
        {
            if *generation == self.generation && !chosen_by_client {
                return None;
            }
            if self.is_ours(id) {
                let other = Other { generation: *generation, begins: false };
                return (*generation != self.generation).then_some(other);
            }
        }
        if !chosen_by_client {
            return None;
        }
        let generation = u8::try_from(self.successor.load(Ordering::Relaxed)).ok()?;
        Some(Other { generation, begins: true })
    }

    fn mark(&self, id: &[u8]) -> [u8; MARK] {
        let mut mark = [0; MARK];
        mark.iter_mut().zip(hmac::sign(&self.marks, id).as_ref()).for_each(|(to, from)| *to = *from);
        mark
    }

    /// True if one of us made this id.
    fn is_ours(&self, id: &[u8]) -> bool {
        id.split_at_checked(1 + RANDOM).is_some_and(|(id, mark)| self.mark(id) == mark)
    }
}

fn parse(saved: &str) -> Option<(u8, [u8; 32])> {
    let (generation, hex) = saved.split_once(' ')?;
    let mut secret = [0; 32];
    if hex.len() != 2 * secret.len() || !hex.is_ascii() {
        return None;
    }
    for (at, byte) in secret.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some((generation.parse().ok()?, secret))
}

/// The connection id that a packet is sent to (RFC 8999 §5), and whether the client may have chosen it.
fn addressee(packet: &[u8]) -> Option<(&[u8], bool)> {
    let (first, rest) = packet.split_first()?;
    if first & 0x80 == 0 {
        return Some((rest.get(..ID_LENGTH)?, false));
    }
    let (version, rest) = rest.split_at_checked(4)?;
    let (length, rest) = rest.split_first()?;
    let id = rest.get(..usize::from(*length))?;
    // Initial and 0-RTT (RFC 9000 §17.2); of a version that we do not know it is all the same.
    let is_first = first >> 4 & 3 <= 1 || version != [0, 0, 0, 1];
    Some((id, is_first))
}

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut random = [0; RANDOM];
        self.made += 1;
        if rand::fill(&mut random).is_err() {
            // Ids must differ at least.
            random.iter_mut().zip(self.made.to_le_bytes()).for_each(|(to, from)| *to = from);
        }
        let mut id = [self.steering.generation; ID_LENGTH];
        if let Some((start, mark)) = id.split_at_mut_checked(1 + RANDOM) {
            start.iter_mut().skip(1).zip(random).for_each(|(to, from)| *to = from);
            mark.copy_from_slice(&self.steering.mark(start));
        }
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        ID_LENGTH
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

impl fmt::Debug for Steering {
    /// Without its secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steering").field("generation", &self.generation).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: [u8; 32] = [7; 32];

    fn id(steering: &Arc<Steering>) -> Vec<u8> {
        steering.clone().ids().generate_cid().to_vec()
    }

    fn short(id: &[u8]) -> Vec<u8> {
        [&[0x40], id, &[0; 30][..]].concat()
    }

    /// A packet with a long header: 0 is Initial, 1 is 0-RTT, 2 is Handshake.
    fn long(kind: u8, id: &[u8]) -> Vec<u8> {
        [&[0xc0 | kind << 4, 0, 0, 0, 1, id.len() as u8], id, &[0; 30][..]].concat()
    }

    #[test]
    fn packets_find_their_generation() {
        let [old, new] = [3, 4].map(|generation| Arc::new(Steering::new(generation, &SECRET)));
        let (of_old, of_new) = (id(&old), id(&new));
        assert_ne!(of_old, id(&old));
        let check = |packet: &[u8], at_old: Option<u8>, at_new: Option<u8>| {
            let at = |steering: &Steering| steering.other(packet).map(|other| other.generation);
            assert_eq!((at(&old), at(&new)), (at_old, at_new), "{packet:?}");
        };
        let chosen = [3; 20];
        for kind in [0, 1, 2] {
            check(&long(kind, &of_old), None, Some(3));
            check(&long(kind, &of_new), Some(4), None);
        }
        check(&short(&of_old), None, Some(3));
        check(&short(&of_new), Some(4), None);
        check(&long(0, &chosen), None, None);
        check(&long(0, &chosen[..ID_LENGTH]), None, None);
        old.hand_over(4);
        check(&long(0, &chosen), Some(4), None);
        check(&long(1, &chosen[..ID_LENGTH]), Some(4), None);
        check(&long(2, &chosen), None, None);
        check(&long(0, &of_old), None, Some(3));
    }

    #[test]
    fn a_client_that_begins_goes_to_whoever_is_left() {
        let old = Steering::new(254, &SECRET);
        old.hand_over(old.successor());
        let begins = |generation| Some(Other { generation, begins: true });
        assert_eq!(old.other(&long(0, &[3; 20])), begins(255));
        assert_eq!(old.reach(255, |generation| generation == 255), Some(255));
        assert_eq!(old.reach(255, |generation| generation == 2), Some(2));
        assert_eq!(old.other(&long(0, &[3; 20])), begins(2), "remembered");
        assert_eq!(old.reach(2, |_| false), None);
    }

    #[test]
    fn the_next_process_knows_what_it_needs() {
        let old = Arc::new(Steering::new(255, &SECRET));
        let new = Arc::new(Steering::beside(Some(&old.save())).unwrap());
        assert_eq!((new.generation, old.successor()), (0, 0), "after the last comes the first");
        assert_eq!(new.other(&short(&id(&old))), Some(Other { generation: 255, begins: false }));
        for saved in [None, Some(""), Some("1"), Some("1 ab"), Some("x 00"), Some("300 00")] {
            let first = Steering::beside(saved).unwrap();
            assert!(first.is_together() && first.generation == 0 && first.secret != SECRET, "{saved:?}");
        }
    }

    #[test]
    fn nobody_else_can_send_packets_about() {
        let steering = Arc::new(Steering::new(3, &SECRET));
        let stranger = Arc::new(Steering::new(4, &[8; 32]));
        let mut forged = id(&steering);
        forged[0] = 4;
        for id in [forged, id(&stranger)] {
            assert_eq!(steering.other(&short(&id)), None);
            assert_eq!(steering.other(&long(0, &id)), None);
        }
        for packet in [&b""[..], b"\x40", b"\xc0\0\0\0\x01", b"\xc0\0\0\0\x01\xff", b"\x40\x04\x04"] {
            assert_eq!(steering.other(packet), None);
        }
    }
}
