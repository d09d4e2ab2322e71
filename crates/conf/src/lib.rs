//! Configuration as text and as a tree with places.
//!
//! Parsing, includes, merge, references, diff, history and error reports work on the tree and know
//! nothing of gateways; types are a view of it. Must not know: HTTP, routes, reloads.

pub mod decode;
pub mod diff;
pub mod files;
pub mod format;
pub mod load;
pub mod merge;
pub mod node;
pub mod path;
pub mod report;
pub mod schema;
pub mod secret;
pub mod units;

pub use decode::decode;
pub use diff::{Change, diff};
pub use files::Files;
pub use format::{Format, Limits};
pub use load::{Input, InputKind, Loaded, Loader};
pub use merge::{amend, compose, make_patch, merge, merge_all, strip_nulls};
pub use node::{Digest, Entry, FileId, Map, Node, Place, Value};
pub use path::Path;
pub use report::{Diagnostic, Report, Severity};
pub use schema::{schema_of, suggest};
pub use secret::Secret;
pub use units::{ByteSize, FilePath, Location, Span};
