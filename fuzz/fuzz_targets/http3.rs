//! `cargo +nightly fuzz run http3 --features libfuzzer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| evergate_fuzz::run("http3", data));
