//! Configuration as text and as a tree with places.
//!
//! Parsing, includes, merge, references, diff, history and error reports work on the tree and know
//! nothing of gateways; types are a view of it. Must not know: HTTP, routes, reloads.
//!
//! ```
//! use evergate_conf::{FileId, Format, Limits, Path, Report, Span, decode, format, merge};
//!
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Gate {
//!     timeout: Span,
//! }
//!
//! let read = |text| format::parse(text, Format::Yaml, FileId::NONE, &Limits::default());
//! let document = merge(&read("timeout: 5s")?, &read("timeout: 6s")?);
//! let mut report = Report::new();
//! let gate: Option<Gate> = decode(&document, &Path::root(), &mut report);
//! assert_eq!(gate.map(|g| g.timeout), Some(Span::secs(6)));
//!
//! let misspelt: Option<Gate> = decode(&read("tiemout: 5s")?, &Path::root(), &mut report);
//! assert!(misspelt.is_none() && report.to_string().contains("did you mean `timeout`?"));
//! # Ok::<(), format::SyntaxError>(())
//! ```

pub mod by_name;
pub mod decode;
pub mod diff;
pub mod files;
pub mod format;
pub mod load;
pub mod merge;
pub mod node;
pub mod path;
pub mod read;
pub mod report;
pub mod schema;
pub mod secret;
pub mod sorted;
pub mod units;

pub use by_name::ByName;
pub use decode::decode;
pub use diff::{Change, diff};
pub use files::Files;
pub use format::{Format, Limits};
pub use load::{Input, InputKind, Loaded, Loader, is_local};
pub use merge::{amend, compose, make_patch, merge, merge_again, merge_all, strip_nulls};
pub use node::{Digest, Entry, FileId, Map, Node, Place, Value};
pub use path::Path;
pub use report::{Diagnostic, Report, Severity};
pub use schema::{schema_of, suggest};
pub use secret::Secret;
pub use units::{ByteSize, FilePath, Location, Span};
