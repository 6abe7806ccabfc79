//! See `bonsai_fuzz::ops`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bonsai_fuzz::ops::check(data));
