//! Configuration as text and as a tree with places.
//!
//! Parsing, includes, merge, references, diff, history and error reports work on the tree and know
//! nothing of gateways; types are a view of it. Must not know: HTTP, routes, reloads.

pub mod node;

pub use node::{Digest, Entry, FileId, Map, Node, Place, Value};
