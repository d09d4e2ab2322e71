//! `cargo +nightly fuzz run response_head --features libfuzzer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| evergate_fuzz::run("response_head", data));
