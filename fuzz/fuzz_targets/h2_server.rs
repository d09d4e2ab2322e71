//! `cargo +nightly fuzz run h2_server --features libfuzzer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| evergate_fuzz::run("h2_server", data));
