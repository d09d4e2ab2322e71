//! `cargo +nightly fuzz run yaml --features libfuzzer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| evergate_fuzz::run("yaml", data));
