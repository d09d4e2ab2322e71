//! Evergate. 
fn main() {}
