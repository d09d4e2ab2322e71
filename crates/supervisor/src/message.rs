//! What a supervisor and its children say to each other: one packet each, a word and its fields.
//!
//! Both sides may be of different versions, so words are never given another meaning; one that is not known is an error
//! that the reader passes over. Every field is bounded. Knows nothing of how packets and descriptors travel.

/// Largest packet.
pub const PACKET_MAX: usize = 32 << 10;

/// The form in which a supervisor of this version writes down what the program that it becomes goes on with. Another
/// number is another form.
pub const TAKEOVER: u32 = 1;

/// Why a packet says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A word of another version, or none.
    #[error("unknown word {0}")]
    Word(u8),
    /// It ends too early, goes on too long, or holds what cannot be.
    #[error("malformed fields")]
    Fields,
}

/// Where a child takes its first revision from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The document, as a person starts it.
    Document,
    /// What ran last: the child takes the place of one that ran it.
    Last,
    /// What ran before that: the last one ended the process again and again.
    Previous,
}

/// What a child is told at its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    /// What to run.
    pub from: From,
    /// Why it is needed, for the log; empty at the first start.
    pub because: String,
}

/// How the processes stand, for status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The supervisor's process.
    pub supervisor: u32,
    /// Children that ended without being asked to.
    pub crashes: u32,
    /// How the last of them ended; empty for none.
    pub last_crash: String,
    /// Children that took over from another.
    pub upgrades: u32,
    /// How the last attempt that failed did; empty for none.
    pub last_failed_upgrade: String,
    /// Children that have left and still have connections.
    pub draining: u32,
    /// The revision that was left because it ended the process again and again; empty for none.
    pub crash_loop: String,
}

/// What a child asks of its supervisor, and how it means to be treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// It is hung if it says nothing for so long.
    pub watchdog_ms: u32,
    /// So many that have left may drain at once; the oldest is told to finish when there are more.
    pub draining_max: u32,
}

/// From a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToParent {
    /// It is there and waits for [`ToChild::Begin`].
    Hello {
        /// Its version.
        version: String,
        /// Its number. A process that was started by the one that the supervisor started is not its child.
        process: u32,
        /// The form in which it would take over as supervisor; see [`TAKEOVER`].
        takeover: u32,
    },
    /// A descriptor comes along: a socket to be held under that name.
    Keep {
        /// Its name.
        name: String,
    },
    /// A socket is needed no more.
    LetGo {
        /// Its name.
        name: String,
    },
    /// It works. Said again and again.
    Alive(Terms),
    /// It takes a change in.
    Reloading,
    /// It serves this revision, from now on or again.
    Serving {
        /// Its name.
        revision: String,
    },
    /// It makes no changes and has freed what only one process can have. A descriptor comes along: its state.
    Paused,
    /// It wants to be replaced.
    Upgrade {
        /// By the program in this file; empty for the one that the supervisor was started from.
        binary: String,
    },
    /// It was asked to stop and does.
    Stopping,
}

/// To a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToChild {
    /// Start to serve. A descriptor may come along: the state of the process before.
    Begin(Begin),
    /// Another one is about to take over: finish the change under way, make no other, free what only one can have.
    Pause,
    /// The other one failed: go on as if nothing had been.
    Resume,
    /// The other one serves: take no new connections, finish those that are there, end.
    Leave,
    /// Too many drain: end soon.
    Finish,
    /// How an upgrade that this child asked for ended.
    Upgraded {
        /// It is done.
        ok: bool,
        /// By whom, or why not.
        text: String,
    },
    /// How things stand.
    Facts(Facts),
}

