//! The engine as a program uses it: real files, a real thread, a small target.

mod crash;
mod edits;
mod observe;
mod rollback;
mod signal;
mod start;
mod successor;
#[expect(clippy::unwrap_used, clippy::expect_used, reason = "it is part of the tests")]
mod toy;
#[expect(clippy::unwrap_used, reason = "it is part of the tests")]
mod watch;
