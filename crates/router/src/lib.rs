//! Rules into a table, a table into matches.
//!
//! Says which route takes a request, and what of its path the route matched. Between routes that match, the most
//! specific wins, as `order.rs` says; a more specific host without a matching route falls through to less specific
//! ones. Must not know: what a route does with a request, connections, time.

mod compile;
mod head;
mod host;
mod hosts;
#[cfg(test)]
mod naive;
mod order;
pub mod path;
mod predicate;
mod short;
mod table;

pub use compile::{Change, Rule, RuleError, Work};
pub use head::Head;
pub use hosts::canonical;
pub use path::{PathRule, normalized};
pub use table::{Hit, Table};