impl ToParent {
    /// As a packet.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            ToParent::Hello { version, process, takeover } => {
                Packet::new(0).text(version).number(*process).number(*takeover).0
            }
            ToParent::Keep { name } => Packet::new(1).text(name).0,
            ToParent::LetGo { name } => Packet::new(2).text(name).0,
            ToParent::Alive(terms) => Packet::new(3).number(terms.watchdog_ms).number(terms.draining_max).0,
            ToParent::Reloading => Packet::new(4).0,
            ToParent::Serving { revision } => Packet::new(5).text(revision).0,
            ToParent::Paused => Packet::new(6).0,
            ToParent::Upgrade { binary } => Packet::new(7).text(binary).0,
            ToParent::Stopping => Packet::new(8).0,
        }
    }

    /// From a packet.
    ///
    /// # Errors
    /// If it is none of ours.
    pub fn decode(packet: &[u8]) -> Result<ToParent, DecodeError> {
        let (word, mut fields) = Fields::of(packet)?;
        let message = match word {
            0 => ToParent::Hello {
                version: fields.text()?,
                process: fields.number()?,
                takeover: fields.number()?,
            },
            1 => ToParent::Keep { name: fields.text()? },
            2 => ToParent::LetGo { name: fields.text()? },
            3 => ToParent::Alive(Terms { watchdog_ms: fields.number()?, draining_max: fields.number()? }),
            4 => ToParent::Reloading,
            5 => ToParent::Serving { revision: fields.text()? },
            6 => ToParent::Paused,
            7 => ToParent::Upgrade { binary: fields.text()? },
            8 => ToParent::Stopping,
            word => return Err(DecodeError::Word(word)),
        };
        fields.end(message)
    }
}

impl ToChild {
    /// As a packet.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            ToChild::Begin(begin) => {
                let from = match begin.from {
                    From::Document => 0,
                    From::Last => 1,
                    From::Previous => 2,
                };
                Packet::new(0).number(from).text(&begin.because).0
            }
            ToChild::Pause => Packet::new(1).0,
            ToChild::Resume => Packet::new(2).0,
            ToChild::Leave => Packet::new(3).0,
            ToChild::Finish => Packet::new(4).0,
            ToChild::Upgraded { ok, text } => Packet::new(5).number(u32::from(*ok)).text(text).0,
            ToChild::Facts(f) => {
                let numbers = [f.supervisor, f.crashes, f.upgrades, f.draining];
                let packet = numbers.into_iter().fold(Packet::new(6), Packet::number);
                packet.text(&f.last_crash).text(&f.last_failed_upgrade).text(&f.crash_loop).0
            }
        }
    }

    /// From a packet.
    ///
    /// # Errors
    /// If it is none of ours.
    pub fn decode(packet: &[u8]) -> Result<ToChild, DecodeError> {
        let (word, mut fields) = Fields::of(packet)?;
        let message = match word {
            0 => {
                let from = match fields.number()? {
                    0 => From::Document,
                    1 => From::Last,
                    2 => From::Previous,
                    _ => return Err(DecodeError::Fields),
                };
                ToChild::Begin(Begin { from, because: fields.text()? })
            }
            1 => ToChild::Pause,
            2 => ToChild::Resume,
            3 => ToChild::Leave,
            4 => ToChild::Finish,
            5 => ToChild::Upgraded { ok: fields.number()? != 0, text: fields.text()? },
            6 => ToChild::Facts(Facts {
                supervisor: fields.number()?,
                crashes: fields.number()?,
                upgrades: fields.number()?,
                draining: fields.number()?,
                last_crash: fields.text()?,
                last_failed_upgrade: fields.text()?,
                crash_loop: fields.text()?,
            }),
            word => return Err(DecodeError::Word(word)),
        };
        fields.end(message)
    }
}

/// A packet that is being written.
pub(crate) struct Packet(pub(crate) Vec<u8>);

impl Packet {
    pub(crate) fn new(word: u8) -> Packet {
        Packet(vec![word])
    }

    pub(crate) fn number(mut self, number: u32) -> Packet {
        self.0.extend(number.to_le_bytes());
        self
    }

    /// A text that is too long for a packet is cut: none that matters is.
    pub(crate) fn text(self, text: &str) -> Packet {
        const TEXT_MAX: usize = PACKET_MAX / 8;
        let cut = text.floor_char_boundary(TEXT_MAX);
        let text = text.get(..cut).unwrap_or_default();
        let mut packet = self.number(u32::try_from(text.len()).unwrap_or_default());
        packet.0.extend(text.as_bytes());
        packet
    }
}

/// A packet that is being read.
pub(crate) struct Fields<'p>(&'p [u8]);

impl<'p> Fields<'p> {
    pub(crate) fn of(packet: &'p [u8]) -> Result<(u8, Fields<'p>), DecodeError> {
        let (word, rest) = packet.split_first().ok_or(DecodeError::Fields)?;
        Ok((*word, Fields(rest)))
    }

    pub(crate) fn number(&mut self) -> Result<u32, DecodeError> {
        let (number, rest) = self.0.split_first_chunk().ok_or(DecodeError::Fields)?;
        self.0 = rest;
        Ok(u32::from_le_bytes(*number))
    }

