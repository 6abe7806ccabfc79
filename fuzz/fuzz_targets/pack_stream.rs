//! See `bonsai_fuzz::pack::stream`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bonsai_fuzz::pack::stream::check(data));
