//! Values with their unit in the text: durations, sizes, paths.
//!
//! Each is a type of its own, so that the document's types say what they hold and the schema says how
//! it is written. The schema's `format` names the type; [`crate::schema::validate`] checks by it.

use std::{
    borrow::Cow,
    fmt,
    ops::Deref,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time: `250ms 5s 1m 24h 1h30m`. Units are `d h m s ms us`, largest first, each at most
/// once; a number without a unit is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

/// A number of bytes: `64KiB 10MB 512`. `KB MB GB TB` count by 1000, `KiB MiB GiB TiB` by 1024; a bare
/// number is bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// A path that the document names. Relative ones are made absolute while loading, by the folder of the
/// file that names them. A [`FilePath`] is watched and its content is pinned by the revision.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilePath(pub PathBuf);

/// Like [`FilePath`], but the content is not part of the revision: a folder that is served, a socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location(pub PathBuf);

/// Why a text is no duration, size or path; says how to write one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnitError(pub String);

/// Nanoseconds, largest first; the order in which they must be written.
const TIME_UNITS: &[(&str, u64)] = &[
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
];

const SIZE_UNITS: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

impl Span {
    /// That many seconds.
    #[must_use]
    pub const fn secs(seconds: u64) -> Span {
        Span(Duration::from_secs(seconds))
    }

    /// That many milliseconds.
    #[must_use]
    pub const fn millis(milliseconds: u64) -> Span {
        Span(Duration::from_millis(milliseconds))
    }
}

impl Deref for Span {
    type Target = Duration;

    fn deref(&self) -> &Duration {
        &self.0
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Duration {
        span.0
    }
}

/// Splits `30mxyz` into 30, `m` and the rest `xyz`; the unit ends where the next digit begins.
fn number_and_unit(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(end);
    Some((number.parse().ok()?, unit, rest))
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Span, UnitError> {
        let bad = || UnitError(format!("expected a duration such as 250ms, 5s or 1h30m, found `{text}`"));
        let (mut rest, mut nanos, mut allowed) = (text, 0u64, TIME_UNITS);
        while !rest.is_empty() {
            let (number, unit, after) = number_and_unit(rest).ok_or_else(bad)?;
            let at = allowed.iter().position(|(name, _)| *name == unit).ok_or_else(bad)?;
            let size = allowed.get(at).map_or(0, |(_, size)| *size);
            allowed = allowed.get(at + 1..).unwrap_or_default();
            nanos = number
                .checked_mul(size)
                .and_then(|n| nanos.checked_add(n))
                .ok_or_else(|| UnitError(format!("duration `{text}` is too long")))?;
            rest = after;
        }
        if text.is_empty() { Err(bad()) } else { Ok(Span(Duration::from_nanos(nanos))) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut nanos = self.0.as_nanos();
        if nanos < 1_000 {
            return f.write_str("0s");
        }
        // Hours are the largest unit printed: `36h` reads better than `1d12h`.
        for (unit, size) in TIME_UNITS.iter().skip(1) {
            let count = nanos / u128::from(*size);
            nanos %= u128::from(*size);
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

impl Deref for ByteSize {
    type Target = u64;

    fn deref(&self) -> &u64 {
        &self.0
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<ByteSize, UnitError> {
        let bad = |hint: &str| {
            UnitError(format!("expected a size such as 64KiB, 10MB or 512, found `{text}`{hint}"))
        };
        let (number, unit, rest) = number_and_unit(text).ok_or_else(|| bad(""))?;
        if !rest.is_empty() {
            return Err(bad(""));
        }
        let size = match SIZE_UNITS.iter().find(|(name, _)| *name == unit) {
            Some((_, size)) => *size,
            None if unit.is_empty() => 1,
            None => {
                let near = SIZE_UNITS.iter().find(|(name, _)| {
                    name.eq_ignore_ascii_case(unit) || name.eq_ignore_ascii_case(&format!("{unit}B"))
                });
                return Err(bad(
                    &near.map_or(String::new(), |(n, _)| format!("; did you mean `{number}{n}`?"))
                ));
            }
        };
        let bytes =
            number.checked_mul(size).ok_or_else(|| UnitError(format!("size `{text}` is too large")))?;
        Ok(ByteSize(bytes))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = SIZE_UNITS.iter().filter(|(_, size)| self.0 > 0 && self.0.is_multiple_of(*size));
        // The smallest count is the shortest text: 64KiB rather than 65536B.
        match exact.min_by_key(|(_, size)| self.0 / size) {
            Some((unit, size)) => write!(f, "{}{unit}", self.0 / size),
            None => f.write_str("0B"),
        }
    }
}

macro_rules! text_by_display {
    ($($name:ty),*) => { $(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )* };
}

text_by_display!(Span, ByteSize);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as 250ms, 5s or 1h30m")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as 64KiB, 10MB or 512")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(bytes))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
                u64::try_from(bytes)
                    .map(ByteSize)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(bytes), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

macro_rules! path_type {
    ($name:ident, $format:literal, $text:literal) => {
        impl $name {
            /// The path.
            #[must_use]
            pub fn as_path(&self) -> &Path {
                &self.0
            }
        }

        impl Deref for $name {
            type Target = Path;

            fn deref(&self) -> &Path {
                &self.0
            }
        }

        impl AsRef<Path> for $name {
            fn as_ref(&self) -> &Path {
                &self.0
            }
        }

        impl From<PathBuf> for $name {
            fn from(path: PathBuf) -> $name {
                $name(path)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.display().fmt(f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&self.0.display())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                if text.is_empty() {
                    return Err(de::Error::custom("expected a path, found an empty text"));
                }
                Ok($name(PathBuf::from(text.as_ref())))
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": $format, "minLength": 1, "description": $text })
            }
        }
    };
}

path_type!(
    FilePath,
    "file",
    "A file; relative to the file that names it. Watched, its content is part of the revision."
);
path_type!(Location, "location", "A path; relative to the file that names it.");

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // Not `duration`: that name means ISO 8601 (`PT5S`) to validators that check formats.
        json_schema!({
            "type": "string",
            "format": "span",
            "pattern": "^(?=.)([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?([0-9]+us)?$",
            "description": "A duration: 250ms, 5s, 1m, 24h, 1h30m.",
        })
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "format": "size",
            "pattern": "^[0-9]+([KMGT]i?B|B)?$",
            "minimum": 0,
            "description": "A number of bytes: 64KiB, 10MB, 512.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_and_print() {
        let rows = [
            ("0s", 0, "0s"),
            ("250ms", 250, "250ms"),
            ("5s", 5_000, "5s"),
            ("90s", 90_000, "1m30s"),
            ("1m", 60_000, "1m"),
            ("1h30m", 5_400_000, "1h30m"),
            ("1s500ms", 1_500, "1s500ms"),
            ("24h", 86_400_000, "24h"),
            ("2d", 172_800_000, "48h"),
        ];
        for (text, millis, printed) in rows {
            let span: Span = text.parse().unwrap();
            assert_eq!(span, Span::millis(millis), "{text}");
            assert_eq!(span.to_string(), printed);
            assert_eq!(printed.parse::<Span>().unwrap(), span);
        }
        assert_eq!("1ms5us".parse::<Span>().unwrap().to_string(), "1ms5us");
    }

    #[test]
    fn bad_spans_say_how() {
        for text in ["", "5", "s", "5 s", "-5s", "1.5s", "5S", "1s1h", "1s1s", "5sec", "s5"] {
            let error = text.parse::<Span>().unwrap_err().to_string();
            assert!(error.contains("such as") && error.contains(&format!("`{text}`")), "{text}: {error}");
        }
        assert!("999999999999h".parse::<Span>().unwrap_err().to_string().contains("too long"));
    }

    #[test]
    fn sizes_read_and_print() {
        let rows = [
            ("0", 0, "0B"),
            ("512", 512, "512B"),
            ("512B", 512, "512B"),
            ("64KiB", 65_536, "64KiB"),
            ("65536", 65_536, "64KiB"),
            ("10MB", 10_000_000, "10MB"),
            ("1KB", 1_000, "1KB"),
            ("2GiB", 2 << 30, "2GiB"),
            ("3TiB", 3 << 40, "3TiB"),
        ];
        for (text, bytes, printed) in rows {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!(size.0, bytes, "{text}");
            assert_eq!(size.to_string(), printed);
            assert_eq!(printed.parse::<ByteSize>().unwrap(), size);
        }
        assert_eq!(serde_json::from_str::<ByteSize>("7").unwrap(), ByteSize(7));
        assert!(serde_json::from_str::<ByteSize>("-7").is_err());
    }

    #[test]
    fn bad_sizes_say_how() {
        for (text, hint) in [
            ("", "such as"),
            ("ten", "such as"),
            ("1.5MB", "such as"),
            ("64kib", "did you mean `64KiB`"),
            ("10M", "did you mean `10MB`"),
            ("99999999TiB", "too large"),
        ] {
            let error = text.parse::<ByteSize>().unwrap_err().to_string();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }
}
