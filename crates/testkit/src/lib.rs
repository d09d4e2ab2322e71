//! The test kit: starts the real binary, real backends and real clients, changes the document while
//! they talk, and writes down everything that anybody could have noticed.
//!
//! It shares no protocol code with the gateway, so that an error on one side cannot hide behind the same
//! error on the other. A kit that cannot go on ends the test where it stands: here it may panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test kit ends the test")]

pub mod backend;
pub mod certs;
pub mod churn;
pub mod client;
pub mod datagrams;
pub mod echo;
pub mod events;
pub mod gate;
pub mod h1;
pub mod handshake;
pub mod handshakes;
pub mod io;
pub mod load;
pub mod mutate;
pub mod net;
pub mod paced;
pub mod patch;
pub mod ports;
pub mod process;
pub mod recorder;
pub mod rng;
pub mod scene;
pub mod stand;
pub mod trial;
pub mod unary;
pub mod ws;

pub use backend::Backend;
pub use certs::Authority;
pub use client::{Answer, Ask, Conn, Door, Failure};
pub use echo::{Echo, Talk};
pub use events::Events;
pub use gate::{Gate, Home, Launch};
pub use load::{Crowd, Manner, Outcome};
pub use rng::Rng;
pub use stand::Stand;
