//! Short forms: a text where a map can stand, and numbers with bounds.
//!
//! Written by hand rather than as untagged enums, so that a fault inside the map keeps its own place and
//! reason. The schemas made here are what editors see.

use std::{borrow::Cow, fmt, marker::PhantomData};

use schemars::{Schema, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};

/// A type that people write as a text or as a map.
pub(super) trait ShortForm: Sized {
    /// Both forms, for the message.
    const EXPECTING: &'static str;

    /// The short form. The error says what was expected.
    fn from_text(text: &str) -> Result<Self, String>;

    /// The long form.
    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error>;
}

/// Reads either form.
pub(super) fn deserialize<'de, D: Deserializer<'de>, T: ShortForm>(deserializer: D) -> Result<T, D::Error> {
    struct Either<T>(PhantomData<T>);
    impl<'de, T: ShortForm> Visitor<'de> for Either<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(T::EXPECTING)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            T::from_text(text).map_err(E::custom)
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::from_map(map)
        }
    }
    deserializer.deserialize_any(Either(PhantomData))
}

/// Reads a map of exactly one key out of `keys`; `value` reads what belongs to it.
pub(super) fn one_of<'de, A: MapAccess<'de>, T>(
    mut map: A,
    keys: &'static [&'static str],
    value: impl FnOnce(&str, &mut A) -> Result<T, A::Error>,
) -> Result<T, A::Error> {
    let expected = || de::Error::custom(format!("expected exactly one of `{}`", keys.join("`, `")));
    let Some(key) = map.next_key::<Cow<'de, str>>()? else { return Err(expected()) };
    if !keys.contains(&key.as_ref()) {
        return Err(de::Error::unknown_field(&key, keys));
    }
    let value = value(&key, &mut map)?;
    if map.next_key::<de::IgnoredAny>()?.is_some() { Err(expected()) } else { Ok(value) }
}

/// Turns the schema of a map into that of a text or the map, under the map's description.
pub(super) fn or_text(schema: &mut Schema, text: &Schema) {
    let mut object = std::mem::take(schema);
    let about = object.remove("description");
    *schema = json_schema!({ "anyOf": [text, object] });
    if let Some(about) = about {
        schema.insert("description".to_owned(), about);
    }
}

/// A number, or an optional one, that can be held against bounds.
pub(super) trait Number<'de>: Deserialize<'de> {
    /// The number, if there is one.
    fn number(&self) -> Option<i64>;
}

macro_rules! number {
    ($($type:ty),*) => { $(
        impl Number<'_> for $type {
            fn number(&self) -> Option<i64> {
                Some(i64::from(*self))
            }
        }
    )* };
}

number!(u8, u16, u32, i32);

impl<'de, T: Number<'de>> Number<'de> for Option<T> {
    fn number(&self) -> Option<i64> {
        self.as_ref().and_then(T::number)
    }
}

/// Reads a number from `MIN` to `MAX`. The field's `schemars(range)` says the same; a test holds them together.
pub(super) fn within<'de, const MIN: i64, const MAX: i64, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Number<'de>,
{
    let value = T::deserialize(deserializer)?;
    match value.number() {
        Some(n) if !(MIN..=MAX).contains(&n) => {
            Err(de::Error::custom(format!("expected a number from {MIN} to {MAX}, found {n}")))
        }
        _ => Ok(value),
    }
}
