//! Empty.
pub mod deadline;
