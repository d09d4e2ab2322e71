//! `cargo +nightly fuzz run chunked_body --features libfuzzer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| evergate_fuzz::run("chunked_body", data));
