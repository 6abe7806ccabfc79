//! See `bonsai_fuzz::address`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bonsai_fuzz::address::check(data));
