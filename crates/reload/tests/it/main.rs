//! The engine as a program uses it: real files, a real thread, a small target.

mod edits;
mod observe;
mod rollback;
mod start;
mod toy;
mod watch;
