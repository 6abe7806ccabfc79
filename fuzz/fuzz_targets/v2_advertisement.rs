//! See `bonsai_fuzz::v2::advertisement`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bonsai_fuzz::v2::advertisement::check(data));