    pub(crate) fn text(&mut self) -> Result<String, DecodeError> {
        let length = usize::try_from(self.number()?).map_err(|_| DecodeError::Fields)?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(DecodeError::Fields)?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).map_err(|_| DecodeError::Fields)
    }

    pub(crate) fn end<M>(self, message: M) -> Result<M, DecodeError> {
        if self.0.is_empty() { Ok(message) } else { Err(DecodeError::Fields) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let text = || "tcp 0.0.0.0:80 ü".to_owned();
        for message in [
            ToParent::Hello { version: text(), process: 7, takeover: TAKEOVER },
            ToParent::Keep { name: text() },
            ToParent::LetGo { name: String::new() },
            ToParent::Alive(Terms { watchdog_ms: 10_000, draining_max: 4 }),
            ToParent::Reloading,
            ToParent::Serving { revision: text() },
            ToParent::Paused,
            ToParent::Upgrade { binary: text() },
            ToParent::Stopping,
        ] {
            assert_eq!(ToParent::decode(&message.encode()), Ok(message));
        }
        let facts = Facts { supervisor: 1, crashes: 2, last_crash: text(), upgrades: 3, ..Facts::default() };
        for message in [
            ToChild::Begin(Begin { from: From::Previous, because: text() }),
            ToChild::Pause,
            ToChild::Resume,
            ToChild::Leave,
            ToChild::Finish,
            ToChild::Upgraded { ok: true, text: text() },
            ToChild::Facts(facts),
        ] {
            assert_eq!(ToChild::decode(&message.encode()), Ok(message));
        }
    }

    /// What version 0.1.0 says, byte for byte: a program that is upgraded to this one, or that this one is taken back to, knows
    /// nothing else. A word that has to change is a new word.
    #[test]
    fn the_words_of_earlier_versions_are_spoken() {
        let text = || "x".to_owned();
        let terms = Terms { watchdog_ms: 10_000, draining_max: 4 };
        for (message, packet) in [
            (ToParent::Hello { version: text(), process: 7, takeover: 1 }, "0001000000780700000001000000"),
            (ToParent::Keep { name: text() }, "010100000078"),
            (ToParent::LetGo { name: text() }, "020100000078"),
            (ToParent::Alive(terms), "031027000004000000"),
            (ToParent::Reloading, "04"),
            (ToParent::Serving { revision: text() }, "050100000078"),
            (ToParent::Paused, "06"),
            (ToParent::Upgrade { binary: text() }, "070100000078"),
            (ToParent::Stopping, "08"),
        ] {
            assert_eq!(hex(&message.encode()), packet, "{message:?}");
        }
        let facts = Facts {
            supervisor: 1,
            crashes: 2,
            last_crash: text(),
            upgrades: 3,
            last_failed_upgrade: text(),
            draining: 4,
            crash_loop: text(),
        };
        for (message, packet) in [
            (ToChild::Begin(Begin { from: From::Document, because: text() }), "00000000000100000078"),
            (ToChild::Begin(Begin { from: From::Last, because: text() }), "00010000000100000078"),
            (ToChild::Begin(Begin { from: From::Previous, because: text() }), "00020000000100000078"),
            (ToChild::Pause, "01"),
            (ToChild::Resume, "02"),
            (ToChild::Leave, "03"),
            (ToChild::Finish, "04"),
            (ToChild::Upgraded { ok: true, text: text() }, "05010000000100000078"),
            (ToChild::Facts(facts), "0601000000020000000300000004000000010000007801000000780100000078"),
        ] {
            assert_eq!(hex(&message.encode()), packet, "{message:?}");
        }
    }

    fn hex(packet: &[u8]) -> String {
        packet.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for packet in [&[][..], &[200], &[1], &[1, 9, 0, 0, 0, b'a'], &[4, 0], &[1, 1, 0, 0, 0, 0xff]] {
            assert!(ToParent::decode(packet).is_err(), "{packet:?}");
        }
        for packet in [&[0, 7, 0, 0, 0, 0, 0, 0, 0][..], &[6, 1], &[99]] {
            assert!(ToChild::decode(packet).is_err(), "{packet:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let long = ToChild::Upgraded { ok: false, text: "ü".repeat(PACKET_MAX) };
        let packet = long.encode();
        assert!(packet.len() < PACKET_MAX);
        assert!(ToChild::decode(&packet).is_ok());
    }
}
