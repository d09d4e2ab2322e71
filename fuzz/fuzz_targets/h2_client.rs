//! `cargo +nightly fuzz run h2_client --features libfuzzer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| evergate_fuzz::run("h2_client", data));
