//! `cargo +nightly fuzz run hello --features libfuzzer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| evergate_fuzz::run("hello", data));
