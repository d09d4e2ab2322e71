//! `cargo +nightly fuzz run rewrite --features libfuzzer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| evergate_fuzz::run("rewrite", data));
