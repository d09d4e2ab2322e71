//! Values by name that share what they have in common with those they were made from.
//!
//! A sorted map as documents have them: read and written by serde as a map, described by a schema as one.

use std::{borrow::Cow, fmt, marker::PhantomData, ops::Index, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};

use crate::sorted::{self, Edit, Keyed, Sorted};

/// Values in the order of their names. A copy costs nothing; a change costs what it touches.
#[derive(Clone)]
pub struct ByName<V>(Sorted<(Arc<str>, V)>);

impl<V> Keyed for (Arc<str>, V) {
    type Key = str;

    fn key(&self) -> &str {
        &self.0
    }

    fn hash(&self) -> u64 {
        sorted::hash(self.0.as_bytes())
    }
}

impl<V> ByName<V> {
    /// Nothing.
    #[must_use]
    pub fn new() -> ByName<V> {
        ByName::default()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&V> {
        self.0.get(name).map(|(_, value)| value)
    }

    /// The name as it is held here, and its value.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<&(Arc<str>, V)> {
        self.0.get(name)
    }

    /// True if there is a value of that name.
    #[must_use]
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// All, in the order of their names.
    #[must_use]
    pub fn iter(&self) -> Iter<'_, V> {
        Iter(self.0.iter())
    }

    /// All names in their order.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.iter().map(|(name, _)| name)
    }

    /// All values in the order of their names.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// True if both are the very same values: a copy, or made from the other without a change.
    #[must_use]
    pub fn is_same(&self, other: &ByName<V>) -> bool {
        self.len() == other.len() && self.0.pairs(&other.0).next().is_none()
    }

    /// What may differ between two, side by side in the order of the names: what both share is left out.
    pub fn pairs<'a>(
        &'a self,
        other: &'a ByName<V>,
    ) -> impl Iterator<Item = sorted::Pair<'a, (Arc<str>, V)>> {
        self.0.pairs(&other.0)
    }
}

impl<V: Clone> ByName<V> {
    /// These with some values set, or taken out where there is `None`; names in their order, each once.
    #[must_use]
    pub fn with(&self, changes: &[(Arc<str>, Option<V>)]) -> ByName<V> {
        let edits = changes.iter().map(|(name, value)| match value {
            Some(value) => Edit::Put((Arc::clone(name), value.clone())),
            None => Edit::Take(&**name),
        });
        ByName(self.0.with(edits.collect()))
    }
}

/// See [`ByName::iter`].
#[derive(Clone)]
pub struct Iter<'a, V>(sorted::Iter<'a, (Arc<str>, V)>);

impl<'a, V> Iterator for Iter<'a, V> {
    type Item = (&'a Arc<str>, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(name, value)| (name, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<'a, V> IntoIterator for &'a ByName<V> {
    type Item = (&'a Arc<str>, &'a V);
    type IntoIter = Iter<'a, V>;

    fn into_iter(self) -> Iter<'a, V> {
        self.iter()
    }
}

/// In any order; of equal names the last one wins.
impl<V> FromIterator<(Arc<str>, V)> for ByName<V> {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, V)>>(values: I) -> ByName<V> {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(|a, b| a.0.cmp(&b.0));
        values.reverse();
        values.dedup_by(|a, b| a.0 == b.0);
        values.reverse();
        ByName(Sorted::from_sorted(values))
    }
}

/// Of a name that is there.
impl<V> Index<&str> for ByName<V> {
    type Output = V;

    #[expect(clippy::panic, reason = "as every map's index")]
    fn index(&self, name: &str) -> &V {
        self.get(name).unwrap_or_else(|| panic!("there is no `{name}`"))
    }
}

impl<V> Default for ByName<V> {
    fn default() -> ByName<V> {
        ByName(Sorted::default())
    }
}

impl<V: PartialEq> PartialEq for ByName<V> {
    fn eq(&self, other: &ByName<V>) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl<V: fmt::Debug> fmt::Debug for ByName<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<V: Serialize> Serialize for ByName<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for ByName<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ByName<V>, D::Error> {
        deserializer.deserialize_map(Reader(PhantomData))
    }
}

struct Reader<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for Reader<V> {
    type Value = ByName<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ByName<V>, A::Error> {
        let mut values = Vec::with_capacity(map.size_hint().unwrap_or_default().min(1024));
        while let Some(entry) = map.next_entry()? {
            values.push(entry);
        }
        Ok(values.into_iter().collect())
    }
}

/// As a map of the same values.
impl<V: JsonSchema> JsonSchema for ByName<V> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        std::collections::BTreeMap::<Arc<str>, V>::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        std::collections::BTreeMap::<Arc<str>, V>::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(pairs: &[(&str, i32)]) -> ByName<i32> {
        pairs.iter().map(|(name, value)| ((*name).into(), *value)).collect()
    }

    #[test]
    fn a_map_for_serde() {
        let values = named(&[("b", 2), ("a", 0), ("a", 1)]);
        let text = serde_json::to_string(&values).unwrap();
        assert_eq!(text, r#"{"a":1,"b":2}"#);
        assert_eq!(serde_json::from_str::<ByName<i32>>(&text).unwrap(), values);
    }

    #[test]
    fn asked_by_name() {
        let values = named(&[("b", 2), ("a", 1)]);
        assert_eq!((values.get("a"), values.get("c"), values["b"], values.len()), (Some(&1), None, 2, 2));
        let changed = values.with(&[("a".into(), None), ("c".into(), Some(3))]);
        assert_eq!(changed, named(&[("b", 2), ("c", 3)]));
        assert!(values.is_same(&values.clone()) && !values.is_same(&changed));
        assert_eq!(values, named(&[("b", 2), ("a", 1)]), "a change of a copy is its own");
    }
}
