//! `cargo +nightly fuzz run merge_patch --features libfuzzer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| evergate_fuzz::run("merge_patch", data));
