//! Small runtime tools that know nothing of gateways: state kept by identity, sockets handed on, deadlines, random
//! numbers, counters, how threads stand with the scheduler, memory given back.
//!
//! What serves requests ([`deadline`], [`meter`], [`rng`]) belongs to one thread and takes no lock; what builds
//! ([`keep`], [`fds`], [`unix`], [`memory`]) may be shared. Nothing here reads the clock or the environment.

pub mod deadline;
pub mod fds;
pub mod keep;
pub mod memory;
pub mod meter;
pub mod pace;
pub mod rng;
pub mod sched;
pub mod unix;

pub use fds::Fds;
pub use keep::{Carried, Keep};
pub use meter::{Counter, Histogram, HistogramCounts};
pub use pace::Pace;
pub use rng::Rng;
