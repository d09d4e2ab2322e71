//! What stood before where a map or list is being read now: what is still the same is taken from there.

use std::iter::Peekable;

use crate::node::{Entry, Iter, Map, Node, Place, Value};

/// The value that was there, and how far along its entries the reader is.
pub(super) struct Was<'a> {
    node: Option<&'a Node>,
    /// Entries that have not come yet, if the new ones come in the order of keys, as most do that are many.
    ahead: Option<Peekable<Iter<'a>>>,
}

impl<'a> Was<'a> {
    pub(super) fn new(node: Option<&'a Node>) -> Was<'a> {
        Was { node, ahead: node.and_then(Node::as_map).map(|map| map.entries().peekable()) }
    }

    /// The item of the list.
    pub(super) fn item(&self, at: usize) -> Option<&'a Node> {
        match &self.node?.value {
            Value::List(items) => items.get(at),
            _ => None,
        }
    }

    /// The entry of the map at a key.
    pub(super) fn entry(&mut self, key: &str) -> Option<&'a Entry> {
        let next = self.ahead.as_mut()?.peek().copied();
        next.filter(|next| &*next.key == key).or_else(|| self.node?.as_map()?.entry(key))
    }

    /// The same, and the key after it comes next.
    pub(super) fn take(&mut self, key: &str) -> Option<&'a Entry> {
        let entry = self.entry(key);
        if let Some(ahead) = &mut self.ahead {
            ahead.next_if(|next| &*next.key == key);
        }
        entry
    }

    /// The list, if these are its very items.
    pub(super) fn list(&self, items: &[Node], place: Place) -> Option<Node> {
        let node = self.node.filter(|node| node.place == place)?;
        match &node.value {
            Value::List(was) if same_items(was, items) => Some(node.clone()),
            _ => None,
        }
    }

    /// The map, if these are its very entries, in the order of their keys.
    pub(super) fn map(&self, entries: &[Entry], place: Place) -> Option<Node> {
        let node = self.node.filter(|node| node.place == place)?;
        let was = node.as_map()?;
        (was.len() == entries.len() && same_entries(was, entries.iter())).then(|| node.clone())
    }
}

/// True if two values are the same, places included, given that what is in them is the very same if it is equal.
pub(super) fn shallow(was: &Node, now: &Node) -> bool {
    was.place == now.place
        && match (&was.value, &now.value) {
            _ if was.same(now) => true,
            (Value::Map(a), Value::Map(b)) => a.len() == b.len() && same_entries(a, b.entries()),
            (Value::List(a), Value::List(b)) => same_items(a, b),
            _ => false,
        }
}

fn same_items(was: &[Node], now: &[Node]) -> bool {
    was.len() == now.len() && was.iter().zip(now).all(|(a, b)| a.place == b.place && a.same(b))
}

fn same_entries<'n>(was: &Map, now: impl Iterator<Item = &'n Entry>) -> bool {
    let same = |(a, b): (&Entry, &Entry)| {
        a.place == b.place && a.key == b.key && a.node.place == b.node.place && a.node.same(&b.node)
    };
    was.entries().zip(now).all(same)
}

#[cfg(test)]
mod tests {
    use crate::{
        FileId, Format, Limits,
        format::{SyntaxError, parse_again},
        node::Node,
    };

    fn read(text: &str, before: Option<&Node>) -> Result<Node, SyntaxError> {
        parse_again(text, Format::Yaml, FileId(1), &Limits::default(), before)
    }

    #[test]
    fn what_was_before_changes_nothing_of_what_is_read() {
        let texts = [
            "a: 1\nb: 2",
            "a: 1\na: 1",
            "b: 2\na: 1",
            "a: { x: [1, two, { three: 3 }], y: text }\nb: ~\n",
            "a: { x: [1, two, { three: 4 }], y: text }\nb: ~\n",
            "a: { x: [1, two], y: text }\nb:\n",
            "a: { y: text, x: [1, two] }\nb: text\n",
            "a: { y: 'text', x: [1, \"two\"] }\nb: 1.5\n",
            "a: &here { x: 1 }\nb: *here\n",
            "a: &here { x: 1 }\nb: { <<: *here, y: 2 }\n",
            "a: &here { x: 2 }\nb: { <<: *here, y: 2 }\n",
            "- 1\n- a: 1\n  b: [x]\n",
            "- 1\n- a: 1\n  b: [x]\n- 3\n",
            "a: [[], {}, [[]]]\n",
            "a: [{}, [], [[]]]\n",
            "text",
            "a: {",
        ];
        for old in texts {
            let before = read(old, None).ok();
            for new in texts {
                let fresh = read(new, None).map(|node| format!("{node:#?}"));
                let again = read(new, before.as_ref()).map(|node| format!("{node:#?}"));
                assert_eq!(again, fresh, "{old:?}, then {new:?}");
            }
        }
    }

    #[test]
    fn what_stands_where_it_stood_is_the_very_same() {
        let text = |changed: usize| -> String {
            let value = |i: usize| if i == changed { "7ms" } else { "5ms" };
            (0..500).map(|i| format!("k{i}:\n  hosts: [h{i}]\n  timeout: {}\n", value(i))).collect()
        };
        let old = read(&text(500), None).unwrap();
        assert!(read(&text(500), Some(&old)).unwrap().same(&old), "nothing changed");
        let new = read(&text(77), Some(&old)).unwrap();
        for i in 0..500 {
            let at = |node: &Node, path: &[&str]| {
                node.get(&format!("k{i}")).unwrap().at(path.iter().copied()).cloned()
            };
            let same = |path: &[&str]| at(&old, path).unwrap().same(&at(&new, path).unwrap());
            assert_eq!(same(&[]), i != 77, "k{i}");
            assert!(same(&["hosts"]), "k{i}");
        }
    }
}
