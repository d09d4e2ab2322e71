//! `cargo +nightly fuzz run proxy_header --features libfuzzer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| evergate_fuzz::run("proxy_header", data));
