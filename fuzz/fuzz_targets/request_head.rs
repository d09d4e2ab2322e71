//! `cargo +nightly fuzz run request_head --features libfuzzer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| evergate_fuzz::run("request_head", data));
