//! `cargo +nightly fuzz run toml`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| evergate_fuzz::run("toml", data));
