//! See `bonsai_fuzz::objects`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bonsai_fuzz::objects::check(data));
