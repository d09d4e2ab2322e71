//! A text that lies where it is kept, if it is short: to look at it, nothing else is fetched from memory, and to copy it,
//! nothing is asked of the allocator.

use std::{fmt, sync::Arc};

/// Host names are seldom longer.
const SHORT: usize = 22;

#[derive(Clone)]
pub(crate) struct Short(Kind);

#[derive(Clone)]
enum Kind {
    Here { len: u8, bytes: [u8; SHORT] },
    There(Arc<[u8]>),
}

impl Short {
    pub(crate) fn new(text: &str) -> Short {
        let mut bytes = [0; SHORT];
        Short(match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(place), Ok(len)) => {
                place.copy_from_slice(text.as_bytes());
                Kind::Here { len, bytes }
            }
            _ => Kind::There(text.as_bytes().into()),
        })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.0 {
            Kind::Here { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Kind::There(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(self.bytes()).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_every_length_are_what_they_were() {
        assert_eq!(size_of::<Short>(), 24);
        for len in 0..300 {
            let text: String = "abcdefghij".chars().cycle().take(len).collect();
            let short = Short::new(&text);
            assert_eq!(short.bytes(), text.as_bytes());
            assert_eq!(matches!(short.0, Kind::Here { .. }), len <= SHORT);
        }
    }
}
