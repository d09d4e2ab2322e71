//! `cargo +nightly fuzz run hpack --features libfuzzer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| evergate_fuzz::run("hpack", data));
