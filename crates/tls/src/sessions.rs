//! What lets clients resume a session: ticket keys, and sessions that are remembered for those that take no tickets.
//!
//! Kept by the listener's name, so that neither a new certificate nor any other change costs clients a full handshake, and handed
//! to the process that takes this one's place.

use std::{
    fmt::{self, Write},
    sync::Arc,
    time::Duration,
};

use evergate_kit::keep::Carry;
use rustls::Error;

use crate::{
    by_id::{ById, Remembered, Session},
    peer::RuleId,
    tickets::{ImportError, TicketKeys, Tickets},
};

/// Sessions of one listener. Not to be shared between listeners.
pub struct Sessions {
    keys: Arc<TicketKeys>,
    remembered: Arc<Remembered>,
}

impl Sessions {
    /// With a new ticket key.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn new() -> Result<Sessions, Error> {
        Ok(Sessions { keys: Arc::new(TicketKeys::new()?), remembered: Arc::default() })
    }

    /// Takes over what [`Carry::save`] said in another process: its clients resume here.
    ///
    /// # Errors
    /// If these are no keys; then nothing has changed.
    pub fn restore(&self, saved: &str) -> Result<(), ImportError> {
        let mut lines = saved.lines();
        self.keys.import(&lines.next().and_then(bytes).ok_or(ImportError)?)?;
        // A session that is not understood costs its client a full handshake.
        for (rule, id, session) in lines.filter_map(remembered) {
            self.remembered.add(rule, &id, session);
        }
        Ok(())
    }

    /// Tickets of clients that were let in under this rule.
    pub(crate) fn tickets(&self, rotate: Duration, rule: RuleId) -> Arc<Tickets> {
        Arc::new(Tickets { keys: Arc::clone(&self.keys), rotate, rule })
    }

    /// Session ids of clients that were let in under this rule.
    pub(crate) fn by_id(&self, rotate: Duration, rule: RuleId) -> Arc<ById> {
        Arc::new(ById { remembered: Arc::clone(&self.remembered), rotate, rule })
    }
}

/// The ticket keys, then a line for each session. All of it is secret: who has it can read recorded sessions that were resumed
/// without a new exchange of keys.
impl Carry for Sessions {
    fn save(&self) -> String {
        let mut text = hex(&self.keys.export());
        for ((rule, id), session) in self.remembered.all() {
            let (rule, id, value) = (hex(&rule), hex(&id), hex(&session.value));
            // Writing to a string does not fail.
            let _ = write!(text, "\n{rule} {id} {} {value}", session.since);
        }
        text
    }
}

/// Without what is secret.
impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}

/// A line of a session that is remembered.
fn remembered(line: &str) -> Option<(RuleId, Vec<u8>, Session)> {
    let mut words = line.split(' ');
    let rule = bytes(words.next()?)?.try_into().ok()?;
    let id = bytes(words.next()?)?;
    let since = words.next()?.parse().ok()?;
    let value = bytes(words.next()?)?.into();
    words.next().is_none().then_some((rule, id, Session { since, value }))
}

fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let (pairs, []) = hex.as_bytes().as_chunks::<2>() else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? << 4 | digit(*low)?).ok();
    pairs.iter().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use rustls::server::{ProducesTickets, StoresServerSessions};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn what_is_saved_is_restored() {
        let (old, new) = (Sessions::new().unwrap(), Sessions::new().unwrap());
        let ticket = old.tickets(HOUR, [1; 32]).encrypt(b"session").unwrap();
        for (rule, id) in [(1, b"one"), (2, b"two")] {
            assert!(old.by_id(HOUR, [rule; 32]).put(id.to_vec(), vec![0, 0x5f, 0xff]));
        }
        let saved = old.save();
        new.restore(&saved).unwrap();
        assert_eq!(new.save(), saved, "for the one after that as well");
        assert_eq!(new.tickets(HOUR, [1; 32]).decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_eq!(new.by_id(HOUR, [1; 32]).get(b"one").as_deref(), Some(&[0, 0x5f, 0xff][..]));
        assert_eq!(
            (new.by_id(HOUR, [1; 32]).get(b"two"), new.by_id(HOUR, [2; 32]).get(b"one")),
            (None, None)
        );
    }

    #[test]
    fn what_is_not_understood_is_left_out() {
        let sessions = Sessions::new().unwrap();
        let before = sessions.save();
        for bad in ["", "0", "zz", "é", "45565401", "\n", " "] {
            assert_eq!(sessions.restore(bad), Err(ImportError), "{bad}");
            assert_eq!(sessions.save(), before);
        }
        let rule = "00".repeat(32);
        for bad in ["", "x", "00 00 1 00", &rule, &format!("{rule} 00 x 00"), &format!("{rule} 00 1 00 00")] {
            sessions.restore(&format!("{before}\n{bad}")).unwrap();
            assert_eq!(sessions.save(), before, "{bad}");
        }
        let good = format!("{before}\n{rule} 00 1 00");
        sessions.restore(&good).unwrap();
        assert_eq!(sessions.save(), good);
    }
}
